/*
 * Inodes whose record does not verify, or says what cannot be (I3): which they are, and what names say of them.
 * record.c makes their records anew.
 */
#include "base/search.h"
#include "repair/work.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

struct losses {
	struct work *work;
	/* work->slots, and those that a name calls and whose slots are free: no transaction leaves such a name. */
	struct repair_inodes set;
	struct repair_lost *lost; /* as set */
};

/* ---- What names say ---- */

static struct repair_lost *lost_find(const struct losses *losses, uint64_t ino)
{
	const size_t count = losses->set.count;
	size_t at = search_from(losses->lost, count, sizeof(*losses->lost), offsetof(struct repair_lost, ino), ino);

	return at < count && losses->lost[at].ino == ino ? &losses->lost[at] : NULL;
}

/* Of several generations the one that the damaged record has too is the best. */
static void hear(const struct losses *losses, uint64_t parent, const struct fmt_name *name)
{
	struct repair_lost *lost = lost_find(losses, name->target);
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
static void know_reserved(struct repair_lost *lost)
{
	if (lost->ino >= FMT_INO_FIRST_FREE)
		return;
	lost->parent = FMT_INO_ROOT;
	lost->generation = 1;
	lost->type = lost->ino == FMT_INO_ROOT ? DT_DIR : DT_REG;
}

/* ---- The two stages ---- */

/*
 * Its slot is free, and should not be. Only the magic may be missing; or the first line; or all, and a directory is
 * known by the pages of names that call it their owner.
 */
static int mend_vanished(struct work *work, const struct repair_lost *lost, const struct fmt_inode *slot)
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
		return repair_record(work, lost);
	return 0; /* its entry goes: directory.c */
}

static int mend_slot(struct work *work, struct repair_lost *lost, bool others)
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
		return others ? 0 : repair_record_fields(work, lost->ino, slot);
	if (lost->parent != 0)
		return others ? 0 : repair_record(work, lost);
	if (!others)
		return 0;
	if (repair_record_vouched(work, lost->ino)) {
		lost->generation = slot->generation;
		lost->type = (uint8_t)IFTODT(slot->mode & S_IFMT);
		return repair_record(work, lost);
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
