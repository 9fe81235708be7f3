// SPDX-License-Identifier: GPL-2.0
/*
 * The functions that one reset concerns: those below a bus, in a slot, or the
 * VFs of a PF, as they are when it begins. One that comes later was not reset.
 */
#include <linux/overflow.h>
#include <linux/slab.h>

#include "attach.h"
#include "closing.h"
#include "registry.h"
#include "scope.h"

typedef bool rg_scope_match_fn(const struct rg_state *state, const void *what);

/* Every bus above a function stays a grace period longer: see rg_registry_free(). */
static bool rg_scope_is_below(const struct rg_state *state, const void *what)
{
	const struct pci_bus *bus;

	for (bus = state->pdev->bus; bus; bus = bus->parent)
		if (bus == what)
			return true;
	return false;
}

/*
 * The slot of a function is its own, or that of the bridge above it on the slot's
 * bus. A VF on a bus of its own has none, and its PF must not be followed here; the
 * bus reset that a slot's reset ends in closes it.
 */
static bool rg_scope_is_in_slot(const struct rg_state *state, const void *what)
{
	const struct pci_slot *slot = what;
	const struct pci_dev *pdev = state->pdev;
	const struct pci_bus *bus;

	for (bus = pdev->bus; bus && pdev; bus = bus->parent) {
		if (bus == slot->bus)
			return pdev->slot == slot;
		/* The bus of VFs only has no bridge of its own. */
		pdev = bus->self;
	}
	return false;
}

static bool rg_scope_is_vf_of(const struct rg_state *state, const void *what)
{
	return state->pdev->is_virtfn && pci_physfn(state->pdev) == what;
}

static bool rg_scope_is(const struct rg_state *state, const void *what)
{
	return state->pdev == what;
}

/*
 * Without waiting for memory: the disk that it would come from may be among what
 * is about to be reset, or, where this reset is part of a recovery, be closed
 * already; then the recovery's own scope holds it.
 */
static struct rg_scope *rg_scope_alloc(int room, const struct device *dev)
{
	struct rg_scope *scope;
	size_t size = struct_size(scope, states, room);

	scope = kzalloc(size + room * sizeof(*scope->brackets),
			GFP_NOIO | __GFP_NORETRY | __GFP_NOWARN);
	if (scope)
		scope->brackets = (void *)scope + size;
	else
		rg_closing_without_memory(dev, room);
	return scope;
}

/* @dev is what is reset, to be named. */
static struct rg_scope *rg_scope_collect(rg_scope_match_fn *match, const void *what,
					 const struct device *dev)
{
	int room = rg_registry_pick(match, what, NULL, 0);
	struct rg_scope *scope;

	while (room) {
		scope = rg_scope_alloc(room, dev);
		if (!scope)
			return NULL;
		scope->nr = room;
		room = rg_registry_pick(match, what, scope->states, scope->nr);
		if (room <= scope->nr) {
			scope->nr = room;
			return scope;
		}
		/* More have come meanwhile, and none was referenced. */
		scope->nr = 0;
		rg_scope_free(scope);
	}
	return NULL;
}

/* A root bus has no bridge. */
static const struct device *rg_scope_bridge(const struct pci_bus *bus)
{
	return bus->self ? &bus->self->dev : &bus->dev;
}

/**
 * rg_scope_below - the functions below a bridge
 * @bus: the bridge's secondary bus; may be NULL
 *
 * Context: Process context, sleeps.
 * Return: those in any depth, VFs included; NULL if there are none.
 */
struct rg_scope *rg_scope_below(const struct pci_bus *bus)
{
	return bus ? rg_scope_collect(rg_scope_is_below, bus, rg_scope_bridge(bus)) : NULL;
}

/**
 * rg_scope_slot - the functions in a hotplug slot
 * @slot: the slot; may be NULL
 *
 * Context: Process context, sleeps.
 * Return: those in it and below it, but for VFs on a bus of their own; NULL if
 * there are none.
 */
struct rg_scope *rg_scope_slot(const struct pci_slot *slot)
{
	return slot ? rg_scope_collect(rg_scope_is_in_slot, slot,
				       rg_scope_bridge(slot->bus)) : NULL;
}

/**
 * rg_scope_vfs - the VFs of a PF
 * @pf: any function
 *
 * Context: Process context, sleeps.
 * Return: its VFs; NULL if there are none.
 */
struct rg_scope *rg_scope_vfs(const struct pci_dev *pf)
{
	return pf->is_physfn ? rg_scope_collect(rg_scope_is_vf_of, pf, &pf->dev) : NULL;
}

/**
 * rg_scope_function - one function
 * @pdev: the function
 *
 * Context: Process context, sleeps.
 * Return: it; NULL if it is not covered.
 */
struct rg_scope *rg_scope_function(const struct pci_dev *pdev)
{
	return rg_scope_collect(rg_scope_is, pdev, &pdev->dev);
}

/**
 * rg_scope_pf_is_busy - whether a VF waits for the IOMMU group of its PF
 * @state: any function's state
 *
 * Context: Process context, under the state's lock; it is not dead, so a VF has its PF.
 * Return: true if the PF's reset is over, and it opens when its group is free.
 */
