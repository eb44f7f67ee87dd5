/* The life of a pin: taken, confirmed, dropped. */
#include "pin/table.h"

#include "base/arith.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* All of it is in limbo: no break can want it any more. */
static bool is_gone(const struct pin *pin)
{
	return pin->blocks > 0 && pin->detached_blocks == pin->blocks;
}

/* ---- Making ---- */

static int check_request(const struct pin_request *request)
{
	uint64_t end;

	if (request->length == 0 || add_overflows(request->offset, request->length, &end) ||
	    end > UINT64_MAX - (1u << PIN_BLOCK_SHIFT))
		return -EINVAL;
	for (size_t i = 0; i < request->count; i++) {
		if (request->extents[i].length == 0)
			return -EINVAL;
	}
	return 0;
}

static int copy_extents(struct pin *pin, const struct pin_request *request)
{
	if (request->count == 0)
		return 0;
	pin->extents = calloc(request->count, sizeof(*pin->extents));
	if (pin->extents == NULL)
		return -ENOMEM;
	memcpy(pin->extents, request->extents, request->count * sizeof(*pin->extents));
	pin->count = request->count;
	for (size_t i = 0; i < pin->count; i++)
		pin->blocks += pin->extents[i].length;
	return 0;
}

void pin_free(struct pin *pin)
{
	free(pin->extents);
	free(pin->path);
	free(pin);
}

static int make(struct pin_table *table, struct pin_holder *holder, const struct pin_request *request,
		struct pin **ret_pin)
{
	struct pin *pin;
	int error = check_request(request);

	if (error != 0)
		return error;
	pin = calloc(1, sizeof(*pin));
	if (pin == NULL)
		return -ENOMEM;
	*pin = (struct pin){.table = table, .holder = holder, .id = request->id, .ino = request->ino};
	pin->offset = request->offset;
	pin->length = request->length;
	pin->since = request->now;
	pin->session = holder->session;
	pin->uid = holder->uid;
	pin->process = holder->process;
	pin->generation = request->generation;
	pin->word = (request->flags & PIN_FLAG_CACHED) != 0 ? request->word : NULL;
	pin->flags = request->flags;
	if ((pin->flags & PIN_FLAG_EXCLUSIVE) != 0)
		pin->flags |= PIN_FLAG_WRITE;
	pin->range.first = request->offset >> PIN_BLOCK_SHIFT;
	pin->range.last = ((request->offset + request->length - 1) >> PIN_BLOCK_SHIFT) + 1;
	atomic_init(&pin->references, 1);
	error = copy_extents(pin, request);
	if (error == 0 && request->path != NULL) {
		pin->path = strdup(request->path);
		if (pin->path == NULL)
			error = -ENOMEM;
	}
	if (error != 0) {
		pin_free(pin);
		return error;
	}
	*ret_pin = pin;
	return 0;
}

/* Counts and charges its blocks: what needs no lock of the file. */
static int raise_pin(struct pin *pin, bool limited)
{
	struct pin_table *table = pin->table;
	int error = pin_user_charge(table, pin->uid, pin->blocks << PIN_BLOCK_SHIFT, limited);

	if (error != 0)
		return error;
	atomic_fetch_add(&table->recorded, 1);
	error = pin_counts_raise(&table->counts, pin->extents, pin->count);
	if (error == 0)
		return 0;
	atomic_fetch_sub(&table->recorded, 1);
	pin_user_refund(table, pin->uid, pin->blocks << PIN_BLOCK_SHIFT);
	return error;
}

/* Takes back what raise_pin() has done. */
static void lower_pin(struct pin *pin)
{
	struct pin_table *table = pin->table;
	struct pin_reap_list queue = {NULL, NULL};

	pin_counts_release(&table->counts, pin->extents, pin->count);
	pin_counts_erase(&table->counts, pin->extents, pin->count, &queue);
	pin_reap_queue(table, &queue);
	atomic_fetch_sub(&table->recorded, 1);
	pin_user_refund(table, pin->uid, pin->blocks << PIN_BLOCK_SHIFT);
}

