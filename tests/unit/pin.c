/* The pin table, rule by rule (src/pin/README.md), with one thread: pins, and breaks of UNMAP. */
#include "pin_table.h"

/* ---- Pinning and dropping ---- */

static void test_take_and_drop(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *a = holder(f, 1000, 50);
	struct pin_info info;
	struct pin *pin;

	assert_false(pin_any(f->table));
	pin = pin_at(f, a, 10, 5, PIN_FLAG_WRITE);
	assert_true(pin_any(f->table));
	assert_false(pin_any_exclusive(f->table));
	assert_true(pin_is_counted(f->table, phys_of(INO, 14), 1));
	assert_false(pin_is_counted(f->table, phys_of(INO, 15), 100));
	assert_int_equal(stats(f).pinned_blocks, 5);
	assert_int_equal(pin_file_bytes(f->table, INO), 5 * BLOCK);
	pin_get_info(pin, &info);
	assert_int_equal(info.offset, 10 * BLOCK);
	assert_int_equal(info.uid, 1000);
	assert_int_equal(info.process, 50);
	assert_int_equal(info.session, pin_holder_session(a));
	assert_int_equal(info.blocks, 5);
	assert_false(info.dropped || info.tentative || info.idle);
	assert_string_equal(info.path, "/a/file");
	assert_ptr_equal(pin_find(a, info.id), pin);
	assert_null(pin_find(a, info.id + 1));

	pin_drop(pin);
	assert_null(pin_find(a, info.id));
	assert_int_equal(stats(f).pins, 0);
	assert_int_equal(stats(f).pinned_blocks, 0);
	assert_int_equal(pin_file_bytes(f->table, INO), 0);
	/* Rule 1: until the ledger entry is erased nobody may have the block. */
	assert_true(pin_any(f->table));
	assert_true(pin_is_counted(f->table, phys_of(INO, 10), 1));
	assert_int_equal(f->reap_calls, 1);
	pin_drop(pin); /* once more: nothing */
	assert_int_equal(stats(f).drops, 1);
	assert_int_equal(reap_all(f), 0);
	assert_false(pin_is_counted(f->table, phys_of(INO, 10), 1));
	close_all(f, &a, 1);
}

static void test_tentative(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *a = holder(f, 0, 50);
	struct pin_reap item;
	struct pin_info info;
	struct pin *pin;

	/* Taken away by a break: its granter hears of it, and only then the reaper. */
	assert_int_equal(take_at(f, a, INO, 0, 4, phys_of(INO, 0), 0, NULL, &pin), 0);
	pin_get_info(pin, &info);
	assert_true(info.tentative);
	assert_null(pin_find(a, info.id));
	assert_int_equal(unmap(f, 0, 1, NULL), 0);
	assert_int_equal(f->event_count, 0);
	assert_int_equal(pin_reap_take(f->table, &item, 1), 0);
	assert_true(pin_is_counted(f->table, phys_of(INO, 0), 1));
	assert_int_equal(pin_confirm(pin), -EAGAIN);
	reap_all(f);
	assert_false(pin_any(f->table));

	/* The granter gives up, taken away or not. */
	assert_int_equal(take_at(f, a, INO, 0, 4, phys_of(INO, 0), 0, NULL, &pin), 0);
	pin_drop(pin);
	assert_int_equal(pin_reap_take(f->table, &item, 1), 1);
	assert_ptr_equal(item.pin, pin);
	pin_reaped(pin);
	assert_int_equal(take_at(f, a, INO, 0, 4, phys_of(INO, 0), 0, NULL, &pin), 0);
	assert_int_equal(unmap(f, 0, 1, NULL), 0);
	pin_drop(pin);
	reap_all(f);

	/* The holder's end: its own end follows the granter's answer. */
	assert_int_equal(take_at(f, a, INO, 0, 4, phys_of(INO, 0), 0, NULL, &pin), 0);
	pin_holder_close(a);
	assert_int_equal(pin_reap_take(f->table, &item, 1), 0);
	assert_int_equal(pin_confirm(pin), -EAGAIN);
	assert_int_equal(pin_reap_take(f->table, &item, 1), 1);
	assert_int_equal(item.kind, PIN_REAP_PIN);
	pin_reaped(item.pin);
	assert_int_equal(pin_reap_take(f->table, &item, 1), 1);
	assert_int_equal(item.kind, PIN_REAP_HOLDER);
	pin_reaped_holder(item.holder);
	assert_int_equal(stats(f).grants, 0);
}

