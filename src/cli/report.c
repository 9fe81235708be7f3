// SPDX-License-Identifier: GPL-2.0
/*
 * resetgate report: one text file for a bug report.
 *
 * Of the command line, the log and sysfs only what concerns the IOMMU, PCI and the
 * module is taken; where the machine's name or an address of a network is in that,
 * it is masked.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "function.h"
#include "json.h"
#include "report.h"
#include "sysfs.h"

struct rg_section {
	const char *title;
	char *text;
	size_t size;
};

#define RG_SECTIONS 16

struct rg_report {
	struct rg_section sections[RG_SECTIONS];
	size_t nr;
};

static FILE *rg_report_section(struct rg_report *report, const char *title)
{
	struct rg_section *section = &report->sections[report->nr];
	FILE *out = report->nr < RG_SECTIONS ? open_memstream(&section->text, &section->size) : NULL;

	if (out) {
		section->title = title;
		report->nr++;
	}
	return out;
}

/* How the words begin that may be shown. */
static const char *const rg_report_words[] = {
	"intel_iommu=", "amd_iommu=", "amd_iommu_intr=", "iommu=", "iommu.", "pci=", "pcie_", "vfio",
	"resetgate.", "lockdown=", "module.sig_enforce", "modprobe.blacklist=", "module_blacklist=",
	"ftrace", "mitigations=", "kvm", "efi=", "nokaslr", "arm-smmu", "pcie_acs_override=", "ibt=",
	"cfi=", "irqaffinity=", "isolcpus=", "preempt=",
};

static void rg_report_cmdline(FILE *out)
{
	char path[PATH_MAX], text[4096], *rest = text, *word;
	size_t left = 0, i;

	if (rg_read_line(rg_path(path, "/proc/cmdline"), text, sizeof(text)) < 0) {
		fprintf(out, "not readable\n");
		return;
	}
	while ((word = strsep(&rest, " "))) {
		for (i = 0; i < ARRAY_SIZE(rg_report_words); i++)
			if (!strncmp(word, rg_report_words[i], strlen(rg_report_words[i])))
				break;
		if (i < ARRAY_SIZE(rg_report_words))
			fprintf(out, "%s\n", word);
		else
			left += *word != '\0';
	}
	fprintf(out, "(%zu more words, which do not concern it, are left out)\n", left);
}

/* Lines and what they are made of stay, what a terminal obeys does not. */
static void rg_report_clean(char *text)
{
	for (; *text; text++)
		if (!isprint((unsigned char)*text) && *text != '\n' && *text != '\t')
			*text = '?';
}

static void rg_report_file(FILE *out, const char *name, const char *format, const char *arg)
{
	char path[PATH_MAX], file[PATH_MAX];
	size_t size = 0;
	int error = 0;
	char *text;

	snprintf(file, sizeof(file), format, arg, name);
	text = rg_read_all(rg_path(path, "%s", file), 1 << 20, &size, &error);
	if (text)
		fprintf(out, "%s: %s%.*s%s", name, memchr(text, '\n', size ? size - 1 : 0) ? "\n" : "",
			(int)size, text, size && text[size - 1] == '\n' ? "" : "\n");
	else
		fprintf(out, "%s: %s\n", name, strerror(error));
	free(text);
}

static void rg_report_module(FILE *out)
{
	static const char *const names[] = { "version", "kernel", "backends", "status", "targets" };
	static const char *const params[] = { "policy", "wait_timeout_ms", "scope",
					      "on_failed_reset", "park_timeout_s",
					      "close_timeout_ms", "disarm", "allow_untested" };
	size_t i;

	if (!rg_is_loaded()) {
		fprintf(out, "not loaded\n");
		return;
	}
	for (i = 0; i < ARRAY_SIZE(names); i++)
		rg_report_file(out, names[i], "%s/%s", RG_SYSFS_MODULE);
	for (i = 0; i < ARRAY_SIZE(params); i++)
		rg_report_file(out, params[i], "%s/%s", RG_SYSFS_PARAMS);
}

static void rg_report_ids(FILE *out, const char *bdf)
{
	static const char *const names[] = { "vendor", "device", "class" };
	char path[PATH_MAX], text[32];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (rg_read_line(rg_path(path, RG_SYSFS_PCI "/%s/%s", bdf, names[i]), text,
				 sizeof(text)) > 0)
			fprintf(out, " %s=%s", names[i], text);
	if (rg_read_line(rg_path(path, RG_SYSFS_PCI "/%s/reset_method", bdf), text,
			 sizeof(text)) > 0)
		fprintf(out, " reset_method=%s", text);
}

/* What could not be read, or does not fit together, is said in it. */
static void rg_report_functions(FILE *out)
{
	struct rg_functions functions = { };
	const struct rg_function *function;
	size_t i;
	int rc;

	if (!rg_is_loaded())
		return;
	rc = rg_functions_read(&functions);
	for (i = 0; i < functions.nr; i++) {
		function = &functions.at[i];
		fprintf(out, "%s %s mode=%s policy=%s reason=%s depth=%lld windows=%lld last_window_us=%lld recorded=%lld dropped=%lld last_error=%lld",
			function->bdf, function->state, function->mode,
			*function->policy ? function->policy : "-", function->reason,
			function->depth, function->windows, function->last_window_us,
			function->recorded, function->dropped, function->last_error);
		rg_report_ids(out, function->bdf);
		fputc('\n', out);
	}
	if (!functions.nr && !rc)
		fprintf(out, "none is covered\n");
	free(functions.at);
}

