/*
 * Where the groups are. libpmemobj's chunks lie on a grid that is the same in every pool, and a group fills a chunk: so
 * only there a header is looked for, and nothing that a user has stored can pass for one.
 */
#include "rescue/work.h"

#include "base/arith.h"
#include "format/pmdk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT64_MAX

/* A chunk of the grid. */
struct place {
	uint64_t number; /* of the group, by its header */
	uint64_t inode_frames;
	uint32_t signature;
	uint64_t assigned; /* the number that it has been given; or NONE */
	bool plausible; /* has a header of some pool */
	bool sound; /* of this one */
};

struct grid {
	struct work *work;
	struct place *place;
	uint64_t places;
	uint64_t sound;
};

static uint64_t place_offset(uint64_t index)
{
	return PMDK_CHUNKS_AT + index * PMDK_CHUNK_SIZE;
}

/* ---- Headers ---- */

static void headers_read(struct grid *grid)
{
	for (uint64_t i = 0; i < grid->places; i++) {
		struct place *place = &grid->place[i];
		struct fmt_group header;

		place->assigned = NONE;
		if (image_read(&grid->work->meta, place_offset(i), &header, sizeof(header)) != 0 ||
		    header.magic != FMT_GROUP_MAGIC || header.number >= grid->places || (header.inode_frames & 1) == 0)
			continue;
		place->number = header.number;
		place->inode_frames = header.inode_frames;
		place->signature = fmt_group_signature(&header);
		place->plausible = true;
	}
}

/* The signature that most headers have; ret_count: how many. */
static uint32_t signature_of_most(const struct grid *grid, uint64_t *ret_count)
{
	uint32_t signature = 0;
	uint64_t votes = 0, count = 0;

	/* If one has more than half of the votes, it is left over when pairs of different ones cancel out. */
	for (uint64_t i = 0; i < grid->places; i++) {
		const struct place *place = &grid->place[i];

		if (!place->plausible)
			continue;
		if (votes == 0)
			signature = place->signature;
		votes += place->signature == signature ? 1u : UINT64_MAX;
	}
	for (uint64_t i = 0; i < grid->places; i++)
		count += grid->place[i].plausible && grid->place[i].signature == signature;
	*ret_count = count;
	return signature;
}

/* Headers of one pool: those with the signature of most. */
static void headers_judge(struct grid *grid)
{
	uint32_t signature = signature_of_most(grid, &grid->sound);
	struct fmt_group header;

	for (uint64_t i = 0; i < grid->places; i++) {
		struct place *place = &grid->place[i];

		place->sound = place->plausible && place->signature == signature;
		if (place->sound && grid->work->sample.magic == 0 &&
		    image_read(&grid->work->meta, place_offset(i), &header, sizeof(header)) == 0)
			grid->work->sample = header;
	}
}

bool pool_uuid_fits(struct work *work, const uint8_t uuid[16])
{
	if (work->has_uuid)
		return memcmp(work->pool_uuid, uuid, sizeof(work->pool_uuid)) == 0;
	if (work->sample.magic == 0 || !fmt_group_valid(&work->sample, uuid, work->sample.number))
		return false;
	memcpy(work->pool_uuid, uuid, sizeof(work->pool_uuid));
	work->has_uuid = true;
	return true;
}

/* ---- Superblock ---- */

/* True if its table of arenas says of each sound header what that says of itself. */
static bool super_agrees(const struct grid *grid, const struct fmt_super *super)
{
	uint64_t number = 0;

	if (super->arenas == 0 || super->arenas > FMT_ARENAS_MAX || super->block_size != FMT_BLOCK_SIZE)
		return false;
	for (uint32_t i = 0; i < super->arenas; i++) {
		const struct fmt_arena *arena = &super->arena[i];
		uint64_t first = arena->offset / PMDK_CHUNK_SIZE - PMDK_CHUNKS_AT / PMDK_CHUNK_SIZE;

		if (arena->offset < PMDK_CHUNKS_AT || arena->offset != place_offset(first) || first >= grid->places ||
		    arena->groups > grid->places - first)
			return false;
		for (uint64_t j = first; j < first + arena->groups; j++, number++) {
			if (grid->place[j].sound && grid->place[j].number != number)
				return false;
		}
	}
	return number == super->groups;
}

static bool super_try(struct grid *grid, uint64_t offset, struct fmt_super *super)
{
	struct work *work = grid->work;

	if (image_read(&work->meta, offset, super, sizeof(*super)) != 0 || !fmt_super_valid(super) ||
	    !super_agrees(grid, super))
		return false;
	if (work->sample.magic != 0)
		return pool_uuid_fits(work, super->pool_uuid);
	memcpy(work->pool_uuid, super->pool_uuid, sizeof(work->pool_uuid));
	work->has_uuid = true;
	return true;
}

/* Looks where the pool says that it is, then everywhere but in groups, which may hold a user's idea of one. */
static bool super_find(struct grid *grid, struct fmt_super *super)
{
	unsigned char *chunk = grid->work->buffer;
	uint64_t offset;

	if (image_read(&grid->work->meta, PMDK_ROOT_AT, &offset, sizeof(offset)) == 0 && super_try(grid, offset, super))
		return true;
	for (uint64_t i = 0; i < grid->places; i++) {
		if (grid->place[i].plausible ||
		    image_read(&grid->work->meta, place_offset(i), chunk, PMDK_CHUNK_SIZE) != 0)
			continue;
		for (size_t at = 0; at + sizeof(*super) <= PMDK_CHUNK_SIZE; at += 16) {
			uint64_t magic;

			memcpy(&magic, chunk + at, sizeof(magic));
			if (magic == FMT_SUPER_MAGIC && super_try(grid, place_offset(i) + at, super))
				return true;
		}
	}
	return false;
}

