// SPDX-License-Identifier: GPL-2.0
/* Sets tables and paragraphs. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "table.h"

/**
 * rg_table_add - one more cell, the row's next or the next row's first
 * @table: the table
 * @format: what is in it
 *
 * Context: User space.
 */
void rg_table_add(struct rg_table *table, const char *format, ...)
{
	char (*more)[RG_TABLE_CELL];
	va_list args;

	if (!(table->nr_cells & (table->nr_cells + 1))) {
		more = realloc(table->cells, (table->nr_cells + 1) * 2 * sizeof(*more));
		if (!more) {
			table->error = 1;
			return;
		}
		table->cells = more;
	}
	va_start(args, format);
	vsnprintf(table->cells[table->nr_cells], RG_TABLE_CELL, format, args);
	va_end(args);
	rg_clean(table->cells[table->nr_cells++]);
}

static int rg_table_widths(const struct rg_table *table, int *widths)
{
	int total = 0, column, len;
	size_t i;

	for (column = 0; column < table->nr_columns; column++)
		widths[column] = strlen(table->columns[column].head);
	for (i = 0; i < table->nr_cells; i++) {
		len = strlen(table->cells[i]);
		column = i % table->nr_columns;
		if (len > widths[column])
			widths[column] = len;
	}
	for (column = 0; column < table->nr_columns; column++)
		total += widths[column];
	return total;
}

static void rg_table_cell(struct rg_cli *cli, const struct rg_table *table, int column, int width,
			  const char *text)
{
	int last = column == table->nr_columns - 1;
	int pad = width - (int)strlen(text);

	if (table->columns[column].right)
		fprintf(cli->out, "%*s", pad, "");
	fprintf(cli->out, "%s%s%s", rg_paint(cli, text), text, rg_unpaint(cli, text));
	if (!table->columns[column].right && !last)
		fprintf(cli->out, "%*s", pad, "");
}

/**
 * rg_table_print - print a table and free it
 * @cli: the run
 * @table: the table
 *
 * Columns stand two apart, or one where they would not fit.
 *
 * Context: User space.
 * Return: the exit code.
 */
int rg_table_print(struct rg_cli *cli, struct rg_table *table)
{
	int widths[RG_TABLE_COLUMNS], column, gap;
	size_t row, rows = table->nr_cells / table->nr_columns;

	if (table->error) {
		free(table->cells);
		return rg_fail(RG_EXIT_SYSTEM, "out of memory");
	}
	gap = rg_table_widths(table, widths) + 2 * (table->nr_columns - 1) > RG_TABLE_WIDTH ? 1 : 2;
	for (row = 0; row <= rows; row++) {
		for (column = 0; column < table->nr_columns; column++) {
			fprintf(cli->out, "%*s", column ? gap : 0, "");
			rg_table_cell(cli, table, column, widths[column],
				      !row ? table->columns[column].head :
				      table->cells[(row - 1) * table->nr_columns + column]);
		}
		fputc('\n', cli->out);
	}
	free(table->cells);
	return RG_EXIT_OK;
}

#define RG_WRAP_INDENT 12

/**
 * rg_wrap - a label and a paragraph beside it
 * @cli: the run
 * @label: at the left
 * @words: the paragraph
 *
 * Context: User space.
 */
void rg_wrap(struct rg_cli *cli, const char *label, const char *words)
{
	char *copy = strdup(words);
	const char *text = copy ? rg_clean(copy) : "out of memory";
	int column = RG_WRAP_INDENT;
	size_t len;

	fprintf(cli->out, "%-*s", RG_WRAP_INDENT - 1, label);
	while (*text) {
		len = strcspn(text, " ");
		if (column > RG_WRAP_INDENT && column + 1 + (int)len > RG_TABLE_WIDTH) {
			fprintf(cli->out, "\n%*s", RG_WRAP_INDENT - 1, "");
			column = RG_WRAP_INDENT;
		}
		fprintf(cli->out, " %.*s", (int)len, text);
		column += len + 1;
		text += len;
		text += *text == ' ';
	}
	fputc('\n', cli->out);
	free(copy);
}

/**
 * rg_short_number - a count in at most five characters
 * @buf: RG_SHORT bytes
 * @val: the count
 *
 * Context: User space.
 * Return: @buf.
 */
const char *rg_short_number(char *buf, long long val)
{
	static const char units[] = "kMGTPE";
	const char *unit = units;
	double scaled = val;

	if (val > -10000 && val < 100000) {
		snprintf(buf, RG_SHORT, "%lld", val);
		return buf;
	}
	for (scaled /= 1000; (scaled >= 999.5 || scaled <= -999.5) && unit[1]; unit++)
		scaled /= 1000;
	snprintf(buf, RG_SHORT, scaled < 9.95 ? "%.1f%c" : "%.0f%c", scaled, *unit);
	return buf;
}

/**
 * rg_short_time - a duration in at most six characters
 * @buf: RG_SHORT bytes
 * @us: microseconds
 *
 * Context: User space.
 * Return: @buf.
 */
const char *rg_short_time(char *buf, long long us)
{
	if (us < 1000)
		snprintf(buf, RG_SHORT, "%lldus", us);
	else if (us < 999500)
		snprintf(buf, RG_SHORT, us < 100000 ? "%.1fms" : "%.0fms", us / 1e3);
	else if (us < 9999500000ll)
		snprintf(buf, RG_SHORT, us < 99950000 ? "%.1fs" : "%.0fs", us / 1e6);
	else
		snprintf(buf, RG_SHORT, "%.0fh", us / 3.6e9);
	return buf;
}
