#include "trial.h"

#include "same.h"

#include "check/check.h"
#include "fs/pinning.h"

#include <errno.h>
#include <libpmemobj.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct tree got;

static __attribute__((format(printf, 2, 3))) int fail(const struct trial *trial, const char *format, ...)
{
	char *why = trial->result->why;
	va_list arguments;
	int length;

	if (why[0] != '\0')
		return 1;
	length = snprintf(why, TRIAL_WHY_BYTES, "%s -> %s\n    |   ", trial->full != FULL_NOT ? "full" : fault_met(),
			  strerror(-trial->result->error));
	va_start(arguments, format);
	(void)vsnprintf(why + length, TRIAL_WHY_BYTES - (size_t)length, format, arguments);
	va_end(arguments);
	return 1;
}

/* ---- What is left when all is removed ---- */

static int remove_path(void *arg, const char *path, mode_t mode, uint64_t ino)
{
	char words[160];

	(void)ino;
	(void)snprintf(words, sizeof(words), "%s %s", S_ISDIR(mode) ? "rmdir" : "unlink", path);
	return script_run(arg, words);
}

/* Threads are not started: what they would do is done here. */
static void settle(struct fs *fs)
{
	pin_reap_kept(fs->pins);
	(void)fs_reaper_flush(fs);
	fs_pool_drain(fs);
	(void)fs_reaper_flush(fs);
}

static void let_go(struct script_world *world)
{
	if (world->holder != NULL)
		(void)script_run(world, "goodbye");
	for (unsigned i = 0; i < SCRIPT_HELD; i++) {
		if (world->held[i] != 0)
			(void)script_run(world, i == 0 ? "drop 0" : "drop 1");
	}
	settle(world->fs);
}

static int remove_all(struct script_world *world, const struct tree *tree)
{
	int error;

	let_go(world);
	error = tree_visit(tree, remove_path, world);
	settle(world->fs);
	return error;
}

/* A hole, which may want a page for one more extent; into the middle of a block; to nothing. */
static int shrink_path(void *arg, const char *path, mode_t mode, uint64_t ino)
{
	char words[160];
	int error;

	(void)ino;
	if (!S_ISREG(mode))
		return 0;
	(void)snprintf(words, sizeof(words), "fallocate %s punch 1000 2000", path);
	error = script_run(arg, words);
	if (error != 0 && error != -ENOSPC)
		return error;
	(void)snprintf(words, sizeof(words), "truncate %s 5000", path);
	error = script_run(arg, words);
	(void)snprintf(words, sizeof(words), "truncate %s 0", path);
	return error != 0 ? error : script_run(arg, words);
}

/* ---- Without a fault ---- */

static struct trial_space space_of(struct fs *fs)
{
	struct meta_space space;

	meta_space(fs->meta, &space);
	return (struct trial_space){
		.blocks = script_blocks_free(fs) + 1000000 * meta_limbo_blocks(fs->meta),
		.inodes = space.inodes_used,
		.pages = space.pages_free,
		.frames = space.pages_free + (space.inodes_used + space.inode_slots_free) / FMT_FRAME_SLOTS,
	};
}

/* Some frames stay with inodes when these are gone: how many depends on who has been there. */
static bool is_same_space(const struct trial *trial, const struct trial_space *space)
{
	const struct trial_space *want = &trial->model->space;

	return space->blocks == want->blocks && space->inodes == want->inodes &&
	       (trial->full == FULL_PAGES ? space->frames == want->frames : space->pages == want->pages);
}

static int mount_if_not(struct script_world *world)
{
	struct message message;

	return world->fs != NULL ? 0 : script_mount(world, &message);
}

struct model_run {
	struct script_world *world;
	struct trial_model *model;
};

/* In a thread, as for a trial. */
static void *model_end(void *arg)
{
	const struct model_run *run = arg;
	struct script_world *world = run->world;
	struct trial_model *model = run->model;

	if (mount_if_not(world) != 0)
		return NULL;
	if (!model->was_mounted)
		(void)tree_read(world->fs, &model->before);
	(void)tree_read(world->fs, &model->after);
	(void)remove_all(world, &model->after);
	model->space = space_of(world->fs);
	fs_close(world->fs);
	return NULL;
}

void trial_model_run(struct script_world *world, struct trial_model *model)
{
	struct model_run run = {.world = world, .model = model};
	pthread_t thread;

	model->allocations = fault_allocations();
	model->was_mounted = world->fs != NULL;
	if (world->fs != NULL)
		(void)tree_read(world->fs, &model->before);
	same_restart(0);
	model->error = script_run(world, model->words);
	if (pthread_create(&thread, NULL, model_end, &run) == 0)
		(void)pthread_join(thread, NULL);
	model->allocations = fault_allocations() - model->allocations;
}

/* ---- With one ---- */

static bool is_about_space(const struct trial *trial)
{
	return trial->full != FULL_NOT || (trial->plan.kinds & (FAULT_BLOCKS | FAULT_PAGES)) != 0;
}

