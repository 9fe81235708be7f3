// SPDX-License-Identifier: GPL-2.0
/* resetgate status: the module and its functions at a glance. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "function.h"
#include "json.h"
#include "module.h"
#include "table.h"

static void rg_status_json_pairs(struct rg_json *json, const char *key, const struct rg_pairs *pairs)
{
	size_t i;

	rg_json_open(json, key, '{');
	for (i = 0; i < pairs->nr; i++)
		rg_json_text(json, pairs->at[i].name, pairs->at[i].value);
	rg_json_close(json, '}');
}

static void rg_status_json_function(struct rg_json *json, const char *key,
				    const struct rg_function *function)
{
	rg_json_open(json, key, '{');
	rg_json_text(json, "bdf", function->bdf);
	rg_json_text(json, "state", function->state);
	rg_json_text(json, "mode", function->mode);
	if (*function->policy)
		rg_json_text(json, "policy", function->policy);
	else
		rg_json_null(json, "policy");
	rg_json_text(json, "reason", function->reason);
	if (*function->driver)
		rg_json_text(json, "driver", function->driver);
	else
		rg_json_null(json, "driver");
	rg_json_number(json, "depth", function->depth);
	rg_json_number(json, "windows", function->windows);
	rg_json_number(json, "last_window_us", function->last_window_us);
	rg_json_number(json, "recorded", function->recorded);
	rg_json_number(json, "dropped", function->dropped);
	rg_json_number(json, "last_error", function->last_error);
	rg_json_close(json, '}');
}

static void rg_status_json_targets(struct rg_json *json, const struct rg_module *module)
{
	const struct rg_shown_target *target;
	size_t i;

	rg_json_open(json, "targets", '[');
	for (i = 0; i < module->nr_targets; i++) {
		target = &module->targets[i];
		rg_json_open(json, NULL, '{');
		rg_json_text(json, "name", target->name);
		rg_json_text(json, "set", target->set);
		rg_json_bool(json, "found", target->found);
		rg_json_bool(json, "armed", target->armed);
		rg_json_number(json, "fired", target->fired);
		rg_json_bool(json, "optional", target->optional);
		rg_json_text(json, "lost", target->lost);
		rg_json_close(json, '}');
	}
	rg_json_close(json, ']');
}

static const char *const rg_status_counts[] = {
	"closed", "parked", "close_timeouts", "closed_late"
};

static int rg_status_check_counts(const struct rg_module *module)
{
	const char *value;
	char *end;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rg_status_counts); i++) {
		value = rg_pairs_get(&module->counts, rg_status_counts[i]);
		if (value && *value && (strtoll(value, &end, 10), !*end))
			continue;
		return rg_fail(RG_EXIT_BAD,
			       "/sys/kernel/resetgate/status: expected a number for %s, found '%s': is this command as new as the module? resetgate --version",
			       rg_status_counts[i], value ? value : "none");
	}
	return RG_EXIT_OK;
}

static void rg_status_json_counts(struct rg_json *json, const struct rg_module *module)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rg_status_counts); i++)
		rg_json_number(json, rg_status_counts[i],
			       strtoll(rg_pairs_get(&module->counts, rg_status_counts[i]), NULL, 10));
}

static bool rg_status_armed(const struct rg_module *module)
{
	const char *armed = rg_pairs_get(&module->counts, "armed");

	return armed && !strcmp(armed, "yes");
}

static void rg_status_json(struct rg_cli *cli, const struct rg_module *module,
			   const struct rg_functions *functions)
{
	struct rg_json json;
	size_t i;

	rg_json_start(&json, cli->out, "status");
	rg_json_text(&json, "version", module->version);
	rg_json_text(&json, "kernel", module->kernel);
	rg_json_bool(&json, "tested", module->tested);
	rg_json_bool(&json, "armed", rg_status_armed(module));
	rg_status_json_pairs(&json, "backends", &module->backends);
	rg_status_json_pairs(&json, "sets", &module->sets);
	rg_status_json_pairs(&json, "parameters", &module->params);
	rg_status_json_counts(&json, module);
	rg_status_json_targets(&json, module);
	rg_json_open(&json, "functions", '[');
	for (i = 0; i < functions->nr; i++)
		rg_status_json_function(&json, NULL, &functions->at[i]);
	rg_json_close(&json, ']');
	rg_json_end(&json);
}

static void rg_status_pairs(struct rg_cli *cli, const char *label, const struct rg_pairs *pairs,
			    char between)
{
	char text[4096] = "";
	size_t len = 0, i;

	for (i = 0; i < pairs->nr && len < sizeof(text); i++)
		if (*pairs->at[i].value)
			len += snprintf(text + len, sizeof(text) - len, "%s%s%c%s", len ?
					(between == ' ' ? ", " : " ") : "", pairs->at[i].name,
					between, pairs->at[i].value);
	rg_wrap(cli, label, text);
}

/* The functions that were looked for and not found, where that costs something. */
static void rg_status_losses(struct rg_cli *cli, const struct rg_module *module)
{
	const struct rg_shown_target *target;
	char text[512];
	size_t i;

	for (i = 0; i < module->nr_targets; i++) {
		target = &module->targets[i];
		if (target->found || target->optional)
			continue;
		snprintf(text, sizeof(text), "%s: %s", target->name, target->lost);
		rg_wrap(cli, "lost", text);
	}
}

