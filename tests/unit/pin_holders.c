/* The pin table with one thread: holders, waiting again, restoring, shutting down, numbers and lists. */
#include "pin_table.h"

/* ---- Holders ---- */

static void ignore_visit(void *arg, struct pin_holder *holder)
{
	(void)arg;
	pin_holder_set_ignored(holder, true);
}

static void test_ignored(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *h[] = {holder(f, 0, 50), holder(f, 0, 51)};
	struct pin_waiter waiter;
	struct pin *pin;

	pin_at(f, h[0], 0, 10, 0);
	pin_at(f, h[0], 0, 10, 0);
	pin = pin_at(f, h[1], 5, 10, 0);
	assert_int_equal(blocking(f), 0);
	pin_waiter_init(&waiter, PIN_FOREVER, true, 0);
	assert_int_equal(unmap(f, 0, 6, &waiter), -EINPROGRESS);
	assert_int_equal(waiter.conflicts, 3);
	assert_int_equal(blocking(f), 2); /* each once */
	pin_holder_set_ignored(h[0], true);
	pin_holder_set_ignored(h[0], true);
	assert_int_equal(waiter.conflicts, 1);
	assert_int_equal(blocking(f), 1);
	pin_holder_set_ignored(h[0], false); /* it came back: breaks that still wait wait for it */
	assert_int_equal(waiter.conflicts, 3);
	assert_int_equal(f->event_count, 5);
	pin_holder_set_ignored(h[0], true);
	pin_drop(pin);
	assert_int_equal(f->wake_count, 1);
	/* Woken, not repeated: nothing that happens now wakes it again. */
	pin_holder_set_ignored(h[0], false);
	pin_holder_set_ignored(h[0], true);
	assert_int_equal(f->wake_count, 1);
	assert_int_equal(unmap(f, 0, 6, &waiter), 0);
	assert_int_equal(detach(f, 0, 6), 6);
	pin_waiter_end(f->table, &waiter);
	/* Pins that come while it is ignored are, too. */
	pin_at(f, h[0], 20, 1, PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE);
	assert_int_equal(unmap(f, 20, 21, NULL), 0);
	/* Somebody writes: it is exclusive no more. */
	assert_int_equal(pin_break(f->table, INO, 20, 21, PIN_WRITE, NULL), 0);
	assert_false(pin_any_exclusive(f->table));
	/* Dying, seen by the tick. */
	pin_holder_set_ignored(h[0], false);
	pin_waiter_init(&waiter, PIN_FOREVER, true, 0);
	assert_int_equal(unmap(f, 20, 21, &waiter), -EINPROGRESS);
	pin_tick(f->table, 0, ignore_visit, NULL);
	assert_int_equal(f->wake_count, 2);
	pin_waiter_end(f->table, &waiter);
	close_all(f, h, 2);
}

static void test_close(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *h[] = {holder(f, 0, 50), holder(f, 0, 51), holder(f, 0, 52)};
	struct pin_waiter waiter, behind;
	struct pin *other = NULL;
	struct pin_reap items[8];
	size_t count;

	for (unsigned i = 0; i < 3; i++)
		pin_at(f, h[0], i * 3, 5, 0);
	pin_at(f, h[1], 20, 1, 0);
	pin_waiter_init(&waiter, PIN_FOREVER, true, 0);
	pin_waiter_init(&behind, PIN_FOREVER, true, 0);
	assert_int_equal(unmap(f, 0, 21, &waiter), -EINPROGRESS);
	assert_int_equal(try_pin(f, h[2], 0, 1, 0, &behind, &other), -EINPROGRESS);
	pin_holder_close(h[2]); /* its pin that waits is told to end, and it lives as long as that */
	assert_int_equal(f->wake_count, 1);
	assert_int_equal(pin_reap_take(f->table, items, 8), 0);
	assert_int_equal(try_pin(f, h[2], 0, 1, 0, &behind, &other), -EINTR);
	pin_waiter_end(f->table, &behind);
	assert_int_equal(try_pin(f, h[2], 0, 1, 0, &behind, &other), -ESHUTDOWN);
	pin_waiter_end(f->table, &behind);
	assert_int_equal(pin_reap_take(f->table, items, 8), 1);
	assert_ptr_equal(items[0].holder, h[2]);
	pin_reaped_holder(h[2]);

	pin_holder_close(h[0]);
	assert_int_equal(f->wake_count, 1);
	count = pin_reap_take(f->table, items, 8);
	assert_int_equal(count, 4);
	assert_int_equal(items[3].kind, PIN_REAP_HOLDER); /* behind its pins */
	for (unsigned i = 0; i < 3; i++)
		pin_reaped(items[i].pin);
	pin_reaped_holder(h[0]);
	pin_holder_close(h[1]);
	assert_int_equal(f->wake_count, 2);
	pin_waiter_end(f->table, &waiter);
	close_all(f, NULL, 0);
}

