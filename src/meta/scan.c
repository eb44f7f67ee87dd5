/*
 * The scan: reads groups, inodes, map nodes and extents once, verifies them, and so learns which pages and slots are
 * free. A page is in use exactly if an inode's maps or blobs reach it, once (I6).
 */
#include "meta/blob.h"
#include "meta/names.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

struct scan {
	struct meta *meta;
	const struct meta_visitor *visitor;
	struct message *message;
	const struct fmt_inode *inode; /* being read */
	uint64_t inodes;
};

/* Reports what contradicts the format. 0: go on without the damaged thing. */
static int damage(struct scan *scan, const char *invariant, uint64_t ino, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static int damage(struct scan *scan, const char *invariant, uint64_t ino, const char *format, ...)
{
	char what[256];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	if (scan->visitor != NULL && scan->visitor->damage != NULL)
		return scan->visitor->damage(scan->visitor->arg, invariant, ino, what);
	/* The rest of the pool does not depend on the ledger: who reads it is told (meta_ledger_visit()). */
	if (fmt_ino_is_ledger(ino)) {
		atomic_fetch_or(&scan->meta->ledger_damaged, 1u << (ino - FMT_INO_LEDGER));
		return 0;
	}
	if (ino == FMT_INO_NONE)
		message_set(scan->message, "%s: damaged (%s: %s); run `pinfs fsck`", scan->meta->path, invariant, what);
	else
		message_set(scan->message, "%s: damaged (%s: inode %llu: %s); run `pinfs fsck`", scan->meta->path,
			    invariant, (unsigned long long)ino, what);
	return -EUCLEAN;
}

/* Marks a page as in use. Returns 1 if it may be read, 0 if it must be left out. */
static int page_use(struct scan *scan, uint64_t page)
{
	uint64_t group = page / FMT_GROUP_FRAMES;
	uint64_t bit = 1ull << page % FMT_GROUP_FRAMES;
	int error;

	if (meta_page(scan->meta, page) == NULL || (scan->meta->state[group].inode_frames & bit) != 0)
		error = damage(scan, "I4", scan->inode->ino, "there is no page %llu", (unsigned long long)page);
	else if ((scan->meta->state[group].free_pages & bit) == 0)
		error = damage(scan, "I6", scan->inode->ino, "page %llu has two owners", (unsigned long long)page);
	else {
		scan->meta->state[group].free_pages &= ~bit;
		return 1;
	}
	return error;
}

static int use_blob_page(void *arg, uint64_t page)
{
	int error = page_use(arg, page);

	return error == 1 ? 0 : error == 0 ? -EUCLEAN : error;
}

static int scan_blob(struct scan *scan, unsigned kind, uint64_t first, size_t length, const char *invariant)
{
	int error = blob_pages(scan->meta, scan->inode, kind, first, length, use_blob_page, scan);

	if (error == -EUCLEAN)
		error = damage(scan, invariant, scan->inode->ino, "its pages of %s are damaged",
			       kind == FMT_KIND_SYMLINK ? "target" : "an extended attribute");
	return error;
}

/* A page of names: only those of xattrs are read, for their blobs. */
static int scan_names(struct scan *scan, const struct map *map, const struct fmt_record *record)
{
	const struct fmt_names *page = meta_page(map->meta, record->value);
	int error = page_use(scan, record->value);

	if (error != 1 || map->kind != FMT_KIND_XATTRS)
		return error < 0 ? error : 0;
	if (!fmt_names_valid(page, map->owner, map->kind))
		return damage(scan, "I13", map->owner->ino, "page of extended attributes is damaged");
	for (uint64_t left = page->start; left != 0; left &= left - 1) {
		const struct fmt_name *name = fmt_name_at(page, (unsigned)__builtin_ctzll(left), map->seed);

		if (name == NULL)
			error = damage(scan, "I13", map->owner->ino, "name of an extended attribute is damaged");
		else if (name->type == FMT_XATTR_BLOB && name->value_length > FMT_XATTR_VALUE_MAX)
			error = damage(scan, "I20", map->owner->ino, "value of an extended attribute is too long");
		else if (name->type == FMT_XATTR_BLOB)
			error = scan_blob(scan, FMT_KIND_XATTRS, name->target, name->value_length, "I20");
		else
			error = 0;
		if (error != 0)
			return error;
	}
	return 0;
}

static int scan_extent(struct scan *scan, const struct fmt_record *record)
{
	struct meta_extent extent = {
		.file_block = record->key,
		.phys = record->value,
		.length = record->length & ~FMT_EXTENT_UNWRITTEN,
		.unwritten = (record->length & FMT_EXTENT_UNWRITTEN) != 0,
	};

	if (fmt_ino_is_identity(scan->inode->ino) && (extent.file_block != extent.phys || extent.unwritten ||
						      !fmt_phys_run_possible(extent.phys, extent.length)))
		return damage(scan, "I23", scan->inode->ino, "extent at key %#llx is not of the blocks that it names",
			      (unsigned long long)extent.file_block);
	if (!fmt_ino_is_identity(scan->inode->ino) &&
	    (extent.length == 0 || extent.file_block > FMT_FILE_SIZE_MAX >> FMT_BLOCK_SHIFT))
		return damage(scan, "I9", scan->inode->ino, "extent at block %llu is impossible",
			      (unsigned long long)extent.file_block);
	if (scan->visitor == NULL || scan->visitor->extent == NULL)
		return 0;
	return scan->visitor->extent(scan->visitor->arg, scan->inode, &extent);
}

/* What the lowest level of a map must keep, from record to record. */
struct order {
	uint64_t next_key; /* the lowest key that may follow */
	uint64_t nodes;
	uint64_t blocks;
	bool first;
};

static int scan_record(struct scan *scan, const struct map *map, const struct fmt_record *record, struct order *order)
{
	uint32_t length = record->length & ~FMT_EXTENT_UNWRITTEN;

	if (!fmt_record_valid(record, map->seed))
		return damage(scan, "I5", map->owner->ino, "record of its map is damaged");
	if (!order->first && record->key < order->next_key)
		return damage(scan, map->kind == FMT_KIND_EXTENTS ? "I9" : "I4", map->owner->ino,
			      "records out of order at key %llu", (unsigned long long)record->key);
	order->first = false;
	order->next_key = record->key + (map->kind == FMT_KIND_EXTENTS ? length : 1);
	order->blocks += length;
	if (map->kind == FMT_KIND_EXTENTS)
		return scan_extent(scan, record);
	return scan_names(scan, map, record);
}

/* Where the keys of a node and of all below it must lie. */
struct bounds {
	uint64_t low;
	uint64_t high; /* inclusive */
};

static int scan_node(struct scan *scan, const struct map *map, uint64_t page, unsigned level, struct bounds bounds,
		     struct order *order);

/* A record of an inner node, verified, and what is below it. */
static int scan_child(struct scan *scan, const struct map *map, const struct fmt_node *node, unsigned i,
		      struct bounds bounds, struct order *order)
{
	const struct fmt_record *record = &node->record[i];

	if (!fmt_record_valid(record, map->seed))
		return damage(scan, "I5", map->owner->ino, "record of its map is damaged");
	if (i > 0)
		bounds.low = record->key;
	if (i + 1 < node->count) {
		if (record[1].key <= bounds.low || record[1].key > bounds.high)
			return damage(scan, "I4", map->owner->ino, "separators out of order");
		bounds.high = record[1].key - 1;
	}
	return scan_node(scan, map, record->value, node->level - 1u, bounds, order);
}

static int scan_node(struct scan *scan, const struct map *map, uint64_t page, unsigned level, struct bounds bounds,
		     struct order *order)
{
	struct fmt_node *node;
	int error;

	error = page_use(scan, page);
	if (error != 1)
		return error;
	order->nodes++;
	if (map_node(map, page, level, &node) != 0)
		return damage(scan, "I4", map->owner->ino, "node at page %llu is damaged", (unsigned long long)page);
	if (level == 0 && (node->record[0].key < bounds.low || node->record[node->count - 1].key > bounds.high))
		return damage(scan, "I4", map->owner->ino, "node at page %llu is in the wrong place",
			      (unsigned long long)page);
	error = 0;
	for (unsigned i = 0; error == 0 && i < node->count; i++)
		error = level == 0 ? scan_record(scan, map, &node->record[i], order)
				   : scan_child(scan, map, node, i, bounds, order);
	return error;
}

static int scan_map(struct scan *scan, const struct map *map, struct order *order)
{
	int error = 0;

	*order = (struct order){.first = true};
	if (map->root->height > 0)
		error = scan_node(scan, map, map->root->root, map->root->height - 1u, (struct bounds){0, UINT64_MAX},
				  order);
	for (unsigned i = 0; error == 0 && i < map->root->count; i++)
		error = scan_record(scan, map, &map->inline_record[i], order);
	if (error == 0 && order->nodes != map->root->pages)
		error = damage(scan, "I4", map->owner->ino, "map has %llu nodes, not %lu",
			       (unsigned long long)order->nodes, (unsigned long)map->root->pages);
	return error;
}

static int scan_inode(struct scan *scan, const struct fmt_inode *inode)
{
	struct map body = map_of_body(scan->meta, inode);
	struct map xattrs = map_of_xattrs(scan->meta, inode);
	struct order order;
	int error = 0;

	scan->inode = inode;
	scan->inodes++;
	if (scan->visitor != NULL && scan->visitor->inode != NULL)
		error = scan->visitor->inode(scan->visitor->arg, inode);
	if (error != 0)
		return error;
	if (fmt_ino_is_identity(inode->ino) && !S_ISREG(inode->mode)) {
		error = damage(scan, "I23", inode->ino, "is no map of blocks");
	} else if (S_ISREG(inode->mode) || S_ISDIR(inode->mode)) {
		error = scan_map(scan, &body, &order);
		if (error == 0 && S_ISREG(inode->mode) && order.blocks != inode->blocks)
			error = damage(scan, "I10", inode->ino, "counts %llu blocks and has %llu",
				       (unsigned long long)inode->blocks, (unsigned long long)order.blocks);
	} else if (S_ISLNK(inode->mode) && (inode->size == 0 || inode->size > FMT_SYMLINK_MAX)) {
		error = damage(scan, "I19", inode->ino, "symlink of %llu bytes", (unsigned long long)inode->size);
	} else if (S_ISLNK(inode->mode) && inode->size > FMT_SYMLINK_INLINE_MAX && inode->body.root != 0) {
		/* root 0: its blob has been stripped, the inode is on its way out. */
		error = scan_blob(scan, FMT_KIND_SYMLINK, inode->body.root, inode->size, "I19");
	} else if (S_ISLNK(inode->mode) && inode->size > FMT_SYMLINK_INLINE_MAX && inode->nlink > 0) {
		error = damage(scan, "I19", inode->ino, "symlink without its target");
	}
	return error != 0 ? error : scan_map(scan, &xattrs, &order);
}

/* First pass: headers, so that every page number can be judged in the second. */
static int scan_headers(struct scan *scan)
{
	struct meta *meta = scan->meta;

	for (uint64_t i = 0; i < meta->super->groups; i++) {
		const struct fmt_group *group = meta_group(meta, i);
		int error;

		meta->state[i].inode_frames = group->inode_frames | 1;
		meta->state[i].free_pages = ~meta->state[i].inode_frames;
		if (fmt_group_valid(group, meta->super->pool_uuid, i))
			continue;
		error = damage(scan, "I2", FMT_INO_NONE, "header of group %llu", (unsigned long long)i);
		if (error != 0)
			return error;
	}
	return 0;
}

static int scan_slot(struct scan *scan, uint64_t ino, uint16_t *free_slots)
{
	const struct fmt_inode *inode = meta_slot(scan->meta, ino);

	if (fmt_inode_valid(inode, ino))
		return scan_inode(scan, inode);
	if (!fmt_inode_free(inode))
		return damage(scan, "I3", ino, "its record is damaged");
	if (reserved_lost(scan->meta, ino))
		return damage(scan, "I3", ino, "an inode of the pool's own is not there any more");
	if (ino >= FMT_INO_FIRST_FREE)
		*free_slots |= (uint16_t)(1u << fmt_ino_slot(ino));
	return 0;
}

static int scan_frame(struct scan *scan, uint64_t group, unsigned frame)
{
	int error = 0;

	for (unsigned slot = frame == 0 ? 1 : 0; error == 0 && slot < FMT_FRAME_SLOTS; slot++)
		error = scan_slot(scan, fmt_ino(group, frame, slot), &scan->meta->state[group].slots[frame]);
	return error;
}

int meta_scan(struct meta *meta, const struct meta_visitor *visitor, struct message *message)
{
	struct scan scan = {.meta = meta, .visitor = visitor, .message = message};
	int error;

	assert(!meta->scanned);
	error = scan_headers(&scan);
	for (uint64_t group = 0; error == 0 && group < meta->super->groups; group++) {
		for (uint64_t frames = meta->state[group].inode_frames; error == 0 && frames != 0; frames &= frames - 1)
			error = scan_frame(&scan, group, (unsigned)__builtin_ctzll(frames));
	}
	if (error != 0)
		return error;
	/* A pool that is being made, or was made before there were these. */
	if (!meta->keep)
		scan.inodes += reserved_complete(meta);
	space_ready(meta);
	limbo_settle(meta);
	error = ledger_settle(meta);
	if (error != 0)
		return error;
	atomic_store(&meta->inodes_used, scan.inodes);
	meta->scanned = true;
	return 0;
}

/* ---- meta_inode_check(): the pages that the scan does not read ---- */

static int check_name(struct scan *scan, const struct map *map, const struct fmt_names *page, unsigned unit,
		      uint64_t low, uint64_t high)
{
	const struct fmt_name *name = fmt_name_at(page, unit, map->seed);

	if (name == NULL)
		return damage(scan, "I13", map->owner->ino, "a name at unit %u is damaged", unit);
	if ((name->key & ~FMT_KEY_UNIQUE_MASK) != names_hash(map->meta, (const char *)name->bytes, name->name_length))
		return damage(scan, "I13", map->owner->ino, "`%.*s` has the key of another name",
			      (int)name->name_length, (const char *)name->bytes);
	if (name->key < low || name->key >= high)
		return damage(scan, "I13", map->owner->ino, "`%.*s` is on the wrong page", (int)name->name_length,
			      (const char *)name->bytes);
	return 0;
}

static int check_names(struct scan *scan, const struct map *map)
{
	struct map_path path;
	uint64_t low = 0;
	int error;

	for (error = map_first(map, &path); error == 0;) {
		struct map_path next = path;
		struct fmt_names *page;
		uint64_t high;
		int end = map_next(map, &next);

		high = end == 0 ? map_record(map, &next)->key : UINT64_MAX;
		if (names_page(map, &path, &page) != 0)
			error = damage(scan, "I13", map->owner->ino, "a page of names is damaged");
		else
			for (uint64_t left = page->start; error == 0 && left != 0; left &= left - 1)
				error = check_name(scan, map, page, (unsigned)__builtin_ctzll(left), low, high);
		if (error == 0)
			error = end;
		low = high;
		path = next;
	}
	if (error == -EUCLEAN)
		return damage(scan, "I4", map->owner->ino, "map of its names is damaged");
	return error == -ENOENT ? 0 : error;
}

int meta_inode_check(struct meta *meta, const struct fmt_inode *inode, const struct meta_visitor *visitor)
{
	struct scan scan = {.meta = meta, .visitor = visitor, .inode = inode};
	struct map body = map_of_body(meta, inode);
	struct map xattrs = map_of_xattrs(meta, inode);
	int error = 0;

	if (S_ISDIR(inode->mode))
		error = check_names(&scan, &body);
	return error != 0 ? error : check_names(&scan, &xattrs);
}
