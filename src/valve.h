/* SPDX-License-Identifier: GPL-2.0 */
/* The invalidation valve: armed for windows only; and the fence behind it. */
#ifndef RG_VALVE_H
#define RG_VALVE_H

#include <linux/completion.h>
#include <linux/ftrace.h>
#include <linux/workqueue.h>

#include "targets.h"

/**
 * struct rg_valve - an observer of the function that takes invalidations
 * @id: the target
 * @filter: the ftrace handler
 * @ops: registered by the first window and until unload
 * @arm_work: registers, or moves it back; on the one ordered queue with @disarm_work
 * @disarm_work: moves it away, long after the last window
 * @users: closed gates and those about to close; under the valves' lock
 * @registered: @ops is; changed by the workers
 * @armed: and it is where invalidations come by; under the valves' lock, read without it to wait
 * @error: of a registration that somebody waits for
 */
struct rg_valve {
	enum rg_target_id id;
	ftrace_func_t filter;
	struct ftrace_ops ops;
	struct work_struct arm_work;
	struct delayed_work disarm_work;
	int users;
	bool registered;
	bool armed;
	int error;
};

/* What a grace period of RCU's takes on a machine that is not stuck. */
#define RG_FENCE_USUAL (HZ / 10)

/**
 * struct rg_fence - one grace period at a time, waited for with a deadline
 * @work: waits for it
 * @done: it has passed
 * @busy: one was begun, and nobody has seen it pass
 * @tasks: it has to outlast tasks that were preempted, wherever
 * @takes: asks the hardware behind the queue as well; NULL: who submits waits for it
 * @space: for @takes: whose queue
 * @stuck: it took nothing when it was asked last
 * @asked: when that was, in jiffies
 */
struct rg_fence {
	struct work_struct work;
	struct completion done;
	bool busy;
	bool tasks;
	bool (*takes)(const void *space);
	const void *space;
	bool stuck;
	unsigned long asked;
};

int rg_valves_init(void);
void rg_valves_exit(void);

void rg_valve_set_up(struct rg_valve *valve);
void rg_valve_shut_down(struct rg_valve *valve);
int rg_valve_get(struct rg_valve *valve, unsigned long deadline);
void rg_valve_put(struct rg_valve *valve);

void rg_fence_init(struct rg_fence *fence, bool tasks);
void rg_fence_aim(struct rg_fence *fence, bool (*takes)(const void *space), const void *space);
bool rg_fence_is_out(struct rg_fence *fence);
bool rg_fence_is_stuck(const struct rg_fence *fence);
void rg_fence_cured(struct rg_fence *fence);
int rg_fence_wait(struct rg_fence *fence, unsigned long deadline);
void rg_fence_finish(struct rg_fence *fence);

unsigned long rg_time_left(unsigned long deadline);

#endif /* RG_VALVE_H */
