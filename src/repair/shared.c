/*
 * Blocks that belong to two (I8), or to a file and to limbo (I24).
 *
 * What is in such a block is one owner's data, and it cannot be told whose. Who may read the one file may read the
 * other as well if owner, group, mode and ACLs are the same: then each gets a copy. Else it would show one user's data
 * to another: the blocks go to a file of root's in /lost+found, and both files have a hole there.
 */
#include "base/arith.h"
#include "base/search.h"
#include "repair/work.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct run {
	uint64_t phys;
	uint32_t length;
};

struct shared {
	struct work *work;
	/* Blocks in use by place: extents, and what pins name; where the search for a free one goes on. */
	struct run *used;
	size_t count, capacity;
	size_t next;
	uint64_t from;
	uint64_t *end; /* by index of check.extent: where those up to it end at the latest */
	bool none; /* a pin may hold blocks of which the ledger cannot tell: none is free for sure */
};

/* ---- Free blocks ---- */

static int use(struct shared *shared, uint64_t phys, uint32_t length)
{
	int error = check_grow(&shared->used, &shared->capacity, shared->count, sizeof(*shared->used));

	if (error == 0)
		shared->used[shared->count++] = (struct run){phys, length};
	return error;
}

static int use_pin(void *arg, const struct meta_pin *pin)
{
	int error = 0;

	for (size_t i = 0; error == 0 && i < pin->count; i++)
		error = use(arg, pin->extents[i].phys, pin->extents[i].length);
	return error;
}

static int compare_runs(const void *a, const void *b)
{
	const struct run *left = a, *right = b;

	return left->phys < right->phys ? -1 : left->phys > right->phys;
}

static int find_used(struct shared *shared)
{
	const struct check *check = &shared->work->check;
	int error = 0;

	for (size_t i = 0; error == 0 && i < check->extents; i++)
		error = use(shared, check->extent[i].phys, check->extent[i].length);
	for (size_t i = 0; error == 0 && i < check->bads; i++)
		error = use(shared, check->bad[i].phys, check->bad[i].length);
	/* The last block of a part and the first of the next are headers. */
	for (size_t i = 0; error == 0 && i < check->parts; i++) {
		error = use(shared, fmt_phys((uint32_t)i, 0), 1);
		if (error == 0)
			error = use(shared, fmt_phys((uint32_t)i, check->part[i].record.blocks - 1), 1);
	}
	if (error == 0)
		error = meta_ledger_visit(shared->work->meta, NULL, use_pin, shared);
	shared->none = error == -EUCLEAN;
	if (shared->count > 0)
		qsort(shared->used, shared->count, sizeof(*shared->used), compare_runs);
	return shared->none ? 0 : error;
}

static int find_ends(struct shared *shared)
{
	const struct check *check = &shared->work->check;
	uint64_t end = 0;

	shared->end = calloc(check->extents + 1, sizeof(*shared->end));
	if (shared->end == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < check->extents; i++) {
		end = max_u64(end, check->extent[i].phys + check->extent[i].length);
		shared->end[i] = end;
	}
	return 0;
}

/* A free run of at most `wanted` blocks. False: none is left. */
static bool take_free(struct shared *shared, uint32_t wanted, struct run *ret_run)
{
	while (!shared->none && shared->next < shared->count) {
		const struct run *used = &shared->used[shared->next];

		/* Between two headers of different parts there is nothing. */
		if (used->phys > shared->from && fmt_phys_part(used->phys) == fmt_phys_part(shared->from) &&
		    fmt_phys_part(used->phys) < shared->work->check.parts) {
			ret_run->phys = shared->from;
			ret_run->length = (uint32_t)min_u64(wanted, used->phys - shared->from);
			shared->from += ret_run->length;
			return true;
		}
		shared->from = max_u64(shared->from, used->phys + used->length);
		shared->next++;
	}
	return false;
}

/* ---- Extents of an inode ---- */

/*
 * The piece of [phys, +length) that the inode maps last, as an extent of it. The last, so that of two in one file the
 * second is taken. -ENOENT.
 */
static int find_piece(struct work *work, const struct fmt_inode *inode, const struct run *run,
		      struct meta_extent *ret_piece)
{
	struct mend_map map;
	int error = meta_mend_read_map(work->meta, inode, false, &map);

	if (error != 0)
		return error;
	error = -ENOENT;
	for (size_t i = map.count; error != 0 && i-- > 0;) {
		const struct fmt_record *record = &map.record[i];
		uint32_t length = record->length & ~FMT_EXTENT_UNWRITTEN;
		uint64_t start = max_u64(record->value, run->phys);
		uint64_t end = min_u64(record->value + length, run->phys + run->length);

		if (start >= end)
			continue;
		*ret_piece = (struct meta_extent){
			.file_block = record->key + (start - record->value),
			.phys = start,
			.length = (uint32_t)(end - start),
			.unwritten = record->length != length,
		};
		error = 0;
	}
	meta_mend_free_map(&map);
	return error;
}

