/* Lost memory is an error of the access: a part whose file was truncated, and one with a poisoned page. */
#include "region/region.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define BLOCKS 64u

struct fixture {
	char path[64];
	struct region_part *part;
};

/* Opened by the test itself: the test library changes handlers of signals for each. */
static void open_part(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct region_create_args args = {.size = BLOCKS * FMT_BLOCK_SIZE, .number = 0};
	struct region_expected expected = {.number = 0};
	struct message message;
	int fd;

	strcpy(fixture->path, "/tmp/pinfs-poison-XXXXXX");
	fd = mkstemp(fixture->path);
	assert_true(fd >= 0);
	close(fd);
	args.path = fixture->path;
	args.force = true;
	assert_int_equal(region_create(&args, &expected.blocks, &message), 0);
	assert_int_equal(region_open(fixture->path, false, &expected, NULL, &fixture->part, &message), 0);
	*state = fixture;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	region_close(fixture->part);
	unlink(fixture->path);
	free(fixture);
	return 0;
}

/* Each access to the lost second half fails, each to the first one works, also right after a failure. */
static void accesses(struct fixture *fixture, unsigned good, unsigned lost)
{
	unsigned char *fine = region_block(fixture->part, good);
	unsigned char *gone = region_block(fixture->part, lost);
	char bytes[FMT_BLOCK_SIZE];
	const void *where = NULL;
	bool zero = false;

	memset(bytes, 7, sizeof(bytes));
	for (unsigned i = 0; i < 3; i++) {
		region_copy(fixture->part, gone, bytes, sizeof(bytes));
		assert_int_equal(region_persist(fixture->part, gone, sizeof(bytes)), -EHWPOISON);
		region_zero(fixture->part, gone, 100);
		assert_int_equal(region_flush(fixture->part, gone, 100), -EHWPOISON);
		assert_int_equal(region_is_zero(fixture->part, gone, 10, &zero), -EHWPOISON);
		region_copy(fixture->part, fine, gone, 300);
		assert_int_equal(region_persist(fixture->part, fine, 300), -EHWPOISON);

		region_copy(fixture->part, fine, bytes, sizeof(bytes));
		assert_int_equal(region_persist(fixture->part, fine, sizeof(bytes)), 0);
		assert_memory_equal(fine, bytes, sizeof(bytes));
		assert_int_equal(region_is_zero(fixture->part, fine, 10, &zero), 0);
		assert_false(zero);
		region_zero(fixture->part, fine, sizeof(bytes));
		assert_int_equal(region_persist(fixture->part, fine, sizeof(bytes)), 0);
		assert_int_equal(region_is_zero(fixture->part, fine, sizeof(bytes), &zero), 0);
		assert_true(zero);
	}
	assert_int_equal(region_find_lost(fixture->part, fine, FMT_BLOCK_SIZE, &where), -ENOENT);
	assert_int_equal(region_find_lost(fixture->part, fine + 9, (size_t)(gone - fine) + 100, &where), 0);
	assert_ptr_equal(where, gone);
}

static void truncated_file(void **state)
{
	struct fixture *fixture;

	open_part(state);
	fixture = *state;
	assert_int_equal(truncate(fixture->path, BLOCKS / 2 * FMT_BLOCK_SIZE), 0);
	accesses(fixture, BLOCKS / 2 - 1, BLOCKS / 2);
}

static void poisoned_page(void **state)
{
	struct fixture *fixture;
	unsigned char *page;

	open_part(state);
	fixture = *state;
	page = region_block(fixture->part, 20);
	page[0] = 1;
	if (madvise(page, FMT_BLOCK_SIZE, MADV_HWPOISON) != 0) {
		/* TAP has no way to say so here that the runner understands: truncated_file is the other way to SIGBUS.
		 */
		print_message("# poisoned_page: no MADV_HWPOISON here (%s): it needs root and CONFIG_MEMORY_FAILURE\n",
			      strerror(errno));
		return;
	}
	accesses(fixture, 19, 20);
}

/* What is not an access to a part still ends the process. */
static void elsewhere(void **state)
{
	struct fixture *fixture;
	pid_t child;
	int status;

	open_part(state);
	fixture = *state;
	assert_int_equal(truncate(fixture->path, BLOCKS / 2 * FMT_BLOCK_SIZE), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		alarm(20);
		/* The library of the test would tell of it as of a failed test. */
		(void)!freopen("/dev/null", "w", stderr);
		(void)!freopen("/dev/null", "w", stdout);
		*(volatile unsigned char *)region_block(fixture->part, BLOCKS / 2) = 1;
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
	assert_false(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(truncated_file, teardown),
		cmocka_unit_test_teardown(poisoned_page, teardown),
		cmocka_unit_test_teardown(elsewhere, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
