// SPDX-License-Identifier: GPL-2.0
/*
 * How a gate opens: the steps in the head of gate.c.
 *
 * Who holds the group's mutex may wait for an IOMMU that another silent function
 * has stuck. The reset that cures that one comes to this function's state->lock,
 * so nobody waits for the mutex for long with that held: a tenth of a second,
 * and as long again for each VF that opens after its PF.
 */
#include <linux/pci.h>

#include "closing.h"
#include "opening.h"

/* For the mutex: first, and each time it is tried again. */
#define RG_OPEN_FIRST (HZ / 10)
#define RG_OPEN_AGAIN (HZ / 100)

/* Whoever waits for the opening holds the device's lock, and others may want that. */
#define RG_BUSY_LIMIT (10 * HZ)

/* Told once. */
static bool rg_opening_lock_group(struct rg_state *state)
{
	unsigned long time = state->busy ? RG_OPEN_AGAIN : RG_OPEN_FIRST;

	if (!rg_closing_lock_group(state, jiffies + time)) {
		WRITE_ONCE(state->busy, false);
		return true;
	}
	if (!state->busy) {
		pci_warn(state->pdev,
			 "%s late: expected its IOMMU group to be free within %u ms, found it busy; it is tried again until it is\n",
			 state->muted ? "gets its ATS" : "opens",
			 jiffies_to_msecs(RG_OPEN_FIRST));
		WRITE_ONCE(state->busy_until, jiffies + RG_BUSY_LIMIT);
	}
	WRITE_ONCE(state->busy, true);
	return false;
}

/**
 * rg_opening_unblock - let a function's DMA through
 * @state: the function's state, closed
 * @answers: it does; otherwise its ATS stays off until rg_opening_unmute()
 *
 * Context: Process context, under state->lock, sleeps a tenth of a second at the
 * most.
 * Return: true; false if its group is busy, and it is blocked as before.
 */
bool rg_opening_unblock(struct rg_state *state, bool answers)
{
	/*
	 * One that was closed untouched, and not reset after all, has its ATS on:
	 * what its ATC holds goes with that. PASID and PRI need it off.
	 */
	if (answers)
		rg_endpoint_ats_off(state->pdev);
	if (!rg_opening_lock_group(state))
		return false;
	if (answers)
		rg_endpoint_controls(&state->ep, state->pdev);
	/*
	 * Silent: what would turn its ATS on goes on being withheld, together
	 * with its ATC invalidations.
	 */
	rg_rids_unblock(state, !answers);
	if (answers)
		rg_endpoint_open(&state->ep, state->pdev);
	mutex_unlock(rg_gate_group_mutex(state));
	return true;
}

/**
 * rg_opening_unmute - a function that opened silent gets its ATS
 * @state: the function's state, muted; the function answers
 *
 * What it has in its ATC came with ATS, and goes with it.
 *
 * Context: Process context, under state->lock, sleeps a tenth of a second at the
 * most.
 * Return: true; false if its group is busy, and nothing was changed.
 */
bool rg_opening_unmute(struct rg_state *state)
{
	rg_endpoint_ats_off(state->pdev);
	if (!rg_opening_lock_group(state))
		return false;
	rg_endpoint_controls(&state->ep, state->pdev);
	rg_rids_unfilter(state);
	rg_endpoint_open(&state->ep, state->pdev);
	mutex_unlock(rg_gate_group_mutex(state));
	return true;
}
