/* SPDX-License-Identifier: GPL-2.0 */
/* The one place that knows how kernels differ in their public interface. */
#ifndef RG_COMPAT_H
#define RG_COMPAT_H

#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/sched.h>
#include <linux/version.h>

#include "arch.h"

/*
 * Series on which the whole suite was run. A test builds with a list of its
 * own to see an untested kernel refused.
 */
#ifndef RG_TESTED_SERIES
#define RG_TESTED_SERIES "6.1.", "6.12.", "7.3."
#endif

/*
 * Whether the task itself holds a mutex: its owner, with flags in the lowest bits,
 * is in a place of its own where all locks are PREEMPT_RT's.
 */
static inline bool rg_compat_is_mine(const struct mutex *lock)
{
#ifdef CONFIG_PREEMPT_RT
	unsigned long owner = (unsigned long)READ_ONCE(lock->rtmutex.owner);
#else
	unsigned long owner = atomic_long_read(&lock->owner);
#endif

	return (owner & ~7UL) == (unsigned long)current;
}

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

/*
 * Without CONFIG_PCI_PRI or CONFIG_PCI_PASID the kernel does not look for the capability,
 * and struct pci_dev has no room for what it holds: as of a function that has none.
 */
#ifdef CONFIG_PCI_PRI
static inline u16 rg_compat_pri_cap(const struct pci_dev *pdev)
{
	return pdev->pri_cap;
}

static inline u32 rg_compat_pri_reqs(const struct pci_dev *pdev)
{
	return pdev->pri_reqs_alloc;
}

static inline void rg_compat_set_pri_reqs(struct pci_dev *pdev, u32 reqs)
{
	pdev->pri_reqs_alloc = reqs;
}
#else
static inline u16 rg_compat_pri_cap(const struct pci_dev *pdev)
{
	return 0;
}

static inline u32 rg_compat_pri_reqs(const struct pci_dev *pdev)
{
	return 0;
}

static inline void rg_compat_set_pri_reqs(struct pci_dev *pdev, u32 reqs)
{
}
#endif

#ifdef CONFIG_PCI_PASID
static inline u16 rg_compat_pasid_cap(const struct pci_dev *pdev)
{
	return pdev->pasid_cap;
}

static inline u16 rg_compat_pasid_features(const struct pci_dev *pdev)
{
	return pdev->pasid_features;
}

static inline void rg_compat_set_pasid_features(struct pci_dev *pdev, u16 features)
{
	pdev->pasid_features = features;
}
#else
static inline u16 rg_compat_pasid_cap(const struct pci_dev *pdev)
{
	return 0;
}

static inline u16 rg_compat_pasid_features(const struct pci_dev *pdev)
{
	return 0;
}

static inline void rg_compat_set_pasid_features(struct pci_dev *pdev, u16 features)
{
}
#endif

#endif /* RG_COMPAT_H */
