/* A file's extents: records of its body map. */
#include "base/arith.h"
#include "meta/map.h"

#include <errno.h>

static uint32_t record_length(const struct fmt_record *record)
{
	return record->length & ~FMT_EXTENT_UNWRITTEN;
}

static uint64_t record_end(const struct fmt_record *record)
{
	return record->key + record_length(record);
}

static struct meta_extent to_extent(const struct fmt_record *record)
{
	return (struct meta_extent){
		.file_block = record->key,
		.phys = record->value,
		.length = record_length(record),
		.unwritten = (record->length & FMT_EXTENT_UNWRITTEN) != 0,
	};
}

static uint32_t to_length(uint32_t length, bool unwritten)
{
	return unwritten ? length | FMT_EXTENT_UNWRITTEN : length;
}

int meta_extent_find(struct meta *meta, const struct fmt_inode *file, uint64_t file_block,
		     struct meta_extent *ret_extent)
{
	struct map map = map_of_body(meta, file);
	struct map_path path;
	int error;

	error = map_find(&map, file_block, &path);
	if (error == -ENOENT)
		error = map_first(&map, &path);
	else if (error == 0 && record_end(map_record(&map, &path)) <= file_block)
		error = map_next(&map, &path);
	if (error == 0)
		*ret_extent = to_extent(map_record(&map, &path));
	return error;
}

/* True if `right` continues `left` in the file, in its part and in kind, and both fit one record. */
static bool continues(const struct fmt_record *left, const struct fmt_record *right)
{
	return record_end(left) == right->key && left->value + record_length(left) == right->value &&
	       fmt_phys_part(left->value) == fmt_phys_part(right->value) &&
	       ((left->length ^ right->length) & FMT_EXTENT_UNWRITTEN) == 0 &&
	       (uint64_t)record_length(left) + record_length(right) <= FMT_EXTENT_LENGTH_MAX;
}

/* `record` ends where the record at `next` begins: that one grows to the front. */
static int extend_front(struct meta_tx *tx, const struct map *map, const struct map_path *next,
			const struct fmt_record *record)
{
	const struct fmt_record right = *map_record(map, next);
	uint32_t length = record->length + record_length(&right);
	int error;

	/* A lower key at the start of a node could fall below its separator: let the insertion find its place. */
	if (next->height == 0 || next->level[0].index > 0)
		return map_update(tx, map, next, record->key, record->value, length);
	error = map_remove(tx, map, next);
	if (error != 0)
		return error;
	return map_insert(tx, map, record->key, record->value, length);
}

/* `left` takes on `joined`, which covers `right` too. */
static int join_both(struct meta_tx *tx, const struct map *map, const struct map_path *left,
		     const struct map_path *right, const struct fmt_record *joined)
{
	uint64_t right_key = map_record(map, right)->key;
	struct map_path path;
	int error;

	error = map_update(tx, map, left, joined->key, joined->value, joined->length);
	if (error == 0)
		error = map_find(map, right_key, &path);
	return error != 0 ? error : map_remove(tx, map, &path);
}

/* Adds a record that is a hole so far, joined with its neighbours. */
static int record_add(struct meta_tx *tx, const struct map *map, const struct fmt_record *record)
{
	struct map_path left, right;
	bool has_left, has_right;
	int error;

	error = map_find(map, record->key, &left);
	if (error != 0 && error != -ENOENT)
		return error;
	has_left = error == 0;
	if (has_left) {
		right = left;
		error = map_next(map, &right);
	} else {
		error = map_first(map, &right);
	}
	if (error != 0 && error != -ENOENT)
		return error;
	has_right = error == 0;
	if ((has_left && record_end(map_record(map, &left)) > record->key) ||
	    (has_right && map_record(map, &right)->key < record_end(record)))
		return -EUCLEAN;
	if (has_left && continues(map_record(map, &left), record)) {
		struct fmt_record joined = *map_record(map, &left);

		joined.length += record_length(record);
		if (has_right && continues(&joined, map_record(map, &right))) {
			joined.length += record_length(map_record(map, &right));
			return join_both(tx, map, &left, &right, &joined);
		}
		return map_update(tx, map, &left, joined.key, joined.value, joined.length);
	}
	if (has_right && continues(record, map_record(map, &right)))
		return extend_front(tx, map, &right, record);
	return map_insert(tx, map, record->key, record->value, record->length);
}

