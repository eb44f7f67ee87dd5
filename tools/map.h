/* Where the blocks are: what pinfs map has been told, and how it is shown. */
#ifndef PINFS_TOOL_MAP_H
#define PINFS_TOOL_MAP_H

#include "wire/wire.h"

#include <stdbool.h>
#include <stddef.h>

struct map_part {
	uint64_t bytes;
	uint64_t cell_bytes; /* of each cell but the last */
	struct wire_cell *cell;
	size_t cells;
};

struct map {
	const char *path; /* as it was asked for */
	bool is_file;
	/* A file. */
	uint64_t ino;
	uint64_t size;
	struct wire_extent *extent;
	size_t extents;
	size_t extent_room;
	/* The pool: of a file, too, where a picture is drawn. */
	struct map_part *part;
	size_t parts;
};

/* Blocks of the cell. */
uint64_t map_cell_blocks(const struct map_part *part, size_t cell);
/* Share of a file's bytes that lie in runs that huge pages can map: 2 MiB, aligned alike in file and part; 0 to 1. */
double map_huge_share(const struct map *map);

/* Characters, a row of cells after the other; in colours for a terminal that has them. */
void map_print_text(const struct map *map, bool colours);
/* A picture; of a file: its blocks in the pool. 0 or -ENOMEM. */
int map_print_svg(const struct map *map);
int map_print_json(const struct map *map);

#endif
