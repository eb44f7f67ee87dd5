/* Mounting: parts that moved, pools that are refused, read-only, after a crash, after damage. */
#include "fs_pool.h"

#include <dlfcn.h>
#include <libpmemobj.h>
#include <signal.h>
#include <sys/wait.h>

/* ---- Crashes: the process ends before its n-th commit ---- */

static unsigned commits_left; /* 0: no crash */
#define CRASHED 99

void pmemobj_tx_commit(void)
{
	void (*commit)(void);

	*(void **)&commit = dlsym(RTLD_NEXT, "pmemobj_tx_commit");
	if (commits_left > 0 && --commits_left == 0)
		_exit(CRASHED);
	commit();
}

static void test_persistence(void **state)
{
	struct pool *pool = *state;
	struct fs_entry before, after;

	assert_int_equal(make(pool, ROOT, "file", S_IFREG | 0640), 0);
	assert_int_equal(fs_lookup(pool->fs, ROOT, "file", &before), 0);
	pool_remount(pool);
	assert_int_equal(fs_lookup(pool->fs, ROOT, "file", &after), 0);
	assert_int_equal(after.ino, before.ino);
	assert_int_equal(after.generation, before.generation);
	assert_memory_equal(&after.attr, &before.attr, sizeof(after.attr));
}

static void test_stats(void **state)
{
	struct pool *pool = *state;
	const char *path, *durability;
	struct statvfs statvfs;
	struct fs_stats stats;
	uint64_t blocks, ino;

	assert_int_equal(make_kept(pool, ROOT, "file", S_IFREG, &ino), 0);
	assert_int_equal(fs_write(pool->fs, ino, "x", 1, 0, NULL), 1);
	assert_int_equal(fs_part_info(pool->fs, 0, &path, &durability, &blocks), 0);
	assert_string_equal(path, pool->data);
	assert_true(strlen(durability) > 0);
	assert_int_equal(blocks, POOL_DATA_SIZE / 4096);
	assert_int_equal(fs_part_info(pool->fs, 1, &path, &durability, &blocks), -ENOENT);
	fs_get_stats(pool->fs, &stats);
	assert_string_equal(stats.meta_path, pool->meta);
	assert_int_equal(stats.block_size, 4096);
	assert_int_equal(stats.blocks_total, POOL_DATA_SIZE / 4096 - 2);
	assert_int_equal(stats.blocks_free, POOL_DATA_SIZE / 4096 - 3);
	assert_int_equal(stats.parts, 1);
	assert_int_equal(stats.inodes_cached, 1);
	assert_int_equal(stats.bad_frees, 0);
	assert_int_equal(fs_statfs(pool->fs, &statvfs), 0);
	assert_int_equal(statvfs.f_bsize, 4096);
	assert_int_equal(statvfs.f_blocks, stats.blocks_total);
	assert_int_equal(statvfs.f_bfree, stats.blocks_free);
	assert_int_equal(statvfs.f_files, stats.inodes_used + statvfs.f_ffree);
	assert_int_equal(statvfs.f_namemax, 255);
	assert_int_equal(statvfs.f_flag, 0);
}

