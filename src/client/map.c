/*
 * Where a pin's bytes are in memory:
 *
 *   one piece                  the part is mapped whole, once: the address is arithmetic, and the next pin costs
 * nothing pieces of 4 KiB parts      side by side in one reservation else (devdax)              each piece in its
 * part's mapping; the pin has no single address
 *
 * A part too large to be mapped whole, or that did not fit, is mapped piece by piece.
 */
#include "client/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define WHOLE_MAX ((uint64_t)64 << 40)
#define ZEROS UINT32_MAX

static int check_extent(const struct wire_extent *extent, const struct client_part *part, bool zeros,
			enum client_access access)
{
	uint64_t end;

	if (extent->length == 0 || __builtin_add_overflow(extent->offset, extent->length, &end) || end > INT64_MAX)
		return -EPROTO;
	if (zeros)
		return access == CLIENT_WRITE ? -EPROTO : 0;
	if (part == NULL || __builtin_add_overflow(extent->part_offset, extent->length, &end) ||
	    end > atomic_load(&part->present))
		return -EPROTO;
	return (extent->part_offset - extent->offset) % CLIENT_BLOCK != 0 ? -EPROTO : 0;
}

/* The first may begin before the range; each other one is where the last has ended, at a block. */
static bool follows(const struct wire_extent *extent, bool first, uint64_t reached, uint64_t end)
{
	if (first)
		return extent->offset <= reached && extent->offset + extent->length > reached;
	return extent->offset == reached && reached % CLIENT_BLOCK == 0 && reached < end;
}

/* The piece begins where the last one ends, in the file: also in the part? */
static bool joins(const struct client_pieces *pieces, const struct client_part *part, uint64_t part_offset)
{
	const struct pinfs_extent *last;

	if (pieces->count == 0 || pieces->part[pieces->count - 1] != part)
		return false;
	last = &pieces->extent[pieces->count - 1];
	return part == NULL || last->part_offset + last->length == part_offset;
}

/* The part of an extent that lies in the range [offset, end). */
static void append(struct client_pieces *pieces, const struct wire_extent *extent, struct client_part *part,
		   uint64_t offset, uint64_t end)
{
	uint64_t skip = extent->offset < offset ? offset - extent->offset : 0;
	uint64_t start = extent->offset + skip;
	uint64_t last = extent->offset + extent->length < end ? extent->offset + extent->length : end;
	uint64_t part_offset = part != NULL ? extent->part_offset + skip : 0;

	if (joins(pieces, part, part_offset)) {
		pieces->extent[pieces->count - 1].length += last - start;
		return;
	}
	pieces->part[pieces->count] = part;
	pieces->extent[pieces->count++] = (struct pinfs_extent){
		.offset = (off_t)start,
		.length = last - start,
		.part = part != NULL ? part->number : ZEROS,
		.part_offset = part_offset,
	};
}

int client_pieces_init(struct pinfs *fs, const struct wire_extent *extent, size_t count, uint64_t offset,
		       uint64_t length, enum client_access access, struct client_pieces *ret_pieces)
{
	struct client_pieces pieces = {.count = 0};
	uint64_t end = offset + length;
	uint64_t reached = offset;

	if (count == 0)
		return -EPROTO;
	pieces.extent = calloc(count, sizeof(*pieces.extent));
	pieces.part = calloc(count, sizeof(*pieces.part));
	if (pieces.extent == NULL || pieces.part == NULL) {
		client_pieces_fini(&pieces);
		return -ENOMEM;
	}
	for (size_t i = 0; i < count; i++) {
		bool zeros = extent[i].part == ZEROS;
		struct client_part *part = zeros ? NULL : client_part_find(fs, extent[i].part, access);
		int error = check_extent(&extent[i], part, zeros, access);

		if (error == 0 && !follows(&extent[i], i == 0, reached, end))
			error = -EPROTO;
		if (error != 0) {
			client_pieces_fini(&pieces);
			return error;
		}
		append(&pieces, &extent[i], part, offset, end);
		reached = extent[i].offset + extent[i].length;
	}
	if (reached < end) {
		client_pieces_fini(&pieces);
		return -EPROTO;
	}
	*ret_pieces = pieces;
	return 0;
}

