// SPDX-License-Identifier: GPL-2.0
/*
 * Reads the covered functions from sysfs.
 *
 * A function may be removed, or the module unloaded, between two files of it.
 * Then all is read again, and after some times that is said: what is shown was
 * there, whole. All of them are as many as the module says once they are read.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "function.h"
#include "sysfs.h"

#define RG_FUNCTION_TRIES	4
#define RG_FUNCTION_WAIT_US	10000

struct rg_function_file {
	const char *name;
	size_t at;
	int is_number;
	int optional;		/* not every version of the module has it */
	int detail;		/* the table of all does not show it */
};

#define RG_FILE(name, is_number, optional, detail) \
	{ #name, offsetof(struct rg_function, name), is_number, optional, detail }

static const struct rg_function_file rg_function_files[] = {
	RG_FILE(state, 0, 0, 0),
	RG_FILE(mode, 0, 0, 0),
	RG_FILE(policy, 0, 1, 0),
	RG_FILE(reason, 0, 0, 0),
	RG_FILE(depth, 1, 0, 1),
	RG_FILE(windows, 1, 0, 0),
	RG_FILE(last_window_us, 1, 0, 0),
	RG_FILE(recorded, 1, 0, 0),
	RG_FILE(dropped, 1, 0, 0),
	RG_FILE(last_error, 1, 0, 0),
};

/* Hexadecimal digits up to @end; -1 if there are too few, too many or others. */
static long rg_bdf_digits(const char **at, char end, int least, int most)
{
	long val = 0;
	int nr;

	for (nr = 0; isxdigit((unsigned char)**at) && nr <= most; nr++, (*at)++)
		val = val * 16 + (isdigit((unsigned char)**at) ? **at - '0' :
				  tolower((unsigned char)**at) - 'a' + 10);
	if (nr < least || nr > most || **at != end)
		return -1;
	if (end)
		(*at)++;
	return val;
}

/**
 * rg_bdf_parse - the address of a PCI function
 * @text: such as 0000:01:00.0, or 01:00.0
 * @bdf: RG_BDF_TEXT bytes for the name that sysfs has for it
 *
 * Context: User space.
 * Return: 0 or -EINVAL.
 */
int rg_bdf_parse(const char *text, char *bdf)
{
	const char *first = strchr(text, ':');
	long domain = 0, bus, dev, fn;
	const char *at = text;

	if (first && strchr(first + 1, ':')) {
		domain = rg_bdf_digits(&at, ':', 4, 8);
		if (domain < 0)
			return -EINVAL;
	}
	bus = rg_bdf_digits(&at, ':', 2, 2);
	dev = bus < 0 ? -1 : rg_bdf_digits(&at, '.', 2, 2);
	fn = dev < 0 ? -1 : rg_bdf_digits(&at, '\0', 1, 1);
	if (fn < 0 || fn > 7 || dev > 0x1f)
		return -EINVAL;
	snprintf(bdf, RG_BDF_TEXT, "%04x:%02x:%02x.%x", (unsigned int)domain,
		 (unsigned int)bus & 0xff, (unsigned int)dev & 0x1f, (unsigned int)fn & 7);
	return 0;
}

/**
 * rg_function_find - the function that somebody names, if it is covered
 * @text: what was given
 * @bdf: RG_BDF_TEXT bytes for its name in sysfs
 *
 * Context: User space.
 * Return: the exit code; it has been said why.
 */
int rg_function_find(const char *text, char *bdf)
{
	char path[PATH_MAX];

	if (rg_bdf_parse(text, bdf))
		return rg_fail(RG_EXIT_USAGE,
			       "'%s' is no PCI function: expected DOMAIN:BUS:DEVICE.FUNCTION as lspci -D has it, such as 0000:01:00.0",
			       text);
	if (!rg_file_exists(rg_path(path, RG_SYSFS_PCI "/%s", bdf)))
		return rg_fail(RG_EXIT_ABSENT,
			       "%s: no such PCI function on this machine; lspci -D lists them", bdf);
	if (rg_file_exists(rg_path(path, RG_SYSFS_PCI "/%s/resetgate", bdf)))
		return RG_EXIT_OK;
	return rg_not_loaded_or(RG_EXIT_ABSENT,
				"%s is not covered: it is no function behind an IOMMU that resetgate gates; resetgate status lists those that are",
				bdf);
}

static int rg_function_number(const char *text, long long *val)
{
	char *end;

	errno = 0;
	*val = strtoll(text, &end, 10);
	return errno || end == text || *end ? -EINVAL : 0;
}

static int rg_function_file(int dir, const struct rg_function_file *file,
			    struct rg_function *function)
{
	void *field = (char *)function + file->at;
	char text[RG_WORD];
	ssize_t len = rg_read_at(dir, file->name, text, sizeof(text));

	if (len == -ENOENT && file->optional)
		return 0;
	if (len < 0)
		return len;
	if (file->is_number)
		return rg_function_number(text, field);
	memcpy(field, rg_clean(text), len + 1);
	return 0;
}

/* Beside @dir, which is the module's folder of the function. */
static void rg_function_driver(struct rg_function *function, int dir)
{
	char target[PATH_MAX];
	const char *name;
	ssize_t len;

	len = readlinkat(dir, "../driver", target, sizeof(target) - 1);
	if (len <= 0)
		return;
	target[len] = '\0';
	name = strrchr(target, '/');
	snprintf(function->driver, sizeof(function->driver), "%.*s", RG_WORD - 1,
		 name ? name + 1 : target);
	rg_clean(function->driver);
}

/* 0, or a negative errno; @name tells of which file. @dir is closed. */
static int rg_function_try(int dir, const char *bdf, int brief, struct rg_function *function,
			   const char **name)
{
	int error = 0;
	size_t i;

	memset(function, 0, sizeof(*function));
	snprintf(function->bdf, sizeof(function->bdf), "%s", bdf);
	for (i = 0; !error && i < ARRAY_SIZE(rg_function_files); i++) {
		if (brief && rg_function_files[i].detail)
			continue;
		*name = rg_function_files[i].name;
		error = rg_function_file(dir, &rg_function_files[i], function);
	}
	if (!error && !brief)
		rg_function_driver(function, dir);
	close(dir);
	return error;
}

static int rg_function_failed(const char *bdf, const char *name, int error)
{
	if (error == -ENOENT || error == -ENODEV)
		return rg_not_loaded_or(RG_EXIT_BAD,
					"%s/%s went while it was read: the function is being removed, or the module unloaded; run it again",
					bdf, name);
	if (error == -EINVAL || error == -E2BIG)
		return rg_fail(RG_EXIT_BAD,
			       "%s/%s has what this command does not know: is it as new as the module? resetgate --version",
			       bdf, name);
	return rg_fail(rg_errno_code(-error), "%s/%s: %s%s", bdf, name, strerror(-error),
		       rg_way_out(-error));
}

/**
 * rg_function_read - all that sysfs shows of a function
 * @bdf: its name
 * @function: receives it
 *
 * Context: User space.
 * Return: the exit code; it has been said why.
 */
int rg_function_read(const char *bdf, struct rg_function *function)
{
	int dir, error = 0;
	char path[PATH_MAX];
	const char *name = "";

	dir = open(rg_path(path, RG_SYSFS_PCI "/%s/resetgate", bdf),
		   O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	error = dir < 0 ? -errno : rg_function_try(dir, bdf, 0, function, &name);
	return error ? rg_function_failed(bdf, name, error) : RG_EXIT_OK;
}

/* By number: sysfs pads a domain to four digits only. */
static int rg_function_compare(const void *a, const void *b)
{
	const char *one = ((const struct rg_function *)a)->bdf;
	const char *other = ((const struct rg_function *)b)->bdf;
	size_t one_len = strlen(one), other_len = strlen(other);

	if (one_len != other_len)
		return one_len < other_len ? -1 : 1;
	return strcmp(one, other);
}

static int rg_functions_add(struct rg_functions *functions, int dir, const char *bdf,
			    const char **name)
{
	struct rg_function *more;
	int error;

	if (functions->nr == functions->room) {
		more = realloc(functions->at, (functions->nr + 1) * 2 * sizeof(*more));
		if (!more) {
			close(dir);
			return -ENOMEM;
		}
		functions->at = more;
		functions->room = (functions->nr + 1) * 2;
	}
	error = rg_function_try(dir, bdf, functions->brief, &functions->at[functions->nr], name);
	if (!error)
		functions->nr++;
	return error;
}

/* One that is not covered has no such folder; what is odd of one hides no other. */
static int rg_functions_try(struct rg_functions *functions, char *bdf, const char **name)
{
	char path[PATH_MAX], folder[300], at[RG_BDF_TEXT];
	DIR *dir = opendir(rg_path(path, RG_SYSFS_PCI));
	int first = 0, error = 0, of;
	struct dirent *entry;
	const char *file;

	if (!dir)
		return errno == ENOENT ? 0 : -errno;
	while (error != -ENOMEM && (entry = readdir(dir))) {
		if (rg_bdf_parse(entry->d_name, at))
			continue;
		snprintf(folder, sizeof(folder), "%s/resetgate", entry->d_name);
		of = openat(dirfd(dir), folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (of < 0 && errno == ENOENT)
			continue;
		file = "";
		error = of < 0 ? -errno : rg_functions_add(functions, of, at, &file);
		if (!error || first)
			continue;
		first = error;
		*name = file;
		memcpy(bdf, at, sizeof(at));
	}
	closedir(dir);
	return first;
}

/* How many the module has. It is asked last: a module that has gone has none. */
static int rg_functions_count(size_t *count)
{
	static const char key[] = "\nfunctions: ";
	char path[PATH_MAX], *text;
	size_t size = 0;
	const char *at;
	int error = 0;

	*count = 0;
	text = rg_read_all(rg_path(path, RG_SYSFS_MODULE "/status"), 1 << 16, &size, &error);
	if (!text)
		return -error;
	at = strstr(text, key);
	if (at)
		*count = strtoul(at + strlen(key), NULL, 10);
	free(text);
	return at ? 0 : -EINVAL;
}

static int rg_functions_miscounted(size_t shown, size_t count, int error)
{
	if (error == -ESTALE || error == -ENOENT || error == -ENODEV)
		return rg_not_loaded_or(RG_EXIT_BAD,
					"the module covers %zu functions, but %zu are shown: they are coming or going, or the module is being unloaded; run it again",
					count, shown);
	if (error == -EINVAL)
		return rg_fail(RG_EXIT_BAD,
			       RG_SYSFS_MODULE "/status does not say how many functions are covered: is this command as new as the module? resetgate --version");
	return rg_fail(rg_errno_code(-error), RG_SYSFS_MODULE "/status: %s%s", strerror(-error),
		       rg_way_out(-error));
}

static bool rg_functions_again(int error)
{
	return error == -ENOENT || error == -ENODEV || error == -ESTALE;
}

/**
 * rg_functions_read - all covered functions, by address
 * @functions: receives them, after an error those that could be read; at is to be freed.
 *	brief: leave out what the table of all does not show
 *
 * Context: User space.
 * Return: the exit code; it has been said why.
 */
int rg_functions_read(struct rg_functions *functions)
{
	int error = -ESTALE, miscounted = 0, tries;
	char bdf[RG_BDF_TEXT] = "";
	const char *name = "";
	size_t count = 0;

	*functions = (struct rg_functions){ .brief = functions->brief };
	for (tries = 0; rg_functions_again(error) && tries < RG_FUNCTION_TRIES; tries++) {
		if (tries)
			usleep(RG_FUNCTION_WAIT_US);
		functions->nr = 0;
		error = rg_functions_try(functions, bdf, &name);
		miscounted = error ? 0 : rg_functions_count(&count);
		if (!error && !miscounted && count != functions->nr)
			miscounted = -ESTALE;
		if (miscounted)
			error = miscounted;
	}
	if (functions->nr)
		qsort(functions->at, functions->nr, sizeof(*functions->at), rg_function_compare);
	if (miscounted)
		return rg_functions_miscounted(functions->nr, count, miscounted);
	return error ? rg_function_failed(bdf, name, error) : RG_EXIT_OK;
}
