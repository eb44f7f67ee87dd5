/* Changing a map: insertion, updates, removal; nodes are split, joined, and moved to fresh pages. */
#include "meta/map.h"

#include <errno.h>

/* The map's root and inline records, for changing; their inode is snapshotted. */
static int root_edit(struct meta_tx *tx, const struct map *map, struct fmt_map **ret_root,
		     struct fmt_record **ret_inline)
{
	struct fmt_inode *inode;
	int error = tx_inode_edit(tx, map->owner, TX_INODE_MAPS, &inode);

	if (error != 0)
		return error;
	*ret_root = (struct fmt_map *)map->root;
	*ret_inline = (struct fmt_record *)map->inline_record;
	return 0;
}

/* ---- Changing a node ---- */

static struct fmt_record make_record(const struct map *map, uint64_t key, uint64_t value, uint32_t length)
{
	struct fmt_record record = {.key = key, .value = value, .length = length};

	fmt_record_seal(&record, map->seed);
	return record;
}

static int node_own(struct meta_tx *tx, const struct map *map, struct map_path *path, unsigned level, bool header,
		    unsigned from, unsigned to);

/* Moves the node at `level` to a fresh page. What points to it is changed: the record above, or the root. */
static int node_move(struct meta_tx *tx, const struct map *map, struct map_path *path, unsigned level)
{
	struct fmt_record *inline_record;
	struct fmt_record *above;
	struct fmt_map *root;
	unsigned index;
	uint64_t page;
	void *address;
	int error;

	error = tx_page_move(tx, path->level[level].page, &page, &address);
	if (error != 0)
		return error;
	path->level[level].node = address;
	path->level[level].page = page;
	if (level + 1 == path->height) {
		error = root_edit(tx, map, &root, &inline_record);
		if (error == 0)
			root->root = page;
		return error;
	}
	index = (unsigned)path->level[level + 1].index;
	error = node_own(tx, map, path, level + 1, false, index, index + 1);
	if (error != 0)
		return error;
	above = &path->level[level + 1].node->record[index];
	*above = make_record(map, above->key, page, above->length);
	return 0;
}

/*
 * Makes the node at `level` ready for a change of its header (if `header`) and of records [from, to): fresh nodes are,
 * others are snapshotted, or moved if that does not fit. The path follows; other paths into the map do not.
 */
static int node_own(struct meta_tx *tx, const struct map *map, struct map_path *path, unsigned level, bool header,
		    unsigned from, unsigned to)
{
	const size_t header_size = offsetof(struct fmt_node, record);
	struct fmt_node *node = path->level[level].node;
	size_t size = (to - from) * sizeof(node->record[0]);
	size_t cost = (header ? tx_cost(header_size) : 0) + (size > 0 ? tx_cost(size) : 0);
	int error = 0;

	if (tx_is_fresh(tx, path->level[level].page))
		return 0;
	if (!tx_fits(tx, cost))
		return node_move(tx, map, path, level);
	if (header)
		error = tx_edit(tx, node, header_size);
	if (error == 0 && size > 0)
		error = tx_edit(tx, &node->record[from], size);
	return error;
}

/* Opens a gap at `index`; the node is not full. */
static int node_insert(struct meta_tx *tx, const struct map *map, struct map_path *path, unsigned level, unsigned index,
		       const struct fmt_record *record)
{
	struct fmt_node *node;
	int error;

	/* The slot behind the last record is owned too: it may have been live when the transaction began. */
	error = node_own(tx, map, path, level, true, index, path->level[level].node->count + 1u);
	if (error != 0)
		return error;
	node = path->level[level].node;
	memmove(&node->record[index + 1], &node->record[index], (node->count - index) * sizeof(*record));
	node->record[index] = *record;
	node->count++;
	fmt_node_seal(node);
	return 0;
}

