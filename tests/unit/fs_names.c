/* Names: look-up, making, linking, removing; permissions of directories; what outlives its name. */
#include "fs_pool.h"

#include <fcntl.h>

static void test_make_types(void **state)
{
	static const mode_t types[] = {S_IFREG, S_IFDIR, S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK};
	struct pool *pool = *state;
	char name[8] = "t0";

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		struct fs_make make = {.mode = types[i] | 04751, .rdev = makedev(0xabc, 0xdef12), .target = "a/b"};
		struct fs_entry made = {.ino = 0}, found = {.ino = 0};

		name[1] = (char)('0' + i);
		assert_int_equal(fs_make(pool->fs, ROOT, name, &make, &pool_cred, &made), 0);
		assert_int_equal(made.attr.st_mode, types[i] | 04751);
		assert_int_equal(made.attr.st_ino, made.ino);
		assert_int_equal(made.attr.st_uid, 1000);
		assert_int_equal(made.attr.st_gid, 100);
		assert_int_equal(made.attr.st_nlink, S_ISDIR(types[i]) ? 2 : 1);
		assert_int_equal(made.attr.st_size, S_ISLNK(types[i]) ? 3 : 0);
		assert_int_equal(made.attr.st_blksize, 4096);
		assert_int_equal(made.attr.st_blocks, 0);
		if (S_ISCHR(types[i]) || S_ISBLK(types[i]))
			assert_int_equal(made.attr.st_rdev, makedev(0xabc, 0xdef12));
		else
			assert_int_equal(made.attr.st_rdev, 0);
		assert_true(made.attr.st_mtim.tv_sec > 1600000000);
		assert_memory_equal(&made.attr.st_mtim, &made.attr.st_ctim, sizeof(struct timespec));
		assert_memory_equal(&made.attr.st_mtim, &made.attr.st_atim, sizeof(struct timespec));
		assert_int_equal(fs_lookup(pool->fs, ROOT, name, &found), 0);
		assert_int_equal(found.generation, made.generation);
		assert_memory_equal(&found.attr, &made.attr, sizeof(found.attr));
		fs_forget(pool->fs, made.ino, 2);
	}
	assert_int_equal(make(pool, ROOT, "plain", 0600), 0);
	assert_true(S_ISREG(attr_of(pool, find(pool, ROOT, "plain")).st_mode));
	assert_int_equal(attr_of(pool, ROOT).st_nlink, 3);
	assert_int_equal(attr_of(pool, ROOT).st_size, 8 * 64);
}

static void test_make_refused(void **state)
{
	struct pool *pool = *state;
	struct fs_make dev = {.mode = S_IFCHR, .rdev = makedev(0x1000, 0)};
	struct fs_make bare_link = {.mode = S_IFLNK};
	char name[FMT_NAME_MAX + 2];
	struct fs_entry entry = {.ino = 0};

	assert_int_equal(make(pool, ROOT, "file", S_IFREG), 0);
	assert_int_equal(make(pool, ROOT, "file", S_IFREG), -EEXIST);
	assert_int_equal(make(pool, ROOT, "file", S_IFDIR), -EEXIST);
	assert_int_equal(make(pool, ROOT, ".", S_IFDIR), -EEXIST);
	assert_int_equal(make(pool, ROOT, "..", S_IFREG), -EEXIST);
	assert_int_equal(make(pool, ROOT, "", S_IFREG), -ENOENT);
	assert_int_equal(make(pool, ROOT, "a/b", S_IFREG), -EINVAL);
	assert_int_equal(make(pool, ROOT, "x", S_IFMT), -EINVAL);
	assert_int_equal(make(pool, find(pool, ROOT, "file"), "x", S_IFREG), -ENOTDIR);
	assert_int_equal(make(pool, 123456789, "x", S_IFREG), -ESTALE);
	assert_int_equal(make(pool, FMT_INO_PARTS, "x", S_IFREG), -ESTALE);
	assert_int_equal(fs_make(pool->fs, ROOT, "dev", &dev, &pool_cred, &entry), -EINVAL);
	assert_int_equal(fs_make(pool->fs, ROOT, "link", &bare_link, &pool_cred, &entry), -EINVAL);
	memset(name, 'n', sizeof(name));
	name[FMT_NAME_MAX + 1] = '\0';
	assert_int_equal(make(pool, ROOT, name, S_IFREG), -ENAMETOOLONG);
	assert_int_equal(find_error(pool, ROOT, name), -ENAMETOOLONG);
	name[FMT_NAME_MAX] = '\0';
	assert_int_equal(make(pool, ROOT, name, S_IFREG), 0);
	(void)find(pool, ROOT, name);
	assert_int_equal(attr_of(pool, ROOT).st_size, 2 * 64);
}

