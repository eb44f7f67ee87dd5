/*
 * The daemon dies in the middle of a detach: before each transaction of it, and inside of each. The next mount shows
 * the old file or the new one; what a living holder has pinned is as it was, and nobody's; what a dead one had is free.
 */
#include "crash_points.h"
#include "fs_break.h"

#include <sys/mman.h>

#define BLOCKS 200u
#define START (BLOCK + 100)
#define END (199 * BLOCK - 100)

/* What the child leaves to the test, which lives on as the holder. */
struct left {
	uint64_t ino, id;
	uint8_t cookie[FS_COOKIE_BYTES];
	uint64_t pinned[BLOCKS]; /* where they are, from the beginning of the part */
	uint64_t pins;
};

struct scenario {
	const char *name;
	int (*run)(struct fs *fs, uint64_t ino);
	bool unlinked;
	uint64_t size; /* of the new file */
	uint64_t start, end; /* zeros in it */
};

static int run_truncate(struct fs *fs, uint64_t ino)
{
	struct door door = door_truncate(fs, ino, START);

	return (int)door_pass(&door);
}

static int run_punch(struct fs *fs, uint64_t ino)
{
	struct door door = door_fallocate(fs, ino, FALLOC_FL_PUNCH_HOLE, START, END - START);

	return (int)door_pass(&door);
}

static int run_zero(struct fs *fs, uint64_t ino)
{
	struct door door = door_fallocate(fs, ino, FALLOC_FL_ZERO_RANGE, START, END - START);

	return (int)door_pass(&door);
}

static int run_unlink(struct fs *fs, uint64_t ino)
{
	int error = fs_unlink(fs, ROOT, "file");

	fs_forget(fs, ino, 1);
	return error;
}

static const struct scenario scenarios[] = {
	{.name = "truncate", .run = run_truncate, .size = START, .start = START, .end = START},
	{.name = "punch", .run = run_punch, .size = BLOCKS * BLOCK, .start = START, .end = END},
	{.name = "zero range", .run = run_zero, .size = BLOCKS * BLOCK, .start = START, .end = END},
	{.name = "unlink", .run = run_unlink, .unlinked = true},
};

/* In the child: a file of one extent, every second block of it pinned, and both edges of the hole. */
static void prepare(struct pool *pool, struct client *client, pid_t holder, struct left *left)
{
	pool_mount(pool);
	left->ino = file_make(pool, "file");
	assert_int_equal(fs_fallocate(pool->fs, left->ino, 0, 0, BLOCKS * BLOCK, NULL), 0);
	file_fill(pool, left->ino, 0, BLOCKS * BLOCK, 0x11);
	assert_int_equal(client_try_open(client, pool->fs, holder, 1000), 0);
	memcpy(left->cookie, fs_holder_cookie(client->holder), FS_COOKIE_BYTES);
	set_policy(pool->fs, 0, true, UINT64_MAX);
	left->pins = 0;
	for (uint64_t i = 0; i < BLOCKS; i++) {
		uint64_t id;

		if (i % 2 == 1 && i != 1)
			continue;
		assert_int_equal(pin_range(client, left->ino, i * BLOCK, BLOCK, PIN_FLAG_WRITE, &id), 0);
		left->id = left->pins == 0 ? id : left->id;
		left->pinned[left->pins++] = (uint64_t)(pinned_byte(client, id, i * BLOCK) - pool->fs->part[0]->base);
	}
}

/* True if it crashed. The holder is the test itself, or else the child, which is dead when the pool is mounted again.
 */
static bool run_child(struct pool *pool, const struct scenario *scenario, bool lives, unsigned n, struct left *left)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		struct client client;

		for (int i = 1; i < 32; i++)
			signal(i, SIG_DFL);
		prepare(pool, &client, lives ? getppid() : getpid(), left);
		points_left = n;
		_exit(scenario->run(pool->fs, left->ino) == 0 ? 0 : 2);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == CRASHED);
	return WEXITSTATUS(status) == CRASHED;
}

static bool is_new(struct pool *pool, const struct scenario *scenario, uint64_t ino)
{
	return (uint64_t)attr_of(pool, ino).st_size == scenario->size &&
	       file_has(pool, ino, 0, scenario->start, 0x11) &&
	       (scenario->end == scenario->start ||
		file_has(pool, ino, scenario->start, scenario->end - scenario->start, 0)) &&
	       (scenario->size == scenario->end ||
		file_has(pool, ino, scenario->end, scenario->size - scenario->end, 0x11));
}

