/* The pin table with one thread: exclusive pins (rule 15) and cached ones. */
#include "pin_table.h"

/* ---- Exclusive pins: rule 15 ---- */

static void test_write_break(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *h[] = {holder(f, 0, 50), holder(f, 0, 51)};
	struct pin *pin = pin_at(f, h[0], 0, 10, PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE);
	struct pin_waiter own, waiter;
	struct pin_info info;
	struct pin *other = NULL;

	assert_true(pin_any_exclusive(f->table));
	pin_at(f, h[1], 20, 10, PIN_FLAG_WRITE);
	assert_int_equal(pin_break(f->table, INO, 20, 30, PIN_WRITE, NULL), 0);
	assert_int_equal(pin_break(f->table, INO, 9, 12, PIN_WRITE, NULL), -EAGAIN); /* unknown: somebody else */
	pin_waiter_init(&own, 1000, true, 50);
	assert_int_equal(pin_break(f->table, INO, 9, 12, PIN_WRITE, &own), 0);
	pin_waiter_end(f->table, &own);
	pin_waiter_init(&waiter, 1000, true, 51);
	assert_int_equal(pin_break(f->table, INO, 9, 12, PIN_WRITE, &waiter), -EINPROGRESS);
	expect_event(f, 0, h[0], PIN_EVENT_RECALL, PIN_WRITE, 9, 10);
	assert_int_equal(try_pin(f, h[1], 9, 1, 0, NULL, &other), -EAGAIN); /* the barrier, for every pin */
	assert_int_equal(pin_break(f->table, INO, 0, 5, PIN_WRITE, NULL), -EAGAIN);
	pin_tick(f->table, UINT64_MAX - 1, NULL, NULL);
	assert_int_equal(pin_break(f->table, INO, 9, 12, PIN_WRITE, &waiter), 0);
	pin_waiter_end(f->table, &waiter);
	expect_event(f, 1, h[0], PIN_EVENT_DETACHED, PIN_WRITE, 0, 10);
	assert_int_equal(f->event_count, 2);
	assert_false(pin_any_exclusive(f->table));
	pin_get_info(pin, &info);
	assert_int_equal(info.flags, PIN_FLAG_WRITE);
	assert_int_equal(stats(f).limbo_blocks, 0);
	assert_int_equal(pin_break(f->table, INO, 0, 5, PIN_WRITE, NULL), 0);
	close_all(f, h, 2);
}

/* Losing exclusivity to one frees all who waited for that. */
static void test_exclusivity_wakes(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *h[] = {holder(f, 0, 50), holder(f, 0, 51)};
	struct pin_waiter one, two, truncate;

	pin_at(f, h[0], 0, 10, PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE);
	pin_waiter_init(&one, 0, true, 60);
	pin_waiter_init(&two, 1000, true, 61);
	pin_waiter_init(&truncate, 1000, true, 61);
	assert_int_equal(pin_break(f->table, INO, 8, 9, PIN_WRITE, &two), -EINPROGRESS);
	assert_int_equal(unmap(f, 9, 10, &truncate), -EINPROGRESS);
	assert_int_equal(pin_break(f->table, INO, 0, 1, PIN_WRITE, &one), 0);
	assert_int_equal(f->wake_count, 1);
	assert_ptr_equal(f->woken[0], &two);
	assert_int_equal(pin_break(f->table, INO, 8, 9, PIN_WRITE, &two), 0);
	pin_waiter_end(f->table, &one);
	pin_waiter_end(f->table, &two);
	pin_waiter_interrupt(f->table, &truncate);
	pin_waiter_end(f->table, &truncate);
	close_all(f, h, 2);
}

