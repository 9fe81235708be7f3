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
 * A recovery that failed and a reset that does not end park it as well.
 *
 * Close (closing.c has the steps), in this order:
 *   1. arm the invalidation valve, while no lock is held
 *   2. see that the IOMMU's queue is alive: a grace period passes, and where that
 *      says nothing of the hardware, it takes a command
 *   3. under the group mutex: divert table writes, block the entry, flush; only
 *      then drop ATC invalidations, for a page must not be freed while a live
 *      ATC still holds it; withhold the endpoint's controls
 *   4. fence those that passed the valve before
 *   5. ATS off in config space (PCIe r6.0 sec. 10.3.1, implementation note)
 * Steps 1 to 3 have one deadline together. Past it, the reset runs as it would
 * without us: the reset is the cure, and must not be held up.
 *
 * Open, under the group mutex, in this order: PASID and PRI control; the table
 * entry and the IOMMU's caches; the ATC filter; the IOTLB, where an invalidation
 * was dropped; ATS last, for changing PASID while ATS is on is undefined (PCIe
 * r6.0 sec. 7.8.9.3).
 *
 * Lock order: device lock, state->lock, group mutex, the IOMMU driver's locks,
 * endpoint lock.
 */
#include <linux/delay.h>
#include <linux/iommu.h>
#include <linux/pci-ats.h>

#include "attach.h"
#include "backend.h"
#include "closing.h"
#include "events.h"
#include "gate.h"
#include "opening.h"
#include "params.h"
#include "patch.h"
#include "scope.h"
#include "trace.h"

/*
 * PCIe r6.0 sec. 6.6.1: the first request after a bus has left reset, at the
 * earliest after 100 ms. The kernel itself waits 60 s at the most.
 */
#define RG_AWAIT_FIRST (HZ / 10)
#define RG_AWAIT_AGAIN (HZ / 50)
#define RG_AWAIT_LIMIT (60 * HZ)

/* What ends windows must go on while memory is short: a disk may be in one. */
static struct workqueue_struct *rg_gate_queue;

/* From here on somebody must end the window. */
static void rg_gate_watch(struct rg_state *state)
{
	unsigned long limit = rg_param_park_timeout() * HZ;

	/* The work may be on its way to state->lock already: it looks at the time. */
	state->park_at = jiffies + (limit ?: MAX_JIFFY_OFFSET);
	if (limit)
		mod_delayed_work(rg_gate_queue, &state->park_work, limit);
	else
		cancel_delayed_work(&state->park_work);
}

/*
 * For this reset; its time runs anew where it begins in a window that awaits an
 * end. The patience of those that still have to restore it stays.
 */
static void rg_gate_begin(struct rg_state *state, enum rg_reason why)
{
	const struct rg_bracket *bracket;

	state->patient = state->pdev->is_virtfn || why == RG_WHY_RECOVERY;
	list_for_each_entry(bracket, &state->brackets, node)
		state->patient |= bracket->owes && bracket->patient;
	rg_gate_watch(state);
}

static void rg_gate_closed(struct rg_state *state, enum rg_reason why)
{
	rg_attach_turn(state, RG_CLOSED);
	state->reason = why;
	state->windows++;
	state->closed_at = ktime_get();
	rg_gate_begin(state, why);
	trace_close(state->pdev, why);
	rg_events_post(state, RG_EVENT_CLOSED);
}

/* All but the fence and what follows it: see rg_gate_fenced(). */
static void rg_gate_close(struct rg_state *state, enum rg_reason why,
			  struct rg_closing *closing)
{
	/* After an error the link may be down, and the function is reset already. */
	bool touch = why != RG_WHY_RECOVERY;

	/*
	 * PCIe r6.0 sec. 6.6.2: transactions should have ended before. The
	 * kernel's own wait for them then finds nothing left to wait for; it
	 * waits for the function that it resets, for no other. One that does
	 * not answer has none that could be seen. The deadline is for us.
	 */
	if ((why == RG_WHY_FUNCTION_RESET || why == RG_WHY_FLR) &&
	    rg_endpoint_answers(state->pdev)) {
		pci_wait_for_pending_transaction(state->pdev);
		rg_closing_begin(closing);
	}
	if (rg_closing_block(state, touch, closing))
		return;
	state->unfenced = true;
	state->untouched = !touch;
	state->muted = false;
	state->ungated = false;
	rg_gate_closed(state, why);
}

