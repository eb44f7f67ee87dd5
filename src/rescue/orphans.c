/*
 * Pages that no map reaches, because a node above them is damaged. That a page says whose it is does not prove that it
 * still is: it may have been freed by the last transaction before a power cut, or by a pinfs that did not void free
 * pages. So a node of extents is accepted only if everything fits: its keys lie in no other node, its blocks are
 * nobody's, and with all such nodes the file has exactly the blocks that its inode counts. A page of names is accepted;
 * names in it are doubtful, and only name what has no other name.
 */
#include "rescue/work.h"

#include "base/search.h"

#include <errno.h>
#include <stdlib.h>

static bool is_reached(const struct work *work, uint64_t page)
{
	return (work->reached[page / FMT_GROUP_FRAMES] >> page % FMT_GROUP_FRAMES & 1) != 0;
}

size_t orphans_begin(const struct work *work, uint64_t owner)
{
	return search_from(work->page, work->pages, sizeof(*work->page), offsetof(struct page_info, owner), owner);
}

static const struct page_info *accepted_from(const struct work *work, size_t index, uint64_t owner, uint32_t generation,
					     unsigned kind)
{
	for (; index < work->pages && work->page[index].owner == owner; index++) {
		const struct page_info *page = &work->page[index];

		if (page->accepted && page->generation == generation && page->kind == kind)
			return page;
	}
	return NULL;
}

const struct page_info *orphans_first(const struct work *work, uint64_t owner, uint32_t generation, unsigned kind)
{
	return accepted_from(work, orphans_begin(work, owner), owner, generation, kind);
}

const struct page_info *orphans_next(const struct work *work, const struct page_info *page)
{
	return accepted_from(work, (size_t)(page - work->page) + 1, page->owner, page->generation, page->kind);
}

/* ---- Extents ---- */

struct extent {
	uint64_t first, last; /* file blocks */
};

struct extents {
	struct extent *extent;
	size_t count, capacity;
	uint64_t blocks;
	bool taken; /* a block is somebody else's */
	bool collect_only; /* of the nodes that are reached: their blocks are claimed already */
};

static int extent_add(struct walk *walk, const struct fmt_record *record)
{
	struct extents *extents = walk->arg;
	uint32_t length = record->length & ~FMT_EXTENT_UNWRITTEN;

	if (extents->count == extents->capacity) {
		size_t capacity = extents->capacity == 0 ? 256 : extents->capacity * 2;
		void *grown = realloc(extents->extent, capacity * sizeof(*extents->extent));

		if (grown == NULL)
			return -ENOMEM;
		extents->extent = grown;
		extents->capacity = capacity;
	}
	extents->extent[extents->count++] = (struct extent){record->key, record->key + length - 1};
	extents->blocks += length;
	if (!extents->collect_only && claims_any(walk->work, record->value, length))
		extents->taken = true;
	return 0;
}

static void extent_gap(struct walk *walk, uint64_t low, uint64_t high)
{
	struct extents *extents = walk->arg;

	(void)low;
	(void)high;
	/* In a node that nothing vouches for, a damaged record is one doubt too many. */
	if (!extents->collect_only)
		extents->taken = true;
}

static int compare_extents(const void *a, const void *b)
{
	const struct extent *left = a, *right = b;

	return left->first < right->first ? -1 : left->first > right->first;
}

static bool overlap(struct extents *extents)
{
	if (extents->count > 0)
		qsort(extents->extent, extents->count, sizeof(*extents->extent), compare_extents);
	for (size_t i = 1; i < extents->count; i++) {
		if (extents->extent[i].first <= extents->extent[i - 1].last)
			return true;
	}
	return false;
}

static int claim_orphan(struct walk *walk, const struct fmt_record *record)
{
	claims_add(walk->work, walk->arg, record);
	if ((record->length & FMT_EXTENT_UNWRITTEN) == 0)
		walk->work->bytes_total += (uint64_t)record->length << FMT_BLOCK_SHIFT;
	return 0;
}

static bool is_candidate(const struct work *work, const struct page_info *page, uint32_t generation)
{
	return page->node && page->generation == generation && !is_reached(work, page->page);
}

/*
 * Adds the extents of all nodes that say that they are this inode's and that its map does not reach. They are marked as
 * accepted: by that candidates_settle() finds them, and it takes the mark away if they do not fit.
 */
