#include "selftest.h"

#include "cut.h"

#include <stdio.h>
#include <string.h>

/* Enough to see a fault, few enough to look for each one. */
static const struct cut_limits quick = {
	.exhaustive = 2, .singles = 16, .chances = 2, .torn = 1, .checks = 4, .first_only = true};

struct count {
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
			printf("    | %s: number %u of %u makes no difference\n", scenario->name, n, places);
	}
	cut->fault = SHIM_SOUND;
	return true;
}

static int report(const char *name, const struct count *count)
{
	bool caught = count->caught > 0;

	printf("%s crash/selftest/%s (%u of %u caught; one is %s)\n", caught ? "ok" : "not ok", name, count->caught,
	       count->seeded, count->last);
	fflush(stdout);
	return caught ? 0 : 1;
}

int selftest(const char *scratch)
{
	static const char *const names[] = {"append", "evict-small", "rename_file"};
	static const struct {
		const char *name;
		enum shim_fault fault;
	} faults[] = {{"lost-flush", SHIM_LOSE_FLUSH}, {"lost-fence", SHIM_LOSE_FENCE}, {"swapped", SHIM_SWAP}};
	struct cut cut = {.limits = quick};
	struct scenario scenario;
	struct count early = {0};
	int failed = 0, passed = 0;
	bool ran = cut_init(&cut, scratch) == 0;

	for (size_t i = 0; ran && i < sizeof(faults) / sizeof(faults[0]); i++) {
		struct count count = {0};

		for (size_t j = 0; ran && j < sizeof(names) / sizeof(names[0]); j++)
			ran = scenario_find(names[j], &scenario) && seed_each(&cut, &scenario, faults[i].fault, &count);
		*(ran && report(faults[i].name, &count) == 0 ? &passed : &failed) += 1;
	}
	cut.early_free = true;
	for (size_t j = 1; ran && j < sizeof(names) / sizeof(names[0]); j++)
		ran = scenario_find(names[j], &scenario) && (seed(&cut, &scenario, &early), true);
	*(ran && report("freed-early", &early) == 0 ? &passed : &failed) += 1;
	if (!ran)
		printf("not ok crash/selftest: %s, without a fault: %s\n", scenario.name, cut.run->why);
	cut_fini(&cut);
	printf("%d passed, %d failed, 0 skipped\n", passed, failed);
	return failed != 0;
}
