/* Attributes, xattrs and reading directories. */
#include "fs_pool.h"

#include <dirent.h>
#include <sys/xattr.h>

static int set(struct pool *pool, uint64_t ino, const struct fs_setattr *changes, struct stat *ret_attr)
{
	return fs_setattr(pool->fs, ino, changes, NULL, ret_attr);
}

static void test_setattr(void **state)
{
	struct pool *pool = *state;
	struct fs_setattr all = {.valid = FS_SET_MODE | FS_SET_UID | FS_SET_GID | FS_SET_SIZE | FS_SET_ATIME |
					  FS_SET_MTIME | FS_SET_CTIME};
	struct fs_setattr now = {.valid = FS_SET_ATIME_NOW | FS_SET_MTIME_NOW};
	struct stat attr, again;
	uint64_t file;

	assert_int_equal(make_kept(pool, ROOT, "file", S_IFREG | 0644, &file), 0);
	all.attr.st_mode = S_IFDIR | 07123;
	all.attr.st_uid = 12;
	all.attr.st_gid = 34;
	all.attr.st_size = 123456789;
	all.attr.st_atim = (struct timespec){-5, 1};
	all.attr.st_mtim = (struct timespec){1ll << 40, 999999999};
	all.attr.st_ctim = (struct timespec){77, 3};
	assert_int_equal(set(pool, file, &all, &attr), 0);
	assert_int_equal(attr.st_mode, S_IFREG | 07123);
	assert_int_equal(attr.st_uid, 12);
	assert_int_equal(attr.st_gid, 34);
	assert_int_equal(attr.st_size, 123456789);
	assert_int_equal(attr.st_blocks, 0);
	assert_int_equal(attr.st_atim.tv_sec, -5);
	assert_int_equal(attr.st_mtim.tv_sec, 1ll << 40);
	assert_int_equal(attr.st_mtim.tv_nsec, 999999999);
	assert_int_equal(attr.st_ctim.tv_sec, 77);
	pool_remount(pool);
	again = attr_of(pool, file);
	assert_memory_equal(&again, &attr, sizeof(attr));
	assert_int_equal(set(pool, file, &now, &attr), 0);
	assert_true(attr.st_atim.tv_sec > 1600000000 && attr.st_atim.tv_sec == attr.st_mtim.tv_sec);
	assert_true(attr.st_ctim.tv_sec == attr.st_mtim.tv_sec);
	assert_int_equal(attr.st_mode, S_IFREG | 07123);
	/* Each change changes ctime. */
	all.valid = FS_SET_CTIME;
	assert_int_equal(set(pool, file, &all, &attr), 0);
	all.valid = FS_SET_UID;
	assert_int_equal(set(pool, file, &all, &attr), 0);
	assert_true(attr.st_ctim.tv_sec > 77);
}