static void test_receivers(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *a = holder(f, 0, 50);
	int receiver;

	pin_at(f, a, 0, 10, 0);
	pin_holder_silence(a);
	pin_poisoned(f->table, phys_of(INO, 9), 20, NULL);
	assert_int_equal(f->event_count, 0);
	pin_holder_set_data(a, &receiver);
	pin_poisoned(f->table, phys_of(INO, 9), 20, NULL);
	expect_event(f, 0, &receiver, PIN_EVENT_POISON, 0, 9, 10);
	pin_poisoned(f->table, phys_of(INO, 10), 20, NULL);
	assert_int_equal(f->event_count, 1);
	close_all(f, &a, 1);
}

/* Bytes as they were asked for, not whole blocks. */
static void test_events_are_clipped(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *a = holder(f, 0, 50);
	const struct pin_extent extent = {.file_block = 0, .phys = phys_of(INO, 0), .length = 2};
	const struct pin_request request = {
		.id = 1, .ino = INO, .offset = 100, .length = 5000, .extents = &extent, .count = 1};
	struct pin_waiter waiter;
	struct pin *pin;

	assert_int_equal(pin_take(f->table, a, &request, &pin), 0);
	assert_int_equal(pin_confirm(pin), 0);
	pin_waiter_init(&waiter, 1000, true, 0);
	assert_int_equal(unmap(f, 0, UINT64_MAX, &waiter), -EINPROGRESS);
	assert_int_equal(f->events[0].offset, 100);
	assert_int_equal(f->events[0].length, 5000);
	pin_waiter_end(f->table, &waiter);
	pin_poisoned(f->table, phys_of(INO, 1), 1, NULL);
	assert_int_equal(f->events[1].offset, BLOCK);
	assert_int_equal(f->events[1].length, 5100 - BLOCK);
	close_all(f, &a, 1);
}

/* ---- Waiting again ---- */

/* Woken by an ignored holder that comes back before the operation looks: parks again, without a second recall of
 * others. */
static void test_park_again(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *a = holder(f, 0, 50);
	struct pin_waiter waiter;
	uint64_t deadline;

	pin_at(f, a, 0, 10, 0);
	pin_waiter_init(&waiter, 1ull << 50, true, 0);
	assert_int_equal(unmap(f, 0, 6, &waiter), -EINPROGRESS);
	deadline = waiter.deadline;
	pin_holder_set_ignored(a, true);
	assert_int_equal(f->wake_count, 1);
	pin_holder_set_ignored(a, false);
	assert_int_equal(f->event_count, 1);
	assert_int_equal(unmap(f, 0, 6, &waiter), -EINPROGRESS);
	assert_int_equal(waiter.deadline, deadline); /* one deadline for all of it */
	assert_int_equal(stats(f).breaks_waited, 1);
	assert_int_equal(f->event_count, 2); /* it has come back: it may not have heard */
	pin_holder_set_ignored(a, true);
	assert_int_equal(f->wake_count, 2);
	/* Another range than before: the file has grown. */
	pin_holder_set_ignored(a, false);
	assert_int_equal(unmap(f, 0, 9, &waiter), -EINPROGRESS);
	assert_int_equal(pin_waiting(f->table), 1);
	pin_waiter_end(f->table, &waiter);
	close_all(f, &a, 1);
}

/* ---- Restoring ---- */