static int node_remove(struct meta_tx *tx, const struct map *map, struct map_path *path, unsigned level, unsigned index)
{
	struct fmt_node *node;
	int error;

	error = node_own(tx, map, path, level, true, index, path->level[level].node->count);
	if (error != 0)
		return error;
	node = path->level[level].node;
	memmove(&node->record[index], &node->record[index + 1], (node->count - index - 1u) * sizeof(node->record[0]));
	node->count--;
	fmt_node_seal(node);
	return 0;
}

static int node_create(struct meta_tx *tx, const struct map *map, unsigned level, uint64_t *ret_page,
		       struct fmt_node **ret_node)
{
	struct fmt_map *root;
	struct fmt_record *inline_record;
	struct fmt_node *node;
	void *address;
	int error;

	error = root_edit(tx, map, &root, &inline_record);
	if (error == 0)
		error = tx_page_take(tx, ret_page, &address);
	if (error != 0)
		return error;
	node = address;
	memset(node, 0, sizeof(*node));
	node->magic = FMT_NODE_MAGIC;
	node->owner = map->owner->ino;
	node->generation = map->owner->generation;
	node->kind = (uint8_t)map->kind;
	node->level = (uint8_t)level;
	root->pages++;
	*ret_node = node;
	return 0;
}

static int node_destroy(struct meta_tx *tx, const struct map *map, uint64_t page)
{
	struct fmt_map *root;
	struct fmt_record *inline_record;
	int error = root_edit(tx, map, &root, &inline_record);

	if (error == 0)
		error = tx_page_drop(tx, page);
	if (error == 0)
		root->pages--;
	return error;
}

/* ---- Insertion ---- */

/* The inline records move to a node of their own. */
static int root_spill(struct meta_tx *tx, const struct map *map)
{
	struct fmt_record *inline_record;
	struct fmt_node *node;
	struct fmt_map *root;
	uint64_t page;
	int error;

	error = root_edit(tx, map, &root, &inline_record);
	if (error == 0)
		error = node_create(tx, map, 0, &page, &node);
	if (error != 0)
		return error;
	memcpy(node->record, inline_record, root->count * sizeof(*inline_record));
	node->count = root->count;
	fmt_node_seal(node);
	root->height = 1;
	root->count = 0;
	root->root = page;
	return 0;
}

/* One more level: the old root node and its new right neighbour become children of a new root node. */
static int root_grow(struct meta_tx *tx, const struct map *map, const struct fmt_node *left,
		     const struct fmt_record *right)
{
	unsigned level = map->root->height;
	struct fmt_record *inline_record;
	struct fmt_node *node;
	struct fmt_map *root;
	uint64_t page;
	int error;

	if (level >= FMT_MAP_HEIGHT_MAX)
		return -EFBIG;
	error = root_edit(tx, map, &root, &inline_record);
	if (error == 0)
		error = node_create(tx, map, level, &page, &node);
	if (error != 0)
		return error;
	node->record[0] = make_record(map, left->record[0].key, root->root, 0);
	node->record[1] = *right;
	node->count = 2;
	fmt_node_seal(node);
	root->height++;
	root->root = page;
	return 0;
}

/*
 * Moves the upper part of the full node at `level` to a new one and inserts `record` at `index` in one of both. What
 * goes to the parent comes back in `record`.
 */
static int node_split(struct meta_tx *tx, const struct map *map, struct map_path *path, unsigned level, unsigned index,
		      struct fmt_record *record)
{
	struct fmt_node *left = path->level[level].node;
	/* Appending leaves full nodes behind. */
	unsigned kept = index == left->count ? left->count : left->count / 2u;
	struct fmt_node *right;
	uint64_t page;
	int error;

