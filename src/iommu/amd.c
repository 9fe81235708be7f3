// SPDX-License-Identifier: GPL-2.0
/*
 * AMD-Vi. Sections are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, document 48882.
 *
 * Table valve: the driver keeps no pointer to a device table entry; it writes one
 * from what it knows of the function. For a blocked device ID these writes are left
 * out, and opening has the driver write what it then knows: there is no recording
 * that could go stale.
 *
 * Invalidation valve: in the caller's own command, an INVALIDATE_IOTLB_PAGES for
 * a filtered device ID becomes an INVALIDATE_DEVTAB_ENTRY for the same one (2.4.4,
 * 2.4.2), which no function has to answer.
 *
 * Fence: commands are queued under iommu->lock, a raw spinlock, with interrupts
 * off, and waited for in a section with interrupts off or, with PREEMPT_RT, under a
 * sleeping spinlock, which is an RCU read section there, or under the group mutex,
 * which close holds. A grace period outlasts them.
 */
#include <linux/crash_dump.h>
#include <linux/iommu.h>
#include <linux/iopoll.h>
#include <linux/mem_encrypt.h>

#include "../backend.h"
#include "../compat.h"
#include "../rids.h"
#include "../trace.h"

struct amd_iommu;
struct amd_iommu_pci_seg;
struct iommu_cmd;
struct iommu_dev_data;
struct protection_domain;

/* Device table entry, 2.2.2.1: 256 bits, the numbers are those in a quadword. */
#define RG_AMD_DTE_QWORDS	4
#define RG_AMD_V		BIT_ULL(0)
#define RG_AMD_TV		BIT_ULL(1)
#define RG_AMD_DOMAIN_ID	GENMASK_ULL(15, 0)

/*
 * In the second quadword: SE, SA, IoCtl, Cache, SD, EX, SysMgt. They come from the
 * firmware's IVHD and stay. I, one below, does not: with it translated requests pass.
 */
#define RG_AMD_KEPT		GENMASK_ULL(41, 33)

/* Commands, 2.4: four dwords, the operation in the upper bits of the second. */
#define RG_AMD_COMMAND_DWORDS	4
#define RG_AMD_OP_SHIFT		28
#define RG_AMD_OP_WAIT		1
#define RG_AMD_OP_DEVTAB	2
#define RG_AMD_OP_PAGES		3
#define RG_AMD_OP_IOTLB		4
#define RG_AMD_WAIT_STORE	BIT(0)

/* All addresses of a domain: S and PDE set, the address all ones but the top bit. */
#define RG_AMD_ALL_PAGES_LOW	0xfffff003U
#define RG_AMD_ALL_PAGES_HIGH	0x7fffffffU

/* Between two looks; and in all, as long as the driver itself waits. */
#define RG_AMD_LOOK_US		5
#define RG_AMD_WAIT_US		2000000

/*
 * Completion waits store to a page that each IOMMU has for that alone: with SNP it is
 * the only one that they may store to (2.12.2.3). The driver uses its first quadword.
 */
#define RG_AMD_SEMS		(4096 / sizeof(u64) - 1)

typedef void rg_amd_update_dte_fn(struct iommu_dev_data *data, bool set);
typedef void rg_amd_set_dte_by_id_fn(struct amd_iommu *iommu, u16 devid,
				     struct protection_domain *domain, bool ats, bool ppr);
typedef int rg_amd_clone_fn(struct pci_dev *pdev, u16 alias, void *data);
typedef int rg_amd_queue_fn(struct amd_iommu *iommu, struct iommu_cmd *cmd, bool sync);

RG_CALL_DEFINE(rg_call_amd_update_dte, rg_amd_update_dte_fn);
RG_CALL_DEFINE(rg_call_amd_set_dte_by_id, rg_amd_set_dte_by_id_fn);
RG_CALL_DEFINE(rg_call_amd_clone, rg_amd_clone_fn);
RG_CALL_DEFINE(rg_call_amd_queue, rg_amd_queue_fn);

/* In &rg_rid.priv. The live entry is in a table that stays for good. */
struct rg_amd_entry {
	struct amd_iommu *iommu;
	u64 *live;
	bool blocked;	/* under the group mutex and, where there is one, the domain's lock */
};

/* The number that a completion wait stores; there is room for more than can be under way. */
static atomic64_t rg_amd_sequence;

