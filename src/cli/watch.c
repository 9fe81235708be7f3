// SPDX-License-Identifier: GPL-2.0
/*
 * resetgate watch: a line for each event.
 *
 * Root gets the tracepoints, in an instance of tracefs of its own, which others'
 * traces neither see nor disturb. Everybody gets the uevents, which tell less.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "json.h"
#include "sysfs.h"
#include "trace_line.h"
#include "watch.h"

#define RG_WATCH_FUNCTIONS 512

/* What happened to a requester ID since its function closed. */
struct rg_watch_count {
	char bdf[24];
	long long recorded;
	long long dropped;
};

struct rg_watch {
	struct rg_cli *cli;
	bool each;		/* resets, records and drops, too, one by one */
	long left;		/* events that are still wanted; -1: all */
	double wall;		/* what to add to the trace's clock; 0: it stands as it is */
	struct rg_watch_count counts[RG_WATCH_FUNCTIONS];
	size_t nr;
};

static struct rg_watch_count *rg_watch_count(struct rg_watch *watch, const char *bdf)
{
	size_t i;

	for (i = 0; i < watch->nr; i++)
		if (!strcmp(watch->counts[i].bdf, bdf))
			return &watch->counts[i];
	/* The oldest goes: it has had its line, or is no function's own. */
	if (watch->nr == RG_WATCH_FUNCTIONS)
		memmove(watch->counts, watch->counts + 1, --watch->nr * sizeof(watch->counts[0]));
	watch->counts[watch->nr] = (struct rg_watch_count){ };
	snprintf(watch->counts[watch->nr].bdf, sizeof(watch->counts[0].bdf), "%s", bdf);
	return &watch->counts[watch->nr++];
}

