/*
 * May a pin be granted? It waits for breaks that wait (rule 5), for pins that exclude it (rule 15), and for pins that
 * wait, came earlier, and will exclude it. The last makes pins that exclude each other first come, first served, so
 * that none starves; those that do not exclude each other pass.
 */
#include "pin/table.h"

#include <assert.h>
#include <errno.h>

/* True if the two pins, of two processes, cannot both be. */
static bool exclude(const struct pin_want *a, const struct pin_want *b)
{
	unsigned write = PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE;

	if (a->holder == b->holder || (a->process != 0 && a->process == b->process))
		return false;
	return ((a->flags & PIN_FLAG_EXCLUSIVE) != 0 && (b->flags & write) != 0) ||
	       ((b->flags & PIN_FLAG_EXCLUSIVE) != 0 && (a->flags & write) != 0);
}

bool pin_waits_behind(const struct pin_waiter *waiter, const struct pin_waiter *other)
{
	if (waiter == other || !pin_interval_overlaps(&other->range, waiter->want.first, waiter->want.last))
		return false;
	if (other->want.reason != 0)
		return other->number < waiter->parked;
	return other->number < waiter->number && exclude(&waiter->want, &other->want);
}

/* True if that waiter waits for a pin of the holder. */
static bool waits_for(struct pin_file *file, const struct pin_waiter *waiter, const struct pin_holder *holder)
{
	const struct pin_want *want = &waiter->want;

	if (atomic_load(&holder->blocking) == 0)
		return false;
	for (struct pin_interval *at = pin_interval_first(&file->pins, want->first, want->last); at != NULL;
	     at = pin_interval_next(at, want->first, want->last)) {
		struct pin *pin = pin_file_pin(at);

		if (pin->holder == holder && pin_counts_for(waiter, pin))
			return true;
	}
	return false;
}

/* What stands before a pin that asks. */
struct queue {
	uint64_t before; /* breaks that wait, and earlier pins that exclude it */
	bool deadlock; /* one of them waits for a pin of this holder */
};

static void add_before(struct pin_file *file, struct pin_intervals *tree, const struct pin_want *want,
		       const struct pin_waiter *waiter, struct queue *queue)
{
	/* It counts as parked now: all breaks there are come before it, and of pins those that came earlier. */
	const struct pin_waiter asking = {
		.want = *want,
		.number = waiter != NULL && waiter->state != PIN_WAITER_IDLE ? waiter->number : UINT64_MAX,
		.parked = UINT64_MAX,
	};

	for (struct pin_interval *at = pin_interval_first(tree, want->first, want->last); at != NULL;
	     at = pin_interval_next(at, want->first, want->last)) {
		const struct pin_waiter *other = pin_file_waiter(at);

		if (other == waiter || !pin_waits_behind(&asking, other))
			continue;
		queue->before++;
		queue->deadlock = queue->deadlock || waits_for(file, other, want->holder);
	}
}

/* The time is over, and only pins are in the way. */
static int decide(struct pin_shard *shard, struct pin_file *file, const struct pin_want *want,
		  const struct pin_waiter *waiter)
{
	if ((want->flags & PIN_FLAG_EXCLUSIVE) != 0 || !waiter->detach)
		return -EBUSY;
	pin_lose_exclusive(shard, file, want);
	return 0;
}

static int admit(struct pin_table *table, struct pin_shard *shard, struct pin_file *file, const struct pin_want *want,
		 struct pin_waiter *waiter)
{
	struct queue queue = {0};
	uint64_t pins;
	int error;

	add_before(file, &file->breaks, want, waiter, &queue);
	add_before(file, &file->writers, want, waiter, &queue);
	pins = pin_look(shard, file, want, false);
	if (queue.before == 0 && pins == 0)
		return 0;
	error = pin_may_wait(table, waiter, queue.before == 0);
	if (error == 0)
		return decide(shard, file, want, waiter);
	if (error != -EAGAIN || waiter == NULL)
		return error;
	if (queue.deadlock)
		return -EDEADLK;
	return pin_park(table, shard, file, waiter, want, pins, queue.before);
}

int pin_admit(struct pin_table *table, struct pin_holder *holder, uint64_t ino, uint64_t first, uint64_t last,
	      unsigned flags, struct pin_waiter *waiter)
{
	const struct pin_want want = {
		.flags = flags & (PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE),
		.process = holder->process,
		.holder = holder,
		.first = first,
		.last = last,
	};
	struct pin_shard *shard = pin_shard_lock(table, ino);
	struct pin_file *file = pin_file_find(shard, ino);
	int error = 0;

	assert(first < last);
	if (waiter != NULL) {
		pin_waiter_begin(waiter, ino);
		/* Before it is asked whether the holder is closed: then who closes it sees that it may wait here. */
		atomic_fetch_or(&holder->waited, 1ull << pin_shard_number(ino));
	}
	if (waiter != NULL && waiter->verdict == PIN_VERDICT_INTERRUPT)
		error = -EINTR;
	else if (atomic_load(&table->shutdown) || pin_holder_is_closed(holder))
		error = -ESHUTDOWN;
	else if (file != NULL)
		error = admit(table, shard, file, &want, waiter);
	if (error == 0 && file != NULL && want.flags != 0)
		pin_lose_exclusive(shard, file, &want); /* of holders that are ignored: they are not waited for */
	pin_file_put(shard, file);
	lock_mutex_drop(&shard->lock);
	return error;
}
