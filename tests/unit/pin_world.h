/*
 * The world around a pin table, for pin_threads.c: files with maps of blocks, an allocator, a ledger, limbo, clients, a
 * reaper; and what it believes, to be compared with what the table does.
 */
#ifndef PINFS_TEST_PIN_WORLD_H
#define PINFS_TEST_PIN_WORLD_H

#include "base/arith.h"
#include "base/lock.h"
#include "pin/pin.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define FILES 5u
#define FILE_BLOCKS 48u
#define PHYS 700u /* of the allocator: more than the files, so that limbo has room */
#define BASE ((9ull << 18) - 300) /* on both sides of a chunk's border */
#define NONE UINT32_MAX
#define HOLDERS 10u
#define OPERATIONS 40u /* in the air */
#define WORDS (1u << 20)
#define RANGE 12u /* blocks of a pin or a break, at most */

/* ---- The oracle's state ---- */

struct record; /* a pin */

/* One client session after another. */
struct client {
	struct lock_mutex using; /* LOCK_LEDGER; the process uses its cached pins, or dies */
	struct lock_mutex session; /* LOCK_SESSION; protects what follows */
	struct session *now;
	struct record *records; /* not dropped by the client */
	struct world *world;
	pid_t process;
	bool honest; /* never ignored by breaks */
};

/* A holder of the table, and the requests for it that are under way: it is freed after them. */
struct session {
	struct pin_holder *holder;
	struct client *client;
	unsigned requests;
	bool reaped;
};

/*
 * Whether a record counts in exclusive[]: not told yet, told, being given up, or lost (an event may come before the
 * client is told, or while it gives it up).
 */
enum exclusive { EXCLUSIVE_NOT, EXCLUSIVE_TOLD, EXCLUSIVE_GIVING_UP, EXCLUSIVE_LOST };

/* Its address is the pin's id. */
struct record {
	struct session *session;
	struct pin *pin;
	struct record *next;
	uint64_t file, first, count;
	uint32_t phys[RANGE];
	unsigned flags;
	wire_word *word; /* cached; `promised` is one of its holds */
	bool promised; /* the client holds it, as far as it knows */
	bool told; /* it counts in told[] */
	atomic_int exclusive; /* enum exclusive */
};

enum kind { PIN, UNMAP, EVICT, WRITE, KINDS };

struct operation {
	struct pin_waiter waiter;
	atomic_bool waiting; /* may be woken now, once */
	bool has_waited;
	enum kind kind;
	struct session *session; /* PIN */
	uint64_t file, first, last;
	unsigned flags;
	bool nonblock;
	struct operation *next_woken;
	size_t slot;
};

struct file {
	struct lock_rw layout; /* LOCK_LAYOUT */
	struct lock_mutex map_lock; /* LOCK_MAP; protects map among those who hold layout shared */
	uint32_t map[FILE_BLOCKS];
	/* Breaks that wait, and how many have ended. An operation that has been woken may be over before who parked it
	 * has counted it: so the number may be too low for a moment, never too high. */
	atomic_int barrier[FILE_BLOCKS];
	atomic_uint barrier_ends[FILE_BLOCKS];
};

enum owner { OWNER_FREE, OWNER_LIMBO, OWNER_FILE };

struct world {
	uint64_t seed;
	struct pin_table *table;
	struct file file[FILES];
	struct client client[HOLDERS];
	_Atomic uint32_t owner[PHYS]; /* OWNER_FILE + number */
	atomic_uint promised[PHYS]; /* clients that believe that they hold it */
	atomic_uint told[PHYS]; /* of these, honest ones whose pin is confirmed */
	atomic_uint ledger[PHYS]; /* entries that name it */
	atomic_int exclusive[PHYS]; /* honest exclusive pins; too low for a moment, never too high */
	atomic_int exclusive_process[PHYS];
	atomic_uint writing[HOLDERS][PHYS]; /* honest write pins that are told, without cached ones */
	struct lock_mutex reaping; /* LOCK_REAP */
	struct lock_mutex registry; /* LOCK_INODES; protects operation[], and that they stay as long as it is held */
	struct operation *operation[OPERATIONS];
	struct lock_mutex woken_lock; /* LOCK_LEAF */
	struct operation *woken;
	atomic_uint words_used;
	wire_word *words;
	_Atomic uint64_t events_left;
	atomic_uint faults;
	atomic_uint done[KINDS]; /* and others, so that a test that does nothing shows */
	atomic_uint parks, timeouts, interrupts, busy, retaken, limbo, deaths;
};