static void test_lookup(void **state)
{
	struct pool *pool = *state;
	uint64_t a, b, file;

	assert_int_equal(make_kept(pool, ROOT, "a", S_IFDIR | 0700, &a), 0);
	assert_int_equal(make_kept(pool, a, "b", S_IFDIR | 0700, &b), 0);
	assert_int_equal(make_kept(pool, b, "file", S_IFREG | 0600, &file), 0);
	assert_int_equal(find(pool, b, "."), b);
	assert_int_equal(find(pool, b, ".."), a);
	assert_int_equal(find(pool, a, ".."), ROOT);
	assert_int_equal(find(pool, ROOT, ".."), ROOT);
	assert_int_equal(find(pool, file, "."), file);
	assert_int_equal(find_error(pool, file, ".."), -ENOTDIR);
	assert_int_equal(find_error(pool, file, "x"), -ENOTDIR);
	assert_int_equal(find_error(pool, b, "x"), -ENOENT);
	assert_int_equal(find_error(pool, b, ""), -ENOENT);
	assert_int_equal(find_error(pool, 99999, "x"), -ESTALE);
}

static void test_symlink(void **state)
{
	static const size_t lengths[] = {1, 71, 72, 73, 4032, 4033, FMT_SYMLINK_MAX};
	struct pool *pool = *state;
	char target[FMT_SYMLINK_MAX + 2], back[FMT_SYMLINK_MAX + 1], name[16];
	struct fs_make make_link = {.mode = S_IFLNK | 0777, .target = target};
	struct fs_entry entry = {.ino = 0};

	memset(target, 't', sizeof(target));
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		target[lengths[i]] = '\0';
		(void)snprintf(name, sizeof(name), "link%zu", i);
		assert_int_equal(fs_make(pool->fs, ROOT, name, &make_link, &pool_cred, &entry), 0);
		assert_int_equal(entry.attr.st_size, lengths[i]);
		assert_int_equal(fs_readlink(pool->fs, entry.ino, back, sizeof(back)), lengths[i]);
		assert_memory_equal(back, target, lengths[i]);
		target[lengths[i]] = 't';
		fs_forget(pool->fs, entry.ino, 1);
		if (i % 2 == 0)
			assert_int_equal(fs_unlink(pool->fs, ROOT, name), 0);
	}
	target[FMT_SYMLINK_MAX + 1] = '\0';
	assert_int_equal(fs_make(pool->fs, ROOT, "x", &make_link, &pool_cred, &entry), -ENAMETOOLONG);
	target[0] = '\0';
	assert_int_equal(fs_make(pool->fs, ROOT, "x", &make_link, &pool_cred, &entry), -ENOENT);
	assert_int_equal(fs_readlink(pool->fs, ROOT, back, sizeof(back)), -EINVAL);
	assert_int_equal(fs_readlink(pool->fs, 4711, back, sizeof(back)), -ESTALE);
}

static void test_setgid(void **state)
{
	struct pool *pool = *state;
	struct fs_make shared = {.mode = S_IFDIR | 02775};
	struct fs_cred group = {.uid = 1, .gid = 7};
	struct fs_entry entry = {.ino = 0};

	assert_int_equal(fs_make(pool->fs, ROOT, "shared", &shared, &group, &entry), 0);
	assert_int_equal(make(pool, entry.ino, "file", S_IFREG | 0644), 0);
	assert_int_equal(make(pool, entry.ino, "dir", S_IFDIR | 0755), 0);
	assert_int_equal(attr_of(pool, find(pool, entry.ino, "file")).st_gid, 7);
	assert_int_equal(attr_of(pool, find(pool, entry.ino, "file")).st_mode, S_IFREG | 0644);
	assert_int_equal(attr_of(pool, find(pool, entry.ino, "dir")).st_gid, 7);
	assert_int_equal(attr_of(pool, find(pool, entry.ino, "dir")).st_mode, S_IFDIR | 02755);
	fs_forget(pool->fs, entry.ino, 1);
}

