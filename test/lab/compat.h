/* SPDX-License-Identifier: GPL-2.0 */
/* The only place of the exerciser that knows kernel versions and architectures. */
#ifndef RGLAB_COMPAT_H
#define RGLAB_COMPAT_H

#include <linux/ftrace.h>
#include <linux/iommu.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/preempt.h>
#include <linux/spinlock.h>
#include <linux/timekeeping.h>
#include <linux/timex.h>
#include <linux/version.h>

static inline struct iommu_domain *rgl_domain_alloc(struct device *dev)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
	return iommu_paging_domain_alloc(dev);
#else
	struct iommu_domain *d = iommu_domain_alloc(dev->bus);

	return d ? d : ERR_PTR(-ENOMEM);
#endif
}

static inline int rgl_iommu_map(struct iommu_domain *d, unsigned long iova,
				phys_addr_t pa, size_t size)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	return iommu_map(d, iova, pa, size, IOMMU_READ | IOMMU_WRITE, GFP_KERNEL);
#else
	return iommu_map(d, iova, pa, size, IOMMU_READ | IOMMU_WRITE);
#endif
}

/*
 * VT-d's unmap looks the domain's ID up under no lock, until 6.10 has cache tags: where
 * the last device is detached beside it, the stock kernel follows a null pointer.
 */
#define RGL_DETACH_WAITS_FOR_UNMAP	(LINUX_VERSION_CODE < KERNEL_VERSION(6, 10, 0))

/* IOMMUFD's replace: exported to one namespace, its header is not installed. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 16, 0)
struct rgl_handle {
	struct iommu_attach_handle h;
};

int iommu_attach_group_handle(struct iommu_domain *domain, struct iommu_group *group,
			      struct iommu_attach_handle *handle);
int iommu_replace_group_handle(struct iommu_group *group,
			       struct iommu_domain *new_domain,
			       struct iommu_attach_handle *handle);
void iommu_detach_group_handle(struct iommu_domain *domain,
			       struct iommu_group *group);

#define RGL_IMPORT_NS() MODULE_IMPORT_NS("IOMMUFD_INTERNAL")
#define RGL_HAVE_HANDLE 1

static inline int rgl_group_attach_handle(struct iommu_group *group,
					  struct iommu_domain *d, struct rgl_handle *h)
{
	return iommu_attach_group_handle(d, group, &h->h);
}

static inline int rgl_group_replace(struct iommu_group *group,
				    struct iommu_domain *d, struct rgl_handle *h)
{
	return iommu_replace_group_handle(group, d, &h->h);
}

static inline void rgl_group_detach_handle(struct iommu_domain *d,
					   struct iommu_group *group)
{
	iommu_detach_group_handle(d, group);
}
#else
struct rgl_handle {
};

#define RGL_HAVE_HANDLE 0

static inline int rgl_group_attach_handle(struct iommu_group *group,
					  struct iommu_domain *d, struct rgl_handle *h)
{
	return -EOPNOTSUPP;
}

static inline void rgl_group_detach_handle(struct iommu_domain *d,
					   struct iommu_group *group)
{
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
int iommu_group_replace_domain(struct iommu_group *group,
			       struct iommu_domain *new_domain);

#define RGL_IMPORT_NS() MODULE_IMPORT_NS(IOMMUFD_INTERNAL)

static inline int rgl_group_replace(struct iommu_group *group,
				    struct iommu_domain *d, struct rgl_handle *h)
{
	return iommu_group_replace_domain(group, d);
}
#else
#define RGL_IMPORT_NS() MODULE_INFO(rgl_ns, "none")

static inline int rgl_group_replace(struct iommu_group *group,
				    struct iommu_domain *d, struct rgl_handle *h)
{
	return -EOPNOTSUPP;
}
#endif
#endif

/*
 * Makes @d one that the driver refuses. Returns -EOPNOTSUPP if the kernel has
 * no such member.
 */
static inline int rgl_domain_set_dirty(struct iommu_domain *d)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	static const struct iommu_dirty_ops ops;

	d->dirty_ops = &ops;
	return 0;
#else
	return -EOPNOTSUPP;
#endif
}

static inline int rgl_domain_set_owner(struct iommu_domain *d)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	static const struct iommu_ops ops;

	d->owner = &ops;
	return 0;
#else
	return -EOPNOTSUPP;
#endif
}

/* Sends a traced call elsewhere; 0ef86097f127 (v6.2) renamed it. */
#ifdef ftrace_instruction_pointer_set
#define rgl_set_ip(fregs, ip) \
	ftrace_instruction_pointer_set(fregs, (unsigned long)(ip))
#else
#define rgl_set_ip(fregs, ip) \
	ftrace_regs_set_instruction_pointer(fregs, (unsigned long)(ip))
#endif

/*
 * A redirect as out-of-tree modules make them: on x86 they ask for all registers,
 * which arm64 does not have.
 */
#ifdef CONFIG_DYNAMIC_FTRACE_WITH_REGS
#define RGL_REDIRECT (FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_SAVE_REGS)
#else
#define RGL_REDIRECT FTRACE_OPS_FL_IPMODIFY
#endif

/* A function's first instruction, by a kprobe on it. */
static inline unsigned long rgl_entry(unsigned long kprobe)
{
#ifdef CONFIG_X86
	/* It sits behind the landing pad, and functions are aligned. */
	return ALIGN_DOWN(kprobe, 16);
#else
	return kprobe;
#endif
}

/*
 * Time in cycles of x86's, which are instructions where QEMU's -icount makes them
 * so: a nanosecond each. arm64's counter may be slower than that.
 */
