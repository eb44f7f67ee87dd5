/*
 * A million events of a pin table by five threads, beside an oracle that has a filesystem's part: files with maps of
 * blocks, an allocator, a ledger, limbo, clients. It knows nothing of how the table works, only what may never happen:
 *
 *   - a block is given back to the allocator while a client holds it, or while the ledger names it;
 *   - a break that was not at the end of its time goes on over a block that a client holds;
 *   - a pin is granted over a break that waits; exclusive pins, or others' write pins, side by side;
 *   - a parked operation is woken twice, or without having been told that it waits;
 *   - when all is quiet, somebody waits for nothing, or the table's numbers are not the sums of what is pinned.
 *
 * PINFS_TEST_EVENTS and PINFS_TEST_SEED in the environment change how long and which.
 */
#include "pin_operations.h"

#define THREADS 5u
#define ROUNDS 100u
#define EVENTS 1000000u

/* ---- Clients ---- */

static void drop_one(struct worker *worker, struct client *client)
{
	struct record *record;

	lock_mutex_take(&client->using);
	lock_mutex_take(&client->session);
	record = some_record(worker, client, false);
	if (record != NULL) {
		unpromise(record);
		unlink_record(client, record);
		pin_drop(record->pin);
	}
	lock_mutex_drop(&client->session);
	lock_mutex_drop(&client->using);
}

/* Whoever makes the count 0 rings, if it is wanted. */
static bool release(wire_word *word)
{
	uint32_t old = atomic_fetch_sub(word, 1);

	return (old & WIRE_WORD_BELL) != 0 && (old & WIRE_WORD_REVOKED) == 0 && (old & WIRE_WORD_COUNT) == 1;
}

static bool hold(wire_word *word, bool *ret_ring)
{
	uint32_t old = atomic_fetch_add(word, 1);

	*ret_ring = false;
	if ((old & (WIRE_WORD_BELL | WIRE_WORD_REVOKED)) == 0)
		return true;
	*ret_ring = release(word);
	return false;
}

static void ring(struct client *client, uint64_t id)
{
	struct pin *pin;

	lock_mutex_take(&client->session);
	pin = pin_find(client->now->holder, id);
	if (pin != NULL)
		(void)pin_bell(pin);
	lock_mutex_drop(&client->session);
}

/* Holds a cached pin for a moment, with nothing but its word. */
static void use_cached(struct worker *worker, struct client *client)
{
	struct world *world = client->world;
	struct record copy = {.count = 0};
	struct record *record;
	bool must_ring = false;

	lock_mutex_take(&client->using);
	lock_mutex_take(&client->session);
	record = some_record(worker, client, true);
	if (record != NULL) {
		copy.word = record->word;
		copy.count = record->count;
		memcpy(copy.phys, record->phys, sizeof(copy.phys));
	}
	lock_mutex_drop(&client->session);
	if (copy.word != NULL && hold(copy.word, &must_ring)) {
		for (uint64_t i = 0; i < copy.count; i++)
			atomic_fetch_add(&world->promised[copy.phys[i]], 1);
		for (uint64_t i = 0; client->honest && i < copy.count; i++)
			atomic_fetch_add(&world->told[copy.phys[i]], 1);
		for (uint64_t i = 0; client->honest && i < copy.count; i++)
			atomic_fetch_sub(&world->told[copy.phys[i]], 1);
		for (uint64_t i = 0; i < copy.count; i++)
			atomic_fetch_sub(&world->promised[copy.phys[i]], 1);
		must_ring = release(copy.word);
	}
	if (must_ring)
		ring(client, (uintptr_t)record);
	lock_mutex_drop(&client->using);
}

/* Lets go of a cached pin and keeps it, idle; or holds an idle one again. */
static void keep_cached(struct worker *worker, struct client *client)
{
	struct record *record;
	bool must_ring = false;

	lock_mutex_take(&client->using);
	lock_mutex_take(&client->session);
	record = some_record(worker, client, true);
	if (record != NULL && record->promised) {
		unpromise(record);
		must_ring = release(record->word);
	} else if (record != NULL && hold(record->word, &must_ring)) {
		promise(record);
		tell(record);
	}
	lock_mutex_drop(&client->session);
	if (must_ring)
		ring(client, (uintptr_t)record);
	lock_mutex_drop(&client->using);
}

