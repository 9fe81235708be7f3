// SPDX-License-Identifier: GPL-2.0
/* Shows what resetgate check has found out. */
#include <string.h>

#include "check.h"
#include "table.h"

static void rg_show_json_ternary(struct rg_json *json, const char *key, int val)
{
	if (val < 0)
		rg_json_null(json, key);
	else
		rg_json_bool(json, key, val);
}

static void rg_show_json_known(struct rg_json *json, const char *key, const char *text)
{
	if (*text)
		rg_json_text(json, key, text);
	else
		rg_json_null(json, key);
}

/**
 * rg_check_json_charge - write whether the loaded module is in force
 * @json: the writer
 * @check: what was found out
 *
 * Context: User space.
 */
void rg_check_json_charge(struct rg_json *json, const struct rg_check *check)
{
	rg_json_bool(json, "loaded", check->loaded);
	rg_json_bool(json, "in_charge", check->in_charge);
	rg_show_json_known(json, "why_not", check->in_charge ? "" : check->why_not);
}

static void rg_show_json_machine(struct rg_json *json, const struct rg_check *check)
{
	const struct rg_machine *machine = &check->machine;
	size_t i;

	rg_json_open(json, "machine", '{');
	rg_check_json_charge(json, check);
	rg_json_text(json, "iommus", machine->iommus);
	rg_json_text(json, "other_iommus", machine->other_iommus);
	rg_show_json_ternary(json, "secure_boot", machine->secure_boot);
	rg_json_bool(json, "shim_off", machine->shim_off);
	rg_show_json_known(json, "lockdown", machine->lockdown);
	rg_show_json_ternary(json, "ftrace_enabled", machine->ftrace);
	if (!machine->patchers_known) {
		rg_json_null(json, "patchers");
	} else {
		rg_json_open(json, "patchers", '[');
		for (i = 0; i < machine->nr_patchers; i++)
			rg_json_text(json, NULL, machine->patchers[i].function);
		rg_json_close(json, ']');
	}
	rg_json_close(json, '}');
}

static void rg_show_json_sets(struct rg_json *json, const struct rg_kernel *kernel)
{
	size_t i;
	int set;

	rg_json_open(json, "sets", '{');
	for (set = 0; kernel->covered != RG_UNREADABLE && set < RG_NR_SETS; set++)
		if (rg_kernel_has_set(kernel, set))
			rg_json_text(json, rg_set_names[set], kernel->off[set] ? "off" : "on");
	rg_json_close(json, '}');
	rg_json_open(json, "reasons", '[');
	for (i = 0; i < kernel->nr_reasons; i++) {
		rg_json_open(json, NULL, '{');
		rg_json_text(json, "set", rg_set_names[kernel->reasons[i].set]);
		rg_json_text(json, "name", kernel->reasons[i].name);
		rg_json_text(json, "expected", kernel->reasons[i].expected);
		rg_json_text(json, "found", kernel->reasons[i].found);
		rg_json_text(json, "lost", kernel->reasons[i].lost);
		rg_json_close(json, '}');
	}
	rg_json_close(json, ']');
}

static void rg_show_json_module(struct rg_json *json, const struct rg_module_file *module)
{
	if (!*module->path) {
		rg_json_null(json, "module");
		return;
	}
	rg_json_open(json, "module", '{');
	rg_json_text(json, "file", module->path);
	rg_show_json_known(json, "version", module->version);
	rg_show_json_ternary(json, "signed", module->known ? !!*module->signer : -1);
	rg_show_json_known(json, "signer", module->signer);
	rg_show_json_ternary(json, "enrolled", module->enrolled);
	rg_json_close(json, '}');
}

