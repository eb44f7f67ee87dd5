/* Reading directories. Cookies: 0 the start, 1 ".", 2 "..", then meta's, which start at META_COOKIE_MIN. */
#include "fs/names.h"

#include <dirent.h>
#include <errno.h>

#define COOKIE_DOT 1u
#define COOKIE_DOTDOT 2u

struct reader {
	struct fs *fs;
	struct fs_inode *directory;
	bool plus;
	bool full; /* visit has had enough */
	fs_dirent_visit *visit;
	void *arg;
};

/* An entry that the kernel learns no attributes of: entry.ino stays 0. */
static void visit_name(struct reader *reader, const char *name, uint64_t cookie, uint64_t ino, unsigned type)
{
	struct fs_dirent dirent = {.offset = cookie, .name = name};

	dirent.entry.attr.st_ino = ino;
	dirent.entry.attr.st_mode = DTTOIF(type);
	reader->full = reader->visit(reader->arg, &dirent) != 0;
}

/*
 * The directory's lock is held: the child keeps this link, so that no put in here evicts. A child's lock below its
 * parent's is in order.
 */
static void visit_plus(struct reader *reader, const struct meta_entry *entry, struct fs_inode *child)
{
	struct fs_dirent dirent = {.offset = entry->cookie, .name = entry->name};

	fs_entry_fill(reader->fs, child, &dirent.entry);
	reader->full = reader->visit(reader->arg, &dirent) != 0;
	if (reader->full)
		fs_forget(reader->fs, child->ino, 1);
	fs_inode_put(reader->fs, child);
}

static int visit_entry(void *arg, const struct meta_entry *entry)
{
	struct reader *reader = arg;
	struct fs_inode *child;

	/* A child that cannot be loaded is still listed: whoever looks it up learns why. */
	if (reader->plus && fs_entry_get(reader->fs, reader->directory, entry, &child) == 0)
		visit_plus(reader, entry, child);
	else
		visit_name(reader, entry->name, entry->cookie, entry->ino, entry->type);
	return reader->full ? 1 : 0;
}

int fs_readdir(struct fs *fs, uint64_t ino, uint64_t offset, bool plus, fs_dirent_visit *visit, void *arg)
{
	struct reader reader = {.fs = fs, .plus = plus, .visit = visit, .arg = arg};
	struct fs_inode *directory;
	uint64_t after;
	bool due;
	int error = fs_directory_get(fs, ino, &directory);

	if (error != 0)
		return error;
	reader.directory = directory;
	lock_rw_take_shared(&directory->layout);
	if (offset < COOKIE_DOT)
		visit_name(&reader, ".", COOKIE_DOT, ino, DT_DIR);
	if (offset < COOKIE_DOTDOT && !reader.full)
		visit_name(&reader, "..", COOKIE_DOTDOT, directory->media->parent, DT_DIR);
	after = offset <= COOKIE_DOTDOT ? 0 : offset;
	if (!reader.full)
		error = meta_entry_iterate(fs->meta, directory->media, after, visit_entry, &reader);
	due = error >= 0 && fs_access_due(fs, directory);
	lock_rw_drop(&directory->layout);
	if (due)
		fs_accessed(fs, directory);
	fs_inode_put(fs, directory);
	return error > 0 ? 0 : error;
}
