/* Files of a pool as a power cut leaves them: what was durable, and any choice of what was pending. */
#ifndef PINFS_CRASH_IMAGE_H
#define PINFS_CRASH_IMAGE_H

#include "shim.h"

#include <stdio.h>

#define IMAGE_PAGES_MAX 8192u

struct image_file {
	char path[160];
	size_t size;
	unsigned char *bytes; /* the file, mapped */
	unsigned char *durable; /* what is to be there without what is pending */
	unsigned char *touched; /* by page: bytes may differ from durable; shared with checkers */
};

struct image {
	struct image_file file[SHIM_FILES];
	uint64_t number; /* of what is durable */
};

/* The versions of one line. */
struct image_group {
	uint32_t file, line;
	uint32_t first, count; /* in `version` */
};

/* What is pending at a fence, line by line. */
struct image_fence {
	const struct shim_fence *fence;
	struct image_group *group;
	uint32_t groups;
	const struct shim_version **version;
};

int image_fence_read(const struct shim_trace *trace, uint32_t number, struct image_fence *ret_fence);
void image_fence_free(struct image_fence *fence);

/*
 * A choice: "none", "all", "+G" only line G, "-G" all but line G, "xHEX" lines by bits, "rN" by chance (any version,
 * or torn), "tN" likewise, all torn. Applied to the files. False: no such choice.
 */
bool image_choose(struct image *image, const struct image_fence *fence, const char *choice, uint64_t seed);
/* Takes back whatever was chosen, or was done to the files since. */
void image_restore(struct image *image);
/* What the fence makes durable. */
void image_advance(struct image *image, const struct image_fence *fence);
/* Of what is in the files now: equal images of a scenario have equal numbers. */
uint64_t image_number(const struct image *image);
/* What is in the files now is durable. */
void image_adopt(struct image *image);

#endif
