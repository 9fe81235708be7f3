// SPDX-License-Identifier: GPL-2.0
/* Where the group's private mutex is: the kernel's own types say it. */
#include <linux/kprobes.h>

#include "rglab.h"
#include "../../src/btf.c"

typedef unsigned long (*rgl_lookup_t)(const char *name);

static rgl_lookup_t rgl_lookup(void)
{
	struct kprobe kp = { .symbol_name = "kallsyms_lookup_name" };
	rgl_lookup_t fn;

	if (register_kprobe(&kp))
		return NULL;
	fn = (rgl_lookup_t)kp.addr;
	unregister_kprobe(&kp);
	return fn;
}

int rgl_group_mutex_off(void)
{
	static struct rg_btf_member m;
	static int off = -ENOENT;
	unsigned long start, stop;
	struct rg_btf btf = {};
	rgl_lookup_t fn;
	int ret;

	if (off >= 0)
		return off;
	fn = rgl_lookup();
	if (!fn)
		return -ENOENT;
	start = fn("__start_BTF");
	stop = fn("__stop_BTF");
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
