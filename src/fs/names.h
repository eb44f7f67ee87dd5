/* What the operations on names, attributes and xattrs share. */
#ifndef PINFS_FS_NAMES_H
#define PINFS_FS_NAMES_H

#include "fs/inode.h"

/*
 * Ends a transaction: commits it if `error` is 0, else aborts it. Returns what the operation returns; an error that
 * speaks of damaged media stops all further writing (fs_failed).
 */
int fs_end(struct fs *fs, struct meta_tx *tx, int error, const char *operation, uint64_t ino);

/* Loads an inode that must be a directory: -ENOTDIR. */
int fs_directory_get(struct fs *fs, uint64_t ino, struct fs_inode **ret_directory);

/*
 * Finds a name and gets its inode; -ENOENT. The caller holds the directory's lock, shared at least: the inode keeps
 * this link meanwhile. -EUCLEAN: the entry leads nowhere, or to another inode than the one it was made for.
 */
int fs_child_get(struct fs *fs, struct fs_inode *directory, const char *name, size_t length,
		 struct fs_inode **ret_child);
/* As fs_child_get(), of an entry that was found. */
int fs_entry_get(struct fs *fs, struct fs_inode *directory, const struct meta_entry *entry,
		 struct fs_inode **ret_child);

/*
 * namei.c: makes the inode of `make` in `directory`, which is locked (shared will do), within a transaction of
 * fs_birth_begin(): owner, mode, times; one link, or those of an empty directory; no name. `child` (fs_inode_new()) is
 * inserted. The caller publishes it after the commit, or discards it.
 */
struct fs_birth {
	const struct fs_inode *directory;
	const struct fs_make *make; /* checked */
	const struct fs_cred *cred;
	struct fs_inode *child;
};
int fs_birth_begin(struct fs *fs, const struct fs_birth *birth, struct meta_tx **ret_tx);
int fs_birth_tx(struct fs *fs, struct meta_tx *tx, const struct fs_birth *birth, const struct timespec *now,
		struct fmt_inode **ret_media);

/* "." or "..": names that no operation makes, removes or moves. */
bool fs_name_is_dots(const char *name);

#endif
