/*
 * The pin ledger: xattrs of the inodes FMT_INO_LEDGER ..., one inode a shard. ledger.c adds and erases, ledger_read.c
 * reads all of it. Names and values are described in src/format.
 *
 *   L1. Pieces are there before their pin's head, and go after it: a head is whole, and what has no head is void.
 *   L2. A session is there before its pins; pins whose session is not there are void.
 *   L3. A shard's inode, names and blobs are changed only under its lock. Shards share nothing.
 */
#ifndef PINFS_META_LEDGER_H
#define PINFS_META_LEDGER_H

#include "meta/names.h"

/* A name with its value's place, as a walk meets it. */
struct ledger_record {
	struct fmt_ledger_key key;
	const struct fmt_name *name;
};

/* The shard's inode. -EUCLEAN: it is not there, or damaged. */
int ledger_shard(struct meta *meta, uint64_t session, const struct fmt_inode **ret_shard);
/* Looks a name up. -ENOENT. */
int ledger_find(const struct map *shard, const struct fmt_ledger_key *key, struct names_place *ret_place);
/* The whole value, into memory for memory_give_back(). -EUCLEAN. */
int ledger_value(const struct map *shard, const struct fmt_name *name, void **ret_value);
/* Erases one name in a transaction of its own, under the lock of its shard. -ENOENT. */
int ledger_erase(struct meta *meta, const struct fmt_ledger_key *key);

#endif
