// SPDX-License-Identifier: GPL-2.0
/*
 * Arm SMMUv3. Sections are those of the Arm System Memory Management Unit
 * Architecture Specification, version 3 (IHI 0070).
 *
 * Table valve: a stream table entry (STE) is written by arm_smmu_write_entry() and by
 * nothing else once its function is there. What it would write for a blocked stream ID
 * is recorded. The driver reads a live STE only there, to find the way from it to the
 * target, so nobody is misled by the one that blocks. Context descriptors, which the
 * same function writes, go to memory: they lie behind the STE. Who calls it keeps
 * books (in_ste, ste_ats_enabled), which therefore stay right.
 *
 * Whoever writes an STE holds the mutex of the function's group: attach of any domain,
 * release of a function, and the change of the STE for the first or the last PASID. Under
 * it the record and what is blocked change (arm_smmu_install_ste_for_dev() and who calls
 * it in Debian's 6.12.118 and 7.3.4; iommu_deinit_device() asserts it). They hold
 * arm_smmu_asid_lock as well, which is none of ours: there is one for all SMMUs, and it
 * is held while a queue times out.
 *
 * Invalidation valve: ATC invalidations are taken out of the caller's array, which is
 * writable memory of its own. It reads no more of that than the first command's
 * operation, to submit some, which are no ATC invalidations, once more (7.3, an
 * erratum's). What remains may be nothing where a CMD_SYNC follows: that goes by itself.
 * Where none follows (a part of a list that is longer than the driver's batches) one
 * that signals nobody takes the place of the first: the driver's queue tells owners
 * apart by where they begin, and one that adds nothing begins where the next one does.
 * All queues of the kernel's own pass here, an implementation's secondary ones, too;
 * one that a guest owns (Tegra241's CMDQV) does not.
 *
 * Fence: up to 7.1 the last batch of an invalidation is submitted preemptibly, so
 * only a grace period of tasks outlasts it. From 7.2 on there is an array of a
 * domain's invalidations with a lock, and whoever uses it is in an RCU read section.
 * The rest is under the group mutex, but for a guest's own invalidations (IOMMUFD).
 * Each waits for its CMD_SYNC before it leaves, so fence and drain are one. The driver
 * gives up that wait after a second, and tells nobody: a CMD_SYNC of our own, before
 * the entry is blocked and after it, shows whether the queue goes on.
 *
 * Interrupts: an MSI is a write like any other here. A blocked function's go nowhere.
 *
 * The tables are rewritten as a whole by nobody: the driver resets the SMMU when it
 * probes it, and before that come the bypassing STEs of reserved memory (RMR).
 */
#include <linux/bitfield.h>
#include <linux/crash_dump.h>
#include <linux/io.h>
#include <linux/iommu.h>
#include <linux/platform_device.h>

#include "../backend.h"
#include "../compat.h"
#include "../rids.h"
#include "../trace.h"

struct arm_smmu_cmdq;
struct arm_smmu_device;
struct arm_smmu_entry_writer;
struct arm_smmu_ste;
struct arm_smmu_strtab_l2;

/* Stream table entry, 5.2: 512 bits, the numbers are those in a quadword. */
#define RG_SMMU_STE_QWORDS	8
#define RG_SMMU_STE_V		BIT_ULL(0)
#define RG_SMMU_STE_STAGE1	BIT_ULL(1)	/* of Config, where it is not 0 */
#define RG_SMMU_STE_STAGE2	BIT_ULL(2)
#define RG_SMMU_STE_1_STRW	GENMASK_ULL(31, 30)
#define RG_SMMU_STE_1_STRW_EL2	(2ULL << 30)
#define RG_SMMU_STE_2_VMID	GENMASK_ULL(15, 0)

