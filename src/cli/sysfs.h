/* SPDX-License-Identifier: GPL-2.0 */
/* Files of the system, below RESETGATE_ROOT if it is set. */
#ifndef RG_SYSFS_H
#define RG_SYSFS_H

#include <limits.h>
#include <stddef.h>
#include <sys/types.h>

#include "base.h"

#define RG_SYSFS_MODULE	"/sys/kernel/resetgate"
#define RG_SYSFS_PCI	"/sys/bus/pci/devices"
#define RG_SYSFS_PARAMS	"/sys/module/resetgate/parameters"

const char *rg_path(char *buf, const char *format, ...) __printf(2, 3);
ssize_t rg_read_at(int dir, const char *name, char *buf, size_t size);
ssize_t rg_read_line(const char *path, char *buf, size_t size);
char *rg_read_all(const char *path, size_t most, size_t *size, int *error);
int rg_write_text(const char *path, const char *text);
int rg_file_exists(const char *path);
int rg_is_loaded(void);
int rg_not_loaded(void);
int rg_not_loaded_or(int code, const char *format, ...) __printf(2, 3);

#endif /* RG_SYSFS_H */
