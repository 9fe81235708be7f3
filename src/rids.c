// SPDX-License-Identifier: GPL-2.0
/*
 * Requester IDs: a function's own and those of its DMA aliases.
 *
 * Which they are, and within what they are unique, the back end says. Behind a
 * bridge to conventional PCI several functions may share one. It is blocked when
 * the last of them is closed and opens with the first, whether a sharer closes,
 * opens, appears or goes away.
 */
#include <linux/hashtable.h>
#include <linux/slab.h>

#include "backend.h"
#include "gate.h"
#include "patch.h"
#include "registry.h"
#include "rids.h"

typedef int rg_each_alias_fn(struct pci_dev *pdev,
			     int (*fn)(struct pci_dev *pdev, u16 alias, void *data),
			     void *data);

RG_CALL_DEFINE(rg_call_each_alias, rg_each_alias_fn);

/* Additions and removals are under the registry's mutex, look-ups under RCU. */
static DEFINE_HASHTABLE(rg_rids, 8);

/**
 * rg_rids_find - a requester ID that some function has
 * @space: what the key is unique in
 * @key: as the back end has it
 *
 * Context: Preemption off or rcu_read_lock() held; called from handlers.
 * Return: it, valid as long as that lasts, or NULL.
 */
notrace struct rg_rid *rg_rids_find(const void *space, u32 key)
{
	struct rg_rid *rid;

	hash_for_each_possible_rcu_notrace(rg_rids, rid, node, key)
		if (rid->key == key && rid->space == space)
			return rid;
	return NULL;
}

/**
 * rg_rids_withholds - whether an ATC invalidation is to be dropped
 * @rid: whose it is
 *
 * Context: Any; called from handlers, preemption is off.
 * Return: true if so: it is counted, and the caller has to drop it.
 */
notrace bool rg_rids_withholds(struct rg_rid *rid)
{
	if (!READ_ONCE(rid->filtered))
		return false;
	atomic_inc(&rid->begun);
	/* Pairs with smp_mb() in rg_rids_has_dropped(): one of the two sees the other. */
	smp_mb__after_atomic();
	if (!READ_ONCE(rid->filtered))
		return false;
	atomic64_inc(&rid->dropped);
	return true;
}

static struct rg_rid *rg_rids_new(struct rg_state *state, const void *space, u32 key)
{
	struct rg_rid *rid = kzalloc(sizeof(*rid), GFP_KERNEL);
	int rc;

	if (!rid)
		return ERR_PTR(-ENOMEM);
	rid->space = space;
	rid->key = key;
	rc = state->be->adopt(rid, state->pdev);
	if (rc) {
		kfree(rid);
		return ERR_PTR(rc);
	}
	hash_add_rcu(rg_rids, &rid->node, key);
	return rid;
}

/*
 * Makes what the hardware does follow the counts. The group mutex is held. The
 * filter goes after the entry is in force again: PCIe r6.0 sec. 10.3.1.
 */
static void rg_rids_settle(const struct rg_backend *be, struct rg_rid *rid,
			   struct pci_dev *pdev, bool filter)
{
	bool block = rid->closed && rid->closed == rid->users;

	if (block && !rid->blocked)
		be->block(rid, pdev);
	else if (!block && rid->blocked)
		be->unblock(rid, pdev);
	rid->blocked = block;
	if (!block)
		WRITE_ONCE(rid->filtered, filter);
}

/**
 * rg_rids_add - a function has a requester ID
 * @state: the function's state
 * @space: what the key is unique in
 * @key: as the back end has it; one that the function has already is left alone
 *
 * Context: Process context, from the back end's ids().
 * Return: 0, or an error, which ids() has to return.
 */