/* ---- Numbers ---- */

static void group_set(struct grid *grid, uint64_t number, uint64_t place)
{
	struct group *group;

	if (number >= grid->work->groups || grid->place[place].assigned != NONE)
		return;
	group = &grid->work->group[number];
	if (group->offset != 0)
		return;
	grid->place[place].assigned = number;
	group->offset = place_offset(place);
	group->sound = grid->place[place].sound && grid->place[place].number == number;
	group->inode_frames = group->sound ? grid->place[place].inode_frames : 1;
}

static void number_by_super(struct grid *grid, const struct fmt_super *super)
{
	uint64_t number = 0;

	for (uint32_t i = 0; i < super->arenas; i++) {
		uint64_t first = (super->arena[i].offset - PMDK_CHUNKS_AT) / PMDK_CHUNK_SIZE;

		for (uint64_t j = 0; j < super->arena[i].groups; j++)
			group_set(grid, number++, first + j);
	}
}

/* A chunk without a sound header: its first frame holds inodes, and inodes know their numbers. */
static bool number_by_inodes(const struct grid *grid, uint64_t place, uint64_t *ret_number)
{
	for (unsigned slot = 1; slot < FMT_FRAME_SLOTS; slot++) {
		struct fmt_inode inode;

		if (image_read(&grid->work->meta, place_offset(place) + (uint64_t)slot * FMT_SLOT_SIZE, &inode,
			       sizeof(inode)) != 0 ||
		    !fmt_inode_valid(&inode, inode.ino) || fmt_ino_frame(inode.ino) != 0 ||
		    fmt_ino_slot(inode.ino) != slot)
			continue;
		*ret_number = fmt_ino_group(inode.ino);
		return true;
	}
	return false;
}

/* Assigns numbers from the neighbours on both sides; if `sure`, only where these agree. */
static void number_between(struct grid *grid, bool sure)
{
	uint64_t after = NONE; /* what the last numbered place lets expect here */

	for (uint64_t i = 0; i < grid->places; i++) {
		uint64_t before = NONE, end = i;

		if (grid->place[i].assigned != NONE) {
			after = grid->place[i].assigned + 1;
			continue;
		}
		while (end < grid->places && grid->place[end].assigned == NONE)
			end++;
		if (end < grid->places && grid->place[end].assigned >= end - i)
			before = grid->place[end].assigned - (end - i);
		/* From both ends of the gap: it may have begun with chunks that are no groups. */
		for (; i < end; i++) {
			if (before != NONE && (!sure || before == after))
				group_set(grid, before, i);
			if (after != NONE && !sure)
				group_set(grid, after, i);
			before += before != NONE;
			after += after != NONE;
		}
		i--;
	}
}

/*
 * Without a superblock: sound headers give numbers, and from these the others follow, for groups of an arena are
 * neighbours and numbers go on from arena to arena. A wrong guess shows in what is found there: all records are sealed
 * with their places or owners.
 */
static void number_by_headers(struct grid *grid)
{
	uint64_t number;

	for (uint64_t i = 0; i < grid->places; i++) {
		if (grid->place[i].sound)
			group_set(grid, grid->place[i].number, i);
	}
	for (uint64_t i = 0; i < grid->places; i++) {
		if (grid->place[i].assigned == NONE && number_by_inodes(grid, i, &number))
			group_set(grid, number, i);
	}
	number_between(grid, true);
	number_between(grid, false);
}

int pool_find(struct work *work)
{
	struct grid grid = {.work = work};
	struct fmt_super super;
	int error = 0;

	if (work->meta.size > PMDK_CHUNKS_AT)
		grid.places = (work->meta.size - PMDK_CHUNKS_AT + PMDK_CHUNK_SIZE - 1) / PMDK_CHUNK_SIZE;
	grid.place = calloc(grid.places + 1, sizeof(*grid.place));
	work->group = calloc(grid.places + 1, sizeof(*work->group));
	work->groups = grid.places;
	if (grid.place == NULL || work->group == NULL) {
		free(grid.place);
		return -ENOMEM;
	}
	headers_read(&grid);
	headers_judge(&grid);
	if (super_find(&grid, &super)) {
		if (super.version > FMT_VERSION || (super.incompat & ~FMT_INCOMPAT_KNOWN) != 0) {
			message_set(work->message, "%s: its format is newer than this pinfs: upgrade pinfs",
				    work->options->meta_path);
			error = -EPROTONOSUPPORT;
		} else {
			number_by_super(&grid, &super);
		}
	} else if (grid.sound > 0) {
		rescue_lost(work, "the superblock is damaged: going by what else is there");
		number_by_headers(&grid);
	} else {
		message_set(work->message, "%s: nothing of a pinfs pool is found in it", work->options->meta_path);
		error = -EUCLEAN;
	}
	free(grid.place);
	return error;
}

/* ---- Places ---- */

uint64_t pool_page_offset(const struct work *work, uint64_t page)
{
	uint64_t group = page / FMT_GROUP_FRAMES;
	uint64_t frame = page % FMT_GROUP_FRAMES;

	if (group >= work->groups || frame == 0 || work->group[group].offset == 0)
		return 0;
	return work->group[group].offset + frame * FMT_BLOCK_SIZE;
}

uint64_t pool_slot_offset(const struct work *work, uint64_t ino)
{
	uint64_t group = fmt_ino_group(ino);

	if (group >= work->groups || work->group[group].offset == 0)
		return 0;
	return work->group[group].offset + fmt_ino_frame(ino) * FMT_BLOCK_SIZE +
	       (uint64_t)fmt_ino_slot(ino) * FMT_SLOT_SIZE;
}
