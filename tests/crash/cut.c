#include "cut.h"

#include "early.h"
#include "numbers.h"
#include "pool.h"
#include "same.h"
#include "two.h"

#include "fs/inode.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Of an image: then it hangs. Processor time, and by the clock, for what waits. */
#define SECONDS_MAX 20u
#define WAIT_MAX 300u

/* Where a cut is, for the two levels: the scenario, and a recovery. */
struct place {
	const struct scenario *scenario;
	char prefix[200]; /* of ids: what comes before FENCE:SUBSET */
	unsigned level;
	unsigned begun, answered; /* level 1 */
	uint64_t seed;
	const char *wanted; /* the rest of the id that is wanted, or NULL */
	bool lives;
	pid_t holder;
};

int64_t cut_now(void)
{
	struct timespec now;

	/* Past the clock that stands still. */
	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

static uint64_t seed_of(const char *name)
{
	uint64_t seed = 0;

	while (*name != '\0')
		seed = same_mix(seed + (unsigned char)*name++);
	return seed;
}

/* ---- Children ---- */

/* 0 in the child. */
static pid_t begin_child(const struct cut *cut)
{
	const struct rlimit limit = {SECONDS_MAX, 2 * SECONDS_MAX};
	pid_t parent = getpid();
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child != 0)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(4);
	prctl(PR_SET_DUMPABLE, 0);
	setrlimit(RLIMIT_CPU, &limit);
	alarm(WAIT_MAX);
	if (!cut->loud) {
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

		dup2(null, STDERR_FILENO);
	}
	return 0;
}

/* 0, or 1 with words in run->why. */
static int end_child(struct cut *cut, pid_t child, const char *what)
{
	char *why = cut->run->why;
	int status;

	if (child < 0 || waitpid(child, &status, 0) != child) {
		(void)snprintf(why, WHY_BYTES, "%s: cannot fork: %s", what, strerror(errno));
		return 1;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFSIGNALED(status))
		(void)snprintf(why, WHY_BYTES, "%s: %s", what,
			       WTERMSIG(status) == SIGALRM || WTERMSIG(status) == SIGXCPU
				       ? "it hangs"
				       : strsignal(WTERMSIG(status)));
	else if (why[0] == '\0' || WEXITSTATUS(status) > 1)
		(void)snprintf(why, WHY_BYTES, "%s: exit status %d", what, WEXITSTATUS(status));
	return 1;
}

static void watch(const struct cut *cut)
{
	for (unsigned i = 0; i < SHIM_FILES; i++)
		shim_watch(i, cut->image.file[i].path, cut->run->touched[i]);
}

/* ---- A scenario, recorded ---- */

static int run_setup(struct script_world *world, const char *setup, char *why)
{
	char text[2048], *rest = NULL;

	(void)snprintf(text, sizeof(text), "%s", setup);
	for (char *at = strtok_r(text, ";", &rest); at != NULL; at = strtok_r(NULL, ";", &rest)) {
		int error = script_run(world, at);

		same_tick();
		if (error != 0) {
			(void)snprintf(why, WHY_BYTES, "set-up, %s: %s", at, strerror(-error));
			return error;
		}
	}
	return 0;
}

static int note_step(struct run *run, unsigned number, const struct script_world *world)
{
	struct step *step = &run->step[number];
	int error;

	run->steps = number;
	if (world->fs == NULL && number == 0) {
		(void)snprintf(run->why, WHY_BYTES, "set-up: it leaves the pool unmounted");
		return -EINVAL;
	}
	if (world->fs == NULL) {
		step->tree = run->step[number - 1].tree;
		step->pins = run->step[number - 1].pins;
		step->bad = run->step[number - 1].bad;
		step->features = run->step[number - 1].features;
		return 0;
	}
	error = tree_read(world->fs, &step->tree);
	step->pins = verify_ledger_pins(world->fs);
	step->bad = meta_bad_blocks(world->fs->meta);
	step->features = meta_features(world->fs->meta);
	if (error != 0)
		(void)snprintf(run->why, WHY_BYTES, "after %s: the tree cannot be read: %s", step->words,
			       strerror(-error));
	return error;
}