struct worker {
	struct world *world;
	uint64_t random;
};

/* What this thread is doing: events come from within. */
static _Thread_local const struct operation *running;

static void fault(struct world *world, const char *what)
{
	if (atomic_fetch_add(&world->faults, 1) < 5)
		fprintf(stderr, "# fault (seed %llu): %s\n", (unsigned long long)world->seed, what);
}

static void expect(struct world *world, bool condition, const char *what)
{
	if (!condition)
		fault(world, what);
}

static uint64_t next(struct worker *worker)
{
	worker->random ^= worker->random << 13;
	worker->random ^= worker->random >> 7;
	worker->random ^= worker->random << 17;
	return worker->random >> 11;
}

static bool chance(struct worker *worker, unsigned percent)
{
	return next(worker) % 100 < percent;
}

static uint64_t phys_of(uint32_t number)
{
	return BASE + number;
}

static uint64_t ino_of(uint64_t file)
{
	return 100 + file;
}

/* ---- What the table calls ---- */

static void on_event(void *data, const struct pin_event *event)
{
	const struct session *session = data;
	struct record *record = (struct record *)(uintptr_t)event->pin;
	int old = EXCLUSIVE_NOT;

	if (event->kind != PIN_EVENT_DETACHED || event->reason != PIN_WRITE)
		return;
	expect(session->client->world,
	       !session->client->honest || (running != NULL && !running->nonblock && running->waiter.expired),
	       "exclusivity is lost before somebody's time is over");
	/* Who loses it to somebody has it no more when that one goes on. */
	while (!atomic_compare_exchange_weak(&record->exclusive, &old, EXCLUSIVE_LOST)) {
		if (old == EXCLUSIVE_GIVING_UP)
			old = EXCLUSIVE_LOST;
	}
	if (old != EXCLUSIVE_TOLD)
		return;
	for (uint64_t i = 0; i < record->count; i++)
		atomic_fetch_sub(&session->client->world->exclusive[record->phys[i]], 1);
}

static void on_wake(void *arg, struct pin_waiter *waiter)
{
	struct world *world = arg;
	struct operation *operation = CONTAINER_OF(waiter, struct operation, waiter);

	expect(world, atomic_exchange(&operation->waiting, false), "woken twice, or while it does not wait");
	lock_mutex_take(&world->woken_lock);
	operation->next_woken = world->woken;
	world->woken = operation;
	lock_mutex_drop(&world->woken_lock);
}

static void on_reap(void *arg)
{
	(void)arg;
}

/* ---- Blocks ---- */

/* A free block, now the file's; NONE. */
static uint32_t allocate(struct worker *worker, uint64_t file)
{
	struct world *world = worker->world;
	uint32_t start = (uint32_t)(next(worker) % PHYS);

	for (uint32_t i = 0; i < PHYS; i++) {
		uint32_t number = (start + i) % PHYS;
		uint32_t owner = OWNER_FREE;

		if (atomic_compare_exchange_strong(&world->owner[number], &owner, OWNER_FILE + (uint32_t)file))
			return number;
	}
	return NONE;
}

static void give(struct world *world, uint32_t number, uint32_t owner)
{
	expect(world, !pin_is_counted(world->table, phys_of(number), 1), "a counted block is freed");
	expect(world, atomic_load(&world->promised[number]) == 0, "a client's block is freed");
	expect(world, atomic_load(&world->ledger[number]) == 0, "a block that the ledger names is freed");
	expect(world, atomic_compare_exchange_strong(&world->owner[number], &owner, OWNER_FREE), "freed by another");
}

