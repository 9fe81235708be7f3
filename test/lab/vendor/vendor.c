// SPDX-License-Identifier: GPL-2.0
/*
 * A neighbour: gives one function a device-specific reset that the kernel does
 * not know, by a redirect of pci_dev_specific_reset() with IPMODIFY. That is how
 * out-of-tree modules do it for GPUs whose other resets do not work.
 *
 *	insmod rgvendor.ko function=0000:01:00.0
 *	echo device_specific > /sys/bus/pci/devices/0000:01:00.0/reset_method
 */
#include <linux/delay.h>
#include <linux/ftrace.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/pci.h>

#include "compat.h"

#define RGV_TARGET "pci_dev_specific_reset"

typedef int rgv_reset_fn(struct pci_dev *pdev, bool probe);

static char *rgv_function = "";
module_param_named(function, rgv_function, charp, 0444);
MODULE_PARM_DESC(function, "the function that is reset here, 0000:01:00.0");

static unsigned int rgv_resets;
module_param_named(resets, rgv_resets, uint, 0444);
MODULE_PARM_DESC(resets, "how often it was");

static rgv_reset_fn *rgv_kernels;

/* Without a function of the kernel that resets. */
static int rgv_reset(struct pci_dev *pdev, bool probe)
{
	u32 word;
	int i;

	if (strcmp(pci_name(pdev), rgv_function))
		return -ENOTTY;
	if (probe)
		return 0;
	rgv_resets++;
	pcie_capability_set_word(pdev, PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR);
	msleep(100);
	for (i = 0; i < 100; i++) {
		pci_read_config_dword(pdev, PCI_COMMAND, &word);
		if (word != ~0U)
			return 0;
		msleep(20);
	}
	return -ETIMEDOUT;
}

/* On 7.x the kernel's own gate is around the kernel's quirks only: not around ours. */
static int rgv_specific_reset(struct pci_dev *pdev, bool probe)
{
	int ret = rgv_kernels(pdev, probe);

	return ret == -ENOTTY ? rgv_reset(pdev, probe) : ret;
}

static void notrace rgv_redirect(unsigned long ip, unsigned long parent_ip,
				 struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	/* Our own call goes through. */
	if (!within_module(parent_ip, THIS_MODULE))
		rgl_set_ip(fregs, rgv_specific_reset);
}

static struct ftrace_ops rgv_ops = {
	.func = rgv_redirect,
	.flags = RGL_REDIRECT | FTRACE_OPS_FL_RECURSION,
};

static int rgv_find(void)
{
	struct kprobe kp = { .symbol_name = RGV_TARGET };
	int ret = register_kprobe(&kp);

	if (ret)
		return ret;
	rgv_kernels = (rgv_reset_fn *)rgl_entry((unsigned long)kp.addr);
	unregister_kprobe(&kp);
	return 0;
}

static int __init rgv_init(void)
{
	static char name[] = RGV_TARGET;
	int ret = rgv_find();

	if (!ret)
		ret = ftrace_set_filter(&rgv_ops, name, strlen(name), 1);
	if (!ret)
		ret = register_ftrace_function(&rgv_ops);
	if (ret)
		ftrace_free_filter(&rgv_ops);
	return ret;
}

static void __exit rgv_exit(void)
{
	unregister_ftrace_function(&rgv_ops);
	ftrace_free_filter(&rgv_ops);
}

module_init(rgv_init);
module_exit(rgv_exit);
MODULE_DESCRIPTION("A neighbour for resetgate's tests: a device-specific reset");
MODULE_LICENSE("GPL");
