#include "ctl/user.h"

#include "base/arith.h"
#include "base/lock.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define CLOSERS_MAX 64u
#define CLOSERS_OF_USER 4u /* may be stuck with descriptors of one user */
#define STACK_BYTES (64u << 10)
#define DESTROY_SECONDS 2
#define STUCK_SECONDS 1

struct ctl_user {
	uid_t uid;
	UT_hash_handle hh;
	struct ctl_users *users;
	struct ctl_user_counts counts; /* loop thread */
	_Atomic uint64_t out;
	/* users->lock. */
	uint64_t refs;
	struct ctl_files files; /* to be closed */
	unsigned waiting; /* in files */
	unsigned closers; /* threads at its descriptors */
	time_t moved; /* CLOCK_MONOTONIC: when one was closed, or the first came to wait */
	bool listed; /* in users->closable */
	TAILQ_ENTRY(ctl_user) next;
};

struct ctl_users {
	struct lock_mutex lock; /* a leaf; protects all */
	pthread_cond_t work;
	pthread_cond_t ended;
	struct ctl_user *table;
	TAILQ_HEAD(, ctl_user) closable; /* with files, and not too many closers */
	uint64_t waiting;
	uint64_t closed; /* since the start */
	uint64_t closed_before; /* at the last tick */
	unsigned threads;
	unsigned idle;
	bool stopping;
	int bell;
};

/* ---- Users ---- */

int ctl_users_create(int bell, struct ctl_users **ret_users)
{
	struct ctl_users *users = calloc(1, sizeof(*users));
	pthread_condattr_t attr;
	int error;

	if (users == NULL)
		return -ENOMEM;
	error = lock_mutex_init(&users->lock, LOCK_LEAF);
	if (error != 0) {
		free(users);
		return error;
	}
	pthread_cond_init(&users->work, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&users->ended, &attr);
	pthread_condattr_destroy(&attr);
	TAILQ_INIT(&users->closable);
	users->bell = bell;
	*ret_users = users;
	return 0;
}

int ctl_user_get(struct ctl_users *users, uid_t uid, struct ctl_user **ret_user)
{
	struct ctl_user *user;

	lock_mutex_take(&users->lock);
	HASH_FIND(hh, users->table, &uid, sizeof(uid), user);
	if (user == NULL) {
		user = calloc(1, sizeof(*user));
		if (user != NULL) {
			user->uid = uid;
			user->users = users;
			STAILQ_INIT(&user->files);
			HASH_ADD(hh, users->table, uid, sizeof(user->uid), user);
			if (user->hh.tbl == NULL) {
				free(user);
				user = NULL;
			}
		}
	}
	if (user != NULL)
		user->refs++;
	lock_mutex_drop(&users->lock);
	if (user == NULL)
		return -ENOMEM;
	*ret_user = user;
	return 0;
}

static void put_locked(struct ctl_user *user)
{
	if (--user->refs > 0)
		return;
	HASH_DEL(user->users->table, user);
	free(user);
}

void ctl_user_put(struct ctl_user *user)
{
	struct ctl_users *users = user->users;

	lock_mutex_take(&users->lock);
	put_locked(user);
	lock_mutex_drop(&users->lock);
}

struct ctl_user_counts *ctl_user_counts(struct ctl_user *user)
{
	return &user->counts;
}

uint64_t ctl_user_out(struct ctl_user *user, int64_t change)
{
	return atomic_fetch_add(&user->out, (uint64_t)change) + (uint64_t)change;
}

unsigned ctl_user_closing(struct ctl_user *user)
{
	unsigned waiting;

	lock_mutex_take(&user->users->lock);
	waiting = user->waiting;
	lock_mutex_drop(&user->users->lock);
	return waiting;
}

static time_t seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

bool ctl_user_stuck(struct ctl_user *user)
{
	bool stuck;

	lock_mutex_take(&user->users->lock);
	stuck = user->waiting > CTL_USER_CLOSING_MAX &&
		(user->waiting > CTL_USER_CLOSING_LIMIT || seconds_now() - user->moved > STUCK_SECONDS);
	lock_mutex_drop(&user->users->lock);
	return stuck;
}

/* ---- Closing ---- */

/* Whether closers may take of this user has changed, perhaps. */
static void list_locked(struct ctl_user *user)
{
	bool closable = user->waiting > 0 && user->closers < CLOSERS_OF_USER;

	if (closable && !user->listed)
		TAILQ_INSERT_TAIL(&user->users->closable, user, next);
	else if (!closable && user->listed)
		TAILQ_REMOVE(&user->users->closable, user, next);
	user->listed = closable;
}

