/* Unmounting with pins (rule 13): no new ones, holders are told, a bounded wait; what is left stays in the ledger. */
#include "fs/pinning.h"

#define DRAIN_INFINITE (30 * FS_NS_PER_S)

static struct timespec to_timespec(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / FS_NS_PER_S), .tv_nsec = (long)(ns % FS_NS_PER_S)};
}

uint64_t fs_pins_drain(struct fs *fs)
{
	struct fs_pinning *pinning = fs->pinning;
	struct timespec until;
	uint64_t deadline, left;
	int error = 0;

	lock_mutex_take(&pinning->lock);
	deadline = pinning->policy.break_timeout == PIN_FOREVER ? DRAIN_INFINITE : pinning->policy.break_timeout;
	lock_mutex_drop(&pinning->lock);
	if (add_overflows(deadline, fs_monotonic(), &deadline))
		deadline = INT64_MAX;
	until = to_timespec(deadline);
	atomic_store(&pinning->draining, true);
	pin_shutdown(fs->pins, deadline);
	lock_mutex_take(&pinning->lock);
	/* After a shutdown nothing can be reaped: no end of a pin would be seen. */
	while (pinning->live > 0 && !pinning->drain_ended && !fs_is_shut_down(fs) && error == 0)
		error = pthread_cond_timedwait(&pinning->drained, &pinning->lock.mutex, &until);
	left = pinning->live;
	lock_mutex_drop(&pinning->lock);
	return left;
}

void fs_pins_drain_end(struct fs *fs)
{
	lock_mutex_take(&fs->pinning->lock);
	fs->pinning->drain_ended = true;
	pthread_cond_broadcast(&fs->pinning->drained);
	lock_mutex_drop(&fs->pinning->lock);
}