/* It is about to open; where it cannot at once, it will without being asked again. */
static void rg_gate_unpark(struct rg_state *state)
{
	rg_attach_turn(state, RG_CLOSED);
	rg_gate_watch(state);
}

/*
 * With state->lock held: it opens as soon as it answers, and after the limit its
 * silence counts.
 */
static void rg_gate_await(struct rg_state *state, enum rg_await await)
{
	if (await == RG_AWAIT_NOW && rg_endpoint_answers(state->pdev))
		return;
	state->patient = false;
	WRITE_ONCE(state->busy, false);
	state->awaiting = true;
	state->await_until = jiffies + RG_AWAIT_LIMIT;
	mod_delayed_work(rg_gate_queue, &state->await_work, RG_AWAIT_FIRST);
}

/* Its group is busy, or the fence before its ATS has not passed: it is tried again soon. */
static void rg_gate_retry(struct rg_state *state)
{
	state->awaiting = true;
	state->await_until = jiffies;
	mod_delayed_work(rg_gate_queue, &state->await_work, RG_AWAIT_AGAIN);
}

/* Returns false while its group is busy: then it stays closed, and is tried again. */
static bool rg_gate_open(struct rg_state *state, bool answers)
{
	enum rg_opened opened = rg_opening_unblock(state, answers);

	if (opened == RG_NOT_OPENED) {
		rg_gate_retry(state);
		return false;
	}
	cancel_delayed_work(&state->park_work);
	state->awaiting = false;
	rg_attach_turn(state, RG_OPEN);
	state->last_window_us = ktime_us_delta(ktime_get(), state->closed_at);
	trace_open(state->pdev, state->last_window_us);
	rg_events_post(state, RG_EVENT_OPENED);
	state->muted = opened == RG_OPENED_MUTED;
	rg_closing_release(state);
	if (answers && state->muted) {
		state->last_error = -ETIMEDOUT;
		rg_gate_retry(state);
	}
	return true;
}

/* It opened without its ATS, and answers now. */
static void rg_gate_unmute(struct rg_state *state)
{
	if (!rg_opening_unmute(state)) {
		rg_gate_retry(state);
		return;
	}
	state->awaiting = false;
	state->muted = false;
	rg_closing_release(state);
}

static const char *const rg_gate_park_whys[RG_NR_WHYS] = {
	[RG_WHY_SILENT] = "an answer to config reads after the reset, found none",
	[RG_WHY_FAILED] = "the recovery from an error to succeed, it failed",
	[RG_WHY_TIMEOUT] = "the reset to end within park_timeout_s, it goes on",
};

static void rg_gate_park(struct rg_state *state, enum rg_reason why)
{
	cancel_delayed_work(&state->park_work);
	state->awaiting = false;
	WRITE_ONCE(state->busy, false);
	state->patient = false;
	rg_attach_turn(state, RG_PARKED);
	state->reason = why;
	trace_park(state->pdev, why);
	pci_err(state->pdev,
		"parked: expected %s; the IOMMU blocks its DMA; reset it again, or write open to its resetgate/state\n",
		rg_gate_park_whys[why]);
	rg_events_post(state, RG_EVENT_PARKED);
}

/* The end of a reset. A method's return code does not count, an answer does. */
static void rg_gate_end(struct rg_state *state)
{
	bool answers = rg_endpoint_answers(state->pdev);

	if (!answers && state->patient) {
		rg_gate_await(state, RG_AWAIT_RESET);
		return;
	}
	if (!answers)
		state->last_error = -EIO;
	if (!answers && !rg_param_open_silent()) {
		rg_gate_park(state, RG_WHY_SILENT);
		return;
	}
	if (rg_gate_open(state, answers) && !answers)
		pci_warn(state->pdev,
			 "opened without ATS: expected an answer to config reads after the reset, found none, and on_failed_reset=open; reset it again\n");
}

/* The innermost bracket of this task in which a reset would be restored. */
static struct rg_bracket *rg_gate_bracket_mine(const struct rg_state *state)
{
	struct rg_bracket *bracket;

	list_for_each_entry(bracket, &state->brackets, node)
		if (bracket->task == current && !bracket->done)
			return bracket;
	return NULL;
}