/* What the table says of a pin is what the file has. */
static void look(struct worker *worker, struct client *client)
{
	struct world *world = worker->world;
	uint64_t number = next(worker) % FILES;
	struct file *file = &world->file[number];
	struct pin_extent extents[RANGE * 2];
	struct record *record;
	size_t count = 0, total = 0;

	lock_rw_take_shared(&file->layout);
	lock_mutex_take(&file->map_lock);
	lock_mutex_take(&client->session);
	record = some_record(worker, client, false);
	if (record != NULL && record->file == number) {
		struct pin_info info;

		count = pin_get_extents(record->pin, 0, extents, ARRAY_SIZE(extents), &total);
		expect(world, count == total, "extents");
		pin_get_info(record->pin, &info);
		if (info.dropped) /* a cached one that was taken away */
			count = 0;
	}
	for (size_t i = 0; i < count; i++) {
		for (uint64_t b = 0; b < extents[i].length; b++) {
			bool has = file->map[extents[i].file_block + b] == extents[i].phys + b - BASE;

			expect(world, has != extents[i].detached, "detached is not what the file says");
		}
	}
	lock_mutex_drop(&client->session);
	lock_mutex_drop(&file->map_lock);
	lock_rw_drop(&file->layout);
}

static void stop_ignoring(struct client *client)
{
	lock_mutex_take(&client->session);
	pin_holder_set_ignored(client->now->holder, false);
	lock_mutex_drop(&client->session);
}

static void ignore_dishonest(void *arg, struct pin_holder *holder)
{
	struct session *session = (struct session *)(uintptr_t)pin_holder_session(holder);

	(void)arg;
	if (!session->client->honest)
		pin_holder_set_ignored(holder, true);
}

static int see_pin(void *arg, const struct pin_info *info)
{
	(void)info;
	(*(uint64_t *)arg)++;
	return 0;
}

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void ask(struct worker *worker)
{
	struct world *world = worker->world;
	struct pin_stats stats;
	uint64_t pins = 0;

	if (chance(worker, 10))
		(void)pin_visit(world->table, 0, see_pin, NULL, &pins);
	else if (chance(worker, 50))
		(void)pin_file_bytes(world->table, ino_of(next(worker) % FILES));
	else if (chance(worker, 50))
		(void)pin_conflict(world->table, ino_of(next(worker) % FILES), 0, FILE_BLOCKS);
	else if (chance(worker, 30))
		pin_poisoned(world->table, phys_of((uint32_t)(next(worker) % PHYS)), 1, NULL);
	else
		pin_get_stats(world->table, now(), &stats);
}

/* ---- Threads ---- */

static void event(struct worker *worker)
{
	struct world *world = worker->world;
	struct client *client = &world->client[next(worker) % HOLDERS];
	uint64_t r = next(worker) % 1000;

	if (chance(worker, 70) && resume(worker))
		return;
	if (r < 300)
		start(worker, PIN);
	else if (r < 380)
		start(worker, UNMAP);
	else if (r < 420)
		start(worker, WRITE);
	else if (r < 435)
		start(worker, EVICT);
	else if (r < 700)
		drop_one(worker, client);
	else if (r < 780)
		use_cached(worker, client);
	else if (r < 840)
		keep_cached(worker, client);
	else if (r < 900)
		reap_some(world, 1 + next(worker) % 8);
	else if (r < 920)
		interrupt(worker);
	else if (r < 935)
		pin_tick(world->table, now(), chance(worker, 50) ? ignore_dishonest : NULL, NULL);
	else if (r < 950 && !client->honest)
		stop_ignoring(client);
	else if (r < 953)
		die(worker, client);
	else if (r < 985)
		look(worker, client);
	else
		ask(worker);
}

static void *work(void *arg)
{
	struct worker *worker = arg;
	_Atomic uint64_t *left = &worker->world->events_left;
	uint64_t seen = atomic_load(left);

	while (seen > 0) {
		if (atomic_compare_exchange_weak(left, &seen, seen - 1)) {
			event(worker);
			seen = atomic_load(left);
		}
	}
	return NULL;
}

/* ---- When all is quiet ---- */

