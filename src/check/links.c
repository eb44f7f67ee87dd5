/* The tree: link counts (I16), one parent and a way to the root (I17), sizes of directories (I18), orphans (I22). */
#include "check/walk.h"

static void judge_directory(struct check *check, const struct check_inode *directory)
{
	uint64_t links = directory->subdirs + 2;

	if (directory->partial)
		return; /* its counts are known to be wrong */
	if (directory->entries != directory->size)
		check_error(check, "I18", directory->ino, "its size is %lu, it has %lu entries", directory->size,
			    directory->entries);
	if (directory->nlink == 0 ? directory->entries != 0 : directory->nlink != links)
		check_error(check, "I16", directory->ino, "its link count is %u, it should be %lu", directory->nlink,
			    links);
}

static void judge_parent(struct check *check, const struct check_inode *directory)
{
	uint64_t parent;

	if (directory->ino == FMT_INO_ROOT) {
		if (directory->named != 0)
			check_error(check, "I17", directory->ino, "%lu entries name the root directory",
				    directory->named);
		if (directory->parent != FMT_INO_ROOT)
			check_error(check, "I17", directory->ino, "the root's parent is inode %lu", directory->parent);
		return;
	}
	if (directory->named == 0) {
		if (directory->nlink != 0)
			check_error(check, "I17", directory->ino,
				    "lost directory: no entry names it, its parent was inode %lu", directory->parent);
		return;
	}
	if (directory->named > 1)
		check_error(check, "I17", directory->ino, "%lu entries name this directory", directory->named);
	parent = check->inode[directory->named_by].ino;
	if (directory->parent != parent)
		check_error(check, "I17", directory->ino, "its parent is recorded as inode %lu and is inode %lu",
			    directory->parent, parent);
}

/*
 * Walks up from a directory, marking its way, until something is known; then marks the way with that. Each directory is
 * marked once, so all walks together are O(directories).
 */
static void judge_reach(struct check *check, size_t start)
{
	enum check_reach result = CHECK_REACH_NO;
	struct check_inode *directory;
	size_t at = start;

	while (at != CHECK_NO_INDEX) {
		directory = &check->inode[at];
		if (directory->ino == FMT_INO_ROOT) {
			result = CHECK_REACH_YES;
			break;
		}
		if (directory->reach == CHECK_REACH_VISITING)
			check_error(check, "I17", directory->ino,
				    "this directory lies in itself, cut off from the root");
		if (directory->reach != CHECK_REACH_UNKNOWN) {
			if (directory->reach == CHECK_REACH_YES)
				result = CHECK_REACH_YES;
			break;
		}
		directory->reach = CHECK_REACH_VISITING;
		at = directory->named_by;
	}
	for (at = start; at != CHECK_NO_INDEX && check->inode[at].reach == CHECK_REACH_VISITING;
	     at = check->inode[at].named_by)
		check->inode[at].reach = (uint8_t)result;
}

static void judge_other(struct check *check, const struct check_inode *inode)
{
	if (inode->nlink == inode->named)
		return;
	if (inode->named == 0)
		check_error(check, "I16", inode->ino, "lost: its link count is %u, no entry names it", inode->nlink);
	else
		check_error(check, "I16", inode->ino, "its link count is %u, %lu entries name it", inode->nlink,
			    inode->named);
}

/* I22: what an open file or a crash leaves; the next mount frees the one and finishes the other. */
static void judge_leftovers(struct check *check, const struct check_inode *inode)
{
	if (inode->nlink == 0) {
		check->report.orphans++;
		if (inode->named == 0)
			check_note(check, "I22", inode->ino, "orphan of %lu bytes: unlinked, not yet freed",
				   inode->size);
		else if (S_ISDIR(inode->mode))
			check_error(check, "I16", inode->ino, "its link count is 0, an entry names it");
	}
	if (inode->intent) {
		check->report.intents++;
		check_note(check, "I22", inode->ino, "a truncation or punched hole is not finished");
	}
}

void check_links(struct check *check)
{
	const struct check_inode *inode;
	size_t i;

	check_phase(check, "links");
	inode = check_inode_find(check, FMT_INO_ROOT);
	if (inode == NULL)
		check_error(check, "I17", FMT_INO_ROOT, "there is no root directory");
	else if (!S_ISDIR(inode->mode) || inode->nlink == 0)
		check_error(check, "I17", FMT_INO_ROOT, "the root is not a directory with links");
	for (i = 0; i < check->inodes; i++) {
		inode = &check->inode[i];
		check_step(check);
		if (check_reserved(inode->ino))
			continue;
		judge_leftovers(check, inode);
		if (!S_ISDIR(inode->mode)) {
			judge_other(check, inode);
			continue;
		}
		judge_directory(check, inode);
		judge_parent(check, inode);
		judge_reach(check, i);
	}
}
