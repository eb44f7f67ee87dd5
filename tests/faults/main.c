/* Faults in operations of src/fs: see README.md. */
#include "pool.h"
#include "scenario.h"
#include "trial.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SECONDS_MAX 60u /* of a trial: then it hangs */
#define N_MAX 20000u
#define ALL_OF 40u
#define SHOWN_MAX 3u /* failures of one scenario */

static const char usage[] = "Usage: faults --scratch DIR [--full] [--loud] [--seconds N] [--seed N] [--kind KIND] "
			    "[--from N] [SCENARIO...]\n";

static const struct {
	const char *name;
	unsigned kind;
	bool sticky;
	enum full full;
	bool stays;
} kinds[] = {
	{"memory", FAULT_MEMORY, .full = FULL_NOT},
	{"memory-all", FAULT_MEMORY, .sticky = true},
	{"begin", FAULT_BEGIN, .full = FULL_NOT},
	{"snapshot", FAULT_SNAPSHOT, .full = FULL_NOT},
	{"commit", FAULT_COMMIT, .full = FULL_NOT},
	{"map", FAULT_MAP, .full = FULL_NOT},
	{"sync", FAULT_SYNC, .full = FULL_NOT},
	{"blocks", FAULT_BLOCKS, .full = FULL_NOT},
	{"blocks-all", FAULT_BLOCKS, .sticky = true},
	{"pages", FAULT_PAGES, .full = FULL_NOT},
	{"pages-all", FAULT_PAGES, .sticky = true},
	{"full-blocks", .full = FULL_BLOCKS},
	{"full-blocks-stay", .full = FULL_BLOCKS, .stays = true},
	{"full-scattered", .full = FULL_SCATTERED},
	{"full-scattered-stay", .full = FULL_SCATTERED, .stays = true},
	{"full-pages", .full = FULL_PAGES},
	{"full-pages-stay", .full = FULL_PAGES, .stays = true},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

struct options {
	const char *scratch, *kind;
	bool full, loud, usage;
	int64_t seconds; /* 0: no limit */
	uint64_t seed;
	unsigned from; /* the first N */
	char *const *names;
	unsigned name_count;
};

/* One scenario after the other, on one pool. */
struct stand {
	const struct options *options;
	struct image image;
	unsigned char *kept[SHIM_FILES]; /* as the operation finds it */
	struct script_world world;
	struct trial_model *model; /* shared, as is the result */
	struct trial_result *result;
	bool syncing; /* what fails is msync(2) */
	int64_t end; /* 0: none */
	uint64_t trials, late, scenario_trials, scenario_failures;
};

/* Whoever has a lock, has it: a child's files are its parent's. */
int flock(int fd, int operation)
{
	(void)fd;
	(void)operation;
	return 0;
}

static int64_t now(void)
{
	struct timespec time;

	/* Past the clock that stands still. */
	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time);
	return time.tv_sec;
}

/* ---- The files ---- */

static void keep(struct stand *stand)
{
	for (unsigned i = 0; i < SHIM_FILES; i++)
		memcpy(stand->kept[i], stand->image.file[i].bytes, stand->image.file[i].size);
}

static void bring_back(struct stand *stand)
{
	for (unsigned i = 0; i < SHIM_FILES; i++) {
		for (size_t at = 0; at < stand->image.file[i].size; at += SHIM_PAGE) {
			unsigned char *now = stand->image.file[i].bytes + at;

			if (memcmp(now, stand->kept[i] + at, SHIM_PAGE) != 0)
				memcpy(now, stand->kept[i] + at, SHIM_PAGE);
		}
	}
}

/* ---- Trials ---- */

static pid_t begin_child(const struct stand *stand)
{
	pid_t parent = getpid(), child;

	fflush(stdout);
	child = fork();
	if (child != 0)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_DUMPABLE, 0);
	if (getppid() != parent)
		_exit(4);
	alarm(SECONDS_MAX);
	if (!stand->options->loud)
		dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
	return 0;
}

