/* Where in the meta part of the sound pool records lie that are in use and under a checksum of ours. */
#ifndef PINFS_TEST_CHECK_SEALED_H
#define PINFS_TEST_CHECK_SEALED_H

#include "check_pool.h"

/* Bytes under a checksum of ours, of records that are in use. */
struct sealed {
	size_t start[4096];
	size_t length[4096];
	size_t count;
};

static inline void seal(struct sealed *sealed, const struct image *image, const void *start, size_t length)
{
	assert_true(sealed->count < ARRAY_SIZE(sealed->start));
	sealed->start[sealed->count] = (size_t)((const unsigned char *)start - image->base);
	sealed->length[sealed->count++] = length;
}

static inline void seal_page(struct sealed *sealed, const struct image *image, const void *page)
{
	const struct fmt_names *names = page;
	const struct fmt_node *node = page;
	const struct fmt_blob *blob = page;

	if (node->magic == FMT_NODE_MAGIC) {
		seal(sealed, image, node, offsetof(struct fmt_node, record) + node->count * sizeof(node->record[0]));
	} else if (blob->magic == FMT_BLOB_MAGIC) {
		seal(sealed, image, blob, offsetof(struct fmt_blob, bytes) + blob->count);
	} else if (names->magic == FMT_NAMES_MAGIC) {
		seal(sealed, image, names, offsetof(struct fmt_names, unit));
		for (unsigned unit = 0; unit < FMT_NAMES_UNITS; unit++)
			if ((names->start >> unit & 1) != 0)
				seal(sealed, image, names->unit[unit],
				     fmt_name_bytes((struct fmt_name *)names->unit[unit], names->kind));
	}
}

/* Pages that an inode has left behind still look like pages: those of each inode are followed from its maps. */
static inline void seal_map(struct sealed *sealed, const struct image *image, uint64_t page, unsigned level, bool names)
{
	const struct fmt_node *node = image_page(image, page);

	seal_page(sealed, image, node);
	for (unsigned i = 0; i < node->count; i++) {
		if (level > 0)
			seal_map(sealed, image, node->record[i].value, level - 1, names);
		else if (names)
			seal_page(sealed, image, image_page(image, node->record[i].value));
	}
}

static inline void seal_inode(struct sealed *sealed, const struct image *image, const struct fmt_inode *inode)
{
	bool names = S_ISDIR(inode->mode);

	/* The magic too: one flipped bit does not make it 0, a free slot's. */
	seal(sealed, image, inode, sizeof(*inode));
	if (inode->body.height > 0)
		seal_map(sealed, image, inode->body.root, inode->body.height - 1u, names);
	for (unsigned i = 0; names && i < inode->body.count; i++)
		seal_page(sealed, image, image_page(image, inode->record[i].value));
	if (S_ISLNK(inode->mode) && inode->size > FMT_SYMLINK_INLINE_MAX)
		seal_page(sealed, image, image_page(image, inode->body.root));
	for (unsigned i = 0; i < inode->xattrs.count; i++)
		seal_page(sealed, image, image_page(image, inode->xattr_record[i].value));
}

static inline void find_sealed(struct sealed *sealed, const struct image *image)
{
	seal(sealed, image, image->super, offsetof(struct fmt_super, state));
	seal(sealed, image, image->super->needs, sizeof(*image->super) - offsetof(struct fmt_super, needs));
	for (uint64_t group = 0; group < image->super->groups; group++) {
		const struct fmt_group *header = (struct fmt_group *)image_frame(image, group, 0);

		seal(sealed, image, &header->magic, 48);
		for (unsigned at = 1; at < FMT_GROUP_FRAMES * FMT_FRAME_SLOTS; at++) {
			const struct fmt_inode *inode = image_inode(image, group << 10 | at);

			if ((header->inode_frames >> (at / FMT_FRAME_SLOTS) & 1) != 0 && !fmt_inode_free(inode))
				seal_inode(sealed, image, inode);
		}
	}
}

#endif
