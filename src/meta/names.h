/*
 * Trees of names: pages that hold names in no order, found through a map from the lowest key of a page to the page.
 * Directories are such trees, and an inode's xattrs.
 */
#ifndef PINFS_META_NAMES_H
#define PINFS_META_NAMES_H

#include "meta/map.h"

/* A name and where it is. */
struct names_place {
	struct map_path path; /* to the record of its page */
	struct fmt_names *page;
	uint64_t page_number;
	unsigned unit;
	const struct fmt_name *name; /* verified */
};

/* -ENOENT. */
int names_find(const struct map *map, const char *name, size_t length, struct names_place *ret_place);

/* A name to insert; `value` follows it on media if it is inline. */
struct names_new {
	const char *name;
	size_t length;
	uint8_t type;
	uint64_t target;
	uint32_t generation;
	const void *value;
	uint32_t value_length;
};
/* The name is not there yet. -ENOSPC. */
int names_insert(struct meta_tx *tx, const struct map *map, const struct names_new *new_name);
/* Takes pages only to give as many back at commit: with META_TX_RESERVE that does not fail. */
int names_remove(struct meta_tx *tx, const struct map *map, struct names_place *place);
/* Makes a name's record ready for changing; names_seal() ends it. */
int names_edit(struct meta_tx *tx, const struct map *map, struct names_place *place, struct fmt_name **ret_name);
void names_seal(const struct map *map, struct fmt_name *name);

/* The page of names at a record of the map, verified. */
int names_page(const struct map *map, const struct map_path *path, struct fmt_names **ret_page);

/* The key of a name before it is made unique. */
uint64_t names_hash(const struct meta *meta, const char *name, size_t length);

/* All names with keys above `after`, in the order of keys; non-zero from visit ends it. */
typedef int names_visit(void *arg, const struct fmt_name *name);
int names_iterate(const struct map *map, uint64_t after, names_visit *visit, void *arg);

#endif
