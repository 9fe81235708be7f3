/* SPDX-License-Identifier: GPL-2.0 */
/* uevents on the PCI device, sent by a worker. */
#ifndef RG_EVENTS_H
#define RG_EVENTS_H

struct rg_state;

enum rg_event {
	RG_EVENT_CLOSED,
	RG_EVENT_OPENED,
	RG_EVENT_PARKED,
	RG_NR_EVENTS
};

void rg_events_init(struct rg_state *state);
void rg_events_post(struct rg_state *state, enum rg_event event);
void rg_events_finish(struct rg_state *state);

#endif /* RG_EVENTS_H */
