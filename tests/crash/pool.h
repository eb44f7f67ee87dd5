/* The files of a small pool in a scratch folder, and an empty pool to begin each scenario with. */
#ifndef PINFS_CRASH_POOL_H
#define PINFS_CRASH_POOL_H

#include "image.h"

#include "base/log.h"

/* Makes the folder SCRATCH/pool-PID, and the pool; maps its files. Words in `why` (1 KiB). */
int pool_make(const char *scratch, struct image *image, char *why);
/* mkfs, in files that are there and hold nothing. */
int pool_format(const struct image *image, struct message *message);
void pool_remove(struct image *image);
/* As it was made. */
int pool_reset(struct image *image);
/* Memory that children share. */
unsigned char *pool_buffer(size_t size);

#endif