static int take_out(struct meta_tx *tx, const struct fmt_inode *inode, const struct meta_extent *piece)
{
	struct meta_extent removed;
	int error = meta_extent_remove_last(tx, inode, piece->file_block, piece->file_block + piece->length, &removed);

	return error == 0 && removed.length != piece->length ? -EUCLEAN : error;
}

/* ---- A copy for the second owner ---- */

/* I4 of writes: data before extent. */
static int copy_blocks(struct work *work, const struct run *to, uint64_t from)
{
	struct region_part *target = repair_part(work, fmt_phys_part(to->phys));
	struct region_part *source = repair_part(work, fmt_phys_part(from));
	const size_t length = (size_t)to->length << FMT_BLOCK_SHIFT;
	void *address;

	if (work->dry)
		return 0;
	if (target == NULL || source == NULL)
		return -ENXIO;
	address = region_block(target, fmt_phys_block(to->phys));
	region_copy(target, address, region_block(source, fmt_phys_block(from)), length);
	return region_persist(target, address, length);
}

/* Replaces the first blocks of a piece by a copy, as many as there is a free run for. -ENOSPC: there is none. */
static int copy_piece(struct shared *shared, const struct fmt_inode *inode, struct meta_extent *piece)
{
	struct meta_extent copy = *piece;
	struct meta_tx *tx;
	struct run run;
	int error;

	if (!take_free(shared, piece->length, &run))
		return -ENOSPC;
	error = piece->unwritten ? 0 : copy_blocks(shared->work, &run, piece->phys);
	if (error != 0)
		return error == -ENOMEM ? error : -ENOSPC; /* unreadable, or no part to write to */
	piece->length = copy.length = run.length;
	copy.phys = run.phys;
	error = repair_begin(shared->work, false, &tx);
	if (error != 0)
		return error;
	error = take_out(tx, inode, piece);
	if (error == 0)
		error = meta_extent_insert(tx, inode, &copy);
	error = repair_end(tx, error);
	if (error == 0)
		repair_say(shared->work, "I8", inode->ino,
			   "file blocks %lu to %lu have blocks of their own now, a copy", piece->file_block,
			   piece->file_block + piece->length - 1);
	return error;
}

/* No owner: a hole. */
static int drop_piece(struct work *work, const struct fmt_inode *inode, const struct meta_extent *piece,
		      const char *invariant, const char *why)
{
	struct meta_tx *tx;
	int error = repair_begin(work, false, &tx);

	if (error != 0)
		return error;
	error = repair_end(tx, take_out(tx, inode, piece));
	if (error == 0)
		repair_say(work, invariant, inode->ino, "blocks %lu to %lu taken out: %s", piece->file_block,
			   piece->file_block + piece->length - 1, why);
	return error;
}

/* ---- Neither owner ---- */

/* A file of root's in /lost+found with these blocks. */
static int make_saved(struct work *work, struct meta_tx *tx, const struct meta_extent *piece, uint64_t found,
		      uint64_t *ret_ino)
{
	const struct meta_extent extent = {.phys = piece->phys, .length = piece->length, .unwritten = piece->unwritten};
	struct fmt_inode *inode;
	int error = meta_inode_create(tx, &inode);

	if (error != 0)
		return error;
	inode->mode = S_IFREG | 0600;
	inode->nlink = 1;
	inode->size = (uint64_t)piece->length << FMT_BLOCK_SHIFT;
	*ret_ino = inode->ino;
	error = meta_extent_insert(tx, inode, &extent);
	return error == 0 ? repair_found_add(work, tx, found, inode) : error;
}

/* The blocks leave both files and become one of root's, in one transaction. */
static int save_piece(struct work *work, const struct fmt_inode *const owner[2], const struct meta_extent piece[2])
{
	struct meta_tx *tx;
	uint64_t found, ino = 0;
	int error = repair_found_open(work, &found);

	if (error == 0)
		error = repair_begin(work, true, &tx);
	if (error != 0)
		return error;
	for (unsigned i = 0; error == 0 && i < 2; i++)
		error = take_out(tx, owner[i], &piece[i]);
	if (error == 0)
		error = make_saved(work, tx, &piece[0], found, &ino);
	error = repair_end(tx, error);
	for (unsigned i = 0; error == 0 && i < 2; i++)
		repair_say(work, "I8", owner[i]->ino,
			   "file blocks %lu to %lu are a hole now: whose they were is not known, see /lost+found/#%lu",
			   piece[i].file_block, piece[i].file_block + piece[i].length - 1, ino);
	return error;
}

/* The blocks are limbo's: a copy of the first of them leaves the file for one of root's. -ENOSPC. */
static int save_copy(struct shared *shared, const struct fmt_inode *file, struct meta_extent *piece)
{
	struct work *work = shared->work;
	struct meta_extent copy = *piece;
	struct meta_tx *tx;
	uint64_t found, ino = 0;
	struct run run;
	int error = repair_found_open(work, &found);

	if (error == 0 && !take_free(shared, piece->length, &run))
		error = -ENOSPC;
	if (error == 0 && !piece->unwritten && copy_blocks(work, &run, piece->phys) != 0)
		error = -ENOSPC;
	if (error == 0)
		error = repair_begin(work, true, &tx);
	if (error != 0)
		return error;
	piece->length = copy.length = run.length;
	copy.phys = run.phys;
	error = take_out(tx, file, piece);
	if (error == 0)
		error = make_saved(work, tx, &copy, found, &ino);
	error = repair_end(tx, error);
	if (error == 0)
		repair_say(work, "I24", file->ino,
			   "file blocks %lu to %lu are a hole now: they are in limbo, a copy is in /lost+found/#%lu",
			   piece->file_block, piece->file_block + piece->length - 1, ino);
	return error;
}

