/*
 * Data parts: mapped pieces of persistent memory that hold file blocks. A part is a file on any filesystem, a file on
 * fsdax, or a devdax node, mapped whole with libpmem. Stores reach it only through the functions below, so that tests
 * see each flush and fence (struct region_ops) and ordinary files get the msync they need.
 *
 * Functions return 0 or -errno, words in `message` (may be NULL). Mapped parts are used from any thread.
 */
#ifndef PINFS_REGION_H
#define PINFS_REGION_H

#include "base/log.h"
#include "format/format.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum region_durability {
	REGION_MSYNC = 1, /* an ordinary file: msync(2) makes durable what its filesystem makes durable */
	REGION_CPU_FLUSH = 2, /* persistent memory: cache lines are flushed */
	REGION_EADR = 3, /* caches are flushed by the platform on power failure */
};

/* How bytes reach the media. The default is libpmem; a test puts its own in place to see or drop flushes. */
struct region_ops {
	/* Copies with non-temporal stores where that is faster; durable after drain() (and, for msync, flush()). */
	void (*copy)(void *dest, const void *source, size_t length);
	void (*zero)(void *dest, size_t length);
	/* Starts write-back of [address, address + length). */
	int (*flush)(const void *address, size_t length, enum region_durability durability);
	/* Waits for all write-backs of this thread. */
	void (*drain)(enum region_durability durability);
};
extern const struct region_ops region_ops_libpmem;

struct region_part {
	uint32_t number;
	uint8_t uuid[16];
	uint64_t blocks; /* header copies included */
	unsigned char *base; /* block 0 */
	size_t length; /* mapped bytes */
	uint64_t alignment; /* of mappings: 4096, or the devdax node's */
	int fd; /* open read-write (read-only if so), locked (flock) */
	bool read_only;
	bool map_sync; /* mapped with MAP_SYNC, or devdax */
	enum region_durability durability;
	const struct region_ops *ops;
	_Atomic uint64_t *mapped; /* private to prefault.c; may be NULL */
	char path[4096];
};

/* What probing a path tells, before anything is changed. */
struct region_probe {
	bool exists;
	bool devdax;
	bool fsdax;
	uint64_t size; /* bytes; of a devdax node or a file */
	uint64_t alignment; /* of mappings: 4096, or the devdax node's */
	bool has_header; /* a valid part header is there */
	bool blank; /* the first and last 4 KiB are zeros (or the file is empty) */
	struct fmt_part_header header; /* if has_header */
};
int region_probe(const char *path, struct region_probe *ret_probe, struct message *message);

#define REGION_PART_BLOCKS_MIN 16u /* smallest part, headers included */

/*
 * Makes a data part: with size > 0 creates the file (O_EXCL; replaces an existing one if `force`), allocates every
 * block of it (posix_fallocate) and writes both header copies; with size 0 takes an existing file or devdax node whole.
 * size is rounded down to blocks. -EEXIST: a part or other content is there and `force` is not set; -ENOSPC; -EINVAL.
 */
struct region_create_args {
	const char *path;
	uint64_t size;
	bool force;
	uint32_t number;
	uint8_t pool_uuid[16];
	uint8_t part_uuid[16];
};
int region_create(const struct region_create_args *args, uint64_t *ret_blocks, struct message *message);

/*
 * Maps a part. Checks its header and its size against `expected` (uuid, pool, number, blocks) and locks it.
 * -ENOENT missing; -EUCLEAN damaged header, another pool's, or truncated; -EPROTONOSUPPORT newer format; -EBUSY locked
 * by another process (pid in `message`). `ops` NULL: region_ops_libpmem.
 */
struct region_expected {
	uint8_t pool_uuid[16];
	uint8_t part_uuid[16];
	uint32_t number;
	uint64_t blocks;
};
int region_open(const char *path, bool read_only, const struct region_expected *expected, const struct region_ops *ops,
		struct region_part **ret_part, struct message *message);
void region_close(struct region_part *part);

/*
 * Of the part's two headers, one that is damaged or differs is written anew from the other; *ret_what says which, NULL:
 * neither. `dry`: it is only said. -EUCLEAN: neither is this part's. Nobody has the part open.
 */
int region_mend_header(const char *path, const struct region_expected *expected, bool dry, const char **ret_what,
		       struct message *message);

/* Address of a block; the caller has checked block < blocks. */
static inline void *region_block(const struct region_part *part, uint64_t block)
{
	return part->base + (block << FMT_BLOCK_SHIFT);
}

/*
 * Stores: dest lies in the part, which is not read-only. Not durable before region_persist() of the range or, after
 * several stores, one region_flush() each and one region_drain(). On persistent memory region_copy/zero leave nothing
 * to flush: there region_flush() does nothing, and ops->flush is called for REGION_MSYNC only.
 *
 * Memory that is lost (SIGBUS: an uncorrectable error, or a file that was truncated) does not end the process: a store
 * to it, or from it, is cut short, and the next region_flush() or region_persist() of this thread returns -EHWPOISON.
 */
void region_copy(const struct region_part *part, void *dest, const void *source, size_t length);
void region_zero(const struct region_part *part, void *dest, size_t length);
/* Waits until all stores of region_copy/region_zero in [address, +length) of this thread are durable. -EIO. */
int region_persist(const struct region_part *part, const void *address, size_t length);
int region_flush(const struct region_part *part, const void *address, size_t length); /* -EIO */
void region_drain(const struct region_part *part);

/* Loads that survive lost memory. -EHWPOISON: some of it is lost. */
int region_is_zero(const struct region_part *part, const void *address, size_t length, bool *ret_zero);
/* The first block's worth of [address, +length) that is lost, by a load of each block. -ENOENT: none. */
int region_find_lost(const struct region_part *part, const void *address, size_t length, const void **ret_lost);

/* What makes stores to persistent memory of this machine durable, or to what is none. */
enum region_durability region_durability(bool pmem);
const char *region_durability_name(enum region_durability durability);

#endif
