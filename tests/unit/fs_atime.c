/* Times: of access, by each policy; of birth; in the whole range of 64 bits. */
#include "fs_pool.h"

#include <time.h>

#define DAY (24 * 60 * 60)

static void times_set(struct pool *pool, uint64_t ino, struct timespec atime, struct timespec mtime,
		      struct timespec ctime)
{
	struct fs_setattr changes = {.valid = FS_SET_ATIME | FS_SET_MTIME | FS_SET_CTIME};
	struct stat attr;

	changes.attr.st_atim = atime;
	changes.attr.st_mtim = mtime;
	changes.attr.st_ctim = ctime;
	assert_int_equal(fs_setattr(pool->fs, ino, &changes, NULL, &attr), 0);
}

static void do_read(struct pool *pool, uint64_t ino, bool seen)
{
	struct fs_read read;

	assert_int_equal(fs_read_begin(pool->fs, ino, 0, 4096, &read), 0);
	if (seen)
		fs_read_seen(pool->fs, &read);
	fs_read_end(pool->fs, &read);
}

static int no_more(void *arg, const struct fs_dirent *dirent)
{
	(void)arg;
	(void)dirent;
	return 1;
}

static bool is_recent(struct timespec time)
{
	struct timespec now = fs_now();

	return time.tv_sec <= now.tv_sec && time.tv_sec > now.tv_sec - 600;
}

/* An inode whose times are long ago, and the one of access the latest of them by `later` ns. */
static void age(struct pool *pool, uint64_t ino, long later)
{
	struct timespec now = fs_now();
	struct timespec then = {.tv_sec = now.tv_sec - DAY / 2, .tv_nsec = 500};

	times_set(pool, ino, (struct timespec){then.tv_sec, 500 + later}, then, then);
}

static bool changes_atime(struct pool *pool, uint64_t ino)
{
	struct stat before = attr_of(pool, ino), after;
	char target[16];

	if (S_ISDIR(before.st_mode))
		assert_int_equal(fs_readdir(pool->fs, ino, 0, false, no_more, NULL), 0);
	else if (S_ISLNK(before.st_mode))
		assert_int_equal(fs_readlink(pool->fs, ino, target, sizeof(target)), 6);
	else
		do_read(pool, ino, true);
	after = attr_of(pool, ino);
	assert_int_equal(after.st_mtim.tv_sec, before.st_mtim.tv_sec);
	assert_int_equal(after.st_ctim.tv_sec, before.st_ctim.tv_sec);
	assert_int_equal(after.st_ctim.tv_nsec, before.st_ctim.tv_nsec);
	if (after.st_atim.tv_sec == before.st_atim.tv_sec && after.st_atim.tv_nsec == before.st_atim.tv_nsec)
		return false;
	assert_true(is_recent(after.st_atim));
	return true;
}

struct three {
	uint64_t ino[3];
};

/* A file, a directory and a symlink. */
static struct three three_make(struct pool *pool)
{
	struct three three;

	assert_int_equal(make_kept(pool, ROOT, "file", S_IFREG | 0644, &three.ino[0]), 0);
	assert_int_equal(make_kept(pool, ROOT, "directory", S_IFDIR | 0755, &three.ino[1]), 0);
	assert_int_equal(make_kept(pool, ROOT, "symlink", S_IFLNK | 0777, &three.ino[2]), 0);
	assert_int_equal(fs_write(pool->fs, three.ino[0], "data", 4, 0, NULL), 4);
	return three;
}

static void test_relatime(void **state)
{
	struct pool *pool = *state;
	struct three three = three_make(pool);
	struct timespec now = fs_now();

	fs_set_atime(pool->fs, FS_ATIME_FILES | FS_ATIME_DIRECTORIES);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t ino = three.ino[i];
		struct timespec old = {.tv_sec = now.tv_sec - DAY - 1}, older = {.tv_sec = now.tv_sec - 2 * DAY};

		/* As old as the last change: due, once. Later by a ns: not due. */
		age(pool, ino, 0);
		assert_true(changes_atime(pool, ino));
		assert_false(changes_atime(pool, ino));
		age(pool, ino, 1);
		assert_false(changes_atime(pool, ino));
		/* Later than both changes, but more than a day ago. */
		times_set(pool, ino, old, older, older);
		assert_true(changes_atime(pool, ino));
		/* Only mtime is later; only ctime is. */
		times_set(pool, ino, (struct timespec){now.tv_sec - 9, 0}, (struct timespec){now.tv_sec - 8, 0}, older);
		assert_true(changes_atime(pool, ino));
		times_set(pool, ino, (struct timespec){now.tv_sec - 9, 0}, older, (struct timespec){now.tv_sec - 8, 0});
		assert_true(changes_atime(pool, ino));
	}
	pool_remount(pool);
	for (unsigned i = 0; i < 3; i++)
		assert_true(is_recent(attr_of(pool, three.ino[i]).st_atim));
}

