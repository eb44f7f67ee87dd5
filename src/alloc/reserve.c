/*
 * Chooses blocks: where a file goes on, else the place that keeps long free runs whole.
 *
 *   goal?  -> what follows the goal, as far as it is free
 *   whole  -> one run that holds all of the rest: the home group first, then the others, by the list of ways below
 *   pieces -> the largest run of all, again and again
 *
 * A group is chosen by what its atomics say and asked under its lock; who was too late looks again. A group's atomics
 * are exact whenever nobody holds its lock, so -ENOSPC means that each group was seen without a free block.
 */
#include "alloc/space.h"

#include "base/arith.h"
#include "format/format.h"

#include <errno.h>

/* One reservation as it grows. */
struct reservation {
	struct alloc *alloc;
	const struct alloc_table *table;
	size_t home; /* index of a group */
	bool big;
	uint64_t left; /* blocks still wanted */
	struct alloc_run *runs;
	size_t capacity;
	size_t count;
};

/* This thread's number among those that reserve: threads start in different groups. 0: none yet. */
static _Thread_local uint32_t thread_number;

static size_t home_group(struct alloc *alloc, const struct alloc_table *table)
{
	if (thread_number == 0)
		thread_number = atomic_fetch_add_explicit(&alloc->next_home, 1, memory_order_relaxed) + 1;
	return thread_number % table->groups;
}

/* Adds blocks just taken to the answer; gives them back if there is no room for another run. */
static bool append(struct reservation *res, uint64_t phys, uint64_t length)
{
	struct alloc_run *last = res->count > 0 ? &res->runs[res->count - 1] : NULL;

	if (last != NULL && last->phys + last->length == phys && last->length + length <= FMT_EXTENT_LENGTH_MAX) {
		last->length += (uint32_t)length;
	} else if (res->count < res->capacity) {
		res->runs[res->count++] = (struct alloc_run){phys, (uint32_t)length};
	} else {
		alloc_free(res->alloc, phys, length); /* was taken just now: cannot be refused */
		return false;
	}
	res->left -= length;
	return true;
}

/* Takes what is free from `phys` on, over group borders. */
static void continue_at(struct reservation *res, uint64_t phys)
{
	const struct alloc_part *part = alloc_table_part(res->table, phys, 1);
	uint64_t block = fmt_phys_block(phys);

	while (part != NULL && res->left > 0 && block < part->end) {
		struct alloc_group *group = alloc_table_group(res->table, part, block);
		uint64_t taken = 0;

		if (atomic_load_explicit(&group->free, memory_order_relaxed) > 0)
			taken = alloc_group_take_at(group, block, res->left);
		if (taken == 0 || !append(res, fmt_phys(part->number, block), taken))
			return;
		block += taken;
		if (block < group->end)
			return;
	}
}

/* Where the answer ends so far. */
static uint64_t end_of(const struct reservation *res)
{
	const struct alloc_run *last = &res->runs[res->count - 1];

	return last->phys + last->length;
}

static uint64_t hint(const struct alloc_group *group)
{
	return atomic_load_explicit(&group->largest, memory_order_relaxed);
}

/* A way to place a whole run. */
struct way {
	uint64_t room; /* blocks that must be free where the run begins */
	bool aligned; /* at a 2 MiB boundary */
};

static bool take_way(struct reservation *res, struct alloc_group *group, const struct way *way)
{
	uint64_t first = 0;
	uint64_t taken;

	if (hint(group) < way->room)
		return false;
	if (way->aligned)
		taken = alloc_group_take_aligned(group, res->left, way->room, &first);
	else
		taken = alloc_group_take_fit(group, res->left, way->room, &first);
	return taken > 0 && append(res, fmt_phys(group->part, first), taken);
}

/* Of the groups with a run of at least `room`, the one with the most free blocks; `groups` if there is none. */
static size_t freest_group(const struct reservation *res, uint64_t room)
{
	size_t best = res->table->groups;
	uint64_t most = 0;

	for (size_t i = 0; i < res->table->groups; i++) {
		const struct alloc_group *group = res->table->group[i];
		uint64_t blocks = atomic_load_explicit(&group->free, memory_order_relaxed);

		if (blocks > most && hint(group) >= room) {
			best = i;
			most = blocks;
		}
	}
	return best;
}

