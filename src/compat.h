/* SPDX-License-Identifier: GPL-2.0 */
/* The one place that knows how kernels differ in their public interface. */
#ifndef RG_COMPAT_H
#define RG_COMPAT_H

#include <linux/ftrace.h>
#include <linux/pci.h>
#include <linux/version.h>

/*
 * Series on which the whole suite was run. A test builds with a list of its
 * own to see an untested kernel refused.
 */
#ifndef RG_TESTED_SERIES
#define RG_TESTED_SERIES "6.1.", "6.12.", "7.3."
#endif

/*
 * Arguments and the instruction pointer of a traced function. 94d095ffa0e1
 * (v6.2) gave struct ftrace_regs accessors; before it x86 had the plain
 * registers and a setter of another name (0ef86097f127 renamed it).
 */
#ifdef ftrace_instruction_pointer_set
static inline unsigned long rg_compat_arg(struct ftrace_regs *fregs, int n)
{
	const struct pt_regs *regs = &fregs->regs;

	switch (n) {
	case 0:
		return regs->di;
	case 1:
		return regs->si;
	default:
		return regs->dx;
	}
}

#define rg_compat_set_ip(fregs, ip) \
	ftrace_instruction_pointer_set(fregs, (unsigned long)(ip))
#else
static inline unsigned long rg_compat_arg(struct ftrace_regs *fregs, int n)
{
	switch (n) {
	case 0:
		return ftrace_regs_get_argument(fregs, 0);
	case 1:
		return ftrace_regs_get_argument(fregs, 1);
	default:
		return ftrace_regs_get_argument(fregs, 2);
	}
}

#define rg_compat_set_ip(fregs, ip) \
	ftrace_regs_set_instruction_pointer(fregs, (unsigned long)(ip))
#endif

/*
 * From "PCI: Store number of supported End-End TLP Prefixes" (v6.15) on the
 * kernel counts the prefixes of the path instead of noting that there may be
 * any; the register's field got its name in the same change.
 */
#ifdef PCI_EXP_DEVCAP2_EE_PREFIX_MAX
#define rg_compat_eetlp(pdev) ((pdev)->eetlp_prefix_max)
#else
#define rg_compat_eetlp(pdev) ((pdev)->eetlp_prefix_path)
#endif

/*
 * "PCI: Enable PASID only when ACS RR & UF enabled on upstream path" (v6.2):
 * from there on pci_enable_pasid() answers -EINVAL where they are not.
 */
#define RG_COMPAT_PASID_WANTS_ACS (LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0))

#endif /* RG_COMPAT_H */
