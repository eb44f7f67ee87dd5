/*
 * Pins that outlive their daemon: a child mounts the pool, pins, and ends without a word, between or inside of its
 * transactions. The next mount must count what a living process holds, keep limbo exactly, and free all of what the
 * dead have left.
 */
#include "crash_points.h"
#include "fs_pins.h"

#include <sys/mman.h>

/* What the child tells of itself: in memory that both see. */
struct shared {
	uint64_t ino;
	uint32_t generation;
	uint64_t id;
	uint64_t phys; /* of the first pinned block */
	uint8_t cookie[FS_COOKIE_BYTES];
	bool pinned; /* the grant was answered */
	bool unpinned;
	bool unlinked;
};

#define BLOCKS 20u
#define PINNED_FIRST 4u
#define PINNED 8u

struct scene {
	struct pool *pool;
	struct shared *shared;
	pid_t process; /* who pins; lives as long as the test says */
};

static void scene_init(struct scene *scene, struct pool *pool)
{
	*scene = (struct scene){.pool = pool};
	scene->shared = mmap(NULL, sizeof(*scene->shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(scene->shared, MAP_FAILED);
	/* Before the pool is open: its locks would be the child's, too. */
	if (pool->fs != NULL)
		pool_unmount(pool);
	scene->process = fork();
	if (scene->process == 0)
		wait_for_end();
	assert_true(scene->process > 0);
	pool_mount(pool);
	scene->shared->ino = file_make(pool, "file");
	scene->shared->generation = generation_of(pool->fs, scene->shared->ino);
	file_fill(pool, scene->shared->ino, 0, (uint64_t)BLOCKS * BLOCK, 0x11);
	fs_forget(pool->fs, scene->shared->ino, 1);
	pool_unmount(pool);
}

static void scene_kill(struct scene *scene)
{
	if (scene->process > 0) {
		assert_int_equal(kill(scene->process, SIGKILL), 0);
		assert_int_equal(waitpid(scene->process, NULL, 0), scene->process);
	}
	scene->process = 0;
}

static void scene_fini(struct scene *scene)
{
	scene_kill(scene);
	munmap(scene->shared, sizeof(*scene->shared));
}

/* Runs `what` in a daemon that dies at its n-th point (0: at the end, without a goodbye); true if it came that far. */
static bool run_daemon(struct scene *scene, void (*what)(struct scene *scene), unsigned n)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		static const int fatal[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGSYS};
		struct message why;

		/* cmocka would go on with the next test, in the child. */
		for (size_t i = 0; i < ARRAY_SIZE(fatal); i++)
			signal(fatal[i], SIG_DFL);
		if (pool_try_mount(scene->pool, false, NULL, &why) != 0)
			_exit(1);
		points_left = n;
		what(scene);
		_exit(0);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == CRASHED);
	return WEXITSTATUS(status) == CRASHED;
}

/* ---- What daemons do ---- */

static struct client daemon_client;

/* In a child cmocka's asserts end nothing: an exit that is not expected does. */
static void must(bool true_that)
{
	if (!true_that)
		_exit(2);
}

static void do_pin_range(struct scene *scene, uint64_t offset, uint64_t length)
{
	struct fs *fs = scene->pool->fs;
	struct shared *shared = scene->shared;
	int pidfd;

	client_init(&daemon_client, fs, 1000);
	must(process_identify(scene->process, &daemon_client.process, &pidfd) == 0);
	must(fs_holder_open(fs, &daemon_client.process, pidfd, 1000, 100, &client_ops, &daemon_client,
			    &daemon_client.holder) == 0);
	memcpy(shared->cookie, fs_holder_cookie(daemon_client.holder), sizeof(shared->cookie));
	must(pin_range(&daemon_client, shared->ino, offset, length, PIN_FLAG_WRITE, &shared->id) == 0);
	shared->pinned = true;
}

static void do_pin(struct scene *scene)
{
	do_pin_range(scene, PINNED_FIRST * BLOCK, PINNED * BLOCK);
}

