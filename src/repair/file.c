/*
 * The extents of one file, or of limbo or the bad blocks: what verifies and is possible stays; nodes that nothing
 * points to any more come back if the file's count of blocks says that they, and only they, are its own.
 */
#include "base/arith.h"
#include "repair/work.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BLOCKS_MAX ((uint64_t)FMT_FILE_SIZE_MAX / FMT_BLOCK_SIZE + 1)

struct file {
	struct work *work;
	const struct fmt_inode *inode;
	struct mend_map map;
	bool changed; /* the map is to be written */
	uint64_t dropped; /* extents */
	uint64_t cut; /* extents behind the end that become unwritten */
	uint64_t found; /* blocks that were lost and came back */
	uint64_t before; /* blocks, as the inode counted them */
};

static uint32_t length_of(const struct fmt_record *record)
{
	return record->length & ~FMT_EXTENT_UNWRITTEN;
}

static uint64_t sum_of(const struct fmt_record *record, size_t count)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += length_of(&record[i]);
	return sum;
}

/* I7, I9, I23: what such a record can be at all. */
static bool possible(const struct file *file, const struct fmt_record *record)
{
	uint32_t length = length_of(record);
	uint64_t end;

	if (length == 0 ||
	    (!file->work->parts_doubtful && !check_inside_part(&file->work->check, record->value, length)))
		return false;
	if (fmt_ino_is_identity(file->inode->ino))
		return record->key == record->value && length == record->length &&
		       fmt_phys_run_possible(record->value, length);
	return !add_overflows(record->key, length, &end) && end <= FILE_BLOCKS_MAX;
}

static void drop_impossible(struct file *file)
{
	struct mend_map *map = &file->map;
	size_t kept = 0;

	for (size_t i = 0; i < map->count; i++)
		if (possible(file, &map->record[i]))
			map->record[kept++] = map->record[i];
	file->dropped = map->count - kept;
	file->changed = file->changed || file->dropped > 0;
	map->count = kept;
}

/* ---- What was lost ---- */

static bool touches(const struct fmt_record *record, size_t count, uint64_t low, uint64_t high)
{
	for (size_t i = 0; i < count; i++)
		if (record[i].key <= high && record[i].key + length_of(&record[i]) > low)
			return true;
	return false;
}

/* Every extent is possible, and no block of it is anybody's: else these records are of earlier times. */
static bool all_free(const struct file *file, const struct fmt_record *record, size_t count)
{
	const struct check *check = &file->work->check;

	for (size_t i = 0; i < count; i++) {
		size_t at = check_extent_find(check, record[i].value);

		if (!possible(file, &record[i]))
			return false;
		if (at < check->extents && check->extent[at].phys < record[i].value + length_of(&record[i]))
			return false;
	}
	return true;
}

/* One unreached node, as an item to choose: false if it cannot be the file's. */
static bool item_of(const struct file *file, uint64_t page, struct repair_item *item)
{
	struct mend_map node = {.record = NULL};
	const struct fmt_record *last;
	bool usable = meta_mend_read_node(file->work->meta, file->inode, page, &node) == 0 && node.count > 0;

	if (usable) {
		last = &node.record[node.count - 1];
		item->low = node.record[0].key;
		item->high = last->key + length_of(last) - 1;
		item->weight = sum_of(node.record, node.count);
		usable = all_free(file, node.record, node.count) &&
			 !touches(file->map.record, file->map.count, item->low, item->high);
	}
	meta_mend_free_map(&node);
	return usable;
}

static int compare_records(const void *a, const void *b)
{
	const struct fmt_record *left = a, *right = b;

	return left->key < right->key ? -1 : left->key > right->key;
}

static bool is_taken(const struct repair_item *item, size_t count, const struct repair_item *same)
{
	for (size_t i = 0; i < count; i++)
		if (item[i].taken && item[i].low == same->low && item[i].high == same->high &&
		    item[i].weight == same->weight)
			return true;
	return false;
}

static bool is_leaf(const struct file *file, const struct mend_page *page)
{
	return page->owner == file->inode->ino && page->generation == file->inode->generation &&
	       page->magic == FMT_NODE_MAGIC && page->kind == FMT_KIND_EXTENTS && page->level == 0;
}

/* The chosen nodes' records join the map. Equal nodes have made the choice ambiguous before. */
static int take_nodes(struct file *file, const struct repair_item *item, size_t count)
{
	const struct repair_pages *pages = &file->work->pages;
	struct repair_item same = {.low = 0};
	int error = 0;

	for (size_t i = repair_pages_find(pages, file->inode->ino);
	     error == 0 && i < pages->count && pages->page[i].owner == file->inode->ino; i++)
		if (is_leaf(file, &pages->page[i]) && item_of(file, pages->page[i].page, &same) &&
		    is_taken(item, count, &same))
			error = meta_mend_read_node(file->work->meta, file->inode, pages->page[i].page, &file->map);
	qsort(file->map.record, file->map.count, sizeof(*file->map.record), compare_records);
	return error;
}

static int find_nodes(struct file *file, uint64_t missing)
{
	const struct repair_pages *pages = &file->work->pages;
	size_t first = repair_pages_find(pages, file->inode->ino), count = 0;
	struct repair_item *item;
	size_t i = first;
	int error = 0;

	while (i < pages->count && pages->page[i].owner == file->inode->ino)
		i++;
	item = calloc(i - first + 1, sizeof(*item));
	if (item == NULL)
		return -ENOMEM;
	for (i = first; i < pages->count && pages->page[i].owner == file->inode->ino; i++)
		if (is_leaf(file, &pages->page[i]) && item_of(file, pages->page[i].page, &item[count]))
			count++;
	if (repair_select(item, count, missing)) {
		error = take_nodes(file, item, count);
		file->found = missing;
		file->changed = true;
	}
	free(item);
	return error;
}

