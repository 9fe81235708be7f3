// SPDX-License-Identifier: GPL-2.0
/*
 * Reads resetgate's events from what trace-cmd report, perf script or tracefs
 * print. All three have "SECONDS.FRACTION: [resetgate:]EVENT: BDF ..." in their
 * lines; what stands before it differs, and a task's name may be anything.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "timeline.h"

#define RG_TL_MAGIC "\x17\x08\x44tracing"	/* trace-cmd.dat(5) */
#define RG_TL_PERF "PERFILE2"
#define RG_TL_SYSTEM "resetgate:"
#define RG_TL_LATEST 1e11	/* seconds; no clock is later */

static const char *const rg_tl_names[RG_TL_KINDS] = {
	[RG_TL_BEGIN] = "reset_begin:",
	[RG_TL_CLOSE] = "close:",
	[RG_TL_RECORD] = "record:",
	[RG_TL_DROP] = "drop:",
	[RG_TL_END] = "reset_end:",
	[RG_TL_OPEN] = "open:",
	[RG_TL_PARK] = "park:",
};

static bool rg_tl_has_reason(enum rg_tl_kind kind)
{
	return kind == RG_TL_BEGIN || kind == RG_TL_CLOSE || kind == RG_TL_PARK;
}

/**
 * rg_tl_grow - room for one more
 * @array: the array; it moves
 * @room: its room, in elements
 * @nr: how many of them are in use
 * @size: of an element
 *
 * Context: User space.
 * Return: the array; NULL if there is no memory, and the old one stays.
 */
void *rg_tl_grow(void *array, size_t *room, size_t nr, size_t size)
{
	void *larger;

	if (nr < *room)
		return array;
	larger = reallocarray(array, *room ? *room * 2 : 64, size);
	if (larger)
		*room = *room ? *room * 2 : 64;
	return larger;
}

/* What follows the BDF. A reason is a word of the module's: safe to print. */
static bool rg_tl_parse_event(const char *text, struct rg_tl_event *event)
{
	unsigned int domain, bus, device, function;
	unsigned long long window;
	int used = 0;

	if (sscanf(text, " %4x:%2x:%2x.%1x%n", &domain, &bus, &device, &function, &used) != 4 ||
	    device > 31 || function > 7 || !(isspace((unsigned char)text[used]) || !text[used]))
		return false;
	event->key = domain << 16 | bus << 8 | device << 3 | function;
	event->reason[0] = 0;
	event->window = RG_TL_NEVER;
	if (event->kind == RG_TL_OPEN && sscanf(text + used, " window_us=%18llu", &window) == 1)
		event->window = window / 1e6;
	return !rg_tl_has_reason(event->kind) ||
	       sscanf(text + used, " reason=%19[a-z_0-9]", event->reason) == 1;
}

/* Returns 1 if there is an event at @text, 0 if not, -1 if it is ours and makes no sense. */
static int rg_tl_event_at(const char *text, struct rg_tl_event *event)
{
	bool ours = !strncmp(text, RG_TL_SYSTEM, strlen(RG_TL_SYSTEM));
	int kind;

	if (ours)
		text += strlen(RG_TL_SYSTEM);
	for (kind = 0; kind < RG_TL_KINDS; kind++) {
		size_t len = strlen(rg_tl_names[kind]);

		if (strncmp(text, rg_tl_names[kind], len))
			continue;
		event->kind = kind;
		if (rg_tl_parse_event(text + len, event))
			return 1;
		/* Other systems have events of these names. */
		return ours ? -1 : 0;
	}
	return 0;
}

/* The time stands before the event's name; the first place where both are counts. */
static int rg_tl_parse(const char *line, struct rg_tl_event *event)
{
	const char *at = line;
	char *end;
	int rc;

	while ((at = strchr(at, '.'))) {
		const char *start = at++;

		while (start > line && isdigit((unsigned char)start[-1]))
			start--;
		if (!isdigit((unsigned char)*start) || !isdigit((unsigned char)*at))
			continue;
		event->at = strtod(start, &end);
		if (end[0] != ':' || !isspace((unsigned char)end[1]))
			continue;
		rc = rg_tl_event_at(end + 1 + strspn(end + 1, " \t"), event);
		if (rc)
			return event->at < RG_TL_LATEST ? rc : -1;
	}
	return 0;
}

static int rg_tl_add(struct rg_timeline *timeline, const struct rg_tl_event *event)
{
	struct rg_tl_event *events;

	events = rg_tl_grow(timeline->events, &timeline->room_events, timeline->nr_events,
			    sizeof(*events));
	if (!events)
		return rg_fail(RG_EXIT_SYSTEM, "timeline: out of memory");
	timeline->events = events;
	events[timeline->nr_events++] = *event;
	return 0;
}