static void test_read_only(void **state)
{
	struct pool *pool = *state;
	struct fs_setattr changes = {.valid = FS_SET_UID};
	struct statvfs statvfs;
	struct message why;
	struct fs_entry entry = {.ino = 0};
	struct stat attr;
	uint64_t file;
	char value[4];

	assert_int_equal(make_kept(pool, ROOT, "file", S_IFREG, &file), 0);
	assert_int_equal(make(pool, ROOT, "dir", S_IFDIR), 0);
	assert_int_equal(fs_setxattr(pool->fs, file, "user.a", "v", 1, 0), 0);
	pool_unmount(pool);
	assert_int_equal(pool_try_mount(pool, true, NULL, &why), 0);
	assert_true(fs_read_only(pool->fs));
	assert_int_equal(find(pool, ROOT, "file"), file);
	assert_int_equal(make(pool, ROOT, "new", S_IFREG), -EROFS);
	assert_int_equal(fs_link(pool->fs, file, ROOT, "new", &entry), -EROFS);
	assert_int_equal(fs_unlink(pool->fs, ROOT, "file"), -EROFS);
	assert_int_equal(fs_rmdir(pool->fs, ROOT, "dir"), -EROFS);
	assert_int_equal(fs_rename(pool->fs, ROOT, "file", ROOT, "new", 0), -EROFS);
	assert_int_equal(fs_setattr(pool->fs, file, &changes, NULL, &attr), -EROFS);
	changes.valid = FS_SET_SIZE;
	assert_int_equal(fs_setattr(pool->fs, file, &changes, NULL, &attr), -EROFS);
	assert_int_equal(fs_setxattr(pool->fs, file, "user.a", "w", 1, 0), -EROFS);
	assert_int_equal(fs_removexattr(pool->fs, file, "user.a"), -EROFS);
	assert_int_equal(fs_write(pool->fs, file, "x", 1, 0, NULL), -EROFS);
	assert_int_equal(fs_getxattr(pool->fs, file, "user.a", value, sizeof(value)), 1);
	assert_int_equal(fs_statfs(pool->fs, &statvfs), 0);
	assert_int_equal(statvfs.f_flag, ST_RDONLY);
}

static void test_moved_part(void **state)
{
	struct pool *pool = *state;
	struct message why;
	char moved[200];
	uint64_t file;

	assert_int_equal(make_kept(pool, ROOT, "file", S_IFREG, &file), 0);
	assert_int_equal(fs_write(pool->fs, file, "data", 4, 0, NULL), 4);
	pool_unmount(pool);
	(void)snprintf(moved, sizeof(moved), "%s/moved", pool->folder);
	assert_int_equal(rename(pool->data, moved), 0);
	assert_int_equal(pool_try_mount(pool, false, NULL, &why), -ENOENT);
	assert_non_null(strstr(why.text, "-o data="));
	assert_non_null(strstr(why.text, pool->data));
	/* Read-only finds it too, and does not write down where it is. */
	assert_int_equal(pool_try_mount(pool, true, moved, &why), 0);
	pool_unmount(pool);
	assert_int_equal(pool_try_mount(pool, false, NULL, &why), -ENOENT);
	assert_int_equal(pool_try_mount(pool, false, moved, &why), 0);
	pool_unmount(pool);
	(void)snprintf(pool->data, sizeof(pool->data), "%.159s", moved);
	assert_int_equal(pool_try_mount(pool, false, NULL, &why), 0);
	assert_int_equal(attr_of(pool, find(pool, ROOT, "file")).st_size, 4);
}

static void test_wrong_part(void **state)
{
	struct pool *pool = *state;
	struct region_create_args args = {.size = 1u << 20, .number = 1};
	struct message why;
	char path[200], missing[200];
	uint64_t blocks;

	pool_unmount(pool);
	(void)snprintf(missing, sizeof(missing), "%s/missing", pool->folder);
	assert_int_equal(pool_try_mount(pool, false, missing, &why), -ENOENT);
	assert_non_null(strstr(why.text, missing));
	assert_int_equal(pool_try_mount(pool, false, pool->meta, &why), -EINVAL);
	assert_non_null(strstr(why.text, "not a pinfs data part"));
	(void)snprintf(path, sizeof(path), "%s/other", pool->folder);
	args.path = path;
	pool_fill_uuid(args.pool_uuid, 2);
	pool_fill_uuid(args.part_uuid, 3);
	assert_int_equal(region_create(&args, &blocks, &why), 0);
	assert_int_equal(pool_try_mount(pool, false, path, &why), -EINVAL);
	assert_non_null(strstr(why.text, "another pool"));
	args.force = true;
	pool_fill_uuid(args.pool_uuid, 1);
	assert_int_equal(region_create(&args, &blocks, &why), 0);
	assert_int_equal(pool_try_mount(pool, false, path, &why), -EINVAL);
	assert_non_null(strstr(why.text, "not recorded"));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(pool_try_mount(pool, false, pool->data, &why), 0);
}

static void test_missing_pool(void **state)
{
	struct pool none = {.meta = "/nowhere/meta"};
	struct message why;

	(void)state;
	assert_int_equal(pool_try_mount(&none, false, NULL, &why), -ENOENT);
	assert_non_null(strstr(why.text, "/nowhere/meta"));
	assert_int_equal(pool_try_mount(&none, false, NULL, NULL), -ENOENT);
}

