/* Renaming: every kind over every other, moved directories, loops, exchange. */
#include "fs_pool.h"

#include <fcntl.h>

struct tree {
	uint64_t a, b, deep; /* /a, /b, /a/deep */
	uint64_t file; /* /a/file */
};

static struct tree tree_make(struct pool *pool)
{
	struct tree tree;

	assert_int_equal(make_kept(pool, ROOT, "a", S_IFDIR | 0755, &tree.a), 0);
	assert_int_equal(make_kept(pool, ROOT, "b", S_IFDIR | 0755, &tree.b), 0);
	assert_int_equal(make_kept(pool, tree.a, "deep", S_IFDIR | 0755, &tree.deep), 0);
	assert_int_equal(make_kept(pool, tree.a, "file", S_IFREG | 0644, &tree.file), 0);
	return tree;
}

static void test_plain(void **state)
{
	struct pool *pool = *state;
	struct tree t = tree_make(pool);

	assert_int_equal(fs_rename(pool->fs, t.a, "file", t.a, "renamed", 0), 0);
	assert_int_equal(find(pool, t.a, "renamed"), t.file);
	assert_int_equal(find_error(pool, t.a, "file"), -ENOENT);
	assert_int_equal(attr_of(pool, t.a).st_size, 2 * 64);
	assert_int_equal(fs_rename(pool->fs, t.a, "renamed", t.b, "file", 0), 0);
	assert_int_equal(find(pool, t.b, "file"), t.file);
	assert_int_equal(attr_of(pool, t.a).st_size, 64);
	assert_int_equal(attr_of(pool, t.b).st_size, 64);
	assert_int_equal(attr_of(pool, t.file).st_nlink, 1);
	/* Onto itself: nothing happens. */
	assert_int_equal(fs_rename(pool->fs, t.b, "file", t.b, "file", 0), 0);
	assert_int_equal(find(pool, t.b, "file"), t.file);
}

