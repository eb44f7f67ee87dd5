/* What runs in the world of pin_threads.c: breaks and pins, from their start over their waits to their end. */
#ifndef PINFS_TEST_PIN_OPERATIONS_H
#define PINFS_TEST_PIN_OPERATIONS_H

#include "pin_world.h"

/* ---- Operations: breaks ---- */

static void count_barrier(struct file *file, uint64_t first, uint64_t last)
{
	for (uint64_t b = first; b < last; b++)
		atomic_fetch_add(&file->barrier[b], 1);
}

/* Before pin_waiter_end(). */
static void end_barrier(struct file *file, uint64_t first, uint64_t last)
{
	for (uint64_t b = first; b < last; b++) {
		atomic_fetch_sub(&file->barrier[b], 1);
		atomic_fetch_add(&file->barrier_ends[b], 1);
	}
}

/* A stretch of the file's blocks that lie side by side leaves it: to limbo, or to the allocator. Layout is exclusive.
 */
static void unmap_run(struct worker *worker, uint64_t number, uint64_t first, uint32_t phys, uint32_t length)
{
	struct world *world = worker->world;
	uint32_t *map = &world->file[number].map[first];
	uint64_t counted = 0, run;
	int error = pin_counted(world->table, phys_of(phys), length, &run, &counted);
	uint32_t plain = error == 0 ? (uint32_t)(run - phys_of(phys)) : length;

	expect(world, error == 0 || error == -ENOENT, "pin_counted");
	if (chance(worker, 3))
		return; /* the transaction has failed */
	if (chance(worker, 20))
		reap_some(world, 3);
	for (uint32_t i = 0; i < plain + counted; i++)
		map[i] = NONE;
	for (uint32_t i = plain; i < plain + counted; i++)
		atomic_store(&world->owner[phys + i], OWNER_LIMBO);
	if (counted > 0) {
		pin_detached(world->table, ino_of(number), first + plain, run, (uint32_t)counted);
		atomic_fetch_add(&world->limbo, 1);
	}
	for (uint32_t i = 0; i < plain; i++)
		give(world, phys + i, OWNER_FILE + (uint32_t)number);
}

static void unmap(struct worker *worker, const struct operation *operation)
{
	const uint32_t *map = worker->world->file[operation->file].map;
	uint64_t b = operation->first;

	while (b < operation->last) {
		uint32_t length = 1;

		if (map[b] == NONE) {
			b++;
			continue;
		}
		while (b + length < operation->last && map[b + length] == map[b] + length)
			length++;
		unmap_run(worker, operation->file, b, map[b], length);
		b += length;
	}
}

/* A break whose time was not over goes on: nobody who would have to be waited for is there. */
static void check_break(struct world *world, const struct operation *operation)
{
	struct file *file = &world->file[operation->file];

	if (!operation->nonblock && operation->waiter.expired)
		return;
	lock_mutex_take(&file->map_lock);
	for (uint64_t b = operation->first; b < operation->last; b++) {
		uint32_t phys = file->map[b];

		if (phys == NONE)
			continue;
		if (operation->kind == UNMAP)
			expect(world, atomic_load(&world->told[phys]) == 0, "a break over a client's block");
		else
			expect(world, !is_excluded(world, phys, operation->nonblock ? 0 : operation->waiter.process),
			       "a write over an exclusive pin");
	}
	lock_mutex_drop(&file->map_lock);
}

static int run_break(struct worker *worker, struct operation *operation)
{
	struct world *world = worker->world;
	struct file *file = &world->file[operation->file];
	uint64_t first = operation->first, last = operation->last;
	enum kind kind = operation->kind;
	bool is_first = !operation->has_waited;
	int error = 0;

	if (kind == WRITE)
		lock_rw_take_shared(&file->layout);
	else
		lock_rw_take_exclusive(&file->layout);
	if (kind != EVICT)
		error = pin_break(world->table, ino_of(operation->file), first, last,
				  kind == WRITE ? PIN_WRITE : PIN_UNMAP,
				  operation->nonblock ? NULL : &operation->waiter);
	if (error == -EINPROGRESS) {
		if (is_first) /* the operation is somebody else's by now */
			count_barrier(file, first, last);
	} else if (error == 0) {
		if (kind != EVICT)
			check_break(world, operation);
		if (kind != WRITE)
			unmap(worker, operation);
	}
	lock_rw_drop(&file->layout);
	return error;
}

/* ---- Operations: pins ---- */

/* Breaks that wait, as seen before and after a pin was admitted. */
struct seen {
	unsigned ends[RANGE];
	int barrier[RANGE];
};

static void see_barrier(struct file *file, uint64_t first, uint64_t last, struct seen *ret_seen)
{
	for (uint64_t b = first; b < last; b++) {
		ret_seen->ends[b - first] = atomic_load(&file->barrier_ends[b]);
		ret_seen->barrier[b - first] = atomic_load(&file->barrier[b]);
	}
}

