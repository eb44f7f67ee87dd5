/* Sessions of holders: left, reclaimed, dead; and unmounting with them. */
#include "fs_pins.h"

/* ---- Sessions ---- */

static int open_again(struct client *client, const uint8_t *cookie, uid_t uid, struct client *other)
{
	int pidfd;

	client_init(other, client->fs, uid);
	assert_int_equal(process_identify(getpid(), &other->process, &pidfd), 0);
	return fs_holder_reclaim(client->fs, cookie, &other->process, pidfd, uid, &client_ops, other, &other->holder);
}

static int see_pin(void *arg, const struct pin_info *info)
{
	*(uint64_t *)arg = info->id;
	return 0;
}

static void test_reclaim(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	uint8_t cookie[FS_COOKIE_BYTES];
	struct client client, other;
	struct break_op cut;
	uint64_t id, seen = 0;

	client_open(&client, pool->fs);
	file_fill(pool, ino, 0, BLOCK, 0x11);
	memcpy(cookie, fs_holder_cookie(client.holder), sizeof(cookie));
	assert_int_equal(pin_range(&client, ino, 0, BLOCK, 0, &id), 0);
	assert_int_equal(open_again(&client, cookie, 1000, &other), -EBUSY);
	fs_holder_leave(pool->fs, client.holder);
	assert_int_equal(open_again(&client, cookie, 1001, &other), -EPERM);
	cookie[15] ^= 1;
	assert_int_equal(open_again(&client, cookie, 1000, &other), -ENOENT);
	cookie[15] ^= 1;
	/* Its pins are there, and count, but nobody hears of it. */
	set_policy(pool->fs, PIN_FOREVER, true, 0);
	assert_int_equal(break_begin(&cut, pool->fs, ino, 0, 1), -EINPROGRESS);
	assert_int_equal(event_count(&client.heard[PIN_EVENT_RECALL]), 0);
	assert_int_equal(open_again(&client, cookie, 1000, &other), 0);
	assert_int_equal(fs_holder_visit(pool->fs, other.holder, see_pin, &seen), 0);
	assert_int_equal(seen, id);
	assert_int_equal(fs_unpin(pool->fs, other.holder, id), 0);
	event_await(&cut.woken, 1);
	assert_int_equal(break_look(&cut), 0);
	break_end(&cut);
	client_close(&other);
	file_remove(pool, "file", ino);
}

/* Until the reaper has erased all pins and all but so many sessions. Its lock: not while it writes. */
static void await_erased(struct fs *fs, uint64_t sessions)
{
	struct ledger ledger;

	do {
		sched_yield();
		lock_mutex_take(&fs->pinning->reap);
		ledger = ledger_of(fs);
		lock_mutex_drop(&fs->pinning->reap);
	} while (ledger.sessions != sessions || ledger.pins != 0);
}

/* What could not be erased from the ledger is, with the next drop: then its session's entry, too. */
static void test_erased_later(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	struct client client, other;
	uint64_t id;

	client_open(&client, pool->fs);
	client_open(&other, pool->fs);
	file_fill(pool, ino, 0, BLOCK, 0x11);
	assert_int_equal(pin_range(&client, ino, 0, BLOCK, 0, &id), 0);
	atomic_store(&pool->fs->damaged, true);
	client_close(&client);
	settle(pool->fs);
	/* Nobody writes to it now. */
	assert_int_equal(ledger_of(pool->fs).pins, 1);
	atomic_store(&pool->fs->damaged, false);
	assert_int_equal(pins_of(pool->fs).pins, 0);
	assert_int_equal(pin_range(&other, ino, 0, BLOCK, 0, &id), 0);
	assert_int_equal(fs_unpin(pool->fs, other.holder, id), 0);
	await_erased(pool->fs, 1);
	client_close(&other);
	await_erased(pool->fs, 0);
	file_remove(pool, "file", ino);
}

/* Who does not come back is not waited for; its blocks stay its own. */
static void test_grace(void **state)
{
	struct fs_pin_policy policy = {.break_timeout = PIN_FOREVER, .break_detach = true, .grace = 1};
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	uint64_t other = file_make(pool, "other");
	struct client client, idle, again;
	uint8_t cookie[FS_COOKIE_BYTES];
	struct break_op cut;
	uint64_t id;

	client_open(&client, pool->fs);
	memcpy(cookie, fs_holder_cookie(client.holder), sizeof(cookie));
	client_open(&idle, pool->fs);
	file_fill(pool, ino, 0, BLOCK, 0x11);
	assert_int_equal(pin_range(&client, ino, 0, BLOCK, 0, &id), 0);
	fs_set_pin_policy(pool->fs, &policy);
	assert_int_equal(break_begin(&cut, pool->fs, ino, 0, 1), -EINPROGRESS);
	fs_holder_leave(pool->fs, client.holder);
	event_await(&cut.woken, 1);
	assert_int_equal(break_look(&cut), 0);
	break_end(&cut);
	assert_int_equal(pins_of(pool->fs).pins, 1);
	/* A session without pins that is left is over. */
	fs_holder_leave(pool->fs, idle.holder);
	event_await(&idle.dead, 1);
	assert_int_equal(open_again(&client, cookie, 1000, &again), 0);
	client_close(&again);
	file_remove(pool, "file", ino);
	file_remove(pool, "other", other);
}

