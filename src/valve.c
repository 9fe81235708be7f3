// SPDX-License-Identifier: GPL-2.0
/*
 * The invalidation valve: armed for windows only; and the fence behind it.
 *
 * Arming registers an ftrace_ops, which allocates and takes ftrace_lock, maybe
 * behind another tracer's unregistering that waits for every task. A reset
 * must not wait for that for ever, so a worker does it and the closing gate
 * waits with a deadline. Disarming follows long after the last window, for resets
 * come in groups; it only moves the ops to a function of our own that nobody
 * calls. To unregister waits for every task, and the next reset would wait with it.
 */
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/wait.h>

#include "patch.h"
#include "valve.h"

#define RG_DISARM_DELAY (10 * HZ)

#define RG_FENCE_ASK_AGAIN (10 * HZ)

static DEFINE_SPINLOCK(rg_valve_lock);
static DECLARE_WAIT_QUEUE_HEAD(rg_valve_wait);
static struct workqueue_struct *rg_valve_queue;
static struct workqueue_struct *rg_fence_queue;

/**
 * rg_valves_init - the workers
 *
 * Context: Process context, at load.
 * Return: 0 or -ENOMEM.
 */
int rg_valves_init(void)
{
	rg_valve_queue = alloc_ordered_workqueue("resetgate_valve", WQ_MEM_RECLAIM);
	if (!rg_valve_queue)
		return -ENOMEM;
	rg_fence_queue = alloc_workqueue("resetgate_fence",
					 WQ_UNBOUND | WQ_HIGHPRI | WQ_MEM_RECLAIM, 0);
	if (!rg_fence_queue) {
		destroy_workqueue(rg_valve_queue);
		return -ENOMEM;
	}
	return 0;
}

/**
 * rg_valves_exit - undo rg_valves_init()
 *
 * Context: Process context, at unload; every valve is shut down, every fence
 * finished.
 */
void rg_valves_exit(void)
{
	destroy_workqueue(rg_fence_queue);
	destroy_workqueue(rg_valve_queue);
}

/**
 * rg_time_left - jiffies until a deadline
 * @deadline: in jiffies
 *
 * Context: Any.
 * Return: the time left, 1 at least: a wait that is done already is seen.
 */
unsigned long rg_time_left(unsigned long deadline)
{
	long left = (long)(deadline - jiffies);

	return left > 0 ? left : 1;
}

/* Where a valve's ops rest; called by nobody, but it must be there. */
static noinline void rg_valve_rest(void)
{
	barrier();
}

static int rg_valve_register(struct rg_valve *valve)
{
	int rc;

	valve->ops = (struct ftrace_ops) {
		.func = valve->filter,
		.flags = FTRACE_OPS_FL_PERMANENT,
	};
	rc = ftrace_set_filter_ip(&valve->ops, rg_target_ip(valve->id), 0, 1);
	if (!rc)
		rc = register_ftrace_function(&valve->ops);
	if (rc)
		ftrace_free_filter(&valve->ops);
	valve->registered = !rc;
	return rc;
}

/* Only the workers of the ordered queue change where it is. */
static int rg_valve_move(struct rg_valve *valve, unsigned long ip)
{
	unsigned int noio;
	int rc;

	/* The disk that memory is written to may be the one in reset. */
	noio = memalloc_noio_save();
	rc = valve->registered ? ftrace_set_filter_ip(&valve->ops, ip, 0, 1) :
				 rg_valve_register(valve);
	memalloc_noio_restore(noio);
	return rc;
}

