/* Asking the kernel to drop what it has of a file: nobody is held up by another file, everybody is answered once. */
#include "front/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FILES 200u
#define STUCK 100u /* of them, the first ones */

/* The kernel: questions about files up to `stuck` are answered once that is lowered. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t stuck;
	unsigned asking[FILES + 1]; /* at the moment */
	unsigned asked[FILES + 1];
	unsigned most; /* about one file at a time */
	off_t offset, length; /* of the last question */
	unsigned done;
} kernel = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* In place of libfuse's. */
int fuse_lowlevel_notify_inval_inode(struct fuse_session *se, fuse_ino_t ino, off_t off, off_t len)
{
	(void)se;
	pthread_mutex_lock(&kernel.lock);
	if (++kernel.asking[ino] > kernel.most)
		kernel.most = kernel.asking[ino];
	kernel.asked[ino]++;
	kernel.offset = off;
	kernel.length = len;
	pthread_cond_broadcast(&kernel.changed);
	while (ino <= kernel.stuck)
		pthread_cond_wait(&kernel.changed, &kernel.lock);
	kernel.asking[ino]--;
	pthread_mutex_unlock(&kernel.lock);
	return 0;
}

static void done(void *arg)
{
	unsigned *count = arg;

	pthread_mutex_lock(&kernel.lock);
	(*count)++;
	kernel.done++;
	pthread_cond_broadcast(&kernel.changed);
	pthread_mutex_unlock(&kernel.lock);
}

static void unstick(void)
{
	pthread_mutex_lock(&kernel.lock);
	kernel.stuck = 0;
	pthread_cond_broadcast(&kernel.changed);
	pthread_mutex_unlock(&kernel.lock);
}

static void await(const unsigned *number, unsigned value)
{
	pthread_mutex_lock(&kernel.lock);
	while (*number < value)
		pthread_cond_wait(&kernel.changed, &kernel.lock);
	pthread_mutex_unlock(&kernel.lock);
}

static int setup(void **state)
{
	struct front *front = aligned_alloc(_Alignof(struct front), sizeof(*front));

	assert_non_null(front);
	memset(front, 0, sizeof(*front));
	pthread_mutex_lock(&kernel.lock);
	kernel.stuck = kernel.most = kernel.done = 0;
	memset(kernel.asked, 0, sizeof(kernel.asked));
	pthread_mutex_unlock(&kernel.lock);
	assert_int_equal(front_upcalls_init(&front->upcalls), 0);
	*state = front;
	return 0;
}

static int teardown(void **state)
{
	struct front *front = *state;

	front_upcalls_fini(&front->upcalls);
	free(front);
	return 0;
}

static void test_range(void **state)
{
	struct front *front = *state;
	unsigned count = 0;

	front_invalidate(front, 7, 4096, 100, done, &count);
	await(&count, 1);
	assert_int_equal(kernel.offset, 4096);
	assert_int_equal(kernel.length, 100);
	front->cache = FRONT_CACHE_NONE;
	front_invalidate(front, 7, 4096, 100, done, &count);
	await(&count, 2);
	assert_int_equal(kernel.offset, -1);
	assert_true(front_upcalls_stop(&front->upcalls));
}

static void test_stuck_files_hold_up_no_other(void **state)
{
	struct front *front = *state;
	unsigned count[FILES + 1] = {0};

	kernel.stuck = STUCK;
	for (unsigned i = 1; i <= FILES; i++)
		front_invalidate(front, i, 0, 0, done, &count[i]);
	for (unsigned i = STUCK + 1; i <= FILES; i++)
		await(&count[i], 1);
	for (unsigned i = 1; i <= STUCK; i++) {
		await(&kernel.asked[i], 1);
		assert_int_equal(count[i], 0);
	}
	unstick();
	await(&kernel.done, FILES);
	assert_true(front_upcalls_stop(&front->upcalls));
	for (unsigned i = 1; i <= FILES; i++)
		assert_int_equal(count[i], 1);
}

