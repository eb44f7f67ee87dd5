/*
 * Intervals of blocks in a tree, with the farthest end below each node: those that overlap a range are found in
 * O(log n) each. Locking is the caller's.
 */
#ifndef PINFS_PIN_INTERVAL_H
#define PINFS_PIN_INTERVAL_H

#include <bsd/sys/tree.h>
#include <stdbool.h>
#include <stdint.h>

/* Embedded. first < last, and both are constant while it is in a tree. */
struct pin_interval {
	RB_ENTRY(pin_interval) link;
	uint64_t first, last; /* last exclusive */
	uint64_t max; /* of all `last` at and below this node */
};
RB_HEAD(pin_intervals, pin_interval);

void pin_interval_insert(struct pin_intervals *tree, struct pin_interval *interval);
void pin_interval_remove(struct pin_intervals *tree, struct pin_interval *interval);
/* The first, by place, that overlaps [first, last); the next one after `interval`, which is in the tree. NULL: none. */
struct pin_interval *pin_interval_first(const struct pin_intervals *tree, uint64_t first, uint64_t last);
struct pin_interval *pin_interval_next(const struct pin_interval *interval, uint64_t first, uint64_t last);

static inline bool pin_interval_overlaps(const struct pin_interval *interval, uint64_t first, uint64_t last)
{
	return interval->first < last && first < interval->last;
}

#endif
