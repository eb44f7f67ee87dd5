/* The parts and groups of an allocator: what alloc.c and reserve.c share. */
#ifndef PINFS_ALLOC_SPACE_H
#define PINFS_ALLOC_SPACE_H

#include "alloc/group.h"

struct alloc_part {
	uint32_t number;
	uint64_t first; /* usable blocks: [first, end) */
	uint64_t end;
	uint64_t origin; /* where the first group would begin were it full: a 2 MiB boundary, at most `first` */
	uint64_t group_blocks; /* distance of group borders: a multiple of 2 MiB */
	size_t group; /* index of its first group in the table */
	size_t groups;
};

/* Never changed once it is published: adding a part makes a new table, and the old ones live until the end. */
struct alloc_table {
	const struct alloc_table *previous;
	const struct alloc_part *part; /* by number */
	size_t parts;
	struct alloc_group *const *group; /* by part and block */
	size_t groups;
};

struct alloc {
	struct alloc_memory memory;
	struct lock_mutex grow; /* LOCK_ALLOC; serialises alloc_add_part(); taken alone */
	_Atomic(const struct alloc_table *) table;
	_Atomic uint32_t next_home; /* threads that got a home group so far */
	_Atomic uint64_t bad_frees;
};

/* The part that has all of [phys, phys + length), length > 0, as its usable blocks; NULL: none. */
const struct alloc_part *alloc_table_part(const struct alloc_table *table, uint64_t phys, uint64_t length);
/* The group of a usable block. */
struct alloc_group *alloc_table_group(const struct alloc_table *table, const struct alloc_part *part, uint64_t block);

#endif