static notrace struct rg_amd_entry *rg_amd_entry(struct rg_rid *rid)
{
	BUILD_BUG_ON(sizeof(struct rg_amd_entry) > sizeof(rid->priv));
	return (struct rg_amd_entry *)rid->priv;
}

static notrace struct amd_iommu_pci_seg *rg_amd_seg(struct amd_iommu *iommu)
{
	return *rg_member(iommu, RG_M_AMD_PCI_SEG, struct amd_iommu_pci_seg *);
}

static notrace struct amd_iommu *rg_amd_iommu(struct device *dev)
{
	return (struct amd_iommu *)((char *)dev->iommu->iommu_dev -
				    rg_member_off(RG_M_AMD_DEVICE));
}

static notrace u32 rg_amd_key_of(struct amd_iommu *iommu, u16 devid)
{
	return (u32)*rg_member(rg_amd_seg(iommu), RG_M_AMD_SEG_ID, u16) << 16 | devid;
}

static notrace u16 rg_amd_devid(struct iommu_dev_data *data)
{
	return *rg_member(data, RG_M_AMD_DATA_DEVID, u16);
}

/* The caller is in an RCU read section, or its preemption is off. */
static notrace struct rg_rid *rg_amd_blocked(struct amd_iommu *iommu, u16 devid)
{
	struct rg_rid *rid = rg_rids_find(NULL, rg_amd_key_of(iommu, devid));

	return rid && READ_ONCE(rg_amd_entry(rid)->blocked) ? rid : NULL;
}

/* The table valve. */

static void rg_amd_record(struct amd_iommu *iommu, u16 devid)
{
	struct rg_rid *rid;

	rcu_read_lock();
	rid = rg_rids_find(NULL, rg_amd_key_of(iommu, devid));
	if (rid) {
		atomic64_inc(&rid->recorded);
		trace_record(rid->key);
	}
	rcu_read_unlock();
}

static void rg_amd_skip_update(struct iommu_dev_data *data, bool set)
{
	struct device *dev = *rg_member(data, RG_M_AMD_DATA_DEV, struct device *);

	rg_amd_record(rg_amd_iommu(dev), rg_amd_devid(data));
}

static notrace void *rg_amd_divert_update(struct ftrace_regs *fregs,
					  unsigned long parent_ip)
{
	struct iommu_dev_data *data = (void *)rg_compat_arg(fregs, 0);
	struct device *dev = *rg_member(data, RG_M_AMD_DATA_DEV, struct device *);

	return rg_amd_blocked(rg_amd_iommu(dev), rg_amd_devid(data)) ?
		rg_amd_skip_update : NULL;
}

/* The newest has two more arguments, which are in registers: they may be ignored. */
static void rg_amd_skip_set(struct amd_iommu *iommu, struct iommu_dev_data *data)
{
	rg_amd_record(iommu, rg_amd_devid(data));
}

static void rg_amd_skip_set_by_id(struct amd_iommu *iommu, u16 devid,
				  struct protection_domain *domain, bool ats, bool ppr)
{
	rg_amd_record(iommu, devid);
}

static notrace void *rg_amd_divert_set(struct ftrace_regs *fregs,
				       unsigned long parent_ip)
{
	struct amd_iommu *iommu = (void *)rg_compat_arg(fregs, 0);
	unsigned long who = rg_compat_arg(fregs, 1);

	if (rg_target_variant(RG_T_AMD_SET_DTE) == RG_AMD_SET_DTE_BY_ID)
		return rg_amd_blocked(iommu, who) ? rg_amd_skip_set_by_id : NULL;
	return rg_amd_blocked(iommu, rg_amd_devid((void *)who)) ? rg_amd_skip_set : NULL;
}

static int rg_amd_skip_clone(struct pci_dev *origin, u16 alias, void *data)
{
	struct pci_dev *pdev = data;

	rg_amd_record(rg_amd_iommu(&pdev->dev), alias);
	return 0;
}

/*
 * It copies the function's entry out of the hardware's table: into an alias that a
 * live sibling shares, that of a blocked function must not get.
 */
