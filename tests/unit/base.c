/* crc32c, locks with ranks, holder_pid, messages. */
#include "base/arith.h"
#include "base/crc.h"
#include "base/holder.h"
#include "base/lock.h"
#include "base/log.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void test_crc32c(void **state)
{
	unsigned char bytes[48];

	(void)state;
	/* RFC 3720, B.4. */
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	memset(bytes, 0, 32);
	assert_int_equal(crc32c(0, bytes, 32), 0x8a9136aa);
	memset(bytes, 0xff, 32);
	assert_int_equal(crc32c(0, bytes, 32), 0x62a8ab43);
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)i;
	for (unsigned cut = 0; cut <= sizeof(bytes); cut++)
		assert_int_equal(crc32c(crc32c(0, bytes, cut), bytes + cut, sizeof(bytes) - cut),
				 crc32c(0, bytes, sizeof(bytes)));
}

static void test_arith(void **state)
{
	uint64_t result;

	(void)state;
	assert_int_equal(align_up(1, 4096), 4096);
	assert_int_equal(align_up(4096, 4096), 4096);
	assert_int_equal(align_down(8191, 4096), 4096);
	assert_true(add_overflows(UINT64_MAX, 1, &result));
	assert_false(add_overflows(UINT64_MAX - 1, 1, &result));
	assert_true(mul_overflows(1ull << 40, 1ull << 24, &result));
}

/* Runs `body` in a child; returns its wait status. */
static int in_child(void (*body)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		signal(SIGABRT, SIG_DFL);
		fclose(stderr);
		body();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void take_in_order(void)
{
	struct lock_rw directory;
	struct lock_mutex alloc;

	lock_rw_init(&directory, LOCK_DIRECTORY);
	lock_mutex_init(&alloc, LOCK_ALLOC);
	lock_rw_take_shared(&directory);
	lock_mutex_take(&alloc);
	lock_mutex_drop(&alloc);
	lock_rw_drop(&directory);
}

static void take_out_of_order(void)
{
	struct lock_rw directory;
	struct lock_mutex alloc;

	lock_rw_init(&directory, LOCK_DIRECTORY);
	lock_mutex_init(&alloc, LOCK_ALLOC);
	lock_mutex_take(&alloc);
	lock_rw_take_shared(&directory);
}

static void test_lock_order(void **state)
{
	int status;

	(void)state;
	status = in_child(take_in_order);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
#ifdef PINFS_LOCK_CHECK
	status = in_child(take_out_of_order);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
#else
	(void)take_out_of_order;
#endif
}

static void *take_exclusive(void *arg)
{
	struct lock_rw *lock = arg;

	lock_rw_take_exclusive(lock);
	lock_rw_drop(lock);
	return NULL;
}

/* A stream of readers that never lets go of the lock altogether: once a writer waits, none of those who come gets in.
 */
static void writer_gets_in(enum lock_rank rank)
{
	struct lock_rw lock;
	pthread_t writer;
	int error;

	assert_int_equal(lock_rw_init(&lock, rank), 0);
	lock_rw_take_shared(&lock);
	assert_int_equal(pthread_create(&writer, NULL, take_exclusive, &lock), 0);
	/* What never comes is the runner's time limit. */
	while ((error = pthread_rwlock_tryrdlock(&lock.rwlock)) == 0) {
		assert_int_equal(pthread_rwlock_unlock(&lock.rwlock), 0);
		sched_yield();
	}
	assert_int_equal(error, EBUSY);
	lock_rw_drop(&lock);
	assert_int_equal(pthread_join(writer, NULL), 0);
	lock_rw_take_shared(&lock);
	lock_rw_drop(&lock);
	lock_rw_fini(&lock);
}

static void test_writers_first(void **state)
{
	(void)state;
	writer_gets_in(LOCK_LAYOUT);
	writer_gets_in(LOCK_MAP);
}

static void test_holder(void **state)
{
	FILE *file = tmpfile();

	(void)state;
	assert_non_null(file);
	assert_int_equal(holder_pid(fileno(file)), 0);
	assert_int_equal(flock(fileno(file), LOCK_EX), 0);
	assert_int_equal(holder_pid(fileno(file)), getpid());
	fclose(file);
	assert_int_equal(holder_pid(-1), 0);
}

static void test_message(void **state)
{
	struct message message;
	char longer[2 * sizeof(message.text)];

	(void)state;
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	message_set(&message, "%s", longer);
	assert_int_equal(strlen(message.text), sizeof(message.text) - 1);
	message_set(NULL, "nobody listens");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crc32c),	      cmocka_unit_test(test_arith),  cmocka_unit_test(test_lock_order),
		cmocka_unit_test(test_writers_first), cmocka_unit_test(test_holder), cmocka_unit_test(test_message),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
