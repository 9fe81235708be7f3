// SPDX-License-Identifier: GPL-2.0
/*
 * The picture: one row a function, time from left to right. No scripts, no fonts,
 * nothing to be fetched; all colours are set: it looks the same on a dark page.
 */
#include <stdlib.h>

#include "cli.h"
#include "timeline.h"

#define LEFT	200
#define PLOT	840
#define RIGHT	(LEFT + PLOT)
#define HEAD	92
#define ROW	80
#define BIN	4	/* pixels that share a bar */
#define BAR	24	/* the highest bar */
#define FLAG	"stroke=\"#18794e\" stroke-width=\"2\" fill=\"#18794e\"/>"
#define CROSS	"stroke=\"#b00020\" stroke-width=\"3\"/>"
#define PIN	"stroke=\"#6b21a8\" stroke-width=\"2\" fill=\"#6b21a8\"/>"
#define RESET	"stroke=\"#1a5fb4\" stroke-width=\"3\" fill=\"none\"/>"
#define CLOSED	"fill=\"#ffd58a\" stroke=\"#c77700\"/>"
#define DROPS	"fill=\"#d33\"/>"

static const char rg_svg_legend[] =
	"<g transform=\"translate(16 46)\">\n"
	"<path d=\"M1 2v10M1 7h27M28 2v10\" " RESET
	"<text x=\"36\" y=\"12\">reset, from its start to its end</text>\n"
	"<rect x=\"236\" width=\"28\" height=\"14\" " CLOSED
	"<text x=\"272\" y=\"12\">closed: DMA blocked, ATS off</text>\n"
	"<path d=\"M471 14v-13l7 4-7 4\" " FLAG "<text x=\"484\" y=\"12\">opened</text>\n"
	"<path d=\"M548 2l10 10M558 2l-10 10\" " CROSS "<text x=\"566\" y=\"12\">parked</text>\n"
	"<path d=\"M630 14v-12l-3-3h6l-3 3\" " PIN "<text x=\"640\" y=\"12\">access recorded</text>\n"
	"<path d=\"M752 14v-7h4v-4h4v8h4v3\" " DROPS
	"<text x=\"772\" y=\"12\">invalidations dropped</text></g>\n";

static const char rg_svg_columns[] =
	"<g font-weight=\"bold\"><text x=\"16\">function</text><text x=\"130\">reason</text>\n"
	"<text x=\"850\">then</text><g text-anchor=\"end\"><text x=\"320\">reset from</text>\n"
	"<text x=\"395\">to (ms)</text><text x=\"490\">closed from</text><text x=\"565\">to (ms)</text>\n"
	"<text x=\"650\">for (ms)</text><text x=\"740\">recorded</text>\n"
	"<text x=\"820\">dropped</text></g></g>\n";

static void rg_svg_head(const struct rg_timeline *tl, FILE *out)
{
	int height = HEAD + tl->nr_rows * ROW + 84 + 21 * tl->nr_windows;

	fprintf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n<title>resetgate timeline</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
		RIGHT + 30, height, RIGHT + 30, height);
	fprintf(out, "<text x=\"16\" y=\"28\" font-size=\"17\" font-weight=\"bold\">%zu reset%s of %zu function%s in %.1f ms</text>\n",
		tl->nr_resets, tl->nr_resets == 1 ? "" : "s", tl->nr_functions,
		tl->nr_functions == 1 ? "" : "s", tl->last * 1e3);
	if (tl->lost)
		fputs("<text x=\"1040\" y=\"28\" text-anchor=\"end\" font-weight=\"bold\" fill=\"#b00020\">events were lost in recording: there was more than this</text>\n", out);
	fputs(rg_svg_legend, out);
}

static void rg_svg_ticks(const struct rg_tl_axis *axis, int bottom, FILE *out)
{
	const struct rg_tl_part *part;
	double step = 1e-6, last = 0, x;
	long long k;

	for (k = 0; step * axis->scale < 70; k++)
		step *= k % 3 == 1 ? 2.5 : 2;
	for (part = axis->parts; part < axis->parts + axis->nr_parts; part++) {
		if (part > axis->parts)
			fprintf(out, "<path d=\"M%.1f %dV%d\" stroke=\"#888\" stroke-dasharray=\"2 4\"/>\n",
				part->x - 5, HEAD, bottom);
		for (k = (long long)(part->from / step); k * step <= part->to; k++) {
			if (k * step < part->from)
				continue;
			x = rg_tl_x(axis, k * step);
			fprintf(out, "<path d=\"M%.1f %dV%d\" stroke=\"#ddd\"/>\n", x, HEAD, bottom);
			if (x > last + 62 || !last)
				fprintf(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.10g</text>\n",
					last = x, bottom + 16, k * step * 1e3);
		}
	}
	fprintf(out, "<text x=\"16\" y=\"%d\" fill=\"#666\">ms%s</text>\n", bottom + 16,
		axis->nr_parts > 1 ? "; dotted: time left out" : " since the first event");
}

static void rg_svg_row(const struct rg_tl_row *row, int y, FILE *out)
{
	char bdf[16];

	fprintf(out, "<g transform=\"translate(16 %d)\"><path d=\"M0 %dH%d\" stroke=\"#bbb\"/><text y=\"24\" font-family=\"monospace\" font-size=\"14\" font-weight=\"bold\">%s</text><text y=\"43\">closed %lu time%s, %.1f ms</text><text y=\"62\">%lu recorded, %lu dropped</text></g>\n",
		y, ROW - 4, RIGHT - 16, rg_tl_bdf(row->key, bdf), row->windows,
		row->windows == 1 ? "" : "s", row->closed_for * 1e3, row->recorded, row->dropped);
}

