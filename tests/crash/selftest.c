#include "selftest.h"

#include "cut.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Enough to see a fault, few enough to look for each one. */
static const struct cut_limits quick = {
	.exhaustive = 2, .singles = 16, .chances = 2, .torn = 1, .checks = 4, .first_only = true};

struct count {
	const char *name; /* of the class */
	unsigned seeded, caught;
	char last[256]; /* id of a failure */
};

/* True if the fault was caught. */
static bool seed(struct cut *cut, const struct scenario *scenario, struct count *count)
{
	bool caught;

	cut->images = cut->failures = cut->same = 0;
	/* A scenario that ends badly by itself is caught, too. */
	caught = cut_scenario(cut, scenario) != 0 || cut->failures > 0;
	count->seeded++;
	count->caught += caught;
	if (cut->failures > 0)
		(void)snprintf(count->last, sizeof(count->last), "%s", cut->first_failure);
	return caught;
}

/* False if it does not even pass without a fault. */
static bool seed_each(struct cut *cut, const struct scenario *scenario, enum shim_fault fault, struct count *count)
{
	const struct shim_trace *trace = &cut->run->trace[0];
	unsigned places;

	/* How many flushes and fences there are. */
	cut->fault = SHIM_SOUND;
	cut->images = cut->failures = cut->same = 0;
	if (cut_scenario(cut, scenario) != 0 || cut->failures > 0)
		return false;
	places = fault == SHIM_LOSE_FENCE ? trace->drains : trace->flushes;
	cut->fault = fault;
	for (unsigned n = 1; n <= places; n++) {
		cut->fault_number = n;
		if (!seed(cut, scenario, count))
			printf("    | %s, %s: number %u of %u makes no difference\n", count->name, scenario->name, n,
			       places);
	}
	cut->fault = SHIM_SOUND;
	return true;
}

static int report(const struct count *count)
{
	bool caught = count->caught > 0;

	printf("%s crash/selftest/%s (%u of %u caught; one is %s)\n", caught ? "ok" : "not ok", count->name,
	       count->caught, count->seeded, count->last);
	fflush(stdout);
	return caught ? 0 : 1;
}

static const struct class
{
	const char *name;
	enum shim_fault fault; /* SHIM_SOUND: blocks freed early */
	const char *scenario[4];
} classes[] = {
	{"lost-flush", SHIM_LOSE_FLUSH, {"append", "evict-small", "rename_file", NULL}},
	{"lost-fence", SHIM_LOSE_FENCE, {"append", "evict-small", "rename_file", NULL}},
	{"swapped", SHIM_SWAP, {"append", "evict-small", "rename_file", NULL}},
	{"freed-early", SHIM_SOUND, {"truncate_0", "truncate-up-down", NULL}},
};

#define CLASSES (sizeof(classes) / sizeof(classes[0]))

static int run_class(const char *scratch, const struct class *class)
{
	struct cut cut = {.limits = quick, .early_free = class->fault == SHIM_SOUND};
	struct count count = {.name = class->name};
	bool ran = cut_init(&cut, scratch) == 0;

	for (size_t i = 0; ran && class->scenario[i] != NULL; i++) {
		struct scenario scenario;

		ran = scenario_find(class->scenario[i], &scenario);
		if (ran && class->fault == SHIM_SOUND)
			(void)seed(&cut, &scenario, &count);
		else if (ran)
			ran = seed_each(&cut, &scenario, class->fault, &count);
		if (!ran)
			printf("    | %s, without a fault: %s\n", class->scenario[i], cut.run->why);
	}
	if (!ran)
		count.caught = 0;
	cut_fini(&cut);
	return report(&count);
}

/* A process for each class. */
int selftest(const char *scratch)
{
	unsigned passed = 0;
	int status;

	fflush(stdout);
	for (size_t i = 0; i < CLASSES; i++) {
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			exit(run_class(scratch, &classes[i]));
		}
	}
	for (size_t i = 0; i < CLASSES; i++)
		passed += wait(&status) > 0 && status == 0;
	printf("%u passed, %u failed, 0 skipped\n", passed, (unsigned)CLASSES - passed);
	return passed < CLASSES;
}
