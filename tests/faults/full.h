/*
 * Space that has an end: the allocators say "full" at the N-th call (FAULT_BLOCKS, FAULT_PAGES), or there is really
 * nothing left but a few blocks or pages. What is free lives in memory only, so a pool is filled by taking it: the
 * trees that are compared do not see it.
 */
#ifndef PINFS_FAULTS_FULL_H
#define PINFS_FAULTS_FULL_H

#include <stdbool.h>

struct fs;

enum full {
	FULL_NOT,
	FULL_BLOCKS, /* `left` blocks are free, side by side */
	FULL_SCATTERED, /* the same, but no two of them side by side */
	FULL_PAGES, /* no inode slot, and `left` pages but the reserve */
};

/* False: there is not as much to leave. */
bool full_make(struct fs *fs, enum full full, unsigned left);
/* Gives all of it back. */
void full_end(void);
/* The filesystem was unmounted: there is nothing to give back. */
void full_forget(void);
/* Since full_make() somebody was told that there is not enough. */
bool full_was_met(void);

#endif
