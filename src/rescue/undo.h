/* Changes of transactions that did not end, taken back: what opening the pool would have done. */
#ifndef PINFS_RESCUE_UNDO_H
#define PINFS_RESCUE_UNDO_H

#include <stddef.h>
#include <stdint.h>

struct image;
struct undo;

/* Reads the lanes of the meta part. Lanes that are damaged or lead out of the chunks are left out: their number. */
int undo_load(const struct image *meta, struct undo **ret_undo, unsigned *ret_damaged);
void undo_free(struct undo *undo);

/* Puts what belongs there into a copy of [offset, offset + length). */
void undo_apply(const struct undo *undo, uint64_t offset, void *buffer, size_t length);

#endif
