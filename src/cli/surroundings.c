// SPDX-License-Identifier: GPL-2.0
/* What stands around a kernel: its configuration, the module for it, its initramfs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "child.h"
#include "kernel.h"
#include "sysfs.h"

/* In the kernel's own folder, then where Debian and Fedora have it. */
static char *rg_config_find(struct rg_kernel *kernel)
{
	const char *slash = strrchr(kernel->path, '/');
	size_t size = 0;
	char *text;
	int error;

	if (slash) {
		if (snprintf(kernel->config, sizeof(kernel->config), "%.*s/config-%s",
			     (int)(slash - kernel->path), kernel->path, kernel->release) <
		    (int)sizeof(kernel->config)) {
			text = rg_read_all(kernel->config, 4u << 20, &size, &error);
			if (text && size)
				return text;
			free(text);
		}
	}
	rg_path(kernel->config, "/boot/config-%s", kernel->release);
	text = rg_read_all(kernel->config, 4u << 20, &size, &error);
	if (!text)
		text = rg_read_all(rg_path(kernel->config, "/lib/modules/%s/config",
					   kernel->release), 4u << 20, &size, &error);
	if (text && size)
		return text;
	free(text);
	*kernel->config = '\0';
	return NULL;
}

static bool rg_config_has(const char *text, const char *option, size_t len)
{
	const char *at = text;

	while ((at = memmem(at, strlen(at), option, len))) {
		if ((at == text || at[-1] == '\n') && at[len] == '=' &&
		    (at[len + 1] == 'y' || at[len + 1] == 'm'))
			return true;
		at += len;
	}
	return false;
}

static void rg_config_lacks(struct rg_kernel *kernel, const char *text, const char *options)
{
	size_t len, used = strlen(kernel->lacks);
	const char *at;

	for (at = options; *at; at += len + strspn(at + len, " ")) {
		len = strcspn(at, " ");
		if (!rg_config_has(text, at, len) && used < sizeof(kernel->lacks))
			used += snprintf(kernel->lacks + used, sizeof(kernel->lacks) - used,
					 "%s%.*s", used ? " " : "", (int)len, at);
	}
}

/* The options that dkms wants before it builds the module: dkms.conf has them. */
static void rg_config_judge(struct rg_kernel *kernel)
{
	char *text = rg_config_find(kernel);

	if (!text)
		return;
	rg_config_lacks(kernel, text, RG_DKMS_OPTIONS);
	if (rg_config_has(text, "CONFIG_X86_64", 13))
		rg_config_lacks(kernel, text, RG_DKMS_OPTIONS_X86_64);
	kernel->sig_force = rg_config_has(text, "CONFIG_MODULE_SIG_FORCE", 23);
	free(text);
}

/* modules.dep has a line for each module: its file, a colon, what it needs. */
static bool rg_module_file_find(const char *release, char *path)
{
	char dep[PATH_MAX], *text, *line, *rest, *end;
	size_t size = 0;
	bool found = false;
	int error;

	text = rg_read_all(rg_path(dep, "/lib/modules/%s/modules.dep", release), 64u << 20, &size,
			   &error);
	for (rest = text; !found && (line = strsep(&rest, "\n"));) {
		end = strchr(line, ':');
		if (!end)
			continue;
		*end = '\0';
		end = strstr(line, "resetgate.ko");
		found = end && (end == line || end[-1] == '/');
		if (found && *line == '/')
			rg_path(path, "%s", line);
		else if (found)
			rg_path(path, "/lib/modules/%s/%s", release, line);
	}
	free(text);
	return found && rg_file_exists(path);
}

static bool rg_module_file_ask(const char *path, const char *field, char *answer, size_t size)
{
	const char *argv[5] = { "modinfo", "-F", field, path, NULL };
	struct rg_output output;
	int rc = rg_child_run(argv, NULL, 0, 1u << 20, &output);

	*answer = '\0';
	if (!rc && output.data) {
		output.data[strcspn(output.data, "\n")] = '\0';
		snprintf(answer, size, "%s", output.data);
	}
	free(output.data);
	return !rc;
}

static void rg_module_file_read(struct rg_module_file *file, const char *release)
{
	if (!rg_module_file_find(release, file->path)) {
		*file->path = '\0';
		return;
	}
	file->known = rg_module_file_ask(file->path, "signer", file->signer,
					 sizeof(file->signer)) &&
		      rg_module_file_ask(file->path, "version", file->version,
					 sizeof(file->version));
	if (*file->signer)
		rg_module_file_ask(file->path, "sig_key", file->serial, sizeof(file->serial));
	rg_signature_find(file);
}

/* What lsinitramfs lists is searched; without it nobody knows. */
static int rg_initramfs_has(const char *release)
{
	char path[PATH_MAX];
	const char *argv[3] = { "lsinitramfs", path, NULL };
	struct rg_output output;
	int found = -1;

	if (!rg_file_exists(rg_path(path, "/boot/initrd.img-%s", release)))
		return -1;
	if (!rg_child_run(argv, NULL, 0, 64u << 20, &output))
		found = strstr(output.data, "/resetgate.ko") != NULL;
	free(output.data);
	return found;
}

/**
 * rg_kernel_surroundings - look for a kernel's configuration, module and initramfs
 * @kernel: the kernel; its release is known
 *
 * Context: User space; runs child processes.
 */
void rg_kernel_surroundings(struct rg_kernel *kernel)
{
	char path[PATH_MAX];

	if (!*kernel->release)
		return;
	rg_config_judge(kernel);
	rg_module_file_read(&kernel->module, kernel->release);
	kernel->installed = rg_file_exists(rg_path(path, "/lib/modules/%s", kernel->release));
	kernel->initramfs = rg_initramfs_has(kernel->release);
}