static void do_pin_unpin(struct scene *scene)
{
	do_pin(scene);
	scene->shared->unpinned = true;
	fs_holder_close(scene->pool->fs, daemon_client.holder);
	fs_reap(scene->pool->fs);
}

static void do_pin_unlink(struct scene *scene)
{
	struct fs *fs = scene->pool->fs;
	struct fs_entry entry;

	do_pin(scene);
	must(fs_lookup(fs, ROOT, "file", &entry) == 0);
	scene->shared->unlinked = true;
	must(fs_unlink(fs, ROOT, "file") == 0);
	fs_forget(fs, entry.ino, 1);
}

/* The break is not held up; the holder keeps its blocks, until it lets go of them. */
static void do_all(struct scene *scene)
{
	do_pin_unlink(scene);
	scene->shared->unpinned = true;
	fs_holder_close(scene->pool->fs, daemon_client.holder);
	fs_reap(scene->pool->fs);
}

/* ---- What the next one must find ---- */

static bool is_linked(struct pool *pool)
{
	return find_error(pool, ROOT, "file") == 0;
}

/* With the holder living. */
static void check_living(struct scene *scene, bool crashed, uint64_t free_empty)
{
	struct pool *pool = scene->pool;
	const struct shared *shared = scene->shared;
	struct pin_stats stats = pins_of(pool->fs);
	struct ledger found = ledger_of(pool->fs);
	uint64_t held = is_linked(pool) ? BLOCKS : 0;

	/* A promise that was given holds; one that was not may be there as well. */
	if (shared->pinned && !shared->unpinned)
		assert_int_equal(stats.pins, 1);
	if (shared->unpinned && !crashed)
		assert_int_equal(stats.pins, 0);
	assert_int_equal(stats.pins, found.pins);
	assert_int_equal(stats.holders, found.sessions);
	assert_int_equal(stats.pinned_blocks, stats.pins * PINNED);
	if (held == 0) {
		assert_true(shared->unlinked);
		held = stats.pins * PINNED;
		assert_int_equal(fs_limbo_blocks(pool->fs), held);
	} else {
		assert_int_equal(fs_limbo_blocks(pool->fs), 0);
		assert_true(file_has(pool, shared->ino, 0, (uint64_t)BLOCKS * BLOCK, 0x11));
	}
	assert_int_equal(blocks_free(pool), free_empty - held);
	assert_int_equal(stats.canaries, 0);
}

/* Nobody lives: nothing is left of pins. */
static void check_dead(struct scene *scene, uint64_t free_empty)
{
	struct pool *pool = scene->pool;
	struct ledger found = ledger_of(pool->fs);

	assert_int_equal(pins_of(pool->fs).pins, 0);
	assert_int_equal(found.sessions, 0);
	assert_int_equal(found.pins, 0);
	assert_int_equal(fs_limbo_blocks(pool->fs), 0);
	assert_int_equal(blocks_free(pool), free_empty - (is_linked(pool) ? BLOCKS : 0));
}

/* As pool_check(); but while there are pins the slot of an unlinked inode stays, and ends of files are not final. */
static void check_sound(struct pool *pool, bool pinned)
{
	struct check_options options = {
		.meta_path = pool->meta, .skip_probe = true, .in_process = true, .problem = pool_problem};
	struct check_report report;
	struct message why;

	assert_int_equal(check_pool(&options, &report, &why), 0);
	assert_int_equal(report.errors, 0);
	assert_int_equal(report.clean, !pinned);
}

static void crash_each(struct pool *pool, void (*what)(struct scene *scene))
{
	uint64_t free_empty = blocks_free(pool);
	bool crashed = true;

	for (unsigned n = 1; crashed; n++) {
		struct scene scene;
		bool pinned;

		assert_true(n < 1000);
		scene_init(&scene, pool);
		crashed = run_daemon(&scene, what, n);
		pool_mount(pool);
		check_living(&scene, crashed, free_empty);
		/* Once more: what a mount has done is as good as what a daemon has. */
		pool_remount(pool);
		check_living(&scene, crashed, free_empty);
		pinned = pins_of(pool->fs).pins > 0;
		pool_unmount(pool);
		check_sound(pool, pinned);
		scene_kill(&scene);
		pool_mount(pool);
		check_dead(&scene, free_empty);
		if (is_linked(pool))
			assert_int_equal(fs_unlink(pool->fs, ROOT, "file"), 0);
		assert_int_equal(blocks_free(pool), free_empty);
		scene_fini(&scene);
	}
}