static uint64_t page_size(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Can it be mapped page by page, wherever its blocks are? */
static bool is_fine_grained(const struct client_pieces *pieces)
{
	uint64_t page = page_size();

	for (size_t i = 0; i < pieces->count; i++) {
		const struct client_part *part = pieces->part[i];

		if (part != NULL && part->granule != page)
			return false;
	}
	/* Pieces begin and end at blocks: a page that has more than one block is not theirs alone. */
	return page == CLIENT_BLOCK;
}

static int part_fd(struct pinfs *fs, const struct client_part *part, enum client_access access)
{
	int fd;

	pthread_mutex_lock(&fs->lock);
	fd = part->fd[access];
	pthread_mutex_unlock(&fs->lock);
	return fd;
}

/* All pieces side by side, in one reservation. */
static int map_side_by_side(struct pinfs *fs, struct client_pieces *pieces, enum client_access access)
{
	const struct pinfs_extent *first = &pieces->extent[0];
	const struct pinfs_extent *last = &pieces->extent[pieces->count - 1];
	uint64_t start = (uint64_t)first->offset & ~(uint64_t)(CLIENT_BLOCK - 1);
	uint64_t end = ((uint64_t)last->offset + last->length + CLIENT_BLOCK - 1) & ~(uint64_t)(CLIENT_BLOCK - 1);
	uint64_t lead = (uint64_t)first->offset - start;
	bool huge = pieces->part[0] != NULL && first->length >= CLIENT_HUGE;
	char *room;
	int error;

	error = client_reserve(end - start, huge ? CLIENT_HUGE : 0, (first->part_offset - lead) % CLIENT_HUGE,
			       (void **)&room);
	if (error != 0)
		return error;
	for (size_t i = 0; error == 0 && i < pieces->count; i++) {
		struct pinfs_extent *extent = &pieces->extent[i];
		uint64_t inside = (uint64_t)extent->offset % CLIENT_BLOCK;
		uint64_t bytes = (inside + extent->length + CLIENT_BLOCK - 1) & ~(uint64_t)(CLIENT_BLOCK - 1);

		extent->addr = room + ((uint64_t)extent->offset - start);
		if (pieces->part[i] != NULL)
			error = client_map_at((char *)extent->addr - inside, bytes, pieces->part[i], access,
					      part_fd(fs, pieces->part[i], access), extent->part_offset - inside);
	}
	if (error == 0)
		error = client_open_room(room, end - start, access);
	if (error != 0) {
		(void)munmap(room, end - start);
		return error;
	}
	pieces->map = room;
	pieces->map_length = end - start;
	pieces->addr = room + lead;
	return 0;
}

/* Zeros of a pin whose other pieces are elsewhere: one mapping for all of them. */
static int map_zeros(struct client_pieces *pieces)
{
	size_t longest = 0;
	void *room;
	int error;

	for (size_t i = 0; i < pieces->count; i++) {
		if (pieces->part[i] == NULL && pieces->extent[i].length > longest)
			longest = pieces->extent[i].length;
	}
	if (longest == 0)
		return 0;
	longest = (longest + page_size() - 1) & ~(size_t)(page_size() - 1);
	error = client_reserve(longest, 0, 0, &room);
	if (error != 0)
		return error;
	error = client_open_room(room, longest, CLIENT_READ);
	if (error != 0) {
		(void)munmap(room, longest);
		return error;
	}
	/* They are read only, so all of them may be the same. */
	for (size_t i = 0; i < pieces->count; i++) {
		if (pieces->part[i] == NULL)
			pieces->extent[i].addr = room;
	}
	pieces->map = room;
	pieces->map_length = longest;
	return 0;
}

static int map_in_parts(struct pinfs *fs, struct client_pieces *pieces, enum client_access access)
{
	int error;

	for (size_t i = 0; i < pieces->count; i++) {
		void *base;

		if (pieces->part[i] == NULL)
			continue;
		error = client_part_map(fs, pieces->part[i], access, &base);
		if (error != 0)
			return error;
		pieces->extent[i].addr = (char *)base + pieces->extent[i].part_offset;
	}
	error = map_zeros(pieces);
	if (error == 0 && pieces->count == 1)
		pieces->addr = pieces->extent[0].addr;
	return error;
}

int client_pieces_map(struct pinfs *fs, struct client_pieces *pieces, enum client_access access)
{
	bool fine = is_fine_grained(pieces);
	bool whole = pieces->count == 1 && pieces->part[0] != NULL && pieces->part[0]->bytes <= WHOLE_MAX;
	int error;

	if (fine && !whole)
		return map_side_by_side(fs, pieces, access);
	error = map_in_parts(fs, pieces, access);
	if (error == -ENOMEM && fine)
		error = map_side_by_side(fs, pieces, access);
	return error;
}

bool client_pieces_equal(const struct client_pieces *a, const struct client_pieces *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		const struct pinfs_extent *left = &a->extent[i];
		const struct pinfs_extent *right = &b->extent[i];

		if (a->part[i] != b->part[i] || left->offset != right->offset || left->length != right->length ||
		    left->part_offset != right->part_offset)
			return false;
	}
	return true;
}

void client_pieces_fini(struct client_pieces *pieces)
{
	if (pieces->map != NULL)
		(void)munmap(pieces->map, pieces->map_length);
	free(pieces->extent);
	free(pieces->part);
	*pieces = (struct client_pieces){.count = 0};
}