static void test_bad_requests(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *a = holder(f, 0, 50);
	struct pin_request request = {.id = 7, .ino = INO, .length = 0};
	struct pin *pin = NULL;

	assert_int_equal(pin_take(f->table, a, &request, &pin), -EINVAL);
	request.length = UINT64_MAX;
	request.offset = 5;
	assert_int_equal(pin_take(f->table, a, &request, &pin), -EINVAL);
	request.length = BLOCK;
	assert_int_equal(pin_take(f->table, a, &request, &pin), 0); /* without extents: a read-only mount */
	assert_int_equal(pin_confirm(pin), 0);
	assert_int_equal(pin_take(f->table, a, &request, &pin), -EEXIST);
	assert_int_equal(unmap(f, 0, 1, NULL), -EAGAIN);
	close_all(f, &a, 1);
}

static void test_limit(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *h[] = {holder(f, 1000, 50), holder(f, 1000, 51), holder(f, 0, 52)};
	struct pin *pin;

	pin_table_set_limit(f->table, 10 * BLOCK);
	pin = pin_at(f, h[0], 0, 6, 0);
	assert_int_equal(take_at(f, h[1], INO, 0, 5, phys_of(INO, 0), 0, NULL, &pin), -ENOMEM);
	pin_at(f, h[1], 0, 4, 0);
	pin_at(f, h[2], 0, 100, 0); /* root */
	/* Limbo is charged to who holds it; what is dropped is not. */
	assert_int_equal(detach(f, 0, 6), 6);
	assert_int_equal(take_at(f, h[1], INO, 90, 1, phys_of(INO, 90), 0, NULL, &pin), -ENOMEM);
	pin_holder_close(h[0]);
	assert_int_equal(take_at(f, h[1], INO, 90, 1, phys_of(INO, 90), 0, NULL, &pin), 0);
	assert_int_equal(pin_confirm(pin), 0);
	close_all(f, h + 1, 2);
}

/* ---- Breaks ---- */

static void test_wait_and_wake(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *h[] = {holder(f, 0, 50), holder(f, 0, 51)};
	struct pin *one = pin_at(f, h[0], 0, 10, 0);
	struct pin *two = pin_at(f, h[1], 5, 10, PIN_FLAG_WRITE);
	struct pin_waiter waiter;

	assert_int_equal(unmap(f, 15, UINT64_MAX, NULL), 0); /* rule 4: other blocks of the file */
	assert_int_equal(pin_break(f->table, INO + 1, 0, UINT64_MAX, PIN_UNMAP, NULL), 0);
	assert_int_equal(unmap(f, 8, 20, NULL), -EAGAIN);
	assert_int_equal(f->event_count, 0);

	pin_waiter_init(&waiter, 1000, true, 0);
	assert_int_equal(unmap(f, 8, 20, &waiter), -EINPROGRESS);
	assert_int_equal(pin_waiting(f->table), 1);
	assert_int_equal(stats(f).waiting_breaks, 1);
	assert_true(stats(f).longest_wait > 0);
	assert_int_equal(f->event_count, 2); /* rule 6 */
	expect_event(f, 0, h[0], PIN_EVENT_RECALL, PIN_UNMAP, 8, 10);
	expect_event(f, 1, h[1], PIN_EVENT_RECALL, PIN_UNMAP, 8, 15);
	assert_int_equal(f->events[0].deadline, waiter.deadline);
	assert_int_equal(waiter.conflicts, 2);
	pin_drop(one);
	assert_int_equal(f->wake_count, 0);
	pin_drop(two);
	assert_int_equal(f->wake_count, 1);
	assert_ptr_equal(f->woken[0], &waiter);
	assert_int_equal(waiter.verdict, PIN_VERDICT_LOOK);
	assert_int_equal(unmap(f, 8, 20, &waiter), 0);
	pin_waiter_end(f->table, &waiter);
	assert_int_equal(pin_waiting(f->table), 0);
	close_all(f, h, 2);
}