static void test_one_at_a_time(void **state)
{
	struct front *front = *state;
	unsigned count[3] = {0}, other = 0;

	kernel.stuck = 1;
	front_invalidate(front, 1, 0, 0, done, &count[0]);
	await(&kernel.asked[1], 1);
	front_invalidate(front, 1, 1, 0, done, &count[1]);
	front_invalidate(front, 1, 2, 0, done, &count[2]);
	front_invalidate(front, 2, 0, 0, done, &other);
	await(&other, 1);
	assert_int_equal(kernel.asked[1], 1);
	unstick();
	await(&count[2], 1);
	await(&kernel.done, 4);
	assert_int_equal(kernel.most, 1);
	assert_int_equal(kernel.asked[1], 3);
	assert_true(front_upcalls_stop(&front->upcalls));
}

static void test_threads_are_used_again(void **state)
{
	struct front *front = *state;
	unsigned count = 0;

	for (unsigned i = 1; i <= 1000; i++) {
		front_invalidate(front, 1 + i % FILES, 0, 0, done, &count);
		await(&count, i);
	}
	pthread_mutex_lock(&front->upcalls.lock);
	assert_in_range(front->upcalls.threads, 1, 100);
	pthread_mutex_unlock(&front->upcalls.lock);
	assert_true(front_upcalls_stop(&front->upcalls));
}

static void test_after_the_end(void **state)
{
	struct front *front = *state;
	unsigned count = 0;

	assert_true(front_upcalls_stop(&front->upcalls));
	front_invalidate(front, 1, 0, 0, done, &count);
	assert_int_equal(count, 1);
	assert_int_equal(kernel.asked[1], 0);
}

/* A thread that hangs is given up, what waits behind it is answered, and it does no harm when it comes back. */
static void test_stop_while_stuck(void **state)
{
	struct front *front = *state;
	unsigned count[3] = {0};

	kernel.stuck = 2;
	front_invalidate(front, 1, 0, 0, done, &count[0]);
	front_invalidate(front, 1, 0, 0, done, &count[1]);
	front_invalidate(front, 2, 0, 0, done, &count[2]);
	await(&kernel.asked[1], 1);
	await(&kernel.asked[2], 1);
	assert_false(front_upcalls_stop(&front->upcalls));
	assert_int_equal(kernel.done, 3);
	unstick();
	pthread_mutex_lock(&front->upcalls.lock);
	while (front->upcalls.threads > 0)
		pthread_cond_wait(&front->upcalls.ended, &front->upcalls.lock);
	pthread_mutex_unlock(&front->upcalls.lock);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(count[i], 1);
	assert_int_equal(kernel.asked[1], 1);
}

#define CALLERS 4u
#define ROUNDS 5000u

static void *ask_much(void *arg)
{
	static unsigned count[CALLERS];
	struct front *front = arg;
	static atomic_uint callers;
	unsigned caller = atomic_fetch_add(&callers, 1);

	for (unsigned i = 0; i < ROUNDS; i++)
		front_invalidate(front, 1 + (i * 7 + caller) % 13, 0, 0, done, &count[caller]);
	await(&count[caller], ROUNDS);
	return NULL;
}

static void test_many(void **state)
{
	struct front *front = *state;
	pthread_t threads[CALLERS];

	for (unsigned i = 0; i < CALLERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask_much, front), 0);
	for (unsigned i = 0; i < CALLERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(kernel.done, CALLERS * ROUNDS);
	assert_int_equal(kernel.most, 1);
	assert_true(front_upcalls_stop(&front->upcalls));
	assert_null(front->upcalls.files);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_range, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stuck_files_hold_up_no_other, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_at_a_time, setup, teardown),
		cmocka_unit_test_setup_teardown(test_threads_are_used_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_after_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stop_while_stuck, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many, setup, teardown),
	};

	return cmocka_run_group_tests_name("upcall", tests, NULL, NULL);
}
