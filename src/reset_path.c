// SPDX-License-Identifier: GPL-2.0
/*
 * The reset functions' wrappers.
 *
 * A call of a reset function for a covered function is redirected to a wrapper
 * of the same prototype, which tells the gate, calls the original through its
 * normal entry and tells the gate again. The second passage is recognised by a
 * pass that the wrapper leaves for its own task: a return address would not do,
 * a tail call changes it.
 *
 * Where upstream has a gate of its own, pci_dev_reset_iommu_prepare() and _done()
 * are redirected to nothing for a function that takes part: ours is the gate.
 * They are called for probes of a method, too, which must block nothing.
 */
#include <linux/delay.h>
#include <linux/list.h>
#include <linux/sched.h>
#include <linux/wait.h>

#include "compat.h"
#include "gate.h"
#include "patch.h"
#include "registry.h"
#include "reset_path.h"

/* Lets the call that a wrapper is about to make reach the original. */
struct rg_pass {
	struct list_head node;
	struct task_struct *task;
	struct pci_dev *pdev;
	enum rg_target_id id;
	bool used;
};

static LIST_HEAD(rg_passes);
static DEFINE_RAW_SPINLOCK(rg_pass_lock);

/*
 * Tasks that were redirected and have not left their wrapper. They sleep there
 * for as long as a reset takes, which RCU-tasks takes for quiescent.
 */
static atomic_t rg_reset_inflight;
static DECLARE_WAIT_QUEUE_HEAD(rg_reset_idle);

static notrace bool rg_pass_take(enum rg_target_id id, const struct pci_dev *pdev)
{
	struct rg_pass *pass;
	unsigned long flags;
	bool taken = false;

	raw_spin_lock_irqsave(&rg_pass_lock, flags);
	list_for_each_entry(pass, &rg_passes, node) {
		if (pass->task != current || pass->id != id ||
		    pass->pdev != pdev || pass->used)
			continue;
		pass->used = true;
		taken = true;
		break;
	}
	raw_spin_unlock_irqrestore(&rg_pass_lock, flags);
	return taken;
}

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
	struct rg_pass pass = { .task = current, .pdev = pdev, .id = id };
	unsigned long flags;
	int rc;

	raw_spin_lock_irqsave(&rg_pass_lock, flags);
	list_add(&pass.node, &rg_passes);
	raw_spin_unlock_irqrestore(&rg_pass_lock, flags);
	rc = rg_reset_path_original(id, pdev);
	raw_spin_lock_irqsave(&rg_pass_lock, flags);
	list_del(&pass.node);
	raw_spin_unlock_irqrestore(&rg_pass_lock, flags);
	return rc;
}

static void rg_reset_path_exit(void)
{
	if (atomic_dec_and_test(&rg_reset_inflight))
		wake_up_all(&rg_reset_idle);
}

/* A caller that saves before and restores after. */
static int rg_reset_path_bracket(enum rg_target_id id, struct pci_dev *pdev)
{
	struct rg_state *state = rg_registry_get(pdev);
	struct rg_bracket bracket;
	int rc;

	if (state)
		rg_gate_bracket(state, &bracket);
	rc = rg_reset_path_pass(id, pdev);
	if (state)
		rg_gate_unbracket(state, &bracket);
	rg_registry_put(state);
	rg_reset_path_exit();
	return rc;
}

/* A reset itself. */
static int rg_reset_path_reset(enum rg_target_id id, struct pci_dev *pdev,
			       enum rg_reason why)
{
	struct rg_state *state = rg_registry_get(pdev);
	int rc;

	if (state)
		rg_gate_enter(state, why);
	rc = rg_reset_path_pass(id, pdev);
	if (state)
		rg_gate_leave(state);
	rg_registry_put(state);
	rg_reset_path_exit();
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

	if (!rg_registry_find(pdev) || rg_pass_take(id, pdev))
		return NULL;
	atomic_inc(&rg_reset_inflight);
	return wrapper;
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

/*
 * Upstream's own gate stands aside, while ours follows the resets. Probes are
 * not counted in flight, so the prepares that still await their done are.
 */
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
		return !READ_ONCE(state->ungated);
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

static const struct rg_hook rg_reset_hooks[] = {
	{ RG_T_PCI_RESET_FUNCTION, rg_divert_reset_function },
	{ RG_T_PCI_RESET_FUNCTION_LOCKED, rg_divert_reset_function_locked },
	{ RG_T_PCI_TRY_RESET_FUNCTION, rg_divert_try_reset_function },
	{ RG_T___PCI_RESET_FUNCTION_LOCKED, rg_divert_method },
	{ RG_T_PCIE_FLR, rg_divert_flr },
};

static const struct rg_hook rg_native_hooks[] = {
	{ RG_T_RESET_IOMMU_PREPARE, rg_divert_native_prepare },
	{ RG_T_RESET_IOMMU_DONE, rg_divert_native_done },
};

/**
 * rg_reset_path_install - follow the resets
 *
 * Upstream's gate stands aside once ours follows. Where it cannot be told to,
 * both gates close, and attaches get upstream's -EBUSY.
 *
 * Context: Process context, at load; everything else is in force.
 * Return: 0, or an error and nothing is installed.
 */
int rg_reset_path_install(void)
{
	int rc;

	if (!rg_set_usable(RG_SET_RESET))
		return -EOPNOTSUPP;
	if (rg_set_usable(RG_SET_NATIVE) &&
	    rg_target_present(RG_T_RESET_IOMMU_PREPARE) &&
	    rg_target_present(RG_T_RESET_IOMMU_DONE))
		rg_patch_install(RG_SET_NATIVE, rg_native_hooks,
				 ARRAY_SIZE(rg_native_hooks));
	rc = rg_patch_install(RG_SET_RESET, rg_reset_hooks,
			      ARRAY_SIZE(rg_reset_hooks));
	if (rc) {
		rg_patch_remove(RG_SET_NATIVE);
		return rc;
	}
	WRITE_ONCE(rg_native_stands_aside, true);
	return 0;
}

/**
 * rg_reset_path_bury - a function goes away
 * @state: the function's state, out of every look-up
 *
 * Context: Process context.
 */
void rg_reset_path_bury(struct rg_state *state)
{
	atomic_sub(atomic_xchg(&state->native, 0), &rg_native_pending);
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
	WRITE_ONCE(rg_native_stands_aside, false);
	rg_patch_remove(RG_SET_RESET);
	wait_event(rg_reset_idle, !atomic_read(&rg_reset_inflight));
	while (atomic_read(&rg_native_pending) > 0)
		msleep(20);
	rg_patch_remove(RG_SET_NATIVE);
}
