// SPDX-License-Identifier: GPL-2.0
/* Looks at the machine: its IOMMUs, Secure Boot, lockdown, who else redirects functions. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../targets.h"
#include "machine.h"
#include "sysfs.h"

#define RG_EFI_NON_VOLATILE 1

/* Names that the drivers give their IOMMUs in sysfs. */
static const struct {
	const char *prefix;
	const char *set;
} rg_iommu_classes[] = {
	{ "dmar", "vtd" },
	{ "ivhd", "amd" },
	{ "smmu3", "smmu" },
};

static void rg_machine_add(char *list, size_t size, const char *word)
{
	size_t len = strlen(list);

	if (!strstr(list, word))
		snprintf(list + len, size - len, "%s%s", len ? " " : "", word);
}

/* A back end is named as its set is, or begins so. */
static const char *rg_machine_set(const char *prefix)
{
	int i;

	for (i = 0; i < RG_NR_SETS; i++)
		if (!strncmp(rg_set_names[i], prefix, strlen(prefix)))
			return rg_set_names[i];
	return NULL;
}

static void rg_machine_iommu(struct rg_machine *machine, const char *name)
{
	const char *set = NULL;
	size_t i;

	for (i = 0; !set && i < ARRAY_SIZE(rg_iommu_classes); i++)
		if (!strncmp(name, rg_iommu_classes[i].prefix, strlen(rg_iommu_classes[i].prefix)))
			set = rg_machine_set(rg_iommu_classes[i].set);
	if (set)
		rg_machine_add(machine->iommus, sizeof(machine->iommus), set);
	else
		rg_machine_add(machine->other_iommus, sizeof(machine->other_iommus), name);
}

static void rg_machine_iommus(struct rg_machine *machine)
{
	char path[PATH_MAX];
	DIR *dir = opendir(rg_path(path, "/sys/class/iommu"));
	struct dirent *entry;

	if (!dir)
		return;
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			rg_machine_iommu(machine, entry->d_name);
	closedir(dir);
}

/* Four bytes of attributes, then one: UEFI specification, section 3.3. */
static int rg_machine_variable(const char *name, int *volatile_only)
{
	char path[PATH_MAX], *data;
	size_t size = 0;
	int error, on;

	data = rg_read_all(rg_path(path, "/sys/firmware/efi/efivars/%s", name), 64, &size, &error);
	on = data && size == 5 ? data[4] == 1 : -1;
	*volatile_only = on >= 0 && !(data[0] & RG_EFI_NON_VOLATILE);
	free(data);
	return on;
}

static int rg_machine_secure_boot(void)
{
	char path[PATH_MAX];
	int ignored;

	if (!rg_file_exists(rg_path(path, "/sys/firmware")))
		return -1;
	if (!rg_file_exists(rg_path(path, "/sys/firmware/efi")))
		return 0;
	return rg_machine_variable("SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", &ignored);
}

/*
 * The owner may have told shim to check no signatures, and then the kernel checks none
 * either. It believes that only of a variable that is gone with the next boot: the other
 * kind anybody could have left there (drivers/firmware/efi/libstub/secureboot.c).
 */
static bool rg_machine_shim_off(void)
{
	int volatile_only;

	return rg_machine_variable("MokSBStateRT-605dab50-e046-4300-abb6-3dd810dd8b23",
				   &volatile_only) == 1 && volatile_only;
}

/* "none [integrity] confidentiality" */
static void rg_machine_lockdown(char *lockdown, size_t size)
{
	char path[PATH_MAX], text[128];
	char *open, *close;

	if (rg_read_line(rg_path(path, "/sys/kernel/security/lockdown"), text, sizeof(text)) < 0)
		return;
	open = strchr(text, '[');
	close = open ? strchr(open, ']') : NULL;
	if (!close)
		return;
	*close = '\0';
	snprintf(lockdown, size, "%s", open + 1);
}

static bool rg_machine_redirects(const char *function)
{
	int i;

	for (i = 0; i < RG_NR_TARGETS; i++)
		if (rg_targets[i].use == RG_USE_REDIRECT && !strcmp(rg_targets[i].name, function))
			return true;
	return false;
}

static bool rg_machine_is_own(const struct rg_module *module, const char *function)
{
	size_t i;

	for (i = 0; i < module->nr_targets; i++)
		if (module->targets[i].armed && !strcmp(module->targets[i].name, function))
			return true;
	return false;
}

/*
 * NAME (USERS) FLAGS ...: with I somebody redirects it (IPMODIFY), with D it is
 * called directly, as BPF does. Where the module has armed the function, I is its
 * own: there can be but one.
 */
static void rg_machine_patcher(struct rg_machine *machine, char *line,
			       const struct rg_module *module)
{
	char *name = strsep(&line, " "), *at;
	char flag = 0;

	at = line ? strchr(line, ')') : NULL;
	if (!at || !rg_machine_redirects(name))
		return;
	for (at++; *at == ' ' || (*at >= 'A' && *at <= 'Z'); at++)
		if ((*at == 'I' && !rg_machine_is_own(module, name)) || *at == 'D')
			flag = *at;
	if (!flag || machine->nr_patchers == RG_PATCHERS)
		return;
	snprintf(machine->patchers[machine->nr_patchers].function,
		 sizeof(machine->patchers[0].function), "%s", name);
	machine->patchers[machine->nr_patchers++].flag = flag;
}

static void rg_machine_patchers(struct rg_machine *machine, const struct rg_module *module)
{
	static const char *const places[] = { "/sys/kernel/tracing", "/sys/kernel/debug/tracing" };
	char path[PATH_MAX], *text = NULL, *rest, *line;
	size_t size = 0, i;
	int error;

	for (i = 0; !text && i < 2; i++)
		text = rg_read_all(rg_path(path, "%s/enabled_functions", places[i]), 64u << 20,
				   &size, &error);
	machine->patchers_known = text;
	for (rest = text; (line = strsep(&rest, "\n"));)
		rg_machine_patcher(machine, line, module);
	free(text);
}

/**
 * rg_machine_read - look at the machine
 * @machine: receives what is known of it
 * @module: what the module shows; without targets if it is not loaded
 *
 * Context: User space.
 */
void rg_machine_read(struct rg_machine *machine, const struct rg_module *module)
{
	char path[PATH_MAX], text[16];

	*machine = (struct rg_machine){ .ftrace = -1 };
	rg_machine_iommus(machine);
	machine->secure_boot = rg_machine_secure_boot();
	machine->shim_off = machine->secure_boot == 1 && rg_machine_shim_off();
	rg_machine_lockdown(machine->lockdown, sizeof(machine->lockdown));
	if (rg_read_line(rg_path(path, "/proc/sys/kernel/ftrace_enabled"), text, sizeof(text)) > 0)
		machine->ftrace = text[0] != '0';
	rg_machine_patchers(machine, module);
}
