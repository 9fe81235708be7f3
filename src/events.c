// SPDX-License-Identifier: GPL-2.0
/*
 * uevents on the PCI device, sent by a worker: sending one allocates memory,
 * and the disk that memory is written to may be the function in reset.
 */
#include <linux/kobject.h>

#include "events.h"
#include "gate.h"

static char *const rg_events_text[RG_NR_EVENTS] = {
	[RG_EVENT_CLOSED] = "RESETGATE=closed",
	[RG_EVENT_OPENED] = "RESETGATE=opened",
	[RG_EVENT_PARKED] = "RESETGATE=parked",
};

static bool rg_events_take(struct rg_state *state, u8 *event)
{
	bool any;

	spin_lock(&state->event_lock);
	any = state->nr_events;
	if (any) {
		*event = state->events[0];
		state->nr_events--;
		memmove(state->events, state->events + 1, state->nr_events);
	}
	spin_unlock(&state->event_lock);
	return any;
}

static void rg_events_send(struct work_struct *work)
{
	struct rg_state *state = container_of(work, struct rg_state, event_work);
	u8 event;

	while (rg_events_take(state, &event)) {
		char *env[] = { rg_events_text[event], NULL };

		kobject_uevent_env(&state->pdev->dev.kobj, KOBJ_CHANGE, env);
	}
}

/**
 * rg_events_init - no event is waiting
 * @state: the function's state
 *
 * Context: Any.
 */
void rg_events_init(struct rg_state *state)
{
	spin_lock_init(&state->event_lock);
	INIT_WORK(&state->event_work, rg_events_send);
}

/**
 * rg_events_post - have user space told
 * @state: the function's state
 * @event: what happened
 *
 * Where more wait than there is room for, the last one counts: the newest
 * state is always told.
 *
 * Context: Process context; allocates nothing.
 */
void rg_events_post(struct rg_state *state, enum rg_event event)
{
	spin_lock(&state->event_lock);
	if (state->nr_events == RG_EVENTS)
		state->nr_events--;
	state->events[state->nr_events++] = event;
	spin_unlock(&state->event_lock);
	schedule_work(&state->event_work);
}

/**
 * rg_events_finish - send what is waiting
 * @state: the function's state; nobody posts any more
 *
 * Context: Process context, sleeps.
 */
void rg_events_finish(struct rg_state *state)
{
	flush_work(&state->event_work);
}
