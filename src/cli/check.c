// SPDX-License-Identifier: GPL-2.0
/* resetgate check: would the module cover this kernel, or one that is not running? */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "sysfs.h"

#define RG_CHECK_KERNELS 256

/**
 * rg_check_good - is all well with a kernel?
 * @kernel: the kernel
 *
 * Of one that is installed and not running it is asked, too, whether the module will be
 * there; of the running one --in-charge tells more.
 *
 * Context: User space.
 * Return: true if it is.
 */
bool rg_check_good(const struct rg_kernel *kernel)
{
	return kernel->covered == RG_COVERED && kernel->tested && !*kernel->lacks &&
	       (kernel->running || !kernel->installed || kernel->loads);
}

/**
 * rg_check_wants_signed - does a kernel take on this machine only modules that are signed?
 * @check: what was found out
 * @kernel: the kernel
 *
 * Context: User space.
 * Return: true if it does.
 */
bool rg_check_wants_signed(const struct rg_check *check, const struct rg_kernel *kernel)
{
	const char *lockdown = check->machine.lockdown;

	return (check->machine.secure_boot == 1 && !check->machine.shim_off) || kernel->sig_force ||
	       (*lockdown && strcmp(lockdown, "none"));
}

static int rg_check_loads(const struct rg_check *check, const struct rg_kernel *kernel)
{
	const struct rg_module_file *module = &kernel->module;

	if (check->loaded && !strcmp(check->module.kernel, kernel->release))
		return 1;
	if (!*module->path)
		return 0;
	if (!rg_check_wants_signed(check, kernel))
		return 1;
	if (!module->known)
		return -1;
	return *module->signer ? module->enrolled : 0;
}

/* The back ends that count: those named, or else this machine's if it can run the kernel. */
static const char *rg_check_iommu(const struct rg_check *check, bool here)
{
	if (check->iommu)
		return strcmp(check->iommu, "all") ? check->iommu : "";
	return here ? check->machine.iommus : "";
}

static struct rg_kernel *rg_check_more(struct rg_check *check)
{
	struct rg_kernel *more;

	if (!(check->nr & (check->nr + 1))) {
		more = realloc(check->kernels, (check->nr + 1) * 2 * sizeof(*more));
		if (!more)
			return NULL;
		check->kernels = more;
	}
	return &check->kernels[check->nr++];
}

/* One that was named must be read; one of many is shown as what it is. */
static int rg_check_add(struct rg_check *check, const char *path, bool named)
{
	struct rg_kernel *kernel = rg_check_more(check);
	int rc;

	if (!kernel)
		return rg_fail(RG_EXIT_SYSTEM, "out of memory");
	rc = path ? rg_kernel_read(kernel, path, rg_check_iommu(check, check->all_here)) :
		    rg_kernel_read_running(kernel, rg_check_iommu(check, true));
	if (!rc) {
		rg_kernel_surroundings(kernel);
		kernel->installed |= check->all_installed;
		kernel->loads = rg_check_loads(check, kernel);
		return RG_EXIT_OK;
	}
	if (named)
		return rg_fail(rc, "%s %s", path ? path : kernel->release, kernel->why);
	rg_note("%s %s", path, kernel->why);
	return RG_EXIT_OK;
}

static int rg_check_is_image(const struct dirent *entry)
{
	return (!strncmp(entry->d_name, "vmlinuz-", 8) || !strncmp(entry->d_name, "vmlinux-", 8)) &&
	       !strstr(entry->d_name, ".dpkg-") && !strstr(entry->d_name, ".old");
}

