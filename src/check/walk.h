/*
 * What the files of src/check share: the state of one walk. One thread, nothing to lock.
 *
 * check.c opens the pool and orders the passes, child.c runs them apart, problem.c keeps what was found, inodes.c and
 * extents.c judge what the scan sees, ledger.c the pin ledger, parts.c the data parts, names.c entries, values.c
 * symlinks and xattrs, links.c the tree.
 */
#ifndef PINFS_CHECK_WALK_H
#define PINFS_CHECK_WALK_H

#include "check/check.h"
#include "format/format.h"
#include "meta/meta.h"
#include "region/region.h"

#include <sys/stat.h>

#define CHECK_NO_INDEX SIZE_MAX

enum check_reach {
	CHECK_REACH_UNKNOWN,
	CHECK_REACH_VISITING, /* on the way up that is being walked */
	CHECK_REACH_YES,
	CHECK_REACH_NO,
};

struct check_inode {
	uint64_t ino;
	uint64_t size;
	uint64_t tail_phys; /* the written block in which the file ends; 0: none, or it ends at a block's end */
	uint64_t parent; /* directory: as recorded */
	uint64_t named; /* entries that name it */
	uint64_t entries; /* directory: its entries */
	uint64_t subdirs; /* directory: its entries that name directories */
	size_t named_by; /* index of the first directory that names it, or CHECK_NO_INDEX */
	uint32_t mode;
	uint32_t nlink;
	uint32_t generation;
	uint8_t reach; /* directory: enum check_reach */
	bool intent;
	bool partial; /* directory: damaged, not all of its entries were seen */
	bool values; /* has xattrs */
	bool damaged; /* the scan, or meta_inode_check(), reported something of it */
	bool tangled; /* its pages are shared or in disorder: reading them could go on for ever */
};

struct check_extent {
	uint64_t phys;
	uint64_t ino;
	uint32_t length;
};

struct check_part {
	struct meta_part record;
	struct region_part *region; /* NULL: not there, or not to be trusted */
};

struct check_found {
	char *text;
	uint64_t ino;
	enum check_severity severity;
	char invariant[8];
};

struct check {
	const struct check_options *options;
	struct check_report report;
	struct meta *meta;
	struct meta_visitor visitor;
	int failed; /* -ENOMEM somewhere: the walk is void */

	struct check_inode *inode; /* in order of numbers once the scan is over */
	size_t inodes, inode_capacity;
	struct check_extent *extent;
	size_t extents, extent_capacity;
	struct check_extent *bad; /* runs of lost blocks, by place: these may be a file's or limbo's, too */
	size_t bads, bad_capacity;
	struct check_part *part; /* by number */
	size_t parts, part_capacity;
	struct check_found *found;
	size_t founds, found_capacity;

	uint64_t done; /* steps in this phase */
	const char *phase;
};

/* Makes room for one more element; the array stays as it was on -ENOMEM. */
int check_grow(void *array, size_t *capacity, size_t count, size_t element);

/* check.c: tells the caller of the phase, and then, now and then, of steps in it. */
void check_phase(struct check *check, const char *phase);
void check_step(struct check *check);
/* check.c: the whole walk in this process. */
int check_walk(const struct check_options *options, struct check_report *ret_report, struct message *message);
/* check.c: all passes on check->meta, which is open and not scanned; nothing is told. check_fini() in any case. */
int check_passes(struct check *check, struct message *message);
/* check.c: frees all but check->meta. */
void check_fini(struct check *check);

/* What a child process does; its problems and steps are told through `options`. */
struct check_work {
	int (*run)(void *arg, const struct check_options *options, struct check_report *ret_report,
		   struct message *message);
	void *arg;
};
/* child.c: `work` in a child process; a crash or a standstill becomes an I1 error. */
int check_apart(const struct check_options *options, const struct check_work *work, struct check_report *ret_report,
		struct message *message);

/* problem.c. Cannot fail: want of memory is kept in check->failed. */
void check_error(struct check *check, const char *invariant, uint64_t ino, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
void check_note(struct check *check, const char *invariant, uint64_t ino, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* Hands all that was found to the caller, with paths where the tree tells them. */
void check_tell(struct check *check);
#define CHECK_PATH_SIZE 4096u
/* NULL: it has none, or it is not known. `*steps`: how many entries may be read to find it; is lowered. */
const char *check_path(struct check *check, uint64_t ino, uint64_t *steps, char buffer[CHECK_PATH_SIZE]);
void check_problem_fini(struct check *check);

/* inodes.c: the scan's visitor, and what can be said of an inode by itself. */
int check_scan(struct check *check, struct message *message);
/* NULL: no such inode, or a damaged one. After check_scan(). */
struct check_inode *check_inode_find(struct check *check, uint64_t ino);
/* The inode of that number; made when it is seen for the first time. During the scan. */
int check_inode_seen(struct check *check, const struct fmt_inode *media, struct check_inode **ret_inode);
static inline bool check_reserved(uint64_t ino)
{
	return ino != FMT_INO_ROOT && ino < FMT_INO_FIRST_FREE;
}

/* extents.c: one extent during the scan (I9, I11); then all of them by place (I7, I8, I24). */
int check_extent_seen(struct check *check, const struct fmt_inode *media, const struct meta_extent *extent);
void check_extents(struct check *check);

/* True if [phys, +length) lies between the headers of its part. */
bool check_inside_part(const struct check *check, uint64_t phys, uint32_t length);
/* The first extent by place that ends behind `phys`; check->extents: none. After check_extents(), which sorts them. */
size_t check_extent_find(const struct check *check, uint64_t phys);

/* True if the block is recorded as lost. */
bool check_is_bad(const struct check *check, uint64_t phys);

/* ledger.c: the pin ledger (I25 to I28). */
int check_ledger(struct check *check);

/* parts.c: records and headers (I21), and the bytes behind the files' ends (I12). */
int check_parts_open(struct check *check, struct message *message);
void check_tails(struct check *check);
void check_parts_close(struct check *check);
/* Where a part is: where the pool says, or, moved, one of options->data_paths. */
const char *check_part_path(const struct check *check, const struct meta_part *record);

/* names.c: directory entries (I13, I14, I15), symlinks (I19), xattrs (I20, I29). values.c: the latter two. */
int check_names(struct check *check);
int check_symlink(struct check *check, const struct check_inode *inode, const struct fmt_inode *media);
int check_xattrs(struct check *check, const struct check_inode *inode, const struct fmt_inode *media);

/* links.c: link counts, parents, reachability, sizes of directories, orphans (I16, I17, I18, I22). */
void check_links(struct check *check);

#endif