static int run_step(struct run *run, unsigned number, const char *words, struct script_world *world, bool may_fail)
{
	struct step *step = &run->step[number];

	(void)snprintf(step->words, sizeof(step->words), "%s", words);
	step->tolerance = script_tolerance(words);
	same_tick();
	run->trace[0].begun = number;
	step->result = script_run(world, words);
	run->trace[0].answered = number;
	if (step->result != 0 && !may_fail) {
		(void)snprintf(run->why, WHY_BYTES, "%s: %s", words, strerror(-step->result));
		return step->result;
	}
	return note_step(run, number, world);
}

/* What is there when all is done: whatever a cut leaves becomes that. */
static int note_end(struct run *run, struct script_world *world)
{
	struct message message;
	int error = script_mount(world, &message);

	if (error != 0) {
		(void)snprintf(run->why, WHY_BYTES, "at the end: %.900s", message.text);
		return error;
	}
	error = note_step(run, 1, world);
	run->step[0] = run->step[1];
	return error;
}

static void begin_trace(struct cut *cut)
{
	for (unsigned i = 0; i < SHIM_FILES; i++)
		memcpy(cut->run->start[i], cut->image.file[i].bytes, cut->image.file[i].size);
	shim_seed(cut->fault, cut->fault_number);
	shim_begin(&cut->run->trace[0]);
}

/* A repair, or mkfs: one operation on what is not mounted. */
static int record_special(struct cut *cut, const struct scenario *scenario, struct script_world *world)
{
	struct run *run = cut->run;
	struct message message = {.text = ""};
	int error;

	if (scenario->kind == SCENARIO_MKFS) {
		for (unsigned i = 0; i < SHIM_FILES; i++)
			memset(cut->image.file[i].bytes, 0, cut->image.file[i].size);
	} else {
		error = script_mount(world, &message);
		if (error == 0)
			error = run_setup(world, scenario->setup, run->why);
		if (error != 0)
			return error;
	}
	(void)snprintf(run->step[1].words, sizeof(run->step[1].words), "%s", scenario->op[0]);
	begin_trace(cut);
	run->trace[0].begun = 1;
	error = scenario->kind == SCENARIO_MKFS ? pool_format(&cut->image, &message) : script_run(world, "repair");
	run->trace[0].answered = 1;
	shim_end();
	if (error == 0)
		return note_end(run, world);
	(void)snprintf(run->why, WHY_BYTES, "%s: %s: %.400s%.400s", scenario->op[0], strerror(-error), message.text,
		       world->message.text);
	return error;
}

static int record(struct cut *cut, const struct scenario *scenario, struct script_world *world)
{
	struct run *run = cut->run;
	struct message message;
	int error = script_mount(world, &message);

	if (error != 0) {
		(void)snprintf(run->why, WHY_BYTES, "%s", message.text);
		return error;
	}
	error = run_setup(world, scenario->setup, run->why);
	if (error == 0)
		error = note_step(run, 0, world);
	if (error != 0)
		return error;
	if (cut->early_free)
		early_free(world->fs);
	begin_trace(cut);
	for (unsigned i = 0; error == 0 && i < scenario->ops; i++)
		error = run_step(run, i + 1, scenario->op[i], world, scenario->may_fail);
	shim_end();
	return error;
}

struct pair {
	struct run *run;
	struct script_world *world;
	const struct scenario *scenario;
	int result[TWO_THREADS];
};

static void run_of_two(void *arg, unsigned thread)
{
	struct pair *pair = arg;

	pair->run->trace[0].begun |= 1u << thread;
	pair->result[thread] = script_run(pair->world, pair->scenario->op[thread]);
	pair->run->trace[0].answered |= 1u << thread;
}

/* Two operations at once; or one of them by itself. */
static int record_two(struct cut *cut, const struct scenario *scenario, struct script_world *world)
{
	struct pair pair = {.run = cut->run, .world = world, .scenario = scenario};
	struct step *step = &cut->run->step[cut->alone];
	struct message message;
	int error = script_mount(world, &message);

	if (error == 0)
		error = run_setup(world, scenario->setup, cut->run->why);
	if (error == 0)
		error = note_step(cut->run, 0, world);
	if (error != 0)
		return error;
	same_tick();
	if (cut->alone != 0) {
		(void)snprintf(step->words, sizeof(step->words), "%s", scenario->op[cut->alone - 1]);
		step->tolerance = script_tolerance(step->words);
		error = script_run(world, step->words);
		return error != 0 ? error : note_step(cut->run, cut->alone, world);
	}
	begin_trace(cut);
	two_run(run_of_two, &pair, scenario->schedule);
	shim_end();
	if (pair.result[0] != 0 || pair.result[1] != 0) {
		(void)snprintf(cut->run->why, WHY_BYTES, "%s || %s: %s, %s", scenario->op[0], scenario->op[1],
			       strerror(-pair.result[0]), strerror(-pair.result[1]));
		return -EIO;
	}
	step = &cut->run->step[3];
	(void)snprintf(step->words, sizeof(step->words), "%.50s || %.50s", scenario->op[0], scenario->op[1]);
	step->tolerance = cut->run->step[1].tolerance | cut->run->step[2].tolerance;
	return note_step(cut->run, 3, world);
}

