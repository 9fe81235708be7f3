// SPDX-License-Identifier: GPL-2.0
/*
 * Recovery from errors: AER, DPC and EDR all go through pcie_do_recovery().
 *
 * A frozen channel closes everything below the port before a driver hears of it,
 * without touching a function: DPC has reset them already, and their link is
 * down. Which step of the recovery resets differs between kernels; the callback
 * that does it is an argument, and ours goes around it. The functions open
 * before the driver's first slot_reset or resume after that (see
 * err_handlers.c), those that have neither when the recovery returns. Where it
 * failed they are parked, unless somebody else has reset them since.
 *
 * With a channel that is not frozen nothing may be reset at all: then only a
 * bus reset inside closes anything, and this is its bracket.
 */
#include <linux/list.h>
#include <linux/pci.h>
#include <linux/sched.h>

#include "compat.h"
#include "pass.h"
#include "patch.h"
#include "recovery.h"
#include "scope.h"

typedef pci_ers_result_t rg_recovery_reset_fn(struct pci_dev *bridge);
typedef pci_ers_result_t rg_recovery_fn(struct pci_dev *pdev, pci_channel_state_t state,
					rg_recovery_reset_fn *reset);

RG_CALL_DEFINE(rg_call_recovery, rg_recovery_fn);

/* One recovery; the task runs all of it. */
struct rg_recovery {
	struct list_head node;
	struct task_struct *task;
	const struct pci_bus *bus;
	struct rg_scope *scope;
	rg_recovery_reset_fn *reset;
	bool frozen;		/* entered at the beginning */
	bool entered;
	bool called;		/* the callback was, */
	bool was_reset;		/* and it did reset */
};

static LIST_HEAD(rg_recoveries);
static DEFINE_SPINLOCK(rg_recovery_lock);

static struct rg_recovery *rg_recovery_mine(void)
{
	struct rg_recovery *recovery, *found = NULL;

	spin_lock(&rg_recovery_lock);
	list_for_each_entry(recovery, &rg_recoveries, node) {
		if (recovery->task == current) {
			found = recovery;
			break;
		}
	}
	spin_unlock(&rg_recovery_lock);
	return found;
}

static void rg_recovery_leave(struct rg_recovery *recovery)
{
	if (recovery->entered)
		rg_scope_leave(recovery->scope, RG_AWAIT_NOT);
	recovery->entered = false;
}

/* Stands in for the callback; its wait for the link is part of it. */
static pci_ers_result_t rg_recovery_reset(struct pci_dev *bridge)
{
	struct rg_recovery *recovery = rg_recovery_mine();
	pci_ers_result_t result = recovery->reset(bridge);

	recovery->called = true;
	recovery->was_reset = result == PCI_ERS_RESULT_RECOVERED;
	rg_recovery_leave(recovery);
	return result;
}

/**
 * rg_recovery_below - the functions below a bridge that this task recovers
 * @bridge: the bridge
 *
 * As they were when it began.
 *
 * Context: Process context.
 * Return: those, valid until the recovery returns; NULL if it does not.
 */
struct rg_scope *rg_recovery_below(const struct pci_dev *bridge)
{
	struct rg_recovery *recovery = rg_recovery_mine();

	if (!recovery || !recovery->bus || recovery->bus != bridge->subordinate)
		return NULL;
	return recovery->scope;
}

/* What pcie_do_recovery() walks: everything below the port, or a function without one. */
static const struct pci_bus *rg_recovery_bus(struct pci_dev *pdev)
{
	switch (pci_pcie_type(pdev)) {
	case PCI_EXP_TYPE_ROOT_PORT:
	case PCI_EXP_TYPE_DOWNSTREAM:
		return pdev->subordinate;
	case PCI_EXP_TYPE_RC_EC:
	case PCI_EXP_TYPE_RC_END:
		return NULL;
	default:
		/* A VF's own bus may have no bridge. */
		return pci_physfn(pdev)->bus;
	}
}