/* A second mount, and the probe that a mount does as a rule. */
static void test_probe(void **state)
{
	struct pool *pool = *state;
	struct fs_options options = {.meta_path = pool->meta};
	struct message why;
	struct fs *second;

	assert_int_equal(fs_open(&options, &second, &why), -EBUSY);
	options.skip_probe = true;
	assert_int_equal(fs_open(&options, &second, &why), -EBUSY);
	options.skip_probe = false;
	pool_unmount(pool);
	assert_int_equal(fs_open(&options, &pool->fs, &why), 0);
}

static void extent_forge(struct pool *pool, uint64_t ino, const struct meta_extent *extent)
{
	const struct fmt_inode *media;
	struct meta_tx *tx;

	assert_int_equal(meta_inode_get(pool->fs->meta, ino, &media), 0);
	assert_int_equal(meta_begin(pool->fs->meta, 0, &tx), 0);
	assert_int_equal(meta_extent_insert(tx, media, extent), 0);
	assert_int_equal(meta_commit(tx), 0);
}

static void extent_unforge(struct pool *pool, uint64_t ino)
{
	const struct fmt_inode *media;
	struct meta_extent gone;
	struct meta_tx *tx;

	assert_int_equal(meta_inode_get(pool->fs->meta, ino, &media), 0);
	assert_int_equal(meta_begin(pool->fs->meta, 0, &tx), 0);
	assert_int_equal(meta_extent_remove_last(tx, media, 0, 1u << 30, &gone), 0);
	assert_int_equal(meta_commit(tx), 0);
}

/* Mounts although the pool is refused: the meta part alone. */
static void refused_then_repaired(struct pool *pool, uint64_t ino)
{
	struct fs bare = {.read_only = false};
	struct message why;

	pool_unmount(pool);
	assert_int_equal(pool_try_mount(pool, false, NULL, &why), -EUCLEAN);
	assert_non_null(strstr(why.text, "outside"));
	assert_non_null(strstr(why.text, "fsck"));
	assert_int_equal(meta_open(pool->meta, 0, &bare.meta, &why), 0);
	assert_int_equal(meta_scan(bare.meta, NULL, &why), 0);
	pool->fs = &bare;
	extent_unforge(pool, ino);
	meta_close(bare.meta);
	pool->fs = NULL;
	pool_mount(pool);
}

static void test_double_use(void **state)
{
	struct pool *pool = *state;
	struct meta_extent extent = {.file_block = 0, .length = 1, .unwritten = true};
	const struct fmt_inode *media;
	struct meta_extent found;
	uint64_t file, thief;

	assert_int_equal(make_kept(pool, ROOT, "file", S_IFREG, &file), 0);
	assert_int_equal(make_kept(pool, ROOT, "thief", S_IFREG, &thief), 0);
	assert_int_equal(fs_write(pool->fs, file, "x", 1, 0, NULL), 1);
	assert_int_equal(meta_inode_get(pool->fs->meta, file, &media), 0);
	assert_int_equal(meta_extent_find(pool->fs->meta, media, 0, &found), 0);
	extent.phys = found.phys;
	extent_forge(pool, thief, &extent);
	refused_then_repaired(pool, thief);
	/* Header copies, and parts that are not there. */
	extent.phys = fmt_phys(0, 0);
	extent_forge(pool, thief, &extent);
	refused_then_repaired(pool, thief);
	extent.phys = fmt_phys(0, POOL_DATA_SIZE / 4096 - 1);
	extent_forge(pool, thief, &extent);
	refused_then_repaired(pool, thief);
	extent.phys = fmt_phys(1, 5);
	extent_forge(pool, thief, &extent);
	refused_then_repaired(pool, thief);
}

