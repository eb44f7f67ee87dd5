/*
 * A small pool as a target made it, and inputs as lists of patches on it: so an input is a few bytes, and stays good
 * when the format grows. Checksums of what was patched are refitted unless a patch says otherwise: else every input
 * would be refused at the first one.
 */
#ifndef PINFS_FUZZ_IMAGE_H
#define PINFS_FUZZ_IMAGE_H

#include "format/format.h"

/* What a patch changes: objects of the base pool, by kind, each with a number. */
enum image_kind {
	IMAGE_SUPER,
	IMAGE_GROUP,
	IMAGE_INODE, /* used slots */
	IMAGE_NODE, /* the header of a map node */
	IMAGE_RECORD, /* of nodes, and inline in inodes */
	IMAGE_NAMES, /* the header of a page of names */
	IMAGE_NAME, /* a name with its value: entries, xattrs, so parts, ACLs and the ledger, too */
	IMAGE_BLOB,
	IMAGE_PART, /* headers of the data part, and their copies */
	IMAGE_DATA, /* blocks of the data part */
	IMAGE_HEAP, /* what is libpmemobj's: headers, lanes, heap */
	IMAGE_KINDS,
};

#define PATCH_WIDTH 3u /* log2 of the bytes */
#define PATCH_ADD 4u /* to what is there */
#define PATCH_XOR 8u
#define PATCH_OBJECT 16u /* `value`: the number of an object of this kind, which is copied here whole */
#define PATCH_UNSEALED 128u /* checksums of this object stay as they are */

struct patch {
	uint8_t kind;
	uint8_t how;
	uint16_t index; /* of the object, modulo how many there are */
	uint32_t offset; /* in the object, modulo its size */
	uint64_t value;
};
static_assert(sizeof(struct patch) == 16, "inputs are arrays of it");
#define PATCHES_MAX 64u

struct image_object {
	uint32_t offset; /* in its file */
	uint32_t size;
	uint32_t whole; /* offset of the slot or page that it is part of: what is sealed */
	uint8_t file; /* 0 the meta part, 1 the data part */
	uint8_t kind; /* of what is sealed */
};

struct image {
	char folder[64];
	char path[2][96]; /* meta, data */
	unsigned char *base[2]; /* as made */
	unsigned char *bytes[2]; /* the files, mapped */
	size_t size[2];
	uint32_t super; /* offset */
	struct image_object *object[IMAGE_KINDS];
	size_t count[IMAGE_KINDS];
};

/* Makes the pool; ends the process if it cannot. Removed when the process exits. */
void image_make(struct image *image);
void image_reset(struct image *image);
/* True if something of libpmemobj's was changed. */
bool image_patch(struct image *image, const struct patch *patch, size_t count);

/* base.c: fills a mounted pool with one of each. */
void base_fill(const char *meta_path);

#endif
