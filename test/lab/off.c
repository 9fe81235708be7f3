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

/* Where in a structure of the kernel's a member is, in bytes: its own types say it. */
int rgl_offset(const char *strct, const char *path)
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
	ret = rg_btf_member(&btf, strct, path, &m);
	rg_btf_close(&btf);
	return ret ?: m.bit_off / 8;
}

int rgl_group_mutex_off(void)
{
	static int off = -ENOENT;

	if (off < 0)
		off = rgl_offset("iommu_group", "mutex");
	return off;
}
