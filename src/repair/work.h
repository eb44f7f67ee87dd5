/*
 * What the files of src/repair share. repair.c orders the stages; each of the others mends one kind of thing, from what
 * the last analysis (a walk of src/check) has found. One thread.
 *
 * A stage returns 0, also if it could not mend everything, or -errno, which ends the repair; what it did is counted in
 * work->mended. It changes the pool by transactions of which each leaves it no worse.
 */
#ifndef PINFS_REPAIR_WORK_H
#define PINFS_REPAIR_WORK_H

#include "check/walk.h"
#include "meta/mend.h"
#include "repair/repair.h"

/* A page that no inode reaches and that names a damaged one as its owner. */
struct repair_pages {
	struct mend_page *page; /* in order of owner */
	size_t count, capacity;
};

struct repair_inodes {
	uint64_t *ino; /* in order */
	size_t count, capacity;
};

struct work {
	const struct check_options *options;
	bool dry;
	struct meta *meta;
	struct check check; /* the analysis; its parts may be opened for writing by repair_part() */
	struct repair_inodes slots; /* I3: inodes whose record does not verify */
	struct repair_inodes damaged; /* these, and those of which something is lost */
	struct repair_pages pages; /* of `damaged`: kept out of use until the next analysis */
	uint32_t *named; /* by index of check.inode: names that verify, in all directories; NULL: not counted yet */
	uint32_t *loose; /* names that nothing but their own checksum vouches for */
	bool parts_doubtful; /* I21: what a part is, or that there is one, is not known: no extent is judged by it */
	/* Dry: data parts stay as they are, and so each of these is met by every analysis; it is told once. */
	struct repair_inodes told_headers; /* of parts, by number */
	struct repair_inodes told_tails;
	uint64_t mended;
	uint64_t steps; /* for paths */
};

/* repair.c: says what was done (dry: would be done), and counts it. */
void repair_say(struct work *work, const char *invariant, uint64_t ino, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* set.c */
int repair_inodes_add(struct repair_inodes *set, uint64_t ino);
void repair_inodes_sort(struct repair_inodes *set); /* and each once */
bool repair_inodes_has(const struct repair_inodes *set, uint64_t ino);
/* All inodes of which one of these invariants is reported ("I4 I5"). */
int repair_inodes_with(const struct work *work, const char *invariants, struct repair_inodes *ret_set);
bool repair_has(const struct work *work, const char *invariants);
/* Index of the first page of that owner. */
size_t repair_pages_find(const struct repair_pages *pages, uint64_t owner);

/* Begins a transaction that may use the reserve and may make an inode. */
int repair_begin(struct work *work, bool inode, struct meta_tx **ret_tx);
/* Begins one that changes this inode's record. On an error none is open. */
int repair_edit(struct work *work, uint64_t ino, struct meta_tx **ret_tx, struct fmt_inode **ret_edited);
/* Ends it: commits if error is 0, else aborts. */
int repair_end(struct meta_tx *tx, int error);

/* inodes.c: I3. Those that a name vouches for; then, with everything else in place, the others. */
int repair_slots_named(struct work *work);
int repair_slots_others(struct work *work);

/* What is known of an inode whose record is damaged. */
struct repair_lost {
	uint64_t ino;
	uint64_t parent; /* directory of the first name; 0: no name has been seen */
	uint32_t generation;
	uint8_t type; /* DT_ */
};
/* record.c: one record. Made anew from what is left, or freed, if it could be of no use. */
int repair_record(struct work *work, const struct repair_lost *lost);
/* It verifies, and has fields that cannot be. */
int repair_record_fields(struct work *work, uint64_t ino, const struct fmt_inode *slot);
/* Its records or pages verify with the generation that it says: then it is what it says, and was somebody's. */
bool repair_record_vouched(struct work *work, uint64_t ino);

/* content.c: maps and names of damaged inodes. */
int repair_content_parts(struct work *work); /* the xattrs of inode 2 */
int repair_content(struct work *work);
int repair_directories(struct work *work); /* I14, I15, I18 */

/* file.c, directory.c, values.c: one inode each. */
int repair_file(struct work *work, const struct fmt_inode *inode);
int repair_directory(struct work *work, const struct fmt_inode *inode);
int repair_xattrs(struct work *work, const struct fmt_inode *inode);
int repair_values(struct work *work); /* symlinks and ACLs: I19, I29 */

/* select.c: which of the items together have the weight `sum` and do not overlap; false: none, or more than one way. */
struct repair_item {
	uint64_t low, high; /* keys, inclusive */
	uint64_t weight;
	bool taken;
};
bool repair_select(struct repair_item *item, size_t count, uint64_t sum);

/* shared.c: blocks with two owners: I8, I24. */
int repair_shared(struct work *work);

/* links.c: I16, I17. found.c: what has no name gets one in /lost+found. */
int repair_links(struct work *work);
/* Enters an inode as #INO, in the transaction that the caller ends. */
int repair_found_open(struct work *work, uint64_t *ret_ino);
int repair_found_add(struct work *work, struct meta_tx *tx, uint64_t found, const struct fmt_inode *inode);

/* ledger.c: I25 to I28. */
int repair_ledger(struct work *work);

/* parts.c: I21, I12. */
int repair_parts(struct work *work);
int repair_tails(struct work *work);
/* True if what a loose name records of a part is confirmed by the header of that part. */
bool repair_part_vouched(struct work *work, const struct fmt_name *name);
/* The part, opened for writing; NULL: it cannot be, or this is dry. */
struct region_part *repair_part(struct work *work, uint32_t number);

#endif
