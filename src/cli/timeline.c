// SPDX-License-Identifier: GPL-2.0
/*
 * resetgate timeline: what a recorded trace says of resets, as a picture or as
 * JSON. One reset of one function, with the window that it was closed in, is one
 * row of the table; nested resets of it count as one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "json.h"
#include "timeline.h"

/**
 * rg_tl_bdf - a function's address as text
 * @key: as the events have it
 * @text: receives it, 16 bytes
 *
 * Context: User space.
 * Return: @text.
 */
const char *rg_tl_bdf(unsigned int key, char *text)
{
	snprintf(text, 16, "%04x:%02x:%02x.%u", key >> 16, key >> 8 & 0xff, key >> 3 & 0x1f,
		 key & 7);
	return text;
}

/**
 * rg_tl_fate - how a window ended
 * @window: the window
 *
 * Context: User space.
 * Return: a word or two.
 */
const char *rg_tl_fate(const struct rg_tl_window *window)
{
	if (!window->own)
		return "requester ID only";
	if (window->opened >= 0)
		return window->parked >= 0 ? "parked, opened" : "opened";
	if (window->parked >= 0)
		return "parked";
	return window->closed >= 0 ? "still closed" : "never closed";
}

/**
 * rg_tl_closed_until - when a window was over
 * @timeline: all of them
 * @window: one that was closed
 *
 * Context: User space.
 * Return: seconds since the first event; the next reset's or the last event's where it
 * has not opened.
 */
double rg_tl_closed_until(const struct rg_timeline *timeline, const struct rg_tl_window *window)
{
	if (window->opened >= 0)
		return window->opened;
	return window->replaced ? window->to : timeline->last;
}

/**
 * rg_tl_closed_for - how long a window was closed
 * @timeline: all of them
 * @window: one that was closed
 *
 * Context: User space.
 * Return: seconds; of one that began before the trace the module's own figure.
 */
double rg_tl_closed_for(const struct rg_timeline *timeline, const struct rg_tl_window *window)
{
	if (window->before && window->lasted >= 0)
		return window->lasted;
	return rg_tl_closed_until(timeline, window) - window->closed;
}

/**
 * rg_tl_then - all that is to be said of how a window ended, and began
 * @window: the window
 * @text: receives it, RG_TL_THEN bytes
 *
 * Context: User space.
 * Return: @text.
 */
const char *rg_tl_then(const struct rg_tl_window *window, char *text)
{
	snprintf(text, RG_TL_THEN, "%s%s%s%s", rg_tl_fate(window), *window->parked_for ? ": " : "",
		 window->parked_for, window->before ? "; began before the trace" : "");
	return text;
}

static struct rg_tl_row *rg_tl_row(struct rg_timeline *timeline, unsigned int key)
{
	struct rg_tl_row *rows;
	size_t i;

	for (i = 0; i < timeline->nr_rows; i++)
		if (timeline->rows[i].key == key)
			return &timeline->rows[i];
	rows = rg_tl_grow(timeline->rows, &timeline->room_rows, timeline->nr_rows, sizeof(*rows));
	if (!rows)
		return NULL;
	timeline->rows = rows;
	rows[i] = (struct rg_tl_row){ .key = key };
	timeline->nr_rows++;
	return &rows[i];
}

static struct rg_tl_window *rg_tl_new_window(struct rg_timeline *timeline,
					     struct rg_tl_row *row,
					     const struct rg_tl_event *event)
{
	struct rg_tl_window *windows, *window;

	windows = rg_tl_grow(timeline->windows, &timeline->room_windows, timeline->nr_windows,
			     sizeof(*windows));
	if (!windows)
		return NULL;
	timeline->windows = windows;
	window = &windows[timeline->nr_windows++];
	*window = (struct rg_tl_window){
		.row = row - timeline->rows, .from = event->at, .to = event->at,
		.begin = RG_TL_NEVER, .end = RG_TL_NEVER, .closed = RG_TL_NEVER,
		.opened = RG_TL_NEVER, .parked = RG_TL_NEVER, .nested = RG_TL_NEVER,
		.lasted = RG_TL_NEVER,
	};
	row->active = timeline->nr_windows;
	row->last = timeline->nr_windows;
	return window;
}

/* Does an event begin a new window, although the last one is not over? */
static bool rg_tl_replaces(const struct rg_tl_window *window, enum rg_tl_kind kind)
{
	if (kind == RG_TL_CLOSE && window->closed >= 0)
		return true;
	return (kind == RG_TL_BEGIN || kind == RG_TL_CLOSE) && !window->depth &&
	       window->parked >= 0;
}