static void test_others(void **state)
{
	struct pool *pool = *state;
	struct three three = three_make(pool);
	static const struct {
		unsigned flags;
		bool file, directory;
	} policies[] = {
		{0, false, false},
		{FS_ATIME_DIRECTORIES | FS_ATIME_STRICT, false, false},
		{FS_ATIME_FILES | FS_ATIME_STRICT, true, false},
		{FS_ATIME_FILES | FS_ATIME_DIRECTORIES | FS_ATIME_STRICT, true, true},
		{FS_ATIME_FILES | FS_ATIME_DIRECTORIES | FS_ATIME_STRICT | FS_ATIME_PAUSED, false, false},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(policies); i++) {
		fs_set_atime(pool->fs, policies[i].flags);
		for (unsigned j = 0; j < 3; j++) {
			age(pool, three.ino[j], 1);
			assert_int_equal(changes_atime(pool, three.ino[j]),
					 j == 1 ? policies[i].directory : policies[i].file);
		}
	}
	/* O_NOATIME. */
	fs_set_atime(pool->fs, FS_ATIME_FILES | FS_ATIME_STRICT);
	age(pool, three.ino[0], 1);
	do_read(pool, three.ino[0], false);
	assert_false(is_recent(attr_of(pool, three.ino[0]).st_atim));
}

static void test_read_only(void **state)
{
	struct pool *pool = *state;
	struct three three = three_make(pool);
	struct message why;

	for (unsigned i = 0; i < 3; i++)
		age(pool, three.ino[i], 0);
	pool_unmount(pool);
	assert_int_equal(pool_try_mount(pool, true, NULL, &why), 0);
	fs_set_atime(pool->fs, FS_ATIME_FILES | FS_ATIME_DIRECTORIES | FS_ATIME_STRICT);
	for (unsigned i = 0; i < 3; i++)
		assert_false(changes_atime(pool, three.ino[i]));
}

static void test_range(void **state)
{
	static const struct timespec times[] = {
		{INT64_MIN, 0}, {INT64_MIN, 999999999}, {-1, 1}, {0, 0}, {INT32_MAX + 1ll, 5}, {INT64_MAX, 999999999},
	};
	struct pool *pool = *state;
	uint64_t file;

	assert_int_equal(make_kept(pool, ROOT, "file", S_IFREG, &file), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(times); i++) {
		const struct timespec *other = &times[(i + 1) % ARRAY_SIZE(times)];
		struct stat attr;

		times_set(pool, file, times[i], *other, times[i]);
		pool_remount(pool);
		attr = attr_of(pool, file);
		assert_memory_equal(&attr.st_atim, &times[i], sizeof(times[i]));
		assert_memory_equal(&attr.st_mtim, other, sizeof(*other));
		assert_memory_equal(&attr.st_ctim, &times[i], sizeof(times[i]));
		/* No sum overflows. */
		fs_set_atime(pool->fs, FS_ATIME_FILES);
		do_read(pool, file, true);
	}
}

static void test_birth(void **state)
{
	struct pool *pool = *state;
	struct timespec now = fs_now();
	struct fs_statx before, after;
	uint64_t file;

	assert_int_equal(make_kept(pool, ROOT, "file", S_IFREG, &file), 0);
	assert_int_equal(fs_statx(pool->fs, file, &before), 0);
	assert_true(is_recent(before.btime));
	times_set(pool, file, (struct timespec){1, 2}, (struct timespec){3, 4}, now);
	assert_int_equal(fs_rename(pool->fs, ROOT, "file", ROOT, "other", 0), 0);
	pool_remount(pool);
	assert_int_equal(fs_statx(pool->fs, file, &after), 0);
	assert_memory_equal(&after.btime, &before.btime, sizeof(after.btime));
	assert_int_equal(after.attr.st_mtim.tv_sec, 3);
	assert_int_equal(fs_statx(pool->fs, 4711, &after), -ESTALE);
}

#define POOL_TEST(f) cmocka_unit_test_setup_teardown(f, pool_setup, pool_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		POOL_TEST(test_relatime), POOL_TEST(test_others), POOL_TEST(test_read_only),
		POOL_TEST(test_range),	  POOL_TEST(test_birth),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
