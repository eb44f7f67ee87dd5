/*
 * Copies out of a pool what can still be read, without libpmemobj and without changing the pool. See README.md.
 */
#ifndef PINFS_RESCUE_H
#define PINFS_RESCUE_H

#include "base/log.h"

#include <stddef.h>
#include <stdint.h>

struct rescue_options {
	const char *meta_path;
	const char *const *data_paths; /* where data parts are; those that the pool records are tried too */
	size_t data_count;
	const char *target; /* an empty folder, or to be made */
	/* A line for each thing that is lost, or is not quite what it was: WHAT: WHY, printable. */
	void (*lost)(void *arg, const char *text);
	/* Called often. `total` may be 0: not known. */
	void (*progress)(void *arg, const char *phase, uint64_t done, uint64_t total);
	void *arg;
};

struct rescue_report {
	uint64_t files; /* copied, with a name or without */
	uint64_t directories;
	uint64_t symlinks;
	uint64_t others;
	uint64_t bytes; /* of data */
	uint64_t unnamed; /* of all these, how many are in lost+found */
	uint64_t lost; /* lines that `lost` was told */
};

/*
 * 0 if it came to its end, whatever was lost on the way. Else -errno with words in `message`: the pool or the target
 * cannot be used at all, or the target has no more room; the report says how far it got.
 */
int rescue_pool(const struct rescue_options *options, struct rescue_report *ret_report, struct message *message);

#endif
