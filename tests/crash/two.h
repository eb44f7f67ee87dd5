/*
 * Two threads at work, one at a time: they change over where one fences, flushes, or takes a lock, as chance (a seed)
 * has it; so the same seed gives the same order of stores. Who finds a lock taken lets the other go on.
 */
#ifndef PINFS_CRASH_TWO_H
#define PINFS_CRASH_TWO_H

#include <stdint.h>

#define TWO_THREADS 2u

/* Runs body(arg, 0) and body(arg, 1) at once; returns when both have ended. */
void two_run(void (*body)(void *arg, unsigned thread), void *arg, uint64_t seed);
/* The thread that calls: 0 or 1; 0 where there is only one. */
unsigned two_self(void);
/* Here the other one may go on. */
void two_yield(void);

#endif
