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

/* dev->iommu_group is public, the mutex in it is not. */
static struct mutex *rg_gate_group_mutex(struct rg_state *state)
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

/* Under the group mutex. Shared requester IDs wait for their last sharer. */
static void rg_gate_block(struct rg_state *state)
{
	struct rg_rid *rid;
	int i;

	for (i = 0; i < state->nr_rids; i++) {
		rid = state->rids[i];
		if (++rid->closed < rid->users)
			continue;
		state->be->block(rid);
		rid->blocked = true;
	}
	/*
	 * The IOMMU refuses the function's DMA and has forgotten the old
	 * entry: whatever the ATC holds, a freed page is out of its reach once
	 * the reset empties it. Pairs with READ_ONCE() in the back end's
	 * filter; the fence after it makes sure.
	 */
	for (i = 0; i < state->nr_rids; i++)
		if (state->rids[i]->blocked)
			WRITE_ONCE(state->rids[i]->filtered, true);
}

/* Under the group mutex. Shared requester IDs open with their first sharer. */
static void rg_gate_unblock(struct rg_state *state)
{
	struct rg_rid *rid;
	int i;

	for (i = 0; i < state->nr_rids; i++) {
		rid = state->rids[i];
		if (rid->blocked) {
			state->be->unblock(rid);
			rid->blocked = false;
		}
		rid->closed--;
		WRITE_ONCE(rid->filtered, false);
	}
}

static void rg_gate_give_up(struct rg_state *state, int step, int error)
{
	state->last_error = error;
	atomic64_inc(&rg_gate_nr_timeouts);
	pci_warn(state->pdev,
		 "reset runs ungated: expected to close within %u ms, found that %s (%d); the device is treated as without resetgate, see /sys/kernel/resetgate/status\n",
		 jiffies_to_msecs(RG_CLOSE_DEADLINE), rg_gate_steps[step], error);
}

/* Steps 1 to 3: on return the group mutex is held, or nothing is. */
static int rg_gate_secure(struct rg_state *state)
{
	unsigned long deadline = jiffies + RG_CLOSE_DEADLINE;
	int step = 0, rc;

	rc = rg_valve_get(state->be->valve, deadline);
	if (rc)
		goto out_give_up;
	step = 1;
	rc = rg_fence_wait(&state->fence, deadline);
	if (rc)
		goto out_valve;
	step = 2;
	rc = rg_gate_lock_group(state, deadline);
	if (rc)
		goto out_valve;
	return 0;

out_valve:
	rg_valve_put(state->be->valve);
out_give_up:
	rg_gate_give_up(state, step, rc);
	return rc;
}

static void rg_gate_close(struct rg_state *state, enum rg_reason why)
{
	/* Unloading has begun: the reset runs as it will run without us. */
	if (!try_module_get(THIS_MODULE))
		return;
	if (rg_gate_secure(state)) {
		module_put(THIS_MODULE);
		return;
	}
	if (state->dead) {
		mutex_unlock(rg_gate_group_mutex(state));
		rg_valve_put(state->be->valve);
		module_put(THIS_MODULE);
		return;
	}
	rg_gate_block(state);
	rg_endpoint_close(&state->ep);
	mutex_unlock(rg_gate_group_mutex(state));

	if (rg_fence_wait(&state->fence, jiffies + RG_CLOSE_DEADLINE)) {
		/* Closed all the same: only what began earlier may still go out. */
		state->last_error = -ETIMEDOUT;
		atomic64_inc(&rg_gate_nr_late);
		pci_warn(state->pdev,
			 "closed late: expected the invalidations that began before to end within %u ms, found one that does not; the reset goes on\n",
			 jiffies_to_msecs(RG_CLOSE_DEADLINE));
	}
	rg_endpoint_ats_off(state->pdev);

	WRITE_ONCE(state->phase, RG_CLOSED);
	state->reason = why;
	state->windows++;
	state->closed_at = ktime_get();
	trace_close(state->pdev, why);
	rg_events_post(state, RG_EVENT_CLOSED);
}

static void rg_gate_release(struct rg_state *state)
{
	rg_valve_put(state->be->valve);
	module_put(THIS_MODULE);
}

static void rg_gate_open(struct rg_state *state, bool answers)
{
	struct mutex *mutex = rg_gate_group_mutex(state);

	mutex_lock(mutex);
	if (state->dead) {
		mutex_unlock(mutex);
		return;
	}
	if (answers)
		rg_endpoint_controls(&state->ep, state->pdev);
	rg_gate_unblock(state);
	rg_endpoint_open(&state->ep, state->pdev, answers);
	mutex_unlock(mutex);

	WRITE_ONCE(state->phase, RG_OPEN);
	state->prepared = false;
	state->last_window_us = ktime_us_delta(ktime_get(), state->closed_at);
	trace_open(state->pdev, state->last_window_us);
	rg_events_post(state, RG_EVENT_OPENED);
	rg_gate_release(state);
}

