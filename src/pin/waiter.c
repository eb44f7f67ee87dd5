/*
 * Waiting: parking, waking, time. Rule 9: whatever lowers `conflicts` to 0 wakes; the state, changed under the lock,
 * makes that exactly one of look, timeout, interrupt and shutdown answers each park.
 */
#include "pin/table.h"

#include "base/arith.h"

#include <assert.h>
#include <errno.h>

void pin_waiter_init(struct pin_waiter *waiter, uint64_t timeout, bool detach, pid_t process)
{
	*waiter = (struct pin_waiter){.timeout = timeout, .detach = detach, .process = process};
}

/* The tree of its file that it is in. */
static struct pin_intervals *tree_of(struct pin_file *file, const struct pin_want *want)
{
	if (want->reason != 0)
		return &file->breaks;
	return (want->flags & (PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE)) != 0 ? &file->writers : &file->readers;
}

/* ---- Waking ---- */

/* It waits no more: what it still counts does not count for the pins' holders either. */
static void uncount_all(struct pin_file *file, struct pin_waiter *waiter)
{
	const struct pin_want *want = &waiter->want;

	if (waiter->conflicts == 0)
		return;
	for (struct pin_interval *at = pin_interval_first(&file->pins, want->first, want->last); at != NULL;
	     at = pin_interval_next(at, want->first, want->last)) {
		struct pin *pin = pin_file_pin(at);

		if (pin_counts_for(waiter, pin))
			pin_subtract(&pin->holder->blocking, 1);
	}
	waiter->conflicts = 0;
}

void pin_waiter_wake(struct pin_table *table, struct pin_file *file, struct pin_waiter *waiter,
		     enum pin_verdict verdict)
{
	assert(waiter->state == PIN_WAITER_WAITING);
	uncount_all(file, waiter);
	waiter->state = PIN_WAITER_WOKEN;
	waiter->verdict = verdict;
	if (verdict == PIN_VERDICT_TIMEOUT) {
		waiter->expired = true;
		pin_add(&table->timeouts, 1);
	} else if (verdict == PIN_VERDICT_INTERRUPT) {
		pin_add(&table->interrupts, 1);
	}
	table->ops.wake(table->arg, waiter);
}

static void wake_free_in(struct pin_table *table, struct pin_file *file, struct pin_intervals *tree, uint64_t first,
			 uint64_t last)
{
	for (struct pin_interval *at = pin_interval_first(tree, first, last); at != NULL;
	     at = pin_interval_next(at, first, last)) {
		struct pin_waiter *waiter = pin_file_waiter(at);

		if (waiter->state == PIN_WAITER_WAITING && waiter->conflicts == 0)
			pin_waiter_wake(table, file, waiter, PIN_VERDICT_LOOK);
	}
}

void pin_wake_free(struct pin_table *table, struct pin_file *file, uint64_t first, uint64_t last)
{
	wake_free_in(table, file, &file->breaks, first, last);
	wake_free_in(table, file, &file->writers, first, last);
	wake_free_in(table, file, &file->readers, first, last);
}

/* ---- Being in the file ---- */

static void enter(struct pin_table *table, struct pin_shard *shard, struct pin_file *file, struct pin_waiter *waiter)
{
	waiter->number = ++shard->clock;
	waiter->range.first = waiter->want.first;
	waiter->range.last = waiter->want.last;
	pin_interval_insert(tree_of(file, &waiter->want), &waiter->range);
	file->waiter_count++;
	waiter->next = NULL;
	waiter->previous = shard->last_waiter;
	if (shard->last_waiter != NULL)
		shard->last_waiter->next = waiter;
	else
		shard->first_waiter = waiter;
	shard->last_waiter = waiter;
	shard->waiter_count++;
	pin_add(&table->waiting, 1);
	if (waiter->want.reason != 0)
		pin_add(&table->waiting_breaks, 1);
}

/* Those in the tree that wait behind it do so no more. */
static void uncount_behind(struct pin_intervals *tree, const struct pin_waiter *waiter)
{
	const struct pin_want *want = &waiter->want;

	for (struct pin_interval *at = pin_interval_first(tree, want->first, want->last); at != NULL;
	     at = pin_interval_next(at, want->first, want->last)) {
		struct pin_waiter *other = pin_file_waiter(at);

		if (other->state != PIN_WAITER_WAITING || !pin_waits_behind(other, waiter))
			continue;
		assert(other->conflicts > 0);
		other->conflicts--;
	}
}

