// SPDX-License-Identifier: GPL-2.0
/*
 * Intel VT-d, legacy and scalable mode.
 *
 * Table valve: iommu_context_addr() is where the driver gets every context
 * entry that it reads or writes; for a blocked requester ID it gets our shadow.
 * PASID-table entries go straight to memory: they are behind the context entry,
 * which is not present.
 *
 * Invalidation valve: in the caller's own array, a device-TLB invalidation for
 * a filtered requester ID becomes a wait descriptor that writes a dword of
 * ours (VT-d 6.5.2.5, 6.5.2.6, 6.5.2.8), so that the count of descriptors, the
 * queue's bookkeeping and the caller's own wait stay as they are.
 *
 * Fence: an IOMMU driver submits from a section with interrupts off or, with
 * PREEMPT_RT, under a sleeping spinlock, which is an RCU read section there,
 * or under the group mutex, which close holds. A grace period outlasts them,
 * their waits in the queue included; no drain of its own is needed.
 */
#include <linux/io.h>
#include <linux/iommu.h>
#include <linux/slab.h>

#include <asm/cacheflush.h>

#include "../backend.h"
#include "../compat.h"
#include "../rids.h"
#include "../trace.h"

struct intel_iommu;
struct context_entry;

/* Context entry: VT-d 9.3 (legacy), 9.4 (scalable mode, 256 bits). */
#define RG_VTD_PRESENT		BIT_ULL(0)
#define RG_VTD_FPD		BIT_ULL(1)
#define RG_VTD_CTX_QWORDS	4

/* Capability registers: VT-d 11.4.2, 11.4.3. */
#define RG_VTD_CAP_CM		BIT_ULL(7)
#define RG_VTD_ECAP_C		BIT_ULL(0)
#define RG_VTD_ECAP_SMTS	BIT_ULL(43)

/* Granularities: CCMD.CIRG 11.4.4.1, IOTLB.IIRG 11.4.5.1, PASID cache 6.5.2.2. */
#define RG_VTD_CCMD_DEVICE	(3ULL << 61)
#define RG_VTD_IOTLB_DOMAIN	(2ULL << 60)
#define RG_VTD_IOTLB_GLOBAL	(1ULL << 60)
#define RG_VTD_PASID_GLOBAL	3

/* Descriptor types 6.5.2.5 and 6.5.2.6; wait descriptor 6.5.2.8. */
#define RG_VTD_QI_DEV_TLB	3
#define RG_VTD_QI_DEV_EIOTLB	8
#define RG_VTD_QI_WAIT		5
#define RG_VTD_QI_WAIT_SW	BIT_ULL(5)
#define RG_VTD_QI_QWORDS	4

/* iommu->flush: function pointers, so their targets have landing pads. */
typedef void rg_vtd_flush_context_fn(struct intel_iommu *iommu, u16 did, u16 sid,
				     u8 mask, u64 type);
typedef void rg_vtd_flush_iotlb_fn(struct intel_iommu *iommu, u16 did, u64 addr,
				   unsigned int order, u64 type);
typedef struct context_entry *rg_vtd_context_fn(struct intel_iommu *iommu, u8 bus,
						u8 devfn, int alloc);
typedef void rg_vtd_flush_pasid_fn(struct intel_iommu *iommu, u16 did, u64 granu,
				   u32 pasid);
typedef void rg_vtd_flush_write_fn(struct intel_iommu *iommu);

RG_CALL_DEFINE(rg_call_vtd_context, rg_vtd_context_fn);
RG_CALL_DEFINE(rg_call_vtd_flush_pasid, rg_vtd_flush_pasid_fn);
RG_CALL_DEFINE(rg_call_vtd_flush_write, rg_vtd_flush_write_fn);

/* In &rg_rid.priv. The live entry is in a table that its IOMMU keeps for good. */
struct rg_vtd_entry {
	struct intel_iommu *iommu;
	u64 *live;
	u64 shadow[RG_VTD_CTX_QWORDS];
	bool scalable;
	bool diverted;	/* under iommu->lock */
};

/* Where dropped invalidations report that they are done. */
static u32 *rg_vtd_sink;
static u64 rg_vtd_sink_phys;

/* free_dmar_iommu() frees what it gets: never give it the shadow. */
static unsigned long rg_vtd_free_start;
static unsigned long rg_vtd_free_end;

static struct rg_vtd_entry *rg_vtd_entry(struct rg_rid *rid)
{
	BUILD_BUG_ON(sizeof(struct rg_vtd_entry) > sizeof(rid->priv));
	return (struct rg_vtd_entry *)rid->priv;
}