static void rg_gate_park(struct rg_state *state, enum rg_reason why)
{
	WRITE_ONCE(state->phase, RG_PARKED);
	state->prepared = false;
	state->reason = why;
	state->last_error = -EIO;
	trace_park(state->pdev, why);
	pci_err(state->pdev,
		"parked: expected an answer to config reads after the reset, found none; the IOMMU blocks its DMA; reset it again, or write open to its resetgate/state\n");
	rg_events_post(state, RG_EVENT_PARKED);
}

/* The end of a reset. A method's return code does not count, an answer does. */
static void rg_gate_end(struct rg_state *state)
{
	bool answers = rg_endpoint_answers(state->pdev);

	if (!answers && !rg_param_open_silent()) {
		rg_gate_park(state, RG_WHY_SILENT);
		return;
	}
	if (answers)
		state->last_error = 0;
	rg_gate_open(state, answers);
}

/* With state->lock held: no reset and no caller that will restore is left. */
static void rg_gate_settle(struct rg_state *state)
{
	if (state->phase != RG_CLOSED || state->depth)
		return;
	if (state->brackets || state->prepared)
		return;
	rg_gate_end(state);
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
 * Context: Process context, sleeps a second at the most.
 */
void rg_gate_enter(struct rg_state *state, enum rg_reason why)
{
	mutex_lock(&state->lock);
	if (state->depth++ == 0) {
		state->takes_part = rg_gate_takes_part(state);
		if (state->phase == RG_PARKED)
			WRITE_ONCE(state->phase, RG_CLOSED);
		else if (state->phase == RG_OPEN && state->takes_part)
			rg_gate_close(state, why);
	}
	mutex_unlock(&state->lock);
}

/**
 * rg_gate_leave - a reset of a function ended
 * @state: the function's state
 *
 * Opens the gate if it was the outermost and nobody restores config space
 * after it.
 *
 * Context: Process context, sleeps.
 */
void rg_gate_leave(struct rg_state *state)
{
	mutex_lock(&state->lock);
	if (!WARN_ON_ONCE(!state->depth))
		state->depth--;
	rg_gate_settle(state);
	mutex_unlock(&state->lock);
}

/**
 * rg_gate_bracket - a caller saves config space, resets, and restores it
 * @state: the function's state
 *
 * Context: Process context, sleeps.
 */
void rg_gate_bracket(struct rg_state *state)
{
	mutex_lock(&state->lock);
	state->brackets++;
	mutex_unlock(&state->lock);
}

/**
 * rg_gate_unbracket - the caller of rg_gate_bracket() has restored it
 * @state: the function's state
 *
 * Opens the gate of a function that no driver is bound to.
 *
 * Context: Process context, sleeps.
 */
void rg_gate_unbracket(struct rg_state *state)
{
	mutex_lock(&state->lock);
	state->brackets--;
	/* Whatever the driver was told, it was told under the same caller. */
	if (!state->brackets)
		state->prepared = false;
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
	state->prepared = true;
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
	state->prepared = false;
	if (state->phase == RG_CLOSED && !state->depth)
		rg_gate_end(state);
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
	if (state->phase == RG_CLOSED)
		rc = -EBUSY;
	else if (state->phase == RG_OPEN || state->dead)
		rc = -EINVAL;
	else
		rg_gate_end(state);
	if (!rc && state->phase == RG_PARKED)
		rc = -EIO;
	mutex_unlock(&state->lock);
	return rc;
}

/**
 * rg_gate_die - the function is being removed
 * @state: the function's state
 *
 * From here on the driver's private data is not touched. The driver tears the
 * shadow down, the hardware stays blocked.
 *
 * Context: Process context, sleeps.
 */
void rg_gate_die(struct rg_state *state)
{
	struct mutex *mutex = rg_gate_group_mutex(state);

	mutex_lock(&state->lock);
	mutex_lock(mutex);
	state->dead = true;
	mutex_unlock(mutex);
	mutex_unlock(&state->lock);
}

/**
 * rg_gate_bury - the removed function's window ends with it
 * @state: the function's state, out of every look-up
 *
 * Context: Process context, sleeps.
 */
void rg_gate_bury(struct rg_state *state)
{
	mutex_lock(&state->lock);
	if (state->phase != RG_OPEN) {
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