static void test_timeout(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *a = holder(f, 0, 50);
	struct pin *pin = pin_at(f, a, 0, 10, 0);
	struct pin_waiter waiter;

	pin_waiter_init(&waiter, 1000, true, 0);
	assert_int_equal(unmap(f, 4, 6, &waiter), -EINPROGRESS);
	pin_tick(f->table, waiter.deadline - 1, NULL, NULL);
	assert_int_equal(f->wake_count, 0);
	pin_tick(f->table, waiter.deadline, NULL, NULL);
	assert_int_equal(f->wake_count, 1);
	assert_int_equal(waiter.verdict, PIN_VERDICT_TIMEOUT);
	pin_tick(f->table, UINT64_MAX - 1, NULL, NULL);
	assert_int_equal(f->wake_count, 1);
	assert_int_equal(blocking(f), 0);
	assert_int_equal(unmap(f, 4, 6, &waiter), 0);
	assert_int_equal(unmap(f, 4, 6, &waiter), 0); /* the operation may look again */
	assert_int_equal(detach(f, 4, 6), 2);
	pin_waiter_end(f->table, &waiter);
	assert_int_equal(f->event_count, 2);
	expect_event(f, 1, a, PIN_EVENT_DETACHED, PIN_UNMAP, 4, 6);
	assert_int_equal(stats(f).timeouts, 1);
	assert_int_equal(stats(f).limbo_blocks, 2);
	assert_int_equal(stats(f).pinned_blocks, 10);
	assert_int_equal(pin_file_bytes(f->table, INO), 8 * BLOCK);
	pin_drop(pin);
	assert_int_equal(reap_all(f), 2);
	close_all(f, &a, 1);
}

static void test_policy(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *a = holder(f, 0, 50);
	struct pin_waiter waiter;

	pin_at(f, a, 0, 10, 0);
	/* Fail. */
	pin_waiter_init(&waiter, 1000, false, 0);
	assert_int_equal(unmap(f, 4, 6, &waiter), -EINPROGRESS);
	pin_tick(f->table, UINT64_MAX - 1, NULL, NULL);
	assert_int_equal(unmap(f, 4, 6, &waiter), -EBUSY);
	pin_waiter_end(f->table, &waiter);
	/* At once. */
	pin_waiter_init(&waiter, 0, false, 0);
	assert_int_equal(unmap(f, 4, 6, &waiter), -EBUSY);
	pin_waiter_end(f->table, &waiter);
	pin_waiter_init(&waiter, 0, true, 0);
	assert_int_equal(unmap(f, 4, 6, &waiter), 0);
	pin_waiter_end(f->table, &waiter);
	assert_int_equal(f->event_count, 1); /* one recall: who is decided at once does not wait */
	/* For ever. */
	pin_waiter_init(&waiter, PIN_FOREVER, true, 0);
	assert_int_equal(unmap(f, 4, 6, &waiter), -EINPROGRESS);
	assert_true(waiter.deadline == PIN_FOREVER);
	pin_tick(f->table, UINT64_MAX - 1, NULL, NULL);
	assert_int_equal(f->wake_count, 1);
	/* Time is over, but the pin has gone before the operation looks again: it just goes on. */
	waiter.timeout = 1000;
	pin_waiter_end(f->table, &waiter);
	pin_waiter_init(&waiter, 1000, false, 0);
	assert_int_equal(unmap(f, 4, 6, &waiter), -EINPROGRESS);
	pin_tick(f->table, UINT64_MAX - 1, NULL, NULL);
	pin_holder_close(a);
	assert_int_equal(f->wake_count, 2);
	assert_int_equal(unmap(f, 4, 6, &waiter), 0);
	pin_waiter_end(f->table, &waiter);
	close_all(f, NULL, 0);
}

