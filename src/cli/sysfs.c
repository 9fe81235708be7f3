// SPDX-License-Identifier: GPL-2.0
/* Reads and writes files of the system. Tests give a tree of their own. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "sysfs.h"

/**
 * rg_path - a path of the system, below RESETGATE_ROOT if that is set
 * @buf: PATH_MAX bytes
 * @format: the absolute path
 *
 * Context: User space.
 * Return: @buf; a path that is too long is cut, and then there is no such file.
 */
const char *rg_path(char *buf, const char *format, ...)
{
	const char *root = getenv("RESETGATE_ROOT");
	va_list args;
	size_t len;

	snprintf(buf, PATH_MAX, "%s", root ? root : "");
	len = strlen(buf);
	va_start(args, format);
	vsnprintf(buf + len, PATH_MAX - len, format, args);
	va_end(args);
	return buf;
}

static ssize_t rg_read_fd(int fd, char *buf, size_t size)
{
	size_t len = 0;
	ssize_t got;

	while (len < size) {
		got = read(fd, buf + len, size - len);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			return len;
		len += got;
	}
	return -E2BIG;
}

/**
 * rg_read_at - a small text file, without its last newline
 * @dir: an open directory, or AT_FDCWD
 * @name: the file
 * @buf: receives the text
 * @size: its size; a text that does not fit is an error
 *
 * Context: User space.
 * Return: the length, or a negative errno.
 */
ssize_t rg_read_at(int dir, const char *name, char *buf, size_t size)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t len;

	if (fd < 0)
		return -errno;
	/* These are shorter than a page: one read has all of it. */
	len = read(fd, buf, size);
	len = len < 0 ? -errno : (size_t)len == size ? -E2BIG : len;
	close(fd);
	if (len < 0)
		return len;
	if (len && buf[len - 1] == '\n')
		len--;
	buf[len] = '\0';
	return strlen(buf) == (size_t)len ? len : -EINVAL;
}

/**
 * rg_read_line - the same by path
 * @path: the file
 * @buf: receives the text
 * @size: its size
 *
 * Context: User space.
 * Return: the length, or a negative errno.
 */
ssize_t rg_read_line(const char *path, char *buf, size_t size)
{
	return rg_read_at(AT_FDCWD, path, buf, size);
}

/* Room for the first try; 0: it is known to be too long. */
static size_t rg_read_room(int fd, size_t most)
{
	size_t room = 1 << 16;
	struct stat st;

	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size > 0) {
		if ((size_t)st.st_size > most)
			return 0;
		room = st.st_size + 1;
	}
	return room > most ? most + 1 : room;
}

static char *rg_read_growing(int fd, size_t most, size_t *size, int *error)
{
	size_t room = rg_read_room(fd, most), len = 0;
	char *data, *more;
	ssize_t got;

	if (!room) {
		*error = E2BIG;
		return NULL;
	}
	data = malloc(room);
	while (data) {
		got = rg_read_fd(fd, data + len, room - len);
		if (got >= 0) {
			/* There is room: a full buffer would have been too short. */
			*size = len + got;
			data[*size] = '\0';
			return data;
		}
		*error = -got;
		len = room;
		/* What has no end, as a device, shall not cost twice what a kernel may. */
		room = room > most / 2 ? most + 1 : room * 2;
		if (got != -E2BIG || len > most)
			break;
		more = realloc(data, room);
		if (!more)
			*error = ENOMEM;
		else
			data = more;
		if (!more)
			break;
	}
	if (!data)
		*error = ENOMEM;
	free(data);
	return NULL;
}

/**
 * rg_read_all - a whole file
 * @path: the file
 * @most: a longer one is an error
 * @size: receives its length
 * @error: receives an errno where it cannot be read
 *
 * Context: User space.
 * Return: the contents with a NUL behind them, to be freed, or NULL.
 */
char *rg_read_all(const char *path, size_t most, size_t *size, int *error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *data;

	if (fd < 0) {
		*error = errno;
		return NULL;
	}
	data = rg_read_growing(fd, most, size, error);
	close(fd);
	return data;
}

/**
 * rg_write_text - write to a file that is there
 * @path: the file
 * @text: in one write, as sysfs wants it
 *
 * Context: User space.
 * Return: 0 or a negative errno.
 */
int rg_write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC | O_TRUNC);
	int error = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		error = -errno;
	close(fd);
	return error;
}

/**
 * rg_file_exists - is there such a file?
 * @path: the file
 *
 * Context: User space.
 * Return: 1 or 0.
 */
int rg_file_exists(const char *path)
{
	return !access(path, F_OK);
}

/**
 * rg_is_loaded - is the module there?
 *
 * Context: User space.
 * Return: 1 or 0.
 */
int rg_is_loaded(void)
{
	char path[PATH_MAX];

	return rg_file_exists(rg_path(path, RG_SYSFS_MODULE));
}

/**
 * rg_not_loaded - say that it is not
 *
 * Context: User space.
 * Return: the exit code.
 */
int rg_not_loaded(void)
{
	return rg_fail(RG_EXIT_UNLOADED,
		       "the module is not loaded: modprobe resetgate; resetgate check says whether it fits this kernel");
}

/**
 * rg_not_loaded_or - say that the module is not loaded or, if it is, something else
 * @code: the exit code if it is
 * @format: the line
 *
 * Context: User space.
 * Return: the exit code.
 */
int rg_not_loaded_or(int code, const char *format, ...)
{
	char text[512];
	va_list args;

	if (!rg_is_loaded())
		return rg_not_loaded();
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return rg_fail(code, "%s", text);
}