/* Puts it in the file and with its holder. -ENOMEM, -ESHUTDOWN, -EEXIST. */
static int attach(struct pin_shard *shard, struct pin *pin)
{
	struct pin_file *file = pin_file_get(shard, pin->ino);
	int error;

	if (file == NULL)
		return -ENOMEM;
	error = pin_holder_add(pin->holder, pin);
	if (error != 0) {
		pin_file_put(shard, file);
		return error;
	}
	pin->born = ++shard->clock;
	pin_interval_insert(&file->pins, &pin->range);
	file->pin_count++;
	shard->pin_count++;
	if ((pin->flags & PIN_FLAG_EXCLUSIVE) != 0)
		atomic_fetch_add(&pin->table->exclusive, 1);
	pin_add(&pin->table->pins, 1);
	return 0;
}

/*
 * What came since it was admitted. Whoever holds the layout lock as pin.h says finds nothing here, but that the mount
 * is being shut down: a write(2) that began to wait meanwhile waits for exclusive pins, and these are taken under the
 * layout lock held exclusive. So this is rule 5 once more, against callers.
 */
static int check_admitted(struct pin_shard *shard, const struct pin *pin)
{
	uint64_t first = pin->range.first, last = pin->range.last;
	struct pin_file *file = pin_file_find(shard, pin->ino);

	if (atomic_load(&pin->table->shutdown))
		return -ESHUTDOWN;
	for (struct pin_interval *at = file != NULL ? pin_interval_first(&file->breaks, first, last) : NULL; at != NULL;
	     at = pin_interval_next(at, first, last)) {
		if (pin_file_waiter(at)->want.reason == PIN_UNMAP || (pin->flags & PIN_FLAG_EXCLUSIVE) != 0)
			return -EAGAIN;
	}
	return 0;
}

int pin_take(struct pin_table *table, struct pin_holder *holder, const struct pin_request *request,
	     struct pin **ret_pin)
{
	struct pin_shard *shard;
	struct pin *pin;
	int error = make(table, holder, request, &pin);

	if (error != 0)
		return error;
	error = raise_pin(pin, true);
	if (error != 0)
		goto free_it;
	pin->state = PIN_TENTATIVE;
	shard = pin_shard_lock(table, pin->ino);
	error = check_admitted(shard, pin);
	if (error == 0)
		error = attach(shard, pin);
	lock_mutex_drop(&shard->lock);
	if (error != 0)
		goto lower_it;
	*ret_pin = pin;
	return 0;

lower_it:
	lower_pin(pin);
free_it:
	pin_free(pin);
	return error;
}

int pin_restore(struct pin_table *table, struct pin_holder *holder, const struct pin_request *request,
		struct pin **ret_pin)
{
	struct pin_reap_list queue = {NULL, NULL};
	struct pin_shard *shard;
	struct pin_file *file;
	struct pin *pin;
	int error = make(table, holder, request, &pin);

	if (error != 0)
		return error;
	error = raise_pin(pin, false);
	if (error != 0)
		goto free_it;
	pin->state = PIN_HELD;
	shard = pin_shard_lock(table, pin->ino);
	error = attach(shard, pin);
	if (error != 0)
		goto drop_lock;
	for (size_t i = 0; i < pin->count; i++) {
		if (!pin->extents[i].detached)
			continue;
		pin_counts_to_limbo(&table->counts, pin->extents[i].phys, pin->extents[i].length, &queue);
		pin->detached_blocks += pin->extents[i].length;
	}
	assert(queue.first == NULL); /* it is counted by this pin */
	file = pin_file_find(shard, pin->ino);
	if (is_gone(pin)) {
		pin_interval_remove(&file->pins, &pin->range);
		LIST_INSERT_HEAD(&file->gone, pin, gone_link);
	}
	pin->known = ++shard->clock;
	pin_holder_confirm(holder, pin);
	lock_mutex_drop(&shard->lock);
	*ret_pin = pin;
	return 0;

drop_lock:
	lock_mutex_drop(&shard->lock);
	lower_pin(pin);
free_it:
	pin_free(pin);
	return error;
}

/* ---- Ending ---- */

/* It is the reaper's now, and may be freed at once: nothing of it is touched after this. Under the lock. */
static void hand_over(struct pin *pin)
{
	struct pin_holder *holder = pin->holder;

	pin->state = PIN_DROPPED;
	pin_reap_queue_one(pin->table, &pin->reap, PIN_REAP_PIN);
	pin_holder_unuse(holder);
}