/* Home first, then the group with the most free, then any. */
static bool take_way_anywhere(struct reservation *res, const struct way *way)
{
	size_t freest;

	if (take_way(res, res->table->group[res->home], way))
		return true;
	freest = freest_group(res, way->room);
	if (freest == res->table->groups)
		return false;
	if (take_way(res, res->table->group[freest], way))
		return true;
	for (size_t i = 0; i < res->table->groups; i++) {
		if (i != res->home && i != freest && take_way(res, res->table->group[i], way))
			return true;
	}
	return false;
}

/*
 * Takes all that is left as one run, if there is one. A big file's run begins at a 2 MiB boundary with 2 MiB behind it,
 * also if it wants less now: two files that grow side by side then fill 2 MiB chunks in turn, each one its own.
 */
static bool take_whole(struct reservation *res)
{
	const struct way big[] = {{max_u64(res->left, FMT_HUGE_BLOCKS), true}, {res->left, true}};
	const struct way best_fit = {res->left, false};

	for (size_t i = 0; res->big && i < ARRAY_SIZE(big); i++) {
		if (take_way_anywhere(res, &big[i]))
			return true;
	}
	return take_way_anywhere(res, &best_fit);
}

/* Takes what the largest run of all has; false: there is no free block, or no room in the answer. */
static bool take_largest(struct reservation *res)
{
	for (;;) {
		struct alloc_group *best = res->table->group[res->home];
		uint64_t first = 0;
		uint64_t taken;

		for (size_t i = 0; i < res->table->groups; i++) {
			if (hint(res->table->group[i]) > hint(best))
				best = res->table->group[i];
		}
		if (hint(best) == 0)
			return false;
		taken = alloc_group_take_largest(best, res->left, res->big, &first);
		if (taken > 0)
			return append(res, fmt_phys(best->part, first), taken);
	}
}

static void fill(struct reservation *res, uint64_t goal)
{
	if (goal != 0) {
		const struct alloc_part *part = alloc_table_part(res->table, goal, 1);

		/* A file goes on in the group where it is, whichever thread writes it. */
		if (part != NULL)
			res->home = part->group + (fmt_phys_block(goal) - part->origin) / part->group_blocks;
		continue_at(res, goal);
	}
	while (res->left > 0 && res->count < res->capacity) {
		if (take_whole(res) || !take_largest(res))
			return;
		continue_at(res, end_of(res));
	}
}

static void give_back(struct reservation *res, uint64_t want)
{
	for (size_t i = 0; i < res->count; i++)
		alloc_free(res->alloc, res->runs[i].phys, res->runs[i].length); /* ours: cannot be refused */
	res->count = 0;
	res->left = want;
}

int alloc_reserve(struct alloc *alloc, uint64_t want, uint64_t goal, unsigned flags, struct alloc_run *runs,
		  size_t capacity, size_t *ret_count)
{
	struct reservation res = {
		.alloc = alloc,
		.table = atomic_load(&alloc->table),
		.big = (flags & ALLOC_BIG) != 0 || want >= FMT_HUGE_BLOCKS,
		.left = want,
		.runs = runs,
		.capacity = capacity,
	};

	if (want == 0 || capacity == 0)
		return -EINVAL;
	if (res.table->groups == 0)
		return -ENOSPC;
	res.home = home_group(alloc, res.table);
	fill(&res, goal);
	if (res.left > 0 && res.count == capacity && (flags & ALLOC_PARTIAL) == 0) {
		/* Goal and alignment cost runs, and `capacity` is too small for that: the longest runs have to do. */
		give_back(&res, want);
		res.big = false;
		fill(&res, 0);
	}
	if (res.left > 0 && (res.count == 0 || (flags & ALLOC_PARTIAL) == 0)) {
		give_back(&res, want);
		return -ENOSPC;
	}
	*ret_count = res.count;
	return 0;
}
