/*
 * Walking a map from its root. A node is taken for what its parent says only if it says the same itself: owner,
 * generation, kind, level, and keys within the bounds that the parent gives it. So a page that has gone back to the
 * free ones and came to another owner is never mistaken, and no walk has a loop: levels fall, and keys rise.
 */
#include "rescue/work.h"

#include <errno.h>
#include <stdlib.h>

struct bounds {
	uint64_t low;
	uint64_t high; /* inclusive */
};

static void tell_gap(struct walk *walk, struct bounds bounds)
{
	if (walk->gap != NULL)
		walk->gap(walk, bounds.low, bounds.high);
}

static void mark_reached(const struct walk *walk, uint64_t page)
{
	struct work *work = walk->work;

	if (!walk->alone)
		work->reached[page / FMT_GROUP_FRAMES] |= 1ull << page % FMT_GROUP_FRAMES;
}

/* A page of the map, copied to memory; NULL if it cannot be read. *ret_error: 0, or -ENOMEM. */
static void *page_read(const struct walk *walk, uint64_t page, int *ret_error)
{
	uint64_t offset = pool_page_offset(walk->work, page);
	void *copy = malloc(FMT_BLOCK_SIZE);

	*ret_error = copy == NULL ? -ENOMEM : 0;
	if (copy != NULL && (offset == 0 || image_read(&walk->work->meta, offset, copy, FMT_BLOCK_SIZE) != 0)) {
		free(copy);
		copy = NULL;
	}
	return copy;
}

static int walk_names(struct walk *walk, const struct fmt_names *page, bool *ret_gap)
{
	int error = 0;

	for (uint64_t left = page->start; error == 0 && left != 0; left &= left - 1) {
		const struct fmt_name *name = fmt_name_at(page, (unsigned)__builtin_ctzll(left), walk->seed);

		if (name == NULL)
			*ret_gap = true;
		else
			error = walk->name(walk, name);
	}
	return error;
}

/*
 * A page whose header is damaged: names in it are sealed by themselves, but which of them were removed is not known any
 * more. Whoever takes them is told (`doubtful`).
 */
static int walk_doubtful(struct walk *walk, const struct fmt_names *page)
{
	int error = 0;

	walk->doubtful = true;
	for (unsigned unit = 0; error == 0 && unit < FMT_NAMES_UNITS; unit++) {
		const struct fmt_name *name = (const struct fmt_name *)page->unit[unit];
		struct fmt_names *alone = (struct fmt_names *)(uintptr_t)page; /* our copy */
		unsigned units = name->units > 0 && name->units <= FMT_NAMES_UNITS - unit ? name->units : 1;

		alone->kind = (uint8_t)walk->kind;
		alone->start = 1ull << unit;
		alone->used = ((1ull << units) - 1) << unit;
		alone->fingerprint[unit] = fmt_fingerprint(name->key);
		name = fmt_name_at(alone, unit, walk->seed);
		if (name != NULL) {
			error = walk->name(walk, name);
			unit += units - 1;
		}
	}
	walk->doubtful = false;
	return error;
}

static int walk_names_page(struct walk *walk, uint64_t page, struct bounds bounds)
{
	bool gap = false;
	int error;
	struct fmt_names *names = page_read(walk, page, &error);

	if (error != 0)
		return error;
	if (names == NULL) {
		tell_gap(walk, bounds);
	} else if (!fmt_names_valid(names, walk->inode, walk->kind)) {
		tell_gap(walk, bounds);
		error = walk_doubtful(walk, names);
	} else {
		mark_reached(walk, page);
		error = walk_names(walk, names, &gap);
		if (gap)
			tell_gap(walk, bounds);
	}
	free(names);
	return error;
}