/* The barrier falls: who waited behind it is woken if it was the last one in its way. */
static void leave(struct pin_table *table, struct pin_shard *shard, struct pin_file *file, struct pin_waiter *waiter)
{
	pin_interval_remove(tree_of(file, &waiter->want), &waiter->range);
	file->waiter_count--;
	if (waiter->previous != NULL)
		waiter->previous->next = waiter->next;
	else
		shard->first_waiter = waiter->next;
	if (waiter->next != NULL)
		waiter->next->previous = waiter->previous;
	else
		shard->last_waiter = waiter->previous;
	shard->waiter_count--;
	pin_subtract(&table->waiting, 1);
	if (waiter->want.reason != 0)
		pin_subtract(&table->waiting_breaks, 1);
	uncount_behind(&file->writers, waiter);
	uncount_behind(&file->readers, waiter);
	pin_wake_free(table, file, waiter->want.first, waiter->want.last);
}

static bool same_want(const struct pin_want *a, const struct pin_want *b)
{
	return a->reason == b->reason && a->flags == b->flags && a->holder == b->holder && a->first == b->first &&
	       a->last == b->last;
}

/* ---- Parking ---- */

int pin_may_wait(struct pin_table *table, struct pin_waiter *waiter, bool for_pins)
{
	if (waiter == NULL)
		return -EAGAIN;
	if (atomic_load(&waiter->interrupted)) {
		pin_add(&table->interrupts, 1);
		return -EINTR;
	}
	if (!for_pins)
		return -EAGAIN;
	if (waiter->expired || atomic_load(&table->shutdown) || waiter->verdict == PIN_VERDICT_SHUTDOWN)
		return 0;
	if (waiter->timeout != 0 && (waiter->state == PIN_WAITER_IDLE || pin_now() < waiter->deadline))
		return -EAGAIN;
	waiter->expired = true;
	pin_add(&table->timeouts, 1);
	return 0;
}

/* The clock of a pin runs from when it first waits for pins: breaks before it have their own. */
static void set_deadline(struct pin_waiter *waiter, bool for_pins)
{
	if (waiter->expired)
		waiter->deadline = PIN_FOREVER;
	else if (for_pins && waiter->deadline == PIN_FOREVER &&
		 add_overflows(pin_now(), waiter->timeout, &waiter->deadline))
		waiter->deadline = PIN_FOREVER;
}

/* Counts the pins in the way for their holders, and recalls them: each once, whatever the number of parks. */
static void recall_all(struct pin_shard *shard, struct pin_file *file, struct pin_waiter *waiter)
{
	const struct pin_want *want = &waiter->want;

	for (struct pin_interval *at = pin_interval_first(&file->pins, want->first, want->last); at != NULL;
	     at = pin_interval_next(at, want->first, want->last)) {
		struct pin *pin = pin_file_pin(at);

		if (!pin_counts_for(waiter, pin))
			continue;
		pin_add(&pin->holder->blocking, 1);
		waiter->conflicts++;
		if (pin->known > waiter->recalled)
			pin_tell(pin, PIN_EVENT_RECALL, want->reason == PIN_UNMAP ? PIN_UNMAP : PIN_WRITE, want->first,
				 want->last, waiter->deadline);
	}
	waiter->recalled = ++shard->clock;
}

/* A first wait, or one of another range. */
static void begin(struct pin_table *table, struct pin_shard *shard, struct pin_file *file, struct pin_waiter *waiter,
		  const struct pin_want *want)
{
	if (waiter->state == PIN_WAITER_IDLE) {
		waiter->since = pin_now();
		waiter->deadline = PIN_FOREVER;
		if (want->holder != NULL)
			pin_holder_use(want->holder);
		if (want->reason != 0)
			pin_add(&table->breaks_waited, 1);
	} else {
		leave(table, shard, file, waiter);
	}
	waiter->want = *want;
	enter(table, shard, file, waiter);
}