static notrace void *rg_amd_divert_clone(struct ftrace_regs *fregs,
					 unsigned long parent_ip)
{
	struct pci_dev *pdev = (void *)rg_compat_arg(fregs, 2);
	struct amd_iommu *iommu;

	if (!pdev->dev.iommu || !pdev->dev.iommu->iommu_dev)
		return NULL;
	iommu = rg_amd_iommu(&pdev->dev);
	return rg_amd_blocked(iommu, pci_dev_id(pdev)) ||
	       rg_amd_blocked(iommu, rg_compat_arg(fregs, 1)) ? rg_amd_skip_clone : NULL;
}

static const struct rg_hook rg_amd_hooks[] = {
	{ RG_T_AMD_UPDATE_DTE, rg_amd_divert_update },
	{ RG_T_AMD_SET_DTE, rg_amd_divert_set },
	{ RG_T_AMD_CLONE_ALIAS, rg_amd_divert_clone },
};

/* The invalidation valve. */

static notrace void rg_amd_filter(unsigned long ip, unsigned long parent_ip,
				  struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	struct amd_iommu *iommu = (void *)rg_compat_arg(fregs, 0);
	u32 *cmd = (void *)rg_compat_arg(fregs, 1);
	struct rg_rid *rid;

	if (cmd[1] >> RG_AMD_OP_SHIFT != RG_AMD_OP_IOTLB)
		return;
	preempt_disable_notrace();
	rid = rg_rids_find(NULL, rg_amd_key_of(iommu, cmd[0] & 0xffff));
	if (rid && rg_rids_withholds(rid)) {
		cmd[0] &= 0xffff;
		cmd[1] = RG_AMD_OP_DEVTAB << RG_AMD_OP_SHIFT;
		cmd[2] = 0;
		cmd[3] = 0;
		rg_target_fired(RG_T_AMD_QUEUE_COMMAND);
		trace_drop(rid->key);
	}
	preempt_enable_notrace();
}

static struct rg_valve rg_amd_valve = {
	.id = RG_T_AMD_QUEUE_COMMAND,
	.filter = rg_amd_filter,
};

/* Commands of our own. */

/*
 * need_sync must be set: the driver has the IOMMU report on what it queued itself
 * before only where it is.
 */
static int rg_amd_queue(struct amd_iommu *iommu, u32 *cmd)
{
	raw_spinlock_t *lock = rg_member(iommu, RG_M_AMD_LOCK, raw_spinlock_t);
	unsigned long flags;
	int rc;

	raw_spin_lock_irqsave(lock, flags);
	rc = rg_call(rg_call_amd_queue)(iommu, (struct iommu_cmd *)cmd, true);
	raw_spin_unlock_irqrestore(lock, flags);
	return rc;
}

static u64 rg_amd_sem_phys(struct amd_iommu *iommu)
{
	if (rg_member_present(RG_M_AMD_SEM_PHYS))
		return *rg_member(iommu, RG_M_AMD_SEM_PHYS, u64);
	return __sme_set(virt_to_phys(*rg_member(iommu, RG_M_AMD_SEM, u64 *)));
}

/* 2.4.1: the store follows the completion of all that was queued before. */
static int rg_amd_wait(struct amd_iommu *iommu)
{
	u64 number = atomic64_inc_return(&rg_amd_sequence), seen;
	int slot = 1 + number % RG_AMD_SEMS;
	u64 *sem = *rg_member(iommu, RG_M_AMD_SEM, u64 *) + slot;
	u64 where = rg_amd_sem_phys(iommu) + slot * sizeof(u64);
	u32 cmd[RG_AMD_COMMAND_DWORDS] = {
		lower_32_bits(where) | RG_AMD_WAIT_STORE,
		upper_32_bits(where) | RG_AMD_OP_WAIT << RG_AMD_OP_SHIFT,
		lower_32_bits(number), upper_32_bits(number),
	};
	int rc = rg_amd_queue(iommu, cmd);

	return rc ?: read_poll_timeout(READ_ONCE, seen, seen == number, RG_AMD_LOOK_US,
				       RG_AMD_WAIT_US, false, *sem);
}

/* Whoever would be told has nothing to do about it. The driver meets the same queue. */
static void rg_amd_execute(struct amd_iommu *iommu, u32 *cmd, u16 devid)
{
	int rc = rg_amd_queue(iommu, cmd) ?: rg_amd_wait(iommu);

	if (rc)
		pr_err_ratelimited("%04x:%02x:%02x.%x: expected its AMD IOMMU to carry out a command within 2 s, found that it does not (%d); look for Completion-Wait or Command buffer in the log\n",
				   *rg_member(rg_amd_seg(iommu), RG_M_AMD_SEG_ID, u16),
				   PCI_BUS_NUM(devid), PCI_SLOT(devid), PCI_FUNC(devid), rc);
}

