// SPDX-License-Identifier: GPL-2.0
/*
 * resetgate, the command: finds the sub-command and its options.
 *
 * What a sub-command prints is kept in memory until it has ended well, so a
 * failure in the middle leaves no half table behind.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "cli.h"

static const struct rg_command *const rg_commands[] = {
	&rg_status_command,
	&rg_watch_command,
	&rg_check_command,
	&rg_report_command,
	&rg_open_command,
	&rg_mode_command,
	&rg_policy_command,
	&rg_timeline_command,
	NULL
};

static void rg_help_all(FILE *out)
{
	int i;

	fprintf(out, "usage: resetgate [--help] [--version] [--json] COMMAND ...\n\n");
	for (i = 0; rg_commands[i]; i++)
		fprintf(out, "  %-8s %s\n", rg_commands[i]->name, rg_commands[i]->brief);
	fprintf(out, "\nresetgate COMMAND --help says more; so does resetgate(8).\n");
}

static void rg_help(struct rg_cli *cli)
{
	const struct rg_command *command = cli->command;

	fprintf(cli->out, "usage: resetgate %s %s\n\n%s", command->name, command->usage,
		command->help);
	fprintf(cli->out, "  --json         print JSON; doc/command.md has its schema\n"
		"  --help         print this\n");
}

/**
 * rg_next_option - the next option of a sub-command
 * @cli: the run; --json is noted in it
 * @argc: the sub-command's words, its name first
 * @argv: the words
 * @options: its options,, with the three that all have
 *
 * Context: User space.
 * Return: the option's value, or RG_NO_OPTION; RG_BAD_OPTION or RG_HELP_OPTION if the run is
 * over.
 */
int rg_next_option(struct rg_cli *cli, int argc, char **argv, const struct option *options)
{
	char letter[3];
	int option;
	bool known;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":h", options, NULL)) == 'j')
		cli->json = true;
	/* Of letters in one word it has the one; of --name=value of a known one its number. */
	snprintf(letter, sizeof(letter), "-%c", optopt);
	known = option == '?' && (optopt > UCHAR_MAX || ((optopt == 'j' || optopt == 'h') &&
							 strchr(argv[optind - 1], '=')));
	switch (option) {
	case 'h':
		rg_help(cli);
		return RG_HELP_OPTION;
	case '?':
		if (known)
			rg_fail(RG_EXIT_USAGE, "%s: %s: it takes no value; see resetgate %s --help",
				cli->command->name, argv[optind - 1], cli->command->name);
		else
			rg_fail(RG_EXIT_USAGE, "%s: no option %s; see resetgate %s --help",
				cli->command->name, optopt ? letter : argv[optind - 1],
				cli->command->name);
		return RG_BAD_OPTION;
	case ':':
		rg_fail(RG_EXIT_USAGE, "%s: %s wants a value; see resetgate %s --help",
			cli->command->name, argv[optind - 1], cli->command->name);
		return RG_BAD_OPTION;
	default:
		return option;
	}
}

/**
 * rg_option_result - the exit code where the options end the run
 * @option: RG_BAD_OPTION or RG_HELP_OPTION
 *
 * Context: User space.
 * Return: the code.
 */
int rg_option_result(int option)
{
	return option == RG_HELP_OPTION ? RG_EXIT_OK : RG_EXIT_USAGE;
}

/**
 * rg_no_more_words - refuse words that a sub-command has no use for
 * @cli: the run
 * @argc: the sub-command's words
 * @argv: the words; those up to optind were used
 *
 * Context: User space.
 * Return: RG_EXIT_OK or RG_EXIT_USAGE.
 */
int rg_no_more_words(struct rg_cli *cli, int argc, char **argv)
{
	if (optind >= argc)
		return RG_EXIT_OK;
	return rg_fail(RG_EXIT_USAGE, "%s: did not expect '%s'; see resetgate %s --help",
		       cli->command->name, argv[optind], cli->command->name);
}

