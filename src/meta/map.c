#include "meta/map.h"

#include <errno.h>
#include <sys/stat.h>

struct map map_of_body(struct meta *meta, const struct fmt_inode *inode)
{
	return (struct map){
		.meta = meta,
		.owner = inode,
		.root = &inode->body,
		.inline_record = inode->record,
		.inline_capacity = FMT_BODY_RECORDS,
		.kind = (inode->mode & S_IFMT) == S_IFDIR ? FMT_KIND_ENTRIES : FMT_KIND_EXTENTS,
		.seed = fmt_owner_seed(inode->ino, inode->generation),
	};
}

struct map map_of_xattrs(struct meta *meta, const struct fmt_inode *inode)
{
	return (struct map){
		.meta = meta,
		.owner = inode,
		.root = &inode->xattrs,
		.inline_record = inode->xattr_record,
		.inline_capacity = 1,
		.kind = FMT_KIND_XATTRS,
		.seed = fmt_owner_seed(inode->ino, inode->generation),
	};
}

int map_node(const struct map *map, uint64_t page, unsigned level, struct fmt_node **ret_node)
{
	struct fmt_node *node = meta_page(map->meta, page);

	if (node == NULL || !fmt_node_valid(node, map->owner, map->kind, level))
		return -EUCLEAN;
	*ret_node = node;
	return 0;
}

const struct fmt_record *map_record(const struct map *map, const struct map_path *path)
{
	if (path->height == 0)
		return &map->inline_record[path->level[0].index];
	return &path->level[0].node->record[path->level[0].index];
}

/* ---- Finding ---- */

/* Index of the last of `count` records with a key of at most `key`; -1: none. */
static int record_search(const struct fmt_record *record, unsigned count, uint64_t key)
{
	unsigned low = 0, high = count;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (record[middle].key <= key)
			low = middle + 1;
		else
			high = middle;
	}
	return (int)low - 1;
}

static int child_of(const struct map *map, const struct map_path *path, unsigned level, uint64_t *ret_page)
{
	const struct fmt_record *record = &path->level[level].node->record[path->level[level].index];

	if (!fmt_record_valid(record, map->seed))
		return -EUCLEAN;
	*ret_page = record->value;
	return 0;
}

/* The place of `key`: the path to the last record at or below it; the index may be -1 in the lowest level. */
int map_descend(const struct map *map, uint64_t key, struct map_path *path)
{
	uint64_t page = map->root->root;
	int error;

	path->height = map->root->height;
	if (path->height == 0) {
		path->level[0].node = NULL;
		path->level[0].index = record_search(map->inline_record, map->root->count, key);
		return 0;
	}
	if (path->height > FMT_MAP_HEIGHT_MAX)
		return -EUCLEAN;
	for (unsigned level = path->height; level-- > 0;) {
		struct fmt_node *node;
		int index;

		error = map_node(map, page, level, &node);
		if (error != 0)
			return error;
		index = record_search(node->record, node->count, key);
		if (index < 0 && level > 0)
			index = 0;
		path->level[level].node = node;
		path->level[level].page = page;
		path->level[level].index = index;
		if (level > 0) {
			error = child_of(map, path, level, &page);
			if (error != 0)
				return error;
		}
	}
	return 0;
}

/* Moves the levels below `level` to the first (or last) records under it. */
static int descend_edge(const struct map *map, struct map_path *path, unsigned level, bool last)
{
	while (level > 0) {
		struct fmt_node *node;
		uint64_t page;
		int error = child_of(map, path, level, &page);

		if (error != 0)
			return error;
		level--;
		error = map_node(map, page, level, &node);
		if (error != 0)
			return error;
		path->level[level].node = node;
		path->level[level].page = page;
		path->level[level].index = last ? node->count - 1 : 0;
	}
	return 0;
}

static int check_record(const struct map *map, const struct map_path *path)
{
	return fmt_record_valid(map_record(map, path), map->seed) ? 0 : -EUCLEAN;
}

/*
 * The step from `path` to `moved`, if the record there is sound and on the right side. On damaged media, where a page
 * has two parents, a walk would come back to where it was: so it ends.
 */
static int take_step(const struct map *map, struct map_path *path, const struct map_path *moved, bool forward)
{
	struct map_path begin = *path;
	uint64_t from, to = map_record(map, moved)->key;
	int error = check_record(map, moved);

	/* Going back, it may stand before the first record of a node. */
	if (begin.level[0].index < 0)
		begin.level[0].index = 0;
	from = map_record(map, &begin)->key;
	if (error == 0 && (forward ? to <= from : to >= from))
		error = -EUCLEAN;
	if (error == 0)
		*path = *moved;
	return error;
}

int map_next(const struct map *map, struct map_path *path)
{
	struct map_path moved = *path;
	int error;

	if (path->height == 0) {
		if (path->level[0].index + 1 >= map->root->count)
			return -ENOENT;
		moved.level[0].index++;
		return take_step(map, path, &moved, true);
	}
	for (unsigned level = 0; level < path->height; level++) {
		if (moved.level[level].index + 1 >= moved.level[level].node->count)
			continue;
		moved.level[level].index++;
		error = descend_edge(map, &moved, level, false);
		return error != 0 ? error : take_step(map, path, &moved, true);
	}
	return -ENOENT;
}

int map_prev(const struct map *map, struct map_path *path)
{
	struct map_path moved = *path;
	int error;

	if (path->height == 0) {
		if (path->level[0].index <= 0)
			return -ENOENT;
		moved.level[0].index--;
		return take_step(map, path, &moved, false);
	}
	for (unsigned level = 0; level < path->height; level++) {
		if (moved.level[level].index <= 0)
			continue;
		moved.level[level].index--;
		error = descend_edge(map, &moved, level, true);
		return error != 0 ? error : take_step(map, path, &moved, false);
	}
	return -ENOENT;
}

int map_find(const struct map *map, uint64_t key, struct map_path *ret_path)
{
	struct map_path path;
	int error = map_descend(map, key, &path);

	if (error != 0)
		return error;
	if (path.level[0].index < 0) {
		/* A separator may be lower than its first key: then the record before is the last of another node. */
		error = map_prev(map, &path);
		if (error != 0)
			return error;
	} else {
		error = check_record(map, &path);
		if (error != 0)
			return error;
	}
	*ret_path = path;
	return 0;
}

int map_first(const struct map *map, struct map_path *ret_path)
{
	struct map_path path;
	int error = map_descend(map, 0, &path);

	if (error != 0)
		return error;
	if (path.level[0].index < 0)
		path.level[0].index = 0;
	if (path.height == 0 && map->root->count == 0)
		return -ENOENT;
	error = check_record(map, &path);
	if (error == 0)
		*ret_path = path;
	return error;
}