static void rg_valve_arm(struct work_struct *work)
{
	struct rg_valve *valve = container_of(work, struct rg_valve, arm_work);
	int rc;

	/* Only the workers of this ordered queue change it. */
	if (READ_ONCE(valve->armed))
		return;
	rc = rg_valve_move(valve, rg_target_ip(valve->id));
	spin_lock(&rg_valve_lock);
	valve->error = rc;
	WRITE_ONCE(valve->armed, !rc);
	/* Those who asked may have given up meanwhile. */
	if (!rc && !valve->users)
		mod_delayed_work(rg_valve_queue, &valve->disarm_work, RG_DISARM_DELAY);
	spin_unlock(&rg_valve_lock);
	rg_target_armed(valve->id, !rc);
	wake_up_all(&rg_valve_wait);
}

static void rg_valve_disarm(struct work_struct *work)
{
	struct rg_valve *valve = container_of(to_delayed_work(work),
					      struct rg_valve, disarm_work);
	bool idle;

	spin_lock(&rg_valve_lock);
	idle = valve->armed && !valve->users;
	if (idle)
		WRITE_ONCE(valve->armed, false);
	spin_unlock(&rg_valve_lock);
	if (!idle)
		return;
	/* If it cannot be moved, it stays where it is: it does no harm there. */
	rg_valve_move(valve, rg_patch_location((unsigned long)rg_valve_rest));
	rg_target_armed(valve->id, false);
}

/**
 * rg_valve_set_up - make a valve ready to be armed
 * @valve: id and filter are set
 *
 * Context: Any.
 */
void rg_valve_set_up(struct rg_valve *valve)
{
	INIT_WORK(&valve->arm_work, rg_valve_arm);
	INIT_DELAYED_WORK(&valve->disarm_work, rg_valve_disarm);
	valve->users = 0;
	valve->armed = false;
	valve->registered = false;
	valve->error = 0;
}

/**
 * rg_valve_shut_down - disarm a valve now
 * @valve: nobody uses it any more
 *
 * Context: Process context, sleeps.
 */
void rg_valve_shut_down(struct rg_valve *valve)
{
	flush_work(&valve->arm_work);
	cancel_delayed_work_sync(&valve->disarm_work);
	if (!valve->registered)
		return;
	unregister_ftrace_function(&valve->ops);
	ftrace_free_filter(&valve->ops);
	valve->armed = false;
	valve->registered = false;
	rg_target_armed(valve->id, false);
}

/**
 * rg_valve_get - have a valve armed and keep it so
 * @valve: the valve
 * @deadline: how long it may take, in jiffies
 *
 * Context: Process context, sleeps; no lock of an IOMMU driver is held.
 * Return: 0, -ETIMEDOUT, or the error of ftrace; then it is not kept.
 */
int rg_valve_get(struct rg_valve *valve, unsigned long deadline)
{
	bool armed;
	int rc = 0;

	spin_lock(&rg_valve_lock);
	valve->users++;
	valve->error = 0;
	armed = valve->armed;
	spin_unlock(&rg_valve_lock);
	if (armed)
		return 0;

	queue_work(rg_valve_queue, &valve->arm_work);
	if (!wait_event_timeout(rg_valve_wait,
				READ_ONCE(valve->armed) || READ_ONCE(valve->error),
				rg_time_left(deadline)))
		rc = -ETIMEDOUT;
	else if (!READ_ONCE(valve->armed))
		rc = READ_ONCE(valve->error);
	if (rc)
		rg_valve_put(valve);
	return rc;
}

/**
 * rg_valve_put - let go of a valve
 * @valve: one that rg_valve_get() gave
 *
 * Context: Process context.
 */
void rg_valve_put(struct rg_valve *valve)
{
	spin_lock(&rg_valve_lock);
	if (!--valve->users)
		mod_delayed_work(rg_valve_queue, &valve->disarm_work, RG_DISARM_DELAY);
	spin_unlock(&rg_valve_lock);
}