/* A record of the lowest level. `high`: where the next one begins. */
static int walk_record(struct walk *walk, const struct fmt_record *record, struct bounds bounds)
{
	uint32_t length = record->length & ~FMT_EXTENT_UNWRITTEN;
	uint64_t last;

	if (!fmt_record_valid(record, walk->seed) || (!walk->first && record->key < walk->next_key) ||
	    record->key < bounds.low || record->key > bounds.high) {
		tell_gap(walk, bounds);
		return 0;
	}
	if (walk->kind == FMT_KIND_EXTENTS &&
	    (length == 0 || __builtin_add_overflow(record->key, length - 1, &last) || last == UINT64_MAX)) {
		tell_gap(walk, bounds);
		return 0;
	}
	walk->first = false;
	walk->next_key = record->key + (walk->kind == FMT_KIND_EXTENTS ? length : 1);
	if (walk->name == NULL)
		return walk->record(walk, record);
	return walk_names_page(walk, record->value, (struct bounds){record->key, bounds.high});
}

static int walk_node(struct walk *walk, uint64_t page, unsigned level, struct bounds bounds);

/* Bounds of what is behind record `i`: the next record's key ends it, if that is to be believed. */
static struct bounds bounds_of(const struct walk *walk, const struct fmt_record *record, unsigned count, unsigned i,
			       struct bounds bounds)
{
	if (i > 0 && fmt_record_valid(&record[i], walk->seed) && record[i].key >= bounds.low &&
	    record[i].key <= bounds.high)
		bounds.low = record[i].key;
	if (i + 1 < count && fmt_record_valid(&record[i + 1], walk->seed) && record[i + 1].key > bounds.low &&
	    record[i + 1].key <= bounds.high)
		bounds.high = record[i + 1].key - 1;
	return bounds;
}

static int walk_child(struct walk *walk, const struct fmt_node *node, unsigned i, struct bounds bounds)
{
	struct bounds child = bounds_of(walk, node->record, node->count, i, bounds);

	if (!fmt_record_valid(&node->record[i], walk->seed) ||
	    (i > 0 && (node->record[i].key < bounds.low || node->record[i].key > bounds.high))) {
		tell_gap(walk, child);
		return 0;
	}
	return walk_node(walk, node->record[i].value, node->level - 1u, child);
}

static int walk_node(struct walk *walk, uint64_t page, unsigned level, struct bounds bounds)
{
	int error;
	struct fmt_node *node = page_read(walk, page, &error);

	if (error != 0)
		return error;
	if (node == NULL || !fmt_node_valid(node, walk->inode, walk->kind, level)) {
		tell_gap(walk, bounds);
	} else {
		mark_reached(walk, page);
		for (unsigned i = 0; error == 0 && i < node->count; i++)
			error = level > 0 ? walk_child(walk, node, i, bounds)
					  : walk_record(walk, &node->record[i],
							bounds_of(walk, node->record, node->count, i, bounds));
	}
	free(node);
	return error;
}

static void walk_begin(struct walk *walk)
{
	walk->seed = fmt_owner_seed(walk->inode->ino, walk->inode->generation);
	walk->next_key = 0;
	walk->first = true;
}

int map_walk(struct walk *walk)
{
	const struct fmt_inode *inode = walk->inode;
	const struct fmt_map *root = walk->kind == FMT_KIND_XATTRS ? &inode->xattrs : &inode->body;
	const struct fmt_record *record = walk->kind == FMT_KIND_XATTRS ? inode->xattr_record : inode->record;
	const struct bounds all = {0, UINT64_MAX};
	int error = 0;

	walk_begin(walk);
	if (root->height > 0)
		return walk_node(walk, root->root, root->height - 1u, all);
	for (unsigned i = 0; error == 0 && i < root->count; i++)
		error = walk_record(walk, &record[i], bounds_of(walk, record, root->count, i, all));
	return error;
}

int map_walk_page(struct walk *walk, const struct page_info *page)
{
	const struct bounds all = {0, UINT64_MAX};
	int error = 0;

	walk_begin(walk);
	walk->alone = true;
	walk->doubtful = !page->node;
	error = page->node ? walk_node(walk, page->page, 0, all) : walk_names_page(walk, page->page, all);
	walk->doubtful = walk->alone = false;
	return error;
}
