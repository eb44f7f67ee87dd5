/*
 * Counts of blocks by place. Shards by chunk of 1 GiB, each with a tree of runs; a run lies in one chunk.
 *
 * C1  A run is where recorded > 0, or where a break has asked (leaving) and has not detached yet. held <= recorded.
 * C2  Where a counted extent, cut to a chunk, begins or ends, a run begins or ends: `first_edges` and `last_edges` say
 *     how many do. So lowering never has to split a run, needs no memory, and cannot fail.
 * C3  Two neighbours that no edge parts and that are equal are one run: memory goes with what is pinned now.
 * C4  A run whose recorded reaches 0 goes: freed, or, in limbo, to the reaper, who frees its blocks. One that a break
 * has asked about stays, with 0, until pin_detached(): so that needs no memory either.
 *
 * Functions take LOCK_PIN_COUNT, one shard at a time.
 */
#ifndef PINFS_PIN_COUNTS_H
#define PINFS_PIN_COUNTS_H

#include "base/lock.h"
#include "pin/pin.h"
#include "pin/reap.h"

#define PIN_CHUNK_SHIFT 18u /* blocks of 4 KiB: 1 GiB */
#define PIN_COUNT_SHARDS 64u

struct pin_run {
	RB_ENTRY(pin_run) link;
	uint64_t first, last; /* physical addresses, last exclusive */
	uint32_t held, recorded;
	uint32_t first_edges, last_edges;
	bool limbo;
	uint64_t leaving; /* the number of the pin_counted() that has named it, pin_detached() is to come; or 0 */
	uint64_t mark; /* of pin_counts_mark() */
	struct pin_reap_link reap;
};
RB_HEAD(pin_runs, pin_run);

struct pin_count_shard {
	_Alignas(64) struct lock_mutex lock; /* LOCK_PIN_COUNT; protects the runs of its chunks */
	struct pin_runs runs;
};

struct pin_counts {
	struct pin_count_shard shard[PIN_COUNT_SHARDS];
	_Atomic uint64_t held_blocks; /* with held > 0 */
	_Atomic uint64_t asked; /* numbers for `leaving`: what two breaks have asked about is not joined */
	_Atomic uint64_t limbo_blocks; /* in limbo, until the reaper takes them */
};

int pin_counts_init(struct pin_counts *counts);
void pin_counts_fini(struct pin_counts *counts);

/* Raises both counts of every block of the extents, or of none: -ENOMEM, -EOVERFLOW. */
int pin_counts_raise(struct pin_counts *counts, const struct pin_extent *extents, size_t count);
/* Lowers held. */
void pin_counts_release(struct pin_counts *counts, const struct pin_extent *extents, size_t count);
/* Lowers recorded; adds the runs of limbo that are counted no more to `queue`. */
void pin_counts_erase(struct pin_counts *counts, const struct pin_extent *extents, size_t count,
		      struct pin_reap_list *queue);

/* As pin_counted(). */
int pin_counts_leave(struct pin_counts *counts, uint64_t phys, uint64_t length, uint64_t *ret_phys,
		     uint64_t *ret_length);
/* Runs that lie in the range, as pin_counts_leave() or a counted extent has cut them, are in limbo from now on. */
void pin_counts_to_limbo(struct pin_counts *counts, uint64_t phys, uint64_t length, struct pin_reap_list *queue);
/* As pin_restore_limbo(). */
int pin_counts_restore_limbo(struct pin_counts *counts, uint64_t phys, uint64_t length, struct pin_reap_list *queue);

bool pin_counts_any(struct pin_counts *counts, uint64_t phys, uint64_t length);
/* The first stretch that is not counted. False: all of it is. */
bool pin_counts_idle(struct pin_counts *counts, uint64_t phys, uint64_t length, uint64_t *ret_phys,
		     uint64_t *ret_length);
/* How many blocks from `phys` on, at least 1 and at most `length`, are all in limbo or all not. */
uint64_t pin_counts_same_limbo(struct pin_counts *counts, uint64_t phys, uint64_t length, bool *ret_limbo);
/* Blocks with held > 0 outside of limbo that have not been marked so before; marks them. `mark` is never used again. */
uint64_t pin_counts_mark(struct pin_counts *counts, uint64_t phys, uint64_t length, uint64_t mark);
/* Copies runs of shard `number`, those at or behind `phys`, that are held or in limbo, in order; returns how many. */
size_t pin_counts_list(struct pin_counts *counts, unsigned number, uint64_t phys, struct pin_block_run *runs,
		       size_t capacity);

#endif
