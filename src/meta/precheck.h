/* What is looked at before libpmemobj, which trusts what it opens, sees a file. */
#ifndef PINFS_META_PRECHECK_H
#define PINFS_META_PRECHECK_H

#include "base/log.h"

#include <stdbool.h>
#include <stdint.h>

/* What is left when libpmemobj must not open a pool, or cannot. */
#define PRECHECK_ADVICE "`pinfs fsck --rescue META DIR` copies out what can be read"

/*
 * The path is a regular file or a devdax node, of an owner whom we trust (root or the caller), with a libpmemobj pool's
 * signature and logs whose bounds lie in the pool. -EUCLEAN, -EPERM or what the system says; words in `message`.
 */
struct precheck_file {
	uint64_t size; /* bytes */
	bool devdax;
	bool pmem; /* persistent memory: cache flushes are enough, no msync(2) */
};
int precheck(const char *path, struct precheck_file *ret_file, struct message *message);

#endif