static struct rg_scope *rg_recovery_scope(const struct pci_bus *bus, struct pci_dev *pdev)
{
	switch (pci_pcie_type(pdev)) {
	case PCI_EXP_TYPE_RC_EC:
	case PCI_EXP_TYPE_RC_END:
		return rg_scope_function(pdev);
	default:
		return rg_scope_below(bus);
	}
}

static void rg_recovery_begin(struct rg_recovery *recovery, pci_channel_state_t state)
{
	recovery->task = current;
	spin_lock(&rg_recovery_lock);
	list_add(&recovery->node, &rg_recoveries);
	spin_unlock(&rg_recovery_lock);
	rg_scope_recover(recovery->scope, 1);
	/* The kernel waits for the first function on the bus, if that. */
	rg_scope_bracket(recovery->scope, true);
	recovery->frozen = state == pci_channel_io_frozen;
	recovery->entered = recovery->frozen;
	if (recovery->entered)
		rg_scope_enter(recovery->scope, RG_WHY_RECOVERY);
}

/*
 * From 6.18 on the result is RECOVERED also where all drivers could recover and
 * the reset failed after that.
 */
static bool rg_recovery_failed(const struct rg_recovery *recovery,
			       pci_ers_result_t result)
{
	/* Another channel that nothing was reset for. */
	if (!recovery->frozen && !recovery->called)
		return false;
	return result != PCI_ERS_RESULT_RECOVERED ||
	       (recovery->called && !recovery->was_reset);
}

static void rg_recovery_end(struct rg_recovery *recovery, pci_ers_result_t result)
{
	rg_recovery_leave(recovery);
	if (rg_recovery_failed(recovery, result))
		rg_scope_fail(recovery->scope);
	rg_scope_unbracket(recovery->scope, RG_AWAIT_NOT);
	rg_scope_recover(recovery->scope, -1);
	spin_lock(&rg_recovery_lock);
	list_del(&recovery->node);
	spin_unlock(&rg_recovery_lock);
}

static pci_ers_result_t rg_wrap_recovery(struct pci_dev *pdev, pci_channel_state_t state,
					 rg_recovery_reset_fn *reset)
{
	struct rg_recovery recovery = {
		.bus = rg_recovery_bus(pdev),
		.reset = reset,
	};
	pci_ers_result_t result;
	struct rg_pass pass;

	recovery.scope = rg_recovery_scope(recovery.bus, pdev);
	rg_recovery_begin(&recovery, state);
	rg_pass_begin(&pass, RG_T_PCIE_DO_RECOVERY, pdev);
	result = rg_call(rg_call_recovery)(pdev, state, rg_recovery_reset);
	rg_pass_end(&pass);
	rg_recovery_end(&recovery, result);
	rg_scope_free(recovery.scope);
	rg_pass_exit();
	return result;
}

static notrace void *rg_divert_recovery(struct ftrace_regs *fregs,
					unsigned long parent_ip)
{
	return rg_pass_divert(RG_T_PCIE_DO_RECOVERY, (void *)rg_compat_arg(fregs, 0),
			      rg_wrap_recovery);
}

static const struct rg_hook rg_recovery_hooks[] = {
	{ RG_T_PCIE_DO_RECOVERY, rg_divert_recovery },
};

/**
 * rg_recovery_install - follow the recovery from errors
 *
 * They go with the function-level resets: rg_reset_path_remove().
 *
 * Context: Process context, at load; those are in force.
 * Return: 0, or an error and nothing is installed.
 */
int rg_recovery_install(void)
{
	if (!rg_set_usable(RG_SET_RECOVERY))
		return -EOPNOTSUPP;
	rg_call_aim(rg_call_recovery, RG_T_PCIE_DO_RECOVERY);
	return rg_patch_join(RG_SET_RECOVERY, RG_SET_RESET, rg_recovery_hooks,
			     ARRAY_SIZE(rg_recovery_hooks));
}
