#include "two.h"

#include "same.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct worker {
	void (*body)(void *arg, unsigned thread);
	void *arg;
	unsigned number;
};

static bool active;
static unsigned turn, running;
static uint64_t chance;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static _Thread_local unsigned self;
static _Thread_local bool is_worker;

/* The function itself, of the library that comes next. */
#define REAL(NAME)                                                                                                     \
	__extension__({                                                                                                \
		static __typeof__(&NAME) real;                                                                         \
		if (real == NULL)                                                                                      \
			*(void **)&real = dlsym(RTLD_NEXT, #NAME);                                                     \
		real;                                                                                                  \
	})

unsigned two_self(void)
{
	return self;
}

/* Until it is this one's turn again, or the other has ended. */
static void change_over(void)
{
	(void)REAL(pthread_mutex_lock)(&lock);
	if (running == TWO_THREADS) {
		turn = 1 - self;
		pthread_cond_broadcast(&changed);
		while (turn != self)
			pthread_cond_wait(&changed, &lock);
	}
	pthread_mutex_unlock(&lock);
}

void two_yield(void)
{
	if (active && is_worker && (same_random(&chance) & 1) != 0)
		change_over();
}

/* ---- Locks ---- */

#define TAKE(TRY, TAKE_IT)                                                                                             \
	do {                                                                                                           \
		int error = EBUSY;                                                                                     \
                                                                                                                       \
		if (!active || !is_worker)                                                                             \
			return TAKE_IT;                                                                                \
		two_yield();                                                                                           \
		while (running == TWO_THREADS && (error = TRY) == EBUSY)                                               \
			change_over();                                                                                 \
		return error == EBUSY ? TAKE_IT : error;                                                               \
	} while (0)

int pthread_mutex_lock(pthread_mutex_t *mutex)
{
	TAKE(pthread_mutex_trylock(mutex), REAL(pthread_mutex_lock)(mutex));
}

int pthread_rwlock_rdlock(pthread_rwlock_t *rwlock)
{
	TAKE(pthread_rwlock_tryrdlock(rwlock), REAL(pthread_rwlock_rdlock)(rwlock));
}

int pthread_rwlock_wrlock(pthread_rwlock_t *rwlock)
{
	TAKE(pthread_rwlock_trywrlock(rwlock), REAL(pthread_rwlock_wrlock)(rwlock));
}

/* ---- The two ---- */

static void *work(void *arg)
{
	const struct worker *worker = arg;

	self = worker->number;
	(void)REAL(pthread_mutex_lock)(&lock);
	while (turn != self)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
	is_worker = true;
	worker->body(worker->arg, self);
	is_worker = false;
	(void)REAL(pthread_mutex_lock)(&lock);
	running--;
	turn = 1 - self;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	return NULL;
}

void two_run(void (*body)(void *arg, unsigned thread), void *arg, uint64_t seed)
{
	struct worker worker[TWO_THREADS];
	pthread_t thread[TWO_THREADS];

	chance = seed;
	turn = (unsigned)(same_random(&chance) % TWO_THREADS);
	running = TWO_THREADS;
	active = true;
	for (unsigned i = 0; i < TWO_THREADS; i++) {
		worker[i] = (struct worker){.body = body, .arg = arg, .number = i};
		if (pthread_create(&thread[i], NULL, work, &worker[i]) != 0) {
			perror("thread");
			_exit(3);
		}
	}
	for (unsigned i = 0; i < TWO_THREADS; i++)
		(void)pthread_join(thread[i], NULL);
	active = false;
}
