/*
 * The data path of src/fs, cut off between its transactions and inside of them: the next mount shows the old state or
 * the new one, every block is accounted for, and what was promised is finished.
 */
#include "crash_points.h"
#include "fs_model.h"

#include <signal.h>
#include <sys/wait.h>

/* Fills the first blocks of a file whose every block is an extent of its own. */
static void fragment(struct model *model, unsigned blocks)
{
	struct model *other = malloc(sizeof(*other));

	assert_non_null(other);
	file_create(other, "other");
	memset(buffer, 0x55, BLOCK);
	for (unsigned i = 0; i < blocks; i++) {
		uint64_t at = (uint64_t)i * BLOCK;

		for (unsigned j = 0; j < BLOCK; j++)
			model->bytes[at + j] = (unsigned char)(random_below(255) + 1);
		assert_int_equal(fs_write(pool.fs, model->ino, model->bytes + at, BLOCK, (off_t)at, NULL), BLOCK);
		model_mark(model, at, at + BLOCK);
		assert_int_equal(fs_write(pool.fs, other->ino, buffer, BLOCK, (off_t)at, NULL), BLOCK);
	}
	file_delete(other);
	free(other);
}

struct crash {
	const char *name;
	int (*run)(uint64_t ino);
	void (*expect)(struct model *model);
	bool exact; /* blocks are as in the model when it is done */
};

#define CRASH_BLOCKS 300u
#define CRASH_START 5000u
#define CRASH_END (CRASH_BLOCKS * BLOCK - 5000u)

static int run_truncate(uint64_t ino)
{
	return file_truncate(ino, CRASH_START);
}

static void expect_truncate(struct model *model)
{
	model_truncate(model, CRASH_START);
}

static int run_truncate_some(uint64_t ino)
{
	return file_truncate(ino, (CRASH_BLOCKS - 10) * BLOCK);
}

static void expect_truncate_some(struct model *model)
{
	model_truncate(model, (CRASH_BLOCKS - 10) * BLOCK);
}

static int run_punch(uint64_t ino)
{
	return fs_fallocate(pool.fs, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, CRASH_START,
			    CRASH_END - CRASH_START, NULL);
}

static void expect_punch(struct model *model)
{
	model_punch(model, CRASH_START, CRASH_END);
}

static int run_zero(uint64_t ino)
{
	return fs_fallocate(pool.fs, ino, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, CRASH_START,
			    CRASH_END - CRASH_START, NULL);
}

static void expect_zero(struct model *model)
{
	model_allocate(model, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, CRASH_START, CRASH_END);
}

static int run_append(uint64_t ino)
{
	static unsigned char data[1u << 20];
	ssize_t count;

	memset(data, 0x77, sizeof(data));
	count = fs_write(pool.fs, ino, data, sizeof(data), CRASH_BLOCKS * BLOCK + 77, NULL);
	return count == sizeof(data) ? 0 : -EIO;
}

static void expect_append(struct model *model)
{
	uint64_t start = CRASH_BLOCKS * BLOCK + 77;

	memset(model->bytes + start, 0x77, 1u << 20);
	model_mark(model, start, start + (1u << 20));
}

static const struct crash crashes[] = {
	{"truncate", run_truncate, expect_truncate, true},
	{"truncate-some", run_truncate_some, expect_truncate_some, true},
	{"punch", run_punch, expect_punch, true},
	{"zero-range", run_zero, expect_zero, false},
	{"append", run_append, expect_append, true},
};

/* Runs an operation in a child that ends before transaction `n`; true if it came that far. */
static bool run_crash(const struct model *model, int (*run)(uint64_t ino), unsigned n)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		static const int fatal[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGSYS};

		/* cmocka would go on with the next test, in the child. */
		for (size_t i = 0; i < ARRAY_SIZE(fatal); i++)
			signal(fatal[i], SIG_DFL);
		if (pool_open() != 0)
			_exit(1);
		points_left = n;
		_exit(run(model->ino) == 0 ? 0 : 2);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == CRASHED);
	return WEXITSTATUS(status) == CRASHED;
}

