/*
 * Changes of names, cut off between transactions and inside of them: after the next mount all of it is there or
 * nothing, and no inode is left over.
 */
#include "crash_points.h"
#include "fs_pool.h"

#include <signal.h>
#include <sys/wait.h>

/* ---- What is cut off. The pool has /a with /a/file, and /b with /b/victim. ---- */

struct scenario {
	const char *name;
	int (*run)(struct fs *fs);
	/* After the crash: 0 the old state, 1 the new one; fails the test for anything between. */
	int (*state)(struct pool *pool);
	unsigned inodes_more; /* in the new state */
	unsigned inodes_less;
};

static uint64_t number(struct fs *fs, uint64_t parent, const char *name)
{
	struct fs_entry entry = {.ino = 0};

	return fs_lookup(fs, parent, name, &entry) == 0 ? entry.ino : 0;
}

static int make_unnamed(struct fs *fs, uint64_t *ret_ino)
{
	static char data[20000];
	struct fs_entry entry = {.ino = 0};
	int error = fs_tmpfile(fs, number(fs, ROOT, "a"), 0644, 0, &pool_cred, &entry);

	if (error != 0)
		return error;
	*ret_ino = entry.ino;
	return fs_write(fs, entry.ino, data, sizeof(data), 0, NULL) == sizeof(data) ? 0 : -EIO;
}

static int run_tmpfile(struct fs *fs)
{
	uint64_t ino;

	return make_unnamed(fs, &ino);
}

static int state_tmpfile(struct pool *pool)
{
	assert_int_equal(attr_of(pool, find(pool, ROOT, "a")).st_size, 64);
	return 0;
}

static int run_link(struct fs *fs)
{
	struct fs_entry entry;
	uint64_t ino;
	int error = make_unnamed(fs, &ino);

	return error != 0 ? error : fs_link(fs, ino, number(fs, ROOT, "a"), "linked", &entry);
}

static int state_link(struct pool *pool)
{
	uint64_t directory = find(pool, ROOT, "a");
	struct stat attr;

	if (find_error(pool, directory, "linked") != 0)
		return state_tmpfile(pool);
	attr = attr_of(pool, find(pool, directory, "linked"));
	assert_int_equal(attr.st_nlink, 1);
	assert_int_equal(attr.st_size, 20000);
	return 1;
}

static int run_whiteout(struct fs *fs)
{
	return fs_rename_whiteout(fs, number(fs, ROOT, "a"), "file", number(fs, ROOT, "b"), "victim", 0, &pool_cred);
}

static int state_whiteout(struct pool *pool)
{
	uint64_t a = find(pool, ROOT, "a"), b = find(pool, ROOT, "b");
	bool white = S_ISCHR(attr_of(pool, find(pool, a, "file")).st_mode);

	assert_int_equal(attr_of(pool, find(pool, b, "victim")).st_uid, white ? 7 : 8);
	return white ? 1 : 0;
}

static const struct scenario scenarios[] = {
	{"tmpfile", run_tmpfile, state_tmpfile, 0, 0},
	{"linked tmpfile", run_link, state_link, 1, 0},
	/* One that is new and one that is gone. */
	{"whiteout", run_whiteout, state_whiteout, 1, 1},
};

static void owner_set(struct pool *pool, uint64_t ino, uid_t uid)
{
	struct fs_setattr changes = {.valid = FS_SET_UID, .attr = {.st_uid = uid}};
	struct stat attr;

	assert_int_equal(fs_setattr(pool->fs, ino, &changes, NULL, &attr), 0);
}

static void prepare(struct pool *pool)
{
	uint64_t a, b, file;

	pool_mount(pool);
	assert_int_equal(make_kept(pool, ROOT, "a", S_IFDIR | 0755, &a), 0);
	assert_int_equal(make_kept(pool, ROOT, "b", S_IFDIR | 0755, &b), 0);
	assert_int_equal(make_kept(pool, a, "file", S_IFREG, &file), 0);
	owner_set(pool, file, 7);
	assert_int_equal(make_kept(pool, b, "victim", S_IFREG, &file), 0);
	owner_set(pool, file, 8);
}

static bool run_crash(struct pool *pool, const struct scenario *scenario, unsigned n)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		struct message why;

		for (int i = 1; i < 32; i++)
			signal(i, SIG_DFL);
		if (pool_try_mount(pool, false, NULL, &why) != 0)
			_exit(1);
		points_left = n;
		_exit(scenario->run(pool->fs) == 0 ? 0 : 2);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == CRASHED);
	return WEXITSTATUS(status) == CRASHED;
}

static struct statvfs room(struct pool *pool)
{
	struct statvfs statfs;

	assert_int_equal(fs_statfs(pool->fs, &statfs), 0);
	return statfs;
}

/* True if it crashed before the end. */
static bool crash_at(const struct scenario *scenario, unsigned n)
{
	struct statvfs before, after;
	struct pool pool;
	bool crashed;
	int is_new;

	pool_make(&pool);
	prepare(&pool);
	before = room(&pool);
	pool_unmount(&pool);
	crashed = run_crash(&pool, scenario, n);
	pool_mount(&pool);
	is_new = scenario->state(&pool);
	/* A process that ends without unmounting is a crash too: what has no name is gone. */
	assert_true(crashed || is_new == 1 || scenario->inodes_more == 0);
	after = room(&pool);
	assert_int_equal(before.f_ffree - after.f_ffree,
			 is_new == 1 ? scenario->inodes_more - scenario->inodes_less : 0);
	if (is_new == 0)
		assert_int_equal(before.f_bfree, after.f_bfree);
	pool_unmount(&pool);
	pool_check(&pool);
	pool_remove(&pool);
	return crashed;
}

static void all_or_nothing(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(scenarios); i++) {
		unsigned n = 1;

		while (crash_at(&scenarios[i], n))
			n++;
		print_message("%s: %u points\n", scenarios[i].name, n - 1);
		assert_true(n > 2);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(all_or_nothing)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
