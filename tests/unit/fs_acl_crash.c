/*
 * POSIX ACLs, cut off between transactions and inside of them: the old state or the new one, mode and ACL in step, and
 * nothing is ever there with fewer restrictions than it is to have.
 */
#include "crash_points.h"
#include "fs_acl.h"

#include <signal.h>
#include <sys/wait.h>

/* A directory "dir" with a big default ACL and an access ACL, mode 0770, is there before each. */
struct crash {
	int (*run)(struct pool *pool, uint64_t dir);
	mode_t mode; /* of the directory afterwards; 0: as before */
	bool makes; /* "sub" is there afterwards */
};

static int run_set(struct pool *pool, uint64_t dir)
{
	struct fmt_acl acl;

	(void)build_biggest(&acl);
	acl.entry[0].perm = 5;
	return fs_setxattr(pool->fs, dir, FMT_ACL_ACCESS, &acl, sizeof(acl), 0);
}

static int run_plain(struct pool *pool, uint64_t dir)
{
	return set_access(pool, dir, "u7 g0 o0");
}

static int run_chmod(struct pool *pool, uint64_t dir)
{
	return change_mode(pool, dir, 0711);
}

static int run_mkdir(struct pool *pool, uint64_t dir)
{
	return make(pool, dir, "sub", S_IFDIR | 0750);
}

static const struct crash crashes[] = {
	{run_set, 0571, false},
	{run_plain, 0700, false},
	{run_chmod, 0711, false},
	{run_mkdir, 0770, true},
};

/* True if the child died at its n-th point, and did not come to the end. */
static bool crash_at(struct pool *pool, const struct crash *crash, uint64_t dir, unsigned n)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		static const int fatal[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGSYS};
		struct message why;

		/* cmocka would go on with the next test, in the child. */
		for (size_t i = 0; i < ARRAY_SIZE(fatal); i++)
			signal(fatal[i], SIG_DFL);
		if (pool_try_mount(pool, false, NULL, &why) != 0)
			_exit(1);
		points_left = n;
		_exit(crash->run(pool, dir) == 0 ? 0 : 2);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == CRASHED);
	return WEXITSTATUS(status) == CRASHED;
}

/* Before anything is mended: mode and ACL agree. */
static void expect_no_errors(struct pool *pool)
{
	struct check_options options = {
		.meta_path = pool->meta, .skip_probe = true, .in_process = true, .problem = pool_problem};
	struct check_report report;
	struct message why;

	assert_int_equal(check_pool(&options, &report, &why), 0);
	assert_int_equal(report.errors, 0);
}

/* What has been made is as restricted as it is to be, from the first moment on. */
static void expect_sub(struct pool *pool, uint64_t dir)
{
	struct fmt_acl acl, stored;
	uint64_t sub = find(pool, dir, "sub");

	(void)build_biggest(&acl);
	assert_int_equal(attr_of(pool, sub).st_mode & 07777, 0750);
	assert_int_equal(fs_getxattr(pool->fs, sub, FMT_ACL_DEFAULT, &stored, sizeof(stored)), sizeof(acl));
	assert_memory_equal(&stored, &acl, sizeof(acl));
	assert_int_equal(fs_getxattr(pool->fs, sub, FMT_ACL_ACCESS, &stored, sizeof(stored)), sizeof(acl));
	acl.entry[FMT_ACL_ENTRIES_MAX - 2].perm = 5;
	acl.entry[FMT_ACL_ENTRIES_MAX - 1].perm = 0;
	assert_memory_equal(&stored, &acl, sizeof(acl));
}

static bool crash_once(struct pool *pool, const struct crash *crash, unsigned n)
{
	struct fmt_acl acl;
	uint64_t dir;
	bool crashed;
	mode_t mode;
	int found;

	assert_int_equal(make_kept(pool, ROOT, "dir", S_IFDIR | 0770, &dir), 0);
	(void)build_biggest(&acl);
	assert_int_equal(fs_setxattr(pool->fs, dir, FMT_ACL_DEFAULT, &acl, sizeof(acl), 0), 0);
	assert_int_equal(set_access(pool, dir, "u7 U5:5 g7 m7 o0"), 0);
	pool_unmount(pool);
	crashed = crash_at(pool, crash, dir, n);
	expect_no_errors(pool);
	pool_mount(pool);
	mode = attr_of(pool, dir).st_mode & 07777;
	assert_true(mode == crash->mode || (crashed && mode == 0770));
	found = find_error(pool, dir, "sub");
	assert_true(found == (crash->makes ? 0 : -ENOENT) || (crashed && found == -ENOENT));
	if (found == 0) {
		expect_sub(pool, dir);
		assert_int_equal(fs_rmdir(pool->fs, dir, "sub"), 0);
	}
	assert_int_equal(fs_rmdir(pool->fs, ROOT, "dir"), 0);
	return crashed;
}

static void test_crash(void **state)
{
	struct pool *pool = *state;

	for (size_t i = 0; i < ARRAY_SIZE(crashes); i++) {
		unsigned n = 1;

		while (crash_once(pool, &crashes[i], n))
			n++;
		/* One transaction: a point before it begins, one before it commits. */
		assert_int_equal(n, 3);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_crash, pool_setup, pool_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
