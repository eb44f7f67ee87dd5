/* Files with pins or waiters, and which pin is in whose way. All under the lock of the file's shard. */
#include "pin/table.h"

#include "base/arith.h"

#include <assert.h>
#include <stdlib.h>

static int compare(const struct pin_file *a, const struct pin_file *b)
{
	return (a->ino > b->ino) - (a->ino < b->ino);
}

/* The macros make more functions than are used. */
RB_GENERATE_INTERNAL(pin_files, pin_file, link, compare, __attribute__((unused)) static)

struct pin_file *pin_file_find(struct pin_shard *shard, uint64_t ino)
{
	struct pin_file key = {.ino = ino};

	assert(lock_held(LOCK_PIN_FILE));
	return RB_FIND(pin_files, &shard->files, &key);
}

struct pin_file *pin_file_get(struct pin_shard *shard, uint64_t ino)
{
	struct pin_file *file = pin_file_find(shard, ino);

	if (file != NULL)
		return file;
	file = calloc(1, sizeof(*file));
	if (file == NULL)
		return NULL;
	file->ino = ino;
	RB_INSERT(pin_files, &shard->files, file);
	return file;
}

void pin_file_put(struct pin_shard *shard, struct pin_file *file)
{
	if (file == NULL || file->pin_count > 0 || file->waiter_count > 0)
		return;
	RB_REMOVE(pin_files, &shard->files, file);
	free(file);
}

struct pin_file *pin_file_after(struct pin_shard *shard, uint64_t ino)
{
	struct pin_file key = {.ino = ino + 1};

	return ino == UINT64_MAX ? NULL : RB_NFIND(pin_files, &shard->files, &key);
}

struct pin *pin_file_pin(struct pin_interval *interval)
{
	return interval != NULL ? CONTAINER_OF(interval, struct pin, range) : NULL;
}

struct pin_waiter *pin_file_waiter(struct pin_interval *interval)
{
	return interval != NULL ? CONTAINER_OF(interval, struct pin_waiter, range) : NULL;
}

/* Rule 15: somebody else is another process; who is not known is somebody else. */
static bool is_other(const struct pin_want *want, const struct pin *pin)
{
	return want->holder != pin->holder && (want->process == 0 || want->process != pin->process);
}

static bool concerns(const struct pin_want *want, const struct pin *pin)
{
	if (want->reason == PIN_UNMAP)
		return true;
	if (want->reason == PIN_WRITE || (want->flags & (PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE)) == PIN_FLAG_WRITE)
		return (pin->flags & PIN_FLAG_EXCLUSIVE) != 0 && is_other(want, pin);
	if ((want->flags & PIN_FLAG_EXCLUSIVE) != 0)
		return (pin->flags & PIN_FLAG_WRITE) != 0 && is_other(want, pin);
	return false; /* a pin for reading */
}

bool pin_in_way(const struct pin_want *want, struct pin *pin)
{
	return concerns(want, pin) && !pin->ignored && pin_interval_overlaps(&pin->range, want->first, want->last) &&
	       pin_is_live(pin, want->first, want->last);
}

bool pin_counts_for(const struct pin_waiter *waiter, struct pin *pin)
{
	return waiter->state == PIN_WAITER_WAITING && !waiter->expired && pin->born < waiter->parked &&
	       pin_in_way(&waiter->want, pin);
}

/* The waiters of the tree that count the pin count `by` pins more. */
static void count_in(struct pin_intervals *tree, struct pin *pin, int by)
{
	uint64_t first = pin->range.first, last = pin->range.last;

	for (struct pin_interval *at = pin_interval_first(tree, first, last); at != NULL;
	     at = pin_interval_next(at, first, last)) {
		struct pin_waiter *waiter = pin_file_waiter(at);

		if (!pin_counts_for(waiter, pin))
			continue;
		assert(by > 0 || waiter->conflicts > 0);
		waiter->conflicts += (uint64_t)(int64_t)by;
		pin_add(&pin->holder->blocking, (uint64_t)(int64_t)by);
	}
}

void pin_uncount(struct pin_file *file, struct pin *pin)
{
	count_in(&file->breaks, pin, -1);
	count_in(&file->writers, pin, -1);
}

void pin_recount(struct pin_file *file, struct pin *pin)
{
	count_in(&file->breaks, pin, 1);
	count_in(&file->writers, pin, 1);
}

static uint64_t to_bytes(uint64_t blocks)
{
	return blocks > UINT64_MAX >> PIN_BLOCK_SHIFT ? UINT64_MAX : blocks << PIN_BLOCK_SHIFT;
}

