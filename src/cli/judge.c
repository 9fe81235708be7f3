// SPDX-License-Identifier: GPL-2.0
/*
 * Judges a kernel by the module's own table: what src/patch.c does at load, in
 * the same order, by the kernel's types and symbols instead of its memory.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "cli.h"
#include "kernel.h"
#include "sysfs.h"

const char *const rg_covered_words[] = {
	[RG_COVERED] = "covered",
	[RG_COVERED_IN_PART] = "in part",
	[RG_NOT_COVERED] = "not covered",
	[RG_UNREADABLE] = "unreadable",
};

const char *const rg_arch_words[] = {
	[RG_ARCH_ANY] = "another architecture",
	[RG_ARCH_X86] = "x86_64",
	[RG_ARCH_ARM64] = "arm64",
};

/**
 * rg_set_is_backend - is a set about one vendor's IOMMU?
 * @set: the set
 *
 * Context: User space.
 * Return: true if it is.
 */
bool rg_set_is_backend(enum rg_set set)
{
	return rg_set_arches[set] != RG_ARCH_ANY;
}

/**
 * rg_kernel_has_set - is a set looked for on a kernel's architecture?
 * @kernel: the kernel
 * @set: the set
 *
 * Context: User space.
 * Return: true if it is.
 */
bool rg_kernel_has_set(const struct rg_kernel *kernel, enum rg_set set)
{
	return !rg_set_is_backend(set) || rg_set_arches[set] == kernel->arch;
}

/**
 * rg_arch_is_here - is an architecture this machine's?
 * @arch: the architecture
 *
 * Context: User space.
 * Return: true if it is.
 */
bool rg_arch_is_here(enum rg_arch arch)
{
	struct utsname name;

	if (uname(&name))
		return false;
	return arch == (!strcmp(name.machine, "x86_64") ? RG_ARCH_X86 :
			!strcmp(name.machine, "aarch64") ? RG_ARCH_ARM64 : RG_ARCH_ANY);
}

static void rg_judge_off(struct rg_kernel *kernel, enum rg_set set, const char *name,
			 const char *expected, const char *found, const char *lost)
{
	struct rg_reason *reason = &kernel->reasons[kernel->nr_reasons++];

	kernel->off[set] = true;
	reason->set = set;
	reason->lost = lost;
	snprintf(reason->name, sizeof(reason->name), "%s", name);
	snprintf(reason->expected, sizeof(reason->expected), "%s", expected);
	snprintf(reason->found, sizeof(reason->found), "%s", found);
}

/* One symbol of exactly that name; false where the target is settled. */
static bool rg_judge_symbol(struct rg_kernel *kernel, const struct rg_btf *btf,
			    const struct rg_symbols *symbols, enum rg_target_id id)
{
	const struct rg_target *target = &rg_targets[id];
	const struct rg_symbol_count *count = &symbols->of[id];
	char found[RG_BTF_TEXT];

	if (count->exact == 1)
		return true;
	if (target->use == RG_USE_DATA && !symbols->complete)
		return false;
	if (!count->exact && !rg_target_is_needed(btf, id))
		return false;
	if (count->exact)
		snprintf(found, sizeof(found), "%u of the name", count->exact);
	else
		snprintf(found, sizeof(found), *count->variant ? "only %s, as the compiler changed it" :
			 "none", count->variant);
	rg_judge_off(kernel, target->set, target->name, "one symbol", found, target->lost);
	return false;
}

static void rg_judge_traced(struct rg_kernel *kernel, const struct rg_symbols *symbols,
			    enum rg_target_id id)
{
	const struct rg_target *target = &rg_targets[id];

	if (!symbols->traced_known || symbols->of[id].traced ||
	    (target->use != RG_USE_REDIRECT && target->use != RG_USE_OBSERVE))
		return;
	rg_judge_off(kernel, target->set, target->name, "a traced function",
		     "one that ftrace cannot reach", target->lost);
}

