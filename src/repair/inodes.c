/*
 * Inodes whose record does not verify, or says what cannot be (I3). What is left of a damaged one is believed only
 * where something else vouches for it: names, records and pages carry its generation under checksums of their own. Who
 * owned it and who might read it is not known any more: it becomes root's.
 */
#include "base/search.h"
#include "repair/work.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NSEC_MAX 999999999u

/* What is known of an inode whose record is damaged. */
struct lost {
	uint64_t ino;
	uint64_t parent; /* directory of the first name; 0: no name has been seen */
	uint32_t generation;
	uint8_t type; /* DT_ */
};

struct losses {
	struct work *work;
	/* work->slots, and those that a name calls and whose slots are free: no transaction leaves such a name. */
	struct repair_inodes set;
	struct lost *lost; /* as set */
};

/* ---- What names say ---- */

static struct lost *lost_find(const struct losses *losses, uint64_t ino)
{
	const size_t count = losses->set.count;
	size_t at = search_from(losses->lost, count, sizeof(*losses->lost), offsetof(struct lost, ino), ino);

	return at < count && losses->lost[at].ino == ino ? &losses->lost[at] : NULL;
}

/* Of several generations the one that the damaged record has too is the best. */
static void hear(const struct losses *losses, uint64_t parent, const struct fmt_name *name)
{
	struct lost *lost = lost_find(losses, name->target);
	const struct fmt_inode *slot = meta_mend_peek(losses->work->meta, name->target);

	if (lost == NULL || slot == NULL || (lost->parent != 0 && name->generation != slot->generation))
		return;
	lost->parent = parent;
	lost->generation = name->generation;
	lost->type = name->type;
}

static bool is_free(const struct work *work, uint64_t ino)
{
	const struct fmt_inode *slot = meta_mend_peek(work->meta, ino);

	return slot != NULL && fmt_inode_free(slot);
}

static int note_vanished(struct losses *losses, const struct mend_names *names)
{
	int error = 0;

	for (size_t i = 0; error == 0 && i < names->count; i++)
		if (names->name[i].leaf != MEND_LOOSE && !check_reserved(names->name[i].media->target) &&
		    is_free(losses->work, names->name[i].media->target))
			error = repair_inodes_add(&losses->set, names->name[i].media->target);
	return error;
}

/* Goes through all names: collects those of vanished inodes, or hears what they say of the lost. */
static int each_names(struct losses *losses, bool collect)
{
	struct work *work = losses->work;
	int error = 0;

	for (size_t i = 0; error == 0 && i < work->check.inodes; i++) {
		struct mend_names names = {.rewrite = NULL};
		const struct fmt_inode *directory;

		check_step(&work->check);
		if (!S_ISDIR(work->check.inode[i].mode) ||
		    meta_inode_get(work->meta, work->check.inode[i].ino, &directory) != 0)
			continue;
		error = meta_mend_read_names(work->meta, directory, false, &names);
		if (error == 0 && collect)
			error = note_vanished(losses, &names);
		for (size_t j = 0; error == 0 && !collect && j < names.count; j++)
			if (names.name[j].leaf != MEND_LOOSE)
				hear(losses, directory->ino, names.name[j].media);
		meta_mend_free_names(&names);
	}
	return error;
}

/* The pool's own inodes need no name: there is one of each. */
static void know_reserved(struct lost *lost)
{
	if (lost->ino >= FMT_INO_FIRST_FREE)
		return;
	lost->parent = FMT_INO_ROOT;
	lost->generation = 1;
	lost->type = lost->ino == FMT_INO_ROOT ? DT_DIR : DT_REG;
}

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
static int make_record(struct work *work, const struct lost *lost, struct fmt_inode *ret_inode, bool *ret_keep)
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

static int restore(struct work *work, const struct lost *lost)
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

/* ---- What no name vouches for ---- */

static uint8_t type_of_slot(const struct fmt_inode *slot)
{
	return (uint8_t)IFTODT(slot->mode & S_IFMT);
}