void pin_end(struct pin_shard *shard, struct pin_file *file, struct pin *pin)
{
	struct pin_table *table = pin->table;
	bool tentative = pin->state == PIN_TENTATIVE;

	assert(lock_held(LOCK_PIN_FILE) && pin->state <= PIN_HELD);
	pin_uncount(file, pin);
	if (is_gone(pin))
		LIST_REMOVE(pin, gone_link);
	else
		pin_interval_remove(&file->pins, &pin->range);
	file->pin_count--;
	shard->pin_count--;
	pin_holder_remove(pin->holder, pin);
	pin_counts_release(&table->counts, pin->extents, pin->count);
	pin_user_refund(table, pin->uid, pin->blocks << PIN_BLOCK_SHIFT);
	if ((pin->flags & PIN_FLAG_EXCLUSIVE) != 0)
		atomic_fetch_sub(&table->exclusive, 1);
	pin_subtract(&table->pins, 1);
	pin->state = PIN_TAKEN;
	pin_wake_free(table, file, pin->range.first, pin->range.last);
	if (!tentative) {
		pin_add(&table->drops, 1);
		hand_over(pin);
	}
}

int pin_confirm(struct pin *pin)
{
	struct pin_shard *shard = pin_shard_lock(pin->table, pin->ino);
	struct pin_file *file = pin_file_find(shard, pin->ino);
	int error = 0;

	assert(pin->state == PIN_TENTATIVE || pin->state == PIN_TAKEN);
	if (pin->state == PIN_TENTATIVE) {
		pin->state = PIN_HELD;
		pin_holder_confirm(pin->holder, pin);
		pin_add(&pin->table->grants, 1);
		pin_recall_known(shard, file, pin);
		/* An eviction was faster. Of which blocks is not known any more: of those of the range, some. */
		if (pin->detached_blocks > 0)
			pin_tell(pin, PIN_EVENT_DETACHED, PIN_UNMAP, pin->range.first, pin->range.last, 0);
		pin_file_put(shard, file);
	} else {
		hand_over(pin);
		error = -EAGAIN;
	}
	lock_mutex_drop(&shard->lock);
	return error;
}

void pin_drop(struct pin *pin)
{
	struct pin_shard *shard = pin_shard_lock(pin->table, pin->ino);
	bool ours = pin->state == PIN_TENTATIVE || pin->state == PIN_TAKEN; /* the granter gives up */

	if (pin->state <= PIN_HELD) {
		struct pin_file *file = pin_file_find(shard, pin->ino);

		pin_end(shard, file, pin);
		pin_file_put(shard, file);
	}
	if (ours)
		hand_over(pin);
	lock_mutex_drop(&shard->lock);
}

bool pin_is_idle(const struct pin *pin)
{
	return pin->word != NULL && (atomic_load(pin->word) & WIRE_WORD_COUNT) == 0;
}

bool pin_bell(struct pin *pin)
{
	struct pin_shard *shard = pin_shard_lock(pin->table, pin->ino);
	bool revoked = pin->state == PIN_HELD && pin->word != NULL && (atomic_load(pin->word) & WIRE_WORD_BELL) != 0 &&
		       wire_word_revoke(pin->word);

	if (revoked) {
		struct pin_file *file = pin_file_find(shard, pin->ino);

		pin_add(&pin->table->revokes, 1);
		pin_end(shard, file, pin);
		pin_file_put(shard, file);
	}
	lock_mutex_drop(&shard->lock);
	return revoked;
}

int pin_set_word(struct pin *pin, wire_word *word)
{
	struct pin_shard *shard = pin_shard_lock(pin->table, pin->ino);
	int error = -EINVAL;

	if (pin->state == PIN_HELD && (pin->flags & PIN_FLAG_CACHED) != 0 && pin->word == NULL) {
		struct pin_file *file = pin_file_find(shard, pin->ino);

		pin->word = word;
		error = 0;
		/* Who waits for it had no word to ask for the bell: an idle pin would never ring. */
		pin_recall_known(shard, file, pin);
		pin_file_put(shard, file);
	}
	lock_mutex_drop(&shard->lock);
	return error;
}

/* ---- After the end ---- */

void pin_unref(struct pin *pin)
{
	if (atomic_fetch_sub(&pin->references, 1) == 1)
		pin_free(pin);
}

void pin_reaped(struct pin *pin)
{
	struct pin_table *table = pin->table;
	struct pin_reap_list queue = {NULL, NULL};

	assert(pin->state == PIN_DROPPED);
	pin_counts_erase(&table->counts, pin->extents, pin->count, &queue);
	atomic_fetch_sub(&table->recorded, 1);
	pin_reap_queue(table, &queue);
	pin_unref(pin);
}