bool rg_scope_pf_is_busy(const struct rg_state *state)
{
	const struct rg_state *pf;
	bool busy;

	if (!state->pdev->is_virtfn)
		return false;
	rcu_read_lock();
	pf = rg_registry_find(pci_physfn(state->pdev));
	busy = pf && READ_ONCE(pf->busy);
	rcu_read_unlock();
	return busy;
}

/**
 * rg_scope_free - let go of the functions
 * @scope: may be NULL
 *
 * Context: Process context.
 */
void rg_scope_free(struct rg_scope *scope)
{
	int i;

	for (i = 0; scope && i < scope->nr; i++)
		rg_registry_put(scope->states[i]);
	kfree(scope);
}

static void rg_scope_shut(struct rg_scope *scope, enum rg_reason why,
			  struct rg_closing *closing)
{
	int i;

	for (i = 0; scope && i < scope->nr; i++)
		rg_gate_shut(scope->states[i], why, closing);
}

/* What one of them waits for, it waits for on behalf of all. */
static int rg_scope_fence(struct rg_scope *scope)
{
	int i, rc = 1;

	for (i = 0; scope && i < scope->nr && rc > 0; i++)
		rc = rg_gate_fence(scope->states[i]);
	return rc;
}

static void rg_scope_fenced(struct rg_scope *scope, bool late)
{
	int i;

	for (i = 0; scope && i < scope->nr; i++)
		rg_gate_fenced(scope->states[i], late);
}

/**
 * rg_scope_enter - a reset of all of them begins
 * @scope: may be NULL
 * @why: what begins
 *
 * Context: Process context, sleeps twice close_timeout_ms at the most, and as
 * long as somebody opens one of them.
 */
void rg_scope_enter(struct rg_scope *scope, enum rg_reason why)
{
	struct rg_closing closing;

	rg_closing_begin(&closing);
	rg_scope_shut(scope, why, &closing);
	rg_scope_fenced(scope, rg_scope_fence(scope) < 0);
}

/**
 * rg_scope_enter_function - a reset of one function begins, and of its VFs
 * @state: the function's state
 * @why: what begins
 * @vfs: its VFs; may be NULL
 *
 * Context: Process context, sleeps twice close_timeout_ms at the most, as long as
 * the function has transactions pending, and as long as somebody opens one of them.
 * Return: @vfs, entered; NULL if an outer reset of the function keeps them closed.
 */
struct rg_scope *rg_scope_enter_function(struct rg_state *state, enum rg_reason why,
					 struct rg_scope *vfs)
{
	struct rg_closing closing;
	int rc;

	rg_closing_begin(&closing);
	rg_gate_shut(state, why, &closing);
	/*
	 * An outer reset has closed its VFs, and does not let them go while this
	 * one is counted in depth.
	 */
	if (READ_ONCE(state->vfs))
		vfs = NULL;
	rg_scope_shut(vfs, RG_WHY_PF_RESET, &closing);
	rc = rg_gate_fence(state);
	if (rc > 0)
		rc = rg_scope_fence(vfs);
	rg_gate_fenced(state, rc < 0);
	rg_scope_fenced(vfs, rc < 0);
	return vfs;
}

/**
 * rg_scope_leave - the reset of all of them ended
 * @scope: may be NULL
 * @await: how soon one that nobody restores can be expected to answer
 *
 * Context: Process context, sleeps.
 */
void rg_scope_leave(struct rg_scope *scope, enum rg_await await)
{
	int i;

	for (i = 0; scope && i < scope->nr; i++)
		rg_gate_leave(scope->states[i], await);
}

/**
 * rg_scope_recover - a recovery from an error begins, or ends
 * @scope: may be NULL
 * @by: 1 or -1
 *
 * It takes their device locks, and calls their drivers: who waits for a window of
 * theirs may hold what it waits for.
 *
 * Context: Any.
 */
void rg_scope_recover(struct rg_scope *scope, int by)
{
	int i;

	for (i = 0; scope && i < scope->nr; i++)
		atomic_add(by, &scope->states[i]->recoveries);
	rg_attach_wake();
}

/**
 * rg_scope_bracket - a caller saves all of them, resets, and restores them
 * @scope: may be NULL
 * @patient: it does not wait until they answer
 *
 * Context: Process context, sleeps.
 */
void rg_scope_bracket(struct rg_scope *scope, bool patient)
{
	int i;

	for (i = 0; scope && i < scope->nr; i++)
		rg_gate_bracket(scope->states[i], &scope->brackets[i], patient);
}

/**
 * rg_scope_unbracket - the caller of rg_scope_bracket() is done
 * @scope: may be NULL
 * @await: how soon one that nobody has restored can be expected to answer
 *
 * Context: Process context, sleeps.
 */
void rg_scope_unbracket(struct rg_scope *scope, enum rg_await await)
{
	int i;

	for (i = 0; scope && i < scope->nr; i++)
		rg_gate_unbracket(scope->states[i], &scope->brackets[i], await);
}

/**
 * rg_scope_fail - their recovery failed after a reset, or in it
 * @scope: may be NULL
 *
 * Context: Process context, sleeps.
 */
void rg_scope_fail(struct rg_scope *scope)
{
	int i;

	for (i = 0; scope && i < scope->nr; i++)
		rg_gate_fail(scope->states[i], &scope->brackets[i]);
}
