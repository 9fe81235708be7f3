// SPDX-License-Identifier: GPL-2.0
/*
 * How a gate closes, step by step, and what it waits for.
 *
 * Gates that close together share the deadline, and what one of them has seen of
 * the IOMMU's queue.
 */
#include <linux/delay.h>
#include <linux/iopoll.h>
#include <linux/module.h>
#include <linux/pci.h>

#include "backend.h"
#include "closing.h"
#include "params.h"
#include "registry.h"

/* Of each look at a mutex; then others get the CPU. */
#define RG_CATCH_US 100

static atomic64_t rg_closing_nr_timeouts;
static atomic64_t rg_closing_nr_late;

static const char *const rg_closing_steps[] = {
	"the invalidation valve could not be armed",
	"a CPU does not leave the IOMMU's queue",
	"the IOMMU's queue takes nothing",
	"the IOMMU group is busy",
};

static unsigned long rg_closing_deadline(void)
{
	return jiffies + msecs_to_jiffies(rg_param_close_timeout());
}

/**
 * rg_closing_begin - gates are about to close together
 * @closing: on the caller's stack
 *
 * Context: Any.
 */
void rg_closing_begin(struct rg_closing *closing)
{
	*closing = (struct rg_closing){ .deadline = rg_closing_deadline() };
}

/*
 * Who attaches over and over leaves a mutex free for a moment now and then: to look
 * once in a while would miss that for seconds.
 */
static bool rg_closing_catch(struct mutex *mutex)
{
	bool locked;

	return !read_poll_timeout_atomic(mutex_trylock, locked, locked, 0, RG_CATCH_US, false,
					 mutex);
}

/**
 * rg_closing_lock_group - take the mutex of a function's IOMMU group in time
 * @state: the function's state
 * @deadline: jiffies
 *
 * Context: Process context, sleeps until the deadline at the most.
 * Return: 0, or -ETIMEDOUT.
 */
int rg_closing_lock_group(struct rg_state *state, unsigned long deadline)
{
	while (!rg_closing_catch(rg_group_mutex(state))) {
		if (time_after(jiffies, deadline))
			return -ETIMEDOUT;
		usleep_range(200, 1000);
	}
	return 0;
}

static void rg_closing_give_up(struct rg_state *state, int step, int error)
{
	state->last_error = error;
	atomic64_inc(&rg_closing_nr_timeouts);
	pci_warn(state->pdev,
		 "reset runs ungated: expected to close within %u ms, found that %s (%d); the device is treated as without resetgate, see /sys/kernel/resetgate/status\n",
		 rg_param_close_timeout(), rg_closing_steps[step], error);
}

/* A closed gate keeps the module and the valve; so does a muted open one. */
static int rg_closing_hold(struct rg_state *state, unsigned long deadline)
{
	int rc;

	if (state->muted)
		return 0;
	/* Unloading has begun: the reset runs as it will run without us. */
	if (!try_module_get(THIS_MODULE))
		return -ESHUTDOWN;
	rc = rg_valve_get(state->be->valve, deadline);
	if (rc)
		module_put(THIS_MODULE);
	return rc;
}

/**
 * rg_closing_release - let go of what a closed or muted gate holds
 * @state: the function's state
 *
 * Context: Process context, under state->lock.
 */
void rg_closing_release(struct rg_state *state)
{
	if (state->muted)
		return;
	rg_valve_put(state->be->valve);
	module_put(THIS_MODULE);
}

/* Nobody hangs in the IOMMU's queue, and it goes on: asked once for all that share it. */
static int rg_closing_see_alive(struct rg_state *state, struct rg_closing *closing)
{
	const void *space = state->rids[0]->space;

	if (closing->asked && closing->space == space) {
		if (!closing->rc)
			rg_fence_cured(&state->alive);
		return closing->rc;
	}
	closing->asked = true;
	closing->space = space;
	closing->rc = rg_fence_wait(&state->alive, closing->deadline);
	closing->step = closing->rc && !rg_fence_is_out(&state->alive) ? 2 : 1;
	return closing->rc;
}

