/* Reads, writes, copies, punches and truncations of the same files by several threads. */
#include "fs_model.h"

#include <pthread.h>

#define THREADS 4u
#define THREAD_STEPS 1500u
#define SPAN (256u << 10)

struct worker {
	pthread_t thread;
	unsigned number;
	uint64_t ino[2]; /* both shared by all */
	int error;
};

/* Each worker owns SPAN bytes of each file, below the end that others move. */
static int work(struct worker *worker, unsigned step, unsigned char *data)
{
	uint64_t ino = worker->ino[step % 2];
	off_t offset = (off_t)worker->number * SPAN;
	unsigned char *back = data + SPAN;

	memset(data, (int)(step % 250) + 1, SPAN);
	if (fs_write(pool.fs, ino, data, SPAN - 77, offset, NULL) != SPAN - 77)
		return -EIO;
	if (file_read(ino, (uint64_t)offset, SPAN - 77, back) != SPAN - 77 || memcmp(data, back, SPAN - 77) != 0)
		return -EILSEQ;
	if (step % 3 == 0 &&
	    fs_copy_range(pool.fs, ino, offset, worker->ino[1 - step % 2], offset, 50000, NULL) != 50000)
		return -EFAULT;
	if (step % 5 == 0)
		return fs_fallocate(pool.fs, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset + 5000, 100000,
				    NULL);
	if (step % 7 == 0)
		return file_truncate(ino, (uint64_t)SPAN * THREADS + step);
	return 0;
}

static void *worker_main(void *arg)
{
	struct worker *worker = arg;
	unsigned char *data = malloc(2 * SPAN);

	if (data == NULL)
		worker->error = -ENOMEM;
	for (unsigned step = 0; step < THREAD_STEPS && worker->error == 0; step++)
		worker->error = work(worker, step, data);
	free(data);
	return NULL;
}

static void threads_share_files(void **state)
{
	struct worker workers[THREADS] = {0};

	(void)state;
	files_create();
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i].number = i;
		workers[i].ino[0] = models[0]->ino;
		workers[i].ino[1] = models[1]->ino;
	}
	assert_int_equal(file_truncate(models[0]->ino, SPAN * THREADS), 0);
	assert_int_equal(file_truncate(models[1]->ino, SPAN * THREADS), 0);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
		assert_int_equal(workers[i].error, 0);
	}
	files_delete();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(threads_share_files, pool_create, pool_destroy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