/* A process that waits for its end. */
static pid_t spawn(void)
{
	pid_t child = fork();

	if (child == 0)
		wait_for_end();
	assert_true(child > 0);
	return child;
}

static void test_death(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	pid_t child = spawn();
	struct client client, left;
	struct break_op cut;
	uint64_t id, other;

	file_fill(pool, ino, 0, 2 * BLOCK, 0x11);
	assert_int_equal(client_try_open(&client, pool->fs, child, 1000), 0);
	assert_int_equal(client_try_open(&left, pool->fs, child, 1000), 0);
	set_policy(pool->fs, PIN_FOREVER, true, 0);
	assert_int_equal(pin_range(&client, ino, 0, BLOCK, 0, &id), 0);
	assert_int_equal(pin_range(&left, ino, BLOCK, BLOCK, 0, &other), 0);
	fs_holder_leave(pool->fs, left.holder);
	assert_int_equal(break_begin(&cut, pool->fs, ino, 0, 2), -EINPROGRESS);
	assert_int_equal(kill(child, SIGKILL), 0);
	event_await(&client.dead, 1);
	event_await(&left.dead, 1);
	event_await(&cut.woken, 1);
	assert_int_equal(break_look(&cut), 0);
	break_end(&cut);
	/* The handle is still ours, and good for nothing. */
	assert_int_equal(pin_range(&client, ino, 0, BLOCK, 0, &id), -ESHUTDOWN);
	assert_int_equal(fs_unpin(pool->fs, client.holder, id), -ENOENT);
	client_close(&client);
	settle(pool->fs);
	assert_int_equal(pins_of(pool->fs).pins, 0);
	assert_int_equal(pins_of(pool->fs).holders, 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	file_remove(pool, "file", ino);
}

static void *drain(void *arg)
{
	return (void *)(uintptr_t)fs_pins_drain(arg);
}

static void test_drain(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	struct client client, other;
	pthread_t thread;
	uint64_t id, second;
	void *left;

	client_open(&client, pool->fs);
	file_fill(pool, ino, 0, 2 * BLOCK, 0x11);
	assert_int_equal(pin_range(&client, ino, 0, BLOCK, PIN_FLAG_WRITE, &id), 0);
	assert_int_equal(pin_range(&client, ino, BLOCK, BLOCK, 0, &second), 0);
	set_policy(pool->fs, PIN_FOREVER, true, 0);
	assert_int_equal(pthread_create(&thread, NULL, drain, pool->fs), 0);
	event_await(&client.heard[PIN_EVENT_SHUTDOWN], 1);
	assert_int_equal(pin_range(&client, ino, 0, BLOCK, 0, &second), -ESHUTDOWN);
	assert_int_equal(client_try_open(&other, pool->fs, getpid(), 1000), -ESHUTDOWN);
	assert_int_equal(commit_range(&client, id, 0, 0), 0);
	client_close(&client);
	assert_int_equal(pthread_join(thread, &left), 0);
	assert_int_equal((uintptr_t)left, 0);
	file_remove(pool, "file", ino);
}

static void test_drain_ends(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	struct client client;
	pthread_t thread;
	uint64_t id;
	void *left;

	client_open(&client, pool->fs);
	file_fill(pool, ino, 0, BLOCK, 0x11);
	assert_int_equal(pin_range(&client, ino, 0, BLOCK, PIN_FLAG_WRITE, &id), 0);
	set_policy(pool->fs, PIN_FOREVER, true, 0);
	assert_int_equal(pthread_create(&thread, NULL, drain, pool->fs), 0);
	event_await(&client.heard[PIN_EVENT_SHUTDOWN], 1);
	fs_pins_drain_end(pool->fs);
	assert_int_equal(pthread_join(thread, &left), 0);
	assert_int_equal((uintptr_t)left, 1);
	client_close(&client);
	settle(pool->fs);
	file_remove(pool, "file", ino);
}

#define PIN_TEST(test) cmocka_unit_test_setup_teardown(test, pins_setup, pins_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PIN_TEST(test_reclaim), PIN_TEST(test_erased_later), PIN_TEST(test_grace),
		PIN_TEST(test_death),	PIN_TEST(test_drain),	     PIN_TEST(test_drain_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
