/* SPDX-License-Identifier: GPL-2.0 */
/* Tables and paragraphs that fit 80 columns. */
#ifndef RG_TABLE_H
#define RG_TABLE_H

#include "cli.h"

#define RG_TABLE_COLUMNS	10
#define RG_TABLE_CELL		64
#define RG_TABLE_WIDTH		80

struct rg_column {
	const char *head;
	bool right;		/* a number */
};

struct rg_table {
	const struct rg_column *columns;
	int nr_columns;
	char (*cells)[RG_TABLE_CELL];	/* row by row */
	size_t nr_cells;
	int error;
};

void rg_table_add(struct rg_table *table, const char *format, ...)
	__printf(2, 3);
int rg_table_print(struct rg_cli *cli, struct rg_table *table);
void rg_wrap(struct rg_cli *cli, const char *label, const char *words);
const char *rg_short_number(char *buf, long long val);
const char *rg_short_time(char *buf, long long us);

#define RG_SHORT 32

#endif /* RG_TABLE_H */