/* With the same wish, and no time at all, it has to be told that it cannot go on. */
static void check_waiter(struct world *world, struct operation *operation)
{
	struct pin_waiter probe;
	int error;

	expect(world, operation->waiter.state == PIN_WAITER_WAITING, "parked and not waiting");
	expect(world, !atomic_load(&operation->waiter.interrupted), "waits though it was interrupted");
	if (operation->kind == PIN) {
		expect(world, operation->session == operation->session->client->now, "the dead wait");
		error = pin_admit(world->table, operation->session->holder, ino_of(operation->file), operation->first,
				  operation->last, operation->flags, NULL);
	} else {
		pin_waiter_init(&probe, 0, false, operation->waiter.process);
		error = pin_break(world->table, ino_of(operation->file), operation->first, operation->last,
				  operation->kind == WRITE ? PIN_WRITE : PIN_UNMAP, &probe);
		pin_waiter_end(world->table, &probe);
	}
	expect(world, error != 0, "somebody waits for nothing: a lost wake-up");
}

/* All that is dropped has been reaped: what is counted is what the clients have. */
static void check_numbers(struct world *world, unsigned waiting)
{
	struct pin_stats stats;
	uint64_t pins = 0, pinned = 0, limbo = 0;

	for (unsigned i = 0; i < HOLDERS; i++) {
		for (struct record *record = world->client[i].records; record != NULL; record = record->next)
			pins++;
	}
	for (uint32_t p = 0; p < PHYS; p++) {
		pinned += atomic_load(&world->ledger[p]) > 0;
		limbo += atomic_load(&world->owner[p]) == OWNER_LIMBO;
		expect(world, pin_is_counted(world->table, phys_of(p), 1) == (atomic_load(&world->ledger[p]) > 0),
		       "counts are not the sum of the pins");
	}
	pin_get_stats(world->table, now(), &stats);
	expect(world, stats.pins == pins, "pins");
	expect(world, stats.pinned_blocks == pinned, "pinned blocks");
	expect(world, stats.limbo_blocks == limbo, "limbo blocks");
	expect(world, stats.waiting == waiting && pin_waiting(world->table) == waiting, "waiting");
	expect(world, pin_any(world->table) == (pins > 0), "pin_any");
	for (uint64_t f = 0; f < FILES; f++) {
		uint64_t bytes = 0;

		for (unsigned b = 0; b < FILE_BLOCKS; b++) {
			uint32_t phys = world->file[f].map[b];

			bytes += phys != NONE && atomic_load(&world->ledger[phys]) > 0 ? 4096 : 0;
		}
		expect(world, pin_file_bytes(world->table, ino_of(f)) == bytes, "bytes of a file");
	}
}

/* Only this thread is there. */
static unsigned settle(struct worker *worker)
{
	struct world *world = worker->world;
	unsigned waiting = 0;

	while (resume(worker))
		;
	reap_some(world, SIZE_MAX);
	for (size_t i = 0; i < OPERATIONS; i++) {
		if (world->operation[i] != NULL) {
			waiting++;
			check_waiter(world, world->operation[i]);
		}
	}
	reap_some(world, SIZE_MAX);
	check_numbers(world, waiting);
	return waiting;
}

/* The sessions end: everything is dropped, everybody goes on. */
static void finish(struct worker *worker)
{
	struct world *world = worker->world;
	struct pin_stats stats;

	for (unsigned i = 0; i < HOLDERS; i++)
		die(worker, &world->client[i]);
	expect(world, settle(worker) == 0, "somebody still waits when all pins are gone");
	for (unsigned i = 0; i < HOLDERS; i++)
		pin_holder_close(world->client[i].now->holder);
	reap_some(world, SIZE_MAX);
	pin_get_stats(world->table, now(), &stats);
	expect(world, stats.holders == 0 && stats.waiting_breaks == 0, "something is left");
	expect(world, !pin_any(world->table) && !pin_any_exclusive(world->table), "pins are left");
	for (uint32_t p = 0; p < PHYS; p++) {
		expect(world, atomic_load(&world->owner[p]) != OWNER_LIMBO, "limbo is left");
		expect(world,
		       atomic_load(&world->promised[p]) == 0 && atomic_load(&world->told[p]) == 0 &&
			       atomic_load(&world->exclusive[p]) == 0,
		       "the oracle's own sums");
	}
}

/* ---- The test ---- */

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

static struct world *make_world(void)
{
	static const struct pin_ops ops = {on_event, on_wake, on_reap};
	struct world *world = calloc(1, sizeof(*world));

