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

int rgl_group_mutex_off(void)
{
	static struct rg_btf_member m;
	static int off = -ENOENT;
	unsigned long start, stop;
	struct rg_btf btf = {};
	int ret;

	if (off >= 0)
		return off;
	start = rgl_symbol("__start_BTF");
	stop = rgl_symbol("__stop_BTF");
	if (!start || stop <= start)
		return -ENODATA;
	ret = rg_btf_open(&btf, (const void *)start, stop - start);
	if (ret)
		return ret;
	ret = rg_btf_member(&btf, "iommu_group", "mutex", &m);
	rg_btf_close(&btf);
	if (ret)
		return ret;
	off = m.bit_off / 8;
	return off;
}
