/*
 * One allocation group: its free runs in two trees.
 *
 * G1  A run of the trees is not empty, lies in the group, and touches no other run of the trees.
 * G2  A block is in the trees, or its aside bit is set, or it is in use: exactly one of the three.
 * G3  A group owns at least one node, in the trees or spare. So once the trees are empty a node is spare, settle()
 * moves what was set aside into the trees, and "the trees are empty" means "nothing is free" whenever the lock is not
 * held. G4  Taking blocks needs no memory: who cannot split a run takes from one of its ends.
 */
#include "alloc/group.h"

#include "base/arith.h"
#include "format/format.h"

#include <assert.h>
#include <errno.h>

#define SETTLE_RUNS 64u /* moved into the trees each time, so that no call takes long */
#define ALIGNED_TRIES 16u /* short runs that are looked at before a run is taken that certainly holds a boundary */

static int compare_block(const struct alloc_node *a, const struct alloc_node *b)
{
	return (a->first > b->first) - (a->first < b->first);
}

static int compare_length(const struct alloc_node *a, const struct alloc_node *b)
{
	if (a->length != b->length)
		return a->length > b->length ? 1 : -1;
	return compare_block(a, b);
}

/* The macros make more functions than are used. */
RB_GENERATE_INTERNAL(alloc_by_block, alloc_node, block_link, compare_block, __attribute__((unused)) static)
RB_GENERATE_INTERNAL(alloc_by_length, alloc_node, length_link, compare_length, __attribute__((unused)) static)

static struct alloc_node *node_get(struct alloc_group *group)
{
	struct alloc_node *node = group->spare;

	if (node == NULL)
		return group->memory->get(group->memory->arg, sizeof(*node));
	group->spare = node->next_spare;
	group->spares--;
	return node;
}

/* G3: only what exceeds the spares goes back. */
static void node_put(struct alloc_group *group, struct alloc_node *node)
{
	if (group->spares >= ALLOC_SPARES_MAX) {
		group->memory->put(group->memory->arg, node);
		return;
	}
	node->next_spare = group->spare;
	group->spare = node;
	group->spares++;
}

/* The run that starts at `block` or, if there is none, the last one before it. */
static struct alloc_node *find_floor(struct alloc_group *group, uint64_t block)
{
	struct alloc_node key = {.first = block};
	struct alloc_node *node = RB_NFIND(alloc_by_block, &group->by_block, &key);

	if (node != NULL && node->first == block)
		return node;
	return node != NULL ? RB_PREV(alloc_by_block, &group->by_block, node)
			    : RB_MAX(alloc_by_block, &group->by_block);
}

/* The shortest run of at least that length, of these the first. */
static struct alloc_node *find_length(struct alloc_group *group, uint64_t length)
{
	struct alloc_node key = {.length = length};

	return RB_NFIND(alloc_by_length, &group->by_length, &key);
}

static uint64_t node_end(const struct alloc_node *node)
{
	return node->first + node->length;
}

static void link_node(struct alloc_group *group, struct alloc_node *node)
{
	RB_INSERT(alloc_by_block, &group->by_block, node);
	RB_INSERT(alloc_by_length, &group->by_length, node);
	atomic_fetch_add_explicit(&group->runs, 1, memory_order_relaxed);
}

static void unlink_node(struct alloc_group *group, struct alloc_node *node)
{
	RB_REMOVE(alloc_by_block, &group->by_block, node);
	RB_REMOVE(alloc_by_length, &group->by_length, node);
	atomic_fetch_sub_explicit(&group->runs, 1, memory_order_relaxed);
	node_put(group, node);
}

/* Gives a run new ends that keep its place between its neighbours, so that only the tree of lengths changes. */
static void resize_node(struct alloc_group *group, struct alloc_node *node, uint64_t first, uint64_t end)
{
	RB_REMOVE(alloc_by_length, &group->by_length, node);
	node->first = first;
	node->length = end - first;
	RB_INSERT(alloc_by_length, &group->by_length, node);
}

/* Adds free blocks to the trees. -ENOMEM: they touch no run and there is no node. */
static int insert_run(struct alloc_group *group, uint64_t first, uint64_t length)
{
	struct alloc_node *below = find_floor(group, first);
	struct alloc_node *above = below != NULL ? RB_NEXT(alloc_by_block, &group->by_block, below)
						 : RB_MIN(alloc_by_block, &group->by_block);
	bool join_below = below != NULL && node_end(below) == first;
	bool join_above = above != NULL && above->first == first + length;
	struct alloc_node *node;

	if (join_below && join_above) {
		uint64_t end = node_end(above);

		unlink_node(group, above);
		resize_node(group, below, below->first, end);
	} else if (join_below) {
		resize_node(group, below, below->first, first + length);
	} else if (join_above) {
		resize_node(group, above, first, node_end(above));
	} else {
		node = node_get(group);
		if (node == NULL)
			return -ENOMEM;
		node->first = first;
		node->length = length;
		link_node(group, node);
	}
	return 0;
}