static void rg_show_json_kernel(struct rg_json *json, const struct rg_kernel *kernel)
{
	rg_json_open(json, NULL, '{');
	rg_show_json_known(json, "file", kernel->path);
	rg_show_json_known(json, "release", kernel->release);
	rg_json_text(json, "arch", rg_arch_words[kernel->arch]);
	rg_show_json_known(json, "format", kernel->format ? kernel->format : "");
	rg_json_bool(json, "running", kernel->running);
	rg_json_text(json, "verdict", rg_covered_words[kernel->covered]);
	rg_show_json_known(json, "why", kernel->why);
	rg_json_bool(json, "tested", kernel->tested);
	rg_json_bool(json, "symbols", kernel->symbols);
	rg_show_json_sets(json, kernel);
	rg_show_json_known(json, "config", kernel->config);
	rg_json_text(json, "config_lacks", kernel->lacks);
	rg_show_json_ternary(json, "signed_modules_only", *kernel->config ? kernel->sig_force : -1);
	rg_show_json_module(json, &kernel->module);
	rg_json_bool(json, "installed", kernel->installed);
	rg_show_json_ternary(json, "loads", kernel->installed ? kernel->loads : -1);
	rg_show_json_ternary(json, "initramfs", kernel->initramfs);
	rg_json_close(json, '}');
}

/**
 * rg_check_json - write all as JSON
 * @cli: the run
 * @check: what was found out
 *
 * Context: User space.
 * Return: the exit code.
 */
int rg_check_json(struct rg_cli *cli, const struct rg_check *check)
{
	struct rg_json json;
	size_t i;

	rg_json_start(&json, cli->out, "check");
	rg_show_json_machine(&json, check);
	rg_json_open(&json, "kernels", '[');
	for (i = 0; i < check->nr; i++)
		rg_show_json_kernel(&json, &check->kernels[i]);
	rg_json_close(&json, ']');
	rg_json_end(&json);
	return RG_EXIT_OK;
}

static void rg_show_off(const struct rg_kernel *kernel, char *text, size_t size)
{
	size_t len = 0;
	int set;

	snprintf(text, size, "-");
	for (set = 0; set < RG_NR_SETS; set++)
		if (kernel->off[set] && len < size)
			len += snprintf(text + len, size - len, "%s%s", len ? " " : "",
					rg_set_names[set]);
}

static const char *rg_show_signed(const struct rg_module_file *module)
{
	if (!*module->path)
		return "none";
	if (!module->known)
		return "unknown";
	return *module->signer ? "signed" : "unsigned";
}

static const struct rg_column rg_show_columns[] = {
	{ "KERNEL", false }, { "VERDICT", false }, { "SERIES", false }, { "OFF", false },
	{ "MODULE", false }, { "LOADS", false }, { "INITRAMFS", false },
};

static const char *rg_show_yes(int val)
{
	return val < 0 ? "unknown" : val ? "yes" : "no";
}

static int rg_show_table(struct rg_cli *cli, const struct rg_check *check)
{
	struct rg_table table = { rg_show_columns, ARRAY_SIZE(rg_show_columns), NULL, 0, 0 };
	const struct rg_kernel *kernel;
	const char *slash;
	char off[128];
	size_t i;

	for (i = 0; i < check->nr; i++) {
		kernel = &check->kernels[i];
		slash = strrchr(kernel->path, '/');
		rg_show_off(kernel, off, sizeof(off));
		rg_table_add(&table, "%s", *kernel->release ? kernel->release :
			     slash ? slash + 1 : kernel->path);
		rg_table_add(&table, "%s", rg_covered_words[kernel->covered]);
		rg_table_add(&table, "%s", kernel->covered == RG_UNREADABLE ? "-" :
			     kernel->tested ? "tested" : "untested");
		rg_table_add(&table, "%s", off);
		rg_table_add(&table, "%s", rg_show_signed(&kernel->module));
		rg_table_add(&table, "%s", kernel->installed ? rg_show_yes(kernel->loads) : "-");
		rg_table_add(&table, "%s", kernel->installed ? rg_show_yes(kernel->initramfs) : "-");
	}
	return rg_table_print(cli, &table);
}

