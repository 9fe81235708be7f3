// SPDX-License-Identifier: GPL-2.0
/*
 * Which functions there are: their states, their requester IDs, the look-ups.
 *
 * A state appears with its function, or when a driver is bound to it (some
 * functions get their IOMMU only then), or at load for those already there.
 * Everything that a window needs is allocated then. Look-ups are under RCU;
 * additions and removals under one mutex.
 */
#include <linux/delay.h>
#include <linux/hashtable.h>
#include <linux/iommu.h>
#include <linux/slab.h>

#include "attach.h"
#include "backend.h"
#include "err_handlers.h"
#include "events.h"
#include "native.h"
#include "registry.h"
#include "status.h"

/* Of 20 ms, for the device lock of a PF, at load. */
#define RG_GREET_TRIES 100

static DEFINE_HASHTABLE(rg_states, 8);
static DEFINE_MUTEX(rg_registry_mutex);
static struct workqueue_struct *rg_registry_queue;
static bool rg_registry_stopping;

/**
 * rg_group_mutex - the mutex of a function's IOMMU group
 * @state: the function's state
 *
 * dev->iommu_group is public, the mutex in it is not.
 *
 * Context: Any.
 * Return: the mutex.
 */
struct mutex *rg_group_mutex(const struct rg_state *state)
{
	return rg_member(state->group, RG_M_GROUP_MUTEX, struct mutex);
}

/**
 * rg_registry_find - the state of a function
 * @pdev: the function
 *
 * Context: Preemption off or rcu_read_lock() held; called from handlers.
 * Return: the state, valid as long as that lasts, or NULL.
 */
notrace struct rg_state *rg_registry_find(const struct pci_dev *pdev)
{
	struct rg_state *state;

	hash_for_each_possible_rcu_notrace(rg_states, state, node, (unsigned long)pdev)
		if (state->pdev == pdev)
			return state;
	return NULL;
}

/**
 * rg_registry_get - the state of a function, for those who sleep
 * @pdev: the function
 *
 * Context: Any.
 * Return: the state with a reference, or NULL.
 */
struct rg_state *rg_registry_get(const struct pci_dev *pdev)
{
	struct rg_state *state;

	rcu_read_lock();
	state = rg_registry_find(pdev);
	if (state && !refcount_inc_not_zero(&state->refs))
		state = NULL;
	rcu_read_unlock();
	return state;
}

/**
 * rg_registry_pick - the states that a function picks
 * @match: the function; called under RCU, must not sleep
 * @what: passed on
 * @states: where they go, each with a reference
 * @room: how many fit
 *
 * Context: Any.
 * Return: how many there are; with more than @room, none was referenced.
 */
int rg_registry_pick(bool (*match)(const struct rg_state *state, const void *what),
		     const void *what, struct rg_state **states, int room)
{
	struct rg_state *state;
	int bucket, nr = 0, i;

	rcu_read_lock();
	hash_for_each_rcu(rg_states, bucket, state, node) {
		if (!match(state, what))
			continue;
		if (nr < room && !refcount_inc_not_zero(&state->refs))
			continue;
		if (nr < room)
			states[nr] = state;
		nr++;
	}
	rcu_read_unlock();
	for (i = 0; nr > room && i < room; i++)
		rg_registry_put(states[i]);
	return nr;
}

/*
 * The buses above a function outlive its state, and a grace period after it:
 * rg_scope_below() walks up from a function under RCU, before it has a
 * reference, and a function's removal does not wait for that.
 */
static void rg_registry_get_buses(struct pci_bus *bus)
{
	for (; bus; bus = bus->parent)
		get_device(&bus->dev);
}

static void rg_registry_put_buses(struct pci_bus *bus)
{
	struct pci_bus *parent;

	for (; bus; bus = parent) {
		parent = bus->parent;
		put_device(&bus->dev);
	}
}

/*
 * A grace period after the last reference went: rg_registry_pick() may have been
 * looking. A fence that timed out may take as long as the queue that it waits for.
 */