/* True: it came to its end. */
static bool end_child(struct stand *stand, pid_t child)
{
	int status = 0;

	if (waitpid(child, &status, 0) == child && status == 0)
		return true;
	/* libpmemobj ends the process if msync(2) fails: nothing is answered that is not durable. */
	if (stand->syncing && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT)
		return true;
	(void)snprintf(stand->result->why, TRIAL_WHY_BYTES, "%s: it %s %d", fault_met(),
		       WIFSIGNALED(status) ? "died of signal" : "ended with status",
		       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	return false;
}

static void run_one(struct stand *stand, const struct scenario *scenario, const struct fault_plan *plan, size_t kind)
{
	struct trial trial = {
		.model = stand->model, .world = &stand->world, .plan = *plan, .check = true, .result = stand->result};
	pid_t child;

	trial.full = kinds[kind].full;
	trial.stays = kinds[kind].stays;
	trial.left = plan->n - 1;
	memset(stand->result, 0, sizeof(*stand->result));
	stand->syncing = plan->kinds == FAULT_SYNC;
	child = begin_child(stand);
	if (child == 0) {
		trial_run(&trial);
		_exit(0);
	}
	(void)end_child(stand, child);
	bring_back(stand);
	stand->scenario_trials += stand->result->met;
	stand->late += stand->result->late;
	if (stand->result->why[0] == '\0')
		return;
	stand->scenario_failures++;
	if (stand->scenario_failures <= SHOWN_MAX || stand->options->loud)
		printf("    | %s: %s: %s %u: %s\n", scenario->name, stand->model->words, kinds[kind].name, plan->n,
		       stand->result->why);
}

static bool time_is_over(const struct stand *stand)
{
	return stand->end != 0 && now() >= stand->end;
}

/* Mounting allocates thousands of times: all of the first ones, then fewer and fewer. */
static unsigned next_n(const struct stand *stand, unsigned n)
{
	return stand->options->full || n < ALL_OF ? n + 1 : n + 1 + n / 4;
}

/* Each N of a kind, until the operation meets no fault any more. */
static void run_kind(struct stand *stand, const struct scenario *scenario, size_t kind)
{
	struct fault_plan plan = {.kinds = kinds[kind].kind, .sticky = kinds[kind].sticky};

	/* Only what is no persistent memory is synced. */
	if (stand->options->kind == NULL && kinds[kind].kind == FAULT_SYNC)
		return;
	if (stand->options->kind != NULL && strcmp(stand->options->kind, kinds[kind].name) != 0)
		return;
	/* What is free is known to who has mounted. */
	if (kinds[kind].full != FULL_NOT && stand->world.fs == NULL)
		return;
	for (plan.n = stand->options->from > 0 ? stand->options->from : 1; plan.n < N_MAX && !time_is_over(stand);
	     plan.n = next_n(stand, plan.n)) {
		plan.variant = 0;
		run_one(stand, scenario, &plan, kind);
		if (!stand->result->met)
			break;
		while (stand->result->more_variants) {
			plan.variant++;
			run_one(stand, scenario, &plan, kind);
		}
	}
}

/* What it does by itself. */
static bool run_model(struct stand *stand, const char *words)
{
	pid_t child;
	bool ended;

	memset(stand->result, 0, sizeof(*stand->result));
	stand->model->words = words;
	child = begin_child(stand);
	if (child == 0) {
		trial_model_run(&stand->world, stand->model);
		_exit(0);
	}
	ended = end_child(stand, child);
	bring_back(stand);
	if (ended)
		return true;
	stand->scenario_failures++;
	printf("    | %s: without a fault: %s\n", words, stand->result->why);
	return false;
}

static int run_setup(struct stand *stand, const char *setup)
{
	char text[1024], *rest = NULL;
	struct message message;
	int error = script_mount(&stand->world, &message);

	(void)snprintf(text, sizeof(text), "%s", setup);
	for (char *at = strtok_r(text, ";", &rest); error == 0 && at != NULL; at = strtok_r(NULL, ";", &rest))
		error = script_run(&stand->world, at);
	return error;
}

static void run_scenario(struct stand *stand, const struct scenario *scenario)
{
	int error;

	stand->scenario_trials = stand->scenario_failures = 0;
	(void)pool_reset(&stand->image);
	stand->world = (struct script_world){.meta_path = stand->image.file[0].path, .process = getpid()};
	error = run_setup(stand, scenario->setup);
	for (unsigned i = 0; error == 0 && i < scenario->ops; i++) {
		keep(stand);
		if (!run_model(stand, scenario->op[i]))
			break;
		for (size_t kind = 0; kind < KINDS; kind++)
			run_kind(stand, scenario, kind);
		(void)script_run(&stand->world, scenario->op[i]);
	}
	if (stand->world.fs != NULL)
		fs_close(stand->world.fs);
	if (error != 0)
		printf("    | it cannot be prepared: %s\n", strerror(-error));
	stand->scenario_failures += error != 0;
	printf("%s faults/%s (%llu faults%s)\n", stand->scenario_failures > 0 ? "not ok" : "ok", scenario->name,
	       (unsigned long long)stand->scenario_trials, time_is_over(stand) ? ", then time was over" : "");
	fflush(stdout);
}

/* ---- All of them ---- */

/* Named ones, then each operation alone; where time is short another one is first each day. */
static bool pick(const struct options *options, uint64_t number, struct scenario *ret_scenario)
{
	uint64_t named = scenario_named_count(), all = named + scenario_generated_count(1);

	if (options->name_count > 0)
		return number < options->name_count && scenario_find(options->names[number], ret_scenario);
	if (number >= all)
		return false;
	if (options->seconds > 0)
		number = (number * 37 + options->seed) % all;
	if (number < named)
		return scenario_named((unsigned)number, ret_scenario);
	scenario_generate(1, number - named, ret_scenario);
	return true;
}

static int stand_make(struct stand *stand, const struct options *options)
{
	static char why[1024];
	int error;

	stand->options = options;
	for (unsigned i = 0; i < SHIM_FILES; i++)
		stand->image.file[i].touched = pool_buffer(IMAGE_PAGES_MAX);
	error = pool_make(options->scratch, &stand->image, why);
	if (error != 0) {
		printf("not ok faults/pool: %s %s\n", strerror(-error), why);
		return error;
	}
	for (unsigned i = 0; i < SHIM_FILES; i++)
		stand->kept[i] = pool_buffer(stand->image.file[i].size);
	stand->model = (void *)pool_buffer(sizeof(*stand->model));
	stand->result = (void *)pool_buffer(sizeof(*stand->result));
	return 0;
}

static void options_parse(int argc, char **argv, struct options *options)
{
	static const struct option known[] = {
		{"scratch", required_argument, NULL, 's'}, {"kind", required_argument, NULL, 'k'},
		{"seconds", required_argument, NULL, 't'}, {"seed", required_argument, NULL, 'r'},
		{"from", required_argument, NULL, 'n'},	   {"full", no_argument, NULL, 'f'},
		{"loud", no_argument, NULL, 'l'},	   {0},
	};
	int letter;

	while ((letter = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (letter == 's')
			options->scratch = optarg;
		else if (letter == 'k')
			options->kind = optarg;
		else if (letter == 'f')
			options->full = true;
		else if (letter == 'l')
			options->loud = true;
		else if (letter == 'n')
			options->from = (unsigned)strtoul(optarg, NULL, 10);
		else if (letter == 't')
			options->seconds = strtoll(optarg, NULL, 10);
		else if (letter == 'r')
			options->seed = strtoull(optarg, NULL, 10);
		else
			options->usage = true;
	}
	options->names = argv + optind;
	options->name_count = (unsigned)(argc - optind);
}

struct sum {
	unsigned passed, failed, left;
};

static void run_all(struct stand *stand, struct sum *sum)
{
	const struct options *options = stand->options;
	struct scenario scenario;

	stand->end = options->seconds > 0 ? now() + options->seconds : 0;
	for (uint64_t number = 0; pick(options, number, &scenario); number++) {
		/* A holder's death changes nothing for what is answered before it; and all is done by one thread,
		 * mounted. */
		if (scenario.holder == HOLDER_DEAD || scenario.kind != SCENARIO_WORK)
			continue;
		if (time_is_over(stand)) {
			sum->left++;
			continue;
		}
		run_scenario(stand, &scenario);
		stand->trials += stand->scenario_trials;
		if (stand->scenario_failures == 0)
			sum->passed++;
		else
			sum->failed++;
	}
}

int main(int argc, char **argv)
{
	static struct stand stand;
	struct options options = {.scratch = NULL};
	struct sum sum = {.passed = 0};

	options_parse(argc, argv, &options);
	if (options.scratch == NULL || options.usage) {
		fputs(usage, stderr);
		return 2;
	}
	fault_init(pool_buffer(SHIM_PAGE));
	if (stand_make(&stand, &options) != 0)
		return 1;
	run_all(&stand, &sum);
	pool_remove(&stand.image);
	printf("# %llu faults, after %llu of them the next mount went on; seed %llu; time was over before %u "
	       "scenarios\n",
	       (unsigned long long)stand.trials, (unsigned long long)stand.late, (unsigned long long)options.seed,
	       sum.left);
	printf("%u passed, %u failed, 0 skipped\n", sum.passed, sum.failed);
	return sum.failed > 0;
}
