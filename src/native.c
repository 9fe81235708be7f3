// SPDX-License-Identifier: GPL-2.0
/*
 * Upstream's own gate, 7.0 and later, stands aside while ours follows the resets.
 *
 * pci_dev_reset_iommu_prepare() and _done() are redirected to nothing for a
 * function that takes part: ours is the gate. They are called for probes of a
 * method, too, which must block nothing.
 *
 * With policy=busy upstream's own run in the reset, inside our window: to refuse
 * attaches is what it does. What it attaches and takes back meanwhile is withheld
 * from the hardware as any other attach is, for ours opens after its done: at the
 * return of the method, or later. Ours answers where upstream's does not: in resets
 * that it does not follow, and from its done to our opening. Nothing changes if the
 * policy does in between, but that upstream's goes on to the end of this reset.
 */
#include <linux/delay.h>
#include <linux/pci.h>

#include "attach.h"
#include "compat.h"
#include "native.h"
#include "patch.h"
#include "registry.h"

/* Probes are not counted in flight, so the prepares that still await their done are. */
static atomic_t rg_native_pending;
static bool rg_native_stands_aside;

static int rg_native_prepare(struct pci_dev *pdev)
{
	return 0;
}

static void rg_native_done(struct pci_dev *pdev)
{
}

/* Inside a reset what was decided at its start counts; outside it is a probe. */
static notrace bool rg_native_is_ours(const struct rg_state *state)
{
	if (!READ_ONCE(rg_native_stands_aside))
		return false;
	if (READ_ONCE(state->depth) || READ_ONCE(state->phase) != RG_OPEN)
		return !READ_ONCE(state->ungated) &&
		       rg_attach_policy(state) != RG_POLICY_BUSY;
	return rg_gate_takes_part(state);
}

static notrace void *rg_divert_native_prepare(struct ftrace_regs *fregs,
					      unsigned long parent_ip)
{
	struct rg_state *state = rg_registry_find((void *)rg_compat_arg(fregs, 0));

	if (!state || !rg_native_is_ours(state))
		return NULL;
	atomic_inc(&rg_native_pending);
	atomic_inc(&state->native);
	return rg_native_prepare;
}

/* A done is redirected only where its prepare was. */
static notrace void *rg_divert_native_done(struct ftrace_regs *fregs,
					   unsigned long parent_ip)
{
	struct rg_state *state = rg_registry_find((void *)rg_compat_arg(fregs, 0));

	if (!state || !atomic_add_unless(&state->native, -1, 0))
		return NULL;
	atomic_dec(&rg_native_pending);
	return rg_native_done;
}

static const struct rg_hook rg_native_hooks[] = {
	{ RG_T_RESET_IOMMU_PREPARE, rg_divert_native_prepare },
	{ RG_T_RESET_IOMMU_DONE, rg_divert_native_done },
};

/**
 * rg_native_install - be able to tell upstream's gate to stand aside
 *
 * Context: Process context, at load.
 */
void rg_native_install(void)
{
	if (rg_set_usable(RG_SET_NATIVE) &&
	    rg_target_present(RG_T_RESET_IOMMU_PREPARE) &&
	    rg_target_present(RG_T_RESET_IOMMU_DONE))
		rg_patch_install(RG_SET_NATIVE, rg_native_hooks,
				 ARRAY_SIZE(rg_native_hooks));
}

/**
 * rg_native_yield - tell upstream's gate to stand aside, or not to any more
 * @aside: whether to
 *
 * Context: Any.
 */
void rg_native_yield(bool aside)
{
	WRITE_ONCE(rg_native_stands_aside, aside);
}

/**
 * rg_native_bury - a function has gone
 * @state: the function's state, about to be freed: a grace period has passed since
 *	its last reference went, so every handler that had found it has counted
 *
 * Context: Process context.
 */
void rg_native_bury(struct rg_state *state)
{
	atomic_sub(atomic_xchg(&state->native, 0), &rg_native_pending);
}

/**
 * rg_native_remove - leave upstream's gate alone
 *
 * Waits for the dones whose prepare was redirected.
 *
 * Context: Process context, at unload, sleeps; nothing new is redirected.
 */
void rg_native_remove(void)
{
	while (atomic_read(&rg_native_pending) > 0)
		msleep(20);
	rg_patch_remove(RG_SET_NATIVE);
}