static void rg_judge_target(struct rg_kernel *kernel, const struct rg_btf *btf,
			    const struct rg_symbols *symbols, enum rg_target_id id)
{
	const struct rg_target *target = &rg_targets[id];
	char found[RG_BTF_TEXT];
	enum rg_verdict verdict;

	if (symbols->known && !rg_judge_symbol(kernel, btf, symbols, id))
		return;
	verdict = rg_target_judge(btf, id, found);
	if (verdict == RG_MATCH) {
		rg_judge_traced(kernel, symbols, id);
		return;
	}
	if (verdict == RG_ABSENT && !symbols->known && !rg_target_is_needed(btf, id))
		return;
	rg_judge_off(kernel, target->set, target->name, target->proto,
		     verdict == RG_ABSENT ? "no type information" : found, target->lost);
}

static void rg_judge_member(struct rg_kernel *kernel, const struct rg_btf *btf, enum rg_member_id id)
{
	const struct rg_member *member = &rg_members[id];
	char name[96], found[RG_BTF_TEXT];
	enum rg_verdict verdict;
	u32 off;

	verdict = rg_member_judge(btf, id, &off, found);
	if (verdict == RG_MATCH || (verdict == RG_ABSENT && !rg_member_is_needed(btf, id)))
		return;
	snprintf(name, sizeof(name), "struct %s.%s", member->strct, member->path);
	rg_judge_off(kernel, member->set, name, member->type,
		     verdict == RG_ABSENT ? "none" : found, "The whole set.");
}

/* Without these three the module does not load; see src/main.c and src/reset_path.c. */
static bool rg_judge_is_needed(enum rg_set set)
{
	return set == RG_SET_CORE || set == RG_SET_RESET || set == RG_SET_ENDPOINT;
}

static enum rg_covered rg_judge_sum(const struct rg_kernel *kernel, const char *iommu)
{
	int on = 0, off = 0, part = 0, set;

	for (set = 0; set < RG_NR_SETS; set++) {
		if (!rg_kernel_has_set(kernel, set))
			continue;
		if (!rg_set_is_backend(set)) {
			if (kernel->off[set] && rg_judge_is_needed(set))
				return RG_NOT_COVERED;
			part += kernel->off[set];
		} else if (!*iommu || strstr(iommu, rg_set_names[set])) {
			on += !kernel->off[set];
			off += kernel->off[set];
		}
	}
	if (!on)
		return RG_NOT_COVERED;
	return off || part ? RG_COVERED_IN_PART : RG_COVERED;
}

static bool rg_judge_has_backend(const struct rg_kernel *kernel)
{
	int set;

	for (set = 0; set < RG_NR_SETS; set++)
		if (rg_set_is_backend(set) && rg_kernel_has_set(kernel, set))
			return true;
	return false;
}

static bool rg_judge_is_tested(const char *release)
{
	static const char *const series[] = { RG_TESTED_SERIES };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(series); i++)
		if (!strncmp(release, series[i], strlen(series[i])))
			return true;
	return false;
}

static int rg_judge_all(struct rg_kernel *kernel, struct rg_part types,
			const struct rg_symbols *symbols, const char *iommu)
{
	struct rg_btf btf;
	int i;

	if (rg_btf_open(&btf, types.at, types.size)) {
		snprintf(kernel->why, sizeof(kernel->why),
			 "has type information (BTF) that is damaged or of a newer kind: look for a newer resetgate");
		return RG_EXIT_BAD;
	}
	kernel->reasons = calloc(RG_REASONS, sizeof(*kernel->reasons));
	if (!kernel->reasons) {
		rg_btf_close(&btf);
		snprintf(kernel->why, sizeof(kernel->why), "out of memory");
		return RG_EXIT_SYSTEM;
	}
	for (i = 0; i < RG_NR_TARGETS; i++)
		if (rg_kernel_has_set(kernel, rg_targets[i].set))
			rg_judge_target(kernel, &btf, symbols, i);
	for (i = 0; i < RG_NR_MEMBERS; i++)
		if (rg_kernel_has_set(kernel, rg_members[i].set))
			rg_judge_member(kernel, &btf, i);
	rg_btf_close(&btf);
	kernel->symbols = symbols->known;
	kernel->tested = rg_judge_is_tested(kernel->release);
	kernel->covered = rg_judge_sum(kernel, iommu);
	if (!rg_judge_has_backend(kernel))
		snprintf(kernel->why, sizeof(kernel->why),
			 "is of %s, for whose IOMMUs this version of resetgate has no back end",
			 rg_arch_words[kernel->arch]);
	return RG_EXIT_OK;
}

