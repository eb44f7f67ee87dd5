/* Mending maps: all records that verify, whatever else is damaged; and a map written anew. */
#include "meta/map.h"
#include "meta/mend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct reading {
	const struct map *map;
	struct mend_map *found;
	uint64_t next_key; /* the lowest that may follow */
	uint64_t nodes_max; /* a map that goes in circles ends */
};

struct bounds {
	uint64_t low;
	uint64_t high; /* inclusive */
};

static int add(struct mend_map *found, const struct fmt_record *record)
{
	if (found->count == found->capacity) {
		size_t capacity = found->capacity == 0 ? 64 : 2 * found->capacity;
		struct fmt_record *bigger = reallocarray(found->record, capacity, sizeof(*bigger));

		if (bigger == NULL)
			return -ENOMEM;
		found->record = bigger;
		found->capacity = capacity;
	}
	found->record[found->count++] = *record;
	return 0;
}

/* The lowest key behind a record; extents end, pages of names do not. */
static uint64_t key_after(const struct map *map, const struct fmt_record *record)
{
	uint64_t length = map->kind == FMT_KIND_EXTENTS ? record->length & ~FMT_EXTENT_UNWRITTEN : 1;
	uint64_t end;

	if (length == 0)
		length = 1;
	return __builtin_add_overflow(record->key, length, &end) ? UINT64_MAX : end;
}

static int read_record(struct reading *reading, const struct fmt_record *record, struct bounds bounds)
{
	if (!fmt_record_valid(record, reading->map->seed) || record->key < reading->next_key ||
	    record->key < bounds.low || record->key > bounds.high) {
		reading->found->damaged = true;
		return 0;
	}
	reading->next_key = key_after(reading->map, record);
	return add(reading->found, record);
}

/* A node of the lowest level without a sound header: its records speak for themselves as long as they are in order. */
static int read_loose(struct reading *reading, const struct fmt_node *node, struct bounds bounds)
{
	struct mend_map *found = reading->found;
	uint64_t next_key = reading->next_key;
	size_t count = 0;

	if (found->loose_nodes++ > 0)
		return 0;
	for (; count < FMT_NODE_RECORDS; count++) {
		const struct fmt_record *record = &node->record[count];

		if (!fmt_record_valid(record, reading->map->seed) || record->key < next_key ||
		    record->key < bounds.low || record->key > bounds.high)
			break;
		next_key = key_after(reading->map, record);
	}
	if (count == 0)
		return 0;
	found->loose = calloc(count, sizeof(*found->loose));
	if (found->loose == NULL)
		return -ENOMEM;
	memcpy(found->loose, node->record, count * sizeof(*found->loose));
	found->loose_count = count;
	return 0;
}

static int read_node(struct reading *reading, uint64_t page, unsigned level, struct bounds bounds);

static int read_child(struct reading *reading, const struct fmt_node *node, unsigned i, struct bounds bounds)
{
	const struct fmt_record *record = &node->record[i];
	const uint32_t seed = reading->map->seed;

	if (!fmt_record_valid(record, seed)) {
		reading->found->damaged = true;
		return 0;
	}
	if (i > 0)
		bounds.low = record->key;
	if (i + 1 < node->count && fmt_record_valid(&record[1], seed)) {
		if (record[1].key <= bounds.low || record[1].key > bounds.high) {
			reading->found->damaged = true;
			return 0;
		}
		bounds.high = record[1].key - 1;
	}
	return read_node(reading, record->value, node->level - 1u, bounds);
}

static int read_node(struct reading *reading, uint64_t page, unsigned level, struct bounds bounds)
{
	struct fmt_node *node = NULL;
	int error = 0;

	if (reading->found->nodes >= reading->nodes_max) {
		reading->found->damaged = true;
		return 0;
	}
	reading->found->nodes++;
	if (map_node(reading->map, page, level, &node) != 0) {
		reading->found->damaged = true;
		node = meta_page(reading->map->meta, page);
		return level == 0 && node != NULL ? read_loose(reading, node, bounds) : 0;
	}
	for (unsigned i = 0; error == 0 && i < node->count; i++)
		error = level == 0 ? read_record(reading, &node->record[i], bounds)
				   : read_child(reading, node, i, bounds);
	return error;
}

static struct map map_of(struct meta *meta, const struct fmt_inode *inode, bool xattrs)
{
	return xattrs ? map_of_xattrs(meta, inode) : map_of_body(meta, inode);
}

int meta_mend_read_map(struct meta *meta, const struct fmt_inode *inode, bool xattrs, struct mend_map *ret_map)
{
	const struct map map = map_of(meta, inode, xattrs);
	struct mend_map found = {.record = NULL};
	struct reading reading = {.map = &map, .found = &found, .nodes_max = meta->super->groups * FMT_GROUP_FRAMES};
	const struct bounds all = {0, UINT64_MAX};
	int error = 0;

	if (map.root->height > 0)
		error = read_node(&reading, map.root->root, map.root->height - 1u, all);
	for (unsigned i = 0; error == 0 && i < map.root->count; i++)
		error = read_record(&reading, &map.inline_record[i], all);
	found.damaged = found.damaged || found.nodes != map.root->pages;
	if (error == 0)
		*ret_map = found;
	else
		meta_mend_free_map(&found);
	return error;
}

int meta_mend_read_node(struct meta *meta, const struct fmt_inode *inode, uint64_t page, struct mend_map *found)
{
	const struct map map = map_of_body(meta, inode);
	struct fmt_node *node;
	uint64_t next_key = 0;
	int error = map_node(&map, page, 0, &node);

	for (unsigned i = 0; error == 0 && i < node->count; i++) {
		if (!fmt_record_valid(&node->record[i], map.seed) || node->record[i].key < next_key)
			return -EUCLEAN;
		next_key = key_after(&map, &node->record[i]);
		error = add(found, &node->record[i]);
	}
	return error;
}

void meta_mend_free_map(struct mend_map *map)
{
	free(map->record);
	free(map->loose);
	*map = (struct mend_map){.record = NULL};
}

int meta_mend_write_map(struct meta_tx *tx, const struct fmt_inode *inode, bool xattrs, const struct fmt_record *record,
			size_t count)
{
	const struct map map = map_of(tx->meta, inode, xattrs);
	struct fmt_inode *edited;
	int error = meta_inode_edit(tx, inode, &edited);

	if (error != 0)
		return error;
	if (xattrs) {
		memset(&edited->xattrs, 0, sizeof(edited->xattrs));
		memset(edited->xattr_record, 0, sizeof(edited->xattr_record));
	} else {
		memset(&edited->body, 0, sizeof(edited->body));
		memset(edited->record, 0, sizeof(edited->record));
	}
	for (size_t i = 0; error == 0 && i < count; i++)
		error = map_insert(tx, &map, record[i].key, record[i].value, record[i].length);
	return error;
}