/* The window that a task's reset ended in is its brackets' own, whoever in it asked for that. */
static void rg_gate_own(struct rg_state *state)
{
	struct rg_bracket *bracket;

	list_for_each_entry(bracket, &state->brackets, node)
		if (bracket->task == current)
			bracket->window = state->windows;
}

static bool rg_gate_is_owed(const struct rg_state *state)
{
	const struct rg_bracket *bracket;

	list_for_each_entry(bracket, &state->brackets, node)
		if (bracket->owes)
			return true;
	return false;
}

/*
 * With state->lock held: no reset runs, nobody will restore and tell. The VFs of
 * a PF answer once it is restored, and have PASID control in common with it: they
 * follow it. They are closed for a time even where the PF itself does not take
 * part. Returns those that may open now, for rg_gate_unlock().
 */
static struct rg_scope *rg_gate_settle(struct rg_state *state)
{
	struct rg_scope *vfs = state->vfs;

	if (state->depth || state->prepared || state->awaiting || rg_gate_is_owed(state))
		return NULL;
	if (state->phase == RG_CLOSED && !state->dead)
		rg_gate_end(state);
	else if (state->muted && !state->dead && rg_endpoint_answers(state->pdev))
		rg_gate_unmute(state);
	if (state->awaiting)
		return NULL;
	state->vfs = NULL;
	return vfs;
}