static void check_barrier(struct world *world, struct file *file, uint64_t first, uint64_t last,
			  const struct seen *seen)
{
	for (uint64_t b = first; b < last; b++)
		expect(world,
		       seen->barrier[b - first] <= 0 || atomic_load(&file->barrier_ends[b]) != seen->ends[b - first],
		       "a pin is granted over a break that waits");
}

/* What the file has there: for the table in pieces, for the record by block. Layout is held. */
static size_t look_up(struct world *world, struct record *record, struct pin_extent *extents)
{
	struct file *file = &world->file[record->file];
	size_t count = 0;

	lock_mutex_take(&file->map_lock);
	for (uint64_t i = 0; i < record->count; i++) {
		uint32_t phys = file->map[record->first + i];

		record->phys[i] = phys;
		if (count > 0 && extents[count - 1].phys + extents[count - 1].length == phys_of(phys))
			extents[count - 1].length++;
		else
			extents[count++] = (struct pin_extent){
				.file_block = record->first + i, .phys = phys_of(phys), .length = 1};
	}
	lock_mutex_drop(&file->map_lock);
	return count;
}

static struct record *new_record(struct worker *worker, const struct operation *operation)
{
	struct world *world = worker->world;
	struct record *record = calloc(1, sizeof(*record));

	if (record == NULL)
		abort();
	record->session = operation->session;
	record->file = operation->file;
	record->first = operation->first;
	record->count = operation->last - operation->first;
	record->flags = operation->flags;
	if ((record->flags & PIN_FLAG_CACHED) != 0) {
		unsigned word = atomic_fetch_add(&world->words_used, 1);

		if (word >= WORDS)
			abort();
		record->word = &world->words[word];
		atomic_store(record->word, 1);
	}
	return record;
}

/* Layout is held, and it has been admitted. */
static int take(struct worker *worker, const struct operation *operation, struct record **ret_record)
{
	struct world *world = worker->world;
	struct pin_extent extents[RANGE];
	struct record *record;
	struct pin_request request;
	int error;

	if (!populate(worker, operation->file, operation->first, operation->last))
		return -ENOSPC;
	record = new_record(worker, operation);
	request = (struct pin_request){
		.id = (uintptr_t)record,
		.ino = ino_of(record->file),
		.flags = record->flags,
		.offset = record->first << 12,
		.length = record->count << 12,
		.extents = extents,
		.count = look_up(world, record, extents),
		.word = record->word,
	};
	promise(record);
	for (uint64_t i = 0; i < record->count; i++)
		atomic_fetch_add(&world->ledger[record->phys[i]], 1);
	error = pin_take(world->table, operation->session->holder, &request, &record->pin);
	if (error != 0) {
		unpromise(record);
		for (uint64_t i = 0; i < record->count; i++)
			atomic_fetch_sub(&world->ledger[record->phys[i]], 1);
		free(record);
		return error;
	}
	*ret_record = record;
	return 0;
}

/* The ledger is written: the client hears of it. */
static int confirm(struct worker *worker, struct record *record)
{
	struct session *session = record->session;
	struct client *client = session->client;
	int error;

	lock_mutex_take(&client->session);
	if (chance(worker, 2)) { /* the ledger is full */
		unpromise(record);
		pin_drop(record->pin);
		error = -ENOSPC;
		goto drop_lock;
	}
	error = pin_confirm(record->pin);
	expect(client->world, error == 0 || error == -EAGAIN, "pin_confirm");
	if (error != 0) {
		unpromise(record);
		atomic_fetch_add(&client->world->retaken, 1);
		goto drop_lock;
	}
	expect(client->world, session == client->now, "a pin of a closed session is confirmed");
	record->next = client->records;
	client->records = record;
	tell(record);
	if ((record->flags & PIN_FLAG_EXCLUSIVE) != 0 && client->honest && record->word == NULL)
		tell_exclusive(record);
drop_lock:
	lock_mutex_drop(&client->session); /* from here on the record may be gone */
	return error;
}

static int try_pin(struct worker *worker, struct operation *operation)
{
	struct world *world = worker->world;
	struct file *file = &world->file[operation->file];
	struct record *record = NULL;
	struct seen seen;
	int error;

	if ((operation->flags & PIN_FLAG_EXCLUSIVE) != 0)
		lock_rw_take_exclusive(&file->layout);
	else
		lock_rw_take_shared(&file->layout);
	see_barrier(file, operation->first, operation->last, &seen);
	error = pin_admit(world->table, operation->session->holder, ino_of(operation->file), operation->first,
			  operation->last, operation->flags, operation->nonblock ? NULL : &operation->waiter);
	if (error == 0) {
		check_barrier(world, file, operation->first, operation->last, &seen);
		error = take(worker, operation, &record);
		expect(world, error != -EAGAIN, "something came between under the layout lock");
	}
	lock_rw_drop(&file->layout);
	return error == 0 ? confirm(worker, record) : error;
}

