// SPDX-License-Identifier: GPL-2.0
/* The time axis of the picture. Where nothing is in reset for long it is cut. */
#include <stdlib.h>

#include "cli.h"
#include "timeline.h"

#define RG_TL_CUT	26	/* pixels for what is left out */

static int rg_tl_axis_earlier(const void *a, const void *b)
{
	const struct rg_tl_part *x = a, *y = b;

	return x->from < y->from ? -1 : x->from > y->from;
}

/* One for each window, then those with little between them become one. */
static void rg_tl_axis_join(struct rg_tl_axis *axis, double least)
{
	struct rg_tl_part *parts = axis->parts;
	size_t i, nr = 0;

	qsort(parts, axis->nr_parts, sizeof(*parts), rg_tl_axis_earlier);
	for (i = 1; i < axis->nr_parts; i++) {
		if (parts[i].from - parts[nr].to > least)
			parts[++nr] = parts[i];
		else if (parts[nr].to < parts[i].to)
			parts[nr].to = parts[i].to;
	}
	axis->nr_parts = nr + 1;
}

/* Where a function is parked for long, its being parked and its opening are of interest. */
static void rg_tl_axis_add(struct rg_tl_axis *axis, const struct rg_timeline *timeline,
			   const struct rg_tl_window *window)
{
	struct rg_tl_part *part = &axis->parts[axis->nr_parts++];
	double until = rg_tl_closed_until(timeline, window);

	part->from = window->from;
	part->to = window->closed >= 0 && until > window->to ? until : window->to;
	if (window->parked < 0)
		return;
	axis->parts[axis->nr_parts++] = (struct rg_tl_part){ .from = part->to, .to = part->to };
	part->to = window->end > window->parked ? window->end : window->parked;
}

/* Returns their sum, in seconds. */
static double rg_tl_axis_busy(const struct rg_tl_axis *axis)
{
	double busy = 0;
	size_t i;

	for (i = 0; i < axis->nr_parts; i++)
		busy += axis->parts[i].to - axis->parts[i].from;
	return busy;
}

static void rg_tl_axis_place(struct rg_tl_axis *axis, double left, double pixels)
{
	double cut = RG_TL_CUT, busy = rg_tl_axis_busy(axis);
	size_t i;

	if (axis->nr_parts * cut > pixels / 3)
		cut = pixels / 3 / axis->nr_parts;
	/* A trace of one event has no length. */
	axis->scale = (pixels - cut * (axis->nr_parts - 1)) / (busy > 1e-6 ? busy : 1e-6);
	for (i = 0; i < axis->nr_parts; i++) {
		axis->parts[i].x = left;
		left += (axis->parts[i].to - axis->parts[i].from) * axis->scale + cut;
	}
}

/**
 * rg_tl_axis_make - lay the time axis out
 * @axis: receives it; free its parts
 * @timeline: what it is for, one window at least
 * @left: where it begins, in pixels
 * @pixels: how long it is
 *
 * Context: User space.
 * Return: RG_EXIT_OK or RG_EXIT_SYSTEM.
 */
int rg_tl_axis_make(struct rg_tl_axis *axis, const struct rg_timeline *timeline, double left,
		    double pixels)
{
	size_t i;

	axis->nr_parts = 0;
	axis->parts = calloc(timeline->nr_windows, 2 * sizeof(*axis->parts));
	if (!axis->parts)
		return rg_fail(RG_EXIT_SYSTEM, "timeline: out of memory");
	for (i = 0; i < timeline->nr_windows; i++)
		rg_tl_axis_add(axis, timeline, &timeline->windows[i]);
	rg_tl_axis_join(axis, 0);
	rg_tl_axis_join(axis, rg_tl_axis_busy(axis) / axis->nr_parts / 2);
	rg_tl_axis_place(axis, left, pixels);
	return RG_EXIT_OK;
}

/**
 * rg_tl_x - where a time is
 * @axis: the axis
 * @at: seconds since the first event
 *
 * Context: User space.
 * Return: pixels.
 */
double rg_tl_x(const struct rg_tl_axis *axis, double at)
{
	const struct rg_tl_part *part = axis->parts + axis->nr_parts - 1;

	while (part > axis->parts && at < part->from)
		part--;
	if (at > part->to)
		at = part->to;
	return part->x + (at > part->from ? at - part->from : 0) * axis->scale;
}
