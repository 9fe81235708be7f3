// SPDX-License-Identifier: GPL-2.0
/*
 * The gate: closes a function for its reset and opens it afterwards.
 *
 *           close (depth 0 -> 1)             open (depth 1 -> 0, restored)
 *   OPEN  -----------------------> CLOSED ---------------------------------> OPEN
 *                                  |    ^                                     ^
 *              function is silent  v    | close (a new reset)                 |
 *                                  PARKED ------- a good reset, the administrator
 *
 * Close, in this order:
 *   1. arm the invalidation valve, while no lock is held
 *   2. see that the IOMMU's queue is alive: a grace period passes
 *   3. under the group mutex: divert table writes, block the entry, flush; only
 *      then drop ATC invalidations, for a page must not be freed while a live
 *      ATC still holds it; withhold the endpoint's controls
 *   4. fence those that passed the valve before
 *   5. ATS off in config space (PCIe r6.0 sec. 10.3.1, implementation note)
 * Steps 1 to 3 have one deadline together. Past it, the reset runs as it would
 * without us: the reset is the cure, and must not be held up.
 *
 * Open, in this order: PASID and PRI control; under the group mutex the table
 * entry and the IOMMU's caches, the ATC filter; ATS last, for changing PASID
 * while ATS is on is undefined (PCIe r6.0 sec. 7.8.9.3).
 *
 * Lock order: device lock, state->lock, group mutex, the IOMMU driver's locks,
 * endpoint lock.
 */
#include <linux/delay.h>
#include <linux/iommu.h>
#include <linux/module.h>
#include <linux/pci-ats.h>

#include "backend.h"
#include "events.h"
#include "gate.h"
#include "params.h"
#include "trace.h"

/* In all, what a close may add to a reset that already takes 100 ms. */
#define RG_CLOSE_DEADLINE HZ

static atomic64_t rg_gate_nr_timeouts;
static atomic64_t rg_gate_nr_late;

static const char *const rg_gate_steps[] = {
	"the invalidation valve could not be armed",
	"a CPU does not leave the IOMMU's queue",
	"the IOMMU group is busy",
};

/**
 * rg_gate_group_mutex - the mutex of a function's IOMMU group
 * @state: the function's state
 *
 * dev->iommu_group is public, the mutex in it is not.
 *
 * Context: Any.
 * Return: the mutex.
 */
struct mutex *rg_gate_group_mutex(const struct rg_state *state)
{
	return rg_member(state->group, RG_M_GROUP_MUTEX, struct mutex);
}

static int rg_gate_lock_group(struct rg_state *state, unsigned long deadline)
{
	struct mutex *mutex = rg_gate_group_mutex(state);

	while (!mutex_trylock(mutex)) {
		if (time_after(jiffies, deadline))
			return -ETIMEDOUT;
		usleep_range(200, 1000);
	}
	return 0;
}

static void rg_gate_give_up(struct rg_state *state, int step, int error)
{
	state->last_error = error;
	atomic64_inc(&rg_gate_nr_timeouts);
	pci_warn(state->pdev,
		 "reset runs ungated: expected to close within %u ms, found that %s (%d); the device is treated as without resetgate, see /sys/kernel/resetgate/status\n",
		 jiffies_to_msecs(RG_CLOSE_DEADLINE), rg_gate_steps[step], error);
}

/* A closed gate keeps the module and the valve; so does a muted open one. */
static int rg_gate_hold(struct rg_state *state, unsigned long deadline)
{
	int rc;

	if (state->muted)
		return 0;
	/* Unloading has begun: the reset runs as it will run without us. */
	if (!try_module_get(THIS_MODULE))
		return -ESHUTDOWN;
	rc = rg_valve_get(state->be->valve, deadline);
	if (rc)
		module_put(THIS_MODULE);
	return rc;
}

static void rg_gate_release(struct rg_state *state)
{
	if (state->muted)
		return;
	rg_valve_put(state->be->valve);
	module_put(THIS_MODULE);
}

/* Steps 1 to 3: on return the group mutex is held, or nothing is. */
static int rg_gate_secure(struct rg_state *state)
{
	unsigned long deadline = jiffies + RG_CLOSE_DEADLINE;
	int step = 0, rc;

	rc = rg_gate_hold(state, deadline);
	if (rc == -ESHUTDOWN)
		return rc;
	if (rc)
		goto out_give_up;
	step = 1;
	rc = rg_fence_wait(&state->fence, deadline);
	if (rc)
		goto out_release;
	step = 2;
	rc = rg_gate_lock_group(state, deadline);
	if (rc)
		goto out_release;
	return 0;

out_release:
	rg_gate_release(state);
out_give_up:
	rg_gate_give_up(state, step, rc);
	return rc;
}

/* Closed all the same: only what began earlier may still go out. */
static void rg_gate_late_fence(struct rg_state *state)
{
	state->last_error = -ETIMEDOUT;
	atomic64_inc(&rg_gate_nr_late);
	pci_warn(state->pdev,
		 "closed late: expected the invalidations that began before to end within %u ms, found one that does not; the reset goes on\n",
		 jiffies_to_msecs(RG_CLOSE_DEADLINE));
}

