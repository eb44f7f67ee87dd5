/* What is run and cut: named scenarios, and those that are made of an alphabet of operations. */
#ifndef PINFS_CRASH_SCENARIO_H
#define PINFS_CRASH_SCENARIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCENARIO_OPS 12u

enum scenario_holder {
	HOLDER_NONE,
	HOLDER_LIVES, /* the process that pins lives on over the cut */
	HOLDER_DEAD,
};

enum scenario_kind {
	SCENARIO_WORK, /* a mounted pool */
	SCENARIO_REPAIR, /* a damaged one, not mounted; each image is repaired before it is mounted */
	SCENARIO_TWO, /* op[0] and op[1] in two threads: begun and answered are bits, steps are by these */
	SCENARIO_MKFS, /* none yet: an image is refused clearly, or a pool */
};

struct scenario {
	char name[120];
	enum scenario_kind kind;
	enum scenario_holder holder;
	const char *setup; /* operations, by `;`, before anything is recorded */
	const char *op[SCENARIO_OPS]; /* recorded */
	unsigned ops;
	unsigned schedule; /* of two threads */
	unsigned cut_from; /* cuts before this operation (from 1) are another scenario's */
	bool may_fail; /* operations that do not apply are part of it */
};

/* Named ones, from 0; false past the last. */
bool scenario_named(unsigned number, struct scenario *ret_scenario);
unsigned scenario_named_count(void);
/* Every operation of the alphabet alone, then all pairs, then all triples. */
uint64_t scenario_generated_count(unsigned length);
void scenario_generate(unsigned length, uint64_t number, struct scenario *ret_scenario);
/* By name, of either kind. */
bool scenario_find(const char *name, struct scenario *ret_scenario);

#endif