static int rg_check_installed(struct rg_check *check)
{
	char folder[PATH_MAX], path[PATH_MAX];
	struct dirent **entries = NULL;
	int nr, i, rc = RG_EXIT_OK;

	nr = scandir(rg_path(folder, "/boot"), &entries, rg_check_is_image, versionsort);
	if (nr < 0 && errno != ENOENT)
		return rg_fail(rg_errno_code(errno), "%s: %s%s", folder, strerror(errno),
			       rg_way_out(errno));
	check->all_here = true;
	for (i = 0; i < nr; i++) {
		if (!rc && snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name) <
		    (int)sizeof(path))
			rc = rg_check_add(check, path, false);
		free(entries[i]);
	}
	free(entries);
	if (nr <= 0)
		return rg_fail(RG_EXIT_ABSENT,
			       "no kernel image in %s: give one with --kernel FILE", folder);
	return rc;
}

/* Without these a gate closes all the same; status shows that they are off. */
static bool rg_check_may_be_off(const char *set)
{
	return !strcmp(set, "native") || !strcmp(set, "attach");
}

/* All other sets are on, and so is the back end of every IOMMU in use. */
static bool rg_check_judge_module(struct rg_check *check, const struct rg_module *module)
{
	const char *armed = rg_pairs_get(&module->counts, "armed");
	bool any = false;
	size_t i;

	snprintf(check->why_not, sizeof(check->why_not), "it is disarmed (disarm=1)");
	if (!armed || strcmp(armed, "yes"))
		return false;
	for (i = 0; i < module->backends.nr; i++)
		any |= !strcmp(module->backends.at[i].value, "on");
	snprintf(check->why_not, sizeof(check->why_not), "no back end is on");
	for (i = 0; i < module->sets.nr; i++) {
		if (strcmp(module->sets.at[i].value, "off") ||
		    rg_check_may_be_off(module->sets.at[i].name))
			continue;
		snprintf(check->why_not, sizeof(check->why_not), "%s is off",
			 module->sets.at[i].name);
		return false;
	}
	return any;
}

static int rg_check_module(struct rg_check *check)
{
	int rc;

	check->loaded = rg_is_loaded();
	if (!check->loaded) {
		snprintf(check->why_not, sizeof(check->why_not), "the module is not loaded");
		return RG_EXIT_OK;
	}
	rc = rg_module_read(&check->module);
	if (!rc)
		check->in_charge = rg_check_judge_module(check, &check->module);
	return rc;
}

static int rg_check_in_charge(struct rg_cli *cli, const struct rg_check *check)
{
	int rc = check->in_charge ? RG_EXIT_OK : check->loaded ? RG_EXIT_NO : rg_not_loaded();
	struct rg_json json;

	if (rc == RG_EXIT_NO)
		rg_note("not in charge: %s; the module's lines in dmesg say why", check->why_not);
	if (cli->json) {
		rg_json_start(&json, cli->out, "check");
		rg_check_json_charge(&json, check);
		rg_json_end(&json);
	} else if (check->in_charge) {
		fprintf(cli->out, "in charge\n");
	}
	/* To this question that is an answer, too, not a failure, which prints nothing. */
	if (cli->json && rc == RG_EXIT_UNLOADED && rg_flush(cli))
		return RG_EXIT_SYSTEM;
	return rc;
}

static int rg_check_collect(struct rg_check *check, char **files, int nr)
{
	int rc = RG_EXIT_OK, i;

	if (check->all_installed)
		return rg_check_installed(check);
	if (!nr)
		return rg_check_add(check, NULL, true);
	check->all_here = false;
	for (i = 0; !rc && i < nr; i++)
		rc = rg_check_add(check, files[i], nr == 1);
	return rc;
}

static int rg_check_do(struct rg_cli *cli, struct rg_check *check, char **files, int nr)
{
	int rc = rg_check_module(check);
	size_t i;

	if (!rc && check->only_charge)
		return rg_check_in_charge(cli, check);
	if (!rc) {
		rg_machine_read(&check->machine, &check->module);
		rc = rg_check_collect(check, files, nr);
	}
	if (rc)
		return rc;
	rc = cli->json ? rg_check_json(cli, check) : rg_check_text(cli, check);
	for (i = 0; !rc && i < check->nr; i++)
		if (!rg_check_good(&check->kernels[i]))
			rc = RG_EXIT_NO;
	return rc;
}