static int rg_tl_read_lines(struct rg_timeline *timeline, const char *name, FILE *file)
{
	struct rg_tl_event event;
	size_t room = 0, nr = 0;
	char *line = NULL;
	int rc = 0, found;

	while (!rc && getline(&line, &room, file) > 0) {
		line[strcspn(line, "\n")] = 0;
		event.line = ++nr;
		timeline->lost |= strstr(line, "EVENTS DROPPED]") || strstr(line, "[LOST ");
		found = rg_tl_parse(line, &event);
		if (found > 0)
			rc = rg_tl_add(timeline, &event);
		else if (found < 0)
			rc = rg_fail(RG_EXIT_BAD,
				     "timeline: %s: line %zu: expected an event of resetgate, found '%.80s'",
				     name, nr, line);
	}
	free(line);
	if (!rc && ferror(file))
		rc = rg_fail(rg_errno_code(errno), "timeline: %s: %s%s", name, strerror(errno),
			     rg_way_out(errno));
	if (!rc && !timeline->nr_events)
		rc = rg_fail(RG_EXIT_BAD,
			     "timeline: %s: expected events of resetgate, found none in %zu lines; record with trace-cmd record -e resetgate",
			     name, nr);
	return rc;
}

/* A file without a name, which others can open again by its number. */
static int rg_tl_spool(int from)
{
	int fd = memfd_create("trace", 0);
	char data[65536];
	ssize_t n;

	while (fd >= 0 && (n = read(from, data, sizeof(data)))) {
		if (n < 0 || write(fd, data, n) != n) {
			close(fd);
			fd = -1;
		}
	}
	return fd;
}

static void rg_tl_report(int in, int out)
{
	int null = open("/dev/null", O_RDWR);
	char path[32];

	signal(SIGPIPE, SIG_DFL);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", in);
	dup2(null, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	execlp("trace-cmd", "trace-cmd", "report", "-i", path, (char *)NULL);
	_exit(errno == ENOENT ? 127 : 126);
}

/* Replaces the binary trace in @fd by its text. */
static int rg_tl_to_text(const char *name, int *fd)
{
	int out = memfd_create("text", 0), status = -1;
	pid_t child = out < 0 ? -1 : fork();

	if (!child)
		rg_tl_report(*fd, out);
	if (child < 0 || waitpid(child, &status, 0) < 0)
		return rg_fail(RG_EXIT_SYSTEM, "timeline: trace-cmd: %s", strerror(errno));
	close(*fd);
	*fd = out;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return rg_fail(RG_EXIT_TOOL,
			       "timeline: %s is binary: expected trace-cmd to read it, found none; install trace-cmd",
			       name);
	if (status)
		return rg_fail(RG_EXIT_BAD,
			       "timeline: %s: expected a trace of trace-cmd, trace-cmd report refuses it",
			       name);
	return 0;
}

/* What is no file can be read but once: a pipe, as <(...) is. */
static int rg_tl_open_named(const char *name)
{
	int fd = open(name, O_RDONLY), copy;
	struct stat st;

	if (fd < 0 || (!fstat(fd, &st) && S_ISREG(st.st_mode)))
		return fd;
	copy = rg_tl_spool(fd);
	close(fd);
	return copy;
}

static int rg_tl_open(const char *name, int *fd)
{
	char magic[16] = "";

	*fd = strcmp(name, "-") ? rg_tl_open_named(name) : rg_tl_spool(STDIN_FILENO);
	if (*fd < 0)
		return rg_fail(rg_errno_code(errno), "timeline: %s: %s%s", name, strerror(errno),
			       rg_way_out(errno));
	if (pread(*fd, magic, sizeof(magic), 0) <= 0)
		return 0;
	if (!memcmp(magic, RG_TL_PERF, strlen(RG_TL_PERF)))
		return rg_fail(RG_EXIT_BAD,
			       "timeline: %s: expected text, found a recording of perf; give it what perf script prints",
			       name);
	return memcmp(magic, RG_TL_MAGIC, strlen(RG_TL_MAGIC)) ? 0 : rg_tl_to_text(name, fd);
}

/**
 * rg_tl_read - read the events of a trace
 * @timeline: zeroed; receives them
 * @name: a file, or "-" for standard input: text, or what trace-cmd records
 *
 * Context: User space.
 * Return: RG_EXIT_OK, or another exit code, and why was said.
 */
int rg_tl_read(struct rg_timeline *timeline, const char *name)
{
	FILE *file;
	int fd, rc;

	rc = rg_tl_open(name, &fd);
	if (fd >= 0 && rc)
		close(fd);
	if (rc)
		return rc;
	lseek(fd, 0, SEEK_SET);
	file = fdopen(fd, "r");
	if (!file)
		return rg_fail(RG_EXIT_SYSTEM, "timeline: %s", strerror(errno));
	rc = rg_tl_read_lines(timeline, name, file);
	fclose(file);
	return rc;
}