static int record_kind(struct cut *cut, const struct scenario *scenario, struct script_world *world)
{
	switch (scenario->kind) {
	case SCENARIO_TWO:
		return record_two(cut, scenario, world);
	case SCENARIO_REPAIR:
	case SCENARIO_MKFS:
		return record_special(cut, scenario, world);
	case SCENARIO_WORK:
		break;
	}
	return record(cut, scenario, world);
}

static int record_scenario(struct cut *cut, const struct place *place)
{
	struct run *run = cut->run;
	pid_t child;

	memset(&run->trace[0], 0, offsetof(struct shim_trace, fence));
	run->why[0] = '\0';
	child = begin_child(cut);
	if (child == 0) {
		struct script_world world = {.meta_path = cut->image.file[0].path, .process = place->holder};
		int error;

		same_restart(1);
		watch(cut);
		error = record_kind(cut, place->scenario, &world);
		run->world = world;
		_exit(error == 0 ? 0 : 1);
	}
	if (end_child(cut, child, "the scenario") != 0)
		return -EIO;
	if (run->trace[0].overflow) {
		(void)snprintf(run->why, WHY_BYTES, "too much to record");
		return -E2BIG;
	}
	for (unsigned i = 0; i < SHIM_FILES; i++) {
		memcpy(cut->image.file[i].durable, run->start[i], cut->image.file[i].size);
		memset(run->touched[i], 1, cut->image.file[i].size / SHIM_PAGE);
	}
	image_restore(&cut->image);
	return 0;
}

/* The image that is in the files, recovered by a mount or by another repair, recorded. */
static int record_recovery(struct cut *cut, const struct place *place)
{
	struct run *run = cut->run;
	struct shim_trace *trace = &run->trace[1];
	pid_t child;

	memset(trace, 0, offsetof(struct shim_trace, fence));
	trace->begun = place->begun;
	trace->answered = place->answered;
	run->why[0] = '\0';
	child = begin_child(cut);
	if (child == 0) {
		struct script_world world = {.meta_path = cut->image.file[0].path, .process = place->holder};
		struct message message;
		int error;

		same_restart(2);
		watch(cut);
		shim_begin(trace);
		error = place->scenario->kind == SCENARIO_REPAIR ? script_run(&world, "repair")
								 : script_mount(&world, &message);
		shim_end();
		_exit(error == 0 ? 0 : 1);
	}
	return end_child(cut, child, "a recovery") == 0 && !trace->overflow ? 0 : -EIO;
}

/* ---- Images ---- */

static int cut_trace(struct cut *cut, const struct place *place);

static void verify_image(struct cut *cut, const struct place *place, const char *id)
{
	struct verify want = {.run = cut->run,
			      .meta_path = cut->image.file[0].path,
			      .kind = place->scenario->kind,
			      .begun = place->begun,
			      .answered = place->answered,
			      .lives = place->lives,
			      .check_first = place->wanted != NULL || cut->images % cut->limits.checks == 0};
	pid_t child;

	cut->run->why[0] = '\0';
	child = begin_child(cut);
	if (child == 0) {
		same_restart(3);
		watch(cut);
		_exit(verify(&want));
	}
	cut->images++;
	if (end_child(cut, child, "image") == 0)
		return;
	if (cut->failures++ == 0)
		(void)snprintf(cut->first_failure, sizeof(cut->first_failure), "%s", id);
	if (cut->fault == SHIM_SOUND && !cut->early_free && cut->failures <= 5)
		printf("    | %s (in %s): %s\n", id,
		       place->begun > place->answered ? cut->run->step[place->begun].words : "nothing", cut->run->why);
}

