/* SPDX-License-Identifier: GPL-2.0 */
/* What a recorded trace says of resets, and the picture of it. */
#ifndef RG_TIMELINE_H
#define RG_TIMELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define RG_TL_THEN	96	/* characters of rg_tl_then() */
#define RG_TL_NEVER	(-1.0)	/* a time that the trace does not have */

enum rg_tl_kind {
	RG_TL_BEGIN,
	RG_TL_CLOSE,
	RG_TL_RECORD,
	RG_TL_DROP,
	RG_TL_END,
	RG_TL_OPEN,
	RG_TL_PARK,
	RG_TL_KINDS
};

struct rg_tl_event {
	double at;		/* seconds since the first */
	unsigned int key;	/* domain, bus, device and function as trace.h has them */
	unsigned int row;
	size_t line;
	enum rg_tl_kind kind;
	char reason[20];
	double window;		/* of open: how long it was closed, in seconds */
};

/* One reset of one function, and the window in which it was closed for it. */
struct rg_tl_window {
	unsigned int row;
	char reason[20];
	char parked_for[20];
	int depth;
	bool own;		/* not only of a requester ID, which may be an alias */
	bool before;		/* it began before the trace, or its beginning was lost */
	bool replaced;		/* by the next reset of a function that has not opened */
	double from, to;	/* all that belongs to it */
	double begin, end;	/* of the reset, the outermost one */
	double nested;		/* when the last reset in it began */
	double lasted;		/* what the module says of the window's length */
	double closed, opened, parked;
	unsigned long recorded, dropped;
};

struct rg_tl_row {
	unsigned int key;
	size_t active;		/* its window that is not over, by number from 1; 0 if none */
	size_t last;
	bool own;
	unsigned long windows, recorded, dropped;
	double closed_for;
};

struct rg_timeline {
	struct rg_tl_event *events;
	size_t nr_events, room_events;
	struct rg_tl_window *windows;
	size_t nr_windows, room_windows;
	struct rg_tl_row *rows;
	size_t nr_rows, room_rows;
	size_t nr_resets, nr_functions;
	double last;		/* seconds from the first event to the last */
	bool lost;		/* the recorder says that it lost some */
};

/* A part of the time axis without a cut, in seconds, and where it begins, in pixels. */
struct rg_tl_part {
	double from, to, x;
};

struct rg_tl_axis {
	struct rg_tl_part *parts;
	size_t nr_parts;
	double scale;		/* pixels a second */
};

void *rg_tl_grow(void *array, size_t *room, size_t nr, size_t size);
int rg_tl_read(struct rg_timeline *timeline, const char *name);
const char *rg_tl_bdf(unsigned int key, char *text);
const char *rg_tl_fate(const struct rg_tl_window *window);
double rg_tl_closed_until(const struct rg_timeline *timeline, const struct rg_tl_window *window);
double rg_tl_closed_for(const struct rg_timeline *timeline, const struct rg_tl_window *window);
const char *rg_tl_then(const struct rg_tl_window *window, char *text);
int rg_tl_axis_make(struct rg_tl_axis *axis, const struct rg_timeline *timeline, double left,
		    double pixels);
double rg_tl_x(const struct rg_tl_axis *axis, double at);
int rg_tl_svg(const struct rg_timeline *timeline, FILE *out);

#endif /* RG_TIMELINE_H */