/* 2.4.2: the IOMMU forgets the entry. */
static void rg_amd_flush_entry(struct amd_iommu *iommu, u16 devid)
{
	u32 cmd[RG_AMD_COMMAND_DWORDS] = {
		devid, RG_AMD_OP_DEVTAB << RG_AMD_OP_SHIFT,
	};

	rg_amd_execute(iommu, cmd, devid);
}

/* What the core asks. */

static bool rg_amd_match(struct device *dev)
{
	if (!dev->iommu || !dev->iommu->iommu_dev || !dev_iommu_priv_get(dev))
		return false;
	return (unsigned long)dev->iommu->iommu_dev->ops == rg_target_addr(RG_T_AMD_OPS);
}

static int rg_amd_ids(struct rg_state *state)
{
	struct device *dev = &state->pdev->dev;

	return rg_rids_add_aliases(state, rg_amd_key_of(rg_amd_iommu(dev),
							rg_amd_devid(dev_iommu_priv_get(dev))));
}

/*
 * IVRS may name an alias on another bus. The PCI core knows nothing of it then, and
 * functions that share it need not share a group.
 */
static bool rg_amd_has_foreign_alias(struct amd_iommu_pci_seg *seg, u16 devid)
{
	u16 alias = (*rg_member(seg, RG_M_AMD_SEG_ALIAS_TABLE, u16 *))[devid];

	return PCI_BUS_NUM(alias) != PCI_BUS_NUM(devid);
}

/* Entries that were copied from a crashed kernel are not for us to change. */
static int rg_amd_adopt(struct rg_rid *rid, struct pci_dev *pdev)
{
	struct rg_amd_entry *entry = rg_amd_entry(rid);
	struct amd_iommu_pci_seg *seg;
	u16 devid = rid->key & 0xffff;

	entry->iommu = rg_amd_iommu(&pdev->dev);
	seg = rg_amd_seg(entry->iommu);
	if (devid > *rg_member(seg, RG_M_AMD_SEG_LAST_BDF, u16))
		return -ERANGE;
	if (is_kdump_kernel() || rg_amd_has_foreign_alias(seg, devid))
		return -EOPNOTSUPP;
	entry->live = *rg_member(seg, RG_M_AMD_SEG_DEV_TABLE, u64 *) +
		      devid * RG_AMD_DTE_QWORDS;
	return 0;
}

/*
 * The domain that the driver has a function in. Driver data and domain are there
 * under the group mutex until the function is on its way out: then it is NULL.
 */
static struct protection_domain *rg_amd_domain(struct pci_dev *pdev)
{
	void *data = pdev ? dev_iommu_priv_get(&pdev->dev) : NULL;

	return data ? *rg_member(data, RG_M_AMD_DATA_DOMAIN, struct protection_domain *) :
		      NULL;
}

/*
 * The lock under which a page table grows a level, which rewrites entries without
 * the group mutex; the new top is published under it as well.
 */
static spinlock_t *rg_amd_domain_lock(struct protection_domain *domain)
{
	return rg_member(domain, RG_M_AMD_DOMAIN_LOCK, spinlock_t);
}

/*
 * An entry without V would let DMA through untranslated (2.2.2.1). The first quadword
 * goes first: with it translation ends. Interrupt fields are in the others.
 */
static void rg_amd_write_blocked(struct rg_amd_entry *entry)
{
	u64 first = RG_AMD_V;

	if (!*(bool *)rg_target_addr(RG_T_AMD_SNP_EN))
		first |= RG_AMD_TV;
	WRITE_ONCE(entry->blocked, true);
	WRITE_ONCE(entry->live[0], first);
	/* Pairs with nothing of the kernel's: the IOMMU reads the entry at any time. */
	smp_wmb();
	WRITE_ONCE(entry->live[1], entry->live[1] & RG_AMD_KEPT);
}