void pin_tell(struct pin *pin, enum pin_event_kind kind, enum pin_reason reason, uint64_t first, uint64_t last,
	      uint64_t deadline)
{
	uint64_t from = max_u64(to_bytes(first), pin->offset);
	uint64_t to = min_u64(to_bytes(last), pin->offset + pin->length);
	const struct pin_event event = {
		.kind = kind,
		.reason = reason,
		.pin = pin->id,
		.ino = pin->ino,
		.offset = from,
		.length = to - from,
		.deadline = deadline,
	};

	if (pin->state == PIN_HELD && to > from) /* of a tentative pin the client has not heard yet */
		pin_holder_tell(pin->holder, &event);
}

/* True if any waiter of the tree waits for it. */
static bool recall_in(struct pin_shard *shard, struct pin_intervals *tree, struct pin *pin)
{
	uint64_t first = pin->range.first, last = pin->range.last;
	bool wanted = false;

	for (struct pin_interval *at = pin_interval_first(tree, first, last); at != NULL;
	     at = pin_interval_next(at, first, last)) {
		struct pin_waiter *waiter = pin_file_waiter(at);

		if (!pin_counts_for(waiter, pin))
			continue;
		pin_tell(pin, PIN_EVENT_RECALL, waiter->want.reason == PIN_UNMAP ? PIN_UNMAP : PIN_WRITE,
			 waiter->want.first, waiter->want.last, waiter->deadline);
		waiter->recalled = ++shard->clock;
		wanted = true;
	}
	return wanted;
}

/* True if it was idle: it is gone. Else its client knows now that it is wanted. */
static bool revoke(struct pin_shard *shard, struct pin_file *file, struct pin *pin)
{
	if (pin->word == NULL || !wire_word_revoke(pin->word))
		return false;
	pin_add(&pin->table->revokes, 1);
	pin_end(shard, file, pin);
	return true;
}

void pin_recall_known(struct pin_shard *shard, struct pin_file *file, struct pin *pin)
{
	bool by_break, by_pin;

	pin->known = ++shard->clock;
	by_break = recall_in(shard, &file->breaks, pin);
	by_pin = recall_in(shard, &file->writers, pin);
	/* Those who wait could not ask for the bell when they looked: it was tentative, or ignored. */
	if (by_break || by_pin)
		(void)revoke(shard, file, pin);
}

uint64_t pin_look(struct pin_shard *shard, struct pin_file *file, const struct pin_want *want, bool tentative)
{
	struct pin_interval *next;
	uint64_t left = 0;

	for (struct pin_interval *at = pin_interval_first(&file->pins, want->first, want->last); at != NULL;
	     at = next) {
		struct pin *pin = pin_file_pin(at);

		next = pin_interval_next(at, want->first, want->last); /* the pin may go */
		if (pin->state == PIN_TENTATIVE && tentative && concerns(want, pin))
			pin_end(shard, file, pin);
		else if (!pin_in_way(want, pin))
			continue;
		else if (pin->state != PIN_HELD || !revoke(shard, file, pin))
			left++;
	}
	return left;
}

static void lose_exclusive(struct pin_file *file, struct pin *pin)
{
	struct pin_table *table = pin->table;

	pin_uncount(file, pin);
	pin->flags &= ~PIN_FLAG_EXCLUSIVE;
	pin_recount(file, pin);
	atomic_fetch_sub(&table->exclusive, 1);
	pin_add(&table->detaches, 1);
	pin_tell(pin, PIN_EVENT_DETACHED, PIN_WRITE, pin->range.first, pin->range.last, 0);
	pin_wake_free(table, file, pin->range.first, pin->range.last);
}

void pin_lose_exclusive(struct pin_shard *shard, struct pin_file *file, const struct pin_want *want)
{
	struct pin_interval *next;

	for (struct pin_interval *at = pin_interval_first(&file->pins, want->first, want->last); at != NULL;
	     at = next) {
		struct pin *pin = pin_file_pin(at);

		next = pin_interval_next(at, want->first, want->last); /* the pin may go */
		if ((pin->flags & PIN_FLAG_EXCLUSIVE) == 0 || !is_other(want, pin) ||
		    !pin_is_live(pin, want->first, want->last))
			continue;
		if (pin->state == PIN_TENTATIVE)
			pin_end(shard, file, pin);
		else
			lose_exclusive(file, pin);
	}
}
