// SPDX-License-Identifier: GPL-2.0
/*
 * The reset functions' wrappers.
 *
 * A call of a reset function for a covered function is redirected to a wrapper
 * of the same prototype, which tells the gate, calls the original and tells the
 * gate again; for a bridge, the gates of the functions below it.
 */
#include <linux/pci.h>

#include "bus_path.h"
#include "compat.h"
#include "native.h"
#include "pass.h"
#include "patch.h"
#include "recovery.h"
#include "registry.h"
#include "reset_path.h"
#include "scope.h"

/* Direct calls, since these need no landing pad; all of them are exported. */
static int rg_reset_path_original(enum rg_target_id id, struct pci_dev *pdev)
{
	switch (id) {
	case RG_T_PCI_RESET_FUNCTION:
		return pci_reset_function(pdev);
	case RG_T_PCI_RESET_FUNCTION_LOCKED:
		return pci_reset_function_locked(pdev);
	case RG_T_PCI_TRY_RESET_FUNCTION:
		return pci_try_reset_function(pdev);
	case RG_T___PCI_RESET_FUNCTION_LOCKED:
		return __pci_reset_function_locked(pdev);
	default:
		return pcie_flr(pdev);
	}
}

static int rg_reset_path_pass(enum rg_target_id id, struct pci_dev *pdev)
{
	struct rg_pass pass;
	int rc;

	rg_pass_begin(&pass, id, pdev);
	rc = rg_reset_path_original(id, pdev);
	rg_pass_end(&pass);
	return rc;
}

/*
 * A caller that saves before and restores after. Below a bridge nobody saves or
 * restores, nor waits for it, but nothing there is reached before the bridge
 * itself is restored.
 */
static int rg_reset_path_bracket(enum rg_target_id id, struct pci_dev *pdev)
{
	struct rg_scope *below = rg_scope_below(pdev->subordinate);
	struct rg_state *state = rg_registry_get(pdev);
	struct rg_bracket bracket;
	int rc;

	rg_scope_bracket(below, true);
	if (state)
		rg_gate_bracket(state, &bracket, false);
	rc = rg_reset_path_pass(id, pdev);
	if (state)
		rg_gate_unbracket(state, &bracket, RG_AWAIT_NOT);
	rg_scope_unbracket(below, RG_AWAIT_RESET);
	if (state)
		rg_gate_wait_busy(state);
	rg_scope_free(below);
	rg_registry_put(state);
	rg_pass_exit();
	return rc;
}

/* Its VFs go with it, and cannot know: returns those that will not open with it. */
static struct rg_scope *rg_reset_path_enter(struct rg_state *state, enum rg_reason why)
{
	struct rg_scope *vfs = rg_scope_vfs(state->pdev);

	if (!rg_scope_enter_function(state, why, vfs)) {
		rg_scope_free(vfs);
		return NULL;
	}
	return rg_gate_follow(state, vfs) ? NULL : vfs;
}

/* A reset itself. */
static int rg_reset_path_reset(enum rg_target_id id, struct pci_dev *pdev,
			       enum rg_reason why)
{
	struct rg_scope *below = rg_scope_below(pdev->subordinate);
	struct rg_state *state = rg_registry_get(pdev);
	struct rg_scope *vfs = NULL;
	int rc;

	rg_scope_enter(below, RG_WHY_BUS_RESET);
	if (state)
		vfs = rg_reset_path_enter(state, why);
	rc = rg_reset_path_pass(id, pdev);
	if (state)
		rg_gate_leave(state, RG_AWAIT_NOT);
	rg_scope_leave(vfs, RG_AWAIT_NOW);
	rg_scope_leave(below, RG_AWAIT_RESET);
	/* A caller that restores by itself goes on with it now. */
	if (state)
		rg_gate_wait_busy(state);
	rg_scope_free(vfs);
	rg_scope_free(below);
	rg_registry_put(state);
	rg_pass_exit();
	return rc;
}

static int rg_wrap_reset_function(struct pci_dev *pdev)
{
	return rg_reset_path_bracket(RG_T_PCI_RESET_FUNCTION, pdev);
}

static int rg_wrap_reset_function_locked(struct pci_dev *pdev)
{
	return rg_reset_path_bracket(RG_T_PCI_RESET_FUNCTION_LOCKED, pdev);
}

