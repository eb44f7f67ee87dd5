/*
 * Renaming. Locks, in this order:
 *
 *   1. fs->rename, if two directories are concerned that are not parent and child: two parents, or two children that
 *      are directories. So one thread at a time locks across the tree; all others lock from parent to child only.
 *      While it is held no directory gets another parent.
 *   2. The parents: the ancestor first, else by inode number.
 *   3. The children: directories first, then the map locks of others; by inode number.
 *
 * No cycle can form as long as the holder of fs->rename never locks an ancestor of what it has locked: a child that is
 * an ancestor of the other parent (the "trap", found by walking up before any directory is locked) is refused unlocked.
 */
#include "fs/names.h"
#include "fs/protect.h"

#include <errno.h>
#include <stdio.h>

struct side {
	struct fs_inode *directory;
	const char *name;
	size_t length;
	uint64_t trap; /* the child of `directory` that is the other side's directory or leads to it; 0: none */
	struct fs_inode *child; /* NULL: no such name */
	int links; /* change of the directory's nlink */
};

struct renaming {
	struct fs *fs;
	unsigned flags;
	bool serial; /* fs->rename is held */
	struct fs_birth white; /* the whiteout that takes the old name; no child: none */
	bool whitened; /* it is made */
	struct side from;
	struct side to;
};

/* Not an error of the operation: it has to start again with fs->rename held. */
#define SERIALIZE 1

/* ---- The shape of the tree; fs->rename is held ---- */

static int parent_of(struct fs *fs, uint64_t ino, uint64_t *ret_parent)
{
	struct fs_inode *directory;
	int error = fs_directory_get(fs, ino, &directory);

	/*
	 * Above a removed directory the way up may be gone, or lead through another inode of that number; to where does
	 * not matter then: what is removed has no names and takes none, as children_find() sees under its lock.
	 */
	if (error == -ESTALE || error == -ENOTDIR)
		return -ENOENT;
	if (error != 0)
		return error;
	lock_rw_take_shared(&directory->layout);
	*ret_parent = directory->media->parent;
	lock_rw_drop(&directory->layout);
	fs_inode_put(fs, directory);
	return 0;
}

/*
 * Walks up from `start`: which child of `ancestor` is it, or does it lie under? 0: none. Damaged media may lead in a
 * circle: a number met again (Brent's method) ends it.
 */
static int trap_find(struct fs *fs, uint64_t start, uint64_t ancestor, uint64_t *ret_trap)
{
	uint64_t ino = start, parent, mark = FMT_INO_NONE, steps = 0, limit = 64;

	while (ino != FMT_INO_ROOT) {
		int error = parent_of(fs, ino, &parent);

		if (error != 0)
			return error;
		if (parent == ancestor) {
			*ret_trap = ino;
			return 0;
		}
		ino = parent;
		if (ino == mark)
			return -EUCLEAN;
		if (++steps == limit) {
			mark = ino;
			limit *= 2;
		}
	}
	*ret_trap = FMT_INO_NONE;
	return 0;
}

static int traps_find(struct renaming *r)
{
	int error = trap_find(r->fs, r->to.directory->ino, r->from.directory->ino, &r->from.trap);

	if (error != 0)
		return error;
	return trap_find(r->fs, r->from.directory->ino, r->to.directory->ino, &r->to.trap);
}

/* ---- Locks ---- */

static void lock_pair(struct lock_rw *first, struct lock_rw *second)
{
	lock_rw_take_exclusive(first);
	lock_rw_take_exclusive(second);
}

static void parents_lock(struct renaming *r)
{
	struct fs_inode *from = r->from.directory, *to = r->to.directory;

	if (from == to)
		lock_rw_take_exclusive(&from->layout);
	else if (r->from.trap != FMT_INO_NONE || (r->to.trap == FMT_INO_NONE && from->ino < to->ino))
		lock_pair(&from->layout, &to->layout);
	else
		lock_pair(&to->layout, &from->layout);
}

static void parents_unlock(struct renaming *r)
{
	if (r->from.directory != r->to.directory)
		lock_rw_drop(&r->to.directory->layout);
	lock_rw_drop(&r->from.directory->layout);
}

