/*
 * Threads that make, remove, rename, look up and forget in the same directories and in their own. Each operation may
 * lose a race, with the errors that belong to it; afterwards no look-up, link or block is unaccounted for.
 */
#include "fs_pool.h"

#include <pthread.h>
#include <stdatomic.h>

#define THREADS 4
#define ROUNDS 4000
#define DIRS 3 /* shared */
#define NAMES 4
#define KEPT 8

struct worker {
	struct pool *pool;
	pthread_t thread;
	unsigned number;
	unsigned random;
	uint64_t dir[DIRS + 1]; /* shared ones, and its own */
	uint64_t kept[KEPT]; /* look-ups not forgotten yet; 0: none */
	atomic_uint *failures;
	unsigned done; /* operations that succeeded */
};

static unsigned pick(struct worker *w, unsigned below)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 17;
	w->random ^= w->random << 5;
	return w->random % below;
}

/* cmocka's asserts are for the main thread only. */
static void expect(struct worker *w, const char *what, ssize_t result, const int *errors)
{
	if (result >= 0) {
		w->done++;
		return;
	}
	for (; *errors != 0; errors++) {
		if (*errors == (int)-result)
			return;
	}
	fprintf(stderr, "thread %u: %s: %s\n", w->number, what, strerror((int)-result));
	atomic_fetch_add(w->failures, 1);
}

#define EXPECT(w, call, ...) expect(w, #call, call, (const int[]){__VA_ARGS__, 0})

static uint64_t pick_dir(struct worker *w)
{
	return w->dir[pick(w, DIRS + 1)];
}

/* A file's or a directory's name: the kinds do not mix, so that directories get emptied and removed. */
static const char *pick_name(struct worker *w, bool dir)
{
	static const char *const names[2][NAMES] = {{"f0", "f1", "f2", "f3"}, {"d0", "d1", "d2", "d3"}};

	return names[dir][pick(w, NAMES)];
}

static void keep(struct worker *w, uint64_t ino)
{
	unsigned slot = pick(w, KEPT);

	if (w->kept[slot] != 0)
		fs_forget(w->pool->fs, w->kept[slot], 1);
	w->kept[slot] = ino;
}

static void do_make(struct worker *w)
{
	bool dir = pick(w, 3) == 0;
	struct fs_make make = {.mode = dir ? S_IFDIR | 0755 : S_IFREG | 0644};
	struct fs_entry entry = {.ino = 0};
	uint64_t parent = pick_dir(w);

	EXPECT(w, fs_make(w->pool->fs, parent, pick_name(w, dir), &make, &pool_cred, &entry), EEXIST, ENOENT, ESTALE);
	if (entry.ino != 0)
		keep(w, entry.ino);
}

static void do_lookup(struct worker *w)
{
	struct fs_entry entry = {.ino = 0};

	EXPECT(w, fs_lookup(w->pool->fs, pick_dir(w), pick_name(w, pick(w, 2)), &entry), ENOENT);
	if (entry.ino != 0)
		keep(w, entry.ino);
}

/* On something that is known, possibly removed meanwhile. */
static void do_known(struct worker *w)
{
	uint64_t ino = w->kept[pick(w, KEPT)];
	struct fs_setattr changes = {.valid = FS_SET_MODE | FS_SET_MTIME_NOW, .attr.st_mode = 0600};
	struct fs_entry entry = {.ino = 0};
	struct stat attr;
	char list[64];

	if (ino == 0)
		return;
	EXPECT(w, fs_getattr(w->pool->fs, ino, &attr), 0);
	EXPECT(w, fs_setattr(w->pool->fs, ino, &changes, NULL, &attr), 0);
	EXPECT(w, fs_setxattr(w->pool->fs, ino, "user.x", "value", 5, 0), 0);
	EXPECT(w, fs_listxattr(w->pool->fs, ino, true, list, sizeof(list)), 0);
	if (S_ISREG(attr.st_mode))
		EXPECT(w, fs_write(w->pool->fs, ino, "bytes", 5, pick(w, 9000), NULL), 0);
	EXPECT(w, fs_link(w->pool->fs, ino, pick_dir(w), pick_name(w, false), &entry), EEXIST, ENOENT, EPERM);
	if (entry.ino != 0)
		fs_forget(w->pool->fs, entry.ino, 1);
	/* A directory that has moved is a place for more. */
	if (S_ISDIR(attr.st_mode))
		EXPECT(w, fs_rename(w->pool->fs, pick_dir(w), pick_name(w, true), ino, pick_name(w, true), 0), ENOENT,
		       ENOTEMPTY, EINVAL);
}