/* Who may read the one may read the other. */
static bool equally_open(const struct fmt_inode *one, const struct fmt_inode *other)
{
	return one->uid == other->uid && one->gid == other->gid && ((one->mode ^ other->mode) & 0777) == 0 &&
	       !meta_has_xattrs(one) && !meta_has_xattrs(other);
}

/* ---- Deciding ---- */

/* A file's blocks that are limbo's. */
static int part_from_limbo(struct shared *shared, const struct fmt_inode *file, const struct run *run)
{
	struct meta_extent piece;
	int error = find_piece(shared->work, file, run, &piece);

	if (error == 0)
		error = save_copy(shared, file, &piece);
	return error == -ENOSPC
		       ? drop_piece(shared->work, file, &piece, "I24", "a pin may hold them, and no other is free")
		       : error;
}

/* All that have blocks of the run, for there may be more than two. */
static bool all_equally_open(const struct shared *shared, const struct fmt_inode *one, const struct run *run)
{
	const struct check *check = &shared->work->check;
	size_t i = search_from(check->extent, check->extents, sizeof(*check->extent),
			       offsetof(struct check_extent, phys), run->phys + run->length);

	while (i-- > 0 && shared->end[i] > run->phys) {
		const struct check_extent *extent = &check->extent[i];
		const struct fmt_inode *other;

		if (extent->phys + extent->length <= run->phys || extent->ino == one->ino)
			continue;
		if (fmt_ino_is_identity(extent->ino) || meta_inode_get(shared->work->meta, extent->ino, &other) != 0 ||
		    !equally_open(one, other))
			return false;
	}
	return true;
}

static int part_files(struct shared *shared, const struct fmt_inode *const owner[2], const struct run *run)
{
	struct meta_extent piece[2];
	struct run both;
	int error = find_piece(shared->work, owner[1], run, &piece[1]);

	if (error != 0)
		return error;
	/* If it is not the first's any more, the next analysis tells whose it is now. */
	both = (struct run){piece[1].phys, piece[1].length};
	error = find_piece(shared->work, owner[0], &both, &piece[0]);
	if (error != 0)
		return error;
	if (all_equally_open(shared, owner[0], run)) {
		error = copy_piece(shared, owner[1], &piece[1]);
		if (error != -ENOSPC)
			return error;
	}
	if (owner[0] == owner[1])
		return drop_piece(shared->work, owner[1], &piece[1], "I8", "they are elsewhere in it too");
	piece[1].file_block += piece[0].phys - piece[1].phys;
	piece[1].phys = piece[0].phys;
	piece[1].length = piece[0].length;
	return save_piece(shared->work, owner, piece);
}

static int part(struct shared *shared, uint64_t one, uint64_t other, const struct run *run)
{
	const struct fmt_inode *owner[2];
	int error = meta_inode_get(shared->work->meta, one, &owner[0]);

	if (error == 0)
		error = meta_inode_get(shared->work->meta, other, &owner[1]);
	if (error != 0)
		return error;
	if (one == FMT_INO_LIMBO)
		return part_from_limbo(shared, owner[1], run);
	return other == FMT_INO_LIMBO ? part_from_limbo(shared, owner[0], run) : part_files(shared, owner, run);
}

/* What is shared by more than two, or in pieces, is met again by the next analysis. */
static int part_all(struct shared *shared)
{
	const struct check *check = &shared->work->check;
	const struct check_extent *last = NULL;

	for (size_t i = 0; i < check->extents; i++) {
		const struct check_extent *extent = &check->extent[i];
		struct run run;
		int error = 0;

		if (!check_inside_part(check, extent->phys, extent->length))
			continue;
		if (last != NULL && extent->phys < last->phys + last->length) {
			run.phys = extent->phys;
			run.length = (uint32_t)(min_u64(extent->phys + extent->length, last->phys + last->length) -
						extent->phys);
			error = part(shared, last->ino, extent->ino, &run);
		}
		if (error == -ENOMEM || error == -EIO)
			return error;
		if (last == NULL || extent->phys + extent->length > last->phys + last->length)
			last = extent;
	}
	return 0;
}

int repair_shared(struct work *work)
{
	struct shared shared = {.work = work};
	int error;

	if (!repair_has(work, "I8 I24"))
		return 0;
	error = find_used(&shared);
	if (error == 0)
		error = find_ends(&shared);
	if (error == 0)
		error = part_all(&shared);
	free(shared.used);
	free(shared.end);
	return error;
}