/* Its records or pages verify with the generation that it says: then it is what it says, and was somebody's. */
static bool vouches_for_itself(struct work *work, uint64_t ino)
{
	const struct fmt_inode *slot = meta_mend_peek(work->meta, ino);
	struct fmt_inode probe = {.ino = ino, .generation = slot->generation, .mode = slot->mode};
	const uint8_t type = type_of_slot(slot);

	if (type != DT_REG && type != DT_DIR)
		return false;
	if (slot->body.height == 0)
		return slot->body.count > 0 && slot->body.count <= FMT_BODY_RECORDS &&
		       valid_records(slot->record, slot->body.count, fmt_owner_seed(ino, slot->generation)) ==
			       slot->body.count;
	return root_valid(work, &slot->body, &probe, false);
}

/* Slots that verify and say what cannot be. */
static int mend_implausible(struct work *work, uint64_t ino, const struct fmt_inode *slot)
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

/* ---- The two stages ---- */

/*
 * Its slot is free, and should not be. Only the magic may be missing; or the first line; or all, and a directory is
 * known by the pages of names that call it their owner.
 */
static int mend_vanished(struct work *work, const struct lost *lost, const struct fmt_inode *slot)
{
	struct fmt_inode whole = *slot;
	int error;

	whole.magic = FMT_INODE_MAGIC;
	if (lost->parent != 0 && whole.generation == lost->generation && fmt_inode_valid(&whole, lost->ino)) {
		error = meta_mend_slot(work->meta, lost->ino, &whole);
		if (error == 0)
			repair_say(work, "I3", lost->ino, "magic of its record put back: the rest is whole");
		return error;
	}
	if (fmt_ino_is_ledger(lost->ino))
		return 0; /* ledger.c */
	if (lost->ino < FMT_INO_FIRST_FREE || lost->type == DT_DIR || (slot->ino == 0 && slot->mode != 0))
		return restore(work, lost);
	return 0; /* its entry goes: directory.c */
}

static int mend_slot(struct work *work, struct lost *lost, bool others)
{
	const struct fmt_inode *slot = meta_mend_peek(work->meta, lost->ino);
	int error;

	check_step(&work->check);
	if (slot == NULL)
		return 0;
	if (fmt_inode_free(slot))
		return others || lost->parent == 0 ? 0 : mend_vanished(work, lost, slot);
	if (fmt_ino_is_ledger(lost->ino))
		return 0; /* ledger.c */
	if (fmt_inode_valid(slot, lost->ino))
		return others ? 0 : mend_implausible(work, lost->ino, slot);
	if (lost->parent != 0)
		return others ? 0 : restore(work, lost);
	if (!others)
		return 0;
	if (vouches_for_itself(work, lost->ino)) {
		lost->generation = slot->generation;
		lost->type = type_of_slot(slot);
		return restore(work, lost);
	}
	error = meta_mend_slot(work->meta, lost->ino, NULL);
	if (error == 0)
		repair_say(work, "I3", lost->ino, "damaged record freed: nothing names it, and nothing of it is left");
	return error;
}

/* Those whose record does not verify, and those that have vanished. */
static int find_losses(struct losses *losses)
{
	struct work *work = losses->work;
	int error = 0;

	for (size_t i = 0; error == 0 && i < work->slots.count; i++)
		error = repair_inodes_add(&losses->set, work->slots.ino[i]);
	if (error == 0 && repair_has(work, "I15"))
		error = each_names(losses, true);
	if (error == 0 && is_free(work, FMT_INO_ROOT))
		error = repair_inodes_add(&losses->set, FMT_INO_ROOT);
	if (error == 0 && is_free(work, FMT_INO_PARTS))
		error = repair_inodes_add(&losses->set, FMT_INO_PARTS);
	repair_inodes_sort(&losses->set);
	losses->lost = calloc(losses->set.count + 1, sizeof(*losses->lost));
	if (losses->lost == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < losses->set.count; i++)
		losses->lost[i].ino = losses->set.ino[i];
	return error == 0 && losses->set.count > 0 ? each_names(losses, false) : error;
}

static int mend_slots(struct work *work, bool others)
{
	struct losses losses = {.work = work};
	int error = find_losses(&losses);

	for (size_t i = 0; error == 0 && i < losses.set.count; i++) {
		know_reserved(&losses.lost[i]);
		error = mend_slot(work, &losses.lost[i], others);
	}
	free(losses.set.ino);
	free(losses.lost);
	return error;
}

int repair_slots_named(struct work *work)
{
	return mend_slots(work, false);
}

int repair_slots_others(struct work *work)
{
	return mend_slots(work, true);
}