/* Where space ends a write may be a short one; nothing stays of a preallocation. */
static unsigned tolerance_of(const struct trial *trial)
{
	const char *words = trial->model->words;
	unsigned tolerance = script_tolerance(words);

	if (is_about_space(trial) && (tolerance & TREE_MIXED) != 0)
		tolerance |= TREE_SHORT;
	if (is_about_space(trial))
		tolerance |= TREE_INO;
	if (is_about_space(trial) && strncmp(words, "fallocate", 9) == 0)
		tolerance &= ~TREE_BLOCKS;
	return tolerance;
}

/* It is as the operation's answer says: done, or as if it had never been begun, but for bytes that it has overwritten.
 */
static int compare(const struct trial *trial)
{
	const struct trial_model *model = trial->model;
	const struct tree *old = &model->before, *new = &model->before;
	int error = tree_read(trial->world->fs, &got);
	unsigned tolerance = tolerance_of(trial);
	const char *what;

	if (error != 0)
		return fail(trial, "the tree cannot be read: %s", strerror(-error));
	if (trial->result->late) {
		tolerance |= TREE_ROOT;
		new = &model->after;
	} else if (trial->result->error == model->error) {
		tolerance &= TREE_INO;
		old = new = &model->after;
	} else if (tolerance & TREE_MIXED) {
		new = &model->after;
	}
	what = tree_compare(&got, old, new, tolerance);
	return what == NULL ? 0 : fail(trial, "%s", what);
}

/* What a short one has appended stays: appending again comes behind it. */
static bool can_repeat(const struct trial *trial)
{
	return !is_about_space(trial) || strncmp(trial->model->words, "append", 6) != 0;
}

/* Not after writing was stopped: then it was carried out by the next mount. */
static int repeat(const struct trial *trial)
{
	const struct trial_model *model = trial->model;
	const char *what;
	int error;

	/* A session that is made twice has another number and cookie. */
	same_restart(strncmp(model->words, "session", 7) == 0);
	error = script_run(trial->world, model->words);
	if (error != model->error)
		return fail(trial, "once more: %s, not %s", strerror(-error), strerror(-model->error));
	if (mount_if_not(trial->world) != 0)
		return fail(trial, "it does not mount any more");
	error = tree_read(trial->world->fs, &got);
	if (error != 0)
		return fail(trial, "once more: the tree cannot be read: %s", strerror(-error));
	what = tree_compare(&got, &model->after, &model->after, TREE_BLOCKS | TREE_GENERATION);
	if (what != NULL)
		return fail(trial, "once more: %s", what);
	return 0;
}

static int compare_space(const struct trial *trial)
{
	const struct trial_space *want = &trial->model->space, space = space_of(trial->world->fs);

	if (is_same_space(trial, &space))
		return 0;
	return fail(trial, "all removed: %lld blocks, %lld inodes, %lld pages are free or used that were not",
		    (long long)(space.blocks - want->blocks), (long long)(space.inodes - want->inodes),
		    (long long)(space.pages - want->pages));
}

/* The holder lives: what it had is its own until it says goodbye. */
static void come_back(struct script_world *world)
{
	struct process_identity process;
	int pidfd;

	if (world->session && process_identify(world->process, &process, &pidfd) == 0 &&
	    fs_holder_reclaim(world->fs, world->cookie, &process, pidfd, 1000, &script_holder_ops, world,
			      &world->holder) == 0)
		(void)script_run(world, "goodbye");
	settle(world->fs);
}

/* Only the next mount goes on with what has stopped. */
static int mount_again(const struct trial *trial)
{
	struct script_world *world = trial->world;
	int error;

	trial->result->late = true;
	if (world->holder != NULL)
		fs_holder_close(world->fs, world->holder);
	world->holder = NULL;
	memset(world->held, 0, sizeof(world->held));
	fs_close(world->fs);
	world->fs = NULL;
	error = mount_if_not(world);
	if (error != 0)
		return fail(trial, "it does not mount again: %s", strerror(-error));
	come_back(world);
	return 0;
}

/* Transactions that libpmemobj refuses: never for want of memory. README.md has what may wait for the next mount. */
static bool may_be_late(const struct trial *trial)
{
	return (trial->plan.kinds & (FAULT_BEGIN | FAULT_SNAPSHOT | FAULT_COMMIT | FAULT_SYNC)) != 0;
}

/* Nothing is given back before all is gone. */
static int check_full_end(const struct trial *trial)
{
	int error;

	let_go(trial->world);
	error = tree_visit(&got, shrink_path, trial->world);
	if (error != 0)
		return fail(trial, "shrinking files on a full pool: %s", strerror(-error));
	error = remove_all(trial->world, &got);
	if (error != 0)
		return fail(trial, "removing all on a full pool: %s", strerror(-error));
	full_end();
	return compare_space(trial);
}

