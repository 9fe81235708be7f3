// SPDX-License-Identifier: GPL-2.0
/*
 * rgx: one command to the exerciser, one line of answer.
 * Exit status: 0 it was done, 1 it gave an error, 2 the call was wrong.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "rgx.h"

#define DEV "/dev/rglab"

static int fail(const char *what)
{
	fprintf(stderr, "rgx: %s: %s\n", what, strerror(errno));
	return 2;
}

static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = write(fd, text, strlen(text));
	n = n < 0 ? -errno : 0;
	close(fd);
	return n;
}

/* Binds a function to the exerciser's driver, or (no name) to its own again. */
static int bind_driver(const char *bdf, const char *driver)
{
	char path[128], full[32];
	int ret;

	snprintf(full, sizeof(full), "%s%s", strlen(bdf) < 12 ? "0000:" : "", bdf);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver_override", full);
	ret = put(path, *driver ? driver : "\n");
	if (ret)
		return answer(ret, path);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver/unbind", full);
	ret = put(path, full);
	if (ret && ret != -ENOENT)
		return answer(ret, path);
	if (strcmp(driver, "none") == 0)
		return answer(0, "");
	return answer(put("/sys/bus/pci/drivers_probe", full), "");
}

static int run(const char *line)
{
	char buf[1024], *text;
	ssize_t n;
	long ret;
	int fd = open(DEV, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return fail(DEV);
	if (write(fd, line, strlen(line)) < 0)
		return fail("write");
	n = pread(fd, buf, sizeof(buf) - 1, 0);
	if (n < 0)
		return fail("read");
	close(fd);
	while (n && (buf[n - 1] == '\n' || buf[n - 1] == ' '))
		n--;
	buf[n] = 0;
	if (buf[0] == '?') {
		fprintf(stderr, "rgx:%s\n", buf + 1);
		return 2;
	}
	ret = strtol(buf, &text, 10);
	return answer(ret, *text == ' ' ? text + 1 : text);
}

/* One uevent is "ACTION@PATH" and then KEY=VALUE, a zero byte behind each. */
static int heard(char *event, ssize_t len)
{
	char *word, *end = event + len;

	for (word = event; word < end; word += strlen(word) + 1) {
		if (strncmp(word, "RESETGATE=", 10))
			continue;
		printf("%s %s\n", strrchr(event, '/') + 1, word + 10);
		return 1;
	}
	return 0;
}

/* Runs a command and prints resetgate's uevents of it: uevents NUMBER COMMAND */
static int uevents(int number, const char *shell)
{
	struct sockaddr_nl all = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	int fd = socket(AF_NETLINK, SOCK_DGRAM, NETLINK_KOBJECT_UEVENT);
	struct timeval silence = { .tv_sec = 5 };
	char event[8192 + 1];
	int ret;

	if (fd < 0 || bind(fd, (struct sockaddr *)&all, sizeof(all)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof(silence)))
		return fail("uevents");
	ret = system(shell);
	while (number > 0) {
		ssize_t len = recv(fd, event, sizeof(event) - 1, 0);

		if (len < 0)
			return fail("uevents");
		event[len] = 0;
		number -= heard(event, len);
	}
	close(fd);
	return !!ret;
}

/* Leaves a mark in QEMU's trace: a write to a register of the host bridge. */
static int mark(int offset, unsigned int number)
{
	int fd = open("/sys/bus/pci/devices/0000:00:00.0/config", O_WRONLY);

	if (fd < 0 || pwrite(fd, &number, sizeof(number), offset) < 0)
		return fail("mark");
	close(fd);
	return 0;
}

static int command(int argc, char **argv)
{
	char line[400] = "";
	int i;

	if ((argc == 2 || argc == 3) && !strcmp(argv[0], "bind"))
		return bind_driver(argv[1], argc == 3 ? argv[2] : "rglab");
	if (argc == 2 && !strcmp(argv[0], "unbind"))
		return bind_driver(argv[1], "none");
	if (argc == 2 && !strcmp(argv[0], "rebind"))
		return bind_driver(argv[1], "");
	if (argc == 3 && !strcmp(argv[0], "mark"))
		return mark(atoi(argv[1]), strtoul(argv[2], NULL, 0));
	if (argc == 3 && !strcmp(argv[0], "uevents"))
		return uevents(atoi(argv[1]), argv[2]);
	for (i = 0; i < argc; i++) {
		if (strlen(line) + strlen(argv[i]) + 2 > sizeof(line)) {
			fprintf(stderr, "rgx: line too long\n");
			return 2;
		}
		strcat(strcat(line, i ? " " : ""), argv[i]);
	}
	return run(line);
}

/* Commands with a comma between them; without -k the first failure ends it. */
int main(int argc, char **argv)
{
	int keep = argc > 1 && !strcmp(argv[1], "-k");
	int first = 1 + keep, i, ret = 0;

	if (argc <= first) {
		fprintf(stderr, "usage: rgx [-k] COMMAND [ARGUMENT]... [, COMMAND ...]...\n");
		return 2;
	}
	for (i = first; i <= argc; i++) {
		if (i < argc && strcmp(argv[i], ","))
			continue;
		if (i > first)
			ret = command(i - first, argv + first);
		if (ret && !keep)
			break;
		first = i + 1;
	}
	return ret;
}