static void rg_gate_close(struct rg_state *state, enum rg_reason why)
{
	/*
	 * PCIe r6.0 sec. 6.6.2: transactions should have ended before. The
	 * kernel's own wait for them then finds nothing left to wait for. A
	 * function that does not answer has none that could be seen.
	 */
	if (rg_endpoint_answers(state->pdev))
		pci_wait_for_pending_transaction(state->pdev);
	if (rg_gate_secure(state))
		return;
	rg_endpoint_close(&state->ep, state->pdev);
	rg_rids_block(state);
	rg_rids_filter(state);
	mutex_unlock(rg_gate_group_mutex(state));

	if (rg_fence_wait(&state->fence, jiffies + RG_CLOSE_DEADLINE))
		rg_gate_late_fence(state);
	rg_endpoint_ats_off(state->pdev);

	state->muted = false;
	state->ungated = false;
	WRITE_ONCE(state->phase, RG_CLOSED);
	state->reason = why;
	state->windows++;
	state->closed_at = ktime_get();
	trace_close(state->pdev, why);
	rg_events_post(state, RG_EVENT_CLOSED);
}

static void rg_gate_open(struct rg_state *state, bool answers)
{
	struct mutex *mutex = rg_gate_group_mutex(state);

	mutex_lock(mutex);
	if (answers)
		rg_endpoint_controls(&state->ep, state->pdev);
	/* Silent: ATS stays off, whatever its driver believes. */
	rg_rids_unblock(state, !answers);
	rg_endpoint_open(&state->ep, state->pdev, answers);
	mutex_unlock(mutex);

	WRITE_ONCE(state->phase, RG_OPEN);
	state->last_window_us = ktime_us_delta(ktime_get(), state->closed_at);
	trace_open(state->pdev, state->last_window_us);
	rg_events_post(state, RG_EVENT_OPENED);
	state->muted = !answers;
	rg_gate_release(state);
}

static void rg_gate_park(struct rg_state *state, enum rg_reason why)
{
	WRITE_ONCE(state->phase, RG_PARKED);
	state->reason = why;
	trace_park(state->pdev, why);
	pci_err(state->pdev,
		"parked: expected an answer to config reads after the reset, found none; the IOMMU blocks its DMA; reset it again, or write open to its resetgate/state\n");
	rg_events_post(state, RG_EVENT_PARKED);
}

/* The end of a reset. A method's return code does not count, an answer does. */
static void rg_gate_end(struct rg_state *state)
{
	bool answers = rg_endpoint_answers(state->pdev);

	if (!answers)
		state->last_error = -EIO;
	if (!answers && !rg_param_open_silent()) {
		rg_gate_park(state, RG_WHY_SILENT);
		return;
	}
	if (!answers)
		pci_warn(state->pdev,
			 "opened without ATS: expected an answer to config reads after the reset, found none, and on_failed_reset=open; reset it again\n");
	rg_gate_open(state, answers);
}

/* With state->lock held: no reset runs, nobody will restore and tell. */
static void rg_gate_settle(struct rg_state *state)
{
	if (state->phase == RG_CLOSED && !state->depth && !state->prepared &&
	    !state->closer && !state->dead)
		rg_gate_end(state);
}

static bool rg_gate_in_bracket(const struct rg_state *state)
{
	const struct rg_bracket *bracket;

	list_for_each_entry(bracket, &state->brackets, node)
		if (bracket->task == current)
			return true;
	return false;
}

/**
 * rg_gate_takes_part - whether a reset of a function closes its gate
 * @state: the function's state
 *
 * Context: Any; called from handlers.
 * Return: true if it does.
 */
notrace bool rg_gate_takes_part(const struct rg_state *state)
{
	switch (READ_ONCE(state->mode)) {
	case RG_MODE_OFF:
		return false;
	case RG_MODE_ON:
		return true;
	default:
		return rg_param_scope_all() || pci_ats_supported(state->pdev);
	}
}

/**
 * rg_gate_enter - a reset of a function begins
 * @state: the function's state
 * @why: what begins
 *
 * Closes the gate unless an outer reset did. If it cannot in time, the reset
 * runs ungated.
 *
 * Context: Process context, sleeps two seconds at the most, and as long as the
 * function has transactions pending.
 */
void rg_gate_enter(struct rg_state *state, enum rg_reason why)
{
	mutex_lock(&state->lock);
	if (state->depth == 0) {
		/* Upstream's gate, where there is one, asks for it in the reset. */
		WRITE_ONCE(state->ungated, state->phase == RG_OPEN &&
			   !rg_gate_takes_part(state));
		if (state->phase == RG_PARKED)
			WRITE_ONCE(state->phase, RG_CLOSED);
		else if (state->phase == RG_OPEN && !state->ungated && !state->dead)
			rg_gate_close(state, why);
		if (state->phase == RG_OPEN)
			WRITE_ONCE(state->ungated, true);
	}
	WRITE_ONCE(state->depth, state->depth + 1);
	mutex_unlock(&state->lock);
}