/* The chosen image is in the files: its recovery is recorded and cut. Leaves the files in any state. */
static void cut_recovery(struct cut *cut, const struct place *outer, const char *id)
{
	unsigned char *durable[SHIM_FILES];
	struct place place = *outer;
	uint64_t number = cut->image.number;
	char prefix[200];

	place.level = 1;
	place.prefix[0] = '\0';
	(void)snprintf(prefix, sizeof(prefix), "%.190s/", id);
	memcpy(place.prefix, prefix, sizeof(prefix));
	place.wanted = outer->wanted != NULL ? strchr(outer->wanted, '/') + 1 : NULL;
	for (unsigned i = 0; i < SHIM_FILES; i++) {
		durable[i] = pool_buffer(cut->image.file[i].size);
		memcpy(durable[i], cut->image.file[i].durable, cut->image.file[i].size);
	}
	image_adopt(&cut->image);
	if (record_recovery(cut, &place) == 0) {
		image_restore(&cut->image);
		(void)cut_trace(cut, &place);
	}
	for (unsigned i = 0; i < SHIM_FILES; i++) {
		memcpy(cut->image.file[i].durable, durable[i], cut->image.file[i].size);
		munmap(durable[i], cut->image.file[i].size);
		memset(cut->run->touched[i], 1, cut->image.file[i].size / SHIM_PAGE);
	}
	cut->image.number = number;
}

static void cut_once(struct cut *cut, const struct place *place, const struct image_fence *fence, const char *choice)
{
	const struct cut_limits *limits = &cut->limits;
	uint64_t number, seed = same_mix(place->seed ^ fence->fence->number);
	bool nested = place->wanted != NULL && strchr(place->wanted, '/') != NULL && place->level == 0;
	char id[256];

	if (cut->limits.first_only && cut->failures > 0)
		return;
	image_restore(&cut->image);
	if (!image_choose(&cut->image, fence, choice, seed))
		return;
	(void)snprintf(id, sizeof(id), "%.190s%u:%.40s", place->prefix, fence->fence->number, choice);
	number = same_mix(image_number(&cut->image) + place->seed * 3 + place->level) ^
		 ((uint64_t)place->begun << 8 | place->answered);
	if (place->wanted == NULL && !numbers_add(cut->seen, number)) {
		cut->same++;
		return;
	}
	if (!nested)
		verify_image(cut, place, id);
	if (place->level == 0 && (nested || (place->wanted == NULL && limits->recoveries > 0 &&
					     same_mix(seed_of(id)) % limits->recoveries == 0))) {
		image_restore(&cut->image);
		(void)image_choose(&cut->image, fence, choice, seed);
		cut_recovery(cut, place, id);
	}
	image_restore(&cut->image);
}

/* ---- All choices of a fence ---- */

static void cut_each(struct cut *cut, const struct place *place, const struct image_fence *fence, const char *format,
		     unsigned long long from, unsigned long long end, unsigned long long step)
{
	for (unsigned long long i = from; i < end; i += step) {
		char choice[40];

		(void)snprintf(choice, sizeof(choice), format, i);
		cut_once(cut, place, fence, choice);
	}
}

static void cut_fence(struct cut *cut, const struct place *place, const struct image_fence *fence)
{
	const struct cut_limits *limits = &cut->limits;
	unsigned groups = fence->groups,
		 step = limits->singles == 0 ? 1 : (groups + limits->singles - 1) / limits->singles;

	cut_once(cut, place, fence, "none");
	cut_once(cut, place, fence, "all");
	if (groups <= limits->exhaustive) {
		cut_each(cut, place, fence, "x%llx", 1, (1ull << groups) - 1, 1);
	} else {
		cut_each(cut, place, fence, "+%llu", 0, groups, step);
		cut_each(cut, place, fence, "-%llu", 0, groups, step);
	}
	cut_each(cut, place, fence, "r%llu", 0, limits->chances, 1);
	cut_each(cut, place, fence, "t%llu", 0, limits->torn, 1);
}

/* FENCE:SUBSET of the id that is wanted, up to a `/`. */
static bool is_wanted(const struct place *place, unsigned fence, char choice[40])
{
	char text[256], *end;

	(void)snprintf(text, sizeof(text), "%s", place->wanted);
	text[strcspn(text, "/")] = '\0';
	if (strtoul(text, &end, 10) != fence || *end != ':')
		return false;
	(void)snprintf(choice, 40, "%.39s", end + 1);
	return true;
}

