/*
 * Locks with ranks. The table of ranks below is the lock order of pinfs: a thread may take a lock only if every lock
 * that it holds has a lower rank, or the same rank where a comment says in which order. Debug builds
 * (PINFS_LOCK_CHECK) keep a per-thread record of held ranks and abort on a violation.
 */
#ifndef PINFS_BASE_LOCK_H
#define PINFS_BASE_LOCK_H

#include <pthread.h>
#include <stdbool.h>

enum lock_rank {
	LOCK_MOUNT = 1, /* mount state: running, read-only, tearing down */
	LOCK_RENAME, /* one cross-directory rename at a time: the tree keeps its shape */
	LOCK_DIRECTORY, /* entries and attributes of a directory; several: ancestor first, else by inode number */
	LOCK_LAYOUT, /* a file's layout: I/O and pins shared, breaks exclusive; several: by inode number */
	LOCK_MAP, /* a file's extent map and attributes; several: by inode number */
	LOCK_REAP, /* who reaps dropped pins; ledger erase and limbo free happen under it */
	LOCK_LIMBO, /* the maps of blocks that no file owns and a pin still holds, and of lost blocks */
	LOCK_LEDGER, /* a shard of the pin ledger; one at a time */
	LOCK_INODES, /* a shard of the in-core inode table */
	LOCK_ALLOC, /* a data allocation group; one at a time */
	LOCK_META_SPACE, /* a shard of the meta part's free pages and inode slots; one at a time */
	LOCK_SESSION, /* a client session: is it open, which of its pins are there; one at a time */
	LOCK_PIN_FILE, /* pin table: pins and waiters of some files; one at a time. Dropping a pin takes it and what is
			  below */
	LOCK_PIN_COUNT, /* pin table: counts of some blocks; one at a time */
	LOCK_LEAF, /* a lock under which no other is taken */
};

struct lock_mutex {
	pthread_mutex_t mutex;
	enum lock_rank rank;
};

struct lock_rw {
	pthread_rwlock_t rwlock;
	enum lock_rank rank;
};

int lock_mutex_init(struct lock_mutex *lock, enum lock_rank rank);
void lock_mutex_fini(struct lock_mutex *lock);
void lock_mutex_take(struct lock_mutex *lock);
void lock_mutex_drop(struct lock_mutex *lock);

/* Of LOCK_LAYOUT and LOCK_MAP a thread takes no lock shared that it has already. */
int lock_rw_init(struct lock_rw *lock, enum lock_rank rank);
void lock_rw_fini(struct lock_rw *lock);
void lock_rw_take_shared(struct lock_rw *lock);
/* False: somebody has it exclusive, or waits for that. */
bool lock_rw_try_shared(struct lock_rw *lock);
void lock_rw_take_exclusive(struct lock_rw *lock);
void lock_rw_drop(struct lock_rw *lock);

/* For assert(): true if this thread holds a lock of that rank; always true where ranks are not recorded. */
bool lock_held(enum lock_rank rank);

#endif
