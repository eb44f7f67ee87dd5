/* pinfs map as text and as JSON. */
#include "json.h"
#include "map.h"
#include "tool.h"

#include "base/arith.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define ROW 64u
/* The number of the --json text's form: goes up when a key changes its meaning or goes away. */
#define MAP_SCHEMA 1

/* ---- A file ---- */

static void print_extent(const struct wire_extent *extent)
{
	printf("%16" PRIu64 " %14" PRIu64 " %6" PRIu32 " %16" PRIu64 "%s%s%s\n", extent->offset, extent->length,
	       extent->part, extent->part_offset, extent->flags & WIRE_EXTENT_UNWRITTEN ? " unwritten" : "",
	       extent->flags & WIRE_EXTENT_PINNED ? " pinned" : "", extent->flags & WIRE_EXTENT_LOST ? " lost" : "");
}

static void print_file(const struct map *map)
{
	uint64_t bytes = 0;

	printf("%16s %14s %6s %16s\n", "OFFSET", "LENGTH", "PART", "PLACE");
	for (size_t i = 0; i < map->extents; i++) {
		print_extent(&map->extent[i]);
		bytes += map->extent[i].length;
	}
	printf("%s: %zu extents with %" PRIu64 " bytes, %.0f %% of them in huge pages; the file has %" PRIu64 "\n",
	       map->path, map->extents, bytes, map_huge_share(map) * 100, map->size);
}

/* ---- The pool ---- */

/* From empty to full. */
static const char *const shades[] = {".", ":", "-", "=", "+", "*", "#"};
static const char *const blocks[] = {"·", "▁", "▂", "▃", "▅", "▆", "█"};

static size_t shade_of(const struct wire_cell *cell, uint64_t cell_blocks)
{
	const uint64_t used = cell_blocks - min_u64(cell_blocks, cell->free);

	/* The first is for none at all, the last for all. */
	if (used == 0 || used == cell_blocks)
		return used == 0 ? 0 : ARRAY_SIZE(shades) - 1;
	return 1 + used * (ARRAY_SIZE(shades) - 2) / cell_blocks;
}

static void print_cell(const struct map_part *part, size_t number, bool colours)
{
	const struct wire_cell *cell = &part->cell[number];
	const size_t shade = shade_of(cell, map_cell_blocks(part, number));
	const char *letter = cell->lost > 0 ? "X" : cell->limbo > 0 ? "L" : cell->pinned > 0 ? "P" : NULL;
	const char *colour = cell->lost > 0 ? "31;1" : cell->limbo > 0 ? "35" : cell->pinned > 0 ? "33" : "36";

	if (colours)
		printf("\033[%sm%s\033[0m", colour, cell->lost > 0 ? "X" : blocks[shade]);
	else
		printf("%s", letter != NULL ? letter : shades[shade]);
}

static void print_part(const struct map_part *part, size_t number, bool colours)
{
	struct tool_size_text size, cell_size, sums[4];
	uint64_t free_blocks = 0, pinned = 0, limbo = 0, lost = 0;

	for (size_t i = 0; i < part->cells; i++) {
		free_blocks += part->cell[i].free;
		pinned += part->cell[i].pinned;
		limbo += part->cell[i].limbo;
		lost += part->cell[i].lost;
	}
	printf("part %zu: %s, a cell is %s: %s free, %s pinned, %s in limbo, %s lost\n", number,
	       tool_size_text(part->bytes, &size), tool_size_text(part->cell_bytes, &cell_size),
	       tool_size_text(free_blocks * 4096, &sums[0]), tool_size_text(pinned * 4096, &sums[1]),
	       tool_size_text(limbo * 4096, &sums[2]), tool_size_text(lost * 4096, &sums[3]));
	for (size_t i = 0; i < part->cells; i++) {
		print_cell(part, i, colours);
		if (i % ROW == ROW - 1 || i == part->cells - 1)
			printf("\n");
	}
}

void map_print_text(const struct map *map, bool colours)
{
	if (map->is_file) {
		print_file(map);
		return;
	}
	for (size_t i = 0; i < map->parts; i++)
		print_part(&map->part[i], i, colours);
	if (colours)
		printf("\033[36mfree · to █ used\033[0m   \033[33mpinned\033[0m   \033[35mlimbo\033[0m   "
		       "\033[31;1mX lost\033[0m\n");
	else
		printf(". free to # used   P pinned   L limbo   X lost\n");
}

/* ---- JSON ---- */

static int add_extents(json_t *json, const struct map *map)
{
	int error = 0;

	for (size_t i = 0; i < map->extents; i++) {
		const struct wire_extent *extent = &map->extent[i];

		error |= json_array_append_new(
			json, json_pack("{s:I, s:I, s:I, s:I, s:b, s:b, s:b}", "offset", (json_int_t)extent->offset,
					"length", (json_int_t)extent->length, "part", (json_int_t)extent->part,
					"part_offset", (json_int_t)extent->part_offset, "unwritten",
					(extent->flags & WIRE_EXTENT_UNWRITTEN) != 0, "pinned",
					(extent->flags & WIRE_EXTENT_PINNED) != 0, "lost",
					(extent->flags & WIRE_EXTENT_LOST) != 0));
	}
	return error;
}

/* A column of numbers for each kind: shorter than an object for each cell. */
static json_t *part_json(const struct map_part *part, size_t number)
{
	json_t *json = json_pack("{s:I, s:I, s:I, s:[], s:[], s:[], s:[]}", "part", (json_int_t)number, "bytes",
				 (json_int_t)part->bytes, "cell_bytes", (json_int_t)part->cell_bytes, "free_blocks",
				 "pinned_blocks", "limbo_blocks", "lost_blocks");
	int error = 0;

	for (size_t i = 0; i < part->cells && error == 0; i++) {
		const struct wire_cell *cell = &part->cell[i];

		error |= json_array_append_new(json_object_get(json, "free_blocks"), json_integer(cell->free));
		error |= json_array_append_new(json_object_get(json, "pinned_blocks"), json_integer(cell->pinned));
		error |= json_array_append_new(json_object_get(json, "limbo_blocks"), json_integer(cell->limbo));
		error |= json_array_append_new(json_object_get(json, "lost_blocks"), json_integer(cell->lost));
	}
	if (error == 0)
		return json;
	json_decref(json);
	return NULL;
}

int map_print_json(const struct map *map)
{
	json_t *json = json_pack("{s:i, s:o, s:[]}", "schema", MAP_SCHEMA, map->is_file ? "file" : "mountpoint",
				 tool_json_name(map->path), map->is_file ? "extents" : "parts");
	int error = json == NULL;

	if (map->is_file) {
		error |= json_object_set_new(json, "inode", json_integer((json_int_t)map->ino));
		error |= json_object_set_new(json, "size", json_integer((json_int_t)map->size));
		error |= json_object_set_new(json, "huge_share", json_real(map_huge_share(map)));
		error |= add_extents(json_object_get(json, "extents"), map);
	}
	for (size_t i = 0; !map->is_file && i < map->parts; i++)
		error |= json_array_append_new(json_object_get(json, "parts"), part_json(&map->part[i], i));
	error = error == 0 ? tool_json_print(json) : -ENOMEM;
	json_decref(json);
	return error;
}
