// SPDX-License-Identifier: GPL-2.0
/*
 * rglab: exercises IOMMU attachments and PCI resets for resetgate's tests.
 * One command per write to /dev/rglab, one line of answer per read.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "rglab.h"

struct workqueue_struct *rgl_wq;

struct rgl_cmd {
	const char *name;
	int min, max;		/* words after the name */
	long (*run)(struct rgl_req *rq);
	const char *usage;
};

static const struct rgl_cmd rgl_cmds[] = {
	{ "mark", 1, 1, rgl_cmd_mark, "N" },
	{ "domain", 2, 3, rgl_cmd_domain, "new NAME BDF | free NAME" },
	{ "map", 3, 4, rgl_cmd_map, "NAME IOVA SIZE [PATTERN]" },
	{ "unmap", 3, 4, rgl_cmd_unmap, "NAME IOVA SIZE [keep]" },
	{ "peek", 2, 2, rgl_cmd_peek, "NAME IOVA" },
	{ "phys", 2, 2, rgl_cmd_peek, "NAME IOVA" },
	{ "poke", 3, 3, rgl_cmd_poke, "NAME IOVA PATTERN" },
	{ "kept", 1, 1, rgl_cmd_kept, "check|free" },
	{ "churn", 1, 1, rgl_cmd_churn, "MIB|check|free" },
	{ "storm", 2, 3, rgl_cmd_storm, "start NAME [fast] | stop NAME | wait NAME N" },
	{ "claim", 1, 1, rgl_cmd_claim, "BDF" },
	{ "release", 1, 1, rgl_cmd_release, "BDF" },
	{ "attach", 2, 3, rgl_cmd_attach, "BDF NAME [group|device|locked|handle]" },
	{ "sva", 1, 1, rgl_cmd_sva, "BDF" },
	{ "detach", 1, 2, rgl_cmd_detach, "BDF [NAME]" },
	{ "replace", 2, 2, rgl_cmd_replace, "BDF NAME" },
	{ "badattach", 2, 2, rgl_cmd_badattach, "BDF snoop|dirty|gbpage|owner|width" },
	{ "swapstorm", 2, 4, rgl_cmd_swapstorm, "start BDF A B | stop BDF" },
	{ "hold", 1, 2, rgl_cmd_hold, "BDF [any|flr|pm|bus]" },
	{ "unhold", 1, 1, rgl_cmd_unhold, "BDF" },
	{ "waitreset", 1, 2, rgl_cmd_waitreset, "BDF [MS]" },
	{ "mute", 2, 2, rgl_cmd_mute, "BDF on|off|reset|dead|MS" },
	{ "inreset", 3, 3, rgl_cmd_inreset, "BDF NAME N" },
	{ "dpc", 2, 4, rgl_cmd_dpc, "BDF on|off|trigger [hold] [dead]|wait|release" },
	{ "link", 2, 2, rgl_cmd_link, "BDF down|up" },
	{ "caps", 2, 2, rgl_cmd_caps, "BDF on|off" },
	{ "pasid", 2, 5, rgl_cmd_pasid,
	  "BDF set PASID NAME [faults] | replace PASID NAME | remove PASID | clear" },
	{ "pagereq", 1, 4, rgl_cmd_pagereq, "put BDF PASID REGISTERS | irq NUMBER | handled" },
	{ "reset", 2, 3, rgl_cmd_reset,
	  "BDF function|locked|try|__locked|flr|hot|secondary|swing [restore]" },
	{ "vote", 2, 2, rgl_cmd_vote,
	  "ERROR RESET, each none|can_recover|need_reset|disconnect|recovered" },
	{ "linger", 1, 1, rgl_cmd_linger, "on|error|flr|off" },
	{ "nested", 1, 1, rgl_cmd_nested, "BDF" },
	{ "tell", 2, 2, rgl_cmd_tell,
	  "BDF prepare|done|slot_reset|resume|native_prepare|native_done" },
	{ "amdats", 0, 0, rgl_cmd_amdats, "" },
	{ "amdtables", 1, 1, rgl_cmd_amdtables, "v1|v2" },
	{ "keepbuses", 0, 0, rgl_cmd_keepbuses, "" },
	{ "smmuats", 0, 0, rgl_cmd_smmuats, "" },
	{ "smmupasids", 1, 1, rgl_cmd_smmupasids, "BITS" },
	{ "emptied", 2, 2, rgl_cmd_emptied, "BDF N" },
	{ "latequeue", 1, 2, rgl_cmd_latequeue, "BDF MS | off" },
	{ "deafqueue", 2, 3, rgl_cmd_deafqueue, "BDF MS [block]" },
	{ "untrusted", 2, 2, rgl_cmd_untrusted, "BDF on|off" },
	{ "events", 0, 1, rgl_cmd_events, "[clear]" },
	{ "cfg", 4, 5, rgl_cmd_cfg, "BDF read|write OFF WIDTH [VAL]" },
	{ "busmaster", 2, 2, rgl_cmd_busmaster, "BDF on|off" },
	{ "edu", 3, 3, rgl_cmd_edu, "BDF dma|load IOVA" },
	{ "ats", 1, 1, rgl_cmd_ats, "BDF" },
	{ "errh", 1, 1, rgl_cmd_errh, "BDF" },
	{ "holdmutex", 2, 2, rgl_cmd_holdmutex, "BDF|entries MS" },
	{ "holdftrace", 1, 1, rgl_cmd_holdftrace, "MS" },
	{ "irqstall", 2, 2, rgl_cmd_irqstall, "CPU MS" },
	{ "slowqi", 1, 1, rgl_cmd_slowqi, "on|off|MS" },
	{ "ipmodify", 2, 2, rgl_cmd_ipmodify, "FUNC on|off" },
	{ "idle", 0, 0, rgl_cmd_idle, "" },
	{ "bench", 2, RGL_ARGS - 1, rgl_cmd_bench, "N[+MS] COMMAND [+|/ COMMAND]" },
	{ "pairs", 2, 2, rgl_cmd_pairs, "NAME N" },
	{ "tracer", 2, 2, rgl_cmd_tracer, "FUNC set|on|off" },
	{ "swaps", 3, 3, rgl_cmd_swaps, "BDF NAME N" },
	{ "native", 2, 2, rgl_cmd_native, "BDF N" },
};

