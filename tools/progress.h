/* A line on standard error that shows how far something has got, if that is a terminal. */
#ifndef PINFS_TOOL_PROGRESS_H
#define PINFS_TOOL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool shown; /* a line is there, to be ended or overwritten */
	bool on;
	int64_t last; /* milliseconds of CLOCK_MONOTONIC */
	const char *phase;
};

/* `always`: also if standard error is no terminal. */
void progress_init(struct progress *progress, bool always);
/* May be called as often as one likes: draws at most 10 times a second. total 0: not known. */
void progress_show(struct progress *progress, const char *phase, uint64_t done, uint64_t total);
/* Before something else is printed, and at the end: takes the line away. */
void progress_clear(struct progress *progress);

#endif