/* After an error that speaks of damage nothing is written any more, and the pool is not marked as clean. */
static void test_failed(void **state)
{
	struct pool *pool = *state;
	struct check_options options = {.meta_path = pool->meta, .skip_probe = true, .in_process = true};
	struct check_report report;
	struct message why;

	assert_int_equal(fs_failed(pool->fs, -ENOSPC, "test", 1), -ENOSPC);
	assert_false(fs_read_only(pool->fs));
	assert_int_equal(fs_failed(pool->fs, -EUCLEAN, "test (expected)", 1), -EUCLEAN);
	assert_true(fs_read_only(pool->fs));
	assert_int_equal(make(pool, ROOT, "x", S_IFREG), -EROFS);
	pool_unmount(pool);
	assert_int_equal(check_pool(&options, &report, &why), 0);
	assert_false(report.clean);
	pool_mount(pool);
	assert_int_equal(make(pool, ROOT, "x", S_IFREG), 0);
}

static int count_entry(void *arg, const struct fs_dirent *dirent)
{
	(void)dirent;
	++*(unsigned *)arg;
	return 0;
}

/* One damaged inode: it alone cannot be used. */
static void test_damaged_inode(void **state)
{
	struct pool *pool = *state;
	const struct fmt_inode *media;
	unsigned count = 0;
	uint64_t file;

	assert_int_equal(make(pool, ROOT, "file", S_IFREG), 0);
	assert_int_equal(make(pool, ROOT, "other", S_IFREG), 0);
	file = find(pool, ROOT, "file");
	assert_int_equal(meta_inode_get(pool->fs->meta, file, &media), 0);
	((struct fmt_inode *)(uintptr_t)media)->uid ^= 1;
	assert_int_equal(find_error(pool, ROOT, "file"), -EUCLEAN);
	assert_int_equal(fs_unlink(pool->fs, ROOT, "file"), -EUCLEAN);
	assert_int_equal(fs_readdir(pool->fs, ROOT, 0, true, count_entry, &count), 0);
	assert_int_equal(count, 4);
	(void)find(pool, ROOT, "other");
	((struct fmt_inode *)(uintptr_t)media)->uid ^= 1;
	(void)find(pool, ROOT, "file");
}

/* Makes an entry that no operation would make, or takes it away again. */
static void entry_forge(struct pool *pool, uint64_t directory, const char *name, uint64_t target)
{
	const struct fmt_inode *from, *to;
	struct meta_tx *tx;

	assert_int_equal(meta_inode_get(pool->fs->meta, directory, &from), 0);
	assert_int_equal(meta_inode_get(pool->fs->meta, target, &to), 0);
	assert_int_equal(meta_begin(pool->fs->meta, 0, &tx), 0);
	if (find_error(pool, directory, name) == -ENOENT)
		assert_int_equal(meta_entry_insert(tx, from, name, strlen(name), to), 0);
	else
		assert_int_equal(meta_entry_remove(tx, from, name, strlen(name)), 0);
	assert_int_equal(meta_commit(tx), 0);
}

/* A directory that contains itself, or one of another parent: not followed, so that no lock is taken out of order. */
static void test_stray_directory(void **state)
{
	struct pool *pool = *state;
	uint64_t dir, other;
	unsigned count = 0;

	assert_int_equal(make(pool, ROOT, "dir", S_IFDIR), 0);
	assert_int_equal(make(pool, ROOT, "other", S_IFDIR), 0);
	dir = find(pool, ROOT, "dir");
	other = find(pool, ROOT, "other");
	entry_forge(pool, dir, "self", dir);
	entry_forge(pool, dir, "up", ROOT);
	entry_forge(pool, dir, "stray", other);
	for (unsigned i = 0; i < 3; i++) {
		const char *name = (const char *[]){"self", "up", "stray"}[i];

		assert_int_equal(find_error(pool, dir, name), -EUCLEAN);
		assert_int_equal(fs_rmdir(pool->fs, dir, name), -EUCLEAN);
		assert_int_equal(fs_rename(pool->fs, dir, name, ROOT, "new", 0), -EUCLEAN);
		assert_int_equal(fs_rename(pool->fs, ROOT, "other", dir, name, 0), -EUCLEAN);
	}
	assert_int_equal(fs_readdir(pool->fs, dir, 0, true, count_entry, &count), 0);
	assert_int_equal(count, 5);
	assert_false(fs_read_only(pool->fs));
	entry_forge(pool, dir, "self", dir);
	entry_forge(pool, dir, "up", ROOT);
	entry_forge(pool, dir, "stray", other);
}