/* Where the end of the one before was lost the new reset was taken for a nested one. */
static struct rg_tl_window *rg_tl_replace(struct rg_timeline *timeline, struct rg_tl_row *row,
					  const struct rg_tl_event *event)
{
	size_t old = row->active - 1;
	struct rg_tl_window *window = rg_tl_new_window(timeline, row, event);

	timeline->windows[old].replaced = true;
	timeline->windows[old].to = event->at;
	if (!window || event->kind != RG_TL_CLOSE || timeline->windows[old].depth < 2)
		return window;
	window->begin = window->from = window->nested = timeline->windows[old].nested;
	timeline->windows[old].to = window->from;
	window->depth = 1;
	return window;
}

/*
 * The window that an event belongs to. What comes in none belongs to the last
 * one: a function that opened silent still drops. A reset of a parked function
 * is a new window, and so is a close that follows another.
 */
static struct rg_tl_window *rg_tl_window_of(struct rg_timeline *timeline,
					    struct rg_tl_row *row,
					    const struct rg_tl_event *event)
{
	bool starts = event->kind == RG_TL_BEGIN || event->kind == RG_TL_CLOSE;

	if (row->active && rg_tl_replaces(&timeline->windows[row->active - 1], event->kind))
		return rg_tl_replace(timeline, row, event);
	if (row->active)
		return &timeline->windows[row->active - 1];
	if (!starts && row->last)
		return &timeline->windows[row->last - 1];
	return rg_tl_new_window(timeline, row, event);
}

/*
 * The trace began in the middle where something ends that has no beginning. Then the
 * module tells how long ago that was, or it is said to be all of what is there.
 */
static void rg_tl_before(struct rg_tl_window *window)
{
	if (!window->before && (window->closed >= 0 || window->begin >= 0))
		return;
	window->before = true;
	window->closed = window->from;
	if (window->lasted >= 0)
		window->closed = window->opened > window->lasted ? window->opened - window->lasted : 0;
	if (window->from > window->closed)
		window->from = window->closed;
}

/* Where the outermost end was lost the opening shows that it was. */
static void rg_tl_opened(struct rg_tl_window *window, const struct rg_tl_event *event)
{
	window->opened = event->at;
	window->lasted = event->window;
	window->depth = 0;
}

static void rg_tl_apply(struct rg_tl_window *window, const struct rg_tl_event *event)
{
	switch (event->kind) {
	case RG_TL_BEGIN:
		if (!window->depth++ && window->begin < 0)
			window->begin = event->at;
		window->nested = event->at;
		break;
	case RG_TL_END:
		if (window->depth ? !--window->depth : window->begin >= 0 && window->end < 0)
			window->end = event->at;
		break;
	case RG_TL_CLOSE:
		window->closed = event->at;
		break;
	case RG_TL_OPEN:
		rg_tl_opened(window, event);
		break;
	case RG_TL_PARK:
		window->parked = event->at;
		memcpy(window->parked_for, event->reason, sizeof(event->reason));
		break;
	case RG_TL_RECORD:
		window->recorded++;
		break;
	default:
		window->dropped++;
	}
	if (!*window->reason && event->kind != RG_TL_PARK)
		memcpy(window->reason, event->reason, sizeof(event->reason));
	if (window->to < event->at)
		window->to = event->at;
	if (event->kind == RG_TL_RECORD || event->kind == RG_TL_DROP)
		return;
	window->own = true;
	rg_tl_before(window);
}

static bool rg_tl_is_over(const struct rg_tl_window *window)
{
	return !window->depth && (window->opened >= 0 || window->closed < 0);
}

static int rg_tl_take(struct rg_timeline *timeline, struct rg_tl_event *event)
{
	struct rg_tl_row *row = rg_tl_row(timeline, event->key);
	struct rg_tl_window *window = row ? rg_tl_window_of(timeline, row, event) : NULL;

	if (!window)
		return rg_fail(RG_EXIT_SYSTEM, "timeline: out of memory");
	event->row = row - timeline->rows;
	rg_tl_apply(window, event);
	if (rg_tl_is_over(window))
		row->active = 0;
	return 0;
}

/* Several CPUs' buffers may be printed one after the other. */
static int rg_tl_earlier(const void *a, const void *b)
{
	const struct rg_tl_event *x = a, *y = b;

	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return x->line < y->line ? -1 : x->line > y->line;
}