static void rg_svg_window(const struct rg_timeline *tl, const struct rg_tl_axis *axis,
			  const struct rg_tl_window *window, FILE *out)
{
	double until = rg_tl_closed_until(tl, window), x = rg_tl_x(axis, window->closed);
	double wide = rg_tl_x(axis, until) - x;
	int y = HEAD + window->row * ROW;

	if (window->closed >= 0) {
		fprintf(out, "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"22\" " CLOSED "\n", x,
			y + 20, wide > 1 ? wide : 1);
		if (wide > 160)
			fprintf(out, "<text x=\"%.1f\" y=\"%d\">%s, %.1f ms</text>\n", x + 16, y + 35,
				window->reason, rg_tl_closed_for(tl, window) * 1e3);
	}
	if (window->begin >= 0)
		fprintf(out, "<path d=\"M%.1f %dv10m0-5H%.1f%s\" " RESET "\n",
			rg_tl_x(axis, window->begin), y + 6,
			rg_tl_x(axis, window->end >= 0 ? window->end : window->to),
			window->end >= 0 ? "m0-5v10" : "");
	if (window->parked >= 0)
		fprintf(out, "<path d=\"M%.1f %dl12 12m0-12l-12 12\" " CROSS "\n",
			rg_tl_x(axis, window->parked) - 6, y + 25);
	if (window->opened >= 0)
		fprintf(out, "<path d=\"M%.1f %dv-40l8 5-8 5\" " FLAG "\n",
			rg_tl_x(axis, window->opened), y + 42);
}

/* Bars have one scale for all rows. */
static int rg_svg_events(const struct rg_timeline *tl, const struct rg_tl_axis *axis, FILE *out)
{
	size_t bins = PLOT / BIN + 1, i, most = 1;
	unsigned int *bars = calloc(tl->nr_rows * bins, sizeof(*bars));

	if (!bars)
		return rg_fail(RG_EXIT_SYSTEM, "timeline: out of memory");
	for (i = 0; i < tl->nr_events; i++) {
		const struct rg_tl_event *event = &tl->events[i];
		double x = rg_tl_x(axis, event->at);
		size_t bin = event->row * bins + (size_t)((x - LEFT) / BIN), y = event->row * ROW;

		if (event->kind == RG_TL_RECORD)
			fprintf(out, "<path d=\"M%.1f %zuv-22l-3-3h6l-3 3\" " PIN "\n", x, HEAD + y + 42);
		if (event->kind == RG_TL_DROP && ++bars[bin] > most)
			most = bars[bin];
	}
	for (i = 0; i < tl->nr_rows * bins; i++)
		if (bars[i])
			fprintf(out, "<path d=\"M%zu %zuh%dv%.1fh-%dz\" " DROPS "\n",
				LEFT + i % bins * BIN, HEAD + i / bins * ROW + 70, BIN - 1,
				-(double)BAR * bars[i] / most, BIN - 1);
	free(bars);
	return RG_EXIT_OK;
}

static void rg_svg_cell(FILE *out, int x, double at)
{
	if (at >= 0)
		fprintf(out, "<text x=\"%d\" text-anchor=\"end\">%.1f</text>", x, at * 1e3);
}

static void rg_svg_line(const struct rg_timeline *tl, const struct rg_tl_window *window, int y,
			FILE *out)
{
	double from = window->closed, until = from < 0 ? from : rg_tl_closed_until(tl, window);
	char bdf[16], then[RG_TL_THEN];

	fprintf(out, "<g transform=\"translate(0 %d)\"><path d=\"M16 -15H%d\" stroke=\"#ddd\"/><text x=\"16\" font-family=\"monospace\">%s</text><text x=\"130\">%s</text>",
		y, RIGHT, rg_tl_bdf(tl->rows[window->row].key, bdf), window->reason);
	rg_svg_cell(out, 320, window->begin);
	rg_svg_cell(out, 395, window->end);
	rg_svg_cell(out, 490, from);
	rg_svg_cell(out, 565, until);
	rg_svg_cell(out, 650, from < 0 ? from : rg_tl_closed_for(tl, window));
	fprintf(out, "<text x=\"740\" text-anchor=\"end\">%lu</text><text x=\"820\" text-anchor=\"end\">%lu</text><text x=\"850\">%s</text></g>\n",
		window->recorded, window->dropped, rg_tl_then(window, then));
}

/**
 * rg_tl_svg - draw resets, and list them
 * @tl: one at least
 * @out: receives the SVG
 *
 * Context: User space.
 * Return: RG_EXIT_OK or RG_EXIT_SYSTEM.
 */
int rg_tl_svg(const struct rg_timeline *tl, FILE *out)
{
	int y = HEAD + tl->nr_rows * ROW, rc;
	struct rg_tl_axis axis;
	size_t i;

	if (rg_tl_axis_make(&axis, tl, LEFT, PLOT))
		return RG_EXIT_SYSTEM;
	rg_svg_head(tl, out);
	rg_svg_ticks(&axis, y, out);
	for (i = 0; i < tl->nr_rows; i++)
		rg_svg_row(&tl->rows[i], HEAD + i * ROW, out);
	for (i = 0; i < tl->nr_windows; i++)
		rg_svg_window(tl, &axis, &tl->windows[i], out);
	rc = rg_svg_events(tl, &axis, out);
	fprintf(out, "<g transform=\"translate(0 %d)\">%s</g>\n", y += 54, rg_svg_columns);
	for (i = 0; i < tl->nr_windows; i++)
		rg_svg_line(tl, &tl->windows[i], y += 21, out);
	fputs("</svg>\n", out);
	free(axis.parts);
	return rc;
}
