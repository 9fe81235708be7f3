/* SPDX-License-Identifier: GPL-2.0 */
/* Runs the system's tools, without a shell. */
#ifndef RG_CHILD_H
#define RG_CHILD_H

#include <stddef.h>
#include <sys/types.h>

struct rg_output {
	char *data;		/* NUL-terminated beyond its size; to be freed */
	size_t size;
};

/* What rg_child_run() returns where the tool itself was not to be had. */
#define RG_CHILD_MISSING	(-1)
#define RG_CHILD_FAILED		(-2)	/* memory, processes, or more output than @most */

void rg_child_init(void);
int rg_child_run(const char *const *argv, const void *input, size_t input_size, size_t most,
		 struct rg_output *output);

#endif /* RG_CHILD_H */