static void test_interrupt(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *a = holder(f, 0, 50);
	struct pin *pin = pin_at(f, a, 0, 10, 0);
	struct pin_waiter waiter;

	/* While it waits. Nothing in the way any more does not matter: nothing was changed. */
	pin_waiter_init(&waiter, 1000, true, 0);
	assert_int_equal(unmap(f, 4, 6, &waiter), -EINPROGRESS);
	assert_int_equal(blocking(f), 1);
	pin_waiter_interrupt(f->table, &waiter);
	pin_waiter_interrupt(f->table, &waiter);
	assert_int_equal(f->wake_count, 1);
	assert_int_equal(blocking(f), 0);
	pin_drop(pin);
	assert_int_equal(f->wake_count, 1);
	assert_int_equal(unmap(f, 4, 6, &waiter), -EINTR);
	pin_waiter_end(f->table, &waiter);

	/* After it was woken: only if it had to wait again. */
	pin = pin_at(f, a, 0, 10, 0);
	pin_waiter_init(&waiter, 1000, true, 0);
	assert_int_equal(unmap(f, 4, 6, &waiter), -EINPROGRESS);
	pin_drop(pin);
	assert_int_equal(f->wake_count, 2);
	pin_waiter_interrupt(f->table, &waiter);
	assert_int_equal(f->wake_count, 2);
	assert_int_equal(unmap(f, 4, 6, &waiter), 0);
	pin_waiter_end(f->table, &waiter);
	pin = pin_at(f, a, 0, 10, 0);
	pin_waiter_init(&waiter, 1000, true, 0);
	assert_int_equal(unmap(f, 4, 6, &waiter), -EINPROGRESS);
	pin_holder_set_ignored(a, true);
	assert_int_equal(f->wake_count, 3);
	pin_waiter_interrupt(f->table, &waiter);
	pin_holder_set_ignored(a, false);
	assert_int_equal(unmap(f, 4, 6, &waiter), -EINTR);
	pin_waiter_end(f->table, &waiter);

	/* Before it waits. */
	pin_waiter_init(&waiter, 1000, true, 0);
	pin_waiter_interrupt(f->table, &waiter);
	assert_int_equal(unmap(f, 20, 30, &waiter), 0);
	pin_waiter_end(f->table, &waiter);
	pin_waiter_init(&waiter, 1000, true, 0);
	pin_waiter_interrupt(f->table, &waiter);
	assert_int_equal(unmap(f, 4, 6, &waiter), -EINTR);
	pin_waiter_end(f->table, &waiter);
	assert_int_equal(pin_waiting(f->table), 0);
	pin_drop(pin);
	close_all(f, &a, 1);
}

static void test_barrier(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *h[] = {holder(f, 0, 50), holder(f, 0, 51)};
	struct pin *pin = pin_at(f, h[0], 0, 10, 0);
	struct pin *other = NULL;
	struct pin_waiter waiter, behind;

	pin_waiter_init(&waiter, 1000, true, 0);
	pin_waiter_init(&behind, 1000, true, 0);
	assert_int_equal(unmap(f, 4, 6, &waiter), -EINPROGRESS);
	assert_int_equal(try_pin(f, h[1], 5, 5, 0, NULL, &other), -EAGAIN);
	assert_int_equal(try_pin(f, h[0], 5, 5, 0, NULL, &other), -EAGAIN);
	assert_int_equal(try_pin(f, h[0], 5, 5, 0, &behind, &other), -EDEADLK); /* rule 15 */
	assert_int_equal(take_at(f, h[1], INO, 5, 5, phys_of(INO, 5), 0, NULL, &other), -EAGAIN);
	pin_at(f, h[1], 6, 4, 0); /* elsewhere */
	assert_int_equal(try_pin(f, h[1], 5, 5, 0, &behind, &other), -EINPROGRESS);
	assert_true(behind.deadline == PIN_FOREVER);
	pin_drop(pin);
	assert_int_equal(f->wake_count, 1);
	assert_ptr_equal(f->woken[0], &waiter);
	/* Woken, and not yet repeated: the barrier stands. */
	assert_int_equal(try_pin(f, h[0], 5, 5, 0, NULL, &other), -EAGAIN);
	assert_int_equal(unmap(f, 4, 6, &waiter), 0);
	assert_int_equal(f->wake_count, 1);
	pin_waiter_end(f->table, &waiter);
	assert_int_equal(f->wake_count, 2);
	assert_ptr_equal(f->woken[1], &behind);
	assert_int_equal(try_pin(f, h[1], 5, 5, 0, &behind, &other), 0);
	pin_waiter_end(f->table, &behind);
	close_all(f, h, 2);
}