static int check_end(const struct trial *trial)
{
	int error = remove_all(trial->world, &got);
	struct trial_space space;

	if (error != 0)
		return fail(trial, "removing all: %s", strerror(-error));
	space = space_of(trial->world->fs);
	if (may_be_late(trial) && !is_same_space(trial, &space) && mount_again(trial) != 0)
		return 1;
	return compare_space(trial);
}

static void problem(void *arg, const struct check_problem *problem)
{
	if (problem->severity == CHECK_ERROR)
		(void)fail(arg, "%s inode %llu %s: %s", problem->invariant, (unsigned long long)problem->ino,
			   problem->path != NULL ? problem->path : "", problem->text);
}

static int check_closed(const struct trial *trial)
{
	struct check_options options = {.meta_path = trial->world->meta_path,
					.skip_probe = true,
					.in_process = true,
					.problem = problem,
					.arg = (void *)trial};
	struct check_report report;
	struct message message;

	if (!trial->check)
		return 0;
	if (check_pool(&options, &report, &message) != 0)
		return fail(trial, "check does not run: %s", message.text);
	/* A holder that lives has what it pinned also without a session that is open. */
	if (report.errors == 0 && report.ledger_pins == 0 &&
	    (!report.clean || report.orphans + report.intents + report.ledger_void > 0))
		return fail(trial, "unmounted: clean %d, %llu orphans, %llu intents, %llu void", report.clean,
			    (unsigned long long)report.orphans, (unsigned long long)report.intents,
			    (unsigned long long)report.ledger_void);
	return report.errors > 0;
}

/* In a thread of its own: a lock that the first one has kept stops it. */
static void *afterwards(void *arg)
{
	const struct trial *trial = arg;
	int failed = 0;

	if (mount_if_not(trial->world) != 0) {
		(void)fail(trial, "it does not mount any more");
		return NULL;
	}
	if (atomic_load(&trial->world->fs->damaged))
		failed = may_be_late(trial) ? mount_again(trial) : fail(trial, "writing was stopped");
	if (failed == 0)
		failed = compare(trial);
	if (failed == 0 && trial->full != FULL_NOT && trial->stays) {
		if (check_full_end(trial) == 0)
			fs_close(trial->world->fs);
		return NULL;
	}
	full_end();
	if (failed == 0 && trial->result->error != trial->model->error && !trial->result->late &&
	    trial->model->was_mounted && can_repeat(trial))
		failed = repeat(trial);
	if (failed == 0)
		failed = check_end(trial);
	if (failed != 0)
		return NULL;
	fs_close(trial->world->fs);
	trial->world->fs = NULL;
	return NULL;
}

static bool is_right(const struct trial *trial)
{
	int error = trial->result->error;

	if (error == trial->model->error)
		return true;
	if (is_about_space(trial))
		return error == -ENOSPC;
	if (trial->plan.kinds == FAULT_SYNC)
		return error == -EIO || error == -ENOMEM;
	if (trial->world->fs != NULL && atomic_load(&trial->world->fs->damaged))
		return error == -EIO;
	/* libpmemobj could not ask for bad blocks, and does not know why. */
	if (error == -ENXIO && !trial->model->was_mounted)
		return true;
	return error == -ENOMEM || error == -fault_error();
}

void trial_run(const struct trial *trial)
{
	struct trial_result *result = trial->result;
	pthread_t thread;
	long left;

	result->allocations = fault_allocations();
	same_restart(0);
	if (trial->full != FULL_NOT && !full_make(trial->world->fs, trial->full, trial->left))
		return;
	fault_arm(&trial->plan);
	result->error = script_run(trial->world, trial->model->words);
	result->calls = fault_disarm();
	result->met =
		fault_met()[0] != '\0' || (trial->full != FULL_NOT && (full_was_met() || result->error == -ENOSPC));
	if (trial->world->fs == NULL)
		full_forget();
	result->more_variants = fault_has_variant(trial->plan.variant + 1);
	/* A full pool that was enough is one to be seen, too. */
	if (!result->met && trial->full == FULL_NOT)
		return;
	if (!is_right(trial))
		(void)fail(trial, "not an errno of this fault; %s", trial->world->message.text);
	else if (trial->world->fs == NULL && result->error != 0 && trial->world->message.text[0] == '\0')
		(void)fail(trial, "the mount failed without a word");
	else if (pmemobj_tx_stage() != TX_STAGE_NONE)
		(void)fail(trial, "a transaction was left open");
	else if (pthread_create(&thread, NULL, afterwards, (void *)trial) == 0)
		(void)pthread_join(thread, NULL);
	left = fault_allocations() - result->allocations - trial->model->allocations;
	/* libpmemobj keeps something of each pool that was opened; and some things are made by who needs them first. */
	if (left > 0 && !result->late && trial->model->was_mounted && trial->plan.kinds != FAULT_SYNC)
		(void)fail(trial, "%ld allocations were not given back", left);
	if (result->why[0] == '\0')
		(void)check_closed(trial);
}