/* Gives every block of the range one of its own. Layout is held. False: there are not enough. */
static bool populate(struct worker *worker, uint64_t number, uint64_t first, uint64_t last)
{
	struct file *file = &worker->world->file[number];
	bool enough = true;

	lock_mutex_take(&file->map_lock);
	for (uint64_t b = first; b < last && enough; b++) {
		if (file->map[b] != NONE)
			continue;
		/* Often behind the block before, so that there are longer runs. */
		file->map[b] = allocate(worker, number);
		enough = file->map[b] != NONE;
	}
	lock_mutex_drop(&file->map_lock);
	return enough;
}

/* ---- Records ---- */

static void tell_exclusive(struct record *record)
{
	struct client *client = record->session->client;
	bool beside = false;
	int old = EXCLUSIVE_NOT;

	for (uint64_t i = 0; i < record->count; i++) {
		atomic_store(&client->world->exclusive_process[record->phys[i]], client->process);
		for (unsigned other = 0; other < HOLDERS; other++)
			beside = beside || (client != &client->world->client[other] &&
					    atomic_load(&client->world->writing[other][record->phys[i]]) > 0);
	}
	if (!atomic_compare_exchange_strong(&record->exclusive, &old, EXCLUSIVE_TOLD))
		return;
	expect(client->world, !beside, "an exclusive pin beside a write pin");
	for (uint64_t i = 0; i < record->count; i++)
		atomic_fetch_add(&client->world->exclusive[record->phys[i]], 1);
}

/* True if an honest client of another process has an exclusive pin of it. */
static bool is_excluded(struct world *world, uint32_t phys, pid_t process)
{
	return atomic_load(&world->exclusive[phys]) > 0 && atomic_load(&world->exclusive_process[phys]) != process;
}

static void count_writing(const struct record *record, int by)
{
	const struct client *client = record->session->client;

	for (uint64_t i = 0; (record->flags & PIN_FLAG_WRITE) != 0 && record->word == NULL && i < record->count; i++)
		atomic_fetch_add(&client->world->writing[client - client->world->client][record->phys[i]],
				 (unsigned)by);
}

/* The client has heard of its pin, or holds it again. */
static void tell(struct record *record)
{
	const struct client *client = record->session->client;
	struct world *world = client->world;

	if (!client->honest)
		return;
	record->told = true;
	count_writing(record, 1);
	for (uint64_t i = 0; i < record->count; i++) {
		atomic_fetch_add(&world->told[record->phys[i]], 1);
		expect(world,
		       (record->flags & PIN_FLAG_WRITE) == 0 || record->word != NULL ||
			       !is_excluded(world, record->phys[i], client->process),
		       "a write pin beside an exclusive one");
	}
}

static void untell(struct record *record)
{
	int told = EXCLUSIVE_TOLD;
	struct world *world = record->session->client->world;

	if (record->told) {
		count_writing(record, -1);
		for (uint64_t i = 0; i < record->count; i++)
			atomic_fetch_sub(&world->told[record->phys[i]], 1);
	}
	record->told = false;
	if (atomic_compare_exchange_strong(&record->exclusive, &told, EXCLUSIVE_GIVING_UP)) {
		for (uint64_t i = 0; i < record->count; i++)
			atomic_fetch_sub(&world->exclusive[record->phys[i]], 1);
		atomic_store(&record->exclusive, EXCLUSIVE_LOST);
	}
}

static void promise(struct record *record)
{
	for (uint64_t i = 0; i < record->count; i++)
		atomic_fetch_add(&record->session->client->world->promised[record->phys[i]], 1);
	record->promised = true;
}

/* The client lets go, or learns that it has not got it. */
static void unpromise(struct record *record)
{
	untell(record);
	for (uint64_t i = 0; record->promised && i < record->count; i++)
		atomic_fetch_sub(&record->session->client->world->promised[record->phys[i]], 1);
	record->promised = false;
}

