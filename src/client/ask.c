#include "client/ask.h"

#include "client/client.h"

#include <errno.h>

/* Asks, and hands on answers of the type call->takes. */
static int ask(struct pinfs *fs, struct client_call *call, void *message, size_t length, unsigned type, int fd)
{
	struct client_link *link;
	int error;

	if (!client_owns(fs))
		return -EPERM;
	error = client_link_get(fs, true, &link);
	if (error != 0)
		return error;
	error = client_call(fs, link, call, message, length, type, fd);
	client_link_return(fs, link);
	return error;
}

/* ---- Pins ---- */

struct listed {
	int (*visit)(void *arg, const struct wire_listed *entry);
	void *arg;
};

static int take_listed(void *arg, const struct wire_header *answer)
{
	const struct listed *listed = arg;

	return listed->visit(listed->arg, (const struct wire_listed *)answer);
}

int client_list(struct pinfs *fs, int fd, int (*visit)(void *arg, const struct wire_listed *entry), void *arg)
{
	struct listed listed = {.visit = visit, .arg = arg};
	struct client_call call = {.takes = WIRE_LISTED, .take = take_listed, .arg = &listed};
	struct wire_list message;

	return ask(fs, &call, &message, sizeof(message), WIRE_LIST, fd);
}

/* ---- Blocks ---- */

struct file_map {
	int (*visit)(void *arg, const struct wire_file_map *map);
	void *arg;
	uint64_t end; /* of the last extent so far */
	bool more; /* the last answer had some */
};

static int take_file_map(void *arg, const struct wire_header *answer)
{
	const struct wire_file_map *map = (const struct wire_file_map *)answer;
	struct file_map *file = arg;

	file->more = map->count > 0;
	for (uint32_t i = 0; i < map->count; i++) {
		const struct wire_extent *extent = &map->extent[i];

		/* Else a daemon that lies would be asked for ever. */
		if (extent->offset < file->end || extent->length == 0 || extent->length > UINT64_MAX - extent->offset)
			return -EPROTO;
		file->end = extent->offset + extent->length;
	}
	return file->visit(file->arg, map);
}

int client_map_file(struct pinfs *fs, int fd, int (*visit)(void *arg, const struct wire_file_map *map), void *arg)
{
	struct file_map file = {.visit = visit, .arg = arg};
	int error;

	do {
		struct client_call call = {.takes = WIRE_FILE_MAP, .take = take_file_map, .arg = &file};
		struct wire_map message = {.offset = file.end};

		file.more = false;
		error = ask(fs, &call, &message, sizeof(message), WIRE_MAP, fd);
	} while (error == 0 && file.more);
	return error;
}

struct pool_map {
	int (*visit)(void *arg, const struct wire_pool_map *map);
	void *arg;
};

static int take_pool_map(void *arg, const struct wire_header *answer)
{
	const struct wire_pool_map *map = (const struct wire_pool_map *)answer;
	const struct pool_map *pool = arg;

	return map->cell_bytes != 0 ? pool->visit(pool->arg, map) : -EPROTO;
}

int client_map_pool(struct pinfs *fs, uint64_t cells, int (*visit)(void *arg, const struct wire_pool_map *map),
		    void *arg)
{
	struct pool_map pool = {.visit = visit, .arg = arg};
	struct client_call call = {.takes = WIRE_POOL_MAP, .take = take_pool_map, .arg = &pool};
	struct wire_map message = {.cells = cells};

	return ask(fs, &call, &message, sizeof(message), WIRE_MAP, -1);
}