static void test_link(void **state)
{
	struct pool *pool = *state;
	uint64_t file, dir;

	assert_int_equal(make_kept(pool, ROOT, "file", S_IFREG, &file), 0);
	assert_int_equal(make_kept(pool, ROOT, "dir", S_IFDIR, &dir), 0);
	assert_int_equal(link_to(pool, file, dir, "second"), 0);
	assert_int_equal(find(pool, dir, "second"), file);
	assert_int_equal(attr_of(pool, file).st_nlink, 2);
	assert_int_equal(link_to(pool, file, dir, "second"), -EEXIST);
	assert_int_equal(link_to(pool, dir, ROOT, "x"), -EPERM);
	assert_int_equal(link_to(pool, file, file, "x"), -ENOTDIR);
	assert_int_equal(link_to(pool, file, dir, ".."), -EEXIST);
	assert_int_equal(link_to(pool, 4711, dir, "x"), -ESTALE);
	nlink_forge(pool, file, FMT_LINK_MAX);
	assert_int_equal(link_to(pool, file, dir, "x"), -EMLINK);
	nlink_forge(pool, file, 2);
	assert_int_equal(fs_unlink(pool->fs, ROOT, "file"), 0);
	assert_int_equal(attr_of(pool, file).st_nlink, 1);
	assert_int_equal(fs_unlink(pool->fs, dir, "second"), 0);
	assert_int_equal(attr_of(pool, file).st_nlink, 0);
	assert_int_equal(link_to(pool, file, ROOT, "x"), -ENOENT);
	fs_forget(pool->fs, file, 1);
	assert_int_equal(link_to(pool, file, ROOT, "x"), -ESTALE);
}

static void test_unlink_open(void **state)
{
	struct pool *pool = *state;
	struct statvfs before, after;
	struct fs_stats stats;
	char data[10000];
	uint64_t file;

	memset(data, 'd', sizeof(data));
	assert_int_equal(make(pool, ROOT, "dir", S_IFDIR), 0);
	assert_int_equal(fs_unlink(pool->fs, ROOT, "dir"), -EISDIR);
	assert_int_equal(fs_unlink(pool->fs, ROOT, "none"), -ENOENT);
	assert_int_equal(fs_unlink(pool->fs, ROOT, "."), -EISDIR);
	assert_int_equal(fs_statfs(pool->fs, &before), 0);
	assert_int_equal(make_kept(pool, ROOT, "file", S_IFREG, &file), 0);
	assert_int_equal(fs_write(pool->fs, file, data, sizeof(data), 0, NULL), sizeof(data));
	assert_int_equal(attr_of(pool, file).st_blocks, 3 * 8);
	assert_int_equal(fs_unlink(pool->fs, ROOT, "file"), 0);
	/* Open files outlive their names. */
	assert_int_equal(attr_of(pool, file).st_size, sizeof(data));
	assert_int_equal(fs_write(pool->fs, file, data, 100, 20000, NULL), 100);
	assert_int_equal(fs_setxattr(pool->fs, file, "user.x", "y", 1, 0), 0);
	fs_forget(pool->fs, file, 1);
	assert_int_equal(fs_getattr(pool->fs, file, &(struct stat){0}), -ESTALE);
	assert_int_equal(fs_statfs(pool->fs, &after), 0);
	assert_int_equal(after.f_bfree, before.f_bfree);
	fs_get_stats(pool->fs, &stats);
	assert_int_equal(stats.inodes_cached, 0);
	/* Forgetting what is unknown, and more than was told, does nothing. */
	fs_forget(pool->fs, file, 1);
	assert_int_equal(make_kept(pool, ROOT, "file", S_IFREG, &file), 0);
	fs_forget(pool->fs, file, 1000);
	assert_int_equal(find(pool, ROOT, "file"), file);
}

/* What is unlinked but known at unmount is evicted there. */
static void test_unlink_unmount(void **state)
{
	struct pool *pool = *state;
	uint64_t file;

	assert_int_equal(make_kept(pool, ROOT, "file", S_IFREG, &file), 0);
	assert_int_equal(fs_write(pool->fs, file, "x", 1, 0, NULL), 1);
	assert_int_equal(fs_unlink(pool->fs, ROOT, "file"), 0);
	pool_remount(pool);
	assert_int_equal(fs_getattr(pool->fs, file, &(struct stat){0}), -ESTALE);
}