static void unlink_record(struct client *client, struct record *record)
{
	struct record **at = &client->records;

	while (*at != NULL && *at != record)
		at = &(*at)->next;
	if (*at != NULL)
		*at = record->next;
}

/* One of the client's, or NULL. Its session is locked. */
static struct record *some_record(struct worker *worker, const struct client *client, bool cached)
{
	struct record *found = NULL;
	unsigned count = 0;

	for (struct record *record = client->records; record != NULL; record = record->next) {
		if (!cached || record->word != NULL) {
			count++;
			if (next(worker) % count == 0)
				found = record;
		}
	}
	return found;
}

/* ---- Sessions ---- */

static void open_session(struct worker *worker, struct client *client)
{
	struct world *world = worker->world;
	struct session *session = calloc(1, sizeof(*session));

	if (session == NULL || pin_holder_create(world->table, (uintptr_t)session, 1000 + (uid_t)(next(worker) % 3),
						 client->process, session, &session->holder) != 0)
		abort();
	session->client = client;
	client->now = session;
}

/* Requests are over and the table has let it go. */
static void free_session(struct session *session)
{
	pin_reaped_holder(session->holder);
	free(session);
}

static struct session *begin_request(struct client *client)
{
	struct session *session;

	lock_mutex_take(&client->session);
	session = client->now;
	session->requests++;
	lock_mutex_drop(&client->session);
	return session;
}

static void end_request(struct session *session)
{
	struct client *client = session->client;
	bool last;

	lock_mutex_take(&client->session);
	session->requests--;
	last = session->requests == 0 && session->reaped;
	lock_mutex_drop(&client->session);
	if (last)
		free_session(session);
}

/* The process is dead: what it held it holds no more. A new one takes its place. */
static void die(struct worker *worker, struct client *client)
{
	struct pin_holder *holder;

	lock_mutex_take(&client->using);
	lock_mutex_take(&client->session);
	for (struct record *record = client->records; record != NULL; record = record->next)
		unpromise(record);
	client->records = NULL;
	holder = client->now->holder;
	pin_holder_close(holder);
	atomic_fetch_add(&client->world->deaths, 1);
	open_session(worker, client);
	lock_mutex_drop(&client->session);
	lock_mutex_drop(&client->using);
}

/* ---- The reaper ---- */

static void reap_pin(struct world *world, struct pin *pin)
{
	struct pin_info info;
	struct record *record;
	struct client *client;

	pin_get_info(pin, &info);
	record = (struct record *)(uintptr_t)info.id;
	client = record->session->client;
	lock_mutex_take(&client->session); /* whoever has found the pin is done with it */
	expect(world, info.dropped, "reaped while it is held");
	expect(world, !record->promised, "reaped while its client holds it");
	unlink_record(client, record);
	for (uint64_t i = 0; i < record->count; i++)
		atomic_fetch_sub(&world->ledger[record->phys[i]], 1);
	pin_reaped(pin);
	lock_mutex_drop(&client->session);
	free(record);
}

static void reap_holder(struct pin_holder *holder)
{
	struct session *session = (struct session *)(uintptr_t)pin_holder_session(holder);
	bool last;

	lock_mutex_take(&session->client->session);
	session->reaped = true;
	last = session->requests == 0;
	lock_mutex_drop(&session->client->session);
	if (last)
		free_session(session);
}

static void reap_run(struct world *world, uint64_t phys, uint64_t length)
{
	for (uint64_t i = 0; i < length; i++)
		give(world, (uint32_t)(phys + i - BASE), OWNER_LIMBO);
}

static void reap_some(struct world *world, size_t most)
{
	struct pin_reap item;

	lock_mutex_take(&world->reaping);
	for (size_t i = 0; i < most && pin_reap_take(world->table, &item, 1) == 1; i++) {
		if (item.kind == PIN_REAP_PIN)
			reap_pin(world, item.pin);
		else if (item.kind == PIN_REAP_HOLDER)
			reap_holder(item.holder);
		else
			reap_run(world, item.run.phys, item.run.length);
	}
	lock_mutex_drop(&world->reaping);
}

#endif
