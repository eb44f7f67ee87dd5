/* Threads with sessions in all shards, and one that moves blocks to limbo and back, in one pool. */
#include "base/lock.h"
#include "ledger_book.h"
#include "meta/pool.h"

#include <pthread.h>

enum { THREADS = 4, STEPS = 1500, MOVES = 800 };

struct worker {
	pthread_t thread;
	struct meta *meta;
	struct book book;
};

static void *run_book(void *arg)
{
	struct worker *worker = arg;

	for (unsigned i = 0; i < STEPS; i++)
		book_step(&worker->book, worker->meta);
	return NULL;
}

/* Takes the lock as src/fs would; the others read what meta_limbo_blocks() says, and take pages, meanwhile. */
static void *run_limbo(void *arg)
{
	struct meta *meta = arg;
	struct lock_mutex lock;
	uint32_t random = 5;

	assert_int_equal(lock_mutex_init(&lock, LOCK_LIMBO), 0);
	for (unsigned i = 0; i < MOVES; i++) {
		struct meta_tx *tx;
		uint64_t phys;
		uint32_t length;

		lock_mutex_take(&lock);
		BOOK_MUST(meta_begin(meta, META_TX_RESERVE, &tx));
		for (unsigned j = 0; j < 20; j++)
			(void)meta_limbo_remove(tx, fmt_phys(3, book_random(&random, 100000)), 100, &phys, &length);
		for (unsigned j = 0; j < 20; j++) {
			phys = fmt_phys(3, 1 + book_random(&random, 100000));
			while (meta_limbo_remove(tx, phys, 2, &phys, &length) == 0)
				;
			BOOK_MUST(meta_limbo_add(tx, phys, 2));
		}
		BOOK_MUST(meta_commit(tx));
		lock_mutex_drop(&lock);
	}
	lock_mutex_fini(&lock);
	return NULL;
}

static void test_all(void **state)
{
	static struct worker worker[THREADS];
	struct scratch scratch;
	pthread_t limbo;
	uint64_t free_before, blocks;

	(void)state;
	scratch_create(&scratch, 64ull << 20);
	free_before = atomic_load(&scratch.meta->pages_free);
	assert_int_equal(pthread_create(&limbo, NULL, run_limbo, scratch.meta), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		worker[i].meta = scratch.meta;
		book_init(&worker[i].book, 100 + i, i * 1000000);
		assert_int_equal(pthread_create(&worker[i].thread, NULL, run_book, &worker[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(worker[i].thread, NULL), 0);
	assert_int_equal(pthread_join(limbo, NULL), 0);
	blocks = meta_limbo_blocks(scratch.meta);
	assert_true(blocks > 0);
	scratch_reopen(&scratch);
	assert_int_equal(meta_limbo_blocks(scratch.meta), blocks);
	for (unsigned i = 0; i < THREADS; i++) {
		book_verify(&worker[i].book, scratch.meta);
		book_empty(&worker[i].book, scratch.meta);
	}
	assert_int_equal(scratch.meta->ledger_extents, 0);
	assert_int_equal(atomic_load(&scratch.meta->pages_free), free_before - scratch.meta->limbo_nodes);
	scratch_destroy(&scratch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