/* Killed with an unlinked file open, between any two operations. */
static void crash(struct pool *pool)
{
	pid_t child = fork();
	uint64_t file, dir;
	int status;

	assert_true(child >= 0);
	if (child == 0) {
		pool_mount(pool);
		if (make_kept(pool, ROOT, "open", S_IFREG, &file) != 0 ||
		    fs_write(pool->fs, file, "x", 1, 0, NULL) != 1 || fs_unlink(pool->fs, ROOT, "open") != 0 ||
		    make_kept(pool, ROOT, "dir", S_IFDIR, &dir) != 0 || fs_rmdir(pool->fs, ROOT, "dir") != 0 ||
		    make(pool, ROOT, "kept", S_IFREG) != 0)
			_exit(1);
		(void)raise(SIGKILL);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void test_crash(void **state)
{
	struct pool *pool = *state;
	struct fs_stats before, after;
	struct message why;

	fs_get_stats(pool->fs, &before);
	pool_unmount(pool);
	crash(pool);
	/* Read-only leaves orphans where they are. */
	assert_int_equal(pool_try_mount(pool, true, NULL, &why), 0);
	fs_get_stats(pool->fs, &after);
	assert_int_equal(after.blocks_free, before.blocks_free - 1);
	pool_unmount(pool);
	pool_mount(pool);
	fs_get_stats(pool->fs, &after);
	assert_int_equal(after.blocks_free, before.blocks_free);
	assert_int_equal(after.inodes_used, before.inodes_used + 1);
	(void)find(pool, ROOT, "kept");
}

/* One of each operation on names; false if one fails. */
static bool every_operation(struct pool *pool)
{
	struct fs *fs = pool->fs;
	uint64_t a, b, f;

	return make_kept(pool, ROOT, "a", S_IFDIR, &a) == 0 && make_kept(pool, ROOT, "b", S_IFDIR, &b) == 0 &&
	       make_kept(pool, a, "f", S_IFREG, &f) == 0 && make(pool, a, "sub", S_IFDIR) == 0 &&
	       make(pool, b, "sub", S_IFDIR) == 0 && link_to(pool, f, b, "g") == 0 &&
	       fs_setxattr(fs, f, "user.x", "y", 1, 0) == 0 && fs_rename(fs, a, "sub", b, "sub", 0) == 0 &&
	       fs_rename(fs, b, "sub", a, "f", RENAME_EXCHANGE) == 0 && fs_unlink(fs, b, "sub") == 0 &&
	       fs_rename(fs, a, "f", a, "moved", 0) == 0 && fs_unlink(fs, b, "g") == 0 &&
	       fs_rmdir(fs, a, "moved") == 0 && fs_rmdir(fs, ROOT, "b") == 0 && make(pool, a, "new", S_IFLNK) == 0;
}

/* Before each commit of each operation: all of it or nothing is there, and all else is sound. */
static void test_crash_everywhere(void **state)
{
	struct pool *pool = *state;
	unsigned crashes = 0;
	int status;
	pid_t child;

	do {
		pool_unmount(pool);
		pool_check(pool);
		pool_remove(pool);
		pool_make(pool);
		child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			pool_mount(pool);
			commits_left = ++crashes;
			_exit(every_operation(pool) ? 0 : 1);
		}
		crashes++;
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 1);
		pool_mount(pool);
	} while (WEXITSTATUS(status) == CRASHED);
	assert_true(crashes > 15);
}

#define POOL_TEST(f) cmocka_unit_test_setup_teardown(f, pool_setup, pool_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		POOL_TEST(test_persistence),
		POOL_TEST(test_stats),
		POOL_TEST(test_read_only),
		POOL_TEST(test_moved_part),
		POOL_TEST(test_wrong_part),
		cmocka_unit_test(test_missing_pool),
		POOL_TEST(test_probe),
		POOL_TEST(test_double_use),
		POOL_TEST(test_failed),
		POOL_TEST(test_damaged_inode),
		POOL_TEST(test_stray_directory),
		POOL_TEST(test_crash),
		POOL_TEST(test_crash_everywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