/**
 * rg_kernel_read - judge a kernel image
 * @kernel: receives the judgement; reasons is to be freed
 * @path: the file
 * @iommu: names of the back ends that count; empty: all of the architecture
 *
 * Context: User space; may run child processes that unpack.
 * Return: the exit code; unless it is 0, why has the reason.
 */
int rg_kernel_read(struct rg_kernel *kernel, const char *path, const char *iommu)
{
	struct rg_image image;
	int rc;

	*kernel = (struct rg_kernel){ .covered = RG_UNREADABLE, .initramfs = -1, .loads = -1 };
	snprintf(kernel->path, sizeof(kernel->path), "%s", path);
	rc = rg_image_read(&image, path, kernel->why);
	if (!rc) {
		kernel->arch = image.arch;
		kernel->format = image.format;
		snprintf(kernel->release, sizeof(kernel->release), "%s", image.release);
		rc = rg_judge_all(kernel, image.btf, &image.symbols, iommu);
	}
	rg_image_free(&image);
	return rc;
}

/* ADDRESS TYPE NAME, and [MODULE] where it is not the kernel's own. */
static void rg_judge_kallsyms(char *text, struct rg_symbols *symbols)
{
	char *line, *name;

	while ((line = strsep(&text, "\n"))) {
		name = strrchr(line, ' ');
		if (name && !strchr(name, '\t'))
			rg_symbols_note(symbols, name + 1, strlen(name + 1));
		if (name && name > line && strchr("DdBb", name[-1]))
			symbols->complete = true;
	}
	symbols->known = symbols->total;
}

/* A line for each function; those of modules have [MODULE] behind. Root alone may read it. */
static void rg_judge_traceable(struct rg_symbols *symbols)
{
	char path[PATH_MAX], *text, *rest, *line;
	size_t size;
	int error;

	text = rg_read_all(rg_path(path, "/sys/kernel/tracing/available_filter_functions"),
			   64u << 20, &size, &error);
	for (rest = text; (line = strsep(&rest, "\n"));)
		if (*line && !strchr(line, ' '))
			rg_symbols_note_traced(symbols, line, strlen(line));
	free(text);
}

static int rg_judge_running_btf(struct rg_kernel *kernel, const struct rg_symbols *symbols,
				const char *iommu)
{
	char path[PATH_MAX];
	size_t size = 0;
	int error, rc;
	char *data = rg_read_all(rg_path(path, "/sys/kernel/btf/vmlinux"), 256u << 20, &size,
				 &error);

	if (!data) {
		snprintf(kernel->why, sizeof(kernel->why),
			 "has no type information (BTF: %s): resetgate will not load on it; it needs a kernel with CONFIG_DEBUG_INFO_BTF",
			 strerror(error));
		return RG_EXIT_BAD;
	}
	rc = rg_judge_all(kernel, (struct rg_part){ (u8 *)data, size }, symbols, iommu);
	free(data);
	return rc;
}

/**
 * rg_kernel_read_running - judge the running kernel
 * @kernel: receives the judgement; reasons is to be freed
 * @iommu: names of the back ends that count; empty: all of the architecture
 *
 * Context: User space.
 * Return: the exit code; unless it is 0, why has the reason.
 */
int rg_kernel_read_running(struct rg_kernel *kernel, const char *iommu)
{
	struct rg_symbols symbols = { };
	char path[PATH_MAX];
	struct utsname name;
	size_t size = 0;
	char *text;
	int error;

	*kernel = (struct rg_kernel){ .covered = RG_UNREADABLE, .initramfs = -1, .loads = -1, .running = true,
				      .format = "running" };
	if (rg_read_line(rg_path(path, "/proc/sys/kernel/osrelease"), kernel->release,
			 sizeof(kernel->release)) < 0 && !uname(&name))
		snprintf(kernel->release, sizeof(kernel->release), "%s", name.release);
	kernel->arch = rg_arch_is_here(RG_ARCH_X86) ? RG_ARCH_X86 :
		       rg_arch_is_here(RG_ARCH_ARM64) ? RG_ARCH_ARM64 : RG_ARCH_ANY;
	text = rg_read_all(rg_path(path, "/proc/kallsyms"), 256u << 20, &size, &error);
	if (text)
		rg_judge_kallsyms(text, &symbols);
	free(text);
	rg_judge_traceable(&symbols);
	return rg_judge_running_btf(kernel, &symbols, iommu);
}