static void test_crash_pin(void **state)
{
	crash_each(*state, do_pin);
}

static void test_crash_unpin(void **state)
{
	crash_each(*state, do_pin_unpin);
}

static void test_crash_unlink(void **state)
{
	crash_each(*state, do_pin_unlink);
}

static void test_crash_all(void **state)
{
	crash_each(*state, do_all);
}

/* A mount that dies while it restores: again and again, until one comes through. */
static void test_crash_restore(void **state)
{
	struct pool *pool = *state;
	uint64_t free_empty = blocks_free(pool);
	bool crashed = true;

	for (unsigned n = 1; crashed; n++) {
		struct scene scene;
		pid_t child;
		int status;

		assert_true(n < 1000);
		scene_init(&scene, pool);
		assert_false(run_daemon(&scene, do_pin_unlink, 0));
		/* Dead: there is most to be done. */
		scene_kill(&scene);
		child = fork();
		if (child == 0) {
			struct message why;

			points_left = n;
			_exit(pool_try_mount(pool, false, NULL, &why) == 0 ? 0 : 1);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == CRASHED));
		crashed = WEXITSTATUS(status) == CRASHED;
		scene_kill(&scene);
		pool_mount(pool);
		check_dead(&scene, free_empty);
		assert_int_equal(blocks_free(pool), free_empty);
		scene_fini(&scene);
	}
}

/* A daemon that ends in order, and leaves a pin behind whose holder has stored behind the end of the file. */
static void do_tail(struct scene *scene)
{
	struct fs *fs = scene->pool->fs;

	must(file_resize(fs, scene->shared->ino, (PINNED_FIRST + PINNED - 1) * BLOCK + 100) == 0);
	do_pin_range(scene, PINNED_FIRST * BLOCK, (PINNED - 1) * BLOCK + 100);
	memset(pinned_byte(&daemon_client, scene->shared->id, (PINNED_FIRST + PINNED - 1) * BLOCK), 0x77, BLOCK);
	fs_close(fs);
}

/* Nobody mends the end of a file whose holder dies while nothing is mounted, but the next mount. */
static void test_tail(void **state)
{
	struct pool *pool = *state;
	struct scene scene;

	scene_init(&scene, pool);
	assert_false(run_daemon(&scene, do_tail, 0));
	scene_kill(&scene);
	pool_mount(pool);
	pool_unmount(pool);
	pool_check(pool);
	scene_fini(&scene);
}

/* ---- Coming back ---- */

static int reclaim(struct scene *scene, struct client *client, uid_t uid)
{
	int pidfd;

	client_init(client, scene->pool->fs, uid);
	assert_int_equal(process_identify(scene->process, &client->process, &pidfd), 0);
	return fs_holder_reclaim(scene->pool->fs, scene->shared->cookie, &client->process, pidfd, uid, &client_ops,
				 client, &client->holder);
}

