/*
 * The watcher: one thread that hears of deaths (pidfds) and looks at the clock, but only while something waits or a
 * holder is away.
 *
 * Whoever parks rings the bell if the clock is not being watched. No ring is lost: both sides exchange `ticking`, the
 * waiter after it was counted, the watcher before it reads the count. Whichever exchange comes second sees what the
 * other side did before the first.
 */
#include "fs/pinning.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define TICK (50 * FS_NS_PER_MS)
#define EVENTS 32

void fs_watch_bell(struct fs *fs)
{
	const uint64_t one = 1;
	ssize_t written;

	/* Fails only if it has rung 2^64 - 2 times and nobody has looked. */
	written = write(fs->pinning->bell, &one, sizeof(one));
	(void)written;
}

void fs_wait_parked(struct fs *fs)
{
	if (!atomic_exchange(&fs->pinning->ticking, true))
		fs_watch_bell(fs);
}

int fs_watch_holder(struct fs *fs, struct fs_holder *holder)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = holder->session};

	return epoll_ctl(fs->pinning->epoll, EPOLL_CTL_ADD, holder->pidfd, &event) == 0 ? 0 : -errno;
}

void fs_unwatch_holder(struct fs *fs, struct fs_holder *holder)
{
	lock_mutex_take(&holder->lock);
	/* -ENOENT if it is not watched, or no more. */
	if (holder->pidfd >= 0)
		(void)epoll_ctl(fs->pinning->epoll, EPOLL_CTL_DEL, holder->pidfd, NULL);
	lock_mutex_drop(&holder->lock);
}

static void bell_clear(struct fs *fs)
{
	uint64_t rings;
	ssize_t count;

	/* EAGAIN: it had not rung. */
	count = read(fs->pinning->bell, &rings, sizeof(rings));
	(void)count;
}

static void see_events(struct fs *fs, const struct epoll_event *events, int count)
{
	for (int i = 0; i < count; i++) {
		struct fs_holder *holder;

		if (events[i].data.u64 == 0) {
			bell_clear(fs);
			continue;
		}
		holder = fs_holder_find(fs, events[i].data.u64);
		if (holder == NULL)
			continue; /* ended since; its descriptor goes with the last reference */
		fs_holder_died(fs, holder);
		fs_holder_put(holder);
	}
}

/* Rule 10: what is dying and stuck behind the very break that waits for it. */
static void see_holder(void *arg, struct pin_holder *holder)
{
	pid_t process = pin_holder_process(holder);

	(void)arg;
	if (process != 0 && process_dying(process))
		pin_holder_set_ignored(holder, true);
}

/* True if the clock is still to be watched. */
static bool tick(struct fs *fs, uint64_t now)
{
	struct fs_pinning *pinning = fs->pinning;

	/* Holders that are visited are not freed meanwhile. */
	lock_mutex_take(&pinning->visiting);
	pin_tick(fs->pins, now, see_holder, NULL);
	lock_mutex_drop(&pinning->visiting);
	fs_upcalls_tick(fs, now);
	(void)atomic_exchange(&pinning->ticking, false);
	if (pin_waiting(fs->pins) == 0)
		return false;
	atomic_store(&pinning->ticking, true);
	return true;
}

static bool is_stopping(struct fs_pinning *pinning)
{
	bool stopping;

	lock_mutex_take(&pinning->lock);
	stopping = pinning->stopping;
	lock_mutex_drop(&pinning->lock);
	return stopping;
}

/* Milliseconds for epoll_wait(), rounded up; -1: for ever. */
static int timeout_ms(uint64_t now, uint64_t next)
{
	if (next == PIN_FOREVER)
		return -1;
	if (next <= now)
		return 0;
	return (int)min_u64((next - now + FS_NS_PER_MS - 1) / FS_NS_PER_MS, 1000000);
}

void *fs_watcher_thread(void *arg)
{
	struct fs *fs = arg;

	while (!is_stopping(fs->pinning)) {
		struct epoll_event events[EVENTS];
		uint64_t now = fs_monotonic();
		uint64_t next = fs_holders_tick(fs, now);
		int count;

		if (tick(fs, now))
			next = min_u64(next, now + TICK);
		count = epoll_wait(fs->pinning->epoll, events, EVENTS, timeout_ms(now, next));
		if (count > 0) {
			see_events(fs, events, count);
		} else if (count < 0 && errno != EINTR) {
			/* Cannot happen to an epoll of ours; without it nobody would hear of a death. */
			log_error("%s: waiting for the end of processes: %s", fs->meta_path, strerror(errno));
			return NULL;
		}
	}
	return NULL;
}
