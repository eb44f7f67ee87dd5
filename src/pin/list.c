/* What the table says of itself: numbers, lists; and its end. */
#include "pin/table.h"

#include "base/arith.h"

#include <errno.h>
#include <stdlib.h>

/* ---- One pin ---- */

static void fill_info(struct pin *pin, struct pin_info *ret_info)
{
	*ret_info = (struct pin_info){
		.id = pin->id,
		.session = pin->session,
		.ino = pin->ino,
		.offset = pin->offset,
		.length = pin->length,
		.generation = pin->generation,
		.flags = pin->flags,
		.since = pin->since,
		.uid = pin->uid,
		.process = pin->process,
		.dropped = pin->state > PIN_HELD,
		.tentative = pin->state == PIN_TENTATIVE,
		/* The word's page is there as long as the pin is. */
		.idle = pin->state <= PIN_HELD && pin_is_idle(pin),
		.blocks = pin->blocks,
		.detached_blocks = pin->detached_blocks,
		.path = pin->path,
	};
}

void pin_get_info(struct pin *pin, struct pin_info *ret_info)
{
	struct pin_shard *shard = pin_shard_lock(pin->table, pin->ino);

	fill_info(pin, ret_info);
	lock_mutex_drop(&shard->lock);
}

/* ---- Numbers ---- */

static uint64_t longest_wait(struct pin_table *table, uint64_t now)
{
	uint64_t longest = 0;

	for (unsigned i = 0; i < PIN_FILE_SHARDS; i++) {
		struct pin_shard *shard = &table->shard[i];

		lock_mutex_take(&shard->lock);
		for (struct pin_waiter *waiter = shard->first_waiter; waiter != NULL; waiter = waiter->next) {
			if (waiter->since < now)
				longest = max_u64(longest, now - waiter->since);
		}
		lock_mutex_drop(&shard->lock);
	}
	return longest;
}