static void test_restore(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *a = holder(f, 1000, 50);
	const struct pin_extent extents[] = {
		{.file_block = 0, .phys = phys_of(INO, 0), .length = 4},
		{.file_block = 4, .phys = phys_of(INO, 4), .length = 4, .detached = true},
	};
	struct pin_request request = {
		.id = 9, .ino = INO, .flags = PIN_FLAG_CACHED, .length = 8 * BLOCK, .extents = extents, .count = 2};
	struct pin *pin, *gone;
	struct pin_info info;

	pin_table_set_limit(f->table, 0); /* who holds it holds it */
	assert_int_equal(pin_restore(f->table, a, &request, &pin), 0);
	request.id = 10;
	request.offset = 4 * BLOCK;
	request.length = 4 * BLOCK;
	request.extents = extents + 1;
	request.count = 1;
	assert_int_equal(pin_restore(f->table, a, &request, &gone), 0);
	assert_ptr_equal(pin_find(a, 9), pin);
	pin_get_info(pin, &info);
	assert_int_equal(info.detached_blocks, 4);
	assert_false(info.idle); /* its word is gone: it holds until it is unpinned */
	assert_int_equal(stats(f).limbo_blocks, 4);
	assert_int_equal(pin_restore_limbo(f->table, phys_of(INO, 4), 6), 0);
	assert_int_equal(stats(f).limbo_blocks, 6);
	assert_int_equal(reap_all(f), 2);
	assert_int_equal(unmap(f, 4, 8, NULL), 0);
	assert_int_equal(unmap(f, 3, 8, NULL), -EAGAIN);
	assert_int_equal(pin_file_bytes(f->table, INO), 4 * BLOCK);
	pin_drop(pin);
	assert_int_equal(reap_all(f), 0);
	pin_drop(gone);
	assert_int_equal(reap_all(f), 4);
	close_all(f, &a, 1);
}

/* ---- Shutdown, lists ---- */

static void test_shutdown(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *h[] = {holder(f, 0, 50), holder(f, 0, 51)};
	struct pin_waiter detaching, failing, behind;
	struct pin *other = NULL;
	struct pin *pin = pin_at(f, h[0], 0, 10, 0);

	pin_waiter_init(&detaching, PIN_FOREVER, true, 0);
	pin_waiter_init(&failing, PIN_FOREVER, false, 0);
	pin_waiter_init(&behind, PIN_FOREVER, true, 0);
	assert_int_equal(unmap(f, 0, 1, &detaching), -EINPROGRESS);
	assert_int_equal(unmap(f, 1, 2, &failing), -EINPROGRESS);
	assert_int_equal(try_pin(f, h[1], 0, 1, 0, &behind, &other), -EINPROGRESS);
	pin_shutdown(f->table, 77);
	assert_int_equal(f->wake_count, 3);
	assert_int_equal(f->event_count, 4);
	assert_int_equal(f->events[2].kind, PIN_EVENT_SHUTDOWN);
	assert_int_equal(f->events[2].pin, 0);
	assert_int_equal(f->events[3].deadline, 77);
	assert_int_equal(unmap(f, 0, 1, &detaching), 0);
	assert_int_equal(unmap(f, 1, 2, &failing), -EBUSY);
	assert_int_equal(try_pin(f, h[1], 0, 1, 0, &behind, &other), -ESHUTDOWN);
	pin_waiter_end(f->table, &detaching);
	pin_waiter_end(f->table, &failing);
	pin_waiter_end(f->table, &behind);
	/* Who comes later does not wait either. */
	pin_waiter_init(&detaching, PIN_FOREVER, true, 0);
	assert_int_equal(unmap(f, 0, 1, &detaching), 0);
	pin_waiter_end(f->table, &detaching);
	assert_int_equal(try_pin(f, h[1], 20, 1, 0, NULL, &other), -ESHUTDOWN);
	assert_int_equal(take_at(f, h[1], INO, 20, 1, phys_of(INO, 20), 0, NULL, &other), -ESHUTDOWN);
	pin_drop(pin); /* unpinning goes on */
	close_all(f, h, 2);
}

struct seen {
	size_t pins, waiters;
	uint64_t ids;
	size_t stop; /* visits after which it is enough; 0: never */
};

static int see_pin(void *arg, const struct pin_info *info)
{
	struct seen *seen = arg;

	assert_string_equal(info->path, "/a/file");
	seen->pins++;
	seen->ids += info->id;
	return seen->pins == seen->stop ? 5 : 0;
}

static int see_waiter(void *arg, const struct pin_wait_info *info)
{
	struct seen *seen = arg;

	assert_int_equal(info->ino, INO);
	assert_int_equal(info->reason, PIN_UNMAP);
	assert_int_equal(info->conflicts, 1);
	seen->waiters++;
	return 0;
}