static notrace u16 rg_vtd_segment(struct intel_iommu *iommu)
{
	return *rg_member(iommu, RG_M_VTD_SEGMENT, u16);
}

static spinlock_t *rg_vtd_lock(struct intel_iommu *iommu)
{
	return rg_member(iommu, RG_M_VTD_LOCK, spinlock_t);
}

static u64 rg_vtd_ecap(struct intel_iommu *iommu)
{
	return *rg_member(iommu, RG_M_VTD_ECAP, u64);
}

static int rg_vtd_qwords(const struct rg_vtd_entry *entry)
{
	return entry->scalable ? RG_VTD_CTX_QWORDS : 2;
}

static u16 rg_vtd_did(const u64 *context)
{
	return context[1] >> 8 & 0xffff;
}

static void rg_vtd_flush_context(const struct rg_vtd_entry *entry, u16 did, u16 sid)
{
	rg_vtd_flush_context_fn *flush = *rg_member(entry->iommu, RG_M_VTD_FLUSH_CONTEXT,
						    rg_vtd_flush_context_fn *);

	flush(entry->iommu, did, sid, 0, RG_VTD_CCMD_DEVICE);
}

static void rg_vtd_flush_iotlb(const struct rg_vtd_entry *entry, u16 did, u64 type)
{
	rg_vtd_flush_iotlb_fn *flush = *rg_member(entry->iommu, RG_M_VTD_FLUSH_IOTLB,
						  rg_vtd_flush_iotlb_fn *);

	flush(entry->iommu, did, 0, 0, type);
}

/* VT-d 4.3: an IOMMU without ECAP.C does not snoop its tables. */
static void rg_vtd_write_back(const struct rg_vtd_entry *entry)
{
	if (!(rg_vtd_ecap(entry->iommu) & RG_VTD_ECAP_C))
		clflush_cache_range(entry->live, rg_vtd_qwords(entry) * sizeof(u64));
}

/* The table valve. */

static notrace struct rg_rid *rg_vtd_rid(struct intel_iommu *iommu, u16 sid)
{
	return rg_rids_find(NULL, (u32)rg_vtd_segment(iommu) << 16 | sid);
}

/*
 * The caller holds iommu->lock, under which diverted changes. Only the dump of a
 * fault (DMAR_DEBUG) comes without it, in a hard interrupt, which keeps the entry:
 * that goes a grace period after its function.
 */
static struct context_entry *rg_vtd_shadow(struct intel_iommu *iommu, u8 bus,
					   u8 devfn, int alloc)
{
	struct rg_vtd_entry *entry;
	struct rg_rid *rid;

	rcu_read_lock();
	rid = rg_vtd_rid(iommu, PCI_DEVID(bus, devfn));
	entry = rid ? rg_vtd_entry(rid) : NULL;
	rcu_read_unlock();
	if (!entry)
		return NULL;
	atomic64_inc(&rid->recorded);
	trace_record(rid->key);
	return (struct context_entry *)entry->shadow;
}

static notrace void *rg_vtd_divert_context(struct ftrace_regs *fregs,
					   unsigned long parent_ip)
{
	struct intel_iommu *iommu = (void *)rg_compat_arg(fregs, 0);
	u8 bus = rg_compat_arg(fregs, 1), devfn = rg_compat_arg(fregs, 2);
	struct rg_rid *rid = rg_vtd_rid(iommu, PCI_DEVID(bus, devfn));

	if (!rid || !READ_ONCE(rg_vtd_entry(rid)->diverted))
		return NULL;
	if (parent_ip >= rg_vtd_free_start && parent_ip < rg_vtd_free_end)
		return NULL;
	return rg_vtd_shadow;
}

static const struct rg_hook rg_vtd_hooks[] = {
	{ RG_T_VTD_CONTEXT_ADDR, rg_vtd_divert_context },
};

/* The invalidation valve. */

static notrace bool rg_vtd_device_tlb(const u64 *qw, u16 *sid)
{
	switch (qw[0] & 0xf) {
	case RG_VTD_QI_DEV_TLB:
		*sid = qw[0] >> 32;
		return true;
	case RG_VTD_QI_DEV_EIOTLB:
		*sid = qw[0] >> 16;
		return true;
	}
	return false;
}

/* Status data is anything but QI_FREE's 0; nobody reads the dword. */
static notrace void rg_vtd_neutralise(u64 *qw)
{
	qw[0] = 2ULL << 32 | RG_VTD_QI_WAIT_SW | RG_VTD_QI_WAIT;
	qw[1] = rg_vtd_sink_phys;
	qw[2] = 0;
	qw[3] = 0;
}