/* Takes [first, first + length), which lies in the run, out of it. -ENOMEM: it leaves two pieces and there is no node.
 */
static int cut_run(struct alloc_group *group, struct alloc_node *node, uint64_t first, uint64_t length)
{
	uint64_t end = node_end(node);
	struct alloc_node *tail;

	assert(first >= node->first && length > 0 && first + length <= end);
	if (first == node->first && first + length == end) {
		unlink_node(group, node);
	} else if (first == node->first) {
		resize_node(group, node, first + length, end);
	} else if (first + length == end) {
		resize_node(group, node, node->first, first);
	} else {
		tail = node_get(group);
		if (tail == NULL)
			return -ENOMEM;
		resize_node(group, node, node->first, first);
		tail->first = first + length;
		tail->length = end - tail->first;
		link_node(group, tail);
	}
	atomic_fetch_sub_explicit(&group->free, length, memory_order_relaxed);
	return 0;
}

/* Moves what was set aside into the trees, as far as there are nodes. */
static void settle(struct alloc_group *group)
{
	for (unsigned i = 0; i < SETTLE_RUNS && group->aside_blocks > 0; i++) {
		struct alloc_span span = alloc_aside_find(group, group->first);

		if (insert_run(group, span.first, span.length) != 0)
			return;
		alloc_aside_remove(group, span.first, span.length);
	}
}

/* Ends what alloc_group functions do under the lock: G3, and the hint for those who choose a group. */
static void leave(struct alloc_group *group)
{
	struct alloc_node *largest;

	settle(group);
	largest = RB_MAX(alloc_by_length, &group->by_length);
	assert(largest != NULL || group->aside_blocks == 0);
	atomic_store_explicit(&group->largest, largest != NULL ? largest->length : 0, memory_order_relaxed);
	lock_mutex_drop(&group->lock);
}

int alloc_group_create(const struct alloc_memory *memory, uint32_t part, uint64_t first, uint64_t end,
		       struct alloc_group **ret_group)
{
	struct alloc_group *group;
	int err;

	assert(first < end);
	group = memory->get(memory->arg, sizeof(*group));
	if (group == NULL)
		return -ENOMEM;
	group->memory = memory;
	group->part = part;
	group->first = first;
	group->end = end;
	RB_INIT(&group->by_block);
	RB_INIT(&group->by_length);
	err = lock_mutex_init(&group->lock, LOCK_ALLOC);
	if (err != 0)
		goto free_group;
	err = alloc_aside_init(group);
	if (err != 0)
		goto fini_lock;
	err = insert_run(group, first, end - first);
	if (err != 0)
		goto free_aside;
	atomic_store(&group->free, end - first);
	atomic_store(&group->largest, end - first);
	*ret_group = group;
	return 0;

free_aside:
	memory->put(memory->arg, group->aside);
fini_lock:
	lock_mutex_fini(&group->lock);
free_group:
	memory->put(memory->arg, group);
	return err;
}

void alloc_group_destroy(struct alloc_group *group)
{
	const struct alloc_memory *memory = group->memory;
	struct alloc_node *node;

	while ((node = RB_ROOT(&group->by_block)) != NULL) {
		RB_REMOVE(alloc_by_block, &group->by_block, node);
		memory->put(memory->arg, node);
	}
	while ((node = group->spare) != NULL) {
		group->spare = node->next_spare;
		memory->put(memory->arg, node);
	}
	lock_mutex_fini(&group->lock);
	memory->put(memory->arg, group->aside);
	memory->put(memory->arg, group);
}

uint64_t alloc_group_take_at(struct alloc_group *group, uint64_t block, uint64_t want)
{
	struct alloc_node *node;
	uint64_t taken = 0;

	lock_mutex_take(&group->lock);
	node = find_floor(group, block);
	if (node != NULL && block < node_end(node)) {
		taken = min_u64(want, node_end(node) - block);
		if (cut_run(group, node, block, taken) != 0)
			taken = 0;
	}
	leave(group);
	return taken;
}

uint64_t alloc_group_take_fit(struct alloc_group *group, uint64_t want, uint64_t room, uint64_t *ret_first)
{
	struct alloc_node *node;
	uint64_t first;
	int err;

	assert(want > 0 && room >= want);
	lock_mutex_take(&group->lock);
	node = find_length(group, room);
	if (node == NULL) {
		leave(group);
		return 0;
	}
	first = node->first;
	err = cut_run(group, node, first, want);
	assert(err == 0); /* G4: from its front */
	(void)err;
	leave(group);
	*ret_first = first;
	return want;
}

/* The smallest run, as far as few tries tell, with a 2 MiB boundary that has `room` blocks behind it. */
static struct alloc_node *find_aligned(struct alloc_group *group, uint64_t room)
{
	struct alloc_node *node = find_length(group, room);

