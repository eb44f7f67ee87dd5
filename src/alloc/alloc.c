/* Claims, frees and counts: what works on given blocks. Choosing blocks is reserve.c. */
#include "alloc/space.h"

#include "base/arith.h"
#include "format/format.h"

#include <errno.h>

/* Walks the groups of a range, one piece at a time: the piece of the range that begins at `block`. */
static struct alloc_group *piece_at(const struct alloc_table *table, const struct alloc_part *part, uint64_t block,
				    uint64_t end, uint64_t *ret_length)
{
	struct alloc_group *group = alloc_table_group(table, part, block);

	*ret_length = min_u64(end, group->end) - block;
	return group;
}

/* True if no block of the range is free. */
static bool is_used(const struct alloc_table *table, const struct alloc_part *part, uint64_t first, uint64_t end)
{
	uint64_t length;

	for (uint64_t block = first; block < end; block += length) {
		struct alloc_group *group = piece_at(table, part, block, end, &length);

		if (!alloc_group_is_used(group, block, length))
			return false;
	}
	return true;
}

int alloc_claim(struct alloc *alloc, uint64_t phys, uint64_t length)
{
	const struct alloc_table *table = atomic_load(&alloc->table);
	const struct alloc_part *part;
	uint64_t first = fmt_phys_block(phys);
	uint64_t end = first + length;
	uint64_t piece;
	int err;

	if (length == 0)
		return 0;
	part = alloc_table_part(table, phys, length);
	if (part == NULL)
		return -EUCLEAN;
	for (uint64_t block = first; block < end; block += piece) {
		struct alloc_group *group = piece_at(table, part, block, end, &piece);

		err = alloc_group_claim(group, block, piece);
		if (err == 0)
			continue;
		if (block > first)
			alloc_free(alloc, phys, block - first); /* was taken just now: cannot be refused */
		return err;
	}
	return 0;
}

static int refuse_free(struct alloc *alloc)
{
	atomic_fetch_add_explicit(&alloc->bad_frees, 1, memory_order_relaxed);
	return -EUCLEAN;
}

int alloc_free(struct alloc *alloc, uint64_t phys, uint64_t length)
{
	const struct alloc_table *table = atomic_load(&alloc->table);
	const struct alloc_part *part;
	uint64_t first = fmt_phys_block(phys);
	uint64_t end = first + length;
	uint64_t piece;
	int err = 0;

	if (length == 0)
		return 0;
	part = alloc_table_part(table, phys, length);
	if (part == NULL)
		return refuse_free(alloc);
	if (alloc_table_group(table, part, first) != alloc_table_group(table, part, end - 1) &&
	    !is_used(table, part, first, end))
		return refuse_free(alloc);
	for (uint64_t block = first; block < end; block += piece) {
		struct alloc_group *group = piece_at(table, part, block, end, &piece);

		/* Can fail past the first piece only if two threads free the same block at this moment. */
		if (alloc_group_give(group, block, piece) != 0)
			err = -EUCLEAN;
	}
	return err != 0 ? refuse_free(alloc) : 0;
}

void alloc_stats(const struct alloc *alloc, struct alloc_stats *ret_stats)
{
	const struct alloc_table *table = atomic_load(&alloc->table);
	struct alloc_stats stats = {0};

	for (size_t i = 0; i < table->groups; i++) {
		struct alloc_group *group = table->group[i];

		stats.total += group->end - group->first;
		stats.free += atomic_load_explicit(&group->free, memory_order_relaxed);
		stats.free_runs += atomic_load_explicit(&group->runs, memory_order_relaxed);
		stats.largest_run =
			max_u64(stats.largest_run, atomic_load_explicit(&group->largest, memory_order_relaxed));
	}
	stats.bad_frees = atomic_load_explicit(&alloc->bad_frees, memory_order_relaxed);
	*ret_stats = stats;
}

#define LIST_SPANS 128

/* A walk over free runs that joins neighbours, also across groups. */
struct walk {
	int (*visit)(void *arg, uint64_t phys, uint64_t length);
	void *arg;
	uint64_t phys;
	uint64_t length; /* 0: nothing pending */
};

static int walk_flush(struct walk *walk)
{
	uint64_t length = walk->length;

	walk->length = 0;
	return length > 0 ? walk->visit(walk->arg, walk->phys, length) : 0;
}

static int walk_add(struct walk *walk, uint64_t phys, uint64_t length)
{
	int ret;

	if (walk->length > 0 && walk->phys + walk->length == phys) {
		walk->length += length;
		return 0;
	}
	ret = walk_flush(walk);
	walk->phys = phys;
	walk->length = length;
	return ret;
}

static int walk_group(struct walk *walk, struct alloc_group *group)
{
	struct alloc_span spans[LIST_SPANS];
	uint64_t block = group->first;
	size_t count;

	/* No lock is held while visit runs: what changes meanwhile is seen or not. */
	do {
		count = alloc_group_list(group, block, spans, LIST_SPANS);
		for (size_t i = 0; i < count; i++) {
			int ret = walk_add(walk, fmt_phys(group->part, spans[i].first), spans[i].length);

			if (ret != 0)
				return ret;
			block = spans[i].first + spans[i].length;
		}
	} while (count == LIST_SPANS && block < group->end);
	return 0;
}

int alloc_iterate(struct alloc *alloc, int (*visit)(void *arg, uint64_t phys, uint64_t length), void *arg)
{
	const struct alloc_table *table = atomic_load(&alloc->table);
	struct walk walk = {.visit = visit, .arg = arg};

	for (size_t i = 0; i < table->groups; i++) {
		int ret = walk_group(&walk, table->group[i]);

		if (ret != 0)
			return ret;
	}
	return walk_flush(&walk);
}