/* One mismatch turns a set off; the others are for those who would mend it. */
static void rg_show_set_reasons(struct rg_cli *cli, const struct rg_kernel *kernel, enum rg_set set)
{
	const struct rg_reason *first = NULL;
	char text[1024];
	size_t more = 0, i;

	for (i = 0; i < kernel->nr_reasons; i++) {
		if (kernel->reasons[i].set != set)
			continue;
		if (first)
			more++;
		else
			first = &kernel->reasons[i];
	}
	if (!first)
		return;
	snprintf(text, sizeof(text), "%s off: %s: expected '%s', found '%s'. %s",
		 rg_set_names[set], first->name, first->expected, first->found, first->lost);
	rg_wrap(cli, "why", text);
	snprintf(text, sizeof(text), "and %zu more of %s; --json lists them", more,
		 rg_set_names[set]);
	if (more)
		rg_wrap(cli, "", text);
}

static void rg_show_reasons(struct rg_cli *cli, const struct rg_kernel *kernel)
{
	char text[1024];
	int set;

	for (set = 0; set < RG_NR_SETS; set++)
		rg_show_set_reasons(cli, kernel, set);
	if (*kernel->why)
		rg_wrap(cli, "why", kernel->why);
	if (!kernel->symbols && kernel->covered != RG_UNREADABLE)
		rg_wrap(cli, "note", "its symbols cannot be read: variables, and functions of one name, are not checked");
	if (*kernel->lacks) {
		snprintf(text, sizeof(text), "dkms will not build the module for it: it lacks %s",
			 kernel->lacks);
		rg_wrap(cli, "why", text);
	}
	if (kernel->covered != RG_UNREADABLE && !kernel->tested)
		rg_wrap(cli, "note", "the module was not tested on this series, and refuses it without allow_untested=1");
}

static const char *rg_show_signature(const struct rg_module_file *module, bool wanted)
{
	if (!wanted)
		return "";
	if (!*module->signer)
		return ": this machine takes signed modules only, so it will not load; enrol dkms's key (mokutil --import /var/lib/dkms/mok.pub) and have dkms build it again";
	if (module->enrolled == 1)
		return ", whose key the kernel has";
	if (!module->enrolled)
		return ", whose key the kernel does not have, so it will not load; enrol it (mokutil --import /var/lib/dkms/mok.pub) and reboot";
	if (module->namesake)
		return "; the kernel has a key of that name, and it loads if it is this one (modinfo -F sig_key, mokutil --list-enrolled)";
	return "; it loads if that key is enrolled (mokutil --list-enrolled)";
}

static void rg_show_module(struct rg_cli *cli, const struct rg_check *check,
			   const struct rg_kernel *kernel)
{
	const struct rg_module_file *module = &kernel->module;
	const char *more = rg_show_signature(module, rg_check_wants_signed(check, kernel));
	const char *by = cli->discreet ? "" : " by ";
	char text[PATH_MAX + 512];

	if (!*module->path)
		snprintf(text, sizeof(text), "none is installed for this kernel: dkms status; make install or the package builds it");
	else if (!module->known)
		snprintf(text, sizeof(text), "%s; modinfo cannot tell of its signature: apt-get install kmod",
			 module->path);
	else if (*module->signer)
		snprintf(text, sizeof(text), "%s, version %s, signed%s%s%s", module->path,
			 module->version, by, *by ? module->signer : "", more);
	else
		snprintf(text, sizeof(text), "%s, version %s, not signed%s", module->path,
			 module->version, more);
	rg_wrap(cli, "module", text);
}

static void rg_show_kernel(struct rg_cli *cli, const struct rg_check *check,
			   const struct rg_kernel *kernel)
{
	char text[256], off[128];

	snprintf(text, sizeof(text), "%s (%s, %s), series %s", kernel->release,
		 rg_arch_words[kernel->arch], kernel->format,
		 kernel->tested ? "tested" : "untested");
	rg_wrap(cli, "kernel", text);
	fprintf(cli->out, "%-11s %s%s%s\n", "verdict", rg_paint(cli, rg_covered_words[kernel->covered]),
		rg_covered_words[kernel->covered],
		rg_unpaint(cli, rg_covered_words[kernel->covered]));
	rg_show_off(kernel, off, sizeof(off));
	rg_wrap(cli, "off", strcmp(off, "-") ? off : "nothing");
	rg_show_reasons(cli, kernel);
	rg_show_module(cli, check, kernel);
	if (kernel->installed)
		rg_wrap(cli, "initramfs", kernel->initramfs < 0 ? "unknown: lsinitramfs says nothing" :
			kernel->initramfs ? "has the module" :
			"does not have the module: functions are covered once the root file system is there");
}