/* Commands, 4.1: two quadwords, the operation in the lowest byte of the first. */
#define RG_SMMU_COMMAND_QWORDS	2
#define RG_SMMU_OP		GENMASK_ULL(7, 0)
#define RG_SMMU_OP_NH_ALL	0x10
#define RG_SMMU_OP_EL2_ALL	0x20
#define RG_SMMU_OP_S12_VMALL	0x28
#define RG_SMMU_OP_ATC_INV	0x40
#define RG_SMMU_OP_SYNC		0x46	/* 4.7.3; CS, which is 0: nobody is signalled */
/* ATC_INV's stream ID, 4.5.1; a TLBI's VMID, 4.4, is in the lower half of it. */
#define RG_SMMU_UPPER		32

/* SMMU_STRTAB_BASE_CFG: the format of the stream table, and how a stream ID is split. */
#define RG_SMMU_BASE_CFG	0x88
#define RG_SMMU_BASE_CFG_2LVL	BIT(16)
#define RG_SMMU_BASE_CFG_SPLIT	GENMASK(10, 6)
#define RG_SMMU_SPLIT		8

typedef void rg_smmu_write_fn(struct arm_smmu_entry_writer *writer, __le64 *entry,
			      const __le64 *target);
/* From 7.2 on a command is a structure of two quadwords. */
typedef int rg_smmu_queue_fn(struct arm_smmu_device *smmu, struct arm_smmu_cmdq *cmdq,
			     u64 *cmds, int n, bool sync);

RG_CALL_DEFINE(rg_call_smmu_write, rg_smmu_write_fn);
RG_CALL_DEFINE(rg_call_smmu_queue, rg_smmu_queue_fn);

/* struct arm_smmu_ste_writer, as the table of targets has it. */
struct rg_smmu_writer {
	const void *ops;
	void *master;
	u32 sid;
};

/* In &rg_rid.priv. The live entry is in a table that its SMMU keeps for good. */
struct rg_smmu_entry {
	struct arm_smmu_device *smmu;
	__le64 *live;
	__le64 record[RG_SMMU_STE_QWORDS];	/* under the group mutex */
	u32 bdf;	/* for people: a stream ID need not tell the function */
	bool blocked;	/* under the group mutex */
};

/* arm_smmu_ste_writer_ops: what tells that a stream table entry is written. */
static const void *rg_smmu_ste_ops;

static notrace struct rg_smmu_entry *rg_smmu_entry(struct rg_rid *rid)
{
	BUILD_BUG_ON(sizeof(struct rg_smmu_entry) > sizeof(rid->priv));
	return (struct rg_smmu_entry *)rid->priv;
}

static notrace struct arm_smmu_device *rg_smmu_of(void *master)
{
	return *rg_member(master, RG_M_SMMU_MASTER_SMMU, struct arm_smmu_device *);
}

/* The table valve. */

/* The caller is in an RCU read section, or its preemption is off. */
static notrace struct rg_rid *rg_smmu_blocked(struct arm_smmu_entry_writer *writer)
{
	struct rg_smmu_writer *w = (struct rg_smmu_writer *)writer;
	struct rg_rid *rid = rg_rids_find(rg_smmu_of(w->master), w->sid);

	return rid && READ_ONCE(rg_smmu_entry(rid)->blocked) ? rid : NULL;
}

/* The caller holds the group mutex: what was blocked in the handler is so still. */
static void rg_smmu_record(struct arm_smmu_entry_writer *writer, __le64 *live,
			   const __le64 *target)
{
	struct rg_smmu_entry *entry;
	struct rg_rid *rid;

	rcu_read_lock();
	rid = rg_smmu_blocked(writer);
	if (rid) {
		entry = rg_smmu_entry(rid);
		memcpy(entry->record, target, sizeof(entry->record));
		atomic64_inc(&rid->recorded);
		trace_record(entry->bdf);
	}
	rcu_read_unlock();
}

static notrace void *rg_smmu_divert_write(struct ftrace_regs *fregs,
					  unsigned long parent_ip)
{
	struct arm_smmu_entry_writer *writer = (void *)rg_compat_arg(fregs, 0);

	if (((struct rg_smmu_writer *)writer)->ops != rg_smmu_ste_ops)
		return NULL;
	return rg_smmu_blocked(writer) ? rg_smmu_record : NULL;
}