/* The next descriptor, of each user in turn; NULL: there is none, and it is enough of threads. Lock held. */
static struct ctl_file *take_locked(struct ctl_users *users)
{
	struct ctl_user *user;
	struct ctl_file *file;

	while (TAILQ_EMPTY(&users->closable)) {
		if (users->stopping || users->idle > 0)
			return NULL;
		users->idle++;
		pthread_cond_wait(&users->work, &users->lock.mutex);
		users->idle--;
	}
	user = TAILQ_FIRST(&users->closable);
	TAILQ_REMOVE(&users->closable, user, next);
	user->listed = false;
	file = STAILQ_FIRST(&user->files);
	STAILQ_REMOVE_HEAD(&user->files, next);
	user->waiting--;
	users->waiting--;
	user->closers++;
	list_locked(user);
	return file;
}

static void *closer(void *arg)
{
	struct ctl_users *users = arg;
	struct ctl_file *file;

	lock_mutex_take(&users->lock);
	while ((file = take_locked(users)) != NULL) {
		struct ctl_user *user = file->user;

		lock_mutex_drop(&users->lock);
		(void)close(file->fd);
		free(file);
		lock_mutex_take(&users->lock);
		user->closers--;
		user->moved = seconds_now();
		users->closed++;
		list_locked(user);
		put_locked(user);
	}
	users->threads--;
	pthread_cond_broadcast(&users->ended);
	lock_mutex_drop(&users->lock);
	return NULL;
}

/* It is tried again by the tick if there is no thread to be had. */
static void start_locked(struct ctl_users *users)
{
	pthread_attr_t attr;
	pthread_t thread;

	if (users->threads == CLOSERS_MAX || pthread_attr_init(&attr) != 0)
		return;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	if (pthread_create(&thread, &attr, closer, users) == 0)
		users->threads++;
	pthread_attr_destroy(&attr);
}

void ctl_file_set(struct ctl_file *file, int fd, struct ctl_user *user)
{
	file->fd = fd;
	file->user = user;
	lock_mutex_take(&user->users->lock);
	user->refs++;
	lock_mutex_drop(&user->users->lock);
}

void ctl_file_close(struct ctl_file *file)
{
	struct ctl_user *user = file->user;
	struct ctl_users *users = user->users;
	const uint64_t one = 1;

	lock_mutex_take(&users->lock);
	STAILQ_INSERT_TAIL(&user->files, file, next);
	if (user->waiting++ == 0)
		user->moved = seconds_now();
	users->waiting++;
	list_locked(user);
	if (users->idle > 0)
		pthread_cond_signal(&users->work);
	else if (users->threads == 0)
		start_locked(users);
	/* It may be stuck behind others: the tick is to look at them. */
	if (users->idle == 0 && users->waiting == 1)
		(void)!write(users->bell, &one, sizeof(one));
	lock_mutex_drop(&users->lock);
}

void ctl_users_tick(struct ctl_users *users)
{
	lock_mutex_take(&users->lock);
	if (!TAILQ_EMPTY(&users->closable) && users->closed == users->closed_before && users->idle == 0)
		start_locked(users);
	users->closed_before = users->closed;
	lock_mutex_drop(&users->lock);
}

bool ctl_users_closing(struct ctl_users *users)
{
	bool closing;

	lock_mutex_take(&users->lock);
	closing = users->waiting > 0;
	lock_mutex_drop(&users->lock);
	return closing;
}

/* Gives the closers time to end; what is left of them is stuck, and ends with the process. */
static bool all_ended(struct ctl_users *users)
{
	struct timespec end;
	int error = 0;
	bool ended;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += DESTROY_SECONDS;
	lock_mutex_take(&users->lock);
	users->stopping = true;
	pthread_cond_broadcast(&users->work);
	while (users->threads > 0 && error == 0)
		error = pthread_cond_timedwait(&users->ended, &users->lock.mutex, &end);
	ended = users->threads == 0;
	lock_mutex_drop(&users->lock);
	return ended;
}

void ctl_users_destroy(struct ctl_users *users)
{
	struct ctl_user *user, *next;

	if (!all_ended(users))
		return;
	/* Where no thread could be had at all, descriptors are left. */
	HASH_ITER(hh, users->table, user, next)
	{
		while (!STAILQ_EMPTY(&user->files)) {
			struct ctl_file *file = STAILQ_FIRST(&user->files);

			STAILQ_REMOVE_HEAD(&user->files, next);
			(void)close(file->fd);
			free(file);
		}
		HASH_DEL(users->table, user);
		free(user);
	}
	pthread_cond_destroy(&users->ended);
	pthread_cond_destroy(&users->work);
	lock_mutex_fini(&users->lock);
	free(users);
}
