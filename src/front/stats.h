/* Counts and latencies of operations. Any thread; each number is right by itself, together they are not a snapshot. */
#ifndef PINFS_FRONT_STATS_H
#define PINFS_FRONT_STATS_H

#include <stdatomic.h>
#include <stdint.h>

enum front_op {
	FRONT_LOOKUP,
	FRONT_FORGET,
	FRONT_GETATTR,
	FRONT_SETATTR,
	FRONT_READLINK,
	FRONT_MKNOD,
	FRONT_MKDIR,
	FRONT_SYMLINK,
	FRONT_CREATE,
	FRONT_LINK,
	FRONT_UNLINK,
	FRONT_RMDIR,
	FRONT_RENAME,
	FRONT_OPEN,
	FRONT_READ,
	FRONT_WRITE,
	FRONT_FSYNC,
	FRONT_FALLOCATE,
	FRONT_LSEEK,
	FRONT_COPY_FILE_RANGE,
	FRONT_OPENDIR,
	FRONT_READDIR,
	FRONT_READDIRPLUS,
	FRONT_FSYNCDIR,
	FRONT_STATFS,
	FRONT_SETXATTR,
	FRONT_GETXATTR,
	FRONT_LISTXATTR,
	FRONT_REMOVEXATTR,
	FRONT_IOCTL,
	FRONT_TMPFILE,
	FRONT_STATX,
	FRONT_OPS,
};

/* Bucket i counts latencies of [2^(i-1), 2^i) ns; bucket 0 is 0 ns, the last takes the rest (from 4.6 minutes on). */
#define FRONT_BUCKETS 40u

/* Of one operation; on cache lines of its own, so that operations do not slow each other down. */
struct front_counter {
	_Alignas(64) _Atomic uint64_t count; /* begun */
	_Atomic uint64_t errors; /* answered with an error other than that a name or an attribute is not there */
	_Atomic uint64_t bytes; /* read, written, copied */
	_Atomic uint64_t total_ns;
	_Atomic uint64_t bucket[FRONT_BUCKETS];
};

struct front_stats {
	struct front_counter counter[FRONT_OPS];
};

const char *front_op_name(enum front_op op);
uint64_t front_now_ns(void);
/* Counts it: what a caller has an answer to has been counted. */
void front_stats_begin(struct front_stats *stats, enum front_op op);
/* One operation was answered with `error` (0 or -errno); ns from request to reply. */
void front_stats_record(struct front_stats *stats, enum front_op op, uint64_t ns, int error);
void front_stats_bytes(struct front_stats *stats, enum front_op op, uint64_t bytes);

#endif
