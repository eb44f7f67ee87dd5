/* protect.c: what the flags immutable and append-only forbid. */
#ifndef PINFS_FS_PROTECT_H
#define PINFS_FS_PROTECT_H

#include "fs/inode.h"

enum fs_change {
	FS_CHANGE_ADD, /* to what is there: bytes or blocks behind the end, names; times that become now */
	FS_CHANGE_ANY, /* all else: bytes, attributes, xattrs; a name of it made, moved or removed; names in it removed
			*/
};

/*
 * -EPERM if the flags of the inode forbid the change: immutable each, append-only each but to add. The caller holds the
 * attribute lock, or of a file the layout, shared at least, and keeps it until the change is made.
 */
int fs_may_change(const struct fs_inode *inode, enum fs_change change);
/* Of bytes from `offset` on; map held exclusive. */
int fs_may_write(const struct fs_inode *file, uint64_t offset);

#endif
