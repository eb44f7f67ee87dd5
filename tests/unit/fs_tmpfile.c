/* Files without a name (O_TMPFILE): orphans that may get a name once; pins of them. */
#include "fs_pins.h"

static uint64_t tmpfile_kept(struct pool *pool, uint64_t directory, mode_t mode)
{
	struct fs_entry entry = {.ino = 0};

	assert_int_equal(fs_tmpfile(pool->fs, directory, mode, 0, &pool_cred, &entry), 0);
	assert_int_equal(entry.attr.st_nlink, 0);
	return entry.ino;
}

static void test_made(void **state)
{
	struct pool *pool = *state;
	struct stat before = attr_of(pool, ROOT), after, attr;
	uint64_t ino = tmpfile_kept(pool, ROOT, 0640);

	attr = attr_of(pool, ino);
	assert_int_equal(attr.st_mode, S_IFREG | 0640);
	assert_int_equal(attr.st_nlink, 0);
	assert_int_equal(attr.st_uid, pool_cred.uid);
	assert_int_equal(attr.st_gid, pool_cred.gid);
	after = attr_of(pool, ROOT);
	assert_memory_equal(&after, &before, sizeof(after));
	assert_int_equal(fs_write(pool->fs, ino, "data", 4, 9999, NULL), 4);
	assert_int_equal(attr_of(pool, ino).st_size, 10003);
	fs_forget(pool->fs, ino, 1);
	assert_int_equal(fs_getattr(pool->fs, ino, &attr), -ESTALE);
}

static void test_setgid_directory(void **state)
{
	struct pool *pool = *state;
	struct fs_setattr changes = {.valid = FS_SET_GID | FS_SET_MODE};
	struct stat attr;
	uint64_t directory, ino;

	assert_int_equal(make_kept(pool, ROOT, "d", S_IFDIR | 0755, &directory), 0);
	changes.attr.st_gid = 4242;
	changes.attr.st_mode = 02775;
	assert_int_equal(fs_setattr(pool->fs, directory, &changes, NULL, &attr), 0);
	ino = tmpfile_kept(pool, directory, 0644);
	assert_int_equal(attr_of(pool, ino).st_gid, 4242);
	assert_int_equal(attr_of(pool, ino).st_mode, S_IFREG | 0644);
}

static void test_refused(void **state)
{
	struct pool *pool = *state;
	struct fs_entry entry;
	struct message why;
	uint64_t file;

	assert_int_equal(make_kept(pool, ROOT, "file", S_IFREG, &file), 0);
	assert_int_equal(fs_tmpfile(pool->fs, file, 0644, 0, &pool_cred, &entry), -ENOTDIR);
	assert_int_equal(fs_tmpfile(pool->fs, 4711, 0644, 0, &pool_cred, &entry), -ESTALE);
	pool_unmount(pool);
	assert_int_equal(pool_try_mount(pool, true, NULL, &why), 0);
	assert_int_equal(fs_tmpfile(pool->fs, ROOT, 0644, 0, &pool_cred, &entry), -EROFS);
}

static void test_linked_once(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = tmpfile_kept(pool, ROOT, 0644);

	assert_int_equal(fs_write(pool->fs, ino, "data", 4, 0, NULL), 4);
	assert_int_equal(link_to(pool, ino, ROOT, "name"), 0);
	assert_int_equal(attr_of(pool, ino).st_nlink, 1);
	assert_int_equal(link_to(pool, ino, ROOT, "name"), -EEXIST);
	assert_int_equal(link_to(pool, ino, ROOT, "other"), 0);
	assert_int_equal(fs_unlink(pool->fs, ROOT, "other"), 0);
	pool_remount(pool);
	assert_int_equal(find(pool, ROOT, "name"), ino);
	assert_int_equal(attr_of(pool, ino).st_size, 4);
	/* Once it had a name it is as any file: without one it is gone. */
	ino = tmpfile_kept(pool, ROOT, 0644);
	assert_int_equal(link_to(pool, ino, ROOT, "short"), 0);
	assert_int_equal(fs_unlink(pool->fs, ROOT, "short"), 0);
	assert_int_equal(link_to(pool, ino, ROOT, "again"), -ENOENT);
	fs_forget(pool->fs, ino, 1);
}