static void rg_fence_run(struct work_struct *work)
{
	struct rg_fence *fence = container_of(work, struct rg_fence, work);

	/* A kernel without it preempts nobody, and has no grace period of that kind. */
	if (fence->tasks && IS_ENABLED(CONFIG_TASKS_RCU))
		synchronize_rcu_tasks();
	/* For what runs in interrupts, which those of tasks do not promise to see. */
	synchronize_rcu_expedited();
	if (fence->takes) {
		WRITE_ONCE(fence->stuck, !fence->takes(fence->space));
		WRITE_ONCE(fence->asked, jiffies);
	}
	complete(&fence->done);
}

/**
 * rg_fence_init - make a fence ready
 * @fence: the fence
 * @tasks: it has to outlast tasks that were preempted behind the valve
 *
 * Context: Any.
 */
void rg_fence_init(struct rg_fence *fence, bool tasks)
{
	INIT_WORK(&fence->work, rg_fence_run);
	init_completion(&fence->done);
	fence->busy = false;
	fence->tasks = tasks;
}

/**
 * rg_fence_aim - have a fence ask the hardware, too
 * @fence: the fence
 * @takes: whether it takes a command; may wait for ever where a queue is full. Or NULL
 * @space: for @takes
 *
 * Context: Any; before the first wait.
 */
void rg_fence_aim(struct rg_fence *fence, bool (*takes)(const void *space), const void *space)
{
	fence->takes = takes;
	fence->space = space;
}

/**
 * rg_fence_wait - wait for all who were in a valve's handler or behind it
 * @fence: the fence; its users are serialised by the caller
 * @deadline: in jiffies
 *
 * A grace period ends only after every section that ran with interrupts or
 * preemption off when it began; what submits invalidations runs in one. Where it
 * does not, one of tasks ends only after each has given up the CPU of its own
 * accord, or was idle or in user space: none does between the valve and the queue.
 * A thread of the kernel's that never sleeps holds it up.
 *
 * Context: Process context, sleeps.
 * Return: 0, or -ETIMEDOUT: a CPU does not come out of such a section, as one
 * that waits in a queue for a function that never answers; or the hardware took
 * nothing, see rg_fence_is_stuck().
 */
int rg_fence_wait(struct rg_fence *fence, unsigned long deadline)
{
	/* One that timed out earlier began too early to count now. */
	if (fence->busy &&
	    !wait_for_completion_timeout(&fence->done, rg_time_left(deadline)))
		return -ETIMEDOUT;
	reinit_completion(&fence->done);
	fence->busy = true;
	queue_work(rg_fence_queue, &fence->work);
	if (!wait_for_completion_timeout(&fence->done, rg_time_left(deadline)))
		return -ETIMEDOUT;
	fence->busy = false;
	return fence->stuck ? -ETIMEDOUT : 0;
}

/**
 * rg_fence_is_stuck - whether the hardware took nothing when it was asked
 * @fence: the fence
 *
 * To ask may cost a second in which a CPU has its interrupts off: who was refused does
 * not ask again soon.
 *
 * Context: Any.
 * Return: true if so, not long ago.
 */
bool rg_fence_is_stuck(const struct rg_fence *fence)
{
	return READ_ONCE(fence->stuck) &&
	       time_before(jiffies, READ_ONCE(fence->asked) + RG_FENCE_ASK_AGAIN);
}

/**
 * rg_fence_cured - the hardware has taken something since
 * @fence: the fence
 *
 * Context: Any.
 */
void rg_fence_cured(struct rg_fence *fence)
{
	WRITE_ONCE(fence->stuck, false);
}

/**
 * rg_fence_is_out - whether a wait that timed out goes on
 * @fence: the fence; its users are serialised by the caller
 *
 * Context: Any.
 * Return: true if so: who held it up then, does so still.
 */
bool rg_fence_is_out(struct rg_fence *fence)
{
	return fence->busy && !completion_done(&fence->done);
}

/**
 * rg_fence_finish - wait, without a deadline, until a fence is idle
 * @fence: the fence
 *
 * Context: Process context, sleeps.
 */
void rg_fence_finish(struct rg_fence *fence)
{
	flush_work(&fence->work);
}