static int candidates_add(struct walk *walk, size_t first, size_t *ret_count)
{
	struct work *work = walk->work;
	int error = 0;

	*ret_count = 0;
	for (size_t i = first; error == 0 && i < work->pages && work->page[i].owner == walk->inode->ino; i++) {
		work->page[i].accepted = is_candidate(work, &work->page[i], walk->inode->generation);
		if (!work->page[i].accepted)
			continue;
		(*ret_count)++;
		error = map_walk_page(walk, &work->page[i]);
	}
	return error;
}

static int candidates_settle(struct walk *walk, struct info *info, size_t first, bool sure)
{
	struct work *work = walk->work;
	int error = 0;

	for (size_t i = first; i < work->pages && work->page[i].owner == info->ino; i++)
		work->page[i].accepted = work->page[i].accepted && sure;
	walk->record = claim_orphan;
	walk->gap = NULL;
	walk->arg = info;
	for (const struct page_info *page = orphans_first(work, info->ino, walk->inode->generation, FMT_KIND_EXTENTS);
	     error == 0 && page != NULL; page = orphans_next(work, page))
		error = map_walk_page(walk, page);
	return error;
}

/* All that a file may have: what its map leads to, and nodes that call it their owner. */
struct gathering {
	struct extents extents;
	struct walk walk;
	size_t first; /* its pages in work->page */
	size_t candidates; /* nodes that the map does not reach */
};

/* `claimed`: what the map leads to has been claimed for the file before. */
static int gather(struct gathering *gathering, struct work *work, const struct fmt_inode *inode, bool claimed)
{
	int error;

	*gathering = (struct gathering){
		.extents.collect_only = claimed,
		.walk = {.work = work,
			 .inode = inode,
			 .kind = FMT_KIND_EXTENTS,
			 .record = extent_add,
			 .gap = extent_gap,
			 .arg = &gathering->extents},
		.first = orphans_begin(work, inode->ino),
	};
	error = map_walk(&gathering->walk);
	gathering->extents.collect_only = false;
	return error == 0 ? candidates_add(&gathering->walk, gathering->first, &gathering->candidates) : error;
}

/* All nodes of the file that are not reached, or none. */
static int settle_file(struct work *work, struct info *info, const struct fmt_inode *inode)
{
	struct gathering found;
	struct extents *extents = &found.extents;
	int error = gather(&found, work, inode, true);

	if (error == 0 && found.candidates > 0) {
		bool sure = !extents->taken && extents->blocks == inode->blocks && !overlap(extents);

		error = candidates_settle(&found.walk, info, found.first, sure);
		if (sure)
			info->flags &= ~INFO_BODY_LOST;
	}
	free(extents->extent);
	return error;
}

int orphans_salvage(struct work *work, struct info *info, struct fmt_inode *inode, bool *ret_found)
{
	struct gathering found;
	struct extents *extents = &found.extents;
	int error = gather(&found, work, inode, false);
	const bool counted = extents->blocks == inode->blocks;
	/* A slot may have records of old; nodes have a magic that says that they are in use. */
	const bool sure = error == 0 && !extents->taken && extents->count > 0 && (counted || inode->body.count == 0) &&
			  !overlap(extents);

	if (sure && !counted)
		inode->size = (extents->extent[extents->count - 1].last + 1) << FMT_BLOCK_SHIFT;
	if (error == 0)
		error = candidates_settle(&found.walk, info, found.first, sure);
	if (error == 0 && sure)
		error = map_walk(&found.walk);
	free(extents->extent);
	*ret_found = sure;
	return error;
}

/* ---- Names ---- */

/* Pages of names of an owner that is there, and misses some; or of one that is damaged. */
static void settle_names(struct work *work)
{
	for (size_t i = 0; i < work->pages; i++) {
		struct page_info *page = &work->page[i];
		const struct info *owner = inodes_find(work, page->owner);
		unsigned gap = page->kind == FMT_KIND_ENTRIES ? INFO_BODY_LOST : INFO_XATTRS_LOST;

		if (page->node || is_reached(work, page->page))
			continue;
		if (owner == NULL || (owner->flags & INFO_DAMAGED) != 0)
			page->accepted = page->kind == FMT_KIND_ENTRIES;
		else
			page->accepted = page->generation == owner->generation && (owner->flags & gap) != 0;
	}
}

int orphans_settle(struct work *work)
{
	int error = 0;

	settle_names(work);
	for (size_t i = 0; error == 0 && i < work->infos; i++) {
		struct info *info = &work->info[i];
		struct fmt_inode inode;

		if ((info->flags & (INFO_DAMAGED | INFO_BODY_LOST)) != INFO_BODY_LOST || !S_ISREG(info->mode) ||
		    inode_read(work, info->ino, &inode) != 0)
			continue;
		error = settle_file(work, info, &inode);
	}
	return error;
}
