// SPDX-License-Identifier: GPL-2.0
/* Events from the running module: its tracepoints, or its uevents where those are not permitted. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "function.h"
#include "sysfs.h"
#include "trace_line.h"
#include "watch.h"

#define RG_LIVE_ROOM (1 << 20)	/* bytes of uevents that may wait */

static const char *const rg_live_places[] = {
	"/sys/kernel/tracing", "/sys/kernel/debug/tracing"
};

static const char *const rg_live_events[] = {
	"close", "open", "park", "record", "drop", "reset_begin", "reset_end"
};

static int rg_live_uevents(void)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
	int room = RG_LIVE_ROOM;

	/* What is more than others than root may ask for is cut, not refused. */
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address))) {
		close(fd);
		return -1;
	}
	return fd;
}

/* An interrupted watch has an instance to remove: signals are read, not taken. */
static int rg_live_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -1;
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static double rg_live_seconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static int rg_live_write(const struct rg_live *live, const char *name, const char *text)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/%s", live->instance, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	return rg_write_text(path, text);
}

/* 0 or a negative errno; -ENODATA where the module's events are missing. */
static int rg_live_arm(struct rg_live *live)
{
	char name[64];
	int error;
	size_t i;

	/* The default waits until half of the buffer is full. Kernels before 5.0 lack it. */
	rg_live_write(live, "buffer_percent", "0");
	error = rg_live_write(live, "trace_clock", "mono");
	/* Each instance has that file; but a kernel that is locked down makes folders only. */
	if (error == -ENOENT)
		error = -EPERM;
	for (i = 0; !error && i < ARRAY_SIZE(rg_live_events); i++) {
		snprintf(name, sizeof(name), "events/resetgate/%s/enable", rg_live_events[i]);
		error = rg_live_write(live, name, "1");
		if (error == -ENOENT)
			error = -ENODATA;
	}
	return error;
}

/* Those of runs that were killed. One that is read cannot be removed, whosoever has it. */
static void rg_live_clear(const char *place)
{
	char path[PATH_MAX];
	DIR *dir = opendir(rg_path(path, "%s/instances", place));
	struct dirent *entry;
	int pid;

	if (!dir)
		return;
	while ((entry = readdir(dir)))
		if (sscanf(entry->d_name, "resetgate-%d", &pid) == 1 && pid > 0 &&
		    kill(pid, 0) && errno == ESRCH)
			rmdir(rg_path(path, "%s/instances/%s", place, entry->d_name));
	closedir(dir);
}

/* The first place that is mounted; NULL if none is, or nobody may look. */
static const char *rg_live_place(int *error)
{
	char path[PATH_MAX];
	size_t i;

	*error = -ENOENT;
	for (i = 0; i < ARRAY_SIZE(rg_live_places); i++) {
		if (rg_file_exists(rg_path(path, "%s/instances", rg_live_places[i])))
			return rg_live_places[i];
		if (errno == EACCES)
			*error = -EACCES;
	}
	return NULL;
}

