/* SPDX-License-Identifier: GPL-2.0 */
/* Where events come from, and where they go. */
#ifndef RG_WATCH_H
#define RG_WATCH_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

struct rg_event;
struct rg_watch;

#define RG_WATCH_DONE (-1)

#define RG_LIVE_LINE 65536

struct rg_live {
	int uevents;
	int trace;		/* -1: not permitted */
	int signals;
	char instance[PATH_MAX];	/* empty: none was made */
	char *rest;		/* the start of a line that is not whole yet */
	size_t rest_len;
	bool more;		/* the last read of the trace gave some */
};

int rg_watch_event(struct rg_watch *watch, const struct rg_event *event);

int rg_live_open(struct rg_live *live, double *wall);
int rg_live_run(struct rg_live *live, struct rg_watch *watch, long seconds);
void rg_live_close(struct rg_live *live);

#endif /* RG_WATCH_H */
