/*
 * Ledger and limbo, cut off before each transaction, inside of each, and at any moment: what was acknowledged is there,
 * of what was being done all or nothing, and what is left over is swept.
 */
#include "crash_points.h"
#include "base/lock.h"
#include "check/check.h"
#include "ledger_book.h"
#include "meta/pool.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ---- A file whose blocks wander between it and limbo ---- */

static struct scratch pool;
static struct lock_mutex limbo_lock;

enum { BLOCKS = 300, SERIES = 64, FILE_PART = 3 };

static uint64_t phys_of(unsigned block)
{
	return fmt_phys(FILE_PART, 1 + (uint64_t)block * 7919 % 100003);
}

static void map_block(struct meta_tx *tx, const struct fmt_inode *file, unsigned block)
{
	struct meta_extent extent = {block, phys_of(block), 1, true};

	BOOK_MUST(meta_extent_insert(tx, file, &extent));
}

static uint64_t make_file(void)
{
	const struct fmt_inode *root;
	struct fmt_inode *inode;
	struct meta_tx *tx;
	uint64_t ino;

	BOOK_MUST(meta_inode_get(pool.meta, FMT_INO_ROOT, &root));
	BOOK_MUST(meta_begin(pool.meta, META_TX_INODE, &tx));
	BOOK_MUST(meta_inode_create(tx, &inode));
	inode->mode = S_IFREG | 0600;
	inode->nlink = 1;
	ino = inode->ino;
	for (unsigned i = 0; i < BLOCKS; i++)
		map_block(tx, inode, i);
	BOOK_MUST(meta_entry_insert(tx, root, "file", 4, inode));
	BOOK_MUST(meta_commit(tx));
	return ino;
}

static int move_to_limbo(uint64_t ino)
{
	const struct fmt_inode *file = meta_slot(pool.meta, ino);
	struct meta_extent removed;
	struct meta_tx *tx;
	int error;

	lock_mutex_take(&limbo_lock);
	error = meta_begin(pool.meta, META_TX_RESERVE, &tx);
	for (unsigned i = 0; error == 0 && i < SERIES; i++) {
		error = meta_extent_remove_last(tx, file, 0, UINT64_MAX, &removed);
		if (error == 0)
			error = meta_limbo_add(tx, removed.phys, removed.length);
	}
	BOOK_MUST(error == -ENOENT ? 0 : error);
	BOOK_MUST(meta_commit(tx));
	lock_mutex_drop(&limbo_lock);
	return 0;
}

/* Back from limbo to the holes of the file that they came from; neighbours in limbo may come together. */
static int move_from_limbo(uint64_t ino)
{
	const struct fmt_inode *file = meta_slot(pool.meta, ino);
	struct meta_tx *tx;
	int error;

	lock_mutex_take(&limbo_lock);
	error = meta_begin(pool.meta, META_TX_RESERVE, &tx);
	for (unsigned i = 0, done = 0; error == 0 && i < BLOCKS && done < SERIES; i++) {
		uint64_t phys;
		uint32_t length;

		if (meta_limbo_remove(tx, phys_of(i), 1, &phys, &length) != 0)
			continue;
		map_block(tx, file, i);
		done++;
	}
	BOOK_MUST(error);
	BOOK_MUST(meta_commit(tx));
	lock_mutex_drop(&limbo_lock);
	return 0;
}

/* ---- What is on media ---- */

static void tell_problem(void *arg, const struct check_problem *problem)
{
	(void)arg;
	if (problem->severity == CHECK_ERROR)
		print_error("%s: inode %lu: %s\n", problem->invariant, (unsigned long)problem->ino, problem->text);
}

/* Sound by fsck, which also says what a crash has left; opened again, swept, nothing is left. */
static void check_and_open(void)
{
	struct check_options options = {
		.meta_path = pool.meta_path,
		.skip_data = true,
		.skip_probe = true,
		.in_process = true,
		.problem = tell_problem,
	};
	struct check_report report;
	struct message message = {{0}};
	uint64_t left;

	BOOK_MUST(check_pool(&options, &report, &message));
	assert_int_equal(report.errors, 0);
	scratch_open(&pool);
	BOOK_MUST(meta_ledger_check(pool.meta, NULL, &left));
	assert_int_equal(left, report.ledger_void);
	BOOK_MUST(meta_ledger_sweep(pool.meta));
	BOOK_MUST(meta_ledger_check(pool.meta, NULL, &left));
	assert_int_equal(left, 0);
}

static void check_blocks(uint64_t ino)
{
	const struct fmt_inode *file;

	BOOK_MUST(meta_inode_get(pool.meta, ino, &file));
	assert_int_equal(file->blocks + meta_limbo_blocks(pool.meta), BLOCKS);
}

static int setup(void **state)
{
	struct meta_part part = {.uuid = "crashing part", .blocks = 1u << 21, .path = "/nonexistent"};

	(void)state;
	assert_int_equal(lock_mutex_init(&limbo_lock, LOCK_LIMBO), 0);
	scratch_create(&pool, META_SIZE_MIN);
	/* The blocks of the book's pins are free, and in the other parts. */
	for (part.number = 0; part.number <= FILE_PART; part.number++)
		BOOK_MUST(meta_part_add(pool.meta, &part));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	scratch_destroy(&pool);
	lock_mutex_fini(&limbo_lock);
	return 0;
}

/* ---- Each point of each operation ---- */

struct scene {
	uint64_t file;
	struct book book;
};

/* Numbers of the pins: 56 has pieces, 16 a chain of pages. */
static const uint64_t pins[] = {1, 16, 56};
enum { PINS = 3 };

