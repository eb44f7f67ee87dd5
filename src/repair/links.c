/* The tree: link counts (I16), one parent and a way to the root (I17). One transaction for each inode. */
#include "repair/work.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int set_links(struct work *work, const struct check_inode *inode, uint64_t links)
{
	struct fmt_inode *edited;
	struct meta_tx *tx;
	int error = repair_edit(work, inode->ino, &tx, &edited);

	if (error != 0)
		return error;
	edited->nlink = (uint32_t)links;
	error = repair_end(tx, 0);
	if (error == 0)
		repair_say(work, "I16", inode->ino, "link count set to %lu, was %u", links, inode->nlink);
	return error;
}

static int set_parent(struct work *work, const struct check_inode *inode, uint64_t parent)
{
	struct fmt_inode *edited;
	struct meta_tx *tx;
	int error = repair_edit(work, inode->ino, &tx, &edited);

	if (error != 0)
		return error;
	edited->parent = parent;
	error = repair_end(tx, 0);
	if (error == 0)
		repair_say(work, "I17", inode->ino, "parent set to inode %lu, was %lu", parent, inode->parent);
	return error;
}

/* ---- Entries that name a directory ---- */

struct entry_search {
	uint64_t ino;
	struct meta_entry entry;
};
#define SEARCH_FOUND 1

static int search_visit(void *arg, const struct meta_entry *entry)
{
	struct entry_search *search = arg;

	if (entry->ino != search->ino)
		return 0;
	search->entry = *entry;
	return SEARCH_FOUND;
}

/* The first entry of a directory that names the inode. -ENOENT. */
static int find_entry(struct work *work, const struct fmt_inode *directory, uint64_t ino, struct meta_entry *ret_entry)
{
	struct entry_search search = {.ino = ino};
	int result = meta_entry_iterate(work->meta, directory, 0, search_visit, &search);

	if (result == SEARCH_FOUND) {
		*ret_entry = search.entry;
		return 0;
	}
	return result == 0 ? -ENOENT : result;
}

static int remove_entry(struct work *work, const struct check_inode *inode, const struct fmt_inode *directory,
			const struct meta_entry *entry)
{
	struct meta_tx *tx;
	int error = repair_begin(work, false, &tx);

	if (error != 0)
		return error;
	error = repair_end(tx, meta_entry_remove(tx, directory, entry->name, entry->name_length));
	if (error == 0)
		repair_say(work, "I17", inode->ino,
			   "one of its %lu names taken out of directory %lu: a directory has one", inode->named,
			   directory->ino);
	return error;
}

/* Of several names the one stays that is in the recorded parent, or the first. */
static int keep_one_name(struct work *work, const struct check_inode *inode)
{
	const struct fmt_inode *directory;
	struct meta_entry entry;
	bool kept = false;
	uint64_t keep = inode->parent;

	if (meta_inode_get(work->meta, keep, &directory) != 0 || !S_ISDIR(directory->mode) ||
	    find_entry(work, directory, inode->ino, &entry) != 0)
		keep = work->check.inode[inode->named_by].ino;
	for (size_t i = 0; i < work->check.inodes; i++) {
		const uint64_t ino = work->check.inode[i].ino;
		int error;

		check_step(&work->check);
		if (!S_ISDIR(work->check.inode[i].mode) || meta_inode_get(work->meta, ino, &directory) != 0)
			continue;
		error = find_entry(work, directory, inode->ino, &entry);
		if (error == -ENOENT || error == -EUCLEAN)
			continue;
		if (error == 0 && ino == keep && !kept) {
			kept = true; /* a second one in the same directory is met by the next analysis */
			continue;
		}
		if (error == 0)
			error = remove_entry(work, inode, directory, &entry);
		if (error != 0)
			return error;
	}
	return 0;
}

/* Two in the same directory: the first goes. */
static int remove_double(struct work *work, const struct check_inode *inode)
{
	const struct fmt_inode *directory;
	struct meta_entry entry;
	int error = meta_inode_get(work->meta, work->check.inode[inode->named_by].ino, &directory);

	if (error == 0)
		error = find_entry(work, directory, inode->ino, &entry);
	return error != 0 ? error : remove_entry(work, inode, directory, &entry);
}

/* ---- What is found ---- */

