/* SPDX-License-Identifier: GPL-2.0 */
/* The gate: one state per PCI function, its windows, its look-up. */
#ifndef RG_GATE_H
#define RG_GATE_H

#include <linux/pci.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
#include <linux/workqueue.h>

#include "endpoint.h"
#include "params.h"
#include "rids.h"
#include "valve.h"

struct rg_backend;
struct rg_closing;
struct rg_scope;

enum rg_phase {
	RG_OPEN,
	RG_CLOSED,
	RG_PARKED,
};

enum rg_mode {
	RG_MODE_AUTO,		/* as the scope parameter says */
	RG_MODE_OFF,
	RG_MODE_ON,
};

/* What closed a gate, or why it is parked. */
enum rg_reason {
	RG_WHY_NONE,
	RG_WHY_FUNCTION_RESET,	/* __pci_reset_function_locked() */
	RG_WHY_FLR,		/* pcie_flr(), called by itself */
	RG_WHY_BUS_RESET,	/* the secondary bus of a bridge above */
	RG_WHY_SLOT_RESET,	/* a hotplug slot */
	RG_WHY_RECOVERY,	/* from an error, with a frozen channel */
	RG_WHY_PF_RESET,	/* of a VF's PF */
	RG_WHY_SILENT,		/* no answer to config reads after the reset */
	RG_WHY_FAILED,		/* the recovery failed */
	RG_WHY_TIMEOUT,		/* the reset did not end in park_timeout_s */
	RG_NR_WHYS
};

/* How soon a function that nobody restores can be expected to answer. */
enum rg_await {
	RG_AWAIT_NOT,		/* it must by now */
	RG_AWAIT_NOW,		/* any moment: its PF's reset is over */
	RG_AWAIT_RESET,		/* its bus has just left reset */
};

/* Requester IDs of one function: its own and its DMA aliases. */
#define RG_MAX_RIDS 8

/* Events wait here for the worker: a window must not allocate. */
#define RG_EVENTS 4

/**
 * struct rg_bracket - a caller that saves config space, resets and restores it
 * @node: in the state's list, the newest first; this and the rest under its lock
 * @task: the caller. Others may be on their way into one of their own, behind a
 *	lock that only opening this window lets go: theirs do not count
 * @owes: a reset ended in it, and nobody has restored the function yet
 * @done: the driver has been told: that a reset is over, or of a step of a
 *	recovery in which nothing was reset. What it resets now, it restores itself
 * @patient: nobody waits until the function answers before this ends
 * @window: the state's count of windows when the task's last reset ended
 */
struct rg_bracket {
	struct list_head node;
	struct task_struct *task;
	bool owes;
	bool done;
	bool patient;
	u64 window;
};