/* A pin that waits behind two breaks, of which the first ends by time; and a break that comes after it. */
static void test_pin_behind_breaks(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *h[] = {holder(f, 0, 50), holder(f, 0, 51)};
	struct pin_waiter one, two, three, behind;
	struct pin *other = NULL;
	struct pin *pin;

	pin_at(f, h[0], 0, 4, 0);
	pin = pin_at(f, h[0], 4, 4, 0);
	pin_waiter_init(&one, 1000, true, 0);
	pin_waiter_init(&two, PIN_FOREVER, true, 0);
	pin_waiter_init(&three, PIN_FOREVER, true, 0);
	pin_waiter_init(&behind, 1000, true, 0);
	assert_int_equal(unmap(f, 0, 1, &one), -EINPROGRESS);
	assert_int_equal(unmap(f, 4, 5, &two), -EINPROGRESS);
	assert_int_equal(try_pin(f, h[1], 0, 6, 0, &behind, &other), -EINPROGRESS);
	assert_int_equal(behind.conflicts, 2);
	assert_int_equal(unmap(f, 5, 6, &three), -EINPROGRESS);
	assert_int_equal(behind.conflicts, 2);
	pin_tick(f->table, UINT64_MAX - 1, NULL, NULL);
	assert_int_equal(f->wake_count, 1);
	assert_int_equal(unmap(f, 0, 1, &one), 0);
	assert_int_equal(detach(f, 0, 1), 1);
	pin_waiter_end(f->table, &one);
	assert_int_equal(f->wake_count, 1);
	pin_waiter_interrupt(f->table, &two);
	assert_int_equal(unmap(f, 4, 5, &two), -EINTR);
	pin_waiter_end(f->table, &two);
	assert_int_equal(f->wake_count, 3);
	assert_ptr_equal(f->woken[2], &behind);
	/* The third one is in the way now; it has gone on before the pin comes back. */
	assert_int_equal(try_pin(f, h[1], 0, 6, 0, &behind, &other), -EINPROGRESS);
	pin_drop(pin);
	assert_int_equal(f->wake_count, 4);
	assert_int_equal(unmap(f, 5, 6, &three), 0);
	pin_waiter_end(f->table, &three);
	assert_int_equal(f->wake_count, 5);
	assert_int_equal(try_pin(f, h[1], 0, 6, 0, &behind, &other), 0);
	pin_waiter_end(f->table, &behind);
	close_all(f, h, 2);
}

/* A break that another break's detach frees from what it waits for, and one that it does not. */
static void test_detach_wakes(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *a = holder(f, 0, 50);
	struct pin *pin = pin_at(f, a, 0, 10, 0);
	struct pin_waiter one, two, three;
	struct pin_extent extents[4];
	struct pin *fresh;
	size_t total;

	pin_waiter_init(&one, 1000, true, 0);
	pin_waiter_init(&two, PIN_FOREVER, true, 0);
	pin_waiter_init(&three, PIN_FOREVER, true, 0);
	assert_int_equal(unmap(f, 4, 8, &one), -EINPROGRESS);
	assert_int_equal(unmap(f, 5, 6, &two), -EINPROGRESS);
	assert_int_equal(unmap(f, 5, 9, &three), -EINPROGRESS);
	pin_tick(f->table, UINT64_MAX - 1, NULL, NULL);
	assert_int_equal(f->wake_count, 1);
	assert_int_equal(unmap(f, 4, 8, &one), 0);
	assert_int_equal(detach(f, 4, 8), 4);
	assert_int_equal(f->wake_count, 2);
	assert_ptr_equal(f->woken[1], &two);
	assert_int_equal(unmap(f, 5, 6, &two), 0);
	pin_waiter_end(f->table, &one);
	pin_waiter_end(f->table, &two);
	/* What is detached is the file's no more. */
	assert_int_equal(pin_check_range(pin, 0, 4 * BLOCK), 0);
	assert_int_equal(pin_check_range(pin, 8 * BLOCK, 2 * BLOCK), 0);
	assert_int_equal(pin_check_range(pin, 0, 4 * BLOCK + 1), -ESTALE);
	assert_int_equal(pin_check_range(pin, 5 * BLOCK, 1), -ESTALE);
	assert_int_equal(pin_check_range(pin, 9 * BLOCK, 2 * BLOCK), -ERANGE);
	assert_int_equal(pin_get_extents(pin, 0, extents, 4, &total), 3);
	assert_int_equal(total, 3);
	assert_true(extents[1].detached && !extents[0].detached && !extents[2].detached);
	assert_int_equal(extents[1].file_block, 4);
	assert_int_equal(extents[2].phys, phys_of(INO, 8));
	assert_int_equal(pin_get_extents(pin, 2, extents, 4, &total), 1);
	assert_int_equal(extents[0].length, 2);
	assert_int_equal(unmap(f, 4, 8, NULL), 0);
	/* The file has new blocks there, and somebody else pins them. */
	assert_int_equal(unmap(f, 8, 10, NULL), -EAGAIN);
	pin_drop(pin);
	assert_int_equal(f->wake_count, 3);
	assert_int_equal(unmap(f, 5, 9, &three), 0);
	pin_waiter_end(f->table, &three);
	assert_int_equal(take_at(f, a, INO, 4, 4, phys_of(INO, 5000), 0, NULL, &fresh), 0);
	assert_int_equal(pin_confirm(fresh), 0);
	assert_int_equal(unmap(f, 4, 8, NULL), -EAGAIN);
	assert_int_equal(reap_all(f), 4);
	close_all(f, &a, 1);
}