/**
 * rg_number_option - an option's value that is a number
 * @cli: the run
 * @name: the option
 * @text: its value
 * @most: the largest one; the smallest is 1
 * @val: receives it
 *
 * Context: User space.
 * Return: RG_EXIT_OK or RG_EXIT_USAGE.
 */
int rg_number_option(struct rg_cli *cli, const char *name, const char *text, long most, long *val)
{
	char *end;

	errno = 0;
	*val = strtol(text, &end, 10);
	if (!errno && end != text && !*end && *val >= 1 && *val <= most)
		return RG_EXIT_OK;
	return rg_fail(RG_EXIT_USAGE, "%s: %s: expected a number from 1 to %ld, found '%s'",
		       cli->command->name, name, most, text);
}

static char *rg_kept;
static size_t rg_kept_size;

/**
 * rg_flush - print what was kept back
 * @cli: the run
 *
 * Context: User space.
 * Return: RG_EXIT_OK or RG_EXIT_SYSTEM.
 */
int rg_flush(struct rg_cli *cli)
{
	if (fflush(cli->out) || ferror(cli->out))
		return rg_fail(RG_EXIT_SYSTEM, "out of memory");
	if (rg_kept_size && (fwrite(rg_kept, 1, rg_kept_size, stdout) != rg_kept_size ||
			     fflush(stdout)))
		return rg_fail(RG_EXIT_SYSTEM, "%s: %s", cli->output ? cli->output :
			       "standard output", strerror(errno));
	rewind(cli->out);
	return RG_EXIT_OK;
}

static int rg_run(struct rg_cli *cli, int argc, char **argv)
{
	int i, rc, flushed;

	for (i = 0; rg_commands[i]; i++)
		if (!strcmp(rg_commands[i]->name, argv[0]))
			break;
	if (!rg_commands[i])
		return rg_fail(RG_EXIT_USAGE, "no command '%s'; see resetgate --help", argv[0]);
	cli->command = rg_commands[i];
	cli->out = open_memstream(&rg_kept, &rg_kept_size);
	if (!cli->out)
		return rg_fail(RG_EXIT_SYSTEM, "out of memory");
	optind = 1;
	rc = cli->command->run(cli, argc, argv);
	/* A no is an answer, too; whatever else failed prints nothing. */
	if (rc == RG_EXIT_OK || rc == RG_EXIT_NO) {
		flushed = rg_flush(cli);
		rc = flushed ? flushed : rc;
	}
	fclose(cli->out);
	free(rg_kept);
	return rc;
}

/* --help and --version, which no command keeps back. */
static int rg_printed(void)
{
	if (!fflush(stdout) && !ferror(stdout))
		return RG_EXIT_OK;
	return rg_fail(RG_EXIT_SYSTEM, "standard output: %s", strerror(errno));
}

static bool rg_wants_colour(void)
{
	const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && !(no_colour && *no_colour) &&
	       !(term && !strcmp(term, "dumb"));
}

/**
 * main - the command
 * @argc: how many words
 * @argv: the words
 *
 * Context: User space.
 * Return: the exit code.
 */
int main(int argc, char **argv)
{
	struct rg_cli cli = { .colour = rg_wants_colour() };
	int i;

	/* A pipe that is closed is an error as a full disk is. */
	signal(SIGPIPE, SIG_IGN);
	rg_child_init();
	for (i = 1; i < argc && argv[i][0] == '-'; i++) {
		if (!strcmp(argv[i], "--json")) {
			cli.json = true;
		} else if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			rg_help_all(stdout);
			return rg_printed();
		} else if (!strcmp(argv[i], "--version")) {
			puts("resetgate " RG_VERSION);
			return rg_printed();
		} else {
			return rg_fail(RG_EXIT_USAGE, "no option %s; see resetgate --help",
				       argv[i]);
		}
	}
	if (i == argc) {
		rg_help_all(stderr);
		return RG_EXIT_USAGE;
	}
	return rg_run(&cli, argc - i, argv + i);
}
