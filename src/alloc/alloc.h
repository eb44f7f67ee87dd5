/*
 * Free space of the data parts, in memory only: it is what no inode's extents name, rebuilt by the scan at mount, so it
 * is exact after any crash. Blocks leave it by reserve or claim and come back by free or cancel.
 *
 * Threads: all functions may run in parallel, except init, parts, claims and fini. Each allocation group has its own
 * lock (LOCK_ALLOC), and a thread starts in a group of its own.
 */
#ifndef PINFS_ALLOC_H
#define PINFS_ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct alloc;

struct alloc_run {
	uint64_t phys; /* fmt_phys(): part and first block */
	uint32_t length; /* blocks */
};

int alloc_create(struct alloc **ret_alloc);
void alloc_destroy(struct alloc *alloc);

/* Adds a part's blocks [first, end) as free. Before use, or while in use (grow). */
int alloc_add_part(struct alloc *alloc, uint32_t part, uint64_t first, uint64_t end);

/*
 * Takes exactly [phys, phys + length) out: what the scan found in use. -EUCLEAN if any block of it is out of bounds or
 * already taken (double use; nothing is taken then); -ENOMEM. O(log n).
 */
int alloc_claim(struct alloc *alloc, uint64_t phys, uint64_t length);

#define ALLOC_BIG 1u /* a big file: a new place starts at a 2 MiB boundary of a long free run where there is one */
#define ALLOC_PARTIAL 2u /* less than `want` is welcome if there is no more; at least one block */

/*
 * Reserves `want` blocks, in as few runs as possible: first what directly follows `goal` (fmt_phys of the block wanted
 * first; 0: none), then the best place by size and flags. Fills runs[0..*ret_count) in file order, at most `capacity`;
 * what does not fit into `capacity` runs counts as not available. The sum of lengths is `want`, or less with
 * ALLOC_PARTIAL. -ENOSPC: nothing is reserved. The blocks' content is whatever their last owner left. O(log n) a run.
 */
int alloc_reserve(struct alloc *alloc, uint64_t want, uint64_t goal, unsigned flags, struct alloc_run *runs,
		  size_t capacity, size_t *ret_count);

/*
 * Gives blocks back: unused ones of a reservation, or freed ones *after* the transaction that unmapped them has
 * committed. A block that is free already is a bug: refused (-EUCLEAN), counted and left alone. Cannot fail for want of
 * memory: a run that no node can be had for is kept aside and merged later.
 */
int alloc_free(struct alloc *alloc, uint64_t phys, uint64_t length);

struct alloc_stats {
	uint64_t total; /* blocks of all parts */
	uint64_t free; /* exact */
	uint64_t free_runs;
	uint64_t largest_run;
	uint64_t bad_frees; /* refused by alloc_free */
};
void alloc_stats(const struct alloc *alloc, struct alloc_stats *ret_stats);

/* All free runs in order of part and block; a non-zero return of visit ends it and is passed on. */
int alloc_iterate(struct alloc *alloc, int (*visit)(void *arg, uint64_t phys, uint64_t length), void *arg);

#endif
