/*
 * Calls that fail on purpose: the N-th allocation, transaction, mapping, system call. fault.c stands in for the
 * functions by their names, for the program and for the libraries that it has loaded.
 */
#ifndef PINFS_FAULTS_FAULT_H
#define PINFS_FAULTS_FAULT_H

#include <stdbool.h>
#include <stddef.h>

/* Kinds; README.md has the functions of each, and the errnos that each fails with. */
#define FAULT_MEMORY 1u
#define FAULT_BEGIN 2u /* of a transaction */
#define FAULT_SNAPSHOT 4u
#define FAULT_COMMIT 8u
#define FAULT_MAP 16u
#define FAULT_SYNC 32u
#define FAULT_SOCKET 64u
#define FAULT_THREAD 128u
#define FAULT_BLOCKS 256u /* full.c stands in for what gives blocks ... */
#define FAULT_PAGES 512u /* ... and pages and slots of the meta part */

struct fault_plan {
	unsigned kinds;
	unsigned n; /* from 1; 0: none, calls are only counted */
	unsigned variant; /* which of the function's errnos */
	bool sticky; /* all from the n-th on */
	bool others; /* not in the thread that arms, but in all others */
};

/* Once, before: what the C library and this file make for themselves is made. `shared`: a page; what fails in a child
 * is known to its parent by it. */
void fault_init(void *shared);
/* From now on. */
void fault_arm(const struct fault_plan *plan);
/* No more; how many calls of these kinds there were. It has failed if that is at least n. */
unsigned fault_disarm(void);
/* What failed: a name, and who called it (static; symbols as far as they are known). "" if nothing did. */
const char *fault_met(void);
/* What it said in errno. */
int fault_error(void);
/* Of the function that failed: are there as many variants as this? */
bool fault_has_variant(unsigned variant);
/* What malloc and others gave and free has not got back. */
long fault_allocations(void);

/* For functions that others stand in for. */
#define FAULT_VARIANTS 3u
struct fault_function {
	const char *name;
	unsigned kind;
	int error[FAULT_VARIANTS]; /* 0: no more */
};
/* True: this call is to fail; errno says how. */
bool fault_fails(const struct fault_function *function);

#endif