static int rg_wrap_try_reset_function(struct pci_dev *pdev)
{
	return rg_reset_path_bracket(RG_T_PCI_TRY_RESET_FUNCTION, pdev);
}

static int rg_wrap_method(struct pci_dev *pdev)
{
	return rg_reset_path_reset(RG_T___PCI_RESET_FUNCTION_LOCKED, pdev,
				   RG_WHY_FUNCTION_RESET);
}

static int rg_wrap_flr(struct pci_dev *pdev)
{
	return rg_reset_path_reset(RG_T_PCIE_FLR, pdev, RG_WHY_FLR);
}

static notrace void *rg_reset_path_divert(enum rg_target_id id,
					  struct ftrace_regs *fregs, void *wrapper)
{
	struct pci_dev *pdev = (void *)rg_compat_arg(fregs, 0);

	if (!rg_registry_find(pdev) && !pci_is_bridge(pdev))
		return NULL;
	return rg_pass_divert(id, pdev, wrapper);
}

static notrace void *rg_divert_reset_function(struct ftrace_regs *fregs,
					      unsigned long parent_ip)
{
	return rg_reset_path_divert(RG_T_PCI_RESET_FUNCTION, fregs,
				    rg_wrap_reset_function);
}

static notrace void *rg_divert_reset_function_locked(struct ftrace_regs *fregs,
						     unsigned long parent_ip)
{
	return rg_reset_path_divert(RG_T_PCI_RESET_FUNCTION_LOCKED, fregs,
				    rg_wrap_reset_function_locked);
}

static notrace void *rg_divert_try_reset_function(struct ftrace_regs *fregs,
						  unsigned long parent_ip)
{
	return rg_reset_path_divert(RG_T_PCI_TRY_RESET_FUNCTION, fregs,
				    rg_wrap_try_reset_function);
}

static notrace void *rg_divert_method(struct ftrace_regs *fregs,
				      unsigned long parent_ip)
{
	return rg_reset_path_divert(RG_T___PCI_RESET_FUNCTION_LOCKED, fregs,
				    rg_wrap_method);
}

static notrace void *rg_divert_flr(struct ftrace_regs *fregs,
				   unsigned long parent_ip)
{
	return rg_reset_path_divert(RG_T_PCIE_FLR, fregs, rg_wrap_flr);
}

static const struct rg_hook rg_reset_hooks[] = {
	{ RG_T_PCI_RESET_FUNCTION, rg_divert_reset_function },
	{ RG_T_PCI_RESET_FUNCTION_LOCKED, rg_divert_reset_function_locked },
	{ RG_T_PCI_TRY_RESET_FUNCTION, rg_divert_try_reset_function },
	{ RG_T___PCI_RESET_FUNCTION_LOCKED, rg_divert_method },
	{ RG_T_PCIE_FLR, rg_divert_flr },
};

/**
 * rg_reset_path_install - follow the resets
 *
 * Upstream's gate stands aside once ours follows. Where it cannot be told to,
 * both gates close, and attaches get upstream's -EBUSY. Without the resets of
 * buses or the recovery from errors those run as on a stock kernel, and status
 * says so.
 *
 * Context: Process context, at load; everything else is in force.
 * Return: 0, or an error and nothing is installed.
 */
int rg_reset_path_install(void)
{
	int rc;

	if (!rg_set_usable(RG_SET_RESET))
		return -EOPNOTSUPP;
	rg_native_install();
	rc = rg_patch_install(RG_SET_RESET, rg_reset_hooks,
			      ARRAY_SIZE(rg_reset_hooks));
	if (rc) {
		rg_native_remove();
		return rc;
	}
	rg_bus_path_install();
	rg_recovery_install();
	rg_native_yield(true);
	return 0;
}

/**
 * rg_reset_path_remove - follow no reset any more
 *
 * Upstream's gate is in charge again before ours stops to follow. Waits for the
 * resets that run, and for the dones whose prepare was redirected. Those that
 * counted themselves out may have a few instructions of ours before them until
 * rg_err_handlers_exit() has waited.
 *
 * Context: Process context, at unload, sleeps as long as a reset takes.
 */
void rg_reset_path_remove(void)
{
	rg_native_yield(false);
	rg_patch_remove(RG_SET_RESET);
	rg_pass_wait();
	rg_native_remove();
}