static notrace void rg_vtd_filter(unsigned long ip, unsigned long parent_ip,
				  struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	struct intel_iommu *iommu = (void *)rg_compat_arg(fregs, 0);
	u64 *qw = (void *)rg_compat_arg(fregs, 1);
	unsigned int count = rg_compat_arg(fregs, 2);
	struct rg_rid *rid;
	u16 sid;

	preempt_disable_notrace();
	for (; count; count--, qw += RG_VTD_QI_QWORDS) {
		if (!rg_vtd_device_tlb(qw, &sid))
			continue;
		rid = rg_vtd_rid(iommu, sid);
		if (!rid || !rg_rids_withholds(rid))
			continue;
		rg_vtd_neutralise(qw);
		rg_target_fired(RG_T_VTD_QI_SUBMIT);
		trace_drop(rid->key);
	}
	preempt_enable_notrace();
}

static struct rg_valve rg_vtd_valve = {
	.id = RG_T_VTD_QI_SUBMIT,
	.filter = rg_vtd_filter,
};

/* What the core asks. */

static bool rg_vtd_match(struct device *dev)
{
	if (!dev->iommu || !dev->iommu->iommu_dev || !dev_iommu_priv_get(dev))
		return false;
	return (unsigned long)dev->iommu->iommu_dev->ops == rg_target_addr(RG_T_VTD_OPS);
}

/* The driver's own idea of it. Subdevices are not covered: rg_rids_is_own(). */
static int rg_vtd_ids(struct rg_state *state)
{
	void *info = dev_iommu_priv_get(&state->pdev->dev);
	struct intel_iommu *iommu = *rg_member(info, RG_M_VTD_INFO_IOMMU,
					       struct intel_iommu *);
	u16 sid = PCI_DEVID(*rg_member(info, RG_M_VTD_INFO_BUS, u8),
			    *rg_member(info, RG_M_VTD_INFO_DEVFN, u8));

	return rg_rids_add_aliases(state, (u32)rg_vtd_segment(iommu) << 16 | sid);
}

static bool rg_vtd_is_scalable(struct intel_iommu *iommu)
{
	return *(int *)rg_target_addr(RG_T_VTD_SM) &&
	       rg_vtd_ecap(iommu) & RG_VTD_ECAP_SMTS;
}

/*
 * Makes sure that the context table is there, so that closing allocates
 * nothing. A table copied from a crashed kernel is not for us to change.
 */
static int rg_vtd_adopt(struct rg_rid *rid, struct pci_dev *pdev)
{
	struct rg_vtd_entry *entry = rg_vtd_entry(rid);
	void *info = dev_iommu_priv_get(&pdev->dev);
	u16 sid = rid->key & 0xffff;

	entry->iommu = *rg_member(info, RG_M_VTD_INFO_IOMMU, struct intel_iommu *);
	if (*rg_member(entry->iommu, RG_M_VTD_COPIED_TABLES, unsigned long *))
		return -EOPNOTSUPP;
	entry->scalable = rg_vtd_is_scalable(entry->iommu);
	spin_lock(rg_vtd_lock(entry->iommu));
	entry->live = (u64 *)rg_call(rg_call_vtd_context)(entry->iommu, PCI_BUS_NUM(sid),
							    sid & 0xff, 1);
	spin_unlock(rg_vtd_lock(entry->iommu));
	return entry->live ? 0 : -ENOMEM;
}

/*
 * VT-d 6.5.3.3: after an entry that was present is made not present, the
 * context cache, with scalable mode the PASID cache, then the IOTLB. Any PASID
 * may be in use, so those two are flushed whole.
 */
static void rg_vtd_flush_blocked(const struct rg_vtd_entry *entry, u16 sid)
{
	u16 did = rg_vtd_did(entry->shadow);

	rg_vtd_flush_context(entry, entry->scalable ? 0 : did, sid);
	if (!entry->scalable) {
		rg_vtd_flush_iotlb(entry, did, RG_VTD_IOTLB_DOMAIN);
		return;
	}
	rg_call(rg_call_vtd_flush_pasid)(entry->iommu, 0, RG_VTD_PASID_GLOBAL, 0);
	rg_vtd_flush_iotlb(entry, 0, RG_VTD_IOTLB_GLOBAL);
}

