/* The power-cut simulator: see README.md. */
#include "cut.h"
#include "selftest.h"
#include "same.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS_MAX 16u

static const char usage[] =
	"Usage: crash --scratch DIR [--full] [--msync] [--seconds N] [--seed N] [--workers N] [SCENARIO...]\n"
	"       crash --scratch DIR [--msync] --id ID\n"
	"       crash --scratch DIR --selftest\n"
	"       crash --list\n";

struct options {
	const char *scratch, *id;
	bool full, selftest, syncing;
	int64_t seconds; /* 0: no limit */
	uint64_t seed;
	unsigned workers;
	char *const *names;
	unsigned name_count;
};

/* Shared by the workers. */
struct work {
	_Atomic uint64_t next;
	_Atomic uint64_t passed, failed, images, same;
	_Atomic uint64_t done[4]; /* generated scenarios, by length */
};

static const struct cut_limits sample = {
	.exhaustive = 2, .singles = 4, .chances = 2, .torn = 1, .recoveries = 40, .checks = 4};
static const struct cut_limits full = {
	.exhaustive = 7, .singles = 64, .chances = 24, .torn = 8, .recoveries = 10, .checks = 1};

/* ---- Which scenario is next ---- */

/* Named ones; the alphabet; pairs, all of them in a full run; then, until time is over, pairs and triples by chance. */
static bool pick(const struct options *options, uint64_t number, struct scenario *ret_scenario, unsigned *ret_length)
{
	uint64_t named = scenario_named_count(), single = scenario_generated_count(1),
		 pairs = scenario_generated_count(2);
	uint64_t chance = same_mix(options->seed * 1000003 + number), stride = (named + single) % 37 != 0 ? 37 : 41;

	*ret_length = 0;
	if (options->name_count > 0)
		return number < options->name_count && scenario_find(options->names[number], ret_scenario);
	/* Where time may be short, another one is first each day, and one after the other of other kinds. */
	if (options->seconds > 0 && number < named + single)
		number = (number * stride + options->seed) % (named + single);
	if (number < named)
		return scenario_named((unsigned)number, ret_scenario);
	number -= named;
	*ret_length = number < single ? 1 : 2;
	if (number < single) {
		scenario_generate(1, number, ret_scenario);
		return true;
	}
	number -= single;
	if (options->full && number < pairs) {
		scenario_generate(2, number, ret_scenario);
		return true;
	}
	if (options->seconds == 0)
		return false;
	*ret_length = options->full || chance >> 60 < 4 ? 3 : 2;
	scenario_generate(*ret_length, chance % scenario_generated_count(*ret_length), ret_scenario);
	return true;
}

/* ---- Workers ---- */

static void count(struct work *work, const struct cut *cut, const struct scenario *scenario, unsigned length, int error)
{
	atomic_fetch_add(&work->images, cut->images);
	atomic_fetch_add(&work->same, cut->same);
	atomic_fetch_add(&work->done[length], 1);
	if (error == 0 && cut->failures == 0) {
		atomic_fetch_add(&work->passed, 1);
		if (length == 0)
			printf("ok crash/%s (%llu images%s)\n", scenario->name, (unsigned long long)cut->images,
			       cut->deadline != 0 && cut_now() > cut->deadline ? ", then time was over" : "");
	} else {
		atomic_fetch_add(&work->failed, 1);
		printf("not ok crash/%s (%llu of %llu images)\n", scenario->name, (unsigned long long)cut->failures,
		       (unsigned long long)cut->images);
		if (error != 0)
			printf("    | it could not be run: %s\n", cut->run->why);
	}
	fflush(stdout);
}

static int run_worker(const struct options *options, struct work *work, int64_t deadline)
{
	struct cut cut = {.limits = options->full ? full : sample, .deadline = deadline};
	struct scenario scenario;
	unsigned length;
	int error = cut_init(&cut, options->scratch);

	if (error != 0) {
		printf("not ok crash/pool: %s %s\n", strerror(-error), cut.run->why);
		atomic_fetch_add(&work->failed, 1);
		return 1;
	}
	while (deadline == 0 || cut_now() < deadline) {
		if (!pick(options, atomic_fetch_add(&work->next, 1), &scenario, &length))
			break;
		cut.images = cut.failures = cut.same = 0;
		error = cut_scenario(&cut, &scenario);
		count(work, &cut, &scenario, length, error);
	}
	cut_fini(&cut);
	return 0;
}

/* A worker that does not come back is a failure. */
static void run_workers(const struct options *options, struct work *work)
{
	int64_t deadline = options->seconds > 0 ? cut_now() + options->seconds : 0;
	unsigned workers = 0;
	int status;

	fflush(stdout);
	for (; workers < options->workers; workers++) {
		pid_t child = fork();

		if (child == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			exit(run_worker(options, work, deadline));
		}
		if (child < 0)
			break;
	}
	while (workers-- > 0) {
		if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) > 1) {
			printf("not ok crash/worker: it ended with status %#x\n", status);
			atomic_fetch_add(&work->failed, 1);
		}
	}
}

