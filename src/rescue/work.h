/* What the files of src/rescue share: a rescue in progress. */
#ifndef PINFS_RESCUE_WORK_H
#define PINFS_RESCUE_WORK_H

#include "format/format.h"
#include "rescue/image.h"
#include "rescue/rescue.h"

#include <sys/stat.h>

/* What is known of an inode from its slot. */
struct info {
	uint64_t ino;
	uint64_t blocks; /* that its extents claim, as far as they could be read */
	uint32_t generation;
	uint32_t mode;
	uint32_t nlink;
	uint32_t names; /* entries of sound directories that name it */
	uint32_t flags; /* INFO_ */
};

#define INFO_DAMAGED 1u /* the slot does not verify: only `ino` is good */
#define INFO_COPIED 2u
#define INFO_BODY_LOST 4u /* its map of extents or entries has gaps */
#define INFO_XATTRS_LOST 8u
#define INFO_STAGED 16u /* made in the folder of links; INFO_COPIED once it has a name */

#define BUFFER_SIZE (256u << 10)

/* A group of the meta part. */
struct group {
	uint64_t offset; /* in the image; 0: not found */
	uint64_t inode_frames; /* if `sound` */
	bool sound; /* the header verifies */
};

/* A lowest node of extents, or a page of names, that looks as if it were in use. */
struct page_info {
	uint64_t owner;
	uint64_t page;
	uint32_t generation;
	uint8_t kind;
	bool node;
	bool accepted; /* found to be its owner's (orphans.c) */
};

/* A data part. Blocks: as the header or the pool's record has it; two bits for each that is there. */
struct part {
	struct image image;
	bool open;
	uint64_t blocks;
	uint64_t bitmap_blocks;
	uint64_t *claimed; /* by an extent */
	uint64_t *twice; /* by more than one: nobody gets it */
};

struct work {
	const struct rescue_options *options;
	struct rescue_report report;
	struct message *message;
	struct image meta;
	unsigned char *buffer; /* BUFFER_SIZE, for who does not call others meanwhile */

	/* pool.c */
	bool has_uuid; /* else it is what fits `sample` */
	uint8_t pool_uuid[16];
	struct fmt_group sample; /* a sound header; magic 0: there is none */
	struct group *group; /* by number */
	uint64_t groups;

	/* inodes.c: by number, and pages by owner */
	struct info *info;
	size_t infos, infos_capacity;
	struct page_info *page;
	size_t pages, pages_capacity;
	uint64_t *reached; /* bit of each page that a map reaches */

	/* parts.c */
	struct part *part[FMT_PART_MAX + 1];
	uint64_t blocks_there; /* of all parts */
	uint64_t blocks_claimed;

	/* tree.c */
	int target; /* the folder */
	int links; /* a folder in it: files with several names, by number, while it goes on; or -1 */
	char links_name[32];
	int lost_found; /* or -1 */
	char lost_found_name[32];
	bool root; /* may keep owners */
	uint64_t owners_lost;
	uint64_t acls_lost;
	uint64_t bytes_total;
};

/* ---- report.c ---- */