static uint64_t number(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

void pin_get_stats(struct pin_table *table, uint64_t now, struct pin_stats *ret_stats)
{
	*ret_stats = (struct pin_stats){
		.pins = number(&table->pins),
		.holders = number(&table->holders),
		.waiting = number(&table->waiting),
		.waiting_breaks = number(&table->waiting_breaks),
		.pinned_blocks = number(&table->counts.held_blocks),
		.limbo_blocks = number(&table->counts.limbo_blocks),
		.grants = number(&table->grants),
		.drops = number(&table->drops),
		.breaks_waited = number(&table->breaks_waited),
		.timeouts = number(&table->timeouts),
		.detaches = number(&table->detaches),
		.interrupts = number(&table->interrupts),
		.revokes = number(&table->revokes),
		.canaries = number(&table->canaries),
		.longest_wait = pin_waiting(table) > 0 ? longest_wait(table, now) : 0,
	};
}

uint64_t pin_file_bytes(struct pin_table *table, uint64_t ino)
{
	uint64_t mark = atomic_fetch_add(&table->marks, 1) + 1;
	struct pin_shard *shard = pin_shard_lock(table, ino);
	struct pin_file *file = pin_file_find(shard, ino);
	uint64_t blocks = 0;

	/*
	 * Blocks that are not in limbo belong to this file: nobody else marks them. Edges of pins that are not dropped
	 * part what is marked from what is not, so runs that join meanwhile are both marked or both not.
	 */
	for (struct pin_interval *at = file != NULL ? pin_interval_first(&file->pins, 0, UINT64_MAX) : NULL; at != NULL;
	     at = pin_interval_next(at, 0, UINT64_MAX)) {
		const struct pin *pin = pin_file_pin(at);

		for (size_t i = 0; i < pin->count; i++)
			blocks += pin_counts_mark(&table->counts, pin->extents[i].phys, pin->extents[i].length, mark);
	}
	lock_mutex_drop(&shard->lock);
	return blocks << PIN_BLOCK_SHIFT;
}

/* ---- Lists ---- */

/* Copies of what one shard has. */
struct copies {
	size_t capacity, count;
	struct pin **pins; /* with a reference each: `path` lives as long */
	struct pin_info *infos;
	struct pin_wait_info *waits;
};

static void copy_pin(struct copies *copies, struct pin *pin)
{
	if (copies->count < copies->capacity) {
		atomic_fetch_add(&pin->references, 1); /* the table has one: it is in a file */
		copies->pins[copies->count] = pin;
		fill_info(pin, &copies->infos[copies->count]);
	}
	copies->count++;
}

static void copy_file(struct copies *copies, struct pin_file *file)
{
	struct pin *pin;

	for (struct pin_interval *at = pin_interval_first(&file->pins, 0, UINT64_MAX); at != NULL;
	     at = pin_interval_next(at, 0, UINT64_MAX))
		copy_pin(copies, pin_file_pin(at));
	LIST_FOREACH(pin, &file->gone, gone_link)
	copy_pin(copies, pin);
}

/* Copies the pins of the file, or of the whole shard if ino is 0; `count` is how many there are. */
static void copy_pins(struct pin_shard *shard, uint64_t ino, struct copies *copies)
{
	struct pin_file *file;

	lock_mutex_take(&shard->lock);
	file = ino != 0 ? pin_file_find(shard, ino) : pin_file_after(shard, 0);
	copies->count = ino == 0 ? shard->pin_count : file != NULL ? file->pin_count : 0;
	if (copies->count > copies->capacity) {
		file = NULL;
	} else {
		copies->count = 0;
	}
	for (; file != NULL; file = ino == 0 ? pin_file_after(shard, file->ino) : NULL)
		copy_file(copies, file);
	lock_mutex_drop(&shard->lock);
}

static void copy_waits(struct pin_shard *shard, uint64_t ino, struct copies *copies)
{
	lock_mutex_take(&shard->lock);
	copies->count = 0;
	for (struct pin_waiter *waiter = shard->first_waiter; waiter != NULL; waiter = waiter->next) {
		if (ino != 0 && waiter->ino != ino)
			continue;
		if (copies->count < copies->capacity)
			copies->waits[copies->count] = (struct pin_wait_info){
				.ino = waiter->ino,
				.first = waiter->want.first,
				.last = waiter->want.last,
				.since = waiter->since,
				.deadline = waiter->deadline,
				.conflicts = waiter->conflicts,
				.reason = waiter->want.reason,
				.process = waiter->want.process,
			};
		copies->count++;
	}
	lock_mutex_drop(&shard->lock);
}

static void free_copies(struct copies *copies)
{
	free(copies->pins);
	free(copies->infos);
	free(copies->waits);
	*copies = (struct copies){0};
}

/* Room for what there was, and some more. */
static int make_room(struct copies *copies)
{
	size_t capacity = copies->count + copies->count / 8 + 16;

	free_copies(copies);
	copies->pins = calloc(capacity, sizeof(*copies->pins));
	copies->infos = calloc(capacity, sizeof(*copies->infos));
	copies->waits = calloc(capacity, sizeof(*copies->waits));
	if (copies->pins == NULL || copies->infos == NULL || copies->waits == NULL) {
		free_copies(copies);
		return -ENOMEM;
	}
	copies->capacity = capacity;
	return 0;
}

static int visit_pins(struct pin_shard *shard, uint64_t ino, int (*visit)(void *arg, const struct pin_info *info),
		      void *arg)
{
	struct copies copies = {0};
	int error = 0;

	for (copy_pins(shard, ino, &copies); copies.count > copies.capacity; copy_pins(shard, ino, &copies)) {
		error = make_room(&copies);
		if (error != 0)
			return error;
	}
	for (size_t i = 0; i < copies.count; i++) {
		if (error == 0)
			error = visit(arg, &copies.infos[i]);
		pin_unref(copies.pins[i]);
	}
	free_copies(&copies);
	return error;
}

static int visit_waits(struct pin_shard *shard, uint64_t ino, int (*visit)(void *arg, const struct pin_wait_info *info),
		       void *arg)
{
	struct copies copies = {0};
	int error = 0;

	for (copy_waits(shard, ino, &copies); copies.count > copies.capacity; copy_waits(shard, ino, &copies)) {
		error = make_room(&copies);
		if (error != 0)
			return error;
	}
	for (size_t i = 0; i < copies.count && error == 0; i++)
		error = visit(arg, &copies.waits[i]);
	free_copies(&copies);
	return error;
}

int pin_visit(struct pin_table *table, uint64_t ino, int (*visit_pin)(void *arg, const struct pin_info *info),
	      int (*visit_waiter)(void *arg, const struct pin_wait_info *info), void *arg)
{
	unsigned first = ino != 0 ? pin_shard_number(ino) : 0;
	unsigned last = ino != 0 ? first + 1 : PIN_FILE_SHARDS;
	int error = 0;

	for (unsigned i = first; i < last && error == 0 && visit_pin != NULL; i++)
		error = visit_pins(&table->shard[i], ino, visit_pin, arg);
	for (unsigned i = first; i < last && error == 0 && visit_waiter != NULL; i++)
		error = visit_waits(&table->shard[i], ino, visit_waiter, arg);
	return error;
}

int pin_holder_visit(struct pin_holder *holder, int (*visit)(void *arg, const struct pin_info *info), void *arg)
{
	struct pin_info info;
	uint64_t id = 0;
	struct pin *pin;
	int error = 0;

	while (error == 0 && (pin = pin_next(holder, id)) != NULL) {
		id = pin->id;
		pin_get_info(pin, &info);
		if (!info.tentative && !info.dropped)
			error = visit(arg, &info);
		pin_unref(pin);
	}
	return error;
}

/* ---- Blocks ---- */

#define LIST_RUNS 128u

void pin_visit_blocks(struct pin_table *table, void (*visit)(void *arg, const struct pin_block_run *run), void *arg)
{
	struct pin_block_run runs[LIST_RUNS];

	for (unsigned i = 0; i < PIN_COUNT_SHARDS; i++) {
		uint64_t phys = 0;
		size_t count;

		do {
			count = pin_counts_list(&table->counts, i, phys, runs, LIST_RUNS);
			for (size_t j = 0; j < count; j++) {
				visit(arg, &runs[j]);
				phys = runs[j].phys + runs[j].length;
			}
		} while (count == LIST_RUNS);
	}
}

/* ---- The end ---- */

static void free_file(struct pin_shard *shard, struct pin_file *file)
{
	struct pin_interval *at;
	struct pin *pin;

	while ((at = pin_interval_first(&file->pins, 0, UINT64_MAX)) != NULL) {
		pin = pin_file_pin(at);
		pin_interval_remove(&file->pins, at);
		pin_holder_remove(pin->holder, pin);
		pin_free(pin);
	}
	while ((pin = LIST_FIRST(&file->gone)) != NULL) {
		LIST_REMOVE(pin, gone_link);
		pin_holder_remove(pin->holder, pin);
		pin_free(pin);
	}
	file->pin_count = 0;
	file->waiter_count = 0; /* the waiters are their operations' */
	pin_file_put(shard, file);
}

static void free_queue(struct pin_table *table)
{
	struct pin_reap item;

	while (pin_reap_take(table, &item, 1) == 1) {
		if (item.kind == PIN_REAP_PIN)
			pin_free(item.pin);
	}
}

void pin_free_all(struct pin_table *table)
{
	for (unsigned i = 0; i < PIN_FILE_SHARDS; i++) {
		struct pin_shard *shard = &table->shard[i];
		struct pin_file *file;

		lock_mutex_take(&shard->lock);
		while ((file = pin_file_after(shard, 0)) != NULL)
			free_file(shard, file);
		lock_mutex_drop(&shard->lock);
	}
	pin_reap_kept(table);
	free_queue(table); /* its links are parts of holders, too */
	for (unsigned i = 0; i < PIN_FILE_SHARDS; i++) {
		struct pin_holder *holder;

		while ((holder = LIST_FIRST(&table->shard[i].holders)) != NULL) {
			LIST_REMOVE(holder, link);
			pin_holder_free(holder);
		}
	}
}