int pin_park(struct pin_table *table, struct pin_shard *shard, struct pin_file *file, struct pin_waiter *waiter,
	     const struct pin_want *want, uint64_t pins, uint64_t before)
{
	if (waiter->state == PIN_WAITER_IDLE || !same_want(&waiter->want, want))
		begin(table, shard, file, waiter, want);
	waiter->want.process = want->process;
	set_deadline(waiter, pins > 0);
	waiter->state = PIN_WAITER_WAITING;
	waiter->verdict = PIN_VERDICT_NONE;
	waiter->parked = ++shard->clock;
	waiter->conflicts = before;
	recall_all(shard, file, waiter);
	assert(waiter->conflicts == before + (waiter->expired ? 0 : pins) && waiter->conflicts > 0);
	return -EINPROGRESS;
}

void pin_waiter_begin(struct pin_waiter *waiter, uint64_t ino)
{
	uint64_t old = atomic_load(&waiter->ino);

	assert(lock_held(LOCK_PIN_FILE) && (old == 0 || old == ino));
	if (old == 0)
		atomic_store(&waiter->ino, ino);
}

void pin_waiter_end(struct pin_table *table, struct pin_waiter *waiter)
{
	struct pin_shard *shard;

	if (atomic_load(&waiter->ino) == 0)
		return;
	shard = pin_shard_lock(table, waiter->ino);
	if (waiter->state != PIN_WAITER_IDLE) {
		struct pin_file *file = pin_file_find(shard, waiter->ino);

		uncount_all(file, waiter);
		waiter->state = PIN_WAITER_IDLE;
		leave(table, shard, file, waiter);
		pin_file_put(shard, file);
		if (waiter->want.holder != NULL)
			pin_holder_unuse(waiter->want.holder);
	}
	waiter->verdict = PIN_VERDICT_NONE;
	waiter->expired = false;
	waiter->recalled = 0;
	atomic_store(&waiter->ino, 0);
	lock_mutex_drop(&shard->lock);
}

/*
 * The flag is set before `ino` is read, and an operation writes `ino` before it reads the flag: so either it sees the
 * flag before it parks, or this sees its file, and the lock shows whether it waits.
 */
void pin_waiter_interrupt(struct pin_table *table, struct pin_waiter *waiter)
{
	struct pin_shard *shard;
	uint64_t ino;

	atomic_store(&waiter->interrupted, true);
	ino = atomic_load(&waiter->ino);
	if (ino == 0)
		return;
	shard = pin_shard_lock(table, ino);
	if (waiter->state == PIN_WAITER_WAITING)
		pin_waiter_wake(table, pin_file_find(shard, ino), waiter, PIN_VERDICT_INTERRUPT);
	lock_mutex_drop(&shard->lock);
}

/* ---- Time ---- */

uint64_t pin_waiting(const struct pin_table *table)
{
	return atomic_load(&table->waiting);
}

static void expire(struct pin_table *table, struct pin_shard *shard, uint64_t now)
{
	lock_mutex_take(&shard->lock);
	for (struct pin_waiter *waiter = shard->first_waiter; waiter != NULL; waiter = waiter->next) {
		if (waiter->state == PIN_WAITER_WAITING && waiter->deadline <= now)
			pin_waiter_wake(table, pin_file_find(shard, waiter->ino), waiter, PIN_VERDICT_TIMEOUT);
	}
	lock_mutex_drop(&shard->lock);
}

/* The next one of the shard that somebody waits for, in use by the caller; `after` (or NULL) is, too. */
static struct pin_holder *next_blocking(struct pin_shard *shard, struct pin_holder *after)
{
	struct pin_holder *holder;

	lock_mutex_take(&shard->lock);
	holder = after != NULL ? LIST_NEXT(after, link) : LIST_FIRST(&shard->holders);
	while (holder != NULL && (atomic_load(&holder->blocking) == 0 || !pin_holder_try_use(holder)))
		holder = LIST_NEXT(holder, link);
	lock_mutex_drop(&shard->lock);
	return holder;
}

void pin_tick(struct pin_table *table, uint64_t now, void (*visit)(void *arg, struct pin_holder *holder), void *arg)
{
	for (unsigned i = 0; i < PIN_FILE_SHARDS; i++) {
		struct pin_shard *shard = &table->shard[i];
		struct pin_holder *holder;

		expire(table, shard, now);
		holder = visit != NULL ? next_blocking(shard, NULL) : NULL;
		while (holder != NULL) {
			struct pin_holder *next;

			visit(arg, holder);
			next = next_blocking(shard, holder);
			pin_holder_unuse(holder);
			holder = next;
		}
	}
}