static int run_pin(struct worker *worker, struct operation *operation)
{
	int error;

	do {
		error = try_pin(worker, operation);
	} while (error == -EAGAIN && !operation->nonblock);
	return error;
}

/* ---- Operations: their life ---- */

/* Registered: it may be interrupted. False: there are enough. */
static bool add_operation(struct world *world, struct operation *operation)
{
	bool added = false;

	lock_mutex_take(&world->registry);
	for (size_t i = 0; i < OPERATIONS && !added; i++) {
		if (world->operation[i] != NULL)
			continue;
		world->operation[i] = operation;
		operation->slot = i;
		added = true;
	}
	lock_mutex_drop(&world->registry);
	return added;
}

static void end_operation(struct world *world, struct operation *operation, int error)
{
	if (operation->has_waited && operation->kind != PIN)
		end_barrier(&world->file[operation->file], operation->first, operation->last);
	pin_waiter_end(world->table, &operation->waiter);
	expect(world, atomic_exchange(&operation->waiting, false) == false, "over while it waits");
	lock_mutex_take(&world->registry);
	world->operation[operation->slot] = NULL;
	lock_mutex_drop(&world->registry);
	if (operation->session != NULL)
		end_request(operation->session);
	if (error == 0)
		atomic_fetch_add(&world->done[operation->kind], 1);
	else if (error == -EINTR)
		atomic_fetch_add(&world->interrupts, 1);
	else if (error == -EBUSY)
		atomic_fetch_add(&world->busy, 1);
	free(operation);
}

/* Once, or once more after it was woken. */
static void run(struct worker *worker, struct operation *operation)
{
	struct world *world = worker->world;
	int error;

	expect(world, !atomic_exchange(&operation->waiting, true), "runs while it waits");
	running = operation;
	error = operation->kind == PIN ? run_pin(worker, operation) : run_break(worker, operation);
	running = NULL;
	if (error == -EINPROGRESS) {
		atomic_fetch_add(&world->parks, 1);
		return;
	}
	expect(world, atomic_exchange(&operation->waiting, false), "woken without having waited");
	end_operation(world, operation, error);
}

/* Runs one that was woken. */
static bool resume(struct worker *worker)
{
	struct world *world = worker->world;
	struct operation *operation;

	lock_mutex_take(&world->woken_lock);
	operation = world->woken;
	if (operation != NULL)
		world->woken = operation->next_woken;
	lock_mutex_drop(&world->woken_lock);
	if (operation == NULL)
		return false;
	operation->has_waited = true;
	if (operation->waiter.verdict == PIN_VERDICT_TIMEOUT)
		atomic_fetch_add(&world->timeouts, 1);
	run(worker, operation);
	return true;
}

static const unsigned flags_of_pins[] = {
	0,
	0,
	PIN_FLAG_WRITE,
	PIN_FLAG_WRITE,
	PIN_FLAG_CACHED,
	PIN_FLAG_CACHED | PIN_FLAG_WRITE,
	PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE,
	PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE | PIN_FLAG_CACHED,
};

static uint64_t some_timeout(struct worker *worker)
{
	uint64_t r = next(worker) % 10;

	return r == 0 ? 0 : r < 3 ? 1 + next(worker) % 100000 : PIN_FOREVER;
}

static void start(struct worker *worker, enum kind kind)
{
	struct world *world = worker->world;
	struct client *client = &world->client[next(worker) % HOLDERS];
	struct operation *operation = calloc(1, sizeof(*operation));

	if (operation == NULL)
		abort();
	operation->kind = kind;
	operation->file = next(worker) % FILES;
	operation->first = next(worker) % (FILE_BLOCKS - RANGE);
	operation->last = operation->first + 1 + next(worker) % RANGE;
	operation->nonblock = chance(worker, 15);
	operation->flags = flags_of_pins[next(worker) % ARRAY_SIZE(flags_of_pins)];
	pin_waiter_init(&operation->waiter, some_timeout(worker), chance(worker, 70),
			kind == WRITE && chance(worker, 50) ? client->process : 0);
	if (!add_operation(world, operation)) {
		free(operation);
		return;
	}
	if (kind == PIN)
		operation->session = begin_request(client);
	run(worker, operation);
}

static void interrupt(struct worker *worker)
{
	struct world *world = worker->world;
	struct operation *operation;

	lock_mutex_take(&world->registry);
	operation = world->operation[next(worker) % OPERATIONS];
	if (operation != NULL)
		pin_waiter_interrupt(world->table, &operation->waiter);
	lock_mutex_drop(&world->registry);
}

#endif
