/* Free space under four threads: no block ever has two owners, and none is lost. */
#include "alloc/alloc.h"
#include "format/format.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define THREADS 4
#define PARTS 2
#define BLOCKS 12000u /* a part */
#define HELD 512
#define RUNS 16
#define OPERATIONS 100000

struct shared {
	struct alloc *alloc;
	atomic_uchar owner[PARTS][BLOCKS]; /* number of the thread that holds the block; 0: nobody */
	atomic_uint faults; /* cmocka's asserts belong to the main thread */
};

struct worker {
	struct shared *shared;
	unsigned char number; /* from 1 */
	uint64_t random;
	struct alloc_run held[HELD];
	size_t count;
};

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void expect(struct shared *shared, bool condition)
{
	if (!condition)
		atomic_fetch_add(&shared->faults, 1);
}

static void set_owner(struct worker *worker, const struct alloc_run *run, unsigned char from, unsigned char to)
{
	uint32_t part = fmt_phys_part(run->phys);
	uint64_t first = fmt_phys_block(run->phys);
	bool inside = part < PARTS && first > 0 && first + run->length <= BLOCKS;

	expect(worker->shared, inside);
	for (uint64_t block = first; inside && block < first + run->length; block++) {
		unsigned char old = from;

		expect(worker->shared, atomic_compare_exchange_strong(&worker->shared->owner[part][block], &old, to));
	}
}

static void reserve(struct worker *worker)
{
	uint64_t r = random_next(&worker->random);
	struct alloc_run *runs = &worker->held[worker->count];
	uint64_t want = r % 8 == 0 ? 1 + (r >> 8) % 1500 : 1 + (r >> 8) % 30;
	uint64_t goal = 0;
	size_t count;
	int err;

	if (worker->count > 0 && (r >> 40) % 2 == 0)
		goal = runs[-1].phys + runs[-1].length;
	err = alloc_reserve(worker->shared->alloc, want, goal, (unsigned)(r >> 62), runs, RUNS, &count);
	expect(worker->shared, err == 0 || err == -ENOSPC);
	if (err != 0)
		return;
	for (size_t i = 0; i < count; i++)
		set_owner(worker, &runs[i], 0, worker->number);
	worker->count += count;
}

static void give(struct worker *worker)
{
	struct alloc_run *run = &worker->held[random_next(&worker->random) % worker->count];

	set_owner(worker, run, worker->number, 0);
	expect(worker->shared, alloc_free(worker->shared->alloc, run->phys, run->length) == 0);
	*run = worker->held[--worker->count];
}

static int count_visit(void *arg, uint64_t phys, uint64_t length)
{
	(void)phys;
	*(uint64_t *)arg += length;
	return 0;
}

/* What runs beside the others: counts that may be of any moment, but never more than there is. */
static void look(struct worker *worker)
{
	struct alloc_stats stats;
	uint64_t sum = 0;

	alloc_stats(worker->shared->alloc, &stats);
	expect(worker->shared, stats.free <= stats.total && stats.largest_run <= stats.total);
	expect(worker->shared, alloc_iterate(worker->shared->alloc, count_visit, &sum) == 0);
	expect(worker->shared, sum <= PARTS * (uint64_t)BLOCKS);
}

static void *work(void *arg)
{
	struct worker *worker = arg;

	for (unsigned i = 0; i < OPERATIONS; i++) {
		if (worker->count > 0 && (worker->count > HELD - RUNS || random_next(&worker->random) % 2 == 0))
			give(worker);
		else
			reserve(worker);
		if (i % 512 == 0)
			look(worker);
		if (i == OPERATIONS / 4 && worker->number == 1)
			expect(worker->shared, alloc_add_part(worker->shared->alloc, 1, 1, BLOCKS) == 0); /* grow */
	}
	while (worker->count > 0)
		give(worker);
	return NULL;
}

static void test_threads(void **state)
{
	struct shared *shared = calloc(1, sizeof(*shared));
	struct worker *workers = calloc(THREADS, sizeof(*workers));
	pthread_t threads[THREADS];
	struct alloc_stats stats;

	(void)state;
	assert_non_null(shared);
	assert_non_null(workers);
	assert_int_equal(alloc_create(&shared->alloc), 0);
	assert_int_equal(alloc_add_part(shared->alloc, 0, 1, BLOCKS), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i].shared = shared;
		workers[i].number = (unsigned char)(i + 1);
		workers[i].random = 0x9e3779b97f4a7c15ull * (i + 1);
		assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(atomic_load(&shared->faults), 0);
	alloc_stats(shared->alloc, &stats);
	assert_int_equal(stats.total, PARTS * (BLOCKS - 1));
	assert_int_equal(stats.free, stats.total);
	assert_int_equal(stats.free_runs, 2 * 5); /* each group is whole again */
	assert_int_equal(stats.bad_frees, 0);
	alloc_destroy(shared->alloc);
	free(workers);
	free(shared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
