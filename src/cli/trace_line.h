/* SPDX-License-Identifier: GPL-2.0 */
/* A line of trace_pipe, as the module's tracepoints write it. */
#ifndef RG_TRACE_LINE_H
#define RG_TRACE_LINE_H

#include <stdbool.h>

enum rg_event_kind {
	RG_EVENT_CLOSE,
	RG_EVENT_OPEN,
	RG_EVENT_PARK,
	RG_EVENT_RECORD,
	RG_EVENT_DROP,
	RG_EVENT_BEGIN,		/* of a reset; nested ones, too */
	RG_EVENT_END,
	RG_EVENT_LOST,		/* the kernel had no room for some events */
	RG_NR_EVENT_KINDS
};

struct rg_event {
	enum rg_event_kind kind;
	double seconds;		/* of the trace's clock; negative: none */
	char bdf[24];		/* of a record or drop: the requester ID */
	char reason[24];	/* close, park and begin */
	long long window_us;	/* open */
	long long lost;
};

bool rg_trace_line(const char *line, struct rg_event *event);

#endif /* RG_TRACE_LINE_H */