long rgl_usage(struct rgl_req *rq, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vscnprintf(rq->out, sizeof(rq->out), fmt, ap);
	va_end(ap);
	rq->usage = true;
	return -EINVAL;
}

/* Adds to the answer. */
void rgl_say(struct rgl_req *rq, const char *fmt, ...)
{
	size_t len = strlen(rq->out);
	va_list ap;

	va_start(ap, fmt);
	vscnprintf(rq->out + len, sizeof(rq->out) - len, fmt, ap);
	va_end(ap);
}

/* The address that word @arg names; there may be nothing at it. */
int rgl_addr(struct rgl_req *rq, int arg, struct rgl_at *at)
{
	unsigned int seg = 0, bus, slot, fn;
	const char *s = rq->argv[arg];
	int end = 0;

	if (sscanf(s, "%x:%x:%x.%x%n", &seg, &bus, &slot, &fn, &end) != 4 || s[end]) {
		seg = 0;
		end = 0;
		if (sscanf(s, "%x:%x.%x%n", &bus, &slot, &fn, &end) != 3 || s[end])
			return rgl_usage(rq, "not a PCI address: %s", s);
	}
	if (bus > 255 || slot > 31 || fn > 7)
		return rgl_usage(rq, "not a PCI address: %s", s);
	*at = (struct rgl_at){ seg, bus, PCI_DEVFN(slot, fn) };
	return 0;
}

/* Returns the function named by word @arg with a reference, or NULL. */
struct pci_dev *rgl_pdev(struct rgl_req *rq, int arg)
{
	struct pci_dev *pdev;
	struct rgl_at at;

	if (rgl_addr(rq, arg, &at))
		return NULL;
	pdev = pci_get_domain_bus_and_slot(at.segment, at.bus, at.devfn);
	if (!pdev)
		rgl_usage(rq, "no such PCI function: %s", rq->argv[arg]);
	return pdev;
}

int rgl_u64(struct rgl_req *rq, int arg, u64 *val)
{
	if (!kstrtou64(rq->argv[arg], 0, val))
		return 0;
	return rgl_usage(rq, "not a number: %s", rq->argv[arg]);
}