static void test_pins_exclude(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *h[] = {holder(f, 0, 50), holder(f, 0, 51), holder(f, 0, 50), holder(f, 0, 52)};
	struct pin *pin = pin_at(f, h[0], 0, 10, PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE);
	struct pin_waiter write, exclusive, third;
	struct pin *other = NULL, *written = NULL;

	pin_at(f, h[1], 0, 10, 0); /* readers do not mind */
	pin_at(f, h[2], 0, 10, PIN_FLAG_WRITE); /* the same process */
	pin_waiter_init(&write, 1000, true, 0);
	pin_waiter_init(&exclusive, 1000, true, 0);
	pin_waiter_init(&third, 1000, true, 0);
	assert_int_equal(try_pin(f, h[1], 5, 10, PIN_FLAG_WRITE, NULL, &other), -EAGAIN);
	assert_int_equal(try_pin(f, h[1], 5, 10, PIN_FLAG_WRITE, &write, &written), -EINPROGRESS);
	expect_event(f, 0, h[0], PIN_EVENT_RECALL, PIN_WRITE, 5, 10);
	/* First come, first served; who is not excluded passes. */
	assert_int_equal(try_pin(f, h[3], 12, 1, PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE, NULL, &other), -EAGAIN);
	assert_int_equal(try_pin(f, h[3], 12, 1, PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE, &exclusive, &other),
			 -EINPROGRESS);
	assert_int_equal(f->event_count, 1);
	assert_int_equal(try_pin(f, h[1], 12, 1, PIN_FLAG_WRITE, &third, &other),
			 -EINPROGRESS); /* behind `exclusive` */
	pin_at(f, h[3], 12, 1, 0);
	pin_drop(pin);
	assert_int_equal(f->wake_count, 1);
	assert_ptr_equal(f->woken[0], &write);
	assert_int_equal(try_pin(f, h[1], 5, 10, PIN_FLAG_WRITE, &write, &written), 0);
	pin_waiter_end(f->table, &write);
	assert_int_equal(f->wake_count, 2);
	assert_ptr_equal(f->woken[1], &exclusive);
	/* In its way now: the write pin that was granted before it, and it is recalled. */
	assert_int_equal(try_pin(f, h[3], 12, 1, PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE, &exclusive, &other),
			 -EINPROGRESS);
	assert_int_equal(f->event_count, 2);
	expect_event(f, 1, h[1], PIN_EVENT_RECALL, PIN_WRITE, 12, 13);
	pin_tick(f->table, UINT64_MAX - 1, NULL, NULL);
	assert_int_equal(f->wake_count, 3);
	assert_int_equal(try_pin(f, h[3], 12, 1, PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE, &exclusive, &other), -EBUSY);
	pin_waiter_end(f->table, &exclusive);
	assert_int_equal(f->wake_count, 4);
	assert_int_equal(try_pin(f, h[1], 12, 1, PIN_FLAG_WRITE, &third, &other), 0);
	pin_waiter_end(f->table, &third);
	close_all(f, h, 4);
}

static void test_write_pin_timeout(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *h[] = {holder(f, 0, 50), holder(f, 0, 51)};
	struct pin_waiter waiter;
	struct pin *other = NULL;

	pin_at(f, h[0], 0, 10, PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE);
	pin_waiter_init(&waiter, 1000, false, 0);
	assert_int_equal(try_pin(f, h[1], 5, 10, PIN_FLAG_WRITE, &waiter, &other), -EINPROGRESS);
	pin_tick(f->table, UINT64_MAX - 1, NULL, NULL);
	assert_int_equal(try_pin(f, h[1], 5, 10, PIN_FLAG_WRITE, &waiter, &other), -EBUSY);
	pin_waiter_end(f->table, &waiter);
	assert_true(pin_any_exclusive(f->table));
	pin_waiter_init(&waiter, 1000, true, 0);
	assert_int_equal(try_pin(f, h[1], 5, 10, PIN_FLAG_WRITE, &waiter, &other), -EINPROGRESS);
	pin_tick(f->table, UINT64_MAX - 1, NULL, NULL);
	assert_int_equal(try_pin(f, h[1], 5, 10, PIN_FLAG_WRITE, &waiter, &other), 0);
	pin_waiter_end(f->table, &waiter);
	assert_false(pin_any_exclusive(f->table));
	expect_event(f, 2, h[0], PIN_EVENT_DETACHED, PIN_WRITE, 0, 10);
	close_all(f, h, 2);
}

