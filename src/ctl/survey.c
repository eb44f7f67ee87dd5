/* MAP: where the blocks of a file are, or those of the whole pool. It tells of places and numbers, not of holders. */
#include "ctl/server.h"

#include <errno.h>
#include <stdlib.h>

/* ---- A file ---- */

static void fill_extent(const struct fs_file_extent *from, struct wire_extent *ret_extent)
{
	*ret_extent = (struct wire_extent){
		.offset = from->offset,
		.length = from->length,
		.part = from->part,
		.part_offset = from->part_offset,
		.flags = (from->unwritten ? WIRE_EXTENT_UNWRITTEN : 0) | (from->pinned ? WIRE_EXTENT_PINNED : 0) |
			 (from->lost ? WIRE_EXTENT_LOST : 0),
	};
}

static int map_file(struct ctl_request *request, uint64_t ino, struct ctl_messages *list)
{
	struct fs_file_extent extents[WIRE_FILE_MAP_MAX];
	struct ctl_message *message;
	struct wire_file_map *map;
	uint64_t size;
	ssize_t count;

	count = fs_file_extents(request->connection->ctl->fs, ino, request->map.offset, extents, WIRE_FILE_MAP_MAX,
				&size);
	if (count < 0)
		return (int)count;
	message = ctl_message_new(WIRE_FILE_MAP, sizeof(*map) + (size_t)count * sizeof(map->extent[0]), request->number,
				  0);
	if (message == NULL)
		return -ENOMEM;
	STAILQ_INSERT_TAIL(list, message, next);
	map = (struct wire_file_map *)message->bytes;
	map->ino = ino;
	map->size = size;
	map->count = (uint32_t)count;
	for (ssize_t i = 0; i < count; i++)
		fill_extent(&extents[i], &map->extent[i]);
	return 0;
}

/* ---- The pool ---- */

static void fill_cell(const struct fs_cell *from, struct wire_cell *ret_cell)
{
	*ret_cell = (struct wire_cell){
		.free = from->blocks[FS_CELL_FREE],
		.pinned = from->blocks[FS_CELL_PINNED],
		.limbo = from->blocks[FS_CELL_LIMBO],
		.lost = from->blocks[FS_CELL_LOST],
	};
}

static int map_cells(struct ctl_request *request, const struct fs_survey *survey, unsigned number, uint64_t first,
		     struct ctl_messages *list)
{
	const struct fs_survey_part *part = &survey->part[number];
	const uint64_t count = min_u64(part->cells - first, WIRE_POOL_MAP_MAX);
	struct ctl_message *message;
	struct wire_pool_map *map;

	message = ctl_message_new(WIRE_POOL_MAP, sizeof(*map) + count * sizeof(map->cell[0]), request->number, 0);
	if (message == NULL)
		return -ENOMEM;
	STAILQ_INSERT_TAIL(list, message, next);
	map = (struct wire_pool_map *)message->bytes;
	map->cell_bytes = survey->cell_blocks * FMT_BLOCK_SIZE;
	map->part_bytes = part->blocks * FMT_BLOCK_SIZE;
	map->first = first;
	map->part = number;
	map->count = (uint32_t)count;
	for (uint64_t i = 0; i < count; i++)
		fill_cell(&part->cell[first + i], &map->cell[i]);
	return 0;
}

static int map_pool(struct ctl_request *request, struct ctl_messages *list)
{
	struct fs_survey *survey;
	int error;

	if (request->map.cells == 0 || request->map.cells > WIRE_CELLS_MAX)
		return -EINVAL;
	error = fs_survey(request->connection->ctl->fs, request->map.cells, &survey);
	if (error != 0)
		return error;
	for (unsigned i = 0; i < survey->parts && error == 0; i++) {
		for (uint64_t first = 0; first < survey->part[i].cells && error == 0; first += WIRE_POOL_MAP_MAX)
			error = map_cells(request, survey, i, first, list);
	}
	free(survey);
	return error;
}

int ctl_do_map(struct ctl_request *request)
{
	struct ctl_messages list = STAILQ_HEAD_INITIALIZER(list);
	uint64_t ino = 0;
	int error = ctl_ended(request->connection) ? -ESHUTDOWN : ctl_request_ino(request, &ino);

	if (error == 0)
		error = ino != 0 ? map_file(request, ino, &list) : map_pool(request, &list);
	if (error == 0)
		ctl_send(request->connection, &list);
	else
		ctl_messages_free(&list);
	ctl_request_answered(request);
	ctl_done(request->connection, request->number, error);
	return 0;
}
