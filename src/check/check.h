/*
 * Walks an unmounted pool and reports every broken invariant by its number (src/format/README.md): `pinfs fsck`, and
 * what every crash test ends with. Changes nothing: the meta part is opened as a private copy, data parts read-only.
 */
#ifndef PINFS_CHECK_H
#define PINFS_CHECK_H

#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum check_severity {
	CHECK_NOTE, /* what a crash may leave and the next mount tidies up */
	CHECK_ERROR, /* must never be on media */
	CHECK_MENDED, /* of src/repair: the text says what was done */
};

/* Strings are valid during the call only. */
struct check_problem {
	const char *invariant; /* "I7" */
	enum check_severity severity;
	uint64_t ino; /* 0: not of an inode */
	const char *path; /* from the root of the pool, "/a/b"; NULL: not known */
	const char *text; /* one line, without invariant, number and path */
};

struct check_options {
	const char *meta_path;
	const char *const *data_paths; /* where moved data parts are, matched by their header's uuid */
	size_t data_count;
	bool skip_data; /* leave the data parts alone: I12 and I21 are not checked */
	/*
	 * For tests, on pools that are known to be sane. Otherwise meta_probe() tries the pool first, and the walk runs
	 * in a child process, so that a pool that crashes libpmemobj or makes it loop is an error of the pool.
	 */
	bool skip_probe;
	bool in_process;
	unsigned stall_seconds; /* the child is given up after that long without progress; 0: 60 */
	/* Each may be NULL. Called from check_pool(), problems in the order found, at the end. */
	void (*problem)(void *arg, const struct check_problem *problem);
	void (*progress)(void *arg, const char *phase, uint64_t done);
	void *arg;
};

/* At most so many problems are told one by one; all are counted. */
#define CHECK_TOLD_MAX 10000u

struct check_report {
	uint64_t inodes; /* in use, reserved ones left out */
	uint64_t directories;
	uint64_t files;
	uint64_t symlinks;
	uint64_t others;
	uint64_t entries;
	uint64_t extents;
	uint64_t xattrs; /* reserved inodes' left out */
	uint64_t blocks_total; /* of all data parts, headers left out */
	uint64_t blocks_used;
	uint64_t blocks_free;
	uint64_t limbo_bytes; /* used, of no file: pinned when their file let go of them */
	uint64_t bad_bytes; /* lost to memory errors, those that are still files' included */
	uint64_t ledger_sessions;
	uint64_t ledger_pins; /* of these sessions */
	uint64_t ledger_void; /* names in the ledger that the next mount sweeps */
	uint64_t meta_pages_total;
	uint64_t meta_pages_free;
	uint64_t parts;
	uint64_t orphans; /* inodes without a name that the next mount frees */
	uint64_t intents; /* truncations that the next mount finishes */
	uint64_t errors;
	uint64_t notes;
	uint64_t untold; /* errors and notes beyond CHECK_TOLD_MAX */
	bool clean; /* unmounted cleanly */
	char features[256]; /* names of what the pool uses that older versions do not know, ", " between */
	bool unreadable; /* the walk could not begin, or did not end: counts are what was seen until then */
};

/*
 * 0: the pool was looked at, and `ret_report` says what was found; a pool too damaged to be opened is an I1 error
 * there. -EBUSY: it is mounted, or another process has it (pid in `message`); -EPROTONOSUPPORT: a newer format;
 * -ENOENT, -EACCES, -ENOMEM ...; words in `message` (may be NULL). Forks: to be called before any thread is started.
 * Memory: about 128 bytes per inode and 24 per extent.
 */
int check_pool(const struct check_options *options, struct check_report *ret_report, struct message *message);

#endif