static const char *rg_show_ternary(int val)
{
	return val < 0 ? "unknown" : val ? "on" : "off";
}

static void rg_show_locks(struct rg_cli *cli, const struct rg_machine *machine)
{
	rg_wrap(cli, "secure boot", machine->shim_off ?
		"on, but shim checks no signatures, so the kernel checks none either; mokutil --enable-validation" :
		rg_show_ternary(machine->secure_boot));
	rg_wrap(cli, "lockdown", *machine->lockdown ? machine->lockdown : "unknown");
}

static void rg_show_patchers(struct rg_cli *cli, const struct rg_machine *machine)
{
	char text[96];
	size_t i;

	if (!machine->patchers_known)
		rg_wrap(cli, "patchers", "unknown: tracefs cannot be read; run it as root");
	else if (!machine->nr_patchers)
		rg_wrap(cli, "patchers", "nobody else redirects what resetgate does");
	for (i = 0; i < machine->nr_patchers; i++) {
		snprintf(text, sizeof(text), "%s is %s by somebody else (flag %c in enabled_functions)",
			 machine->patchers[i].function,
			 machine->patchers[i].flag == 'I' ? "redirected" : "called directly",
			 machine->patchers[i].flag);
		rg_wrap(cli, "patchers", text);
	}
}

static void rg_show_machine(struct rg_cli *cli, const struct rg_check *check)
{
	const struct rg_machine *machine = &check->machine;
	char text[256];

	snprintf(text, sizeof(text), "%s%s%s", check->in_charge ? "yes" : "no: ",
		 check->in_charge ? "" : check->why_not,
		 check->loaded || check->in_charge ? "" : " (modprobe resetgate)");
	rg_wrap(cli, "in charge", text);
	snprintf(text, sizeof(text), "%s%s%s%s", *machine->iommus ? machine->iommus :
		 *machine->other_iommus ? "" : "none in use: is it off in the firmware, or by intel_iommu=off or the like?",
		 *machine->iommus && *machine->other_iommus ? "; " : "",
		 *machine->other_iommus ? "no back end for " : "", machine->other_iommus);
	rg_wrap(cli, "IOMMU", text);
	rg_show_locks(cli, machine);
	if (!machine->ftrace)
		rg_wrap(cli, "ftrace", "kernel.ftrace_enabled is 0: the module cannot be armed; sysctl kernel.ftrace_enabled=1");
	rg_show_patchers(cli, machine);
}

/**
 * rg_check_text - print all for people
 * @cli: the run
 * @check: what was found out
 *
 * Context: User space.
 * Return: the exit code.
 */
int rg_check_text(struct rg_cli *cli, const struct rg_check *check)
{
	int rc = RG_EXIT_OK;
	char name[PATH_MAX];
	size_t i;

	if (check->nr == 1 && !check->all_installed) {
		rg_show_kernel(cli, check, &check->kernels[0]);
		if (check->kernels[0].running)
			rg_show_machine(cli, check);
		else if (check->kernels[0].installed)
			rg_show_locks(cli, &check->machine);
		return RG_EXIT_OK;
	}
	rc = rg_show_table(cli, check);
	if (!rc) {
		fputc('\n', cli->out);
		rg_show_locks(cli, &check->machine);
	}
	for (i = 0; !rc && i < check->nr; i++) {
		if (rg_check_good(&check->kernels[i]))
			continue;
		snprintf(name, sizeof(name), "%s", *check->kernels[i].release ?
			 check->kernels[i].release : check->kernels[i].path);
		fprintf(cli->out, "\n%s\n", rg_clean(name));
		rg_show_reasons(cli, &check->kernels[i]);
		if (check->kernels[i].installed && !check->kernels[i].loads)
			rg_show_module(cli, check, &check->kernels[i]);
	}
	return rc;
}