static bool child_first(const struct fs_inode *a, const struct fs_inode *b)
{
	if (fs_inode_is_dir(a) != fs_inode_is_dir(b))
		return fs_inode_is_dir(a);
	return a->ino < b->ino;
}

static void children_lock(struct renaming *r)
{
	struct fs_inode *source = r->from.child, *victim = r->to.child;

	if (victim == NULL)
		lock_rw_take_exclusive(fs_inode_attr_lock(source));
	else if (child_first(source, victim))
		lock_pair(fs_inode_attr_lock(source), fs_inode_attr_lock(victim));
	else
		lock_pair(fs_inode_attr_lock(victim), fs_inode_attr_lock(source));
}

static void children_unlock(struct renaming *r)
{
	if (r->to.child != NULL)
		lock_rw_drop(fs_inode_attr_lock(r->to.child));
	lock_rw_drop(fs_inode_attr_lock(r->from.child));
}

/* ---- Checks ---- */

/* Finds both children; the parents are locked. */
static int children_find(struct renaming *r)
{
	int error;

	if (r->to.directory->media->nlink == 0)
		return -ENOENT;
	error = fs_child_get(r->fs, r->from.directory, r->from.name, r->from.length, &r->from.child);
	if (error != 0)
		return error;
	error = fs_child_get(r->fs, r->to.directory, r->to.name, r->to.length, &r->to.child);
	if (error != 0 && error != -ENOENT)
		return error;
	if (r->to.child == NULL)
		return (r->flags & RENAME_EXCHANGE) != 0 ? -ENOENT : 0;
	return (r->flags & RENAME_NOREPLACE) != 0 ? -EEXIST : 0;
}

/* The parents are locked, the children not yet. */
static int children_check(const struct renaming *r)
{
	const struct fs_inode *source = r->from.child, *victim = r->to.child;
	const bool exchange = (r->flags & RENAME_EXCHANGE) != 0;

	if (source->ino == r->from.trap)
		return -EINVAL;
	if (victim == NULL)
		return 0;
	if (victim->ino == r->to.trap)
		return exchange ? -EINVAL : -ENOTEMPTY;
	if (!exchange && fs_inode_is_dir(source) != fs_inode_is_dir(victim))
		return fs_inode_is_dir(source) ? -ENOTDIR : -EISDIR;
	if (!r->serial && fs_inode_is_dir(source) && fs_inode_is_dir(victim))
		return SERIALIZE;
	return 0;
}

/* How many subdirectories each side gains or loses. */
static void links_count(struct renaming *r)
{
	const bool crosses = r->from.directory != r->to.directory;

	r->from.links = 0;
	r->to.links = 0;
	if (fs_inode_is_dir(r->from.child) && crosses) {
		r->from.links--;
		r->to.links++;
	}
	if (r->to.child == NULL || !fs_inode_is_dir(r->to.child))
		return;
	if ((r->flags & RENAME_EXCHANGE) == 0) {
		r->to.links--;
	} else if (crosses) {
		r->to.links--;
		r->from.links++;
	}
}

static int links_check(const struct side *side)
{
	if (side->links > 0 && side->directory->media->nlink >= FMT_LINK_MAX)
		return -EMLINK;
	/* A directory with a subdirectory has 3 links or more. */
	if (side->links < 0 && side->directory->media->nlink < 3)
		return -EUCLEAN;
	return 0;
}

/* A name goes from the one directory and comes to the other; what has the names becomes another thing's child. */
static int protection_check(const struct renaming *r)
{
	const struct fs_inode *victim = r->to.child;
	int error = fs_may_change(r->from.directory, FS_CHANGE_ANY);

	if (error == 0)
		error = fs_may_change(r->to.directory, victim != NULL ? FS_CHANGE_ANY : FS_CHANGE_ADD);
	if (error == 0)
		error = fs_may_change(r->from.child, FS_CHANGE_ANY);
	return error != 0 || victim == NULL ? error : fs_may_change(victim, FS_CHANGE_ANY);
}

