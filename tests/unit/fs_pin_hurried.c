/* Pins for who has no time to wait: granted at once, or nothing has happened and somebody else asks again. */
#include "fs_pins.h"

static void prepare(struct pin_op *op, struct client *client, uint64_t ino, uint64_t length, uint32_t flags)
{
	*op = (struct pin_op){.fs = client->fs};
	event_init(&op->done);
	op->request = (struct fs_pin_request){
		.holder = client->holder,
		.ino = ino,
		.generation = generation_of(client->fs, ino),
		.flags = flags,
		.length = length,
		.path = "a file",
		.hurried = true,
	};
	fs_wait_init(client->fs, &op->request.wait, 0, pin_op_resume);
}

/* Nothing is held, counted or recorded. */
static void assert_nothing(struct pool *pool, uint64_t ino)
{
	assert_int_equal(fs_pinned_bytes(pool->fs, ino), 0);
	assert_int_equal(pins_of(pool->fs).pins, 0);
	assert_int_equal(ledger_of(pool->fs).pins, 0);
}

/* It takes time: told so, and then done, when asked for again. */
static void assert_later(struct pool *pool, struct client *client, uint64_t ino, uint64_t length, uint32_t flags)
{
	struct pin_op op;

	prepare(&op, client, ino, length, flags);
	assert_int_equal(fs_pin(pool->fs, &op.request), -ERESTART);
	assert_nothing(pool, ino);
	assert_false(op.request.hurried);
	assert_int_equal(fs_pin(pool->fs, &op.request), 0);
	assert_int_equal(fs_unpin(pool->fs, client->holder, op.request.ret_id), 0);
	settle(pool->fs);
	assert_nothing(pool, ino);
}

static void test_at_once(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	struct client client;
	struct pin_op op;

	client_open(&client, pool->fs);
	file_fill(pool, ino, 0, 3 * BLOCK, 0x11);
	prepare(&op, &client, ino, 3 * BLOCK, 0);
	assert_int_equal(fs_pin(pool->fs, &op.request), 0);
	assert_int_equal(fs_pinned_bytes(pool->fs, ino), 3 * BLOCK);
	assert_int_equal(ledger_of(pool->fs).pins, 1);
	assert_int_equal(fs_unpin(pool->fs, client.holder, op.request.ret_id), 0);
	settle(pool->fs);
	assert_nothing(pool, ino);
	/* Errors are errors, not a matter of time. */
	prepare(&op, &client, ino, 4 * BLOCK, 0);
	assert_int_equal(fs_pin(pool->fs, &op.request), -ERANGE);
	client_close(&client);
	settle(pool->fs);
	file_remove(pool, "file", ino);
}

static void test_takes_time(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	struct client client;

	client_open(&client, pool->fs);
	file_fill(pool, ino, 0, BLOCK, 0x11);
	assert_later(pool, &client, ino, BLOCK, PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE);
	/* Every other block first, then those between: pieces. */
	for (uint64_t block = 2; block < 32; block += 2)
		file_fill(pool, ino, block * BLOCK, BLOCK, 0x22);
	assert_int_equal(attr_of(pool, ino).st_blocks, 16 * 8);
	assert_later(pool, &client, ino, 31 * BLOCK, 0); /* holes */
	assert_int_equal(attr_of(pool, ino).st_blocks, 31 * 8);
	assert_later(pool, &client, ino, 31 * BLOCK, 0); /* many extents */
	client_close(&client);
	settle(pool->fs);
	file_remove(pool, "file", ino);
}

/* The locks themselves, past the record of ranks: somebody else has them. */
static void test_locks_taken(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	struct client client;
	struct fs_inode *file;
	struct pin_op op;

	client_open(&client, pool->fs);
	file_fill(pool, ino, 0, BLOCK, 0x11);
	assert_int_equal(fs_inode_get(pool->fs, ino, &file), 0);
	for (int i = 0; i < 2; i++) {
		pthread_rwlock_t *lock = i == 0 ? &file->layout.rwlock : &file->map.rwlock;

		prepare(&op, &client, ino, BLOCK, 0);
		assert_int_equal(pthread_rwlock_wrlock(lock), 0);
		assert_int_equal(fs_pin(pool->fs, &op.request), -ERESTART);
		assert_int_equal(pthread_rwlock_unlock(lock), 0);
		assert_nothing(pool, ino);
		/* None of the two has been kept. */
		lock_rw_take_exclusive(&file->layout);
		lock_rw_take_exclusive(&file->map);
		lock_rw_drop(&file->map);
		lock_rw_drop(&file->layout);
	}
	fs_inode_put(pool->fs, file);
	client_close(&client);
	settle(pool->fs);
	file_remove(pool, "file", ino);
}

/* Parked behind a break, as any other; who resumes it waits for locks. */
static void test_parked(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	struct client client, other;
	struct break_op breaking;
	struct fs_inode *file;
	struct pin_op op;
	uint64_t id;

	client_open(&client, pool->fs);
	client_open(&other, pool->fs);
	file_fill(pool, ino, 0, BLOCK, 0x11);
	assert_int_equal(pin_range(&client, ino, 0, BLOCK, 0, &id), 0);
	assert_int_equal(break_begin(&breaking, pool->fs, ino, 0, 1), -EINPROGRESS);
	prepare(&op, &other, ino, BLOCK, 0);
	/* Told to come later at first, which leaves nothing of it behind. */
	assert_int_equal(fs_inode_get(pool->fs, ino, &file), 0);
	assert_int_equal(pthread_rwlock_wrlock(&file->layout.rwlock), 0);
	assert_int_equal(fs_pin(pool->fs, &op.request), -ERESTART);
	assert_int_equal(pthread_rwlock_unlock(&file->layout.rwlock), 0);
	fs_inode_put(pool->fs, file);
	op.request.hurried = true;
	assert_int_equal(fs_pin(pool->fs, &op.request), -EINPROGRESS);
	assert_false(op.request.hurried);
	assert_int_equal(fs_unpin(pool->fs, client.holder, id), 0);
	event_await(&breaking.woken, 1);
	break_end(&breaking);
	assert_int_equal(pin_await(&op), 0);
	client_close(&client);
	client_close(&other);
	settle(pool->fs);
	file_remove(pool, "file", ino);
}

#define PIN_TEST(test) cmocka_unit_test_setup_teardown(test, pins_setup, pins_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PIN_TEST(test_at_once),
		PIN_TEST(test_takes_time),
		PIN_TEST(test_locks_taken),
		PIN_TEST(test_parked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
