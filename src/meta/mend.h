/*
 * For src/repair: reading what a damaged inode still has, and writing it anew. Readers never fail for damage: they say
 * what verifies, and that something did not. Writers make one transaction's worth of change each. Pages that lose their
 * owner here are free after the next scan, not before: so nothing that may still be wanted is overwritten.
 *
 * One thread; the pool is mounted by nobody.
 */
#ifndef PINFS_META_MEND_H
#define PINFS_META_MEND_H

#include "meta/meta.h"

/* Forgets what the scan has found; meta_scan() must follow. No transaction is open. */
void meta_mend_rescan(struct meta *meta);

/*
 * Group headers that do not verify are made anew by what their frames hold; one transaction each, told by number.
 * Before the scan, which believes them.
 */
int meta_mend_groups(struct meta *meta, void (*told)(void *arg, uint64_t group), void *arg);

/* One flipped bit in what lies under a checksum of ours is put back: the checksum says which. Before the scan. */
struct mend_bits_visitor {
	void (*told)(void *arg, const char *invariant, uint64_t ino, const char *what);
	void (*step)(void *arg); /* for each inode */
	void *arg;
};
int meta_mend_bits(struct meta *meta, const struct mend_bits_visitor *visitor);

/* The state of the superblock becomes `state`. */
int meta_mend_state(struct meta *meta, uint32_t state);

/* ---- Slots ---- */

/* An inode's 256 bytes as they are, not verified; NULL: there is no such slot. */
const struct fmt_inode *meta_mend_peek(const struct meta *meta, uint64_t ino);
/* Writes a slot in a transaction of its own; it is sealed. `inode` NULL: the slot is free from the next scan on. */
int meta_mend_slot(struct meta *meta, uint64_t ino, const struct fmt_inode *inode);

/* ---- Pages that no inode reaches ---- */

/* What such a page says of itself; its header verifies. */
struct mend_page {
	uint64_t page;
	uint64_t owner;
	uint32_t generation;
	uint32_t magic; /* FMT_NODE_MAGIC, FMT_NAMES_MAGIC, FMT_BLOB_MAGIC */
	uint8_t kind;
	uint8_t level;
};
/* After the scan. Pages for which `wanted` is true are kept out of use until the next scan. */
int meta_mend_unreached(struct meta *meta, bool (*wanted)(void *arg, const struct mend_page *page), void *arg);

/* ---- Maps ---- */

struct mend_map {
	struct fmt_record *record; /* of the lowest level: verified, in order, where they belong */
	size_t count, capacity;
	uint64_t nodes; /* read */
	bool damaged; /* something does not verify, or the number of nodes is wrong */
	struct fmt_record *loose; /* of a node without a sound header: each verifies, how many count is not known */
	size_t loose_count;
	unsigned loose_nodes; /* such nodes; `loose` is of the first */
};
int meta_mend_read_map(struct meta *meta, const struct fmt_inode *inode, bool xattrs, struct mend_map *ret_map);
/* The records of a node of the lowest level, adding to `map`, if they verify and are in order; -EUCLEAN. */
int meta_mend_read_node(struct meta *meta, const struct fmt_inode *inode, uint64_t page, struct mend_map *map);
void meta_mend_free_map(struct mend_map *map);
/* The map becomes these records, on fresh pages. -ENOSPC. */
int meta_mend_write_map(struct meta_tx *tx, const struct fmt_inode *inode, bool xattrs, const struct fmt_record *record,
			size_t count);

/* ---- Names ---- */

struct mend_name {
	const struct fmt_name *media;
	size_t leaf; /* index of its page; MEND_LOOSE: of a page that nothing vouches for */
	uint8_t type; /* as it is to be */
	bool drop; /* set by the caller: not to be written */
	bool moved; /* it is sound, but on the wrong page, or has a wrong key */
};
#define MEND_LOOSE SIZE_MAX

struct mend_names {
	struct mend_map map;
	bool *rewrite; /* by record of the map: the page's names go elsewhere */
	struct mend_name *name;
	size_t count, capacity;
	bool damaged; /* something was left out, or is not where it should be */
	bool lost; /* names may have been lost with it */
};
int meta_mend_read_names(struct meta *meta, const struct fmt_inode *inode, bool xattrs, struct mend_names *ret_names);
/* Adds all that verifies on a page as loose names. */
int meta_mend_read_loose(struct meta *meta, const struct fmt_inode *inode, bool xattrs, uint64_t page,
			 struct mend_names *names);
void meta_mend_free_names(struct mend_names *names);
/*
 * The tree becomes the names that are not dropped; pages of which all stay are kept as they are. A directory's size
 * becomes their number. Of several names with the same bytes the first stays. -ENOSPC.
 */
int meta_mend_write_names(struct meta_tx *tx, const struct fmt_inode *inode, bool xattrs, struct mend_names *names);

/* Records a data part, whatever was recorded of that number. */
int meta_part_mend(struct meta *meta, const struct meta_part *part);

/* True if the value of an xattr can be read. */
bool meta_mend_value_sound(struct meta *meta, const struct fmt_inode *inode, const struct fmt_name *name);

#endif
