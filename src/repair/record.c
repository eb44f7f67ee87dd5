/*
 * The record of a damaged inode, made anew (I3). What is left of it is believed only where something else vouches for
 * it: names, records and pages carry its generation under checksums of their own. Who owned it and who might read it is
 * not known any more: it becomes root's.
 */
#include "repair/work.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

#define NSEC_MAX 999999999u

/* ---- What the record itself says ---- */

static uint64_t blocks_of(const struct fmt_record *record, unsigned count)
{
	uint64_t blocks = 0;

	for (unsigned i = 0; i < count; i++)
		blocks += record[i].length & ~FMT_EXTENT_UNWRITTEN;
	return blocks;
}

static unsigned valid_records(const struct fmt_record *record, unsigned count, uint32_t seed)
{
	unsigned valid = 0;

	while (valid < count && fmt_record_valid(&record[valid], seed) &&
	       (valid == 0 || record[valid].key > record[valid - 1].key))
		valid++;
	return valid;
}

/* True if a map's root is a node of this inode. */
static bool root_valid(struct work *work, const struct fmt_map *map, const struct fmt_inode *inode, bool xattrs)
{
	struct fmt_inode probe = *inode;
	struct mend_map found;
	bool valid;

	if (map->height == 0 || map->height > FMT_MAP_HEIGHT_MAX || map->count != 0 || map->root == 0)
		return false;
	/* All of it: a root that leads nowhere is no root. */
	if (xattrs)
		probe.xattrs = *map;
	else
		probe.body = *map;
	if (meta_mend_read_map(work->meta, &probe, xattrs, &found) != 0)
		return false;
	valid = found.count > 0;
	meta_mend_free_map(&found);
	return valid;
}

/*
 * The first line of the record is beyond doubt wrong if it is not this inode's; then the damage is there, and the body
 * is as it says. Else the line's count of blocks judges the body.
 */
static void keep_extents(struct work *work, const struct fmt_inode *slot, bool head_right, struct fmt_inode *inode)
{
	const uint32_t seed = fmt_owner_seed(inode->ino, inode->generation);
	unsigned valid = valid_records(slot->record, FMT_BODY_RECORDS, seed);

	if (root_valid(work, &slot->body, inode, false)) {
		inode->body = slot->body;
		return;
	}
	if (head_right) {
		while (valid > 0 && blocks_of(slot->record, valid) != slot->blocks)
			valid--;
	} else {
		valid = slot->body.height == 0 && slot->body.count <= valid ? slot->body.count : 0;
	}
	inode->body.count = (uint16_t)valid;
	memcpy(inode->record, slot->record, valid * sizeof(slot->record[0]));
}

static void keep_names(struct work *work, const struct fmt_inode *slot, struct fmt_inode *inode)
{
	const uint32_t seed = fmt_owner_seed(inode->ino, inode->generation);
	unsigned valid = valid_records(slot->record, FMT_BODY_RECORDS, seed);

	if (root_valid(work, &slot->body, inode, false)) {
		inode->body = slot->body;
		return;
	}
	/* Too many do no harm: a page that is not this directory's any more does not verify, or is judged by its names.
	 */
	inode->body.count = (uint16_t)(slot->body.height == 0 && slot->body.count <= valid ? slot->body.count : valid);
	memcpy(inode->record, slot->record, inode->body.count * sizeof(slot->record[0]));
}

static void keep_xattrs(struct work *work, const struct fmt_inode *slot, struct fmt_inode *inode)
{
	const uint32_t seed = fmt_owner_seed(inode->ino, inode->generation);

	if (root_valid(work, &slot->xattrs, inode, true)) {
		inode->xattrs = slot->xattrs;
	} else if (slot->xattrs.height == 0 && slot->xattrs.count == 1 &&
		   fmt_record_valid(&slot->xattr_record[0], seed)) {
		inode->xattrs.count = 1;
		inode->xattr_record[0] = slot->xattr_record[0];
	}
}

static uint32_t nanoseconds(uint32_t nsec)
{
	return nsec > NSEC_MAX ? 0 : nsec;
}

static void keep_times(const struct fmt_inode *slot, struct fmt_inode *inode)
{
	inode->atime = slot->atime;
	inode->mtime = slot->mtime;
	inode->ctime = slot->ctime;
	inode->btime = slot->btime;
	inode->atime_nsec = nanoseconds(slot->atime_nsec);
	inode->mtime_nsec = nanoseconds(slot->mtime_nsec);
	inode->ctime_nsec = nanoseconds(slot->ctime_nsec);
	inode->btime_nsec = nanoseconds(slot->btime_nsec);
}

/* Bytes up to the end of the last written extent, and the blocks of all. */
static int measure(struct work *work, struct fmt_inode *inode, bool head_right)
{
	struct mend_map map;
	uint64_t end = 0, blocks = 0;
	int error = meta_mend_read_map(work->meta, inode, false, &map);

	if (error != 0)
		return error;
	for (size_t i = 0; i < map.count; i++) {
		uint64_t length = map.record[i].length & ~FMT_EXTENT_UNWRITTEN;

		blocks += length;
		if (map.record[i].length == length)
			end = (map.record[i].key + length) * FMT_BLOCK_SIZE;
	}
	meta_mend_free_map(&map);
	if (!head_right)
		inode->blocks = blocks;
	if (!head_right || inode->size > FMT_FILE_SIZE_MAX || inode->size + FMT_BLOCK_SIZE <= end)
		inode->size = end;
	return 0;
}

