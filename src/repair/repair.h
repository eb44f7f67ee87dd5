/*
 * Mends an unmounted pool: `pinfs fsck --repair`. src/repair/README.md says what becomes of each broken invariant, in
 * which order, by which transaction. Everything runs in child processes, first once on a private copy.
 */
#ifndef PINFS_REPAIR_H
#define PINFS_REPAIR_H

#include "check/check.h"

struct repair_options {
	/*
	 * `problem` hears what is wrong, then, as CHECK_MENDED, what was done, then what is left. With skip_probe and
	 * in_process (tests) the pool is mended in this process, without a try on a copy.
	 */
	struct check_options check;
	bool dry; /* change nothing: tell what would be done */
};

struct repair_result {
	struct check_report before;
	struct check_report after; /* dry: as it would be */
	uint64_t mended; /* things done, or that would be */
};

/*
 * 0: `ret_result` says what was found and done; after.errors: what could not be mended. -EUCLEAN: the pool cannot be
 * opened, or breaks the program that tries; nothing was changed. Else as check_pool(). Words in `message`.
 */
int repair_pool(const struct repair_options *options, struct repair_result *ret_result, struct message *message);

#endif
