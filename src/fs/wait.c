/*
 * Waiting without a thread: the pool that repeats operations, and what the kernel was asked.
 *
 *   operation --pin_break: -EINPROGRESS--> parked --the table's wake--> queued --a thread of the pool--> operation
 *   operation --fs_upcall_begin: 0-------> asked --done, clock or interrupt--^
 *
 * Whoever settles an upcall first queues its wait, once; the others find it settled. An operation waits for either the
 * table or the kernel, never for both.
 */
#include "fs/pinning.h"

#include "meta/memory.h"

#include <errno.h>
#include <stdlib.h>

#define IMPATIENCE (100 * FS_NS_PER_MS)

void fs_wait_init(struct fs *fs, struct fs_wait *wait, pid_t thread, void (*resume)(struct fs_wait *wait))
{
	struct fs_pin_policy policy;

	lock_mutex_take(&fs->pinning->lock);
	policy = fs->pinning->policy;
	lock_mutex_drop(&fs->pinning->lock);
	*wait = (struct fs_wait){.thread = thread, .resume = resume};
	pin_waiter_init(&wait->pin, policy.break_timeout, policy.break_detach, 0);
}

/* ---- The pool ---- */

void fs_resume(struct fs *fs, struct fs_wait *wait)
{
	struct fs_pinning *pinning = fs->pinning;

	lock_mutex_take(&pinning->lock);
	wait->next = NULL;
	if (pinning->resume_first == NULL)
		pinning->resume_first = wait;
	else
		pinning->resume_last->next = wait;
	pinning->resume_last = wait;
	pthread_cond_signal(&pinning->work);
	lock_mutex_drop(&pinning->lock);
}

/* Takes the oldest of one of the queues; false: none, and the pool is stopping, or the caller does not wait. */
static bool pool_take(struct fs_pinning *pinning, bool waits, struct fs_wait **ret_wait, struct fs_mend **ret_mend)
{
	struct fs_wait *wait;
	struct fs_mend *mend;

	lock_mutex_take(&pinning->lock);
	while (pinning->resume_first == NULL && pinning->mend_first == NULL && waits && !pinning->stopping)
		pthread_cond_wait(&pinning->work, &pinning->lock.mutex);
	wait = pinning->resume_first;
	if (wait != NULL)
		pinning->resume_first = wait->next;
	/* Somebody waits for the former, nobody for the latter. */
	mend = wait == NULL ? pinning->mend_first : NULL;
	if (mend != NULL)
		pinning->mend_first = mend->next;
	lock_mutex_drop(&pinning->lock);
	*ret_wait = wait;
	*ret_mend = mend;
	return wait != NULL || mend != NULL;
}

static void pool_run(struct fs *fs, bool waits)
{
	struct fs_wait *wait;
	struct fs_mend *mend;

	while (pool_take(fs->pinning, waits, &wait, &mend)) {
		if (wait != NULL)
			wait->resume(wait);
		/* Its errors are logged; the next mount does what it could not. */
		if (mend != NULL)
			(void)fs_mend_tail(fs, mend->ino);
		memory_give_back(mend);
	}
}

void *fs_pool_thread(void *fs)
{
	pool_run(fs, true);
	return NULL;
}

void fs_pool_drain(struct fs *fs)
{
	pool_run(fs, false);
}

/* ---- Upcalls ---- */

static void upcall_put(struct fs_upcall *upcall)
{
	if (atomic_fetch_sub(&upcall->refs, 1) == 1)
		free(upcall);
}

/* Ends the wait, if nobody has. The caller has a reference, and gives it up. */
static void upcall_settle(struct fs_upcall *upcall, int result)
{
	/* If it is not the first one, `wait` and `fs` may be gone. */
	if (!atomic_exchange(&upcall->settled, true)) {
		upcall->result = result;
		fs_resume(upcall->fs, upcall->wait);
	}
	upcall_put(upcall);
}

static void upcall_done(void *arg)
{
	upcall_settle(arg, 0);
}

