/* What the scan at mount collects for recovery: the inodes that a crash, or an unmount in haste, left something to do
 * on. */
#ifndef PINFS_FS_RECOVER_H
#define PINFS_FS_RECOVER_H

#include "format/format.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A growing list of inode numbers. */
struct fs_ino_list {
	uint64_t *ino;
	size_t count;
	size_t capacity;
};

/* Zero-initialized before the scan; fs_recovery_fini() in any case after it. Used by one thread. */
struct fs_recovery {
	struct fs_ino_list orphans; /* nlink 0: evicted */
	struct fs_ino_list intents; /* FMT_INODE_INTENT and links: carried out */
	bool protected; /* an inode is immutable or append-only */
	struct fs_ino_list tails; /* regular files that end inside a block: bytes from there to the block's end */
};

/* Called by meta_scan()'s inode visitor for each inode; files it under what it needs. -ENOMEM. */
int fs_recovery_note(struct fs_recovery *recovery, const struct fmt_inode *inode);
void fs_recovery_fini(struct fs_recovery *recovery);

#endif
