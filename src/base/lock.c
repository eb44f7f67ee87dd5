#include "base/lock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef PINFS_LOCK_CHECK
/* How many locks of each rank this thread holds. */
static _Thread_local unsigned held[LOCK_LEAF + 1];

static void record_take(enum lock_rank rank)
{
	for (int higher = (int)rank + 1; higher <= LOCK_LEAF; higher++) {
		if (held[higher] > 0) {
			fprintf(stderr, "pinfs: lock order: rank %d taken while rank %d is held\n", (int)rank, higher);
			abort();
		}
	}
	held[rank]++;
}

static void record_drop(enum lock_rank rank)
{
	if (held[rank] == 0) {
		fprintf(stderr, "pinfs: lock order: rank %d dropped by a thread that does not hold it\n", (int)rank);
		abort();
	}
	held[rank]--;
}

bool lock_held(enum lock_rank rank)
{
	return held[rank] > 0;
}
#else
static void record_take(enum lock_rank rank)
{
	(void)rank;
}

static void record_drop(enum lock_rank rank)
{
	(void)rank;
}

bool lock_held(enum lock_rank rank)
{
	(void)rank;
	return true;
}
#endif

/* A lock call can only fail on misuse (a destroyed lock, a deadlock with oneself): going on would corrupt data. */
static void must(int error, const char *what)
{
	if (error != 0) {
		errno = error;
		perror(what);
		abort();
	}
}

int lock_mutex_init(struct lock_mutex *lock, enum lock_rank rank)
{
	lock->rank = rank;
	return -pthread_mutex_init(&lock->mutex, NULL);
}

void lock_mutex_fini(struct lock_mutex *lock)
{
	must(pthread_mutex_destroy(&lock->mutex), "pinfs: pthread_mutex_destroy");
}

void lock_mutex_take(struct lock_mutex *lock)
{
	record_take(lock->rank);
	must(pthread_mutex_lock(&lock->mutex), "pinfs: pthread_mutex_lock");
}

void lock_mutex_drop(struct lock_mutex *lock)
{
	record_drop(lock->rank);
	must(pthread_mutex_unlock(&lock->mutex), "pinfs: pthread_mutex_unlock");
}

/*
 * Layout and map: whoever wants it exclusive (a truncate) gets it before those who come later want it shared, so that a
 * stream of reads cannot keep it waiting. So no thread may take one of them shared twice: it would wait for a writer
 * that waits for it.
 */
static bool prefers_writers(enum lock_rank rank)
{
	return rank == LOCK_LAYOUT || rank == LOCK_MAP;
}

int lock_rw_init(struct lock_rw *lock, enum lock_rank rank)
{
	pthread_rwlockattr_t attr;
	int error = pthread_rwlockattr_init(&attr);

	if (error != 0)
		return -error;
	lock->rank = rank;
	if (prefers_writers(rank))
		error = pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	if (error == 0)
		error = pthread_rwlock_init(&lock->rwlock, &attr);
	(void)pthread_rwlockattr_destroy(&attr);
	return -error;
}

void lock_rw_fini(struct lock_rw *lock)
{
	must(pthread_rwlock_destroy(&lock->rwlock), "pinfs: pthread_rwlock_destroy");
}

void lock_rw_take_shared(struct lock_rw *lock)
{
	record_take(lock->rank);
	must(pthread_rwlock_rdlock(&lock->rwlock), "pinfs: pthread_rwlock_rdlock");
}

bool lock_rw_try_shared(struct lock_rw *lock)
{
	int error = pthread_rwlock_tryrdlock(&lock->rwlock);

	if (error == EBUSY)
		return false;
	must(error, "pinfs: pthread_rwlock_tryrdlock");
	/* After it, unlike the others: what is not waited for closes no circle, but the record is to be true. */
	record_take(lock->rank);
	return true;
}

void lock_rw_take_exclusive(struct lock_rw *lock)
{
	record_take(lock->rank);
	must(pthread_rwlock_wrlock(&lock->rwlock), "pinfs: pthread_rwlock_wrlock");
}

void lock_rw_drop(struct lock_rw *lock)
{
	record_drop(lock->rank);
	must(pthread_rwlock_unlock(&lock->rwlock), "pinfs: pthread_rwlock_unlock");
}