static void test_reclaim(void **state)
{
	struct pool *pool = *state;
	struct client client, other;
	struct scene scene;
	uint64_t id;

	scene_init(&scene, pool);
	assert_false(run_daemon(&scene, do_pin, 0));
	pool_mount(pool);
	assert_int_equal(fs_pins_start(pool->fs), 0);
	assert_int_equal(reclaim(&scene, &other, 1001), -EPERM);
	assert_int_equal(reclaim(&scene, &client, 1000), 0);
	assert_true(is_filled(pinned_byte(&client, scene.shared->id, PINNED_FIRST * BLOCK), PINNED * BLOCK, 0x11));
	memset(pinned_byte(&client, scene.shared->id, PINNED_FIRST * BLOCK), 0x22, PINNED * BLOCK);
	assert_int_equal(commit_range(&client, scene.shared->id, PINNED_FIRST * BLOCK, 0), 0);
	assert_true(file_has(pool, scene.shared->ino, PINNED_FIRST * BLOCK, PINNED * BLOCK, 0x22));
	/* New numbers are others. */
	assert_int_equal(pin_range(&client, scene.shared->ino, 0, BLOCK, 0, &id), 0);
	assert_int_not_equal(id, scene.shared->id);
	scene_kill(&scene);
	event_await(&client.dead, 1);
	client_close(&client);
	settle(pool->fs);
	assert_int_equal(pins_of(pool->fs).pins, 0);
	assert_int_equal(ledger_of(pool->fs).sessions, 0);
	fs_pins_stop(pool->fs);
	assert_int_equal(fs_unlink(pool->fs, ROOT, "file"), 0);
	scene_fini(&scene);
}

/* A holder that does not come back keeps its blocks until it dies. */
static void test_stays_away(void **state)
{
	struct fs_pin_policy policy = {.break_timeout = PIN_FOREVER, .break_detach = true, .grace = 0};
	struct pool *pool = *state;
	uint64_t free_empty = blocks_free(pool);
	struct break_op cut;
	struct scene scene;

	scene_init(&scene, pool);
	assert_false(run_daemon(&scene, do_pin, 0));
	pool_mount(pool);
	fs_set_pin_policy(pool->fs, &policy);
	assert_int_equal(break_begin(&cut, pool->fs, scene.shared->ino, 0, BLOCKS), -EINPROGRESS);
	assert_int_equal(fs_pins_start(pool->fs), 0);
	event_await(&cut.woken, 1);
	assert_int_equal(break_look(&cut), 0);
	break_end(&cut);
	assert_int_equal(fs_unlink(pool->fs, ROOT, "file"), 0);
	assert_int_equal(fs_limbo_blocks(pool->fs), PINNED);
	assert_int_equal(blocks_free(pool), free_empty - PINNED);
	fs_pins_stop(pool->fs);
	pool_remount(pool);
	assert_int_equal(fs_limbo_blocks(pool->fs), PINNED);
	assert_int_equal(blocks_free(pool), free_empty - PINNED);
	scene_fini(&scene);
	pool_remount(pool);
	assert_int_equal(fs_limbo_blocks(pool->fs), 0);
	assert_int_equal(blocks_free(pool), free_empty);
}

/* Has the ledger say that the scene's process holds these blocks, of a file that is gone. The pool is mounted. */
static void name_blocks(const struct scene *scene, uint64_t phys, uint32_t length)
{
	struct meta *meta = scene->pool->fs->meta;
	struct meta_session session = {.id = 77, .uid = 1000};
	struct process_identity process;
	struct meta_extent extent = {.file_block = 3, .phys = phys, .length = length};
	struct meta_pin pin = {.id = 78,
			       .session = 77,
			       .ino = 4711,
			       .generation = 1,
			       .offset = 3 * BLOCK,
			       .length = (uint64_t)length * BLOCK,
			       .count = 1,
			       .extents = &extent};
	int pidfd;

	assert_int_equal(process_identify(scene->process, &process, &pidfd), 0);
	close(pidfd);
	session.pid = (uint32_t)process.pid;
	session.pid_namespace = process.pid_namespace;
	session.start_time = process.start_time;
	memcpy(session.boot_id, process.boot_id, sizeof(session.boot_id));
	assert_int_equal(meta_ledger_add_session(meta, &session), 0);
	assert_int_equal(meta_ledger_add_pin(meta, &pin), 0);
}