static void rg_status_targets_line(struct rg_cli *cli, const struct rg_module *module)
{
	size_t found = 0, armed = 0, i;
	char text[128];

	for (i = 0; i < module->nr_targets; i++) {
		found += module->targets[i].found;
		armed += module->targets[i].armed;
	}
	snprintf(text, sizeof(text), "%zu of %zu found, %zu armed (--targets lists them)", found,
		 module->nr_targets, armed);
	rg_wrap(cli, "targets", text);
}

static void rg_status_head(struct rg_cli *cli, const struct rg_module *module,
			   const struct rg_functions *functions)
{
	const char *closed = rg_pairs_get(&module->counts, "closed");
	const char *parked = rg_pairs_get(&module->counts, "parked");
	const char *ungated = rg_pairs_get(&module->counts, "close_timeouts");
	const char *late = rg_pairs_get(&module->counts, "closed_late");
	char text[256];

	snprintf(text, sizeof(text), "resetgate %s on %s", module->version, module->kernel);
	fprintf(cli->out, "%s (%s)%s\n", rg_clean(text), module->tested ? "tested" : "untested",
		rg_status_armed(module) ? "" : ": disarmed, touches nothing");
	rg_status_pairs(cli, "back ends", &module->backends, ' ');
	rg_status_pairs(cli, "sets", &module->sets, ' ');
	rg_status_losses(cli, module);
	rg_status_targets_line(cli, module);
	rg_status_pairs(cli, "parameters", &module->params, '=');
	snprintf(text, sizeof(text), "%s ran ungated, %s closed late", ungated ? ungated : "?",
		 late ? late : "?");
	rg_wrap(cli, "resets", text);
	snprintf(text, sizeof(text), "%zu covered, %s closed, %s parked", functions->nr,
		 closed ? closed : "?", parked ? parked : "?");
	rg_wrap(cli, "functions", text);
}

static const struct rg_column rg_status_columns[] = {
	{ "FUNCTION", false }, { "STATE", false }, { "MODE", false }, { "POLICY", false },
	{ "REASON", false }, { "WINDOWS", true }, { "LAST", true }, { "RECORDED", true },
	{ "DROPPED", true },
};

/* One that follows the module's has none of its own. */
static const char *rg_status_policy(const struct rg_function *function)
{
	return *function->policy && strcmp(function->policy, "default") ? function->policy : "-";
}

static int rg_status_table(struct rg_cli *cli, const struct rg_functions *functions)
{
	struct rg_table table = { rg_status_columns, ARRAY_SIZE(rg_status_columns), NULL, 0, 0 };
	const struct rg_function *function;
	char text[RG_SHORT];
	size_t i;

	if (!functions->nr)
		return RG_EXIT_OK;
	fputc('\n', cli->out);
	for (i = 0; i < functions->nr; i++) {
		function = &functions->at[i];
		rg_table_add(&table, "%s", function->bdf);
		rg_table_add(&table, "%s", function->state);
		rg_table_add(&table, "%s", function->mode);
		rg_table_add(&table, "%s", rg_status_policy(function));
		rg_table_add(&table, "%s", function->reason);
		rg_table_add(&table, "%s", rg_short_number(text, function->windows));
		rg_table_add(&table, "%s", rg_short_time(text, function->last_window_us));
		rg_table_add(&table, "%s", rg_short_number(text, function->recorded));
		rg_table_add(&table, "%s", rg_short_number(text, function->dropped));
	}
	return rg_table_print(cli, &table);
}

static void rg_status_errors(struct rg_cli *cli, const struct rg_functions *functions)
{
	const struct rg_function *function;
	size_t i;

	for (i = 0; i < functions->nr; i++) {
		function = &functions->at[i];
		if (function->last_error)
			fprintf(cli->out, "%s last close or open: %s (%lld)\n", function->bdf,
				strerror(-(int)function->last_error), function->last_error);
	}
}

static const struct rg_column rg_status_target_columns[] = {
	{ "TARGET", false }, { "SET", false }, { "FOUND", false }, { "ARMED", false },
	{ "FIRED", true },
};