static int count_names(void *arg, const struct fs_dirent *dirent)
{
	(void)dirent;
	++*(int *)arg;
	return 0;
}

static void test_rmdir(void **state)
{
	struct pool *pool = *state;
	uint64_t dir, file;
	int count = 0;

	assert_int_equal(make_kept(pool, ROOT, "dir", S_IFDIR, &dir), 0);
	assert_int_equal(make_kept(pool, dir, "file", S_IFREG, &file), 0);
	assert_int_equal(fs_rmdir(pool->fs, ROOT, "dir"), -ENOTEMPTY);
	assert_int_equal(fs_rmdir(pool->fs, dir, "file"), -ENOTDIR);
	assert_int_equal(fs_rmdir(pool->fs, dir, "none"), -ENOENT);
	assert_int_equal(fs_rmdir(pool->fs, dir, "."), -EINVAL);
	assert_int_equal(fs_rmdir(pool->fs, dir, ".."), -ENOTEMPTY);
	assert_int_equal(fs_rmdir(pool->fs, file, "x"), -ENOTDIR);
	assert_int_equal(fs_unlink(pool->fs, dir, "file"), 0);
	assert_int_equal(fs_rmdir(pool->fs, ROOT, "dir"), 0);
	assert_int_equal(attr_of(pool, ROOT).st_nlink, 2);
	/* A removed directory that is in use: empty, and stays so. */
	assert_int_equal(attr_of(pool, dir).st_nlink, 0);
	assert_int_equal(find_error(pool, dir, "file"), -ENOENT);
	assert_int_equal(find(pool, dir, "."), dir);
	assert_int_equal(find_error(pool, dir, ".."), -ESTALE);
	assert_int_equal(make(pool, dir, "x", S_IFREG), -ENOENT);
	assert_int_equal(make(pool, ROOT, "y", S_IFREG), 0);
	assert_int_equal(link_to(pool, find(pool, ROOT, "y"), dir, "y"), -ENOENT);
	assert_int_equal(fs_rename(pool->fs, ROOT, "y", dir, "y", 0), -ENOENT);
	assert_int_equal(fs_readdir(pool->fs, dir, 0, false, count_names, &count), 0);
	assert_int_equal(count, 2);
	fs_forget(pool->fs, dir, 1);
	assert_int_equal(fs_getattr(pool->fs, dir, &(struct stat){0}), -ESTALE);
	fs_forget(pool->fs, file, 1);
}

static void test_mkdir_links(void **state)
{
	struct pool *pool = *state;

	nlink_forge(pool, ROOT, FMT_LINK_MAX);
	assert_int_equal(make(pool, ROOT, "dir", S_IFDIR), -EMLINK);
	assert_int_equal(make(pool, ROOT, "file", S_IFREG), 0);
	nlink_forge(pool, ROOT, 2);
	assert_int_equal(make(pool, ROOT, "dir", S_IFDIR), 0);
	assert_int_equal(attr_of(pool, ROOT).st_nlink, 3);
}

/* Sets an inode's times far back and returns them. */
static void times_age(struct pool *pool, uint64_t ino)
{
	struct fs_setattr changes = {.valid = FS_SET_MTIME | FS_SET_CTIME};

	changes.attr.st_mtim.tv_sec = 1000;
	changes.attr.st_ctim.tv_sec = 1000;
	assert_int_equal(fs_setattr(pool->fs, ino, &changes, NULL, &changes.attr), 0);
}

/* Which of mtime (1) and ctime (2) are new; ages them again. */
static unsigned times_changed(struct pool *pool, uint64_t ino)
{
	struct stat attr = attr_of(pool, ino);

	times_age(pool, ino);
	return (attr.st_mtim.tv_sec > 1000 ? 1u : 0) | (attr.st_ctim.tv_sec > 1000 ? 2u : 0);
}

