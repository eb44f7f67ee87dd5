/* Uses all of a mounted filesystem, as the kernel and clients would: reads everything, then changes it. */
#ifndef PINFS_FUZZ_USE_H
#define PINFS_FUZZ_USE_H

#include "fs/fs.h"

/* -EUCLEAN or -EIO if any operation said so: the pool is damaged. */
int use_all(struct fs *fs);

#endif
