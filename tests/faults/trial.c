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
	length = snprintf(why, TRIAL_WHY_BYTES, "%s -> %s\n    |   ", fault_met(), strerror(-trial->result->error));
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

static int remove_all(struct script_world *world, const struct tree *tree)
{
	int error;

	if (world->holder != NULL)
		(void)script_run(world, "goodbye");
	for (unsigned i = 0; i < SCRIPT_HELD; i++) {
		if (world->held[i] != 0)
			(void)script_run(world, i == 0 ? "drop 0" : "drop 1");
	}
	error = tree_visit(tree, remove_path, world);
	settle(world->fs);
	return error;
}

/* ---- Without a fault ---- */

static void space_of(struct fs *fs, uint64_t *blocks, uint64_t *inodes, uint64_t *pages)
{
	struct meta_space space;

	meta_space(fs->meta, &space);
	*blocks = script_blocks_free(fs) + 1000000 * meta_limbo_blocks(fs->meta);
	*inodes = space.inodes_used;
	*pages = space.pages_free;
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
	space_of(world->fs, &model->blocks, &model->inodes, &model->pages);
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

/* It is as the operation's answer says: done, or as if it had never been begun, but for bytes that it has overwritten.
 */
static int compare(const struct trial *trial)
{
	const struct trial_model *model = trial->model;
	const struct tree *old = &model->before, *new = &model->before;
	int error = tree_read(trial->world->fs, &got);
	unsigned tolerance = script_tolerance(model->words);
	const char *what;

	if (error != 0)
		return fail(trial, "the tree cannot be read: %s", strerror(-error));
	if (trial->result->late) {
		tolerance |= TREE_ROOT;
		new = &model->after;
	} else if (trial->result->error == model->error) {
		tolerance = 0;
		old = new = &model->after;
	} else if (tolerance & TREE_MIXED) {
		new = &model->after;
	}
	what = tree_compare(&got, old, new, tolerance);
	return what == NULL ? 0 : fail(trial, "%s", what);
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
	const struct trial_model *model = trial->model;
	uint64_t blocks, inodes, pages;

	space_of(trial->world->fs, &blocks, &inodes, &pages);
	if (blocks != model->blocks || inodes != model->inodes || pages != model->pages)
		return fail(trial, "all removed: %lld blocks, %lld inodes, %lld pages are free or used that were not",
			    (long long)(blocks - model->blocks), (long long)(inodes - model->inodes),
			    (long long)(pages - model->pages));
	return 0;
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

static int check_end(const struct trial *trial)
{
	uint64_t blocks, inodes, pages;
	int error = remove_all(trial->world, &got);

	if (error != 0)
		return fail(trial, "removing all: %s", strerror(-error));
	space_of(trial->world->fs, &blocks, &inodes, &pages);
	if (may_be_late(trial) &&
	    (blocks != trial->model->blocks || inodes != trial->model->inodes || pages != trial->model->pages) &&
	    mount_again(trial) != 0)
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
	if (failed == 0 && trial->result->error != trial->model->error && !trial->result->late &&
	    trial->model->was_mounted)
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
	fault_arm(&trial->plan);
	result->error = script_run(trial->world, trial->model->words);
	result->calls = fault_disarm();
	result->met = fault_met()[0] != '\0';
	result->more_variants = fault_has_variant(trial->plan.variant + 1);
	if (!result->met)
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
