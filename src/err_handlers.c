// SPDX-License-Identifier: GPL-2.0
/*
 * The interposed pci_error_handlers: only reset_done lies between the restore
 * of config space and the driver's next DMA, so ours must come first. In the
 * recovery from an error it is slot_reset, or resume, that starts the driver.
 *
 * A driver of a covered function gets a copy of its own table with our
 * reset_prepare and reset_done in front, and slot_reset and resume where it has
 * them itself; what it lacks besides stays absent, since the error recovery
 * draws conclusions from that. The table goes with
 * the last covered function that the driver is bound to.
 *
 * Who may still use a table after the driver's pointer was swapped back:
 *   - a reset, which loads the pointer and sleeps with the device lock held;
 *   - cor_error_detected, which runs without that lock, but does not sleep
 *     between the load and the call.
 * So: swap, lock and unlock each device of the driver, synchronize_rcu_tasks().
 */
#include <linux/list.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "err_handlers.h"
#include "gate.h"
#include "registry.h"

struct rg_err_table {
	struct pci_error_handlers ours;
	const struct pci_error_handlers *orig;
	struct pci_driver *driver;
	struct list_head node;	/* under the registry's mutex; read under RCU */
	struct list_head retired;
	struct rcu_head rcu;
};

static LIST_HEAD(rg_err_tables);
static LIST_HEAD(rg_err_retired);
static DEFINE_SPINLOCK(rg_err_retired_lock);
/* Under the registry's mutex. */
static bool rg_err_stopping;

/*
 * The driver's own table. The device lock is held: the driver, and so its
 * table, outlives the call. Our copy may have been retired meanwhile.
 */
static const struct pci_error_handlers *rg_err_handlers_orig(struct pci_dev *pdev)
{
	struct pci_driver *driver = to_pci_driver(pdev->dev.driver);
	const struct pci_error_handlers *orig = NULL;
	struct rg_err_table *table;
	bool found = false;

	rcu_read_lock();
	list_for_each_entry_rcu(table, &rg_err_tables, node) {
		found = table->driver == driver;
		if (found) {
			orig = table->orig;
			break;
		}
	}
	rcu_read_unlock();
	/* The pointer is swapped back before the table leaves the list. */
	return found ? orig : READ_ONCE(driver->err_handler);
}

static void rg_err_handlers_prepare(struct pci_dev *pdev)
{
	const struct pci_error_handlers *orig = rg_err_handlers_orig(pdev);
	struct rg_state *state = rg_registry_get(pdev);

	if (state)
		rg_gate_prepared(state);
	rg_registry_put(state);
	if (orig && orig->reset_prepare)
		orig->reset_prepare(pdev);
}

static void rg_err_handlers_done(struct pci_dev *pdev)
{
	const struct pci_error_handlers *orig = rg_err_handlers_orig(pdev);
	struct rg_state *state = rg_registry_get(pdev);

	if (state)
		rg_gate_restored(state);
	rg_registry_put(state);
	if (orig && orig->reset_done)
		orig->reset_done(pdev);
}

/* The first of the two after a reset opens; before it the gate's depth is not 0. */
static void rg_err_handlers_recovered(struct pci_dev *pdev)
{
	struct rg_state *state = rg_registry_get(pdev);

	if (state)
		rg_gate_restored(state);
	rg_registry_put(state);
}

static pci_ers_result_t rg_err_handlers_slot_reset(struct pci_dev *pdev)
{
	const struct pci_error_handlers *orig = rg_err_handlers_orig(pdev);

	rg_err_handlers_recovered(pdev);
	return orig && orig->slot_reset ? orig->slot_reset(pdev) : PCI_ERS_RESULT_NONE;
}

static void rg_err_handlers_resume(struct pci_dev *pdev)
{
	const struct pci_error_handlers *orig = rg_err_handlers_orig(pdev);

	rg_err_handlers_recovered(pdev);
	if (orig && orig->resume)
		orig->resume(pdev);
}

static struct rg_err_table *rg_err_handlers_table(struct pci_driver *driver)
{
	struct rg_err_table *table;

	list_for_each_entry(table, &rg_err_tables, node)
		if (table->driver == driver)
			return table;
	return NULL;
}

static void rg_err_handlers_interpose(struct pci_dev *pdev)
{
	/* Once: to_pci_driver() may evaluate its argument twice. */
	struct device_driver *bound = READ_ONCE(pdev->dev.driver);
	struct pci_driver *driver = bound ? to_pci_driver(bound) : NULL;
	struct rg_err_table *table;

	if (!driver || rg_err_stopping || rg_err_handlers_table(driver))
		return;
	table = kzalloc(sizeof(*table), GFP_KERNEL);
	if (!table) {
		pci_warn(pdev, "no memory for %s's error handlers: after a reset the gate opens when the reset function returns, not before the driver is told\n",
			 driver->name);
		return;
	}
	table->driver = driver;
	table->orig = driver->err_handler;
	if (table->orig)
		table->ours = *table->orig;
	table->ours.reset_prepare = rg_err_handlers_prepare;
	table->ours.reset_done = rg_err_handlers_done;
	if (table->ours.slot_reset)
		table->ours.slot_reset = rg_err_handlers_slot_reset;
	if (table->ours.resume)
		table->ours.resume = rg_err_handlers_resume;
	list_add_rcu(&table->node, &rg_err_tables);
	/* Pairs with the readers' plain loads: the table is whole before it is seen. */
	smp_store_release(&driver->err_handler, &table->ours);
}

