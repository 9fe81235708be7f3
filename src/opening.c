// SPDX-License-Identifier: GPL-2.0
/*
 * How a gate opens: the steps in the head of gate.c.
 *
 * Who holds the group's mutex may wait for an IOMMU that another silent function
 * has stuck. The reset that cures that one comes to this function's state->lock,
 * so nobody waits for the mutex for long with that held: a tenth of a second; and
 * for the fence before ATS close_timeout_ms, once for those that open together.
 */
#include <linux/pci.h>

#include "backend.h"
#include "closing.h"
#include "opening.h"
#include "params.h"
#include "registry.h"

/* For the mutex: first, and each time it is tried again. */
#define RG_OPEN_FIRST (HZ / 10)
#define RG_OPEN_AGAIN (HZ / 100)

/* Whoever waits for the opening holds the device's lock, and others may want that. */
#define RG_BUSY_LIMIT (10 * HZ)

/*
 * The functions of one reset are waited for one after the other, by one task: they
 * share one limit. Tasks that take turns here get a limit each, and races between
 * them do no harm.
 */
static unsigned long rg_opening_limit(void)
{
	static const struct task_struct *whose;
	static unsigned long limit;
	unsigned long now = jiffies;

	if (READ_ONCE(whose) != current ||
	    time_after(now, READ_ONCE(limit) + RG_BUSY_LIMIT)) {
		WRITE_ONCE(whose, current);
		WRITE_ONCE(limit, now + RG_BUSY_LIMIT);
	}
	return READ_ONCE(limit);
}

static unsigned long rg_opening_deadline(const struct rg_state *state)
{
	return jiffies + (state->busy ? RG_OPEN_AGAIN : RG_OPEN_FIRST);
}

/* The mutex was got in time, or not. Told once, until it is. */
static bool rg_opening_locked(struct rg_state *state, int rc)
{
	if (!rc)
		return true;
	if (!state->busy) {
		pci_warn(state->pdev,
			 "%s late: expected its IOMMU group to be free within %u ms, found it busy; it is tried again until it is\n",
			 state->muted ? "gets its ATS" : "opens",
			 jiffies_to_msecs(RG_OPEN_FIRST));
		WRITE_ONCE(state->busy_until, rg_opening_limit());
	}
	WRITE_ONCE(state->busy, true);
	return false;
}

/*
 * Whoever unmaps invalidates the IOTLB first and then the ATC, for translation
 * requests may be answered from the IOTLB. What was dropped may have such an invalidation
 * before it that has not been executed: with ATS on before that, the ATC could take
 * a translation whose page is about to be freed, and nobody would tell it. So the
 * IOTLB is flushed between the filter and ATS: who drops clears its page-table entry
 * first. As in closing, only once the queue is seen to be alive; what was submitted
 * preemptibly need not be over, for the flush comes behind it.
 */
static bool rg_opening_fence(struct rg_state *state)
{
	/*
	 * When one was late: others will be, and need not wait as long to know it. But
	 * for a grace period of an idle machine, or none of them would ever pass.
	 */
	static unsigned long late;
	unsigned long limit = msecs_to_jiffies(rg_param_close_timeout());
	bool soon = time_before(jiffies, READ_ONCE(late) + limit);

	if (!state->pdev->ats_enabled || !rg_rids_has_dropped(state))
		return true;
	/* Only who tried already: the reset may have been the cure. */
	if ((state->busy || state->muted) && rg_fence_is_stuck(&state->alive))
		return false;
	if (!rg_fence_wait(&state->alive, jiffies + (soon ? RG_FENCE_USUAL : limit)))
		return true;
	if (!soon && rg_fence_is_out(&state->alive))
		WRITE_ONCE(late, jiffies);
	return false;
}

/* The filter is off. */
static void rg_opening_flush(struct rg_state *state)
{
	if (state->pdev->ats_enabled && rg_rids_has_dropped(state))
		state->be->flush(state->rids[0]);
}

/**
 * rg_opening_unblock - let a function's DMA through
 * @state: the function's state, closed
 * @answers: it does; otherwise its ATS stays off until rg_opening_unmute()
 *
 * Context: Process context, under state->lock, sleeps a tenth of a second at the
 * most for the group's mutex, and close_timeout_ms more where a CPU does not leave
 * the IOMMU's queue.
 * Return: RG_NOT_OPENED if its group is busy, or it is on its way out, and it is
 * blocked as before; RG_OPENED_MUTED if its ATS stays off; else
 * RG_OPENED.
 */
enum rg_opened rg_opening_unblock(struct rg_state *state, bool answers)
{
	bool fenced;

	/*
	 * One that was closed untouched, and not reset after all, has its ATS on:
	 * what its ATC holds goes with that. PASID and PRI need it off.
	 */
	if (answers)
		rg_endpoint_ats_off(state->pdev);
	if (!rg_opening_locked(state, rg_closing_lock_group(state, rg_opening_deadline(state))))
		return RG_NOT_OPENED;
	/* Its window ends with it: rg_gate_bury(). */
	if (state->dead) {
		mutex_unlock(rg_group_mutex(state));
		return RG_NOT_OPENED;
	}
	if (answers)
		rg_endpoint_controls(&state->ep, state->pdev);
	fenced = answers && rg_opening_fence(state);
	WRITE_ONCE(state->busy, false);
	/*
	 * Silent: what would turn its ATS on goes on being withheld, together
	 * with its ATC invalidations.
	 */
	rg_rids_unblock(state, !fenced);
	if (fenced) {
		rg_opening_flush(state);
		rg_endpoint_open(&state->ep, state->pdev);
	}
	mutex_unlock(rg_group_mutex(state));
	if (answers && !fenced)
		pci_warn(state->pdev,
			 "gets its ATS late: expected the IOMMU's queue to take what was submitted, found a CPU that does not leave it, or a queue that takes nothing; it is tried again\n");
	return fenced ? RG_OPENED : RG_OPENED_MUTED;
}

/**
 * rg_opening_unmute - a function that opened without its ATS gets it
 * @state: the function's state, muted; the function answers
 *
 * What it has in its ATC came with ATS, and goes with it.
 *
 * Context: As of rg_opening_unblock().
 * Return: true; false if its group or the IOMMU's queue is busy: its ATS is off and
 * its ATC invalidations are dropped, as before.
 */
bool rg_opening_unmute(struct rg_state *state)
{
	bool fenced;

	/* Who holds up the last fence is there still: nothing need be locked for that. */
	if (rg_fence_is_out(&state->alive) || rg_fence_is_stuck(&state->alive))
		return false;
	rg_endpoint_ats_off(state->pdev);
	if (!rg_opening_locked(state, rg_closing_lock_group(state, rg_opening_deadline(state))))
		return false;
	WRITE_ONCE(state->busy, false);
	fenced = !state->dead && rg_opening_fence(state);
	if (fenced) {
		rg_endpoint_controls(&state->ep, state->pdev);
		rg_rids_unfilter(state);
		rg_opening_flush(state);
		rg_endpoint_open(&state->ep, state->pdev);
	}
	mutex_unlock(rg_group_mutex(state));
	return fenced;
}
