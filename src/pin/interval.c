#include "base/arith.h"

#include <stddef.h>

struct pin_interval;
static void update(struct pin_interval *interval);
#define RB_AUGMENT(x) update(x)
#include "pin/interval.h"

static int compare(const struct pin_interval *a, const struct pin_interval *b)
{
	if (a->first != b->first)
		return a->first > b->first ? 1 : -1;
	return ((uintptr_t)a > (uintptr_t)b) - ((uintptr_t)a < (uintptr_t)b);
}

static void update(struct pin_interval *interval)
{
	const struct pin_interval *left = RB_LEFT(interval, link);
	const struct pin_interval *right = RB_RIGHT(interval, link);

	interval->max = interval->last;
	if (left != NULL)
		interval->max = max_u64(interval->max, left->max);
	if (right != NULL)
		interval->max = max_u64(interval->max, right->max);
}

/* The macros make more functions than are used. */
RB_GENERATE_INTERNAL(pin_intervals, pin_interval, link, compare, __attribute__((unused)) static)

/*
 * Rotations update the nodes that they turn, from children that may be stale; whatever is stale lies above the place of
 * the change and stays above it through all rotations, so that this puts it right.
 */
static void update_upwards(struct pin_interval *interval)
{
	for (; interval != NULL; interval = RB_PARENT(interval, link))
		update(interval);
}

void pin_interval_insert(struct pin_intervals *tree, struct pin_interval *interval)
{
	interval->max = interval->last;
	RB_INSERT(pin_intervals, tree, interval);
	update_upwards(interval);
}

/* The lowest node whose subtree changes when the interval goes: one with two children is replaced by its successor. */
static struct pin_interval *lowest_changed(struct pin_interval *interval)
{
	struct pin_interval *successor = RB_RIGHT(interval, link);

	if (RB_LEFT(interval, link) == NULL || successor == NULL)
		return RB_PARENT(interval, link);
	while (RB_LEFT(successor, link) != NULL)
		successor = RB_LEFT(successor, link);
	return RB_PARENT(successor, link) == interval ? successor : RB_PARENT(successor, link);
}

void pin_interval_remove(struct pin_intervals *tree, struct pin_interval *interval)
{
	struct pin_interval *lowest = lowest_changed(interval);

	RB_REMOVE(pin_intervals, tree, interval);
	update_upwards(lowest);
}

/* The first below `node` (itself included) that overlaps. */
static struct pin_interval *first_below(struct pin_interval *node, uint64_t first, uint64_t last)
{
	while (node != NULL && node->max > first) {
		struct pin_interval *left = RB_LEFT(node, link);

		if (left != NULL && left->max > first)
			node = left; /* it has the first one of all, or one that begins behind the range: then all do */
		else if (node->first >= last)
			return NULL;
		else if (node->last > first)
			return node;
		else
			node = RB_RIGHT(node, link);
	}
	return NULL;
}

struct pin_interval *pin_interval_first(const struct pin_intervals *tree, uint64_t first, uint64_t last)
{
	return first_below(RB_ROOT(tree), first, last);
}

struct pin_interval *pin_interval_next(const struct pin_interval *interval, uint64_t first, uint64_t last)
{
	for (;;) {
		struct pin_interval *found = first_below(RB_RIGHT(interval, link), first, last);
		const struct pin_interval *child;

		if (found != NULL)
			return found;
		do {
			child = interval;
			interval = RB_PARENT(interval, link);
			if (interval == NULL)
				return NULL;
		} while (RB_RIGHT(interval, link) == child);
		if (interval->first >= last)
			return NULL;
		if (interval->last > first)
			return (struct pin_interval *)(uintptr_t)interval;
	}
}
