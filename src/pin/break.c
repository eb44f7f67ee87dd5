/* Breaks: operations on a file's blocks, and the pins in their way. */
#include "pin/table.h"

#include <assert.h>
#include <errno.h>

/* Nothing that this break waits for is in the way, or its time is over and the policy is to detach. */
static void go_on(struct pin_shard *shard, struct pin_file *file, const struct pin_want *want)
{
	if (want->reason == PIN_WRITE)
		pin_lose_exclusive(shard, file, want);
}

static int look(struct pin_table *table, struct pin_shard *shard, struct pin_file *file, const struct pin_want *want,
		struct pin_waiter *waiter)
{
	uint64_t pins = pin_look(shard, file, want, true);
	int error = 0;

	if (pins > 0)
		error = pin_may_wait(table, waiter, true);
	if (error == -EAGAIN && waiter != NULL)
		return pin_park(table, shard, file, waiter, want, pins, 0);
	if (error == 0 && pins > 0 && !waiter->detach)
		error = -EBUSY;
	if (error == 0)
		go_on(shard, file, want);
	return error;
}

int pin_break(struct pin_table *table, uint64_t ino, uint64_t first, uint64_t last, enum pin_reason reason,
	      struct pin_waiter *waiter)
{
	const struct pin_want want = {
		.reason = reason,
		.process = waiter != NULL ? waiter->process : 0,
		.first = first,
		.last = last,
	};
	struct pin_shard *shard = pin_shard_lock(table, ino);
	struct pin_file *file = pin_file_find(shard, ino);
	int error = 0;

	assert(first < last && (reason == PIN_UNMAP || reason == PIN_WRITE));
	if (waiter != NULL)
		pin_waiter_begin(waiter, ino);
	if (waiter != NULL && waiter->verdict == PIN_VERDICT_INTERRUPT)
		error = -EINTR;
	else if (file != NULL)
		error = look(table, shard, file, &want, waiter);
	pin_file_put(shard, file);
	lock_mutex_drop(&shard->lock);
	return error;
}

bool pin_conflict(struct pin_table *table, uint64_t ino, uint64_t first, uint64_t last)
{
	struct pin_shard *shard = pin_shard_lock(table, ino);
	struct pin_file *file = pin_file_find(shard, ino);
	struct pin_interval *next;
	bool conflict = false;

	for (struct pin_interval *at = file != NULL ? pin_interval_first(&file->pins, first, last) : NULL; at != NULL;
	     at = next) {
		struct pin *pin = pin_file_pin(at);

		next = pin_interval_next(at, first, last);
		/* A tentative pin's own grant has the kernel write back what it holds. */
		if ((pin->flags & PIN_FLAG_EXCLUSIVE) == 0 || pin->state != PIN_HELD || !pin_is_live(pin, first, last))
			continue;
		if (pin_is_idle(pin) && wire_word_revoke(pin->word)) {
			pin_add(&table->revokes, 1);
			pin_end(shard, file, pin);
			continue;
		}
		pin_tell(pin, PIN_EVENT_CONFLICT, 0, first, last, 0);
		conflict = true;
	}
	pin_file_put(shard, file);
	lock_mutex_drop(&shard->lock);
	return conflict;
}