static int run_enter(struct scene *scene, struct meta *meta)
{
	book_enter(&scene->book, meta, 0);
	return 0;
}

static int run_leave(struct scene *scene, struct meta *meta)
{
	book_leave(&scene->book, meta, 0);
	return 0;
}

static int run_pin(struct scene *scene, struct meta *meta, unsigned number)
{
	scene->book.pin[number].id = pins[number];
	scene->book.pin[number].session = 0;
	return meta != NULL ? book_add_pin(meta, pins[number], book_session_id(&scene->book, 0)) : 0;
}

static int run_pin_0(struct scene *scene, struct meta *meta)
{
	return run_pin(scene, meta, 0);
}

static int run_pin_1(struct scene *scene, struct meta *meta)
{
	return run_pin(scene, meta, 1);
}

static int run_pin_2(struct scene *scene, struct meta *meta)
{
	return run_pin(scene, meta, 2);
}

static int run_unpin_0(struct scene *scene, struct meta *meta)
{
	book_drop(&scene->book, meta, 0);
	return 0;
}

static int run_unpin_1(struct scene *scene, struct meta *meta)
{
	book_drop(&scene->book, meta, 1);
	return 0;
}

static int run_unpin_2(struct scene *scene, struct meta *meta)
{
	book_drop(&scene->book, meta, 2);
	return 0;
}

static int run_detach(struct scene *scene, struct meta *meta)
{
	return meta != NULL ? move_to_limbo(scene->file) : 0;
}

static int run_return(struct scene *scene, struct meta *meta)
{
	return meta != NULL ? move_from_limbo(scene->file) : 0;
}

/* In this order; each with the state that those before it have left. */
static int (*const runs[])(struct scene *scene, struct meta *meta) = {
	run_enter,  run_pin_0,	run_detach, run_pin_1,	 run_pin_2,   run_detach,  run_return,
	run_detach, run_return, run_detach, run_unpin_2, run_unpin_0, run_unpin_1, run_leave,
};

/* Runs it in a child that ends at its n-th point. Returns true if it came to its end before that. */
static bool run_and_die(struct scene *scene, unsigned run, unsigned n)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		scratch_open(&pool);
		points_left = n;
		_exit(runs[run](scene, pool.meta) != 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == CRASHED));
	return WEXITSTATUS(status) == 0;
}

/* A pin without its head is gone, and its pieces were swept: it is added again, for the points that follow. */
static void restore_pin(const struct scene *before, const struct scene *after)
{
	for (unsigned i = 0; i < PINS; i++) {
		if (before->book.pin[i].id != 0 && after->book.pin[i].id == 0)
			BOOK_MUST(book_add_pin(pool.meta, pins[i], book_session_id(&before->book, 0)));
	}
	book_verify(&before->book, pool.meta);
}

static void test_points(void **state)
{
	static struct scene scene;
	struct scene after;
	unsigned crashes = 0;

	(void)state;
	book_init(&scene.book, 1, 0);
	scene.file = make_file();
	for (unsigned run = 0; run < sizeof(runs) / sizeof(runs[0]); run++) {
		bool done = false;

		after = scene;
		runs[run](&after, NULL);
		for (unsigned n = 1; !done; n++) {
			meta_close(pool.meta);
			pool.meta = NULL;
			done = run_and_die(&scene, run, n);
			check_and_open();
			check_blocks(scene.file);
			crashes += !done;
			if (done || book_differs(&scene.book, pool.meta) != NULL) {
				book_verify(&after.book, pool.meta);
				if (!done)
					restore_pin(&scene, &after);
			}
		}
		scene = after;
	}
	assert_true(crashes > 30);
	assert_int_equal(pool.meta->ledger_extents, 0);
}

/* ---- Any moment ---- */

/* Shared by both processes. */
struct progress {
	_Atomic bool started;
	_Atomic uint64_t steps;
};

static void work(struct book *book, uint64_t file, struct progress *progress, pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	scratch_open(&pool);
	atomic_store(&progress->started, true);
	for (;;) {
		book_step(book, pool.meta);
		atomic_store(&progress->steps, book->steps);
		if (book->steps % 2 == 0)
			move_to_limbo(file);
		else
			move_from_limbo(file);
	}
}

static void work_and_die(struct book *book, uint64_t file, struct progress *progress, unsigned delay)
{
	pid_t parent = getpid();
	pid_t pid;
	int status;

	atomic_store(&progress->started, false);
	atomic_store(&progress->steps, book->steps);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		work(book, file, progress, parent);
	while (!atomic_load(&progress->started) && waitpid(pid, &status, WNOHANG) == 0)
		usleep(100);
	usleep(delay);
	kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		fail_msg("the worker has ended by itself");
}

static void test_kill(void **state)
{
	enum { ROUNDS = 150 };
	static struct book book;
	struct progress *progress;
	uint32_t random = 77;
	uint64_t file;

	(void)state;
	progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(progress != MAP_FAILED);
	book_init(&book, 31337, 0);
	file = make_file();
	for (unsigned round = 0; round < ROUNDS; round++) {
		meta_close(pool.meta);
		pool.meta = NULL;
		work_and_die(&book, file, progress, book_random(&random, 4000));
		check_and_open();
		while (book.steps < atomic_load(&progress->steps))
			book_step(&book, NULL);
		if (book_differs(&book, pool.meta) != NULL)
			book_step(&book, NULL);
		book_verify(&book, pool.meta);
		check_blocks(file);
	}
	assert_true(book.steps > ROUNDS);
	munmap(progress, sizeof(*progress));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_points, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kill, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
