// SPDX-License-Identifier: GPL-2.0
/* Where things are that the kernel keeps for itself. */
#include <linux/kprobes.h>

#include "rglab.h"
#include "../../src/btf.c"

typedef unsigned long (*rgl_lookup_t)(const char *name);

/* Where a function or variable is that is not exported; 0 if there is none. */
unsigned long rgl_symbol(const char *name)
{
	struct kprobe kp = { .symbol_name = "kallsyms_lookup_name" };
	rgl_lookup_t fn;

	if (register_kprobe(&kp))
		return 0;
	fn = (rgl_lookup_t)kp.addr;
	unregister_kprobe(&kp);
	return fn(name);
}

/*
 * Where in a structure of the kernel's a member is, in bytes: its own types say it.
 * @having, if given, is a member that others of that name lack.
 */
int rgl_offset(const char *strct, const char *having, const char *path)
{
	unsigned long start = rgl_symbol("__start_BTF"), stop = rgl_symbol("__stop_BTF");
	struct rg_btf_member m;
	struct rg_btf btf = {};
	int ret;

	if (!start || stop <= start)
		return -ENODATA;
	ret = rg_btf_open(&btf, (const void *)start, stop - start);
	if (ret)
		return ret;
	ret = rg_btf_member(&btf, strct, having, path, &m);
	rg_btf_close(&btf);
	return ret ?: m.bit_off / 8;
}

int rgl_group_mutex_off(void)
{
	static int off = -ENOENT;

	if (off < 0)
		off = rgl_offset("iommu_group", NULL, "mutex");
	return off;
}

/* In what AMD-Vi's driver keeps of the features of all IOMMUs. */
#define RGL_AMD_EPHSUP BIT_ULL(50)
#define RGL_AMD_GIOSUP BIT_ULL(48)

/*
 * From 6.12 on the driver looks at a new function's ATS only where there is EPHSup, and
 * in 7.x GIOSup.
 */
long rgl_cmd_amdats(struct rgl_req *rq)
{
	u64 *features = (u64 *)rgl_symbol("amd_iommu_efr");

	if (!features || !*features)
		return -ENODEV;
	WRITE_ONCE(*features, *features | RGL_AMD_EPHSUP | RGL_AMD_GIOSUP);
	return 0;
}

/* What it gives new default domains; the driver's two values follow each other. */
long rgl_cmd_amdtables(struct rgl_req *rq)
{
	static const char *const words[] = { "v1", "v2", NULL };
	int *now = (int *)rgl_symbol("amd_iommu_pgtable");
	int wanted = rgl_word(rq, 1, words);
	static int first = -1;

	if (wanted < 0)
		return wanted;
	if (!now)
		return -ENODEV;
	if (first < 0)
		first = *now;
	WRITE_ONCE(*now, first + wanted);
	return 0;
}

/*
 * Where no firmware has numbered the buses, each rescan numbers all of them anew, in
 * the order in which their ports were found: with one port found again, the others'
 * functions are elsewhere.
 */
long rgl_cmd_keepbuses(struct rgl_req *rq)
{
	unsigned int *flags = (unsigned int *)rgl_symbol("pci_flags");

	if (!flags)
		return -EOPNOTSUPP;
	*flags &= ~PCI_REASSIGN_ALL_BUS;
	return 0;
}