static void rg_watch_time(const struct rg_watch *watch, double seconds, char *text, size_t size)
{
	struct timespec now;
	char clock[16];
	struct tm tm;
	time_t whole;

	if (seconds >= 0 && !watch->wall) {
		snprintf(text, size, "%.6f", seconds);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	if (seconds < 0)
		seconds = now.tv_sec + now.tv_nsec / 1e9;
	else
		seconds += watch->wall;
	whole = seconds;
	strftime(clock, sizeof(clock), "%H:%M:%S", localtime_r(&whole, &tm));
	snprintf(text, size, "%s.%03d", clock, (int)((seconds - whole) * 1000));
}

static const char *const rg_watch_words[] = {
	[RG_EVENT_CLOSE] = "closed",
	[RG_EVENT_OPEN] = "opened",
	[RG_EVENT_PARK] = "parked",
	[RG_EVENT_RECORD] = "recorded",
	[RG_EVENT_DROP] = "dropped",
	[RG_EVENT_BEGIN] = "reset-began",
	[RG_EVENT_END] = "reset-ended",
	[RG_EVENT_LOST] = "lost",
};

static void rg_watch_json(struct rg_watch *watch, const struct rg_event *event, const char *when,
			  const struct rg_watch_count *count)
{
	struct rg_json json = { .out = watch->cli->out, .line = true };

	rg_json_open(&json, NULL, '{');
	rg_json_number(&json, "schema", RG_JSON_SCHEMA);
	rg_json_text(&json, "command", "watch");
	rg_json_text(&json, "time", when);
	rg_json_text(&json, "event", rg_watch_words[event->kind]);
	rg_json_text(&json, "bdf", event->bdf);
	if (*event->reason)
		rg_json_text(&json, "reason", event->reason);
	if (event->kind == RG_EVENT_LOST && event->lost < 0)
		rg_json_null(&json, "lost");
	else if (event->kind == RG_EVENT_LOST)
		rg_json_number(&json, "lost", event->lost);
	if (event->kind == RG_EVENT_OPEN && event->window_us >= 0)
		rg_json_number(&json, "window_us", event->window_us);
	if (event->kind == RG_EVENT_OPEN && count) {
		rg_json_number(&json, "recorded", count->recorded);
		rg_json_number(&json, "dropped", count->dropped);
	}
	rg_json_close(&json, '}');
	fputc('\n', watch->cli->out);
}

static void rg_watch_text(struct rg_watch *watch, const struct rg_event *event, const char *when,
			  const struct rg_watch_count *count)
{
	FILE *out = watch->cli->out;
	const char *word = rg_watch_words[event->kind];
	/* Colours are those of the states. */
	const char *state = event->kind == RG_EVENT_OPEN ? "open" : word;

	if (event->kind == RG_EVENT_LOST && event->lost < 0) {
		fprintf(out, "%s the kernel had no room for events: some were lost\n", when);
		return;
	}
	if (event->kind == RG_EVENT_LOST) {
		fprintf(out, "%s the kernel had no room for %lld events\n", when, event->lost);
		return;
	}
	fprintf(out, "%s %s %s%s%s", when, event->bdf, rg_paint(watch->cli, state), word,
		rg_unpaint(watch->cli, state));
	if (*event->reason)
		fprintf(out, " by %s", event->reason);
	if (event->kind == RG_EVENT_OPEN && event->window_us >= 0)
		fprintf(out, " after %.3f ms", event->window_us / 1e3);
	if (event->kind == RG_EVENT_OPEN && count)
		fprintf(out, ": %lld recorded, %lld dropped", count->recorded, count->dropped);
	fputc('\n', out);
}

/* What happens while a function is closed: --each has it, and it resets no count. */
static bool rg_watch_is_detail(enum rg_event_kind kind)
{
	return kind == RG_EVENT_RECORD || kind == RG_EVENT_DROP || kind == RG_EVENT_BEGIN ||
	       kind == RG_EVENT_END;
}

/**
 * rg_watch_event - tell of an event
 * @watch: the run
 * @event: the event
 *
 * Context: User space.
 * Return: RG_EXIT_OK to go on, RG_WATCH_DONE after the last one that is wanted, or
 * an exit code.
 */
int rg_watch_event(struct rg_watch *watch, const struct rg_event *event)
{
	struct rg_watch_count *count = NULL;
	char when[32];
	int rc;

	if (event->kind != RG_EVENT_LOST)
		count = rg_watch_count(watch, event->bdf);
	if (event->kind == RG_EVENT_RECORD)
		count->recorded++;
	if (event->kind == RG_EVENT_DROP)
		count->dropped++;
	if (rg_watch_is_detail(event->kind) && !watch->each)
		return RG_EXIT_OK;
	/* Where it comes from a uevent nobody has counted. */
	if (event->window_us < 0)
		count = NULL;
	rg_watch_time(watch, event->seconds, when, sizeof(when));
	if (watch->cli->json)
		rg_watch_json(watch, event, when, count);
	else
		rg_watch_text(watch, event, when, count);
	if (count && !rg_watch_is_detail(event->kind))
		count->recorded = count->dropped = 0;
	rc = rg_flush(watch->cli);
	if (rc || watch->left < 0)
		return rc;
	return --watch->left ? RG_EXIT_OK : RG_WATCH_DONE;
}

static int rg_watch_from(struct rg_watch *watch, const char *name)
{
	FILE *in = strcmp(name, "-") ? fopen(name, "r") : stdin;
	struct rg_event event;
	int rc = RG_EXIT_OK, found = 0;
	double last = 0;
	char *line = NULL;
	size_t size = 0;
	ssize_t len;

	if (!in)
		return rg_fail(rg_errno_code(errno), "%s: %s%s", name, strerror(errno),
			       rg_way_out(errno));
	while (!rc && (len = getline(&line, &size, in)) > 0) {
		line[strcspn(line, "\n")] = '\0';
		if (!rg_trace_line(line, &event))
			continue;
		/* That some were lost has no time of its own: it was after the last one. */
		if (event.kind == RG_EVENT_LOST)
			event.seconds = last;
		last = event.seconds;
		found++;
		rc = rg_watch_event(watch, &event);
	}
	if (!rc && ferror(in))
		rc = rg_fail(RG_EXIT_BAD, "%s: %s%s", name, strerror(errno), rg_way_out(errno));
	else if (!rc && !found)
		rc = rg_fail(RG_EXIT_BAD,
			     "%s: no event of resetgate in it; expected the text of trace_pipe, perf script or trace-cmd report",
			     name);
	free(line);
	if (in != stdin)
		fclose(in);
	return rc;
}

static int rg_watch_live(struct rg_watch *watch, long seconds)
{
	struct rg_live live;
	int rc;

	if (!rg_is_loaded())
		return rg_not_loaded();
	rc = rg_live_open(&live, &watch->wall);
	if (!rc)
		rc = rg_live_run(&live, watch, seconds);
	rg_live_close(&live);
	return rc;
}

static int rg_watch_do(struct rg_watch *watch, const char *from, long seconds)
{
	int rc = from ? rg_watch_from(watch, from) : rg_watch_live(watch, seconds);

	return rc == RG_WATCH_DONE ? RG_EXIT_OK : rc;
}

static int rg_watch_run(struct rg_cli *cli, int argc, char **argv)
{
	static const struct option options[] = {
		{ "count", required_argument, NULL, RG_OPTION_COUNT },
		{ "seconds", required_argument, NULL, RG_OPTION_SECONDS },
		{ "from", required_argument, NULL, RG_OPTION_FROM },
		{ "each", no_argument, NULL, RG_OPTION_EACH },
		RG_OPTION_JSON, RG_OPTION_HELP, RG_OPTION_LAST
	};
	static struct rg_watch watch;	/* too large for the stack's taste */
	const char *from = NULL;
	int option, rc = RG_EXIT_OK;
	long seconds = -1;

	watch = (struct rg_watch){ .cli = cli, .left = -1 };
	while ((option = rg_next_option(cli, argc, argv, options)) != RG_NO_OPTION) {
		if (option < 0)
			return rg_option_result(option);
		if (option == RG_OPTION_COUNT)
			rc = rg_number_option(cli, "--count", optarg, 1000000000, &watch.left);
		else if (option == RG_OPTION_SECONDS)
			rc = rg_number_option(cli, "--seconds", optarg, 1000000, &seconds);
		else if (option == RG_OPTION_FROM)
			from = optarg;
		else
			watch.each = true;
		if (rc)
			return rc;
	}
	rc = rg_no_more_words(cli, argc, argv);
	if (!rc && from && seconds >= 0)
		rc = rg_fail(RG_EXIT_USAGE, "watch: --from and --seconds exclude each other");
	return rc ? rc : rg_watch_do(&watch, from, seconds);
}

const struct rg_command rg_watch_command = {
	.name = "watch",
	.usage = "[--each] [--count N] [--seconds N] [--from FILE]",
	.brief = "events as they come",
	.help = "A line for each function that closes, opens or is parked, until it is interrupted.\n"
		"As root with what was recorded and dropped meanwhile, from the tracepoints; else from\n"
		"uevents alone. Records and drops are by requester ID.\n\n"
		"  --each         a line for each reset, record and drop, too\n"
		"  --count N      end after N lines\n"
		"  --seconds N    end after N seconds\n"
		"  --from FILE    read a recorded trace's text instead; -: standard input\n",
	.run = rg_watch_run,
};