static const struct rg_hook rg_smmu_hooks[] = {
	{ RG_T_SMMU_WRITE_ENTRY, rg_smmu_divert_write },
};

/* The invalidation valve. */

static void rg_smmu_filter(unsigned long ip, unsigned long parent_ip,
			   struct ftrace_ops *ops, struct ftrace_regs *fregs);

static struct rg_valve rg_smmu_valve = {
	.id = RG_T_SMMU_QUEUE,
	.filter = rg_smmu_filter,
};

static notrace bool rg_smmu_withholds(struct arm_smmu_device *smmu, const u64 *cmd)
{
	struct rg_rid *rid;

	if ((cmd[0] & RG_SMMU_OP) != RG_SMMU_OP_ATC_INV)
		return false;
	rid = rg_rids_find(smmu, cmd[0] >> RG_SMMU_UPPER);
	if (!rid || !rg_rids_withholds(rid))
		return false;
	rg_target_fired(rg_smmu_valve.id);
	trace_drop(rg_smmu_entry(rid)->bdf);
	return true;
}

/* The count is an int, the last argument a bool: above them their registers have anything. */
static notrace void rg_smmu_filter(unsigned long ip, unsigned long parent_ip,
				   struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	struct arm_smmu_device *smmu = (void *)rg_compat_arg(fregs, 0);
	u64 *from = (void *)rg_compat_arg(fregs, 2), *to = from;
	int n = (int)rg_compat_arg(fregs, 3), kept = 0, i;
	bool sync = (u8)rg_compat_arg(fregs, 4);

	preempt_disable_notrace();
	for (i = 0; i < n; i++, from += RG_SMMU_COMMAND_QWORDS) {
		if (rg_smmu_withholds(smmu, from))
			continue;
		if (kept != i) {
			to[0] = from[0];
			to[1] = from[1];
		}
		to += RG_SMMU_COMMAND_QWORDS;
		kept++;
	}
	preempt_enable_notrace();
	if (n > 0 && !kept && !sync) {
		to[0] = RG_SMMU_OP_SYNC;
		to[1] = 0;
		kept = 1;
	}
	if (kept != n)
		rg_compat_set_arg(fregs, 3, kept);
}

/* What the core asks. */

/*
 * Up to 7.1, and where a guest invalidates by itself: the head of this file. What BTF
 * shows decides, for the lock may come to an older series.
 */
static bool rg_smmu_preempted(void)
{
	return !rg_member_present(RG_M_SMMU_INVS_LOCK) ||
	       rg_target_present(RG_T_SMMU_GUEST_INV);
}

/*
 * The driver of SMMUv2 has an arm_smmu_ops as well, and neither is exported: what
 * tells them apart is a function that this one alone has in it.
 */
static bool rg_smmu_match(struct device *dev)
{
	if (!dev->iommu || !dev->iommu->iommu_dev || !dev_iommu_priv_get(dev))
		return false;
	return (unsigned long)dev->iommu->iommu_dev->ops->page_response ==
	       rg_target_addr(RG_T_SMMU_PAGE_RESPONSE);
}

/*
 * The firmware's tables map a function's requester ID and then its aliases to stream
 * IDs, which are unique within their SMMU. The driver gives a stream ID to one
 * function: of those that share an alias, the first has it, and it does not probe the
 * others. So each stream ID is blocked and opened with its one function.
 */
static int rg_smmu_ids(struct rg_state *state)
{
	struct device *dev = &state->pdev->dev;
	struct iommu_fwspec *fwspec = dev_iommu_fwspec_get(dev);
	int rc = -ENOENT, i;

	for (i = 0; i < fwspec->num_ids; i++) {
		rc = rg_rids_add(state, rg_smmu_of(dev_iommu_priv_get(dev)), fwspec->ids[i]);
		if (rc)
			break;
	}
	return rc;
}