	error = node_create(tx, map, level, &page, &right);
	if (error != 0)
		return error;
	right->count = (uint16_t)(left->count - kept);
	memcpy(right->record, &left->record[kept], right->count * sizeof(*record));
	if (index >= kept) {
		unsigned at = index - kept;

		memmove(&right->record[at + 1], &right->record[at], (right->count - at) * sizeof(*record));
		right->record[at] = *record;
		right->count++;
	}
	fmt_node_seal(right);
	if (kept < left->count) {
		error = node_own(tx, map, path, level, true, 0, 0);
		if (error != 0)
			return error;
		left = path->level[level].node;
		left->count = (uint16_t)kept;
		fmt_node_seal(left);
	}
	if (index < kept) {
		error = node_insert(tx, map, path, level, index, record);
		if (error != 0)
			return error;
	}
	*record = make_record(map, right->record[0].key, page, 0);
	return 0;
}

static int inline_insert(struct meta_tx *tx, const struct map *map, unsigned index, const struct fmt_record *record)
{
	struct fmt_record *inline_record;
	struct fmt_map *root;
	int error = root_edit(tx, map, &root, &inline_record);

	if (error != 0)
		return error;
	memmove(&inline_record[index + 1], &inline_record[index], (root->count - index) * sizeof(*record));
	inline_record[index] = *record;
	root->count++;
	return 0;
}

int map_insert(struct meta_tx *tx, const struct map *map, uint64_t key, uint64_t value, uint32_t length)
{
	struct fmt_record record = make_record(map, key, value, length);
	struct map_path path;
	int error;

	error = map_descend(map, key, &path);
	if (error != 0)
		return error;
	if (path.height == 0) {
		if (map->root->count < map->inline_capacity)
			return inline_insert(tx, map, (unsigned)(path.level[0].index + 1), &record);
		error = root_spill(tx, map);
		if (error == 0)
			error = map_descend(map, key, &path);
		if (error != 0)
			return error;
	}
	for (unsigned level = 0; level < path.height; level++) {
		struct fmt_node *node = path.level[level].node;
		unsigned index = (unsigned)(path.level[level].index + 1);

		if (node->count < FMT_NODE_RECORDS)
			return node_insert(tx, map, &path, level, index, &record);
		error = node_split(tx, map, &path, level, index, &record);
		if (error != 0)
			return error;
	}
	return root_grow(tx, map, path.level[path.height - 1].node, &record);
}

int map_update(struct meta_tx *tx, const struct map *map, const struct map_path *path, uint64_t key, uint64_t value,
	       uint32_t length)
{
	unsigned index = (unsigned)path->level[0].index;
	struct map_path moved = *path;
	struct fmt_record *record;
	struct fmt_map *root;
	int error;

	if (path->height == 0) {
		error = root_edit(tx, map, &root, &record);
	} else {
		error = node_own(tx, map, &moved, 0, false, index, index + 1);
		record = moved.level[0].node->record;
	}
	if (error == 0)
		record[index] = make_record(map, key, value, length);
	return error;
}

/* ---- Removal ---- */

#define NODE_SPARSE (FMT_NODE_RECORDS / 4)
#define NODE_JOINED_MAX (FMT_NODE_RECORDS * 3 / 4)

/* Appends right's records to the node at `level`; `separator` is right's in their parent. */
static int node_join(struct meta_tx *tx, const struct map *map, struct map_path *path, unsigned level,
		     const struct fmt_node *right, uint64_t separator)
{
	const struct fmt_record first = right->record[0];
	unsigned count = path->level[level].node->count;
	struct fmt_node *left;
	int error;

	error = node_own(tx, map, path, level, true, count, count + right->count);
	if (error != 0)
		return error;
	left = path->level[level].node;
	memcpy(&left->record[count], right->record, right->count * sizeof(right->record[0]));
	/* An inner node's first key is no bound (its child takes all from the node's own bound on); now it becomes one.
	 */
	if (level > 0)
		left->record[count] = make_record(map, separator, first.value, first.length);
	left->count = (uint16_t)(count + right->count);
	fmt_node_seal(left);
	return 0;
}

/*
 * Joins the sparse node at `level` with a neighbour under the same parent. Returns 1 if the parent's record at
 * *ret_index is to be removed (its page is dropped already), 0 if nothing was joined. The path is good above `level`.
 */