static inline u64 rgl_cycles(void)
{
#ifdef CONFIG_ARM64
	return get_cycles() * (NSEC_PER_SEC / arch_timer_get_cntfrq());
#else
	return get_cycles();
#endif
}

/*
 * Keeps the CPU for so long by the clock: so many mdelay(1) take longer where the
 * host runs others. On arm64 each look at the clock takes QEMU's one lock: who looks
 * all the time keeps the other CPU from every device.
 */
static inline void rgl_spin(unsigned int ms)
{
	u64 end = ktime_get_mono_fast_ns() + (u64)ms * NSEC_PER_MSEC;
	int i;

	while (ktime_get_mono_fast_ns() < end)
		for (i = IS_ENABLED(CONFIG_ARM64) ? 100000 : 1; i; i--)
			cpu_relax();
}

/*
 * Accessors of config space are called with a lock held and interrupts off but
 * where they are lockless, as on x86. Who has to sleep in one lets go of it, from
 * rgl_config_leave() to rgl_config_enter(); false: it may not sleep. No caller
 * that is made to wait there had interrupts off.
 */
#ifdef CONFIG_PCI_LOCKLESS_CONFIG
static inline bool rgl_config_leave(raw_spinlock_t *lock)
{
	return preemptible();
}

static inline void rgl_config_enter(raw_spinlock_t *lock)
{
}
#else
static inline bool rgl_config_leave(raw_spinlock_t *lock)
{
	if (preempt_count() != PREEMPT_DISABLE_OFFSET)
		return false;
	raw_spin_unlock_irq(lock);
	return true;
}

static inline void rgl_config_enter(raw_spinlock_t *lock)
{
	raw_spin_lock_irq(lock);
}
#endif

/* The kernel's own gate around a reset. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
#define RGL_HAVE_NATIVE 1

static inline int rgl_native_prepare(struct pci_dev *pdev)
{
	return pci_dev_reset_iommu_prepare(pdev);
}

static inline void rgl_native_done(struct pci_dev *pdev)
{
	pci_dev_reset_iommu_done(pdev);
}
#else
#define RGL_HAVE_NATIVE 0

static inline int rgl_native_prepare(struct pci_dev *pdev)
{
	return -EOPNOTSUPP;
}

static inline void rgl_native_done(struct pci_dev *pdev)
{
}
#endif

/* A process's memory for a function; what QEMU's IOMMUs cannot do, they refuse. */
static inline long rgl_sva(struct device *dev, struct mm_struct *mm)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
	struct iommu_sva *sva = iommu_sva_bind_device(dev, mm);
#else
	struct iommu_sva *sva = iommu_sva_bind_device(dev, mm, NULL);
#endif

	if (IS_ERR(sva))
		return PTR_ERR(sva);
	iommu_sva_unbind_device(sva);
	return 0;
}

/* That a port passes PASIDs on: from 6.15 on their number is kept. */
static inline void rgl_port_prefixes(struct pci_dev *port, bool on)
{
#ifdef PCI_EXP_DEVCAP2_EE_PREFIX_MAX
	port->eetlp_prefix_max = on;
#else
	port->eetlp_prefix_path = on;
#endif
}

/* A PASID's domain: what there is before 6.11 is for SVA, or without a handle. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
struct rgl_pasid_handle {
	struct iommu_attach_handle h;
};

extern atomic_t rgl_faults_handled;

static inline int rgl_pasid_attach(struct iommu_domain *d, struct device *dev,
				   u32 pasid, struct rgl_pasid_handle *h)
{
	return iommu_attach_device_pasid(d, dev, pasid, &h->h);
}

static inline void rgl_pasid_detach(struct iommu_domain *d, struct device *dev,
				    u32 pasid)
{
	iommu_detach_device_pasid(d, dev, pasid);
}

static inline int rgl_fault(struct iopf_group *group)
{
	iopf_group_response(group, IOMMU_PAGE_RESP_INVALID);
	iopf_free_group(group);
	atomic_inc(&rgl_faults_handled);
	return 0;
}

static inline void rgl_domain_set_faults(struct iommu_domain *d)
{
	d->iopf_handler = rgl_fault;
}
#else
struct rgl_pasid_handle {
};

static inline int rgl_pasid_attach(struct iommu_domain *d, struct device *dev,
				   u32 pasid, struct rgl_pasid_handle *h)
{
	return -EOPNOTSUPP;
}

static inline void rgl_pasid_detach(struct iommu_domain *d, struct device *dev,
				    u32 pasid)
{
}

static inline void rgl_domain_set_faults(struct iommu_domain *d)
{
}
#endif

/* Page requests: a feature of the device until 6.15, then the domain's handler. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 16, 0)
int iommu_replace_device_pasid(struct iommu_domain *domain, struct device *dev,
			       ioasid_t pasid, struct iommu_attach_handle *handle);

static inline int rgl_pasid_swap(struct iommu_domain *d, struct device *dev,
				 u32 pasid, struct rgl_pasid_handle *h)
{
	return iommu_replace_device_pasid(d, dev, pasid, &h->h);
}

static inline int rgl_faults_enable(struct device *dev)
{
	return 0;
}

static inline void rgl_faults_disable(struct device *dev)
{
}
#else
static inline int rgl_pasid_swap(struct iommu_domain *d, struct device *dev,
				 u32 pasid, struct rgl_pasid_handle *h)
{
	return -EOPNOTSUPP;
}

static inline int rgl_faults_enable(struct device *dev)
{
	return iommu_dev_enable_feature(dev, IOMMU_DEV_FEAT_IOPF);
}

static inline void rgl_faults_disable(struct device *dev)
{
	iommu_dev_disable_feature(dev, IOMMU_DEV_FEAT_IOPF);
}
#endif

#endif /* RGLAB_COMPAT_H */
