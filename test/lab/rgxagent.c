// SPDX-License-Identifier: GPL-2.0
/*
 * rgxagent PORT: the lab's hands in a guest, as its PID 1. PORT is one of
 * virtio-serial: a serial port takes 10 ms for what this one takes none for.
 *
 * One request is one line, "SEQ KIND BASE64"; one answer is one line, "RG SEQ
 * EXIT-CODE BASE64-OF-OUTPUT". The kinds:
 *
 *   run    a shell command
 *   job    one that runs on; the answer is its number
 *   wait   "NUMBER MS" for a job: its exit code and output, or -1 when the
 *          time is up and it runs still
 *   read   a file: 0 and its contents, or -errno
 *   write  "PATH TEXT": 0 or -errno; no space in PATH
 *   append the same, at the file's end; TEXT may be any bytes
 *
 * A program and not a shell's loop, and no process where none is needed: to
 * start one takes 10 to 20 ms under TCG, most of what a short request takes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINE	(1 << 20)
#define WORDS	128	/* of a command that is run without a shell */
#define JOBS	256
#define RUNS	(-1)	/* a job that has not ended */
#define POLL_US	5000
#define PORT_TRIES 2000
#define SHELLS	"\"#$&'()*;<>?[\\]`{|}~\t\n"

struct job {
	pid_t pid;
	int out;
	int status;
	int ended;
};

static struct job jobs[JOBS];
static int null;

static const char digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void put(int fd, const char *data, size_t len)
{
	ssize_t n;

	while (len) {
		n = write(fd, data, len);
		if (n < 0 && (errno == ENOMEM || errno == EINTR)) {
			usleep(POLL_US);
			continue;
		}
		if (n < 0)
			return;
		data += n;
		len -= n;
	}
}

/* In place; ends with a zero byte. Returns the length. */
static size_t decode(char *text)
{
	unsigned int bits = 0, have = 0;
	char *from = text, *to = text, *digit;

	for (; *from && (digit = strchr(digits, *from)); from++) {
		bits = bits << 6 | (digit - digits);
		have += 6;
		if (have < 8)
			continue;
		have -= 8;
		*to++ = bits >> have;
	}
	*to = 0;
	return to - text;
}

static char *encode(char *to, const unsigned char *from, size_t len)
{
	size_t i;

	for (i = 0; i < len; i += 3) {
		unsigned int left = len - i;
		unsigned int bits = from[i] << 16 | (left > 1 ? from[i + 1] << 8 : 0) |
				    (left > 2 ? from[i + 2] : 0);

		*to++ = digits[bits >> 18];
		*to++ = digits[bits >> 12 & 63];
		*to++ = left > 1 ? digits[bits >> 6 & 63] : '=';
		*to++ = left > 2 ? digits[bits & 63] : '=';
	}
	return to;
}

/* What has nothing in it that a shell would do; only rgx's programs are meant. */
static int split(char *command, char **words)
{
	int n = 1;
	char *c;

	if (strncmp(command, "rgx", 3) || command[strcspn(command, SHELLS)])
		return 0;
	for (c = command; *c; c++)
		n += *c == ' ';
	if (n >= WORDS)
		return 0;
	for (n = 0; (words[n] = strtok(n ? NULL : command, " ")); n++)
		;
	return 1;
}

static pid_t start(char *command, int in, int out)
{
	char *words[WORDS] = { "/bin/sh", "-c", command, NULL };
	pid_t child;

	split(command, words);
	child = vfork();
	if (child)
		return child;
	dup2(in, 0);
	dup2(out, 1);
	dup2(out, 2);
	execvp(words[0], words);
	_exit(127);
}

/* Jobs end in between; orphans of commands are reaped on the way, as PID 1 must. */
static void ended(pid_t pid, int status)
{
	int i;

	for (i = 0; i < JOBS; i++) {
		if (!jobs[i].pid || jobs[i].pid != pid || jobs[i].ended)
			continue;
		jobs[i].status = status;
		jobs[i].ended = 1;
	}
}

