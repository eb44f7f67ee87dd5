/*
 * The list of inodes and pages. Which frames hold inodes is in the group's header. Where that is damaged, each frame is
 * judged by what is in it: pages begin with their magic, and a frame of inodes was zeroed before it became one.
 */
#include "rescue/work.h"

#include "base/search.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

union frame {
	struct fmt_inode slot[FMT_FRAME_SLOTS];
	struct fmt_node node;
	struct fmt_names names;
	struct fmt_blob blob;
};

int inode_read(const struct work *work, uint64_t ino, struct fmt_inode *ret_inode)
{
	struct fmt_inode inode;
	uint64_t offset = pool_slot_offset(work, ino);

	if (offset == 0 || image_read(&work->meta, offset, &inode, sizeof(inode)) != 0)
		return -EIO;
	if (!fmt_inode_valid(&inode, ino))
		return -EUCLEAN;
	*ret_inode = inode;
	return 0;
}

/* ---- Collecting ---- */

static int info_add(struct work *work, const struct info *info)
{
	if (work->infos == work->infos_capacity) {
		size_t capacity = work->infos_capacity == 0 ? 1024 : work->infos_capacity * 2;
		void *grown = realloc(work->info, capacity * sizeof(*work->info));

		if (grown == NULL)
			return -ENOMEM;
		work->info = grown;
		work->infos_capacity = capacity;
	}
	work->info[work->infos++] = *info;
	return 0;
}

static int page_add(struct work *work, const struct page_info *page)
{
	if (work->pages == work->pages_capacity) {
		size_t capacity = work->pages_capacity == 0 ? 1024 : work->pages_capacity * 2;
		void *grown = realloc(work->page, capacity * sizeof(*work->page));

		if (grown == NULL)
			return -ENOMEM;
		work->page = grown;
		work->pages_capacity = capacity;
	}
	work->page[work->pages++] = *page;
	return 0;
}

static int read_slot(struct work *work, uint64_t ino)
{
	struct info info = {.ino = ino};
	struct fmt_inode inode;
	uint64_t offset = pool_slot_offset(work, ino);

	if (image_read(&work->meta, offset, &inode, sizeof(inode)) != 0) {
		info.flags = INFO_DAMAGED;
	} else if (fmt_inode_free(&inode)) {
		return 0;
	} else if (fmt_inode_valid(&inode, ino)) {
		info.generation = inode.generation;
		info.mode = inode.mode;
		info.nlink = inode.nlink;
	} else {
		info.flags = INFO_DAMAGED;
	}
	return info_add(work, &info);
}

static int read_slots(struct work *work, uint64_t group, unsigned frame)
{
	int error = 0;

	for (unsigned slot = frame == 0 ? 1 : 0; error == 0 && slot < FMT_FRAME_SLOTS; slot++)
		error = read_slot(work, fmt_ino(group, frame, slot));
	return error;
}

/* Pages that an owner may miss. `owner` is made up of what the page says, so that its own checksum is what counts. */
static int read_page(struct work *work, uint64_t page, const union frame *frame)
{
	struct fmt_inode owner = {.ino = frame->node.owner, .generation = frame->node.generation};
	struct page_info info = {.owner = owner.ino, .page = page, .generation = owner.generation};

	static_assert(offsetof(struct fmt_node, owner) == offsetof(struct fmt_names, owner) &&
			      offsetof(struct fmt_node, generation) == offsetof(struct fmt_names, generation) &&
			      offsetof(struct fmt_node, kind) == offsetof(struct fmt_names, kind),
		      "pages begin alike");
	info.kind = frame->node.kind;
	if (frame->node.kind == FMT_KIND_EXTENTS && fmt_node_valid(&frame->node, &owner, FMT_KIND_EXTENTS, 0))
		info.node = true;
	else if ((info.kind != FMT_KIND_ENTRIES && info.kind != FMT_KIND_XATTRS) ||
		 !fmt_names_valid(&frame->names, &owner, info.kind))
		return 0;
	return page_add(work, &info);
}

/* True if a frame of a group whose header is damaged holds inodes: one at least, and nothing that is none. */
static bool looks_like_inodes(const union frame *frame, uint64_t group, unsigned number)
{
	bool found = false;

	for (unsigned slot = 0; slot < FMT_FRAME_SLOTS; slot++) {
		const struct fmt_inode *inode = &frame->slot[slot];

		if (fmt_inode_free(inode))
			continue;
		if (!fmt_inode_valid(inode, fmt_ino(group, number, slot)))
			return false;
		found = true;
	}
	return found;
}

static int read_group(struct work *work, uint64_t number)
{
	const struct group *group = &work->group[number];
	union frame *frame;
	int error;

	frame = malloc(sizeof(*frame));
	if (frame == NULL)
		return -ENOMEM;
	error = read_slots(work, number, 0);
	for (unsigned i = 1; error == 0 && i < FMT_GROUP_FRAMES; i++) {
		bool inodes = group->sound && (group->inode_frames >> i & 1) != 0;
		bool readable = image_read(&work->meta, group->offset + (uint64_t)i * FMT_BLOCK_SIZE, frame,
					   sizeof(*frame)) == 0;

		if (inodes || (!group->sound && readable && looks_like_inodes(frame, number, i)))
			error = read_slots(work, number, i);
		else if (readable)
			error = read_page(work, number * FMT_GROUP_FRAMES + i, frame);
	}
	free(frame);
	return error;
}

static int compare_pages(const void *a, const void *b)
{
	const struct page_info *left = a, *right = b;

	if (left->owner != right->owner)
		return left->owner < right->owner ? -1 : 1;
	return left->page < right->page ? -1 : left->page > right->page;
}

int inodes_read(struct work *work)
{
	uint64_t unsound = 0;
	int error = 0;

	for (uint64_t i = 0; error == 0 && i < work->groups; i++) {
		rescue_progress(work, "reading inodes", i, work->groups);
		if (work->group[i].offset == 0)
			continue;
		unsound += !work->group[i].sound;
		error = read_group(work, i);
	}
	if (error != 0)
		return error;
	if (unsound > 0)
		rescue_lost(work, "headers of %llu groups are damaged: inodes in them are known by their looks",
			    (unsigned long long)unsound);
	if (work->pages > 0)
		qsort(work->page, work->pages, sizeof(*work->page), compare_pages);
	work->reached = calloc(work->groups + 1, sizeof(*work->reached));
	return work->reached == NULL ? -ENOMEM : 0;
}

void inodes_free(struct work *work)
{
	free(work->info);
	free(work->page);
	free(work->reached);
	free(work->group);
}

struct info *inodes_find(const struct work *work, uint64_t ino)
{
	/* Groups are read by number: the list is in order. */
	size_t at = search_from(work->info, work->infos, sizeof(*work->info), offsetof(struct info, ino), ino);

	return at < work->infos && work->info[at].ino == ino ? &work->info[at] : NULL;
}