/**
 * rg_gate_leave - a reset of a function ended
 * @state: the function's state
 *
 * Opens the gate if it was the outermost and its caller does not restore config
 * space after it.
 *
 * Context: Process context, sleeps.
 */
void rg_gate_leave(struct rg_state *state)
{
	mutex_lock(&state->lock);
	if (!WARN_ON_ONCE(!state->depth))
		WRITE_ONCE(state->depth, state->depth - 1);
	if (!state->depth && rg_gate_in_bracket(state))
		state->closer = current;
	rg_gate_settle(state);
	mutex_unlock(&state->lock);
}

/**
 * rg_gate_bracket - a caller saves config space, resets, and restores it
 * @state: the function's state
 * @bracket: on the caller's stack, until rg_gate_unbracket()
 *
 * Context: Process context, sleeps.
 */
void rg_gate_bracket(struct rg_state *state, struct rg_bracket *bracket)
{
	bracket->task = current;
	mutex_lock(&state->lock);
	list_add(&bracket->node, &state->brackets);
	mutex_unlock(&state->lock);
}

/**
 * rg_gate_unbracket - the caller of rg_gate_bracket() has restored it
 * @state: the function's state
 * @bracket: the same
 *
 * Opens the gate of a function that no driver is bound to.
 *
 * Context: Process context, sleeps.
 */
void rg_gate_unbracket(struct rg_state *state, struct rg_bracket *bracket)
{
	mutex_lock(&state->lock);
	list_del(&bracket->node);
	if (state->closer == current)
		state->closer = NULL;
	/* Whatever this task told the driver, it has told it all. */
	if (state->prepared == current)
		state->prepared = NULL;
	rg_gate_settle(state);
	mutex_unlock(&state->lock);
}

/**
 * rg_gate_prepared - the function's driver was told to prepare for a reset
 * @state: the function's state
 *
 * Its reset_done() will follow, after config space is restored.
 *
 * Context: Process context, the device lock is held.
 */
void rg_gate_prepared(struct rg_state *state)
{
	mutex_lock(&state->lock);
	state->prepared = current;
	mutex_unlock(&state->lock);
}

/**
 * rg_gate_restored - config space is restored, the driver is about to be told
 * @state: the function's state
 *
 * Opens the gate: the driver's next DMA comes after it.
 *
 * Context: Process context, the device lock is held.
 */
void rg_gate_restored(struct rg_state *state)
{
	mutex_lock(&state->lock);
	state->prepared = NULL;
	state->closer = NULL;
	rg_gate_settle(state);
	mutex_unlock(&state->lock);
}

/**
 * rg_gate_reopen - the administrator opens a parked function
 * @state: the function's state
 *
 * Context: Process context, sleeps.
 * Return: 0; -EBUSY if a reset is running; -EINVAL if it is not parked; -EIO
 * if the function is still silent and on_failed_reset=park.
 */
int rg_gate_reopen(struct rg_state *state)
{
	int rc = 0;

	mutex_lock(&state->lock);
	if (state->phase == RG_CLOSED || state->depth)
		rc = -EBUSY;
	else if (state->phase == RG_OPEN)
		rc = -EINVAL;
	else
		rg_gate_end(state);
	if (!rc && state->phase == RG_PARKED)
		rc = -EIO;
	mutex_unlock(&state->lock);
	return rc;
}

/**
 * rg_gate_bury - the removed function's window ends with it
 * @state: the function's state, out of every look-up
 *
 * The driver has torn the shadow down; the hardware stays blocked until it sets
 * an entry up for a function that comes after.
 *
 * Context: Process context, sleeps; the IOMMU core has released the device.
 */
void rg_gate_bury(struct rg_state *state)
{
	mutex_lock(&state->lock);
	state->dead = true;
	if (state->phase != RG_OPEN || state->muted) {
		state->muted = false;
		WRITE_ONCE(state->phase, RG_OPEN);
		rg_gate_release(state);
	}
	mutex_unlock(&state->lock);
}

/**
 * rg_gate_init - a new function's gate, open
 * @state: zeroed
 *
 * Context: Any.
 */
void rg_gate_init(struct rg_state *state)
{
	mutex_init(&state->lock);
	INIT_LIST_HEAD(&state->brackets);
	atomic_set(&state->native, 0);
	rg_fence_init(&state->fence);
	rg_events_init(state);
}

/**
 * rg_gate_timeouts - how many resets ran ungated
 *
 * Context: Any.
 * Return: those since load for which close gave up.
 */
u64 rg_gate_timeouts(void)
{
	return atomic64_read(&rg_gate_nr_timeouts);
}

/**
 * rg_gate_late - how many gates closed without a fence
 *
 * Context: Any.
 * Return: those since load whose last fence did not pass in time.
 */
u64 rg_gate_late(void)
{
	return atomic64_read(&rg_gate_nr_late);
}