/* Pins wait for a tentative one; its holder is recalled when it has heard of the pin. */
static void test_tentative_exclusive(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *h[] = {holder(f, 0, 50), holder(f, 0, 51)};
	struct pin_waiter waiter, write;
	struct pin *pin, *other = NULL;

	assert_int_equal(take_at(f, h[0], INO, 0, 10, phys_of(INO, 0), PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE, NULL, &pin),
			 0);
	assert_false(pin_conflict(f->table, INO, 0, 10)); /* its own grant cleans the kernel's pages */
	pin_waiter_init(&waiter, 1000, true, 0);
	assert_int_equal(try_pin(f, h[1], 5, 10, PIN_FLAG_WRITE, &waiter, &other), -EINPROGRESS);
	assert_int_equal(f->event_count, 0);
	assert_int_equal(pin_confirm(pin), 0);
	assert_int_equal(f->event_count, 1);
	expect_event(f, 0, h[0], PIN_EVENT_RECALL, PIN_WRITE, 5, 10);
	pin_drop(pin);
	assert_int_equal(f->wake_count, 1);
	pin_waiter_end(f->table, &waiter);
	/* A write(2) takes it away. */
	assert_int_equal(take_at(f, h[0], INO, 0, 10, phys_of(INO, 0), PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE, NULL, &pin),
			 0);
	pin_waiter_init(&write, 1000, true, 0);
	assert_int_equal(pin_break(f->table, INO, 0, 1, PIN_WRITE, &write), 0);
	assert_int_equal(pin_confirm(pin), -EAGAIN);
	pin_waiter_end(f->table, &write);
	/* So does a write pin whose time is over. */
	assert_int_equal(take_at(f, h[0], INO, 0, 10, phys_of(INO, 0), PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE, NULL, &pin),
			 0);
	pin_waiter_init(&waiter, 0, true, 0);
	assert_int_equal(try_pin(f, h[1], 5, 10, PIN_FLAG_WRITE, &waiter, &other), 0);
	assert_int_equal(pin_confirm(pin), -EAGAIN);
	pin_waiter_end(f->table, &waiter);
	assert_false(pin_any_exclusive(f->table));
	close_all(f, h, 2);
}

static void test_conflict(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *a = holder(f, 0, 50);
	wire_word word = 1;

	pin_at(f, a, 0, 10, PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE);
	cached_at(f, a, 20, 10, PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE, &word);
	pin_at(f, a, 40, 10, PIN_FLAG_WRITE);
	assert_false(pin_conflict(f->table, INO, 10, 20));
	assert_false(pin_conflict(f->table, INO, 30, 60));
	assert_true(pin_conflict(f->table, INO, 9, 11));
	expect_event(f, 0, a, PIN_EVENT_CONFLICT, 0, 9, 10);
	assert_true(pin_conflict(f->table, INO, 19, 21));
	expect_event(f, 1, a, PIN_EVENT_CONFLICT, 0, 20, 21);
	word = 0; /* idle: it goes */
	assert_false(pin_conflict(f->table, INO, 19, 21));
	assert_true((word & WIRE_WORD_REVOKED) != 0);
	assert_int_equal(stats(f).revokes, 1);
	close_all(f, &a, 1);
}

/* ---- Cached pins ---- */