static int code_of(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run(char *command, int in, int out)
{
	pid_t child = start(command, in, out), pid;
	int status = 0;

	if (child < 0)
		return 127;
	while ((pid = waitpid(-1, &status, 0)) != child && pid > 0)
		ended(pid, status);
	return pid == child ? code_of(status) : 127;
}

static void answer(int port, const char *seq, int rc, int out)
{
	off_t len = lseek(out, 0, SEEK_END);
	unsigned char *text;
	char *line;
	int n;

	text = malloc(len + 1);
	line = malloc(64 + len / 3 * 4 + 4);
	len = pread(out, text, len, 0);
	n = snprintf(line, 64, "RG %.20s %d ", seq, rc);
	n = encode(line + n, text, len < 0 ? 0 : len) - line;
	line[n++] = '\n';
	put(port, line, n);
	free(line);
	free(text);
}

static int job(char *command, int out)
{
	int i;

	for (i = 0; i < JOBS && jobs[i].pid; i++)
		;
	if (i == JOBS)
		return -EAGAIN;
	jobs[i] = (struct job){ .out = memfd_create("job", MFD_CLOEXEC) };
	jobs[i].pid = start(command, null, jobs[i].out);
	if (jobs[i].pid < 0) {
		close(jobs[i].out);
		jobs[i].pid = 0;
		return -EAGAIN;
	}
	dprintf(out, "%d", i);
	return 0;
}

/* Its output is the answer's, and its place is free. */
static int wait_for(const char *text, int *out)
{
	long i = -1, ms = 0;
	int status;
	pid_t pid;

	if (sscanf(text, "%ld %ld", &i, &ms) != 2 || i < 0 || i >= JOBS || !jobs[i].pid)
		return -EINVAL;
	for (;; ms -= POLL_US / 1000) {
		while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
			ended(pid, status);
		if (jobs[i].ended || ms <= 0)
			break;
		usleep(POLL_US);
	}
	if (!jobs[i].ended)
		return RUNS;
	close(*out);
	*out = jobs[i].out;
	jobs[i].pid = 0;
	return code_of(jobs[i].status);
}

static int read_file(const char *path, int out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;
	char buf[4096];
	ssize_t n;

	if (fd < 0)
		return -errno;
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		put(out, buf, n);
	if (n < 0)
		rc = -errno;
	close(fd);
	return rc;
}

static int write_file(char *text, size_t len, int how)
{
	char *value = strchr(text, ' ');
	ssize_t n, all;
	int fd, rc;

	if (!value)
		return -EINVAL;
	*value++ = 0;
	all = text + len - value;
	fd = open(text, O_WRONLY | O_CLOEXEC | O_CREAT | how, 0644);
	if (fd < 0)
		return -errno;
	n = write(fd, value, all);
	rc = n < 0 ? -errno : n < all ? -ENOSPC : 0;
	close(fd);
	return rc;
}

static int carry_out(const char *kind, char *text, size_t len, int *out)
{
	if (!strcmp(kind, "run"))
		return run(text, null, *out);
	if (!strcmp(kind, "job"))
		return job(text, *out);
	if (!strcmp(kind, "wait"))
		return wait_for(text, out);
	if (!strcmp(kind, "read"))
		return read_file(text, *out);
	if (!strcmp(kind, "write"))
		return write_file(text, len, O_TRUNC);
	if (!strcmp(kind, "append"))
		return write_file(text, len, O_APPEND);
	return -EINVAL;
}

static void request(int port, char *line)
{
	char *kind = strchr(line, ' '), *text = kind ? strchr(kind + 1, ' ') : NULL;
	size_t len;
	int out, rc;

	if (!text)
		return;
	*kind++ = 0;
	*text++ = 0;
	len = decode(text);
	out = memfd_create("answer", MFD_CLOEXEC);
	rc = carry_out(kind, text, len, &out);
	answer(port, line, rc, out);
	close(out);
}

static void serve(int port)
{
	static char buf[LINE];
	size_t have = 0;
	char *end;
	ssize_t n;

	while (have < sizeof(buf) - 1 &&
	       (n = read(port, buf + have, sizeof(buf) - 1 - have)) > 0) {
		end = memchr(buf + have, '\n', n);
		have += n;
		while (end) {
			*end++ = 0;
			request(port, buf);
			have -= end - buf;
			memmove(buf, end, have);
			end = memchr(buf, '\n', have);
		}
	}
}

/* The node is there a moment before the driver has the port in its list: -ENXIO till then. */
static int open_port(const char *path)
{
	int tries = PORT_TRIES, fd;

	while ((fd = open(path, O_RDWR | O_CLOEXEC)) < 0 && tries--)
		usleep(POLL_US);
	return fd;
}

int main(int argc, char **argv)
{
	struct utsname name;
	int port;

	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	port = argc == 2 ? open_port(argv[1]) : -1;
	if (port < 0 || null < 0 || uname(&name)) {
		fprintf(stderr, "usage: rgxagent PORT\n");
	} else {
		int out = memfd_create("release", MFD_CLOEXEC);

		put(out, name.release, strlen(name.release));
		answer(port, "0", 0, out);
		close(out);
		serve(port);
		fprintf(stderr, "resetgate lab: agent lost its port\n");
	}
	sync();
	return reboot(RB_POWER_OFF);
}