static void test_visit(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *h[] = {holder(f, 0, 50), holder(f, 0, 51)};
	struct seen all = {0}, one = {0}, none = {0}, own = {0}, stopped = {.stop = 3};
	struct pin_waiter waiter;
	struct pin *pin;

	for (unsigned i = 0; i < 100; i++)
		pin_at(f, h[0], i, 1, 0);
	assert_int_equal(take_at(f, h[1], INO + 1, 0, 1, phys_of(INO + 1, 0), 0, NULL, &pin), 0);
	assert_int_equal(pin_confirm(pin), 0);
	pin_waiter_init(&waiter, PIN_FOREVER, true, 0);
	assert_int_equal(unmap(f, 5, 6, &waiter), -EINPROGRESS);
	assert_int_equal(pin_visit(f->table, 0, see_pin, see_waiter, &all), 0);
	assert_int_equal(all.pins, 101);
	assert_int_equal(all.waiters, 1);
	assert_int_equal(pin_visit(f->table, INO, see_pin, see_waiter, &one), 0);
	assert_int_equal(one.pins, 100);
	assert_int_equal(one.waiters, 1);
	assert_int_equal(pin_visit(f->table, INO + 2, see_pin, see_waiter, &none), 0);
	assert_int_equal(none.pins, 0);
	assert_int_equal(pin_visit(f->table, 0, see_pin, see_waiter, &stopped), 5);
	assert_int_equal(stopped.pins, 3);
	assert_int_equal(pin_holder_visit(h[1], see_pin, &own), 0);
	assert_int_equal(own.pins, 1);
	pin_waiter_end(f->table, &waiter);
	close_all(f, h, 2);
}

/* Blocks that several pins share are counted once, also in pieces. */
static void test_file_bytes(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *a = holder(f, 0, 50);

	pin_at(f, a, 0, 10, 0);
	pin_at(f, a, 5, 10, 0);
	pin_at(f, a, 7, 2, 0);
	pin_at(f, a, 100, 1, 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pin_file_bytes(f->table, INO), 16 * BLOCK);
	assert_int_equal(detach(f, 8, 12), 4);
	assert_int_equal(pin_file_bytes(f->table, INO), 12 * BLOCK);
	assert_int_equal(stats(f).pinned_blocks, 16);
	pin_canary(f->table);
	assert_int_equal(stats(f).canaries, 1);
	close_all(f, &a, 1);
}

/* Ten thousand waiters and a hundred thousand pins of one file; a table is destroyed with pins in it. */
static void test_many(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *h[] = {holder(f, 0, 50), holder(f, 0, 51)};
	const unsigned pins = 100000, waiters = EVENTS_MAX;
	struct pin **pin = calloc(pins, sizeof(struct pin *));
	struct pin_waiter *waiter = calloc(waiters, sizeof(*waiter));

	assert_non_null(pin);
	assert_non_null(waiter);
	pin_holder_silence(h[0]);
	for (unsigned i = 0; i < pins; i++)
		pin[i] = pin_at(f, h[0], i * 2ull, 2, 0);
	for (unsigned i = 0; i < waiters; i++) {
		pin_waiter_init(&waiter[i], PIN_FOREVER, true, 0);
		assert_int_equal(unmap(f, i * 8ull, i * 8ull + 4, &waiter[i]), -EINPROGRESS);
	}
	for (unsigned i = pins; i-- > 50;)
		pin_drop(pin[i]);
	for (unsigned i = 0; i < waiters; i++) {
		assert_int_equal(waiter[i].state == PIN_WAITER_WAITING, i * 8 < 100);
		pin_waiter_end(f->table, &waiter[i]);
	}
	reap_all(f);
	assert_int_equal(stats(f).pinned_blocks, 100);
	free(pin);
	free(waiter);
}

/* A table is destroyed while a session, and a pin, are still queued for the reaper. */
static void test_destroy_queued(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *h = holder(f, 0, 50);

	(void)pin_at(f, h, 0, 2, 0);
	pin_holder_close(h);
	assert_int_equal(f->reap_calls, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_ignored),    TEST(test_close),   TEST(test_receivers),      TEST(test_events_are_clipped),
		TEST(test_park_again), TEST(test_restore), TEST(test_shutdown),	      TEST(test_visit),
		TEST(test_file_bytes), TEST(test_many),	   TEST(test_destroy_queued),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