	if (world == NULL || pin_table_create(&ops, world, 1ull << 40, &world->table) != 0)
		abort();
	world->words = calloc(WORDS, sizeof(*world->words));
	if (world->words == NULL)
		abort();
	world->seed = from_environment("PINFS_TEST_SEED", 1);
	assert_int_equal(lock_mutex_init(&world->reaping, LOCK_REAP), 0);
	assert_int_equal(lock_mutex_init(&world->registry, LOCK_INODES), 0);
	assert_int_equal(lock_mutex_init(&world->woken_lock, LOCK_LEAF), 0);
	for (unsigned f = 0; f < FILES; f++) {
		assert_int_equal(lock_rw_init(&world->file[f].layout, LOCK_LAYOUT), 0);
		assert_int_equal(lock_mutex_init(&world->file[f].map_lock, LOCK_MAP), 0);
		for (unsigned b = 0; b < FILE_BLOCKS; b++)
			world->file[f].map[b] = NONE;
	}
	return world;
}

static void make_clients(struct worker *worker)
{
	struct world *world = worker->world;

	for (unsigned i = 0; i < HOLDERS; i++) {
		struct client *client = &world->client[i];

		client->world = world;
		client->process = 500 + (pid_t)i;
		client->honest = i % 5 != 0;
		assert_int_equal(lock_mutex_init(&client->using, LOCK_LEDGER), 0);
		assert_int_equal(lock_mutex_init(&client->session, LOCK_SESSION), 0);
		open_session(worker, client);
	}
}

static void free_world(struct world *world)
{
	pin_table_destroy(world->table);
	for (unsigned i = 0; i < HOLDERS; i++) {
		lock_mutex_fini(&world->client[i].using);
		lock_mutex_fini(&world->client[i].session);
	}
	for (unsigned f = 0; f < FILES; f++) {
		lock_rw_fini(&world->file[f].layout);
		lock_mutex_fini(&world->file[f].map_lock);
	}
	lock_mutex_fini(&world->reaping);
	lock_mutex_fini(&world->registry);
	lock_mutex_fini(&world->woken_lock);
	free(world->words);
	free(world);
}

/* A test in which one of these never happens tests little. */
static void check_outcomes(struct world *world)
{
	for (unsigned i = 0; i < KINDS; i++)
		assert_true(atomic_load(&world->done[i]) > 0);
	assert_true(atomic_load(&world->parks) > 0);
	assert_true(atomic_load(&world->timeouts) > 0);
	assert_true(atomic_load(&world->interrupts) > 0);
	assert_true(atomic_load(&world->busy) > 0);
	assert_true(atomic_load(&world->limbo) > 0);
	assert_true(atomic_load(&world->deaths) > HOLDERS);
	print_message(
		"# %u pins, %u unmaps, %u writes, %u parks, %u timeouts, %u interrupts, %u taken back, %u to limbo\n",
		atomic_load(&world->done[PIN]), atomic_load(&world->done[UNMAP]), atomic_load(&world->done[WRITE]),
		atomic_load(&world->parks), atomic_load(&world->timeouts), atomic_load(&world->interrupts),
		atomic_load(&world->retaken), atomic_load(&world->limbo));
}

static void test_events(void **state)
{
	struct world *world = make_world();
	struct worker alone = {.world = world, .random = world->seed * 0x9e3779b97f4a7c15ull | 1};
	uint64_t events = from_environment("PINFS_TEST_EVENTS", EVENTS);
	unsigned faults;

	(void)state;
	make_clients(&alone);
	for (unsigned round = 0; round < ROUNDS && atomic_load(&world->faults) == 0; round++) {
		struct worker workers[THREADS];
		pthread_t threads[THREADS];

		atomic_store(&world->events_left, events / ROUNDS);
		for (unsigned i = 0; i < THREADS; i++) {
			workers[i] = (struct worker){.world = world, .random = next(&alone) << 20 | 1};
			assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
		}
		for (unsigned i = 0; i < THREADS; i++)
			assert_int_equal(pthread_join(threads[i], NULL), 0);
		settle(&alone);
	}
	finish(&alone);
	faults = atomic_load(&world->faults);
	if (faults == 0)
		check_outcomes(world);
	else
		print_error("seed %llu: %u faults\n", (unsigned long long)world->seed, faults);
	free_world(world);
	assert_int_equal(faults, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_events)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