static void rg_amd_block(struct rg_rid *rid, struct pci_dev *pdev)
{
	struct rg_amd_entry *entry = rg_amd_entry(rid);
	struct protection_domain *domain = rg_amd_domain(pdev);
	unsigned long flags;

	if (domain)
		spin_lock_irqsave(rg_amd_domain_lock(domain), flags);
	rg_amd_write_blocked(entry);
	if (domain)
		spin_unlock_irqrestore(rg_amd_domain_lock(domain), flags);
	rg_amd_flush_entry(entry->iommu, rid->key & 0xffff);
}

/* As the driver's attach would. The entry of one that is detached stays as blocked. */
static void rg_amd_write_by_id(struct rg_amd_entry *entry, struct iommu_dev_data *data,
			       struct protection_domain *domain)
{
	if (!domain)
		return;
	rg_call(rg_call_amd_set_dte_by_id)(entry->iommu, rg_amd_devid(data), domain,
					     *rg_member(data, RG_M_AMD_DATA_ATS, bool),
					     *rg_member(data, RG_M_AMD_DATA_V2, bool));
}

static void rg_amd_write_open(struct rg_rid *rid, struct pci_dev *pdev,
			      struct protection_domain *domain)
{
	struct rg_amd_entry *entry = rg_amd_entry(rid);
	struct iommu_dev_data *data = dev_iommu_priv_get(&pdev->dev);
	u16 devid = rid->key & 0xffff;

	WRITE_ONCE(entry->blocked, false);
	if (devid != rg_amd_devid(data))
		rg_call(rg_call_amd_clone)(pdev, devid, pdev);
	else if (rg_target_variant(RG_T_AMD_SET_DTE) == RG_AMD_SET_DTE_BY_ID)
		rg_amd_write_by_id(entry, data, domain);
	else
		rg_call(rg_call_amd_update_dte)(data, domain != NULL);
}

static void rg_amd_unblock(struct rg_rid *rid, struct pci_dev *pdev)
{
	struct protection_domain *domain = rg_amd_domain(pdev);
	unsigned long flags;

	if (domain)
		spin_lock_irqsave(rg_amd_domain_lock(domain), flags);
	rg_amd_write_open(rid, pdev, domain);
	if (domain)
		spin_unlock_irqrestore(rg_amd_domain_lock(domain), flags);
	rg_amd_flush_entry(rg_amd_entry(rid)->iommu, rid->key & 0xffff);
}

/* 2.4.3: all of the domain, as the driver does where a domain ID is used anew. */
static void rg_amd_flush(struct rg_rid *rid)
{
	struct rg_amd_entry *entry = rg_amd_entry(rid);
	u32 cmd[RG_AMD_COMMAND_DWORDS] = {
		0, RG_AMD_OP_PAGES << RG_AMD_OP_SHIFT | (entry->live[1] & RG_AMD_DOMAIN_ID),
		RG_AMD_ALL_PAGES_LOW, RG_AMD_ALL_PAGES_HIGH,
	};

	rg_amd_execute(entry->iommu, cmd, rid->key & 0xffff);
}

static int rg_amd_init(void)
{
	if (list_empty((struct list_head *)rg_target_addr(RG_T_AMD_LIST)))
		return -ENODEV;
	if (rg_target_variant(RG_T_AMD_SET_DTE) == RG_AMD_SET_DTE_BY_ID)
		rg_call_aim(rg_call_amd_set_dte_by_id, RG_T_AMD_SET_DTE);
	else
		rg_call_aim(rg_call_amd_update_dte, RG_T_AMD_UPDATE_DTE);
	rg_call_aim(rg_call_amd_clone, RG_T_AMD_CLONE_ALIAS);
	rg_call_aim(rg_call_amd_queue, RG_T_AMD_QUEUE_COMMAND);
	rg_valve_set_up(&rg_amd_valve);
	return 0;
}

static void rg_amd_exit(void)
{
}

const struct rg_backend rg_amd_backend = {
	.name = "amd",
	.hint = "AMD-Vi without amd_iommu=off",
	.set = RG_SET_AMD,
	.hooks = rg_amd_hooks,
	.nr_hooks = ARRAY_SIZE(rg_amd_hooks),
	.valve = &rg_amd_valve,
	.init = rg_amd_init,
	.exit = rg_amd_exit,
	.match = rg_amd_match,
	.ids = rg_amd_ids,
	.adopt = rg_amd_adopt,
	.block = rg_amd_block,
	.unblock = rg_amd_unblock,
	.flush = rg_amd_flush,
};