/**
 * struct rg_state - the gate of one PCI function
 * @node: in the RCU hash of functions
 * @refs: look-ups that sleep hold one
 * @pdev: the function; referenced
 * @group: its IOMMU group; referenced
 * @be: the back end of its IOMMU
 * @lock: phase, depth, brackets and what follows; held over close and open
 * @phase: open, closed or parked
 * @mode: the administrator's choice
 * @policy: what an attach in its window gets, the same's choice
 * @shut: in the list of those that are not open; under its lock
 * @depth: resets that are running, nested ones counted
 * @brackets: callers between their save and their restore
 * @prepared: the task that told the driver of a reset and owes it a reset_done()
 * @ungated: a reset is running that does not close the gate; decided once
 * @dead: on its way out: neither closed nor opened any more; set under the group
 *	mutex
 * @leaving: its driver is being unbound
 * @recoveries: from errors, in which it is; see rg_scope_recover()
 * @untouched: closed without an access to the function
 * @unfenced: blocked; what began earlier may still go out, and ATS is on
 * @patient: silence at its end is not the last word yet
 * @awaiting: in reset no more; asked again and again until it can be opened, for
 *	it need not answer yet and nobody restores it, or its group is busy, or the
 *	fence before its ATS has not passed
 * @busy: awaiting, because its group was busy when it should have opened
 * @busy_until: jiffies; so long the driver is not told that the reset is over
 * @await_until: jiffies; then it has been silent for too long
 * @park_at: jiffies; then nobody will end the window any more
 * @muted: open, but silent, or the fence before its ATS has not passed: its ATC
 *	invalidations are still dropped, and its controls withheld
 * @counted: it is counted in its requester IDs' closed; under the group mutex
 * @shown: it is in sysfs
 * @vfs: its VFs, while they are closed because of its reset
 * @native: upstream's prepare calls that were redirected to nothing
 * @rids: its requester IDs, its own first
 * @nr_rids: how many
 * @ep: the endpoint valve
 * @fence: of its closing; under @lock
 * @alive: shows before that, and before ATS, that nobody hangs in the IOMMU's queue;
 *	under @lock
 * @reason: what closed it last
 * @windows: how often it closed
 * @closed_at: when it closed last
 * @last_window_us: how long the last window was, in microseconds
 * @last_error: of the last close or open that did not do all it should
 * @free_work: frees it, after a grace period and once its fence is idle
 * @await_work: asks whether it answers
 * @park_work: ends a window that nobody ends
 * @event_work: tells user space
 * @event_lock: @events and @nr_events
 * @events: what is to be told, oldest first
 * @nr_events: how many
 */
struct rg_state {
	struct hlist_node node;
	refcount_t refs;
	struct pci_dev *pdev;
	struct iommu_group *group;
	const struct rg_backend *be;

	struct mutex lock;
	enum rg_phase phase;
	enum rg_mode mode;
	enum rg_policy policy;
	struct list_head shut;
	int depth;
	struct list_head brackets;
	struct task_struct *prepared;
	bool ungated;
	bool dead;
	bool leaving;
	atomic_t recoveries;
	bool untouched;
	bool unfenced;
	bool patient;
	bool awaiting;
	bool busy;
	unsigned long busy_until;
	unsigned long await_until;
	unsigned long park_at;
	bool muted;
	bool counted;
	bool shown;
	struct rg_scope *vfs;
	atomic_t native;

	struct rg_rid *rids[RG_MAX_RIDS];
	int nr_rids;
	struct rg_endpoint ep;
	struct rg_fence fence;
	struct rg_fence alive;

	enum rg_reason reason;
	u64 windows;
	ktime_t closed_at;
	u64 last_window_us;
	int last_error;

	struct rcu_work free_work;
	struct delayed_work await_work;
	struct delayed_work park_work;
	struct work_struct event_work;
	spinlock_t event_lock;
	u8 events[RG_EVENTS];
	int nr_events;
};

int rg_gate_start(void);
void rg_gate_stop(void);
void rg_gate_init(struct rg_state *state);
void rg_gate_shut(struct rg_state *state, enum rg_reason why, struct rg_closing *closing);
int rg_gate_fence(struct rg_state *state);
void rg_gate_fenced(struct rg_state *state, bool late);
void rg_gate_leave(struct rg_state *state, enum rg_await await);
bool rg_gate_follow(struct rg_state *state, struct rg_scope *vfs);
void rg_gate_fail(struct rg_state *state, const struct rg_bracket *bracket);
void rg_gate_rebound(struct rg_state *state);
void rg_gate_finish(struct rg_state *state);
void rg_gate_bracket(struct rg_state *state, struct rg_bracket *bracket, bool patient);
void rg_gate_unbracket(struct rg_state *state, struct rg_bracket *bracket,
		       enum rg_await await);
void rg_gate_wait_busy(const struct rg_state *state);
void rg_gate_prepared(struct rg_state *state);
void rg_gate_restored(struct rg_state *state);
int rg_gate_reopen(struct rg_state *state);
void rg_gate_bury(struct rg_state *state);
bool rg_gate_takes_part(const struct rg_state *state);

#endif /* RG_GATE_H */
