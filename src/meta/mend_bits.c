/*
 * One flipped bit in what lies under a checksum: of all bits, which one makes it right? CRC-32C tells all errors of up
 * to five bits in a record of 256 bytes apart, so a damage of a few bits is not taken for one of one; and a record that
 * is quite another thing is taken for such in one of two million. A bit is put back by one aligned store of 8 bytes.
 */
#include "base/arith.h"
#include "meta/map.h"
#include "meta/mend.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

struct bits {
	struct meta *meta;
	const struct mend_bits_visitor *visitor;
	const struct fmt_inode *inode; /* whose pages are read */
	uint64_t ino; /* its number, by its place */
	uint64_t pages_left; /* a map that goes in circles ends */
	/* How the record is judged that is tried. */
	unsigned kind, level, unit;
	uint32_t seed;
};

typedef bool valid(const struct bits *bits, const void *record);

/* True if the record verifies, at last. Only the first `length` bytes are tried, of a record of `size`. */
static bool mend(struct bits *bits, void *record, size_t size, size_t length, valid *is_valid, const char *invariant,
		 const char *what)
{
	uint64_t copy[FMT_BLOCK_SIZE / sizeof(uint64_t)];
	uint64_t *words = record;

	if (is_valid(bits, record))
		return true;
	memcpy(copy, record, size);
	for (size_t bit = 0; bit < length * 8; bit++) {
		copy[bit / 64] ^= 1ull << bit % 64;
		if (is_valid(bits, copy)) {
			words[bit / 64] = copy[bit / 64];
			pmemobj_persist(bits->meta->pop, &words[bit / 64], sizeof(*words));
			bits->visitor->told(bits->visitor->arg, invariant, bits->ino, what);
			return true;
		}
		copy[bit / 64] ^= 1ull << bit % 64;
	}
	return false;
}

static bool inode_valid(const struct bits *bits, const void *record)
{
	return fmt_inode_valid(record, bits->ino);
}

static bool record_valid(const struct bits *bits, const void *record)
{
	return fmt_record_valid(record, bits->seed);
}

static bool node_valid(const struct bits *bits, const void *record)
{
	return fmt_node_valid(record, bits->inode, bits->kind, bits->level);
}

static bool names_valid(const struct bits *bits, const void *record)
{
	return fmt_names_valid(record, bits->inode, bits->kind);
}

static bool name_valid(const struct bits *bits, const void *record)
{
	return fmt_name_at(record, bits->unit, bits->seed) != NULL;
}

static bool blob_valid(const struct bits *bits, const void *record)
{
	return fmt_blob_valid(record, bits->inode, bits->kind);
}

/* ---- Pages of an inode ---- */

static void *page_of(struct bits *bits, uint64_t number)
{
	if (bits->pages_left == 0)
		return NULL;
	bits->pages_left--;
	return meta_page(bits->meta, number);
}

static void mend_blobs(struct bits *bits, unsigned kind, uint64_t first)
{
	uint64_t number = first;

	while (number != 0) {
		struct fmt_blob *blob = page_of(bits, number);

		bits->kind = kind;
		if (blob == NULL || !mend(bits, blob, sizeof(*blob), sizeof(*blob), blob_valid,
					  kind == FMT_KIND_SYMLINK ? "I19" : "I20", "a page of a value"))
			return;
		number = blob->next;
	}
}

/* A name is tried with all of its page around it, for its place on it is judged too. */
static bool mend_name(struct bits *bits, struct fmt_names *page, unsigned unit)
{
	struct fmt_names copy = *page;
	uint64_t *from = (uint64_t *)copy.unit[unit], *to = (uint64_t *)page->unit[unit];
	size_t bits_max = min_u64(13, FMT_NAMES_UNITS - unit) * FMT_UNIT_SIZE * 8;

	bits->unit = unit;
	if (name_valid(bits, page))
		return true;
	for (size_t bit = 0; bit < bits_max; bit++) {
		from[bit / 64] ^= 1ull << bit % 64;
		if (name_valid(bits, &copy)) {
			to[bit / 64] = from[bit / 64];
			pmemobj_persist(bits->meta->pop, &to[bit / 64], sizeof(*to));
			bits->visitor->told(bits->visitor->arg, "I13", bits->ino, "a name");
			return true;
		}
		from[bit / 64] ^= 1ull << bit % 64;
	}
	return false;
}

