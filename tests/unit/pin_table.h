/* A pin table for tests: what it tells is recorded; one place for the calls that a grant is made of. */
#ifndef PINFS_TEST_PIN_TABLE_H
#define PINFS_TEST_PIN_TABLE_H

#include "pin/pin.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BLOCK 4096ull
#define EVENTS_MAX 256
#define INO 17ull

struct pin_fixture {
	struct pin_table *table;
	struct pin_event events[EVENTS_MAX];
	void *receivers[EVENTS_MAX];
	size_t event_count;
	struct pin_waiter *woken[EVENTS_MAX];
	size_t wake_count;
	size_t reap_calls;
	uint64_t next_id, next_session;
};

static struct pin_fixture *fixture_now; /* events carry the holder's data only */

static void fixture_event(void *data, const struct pin_event *event)
{
	struct pin_fixture *f = fixture_now;

	assert_true(f->event_count < EVENTS_MAX);
	f->receivers[f->event_count] = data;
	f->events[f->event_count++] = *event;
}

static void fixture_wake(void *arg, struct pin_waiter *waiter)
{
	struct pin_fixture *f = arg;

	assert_true(f->wake_count < EVENTS_MAX);
	f->woken[f->wake_count++] = waiter;
}

static void fixture_reap(void *arg)
{
	((struct pin_fixture *)arg)->reap_calls++;
}

static inline int fixture_setup(void **state)
{
	static const struct pin_ops ops = {fixture_event, fixture_wake, fixture_reap};
	struct pin_fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(pin_table_create(&ops, f, 1ull << 40, &f->table), 0);
	f->next_id = 100;
	f->next_session = 1;
	fixture_now = f;
	*state = f;
	return 0;
}

static inline int fixture_teardown(void **state)
{
	struct pin_fixture *f = *state;

	pin_table_destroy(f->table);
	free(f);
	return 0;
}

/* Its events come with itself as data: the address of the variable. */
static inline struct pin_holder *holder(struct pin_fixture *f, uid_t uid, pid_t process)
{
	struct pin_holder *made;

	assert_int_equal(pin_holder_create(f->table, f->next_session++, uid, process, f, &made), 0);
	pin_holder_set_data(made, made);
	return made;
}

/* A pin of blocks [first, first + count) of the file, which lie at `phys`: as far as pin_take(). */
static inline int take_at(struct pin_fixture *f, struct pin_holder *holder, uint64_t ino, uint64_t first,
			  uint32_t count, uint64_t phys, unsigned flags, wire_word *word, struct pin **ret_pin)
{
	const struct pin_extent extent = {.file_block = first, .phys = phys, .length = count};
	const struct pin_request request = {
		.id = f->next_id++,
		.ino = ino,
		.generation = 3,
		.flags = flags,
		.offset = first * BLOCK,
		.length = count * BLOCK,
		.extents = &extent,
		.count = 1,
		.word = word,
		.path = "/a/file",
		.now = 5,
	};

	return pin_take(f->table, holder, &request, ret_pin);
}

/* Where the tests' files have their blocks. */
static inline uint64_t phys_of(uint64_t ino, uint64_t block)
{
	return (ino << 20) + block + 1;
}

static inline int try_pin(struct pin_fixture *f, struct pin_holder *holder, uint64_t first, uint32_t count,
			  unsigned flags, struct pin_waiter *waiter, struct pin **ret_pin)
{
	int error = pin_admit(f->table, holder, INO, first, first + count, flags, waiter);

	if (error == 0)
		error = take_at(f, holder, INO, first, count, phys_of(INO, first), flags, NULL, ret_pin);
	if (error == 0)
		error = pin_confirm(*ret_pin);
	return error;
}

static inline struct pin *pin_at(struct pin_fixture *f, struct pin_holder *holder, uint64_t first, uint32_t count,
				 unsigned flags)
{
	struct pin *pin = NULL;

	assert_int_equal(try_pin(f, holder, first, count, flags, NULL, &pin), 0);
	return pin;
}