/* Each may have to wait for its group: a reset of the PF must not wait with it. */
static void rg_gate_unlock(struct rg_state *state, struct rg_scope *vfs)
{
	mutex_unlock(&state->lock);
	rg_scope_leave(vfs, RG_AWAIT_NOW);
	rg_scope_free(vfs);
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
 * rg_gate_shut - a reset of a function begins, first half
 * @state: the function's state
 * @why: what begins
 * @closing: what it shares with others
 *
 * Closes the gate unless an outer reset did. If it cannot in time, the reset
 * runs ungated. rg_gate_fence() and rg_gate_fenced() must follow.
 *
 * Context: Process context, sleeps until the deadline at the most, as long as the
 * function has transactions pending, and as long as somebody opens it.
 */
void rg_gate_shut(struct rg_state *state, enum rg_reason why, struct rg_closing *closing)
{
	mutex_lock(&state->lock);
	trace_reset_begin(state->pdev, why);
	state->awaiting = false;
	WRITE_ONCE(state->busy, false);
	if (state->depth == 0) {
		/* Upstream's gate, where there is one, asks for it in the reset. */
		WRITE_ONCE(state->ungated, state->phase == RG_OPEN &&
			   !rg_gate_takes_part(state));
		if (state->phase == RG_CLOSED)
			rg_gate_begin(state, why);
		else if (state->phase == RG_PARKED)
			rg_gate_closed(state, why);
		else if (state->phase == RG_OPEN && !state->ungated && !state->dead)
			rg_gate_close(state, why, closing);
		if (state->phase == RG_OPEN)
			WRITE_ONCE(state->ungated, true);
	}
	/* Closed at an error, and now reset by the kernel: it may be touched. */
	if (state->phase == RG_CLOSED && state->untouched && why != RG_WHY_RECOVERY) {
		state->untouched = false;
		state->unfenced = true;
	}
	WRITE_ONCE(state->depth, state->depth + 1);
	mutex_unlock(&state->lock);
}

/**
 * rg_gate_fence - wait for the invalidations that began before a gate was shut
 * @state: a function that was shut last
 *
 * Context: Process context, sleeps close_timeout_ms at the most.
 * Return: 0; 1 if nothing of it was shut; -ETIMEDOUT if one of them does not end.
 */
int rg_gate_fence(struct rg_state *state)
{
	int rc = 1;

	mutex_lock(&state->lock);
	if (state->phase == RG_CLOSED && state->unfenced)
		rc = rg_closing_fence(state);
	mutex_unlock(&state->lock);
	return rc;
}

/**
 * rg_gate_fenced - a reset of a function begins, second half
 * @state: the function's state
 * @late: the fence did not pass in time
 *
 * Context: Process context, sleeps.
 */
void rg_gate_fenced(struct rg_state *state, bool late)
{
	mutex_lock(&state->lock);
	if (state->phase == RG_CLOSED && state->unfenced) {
		if (late)
			rg_closing_late(state);
		if (!state->untouched)
			rg_endpoint_ats_off(state->pdev);
		state->unfenced = false;
		rg_gate_watch(state);
	}
	mutex_unlock(&state->lock);
}

static void rg_gate_await_work(struct work_struct *work)
{
	struct rg_state *state = container_of(to_delayed_work(work), struct rg_state,
					      await_work);
	struct rg_scope *vfs = NULL;

	mutex_lock(&state->lock);
	if (state->awaiting && !state->dead) {
		if (rg_endpoint_answers(state->pdev) ||
		    (state->phase != RG_OPEN && time_after(jiffies, state->await_until))) {
			state->awaiting = false;
			vfs = rg_gate_settle(state);
			/* Where it did not come to that, its group is not what it waits for. */
			if (!state->awaiting)
				WRITE_ONCE(state->busy, false);
		} else {
			mod_delayed_work(rg_gate_queue, &state->await_work,
					 state->phase == RG_OPEN ? HZ : RG_AWAIT_AGAIN);
		}
	}
	rg_gate_unlock(state, vfs);
}

/* Nobody will restore it any more. */
static void rg_gate_forgive(struct rg_state *state)
{
	struct rg_bracket *bracket;

	list_for_each_entry(bracket, &state->brackets, node)
		bracket->owes = false;
}

/* Nobody has ended the window in park_timeout_s. */
static void rg_gate_park_work(struct work_struct *work)
{
	struct rg_state *state = container_of(to_delayed_work(work), struct rg_state,
					      park_work);
	struct rg_scope *vfs = NULL;

	mutex_lock(&state->lock);
	/* It opens after that one, whose reset is over. */
	if (state->depth && !state->dead && rg_scope_pf_is_busy(state))
		rg_gate_watch(state);
	/* One that is being closed is not in reset yet: rg_gate_fenced(). */
	if (state->phase == RG_CLOSED && !state->dead && !state->busy && !state->unfenced &&
	    !time_before(jiffies, state->park_at)) {
		state->last_error = -ETIMEDOUT;
		state->prepared = NULL;
		state->awaiting = false;
		rg_gate_forgive(state);
		if (state->depth) {
			rg_gate_park(state, RG_WHY_TIMEOUT);
		} else {
			pci_warn(state->pdev,
				 "expected whoever reset it to restore it within park_timeout_s, nobody did; its window ends\n");
			vfs = rg_gate_settle(state);
		}
	}
	rg_gate_unlock(state, vfs);
}

/**
 * rg_gate_leave - a reset of a function ended
 * @state: the function's state
 * @await: how soon it can be expected to answer if nobody restores it
 *
 * Opens the gate if it was the outermost and its caller does not restore config
 * space after it.
 *
 * Context: Process context, sleeps.
 */
void rg_gate_leave(struct rg_state *state, enum rg_await await)
{
	struct rg_bracket *bracket;

	mutex_lock(&state->lock);
	trace_reset_end(rg_pdev_key(state->pdev));
	rg_gate_own(state);
	bracket = rg_gate_bracket_mine(state);
	if (!WARN_ON_ONCE(!state->depth))
		WRITE_ONCE(state->depth, state->depth - 1);
	/* It took longer than anybody would wait, and yet it ended. */
	if (!state->depth && state->phase == RG_PARKED && state->reason == RG_WHY_TIMEOUT)
		rg_gate_unpark(state);
	if (bracket) {
		/* Others may still reset it: this caller restores it all the same. */
		bracket->owes = true;
		state->patient |= bracket->patient;
	} else if (!state->depth && state->phase == RG_CLOSED && await != RG_AWAIT_NOT) {
		rg_gate_await(state, await);
	}
	rg_gate_unlock(state, rg_gate_settle(state));
}

/**
 * rg_gate_follow - the VFs of a PF open after it
 * @state: the PF's state, entered
 * @vfs: its VFs, entered
 *
 * Context: Process context, sleeps.
 * Return: true if they will; false if others do already, and the caller has to
 * leave these.
 */
bool rg_gate_follow(struct rg_state *state, struct rg_scope *vfs)
{
	bool taken;

	mutex_lock(&state->lock);
	taken = !state->vfs && !state->dead;
	if (taken)
		state->vfs = vfs;
	mutex_unlock(&state->lock);
	return taken;
}

/**
 * rg_gate_fail - the recovery of a function that was closed for it failed
 * @state: the function's state
 * @bracket: the recovery's
 *
 * A function that is being reset by somebody else meanwhile, or was, is theirs.
 *
 * Context: Process context, sleeps; the bracket is still there.
 */
void rg_gate_fail(struct rg_state *state, const struct rg_bracket *bracket)
{
	struct rg_closing closing;

	rg_closing_begin(&closing);
	mutex_lock(&state->lock);
	if (state->depth || state->prepared || state->dead ||
	    state->windows != bracket->window)
		goto out_unlock;
	if (state->phase == RG_OPEN && rg_gate_takes_part(state))
		rg_gate_close(state, RG_WHY_RECOVERY, &closing);
	if (state->phase != RG_CLOSED)
		goto out_unlock;
	if (state->unfenced && rg_closing_fence(state))
		rg_closing_late(state);
	state->unfenced = false;
	/* It may have been opened for its driver, with its ATS on. */
	if (rg_endpoint_answers(state->pdev))
		rg_endpoint_ats_off(state->pdev);
	rg_gate_park(state, RG_WHY_FAILED);
out_unlock:
	mutex_unlock(&state->lock);
}

/**
 * rg_gate_rebound - a function's driver let go of it, or the next one gets it
 * @state: the function's state
 *
 * A failed recovery is its last driver's affair.
 *
 * Context: Process context, sleeps.
 */
void rg_gate_rebound(struct rg_state *state)
{
	mutex_lock(&state->lock);
	if (state->phase == RG_PARKED && state->reason == RG_WHY_FAILED &&
	    !state->depth && !state->dead && rg_endpoint_answers(state->pdev)) {
		rg_gate_unpark(state);
		rg_gate_open(state, true);
	}
	mutex_unlock(&state->lock);
}

/**
 * rg_gate_wait_busy - wait until a function is open whose group is busy
 * @state: the function's state
 *
 * For whoever goes on with the function next. Without state->lock, for a reset
 * that comes meanwhile must not wait for the group. Such a reset ends the wait:
 * the function is closed for that one.
 *
 * Context: Process context, sleeps ten seconds at the most; the caller may hold
 * the device lock and pci_bus_sem.
 */
void rg_gate_wait_busy(const struct rg_state *state)
{
	while (READ_ONCE(state->busy) &&
	       time_before(jiffies, READ_ONCE(state->busy_until)))
		msleep(20);
}

/**
 * rg_gate_bracket - a caller saves config space, resets, and restores it
 * @state: the function's state
 * @bracket: on the caller's stack, until rg_gate_unbracket()
 * @patient: it does not wait until the function answers
 *
 * Context: Process context, sleeps.
 */
void rg_gate_bracket(struct rg_state *state, struct rg_bracket *bracket, bool patient)
{
	*bracket = (struct rg_bracket){ .task = current, .patient = patient };
	mutex_lock(&state->lock);
	bracket->window = state->windows;
	list_add(&bracket->node, &state->brackets);
	mutex_unlock(&state->lock);
}

/**
 * rg_gate_unbracket - the caller of rg_gate_bracket() has restored it
 * @state: the function's state
 * @bracket: the same
 * @await: how soon it can be expected to answer if it was not restored after all
 *
 * Opens the gate of a function that no driver is bound to.
 *
 * Context: Process context, sleeps.
 */
void rg_gate_unbracket(struct rg_state *state, struct rg_bracket *bracket,
		       enum rg_await await)
{
	mutex_lock(&state->lock);
	list_del(&bracket->node);
	/* Whatever this task told the driver, it has told it all. */
	if (state->prepared == current)
		state->prepared = NULL;
	if (bracket->owes && await != RG_AWAIT_NOT && !state->depth &&
	    state->phase == RG_CLOSED)
		rg_gate_await(state, await);
	rg_gate_unlock(state, rg_gate_settle(state));
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
	if (state->prepared)
		pci_dbg(state->pdev, "prepared for a reset: expected the end of the last one, found none; it counts once\n");
	state->prepared = current;
	mutex_unlock(&state->lock);
}

/**
 * rg_gate_restored - config space is restored, the driver is about to be told
 * @state: the function's state
 *
 * Opens the gate: the driver's next DMA comes after it, unless the function is
 * silent, its group stays busy for ten seconds, or another reset has begun.
 *
 * Context: Process context, the device lock is held; sleeps.
 */
void rg_gate_restored(struct rg_state *state)
{
	struct rg_bracket *bracket;

	mutex_lock(&state->lock);
	if (!state->prepared && !state->depth && state->phase == RG_OPEN)
		pci_dbg(state->pdev, "told the end of a reset: expected a beginning, found none; nothing changes\n");
	state->prepared = NULL;
	list_for_each_entry(bracket, &state->brackets, node) {
		/* An outer one that has not reset yet is not at its end. */
		if (bracket->task != current || (!bracket->owes && state->depth))
			continue;
		bracket->owes = false;
		bracket->done = true;
	}
	/* It is restored and answers: the worker need not ask. */
	if (state->awaiting && !state->depth && rg_endpoint_answers(state->pdev))
		state->awaiting = false;
	rg_gate_unlock(state, rg_gate_settle(state));
	rg_gate_wait_busy(state);
}

/* What parked it stays the reason while it cannot be opened. */
static int rg_gate_reopen_parked(struct rg_state *state)
{
	if (!rg_endpoint_answers(state->pdev) && !rg_param_open_silent())
		return -EIO;
	rg_gate_unpark(state);
	rg_gate_end(state);
	return state->phase == RG_PARKED ? -EIO : 0;
}

static int rg_gate_reopen_muted(struct rg_state *state)
{
	if (!state->muted)
		return -EINVAL;
	if (!rg_endpoint_answers(state->pdev))
		return -EIO;
	rg_gate_unmute(state);
	return 0;
}

/**
 * rg_gate_reopen - the administrator opens a parked function
 * @state: the function's state
 *
 * One that opened silent gets its ATS. Where its group is busy that comes later.
 *
 * Context: Process context, sleeps.
 * Return: 0; -EBUSY if a reset is running; -EINVAL if it is open; -EIO if the
 * function is still silent and on_failed_reset=park, or it is open already.
 */
int rg_gate_reopen(struct rg_state *state)
{
	int rc;

	mutex_lock(&state->lock);
	if (state->phase == RG_CLOSED || state->depth)
		rc = -EBUSY;
	else if (state->phase == RG_OPEN)
		rc = rg_gate_reopen_muted(state);
	else
		rc = rg_gate_reopen_parked(state);
	rg_gate_unlock(state, rc ? NULL : rg_gate_settle(state));
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
	struct rg_scope *vfs;

	mutex_lock(&state->lock);
	vfs = state->vfs;
	state->vfs = NULL;
	state->dead = true;
	state->awaiting = false;
	WRITE_ONCE(state->busy, false);
	if (state->phase != RG_OPEN || state->muted) {
		pci_dbg(state->pdev, "removed in its window, or without its ATS: that ends with it, its entry stays as it is\n");
		state->muted = false;
		rg_attach_turn(state, RG_OPEN);
		rg_closing_release(state);
	}
	mutex_unlock(&state->lock);
	rg_scope_leave(vfs, RG_AWAIT_NOW);
	rg_scope_free(vfs);
}

/**
 * rg_gate_start - be able to end windows that nobody ends
 *
 * Context: Process context, at load, before the first state.
 * Return: 0 or -ENOMEM.
 */
int rg_gate_start(void)
{
	rg_gate_queue = alloc_workqueue("resetgate", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	return rg_gate_queue ? 0 : -ENOMEM;
}

/**
 * rg_gate_stop - undo rg_gate_start()
 *
 * Context: Process context, at unload, after the last state.
 */
void rg_gate_stop(void)
{
	destroy_workqueue(rg_gate_queue);
}

/**
 * rg_gate_init - a new function's gate, open
 * @state: zeroed but for its function and its back end
 *
 * Context: Any.
 */
void rg_gate_init(struct rg_state *state)
{
	mutex_init(&state->lock);
	INIT_LIST_HEAD(&state->brackets);
	INIT_LIST_HEAD(&state->shut);
	atomic_set(&state->native, 0);
	atomic_set(&state->recoveries, 0);
	INIT_DELAYED_WORK(&state->await_work, rg_gate_await_work);
	INIT_DELAYED_WORK(&state->park_work, rg_gate_park_work);
	rg_fence_init(&state->fence, state->be->preempted && state->be->preempted());
	rg_fence_init(&state->alive, false);
	rg_events_init(state);
}

/**
 * rg_gate_finish - nothing of a gate runs any more
 * @state: the function's state; nobody else has it
 *
 * Context: Process context, sleeps.
 */
void rg_gate_finish(struct rg_state *state)
{
	cancel_delayed_work_sync(&state->await_work);
	cancel_delayed_work_sync(&state->park_work);
}