static int64_t nanoseconds(const struct timespec *time)
{
	return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

/* A time of the kernel's that is ahead of our clock by less than a tick is not turned back by a change; a later one is.
 */
static void test_time_ahead(void **state)
{
	struct pool *pool = *state;
	struct fs_setattr mode = {.valid = FS_SET_MODE, .attr.st_mode = 0600};
	struct fs_setattr times = {.valid = FS_SET_MTIME | FS_SET_CTIME};
	struct stat attr;
	uint64_t file;

	assert_int_equal(make_kept(pool, ROOT, "file", S_IFREG | 0644, &file), 0);
	/* An hour: not even a machine that is busy is there meanwhile. */
	for (int64_t ahead = 9000000; ahead <= 3600009000000; ahead += 3600000000000) {
		struct timespec now = fs_now();
		int64_t then = nanoseconds(&now) + ahead;

		times.attr.st_mtim = (struct timespec){then / 1000000000, then % 1000000000};
		times.attr.st_ctim = times.attr.st_mtim;
		assert_int_equal(set(pool, file, &times, &attr), 0);
		assert_int_equal(nanoseconds(&attr.st_mtim), then);
		assert_int_equal(nanoseconds(&attr.st_ctim), then);
		assert_int_equal(fs_write(pool->fs, file, "x", 1, 0, NULL), 1);
		assert_int_equal(set(pool, file, &mode, &attr), 0);
		assert_int_equal(nanoseconds(&attr.st_mtim) >= then, ahead < 10000000);
		assert_int_equal(nanoseconds(&attr.st_ctim) >= then, ahead < 10000000);
	}
	/* One that is set is what it is set to. */
	times.attr.st_mtim.tv_nsec -= times.attr.st_mtim.tv_nsec > 0;
	assert_int_equal(set(pool, file, &times, &attr), 0);
	assert_int_equal(nanoseconds(&attr.st_mtim), nanoseconds(&times.attr.st_mtim));
	assert_int_equal(fs_unlink(pool->fs, ROOT, "file"), 0);
	fs_forget(pool->fs, file, 1);
}

static void test_setattr_refused(void **state)
{
	struct pool *pool = *state;
	struct fs_setattr changes = {.valid = FS_SET_SIZE};
	struct stat attr;
	uint64_t fifo, file;

	assert_int_equal(make_kept(pool, ROOT, "fifo", S_IFIFO, &fifo), 0);
	assert_int_equal(make_kept(pool, ROOT, "file", S_IFREG, &file), 0);
	assert_int_equal(set(pool, ROOT, &changes, &attr), -EISDIR);
	assert_int_equal(set(pool, fifo, &changes, &attr), -EINVAL);
	assert_int_equal(set(pool, 4711, &changes, &attr), -ESTALE);
	changes.attr.st_size = -1;
	assert_int_equal(set(pool, file, &changes, &attr), -EINVAL);
	changes.valid = FS_SET_MTIME;
	changes.attr.st_mtim.tv_nsec = 1000000000;
	assert_int_equal(set(pool, file, &changes, &attr), -EINVAL);
	changes.valid = FS_SET_ATIME;
	changes.attr.st_atim.tv_nsec = -1;
	assert_int_equal(set(pool, file, &changes, &attr), -EINVAL);
	changes.valid = FS_SET_CTIME;
	changes.attr.st_ctim.tv_nsec = -1;
	assert_int_equal(set(pool, file, &changes, &attr), -EINVAL);
	assert_int_equal(fs_getattr(pool->fs, 4711, &attr), -ESTALE);
}

/* ---- Privileges ---- */

#define CAPABILITY "security.capability"

static mode_t after_drop(struct pool *pool, mode_t mode, unsigned which, bool *ret_dropped)
{
	struct fs_setattr changes = {.valid = FS_SET_MODE, .attr.st_mode = mode};
	struct stat attr;
	uint64_t file;

	assert_int_equal(make_kept(pool, ROOT, "file", S_IFREG, &file), 0);
	assert_int_equal(set(pool, file, &changes, &attr), 0);
	assert_int_equal(fs_drop_privileges(pool->fs, file, which, ret_dropped), 0);
	mode = attr_of(pool, file).st_mode & 07777;
	assert_int_equal(fs_unlink(pool->fs, ROOT, "file"), 0);
	return mode;
}

static void test_drop_mode(void **state)
{
	struct pool *pool = *state;
	bool dropped;

	assert_int_equal(after_drop(pool, 06777, FS_DROP_MODE, &dropped), 0777);
	assert_true(dropped);
	assert_int_equal(after_drop(pool, 04600, FS_DROP_MODE, &dropped), 0600);
	assert_true(dropped);
	assert_int_equal(after_drop(pool, 03711, FS_DROP_MODE, &dropped), 01711);
	assert_true(dropped);
	/* Not executed by the group: it is no privilege. */
	assert_int_equal(after_drop(pool, 02767, FS_DROP_MODE, &dropped), 02767);
	assert_false(dropped);
	assert_int_equal(after_drop(pool, 06767, FS_DROP_MODE | FS_DROP_SETGID, &dropped), 0767);
	assert_true(dropped);
	assert_int_equal(after_drop(pool, 06767, FS_DROP_SETGID, &dropped), 04767);
	assert_true(dropped);
	assert_int_equal(after_drop(pool, 01777, FS_DROP_MODE, &dropped), 01777);
	assert_false(dropped);
	assert_int_equal(after_drop(pool, 06777, FS_DROP_CAPABILITY, &dropped), 06777);
	assert_false(dropped);
}

static void test_drop_capability(void **state)
{
	struct pool *pool = *state;
	struct fs_setattr changes = {.valid = FS_SET_MODE | FS_SET_CTIME, .attr.st_mode = 06755};
	struct stat attr;
	uint64_t file;
	bool dropped;

	assert_int_equal(make_kept(pool, ROOT, "file", S_IFREG | 06755, &file), 0);
	assert_int_equal(set(pool, file, &changes, &attr), 0);
	assert_int_equal(fs_setxattr(pool->fs, file, CAPABILITY, "x", 1, 0), 0);
	assert_int_equal(fs_setxattr(pool->fs, file, "user.a", "x", 1, 0), 0);
	assert_int_equal(fs_drop_privileges(pool->fs, file, FS_DROP_MODE, &dropped), 0);
	assert_true(dropped);
	assert_int_equal(fs_getxattr(pool->fs, file, CAPABILITY, NULL, 0), 1);
	assert_int_equal(set(pool, file, &changes, &attr), 0);
	assert_int_equal(fs_drop_privileges(pool->fs, file, FS_DROP_MODE | FS_DROP_CAPABILITY, &dropped), 0);
	assert_true(dropped);
	pool_remount(pool);
	assert_int_equal(fs_getxattr(pool->fs, file, CAPABILITY, NULL, 0), -ENODATA);
	assert_int_equal(fs_getxattr(pool->fs, file, "user.a", NULL, 0), 1);
	attr = attr_of(pool, file);
	assert_int_equal(attr.st_mode & 07777, 0755);
	assert_true(attr.st_ctim.tv_sec > 0);
	assert_int_equal(fs_drop_privileges(pool->fs, file, FS_DROP_MODE | FS_DROP_CAPABILITY, &dropped), 0);
	assert_false(dropped);
}

static void test_drop_of_others(void **state)
{
	struct pool *pool = *state;
	struct fs_setattr changes = {.valid = FS_SET_UID | FS_SET_UNPRIVILEGED, .attr.st_uid = 7};
	uint64_t directory, file;
	struct stat attr;
	bool dropped = true;

	assert_int_equal(make_kept(pool, ROOT, "directory", S_IFDIR | 06777, &directory), 0);
	assert_int_equal(make_kept(pool, ROOT, "file", S_IFREG | 06777, &file), 0);
	assert_int_equal(fs_drop_privileges(pool->fs, directory, FS_DROP_MODE, &dropped), 0);
	assert_false(dropped);
	assert_int_equal(fs_drop_privileges(pool->fs, 4711, FS_DROP_MODE, &dropped), -ESTALE);
	/* With another change, in its transaction: a group's directory stays one. */
	assert_int_equal(set(pool, directory, &changes, &attr), 0);
	assert_int_equal(attr.st_mode & 07777, 06777);
	assert_int_equal(set(pool, file, &changes, &attr), 0);
	assert_int_equal(attr.st_mode & 07777, 0777);
	assert_int_equal(attr.st_uid, 7);
	changes = (struct fs_setattr){.valid = FS_SET_MODE, .attr.st_mode = 04711};
	assert_int_equal(set(pool, file, &changes, &attr), 0);
	changes = (struct fs_setattr){.valid = FS_SET_SIZE | FS_SET_UNPRIVILEGED, .attr.st_size = 5};
	assert_int_equal(set(pool, file, &changes, &attr), 0);
	assert_int_equal(attr.st_mode & 07777, 0711);
	assert_int_equal(attr.st_size, 5);
}

/* ---- xattrs ---- */

static void test_xattr(void **state)
{
	struct pool *pool = *state;
	struct fs *fs = pool->fs;
	static char big[FMT_XATTR_VALUE_MAX + 1], back[FMT_XATTR_VALUE_MAX];
	char list[64];
	uint64_t file;

	memset(big, 'b', sizeof(big));
	assert_int_equal(make_kept(pool, ROOT, "file", S_IFREG, &file), 0);
	assert_int_equal(fs_listxattr(fs, file, true, list, sizeof(list)), 0);
	assert_int_equal(fs_getxattr(fs, file, "user.a", back, sizeof(back)), -ENODATA);
	assert_int_equal(fs_removexattr(fs, file, "user.a"), -ENODATA);
	assert_int_equal(fs_setxattr(fs, file, "user.a", "1", 1, XATTR_REPLACE), -ENODATA);
	assert_int_equal(fs_setxattr(fs, file, "user.a", "1", 1, XATTR_CREATE), 0);
	assert_int_equal(fs_setxattr(fs, file, "user.a", "2", 1, XATTR_CREATE), -EEXIST);
	assert_int_equal(fs_setxattr(fs, file, "user.a", "345", 3, XATTR_REPLACE), 0);
	assert_int_equal(fs_setxattr(fs, file, "user.a", "345", 3, 4), -EINVAL);
	assert_int_equal(fs_setxattr(fs, file, "user.a", "345", 3, XATTR_CREATE | XATTR_REPLACE), -EINVAL);
	assert_int_equal(fs_getxattr(fs, file, "user.a", NULL, 0), 3);
	assert_int_equal(fs_getxattr(fs, file, "user.a", back, 2), -ERANGE);
	assert_int_equal(fs_getxattr(fs, file, "user.a", back, sizeof(back)), 3);
	assert_memory_equal(back, "345", 3);
	assert_int_equal(fs_setxattr(fs, file, "user.b", NULL, 0, 0), 0);
	assert_int_equal(fs_getxattr(fs, file, "user.b", back, sizeof(back)), 0);
	assert_int_equal(fs_setxattr(fs, file, "user.b", big, sizeof(big), 0), -E2BIG);
	assert_int_equal(fs_setxattr(fs, file, "user.b", big, FMT_XATTR_VALUE_MAX, 0), 0);
	pool_remount(pool);
	fs = pool->fs;
	assert_int_equal(fs_getxattr(fs, file, "user.b", back, sizeof(back)), FMT_XATTR_VALUE_MAX);
	assert_memory_equal(back, big, sizeof(back));
	assert_int_equal(fs_listxattr(fs, file, true, NULL, 0), 14);
	assert_int_equal(fs_listxattr(fs, file, true, list, 13), -ERANGE);
	assert_int_equal(fs_listxattr(fs, file, true, list, sizeof(list)), 14);
	assert_int_equal(fs_removexattr(fs, file, "user.b"), 0);
	assert_int_equal(fs_listxattr(fs, file, true, list, sizeof(list)), 7);
	assert_string_equal(list, "user.a");
	assert_int_equal(fs_unlink(fs, ROOT, "file"), 0);
}

static void test_xattr_edges(void **state)
{
	struct pool *pool = *state;
	char name[FMT_NAME_MAX + 2];
	char value[8];

	memset(name, 'x', sizeof(name));
	name[FMT_NAME_MAX + 1] = '\0';
	assert_int_equal(fs_setxattr(pool->fs, ROOT, name, "v", 1, 0), -ERANGE);
	assert_int_equal(fs_getxattr(pool->fs, ROOT, name, value, sizeof(value)), -ERANGE);
	assert_int_equal(fs_removexattr(pool->fs, ROOT, name), -ERANGE);
	assert_int_equal(fs_setxattr(pool->fs, ROOT, "", "v", 1, 0), -ERANGE);
	name[FMT_NAME_MAX] = '\0';
	assert_int_equal(fs_setxattr(pool->fs, ROOT, name, "v", 1, 0), 0);
	assert_int_equal(fs_getxattr(pool->fs, ROOT, name, value, sizeof(value)), 1);
	assert_int_equal(fs_listxattr(pool->fs, ROOT, true, NULL, 0), FMT_NAME_MAX + 1);
	assert_int_equal(fs_setxattr(pool->fs, 4711, "user.a", "v", 1, 0), -ESTALE);
	assert_int_equal(fs_getxattr(pool->fs, 4711, "user.a", value, 1), -ESTALE);
	assert_int_equal(fs_listxattr(pool->fs, 4711, true, NULL, 0), -ESTALE);
}

static void test_xattr_ctime(void **state)
{
	struct pool *pool = *state;
	struct fs_setattr old = {.valid = FS_SET_CTIME | FS_SET_MTIME};

	assert_int_equal(set(pool, ROOT, &old, &old.attr), 0);
	assert_int_equal(attr_of(pool, ROOT).st_ctim.tv_sec, 0);
	assert_int_equal(fs_setxattr(pool->fs, ROOT, "user.a", "v", 1, 0), 0);
	assert_true(attr_of(pool, ROOT).st_ctim.tv_sec > 0);
	assert_int_equal(attr_of(pool, ROOT).st_mtim.tv_sec, 0);
	old.attr = (struct stat){0};
	assert_int_equal(set(pool, ROOT, &old, &old.attr), 0);
	assert_int_equal(fs_removexattr(pool->fs, ROOT, "user.a"), 0);
	assert_true(attr_of(pool, ROOT).st_ctim.tv_sec > 0);
}

/* ---- Reading directories ---- */

#define NAMES 1000

struct reading {
	struct pool *pool;
	bool plus;
	unsigned seen[NAMES];
	unsigned dots;
	unsigned budget; /* entries until visit refuses */
	uint64_t offset; /* of the last entry taken */
};

static int read_one(void *arg, const struct fs_dirent *dirent)
{
	struct reading *reading = arg;
	unsigned number;

	if (reading->budget == 0)
		return 1;
	reading->budget--;
	assert_true(dirent->offset > reading->offset);
	reading->offset = dirent->offset;
	assert_true(dirent->entry.attr.st_ino >= ROOT);
	if (dirent->name[0] == '.') {
		assert_int_equal(dirent->entry.ino, 0);
		assert_true(S_ISDIR(dirent->entry.attr.st_mode));
		reading->dots++;
		return 0;
	}
	assert_int_equal(sscanf(dirent->name, "name%u", &number), 1);
	assert_true(number < NAMES);
	reading->seen[number]++;
	assert_true(number % 3 == 0 ? S_ISDIR(dirent->entry.attr.st_mode) : S_ISREG(dirent->entry.attr.st_mode));
	assert_int_equal(dirent->entry.ino, reading->plus ? dirent->entry.attr.st_ino : 0);
	assert_int_equal(dirent->entry.attr.st_nlink, reading->plus ? 1 + (number % 3 == 0) : 0);
	return 0;
}

/* Takes back the look-ups of a reading, and sees that there were just these. */
static void forget_all(struct pool *pool, uint64_t dir)
{
	struct fs_stats stats;
	char name[16];

	for (unsigned i = 0; i < NAMES; i++) {
		(void)snprintf(name, sizeof(name), "name%u", i);
		fs_forget(pool->fs, find(pool, dir, name), 1);
	}
	fs_get_stats(pool->fs, &stats);
	assert_int_equal(stats.inodes_cached, 1);
}

static void read_in_pieces(struct pool *pool, uint64_t dir, bool plus, unsigned piece)
{
	struct reading reading = {.pool = pool, .plus = plus};

	do {
		reading.budget = piece;
		assert_int_equal(fs_readdir(pool->fs, dir, reading.offset, plus, read_one, &reading), 0);
	} while (reading.budget == 0);
	assert_int_equal(reading.dots, 2);
	for (unsigned i = 0; i < NAMES; i++)
		assert_int_equal(reading.seen[i], 1);
	if (plus)
		forget_all(pool, dir);
}

static void test_readdir(void **state)
{
	struct pool *pool = *state;
	struct reading none = {.pool = pool};
	char name[16];
	uint64_t dir;

	assert_int_equal(make_kept(pool, ROOT, "dir", S_IFDIR, &dir), 0);
	for (unsigned i = 0; i < NAMES; i++) {
		(void)snprintf(name, sizeof(name), "name%u", i);
		assert_int_equal(make(pool, dir, name, i % 3 == 0 ? S_IFDIR : S_IFREG), 0);
	}
	read_in_pieces(pool, dir, false, 5000);
	read_in_pieces(pool, dir, false, 1);
	read_in_pieces(pool, dir, true, 5000);
	read_in_pieces(pool, dir, true, 7);
	assert_int_equal(fs_readdir(pool->fs, find(pool, dir, "name1"), 0, false, read_one, &none), -ENOTDIR);
	assert_int_equal(fs_readdir(pool->fs, 4711, 0, false, read_one, &none), -ESTALE);
	none.budget = 1;
	assert_int_equal(fs_readdir(pool->fs, dir, UINT64_MAX, false, read_one, &none), 0);
	assert_int_equal(none.budget, 1);
}

/* What is there during the whole reading is seen just once, whatever comes and goes meanwhile. */
static void test_readdir_changing(void **state)
{
	struct pool *pool = *state;
	struct reading reading = {.pool = pool};
	char name[16];

	for (unsigned i = 0; i < NAMES; i += 2) {
		(void)snprintf(name, sizeof(name), "name%u", i);
		assert_int_equal(make(pool, ROOT, name, i % 3 == 0 ? S_IFDIR : S_IFREG), 0);
	}
	for (unsigned round = 1;; round += 2) {
		reading.budget = 3;
		assert_int_equal(fs_readdir(pool->fs, ROOT, reading.offset, false, read_one, &reading), 0);
		if (reading.budget > 0)
			break;
		(void)snprintf(name, sizeof(name), "name%u", round);
		if (round < NAMES)
			assert_int_equal(make(pool, ROOT, name, round % 3 == 0 ? S_IFDIR : S_IFREG), 0);
		(void)snprintf(name, sizeof(name), "name%u", round - 20);
		if (round >= 21 && round - 20 < NAMES && round % 3 != 2)
			assert_int_equal(fs_unlink(pool->fs, ROOT, name), 0);
	}
	for (unsigned i = 0; i < NAMES; i += 2)
		assert_int_equal(reading.seen[i], 1);
}

#define POOL_TEST(f) cmocka_unit_test_setup_teardown(f, pool_setup, pool_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		POOL_TEST(test_setattr),	POOL_TEST(test_drop_mode),	  POOL_TEST(test_drop_capability),
		POOL_TEST(test_drop_of_others), POOL_TEST(test_setattr_refused),  POOL_TEST(test_time_ahead),
		POOL_TEST(test_xattr),		POOL_TEST(test_xattr_edges),	  POOL_TEST(test_xattr_ctime),
		POOL_TEST(test_readdir),	POOL_TEST(test_readdir_changing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
