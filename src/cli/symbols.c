// SPDX-License-Identifier: GPL-2.0
/* Which of a kernel's symbols are named as a target, or were made of one. */
#include <stdlib.h>
#include <string.h>

#include "image.h"

static u16 rg_symbols_order[RG_NR_TARGETS];	/* targets by name */
static bool rg_symbols_sorted;

static int rg_symbols_compare(const void *a, const void *b)
{
	return strcmp(rg_targets[*(const u16 *)a].name, rg_targets[*(const u16 *)b].name);
}

static void rg_symbols_sort(void)
{
	int i;

	for (i = 0; i < RG_NR_TARGETS; i++)
		rg_symbols_order[i] = i;
	qsort(rg_symbols_order, RG_NR_TARGETS, sizeof(rg_symbols_order[0]), rg_symbols_compare);
	rg_symbols_sorted = true;
}

static int rg_symbols_compare_name(const char *name, size_t len, const char *target)
{
	int order = strncmp(name, target, len);

	return order ? order : -(target[len] != '\0');
}

static int rg_symbols_target(const char *name, size_t len)
{
	int low = 0, high = RG_NR_TARGETS - 1, middle, order;

	if (!rg_symbols_sorted)
		rg_symbols_sort();
	while (low <= high) {
		middle = (low + high) / 2;
		order = rg_symbols_compare_name(name, len,
						rg_targets[rg_symbols_order[middle]].name);
		if (!order)
			return rg_symbols_order[middle];
		if (order < 0)
			high = middle - 1;
		else
			low = middle + 1;
	}
	return -1;
}

/**
 * rg_symbols_note - count a symbol if it concerns a target
 * @symbols: where to
 * @name: its name
 * @len: the name's length
 *
 * The compiler appends .isra.0, .constprop.0 or .part.0 to a function that it
 * has changed; .cold is but a part of one that is whole otherwise.
 *
 * Context: User space.
 */
void rg_symbols_note(struct rg_symbols *symbols, const char *name, size_t len)
{
	const char *dot = memchr(name, '.', len);
	size_t base = dot ? (size_t)(dot - name) : len;
	struct rg_symbol_count *count;
	int id;

	symbols->total++;
	id = rg_symbols_target(name, base);
	if (id < 0)
		return;
	count = &symbols->of[id];
	if (!dot) {
		count->exact++;
	} else if (!*count->variant && len < sizeof(count->variant) &&
		   strncmp(dot, ".cold", 5)) {
		memcpy(count->variant, name, len);
		count->variant[len] = '\0';
	}
}

/**
 * rg_symbols_note_traced - note that ftrace can reach a function
 * @symbols: where to
 * @name: its name
 * @len: the name's length
 *
 * Context: User space.
 */
void rg_symbols_note_traced(struct rg_symbols *symbols, const char *name, size_t len)
{
	int id = rg_symbols_target(name, len);

	if (id >= 0)
		symbols->of[id].traced = true;
	symbols->traced_known = true;
}