static void rg_registry_free(struct work_struct *work)
{
	struct rg_state *state = container_of(to_rcu_work(work), struct rg_state, free_work);

	rg_native_bury(state);
	rg_gate_finish(state);
	rg_events_finish(state);
	rg_fence_finish(&state->fence);
	rg_fence_finish(&state->alive);
	rg_registry_put_buses(state->pdev->bus);
	iommu_group_put(state->group);
	pci_dev_put(state->pdev);
	kfree(state);
}

/**
 * rg_registry_put - let go of a state
 * @state: one that rg_registry_get() gave; may be NULL
 *
 * Context: Process context.
 */
void rg_registry_put(struct rg_state *state)
{
	if (state && refcount_dec_and_test(&state->refs))
		queue_rcu_work(rg_registry_queue, &state->free_work);
}

static struct rg_state *rg_registry_new(struct pci_dev *pdev,
					const struct rg_backend *be)
{
	struct iommu_group *group = iommu_group_get(&pdev->dev);
	struct rg_state *state;

	if (!group)
		return NULL;
	state = kzalloc(sizeof(*state), GFP_KERNEL);
	if (!state) {
		iommu_group_put(group);
		return NULL;
	}
	refcount_set(&state->refs, 1);
	INIT_RCU_WORK(&state->free_work, rg_registry_free);
	state->pdev = pci_dev_get(pdev);
	rg_registry_get_buses(pdev->bus);
	state->group = group;
	state->be = be;
	rg_gate_init(state);
	rg_endpoint_adopt(&state->ep, pdev);
	return state;
}

/* A bridge sends no DMA of its own; its aliases belong to those behind it. */
static void rg_registry_add(struct pci_dev *pdev)
{
	const struct rg_backend *be = rg_backends_match(&pdev->dev);
	struct rg_state *state;
	int rc;

	if (rg_registry_stopping || pci_is_bridge(pdev) || rg_registry_find(pdev))
		return;
	if (!be) {
		pci_dbg(pdev, "not covered: expected an IOMMU with a back end, found none; its resets run as without resetgate\n");
		return;
	}
	if (!rg_rids_is_own(pdev)) {
		pci_dbg(pdev, "not covered: expected DMA with its own requester ID, found another function's; its resets run as without resetgate\n");
		return;
	}
	state = rg_registry_new(pdev, be);
	if (!state)
		return;
	rc = rg_rids_adopt(state);
	if (rc) {
		pci_warn(pdev, "not covered: its %s entries cannot be adopted (%d); its resets run as without resetgate\n",
			 be->name, rc);
		rg_registry_put(state);
		return;
	}
	rg_fence_aim(&state->alive, be->takes, state->rids[0]->space);
	rg_fence_aim(&state->fence, be->takes, state->rids[0]->space);
	hash_add_rcu(rg_states, &state->node, (unsigned long)pdev);
	rg_status_add(state);
}

static void rg_registry_del(struct rg_state *state)
{
	hash_del_rcu(&state->node);
	rg_status_del(state);
	rg_gate_bury(state);
	rg_rids_drop(state);
	rg_registry_put(state);
}

/*
 * The IOMMU core lets go of the function next: what its driver keeps of it must not
 * be looked at any more. Opening and closing look under the group mutex.
 */
static void rg_registry_dying(struct rg_state *state)
{
	mutex_lock(rg_group_mutex(state));
	WRITE_ONCE(state->dead, true);
	mutex_unlock(rg_group_mutex(state));
	rg_attach_wake();
}

/* The mutex that all changes are made under is held. */
static struct rg_state *rg_registry_of(struct device *dev)
{
	lockdep_assert_held(&rg_registry_mutex);
	return rg_registry_find(to_pci_dev(dev));
}

/* No driver has it, or the next one is about to: what the last one broke is past. */
static void rg_registry_rebound(struct device *dev)
{
	struct rg_state *state = rg_registry_of(dev);

	if (state)
		rg_gate_rebound(state);
}