/* Index of word @arg in the NULL-terminated @words, or a usage error. */
int rgl_word(struct rgl_req *rq, int arg, const char *const *words)
{
	int i;

	for (i = 0; words[i]; i++)
		if (!strcmp(rq->argv[arg], words[i]))
			return i;
	return rgl_usage(rq, "%s: unknown word: %s", rq->argv[0], rq->argv[arg]);
}

long rgl_run(struct rgl_req *rq)
{
	const struct rgl_cmd *c;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rgl_cmds); i++) {
		c = &rgl_cmds[i];
		if (strcmp(c->name, rq->argv[0]))
			continue;
		if (rq->argc - 1 < c->min || rq->argc - 1 > c->max)
			return rgl_usage(rq, "usage: %s %s", c->name, c->usage);
		return c->run(rq);
	}
	return rgl_usage(rq, "unknown command: %s", rq->argv[0]);
}

static int rgl_split(struct rgl_req *rq, char *line)
{
	char *w;

	while ((w = strsep(&line, " \t\n"))) {
		if (!*w)
			continue;
		if (rq->argc == RGL_ARGS)
			return rgl_usage(rq, "too many words");
		rq->argv[rq->argc++] = w;
	}
	return rq->argc ? 0 : rgl_usage(rq, "empty command");
}

static int rgl_open(struct inode *inode, struct file *file)
{
	file->private_data = kzalloc(RGL_LINE + 32, GFP_KERNEL);
	return file->private_data ? 0 : -ENOMEM;
}

static int rgl_release(struct inode *inode, struct file *file)
{
	kfree(file->private_data);
	return 0;
}

static ssize_t rgl_write(struct file *file, const char __user *buf, size_t len,
			 loff_t *ppos)
{
	char *answer = file->private_data;
	struct rgl_req *rq;
	char *line;
	long ret;

	if (!len || len >= RGL_LINE)
		return -EINVAL;
	line = memdup_user_nul(buf, len);
	if (IS_ERR(line))
		return PTR_ERR(line);
	rq = kzalloc(sizeof(*rq), GFP_KERNEL);
	if (!rq) {
		kfree(line);
		return -ENOMEM;
	}
	ret = rgl_split(rq, line);
	if (!ret)
		ret = rgl_run(rq);
	if (rq->usage)
		scnprintf(answer, RGL_LINE + 32, "? %s\n", rq->out);
	else
		scnprintf(answer, RGL_LINE + 32, "%ld %s\n", ret, rq->out);
	kfree(rq);
	kfree(line);
	*ppos = 0;
	return len;
}

static ssize_t rgl_read(struct file *file, char __user *buf, size_t len,
			loff_t *ppos)
{
	const char *answer = file->private_data;

	return simple_read_from_buffer(buf, len, ppos, answer, strlen(answer));
}

static const struct file_operations rgl_fops = {
	.owner = THIS_MODULE,
	.open = rgl_open,
	.release = rgl_release,
	.write = rgl_write,
	.read = rgl_read,
};

static struct miscdevice rgl_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "rglab",
	.fops = &rgl_fops,
};

static int __init rgl_init(void)
{
	int ret;

	rgl_wq = alloc_workqueue("rglab", WQ_UNBOUND, 0);
	if (!rgl_wq)
		return -ENOMEM;
	ret = rgl_drv_init();
	if (ret)
		goto err_wq;
	ret = rgl_devs_init();
	if (ret)
		goto err_drv;
	ret = misc_register(&rgl_misc);
	if (ret)
		goto err_devs;
	return 0;

err_devs:
	rgl_devs_exit();
err_drv:
	rgl_drv_exit();
err_wq:
	destroy_workqueue(rgl_wq);
	return ret;
}

static void __exit rgl_exit(void)
{
	misc_deregister(&rgl_misc);
	rgl_port_exit();
	rgl_shim_exit();
	rgl_bench_exit();
	rgl_smmu_exit();
	rgl_disturb_exit();
	destroy_workqueue(rgl_wq);
	rgl_pasids_exit();
	rgl_devs_exit();
	rgl_doms_exit();
	rgl_drv_exit();
}

module_init(rgl_init);
module_exit(rgl_exit);
MODULE_DESCRIPTION("Exerciser for resetgate's tests");
MODULE_LICENSE("GPL");
RGL_IMPORT_NS();