/* A failed link does not use the one chance up. */
static void test_link_refused(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = tmpfile_kept(pool, ROOT, 0644);

	assert_int_equal(make(pool, ROOT, "there", S_IFREG), 0);
	assert_int_equal(link_to(pool, ino, ROOT, "there"), -EEXIST);
	assert_int_equal(link_to(pool, ino, ROOT, "name"), 0);
	fs_forget(pool->fs, ino, 1);
}

/* ---- Racing: some threads link it, others remove the name at once ---- */

#define RACERS 4
#define ROUNDS 200

struct race {
	struct pool *pool;
	uint64_t ino;
	unsigned number;
	int result;
};

static void *race_link(void *arg)
{
	struct race *race = arg;
	char name[16];

	snprintf(name, sizeof(name), "n%u", race->number);
	race->result = link_to(race->pool, race->ino, ROOT, name);
	if (race->result == 0)
		race->result = fs_unlink(race->pool->fs, ROOT, name);
	return NULL;
}

static void test_link_races(void **state)
{
	struct pool *pool = *state;

	for (unsigned round = 0; round < ROUNDS; round++) {
		struct race race[RACERS];
		pthread_t thread[RACERS];
		uint64_t ino = tmpfile_kept(pool, ROOT, 0644);
		unsigned linked = 0;

		for (unsigned i = 0; i < RACERS; i++) {
			race[i] = (struct race){.pool = pool, .ino = ino, .number = i, .result = 1};
			assert_int_equal(pthread_create(&thread[i], NULL, race_link, &race[i]), 0);
		}
		for (unsigned i = 0; i < RACERS; i++) {
			pthread_join(thread[i], NULL);
			assert_true(race[i].result == 0 || race[i].result == -ENOENT);
			linked += race[i].result == 0;
		}
		assert_true(linked > 0);
		assert_int_equal(attr_of(pool, ino).st_nlink, 0);
		assert_int_equal(link_to(pool, ino, ROOT, "late"), -ENOENT);
		fs_forget(pool->fs, ino, 1);
	}
}

/* Blocks of a file that has gone stay with its holder, and come back after the last unpin. */
static void test_pinned(void **state)
{
	struct pool *pool = *state;
	uint64_t before = blocks_free(pool), ino = tmpfile_kept(pool, ROOT, 0644), id;
	struct client client;

	client_open(&client, pool->fs);
	assert_int_equal(fs_fallocate(pool->fs, ino, 0, 0, 4 * BLOCK, NULL), 0);
	assert_int_equal(pin_range(&client, ino, 0, 4 * BLOCK, PIN_FLAG_WRITE, &id), 0);
	assert_int_equal(fs_pinned_bytes(pool->fs, ino), 4 * BLOCK);
	fs_forget(pool->fs, ino, 1);
	assert_int_equal(blocks_free(pool), before - 4);
	assert_int_equal(fs_unpin(pool->fs, client.holder, id), 0);
	settle(pool->fs);
	assert_int_equal(blocks_free(pool), before);
	client_close(&client);
	settle(pool->fs);
}

#define POOL_TEST(f) cmocka_unit_test_setup_teardown(f, pool_setup, pool_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		POOL_TEST(test_made),
		POOL_TEST(test_setgid_directory),
		POOL_TEST(test_refused),
		POOL_TEST(test_linked_once),
		POOL_TEST(test_link_refused),
		POOL_TEST(test_link_races),
		cmocka_unit_test_setup_teardown(test_pinned, pins_setup, pins_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