static void test_times(void **state)
{
	struct pool *pool = *state;
	uint64_t file, dir;

	assert_int_equal(make_kept(pool, ROOT, "dir", S_IFDIR, &dir), 0);
	times_age(pool, ROOT);
	times_age(pool, dir);
	assert_int_equal(make_kept(pool, dir, "file", S_IFREG, &file), 0);
	assert_int_equal(times_changed(pool, dir), 3);
	assert_int_equal(times_changed(pool, ROOT), 0);
	times_age(pool, file);
	assert_int_equal(link_to(pool, file, dir, "second"), 0);
	assert_int_equal(times_changed(pool, dir), 3);
	assert_int_equal(times_changed(pool, file), 2);
	assert_int_equal(fs_unlink(pool->fs, dir, "second"), 0);
	assert_int_equal(times_changed(pool, dir), 3);
	assert_int_equal(times_changed(pool, file), 2);
	assert_int_equal(fs_rename(pool->fs, dir, "file", ROOT, "file", 0), 0);
	assert_int_equal(times_changed(pool, dir), 3);
	assert_int_equal(times_changed(pool, ROOT), 3);
	assert_int_equal(times_changed(pool, file), 2);
	(void)find(pool, ROOT, "file");
	assert_int_equal(times_changed(pool, ROOT) | times_changed(pool, file), 0);
	assert_int_equal(fs_rmdir(pool->fs, ROOT, "dir"), 0);
	assert_int_equal(times_changed(pool, ROOT), 3);
	assert_int_equal(times_changed(pool, dir), 2);
}

/* Until no inode fits; then removing works, and all space comes back. */
static void test_full(void **state)
{
	struct pool *pool = *state;
	struct statvfs before, after;
	unsigned count = 0;
	char name[32];
	int error;

	assert_int_equal(fs_statfs(pool->fs, &before), 0);
	do {
		(void)snprintf(name, sizeof(name), "file%u", count++);
		error = make(pool, ROOT, name, S_IFREG);
	} while (error == 0);
	assert_int_equal(error, -ENOSPC);
	/* Names take their share; what is promised by statfs is not far off. */
	assert_true(count > before.f_files / 2);
	assert_int_equal(find_error(pool, ROOT, name), -ENOENT);
	assert_int_equal(fs_rename(pool->fs, ROOT, "file1", ROOT, "file2", 0), 0);
	pool_remount(pool);
	for (unsigned i = 0; i < count; i++) {
		(void)snprintf(name, sizeof(name), "file%u", i);
		error = fs_unlink(pool->fs, ROOT, name);
		assert_int_equal(error, i == 1 || i == count - 1 ? -ENOENT : 0);
	}
	assert_int_equal(fs_rmdir(pool->fs, ROOT, "none"), -ENOENT);
	assert_int_equal(fs_statfs(pool->fs, &after), 0);
	assert_int_equal(after.f_files - after.f_ffree, before.f_files - before.f_ffree);
	/* Kept frames of inodes aside, all is free again. */
	assert_true(before.f_ffree - after.f_ffree < 4096);
}

/* What the kernel asks of an inode that it has by a handle. */
static void test_by_number(void **state)
{
	struct pool *pool = *state;
	uint64_t dir, file;

	assert_int_equal(make_kept(pool, ROOT, "dir", S_IFDIR, &dir), 0);
	assert_int_equal(make_kept(pool, dir, "file", S_IFREG, &file), 0);
	assert_int_equal(find(pool, file, "."), file);
	assert_int_equal(find(pool, file, "/"), file);
	assert_int_equal(find(pool, dir, "/"), dir);
	assert_int_equal(find(pool, dir, ".."), ROOT);
	assert_int_equal(find_error(pool, file, ".."), -ENOTDIR);
	fs_forget(pool->fs, file, 1);
	assert_int_equal(fs_unlink(pool->fs, dir, "file"), 0);
	assert_int_equal(find_error(pool, file, "."), -ESTALE);
	assert_int_equal(find_error(pool, file, "/"), -ESTALE);
	assert_int_equal(find_error(pool, 3, "."), -ESTALE);
	assert_int_equal(find_error(pool, UINT64_MAX, "."), -ESTALE);
}

#define POOL_TEST(f) cmocka_unit_test_setup_teardown(f, pool_setup, pool_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		POOL_TEST(test_by_number), POOL_TEST(test_make_types),	POOL_TEST(test_make_refused),
		POOL_TEST(test_lookup),	   POOL_TEST(test_symlink),	POOL_TEST(test_setgid),
		POOL_TEST(test_link),	   POOL_TEST(test_unlink_open), POOL_TEST(test_unlink_unmount),
		POOL_TEST(test_rmdir),	   POOL_TEST(test_mkdir_links), POOL_TEST(test_times),
		POOL_TEST(test_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