int rg_rids_add(struct rg_state *state, const void *space, u32 key)
{
	struct rg_rid *rid;
	int i;

	for (i = 0; i < state->nr_rids; i++)
		if (state->rids[i]->key == key && state->rids[i]->space == space)
			return 0;
	if (state->nr_rids == RG_MAX_RIDS)
		return -E2BIG;
	rid = rg_rids_find(space, key) ?: rg_rids_new(state, space, key);
	if (IS_ERR(rid))
		return PTR_ERR(rid);
	mutex_lock(rg_group_mutex(state));
	rid->users++;
	rg_rids_settle(state->be, rid, state->pdev, false);
	mutex_unlock(rg_group_mutex(state));
	state->rids[state->nr_rids++] = rid;
	return 0;
}

static int rg_rids_first(struct pci_dev *pdev, u16 alias, void *data)
{
	*(struct pci_dev **)data = pdev;
	return 1;
}

/**
 * rg_rids_is_own - whether a function's DMA carries a requester ID of its own
 * @pdev: the function
 *
 * Where pci_real_dma_dev() is another device, it carries that one's, and the IOMMU
 * driver keeps no entry for the function. Its own numbers are those of another PCI
 * domain: they may be another function's.
 *
 * Context: Process context.
 * Return: true if it does.
 */
bool rg_rids_is_own(struct pci_dev *pdev)
{
	struct pci_dev *real = NULL;

	rg_call(rg_call_each_alias)(pdev, rg_rids_first, &real);
	return real == pdev;
}

static int rg_rids_add_alias(struct pci_dev *pdev, u16 alias, void *data)
{
	struct rg_state *state = data;

	return rg_rids_add(state, NULL, (state->rids[0]->key & ~0xffffU) | alias);
}

/**
 * rg_rids_add_aliases - a function has a requester ID, and those it is known by
 * @state: the function's state
 * @own: its own, with the segment
 *
 * For an IOMMU that sees PCI's requester IDs.
 *
 * Context: Process context, from the back end's ids().
 * Return: 0, or an error, which ids() has to return.
 */
int rg_rids_add_aliases(struct rg_state *state, u32 own)
{
	return rg_rids_add(state, NULL, own) ?:
	       rg_call(rg_call_each_alias)(state->pdev, rg_rids_add_alias, state);
}

/**
 * rg_rids_adopt - find out all requester IDs of a function
 * @state: the function's state
 *
 * Context: Process context, under the registry's mutex.
 * Return: 0, or an error and the state has none.
 */
int rg_rids_adopt(struct rg_state *state)
{
	int rc = state->be->ids(state);

	if (rc)
		rg_rids_drop(state);
	return rc;
}

/* The group mutex is held. */
static void rg_rids_part(struct rg_state *state, struct rg_rid *rid)
{
	rid->users--;
	if (state->counted)
		rid->closed--;
	/* The last user leaves its entry as it is: blocked, if it was. */
	if (rid->users)
		rg_rids_settle(state->be, rid, NULL, false);
}

/**
 * rg_rids_drop - a function goes away
 * @state: the function's state
 *
 * Context: Process context, under the registry's mutex.
 */
void rg_rids_drop(struct rg_state *state)
{
	struct rg_rid *rid;
	int i;

	mutex_lock(rg_group_mutex(state));
	for (i = 0; i < state->nr_rids; i++)
		rg_rids_part(state, state->rids[i]);
	state->counted = false;
	mutex_unlock(rg_group_mutex(state));

	for (i = 0; i < state->nr_rids; i++) {
		rid = state->rids[i];
		if (rid->users)
			continue;
		hash_del_rcu(&rid->node);
		/*
		 * Handlers look it up under RCU. A driver may use the shadow
		 * entry after it dropped its own lock, but under the group
		 * mutex or, where it releases a device, in the very thread that
		 * has called us after it; on unload, unregistering the redirect
		 * has waited for it.
		 */
		kfree_rcu(rid, rcu);
	}
	state->nr_rids = 0;
}

/**
 * rg_rids_block - a function is closed
 * @state: the function's state
 *
 * Context: Process context, under the group mutex.
 */
void rg_rids_block(struct rg_state *state)
{
	int i;

	for (i = 0; i < state->nr_rids; i++) {
		state->rids[i]->closed++;
		rg_rids_settle(state->be, state->rids[i], state->pdev, false);
	}
	state->counted = true;
}

