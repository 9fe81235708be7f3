// SPDX-License-Identifier: GPL-2.0
/*
 * Resets of everything below a bridge or in a slot.
 *
 * Every secondary bus reset ends in pcibios_reset_secondary_bus(); the function
 * above it is inlined in some kernels. When it returns the bus has left reset,
 * but no function need answer for 100 ms and more (PCIe r6.0 sec. 6.6.1). So
 * the functions open after their restore where somebody restores them, and
 * once they answer where nobody does.
 */
#include <linux/pci.h>
#include <linux/pci_hotplug.h>

#include "bus_path.h"
#include "compat.h"
#include "pass.h"
#include "patch.h"
#include "recovery.h"
#include "scope.h"

typedef void rg_secondary_bus_fn(struct pci_dev *bridge);
typedef int rg_hotplug_slot_fn(struct hotplug_slot *hotplug, bool probe);
typedef int rg_reset_bus_fn(struct pci_bus *bus);
typedef int rg_reset_bridge_fn(struct pci_dev *bridge);

RG_CALL_DEFINE(rg_call_secondary_bus, rg_secondary_bus_fn);
RG_CALL_DEFINE(rg_call_hotplug_slot, rg_hotplug_slot_fn);
RG_CALL_DEFINE(rg_call_reset_bus, rg_reset_bus_fn);
RG_CALL_DEFINE(rg_call_reset_bridge, rg_reset_bridge_fn);

/* One call of a function that is redirected here. */
struct rg_bus_call {
	struct rg_scope *scope;
	bool borrowed;		/* from the recovery around it */
	struct rg_pass pass;
};

/* The resets. */

static void rg_bus_enter(struct rg_bus_call *call, enum rg_target_id id, void *arg,
			 enum rg_reason why)
{
	rg_scope_enter(call->scope, why);
	rg_pass_begin(&call->pass, id, arg);
}

static void rg_bus_leave(struct rg_bus_call *call)
{
	rg_pass_end(&call->pass);
	rg_scope_leave(call->scope, RG_AWAIT_RESET);
	if (!call->borrowed)
		rg_scope_free(call->scope);
	rg_pass_exit();
}

static void rg_wrap_secondary_bus(struct pci_dev *bridge)
{
	struct rg_bus_call call = { .scope = rg_scope_below(bridge->subordinate) };

	/* Without memory for a list of now: what the recovery has closed is to be reset. */
	if (!call.scope) {
		call.scope = rg_recovery_below(bridge);
		call.borrowed = call.scope;
	}
	if (!call.scope)
		pci_dbg(bridge, "resets its bus: expected covered functions below it, found none, or no memory for their list; there is nothing to close\n");
	rg_bus_enter(&call, RG_T_RESET_SECONDARY_BUS, bridge, RG_WHY_BUS_RESET);
	rg_call(rg_call_secondary_bus)(bridge);
	rg_bus_leave(&call);
}

static int rg_wrap_hotplug_slot(struct hotplug_slot *hotplug, bool probe)
{
	struct rg_bus_call call = { .scope = rg_scope_slot(hotplug->pci_slot) };
	int rc;

	rg_bus_enter(&call, RG_T_RESET_HOTPLUG_SLOT, hotplug, RG_WHY_SLOT_RESET);
	rc = rg_call(rg_call_hotplug_slot)(hotplug, probe);
	rg_bus_leave(&call);
	return rc;
}

/* The brackets: callers that save everything, reset, and restore it. */

static void rg_bus_bracket(struct rg_bus_call *call, enum rg_target_id id, void *arg)
{
	/* These callers wait for the first on the bus, and nobody restores the rest later. */
	rg_scope_bracket(call->scope, false);
	rg_pass_begin(&call->pass, id, arg);
}

static void rg_bus_unbracket(struct rg_bus_call *call)
{
	rg_pass_end(&call->pass);
	rg_scope_unbracket(call->scope, RG_AWAIT_NOT);
	rg_scope_free(call->scope);
	rg_pass_exit();
}

static int rg_wrap_pci_reset_bus(struct pci_dev *pdev)
{
	struct rg_bus_call call = { .scope = rg_scope_below(pdev->bus) };
	int rc;

	rg_bus_bracket(&call, RG_T_PCI_RESET_BUS, pdev);
	rc = pci_reset_bus(pdev);
	rg_bus_unbracket(&call);
	return rc;
}