/* 0 or a negative errno. */
static int rg_live_trace(struct rg_live *live)
{
	char path[PATH_MAX];
	int error;
	const char *place = rg_live_place(&error);

	if (!place)
		return error;
	rg_live_clear(place);
	rg_path(live->instance, "%s/instances/resetgate-%d", place, (int)getpid());
	if (mkdir(live->instance, 0700)) {
		*live->instance = '\0';
		return -errno;
	}
	error = rg_live_arm(live);
	if (error)
		return error;
	if (snprintf(path, sizeof(path), "%s/trace_pipe", live->instance) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	live->trace = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return live->trace < 0 ? -errno : 0;
}

static const char *rg_live_why_not(int error)
{
	if (error == -ENODATA)
		return "does not have the module's events; the kernel's log says why, or it is another version";
	if (error == -EACCES || error == -EPERM)
		return geteuid() ? "is not to be had without root" :
		       "is locked down (cat /sys/kernel/security/lockdown)";
	if (error == -ENOENT)
		return "is not mounted (mount -t tracefs nodev /sys/kernel/tracing)";
	return strerror(-error);
}

/**
 * rg_live_open - begin to listen
 * @live: to be given to rg_live_close(), after an error, too
 * @wall: receives what makes a time of day of a trace's time
 *
 * Context: User space.
 * Return: the exit code; it has been said why.
 */
int rg_live_open(struct rg_live *live, double *wall)
{
	int error;

	*live = (struct rg_live){ .uevents = -1, .trace = -1, .signals = rg_live_signals() };
	live->rest = malloc(RG_LIVE_LINE);
	if (live->signals < 0 || !live->rest)
		return rg_fail(RG_EXIT_SYSTEM, "cannot watch: %s", strerror(errno));
	*wall = rg_live_seconds(CLOCK_REALTIME) - rg_live_seconds(CLOCK_MONOTONIC);
	error = rg_live_trace(live);
	if (!error)
		return RG_EXIT_OK;
	rg_note("tracefs %s: reasons, records and drops are not shown", rg_live_why_not(error));
	live->uevents = rg_live_uevents();
	if (live->uevents < 0)
		return rg_fail(rg_errno_code(errno), "no uevents either: %s", strerror(errno));
	return RG_EXIT_OK;
}

static int rg_live_lines(struct rg_live *live, struct rg_watch *watch)
{
	char *line = live->rest, *end;
	struct rg_event event;
	int rc = RG_EXIT_OK;

	live->rest[live->rest_len] = '\0';
	while (!rc && (end = strchr(line, '\n'))) {
		*end = '\0';
		if (rg_trace_line(line, &event))
			rc = rg_watch_event(watch, &event);
		line = end + 1;
	}
	live->rest_len -= line - live->rest;
	memmove(live->rest, line, live->rest_len);
	/* A line as long as that is none of ours. */
	if (live->rest_len == RG_LIVE_LINE - 1)
		live->rest_len = 0;
	return rc;
}

/* One read: in a flood there is always more, and others wait, too. */
static int rg_live_read_trace(struct rg_live *live, struct rg_watch *watch)
{
	ssize_t got = read(live->trace, live->rest + live->rest_len,
			   RG_LIVE_LINE - 1 - live->rest_len);

	live->more = got > 0;
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return RG_EXIT_OK;
	if (got <= 0)
		return rg_fail(RG_EXIT_BAD, "the trace ended: %s", got ? strerror(errno) :
			       "somebody has removed its instance");
	live->rest_len += got;
	return rg_live_lines(live, watch);
}

static const char *rg_live_value(const char *text, size_t size, const char *name)
{
	const char *at;

	for (at = text; at < text + size; at += strlen(at) + 1)
		if (!strncmp(at, name, strlen(name)))
			return at + strlen(name);
	return NULL;
}

/* How many the kernel does not tell. */
static int rg_live_lost(struct rg_watch *watch)
{
	struct rg_event event = { .kind = RG_EVENT_LOST, .seconds = -1, .window_us = -1, .lost = -1 };

	return rg_watch_event(watch, &event);
}

/* Only the kernel's own messages count: others may send to the group, too. */
static int rg_live_read_uevent(struct rg_live *live, struct rg_watch *watch)
{
	struct rg_event event = { .seconds = -1, .window_us = -1 };
	struct sockaddr_nl from = { };
	socklen_t from_len = sizeof(from);
	const char *state, *slot;
	char text[8192];
	ssize_t size;

	size = recvfrom(live->uevents, text, sizeof(text) - 1, MSG_DONTWAIT,
			(struct sockaddr *)&from, &from_len);
	if (size < 0 && errno == ENOBUFS)
		return rg_live_lost(watch);
	if (size <= 0 || from.nl_pid)
		return RG_EXIT_OK;
	text[size] = '\0';
	state = rg_live_value(text, size, "RESETGATE=");
	slot = rg_live_value(text, size, "PCI_SLOT_NAME=");
	if (!state || !slot || rg_bdf_parse(slot, event.bdf))
		return RG_EXIT_OK;
	event.kind = !strcmp(state, "closed") ? RG_EVENT_CLOSE :
		     !strcmp(state, "parked") ? RG_EVENT_PARK : RG_EVENT_OPEN;
	return rg_watch_event(watch, &event);
}

/**
 * rg_live_run - tell of events until it is interrupted
 * @live: opened
 * @watch: whom to tell
 * @seconds: how long; -1: for ever
 *
 * Context: User space.
 * Return: RG_WATCH_DONE or the exit code.
 */
int rg_live_run(struct rg_live *live, struct rg_watch *watch, long seconds)
{
	struct pollfd fds[] = {
		{ .fd = live->trace, .events = POLLIN },
		{ .fd = live->uevents, .events = POLLIN },
		{ .fd = live->signals, .events = POLLIN },
	};
	double end = rg_live_seconds(CLOCK_MONOTONIC) + seconds;
	int rc = RG_EXIT_OK;

	while (!rc && !(fds[2].revents & POLLIN)) {
		if (seconds >= 0 && rg_live_seconds(CLOCK_MONOTONIC) >= end)
			break;
		if (poll(fds, ARRAY_SIZE(fds), live->more ? 0 : 200) < 0 && errno != EINTR)
			return rg_fail(RG_EXIT_SYSTEM, "poll: %s", strerror(errno));
		if (live->trace >= 0)
			rc = rg_live_read_trace(live, watch);
		if (!rc && fds[1].revents & POLLIN)
			rc = rg_live_read_uevent(live, watch);
		if (!rc && !rg_is_loaded())
			rc = rg_fail(RG_EXIT_UNLOADED, "the module has been unloaded: nothing more to watch");
	}
	return rc;
}

/**
 * rg_live_close - stop to listen, leave nothing behind
 * @live: opened, or tried to
 *
 * Context: User space.
 */
void rg_live_close(struct rg_live *live)
{
	if (live->trace >= 0)
		close(live->trace);
	if (live->uevents >= 0)
		close(live->uevents);
	if (live->signals >= 0)
		close(live->signals);
	if (*live->instance)
		rmdir(live->instance);
	free(live->rest);
}
