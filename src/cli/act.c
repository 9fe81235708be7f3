// SPDX-License-Identifier: GPL-2.0
/* resetgate open, mode and policy: what the administrator decides. */
#include <errno.h>
#include <string.h>

#include "cli.h"
#include "function.h"
#include "json.h"
#include "sysfs.h"

/* What was asked for: a word for a file, of a function or, without @bdf, of the module. */
struct rg_act {
	const char *file;
	const char *const *words;
	const char *bdf;
	const char *word;
};

static const char *const rg_mode_words[] = { "auto", "off", "on", NULL };
static const char *const rg_policy_words[] = { "record", "busy", "wait", NULL };
static const char *const rg_policy_own_words[] = { "record", "busy", "wait", "default", NULL };

static bool rg_act_knows(const struct rg_act *act, const char *word)
{
	int i;

	for (i = 0; act->words[i]; i++)
		if (!strcmp(act->words[i], word))
			return true;
	return false;
}

static int rg_act_bad_word(struct rg_cli *cli, const struct rg_act *act, const char *word)
{
	char list[64] = "";
	size_t len = 0;
	int i;

	for (i = 0; act->words[i]; i++)
		len += snprintf(list + len, sizeof(list) - len, "%s%s", i ? ", " : "",
				act->words[i]);
	return rg_fail(RG_EXIT_USAGE, "%s: expected one of %s, found '%s'; nothing was changed",
		       cli->command->name, list, word);
}

static int rg_act_failed(const struct rg_act *act, const char *name, int error)
{
	if (error == -EACCES || error == -EPERM)
		return rg_fail(RG_EXIT_PERMISSION,
			       "%s: no permission to write %s: run it as root; nothing was changed",
			       name, act->file);
	if (error == -ENODEV || error == -ENOENT)
		return rg_not_loaded_or(RG_EXIT_ABSENT,
					"%s has no %s: the function is being removed, or the module is another version; nothing was changed",
					name, act->file);
	if (error == -EINVAL && !strcmp(act->file, "state"))
		return rg_fail(RG_EXIT_REFUSED,
			       "%s is not parked, so there is nothing to open; nothing was changed",
			       name);
	if (error == -EIO && !strcmp(act->file, "state"))
		return rg_fail(RG_EXIT_REFUSED,
			       "%s does not answer config reads, so it stays as it is: reset it again, or power it off and on; nothing was changed",
			       name);
	if (error == -EBUSY && !strcmp(act->file, "state"))
		return rg_fail(RG_EXIT_REFUSED,
			       "%s is in a reset: run it again when that is over; nothing was changed",
			       name);
	if (error == -EINVAL || error == -EOPNOTSUPP)
		return rg_fail(RG_EXIT_REFUSED,
			       "%s: this version of the module does not take '%s' for %s on this kernel, see dmesg; nothing was changed",
			       name, act->word, act->file);
	return rg_fail(RG_EXIT_REFUSED, "%s: the module refuses '%s' for %s: %s; nothing was changed",
		       name, act->word, act->file, strerror(-error));
}

static void rg_act_path(const struct rg_act *act, const char *bdf, char *path)
{
	if (act->bdf)
		rg_path(path, RG_SYSFS_PCI "/%s/resetgate/%s", bdf, act->file);
	else
		rg_path(path, RG_SYSFS_PARAMS "/%s", act->file);
}

static int rg_act_unread(const struct rg_act *act, const char *name, int error)
{
	const char *done = act->word ? ", although it was written" : "";

	if (error == -ENODEV || error == -ENOENT)
		return rg_not_loaded_or(RG_EXIT_ABSENT,
					"%s has no %s%s: the function is being removed, or the module is another version",
					name, act->file, done);
	if (error == -EINVAL || error == -E2BIG)
		return rg_fail(RG_EXIT_BAD,
			       "%s: %s has what this command does not know%s: is it as new as the module? resetgate --version",
			       name, act->file, done);
	return rg_fail(rg_errno_code(-error), "%s: %s cannot be read%s: %s%s", name, act->file, done,
		       strerror(-error), rg_way_out(-error));
}

/* Says what is in force now, read back: also what the module made of it. */
static int rg_act_tell(struct rg_cli *cli, const struct rg_act *act, const char *name,
		       const char *path)
{
	struct rg_json json;
	char now[RG_WORD];
	ssize_t len = rg_read_line(path, now, sizeof(now));

	if (len < 0)
		return rg_act_unread(act, name, len);
	if (!cli->json) {
		rg_clean(now);
		fprintf(cli->out, "%s: %s %s%s%s\n", name, act->file, rg_paint(cli, now), now,
			rg_unpaint(cli, now));
		return RG_EXIT_OK;
	}
	rg_json_start(&json, cli->out, cli->command->name);
	if (act->bdf)
		rg_json_text(&json, "bdf", name);
	else
		rg_json_null(&json, "bdf");
	rg_json_text(&json, act->file, now);
	rg_json_end(&json);
	return RG_EXIT_OK;
}