static int rg_wrap_reset_bus(struct pci_bus *bus)
{
	struct rg_bus_call call = { .scope = rg_scope_below(bus) };
	int rc;

	rg_bus_bracket(&call, RG_T___PCI_RESET_BUS, bus);
	rc = rg_call(rg_call_reset_bus)(bus);
	rg_bus_unbracket(&call);
	return rc;
}

static int rg_wrap_reset_bridge(struct pci_dev *bridge)
{
	struct rg_bus_call call = { .scope = rg_scope_below(bridge->subordinate) };
	int rc;

	rg_bus_bracket(&call, RG_T_PCI_TRY_RESET_BRIDGE, bridge);
	rc = rg_call(rg_call_reset_bridge)(bridge);
	rg_bus_unbracket(&call);
	return rc;
}

static notrace void *rg_divert_secondary_bus(struct ftrace_regs *fregs,
					     unsigned long parent_ip)
{
	return rg_pass_divert(RG_T_RESET_SECONDARY_BUS,
			      (void *)rg_compat_arg(fregs, 0), rg_wrap_secondary_bus);
}

static notrace void *rg_divert_hotplug_slot(struct ftrace_regs *fregs,
					    unsigned long parent_ip)
{
	void *hotplug = (void *)rg_compat_arg(fregs, 0);

	/* bool: the upper bits of the register are anything. A probe resets nothing. */
	if (!hotplug || (u8)rg_compat_arg(fregs, 1))
		return NULL;
	return rg_pass_divert(RG_T_RESET_HOTPLUG_SLOT, hotplug, rg_wrap_hotplug_slot);
}

static notrace void *rg_divert_pci_reset_bus(struct ftrace_regs *fregs,
					     unsigned long parent_ip)
{
	return rg_pass_divert(RG_T_PCI_RESET_BUS, (void *)rg_compat_arg(fregs, 0),
			      rg_wrap_pci_reset_bus);
}

static notrace void *rg_divert_reset_bus(struct ftrace_regs *fregs,
					 unsigned long parent_ip)
{
	return rg_pass_divert(RG_T___PCI_RESET_BUS, (void *)rg_compat_arg(fregs, 0),
			      rg_wrap_reset_bus);
}

static notrace void *rg_divert_reset_bridge(struct ftrace_regs *fregs,
					    unsigned long parent_ip)
{
	return rg_pass_divert(RG_T_PCI_TRY_RESET_BRIDGE,
			      (void *)rg_compat_arg(fregs, 0), rg_wrap_reset_bridge);
}

static const struct rg_hook rg_bus_hooks[] = {
	{ RG_T_RESET_SECONDARY_BUS, rg_divert_secondary_bus },
	{ RG_T_RESET_HOTPLUG_SLOT, rg_divert_hotplug_slot },
	{ RG_T_PCI_RESET_BUS, rg_divert_pci_reset_bus },
	{ RG_T___PCI_RESET_BUS, rg_divert_reset_bus },
	{ RG_T_PCI_TRY_RESET_BRIDGE, rg_divert_reset_bridge },
};

/**
 * rg_bus_path_install - follow resets of buses and slots
 *
 * They go with the function-level resets: rg_reset_path_remove().
 *
 * Context: Process context, at load; those are in force.
 * Return: 0, or an error and nothing is installed.
 */
int rg_bus_path_install(void)
{
	if (!rg_set_usable(RG_SET_BUS))
		return -EOPNOTSUPP;
	rg_call_aim(rg_call_secondary_bus, RG_T_RESET_SECONDARY_BUS);
	rg_call_aim(rg_call_hotplug_slot, RG_T_RESET_HOTPLUG_SLOT);
	if (rg_target_present(RG_T___PCI_RESET_BUS))
		rg_call_aim(rg_call_reset_bus, RG_T___PCI_RESET_BUS);
	if (rg_target_present(RG_T_PCI_TRY_RESET_BRIDGE))
		rg_call_aim(rg_call_reset_bridge, RG_T_PCI_TRY_RESET_BRIDGE);
	return rg_patch_join(RG_SET_BUS, RG_SET_RESET, rg_bus_hooks, ARRAY_SIZE(rg_bus_hooks));
}
