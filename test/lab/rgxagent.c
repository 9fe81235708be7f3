// SPDX-License-Identifier: GPL-2.0
/*
 * rgxagent PORT: the lab's hands in a guest, as its PID 1.
 *
 * One request is one line, "SEQ BASE64-OF-COMMAND"; one answer is one line,
 * "RG SEQ EXIT-CODE BASE64-OF-OUTPUT", of gzip's output behind "gz:" where it
 * would be long, for the port is slow. Empty lines are skipped. A program and
 * not a shell's loop: a shell reads a port byte by byte and starts four
 * programs for each request, most of what a short request takes under TCG.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define LINE	65536
#define PLAIN	600	/* bytes of output that are not worth packing */

static const char digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void put(int fd, const char *data, size_t len)
{
	ssize_t n;

	while (len) {
		n = write(fd, data, len);
		if (n < 0)
			return;
		data += n;
		len -= n;
	}
}

/* In place; ends with a zero byte. */
static void decode(char *text)
{
	unsigned int bits = 0, have = 0;
	char *to = text, *digit;

	for (; *text && (digit = strchr(digits, *text)); text++) {
		bits = bits << 6 | (digit - digits);
		have += 6;
		if (have < 8)
			continue;
		have -= 8;
		*to++ = bits >> have;
	}
	*to = 0;
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

/* Runs a command; orphans of earlier ones are reaped on the way, as PID 1 must. */
static int run(const char *command, int in, int out)
{
	pid_t child = vfork(), ended;
	int status = 0;

	if (!child) {
		dup2(in, 0);
		dup2(out, 1);
		dup2(out, 2);
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	do {
		ended = waitpid(-1, &status, 0);
	} while (ended != child && ended > 0);
	if (ended != child)
		return 127;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void answer(int port, const char *seq, int rc, int out)
{
	int packed = -1;
	off_t len = lseek(out, 0, SEEK_END);
	unsigned char *text;
	char *line;
	int n;

	if (len > PLAIN) {
		packed = memfd_create("packed", MFD_CLOEXEC);
		lseek(out, 0, SEEK_SET);
		run("gzip -c", out, packed);
		out = packed;
		len = lseek(out, 0, SEEK_END);
	}
	text = malloc(len + 1);
	line = malloc(64 + len / 3 * 4 + 4);
	len = pread(out, text, len, 0);
	n = snprintf(line, 64, "RG %.20s %d %s", seq, rc, packed < 0 ? "" : "gz:");
	n = encode(line + n, text, len < 0 ? 0 : len) - line;
	line[n++] = '\n';
	put(port, line, n);
	free(line);
	free(text);
	if (packed >= 0)
		close(packed);
}

static void request(int port, int null, char *line)
{
	char *code = strchr(line, ' ');
	int out, rc;

	if (!code)
		return;
	*code++ = 0;
	decode(code);
	out = memfd_create("answer", MFD_CLOEXEC);
	rc = run(code, null, out);
	answer(port, line, rc, out);
	close(out);
}

static void serve(int port, int null)
{
	static char buf[LINE];
	size_t have = 0;
	char *end;
	ssize_t n;

	while (have < sizeof(buf) - 1 &&
	       (n = read(port, buf + have, sizeof(buf) - 1 - have)) > 0) {
		have += n;
		buf[have] = 0;
		while ((end = strchr(buf, '\n'))) {
			*end++ = 0;
			request(port, null, buf);
			have -= end - buf;
			memmove(buf, end, have + 1);
		}
	}
}

/* The port as it is: no echo, no signals, every byte passed on. */
static int open_port(const char *path)
{
	int port = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct termios raw;

	if (port < 0 || tcgetattr(port, &raw))
		return -1;
	cfmakeraw(&raw);
	cfsetspeed(&raw, B115200);
	return tcsetattr(port, TCSANOW, &raw) ? -1 : port;
}

int main(int argc, char **argv)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), port;
	struct utsname name;

	port = argc == 2 ? open_port(argv[1]) : -1;
	if (port < 0 || null < 0 || uname(&name)) {
		fprintf(stderr, "usage: rgxagent PORT, a serial port\n");
	} else {
		int out = memfd_create("release", MFD_CLOEXEC);

		put(out, name.release, strlen(name.release));
		answer(port, "0", 0, out);
		close(out);
		serve(port, null);
		fprintf(stderr, "resetgate lab: agent lost its port\n");
	}
	sync();
	return reboot(RB_POWER_OFF);
}