/* Makes the record; *ret_keep is false if there is nothing that it could be of use for. */
static int make_record(struct work *work, const struct repair_lost *lost, struct fmt_inode *ret_inode, bool *ret_keep)
{
	const struct fmt_inode *slot = meta_mend_peek(work->meta, lost->ino);
	const bool head_right =
		slot->magic == FMT_INODE_MAGIC && slot->ino == lost->ino && slot->generation == lost->generation;
	const bool user = lost->ino == FMT_INO_ROOT || lost->ino >= FMT_INO_FIRST_FREE;
	struct fmt_inode inode = {
		.ino = lost->ino,
		.generation = lost->generation,
		.mode = (uint32_t)DTTOIF(lost->type) | (!user		       ? 0
							: lost->type == DT_DIR ? 0700
									       : 0600),
		.size = head_right ? slot->size : 0,
		.blocks = head_right ? slot->blocks : 0,
		.nlink = lost->type == DT_DIR ? 2 : 1,
	};
	int error = 0;

	*ret_keep = true;
	keep_times(slot, &inode);
	if (lost->type == DT_REG && lost->ino != FMT_INO_PARTS)
		keep_extents(work, slot, head_right, &inode);
	if (lost->type == DT_REG && lost->ino != FMT_INO_PARTS)
		error = measure(work, &inode, head_right);
	if (lost->type == DT_DIR) {
		inode.parent = lost->parent;
		keep_names(work, slot, &inode);
		inode.body
			.pages++; /* wrong: so it is known that names may be missing, until content.c has looked (I4) */
	} else if (lost->type == DT_LNK && head_right && slot->size > FMT_SYMLINK_INLINE_MAX &&
		   slot->size <= FMT_SYMLINK_MAX) {
		inode.mode = S_IFLNK | 0777;
		inode.body.root = slot->body.root; /* its pages verify, or I19 takes it out */
	} else if (lost->type != DT_REG && lost->type != DT_FIFO && lost->type != DT_SOCK) {
		*ret_keep = false; /* the target or the device number is what was lost */
	}
	if (!fmt_ino_is_identity(lost->ino))
		keep_xattrs(work, slot, &inode);
	else
		inode.size = 0;
	*ret_inode = inode;
	return error;
}

/* What the pool's own inodes hold concerns all files. */
static void say_own(struct work *work, const struct fmt_inode *inode)
{
	if (inode->ino == FMT_INO_LIMBO)
		repair_say(work, "I3", inode->ino,
			   "limbo made anew from what was left, %lu blocks; what else was in it is free, but for what "
			   "the pin ledger names",
			   inode->blocks);
	else if (inode->ino == FMT_INO_BAD)
		repair_say(work, "I3", inode->ino,
			   "list of lost blocks made anew from what was left, %lu blocks; what else was in it counts "
			   "as sound until it is met again",
			   inode->blocks);
	else
		repair_say(work, "I3", inode->ino, "the pool's own inode made anew");
}

int repair_record(struct work *work, const struct repair_lost *lost)
{
	const struct fmt_inode *slot = meta_mend_peek(work->meta, lost->ino);
	const uint32_t uid = slot->uid, gid = slot->gid, mode = slot->mode;
	const bool head_right = slot->ino == lost->ino;
	struct fmt_inode inode;
	bool keep;
	int error = make_record(work, lost, &inode, &keep);

	if (error == 0)
		error = meta_mend_slot(work->meta, lost->ino, keep ? &inode : NULL);
	if (error != 0)
		return error;
	if (!keep)
		repair_say(work, "I3", lost->ino, "damaged symlink or device taken out: what it stood for is lost");
	else if (lost->ino < FMT_INO_FIRST_FREE && lost->ino != FMT_INO_ROOT)
		say_own(work, &inode);
	else
		repair_say(work, "I3", lost->ino,
			   "record made anew from what was left%s: owner root, mode %03o (was damaged: owner %u:%u, "
			   "mode %o)",
			   head_right ? "" : ", its size from its blocks", inode.mode & 0777, uid, gid, mode);
	return 0;
}

/* ---- Records that nothing names, or that verify ---- */

bool repair_record_vouched(struct work *work, uint64_t ino)
{
	const struct fmt_inode *slot = meta_mend_peek(work->meta, ino);
	struct fmt_inode probe = {.ino = ino, .generation = slot->generation, .mode = slot->mode};
	const uint8_t type = (uint8_t)IFTODT(slot->mode & S_IFMT);

	if (type != DT_REG && type != DT_DIR)
		return false;
	if (slot->body.height == 0)
		return slot->body.count > 0 && slot->body.count <= FMT_BODY_RECORDS &&
		       valid_records(slot->record, slot->body.count, fmt_owner_seed(ino, slot->generation)) ==
			       slot->body.count;
	return root_valid(work, &slot->body, &probe, false);
}

int repair_record_fields(struct work *work, uint64_t ino, const struct fmt_inode *slot)
{
	struct fmt_inode inode = *slot;
	int error;

	keep_times(slot, &inode);
	inode.flags &= (S_ISREG(inode.mode) ? FMT_INODE_INTENT : 0) | fmt_user_flags(inode.mode);
	if ((inode.flags & FMT_INODE_INTENT) != 0 && inode.intent_start >= inode.intent_end)
		inode.flags &= ~FMT_INODE_INTENT;
	if (inode.nlink > FMT_LINK_MAX)
		inode.nlink = 1; /* counted with the links */
	if (!S_ISREG(inode.mode))
		inode.blocks = 0;
	if (!S_ISREG(inode.mode) && !S_ISDIR(inode.mode) && !S_ISLNK(inode.mode)) {
		inode.size = 0;
		memset(&inode.body, 0, sizeof(inode.body));
	}
	error = meta_mend_slot(work->meta, ino, &inode);
	if (error == 0)
		repair_say(work, "I3", ino, "fields of its record that cannot be set to what can");
	return error;
}