static void test_refused(void **state)
{
	struct pool *pool = *state;
	struct tree t = tree_make(pool);
	struct fs *fs = pool->fs;

	assert_int_equal(fs_rename(fs, t.a, "none", t.b, "x", 0), -ENOENT);
	assert_int_equal(fs_rename(fs, t.a, "", t.b, "x", 0), -ENOENT);
	assert_int_equal(fs_rename(fs, t.a, "file", t.b, "a/b", 0), -EINVAL);
	assert_int_equal(fs_rename(fs, t.a, ".", t.b, "x", 0), -EBUSY);
	assert_int_equal(fs_rename(fs, t.a, "file", t.b, "..", 0), -EBUSY);
	assert_int_equal(fs_rename(fs, t.file, "x", t.b, "x", 0), -ENOTDIR);
	assert_int_equal(fs_rename(fs, t.a, "file", t.file, "x", 0), -ENOTDIR);
	assert_int_equal(fs_rename(fs, 4711, "x", t.b, "x", 0), -ESTALE);
	assert_int_equal(fs_rename(fs, t.a, "file", 4711, "x", 0), -ESTALE);
	assert_int_equal(fs_rename(fs, t.a, "file", t.b, "x", RENAME_WHITEOUT), -EINVAL);
	assert_int_equal(fs_rename(fs, t.a, "file", t.b, "x", RENAME_EXCHANGE | RENAME_NOREPLACE), -EINVAL);
	assert_int_equal(fs_rename(fs, t.a, "file", t.a, "deep", 0), -EISDIR);
	assert_int_equal(fs_rename(fs, t.a, "deep", t.a, "file", 0), -ENOTDIR);
	assert_int_equal(fs_rename(fs, t.a, "file", t.a, "deep", RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(fs_rename(fs, t.a, "file", t.a, "file", RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(fs_rename(fs, t.a, "file", t.a, "none", RENAME_EXCHANGE), -ENOENT);
	assert_int_equal(fs_rename(fs, ROOT, "b", ROOT, "a", 0), -ENOTEMPTY);
	assert_int_equal(fs_rename(fs, t.a, "file", t.b, "ok", RENAME_NOREPLACE), 0);
	assert_int_equal(find(pool, t.b, "ok"), t.file);
}

/* A directory cannot move below itself, nor over what it lies in. */
static void test_loops(void **state)
{
	struct pool *pool = *state;
	struct tree t = tree_make(pool);
	struct fs *fs = pool->fs;
	uint64_t deeper;

	assert_int_equal(make_kept(pool, t.deep, "deeper", S_IFDIR, &deeper), 0);
	assert_int_equal(fs_rename(fs, ROOT, "a", t.a, "x", 0), -EINVAL);
	assert_int_equal(fs_rename(fs, ROOT, "a", t.deep, "x", 0), -EINVAL);
	assert_int_equal(fs_rename(fs, ROOT, "a", deeper, "x", 0), -EINVAL);
	assert_int_equal(fs_rename(fs, t.a, "deep", deeper, "x", 0), -EINVAL);
	assert_int_equal(fs_rename(fs, t.deep, "deeper", ROOT, "a", 0), -ENOTEMPTY);
	assert_int_equal(fs_rename(fs, t.deep, "deeper", t.a, "deep", 0), -ENOTEMPTY);
	assert_int_equal(fs_rename(fs, t.deep, "deeper", ROOT, "a", RENAME_EXCHANGE), -EINVAL);
	assert_int_equal(make(pool, deeper, "f", S_IFREG), 0);
	assert_int_equal(fs_rename(fs, ROOT, "a", deeper, "f", RENAME_EXCHANGE), -EINVAL);
	/* All this is fine between others. */
	assert_int_equal(fs_rename(fs, t.deep, "deeper", t.b, "deeper", 0), 0);
	assert_int_equal(fs_rename(fs, ROOT, "a", deeper, "a", 0), 0);
	assert_int_equal(find(pool, t.a, ".."), deeper);
	assert_int_equal(find(pool, deeper, ".."), t.b);
}

static void test_directories(void **state)
{
	struct pool *pool = *state;
	struct tree t = tree_make(pool);
	struct fs *fs = pool->fs;
	uint64_t empty;

	assert_int_equal(attr_of(pool, ROOT).st_nlink, 4);
	assert_int_equal(attr_of(pool, t.a).st_nlink, 3);
	assert_int_equal(fs_rename(fs, t.a, "deep", t.b, "moved", 0), 0);
	assert_int_equal(attr_of(pool, t.a).st_nlink, 2);
	assert_int_equal(attr_of(pool, t.b).st_nlink, 3);
	assert_int_equal(find(pool, t.deep, ".."), t.b);
	/* Over an empty directory, elsewhere: it is gone, still usable for who has it open. */
	assert_int_equal(make_kept(pool, t.a, "empty", S_IFDIR, &empty), 0);
	assert_int_equal(fs_rename(fs, t.b, "moved", t.a, "empty", 0), 0);
	assert_int_equal(find(pool, t.a, "empty"), t.deep);
	assert_int_equal(attr_of(pool, t.a).st_nlink, 3);
	assert_int_equal(attr_of(pool, t.b).st_nlink, 2);
	assert_int_equal(attr_of(pool, empty).st_nlink, 0);
	assert_int_equal(make(pool, empty, "x", S_IFREG), -ENOENT);
	fs_forget(fs, empty, 1);
	assert_int_equal(fs_getattr(fs, empty, &(struct stat){0}), -ESTALE);
	/* Over one in the same directory. */
	assert_int_equal(make(pool, t.a, "other", S_IFDIR), 0);
	assert_int_equal(attr_of(pool, t.a).st_nlink, 4);
	assert_int_equal(fs_rename(fs, t.a, "empty", t.a, "other", 0), 0);
	assert_int_equal(find(pool, t.a, "other"), t.deep);
	assert_int_equal(attr_of(pool, t.a).st_nlink, 3);
	/* No more links to be had. */
	nlink_forge(pool, t.b, FMT_LINK_MAX);
	assert_int_equal(fs_rename(fs, t.a, "other", t.b, "other", 0), -EMLINK);
	assert_int_equal(fs_rename(fs, t.a, "file", t.b, "file", 0), 0);
	nlink_forge(pool, t.b, 2);
}

static void test_replace_file(void **state)
{
	struct pool *pool = *state;
	struct tree t = tree_make(pool);
	struct statvfs before, after;
	uint64_t victim;

	assert_int_equal(fs_statfs(pool->fs, &before), 0);
	assert_int_equal(make_kept(pool, t.b, "victim", S_IFREG, &victim), 0);
	assert_int_equal(fs_write(pool->fs, victim, "data", 4, 0, NULL), 4);
	assert_int_equal(link_to(pool, victim, t.b, "second"), 0);
	assert_int_equal(fs_rename(pool->fs, t.a, "file", t.b, "victim", 0), 0);
	assert_int_equal(find(pool, t.b, "victim"), t.file);
	assert_int_equal(attr_of(pool, victim).st_nlink, 1);
	/* Two names of one file: both stay. */
	assert_int_equal(link_to(pool, t.file, t.a, "again"), 0);
	assert_int_equal(fs_rename(pool->fs, t.a, "again", t.b, "victim", 0), 0);
	assert_int_equal(find(pool, t.a, "again"), t.file);
	assert_int_equal(fs_rename(pool->fs, t.a, "again", t.b, "victim", RENAME_EXCHANGE), 0);
	/* The last name is replaced; the file lives until it is forgotten. */
	assert_int_equal(fs_rename(pool->fs, t.a, "again", t.b, "second", 0), 0);
	assert_int_equal(attr_of(pool, victim).st_nlink, 0);
	assert_int_equal(attr_of(pool, victim).st_blocks, 8);
	fs_forget(pool->fs, victim, 1);
	assert_int_equal(fs_getattr(pool->fs, victim, &(struct stat){0}), -ESTALE);
	assert_int_equal(fs_statfs(pool->fs, &after), 0);
	assert_int_equal(after.f_bfree, before.f_bfree);
}

static void test_exchange(void **state)
{
	struct pool *pool = *state;
	struct tree t = tree_make(pool);
	struct fs *fs = pool->fs;
	uint64_t other;

	/* A directory and a file, in one directory and across. */
	assert_int_equal(fs_rename(fs, t.a, "deep", t.a, "file", RENAME_EXCHANGE), 0);
	assert_int_equal(find(pool, t.a, "file"), t.deep);
	assert_int_equal(find(pool, t.a, "deep"), t.file);
	assert_int_equal(attr_of(pool, t.a).st_nlink, 3);
	assert_int_equal(make_kept(pool, t.b, "other", S_IFREG, &other), 0);
	assert_int_equal(fs_rename(fs, t.a, "file", t.b, "other", RENAME_EXCHANGE), 0);
	assert_int_equal(find(pool, t.b, "other"), t.deep);
	assert_int_equal(find(pool, t.a, "file"), other);
	assert_int_equal(find(pool, t.deep, ".."), t.b);
	assert_int_equal(attr_of(pool, t.a).st_nlink, 2);
	assert_int_equal(attr_of(pool, t.b).st_nlink, 3);
	assert_int_equal(fs_rename(fs, t.a, "file", t.b, "other", RENAME_EXCHANGE), 0);
	assert_int_equal(attr_of(pool, t.a).st_nlink, 3);
	assert_int_equal(attr_of(pool, t.b).st_nlink, 2);
	/* Two directories with content. */
	assert_int_equal(fs_rename(fs, ROOT, "a", ROOT, "b", RENAME_EXCHANGE), 0);
	assert_int_equal(find(pool, ROOT, "a"), t.b);
	assert_int_equal(make_kept(pool, t.b, "dir", S_IFDIR, &other), 0);
	assert_int_equal(fs_rename(fs, t.b, "dir", t.a, "file", RENAME_EXCHANGE), 0);
	assert_int_equal(find(pool, other, ".."), t.a);
	assert_int_equal(find(pool, t.deep, ".."), t.b);
	/* Files only. */
	assert_int_equal(fs_rename(fs, t.a, "deep", t.b, "other", RENAME_EXCHANGE), 0);
	assert_int_equal(find(pool, t.b, "other"), t.file);
}

static void test_persistence(void **state)
{
	struct pool *pool = *state;
	struct tree t = tree_make(pool);

	assert_int_equal(fs_rename(pool->fs, t.a, "deep", t.b, "moved", 0), 0);
	assert_int_equal(fs_rename(pool->fs, t.a, "file", t.deep, "f", 0), 0);
	pool_remount(pool);
	assert_int_equal(find(pool, ROOT, "b"), t.b);
	assert_int_equal(find(pool, t.b, "moved"), t.deep);
	assert_int_equal(find(pool, t.deep, ".."), t.b);
	assert_int_equal(find(pool, t.deep, "f"), t.file);
	assert_int_equal(fs_rmdir(pool->fs, ROOT, "a"), 0);
}

static int whiteout(struct pool *pool, uint64_t from, const char *name, uint64_t to, const char *new_name,
		    unsigned flags)
{
	return fs_rename_whiteout(pool->fs, from, name, to, new_name, flags, &pool_cred);
}

static void assert_whiteout(struct pool *pool, uint64_t directory, const char *name)
{
	struct stat attr = attr_of(pool, find(pool, directory, name));

	assert_int_equal(attr.st_mode, S_IFCHR);
	assert_int_equal(attr.st_rdev, makedev(0, 0));
	assert_int_equal(attr.st_nlink, 1);
	assert_int_equal(attr.st_uid, pool_cred.uid);
}

static void test_whiteout(void **state)
{
	struct pool *pool = *state;
	struct tree t = tree_make(pool);

	assert_int_equal(whiteout(pool, t.a, "file", t.a, "moved", RENAME_NOREPLACE), 0);
	assert_whiteout(pool, t.a, "file");
	assert_int_equal(find(pool, t.a, "moved"), t.file);
	assert_int_equal(attr_of(pool, t.a).st_size, 3 * 64);
	/* Over another name, to another directory; and what is left is of one link. */
	assert_int_equal(make(pool, t.b, "old", S_IFREG), 0);
	assert_int_equal(whiteout(pool, t.a, "moved", t.b, "old", 0), 0);
	assert_whiteout(pool, t.a, "moved");
	assert_int_equal(find(pool, t.b, "old"), t.file);
	/* A directory: the parent has one less, though the name is there. */
	assert_int_equal(whiteout(pool, t.a, "deep", t.b, "deep", 0), 0);
	assert_whiteout(pool, t.a, "deep");
	assert_int_equal(attr_of(pool, t.a).st_nlink, 2);
	assert_int_equal(attr_of(pool, t.b).st_nlink, 3);
	pool_remount(pool);
	assert_whiteout(pool, t.a, "deep");
	/* A whiteout is a file like others. */
	assert_int_equal(whiteout(pool, t.a, "deep", t.a, "file", 0), 0);
	assert_int_equal(fs_unlink(pool->fs, t.a, "file"), 0);
	assert_int_equal(fs_unlink(pool->fs, t.a, "moved"), 0);
	assert_int_equal(fs_unlink(pool->fs, t.a, "deep"), 0);
	assert_int_equal(fs_rmdir(pool->fs, ROOT, "a"), 0);
}

static void test_whiteout_refused(void **state)
{
	struct pool *pool = *state;
	struct tree t = tree_make(pool);
	struct statvfs before, after;

	assert_int_equal(link_to(pool, t.file, t.b, "same"), 0);
	assert_int_equal(fs_statfs(pool->fs, &before), 0);
	assert_int_equal(whiteout(pool, t.a, "file", t.a, "deep", RENAME_EXCHANGE), -EINVAL);
	assert_int_equal(whiteout(pool, t.a, "none", t.b, "x", 0), -ENOENT);
	assert_int_equal(whiteout(pool, t.a, "file", t.a, "deep", RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(whiteout(pool, t.a, "file", t.a, "deep", 0), -EISDIR);
	assert_int_equal(whiteout(pool, ROOT, "a", t.deep, "x", 0), -EINVAL);
	/* Two names of one file: nothing happens, and nothing is made. */
	assert_int_equal(whiteout(pool, t.a, "file", t.b, "same", 0), 0);
	assert_int_equal(find(pool, t.a, "file"), t.file);
	assert_int_equal(fs_statfs(pool->fs, &after), 0);
	assert_int_equal(after.f_ffree, before.f_ffree);
}

/* Big directories, so that names lie in pages of their own: all that such a rename changes fits one transaction. */
static void test_whiteout_large(void **state)
{
	struct pool *pool = *state;
	struct tree t = tree_make(pool);
	char name[64], other[64];

	for (unsigned i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "%055u", i);
		assert_int_equal(make(pool, t.a, name, S_IFREG), 0);
		if (i % 2 == 0)
			assert_int_equal(make(pool, t.b, name, S_IFREG), 0);
	}
	for (unsigned i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "%055u", i);
		snprintf(other, sizeof(other), "%055u", (i * 7) % 3000);
		assert_int_equal(whiteout(pool, t.a, name, t.b, other, 0), 0);
		assert_whiteout(pool, t.a, name);
	}
}

#define POOL_TEST(f) cmocka_unit_test_setup_teardown(f, pool_setup, pool_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		POOL_TEST(test_plain),		POOL_TEST(test_refused),      POOL_TEST(test_loops),
		POOL_TEST(test_directories),	POOL_TEST(test_replace_file), POOL_TEST(test_exchange),
		POOL_TEST(test_persistence),	POOL_TEST(test_whiteout),     POOL_TEST(test_whiteout_refused),
		POOL_TEST(test_whiteout_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
