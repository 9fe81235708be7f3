/* SPDX-License-Identifier: GPL-2.0 */
/* What the loaded module shows of itself. */
#ifndef RG_MODULE_H
#define RG_MODULE_H

#include <stdbool.h>
#include <stddef.h>

#define RG_MODULE_PAIRS		48
#define RG_MODULE_TARGETS	128

struct rg_pair {
	char *name;
	char *value;
};

struct rg_pairs {
	struct rg_pair at[RG_MODULE_PAIRS];
	size_t nr;
};

/* A line of the file targets. */
struct rg_shown_target {
	char *name;
	char *set;
	bool found;
	bool armed;
	long long fired;
	bool optional;		/* not found, and this kernel need not have it */
	char *lost;		/* of one that was not found; else empty */
};

struct rg_module {
	char version[32];
	char kernel[96];	/* its release */
	bool tested;
	struct rg_pairs backends;	/* name: on or off */
	struct rg_pairs sets;		/* name: on, off or idle */
	struct rg_pairs counts;		/* the rest of the file status */
	struct rg_pairs params;
	struct rg_shown_target targets[RG_MODULE_TARGETS];
	size_t nr_targets;
	char *texts[4];			/* what the pointers point to */
};

int rg_module_read(struct rg_module *module);
void rg_module_free(struct rg_module *module);
const char *rg_pairs_get(const struct rg_pairs *pairs, const char *name);

#endif /* RG_MODULE_H */
