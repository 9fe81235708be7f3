// SPDX-License-Identifier: GPL-2.0
/*
 * Passes: a wrapper calls the original through its normal entry, where it would
 * be redirected to the wrapper again. The second passage is recognised by what
 * the wrapper leaves for its own task: a return address would not do, a tail
 * call changes it.
 */
#include <linux/module.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#include "pass.h"

static LIST_HEAD(rg_passes);
static DEFINE_RAW_SPINLOCK(rg_pass_lock);

/*
 * Tasks that were redirected and have not left their wrapper. They sleep there
 * for as long as a reset takes, which RCU-tasks takes for quiescent.
 */
static atomic_t rg_pass_inflight;
static DECLARE_WAIT_QUEUE_HEAD(rg_pass_idle);

static notrace bool rg_pass_take(enum rg_target_id id, const void *arg)
{
	struct rg_pass *pass;
	unsigned long flags;
	bool taken = false;

	raw_spin_lock_irqsave(&rg_pass_lock, flags);
	list_for_each_entry(pass, &rg_passes, node) {
		if (pass->task != current || pass->id != id ||
		    pass->arg != arg || pass->used)
			continue;
		pass->used = true;
		taken = true;
		break;
	}
	raw_spin_unlock_irqrestore(&rg_pass_lock, flags);
	return taken;
}

/**
 * rg_pass_mine - whether this task is in a call that a wrapper has made
 * @set: of a function of this set
 *
 * Context: Any; called from handlers.
 * Return: true if it is.
 */
notrace bool rg_pass_mine(enum rg_set set)
{
	struct rg_pass *pass;
	unsigned long flags;
	bool mine = false;

	raw_spin_lock_irqsave(&rg_pass_lock, flags);
	list_for_each_entry(pass, &rg_passes, node)
		mine |= pass->task == current && rg_targets[pass->id].set == set;
	raw_spin_unlock_irqrestore(&rg_pass_lock, flags);
	return mine;
}

/**
 * rg_pass_divert - where a call goes: into its wrapper, or on
 * @id: the function
 * @arg: its first argument
 * @wrapper: calls rg_pass_exit() when it is done
 *
 * Context: Any; called from handlers, preemption is off.
 * Return: @wrapper, or NULL if the call is the wrapper's own.
 */
notrace void *rg_pass_divert(enum rg_target_id id, const void *arg, void *wrapper)
{
	if (rg_pass_take(id, arg))
		return NULL;
	atomic_inc(&rg_pass_inflight);
	return wrapper;
}

/**
 * rg_pass_begin - the next call of a function is the wrapper's own
 * @pass: on the wrapper's stack, until rg_pass_end()
 * @id: the function
 * @arg: its first argument
 *
 * Context: Process context.
 */
void rg_pass_begin(struct rg_pass *pass, enum rg_target_id id, const void *arg)
{
	unsigned long flags;

	*pass = (struct rg_pass){ .task = current, .arg = arg, .id = id };
	/* A reset may take a minute: rmmod is to say busy, not to wait for it. */
	pass->pinned = try_module_get(THIS_MODULE);
	raw_spin_lock_irqsave(&rg_pass_lock, flags);
	list_add(&pass->node, &rg_passes);
	raw_spin_unlock_irqrestore(&rg_pass_lock, flags);
}

/**
 * rg_pass_end - the call is over
 * @pass: of rg_pass_begin()
 *
 * Context: Process context.
 */
void rg_pass_end(struct rg_pass *pass)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&rg_pass_lock, flags);
	list_del(&pass->node);
	raw_spin_unlock_irqrestore(&rg_pass_lock, flags);
	/* The code stays: this task is counted until rg_pass_exit(). */
	if (pass->pinned)
		module_put(THIS_MODULE);
}

/**
 * rg_pass_exit - a wrapper is done
 *
 * Context: Process context; the wrapper's last call.
 */
void rg_pass_exit(void)
{
	if (atomic_dec_and_test(&rg_pass_inflight))
		wake_up_all(&rg_pass_idle);
}

/**
 * rg_pass_wait - wait until no task is in a wrapper
 *
 * Those that counted themselves out may still have a few instructions to go.
 *
 * Context: Process context, at unload; nothing is redirected any more.
 */
void rg_pass_wait(void)
{
	wait_event(rg_pass_idle, !atomic_read(&rg_pass_inflight));
}