/* All is locked. */
static int final_check(struct renaming *r)
{
	const struct fs_inode *victim = r->to.child;
	int error = protection_check(r);

	if (error != 0)
		return error;

	if (victim != NULL && victim->media->nlink == 0)
		return -EUCLEAN;
	if (victim != NULL && fs_inode_is_dir(victim) && victim->media->size > 0 && (r->flags & RENAME_EXCHANGE) == 0)
		return -ENOTEMPTY;
	links_count(r);
	error = links_check(&r->from);
	return error != 0 ? error : links_check(&r->to);
}

/* ---- The change ---- */

/* `white`: what takes the old name, NULL if nothing does. */
static int entries_change(struct meta_tx *tx, const struct renaming *r, const struct fmt_inode *white)
{
	const struct side *from = &r->from, *to = &r->to;
	int error;

	if (to->child == NULL)
		error = meta_entry_insert(tx, to->directory->media, to->name, to->length, from->child->media);
	else
		error = meta_entry_replace(tx, to->directory->media, to->name, to->length, from->child->media);
	if (error != 0)
		return error;
	if (white != NULL)
		return meta_entry_replace(tx, from->directory->media, from->name, from->length, white);
	if ((r->flags & RENAME_EXCHANGE) == 0)
		return meta_entry_remove(tx, from->directory->media, from->name, from->length);
	return meta_entry_replace(tx, from->directory->media, from->name, from->length, to->child->media);
}

static int directory_change(struct meta_tx *tx, const struct fs_inode *directory, int links, const struct timespec *now)
{
	struct fmt_inode *media;
	int error = meta_inode_touch(tx, directory->media, &media);

	if (error != 0)
		return error;
	media->nlink += (uint32_t)links;
	fs_touch_mtime(media, now);
	fs_touch_ctime(media, now);
	return 0;
}

/* `parent` is where the child is from now on. */
static int child_change(struct meta_tx *tx, const struct fs_inode *child, const struct fs_inode *parent,
			const struct timespec *now)
{
	struct fmt_inode *media;
	/* Whole, and only once: its parent is not among what is touched. */
	int error = fs_inode_is_dir(child) ? meta_inode_edit(tx, child->media, &media)
					   : meta_inode_touch(tx, child->media, &media);

	if (error != 0)
		return error;
	if (fs_inode_is_dir(child))
		media->parent = parent->ino;
	fs_touch_ctime(media, now);
	return 0;
}

static int victim_change(struct meta_tx *tx, const struct fs_inode *victim, const struct timespec *now)
{
	struct fmt_inode *media;
	int error = meta_inode_touch(tx, victim->media, &media);

	if (error != 0)
		return error;
	media->nlink = fs_inode_is_dir(victim) ? 0 : media->nlink - 1;
	fs_touch_ctime(media, now);
	return 0;
}

static int rename_tx(struct meta_tx *tx, const struct renaming *r)
{
	const struct side *from = &r->from, *to = &r->to;
	struct timespec now = fs_now();
	struct fmt_inode *white = NULL;
	int error = 0;

	if (r->white.child != NULL)
		error = fs_birth_tx(r->fs, tx, &r->white, &now, &white);
	if (error == 0)
		error = entries_change(tx, r, white);
	if (error != 0)
		return error;
	if (from->directory == to->directory) {
		error = directory_change(tx, from->directory, from->links + to->links, &now);
	} else {
		error = directory_change(tx, from->directory, from->links, &now);
		if (error == 0)
			error = directory_change(tx, to->directory, to->links, &now);
	}
	if (error == 0)
		error = child_change(tx, from->child, to->directory, &now);
	if (error != 0 || to->child == NULL)
		return error;
	if ((r->flags & RENAME_EXCHANGE) != 0)
		return child_change(tx, to->child, from->directory, &now);
	return victim_change(tx, to->child, &now);
}

/* Replacing names takes no page: it must work on a full pool. A whiteout is an addition, which may not. */
static int rename_begin(struct renaming *r, struct meta_tx **ret_tx)
{
	if (r->white.child != NULL)
		return fs_birth_begin(r->fs, &r->white, ret_tx);
	return meta_begin(r->fs->meta, r->to.child != NULL ? META_TX_RESERVE : 0, ret_tx);
}