/* Tells a line; names from the pool go through rescue_text() first. */
void rescue_lost(struct work *work, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Text that any terminal bears: what is not printable ASCII, or UTF-8, becomes \ooo. For messages. */
struct rescue_text {
	char text[1024];
};
const char *rescue_text(struct rescue_text *room, const char *bytes, size_t length);
void rescue_progress(struct work *work, const char *phase, uint64_t done, uint64_t total);

/* ---- pool.c ---- */

/* Finds the superblock and the groups. -EUCLEAN: not one is there. */
int pool_find(struct work *work);
/* True if this can be the pool's uuid; it is that, then. */
bool pool_uuid_fits(struct work *work, const uint8_t uuid[16]);

/* Where a page or a slot is in the image; 0: no such place is known. */
uint64_t pool_page_offset(const struct work *work, uint64_t page);
uint64_t pool_slot_offset(const struct work *work, uint64_t ino);

/* ---- inodes.c ---- */

/* Reads all inodes, and lists pages of names and nodes. */
int inodes_read(struct work *work);
void inodes_free(struct work *work);
struct info *inodes_find(const struct work *work, uint64_t ino);
/* The slot itself. -EUCLEAN: it does not verify; -EIO. */
int inode_read(const struct work *work, uint64_t ino, struct fmt_inode *ret_inode);

/* ---- map.c ---- */

/* One of an inode's maps. */
struct walk {
	struct work *work;
	const struct fmt_inode *inode;
	unsigned kind; /* FMT_KIND_EXTENTS, _ENTRIES or _XATTRS */
	/* A record of the lowest level, verified. Not 0: the walk ends with it. */
	int (*record)(struct walk *walk, const struct fmt_record *record);
	/* Keys [low, high] cannot be known. May be NULL. */
	void (*gap)(struct walk *walk, uint64_t low, uint64_t high);
	/* With a map of names: each name, verified, instead of `record`. */
	int (*name)(struct walk *walk, const struct fmt_name *name);
	void *arg;
	/* Kept by the walk. */
	uint32_t seed;
	uint64_t next_key;
	bool first;
	bool alone; /* in a page that nothing leads to */
	bool doubtful; /* `name` is told of one that may have been removed */
};

/* Goes through what can be read. -ENOMEM, or what `record` or `name` returned. */
int map_walk(struct walk *walk);
/* The records of a lowest node, or the names of a page, that the map does not reach but that are its own. */
int map_walk_page(struct walk *walk, const struct page_info *page);

/* ---- blob.c ---- */

/* Reads a chain of pages: the target of a symlink, a long value. -EUCLEAN, -EIO. */
int blob_copy(const struct work *work, const struct fmt_inode *inode, unsigned kind, uint64_t first, void *buffer,
	      size_t length);

/* ---- claims.c ---- */

/* Goes through all maps once: which blocks and pages are whose, how many names each inode has. */
int claims_collect(struct work *work);
/* How many blocks from `phys` on, at most `length`, are in the same state; `ret_state` tells which. */
enum claim { CLAIM_SOLE, CLAIM_TWICE, CLAIM_NO_PART, CLAIM_NO_BLOCK };
uint32_t claims_run(const struct work *work, uint64_t phys, uint32_t length, enum claim *ret_state);
/* True if one of these blocks is somebody's. */
bool claims_any(const struct work *work, uint64_t phys, uint32_t length);
void claims_add(struct work *work, struct info *info, const struct fmt_record *record);

/* ---- orphans.c ---- */

/* Pages whose map has a gap: decides which of them belong to it. */
int orphans_settle(struct work *work);
/*
 * A file whose inode is damaged: `inode` has what may be believed of it (generation, inline records, blocks, size). If
 * all that is found fits, its nodes are accepted and its blocks claimed.
 */
int orphans_salvage(struct work *work, struct info *info, struct fmt_inode *inode, bool *ret_found);
/* Where the pages of an owner begin in work->page: they stand together. */
size_t orphans_begin(const struct work *work, uint64_t owner);
/* The first page of this owner, generation and kind that was accepted; and the next. NULL: no more. */
const struct page_info *orphans_first(const struct work *work, uint64_t owner, uint32_t generation, unsigned kind);
const struct page_info *orphans_next(const struct work *work, const struct page_info *page);

/* ---- parts.c ---- */

int parts_open(struct work *work);
void parts_close(struct work *work);
const struct part *parts_find(const struct work *work, uint64_t phys);

/* ---- children.c: what is in a directory ---- */

struct child {
	size_t name; /* in `names`; terminated */
	uint64_t ino;
	uint32_t generation;
	uint8_t type; /* DT_ */
	bool alone; /* in a page that nothing leads to */
	bool doubtful; /* names only what has no other name */
	bool illegal; /* no such name may be made */
	uint8_t name_length;
};

struct children {
	struct child *child;
	size_t count, capacity;
	char *names;
	size_t names_length, names_capacity;
	bool gap; /* there were more */
};

/* Of a sound directory, or, by pages that say that they are its, of a lost one. -ENOMEM. */
int children_read(struct work *work, const struct info *directory, struct children *ret_children);
int children_read_lost(struct work *work, uint64_t ino, struct children *ret_children);
void children_free(struct children *children);
static inline const char *child_name(const struct children *children, const struct child *child)
{
	return children->names + child->name;
}

/* ---- place.c: the target ---- */

/* Makes the folder, or sees that it is empty. -errno, words in the message. */
int place_open(struct work *work);
/* Chooses names that these do not take. */
void place_choose(struct work *work, const struct children *root);
int place_lost_found(struct work *work);
/* Takes the folder of links away. */
void place_close(struct work *work);

/* ---- tree.c ---- */

int tree_copy(struct work *work);

/* ---- node.c: one inode ---- */

/* Makes `name` in `folder` what the inode is; not a directory. Not 0: the target takes no more. */
int node_copy(struct work *work, int folder, const char *name, struct info *info, const char *path);
/* True if an error of the target ends the rescue rather than costing one thing. */
bool node_fatal(int error);

/* ---- salvage.c: files whose inode is damaged ---- */

/* Copies what is found of one that a living entry of this generation names to lost+found. Tells of it. */
int salvage_copy(struct work *work, uint64_t ino, uint32_t generation, const char *path);

/* ---- file.c ---- */

int file_copy(struct work *work, int fd, const struct fmt_inode *inode, const char *path);

/* ---- attributes.c ---- */

/* Owner, mode, xattrs, times. `fd` may be -1: then of `name` in `folder`, which is a symlink or a special file. */
void attributes_copy(struct work *work, int fd, int folder, const char *name, const struct fmt_inode *inode,
		     const char *path);

#endif