/* Pinned blocks that nobody owned when the daemon died are kept from everybody. */
static void test_nobodys(void **state)
{
	struct pool *pool = *state;
	uint64_t free_empty = blocks_free(pool);
	struct scene scene;

	scene_init(&scene, pool);
	pool_mount(pool);
	name_blocks(&scene, fmt_phys(0, 500), 4);
	assert_int_equal(fs_unlink(pool->fs, ROOT, "file"), 0);
	pool_remount(pool);
	assert_int_equal(fs_limbo_blocks(pool->fs), 4);
	assert_int_equal(blocks_free(pool), free_empty - 4);
	assert_int_equal(pins_of(pool->fs).pins, 1);
	scene_fini(&scene);
	pool_remount(pool);
	assert_int_equal(blocks_free(pool), free_empty);
	assert_int_equal(pins_of(pool->fs).pins, 0);
}

/* Damaged media: some of them are another file's. It keeps them, and the others are kept from everybody. */
static void test_another_files(void **state)
{
	struct pool *pool = *state;
	const struct fmt_inode *media;
	struct meta_extent last;
	uint64_t free_before, ino;
	struct scene scene;

	scene_init(&scene, pool);
	pool_mount(pool);
	ino = scene.shared->ino;
	free_before = blocks_free(pool);
	assert_int_equal(meta_inode_get(pool->fs->meta, ino, &media), 0);
	assert_int_equal(meta_extent_find(pool->fs->meta, media, BLOCKS - 1, &last), 0);
	name_blocks(&scene, last.phys + last.length - 2, 7);
	pool_remount(pool);
	assert_int_equal(pins_of(pool->fs).pins, 1);
	assert_int_equal(fs_limbo_blocks(pool->fs), 5);
	assert_int_equal(blocks_free(pool), free_before - 5);
	scene_fini(&scene);
	pool_remount(pool);
	assert_int_equal(blocks_free(pool), free_before);
	assert_true(file_has(pool, ino, 0, (uint64_t)BLOCKS * BLOCK, 0x11));
	assert_int_equal(fs_unlink(pool->fs, ROOT, "file"), 0);
}

/* A read-only mount changes nothing of it. */
static void test_read_only(void **state)
{
	struct pool *pool = *state;
	uint64_t free_empty = blocks_free(pool);
	struct scene scene;
	struct message why;

	scene_init(&scene, pool);
	assert_false(run_daemon(&scene, do_pin_unlink, 0));
	assert_int_equal(pool_try_mount(pool, true, NULL, &why), 0);
	assert_int_equal(ledger_of(pool->fs).pins, 1);
	pool_unmount(pool);
	pool_mount(pool);
	assert_int_equal(fs_limbo_blocks(pool->fs), PINNED);
	scene_fini(&scene);
	pool_remount(pool);
	assert_int_equal(blocks_free(pool), free_empty);
}

static int see_process(void *arg, const struct process_identity *process)
{
	*(pid_t *)arg = process->pid;
	return 0;
}

static void test_living_holders(void **state)
{
	struct pool *pool = *state;
	struct scene scene;
	struct message why;
	pid_t seen = 0;

	scene_init(&scene, pool);
	assert_int_equal(fs_living_holders(pool->meta, see_process, &seen, &why), 0);
	assert_int_equal(seen, 0);
	assert_false(run_daemon(&scene, do_pin, 0));
	assert_int_equal(fs_living_holders(pool->meta, see_process, &seen, &why), 0);
	assert_int_equal(seen, scene.process);
	seen = 0;
	scene_fini(&scene);
	assert_int_equal(fs_living_holders(pool->meta, see_process, &seen, &why), 0);
	assert_int_equal(seen, 0);
	pool_mount(pool);
	assert_int_equal(fs_living_holders(pool->meta, see_process, &seen, &why), -EBUSY);
	assert_int_equal(fs_unlink(pool->fs, ROOT, "file"), 0);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, pool_setup, pool_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_crash_pin),	  TEST(test_crash_unpin), TEST(test_crash_unlink),   TEST(test_crash_all),
		TEST(test_crash_restore), TEST(test_reclaim),	  TEST(test_stays_away),     TEST(test_nobodys),
		TEST(test_another_files), TEST(test_read_only),	  TEST(test_living_holders), TEST(test_tail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
