/*
 * Allocation groups: what the files of src/alloc share. A group is a stretch of one part with its free runs and its
 * lock.
 *
 * The functions on groups take the group's lock and drop it before they return; the caller holds no LOCK_ALLOC.
 */
#ifndef PINFS_ALLOC_GROUP_H
#define PINFS_ALLOC_GROUP_H

#include "alloc/alloc.h"
#include "base/lock.h"

#include <bsd/sys/tree.h>
#include <stdatomic.h>

#define ALLOC_GROUP_BLOCKS_MAX (8ull << 30 >> 12) /* 8 GiB */
#define ALLOC_GROUPS_WANTED 4u /* per part, where it is long enough */
#define ALLOC_SPARES_MAX 64u /* nodes that a group keeps rather than frees */

/* Where nodes and groups come from; a test's own makes it fail. Called with a group's lock held. */
struct alloc_memory {
	void *(*get)(void *arg, size_t size); /* zeroed; NULL: none left */
	void (*put)(void *arg, void *memory);
	void *arg;
};
/* alloc_create() with memory of the caller's; `memory` is copied. */
int alloc_create_with(const struct alloc_memory *memory, struct alloc **ret_alloc);

/* A free run, in both trees of its group; or a spare one, in the list. */
struct alloc_node {
	uint64_t first;
	uint64_t length; /* blocks */
	RB_ENTRY(alloc_node) block_link;
	RB_ENTRY(alloc_node) length_link;
	struct alloc_node *next_spare;
};
RB_HEAD(alloc_by_block, alloc_node);
RB_HEAD(alloc_by_length, alloc_node);

struct alloc_group {
	/* Constant. */
	const struct alloc_memory *memory;
	uint32_t part;
	uint64_t first;
	uint64_t end;

	struct lock_mutex lock; /* LOCK_ALLOC; protects all below */
	struct alloc_by_block by_block;
	struct alloc_by_length by_length; /* by (length, first) */
	struct alloc_node *spare;
	unsigned spares;
	uint64_t *aside; /* a bit per block: free, but not in the trees for want of a node */
	uint64_t aside_blocks; /* bits that are set */
	uint64_t aside_low; /* no bit below this one is set; relative to `first` */

	/* Written under the lock, read without it. */
	_Atomic uint64_t free; /* blocks, those set aside included */
	_Atomic uint64_t runs; /* nodes in the trees */
	_Atomic uint64_t largest; /* run of the trees, as of the last time that the lock was dropped */
};

/* A group with all of [first, end) free. -ENOMEM. */
int alloc_group_create(const struct alloc_memory *memory, uint32_t part, uint64_t first, uint64_t end,
		       struct alloc_group **ret_group);
void alloc_group_destroy(struct alloc_group *group);

/* Each takes at most `want` blocks as one run and returns how many: 0 if there is none such. */
uint64_t alloc_group_take_at(struct alloc_group *group, uint64_t block, uint64_t want);
/* All of `want`, from the smallest run with at least `room` blocks; room >= want. */
uint64_t alloc_group_take_fit(struct alloc_group *group, uint64_t want, uint64_t room, uint64_t *ret_first);
/* As above, at a 2 MiB boundary with `room` blocks behind it. */
uint64_t alloc_group_take_aligned(struct alloc_group *group, uint64_t want, uint64_t room, uint64_t *ret_first);
/* From the largest run; if `align`, from its first 2 MiB boundary, provided that 2 MiB follow. */
uint64_t alloc_group_take_largest(struct alloc_group *group, uint64_t want, bool align, uint64_t *ret_first);

/* The range lies in the group. -EUCLEAN: not all of it is free, nothing was taken; -ENOMEM. */
int alloc_group_claim(struct alloc_group *group, uint64_t first, uint64_t length);
/* The range lies in the group. -EUCLEAN: a block of it is free already, nothing was given. No other failure. */
int alloc_group_give(struct alloc_group *group, uint64_t first, uint64_t length);
bool alloc_group_is_used(struct alloc_group *group, uint64_t first, uint64_t length); /* all of it */

struct alloc_span {
	uint64_t first;
	uint64_t length;
};
/* The free runs from `block` on, at most `capacity` of them, neighbours not joined; returns how many. */
size_t alloc_group_list(struct alloc_group *group, uint64_t block, struct alloc_span *spans, size_t capacity);

/* aside.c: the bits of free blocks without a node. The caller holds the group's lock. */
int alloc_aside_init(struct alloc_group *group);
void alloc_aside_put(struct alloc_group *group, uint64_t first, uint64_t length);
void alloc_aside_remove(struct alloc_group *group, uint64_t first, uint64_t length);
/* The first run of set bits at `block` or after it, of at most 2^32 blocks; length 0: none. */
struct alloc_span alloc_aside_find(const struct alloc_group *group, uint64_t block);

#endif