/*
 * Its driver goes, under its device lock, and may wait for what somebody holds who
 * waits for its window: VFIO's for the container of a group that is being attached.
 */
static void rg_registry_leaving(struct device *dev, bool leaving)
{
	struct rg_state *state = rg_registry_of(dev);

	if (!state)
		return;
	WRITE_ONCE(state->leaving, leaving);
	rg_attach_wake();
}

/* A driver is about to probe it, and will start its DMA. */
static void rg_registry_wait(struct pci_dev *pdev)
{
	struct rg_state *state = rg_registry_get(pdev);

	if (state)
		rg_gate_wait_busy(state);
	rg_registry_put(state);
}

static int rg_registry_notify(struct notifier_block *nb, unsigned long action,
			      void *data)
{
	struct device *dev = data;
	struct rg_state *state;

	mutex_lock(&rg_registry_mutex);
	switch (action) {
	case BUS_NOTIFY_BIND_DRIVER:
		rg_registry_rebound(dev);
		fallthrough;
	case BUS_NOTIFY_ADD_DEVICE:
	case BUS_NOTIFY_BOUND_DRIVER:
		rg_registry_add(to_pci_dev(dev));
		break;
	case BUS_NOTIFY_UNBIND_DRIVER:
		rg_registry_leaving(dev, true);
		break;
	case BUS_NOTIFY_UNBOUND_DRIVER:
		rg_registry_leaving(dev, false);
		rg_registry_rebound(dev);
		break;
	case BUS_NOTIFY_DEL_DEVICE:
		state = rg_registry_of(dev);
		if (state) {
			rg_status_del(state);
			rg_registry_dying(state);
		}
		break;
	case BUS_NOTIFY_REMOVED_DEVICE:
		state = rg_registry_of(dev);
		if (state)
			rg_registry_del(state);
		break;
	}
	rg_err_handlers_notify(to_pci_dev(dev), action, rg_registry_of(dev));
	mutex_unlock(&rg_registry_mutex);
	if (action == BUS_NOTIFY_BIND_DRIVER)
		rg_registry_wait(to_pci_dev(dev));
	return NOTIFY_OK;
}

static struct notifier_block rg_registry_nb = {
	.notifier_call = rg_registry_notify,
	/* After the IOMMU core's, which gives the device its group. */
	.priority = INT_MIN,
};

/**
 * rg_registry_each - call a function for every state
 * @fn: the function; must not add or remove states
 * @data: passed on
 *
 * Context: Process context, sleeps.
 */
void rg_registry_each(void (*fn)(struct rg_state *state, void *data), void *data)
{
	struct rg_state *state;
	int bucket;

	mutex_lock(&rg_registry_mutex);
	hash_for_each(rg_states, bucket, state, node)
		fn(state, data);
	mutex_unlock(&rg_registry_mutex);
}

/*
 * A function that was there before the module. One whose driver is about to probe
 * it has no pdev->driver yet, and is told of.
 */
static void rg_registry_meet(struct pci_dev *pdev)
{
	mutex_lock(&rg_registry_mutex);
	if (device_is_registered(&pdev->dev)) {
		rg_registry_add(pdev);
		if (pdev->driver)
			rg_err_handlers_notify(pdev, BUS_NOTIFY_BOUND_DRIVER,
					       rg_registry_of(&pdev->dev));
	}
	mutex_unlock(&rg_registry_mutex);
}

/*
 * Nothing may remove a function that is looked at. pci_lock_rescan_remove() sees to
 * that, except for a VF: its PF's driver removes it under the PF's device lock only.
 * Whoever holds that lock may wait for the other one, so it is only tried.
 */
static bool rg_registry_greet_vf(struct pci_dev *pdev)
{
	struct pci_dev *pf = pci_physfn(pdev);

	if (!device_trylock(&pf->dev))
		return false;
	rg_registry_meet(pdev);
	device_unlock(&pf->dev);
	return true;
}