/**
 * rg_rids_filter - drop ATC invalidations for what is blocked
 * @state: the function's state
 *
 * The IOMMU refuses the function's DMA and has forgotten the old entry: what
 * the ATC may still hold is all that a freed page could be reached by, and the
 * reset empties it. Before that, invalidations must go out.
 *
 * Context: Process context, under the group mutex.
 */
void rg_rids_filter(struct rg_state *state)
{
	int i;

	for (i = 0; i < state->nr_rids; i++) {
		if (!state->rids[i]->blocked)
			continue;
		/* One that is on already has an older count, which is as good. */
		if (!state->rids[i]->filtered)
			state->rids[i]->begun_before = atomic_read(&state->rids[i]->begun);
		/*
		 * The count was read before anybody can drop on its account: pairs with
		 * the control dependency in rg_rids_withholds(). The gate's fence follows.
		 */
		smp_store_release(&state->rids[i]->filtered, true);
	}
}

/*
 * Whether nobody else's ATC is meant by a requester ID. An alias that is shared, is
 * by functions without ATS.
 */
static bool rg_rids_is_alone(const struct rg_state *state, int i)
{
	return i == 0 || state->rids[i]->users == 1;
}

/**
 * rg_rids_unblock - a function opens
 * @state: the function's state
 * @silent: its ATS stays off: go on dropping its ATC invalidations
 *
 * Context: Process context, under the group mutex.
 */
void rg_rids_unblock(struct rg_state *state, bool silent)
{
	int i;

	for (i = 0; i < state->nr_rids; i++) {
		state->rids[i]->closed--;
		rg_rids_settle(state->be, state->rids[i], state->pdev,
			       silent && rg_rids_is_alone(state, i));
	}
	state->counted = false;
}

/**
 * rg_rids_unfilter - a function that opened silent answers: its ATC may be told
 * @state: the function's state; its ATS is off
 *
 * Context: Process context, under the group mutex.
 */
void rg_rids_unfilter(struct rg_state *state)
{
	int i;

	/* Blocked for others that share it: their window keeps the filter. */
	for (i = 0; i < state->nr_rids; i++)
		if (rg_rids_is_alone(state, i) && !state->rids[i]->blocked)
			WRITE_ONCE(state->rids[i]->filtered, false);
}

/**
 * rg_rids_has_dropped - whether an ATC invalidation was dropped in this window
 * @state: the function's state
 *
 * Context: Process context, under the group mutex.
 * Return: true if something was dropped since the filter went on.
 */
bool rg_rids_has_dropped(const struct rg_state *state)
{
	int i;

	/* Pairs with the barrier in rg_rids_withholds(). */
	smp_mb();
	for (i = 0; i < state->nr_rids; i++)
		if (rg_rids_is_alone(state, i) &&
		    atomic_read(&state->rids[i]->begun) != state->rids[i]->begun_before)
			return true;
	return false;
}

/**
 * rg_rids_recorded - accesses that went to shadow entries
 * @state: the function's state
 *
 * Context: Any.
 * Return: their number since the function appeared.
 */
u64 rg_rids_recorded(const struct rg_state *state)
{
	u64 sum = 0;
	int i;

	for (i = 0; i < state->nr_rids; i++)
		sum += atomic64_read(&state->rids[i]->recorded);
	return sum;
}

/**
 * rg_rids_dropped - ATC invalidations that did not go out
 * @state: the function's state
 *
 * Context: Any.
 * Return: their number since the function appeared.
 */
u64 rg_rids_dropped(const struct rg_state *state)
{
	u64 sum = 0;
	int i;

	for (i = 0; i < state->nr_rids; i++)
		sum += atomic64_read(&state->rids[i]->dropped);
	return sum;
}

/**
 * rg_rids_init - make the look-up of aliases callable
 *
 * Context: Process context, at load.
 */
void rg_rids_init(void)
{
	rg_call_aim(rg_call_each_alias, RG_T_PCI_FOR_EACH_DMA_ALIAS);
}