static inline struct pin *cached_at(struct pin_fixture *f, struct pin_holder *holder, uint64_t first, uint32_t count,
				    unsigned flags, wire_word *word)
{
	struct pin *pin = NULL;

	assert_int_equal(pin_admit(f->table, holder, INO, first, first + count, flags | PIN_FLAG_CACHED, NULL), 0);
	assert_int_equal(
		take_at(f, holder, INO, first, count, phys_of(INO, first), flags | PIN_FLAG_CACHED, word, &pin), 0);
	assert_int_equal(pin_confirm(pin), 0);
	return pin;
}

static inline int unmap(struct pin_fixture *f, uint64_t first, uint64_t last, struct pin_waiter *waiter)
{
	return pin_break(f->table, INO, first, last, PIN_UNMAP, waiter);
}

static inline struct pin_stats stats(struct pin_fixture *f)
{
	struct pin_stats numbers;

	pin_get_stats(f->table, UINT64_MAX - 1, &numbers);
	return numbers;
}

/* Reaps everything; returns the blocks that came out of limbo. */
static inline uint64_t reap_all(struct pin_fixture *f)
{
	struct pin_reap item;
	uint64_t freed = 0;

	while (pin_reap_take(f->table, &item, 1) == 1) {
		if (item.kind == PIN_REAP_PIN)
			pin_reaped(item.pin);
		else if (item.kind == PIN_REAP_HOLDER)
			pin_reaped_holder(item.holder);
		else
			freed += item.run.length;
	}
	return freed;
}

/* What an operation does after its break: counted blocks of the file go to limbo; returns how many. */
static inline uint64_t detach(struct pin_fixture *f, uint64_t first, uint64_t last)
{
	uint64_t detached = 0;

	for (uint64_t at = phys_of(INO, first); at < phys_of(INO, last);) {
		uint64_t phys, length;
		int error = pin_counted(f->table, at, phys_of(INO, last) - at, &phys, &length);

		if (error == -ENOENT)
			break;
		assert_int_equal(error, 0);
		assert_true(phys >= at && length > 0 && phys + length <= phys_of(INO, last));
		pin_detached(f->table, INO, phys - phys_of(INO, 0), phys, (uint32_t)length);
		detached += length;
		at = phys + length;
	}
	return detached;
}

static inline void close_all(struct pin_fixture *f, struct pin_holder **holders, size_t count)
{
	for (size_t i = 0; i < count; i++)
		pin_holder_close(holders[i]);
	reap_all(f);
	assert_false(pin_any(f->table));
	assert_false(pin_any_exclusive(f->table));
	assert_int_equal(stats(f).pins, 0);
	assert_int_equal(stats(f).holders, 0);
	assert_int_equal(stats(f).pinned_blocks, 0);
	assert_int_equal(stats(f).limbo_blocks, 0);
	assert_int_equal(stats(f).waiting, 0);
}

/* The event number `index` is this one. */
static inline void expect_event(struct pin_fixture *f, size_t index, void *receiver, enum pin_event_kind kind,
				enum pin_reason reason, uint64_t first, uint64_t last)
{
	assert_true(index < f->event_count);
	assert_ptr_equal(f->receivers[index], receiver);
	assert_int_equal(f->events[index].kind, kind);
	assert_int_equal(f->events[index].reason, reason);
	assert_int_equal(f->events[index].offset, first * BLOCK);
	assert_int_equal(f->events[index].length, (last - first) * BLOCK);
}

static inline void count_visit(void *arg, struct pin_holder *holder)
{
	(void)holder;
	(*(size_t *)arg)++;
}

/* How many holders somebody waits for. */
static inline size_t blocking(struct pin_fixture *f)
{
	size_t visits = 0;

	pin_tick(f->table, 0, count_visit, &visits);
	return visits;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

#endif