/* -EINTR: the operation was interrupted before. */
static int upcall_enter(struct fs_pinning *pinning, struct fs_upcall *upcall)
{
	int error = 0;

	lock_mutex_take(&pinning->lock);
	if (upcall->wait->interrupted) {
		error = -EINTR;
	} else {
		upcall->wait->upcall = upcall;
		TAILQ_INSERT_TAIL(&pinning->upcalls, upcall, next);
	}
	lock_mutex_drop(&pinning->lock);
	return error;
}

int fs_upcall_begin(struct fs *fs, struct fs_wait *wait, uint64_t ino, uint64_t offset, uint64_t length, bool impatient)
{
	const struct fs_kernel *kernel = &fs->pinning->kernel;
	struct fs_upcall *upcall = malloc(sizeof(*upcall));
	int error;

	if (upcall == NULL)
		return -ENOMEM;
	*upcall =
		(struct fs_upcall){.fs = fs, .wait = wait, .ino = ino, .since = fs_monotonic(), .impatient = impatient};
	atomic_init(&upcall->refs, 2); /* the operation's, and done's */
	atomic_init(&upcall->settled, false);
	error = upcall_enter(fs->pinning, upcall);
	if (error != 0) {
		free(upcall);
		return error;
	}
	kernel->invalidate(kernel->arg, ino, offset, length, upcall_done, upcall);
	return 0;
}

int fs_upcall_end(struct fs *fs, struct fs_wait *wait)
{
	struct fs_upcall *upcall = wait->upcall;
	int result = upcall->result;

	lock_mutex_take(&fs->pinning->lock);
	TAILQ_REMOVE(&fs->pinning->upcalls, upcall, next);
	wait->upcall = NULL;
	lock_mutex_drop(&fs->pinning->lock);
	upcall_put(upcall);
	return result;
}

void fs_wait_interrupt(struct fs *fs, struct fs_wait *wait)
{
	struct fs_upcall *upcall;

	lock_mutex_take(&fs->pinning->lock);
	wait->interrupted = true;
	upcall = wait->upcall;
	if (upcall != NULL)
		atomic_fetch_add(&upcall->refs, 1);
	lock_mutex_drop(&fs->pinning->lock);
	/* In any case, and first: if the kernel has answered already the operation may yet come to wait for a pin. */
	pin_waiter_interrupt(fs->pins, &wait->pin);
	if (upcall != NULL)
		upcall_settle(upcall, -EINTR);
}

/* ---- Upcalls behind a break ---- */

static int pass_pin(void *arg, const struct pin_info *info)
{
	(void)arg;
	(void)info;
	return 0;
}

/* 1: a break waits. */
static int see_waiter(void *arg, const struct pin_wait_info *info)
{
	(void)arg;
	return info->reason != 0;
}

static bool break_waits(struct fs *fs, uint64_t ino)
{
	/* For want of memory: look again at the next tick. */
	return pin_visit(fs->pins, ino, pass_pin, see_waiter, NULL) == 1;
}

#define TICK_UPCALLS 64u /* looked at in one tick; the others in the next */

/* References to those that are not to wait any longer if a break does; each is asked for again after IMPATIENCE. */
static size_t upcalls_due(struct fs_pinning *pinning, uint64_t now, struct fs_upcall *due[TICK_UPCALLS])
{
	struct fs_upcall *upcall;
	size_t count = 0;

	lock_mutex_take(&pinning->lock);
	while (count < TICK_UPCALLS) {
		upcall = TAILQ_FIRST(&pinning->upcalls);
		if (upcall == NULL || upcall->since + IMPATIENCE > now)
			break;
		TAILQ_REMOVE(&pinning->upcalls, upcall, next);
		upcall->since = now;
		TAILQ_INSERT_TAIL(&pinning->upcalls, upcall, next);
		if (!upcall->impatient)
			continue;
		atomic_fetch_add(&upcall->refs, 1);
		due[count++] = upcall;
	}
	lock_mutex_drop(&pinning->lock);
	return count;
}

void fs_upcalls_tick(struct fs *fs, uint64_t now)
{
	struct fs_upcall *due[TICK_UPCALLS];
	size_t count = upcalls_due(fs->pinning, now, due);

	for (size_t i = 0; i < count; i++) {
		if (break_waits(fs, due[i]->ino))
			upcall_settle(due[i], -EAGAIN);
		else
			upcall_put(due[i]);
	}
}