/* True if the power is cut at this fence, or between it and the one before. */
static bool is_cut(const struct place *place, const struct shim_fence *fence)
{
	return fence->count > 0 && (place->level > 0 || fence->begun >= place->scenario->cut_from);
}

static int cut_trace(struct cut *cut, const struct place *outer)
{
	const struct shim_trace *trace = &cut->run->trace[outer->level];
	struct place place = *outer;

	for (uint32_t i = 0; i < trace->fences; i++) {
		struct image_fence fence;
		char choice[40];
		int error = image_fence_read(trace, i, &fence);

		if (error != 0)
			return error;
		place.begun = fence.fence->begun;
		place.answered = fence.fence->answered;
		if (place.wanted != NULL && is_wanted(&place, i, choice))
			cut_once(cut, &place, &fence, choice);
		else if (place.wanted == NULL && is_cut(&place, fence.fence))
			cut_fence(cut, &place, &fence);
		image_advance(&cut->image, &fence);
		image_fence_free(&fence);
		if ((cut->limits.first_only && cut->failures > 0) || (cut->deadline != 0 && cut_now() > cut->deadline))
			break;
	}
	return 0;
}

/* ---- A scenario ---- */

/* A process that does nothing: pins are taken in its name. */
static pid_t holder_start(void)
{
	pid_t child = fork();

	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return child;
}

static void holder_end(pid_t holder)
{
	if (holder > 0) {
		kill(holder, SIGKILL);
		waitpid(holder, NULL, 0);
	}
}

int cut_scenario(struct cut *cut, const struct scenario *scenario)
{
	struct place place = {.scenario = scenario, .lives = scenario->holder == HOLDER_LIVES};
	int error;

	place.seed = seed_of(scenario->name);
	(void)snprintf(place.prefix, sizeof(place.prefix), "%s:", scenario->name);
	if (cut->id != NULL)
		place.wanted = strchr(cut->id, ':') + 1;
	error = pool_reset(&cut->image);
	if (error != 0)
		return error;
	place.holder = scenario->holder == HOLDER_NONE ? 0 : holder_start();
	for (cut->alone = scenario->kind == SCENARIO_TWO ? TWO_THREADS : 0; error == 0 && cut->alone > 0;
	     cut->alone--) {
		error = record_scenario(cut, &place);
		if (error == 0)
			error = pool_reset(&cut->image);
	}
	if (error == 0)
		error = record_scenario(cut, &place);
	if (scenario->holder == HOLDER_DEAD) {
		holder_end(place.holder);
		place.holder = 0;
	}
	numbers_clear(cut->seen);
	cut->image.number = 0;
	if (error == 0)
		error = cut_trace(cut, &place);
	holder_end(place.holder);
	return error;
}

/* ---- Beginning and end ---- */

static int measure(struct cut *cut)
{
	struct run *run = cut->run;
	pid_t child = begin_child(cut);

	if (child == 0) {
		struct script_world world = {.meta_path = cut->image.file[0].path};
		struct meta_space space;
		struct message message;

		same_restart(0);
		if (script_mount(&world, &message) != 0) {
			(void)snprintf(run->why, WHY_BYTES, "%s", message.text);
			_exit(1);
		}
		meta_space(world.fs->meta, &space);
		run->empty_blocks = script_blocks_free(world.fs);
		run->empty_inodes = space.inodes_used;
		fs_close(world.fs);
		_exit(0);
	}
	return end_child(cut, child, "an empty pool") == 0 ? 0 : -EIO;
}

int cut_init(struct cut *cut, const char *scratch)
{
	int error;

	cut->run = mmap(NULL, sizeof(*cut->run), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			0);
	cut->seen = numbers_create();
	if (cut->run == MAP_FAILED || cut->seen == NULL)
		return -ENOMEM;
	same_restart(0);
	error = pool_make(scratch, &cut->image, cut->run->why);
	for (unsigned i = 0; error == 0 && i < SHIM_FILES; i++) {
		cut->run->start[i] = pool_buffer(cut->image.file[i].size);
		cut->image.file[i].touched = cut->run->touched[i];
	}
	if (error == 0)
		error = measure(cut);
	return error;
}

void cut_fini(struct cut *cut)
{
	pool_remove(&cut->image);
	numbers_destroy(cut->seen);
}
