/*
 * Ordered maps on media: a B+tree of 64-bit keys whose root lies in an inode and whose first few records need no page.
 * File extents and the pages of names (directories, xattrs) are kept in such maps.
 *
 * In an inner node the key of record i bounds its child from below (i > 0) and the child before it from above; the
 * first key of a node is no bound: that child begins where the node itself begins. A node has at least one record;
 * nodes under a quarter full are joined with a neighbour where both fit.
 *
 * A node is changed in place while its snapshot fits the transaction's undo log, else copied to a fresh page (tx.c).
 *
 * Locking: the caller's lock on the inode; see meta.h.
 */
#ifndef PINFS_META_MAP_H
#define PINFS_META_MAP_H

#include "meta/pool.h"

/* A map of an inode. */
struct map {
	struct meta *meta;
	const struct fmt_inode *owner;
	const struct fmt_map *root;
	const struct fmt_record *inline_record;
	unsigned inline_capacity;
	unsigned kind; /* FMT_KIND_ of its pages */
	uint32_t seed; /* of its records' checksums */
};

struct map map_of_body(struct meta *meta, const struct fmt_inode *inode);
struct map map_of_xattrs(struct meta *meta, const struct fmt_inode *inode);

/* A record and the way to it. Valid until the map changes: a change may move nodes to other pages. */
struct map_path {
	unsigned height; /* of the map: 0 if the record is inline */
	struct {
		struct fmt_node *node; /* NULL if inline */
		uint64_t page;
		int index;
	} level[FMT_MAP_HEIGHT_MAX]; /* [0]: the lowest */
};

/* The record at a path. */
const struct fmt_record *map_record(const struct map *map, const struct map_path *path);

/* The last record with a key of at most `key`. -ENOENT: none. */
int map_find(const struct map *map, uint64_t key, struct map_path *ret_path);
/* The first record. -ENOENT: the map is empty. */
int map_first(const struct map *map, struct map_path *ret_path);
/* Moves to the next record. -ENOENT: none; the path is as before then. */
int map_next(const struct map *map, struct map_path *path);
int map_prev(const struct map *map, struct map_path *path);

/* Adds a record; no record has its key yet. -ENOSPC. */
int map_insert(struct meta_tx *tx, const struct map *map, uint64_t key, uint64_t value, uint32_t length);
/*
 * Changes a record in place. A changed key keeps its place in the order; it is not lower if the record is the first of
 * its node and not higher if it is the last, for separators above would not follow.
 */
int map_update(struct meta_tx *tx, const struct map *map, const struct map_path *path, uint64_t key, uint64_t value,
	       uint32_t length);
/* Removes a record. Takes pages only to give as many back at commit: with META_TX_RESERVE that does not fail. */
int map_remove(struct meta_tx *tx, const struct map *map, const struct map_path *path);

/* The place of `key`: the path to the last record at or below it in its node; the index may be -1 in the lowest level.
 */
int map_descend(const struct map *map, uint64_t key, struct map_path *ret_path);
/* A page of the map as a node of that level, verified: -EUCLEAN. */
int map_node(const struct map *map, uint64_t page, unsigned level, struct fmt_node **ret_node);

#endif