static bool rg_check_knows_iommu(const char *name)
{
	int i;

	for (i = 0; i < RG_NR_SETS; i++)
		if (rg_set_is_backend(i) && !strcmp(rg_set_names[i], name))
			return true;
	return !strcmp(name, "all");
}

static void rg_check_free(struct rg_check *check)
{
	size_t i;

	for (i = 0; i < check->nr; i++)
		free(check->kernels[i].reasons);
	free(check->kernels);
	rg_module_free(&check->module);
}

static int rg_check_options(struct rg_cli *cli, struct rg_check *check, int argc, char **argv,
			    char **files, int *nr)
{
	static const struct option options[] = {
		{ "kernel", required_argument, NULL, RG_OPTION_KERNEL },
		{ "all-installed", no_argument, NULL, RG_OPTION_ALL_INSTALLED },
		{ "in-charge", no_argument, NULL, RG_OPTION_IN_CHARGE },
		{ "iommu", required_argument, NULL, RG_OPTION_IOMMU },
		RG_OPTION_JSON, RG_OPTION_HELP, RG_OPTION_LAST
	};
	int option;

	while ((option = rg_next_option(cli, argc, argv, options)) != RG_NO_OPTION) {
		if (option < 0)
			return option;
		if (option == RG_OPTION_KERNEL && *nr == RG_CHECK_KERNELS) {
			rg_fail(RG_EXIT_USAGE, "check: more than %d times --kernel", *nr);
			return RG_BAD_OPTION;
		}
		if (option == RG_OPTION_KERNEL)
			files[(*nr)++] = optarg;
		else if (option == RG_OPTION_ALL_INSTALLED)
			check->all_installed = true;
		else if (option == RG_OPTION_IN_CHARGE)
			check->only_charge = true;
		else if (option == RG_OPTION_IOMMU)
			check->iommu = optarg;
	}
	return RG_NO_OPTION;
}

static int rg_check_run(struct rg_cli *cli, int argc, char **argv)
{
	char *files[RG_CHECK_KERNELS];
	struct rg_check check = { };
	int nr = 0, option, rc;

	option = rg_check_options(cli, &check, argc, argv, files, &nr);
	if (option != RG_NO_OPTION)
		return rg_option_result(option);
	rc = rg_no_more_words(cli, argc, argv);
	if (rc)
		return rc;
	if (!!nr + check.all_installed + check.only_charge > 1)
		return rg_fail(RG_EXIT_USAGE,
			       "check: --kernel, --all-installed and --in-charge exclude each other");
	if (check.only_charge && check.iommu)
		return rg_fail(RG_EXIT_USAGE, "check: --in-charge and --iommu exclude each other");
	if (check.iommu && !rg_check_knows_iommu(check.iommu))
		return rg_fail(RG_EXIT_USAGE,
			       "check: --iommu: expected the name of a back end as status has it, or all, found '%s'",
			       check.iommu);
	rc = rg_check_do(cli, &check, files, nr);
	rg_check_free(&check);
	return rc;
}

const struct rg_command rg_check_command = {
	.name = "check",
	.usage = "[--kernel FILE]... [--all-installed] [--in-charge] [--iommu NAME]",
	.brief = "whether a kernel is covered, before it is booted",
	.help = "Judges the running kernel, or images of others, by the table that the module uses\n"
		"when it is loaded: what would be on, what off, and why. Also: Secure Boot, lockdown,\n"
		"the module's signature, whether it is in the initramfs, who else redirects its\n"
		"functions. Exits with 0 if all is covered and tested, with 1 if not; with 1, too, if\n"
		"the module is missing or would not load on a kernel that is installed.\n\n"
		"  --kernel FILE  judge this image (bzImage, arm64 Image, EFI zboot, vmlinux)\n"
		"  --all-installed\n"
		"                 judge all images in /boot\n"
		"  --in-charge    only whether the loaded module is in force here, for scripts\n"
		"  --iommu NAME   let this back end count only, or all; default: this machine's\n",
	.run = rg_check_run,
};