/* The caller has made sure that no covered function needs it any more. */
static void rg_err_handlers_retire(struct rg_err_table *table)
{
	/* Somebody may have put a table of their own in front of ours. */
	if (table->driver->err_handler == &table->ours)
		WRITE_ONCE(table->driver->err_handler, table->orig);
	list_del_rcu(&table->node);
	spin_lock(&rg_err_retired_lock);
	list_add(&table->retired, &rg_err_retired);
	spin_unlock(&rg_err_retired_lock);
}

/* Nobody who loaded the table's pointer before the swap uses it after this. */
static void rg_err_handlers_drain(struct rg_err_table *table)
{
	struct pci_dev *pdev = NULL;

	for_each_pci_dev(pdev) {
		/* The driver may be gone: its address is compared, no more. */
		if (READ_ONCE(pdev->dev.driver) != &table->driver->driver)
			continue;
		device_lock(&pdev->dev);
		device_unlock(&pdev->dev);
	}
}

static void rg_err_handlers_collect(struct list_head *batch)
{
	struct rg_err_table *table;

	spin_lock(&rg_err_retired_lock);
	list_splice_init(&rg_err_retired, batch);
	spin_unlock(&rg_err_retired_lock);
	list_for_each_entry(table, batch, retired)
		rg_err_handlers_drain(table);
}

/* Ends with a grace period in which every task leaves our functions. */
static void rg_err_handlers_free(struct list_head *batch)
{
	struct rg_err_table *table, *next;

	synchronize_rcu_tasks();
	list_for_each_entry_safe(table, next, batch, retired)
		kfree_rcu(table, rcu);
}

static void rg_err_handlers_reap(struct work_struct *work)
{
	LIST_HEAD(batch);

	rg_err_handlers_collect(&batch);
	if (!list_empty(&batch))
		rg_err_handlers_free(&batch);
}

static DECLARE_WORK(rg_err_reap_work, rg_err_handlers_reap);

/* Tables that no covered function needs any more; @pdev is about to lose its driver. */
static void rg_err_handlers_sweep(struct pci_dev *pdev)
{
	struct rg_err_table *table, *next;
	bool any = false;

	list_for_each_entry_safe(table, next, &rg_err_tables, node) {
		if (rg_registry_has_driver(&table->driver->driver, pdev))
			continue;
		rg_err_handlers_retire(table);
		any = true;
	}
	if (any)
		rg_registry_defer(&rg_err_reap_work);
}

/**
 * rg_err_handlers_notify - follow drivers as they bind and unbind
 * @pdev: the function
 * @action: BUS_NOTIFY_*
 * @state: the function's state, or NULL if it is not covered
 *
 * Context: Process context, under the registry's mutex.
 */
void rg_err_handlers_notify(struct pci_dev *pdev, unsigned long action,
			    struct rg_state *state)
{
	switch (action) {
	case BUS_NOTIFY_BIND_DRIVER:
	case BUS_NOTIFY_BOUND_DRIVER:
		if (state)
			rg_err_handlers_interpose(pdev);
		break;
	case BUS_NOTIFY_DRIVER_NOT_BOUND:
	case BUS_NOTIFY_UNBOUND_DRIVER:
	case BUS_NOTIFY_REMOVED_DEVICE:
		rg_err_handlers_sweep(pdev);
		break;
	}
}

/**
 * rg_err_handlers_stop - give every driver its own table back
 *
 * Context: Process context, at unload, under the registry's mutex; the
 * registry's notifier is still there: no driver has gone unnoticed.
 */
void rg_err_handlers_stop(void)
{
	struct rg_err_table *table, *next;

	rg_err_stopping = true;
	list_for_each_entry_safe(table, next, &rg_err_tables, node)
		rg_err_handlers_retire(table);
}

/**
 * rg_err_handlers_exit - wait until nobody is in a table or a function of ours
 *
 * Waits even if there was no table: a reset that was followed may have counted
 * itself out and not yet returned; see rg_reset_path_remove(). One grace period
 * serves both, for each takes a good part of a second.
 *
 * Context: Process context, at unload, after rg_registry_stop(), sleeps.
 */
void rg_err_handlers_exit(void)
{
	LIST_HEAD(batch);

	cancel_work_sync(&rg_err_reap_work);
	rg_err_handlers_collect(&batch);
	rg_err_handlers_free(&batch);
}