static int rg_act_do(struct rg_cli *cli, const struct rg_act *act)
{
	char path[PATH_MAX], bdf[RG_BDF_TEXT];
	const char *name = act->bdf ? bdf : "the module";
	int rc = act->bdf ? rg_function_find(act->bdf, bdf) :
		 !rg_is_loaded() ? rg_not_loaded() : RG_EXIT_OK;

	if (rc)
		return rc;
	rg_act_path(act, bdf, path);
	if (act->word) {
		rc = rg_write_text(path, act->word);
		if (rc)
			return rg_act_failed(act, name, rc);
	}
	return rg_act_tell(cli, act, name, path);
}

static int rg_act_options(struct rg_cli *cli, int argc, char **argv)
{
	static const struct option options[] = { RG_OPTION_JSON, RG_OPTION_HELP, RG_OPTION_LAST };

	return rg_next_option(cli, argc, argv, options);
}

static int rg_act_missing(struct rg_cli *cli)
{
	return rg_fail(RG_EXIT_USAGE, "%s: expected %s; see resetgate %s --help", cli->command->name,
		       cli->command->usage, cli->command->name);
}

static int rg_open_run(struct rg_cli *cli, int argc, char **argv)
{
	struct rg_act act = { .file = "state", .word = "open" };
	int option = rg_act_options(cli, argc, argv), rc;

	if (option != RG_NO_OPTION)
		return rg_option_result(option);
	if (optind == argc)
		return rg_act_missing(cli);
	act.bdf = argv[optind++];
	rc = rg_no_more_words(cli, argc, argv);
	return rc ? rc : rg_act_do(cli, &act);
}

static int rg_mode_run(struct rg_cli *cli, int argc, char **argv)
{
	struct rg_act act = { .file = "mode", .words = rg_mode_words };
	int option = rg_act_options(cli, argc, argv), rc;

	if (option != RG_NO_OPTION)
		return rg_option_result(option);
	if (optind + 2 > argc)
		return rg_act_missing(cli);
	act.bdf = argv[optind++];
	act.word = argv[optind++];
	rc = rg_no_more_words(cli, argc, argv);
	if (rc)
		return rc;
	if (!rg_act_knows(&act, act.word))
		return rg_act_bad_word(cli, &act, act.word);
	return rg_act_do(cli, &act);
}

/* A word that is no policy is a function; what is neither is told as what it looks like. */
static int rg_policy_run(struct rg_cli *cli, int argc, char **argv)
{
	struct rg_act act = { .file = "policy", .words = rg_policy_words };
	int option = rg_act_options(cli, argc, argv), rc;

	if (option != RG_NO_OPTION)
		return rg_option_result(option);
	if (optind < argc && strpbrk(argv[optind], ":."))
		act.bdf = argv[optind++];
	if (act.bdf)
		act.words = rg_policy_own_words;
	if (optind < argc)
		act.word = argv[optind++];
	rc = rg_no_more_words(cli, argc, argv);
	if (rc)
		return rc;
	if (act.word && !rg_act_knows(&act, act.word))
		return rg_act_bad_word(cli, &act, act.word);
	return rg_act_do(cli, &act);
}

const struct rg_command rg_open_command = {
	.name = "open",
	.usage = "BDF",
	.brief = "open a parked function",
	.help = "Opens a function that is parked: its IOMMU attachment is in force again, and its\n"
		"ATS on. Only do so once it answers, or its DMA is wanted all the same.\n\n",
	.run = rg_open_run,
};

const struct rg_command rg_mode_command = {
	.name = "mode",
	.usage = "BDF auto|off|on",
	.brief = "whether a function's resets close its gate",
	.help = "auto follows the parameter scope; off leaves the function's resets as they are\n"
		"without the module; on closes the gate whatever the scope.\n\n",
	.run = rg_mode_run,
};

const struct rg_command rg_policy_command = {
	.name = "policy",
	.usage = "[BDF] [record|busy|wait|default]",
	.brief = "what an attach in a reset gets: show or set it",
	.help = "record lets an attach succeed, in force after the reset; busy refuses it (EBUSY);\n"
		"wait lets the caller sleep until the reset is over. Without BDF it is the module's\n"
		"parameter, which is a function's default; without a word it is shown.\n\n",
	.run = rg_policy_run,
};