/* What check says of the running kernel; that it cannot be judged belongs into a report, too. */
static void rg_report_check(FILE *out)
{
	static char name[6] = "check";
	char *argv[2] = { name, NULL };
	struct rg_cli cli = { .out = out, .discreet = true, .command = &rg_check_command };
	int rc;

	optind = 1;
	rc = rg_check_command.run(&cli, 1, argv);
	fprintf(out, "(exit code %d)\n", rc);
}

static void rg_report_kernel(FILE *out)
{
	rg_report_file(out, "osrelease", "/proc/sys/kernel/%.0s%s", "");
	rg_report_file(out, "version", "/proc/sys/kernel/%.0s%s", "");
	rg_report_file(out, "tainted", "/proc/sys/kernel/%.0s%s", "");
	rg_report_file(out, "os-release", "/etc/%.0s%s", "");
}

static int rg_report_collect(struct rg_report *report)
{
	static const struct {
		const char *title;
		void (*write)(FILE *out);
	} parts[] = {
		{ "kernel", rg_report_kernel },
		{ "command line", rg_report_cmdline },
		{ "check", rg_report_check },
		{ "module", rg_report_module },
		{ "log", rg_report_log },
		{ "functions", rg_report_functions },
	};
	FILE *out;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(parts); i++) {
		out = rg_report_section(report, parts[i].title);
		if (!out)
			return rg_fail(RG_EXIT_SYSTEM, "out of memory");
		rg_say_to(out);
		parts[i].write(out);
		rg_say_to(NULL);
		fclose(out);
	}
	return RG_EXIT_OK;
}

/* In all of it, wherever it came from. */
static int rg_report_mask_all(struct rg_report *report)
{
	char *masked;
	size_t i;

	for (i = 0; i < report->nr; i++) {
		masked = rg_report_mask(report->sections[i].text);
		if (!masked)
			return rg_fail(RG_EXIT_SYSTEM, "out of memory");
		free(report->sections[i].text);
		rg_report_clean(masked);
		report->sections[i].text = masked;
	}
	return RG_EXIT_OK;
}

static void rg_report_print(struct rg_cli *cli, const struct rg_report *report)
{
	struct rg_json json;
	size_t i;

	if (!cli->json) {
		fprintf(cli->out, "resetgate report, command version " RG_VERSION "\n");
		for (i = 0; i < report->nr; i++)
			fprintf(cli->out, "\n== %s\n%s", report->sections[i].title,
				report->sections[i].text);
		return;
	}
	rg_json_start(&json, cli->out, "report");
	rg_json_text(&json, "version", RG_VERSION);
	rg_json_open(&json, "sections", '[');
	for (i = 0; i < report->nr; i++) {
		rg_json_open(&json, NULL, '{');
		rg_json_text(&json, "title", report->sections[i].title);
		rg_json_text(&json, "text", report->sections[i].text);
		rg_json_close(&json, '}');
	}
	rg_json_close(&json, ']');
	rg_json_end(&json);
}

/* A new file, or none: what is there already may be somebody's. */
static int rg_report_redirect(const char *name)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0 && errno == EEXIST)
		return rg_fail(RG_EXIT_REFUSED, "%s: is there already; give another name", name);
	if (fd < 0)
		return rg_fail(rg_errno_code(errno), "%s: %s; give a name in a folder that is there and can be written",
			       name, strerror(errno));
	/* Where standard output was closed it has that number already. */
	if (fd == STDOUT_FILENO)
		return RG_EXIT_OK;
	if (dup2(fd, STDOUT_FILENO) < 0)
		return rg_fail(RG_EXIT_SYSTEM, "%s: %s", name, strerror(errno));
	close(fd);
	return RG_EXIT_OK;
}

static int rg_report_do(struct rg_cli *cli, const char *name)
{
	struct rg_report report = { };
	int rc = rg_report_collect(&report);
	size_t i;

	if (!rc)
		rc = rg_report_mask_all(&report);
	if (!rc && name)
		rc = rg_report_redirect(name);
	if (!rc)
		rg_report_print(cli, &report);
	if (!rc && name) {
		cli->output = name;
		rc = rg_flush(cli);
		/* What was cut is of no use, and keeps its name from the next one. */
		if (rc)
			unlink(name);
	}
	for (i = 0; i < report.nr; i++)
		free(report.sections[i].text);
	return rc;
}

static int rg_report_run(struct rg_cli *cli, int argc, char **argv)
{
	static const struct option options[] = {
		{ "output", required_argument, NULL, RG_OPTION_OUTPUT },
		RG_OPTION_JSON, RG_OPTION_HELP, RG_OPTION_LAST
	};
	const char *name = NULL;
	int option, rc;

	while ((option = rg_next_option(cli, argc, argv, options)) != RG_NO_OPTION) {
		if (option < 0)
			return rg_option_result(option);
		name = optarg;
	}
	rc = rg_no_more_words(cli, argc, argv);
	return rc ? rc : rg_report_do(cli, name);
}

const struct rg_command rg_report_command = {
	.name = "report",
	.usage = "[--output FILE]",
	.brief = "one text for a bug report",
	.help = "Gathers what a bug report needs: kernel, check, the module's files, the functions,\n"
		"lines of the log that the module, PCI and IOMMU drivers wrote. It leaves out who signed\n"
		"the module and what else the kernel's command line holds, and masks the machine's name\n"
		"and addresses of networks. Run it as root, for the log.\n\n"
		"  --output FILE  write it to a new file instead of standard output\n",
	.run = rg_report_run,
};
