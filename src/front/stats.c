#include "front/stats.h"

#include "base/arith.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <time.h>

static const char *const op_names[] = {
	[FRONT_LOOKUP] = "lookup",
	[FRONT_FORGET] = "forget",
	[FRONT_GETATTR] = "getattr",
	[FRONT_SETATTR] = "setattr",
	[FRONT_READLINK] = "readlink",
	[FRONT_MKNOD] = "mknod",
	[FRONT_MKDIR] = "mkdir",
	[FRONT_SYMLINK] = "symlink",
	[FRONT_CREATE] = "create",
	[FRONT_LINK] = "link",
	[FRONT_UNLINK] = "unlink",
	[FRONT_RMDIR] = "rmdir",
	[FRONT_RENAME] = "rename",
	[FRONT_OPEN] = "open",
	[FRONT_READ] = "read",
	[FRONT_WRITE] = "write",
	[FRONT_FSYNC] = "fsync",
	[FRONT_FALLOCATE] = "fallocate",
	[FRONT_LSEEK] = "lseek",
	[FRONT_COPY_FILE_RANGE] = "copy_file_range",
	[FRONT_OPENDIR] = "opendir",
	[FRONT_READDIR] = "readdir",
	[FRONT_READDIRPLUS] = "readdirplus",
	[FRONT_FSYNCDIR] = "fsyncdir",
	[FRONT_STATFS] = "statfs",
	[FRONT_SETXATTR] = "setxattr",
	[FRONT_GETXATTR] = "getxattr",
	[FRONT_LISTXATTR] = "listxattr",
	[FRONT_REMOVEXATTR] = "removexattr",
	[FRONT_IOCTL] = "ioctl",
	[FRONT_TMPFILE] = "tmpfile",
	[FRONT_STATX] = "statx",
};
static_assert(ARRAY_SIZE(op_names) == FRONT_OPS, "every operation has a name");

const char *front_op_name(enum front_op op)
{
	return op_names[op];
}

uint64_t front_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static unsigned bucket_of(uint64_t ns)
{
	unsigned bits = ns == 0 ? 0 : 64 - (unsigned)__builtin_clzll(ns);

	return bits < FRONT_BUCKETS ? bits : FRONT_BUCKETS - 1;
}

/*
 * The kernel asks for names, attributes and ACLs that are not there all day, and isatty(3) is an ioctl; ENOSYS is how
 * the kernel is told to stop asking.
 */
static bool is_failure(int error)
{
	return error != 0 && error != -ENOENT && error != -ENODATA && error != -EOPNOTSUPP && error != -ENOSYS &&
	       error != -ENOTTY;
}

static void add(_Atomic uint64_t *number, uint64_t value)
{
	atomic_fetch_add_explicit(number, value, memory_order_relaxed);
}

void front_stats_begin(struct front_stats *stats, enum front_op op)
{
	add(&stats->counter[op].count, 1);
}

void front_stats_record(struct front_stats *stats, enum front_op op, uint64_t ns, int error)
{
	struct front_counter *counter = &stats->counter[op];

	add(&counter->total_ns, ns);
	add(&counter->bucket[bucket_of(ns)], 1);
	if (is_failure(error))
		add(&counter->errors, 1);
}

void front_stats_bytes(struct front_stats *stats, enum front_op op, uint64_t bytes)
{
	add(&stats->counter[op].bytes, bytes);
}