static int rg_status_targets(struct rg_cli *cli, const struct rg_module *module)
{
	struct rg_table table = { rg_status_target_columns, 5, NULL, 0, 0 };
	char text[RG_SHORT];
	size_t i;

	fputc('\n', cli->out);
	for (i = 0; i < module->nr_targets; i++) {
		rg_table_add(&table, "%s", module->targets[i].name);
		rg_table_add(&table, "%s", module->targets[i].set);
		rg_table_add(&table, "%s", module->targets[i].found ? "yes" :
			     module->targets[i].optional ? "not needed" : "no");
		rg_table_add(&table, "%s", module->targets[i].armed ? "yes" : "-");
		rg_table_add(&table, "%s", rg_short_number(text, module->targets[i].fired));
	}
	return rg_table_print(cli, &table);
}

static int rg_status_all(struct rg_cli *cli, bool targets)
{
	struct rg_functions functions = { .brief = !cli->json };
	struct rg_module module;
	int rc = rg_module_read(&module);

	if (!rc)
		rc = rg_status_check_counts(&module);
	if (!rc)
		rc = rg_functions_read(&functions);
	if (!rc && cli->json) {
		rg_status_json(cli, &module, &functions);
	} else if (!rc) {
		rg_status_head(cli, &module, &functions);
		rc = rg_status_table(cli, &functions);
		rg_status_errors(cli, &functions);
		if (!rc && targets)
			rc = rg_status_targets(cli, &module);
	}
	free(functions.at);
	rg_module_free(&module);
	return rc;
}

static void rg_status_line(struct rg_cli *cli, const char *label, const char *text)
{
	fprintf(cli->out, "%-14s %s%s%s\n", label, rg_paint(cli, text), text,
		rg_unpaint(cli, text));
}

static void rg_status_count(struct rg_cli *cli, const char *label, long long val)
{
	fprintf(cli->out, "%-14s %lld\n", label, val);
}

static void rg_status_show_one(struct rg_cli *cli, const struct rg_function *function)
{
	fprintf(cli->out, "%s\n", function->bdf);
	rg_status_line(cli, "state", function->state);
	rg_status_line(cli, "mode", function->mode);
	if (*function->policy)
		rg_status_line(cli, "policy", function->policy);
	rg_status_line(cli, "reason", function->reason);
	rg_status_line(cli, "driver", *function->driver ? function->driver : "none");
	rg_status_count(cli, "depth", function->depth);
	rg_status_count(cli, "windows", function->windows);
	fprintf(cli->out, "%-14s %lld us\n", "last window", function->last_window_us);
	rg_status_count(cli, "recorded", function->recorded);
	rg_status_count(cli, "dropped", function->dropped);
	if (function->last_error)
		fprintf(cli->out, "%-14s %lld (%s)\n", "last error", function->last_error,
			strerror(-(int)function->last_error));
	else
		rg_status_count(cli, "last error", 0);
}

static int rg_status_one(struct rg_cli *cli, const char *text)
{
	struct rg_function function;
	char bdf[RG_BDF_TEXT];
	struct rg_json json;
	int rc = rg_function_find(text, bdf);

	if (!rc)
		rc = rg_function_read(bdf, &function);
	if (rc)
		return rc;
	if (!cli->json) {
		rg_status_show_one(cli, &function);
		return RG_EXIT_OK;
	}
	rg_json_start(&json, cli->out, "status");
	rg_status_json_function(&json, "function", &function);
	rg_json_end(&json);
	return RG_EXIT_OK;
}

static int rg_status_run(struct rg_cli *cli, int argc, char **argv)
{
	static const struct option options[] = {
		{ "targets", no_argument, NULL, RG_OPTION_TARGETS },
		RG_OPTION_JSON, RG_OPTION_HELP, RG_OPTION_LAST
	};
	const char *bdf = NULL;
	bool targets = false;
	int option, rc;

	while ((option = rg_next_option(cli, argc, argv, options)) != RG_NO_OPTION) {
		if (option < 0)
			return rg_option_result(option);
		targets = true;
	}
	if (optind < argc)
		bdf = argv[optind++];
	rc = rg_no_more_words(cli, argc, argv);
	if (rc)
		return rc;
	if (bdf && targets)
		return rg_fail(RG_EXIT_USAGE, "status: --targets and a BDF exclude each other");
	return bdf ? rg_status_one(cli, bdf) : rg_status_all(cli, targets);
}

const struct rg_command rg_status_command = {
	.name = "status",
	.usage = "[--targets | BDF]",
	.brief = "what the module does, and the functions it covers",
	.help = "Shows the module, what is on and off in it, and each covered PCI function; or all\n"
		"of one function. Counts above 99999 are rounded in the table, not in JSON.\n\n"
		"  --targets      list the kernel functions that it uses, too\n",
	.run = rg_status_run,
};
