/* Lost memory is an error of the access: a part whose file was truncated, and one with a poisoned page. */
#include "base/fault.h"
#include "region/region.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
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

/* What a child that does `what` writes to stderr; it must end by SIGBUS, or as the library of the test ends it. */
static void child_dies(void (*what)(struct fixture *fixture), struct fixture *fixture, char *ret_words, size_t capacity)
{
	int pipe_fds[2];
	ssize_t count;
	size_t length = 0;
	pid_t child;
	int status;

	assert_int_equal(pipe(pipe_fds), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		alarm(20);
		(void)dup2(pipe_fds[1], STDERR_FILENO);
		close(pipe_fds[1]);
		/* The library of the test would tell of it as of a failed test. */
		(void)!freopen("/dev/null", "w", stdout);
		what(fixture);
		_exit(0);
	}
	close(pipe_fds[1]);
	while ((count = read(pipe_fds[0], ret_words + length, capacity - 1 - length)) > 0)
		length += (size_t)count;
	ret_words[length] = '\0';
	close(pipe_fds[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
	assert_false(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
}

static void store(struct fixture *fixture)
{
	*(volatile unsigned char *)((unsigned char *)region_block(fixture->part, BLOCKS / 2) + 5) = 1;
}

static void store_unnamed(struct fixture *fixture)
{
	fault_unname(fixture->part->base);
	store(fixture);
}

/* What is not an access by these functions still ends the process, and says where. */
static void elsewhere(void **state)
{
	struct fixture *fixture;
	char words[4096], want[128];

	open_part(state);
	fixture = *state;
	assert_int_equal(truncate(fixture->path, BLOCKS / 2 * FMT_BLOCK_SIZE), 0);
	child_dies(store, fixture, words, sizeof(words));
	(void)snprintf(want, sizeof(want), "pinfs: %s: at byte %u, at address 0x", fixture->path,
		       BLOCKS / 2 * FMT_BLOCK_SIZE);
	/* The page, or the byte in it, as the kernel tells. */
	want[strlen(want) - strlen(", at address 0x") - 1] = '\0';
	assert_non_null(strstr(words, want));
	assert_non_null(strstr(words, "the file was truncated"));
	assert_non_null(strstr(words, "run `pinfs fsck`\n"));
	child_dies(store_unnamed, fixture, words, sizeof(words));
	assert_null(strstr(words, fixture->path));
	assert_non_null(strstr(words, "pinfs: at address 0x"));
}

/* Sent by somebody: no access is repeated, and the process ends all the same. */
static void sent(struct fixture *fixture)
{
	(void)fixture;
	(void)kill(getpid(), SIGBUS);
}

static void sent_to_it(void **state)
{
	char words[4096];

	open_part(state);
	child_dies(sent, *state, words, sizeof(words));
	assert_null(strstr(words, "at address"));
}

static void hint_now(void)
{
	siginfo_t info = {.si_signo = SIGBUS, .si_code = BUS_MCEERR_AO};

	assert_int_equal(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGBUS, &info), 0);
}

static void copy_with_hint(void *dest, const void *source, size_t length)
{
	memcpy(dest, source, length / 2);
	hint_now();
	memcpy((char *)dest + length / 2, (const char *)source + length / 2, length - length / 2);
}

/* The kernel's hint that some memory is lost, which comes at any time, cuts short nothing and ends nothing. */
static void hint(void **state)
{
	struct region_ops ops = region_ops_libpmem;
	struct fixture *fixture;
	char bytes[300];

	open_part(state);
	fixture = *state;
	hint_now();
	ops.copy = copy_with_hint;
	fixture->part->ops = &ops;
	memset(bytes, 9, sizeof(bytes));
	region_copy(fixture->part, region_block(fixture->part, 2), bytes, sizeof(bytes));
	assert_int_equal(region_persist(fixture->part, region_block(fixture->part, 2), sizeof(bytes)), 0);
	assert_memory_equal(region_block(fixture->part, 2), bytes, sizeof(bytes));
}

#define THREADS 4u
#define ROUNDS 2000u

static void *access_both(void *arg)
{
	struct fixture *fixture = arg;
	unsigned char *fine = region_block(fixture->part, 2 + (unsigned)(uintptr_t)pthread_self() % 8);
	unsigned char *gone = region_block(fixture->part, BLOCKS / 2);
	uintptr_t wrong = 0;
	bool zero;

	for (unsigned i = 0; i < ROUNDS; i++) {
		wrong += region_is_zero(fixture->part, gone + (i % 8) * FMT_BLOCK_SIZE, 64, &zero) != -EHWPOISON;
		wrong += region_is_zero(fixture->part, fine, 64, &zero) != 0 || !zero;
	}
	return (void *)wrong;
}

/* Each thread's loss is its own. */
static void threads(void **state)
{
	pthread_t thread[THREADS];
	struct fixture *fixture;
	void *wrong;

	open_part(state);
	fixture = *state;
	assert_int_equal(truncate(fixture->path, BLOCKS / 2 * FMT_BLOCK_SIZE), 0);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, access_both, fixture), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(thread[i], &wrong), 0);
		assert_null(wrong);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(truncated_file, teardown), cmocka_unit_test_teardown(poisoned_page, teardown),
		cmocka_unit_test_teardown(elsewhere, teardown),	     cmocka_unit_test_teardown(sent_to_it, teardown),
		cmocka_unit_test_teardown(hint, teardown),	     cmocka_unit_test_teardown(threads, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