/* In a table of two levels the driver has the tables of all known stream IDs. */
static __le64 *rg_smmu_live(struct arm_smmu_device *smmu, u32 sid)
{
	void __iomem *base = *rg_member(smmu, RG_M_SMMU_BASE, void __iomem *);
	u32 cfg = readl_relaxed(base + RG_SMMU_BASE_CFG);
	u64 *first;

	if (!(cfg & RG_SMMU_BASE_CFG_2LVL)) {
		first = *rg_member(smmu, RG_M_SMMU_LINEAR, u64 *);
	} else {
		if (FIELD_GET(RG_SMMU_BASE_CFG_SPLIT, cfg) != RG_SMMU_SPLIT)
			return NULL;
		first = (*rg_member(smmu, RG_M_SMMU_L2PTRS, u64 **))[sid >> RG_SMMU_SPLIT];
		sid &= BIT(RG_SMMU_SPLIT) - 1;
	}
	return (__le64 *)first + (size_t)sid * RG_SMMU_STE_QWORDS;
}

/* Entries of a crashed kernel are not for us to change. */
static int rg_smmu_adopt(struct rg_rid *rid, struct pci_dev *pdev)
{
	struct rg_smmu_entry *entry = rg_smmu_entry(rid);

	if (is_kdump_kernel())
		return -EOPNOTSUPP;
	entry->smmu = rg_smmu_of(dev_iommu_priv_get(&pdev->dev));
	entry->bdf = rg_pdev_key(pdev);
	entry->live = rg_smmu_live(entry->smmu, rid->key);
	return entry->live ? 0 : -EOPNOTSUPP;
}

/*
 * By the driver's own writer: it keeps the entry valid on its way, and invalidates it
 * with CMD_CFGI_STE (4.3.1) and CMD_SYNC (4.7.3) after each step. It passes the
 * table valve like the driver's own, so nothing may be blocked meanwhile.
 */
static void rg_smmu_write(struct rg_rid *rid, struct pci_dev *pdev, const __le64 *target)
{
	struct rg_smmu_writer writer = {
		.ops = rg_smmu_ste_ops,
		.master = dev_iommu_priv_get(&pdev->dev),
		.sid = rid->key,
	};

	rg_call(rg_call_smmu_write)((struct arm_smmu_entry_writer *)&writer,
				    rg_smmu_entry(rid)->live, target);
}

/*
 * Config 0: everything is refused, and no event tells of it. The driver has ATSCHK
 * set, so that translated requests are looked up as well (SMMU_CR0). TLBs know ASIDs and
 * VMIDs, not streams: what is in them is reached through the STE alone, and stays.
 *
 * There is always a function: a stream ID has one, which is on its way out where it
 * is not given, and is not blocked any more then.
 */
static void rg_smmu_block(struct rg_rid *rid, struct pci_dev *pdev)
{
	static const __le64 refuse[RG_SMMU_STE_QWORDS] = { cpu_to_le64(RG_SMMU_STE_V) };
	struct rg_smmu_entry *entry = rg_smmu_entry(rid);

	if (!pdev)
		return;
	memcpy(entry->record, entry->live, sizeof(entry->record));
	rg_smmu_write(rid, pdev, refuse);
	WRITE_ONCE(entry->blocked, true);
}

/*
 * No TLB has to be flushed: the driver invalidates ASIDs and VMIDs that go out of
 * use whatever the STE says.
 */
static void rg_smmu_unblock(struct rg_rid *rid, struct pci_dev *pdev)
{
	struct rg_smmu_entry *entry = rg_smmu_entry(rid);

	WRITE_ONCE(entry->blocked, false);
	rg_smmu_write(rid, pdev, entry->record);
}

/*
 * A CMD_SYNC by itself: the driver gives up on it after a second, as on any other
 * that is behind a command which the hardware does not complete. For room in a queue that
 * is full it waits without end. Where an implementation has queues of its own
 * (Tegra241), this asks the architecture's.
 */