static void do_rename(struct worker *w)
{
	static const unsigned flags[] = {0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
	bool dir = pick(w, 2) == 0;
	uint64_t from = pick_dir(w), to = pick_dir(w);
	const char *name = pick_name(w, dir), *new_name = pick_name(w, dir);

	EXPECT(w, fs_rename(w->pool->fs, from, name, to, new_name, flags[pick(w, ARRAY_SIZE(flags))]), ENOENT, EEXIST,
	       ENOTEMPTY);
}

static void do_remove(struct worker *w)
{
	uint64_t parent = pick_dir(w);

	if (pick(w, 2) == 0)
		EXPECT(w, fs_unlink(w->pool->fs, parent, pick_name(w, false)), ENOENT);
	else
		EXPECT(w, fs_rmdir(w->pool->fs, parent, pick_name(w, true)), ENOENT, ENOTEMPTY);
}

/* Empties a directory, so that it can be removed. */
static void do_clear(struct worker *w)
{
	uint64_t ino = w->kept[pick(w, KEPT)];
	struct stat attr;

	if (ino == 0 || fs_getattr(w->pool->fs, ino, &attr) != 0 || !S_ISDIR(attr.st_mode))
		return;
	for (unsigned i = 0; i < 4; i++) {
		EXPECT(w, fs_unlink(w->pool->fs, ino, pick_name(w, false)), ENOENT);
		EXPECT(w, fs_rmdir(w->pool->fs, ino, pick_name(w, true)), ENOENT, ENOTEMPTY);
	}
}

static int visit(void *arg, const struct fs_dirent *dirent)
{
	struct worker *w = arg;

	/* The look-up is ours, unless refused: only noted here, the directory is locked. */
	if (dirent->entry.ino != 0) {
		for (unsigned i = 0; i < KEPT; i++) {
			if (w->kept[i] == 0) {
				w->kept[i] = dirent->entry.ino;
				return 0;
			}
		}
		return 1;
	}
	return 0;
}

static void do_readdir(struct worker *w)
{
	EXPECT(w, fs_readdir(w->pool->fs, pick_dir(w), 0, true, visit, w), 0);
}

static void forget_kept(struct worker *w)
{
	for (unsigned i = 0; i < KEPT; i++) {
		if (w->kept[i] != 0)
			fs_forget(w->pool->fs, w->kept[i], 1);
		w->kept[i] = 0;
	}
}

static void *work(void *arg)
{
	static void (*const operations[])(struct worker * w) = {
		do_make,   do_make,   do_make,	do_lookup,  do_known,	 do_rename,
		do_rename, do_remove, do_clear, do_readdir, forget_kept,
	};
	struct worker *w = arg;

	for (unsigned i = 0; i < ROUNDS; i++)
		operations[pick(w, ARRAY_SIZE(operations))](w);
	forget_kept(w);
	return NULL;
}

static void test_threads(void **state)
{
	struct pool *pool = *state;
	struct worker worker[THREADS] = {0};
	uint64_t shared[DIRS];
	atomic_uint failures = 0;
	struct fs_stats stats;
	char name[16];

	for (unsigned i = 0; i < DIRS; i++) {
		(void)snprintf(name, sizeof(name), "shared%u", i);
		assert_int_equal(make_kept(pool, i == 0 ? ROOT : shared[i - 1], name, S_IFDIR, &shared[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		worker[i] = (struct worker){.pool = pool, .number = i, .random = 4711 + i, .failures = &failures};
		memcpy(worker[i].dir, shared, sizeof(shared));
		(void)snprintf(name, sizeof(name), "own%u", i);
		assert_int_equal(make_kept(pool, ROOT, name, S_IFDIR, &worker[i].dir[DIRS]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&worker[i].thread, NULL, work, &worker[i]), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(worker[i].thread, NULL), 0);
		fs_forget(pool->fs, worker[i].dir[DIRS], 1);
		assert_true(worker[i].done > ROUNDS / 4);
	}
	for (unsigned i = 0; i < DIRS; i++)
		fs_forget(pool->fs, shared[i], 1);
	assert_int_equal(atomic_load(&failures), 0);
	assert_false(fs_read_only(pool->fs));
	fs_get_stats(pool->fs, &stats);
	assert_int_equal(stats.inodes_cached, 0);
	assert_int_equal(stats.bad_frees, 0);
}

/* The number of an evicted inode is taken at once by another thread's new one. */
static void *churn(void *arg)
{
	struct worker *w = arg;
	struct fs_make make = {.mode = S_IFREG | 0644};
	struct fs_entry entry, found;
	char name[16];

	(void)snprintf(name, sizeof(name), "name%u", w->number);
	for (unsigned i = 0; i < ROUNDS; i++) {
		EXPECT(w, fs_make(w->pool->fs, ROOT, name, &make, &pool_cred, &entry), 0);
		EXPECT(w, fs_lookup(w->pool->fs, ROOT, name, &found), 0);
		if (found.ino != entry.ino || found.generation != entry.generation)
			atomic_fetch_add(w->failures, 1);
		EXPECT(w, fs_unlink(w->pool->fs, ROOT, name), 0);
		fs_forget(w->pool->fs, entry.ino, 2);
	}
	return NULL;
}

static void test_churn(void **state)
{
	struct pool *pool = *state;
	struct worker worker[THREADS] = {0};
	atomic_uint failures = 0;
	struct fs_stats before, after;

	fs_get_stats(pool->fs, &before);
	for (unsigned i = 0; i < THREADS; i++) {
		worker[i] = (struct worker){.pool = pool, .number = i, .random = 1, .failures = &failures};
		assert_int_equal(pthread_create(&worker[i].thread, NULL, churn, &worker[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(worker[i].thread, NULL), 0);
	assert_int_equal(atomic_load(&failures), 0);
	fs_get_stats(pool->fs, &after);
	assert_int_equal(after.inodes_used, before.inodes_used);
	assert_int_equal(after.inodes_cached, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_threads, pool_setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_churn, pool_setup, pool_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
