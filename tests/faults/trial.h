/*
 * One operation of src/fs under one fault, in a process of its own: what it answers, what is seen afterwards, and that
 * nothing is left over. The pool stands as its scenario left it; whoever calls brings its files back.
 */
#ifndef PINFS_FAULTS_TRIAL_H
#define PINFS_FAULTS_TRIAL_H

#include "fault.h"
#include "full.h"
#include "script.h"
#include "tree.h"

#include <sys/types.h>

#define TRIAL_WHY_BYTES 1500u

/* What the operation does when nothing fails. */
struct trial_model {
	const char *words;
	int error;
	struct tree before, after;
	bool was_mounted;
	/* When all is removed. */
	struct trial_space {
		uint64_t blocks, inodes, pages;
		uint64_t frames; /* of inodes, and pages */
	} space;
	long allocations; /* more, or less, than before: what was mounted is not any more */
};

struct trial {
	const struct trial_model *model;
	struct script_world *world;
	struct fault_plan plan; /* no kinds: only `full` */
	enum full full;
	unsigned left; /* blocks or pages */
	bool stays; /* full, while all is removed; else there is space again, and it is repeated */
	bool check; /* src/check at the end */
	/* In memory that is shared with who started it. */
	struct trial_result {
		unsigned calls;
		bool met, more_variants;
		int error;
		long allocations;
		bool late; /* the next mount had to go on with it: README.md */
		char why[TRIAL_WHY_BYTES]; /* "": all is well */
	} * result;
};

/* In a child that ends with it. */
void trial_model_run(struct script_world *world, struct trial_model *model);
void trial_run(const struct trial *trial);

#endif
