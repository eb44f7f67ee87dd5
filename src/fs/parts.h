/* The data parts of a mounted pool. */
#ifndef PINFS_FS_PARTS_H
#define PINFS_FS_PARTS_H

#include "fs/inode.h"

/*
 * Finds, maps and locks every part that the meta part records, at its recorded path or at the one of
 * options->data_paths that holds it, and gives its blocks to the allocator. Sets fs->read_only if a part's feature
 * words allow only reading. Words in `message`. On error what was opened is left to fs_parts_close().
 */
int fs_parts_open(struct fs *fs, const struct fs_options *options, struct message *message);
/* Records where moved parts are now. After the scan; not if read-only. */
int fs_parts_record(struct fs *fs, struct message *message);
void fs_parts_close(struct fs *fs);

#endif
