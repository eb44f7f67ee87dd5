#ifndef PINFS_CRASH_EARLY_H
#define PINFS_CRASH_EARLY_H

struct fs;

/* A fault made on purpose: blocks are somebody else's before the transaction that unmaps them has committed. */
void early_free(struct fs *fs);

#endif