static bool is_old(struct pool *pool, uint64_t ino)
{
	return attr_of(pool, ino).st_size == BLOCKS * BLOCK && file_has(pool, ino, 0, BLOCKS * BLOCK, 0x11);
}

static void check_file(struct pool *pool, const struct scenario *scenario, bool crashed, const struct left *left)
{
	if (find_error(pool, ROOT, "file") == -ENOENT) {
		assert_true(scenario->unlinked);
		return;
	}
	assert_true(crashed || !scenario->unlinked);
	assert_true(is_old(pool, left->ino) || (!scenario->unlinked && is_new(pool, scenario, left->ino)));
	assert_true(crashed || is_new(pool, scenario, left->ino));
}

/* Nobody gets the blocks, whoever wants space; then the holder comes back, and lets them go. */
static void check_holder(struct pool *pool, const struct left *left)
{
	uint64_t taken = file_make(pool, "taken");
	unsigned char bytes[BLOCK];
	struct client client;
	int pidfd;

	memset(bytes, 0x5a, sizeof(bytes));
	for (off_t at = 0; fs_write(pool->fs, taken, bytes, BLOCK, at, NULL) == BLOCK; at += BLOCK)
		continue;
	for (uint64_t i = 0; i < left->pins; i++)
		assert_true(is_filled(pool->fs->part[0]->base + left->pinned[i], BLOCK, 0x11));
	file_remove(pool, "taken", taken);
	client_init(&client, pool->fs, 1000);
	assert_int_equal(process_identify(getpid(), &client.process, &pidfd), 0);
	assert_int_equal(fs_holder_reclaim(pool->fs, left->cookie, &client.process, pidfd, 1000, &client_ops, &client,
					   &client.holder),
			 0);
	assert_non_null(pinned_byte(&client, left->id, 0));
	client_close(&client);
	settle(pool->fs);
}

static void check_after(struct pool *pool, const struct scenario *scenario, bool lives, bool crashed,
			const struct left *left, uint64_t blocks_empty)
{
	pool_mount(pool);
	check_file(pool, scenario, crashed, left);
	assert_int_equal(pins_of(pool->fs).pins, lives ? left->pins : 0);
	if (lives)
		check_holder(pool, left);
	check_file(pool, scenario, crashed, left);
	assert_int_equal(limbo(pool), 0);
	if (find_error(pool, ROOT, "file") == 0) {
		assert_int_equal(fs_unlink(pool->fs, ROOT, "file"), 0);
		assert_int_equal(fs_mend_tail(pool->fs, left->ino), 0);
	}
	assert_int_equal(blocks_free(pool), blocks_empty);
	assert_int_equal(pins_of(pool->fs).canaries, 0);
	pool_unmount(pool);
	pool_check(pool);
}

static void crash_each(struct pool *pool, const struct scenario *scenario, bool lives, struct left *left,
		       uint64_t blocks_empty)
{
	bool crashed = true;
	unsigned n = 1;

	for (; crashed; n++) {
		assert_true(n < 1000);
		crashed = run_child(pool, scenario, lives, n, left);
		check_after(pool, scenario, lives, crashed, left, blocks_empty);
	}
	print_message("# %s: %u points\n", scenario->name, n - 2);
}

static void crash_all(struct pool *pool, bool lives)
{
	uint64_t blocks_empty = blocks_free(pool);
	struct left *left = mmap(NULL, sizeof(*left), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(left, MAP_FAILED);
	pool_unmount(pool);
	for (size_t i = 0; i < ARRAY_SIZE(scenarios); i++)
		crash_each(pool, &scenarios[i], lives, left, blocks_empty);
	munmap(left, sizeof(*left));
}

static void crashes_keep_what_is_pinned(void **state)
{
	crash_all(*state, true);
}

static void crashes_free_what_was_pinned(void **state)
{
	crash_all(*state, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(crashes_keep_what_is_pinned, pool_setup, pool_teardown),
		cmocka_unit_test_setup_teardown(crashes_free_what_was_pinned, pool_setup, pool_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