static void rg_tl_sum(struct rg_timeline *timeline)
{
	size_t i;

	for (i = 0; i < timeline->nr_windows; i++) {
		const struct rg_tl_window *window = &timeline->windows[i];
		struct rg_tl_row *row = &timeline->rows[window->row];

		timeline->nr_resets += window->own;
		timeline->nr_functions += window->own && !row->own;
		row->own |= window->own;
		row->recorded += window->recorded;
		row->dropped += window->dropped;
		if (window->closed < 0)
			continue;
		row->windows++;
		row->closed_for += rg_tl_closed_for(timeline, window);
	}
}

static int rg_tl_make(struct rg_timeline *timeline)
{
	struct rg_tl_event *events = timeline->events;
	size_t i, nr = timeline->nr_events;
	double first;
	int rc = 0;

	qsort(events, nr, sizeof(*events), rg_tl_earlier);
	first = events[0].at;
	timeline->last = events[nr - 1].at - first;
	for (i = 0; i < nr && !rc; i++) {
		events[i].at -= first;
		rc = rg_tl_take(timeline, &events[i]);
	}
	if (!rc)
		rg_tl_sum(timeline);
	return rc;
}

static void rg_tl_time(struct rg_json *json, const char *key, double at)
{
	if (at < 0)
		rg_json_null(json, key);
	else
		rg_json_number(json, key, (long long)(at * 1e6 + .5));
}

static void rg_tl_json(const struct rg_timeline *timeline, FILE *out)
{
	struct rg_json json;
	char bdf[16];
	size_t i;

	rg_json_start(&json, out, "timeline");
	rg_json_bool(&json, "events_lost", timeline->lost);
	rg_json_open(&json, "resets", '[');
	for (i = 0; i < timeline->nr_windows; i++) {
		const struct rg_tl_window *window = &timeline->windows[i];

		rg_json_open(&json, NULL, '{');
		rg_json_text(&json, "function",
			     rg_tl_bdf(timeline->rows[window->row].key, bdf));
		rg_json_text(&json, "reason", window->reason);
		rg_tl_time(&json, "begin_us", window->begin);
		rg_tl_time(&json, "closed_us", window->closed);
		rg_tl_time(&json, "end_us", window->end);
		rg_tl_time(&json, "opened_us", window->opened);
		rg_tl_time(&json, "parked_us", window->parked);
		rg_tl_time(&json, "window_us", window->lasted);
		rg_json_bool(&json, "before_trace", window->before);
		rg_json_number(&json, "recorded", window->recorded);
		rg_json_number(&json, "dropped", window->dropped);
		rg_json_text(&json, "fate", rg_tl_fate(window));
		rg_json_close(&json, '}');
	}
	rg_json_close(&json, ']');
	rg_json_end(&json);
}

static int rg_tl_print(struct rg_cli *cli, const char *name)
{
	struct rg_timeline timeline = { 0 };
	int rc;

	rc = rg_tl_read(&timeline, name);
	if (!rc)
		rc = rg_tl_make(&timeline);
	if (!rc && cli->json)
		rg_tl_json(&timeline, cli->out);
	else if (!rc)
		rc = rg_tl_svg(&timeline, cli->out);
	free(timeline.events);
	free(timeline.windows);
	free(timeline.rows);
	return rc;
}

static int rg_tl_run(struct rg_cli *cli, int argc, char **argv)
{
	static const struct option options[] = { RG_OPTION_JSON, RG_OPTION_HELP, RG_OPTION_LAST };
	int option = rg_next_option(cli, argc, argv, options);

	if (option != RG_NO_OPTION)
		return rg_option_result(option);
	if (optind == argc)
		return rg_fail(RG_EXIT_USAGE,
			       "timeline: expected a trace, or - for standard input; see resetgate timeline --help");
	if (argc - optind > 1) {
		optind++;
		return rg_no_more_words(cli, argc, argv);
	}
	return rg_tl_print(cli, argv[optind]);
}

const struct rg_command rg_timeline_command = {
	.name = "timeline",
	.usage = "[--json] TRACE|-",
	.brief = "a picture (SVG) of the resets in a recorded trace",
	.help =
	"Prints an SVG: for each function its resets, its closed windows, the table\n"
	"accesses recorded and the invalidations dropped in them; the figures in a table beneath.\n"
	"TRACE is what trace-cmd has recorded, or the text of trace-cmd report, of perf\n"
	"script or of /sys/kernel/tracing/trace; - is standard input.\n\n"
	"  trace-cmd record -e resetgate sh -c 'echo 1 > /sys/bus/pci/devices/BDF/reset'\n"
	"  resetgate timeline trace.dat > reset.svg\n\n",
	.run = rg_tl_run,
};