	for (unsigned i = 0; i < ALIGNED_TRIES && node != NULL; i++) {
		if (align_up(node->first, FMT_HUGE_BLOCKS) + room <= node_end(node))
			return node;
		node = RB_NEXT(alloc_by_length, &group->by_length, node);
	}
	return node != NULL ? find_length(group, room + FMT_HUGE_BLOCKS - 1) : NULL;
}

uint64_t alloc_group_take_aligned(struct alloc_group *group, uint64_t want, uint64_t room, uint64_t *ret_first)
{
	struct alloc_node *node;
	uint64_t first = 0;
	uint64_t taken = 0;

	assert(want > 0 && room >= want);
	lock_mutex_take(&group->lock);
	node = find_aligned(group, room);
	if (node != NULL) {
		first = align_up(node->first, FMT_HUGE_BLOCKS);
		if (cut_run(group, node, first, want) == 0)
			taken = want;
	}
	leave(group);
	if (taken > 0)
		*ret_first = first;
	return taken;
}

uint64_t alloc_group_take_largest(struct alloc_group *group, uint64_t want, bool align, uint64_t *ret_first)
{
	struct alloc_node *node;
	uint64_t first;
	uint64_t taken;

	assert(want > 0);
	lock_mutex_take(&group->lock);
	node = RB_MAX(alloc_by_length, &group->by_length);
	if (node == NULL) {
		leave(group);
		return 0;
	}
	first = align ? align_up(node->first, FMT_HUGE_BLOCKS) : node->first;
	if (first + FMT_HUGE_BLOCKS > node_end(node))
		first = node->first;
	taken = min_u64(want, node_end(node) - first);
	if (cut_run(group, node, first, taken) != 0) {
		int err;

		first = node->first;
		err = cut_run(group, node, first, taken);
		assert(err == 0); /* G4 */
		(void)err;
	}
	leave(group);
	*ret_first = first;
	return taken;
}

/* The run that has all of the range; NULL: none. The caller holds the lock. */
static struct alloc_node *find_holding(struct alloc_group *group, uint64_t first, uint64_t length)
{
	struct alloc_node *node = find_floor(group, first);

	return node != NULL && first + length <= node_end(node) ? node : NULL;
}

/* True if a block of the range is set aside. The caller holds the lock. */
static bool touches_aside(struct alloc_group *group, uint64_t first, uint64_t length)
{
	struct alloc_span span = alloc_aside_find(group, first);

	return span.length > 0 && span.first < first + length;
}

/* True if a block of the range is free. The caller holds the lock. */
static bool touches_free(struct alloc_group *group, uint64_t first, uint64_t length)
{
	struct alloc_node *node = find_floor(group, first + length - 1);

	return (node != NULL && node_end(node) > first) || touches_aside(group, first, length);
}

int alloc_group_claim(struct alloc_group *group, uint64_t first, uint64_t length)
{
	struct alloc_node *node;
	int err;

	lock_mutex_take(&group->lock);
	node = find_holding(group, first, length);
	if (node != NULL)
		err = cut_run(group, node, first, length);
	else
		err = touches_aside(group, first, length) ? -ENOMEM : -EUCLEAN;
	leave(group);
	return err;
}

int alloc_group_give(struct alloc_group *group, uint64_t first, uint64_t length)
{
	int err = -EUCLEAN;

	lock_mutex_take(&group->lock);
	if (!touches_free(group, first, length)) {
		if (insert_run(group, first, length) != 0)
			alloc_aside_put(group, first, length);
		atomic_fetch_add_explicit(&group->free, length, memory_order_relaxed);
		err = 0;
	}
	leave(group);
	return err;
}

bool alloc_group_is_used(struct alloc_group *group, uint64_t first, uint64_t length)
{
	bool used;

	lock_mutex_take(&group->lock);
	used = !touches_free(group, first, length);
	leave(group);
	return used;
}

size_t alloc_group_list(struct alloc_group *group, uint64_t block, struct alloc_span *spans, size_t capacity)
{
	struct alloc_node key = {.first = block};
	struct alloc_node *node;
	struct alloc_span aside;
	size_t count = 0;

	lock_mutex_take(&group->lock);
	node = RB_NFIND(alloc_by_block, &group->by_block, &key);
	aside = alloc_aside_find(group, block);
	while (count < capacity && (node != NULL || aside.length > 0)) {
		if (aside.length == 0 || (node != NULL && node->first < aside.first)) {
			spans[count++] = (struct alloc_span){node->first, node->length};
			node = RB_NEXT(alloc_by_block, &group->by_block, node);
		} else {
			spans[count++] = aside;
			aside = alloc_aside_find(group, aside.first + aside.length);
		}
	}
	leave(group);
	return count;
}