int meta_extent_insert(struct meta_tx *tx, const struct fmt_inode *file, const struct meta_extent *extent)
{
	struct map map = map_of_body(tx->meta, file);
	struct fmt_record record = {
		.key = extent->file_block,
		.value = extent->phys,
		.length = to_length(extent->length, extent->unwritten),
	};
	struct fmt_inode *inode;
	int error;

	if (extent->length == 0 || extent->length > FMT_EXTENT_LENGTH_MAX)
		return -EINVAL;
	error = meta_inode_edit(tx, file, &inode);
	if (error == 0)
		error = record_add(tx, &map, &record);
	if (error == 0)
		inode->blocks += extent->length;
	return error;
}

/* The record at `path` gets a higher key and keeps its end. */
static int trim_front(struct meta_tx *tx, const struct map *map, const struct map_path *path, uint64_t key,
		      uint64_t value, uint32_t length)
{
	int error;

	/* A higher key at the end of a node could pass the separator behind it: let the insertion find its place. */
	if (path->height == 0 || path->level[0].index + 1 < path->level[0].node->count)
		return map_update(tx, map, path, key, value, length);
	error = map_remove(tx, map, path);
	return error != 0 ? error : map_insert(tx, map, key, value, length);
}

/* Takes [start, end), which lies in the extent at `path`, out of it. */
static int record_cut(struct meta_tx *tx, const struct map *map, const struct map_path *path, uint64_t start,
		      uint64_t end)
{
	const struct fmt_record old = *map_record(map, path);
	uint64_t old_end = record_end(&old);
	uint32_t flag = old.length & FMT_EXTENT_UNWRITTEN;
	int error;

	if (start == old.key && end == old_end)
		return map_remove(tx, map, path);
	if (start == old.key)
		return trim_front(tx, map, path, end, old.value + (end - old.key), (uint32_t)(old_end - end) | flag);
	error = map_update(tx, map, path, old.key, old.value, (uint32_t)(start - old.key) | flag);
	if (error == 0 && end < old_end)
		error = map_insert(tx, map, end, old.value + (end - old.key), (uint32_t)(old_end - end) | flag);
	return error;
}

int meta_extent_remove_last(struct meta_tx *tx, const struct fmt_inode *file, uint64_t start, uint64_t end,
			    struct meta_extent *ret_removed)
{
	struct map map = map_of_body(tx->meta, file);
	struct meta_extent removed;
	struct fmt_inode *inode;
	struct map_path path;
	uint64_t last;
	int error;

	if (start >= end)
		return -ENOENT;
	error = map_find(&map, end - 1, &path);
	if (error != 0)
		return error;
	removed = to_extent(map_record(&map, &path));
	last = min_u64(end, removed.file_block + removed.length);
	if (last <= start)
		return -ENOENT;
	start = max_u64(start, removed.file_block);
	error = meta_inode_edit(tx, file, &inode);
	if (error == 0)
		error = record_cut(tx, &map, &path, start, last);
	if (error != 0)
		return error;
	removed.phys += start - removed.file_block;
	removed.file_block = start;
	removed.length = (uint32_t)(last - start);
	inode->blocks -= removed.length;
	*ret_removed = removed;
	return 0;
}

int meta_extent_mark(struct meta_tx *tx, const struct fmt_inode *file, uint64_t start, uint32_t length, bool unwritten)
{
	struct map map = map_of_body(tx->meta, file);
	struct fmt_record piece;
	struct fmt_record old;
	struct fmt_inode *inode;
	struct map_path path;
	int error;

	error = map_find(&map, start, &path);
	if (error != 0)
		return error == -ENOENT ? -EINVAL : error;
	old = *map_record(&map, &path);
	if (length == 0 || start + length > record_end(&old))
		return -EINVAL;
	if (((old.length & FMT_EXTENT_UNWRITTEN) != 0) == unwritten)
		return 0;
	piece.key = start;
	piece.value = old.value + (start - old.key);
	piece.length = to_length(length, unwritten);
	error = meta_inode_edit(tx, file, &inode);
	if (error == 0)
		error = record_cut(tx, &map, &path, start, start + length);
	if (error == 0)
		error = record_add(tx, &map, &piece);
	return error;
}
