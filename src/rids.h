/* SPDX-License-Identifier: GPL-2.0 */
/* Requester IDs: shared by functions, blocked and filtered with the last of them. */
#ifndef RG_RIDS_H
#define RG_RIDS_H

#include <linux/pci.h>

struct rg_backend;
struct rg_state;

/* Longs a back end may keep for each requester ID. */
#define RG_RID_PRIV 12

/**
 * struct rg_rid - one requester ID, shared by all functions that emit it
 * @node: in the RCU hash of requester IDs
 * @rcu: for its release
 * @space: within which the key is unique, as the back end says; NULL: the machine
 * @key: for NULL, PCI segment << 16 | bus << 8 | devfn
 * @users: functions that emit it
 * @closed: those of them that are closed
 * @blocked: the IOMMU refuses its DMA
 * @filtered: ATC invalidations for it are dropped; read by the valve's handler
 * @begun: how often a handler was about to drop one
 * @begun_before: the same when the filter went on
 * @recorded: accesses of the driver that went to the shadow entry
 * @dropped: ATC invalidations that did not go out
 * @priv: the back end's own: live entry, shadow entry
 *
 * Functions that share a requester ID share an IOMMU group; users, closed and
 * blocked change under its mutex.
 */
struct rg_rid {
	struct hlist_node node;
	struct rcu_head rcu;
	const void *space;
	u32 key;
	int users;
	int closed;
	bool blocked;
	bool filtered;
	atomic_t begun;
	int begun_before;
	atomic64_t recorded;
	atomic64_t dropped;
	unsigned long priv[RG_RID_PRIV];
};

struct rg_rid *rg_rids_find(const void *space, u32 key);
bool rg_rids_withholds(struct rg_rid *rid);
bool rg_rids_is_own(struct pci_dev *pdev);
int rg_rids_add(struct rg_state *state, const void *space, u32 key);
int rg_rids_add_aliases(struct rg_state *state, u32 own);
int rg_rids_adopt(struct rg_state *state);
void rg_rids_drop(struct rg_state *state);
void rg_rids_block(struct rg_state *state);
void rg_rids_unblock(struct rg_state *state, bool silent);
void rg_rids_unfilter(struct rg_state *state);
bool rg_rids_has_dropped(const struct rg_state *state);
void rg_rids_filter(struct rg_state *state);
u64 rg_rids_recorded(const struct rg_state *state);
u64 rg_rids_dropped(const struct rg_state *state);
void rg_rids_init(void);

#endif /* RG_RIDS_H */
