// SPDX-License-Identifier: GPL-2.0
/*
 * The lines of the kernel's log that a report has: those of the module, of IOMMU
 * drivers, and of the PCI core and vfio-pci about a function. Where the words stand
 * tells who wrote a line; what it says may be anybody's.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <unistd.h>

#include "function.h"
#include "report.h"
#include "sysfs.h"

static const char *const rg_log_writers[] = {
	"resetgate: ", "DMAR: ", "DMAR-IR: ", "AMD-Vi: ", "arm-smmu-v3 ", "iommu: ",
};

/* They name the function next. */
static const char *const rg_log_drivers[] = { "pci ", "pcieport ", "vfio-pci " };

static bool rg_log_begins(const char *text, const char *const *words, size_t nr, size_t *len)
{
	size_t i;

	for (i = 0; i < nr; i++) {
		*len = strlen(words[i]);
		if (!strncmp(text, words[i], *len))
			return true;
	}
	return false;
}

/* "0000:01:00.0: TEXT"; NULL where there is no function. */
static const char *rg_log_behind_bdf(const char *text)
{
	char name[RG_BDF_TEXT], bdf[RG_BDF_TEXT];
	size_t len = strcspn(text, " ");

	if (len < 2 || len > sizeof(name) || text[len - 1] != ':')
		return NULL;
	memcpy(name, text, len - 1);
	name[len - 1] = '\0';
	return rg_bdf_parse(name, bdf) ? NULL : text + len + (text[len] == ' ');
}

/* "<6>[    1.234567] TEXT", or with "[  T123]" between: where TEXT begins. */
static const char *rg_log_text(const char *line)
{
	if (*line == '<')
		line += strcspn(line, ">") + 1;
	while (*line == '[' && strchr(line, ']')) {
		line = strchr(line, ']') + 1;
		line += *line == ' ';
	}
	return line;
}

/* The module writes of a function under the name of the driver that has it. */
static bool rg_log_wants(const char *line)
{
	const char *text = rg_log_text(line), *rest;
	size_t len;

	if (rg_log_begins(text, rg_log_writers, ARRAY_SIZE(rg_log_writers), &len))
		return true;
	if (rg_log_begins(text, rg_log_drivers, ARRAY_SIZE(rg_log_drivers), &len))
		return rg_log_behind_bdf(text + len);
	len = strcspn(text, " ");
	rest = text[len] ? rg_log_behind_bdf(text + len + 1) : NULL;
	return rest && !strncmp(rest, "resetgate: ", 11);
}

/* As syslog(2) gives it; a tree of files that stands for the system has it in /proc/kmsg. */
static char *rg_log_read(int *error)
{
	char path[PATH_MAX], *text;
	size_t used = 0;
	int size, len;

	if (getenv("RESETGATE_ROOT"))
		return rg_read_all(rg_path(path, "/proc/kmsg"), 16u << 20, &used, error);
	size = klogctl(10, NULL, 0);	/* SYSLOG_ACTION_SIZE_BUFFER */
	text = size > 0 ? malloc(size + 1) : NULL;
	len = text ? klogctl(3, text, size) : -1;	/* SYSLOG_ACTION_READ_ALL */
	if (len < 0) {
		*error = errno;
		free(text);
		return NULL;
	}
	text[len] = '\0';
	return text;
}

/**
 * rg_report_log - the lines of the log that concern the module
 * @out: receives them
 *
 * Context: User space.
 */
void rg_report_log(FILE *out)
{
	char *text, *rest, *line;
	int error = 0;

	text = rg_log_read(&error);
	if (!text)
		fprintf(out, "not readable: %s\n", geteuid() ? "run it as root" : strerror(error));
	for (rest = text; (line = strsep(&rest, "\n"));)
		if (rg_log_wants(line))
			fprintf(out, "%s\n", line);
	free(text);
}