/* Wholly detached: in no break's way, still listed, still counted. */
static void test_gone(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *a = holder(f, 0, 50);
	struct pin *pin = pin_at(f, a, 0, 10, PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE);
	struct pin_info info;

	assert_int_equal(detach(f, 0, 3), 3);
	assert_int_equal(detach(f, 3, 10), 7);
	assert_int_equal(stats(f).detaches, 1);
	expect_event(f, 0, a, PIN_EVENT_DETACHED, PIN_UNMAP, 0, 3);
	expect_event(f, 1, a, PIN_EVENT_DETACHED, PIN_UNMAP, 3, 10);
	assert_int_equal(unmap(f, 0, 10, NULL), 0);
	assert_int_equal(pin_break(f->table, INO, 0, 10, PIN_WRITE, NULL), 0);
	assert_int_equal(f->event_count, 2);
	pin_get_info(pin, &info);
	assert_int_equal(info.detached_blocks, 10);
	assert_int_equal(pin_file_bytes(f->table, INO), 0);
	assert_int_equal(stats(f).limbo_blocks, 10);
	pin_poisoned(f->table, phys_of(INO, 2), 3, NULL);
	expect_event(f, 2, a, PIN_EVENT_POISON, 0, 2, 5);
	pin_drop(pin);
	assert_int_equal(reap_all(f), 10);
	close_all(f, &a, 1);
}

/* An eviction does not take what is not confirmed yet: its holder hears of it with the grant. */
static void test_detached_before_confirmed(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *a = holder(f, 0, 50);
	struct pin *pin;

	assert_int_equal(take_at(f, a, INO, 0, 4, phys_of(INO, 0), 0, NULL, &pin), 0);
	assert_int_equal(detach(f, 0, 4), 4);
	assert_int_equal(f->event_count, 0);
	assert_int_equal(pin_confirm(pin), 0);
	assert_int_equal(f->event_count, 1);
	expect_event(f, 0, a, PIN_EVENT_DETACHED, PIN_UNMAP, 0, 4);
	pin_drop(pin);
	assert_int_equal(reap_all(f), 4);
	close_all(f, &a, 1);
}

/* Reaped between the question and the detach: the blocks come out of the queue all the same. */
static void test_reaped_before_detached(void **state)
{
	struct pin_fixture *f = *state;
	struct pin_holder *a = holder(f, 0, 50);
	struct pin *pin = pin_at(f, a, 0, 10, 0);
	uint64_t phys, length;

	assert_int_equal(pin_counted(f->table, phys_of(INO, 2), 5, &phys, &length), 0);
	assert_int_equal(phys, phys_of(INO, 2));
	assert_int_equal(length, 5);
	pin_drop(pin);
	assert_int_equal(reap_all(f), 0);
	assert_false(pin_is_counted(f->table, phys, length));
	pin_detached(f->table, INO, 2, phys, (uint32_t)length);
	assert_int_equal(reap_all(f), 5);
	/* And if the break is given up, whoever asks next is told that nothing is counted. */
	pin = pin_at(f, a, 0, 10, 0);
	assert_int_equal(pin_counted(f->table, phys_of(INO, 0), 100, &phys, &length), 0);
	assert_int_equal(length, 10);
	pin_drop(pin);
	reap_all(f);
	assert_int_equal(pin_counted(f->table, phys_of(INO, 0), 100, &phys, &length), -ENOENT);
	close_all(f, &a, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_take_and_drop),
		TEST(test_tentative),
		TEST(test_bad_requests),
		TEST(test_limit),
		TEST(test_wait_and_wake),
		TEST(test_timeout),
		TEST(test_policy),
		TEST(test_interrupt),
		TEST(test_barrier),
		TEST(test_pin_behind_breaks),
		TEST(test_detach_wakes),
		TEST(test_gone),
		TEST(test_detached_before_confirmed),
		TEST(test_reaped_before_detached),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
