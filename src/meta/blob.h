/* Chains of pages: long symlink targets and xattr values. */
#ifndef PINFS_META_BLOB_H
#define PINFS_META_BLOB_H

#include "meta/pool.h"

/* Writes length bytes (at least 1) to fresh pages of `owner`. -ENOSPC. */
int blob_write(struct meta_tx *tx, const struct fmt_inode *owner, unsigned kind, const void *bytes, size_t length,
	       uint64_t *ret_first);
/* Reads exactly `length` bytes; -EUCLEAN if the chain is not that long. */
int blob_read(struct meta *meta, const struct fmt_inode *owner, unsigned kind, uint64_t first, void *bytes,
	      size_t length);
/* Gives the chain's pages up; `length` as it was written. */
int blob_drop(struct meta_tx *tx, const struct fmt_inode *owner, unsigned kind, uint64_t first, size_t length);
/* Calls visit for each page of the chain, verified; non-zero from visit ends it. */
int blob_pages(struct meta *meta, const struct fmt_inode *owner, unsigned kind, uint64_t first, size_t length,
	       int (*visit)(void *arg, uint64_t page), void *arg);

#endif