/* All is locked. */
static int rename_change(struct renaming *r)
{
	struct meta_tx *tx;
	int error = final_check(r);

	if (error != 0)
		return fs_failed(r->fs, error, "rename", r->from.child->ino);
	error = rename_begin(r, &tx);
	if (error != 0)
		return error;
	error = rename_tx(tx, r);
	error = fs_end(r->fs, tx, error, "rename", r->from.child->ino);
	if (error == 0 && r->white.child != NULL) {
		error = fs_inode_publish(r->fs, r->white.child);
		r->whitened = error == 0;
	}
	return error;
}

/* ---- The operation ---- */

/* The parents are locked. */
static int rename_locked(struct renaming *r)
{
	int error = fs_writable(r->fs);

	if (error == 0)
		error = children_find(r);
	if (error != 0)
		return error;
	/* Two names of one file: nothing to do. */
	if (r->from.child == r->to.child)
		return 0;
	error = children_check(r);
	if (error != 0)
		return error;
	children_lock(r);
	error = rename_change(r);
	children_unlock(r);
	return error;
}

/* The children's last put, after all locks are dropped, evicts a victim that the kernel does not know. */
static void children_put(struct renaming *r)
{
	if (r->from.child != NULL)
		fs_inode_put(r->fs, r->from.child);
	if (r->to.child != NULL)
		fs_inode_put(r->fs, r->to.child);
	r->from.child = NULL;
	r->to.child = NULL;
}

static int rename_once(struct renaming *r)
{
	int error = 0;

	if (r->serial)
		lock_mutex_take(&r->fs->rename);
	if (r->from.directory != r->to.directory)
		error = traps_find(r);
	if (error == 0) {
		parents_lock(r);
		error = rename_locked(r);
		parents_unlock(r);
	}
	if (r->serial)
		lock_mutex_drop(&r->fs->rename);
	children_put(r);
	return error;
}

static int rename_check(const char *name, const char *new_name, unsigned flags)
{
	if ((flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0 ||
	    flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	if (fs_name_is_dots(name) || fs_name_is_dots(new_name))
		return -EBUSY;
	return 0;
}

/* fs, flags, names and white's child are set. */
static int rename_names(struct renaming *r, uint64_t parent, uint64_t new_parent)
{
	struct fs *fs = r->fs;
	int error = rename_check(r->from.name, r->to.name, r->flags);

	if (error == 0)
		error = fs_name_check(r->from.name, &r->from.length);
	if (error == 0)
		error = fs_name_check(r->to.name, &r->to.length);
	if (error == 0)
		error = fs_directory_get(fs, parent, &r->from.directory);
	if (error != 0)
		return error;
	error = fs_directory_get(fs, new_parent, &r->to.directory);
	if (error != 0)
		goto put_from;
	r->white.directory = r->from.directory;
	r->serial = r->from.directory != r->to.directory;
	error = rename_once(r);
	if (error == SERIALIZE) {
		r->serial = true;
		error = rename_once(r);
	}
	fs_inode_put(fs, r->to.directory);
put_from:
	fs_inode_put(fs, r->from.directory);
	return error;
}

int fs_rename(struct fs *fs, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name,
	      unsigned flags)
{
	struct renaming r = {.fs = fs, .flags = flags, .from = {.name = name}, .to = {.name = new_name}};

	return rename_names(&r, parent, new_parent);
}

int fs_rename_whiteout(struct fs *fs, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name,
		       unsigned flags, const struct fs_cred *cred)
{
	const struct fs_make make = {.mode = S_IFCHR};
	struct renaming r = {.fs = fs, .flags = flags, .from = {.name = name}, .to = {.name = new_name}};
	int error;

	if ((flags & RENAME_EXCHANGE) != 0)
		return -EINVAL;
	r.white.make = &make;
	r.white.cred = cred;
	error = fs_inode_new(S_IFCHR, &r.white.child);
	if (error != 0)
		return error;
	error = rename_names(&r, parent, new_parent);
	/* Nobody has looked it up: it goes out of memory. */
	if (r.whitened)
		fs_inode_put(fs, r.white.child);
	else
		fs_inode_discard(fs, r.white.child);
	return error;
}