static bool rg_smmu_takes(const void *space)
{
	struct arm_smmu_device *smmu = (struct arm_smmu_device *)space;
	u64 none[RG_SMMU_COMMAND_QWORDS] = {};

	return !rg_call(rg_call_smmu_queue)(smmu, rg_member(smmu, RG_M_SMMU_CMDQ, void),
					    none, 0, true);
}

/*
 * The TLB entries that a translation request can be answered from: those of the VMID
 * at stage 2; at stage 1 those of all ASIDs of the STE's world, for any PASID may
 * be in use. Nothing where nothing is translated, for ATS is refused there.
 */
static u64 rg_smmu_tlbi(const __le64 *ste)
{
	u64 config = le64_to_cpu(READ_ONCE(ste[0]));
	u64 vmid = le64_to_cpu(READ_ONCE(ste[2])) & RG_SMMU_STE_2_VMID;

	if (config & RG_SMMU_STE_STAGE2)
		return RG_SMMU_OP_S12_VMALL | vmid << RG_SMMU_UPPER;
	if (!(config & RG_SMMU_STE_STAGE1))
		return 0;
	if ((le64_to_cpu(READ_ONCE(ste[1])) & RG_SMMU_STE_1_STRW) == RG_SMMU_STE_1_STRW_EL2)
		return RG_SMMU_OP_EL2_ALL;
	return RG_SMMU_OP_NH_ALL | vmid << RG_SMMU_UPPER;
}

/*
 * The driver waits for the TLB's invalidation before it submits the ATC's, but for a
 * second at the most. The group mutex keeps the STE. Where it times out, the driver
 * says so, and meets the same queue.
 */
static void rg_smmu_flush(struct rg_rid *rid)
{
	struct rg_smmu_entry *entry = rg_smmu_entry(rid);
	struct arm_smmu_cmdq *cmdq = rg_member(entry->smmu, RG_M_SMMU_CMDQ, void);
	u64 cmd[RG_SMMU_COMMAND_QWORDS] = { rg_smmu_tlbi(entry->live) };

	if (cmd[0])
		rg_call(rg_call_smmu_queue)(entry->smmu, cmdq, cmd, 1, true);
}

static int rg_smmu_seen(struct device *dev, void *data)
{
	return 1;
}

/* Whether the driver has an SMMU. */
static bool rg_smmu_in_use(void)
{
	struct device_driver *driver = driver_find("arm-smmu-v3", &platform_bus_type);

	return driver && driver_for_each_device(driver, NULL, NULL, rg_smmu_seen);
}

static int rg_smmu_init(void)
{
	if (!rg_smmu_in_use())
		return -ENODEV;
	rg_smmu_ste_ops = (const void *)rg_target_addr(RG_T_SMMU_STE_OPS);
	rg_call_aim(rg_call_smmu_write, RG_T_SMMU_WRITE_ENTRY);
	rg_call_aim(rg_call_smmu_queue, RG_T_SMMU_QUEUE);
	/* Where there is an inner one, copies of the other are in its callers. */
	rg_smmu_valve.id = rg_target_present(RG_T_SMMU_QUEUE_INNER) ?
			   RG_T_SMMU_QUEUE_INNER : RG_T_SMMU_QUEUE;
	rg_valve_set_up(&rg_smmu_valve);
	return 0;
}

static void rg_smmu_exit(void)
{
}

const struct rg_backend rg_smmuv3_backend = {
	.name = "smmuv3",
	.hint = "Arm SMMUv3",
	.set = RG_SET_SMMUV3,
	.hooks = rg_smmu_hooks,
	.nr_hooks = ARRAY_SIZE(rg_smmu_hooks),
	.valve = &rg_smmu_valve,
	.init = rg_smmu_init,
	.exit = rg_smmu_exit,
	.preempted = rg_smmu_preempted,
	.match = rg_smmu_match,
	.ids = rg_smmu_ids,
	.takes = rg_smmu_takes,
	.adopt = rg_smmu_adopt,
	.block = rg_smmu_block,
	.unblock = rg_smmu_unblock,
	.flush = rg_smmu_flush,
};
