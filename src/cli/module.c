// SPDX-License-Identifier: GPL-2.0
/* Reads /sys/kernel/resetgate and the module's parameters, all or nothing. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "module.h"
#include "sysfs.h"

#define RG_MODULE_PAGE	65536

/* The parameters, in the order that README has them. */
static const char *const rg_module_params[] = {
	"policy", "wait_timeout_ms", "scope", "on_failed_reset", "park_timeout_s",
	"close_timeout_ms", "disarm", "allow_untested", "btf", NULL
};

static int rg_module_failed(const char *name, int error)
{
	if (error == -ENOENT || error == -ENODEV)
		return rg_not_loaded_or(RG_EXIT_BAD,
					RG_SYSFS_MODULE "/%s went while it was read: the module is being unloaded; run it again",
					name);
	if (error == -EINVAL || error == -E2BIG)
		return rg_fail(RG_EXIT_BAD,
			       RG_SYSFS_MODULE "/%s has what this command does not know: is it as new as the module? resetgate --version",
			       name);
	return rg_fail(rg_errno_code(-error), RG_SYSFS_MODULE "/%s: %s%s", name, strerror(-error),
		       rg_way_out(-error));
}

static int rg_module_text(const char *name, char **text)
{
	char path[PATH_MAX];
	size_t size;
	int error;

	*text = rg_read_all(rg_path(path, RG_SYSFS_MODULE "/%s", name), RG_MODULE_PAGE, &size,
			    &error);
	if (!*text)
		return -error;
	/* There is room: rg_read_all() stops short of what it allocates. */
	if (size && (*text)[size - 1] != '\n')
		return -EINVAL;
	if (size)
		(*text)[size - 1] = '\0';
	return size && strlen(*text) == size - 1 ? 0 : -EINVAL;
}

static int rg_pairs_add(struct rg_pairs *pairs, char *name, char *value)
{
	if (pairs->nr == RG_MODULE_PAIRS)
		return -E2BIG;
	pairs->at[pairs->nr++] = (struct rg_pair){ name, value };
	return 0;
}

/**
 * rg_pairs_get - the value of a name
 * @pairs: where to look
 * @name: the name
 *
 * Context: User space.
 * Return: the value, or NULL.
 */
const char *rg_pairs_get(const struct rg_pairs *pairs, const char *name)
{
	size_t i;

	for (i = 0; i < pairs->nr; i++)
		if (!strcmp(pairs->at[i].name, name))
			return pairs->at[i].value;
	return NULL;
}

static int rg_module_backend(struct rg_module *module, char *line)
{
	char *value = strchr(line, ' ');

	if (!value)
		return -EINVAL;
	*value++ = '\0';
	return rg_pairs_add(&module->backends, line, value);
}

static int rg_module_status(struct rg_module *module, char *line)
{
	char *value = strstr(line, ": ");

	if (!value)
		return -EINVAL;
	*value = '\0';
	value += 2;
	if (!strncmp(line, "set ", 4))
		return rg_pairs_add(&module->sets, line + 4, value);
	return rg_pairs_add(&module->counts, line, value);
}

/* NAME SET found|absent armed|- FIRED [not in this kernel; where it is: |lost: ]TEXT */
static int rg_module_target(struct rg_module *module, char *line)
{
	struct rg_shown_target *target = &module->targets[module->nr_targets];
	char *words[5], *rest = line;
	int i;

	if (!strcmp(line, "nothing was looked up"))
		return 0;
	if (module->nr_targets == RG_MODULE_TARGETS)
		return -E2BIG;
	for (i = 0; i < 5; i++) {
		words[i] = strsep(&rest, " ");
		if (!words[i] || !*words[i])
			return -EINVAL;
	}
	*target = (struct rg_shown_target){
		.name = words[0], .set = words[1], .found = !strcmp(words[2], "found"),
		.armed = !strcmp(words[3], "armed"), .fired = strtoll(words[4], NULL, 10),
		.optional = rest && !strncmp(rest, "not in ", 7),
		.lost = rest && strstr(rest, ": ") ? strstr(rest, ": ") + 2 : "",
	};
	module->nr_targets++;
	return 0;
}

typedef int rg_line_fn(struct rg_module *module, char *line);

static int rg_module_lines(struct rg_module *module, const char *name, char **text, rg_line_fn *take)
{
	int error = rg_module_text(name, text);
	char *rest = *text, *line;

	while (!error && (line = strsep(&rest, "\n")))
		error = take(module, line);
	return error;
}

static int rg_module_version(struct rg_module *module, char *line)
{
	snprintf(module->version, sizeof(module->version), "%s", line);
	return 0;
}

static int rg_module_kernel(struct rg_module *module, char *line)
{
	char *word = strchr(line, ' ');

	if (!word || (strcmp(word, " tested") && strcmp(word, " untested")))
		return -EINVAL;
	*word++ = '\0';
	module->tested = !strcmp(word, "tested");
	snprintf(module->kernel, sizeof(module->kernel), "%s", line);
	return 0;
}

static int rg_module_first(struct rg_module *module, const char *name, rg_line_fn *take)
{
	char *text;
	int error = rg_module_lines(module, name, &text, take);

	free(text);
	return error;
}

/* A parameter that this version of the module lacks is left out. */
static int rg_module_read_params(struct rg_module *module, const char **name)
{
	char path[PATH_MAX], *at;
	ssize_t len;
	int i;

	module->texts[3] = malloc(RG_MODULE_PAGE);
	if (!module->texts[3])
		return -ENOMEM;
	at = module->texts[3];
	for (i = 0; rg_module_params[i]; i++) {
		*name = rg_module_params[i];
		rg_path(path, RG_SYSFS_PARAMS "/%s", *name);
		len = rg_read_line(path, at, 4096);
		if (len == -ENOENT)
			continue;
		if (len < 0)
			return len;
		rg_pairs_add(&module->params, (char *)*name, at);
		at += len + 1;
	}
	return 0;
}

/**
 * rg_module_read - all that the module shows of itself
 * @module: receives it; to be given to rg_module_free(), after an error, too
 *
 * Context: User space.
 * Return: the exit code; it has been said why.
 */
int rg_module_read(struct rg_module *module)
{
	const char *name = "version";
	int error;

	memset(module, 0, sizeof(*module));
	if (!rg_is_loaded())
		return rg_not_loaded();
	error = rg_module_first(module, name, rg_module_version);
	if (!error)
		error = rg_module_first(module, name = "kernel", rg_module_kernel);
	if (!error)
		error = rg_module_lines(module, name = "backends", &module->texts[0],
					rg_module_backend);
	if (!error)
		error = rg_module_lines(module, name = "status", &module->texts[1],
					rg_module_status);
	if (!error)
		error = rg_module_lines(module, name = "targets", &module->texts[2],
					rg_module_target);
	if (!error)
		error = rg_module_read_params(module, &name);
	return error ? rg_module_failed(name, error) : RG_EXIT_OK;
}

/**
 * rg_module_free - release what rg_module_read() allocated
 * @module: what it filled in
 *
 * Context: User space.
 */
void rg_module_free(struct rg_module *module)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(module->texts); i++)
		free(module->texts[i]);
}