/* After a crash: the old state or the new one; behind its end zeros; every block accounted for. */
static void check_crash(struct model *old, struct model *new, bool exact)
{
	bool is_new = file_is(new, exact);
	struct stat attr;

	assert_true(is_new || file_is(old, exact));
	assert_int_equal(fs_getattr(pool.fs, old->ino, &attr), 0);
	assert_int_equal(blocks_free(), pool.blocks_free - (uint64_t)attr.st_blocks / 8);
	assert_int_equal(file_truncate(old->ino, (is_new ? new : old)->size + 9000), 0);
	assert_int_equal(file_read(old->ino, (uint64_t)attr.st_size, 9000, buffer), 9000);
	for (unsigned i = 0; i < 9000; i++)
		assert_int_equal(buffer[i], 0);
	file_delete(old);
	assert_int_equal(blocks_free(), pool.blocks_free);
}

static void crash_each(const struct crash *crash, struct model *old, struct model *new)
{
	bool crashed = true;

	for (unsigned n = 1; crashed; n++) {
		uint64_t ino;

		assert_true(n < 1000);
		file_create(old, crash->name);
		fragment(old, CRASH_BLOCKS);
		memcpy(new, old, sizeof(*new));
		crash->expect(new);
		ino = old->ino;
		pool_close();
		crashed = run_crash(old, crash->run, n);
		assert_int_equal(pool_open(), 0);
		old->ino = ino;
		assert_true(crashed || file_is(new, true));
		check_crash(old, new, crash->exact);
	}
}

static void crashes_leave_old_or_new(void **state)
{
	struct model *old = malloc(sizeof(*old));
	struct model *new = malloc(sizeof(*new));

	(void)state;
	assert_true(old != NULL && new != NULL);
	for (size_t i = 0; i < ARRAY_SIZE(crashes); i++)
		crash_each(&crashes[i], old, new);
	free(old);
	free(new);
}

static int run_evict(uint64_t ino)
{
	struct fs_entry entry = {.ino = 0};
	int error = fs_lookup(pool.fs, FMT_INO_ROOT, "evict", &entry);

	if (error == 0)
		error = fs_unlink(pool.fs, FMT_INO_ROOT, "evict");
	fs_forget(pool.fs, ino, 1);
	return error;
}

static void evictions_are_resumed(void **state)
{
	struct model *model = malloc(sizeof(*model));
	bool crashed = true;

	(void)state;
	assert_non_null(model);
	for (unsigned n = 1; crashed; n++) {
		struct fs_entry entry;

		file_create(model, "evict");
		fragment(model, CRASH_BLOCKS);
		pool_close();
		crashed = run_crash(model, run_evict, n);
		assert_int_equal(pool_open(), 0);
		if (n > 2) { /* the transaction of unlink has committed */
			assert_int_equal(fs_lookup(pool.fs, FMT_INO_ROOT, "evict", &entry), -ENOENT);
		} else {
			assert_true(file_is(model, true));
			file_delete(model);
		}
		assert_int_equal(blocks_free(), pool.blocks_free);
	}
	free(model);
}

/* An unfinished intent is seen as done on a read-only mount, which cannot finish it. */
static void read_only_sees_intents(void **state)
{
	struct fs_options options = {.meta_path = pool.meta_path, .skip_probe = true, .read_only = true};
	struct model *model = malloc(sizeof(*model));
	struct message message;

	(void)state;
	assert_non_null(model);
	file_create(model, "punch");
	fragment(model, CRASH_BLOCKS);
	pool_close();
	assert_true(run_crash(model, run_punch, 3)); /* before its second transaction begins */
	expect_punch(model);
	assert_int_equal(fs_open(&options, &pool.fs, &message), 0);
	assert_true(file_is(model, false));
	assert_int_equal(fs_lseek(pool.fs, model->ino, CRASH_START, SEEK_HOLE), CRASH_START);
	assert_int_equal(fs_lseek(pool.fs, model->ino, CRASH_START, SEEK_DATA), CRASH_END);
	assert_int_equal(fs_write(pool.fs, model->ino, "x", 1, 0, NULL), -EROFS);
	assert_int_equal(fs_fallocate(pool.fs, model->ino, 0, 0, 1, NULL), -EROFS);
	pool_remount();
	assert_true(file_is(model, true));
	file_delete(model);
	free(model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(crashes_leave_old_or_new, pool_create, pool_destroy),
		cmocka_unit_test_setup_teardown(evictions_are_resumed, pool_create, pool_destroy),
		cmocka_unit_test_setup_teardown(read_only_sees_intents, pool_create, pool_destroy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
