/*
 * pinfs map as a picture: for each part rows of cells, each a small bar, filled from below: what is lost, in limbo,
 * pinned, of the file that was asked for, of other files; what is left is free. Neighbours that look alike are one.
 */
#include "map.h"
#include "tool.h"

#include "base/arith.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROW 64u
#define CELL 12u /* pixels, with the gap below */
#define GAP 1u
#define MARGIN 24u
#define HEAD 72u /* above the first part */
#define PART_HEAD 40u
#define WIDTH (2 * MARGIN + ROW * CELL)

enum layer {
	LAYER_LOST,
	LAYER_LIMBO,
	LAYER_PINNED,
	LAYER_FILE,
	LAYER_USED,
	LAYERS,
};

static const struct {
	const char *style, *name;
} layers[] = {
	[LAYER_LOST] = {"lost", "lost"},       [LAYER_LIMBO] = {"limbo", "in limbo"},
	[LAYER_PINNED] = {"pinned", "pinned"}, [LAYER_FILE] = {"file", "the file"},
	[LAYER_USED] = {"used", "used"},
};

/* Tenths of a pixel of each layer: what is compared, and drawn. */
struct bar {
	uint32_t height[LAYERS];
};

/* ---- A cell's bar ---- */

/* Blocks of the file in each cell of the part. */
static uint64_t *count_file(const struct map *map, size_t number)
{
	const struct map_part *part = &map->part[number];
	uint64_t *count = calloc(part->cells, sizeof(*count));

	for (size_t i = 0; count != NULL && i < map->extents; i++) {
		const struct wire_extent *extent = &map->extent[i];
		uint64_t at = extent->part_offset;
		const uint64_t end = min_u64(at + extent->length, part->bytes);

		while (extent->part == number && at < end) {
			const uint64_t cell = at / part->cell_bytes;
			const uint64_t next = min_u64((cell + 1) * part->cell_bytes, end);

			count[cell] += (next - at) / 4096;
			at = next;
		}
	}
	return count;
}

/* A part of the cell's height; something never vanishes. */
static uint32_t tenths(uint64_t some, uint64_t all)
{
	const uint32_t height = (CELL - GAP) * 10;

	if (some == 0 || all == 0)
		return 0;
	return (uint32_t)max_u64(min_u64(some * height / all, height), 10);
}

static struct bar make_bar(const struct map_part *part, size_t number, uint64_t of_file)
{
	const struct wire_cell *cell = &part->cell[number];
	const uint64_t all = map_cell_blocks(part, number);
	uint64_t left = all - min_u64(all, cell->free);
	const uint64_t counts[] = {cell->lost, cell->limbo, cell->pinned, of_file};
	struct bar bar;

	/* Pinned blocks of the file are pinned; a survey that blocks moved under may count some twice. */
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		uint64_t some = counts[i];

		if (i == LAYER_FILE)
			some -= min_u64(some, cell->pinned);
		some = min_u64(some, left);
		left -= some;
		bar.height[i] = tenths(some, all);
	}
	bar.height[LAYER_USED] = tenths(left, all);
	return bar;
}

/* ---- Drawing ---- */

static void draw_run(const struct bar *bar, size_t first, size_t count, unsigned top)
{
	const unsigned x = MARGIN + (unsigned)(first % ROW) * CELL;
	const unsigned width = (unsigned)count * CELL - GAP;
	uint32_t bottom = (top + (unsigned)(first / ROW) * CELL + CELL - GAP) * 10;

	for (size_t i = 0; i < LAYERS; i++) {
		if (bar->height[i] == 0)
			continue;
		bottom -= bar->height[i];
		printf("<rect class=\"%s\" x=\"%u\" y=\"%u.%u\" width=\"%u\" height=\"%u.%u\"/>\n", layers[i].style, x,
		       bottom / 10, bottom % 10, width, bar->height[i] / 10, bar->height[i] % 10);
	}
}

