/*
 * A process that dies at its n-th point: before a transaction begins, or with all of it done but the commit. For one
 * source file of a program: it stands in for the two functions of libpmemobj.
 */
#ifndef PINFS_TEST_CRASH_POINTS_H
#define PINFS_TEST_CRASH_POINTS_H

#include <dlfcn.h>
#include <libpmemobj.h>
#include <unistd.h>

static unsigned points_left; /* 0: no crash */
#define CRASHED 99

static inline void crash_point(void)
{
	if (points_left > 0 && --points_left == 0)
		_exit(CRASHED);
}

int pmemobj_tx_begin(PMEMobjpool *pop, jmp_buf env, ...)
{
	int (*begin)(PMEMobjpool * pop, jmp_buf env, ...);

	*(void **)&begin = dlsym(RTLD_NEXT, "pmemobj_tx_begin");
	crash_point();
	return begin(pop, env, TX_PARAM_NONE); /* pinfs uses no parameters */
}

void pmemobj_tx_commit(void)
{
	void (*commit)(void);

	*(void **)&commit = dlsym(RTLD_NEXT, "pmemobj_tx_commit");
	crash_point();
	commit();
}

#endif