static int join_neighbours(struct meta_tx *tx, const struct map *map, struct map_path *path, unsigned level,
			   int *ret_index)
{
	const struct fmt_node *parent = path->level[level + 1].node;
	int index = path->level[level + 1].index;
	struct fmt_record separator;
	struct fmt_node *left, *right;
	int error;

	if (index + 1 >= parent->count)
		index--;
	if (index < 0)
		return 0;
	separator = parent->record[index + 1];
	if (!fmt_record_valid(&parent->record[index], map->seed) || !fmt_record_valid(&separator, map->seed))
		return -EUCLEAN;
	error = map_node(map, parent->record[index].value, level, &left);
	if (error == 0)
		error = map_node(map, separator.value, level, &right);
	if (error != 0)
		return error;
	if (left->count + right->count > (int)NODE_JOINED_MAX)
		return 0;
	path->level[level + 1].index = index;
	path->level[level].node = left;
	path->level[level].page = parent->record[index].value;
	error = node_join(tx, map, path, level, right, separator.key);
	if (error == 0)
		error = node_destroy(tx, map, separator.value);
	if (error != 0)
		return error;
	*ret_index = index + 1;
	return 1;
}

/* A root node with one child gives way to it; a short lowest node goes inline. */
static int root_shrink(struct meta_tx *tx, const struct map *map)
{
	struct fmt_record *inline_record;
	struct fmt_node *node;
	struct fmt_map *root;
	int error;

	while (map->root->height > 0) {
		error = map_node(map, map->root->root, map->root->height - 1u, &node);
		if (error != 0)
			return error;
		if (map->root->height == 1 ? node->count > map->inline_capacity : node->count > 1)
			return 0;
		error = root_edit(tx, map, &root, &inline_record);
		if (error == 0)
			error = node_destroy(tx, map, root->root);
		if (error != 0)
			return error;
		if (root->height > 1) {
			if (!fmt_record_valid(&node->record[0], map->seed))
				return -EUCLEAN;
			root->root = node->record[0].value;
		} else {
			memcpy(inline_record, node->record, node->count * sizeof(*inline_record));
			root->count = node->count;
			root->root = 0;
		}
		root->height--;
	}
	return 0;
}

static int inline_remove(struct meta_tx *tx, const struct map *map, unsigned index)
{
	struct fmt_record *inline_record;
	struct fmt_map *root;
	int error = root_edit(tx, map, &root, &inline_record);

	if (error != 0)
		return error;
	memmove(&inline_record[index], &inline_record[index + 1], (root->count - index - 1u) * sizeof(*inline_record));
	root->count--;
	return 0;
}

/* The last record has gone with its nodes. */
static int root_empty(struct meta_tx *tx, const struct map *map)
{
	struct fmt_record *inline_record;
	struct fmt_map *root;
	int error = root_edit(tx, map, &root, &inline_record);

	if (error != 0)
		return error;
	root->height = 0;
	root->count = 0;
	root->root = 0;
	return 0;
}

int map_remove(struct meta_tx *tx, const struct map *map, const struct map_path *path)
{
	struct map_path at = *path;
	int index = at.level[0].index;
	int error;

	if (at.height == 0)
		return inline_remove(tx, map, (unsigned)index);
	for (unsigned level = 0; level < at.height; level++) {
		if (at.level[level].node->count == 1) {
			error = node_destroy(tx, map, at.level[level].page);
			if (error != 0)
				return error;
			if (level + 1 == at.height)
				return root_empty(tx, map);
			index = at.level[level + 1].index;
			continue;
		}
		error = node_remove(tx, map, &at, level, (unsigned)index);
		if (error != 0)
			return error;
		if (level + 1 == at.height || at.level[level].node->count >= NODE_SPARSE)
			break;
		error = join_neighbours(tx, map, &at, level, &index);
		if (error < 0)
			return error;
		if (error == 0)
			break;
	}
	return root_shrink(tx, map);
}
