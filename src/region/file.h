/* Opened part files and devices: what the files of src/region share. */
#ifndef PINFS_REGION_FILE_H
#define PINFS_REGION_FILE_H

#include "region/region.h"

/* An open regular file or devdax node. */
struct region_file {
	int fd;
	bool devdax;
	uint64_t size; /* bytes; of a devdax node what can be mapped */
	uint64_t alignment; /* of lengths and offsets of mappings: 4096, or the devdax node's; a power of two */
};

/*
 * Opens `path` with open(2)'s `flags` (access mode, O_CREAT | O_EXCL) and learns what it is. Refuses all else than a
 * regular file or a devdax node (-EINVAL) and does not even open such. Words in `message`, except for -ENOENT.
 */
int region_file_open(const char *path, int flags, struct region_file *ret_file, struct message *message);
void region_file_close(struct region_file *file);

/* Takes flock(2), shared or not, until the file is closed. -EBUSY with the holder's pid in `message`. */
int region_file_lock(const struct region_file *file, bool shared, const char *path, struct message *message);

/*
 * Maps [offset, offset + length), both multiples of the alignment, at an address that allows huge pages. A regular file
 * is mapped with MAP_SYNC where its filesystem can; `ret_sync` tells, also true for devdax.
 */
int region_file_map(const struct region_file *file, uint64_t offset, size_t length, bool read_only,
		    unsigned char **ret_base, bool *ret_sync);
void region_file_unmap(unsigned char *base, size_t length);

enum region_durability region_file_durability(const unsigned char *base, size_t length, bool sync);

/* Reads or writes one 4 KiB block; a write is not durable before region_file_sync(). -EIO past the end. */
int region_file_read(const struct region_file *file, uint64_t block, void *buffer);
int region_file_write(const struct region_file *file, uint64_t block, const void *buffer);
int region_file_sync(const struct region_file *file);

/* Whole blocks of the file. */
static inline uint64_t region_file_blocks(const struct region_file *file)
{
	return file->size >> FMT_BLOCK_SHIFT;
}

/* probe.c: looks for headers and other content in an open file. */
int region_file_probe(const struct region_file *file, struct region_probe *ret_probe);

#endif
