/* Threads that change inodes of their own in one pool: pages, slots and frames are dealt out to all of them at once. */
#include "meta_model.h"

#include <pthread.h>

enum { THREADS = 4, STEPS = 3000, CHURN = 300, CHURN_FILES = 120 };

struct worker {
	pthread_t thread;
	struct meta *meta;
	struct model model;
	uint64_t directory;
};

static void *run_model(void *arg)
{
	struct worker *worker = arg;

	for (unsigned i = 0; i < STEPS; i++)
		model_step(&worker->model, worker->meta);
	return NULL;
}

static uint64_t make_file(struct worker *worker, const char *name)
{
	struct fmt_inode *inode;
	struct meta_tx *tx;
	uint64_t ino;

	MUST(meta_begin(worker->meta, META_TX_INODE, &tx));
	MUST(meta_inode_create(tx, &inode));
	inode->mode = S_IFREG | 0600;
	inode->nlink = 1;
	ino = inode->ino;
	MUST(meta_entry_insert(tx, model_get(worker->meta, worker->directory), name, strlen(name), inode));
	MUST(meta_commit(tx));
	return ino;
}

static void remove_file(struct worker *worker, const char *name, uint64_t ino)
{
	struct meta_tx *tx;

	MUST(meta_begin(worker->meta, META_TX_RESERVE, &tx));
	MUST(meta_entry_remove(tx, model_get(worker->meta, worker->directory), name, strlen(name)));
	MUST(meta_inode_destroy(tx, model_get(worker->meta, ino)));
	MUST(meta_commit(tx));
}

/* Makes and removes so many files that frames become pages and inode frames again and again. */
static void *run_churn(void *arg)
{
	struct worker *worker = arg;
	uint64_t ino[CHURN_FILES];
	char name[32];

	for (unsigned round = 0; round < CHURN; round++) {
		for (unsigned i = 0; i < CHURN_FILES; i++) {
			snprintf(name, sizeof(name), "%u", i);
			ino[i] = make_file(worker, name);
		}
		for (unsigned i = 0; i < CHURN_FILES; i++) {
			snprintf(name, sizeof(name), "%u", i);
			remove_file(worker, name, ino[i]);
		}
	}
	return NULL;
}

static void run(struct scratch *scratch, struct worker *worker, void *(*function)(void *arg))
{
	for (unsigned i = 0; i < THREADS; i++) {
		worker[i].meta = scratch->meta;
		assert_int_equal(pthread_create(&worker[i].thread, NULL, function, &worker[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(worker[i].thread, NULL), 0);
}

static void test_models(void **state)
{
	static struct worker worker[THREADS];
	struct scratch scratch;

	(void)state;
	scratch_create(&scratch, 32ull << 20);
	for (unsigned i = 0; i < THREADS; i++)
		model_create(&worker[i].model, scratch.meta, 100 + i);
	run(&scratch, worker, run_model);
	model_reopen(&scratch);
	for (unsigned i = 0; i < THREADS; i++)
		model_verify(&worker[i].model, scratch.meta);
	scratch_destroy(&scratch);
}

static void test_churn(void **state)
{
	static struct worker worker[THREADS];
	struct meta_space before, after;
	struct scratch scratch;

	(void)state;
	scratch_create(&scratch, META_SIZE_MIN);
	for (unsigned i = 0; i < THREADS; i++)
		worker[i].directory = model_inode(scratch.meta, S_IFDIR | 0755);
	meta_space(scratch.meta, &before);
	run(&scratch, worker, run_churn);
	model_reopen(&scratch);
	meta_space(scratch.meta, &after);
	assert_int_equal(before.inodes_used, after.inodes_used);
	assert_int_equal(before.pages_free + before.inode_slots_free / 16,
			 after.pages_free + after.inode_slots_free / 16);
	scratch_destroy(&scratch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_models),
		cmocka_unit_test(test_churn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