static void test_cached(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *a = holder(f, 0, 50), *b = holder(f, 0, 51);
	struct pin_waiter waiter;
	wire_word word = 0, busy = 1;
	struct pin *pin;

	cached_at(f, a, 0, 10, 0, &word);
	assert_int_equal(unmap(f, 3, 4, NULL), 0); /* idle: taken away without its help */
	assert_true((word & WIRE_WORD_REVOKED) != 0);
	assert_int_equal(stats(f).revokes, 1);

	pin = cached_at(f, a, 0, 10, 0, &busy);
	assert_false(pin_bell(pin)); /* not wanted */
	assert_int_equal(busy, 1);
	pin_waiter_init(&waiter, 1000, true, 0);
	assert_int_equal(unmap(f, 3, 4, &waiter), -EINPROGRESS);
	assert_int_equal(f->event_count, 1);
	assert_int_equal(busy, WIRE_WORD_BELL | 1);
	assert_false(pin_bell(pin)); /* still in use */
	assert_int_equal(f->wake_count, 0);
	atomic_fetch_sub(&busy, 1);
	assert_true(pin_bell(pin));
	assert_int_equal(f->wake_count, 1);
	assert_false(pin_bell(pin)); /* dropped, not reaped */
	pin_drop(pin);
	assert_int_equal(stats(f).drops, 2);
	assert_int_equal(unmap(f, 3, 4, &waiter), 0);
	pin_waiter_end(f->table, &waiter);

	/* Wanted while it was tentative, or ignored, when nobody could ask for the bell. */
	busy = 1;
	assert_int_equal(take_at(f, a, INO, 0, 10, phys_of(INO, 0), PIN_FLAG_WRITE | PIN_FLAG_CACHED, &busy, &pin), 0);
	pin_waiter_init(&waiter, PIN_FOREVER, true, 0);
	assert_int_equal(pin_admit(f->table, b, INO, 3, 4, PIN_FLAG_EXCLUSIVE, &waiter), -EINPROGRESS);
	assert_int_equal(pin_confirm(pin), 0);
	assert_int_equal(busy, WIRE_WORD_BELL | 1);
	atomic_fetch_sub(&busy, 1);
	assert_true(pin_bell(pin));
	assert_int_equal(f->wake_count, 2);
	pin_waiter_end(f->table, &waiter);
	pin_waiter_init(&waiter, PIN_FOREVER, true, 0);
	pin_at(f, b, 2, 2, 0);
	pin_holder_set_ignored(a, true);
	busy = 1;
	pin = cached_at(f, a, 0, 10, 0, &busy);
	word = 0;
	cached_at(f, a, 0, 10, 0, &word);
	assert_int_equal(unmap(f, 3, 4, &waiter), -EINPROGRESS);
	pin_holder_set_ignored(a, false);
	assert_int_equal(waiter.conflicts, 2);
	assert_int_equal(busy, WIRE_WORD_BELL | 1);
	assert_true((word & WIRE_WORD_REVOKED) != 0);
	pin_waiter_end(f->table, &waiter);
	pin_drop(pin);

	/* Its client unpins it while it is in use. */
	busy = 1;
	pin = cached_at(f, a, 0, 10, 0, &busy);
	pin_drop(pin);
	pin_holder_close(b);
	close_all(f, &a, 1);
}

/* A pin of an earlier daemon: its word comes later than a break that waits for it. */
static void test_word_comes_back(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *a = holder(f, 0, 50);
	const struct pin_extent extent = {.file_block = 0, .phys = phys_of(INO, 0), .length = 10};
	struct pin_request request = {
		.id = 7000, .ino = INO, .flags = PIN_FLAG_CACHED, .length = 10 * 4096, .extents = &extent, .count = 1};
	wire_word idle = 0, busy = 1, other = 0;
	struct pin_waiter waiter;
	struct pin *pin;

	for (unsigned i = 0; i < 2; i++) {
		wire_word *word = i == 0 ? &idle : &busy;

		request.id++;
		assert_int_equal(pin_restore(f->table, a, &request, &pin), 0);
		pin_waiter_init(&waiter, PIN_FOREVER, true, 0);
		assert_int_equal(unmap(f, 3, 4, &waiter), -EINPROGRESS);
		assert_int_equal(pin_set_word(pin, word), 0);
		assert_int_equal(f->wake_count, 1); /* who is idle would never ring */
		assert_int_equal(pin_set_word(pin, &other), -EINVAL);
		if (i == 1) {
			assert_int_equal(busy, WIRE_WORD_BELL | 1);
			atomic_fetch_sub(&busy, 1);
			assert_true(pin_bell(pin));
		}
		assert_int_equal(f->wake_count, i + 1);
		pin_waiter_end(f->table, &waiter);
		reap_all(f);
	}
	assert_true((idle & WIRE_WORD_REVOKED) != 0);
	request.flags = 0;
	request.id++;
	assert_int_equal(pin_restore(f->table, a, &request, &pin), 0);
	assert_int_equal(pin_set_word(pin, &other), -EINVAL);
	pin_drop(pin);
	close_all(f, &a, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_write_break),
		TEST(test_exclusivity_wakes),
		TEST(test_pins_exclude),
		TEST(test_write_pin_timeout),
		TEST(test_tentative_exclusive),
		TEST(test_conflict),
		TEST(test_cached),
		TEST(test_word_comes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