/* Steps 1 to 3: on return the group's mutex is held, or nothing is. */
static int rg_closing_secure(struct rg_state *state, struct rg_closing *closing)
{
	int step = 0, rc;

	rc = rg_closing_hold(state, closing->deadline);
	if (rc == -ESHUTDOWN)
		return rc;
	if (rc)
		goto out_give_up;
	rc = rg_closing_see_alive(state, closing);
	step = closing->step;
	if (rc)
		goto out_release;
	step = 3;
	rc = rg_closing_lock_group(state, closing->deadline);
	if (rc)
		goto out_release;
	if (!state->dead)
		return 0;
	/* Nobody will reset it any more, or ask for it. */
	mutex_unlock(rg_group_mutex(state));
	rg_closing_release(state);
	return -ENODEV;

out_release:
	rg_closing_release(state);
out_give_up:
	rg_closing_give_up(state, step, rc);
	return rc;
}

/**
 * rg_closing_without_memory - a reset of several functions closes no gate
 * @dev: what is reset, or what is above them
 * @nr: how many there are
 *
 * An outer reset may have closed them: it has a list of its own.
 *
 * Context: Any.
 */
void rg_closing_without_memory(const struct device *dev, int nr)
{
	atomic64_inc(&rg_closing_nr_timeouts);
	dev_warn(dev, "a reset of %d functions here may run ungated: expected memory for their list, found none; see /sys/kernel/resetgate/status\n",
		 nr);
}

/**
 * rg_closing_block - cut a function off
 * @state: the function's state
 * @touch: it may be accessed
 * @closing: what it shares with others
 *
 * Steps 1 to 3 in the head of gate.c. The fence must follow.
 *
 * Context: Process context, under state->lock, sleeps until the deadline at the
 * most.
 * Return: 0, or an error and nothing was changed; it has been told and counted.
 */
int rg_closing_block(struct rg_state *state, bool touch, struct rg_closing *closing)
{
	int rc = rg_closing_secure(state, closing);

	if (rc)
		return rc;
	rg_endpoint_close(&state->ep, state->pdev, touch);
	rg_rids_block(state);
	rg_rids_filter(state);
	mutex_unlock(rg_group_mutex(state));
	return 0;
}

/**
 * rg_closing_fence - wait for the invalidations that began before
 * @state: a function that was blocked last
 *
 * Context: Process context, under state->lock, sleeps close_timeout_ms at the most.
 * Return: 0, or -ETIMEDOUT if one of them does not end, or the IOMMU no more says that
 * it has forgotten the entry.
 */
int rg_closing_fence(struct rg_state *state)
{
	return rg_fence_wait(&state->fence, rg_closing_deadline());
}

/**
 * rg_closing_late - the fence did not pass
 * @state: the function's state
 *
 * It is closed all the same: only what began earlier may still go out.
 *
 * Context: Process context, under state->lock.
 */
void rg_closing_late(struct rg_state *state)
{
	state->last_error = -ETIMEDOUT;
	atomic64_inc(&rg_closing_nr_late);
	pci_warn(state->pdev,
		 "closed late: expected what was submitted before to end within %u ms, found something that does not; the reset goes on\n",
		 rg_param_close_timeout());
}

/**
 * rg_closing_timeouts - how many resets ran ungated
 *
 * Context: Any.
 * Return: those since load for which close gave up.
 */
u64 rg_closing_timeouts(void)
{
	return atomic64_read(&rg_closing_nr_timeouts);
}

/**
 * rg_closing_lates - how many gates closed without a fence
 *
 * Context: Any.
 * Return: those since load whose last fence did not pass in time.
 */
u64 rg_closing_lates(void)
{
	return atomic64_read(&rg_closing_nr_late);
}