static void mend_names(struct bits *bits, const struct map *map, uint64_t number)
{
	struct fmt_names *page = page_of(bits, number);

	bits->kind = map->kind;
	bits->seed = map->seed;
	if (page == NULL || !mend(bits, page, sizeof(*page), offsetof(struct fmt_names, unit), names_valid, "I13",
				  "the head of a page of names"))
		return;
	for (uint64_t left = page->start; left != 0; left &= left - 1) {
		unsigned unit = (unsigned)__builtin_ctzll(left);
		const struct fmt_name *name = (const struct fmt_name *)page->unit[unit];

		bits->kind = map->kind;
		if (mend_name(bits, page, unit) && map->kind == FMT_KIND_XATTRS && name->type == FMT_XATTR_BLOB)
			mend_blobs(bits, FMT_KIND_XATTRS, name->target);
	}
}

static void mend_node(struct bits *bits, const struct map *map, uint64_t number, unsigned level);

static void mend_record(struct bits *bits, const struct map *map, const struct fmt_record *record, unsigned level)
{
	bits->seed = map->seed;
	if (!mend(bits, (void *)(uintptr_t)record, sizeof(*record), sizeof(*record), record_valid, "I5",
		  "a record of a map"))
		return;
	if (level > 0)
		mend_node(bits, map, record->value, level - 1);
	else if (map->kind != FMT_KIND_EXTENTS)
		mend_names(bits, map, record->value);
}

static void mend_node(struct bits *bits, const struct map *map, uint64_t number, unsigned level)
{
	struct fmt_node *node = page_of(bits, number);

	bits->kind = map->kind;
	bits->level = level;
	if (node == NULL || !mend(bits, node, sizeof(*node), offsetof(struct fmt_node, record), node_valid, "I4",
				  "the head of a node of a map"))
		return;
	for (unsigned i = 0; i < node->count; i++)
		mend_record(bits, map, &node->record[i], level);
}

static void mend_map(struct bits *bits, const struct map *map)
{
	for (unsigned i = 0; i < map->root->count; i++)
		mend_record(bits, map, &map->inline_record[i], 0);
	if (map->root->height > 0)
		mend_node(bits, map, map->root->root, map->root->height - 1u);
}

/* ---- Inodes ---- */

/* In a slot that was never used, or is free again, only the magic is of meaning; an inode's has many bits set. */
static bool free_but_for_a_bit(const struct fmt_inode *slot)
{
	return __builtin_popcount(slot->magic) == 1;
}

static void mend_inode(struct bits *bits, struct fmt_inode *slot, uint64_t ino)
{
	bits->inode = slot;
	bits->ino = ino;
	bits->pages_left = bits->meta->super->groups * FMT_GROUP_FRAMES;
	if (!mend(bits, slot, sizeof(*slot), sizeof(*slot), inode_valid, "I3", "the record of the inode")) {
		if (free_but_for_a_bit(slot)) {
			slot->magic = 0;
			pmemobj_persist(bits->meta->pop, &slot->magic, sizeof(slot->magic));
			bits->visitor->told(bits->visitor->arg, "I3", ino, "a free slot");
		}
		return;
	}
	if (S_ISREG(slot->mode) || S_ISDIR(slot->mode)) {
		struct map body = map_of_body(bits->meta, slot);

		mend_map(bits, &body);
	} else if (S_ISLNK(slot->mode) && slot->size > FMT_SYMLINK_INLINE_MAX) {
		mend_blobs(bits, FMT_KIND_SYMLINK, slot->body.root);
	}
	if (slot->xattrs.count != 0 || slot->xattrs.height != 0) {
		struct map xattrs = map_of_xattrs(bits->meta, slot);

		mend_map(bits, &xattrs);
	}
}

int meta_mend_bits(struct meta *meta, const struct mend_bits_visitor *visitor)
{
	struct bits bits = {.meta = meta, .visitor = visitor};

	for (uint64_t group = 0; group < meta->super->groups; group++) {
		for (uint64_t frames = meta_group(meta, group)->inode_frames | 1; frames != 0; frames &= frames - 1) {
			unsigned frame = (unsigned)__builtin_ctzll(frames);
			struct fmt_inode *slots = meta_frame(meta, group, frame);

			for (unsigned i = frame == 0 ? 1 : 0; i < FMT_FRAME_SLOTS; i++) {
				if (fmt_inode_free(&slots[i]))
					continue;
				visitor->step(visitor->arg);
				mend_inode(&bits, &slots[i], fmt_ino(group, frame, i));
			}
		}
	}
	return 0;
}
