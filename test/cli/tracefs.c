// SPDX-License-Identifier: GPL-2.0
/*
 * To be preloaded: what the kernel does for who watches.
 *
 * A new instance of tracefs has its files; its trace_pipe is what RG_TRACE_PIPE
 * names. With RG_LOCKED there can be no instance or, if that is not empty, no file in
 * it; with RG_NO_EVENTS it lacks events. With RG_NO_BUFFER the kernel has dropped uevents, once, and sends no others.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define REAL(function) ((__typeof__(&(function)))dlsym(RTLD_NEXT, #function))

static void fill(int dir)
{
	static const char *const events[] = { "close", "open", "park", "record", "drop",
					      "reset_begin", "reset_end" };
	char path[64];
	size_t i;

	close(openat(dir, "buffer_percent", O_CREAT | O_WRONLY, 0600));
	close(openat(dir, "trace_clock", O_CREAT | O_WRONLY, 0600));
	mkdirat(dir, "events", 0700);
	if (!getenv("RG_NO_EVENTS"))
		mkdirat(dir, "events/resetgate", 0700);
	for (i = 0; i < ARRAY_SIZE(events); i++) {
		snprintf(path, sizeof(path), "events/resetgate/%s", events[i]);
		mkdirat(dir, path, 0700);
		strcat(path, "/enable");
		close(openat(dir, path, O_CREAT | O_WRONLY, 0600));
	}
	if (symlinkat(getenv("RG_TRACE_PIPE"), dir, "trace_pipe"))
		abort();
}

/* An instance goes whole, with all in it. */
int rmdir(const char *path)
{
	char gone[4096];

	if (!strstr(path, "/instances/"))
		return REAL(rmdir)(path);
	snprintf(gone, sizeof(gone), "%s.gone", path);
	return rename(path, gone);
}

int mkdir(const char *path, mode_t mode)
{
	int dir, rc;

	if (getenv("RG_LOCKED") && !*getenv("RG_LOCKED") && strstr(path, "/instances/")) {
		errno = EPERM;
		return -1;
	}
	rc = mkdirat(AT_FDCWD, path, mode);
	if (rc || !getenv("RG_TRACE_PIPE") || getenv("RG_LOCKED") || !strstr(path, "/instances/"))
		return rc;
	dir = open(path, O_RDONLY | O_DIRECTORY);
	fill(dir);
	close(dir);
	return 0;
}

static int dropped;

ssize_t recvfrom(int fd, void *buf, size_t size, int flags, struct sockaddr *from, socklen_t *len)
{
	if (!getenv("RG_NO_BUFFER"))
		return REAL(recvfrom)(fd, buf, size, flags, from, len);
	errno = dropped++ ? EAGAIN : ENOBUFS;
	return -1;
}

int poll(struct pollfd *fds, nfds_t nr, int timeout)
{
	int rc = REAL(poll)(fds, nr, timeout);

	if (nr > 1 && getenv("RG_NO_BUFFER") && !dropped) {
		fds[1].revents = POLLIN | POLLERR;
		rc++;
	}
	return rc;
}