/* Takes it out of the directory that names it (0: none does) and into /lost+found. */
static int move_to_found(struct work *work, const struct check_inode *inode, uint64_t from)
{
	const struct fmt_inode *media, *directory = NULL;
	struct fmt_inode *edited;
	struct meta_entry entry;
	struct meta_tx *tx;
	uint64_t found;
	int error = repair_found_open(work, &found);

	if (error == 0)
		error = meta_inode_get(work->meta, inode->ino, &media);
	if (error == 0 && from != 0)
		error = meta_inode_get(work->meta, from, &directory);
	if (error == 0 && from != 0)
		error = find_entry(work, directory, inode->ino, &entry);
	if (error == 0)
		error = repair_begin(work, false, &tx);
	if (error != 0)
		return error;
	error = repair_found_add(work, tx, found, media);
	if (error == 0 && from != 0)
		error = meta_entry_remove(tx, directory, entry.name, entry.name_length);
	if (error == 0)
		error = meta_inode_edit(tx, media, &edited);
	if (error == 0 && S_ISDIR(inode->mode))
		edited->parent = found;
	else if (error == 0)
		edited->nlink = 1;
	error = repair_end(tx, error);
	if (error == 0)
		repair_say(work, S_ISDIR(inode->mode) ? "I17" : "I16", inode->ino,
			   "nothing named it: now /lost+found/#%lu", inode->ino);
	return error;
}

static bool in_circle(const struct check *check, const struct check_inode *inode)
{
	size_t at = inode->named_by;

	for (size_t steps = 0; at != CHECK_NO_INDEX && steps <= check->inodes; steps++) {
		if (&check->inode[at] == inode)
			return true;
		at = check->inode[at].named_by;
	}
	return false;
}

/* ---- Each inode ---- */

static int make_root(struct work *work)
{
	struct fmt_inode root = {.generation = 1, .mode = S_IFDIR | 0700, .nlink = 2, .parent = FMT_INO_ROOT};
	struct timespec now;
	int error;

	clock_gettime(CLOCK_REALTIME, &now);
	root.atime = root.mtime = root.ctime = root.btime = now.tv_sec;
	error = meta_mend_slot(work->meta, FMT_INO_ROOT, &root);
	if (error == 0)
		repair_say(work, "I17", FMT_INO_ROOT, "root directory made anew, empty, for root only");
	return error;
}

static int mend_directory(struct work *work, const struct check_inode *inode)
{
	const uint64_t links = inode->subdirs + 2;
	const bool root = inode->ino == FMT_INO_ROOT;
	const uint64_t named_by = inode->named_by != CHECK_NO_INDEX ? work->check.inode[inode->named_by].ino : 0;
	const struct fmt_inode *media;

	if (root && inode->named > 0 && meta_inode_get(work->meta, named_by, &media) == 0)
		return repair_directory(work, media);
	if (root && inode->parent != FMT_INO_ROOT)
		return set_parent(work, inode, FMT_INO_ROOT);
	if (inode->nlink != links && (inode->nlink != 0 || root || inode->named != 0 || inode->entries != 0))
		return set_links(work, inode, links);
	if (root || (inode->named == 0 && inode->nlink == 0))
		return 0;
	if (inode->named == 0)
		return move_to_found(work, inode, 0);
	if (inode->named > 1) {
		const uint64_t before = work->mended;
		int error = keep_one_name(work, inode);

		return error != 0 || work->mended != before ? error : remove_double(work, inode);
	}
	if (in_circle(&work->check, inode))
		return move_to_found(work, inode, named_by);
	return inode->parent != named_by ? set_parent(work, inode, named_by) : 0;
}

static int mend_inode(struct work *work, uint64_t ino)
{
	const struct check_inode *inode = check_inode_find(&work->check, ino);

	if (inode == NULL)
		return ino == FMT_INO_ROOT && !repair_inodes_has(&work->slots, ino) ? make_root(work) : 0;
	if (ino == FMT_INO_ROOT && !S_ISDIR(inode->mode))
		return make_root(work);
	if (inode->partial) /* its counts are not to be trusted yet */
		return 0;
	if (S_ISDIR(inode->mode))
		return mend_directory(work, inode);
	if (inode->named == 0 && inode->nlink > 0)
		return move_to_found(work, inode, 0);
	return inode->named != inode->nlink ? set_links(work, inode, inode->named) : 0;
}

int repair_links(struct work *work)
{
	struct repair_inodes set;
	int error = repair_inodes_with(work, "I16 I17", &set);

	for (size_t i = 0; error == 0 && i < set.count; i++) {
		error = mend_inode(work, set.ino[i]);
		if (error == -ENOSPC || error == -EUCLEAN || error == -ENOENT)
			error = 0; /* stays an error, which the last analysis tells */
	}
	free(set.ino);
	return error;
}