/* @again: the VFs only. Returns how many of those could not be looked at. */
static int rg_registry_greet_all(bool again)
{
	struct pci_dev *pdev = NULL;
	int missed = 0;

	pci_lock_rescan_remove();
	for_each_pci_dev(pdev) {
		if (pdev->is_virtfn)
			missed += !rg_registry_greet_vf(pdev);
		else if (!again)
			rg_registry_meet(pdev);
	}
	pci_unlock_rescan_remove();
	return missed;
}

/**
 * rg_registry_init - adopt every function there is and all that will come
 *
 * Context: Process context, at load; the back ends are in force.
 * Return: 0, -ENOMEM, or the error of bus_register_notifier().
 */
int rg_registry_init(void)
{
	int rc, missed, tries = RG_GREET_TRIES;

	rg_registry_queue = alloc_workqueue("resetgate_free", WQ_UNBOUND, 0);
	if (!rg_registry_queue)
		return -ENOMEM;
	rc = rg_gate_start();
	if (rc)
		goto out_queue;
	rg_rids_init();
	rc = bus_register_notifier(&pci_bus_type, &rg_registry_nb);
	if (rc)
		goto out_gate;
	/* Those that come from now on, the notifier sees. */
	missed = rg_registry_greet_all(false);
	while (missed && --tries) {
		msleep(20);
		missed = rg_registry_greet_all(true);
	}
	if (missed)
		pr_warn("%d VFs are not covered: expected their PF's device lock to be free within 2 s, found it held; bind their drivers again when it is\n",
			missed);
	return 0;

out_gate:
	rg_gate_stop();
out_queue:
	destroy_workqueue(rg_registry_queue);
	return rc;
}

/**
 * rg_registry_has_driver - whether a driver is bound to a covered function
 * @driver: compared only, never followed
 * @except: a function that does not count
 *
 * Context: Process context, under the registry's mutex.
 * Return: true if there is such a function.
 */
bool rg_registry_has_driver(const struct device_driver *driver,
			    const struct pci_dev *except)
{
	struct rg_state *state;
	int bucket;

	lockdep_assert_held(&rg_registry_mutex);
	hash_for_each(rg_states, bucket, state, node)
		if (state->pdev != except && state->pdev->dev.driver == driver)
			return true;
	return false;
}

/**
 * rg_registry_defer - have something done that may take long
 * @work: it must be over before rg_registry_exit()
 *
 * Context: Any.
 */
void rg_registry_defer(struct work_struct *work)
{
	queue_work(rg_registry_queue, work);
}

/**
 * rg_registry_stop - no function comes or goes any more
 *
 * Context: Process context, at unload.
 */
void rg_registry_stop(void)
{
	struct rg_state *state;
	int bucket;

	/* Before the notifier goes: after it nobody says that a driver goes. */
	mutex_lock(&rg_registry_mutex);
	rg_err_handlers_stop();
	rg_registry_stopping = true;
	/* Nor does anybody say that a function goes, and its directory with it. */
	hash_for_each(rg_states, bucket, state, node)
		rg_status_del(state);
	mutex_unlock(&rg_registry_mutex);
	bus_unregister_notifier(&pci_bus_type, &rg_registry_nb);
}

/**
 * rg_registry_exit - forget every function
 *
 * Context: Process context, at unload, after rg_registry_stop(): no gate is
 * closed, nothing is redirected any more.
 */
void rg_registry_exit(void)
{
	struct hlist_node *tmp;
	struct rg_state *state;
	int bucket;

	mutex_lock(&rg_registry_mutex);
	hash_for_each_safe(rg_states, bucket, tmp, state, node)
		rg_registry_del(state);
	mutex_unlock(&rg_registry_mutex);
	/* What waits for its grace period is not queued yet. */
	rcu_barrier();
	destroy_workqueue(rg_registry_queue);
	rg_gate_stop();
}