static int run_all(const struct options *options)
{
	struct work *work = mmap(NULL, sizeof(*work), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	static const char *const words[] = {"", "operations", "pairs", "triples"};
	struct scenario scenario;

	if (work == MAP_FAILED)
		return 1;
	for (unsigned i = 0; i < options->name_count; i++) {
		if (!scenario_find(options->names[i], &scenario)) {
			fprintf(stderr, "crash: %s: no such scenario: see --list\n", options->names[i]);
			return 2;
		}
	}
	run_workers(options, work);
	for (unsigned i = 1; i < 4; i++) {
		if (work->done[i] > 0)
			printf("# %llu of %llu %s\n", (unsigned long long)work->done[i],
			       (unsigned long long)scenario_generated_count(i), words[i]);
	}
	if (options->seconds > 0 && options->name_count == 0 &&
	    work->next < scenario_named_count() + scenario_generated_count(1))
		printf("# time was over before each scenario and each operation had its turn\n");
	printf("# %llu images (and %llu that were the same), seed %llu\n", (unsigned long long)work->images,
	       (unsigned long long)work->same, (unsigned long long)options->seed);
	printf("%llu passed, %llu failed, 0 skipped\n", (unsigned long long)work->passed,
	       (unsigned long long)work->failed);
	return work->failed != 0;
}

/* ---- One image ---- */

static int run_id(const struct options *options)
{
	struct cut cut = {.limits = full, .id = options->id, .loud = true};
	struct scenario scenario;
	char name[120];
	int error;

	(void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(options->id, ":"), options->id);
	if (strchr(options->id, ':') == NULL || !scenario_find(name, &scenario)) {
		fprintf(stderr, "crash: %s: not SCENARIO:FENCE:SUBSET\n", options->id);
		return 2;
	}
	error = cut_init(&cut, options->scratch);
	if (error == 0)
		error = cut_scenario(&cut, &scenario);
	if (error != 0)
		printf("it could not be run: %s %s\n", strerror(-error), cut.run->why);
	else if (cut.images == 0)
		printf("there is no such image\n");
	cut_fini(&cut);
	printf("%d passed, %d failed, 0 skipped\n", error == 0 && cut.images > 0 && cut.failures == 0,
	       error != 0 || cut.images == 0 || cut.failures > 0);
	return error != 0 || cut.images == 0 || cut.failures > 0;
}

static int run_list(void)
{
	struct scenario scenario;

	for (unsigned i = 0; scenario_named(i, &scenario); i++)
		printf("%s\n", scenario.name);
	for (uint64_t i = 0; i < scenario_generated_count(1); i++) {
		scenario_generate(1, i, &scenario);
		printf("%s\n", scenario.name);
	}
	return 0;
}

static int parse(int argc, char **argv, struct options *options)
{
	static const struct option longs[] = {
		{"scratch", required_argument, NULL, 'd'}, {"id", required_argument, NULL, 'i'},
		{"full", no_argument, NULL, 'f'},	   {"seconds", required_argument, NULL, 's'},
		{"seed", required_argument, NULL, 'r'},	   {"workers", required_argument, NULL, 'w'},
		{"selftest", no_argument, NULL, 't'},	   {"msync", no_argument, NULL, 'm'},
		{"list", no_argument, NULL, 'l'},	   {NULL, 0, NULL, 0}};
	int option;

	while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (option) {
		case 'd':
			options->scratch = optarg;
			break;
		case 'i':
			options->id = optarg;
			break;
		case 'f':
			options->full = true;
			break;
		case 's':
			options->seconds = strtol(optarg, NULL, 10);
			break;
		case 'r':
			options->seed = strtoull(optarg, NULL, 10);
			break;
		case 'w':
			options->workers = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 't':
			options->selftest = true;
			break;
		case 'm':
			options->syncing = true;
			break;
		case 'l':
			exit(run_list());
		default:
			return -EINVAL;
		}
	}
	options->names = argv + optind;
	options->name_count = (unsigned)(argc - optind);
	return options->scratch != NULL && options->workers > 0 && options->workers <= WORKERS_MAX ? 0 : -EINVAL;
}

int main(int argc, char **argv)
{
	struct options options = {.workers = 1, .seed = 1};
	const char *force = getenv("PMEM_IS_PMEM_FORCE"), *wanted;

	/* Fewer lanes to make at each open; the pool has all of them. */
	setenv("PMEMOBJ_NLANES", "2", 1);
	if (parse(argc, argv, &options) != 0) {
		fputs(usage, stderr);
		return 2;
	}
	/* libpmem reads it before main() begins. */
	wanted = options.syncing ? "0" : "1";
	if (force == NULL || strcmp(force, wanted) != 0) {
		setenv("PMEM_IS_PMEM_FORCE", wanted, 1);
		execv("/proc/self/exe", argv);
		perror("crash: /proc/self/exe");
		return 1;
	}
	shim_set_syncing(options.syncing);
	if (options.id != NULL)
		return run_id(&options);
	return options.selftest ? selftest(options.scratch) : run_all(&options);
}
