/* Lists of media errors, and where they are in a file. Pure. */
#ifndef PINFS_DEVICE_MEDIA_H
#define PINFS_DEVICE_MEDIA_H

#include "device/device.h"

#define MEDIA_SECTOR 512u

struct media_range {
	uint64_t start; /* bytes of the device */
	uint64_t end;
};

struct media_list {
	struct media_range *range; /* in the order in which they were added */
	size_t count;
	size_t room;
};

/* Part of a file: bytes [offset, +length) of it are at `place` of the device. */
struct media_extent {
	uint64_t offset;
	uint64_t place;
	uint64_t length;
};

/* -ENOMEM; -ERANGE: no device is that large. */
int media_add(struct media_list *list, uint64_t sector, uint64_t sectors);
void media_fini(struct media_list *list);
/* A line of a `badblocks` file of /sys: first sector, number of sectors. -EINVAL: it is none. */
int media_add_line(struct media_list *list, const char *line);
/* What of the list is in the extent, as bytes of the file, cut to its `size`. What visit() returns ends it. */
int media_visit(const struct media_list *list, const struct media_extent *extent, uint64_t size, device_visit visit,
		void *arg);

#endif