/* FPD keeps a function that goes on sending DMA from flooding the fault log. */
static void rg_vtd_block(struct rg_rid *rid, struct pci_dev *pdev)
{
	struct rg_vtd_entry *entry = rg_vtd_entry(rid);

	spin_lock(rg_vtd_lock(entry->iommu));
	memcpy(entry->shadow, entry->live, rg_vtd_qwords(entry) * sizeof(u64));
	WRITE_ONCE(entry->diverted, true);
	WRITE_ONCE(entry->live[0], (entry->live[0] & ~RG_VTD_PRESENT) | RG_VTD_FPD);
	rg_vtd_write_back(entry);
	spin_unlock(rg_vtd_lock(entry->iommu));

	if (entry->shadow[0] & RG_VTD_PRESENT)
		rg_vtd_flush_blocked(entry, rid->key & 0xffff);
}

/* VT-d 6.1: with caching mode, entries that were not present are cached, too. */
static void rg_vtd_flush_opened(const struct rg_vtd_entry *entry, u16 sid)
{
	if (!(*rg_member(entry->iommu, RG_M_VTD_CAP, u64) & RG_VTD_CAP_CM)) {
		rg_call(rg_call_vtd_flush_write)(entry->iommu);
		return;
	}
	rg_vtd_flush_context(entry, 0, sid);
	rg_vtd_flush_iotlb(entry, entry->scalable ? 0 : rg_vtd_did(entry->live),
			   RG_VTD_IOTLB_DOMAIN);
}

static void rg_vtd_unblock(struct rg_rid *rid, struct pci_dev *pdev)
{
	struct rg_vtd_entry *entry = rg_vtd_entry(rid);
	int i;

	spin_lock(rg_vtd_lock(entry->iommu));
	for (i = rg_vtd_qwords(entry) - 1; i > 0; i--)
		WRITE_ONCE(entry->live[i], entry->shadow[i]);
	/* The present bit is in the first quadword: it must be seen last. */
	smp_wmb();
	WRITE_ONCE(entry->live[0], entry->shadow[0]);
	WRITE_ONCE(entry->diverted, false);
	rg_vtd_write_back(entry);
	spin_unlock(rg_vtd_lock(entry->iommu));

	if (entry->shadow[0] & RG_VTD_PRESENT)
		rg_vtd_flush_opened(entry, rid->key & 0xffff);
}

/* Any PASID may have been in use, so it goes whole. */
static void rg_vtd_flush(struct rg_rid *rid)
{
	rg_vtd_flush_iotlb(rg_vtd_entry(rid), 0, RG_VTD_IOTLB_GLOBAL);
}

static int rg_vtd_init(void)
{
	if (!*(int *)rg_target_addr(RG_T_VTD_ENABLED))
		return -ENODEV;
	rg_vtd_sink = kzalloc(sizeof(*rg_vtd_sink), GFP_KERNEL);
	if (!rg_vtd_sink)
		return -ENOMEM;
	rg_vtd_sink_phys = virt_to_phys(rg_vtd_sink);
	rg_vtd_free_start = rg_target_addr(RG_T_VTD_FREE_DMAR_IOMMU);
	rg_vtd_free_end = rg_vtd_free_start + rg_target_size(RG_T_VTD_FREE_DMAR_IOMMU);
	rg_call_aim(rg_call_vtd_context, RG_T_VTD_CONTEXT_ADDR);
	rg_call_aim(rg_call_vtd_flush_pasid, RG_T_VTD_FLUSH_PASID_CACHE);
	rg_call_aim(rg_call_vtd_flush_write, RG_T_VTD_FLUSH_WRITE_BUFFER);
	rg_valve_set_up(&rg_vtd_valve);
	return 0;
}

/*
 * The valve is shut: no descriptor names the sink any more, for its submitter
 * waited until the hardware had done it.
 */
static void rg_vtd_exit(void)
{
	kfree(rg_vtd_sink);
	rg_vtd_sink = NULL;
}

const struct rg_backend rg_vtd_backend = {
	.name = "vtd",
	.hint = "Intel VT-d with intel_iommu=on",
	.set = RG_SET_VTD,
	.hooks = rg_vtd_hooks,
	.nr_hooks = ARRAY_SIZE(rg_vtd_hooks),
	.valve = &rg_vtd_valve,
	.init = rg_vtd_init,
	.exit = rg_vtd_exit,
	.match = rg_vtd_match,
	.ids = rg_vtd_ids,
	.adopt = rg_vtd_adopt,
	.block = rg_vtd_block,
	.unblock = rg_vtd_unblock,
	.flush = rg_vtd_flush,
};
