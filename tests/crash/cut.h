/* Runs a scenario once, under the shim, then cuts the power at each of its fences, in many ways each. */
#ifndef PINFS_CRASH_CUT_H
#define PINFS_CRASH_CUT_H

#include "scenario.h"
#include "verify.h"

struct cut_limits {
	unsigned exhaustive; /* so many lines pending: all subsets */
	unsigned singles; /* else so many lines alone, and so many missing */
	unsigned chances, torn; /* and so many choices by chance */
	unsigned recoveries; /* of so many images one is recovered under the shim, and cut again */
	unsigned checks; /* of so many images one is checked before it is recovered; all are afterwards */
	bool first_only; /* ends with the first failure */
};

struct cut {
	struct run *run;
	struct image image;
	struct cut_limits limits;
	uint64_t images, failures;
	uint64_t same; /* left out: verified already */
	char first_failure[256]; /* its id */
	unsigned alone; /* of two threads: only this one, from 1, to see what comes of it */
	/* An image by its id: only this one. */
	const char *id;
	bool loud; /* what the filesystem logs is shown */
	enum shim_fault fault; /* made on purpose */
	unsigned fault_number;
	bool early_free;
	struct numbers *seen;
	int64_t deadline; /* CLOCK_MONOTONIC, seconds; 0: none */
};

/* A folder of its own in `scratch`, an empty pool in it. */
int cut_init(struct cut *cut, const char *scratch);
void cut_fini(struct cut *cut);
/* 0: it ran, `images` and `failures` say how it went; else it could not be run, with words in run->why. */
int cut_scenario(struct cut *cut, const struct scenario *scenario);
int64_t cut_now(void);

#endif
