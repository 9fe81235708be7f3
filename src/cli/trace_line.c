// SPDX-License-Identifier: GPL-2.0
/* Reads a line of trace_pipe: "TASK-PID [CPU] FLAGS SECONDS: EVENT: FIELDS". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "function.h"
#include "trace_line.h"

static const char *const rg_event_names[] = {
	[RG_EVENT_CLOSE] = "close",
	[RG_EVENT_OPEN] = "open",
	[RG_EVENT_PARK] = "park",
	[RG_EVENT_RECORD] = "record",
	[RG_EVENT_DROP] = "drop",
	[RG_EVENT_BEGIN] = "reset_begin",
	[RG_EVENT_END] = "reset_end",
};

/* Where the prefix of an event's name begins, NULL if it is no name: perf has the system before it. */
static const char *rg_trace_prefix(const char *line, const char *name)
{
	static const char *const prefixes[] = { ": ", ": resetgate:" };
	size_t len, i;

	for (i = 0; i < ARRAY_SIZE(prefixes); i++) {
		len = strlen(prefixes[i]);
		if ((size_t)(name - line) >= len && !strncmp(name - len, prefixes[i], len))
			return name - len;
	}
	return NULL;
}

/*
 * A task may be named as an event is, so the last place counts: no field has a colon
 * and a space. @end receives where what stands before the event ends.
 */
static const char *rg_trace_find(const char *line, struct rg_event *event, const char **end)
{
	const char *at, *prefix, *best = NULL;
	char mark[16];
	size_t len, i;

	for (i = 0; i < ARRAY_SIZE(rg_event_names); i++) {
		len = snprintf(mark, sizeof(mark), "%s: ", rg_event_names[i]);
		for (at = line; (at = strstr(at, mark)); at++) {
			prefix = rg_trace_prefix(line, at);
			if (!prefix || (best && at < best))
				continue;
			best = at + len;
			*end = prefix;
			event->kind = i;
		}
	}
	return best;
}

static double rg_trace_seconds(const char *line, const char *end)
{
	const char *start = end;

	while (start > line && strchr("0123456789.", start[-1]))
		start--;
	return start < end ? strtod(start, NULL) : -1;
}

static bool rg_trace_fields(const char *at, struct rg_event *event)
{
	char bdf[24], name[16], value[24];
	int nr = sscanf(at, "%23s %15[a-z_]=%23s", bdf, name, value);

	if (nr < 1 || rg_bdf_parse(bdf, event->bdf))
		return false;
	if (event->kind == RG_EVENT_OPEN) {
		if (nr != 3 || strcmp(name, "window_us"))
			return false;
		event->window_us = strtoll(value, NULL, 10);
	} else if (event->kind == RG_EVENT_CLOSE || event->kind == RG_EVENT_PARK ||
		   event->kind == RG_EVENT_BEGIN) {
		if (nr != 3 || strcmp(name, "reason"))
			return false;
		memcpy(event->reason, value, sizeof(value));
	}
	return true;
}

/**
 * rg_trace_line - read one line
 * @line: the line, without its newline
 * @event: receives what it tells
 *
 * Context: User space.
 * Return: false if it is none of the module's.
 */
bool rg_trace_line(const char *line, struct rg_event *event)
{
	const char *at = strstr(line, "[LOST "), *end = NULL;

	*event = (struct rg_event){ .seconds = -1 };
	if (at && sscanf(at, "[LOST %lld EVENTS]", &event->lost) == 1) {
		event->kind = RG_EVENT_LOST;
		return true;
	}
	at = rg_trace_find(line, event, &end);
	if (!at)
		return false;
	event->seconds = rg_trace_seconds(line, end);
	if (!rg_trace_fields(at, event))
		return false;
	rg_clean(event->reason);
	return true;
}
