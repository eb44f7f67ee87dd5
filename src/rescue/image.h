/* A part of the pool, mapped for reading. What cannot be read is an error of that read. */
#ifndef PINFS_RESCUE_IMAGE_H
#define PINFS_RESCUE_IMAGE_H

#include "region/file.h"

struct image {
	struct region_file file;
	unsigned char *base;
	uint64_t size; /* bytes that are there */
	size_t mapped;
	struct undo *undo; /* of the meta part: what transactions that have not ended have changed; or NULL */
};

/* Opens and maps a file or devdax node, unless somebody else has it open (-EBUSY). -errno, words in `message`. */
int image_open(const char *path, struct image *ret_image, struct message *message);
void image_close(struct image *image);

/* Copies `length` bytes from `offset`. -EIO: some of them are not there, or lost; the buffer is then undefined. */
int image_read(const struct image *image, uint64_t offset, void *buffer, size_t length);

#endif