static void draw_background(const struct map_part *part, unsigned top)
{
	for (size_t first = 0; first < part->cells; first += ROW) {
		const size_t count = min_u64(ROW, part->cells - first);

		printf("<rect class=\"free\" x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\"/>\n", MARGIN,
		       top + (unsigned)(first / ROW) * CELL, (unsigned)count * CELL - GAP, CELL - GAP);
	}
}

static int draw_part(const struct map *map, size_t number, unsigned top)
{
	const struct map_part *part = &map->part[number];
	uint64_t *of_file = count_file(map, number);
	struct tool_size_text size, cell_size;
	struct bar bar, previous = {{0}};
	size_t first = 0;

	if (of_file == NULL)
		return -ENOMEM;
	printf("<text x=\"%u\" y=\"%u\">part %zu: %s, a cell is %s</text>\n", MARGIN, top + PART_HEAD - 12, number,
	       tool_size_text(part->bytes, &size), tool_size_text(part->cell_bytes, &cell_size));
	draw_background(part, top + PART_HEAD);
	for (size_t i = 0; i < part->cells; i++, previous = bar) {
		bar = make_bar(part, i, of_file[i]);
		if (i % ROW != 0 && memcmp(&bar, &previous, sizeof(bar)) == 0)
			continue;
		if (i > 0)
			draw_run(&previous, first, i - first, top + PART_HEAD);
		first = i;
	}
	draw_run(&previous, first, part->cells - first, top + PART_HEAD);
	free(of_file);
	return 0;
}

/* ---- Around it ---- */

static const char style[] =
	"<style>\n"
	"text { font: 14px sans-serif; fill: #24292f; } .title { font-size: 18px; }\n"
	"svg { background: #ffffff; } .free { fill: #e9edf2; } .used { fill: #8fa7c4; }\n"
	".file { fill: #1f6feb; } .pinned { fill: #e8a317; } .limbo { fill: #b14fc5; } .lost { fill: #d1242f; }\n"
	"@media (prefers-color-scheme: dark) { text { fill: #d0d7de; } svg { background: #0d1117; }\n"
	".free { fill: #1d242d; } .used { fill: #48607e; } .file { fill: #58a6ff; } }\n"
	"</style>\n";

static unsigned part_height(const struct map_part *part)
{
	return PART_HEAD + (unsigned)((part->cells + ROW - 1) / ROW) * CELL;
}

/* Names are made by users. What no XML may have, is not shown. */
static void print_text(const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '<' || *text == '>' || *text == '&')
			printf("%s", *text == '<' ? "&lt;" : *text == '>' ? "&gt;" : "&amp;");
		else
			(void)putchar(*text > 0 && *text < ' ' ? '?' : *text < 0 ? '?' : *text);
	}
}

static void draw_legend(const struct map *map)
{
	unsigned x = MARGIN;

	for (size_t i = LAYERS + 1; i-- > 0;) {
		const char *name = i < LAYERS ? layers[i].name : "free";

		if (i == LAYER_FILE && !map->is_file)
			continue;
		printf("<rect class=\"%s\" x=\"%u\" y=\"46\" width=\"%u\" height=\"%u\"/><text x=\"%u\" "
		       "y=\"57\">%s</text>\n",
		       i < LAYERS ? layers[i].style : "free", x, CELL, CELL, x + CELL + 6, name);
		x += CELL + 30 + (unsigned)strlen(name) * 8;
	}
}

int map_print_svg(const struct map *map)
{
	unsigned height = HEAD + MARGIN;
	unsigned top = HEAD;
	int error = 0;

	for (size_t i = 0; i < map->parts; i++)
		height += part_height(&map->part[i]);
	printf("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" height=\"%u\" viewBox=\"0 0 %u %u\">\n%s", WIDTH,
	       height, WIDTH, height, style);
	printf("<text class=\"title\" x=\"%u\" y=\"32\">", MARGIN);
	print_text(map->path);
	printf("</text>\n");
	draw_legend(map);
	for (size_t i = 0; i < map->parts && error == 0; i++) {
		error = draw_part(map, i, top);
		top += part_height(&map->part[i]);
	}
	printf("</svg>\n");
	return error;
}
