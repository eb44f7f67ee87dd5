/* Writers and exclusive pins, and what changes at the end of a file that is pinned: growth, and what a reaped pin
 * leaves. */
#include "fs_break.h"

#include <sys/prctl.h>

/* ---- Writers ---- */

/* Somebody else than this process. */
static pid_t other_process(void)
{
	pid_t child = fork();

	if (child == 0) {
		/* Also if the test fails, and does not come to the end of it. */
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	assert_true(child > 0);
	return child;
}

static void other_process_end(pid_t child)
{
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
}

static void test_exclusive(void **state)
{
	static unsigned char bytes[4 * BLOCK];
	struct pool *pool = *state;
	pid_t child = other_process();
	struct scene scene;
	struct door door;
	uint64_t id;

	memset(bytes, 0x22, sizeof(bytes));
	set_policy(pool->fs, PIN_FOREVER, true, UINT64_MAX);
	scene_begin(&scene, pool, 8, 0);
	assert_int_equal(fs_unpin(scene.fs, scene.client.holder, scene.id), 0);
	scene_pin(&scene, 2, 4, PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE, &id);
	/* Beside it, and by the holder's own process. */
	file_fill(pool, scene.ino, 0, 2 * BLOCK, 0x22);
	file_fill(pool, scene.ino, 6 * BLOCK, 2 * BLOCK, 0x22);
	door = door_write(scene.fs, scene.ino, bytes, 2 * BLOCK, BLOCK);
	assert_int_equal(door_begin_as(&door, gettid()), BLOCK);
	assert_true(file_has(pool, scene.ino, 0, 3 * BLOCK, 0x22));
	/* The kernel's write-back, on behalf of nobody knows whom. */
	assert_int_equal(fs_write_back(scene.fs, scene.ino, bytes, 1, 6 * BLOCK - 1, true), -EIO);
	event_await(&scene.client.heard[PIN_EVENT_CONFLICT], 1);
	assert_int_equal(fs_write_back(scene.fs, scene.ino, bytes, 1, 6 * BLOCK, true), 1);
	/* Others wait, the whole of their write. */
	door = door_write(scene.fs, scene.ino, bytes, BLOCK, 4 * BLOCK);
	assert_int_equal(door_begin_as(&door, child), -EINPROGRESS);
	event_await(&scene.client.heard[PIN_EVENT_RECALL], 1);
	assert_int_equal(scene.client.last[PIN_EVENT_RECALL].reason, PIN_WRITE);
	assert_true(file_has(pool, scene.ino, 3 * BLOCK, 3 * BLOCK, 0x11));
	assert_int_equal(fs_unpin(scene.fs, scene.client.holder, id), 0);
	assert_int_equal(door_await(&door), 4 * BLOCK);
	assert_true(file_has(pool, scene.ino, 0, 5 * BLOCK, 0x22));
	other_process_end(child);
	scene_end(&scene);
}

/* At the timeout the pin stays, and is exclusive no more. */
static void test_exclusive_lost(void **state)
{
	struct pool *pool = *state;
	struct scene scene;
	struct door door;
	uint64_t id;

	scene_begin(&scene, pool, 8, 0);
	assert_int_equal(fs_unpin(scene.fs, scene.client.holder, scene.id), 0);
	scene_pin(&scene, 2, 4, PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE, &id);
	set_policy(pool->fs, NOW, false, UINT64_MAX);
	door = door_write(scene.fs, scene.ino, "x", 2 * BLOCK, 1);
	assert_int_equal(door_pass(&door), -EBUSY);
	assert_true(file_has(pool, scene.ino, 0, 8 * BLOCK, 0x11));
	set_policy(pool->fs, NOW, true, UINT64_MAX);
	assert_int_equal(door_pass(&door), 1);
	event_await(&scene.client.heard[PIN_EVENT_DETACHED], 1);
	assert_int_equal(scene.client.last[PIN_EVENT_DETACHED].reason, PIN_WRITE);
	assert_int_equal(limbo(pool), 0);
	assert_int_equal(*pinned_byte(&scene.client, id, 2 * BLOCK), 'x');
	assert_int_equal(fs_write_back(scene.fs, scene.ino, "y", 1, 2 * BLOCK, true), 1);
	scene_end(&scene);
}

static void test_copy(void **state)
{
	struct pool *pool = *state;
	uint64_t from = file_make(pool, "from");
	struct scene scene;
	struct door door;
	uint64_t id;

	set_policy(pool->fs, PIN_FOREVER, true, UINT64_MAX);
	file_fill(pool, from, 0, 600 * BLOCK, 0x22);
	scene_begin(&scene, pool, 600, 0);
	assert_int_equal(fs_unpin(scene.fs, scene.client.holder, scene.id), 0);
	/* Beyond the first step: nothing is copied before all of it is free to. */
	scene_pin(&scene, 500, 1, PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE, &id);
	door = door_copy(scene.fs, from, scene.ino, 0, 600 * BLOCK);
	assert_int_equal(door_run(&door, NULL), -EAGAIN);
	assert_int_equal(door_begin(&door), -EINPROGRESS);
	assert_true(file_has(pool, scene.ino, 0, 600 * BLOCK, 0x11));
	fs_wait_interrupt(scene.fs, &door.wait);
	assert_int_equal(door_await(&door), -EINTR);
	assert_true(file_has(pool, scene.ino, 0, 600 * BLOCK, 0x11));
	/* Its source is nobody's concern. */
	door = door_copy(scene.fs, scene.ino, from, 0, 600 * BLOCK);
	assert_int_equal(door_run(&door, NULL), 600 * BLOCK);
	assert_true(file_has(pool, from, 0, 600 * BLOCK, 0x11));
	door = door_copy(scene.fs, from, scene.ino, 0, 600 * BLOCK);
	assert_int_equal(door_begin(&door), -EINPROGRESS);
	assert_int_equal(fs_unpin(scene.fs, scene.client.holder, id), 0);
	assert_int_equal(door_await(&door), 600 * BLOCK);
	scene_end(&scene);
	file_remove(pool, "from", from);
}

/* ---- Growth ---- */

/* Others grow a file into what a holder has stored and not committed. */
static void test_growth(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	struct client client;
	unsigned char *memory;
	uint64_t id;

	client_open(&client, pool->fs);
	pool_soil(pool);
	file_fill(pool, ino, 0, 100, 0x11);
	assert_int_equal(fs_fallocate(pool->fs, ino, FALLOC_FL_KEEP_SIZE, 0, 4 * BLOCK, NULL), 0);
	assert_int_equal(pin_range(&client, ino, 0, 4 * BLOCK, PIN_FLAG_WRITE | PIN_FLAG_EXTEND, &id), 0);
	memory = pinned_byte(&client, id, 0);
	assert_true(is_filled(memory + 100, 4 * BLOCK - 100, 0));
	memset(memory + 100, 0x77, 4 * BLOCK - 100);
	file_fill(pool, ino, BLOCK + 200, 10, 0x22);
	/* The gap, pinned or not; then the write; the rest of a pinned block stays as it is. */
	assert_true(file_has(pool, ino, 100, BLOCK + 100, 0));
	assert_true(is_filled(memory + 100, BLOCK + 100, 0));
	assert_true(is_filled(memory + BLOCK + 200, 10, 0x22));
	assert_true(is_filled(memory + BLOCK + 210, 3 * BLOCK - 210, 0x77));
	/* Growth again: what is written is zeroed up to its block's end, what is not shows as zeros. */
	assert_int_equal(file_resize(pool->fs, ino, 3 * BLOCK), 0);
	assert_true(file_has(pool, ino, BLOCK + 210, 2 * BLOCK - 210, 0));
	assert_true(is_filled(memory + BLOCK + 210, BLOCK - 210, 0));
	assert_true(is_filled(memory + 2 * BLOCK, 2 * BLOCK, 0x77));
	/* Inside of the file, into a block that nobody has committed: the rest is the holder's. */
	file_fill(pool, ino, 2 * BLOCK + 10, 10, 0x22);
	assert_true(is_filled(memory + 2 * BLOCK, 10, 0x77));
	assert_true(is_filled(memory + 2 * BLOCK + 20, BLOCK - 20, 0x77));
	client_close(&client);
	settle(pool->fs);
	file_remove(pool, "file", ino);
}

/* The last pin of a partly used block leaves zeros behind the end. */
static void test_mend(void **state)
{
	struct pool *pool = *state;
	struct scene scene;
	uint64_t id;

	scene_begin(&scene, pool, 2, 0);
	assert_int_equal(file_resize(scene.fs, scene.ino, BLOCK + 100), -EAGAIN);
	assert_int_equal(fs_unpin(scene.fs, scene.client.holder, scene.id), 0);
	assert_int_equal(file_resize(scene.fs, scene.ino, BLOCK + 100), 0);
	assert_int_equal(pin_range(&scene.client, scene.ino, BLOCK, 100, PIN_FLAG_WRITE, &id), 0);
	memset(scene.memory + BLOCK, 0x77, BLOCK);
	/* Pinned: what a failed write, a mend or the mount would clear stays. */
	assert_int_equal(fs_mend_tail(scene.fs, scene.ino), 0);
	assert_true(is_filled(scene.memory + BLOCK, BLOCK, 0x77));
	assert_int_equal(fs_unpin(scene.fs, scene.client.holder, id), 0);
	assert_int_equal(fs_mend_tail(scene.fs, scene.ino), 0);
	assert_true(is_filled(scene.memory + BLOCK, 100, 0x77));
	assert_true(is_filled(scene.memory + BLOCK + 100, BLOCK - 100, 0));
	scene_end(&scene);
	assert_int_equal(fs_mend_tail(scene.fs, 123456), 0);
}

/* Whoever is the last, a writer or not: it is another one's stores that are left. */
static void test_mend_after_reader(void **state)
{
	struct pool *pool = *state;
	uint64_t reader, writer;
	struct scene scene;

	scene_begin(&scene, pool, 2, 0);
	assert_int_equal(fs_unpin(scene.fs, scene.client.holder, scene.id), 0);
	assert_int_equal(file_resize(scene.fs, scene.ino, BLOCK + 100), 0);
	assert_int_equal(pin_range(&scene.client, scene.ino, BLOCK, 100, PIN_FLAG_WRITE, &writer), 0);
	assert_int_equal(pin_range(&scene.client, scene.ino, BLOCK, 100, 0, &reader), 0);
	memset(scene.memory + BLOCK, 0x77, BLOCK);
	assert_int_equal(fs_unpin(scene.fs, scene.client.holder, writer), 0);
	settle(scene.fs);
	fs_pool_drain(scene.fs);
	assert_true(is_filled(scene.memory + BLOCK, BLOCK, 0x77));
	assert_int_equal(fs_unpin(scene.fs, scene.client.holder, reader), 0);
	settle(scene.fs);
	fs_pool_drain(scene.fs);
	assert_true(is_filled(scene.memory + BLOCK, 100, 0x77));
	assert_true(is_filled(scene.memory + BLOCK + 100, BLOCK - 100, 0));
	scene_end(&scene);
}

#define WITH_THREADS(test) cmocka_unit_test_setup_teardown(test, pins_setup, pins_teardown)
#define ALONE(test) cmocka_unit_test_setup_teardown(test, pool_setup, pool_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_THREADS(test_exclusive), ALONE(test_exclusive_lost), WITH_THREADS(test_copy),
		ALONE(test_growth),	      ALONE(test_mend),		  ALONE(test_mend_after_reader),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
