/* SPDX-License-Identifier: GPL-2.0 */
/* The command: its exit codes, what all sub-commands share. */
#ifndef RG_CLI_H
#define RG_CLI_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base.h"

/* Documented in doc/command.md and resetgate(8). */
enum rg_exit {
	RG_EXIT_OK,
	RG_EXIT_NO,		/* the answer is no: not covered, not in charge */
	RG_EXIT_USAGE,		/* a sub-command, option or word that there is not */
	RG_EXIT_ABSENT,		/* no such function, file or module; or not covered */
	RG_EXIT_UNLOADED,	/* the module is not loaded */
	RG_EXIT_PERMISSION,
	RG_EXIT_BAD,		/* what was read is not what it should be */
	RG_EXIT_TOOL,		/* a tool of the system is missing */
	RG_EXIT_REFUSED,	/* the module said no */
	RG_EXIT_SYSTEM,		/* memory, a full disk, a closed pipe */
};

struct rg_cli {
	FILE *out;		/* kept back until all is known to be good */
	const char *output;	/* where it goes, if not to standard output */
	bool json;
	bool colour;
	bool discreet;		/* what it prints goes to others: no names */
	const struct rg_command *command;
};

struct rg_command {
	const char *name;
	const char *usage;	/* what follows the name */
	const char *brief;
	const char *help;
	int (*run)(struct rg_cli *cli, int argc, char **argv);
};

extern const struct rg_command rg_status_command;
extern const struct rg_command rg_watch_command;
extern const struct rg_command rg_check_command;
extern const struct rg_command rg_report_command;
extern const struct rg_command rg_open_command;
extern const struct rg_command rg_mode_command;
extern const struct rg_command rg_policy_command;
extern const struct rg_command rg_timeline_command;

/* Long options have these values where they have no letter. */
enum rg_option {
	RG_OPTION_FIRST = 256,
	RG_OPTION_KERNEL,
	RG_OPTION_ALL_INSTALLED,
	RG_OPTION_IN_CHARGE,
	RG_OPTION_IOMMU,
	RG_OPTION_TARGETS,
	RG_OPTION_OUTPUT,
	RG_OPTION_COUNT,
	RG_OPTION_SECONDS,
	RG_OPTION_FROM,
	RG_OPTION_EACH,
};

#define RG_OPTION_JSON	{ "json", no_argument, NULL, 'j' }
#define RG_OPTION_HELP	{ "help", no_argument, NULL, 'h' }
#define RG_OPTION_LAST	{ NULL, 0, NULL, 0 }

/* What rg_next_option() returns when there is none left, or the run is over. */
#define RG_NO_OPTION	(-1)
#define RG_BAD_OPTION	(-2)
#define RG_HELP_OPTION	(-3)

int rg_next_option(struct rg_cli *cli, int argc, char **argv, const struct option *options);
int rg_option_result(int option);
int rg_no_more_words(struct rg_cli *cli, int argc, char **argv);
int rg_number_option(struct rg_cli *cli, const char *name, const char *text, long most, long *val);
int rg_flush(struct rg_cli *cli);

int rg_fail(int code, const char *format, ...) __printf(2, 3);
void rg_note(const char *format, ...) __printf(1, 2);
int rg_errno_code(int error);
const char *rg_way_out(int error);
void rg_say_to(FILE *also);
char *rg_clean(char *text);
const char *rg_paint(const struct rg_cli *cli, const char *word);
const char *rg_unpaint(const struct rg_cli *cli, const char *word);

#endif /* RG_CLI_H */