/* A node whose header is gone: so many of its records count that the file's blocks are complete. */
static int find_loose(struct file *file, uint64_t missing)
{
	struct mend_map *map = &file->map;
	struct fmt_record *all;
	size_t count = 0;

	while (count < map->loose_count && missing > 0 && length_of(&map->loose[count]) <= missing)
		missing -= length_of(&map->loose[count++]);
	if (missing != 0 || count == 0 || !all_free(file, map->loose, count))
		return 0;
	all = calloc(map->count + count, sizeof(*all));
	if (all == NULL)
		return -ENOMEM;
	if (map->count > 0)
		memcpy(all, map->record, map->count * sizeof(*all));
	memcpy(all + map->count, map->loose, count * sizeof(*all));
	free(map->record);
	map->record = all;
	map->count = map->capacity = map->count + count;
	qsort(all, map->count, sizeof(*all), compare_records);
	file->found = sum_of(map->loose, count);
	return 0;
}

static int find_lost(struct file *file)
{
	uint64_t have = sum_of(file->map.record, file->map.count);
	uint64_t missing = file->inode->blocks - have;

	if (file->inode->blocks <= have)
		return 0;
	if (file->map.loose_nodes == 1)
		return find_loose(file, missing);
	return file->map.loose_nodes == 0 ? find_nodes(file, missing) : 0;
}

/* ---- Behind the end (I11) ---- */

/*
 * The inode's checksum vouches for its size, so what lies behind it was not to be seen: it becomes unwritten, which is
 * allowed there, and stays where it is.
 */
static int cut_end(struct file *file)
{
	uint64_t end = file->inode->size / FMT_BLOCK_SIZE + (file->inode->size % FMT_BLOCK_SIZE != 0);
	struct mend_map *map = &file->map;
	struct fmt_record *all;
	size_t count = 0;

	if (fmt_ino_is_identity(file->inode->ino) || (file->inode->flags & FMT_INODE_INTENT) != 0)
		return 0;
	all = calloc(map->count + 1, sizeof(*all));
	if (all == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < map->count; i++) {
		struct fmt_record record = map->record[i];
		uint32_t before;

		if (record.length != length_of(&record) || record.key + record.length <= end) {
			all[count++] = record;
			continue;
		}
		file->cut++;
		before = record.key < end ? (uint32_t)(end - record.key) : 0;
		if (before > 0) /* only one extent can reach over the end */
			all[count++] = (struct fmt_record){.key = record.key, .value = record.value, .length = before};
		all[count++] = (struct fmt_record){
			.key = record.key + before,
			.value = record.value + before,
			.length = (record.length - before) | FMT_EXTENT_UNWRITTEN,
		};
	}
	free(map->record);
	map->record = all;
	map->count = count;
	map->capacity = map->count + 1;
	file->changed = file->changed || file->cut > 0;
	return 0;
}

/* ---- Writing ---- */

static int write_file(struct file *file, uint64_t blocks)
{
	struct fmt_inode *edited;
	struct meta_tx *tx;
	int error = repair_edit(file->work, file->inode->ino, &tx, &edited);

	if (error != 0)
		return error;
	if (file->changed)
		error = meta_mend_write_map(tx, file->inode, false, file->map.record, file->map.count);
	if (error == 0)
		edited->blocks = blocks;
	return repair_end(tx, error);
}

static const char *invariant_of(const struct file *file)
{
	if (fmt_ino_is_identity(file->inode->ino))
		return "I23";
	if (file->map.damaged)
		return "I4";
	if (file->dropped > 0)
		return "I9";
	return file->cut > 0 ? "I11" : "I10";
}

static void say(struct file *file, uint64_t blocks)
{
	struct work *work = file->work;
	uint64_t ino = file->inode->ino;

	if (file->map.damaged)
		repair_say(work, invariant_of(file), ino,
			   "map of its blocks written anew from what verifies: %lu of %lu blocks%s", blocks,
			   file->before,
			   file->found > 0 ? ", some found again by the owner that their pages name" : "");
	else if (file->dropped > 0)
		repair_say(work, invariant_of(file), ino, "%lu impossible extents taken out", file->dropped);
	else if (file->cut > 0)
		repair_say(work, invariant_of(file), ino, "%lu extents behind its end marked as unwritten", file->cut);
	else
		repair_say(work, invariant_of(file), ino, "count of blocks set to %lu, was %lu", blocks, file->before);
}

static int mend(struct file *file)
{
	uint64_t blocks;
	int error;

	file->changed = file->map.damaged;
	file->before = file->inode->blocks;
	error = find_lost(file);
	if (error != 0)
		return error;
	drop_impossible(file);
	error = cut_end(file);
	blocks = sum_of(file->map.record, file->map.count);
	if (error != 0 || (!file->changed && blocks == file->before))
		return error;
	error = write_file(file, blocks);
	if (error == 0)
		say(file, blocks);
	return error;
}

int repair_file(struct work *work, const struct fmt_inode *inode)
{
	struct file file = {.work = work, .inode = inode};
	int error = meta_mend_read_map(work->meta, inode, false, &file.map);

	if (error != 0)
		return error;
	error = mend(&file);
	meta_mend_free_map(&file.map);
	return error;
}
