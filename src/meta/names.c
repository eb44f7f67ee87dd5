#include "meta/names.h"

#include <errno.h>
#include <sodium.h>

static_assert(crypto_shorthash_BYTES == 8 && crypto_shorthash_KEYBYTES == 16, "SipHash-2-4: 8 bytes by a key of 16");

uint64_t names_hash(const struct meta *meta, const char *name, size_t length)
{
	uint64_t hash;

	crypto_shorthash((unsigned char *)&hash, (const unsigned char *)name, length, meta->super->hash_key);
	hash >>= 16;
	/* Keys below META_COOKIE_MIN are "." and ".." to readdir. */
	return (hash == 0 ? 1 : hash) << FMT_KEY_UNIQUE_BITS;
}

int names_page(const struct map *map, const struct map_path *path, struct fmt_names **ret_page)
{
	struct fmt_names *page = meta_page(map->meta, map_record(map, path)->value);

	if (page == NULL || !fmt_names_valid(page, map->owner, map->kind))
		return -EUCLEAN;
	*ret_page = page;
	return 0;
}

/* The path to the page for `key`: the first page takes what is below its own lowest key. */
static int seek(const struct map *map, uint64_t key, struct map_path *path)
{
	int error = map_find(map, key, path);

	return error == -ENOENT ? map_first(map, path) : error;
}

/* Moves on if names of this hash can be on the next page too. -ENOENT: no. */
static int next_of_hash(const struct map *map, uint64_t hash, struct map_path *path)
{
	struct map_path next = *path;
	int error = map_next(map, &next);

	if (error != 0)
		return error;
	if (map_record(map, &next)->key > (hash | FMT_KEY_UNIQUE_MASK))
		return -ENOENT;
	*path = next;
	return 0;
}

/* Unit of the name on the page, or -ENOENT; *max_key rises to the highest key of this hash. */
static int page_search(const struct map *map, const struct fmt_names *page, uint64_t hash, const char *name,
		       size_t length, uint64_t *max_key)
{
	uint8_t fingerprint = fmt_fingerprint(hash);

	for (uint64_t left = page->start; left != 0; left &= left - 1) {
		unsigned unit = (unsigned)__builtin_ctzll(left);
		const struct fmt_name *found;

		if (page->fingerprint[unit] != fingerprint)
			continue;
		found = fmt_name_at(page, unit, map->seed);
		if (found == NULL)
			return -EUCLEAN;
		if ((found->key & ~FMT_KEY_UNIQUE_MASK) != hash)
			continue;
		if (found->key > *max_key)
			*max_key = found->key;
		if (found->name_length == length && memcmp(found->bytes, name, length) == 0)
			return (int)unit;
	}
	return -ENOENT;
}

/* As names_find(); *ret_max_key is the highest key of this hash that was seen, or 0. */
static int find(const struct map *map, uint64_t hash, const char *name, size_t length, struct names_place *place,
		uint64_t *ret_max_key)
{
	int error;
	int unit;

	*ret_max_key = 0;
	for (error = seek(map, hash, &place->path); error == 0; error = next_of_hash(map, hash, &place->path)) {
		error = names_page(map, &place->path, &place->page);
		if (error != 0)
			return error;
		unit = page_search(map, place->page, hash, name, length, ret_max_key);
		if (unit >= 0) {
			place->page_number = map_record(map, &place->path)->value;
			place->unit = (unsigned)unit;
			place->name = (const struct fmt_name *)place->page->unit[unit];
			return 0;
		}
		if (unit != -ENOENT)
			return unit;
	}
	return error;
}

int names_find(const struct map *map, const char *name, size_t length, struct names_place *ret_place)
{
	uint64_t max_key;

	return find(map, names_hash(map->meta, name, length), name, length, ret_place, &max_key);
}

/* ---- Filling a page ---- */

static unsigned new_units(const struct map *map, const struct names_new *new_name)
{
	bool with_value = map->kind == FMT_KIND_XATTRS && new_name->type == FMT_XATTR_INLINE;

	return fmt_name_units(new_name->length, with_value ? new_name->value_length : 0);
}

/* Marks units [unit, unit + count) as one name with that key. The header is snapshotted or fresh. */
static void page_mark(struct fmt_names *page, unsigned unit, unsigned count, uint64_t key)
{
	page->used |= ((1ull << count) - 1) << unit;
	page->start |= 1ull << unit;
	page->fingerprint[unit] = fmt_fingerprint(key);
	fmt_names_seal(page);
}

/* Writes a new name at `unit`, whose units are free and snapshotted or fresh. */
static void page_write(const struct map *map, struct fmt_names *page, unsigned unit, const struct names_new *new_name,
		       uint64_t key)
{
	struct fmt_name *name = (struct fmt_name *)page->unit[unit];
	unsigned units = new_units(map, new_name);

	memset(name, 0, sizeof(*name));
	name->type = new_name->type;
	name->units = (uint8_t)units;
	name->name_length = (uint8_t)new_name->length;
	name->key = key;
	name->target = new_name->target;
	name->generation = new_name->generation;
	name->value_length = new_name->value_length;
	memcpy(name->bytes, new_name->name, new_name->length);
	if (map->kind == FMT_KIND_XATTRS && new_name->type == FMT_XATTR_INLINE && new_name->value_length > 0)
		memcpy(name->bytes + new_name->length, new_name->value, new_name->value_length);
	fmt_name_seal(name, map->kind, map->seed);
	page_mark(page, unit, units, key);
}

/* First of `count` consecutive free units, or -1. */
static int page_gap(const struct fmt_names *page, unsigned count)
{
	uint64_t runs = ~page->used & ((1ull << FMT_NAMES_UNITS) - 1);

	/* Bit i stays if units i to i + count - 1 are free. */
	for (unsigned have = 1; have < count;) {
		unsigned step = have < count - have ? have : count - have;

		runs &= runs >> step;
		have += step;
	}
	return runs == 0 ? -1 : __builtin_ctzll(runs);
}

static int page_create(struct meta_tx *tx, const struct map *map, uint64_t *ret_number, struct fmt_names **ret_page)
{
	struct fmt_names *page;
	void *address;
	int error;

	error = tx_page_take(tx, ret_number, &address);
	if (error != 0)
		return error;
	page = address;
	memset(page, 0, offsetof(struct fmt_names, unit));
	page->magic = FMT_NAMES_MAGIC;
	page->owner = map->owner->ino;
	page->generation = map->owner->generation;
	page->kind = (uint8_t)map->kind;
	fmt_names_seal(page);
	*ret_page = page;
	return 0;
}

/*
 * Makes the page at `place` ready for a change of its header (if `header`) and of `length` bytes at unit `unit`: fresh
 * pages are; others are snapshotted, or moved if that does not fit. The place follows, but for its path.
 */
static int page_own(struct meta_tx *tx, const struct map *map, struct names_place *place, bool header, unsigned unit,
		    size_t length)
{
	const size_t header_size = offsetof(struct fmt_names, unit);
	const struct fmt_record record = *map_record(map, &place->path);
	size_t cost = (header ? tx_cost(header_size) : 0) + (length > 0 ? tx_cost(length) : 0);
	void *address;
	int error = 0;

	if (tx_is_fresh(tx, place->page_number))
		return 0;
	if (tx_fits(tx, cost)) {
		if (header)
			error = tx_edit(tx, place->page, header_size);
		if (error == 0 && length > 0)
			error = tx_edit(tx, place->page->unit[unit], length);
		return error;
	}
	error = tx_page_move(tx, place->page_number, &place->page_number, &address);
	if (error != 0)
		return error;
	place->page = address;
	place->name = (const struct fmt_name *)place->page->unit[place->unit];
	return map_update(tx, map, &place->path, record.key, place->page_number, 0);
}

/* ---- Rewriting pages ---- */

/* A name of a page that is rewritten: one that is there, or the new one (unit NEW). */
#define NEW FMT_NAMES_UNITS
struct item {
	uint64_t key;
	const struct fmt_names *page;
	unsigned unit;
	unsigned units;
};
/* Names of two pages, and a new one. */
#define ITEMS_MAX (2 * FMT_NAMES_UNITS + 1)

static int compare_items(const void *a, const void *b)
{
	const struct item *left = a, *right = b;

	return left->key < right->key ? -1 : left->key > right->key;
}

/* Adds a page's names to items[]; -EUCLEAN if one is damaged. */
static int items_add(const struct map *map, const struct fmt_names *page, struct item *items, unsigned *count)
{
	for (uint64_t left = page->start; left != 0; left &= left - 1) {
		unsigned unit = (unsigned)__builtin_ctzll(left);
		const struct fmt_name *name = fmt_name_at(page, unit, map->seed);

		if (name == NULL)
			return -EUCLEAN;
		items[(*count)++] = (struct item){name->key, page, unit, name->units};
	}
	return 0;
}

/* Copies items in order to a fresh page. They fit. */
static int items_write(struct meta_tx *tx, const struct map *map, const struct item *items, unsigned count,
		       const struct names_new *new_name, uint64_t *ret_number)
{
	struct fmt_names *page;
	unsigned unit = 0;
	int error;

	error = page_create(tx, map, ret_number, &page);
	if (error != 0)
		return error;
	for (unsigned i = 0; i < count; i++) {
		if (items[i].unit == NEW) {
			page_write(map, page, unit, new_name, items[i].key);
		} else {
			memcpy(page->unit[unit], items[i].page->unit[items[i].unit], items[i].units * FMT_UNIT_SIZE);
			page_mark(page, unit, items[i].units, items[i].key);
		}
		unit += items[i].units;
	}
	return 0;
}

/* How many of the sorted items go to the left page, so that both have about the same number of units. */
static unsigned items_half(const struct item *items, unsigned count, unsigned units)
{
	unsigned sum = 0, i = 0;

	while (i + 1 < count && (i == 0 || sum + items[i].units / 2 < units / 2))
		sum += items[i++].units;
	return i;
}

/*
 * Rewrites a page that has no room for a new name as one or two fresh pages. No snapshot of the page is needed: it is
 * dropped as it is.
 */
static int page_split(struct meta_tx *tx, const struct map *map, const struct names_place *place,
		      const struct names_new *new_name, uint64_t key)
{
	const struct fmt_record record = *map_record(map, &place->path);
	struct item items[ITEMS_MAX];
	uint64_t left, right, low;
	unsigned count = 0, units = 0, half;
	int error;

	error = items_add(map, place->page, items, &count);
	if (error != 0)
		return error;
	items[count++] = (struct item){key, NULL, NEW, new_units(map, new_name)};
	qsort(items, count, sizeof(items[0]), compare_items);
	for (unsigned i = 0; i < count; i++)
		units += items[i].units;
	/* The first page holds what is below its key too: from now on the key says so, for the right page's is among
	 * them. */
	low = record.key <= items[0].key ? record.key : 0;
	half = units <= FMT_NAMES_UNITS * 3 / 4 ? count : items_half(items, count, units);
	error = items_write(tx, map, items, half, new_name, &left);
	if (error == 0)
		error = map_update(tx, map, &place->path, low, left, 0);
	if (error == 0 && half < count) {
		error = items_write(tx, map, items + half, count - half, new_name, &right);
		if (error == 0)
			error = map_insert(tx, map, items[half].key, right, 0);
	}
	return error == 0 ? tx_page_drop(tx, record.value) : error;
}

/* ---- Inserting and removing ---- */

static int insert_first(struct meta_tx *tx, const struct map *map, const struct names_new *new_name, uint64_t key)
{
	struct fmt_names *page;
	uint64_t number;
	int error;

	error = page_create(tx, map, &number, &page);
	if (error != 0)
		return error;
	page_write(map, page, 0, new_name, key);
	return map_insert(tx, map, 0, number, 0);
}

static int insert_in_page(struct meta_tx *tx, const struct map *map, struct names_place *place,
			  const struct names_new *new_name, uint64_t key)
{
	size_t length = (size_t)new_units(map, new_name) * FMT_UNIT_SIZE;
	int error;

	/* Free units need no snapshot, unless a name may have been removed from them in this very transaction. */
	error = page_own(tx, map, place, true, place->unit, tx->names_removed ? length : 0);
	if (error == 0 && !tx->names_removed && !tx_is_fresh(tx, place->page_number))
		error = tx_fresh(tx, place->page->unit[place->unit], length);
	if (error == 0)
		page_write(map, place->page, place->unit, new_name, key);
	return error;
}

int names_insert(struct meta_tx *tx, const struct map *map, const struct names_new *new_name)
{
	uint64_t hash = names_hash(map->meta, new_name->name, new_name->length);
	struct names_place place;
	uint64_t key;
	int error;
	int unit;

	error = find(map, hash, new_name->name, new_name->length, &place, &key);
	if (error == 0)
		return -EEXIST;
	if (error != -ENOENT)
		return error;
	/* One above the highest key of this hash; 32,768 names of one 48-bit SipHash value are not met by accident. */
	if (key == 0)
		key = hash;
	else if ((key & FMT_KEY_UNIQUE_MASK) == FMT_KEY_UNIQUE_MASK)
		return -ENOSPC;
	else
		key++;
	error = seek(map, key, &place.path);
	if (error == -ENOENT)
		return insert_first(tx, map, new_name, key);
	if (error == 0)
		error = names_page(map, &place.path, &place.page);
	if (error != 0)
		return error;
	unit = page_gap(place.page, new_units(map, new_name));
	if (unit < 0)
		return page_split(tx, map, &place, new_name, key);
	place.unit = (unsigned)unit;
	place.page_number = map_record(map, &place.path)->value;
	return insert_in_page(tx, map, &place, new_name, key);
}

static unsigned page_units(const struct fmt_names *page)
{
	return (unsigned)__builtin_popcountll(page->used);
}

#define PAGE_SPARSE (FMT_NAMES_UNITS / 4)
#define PAGE_JOINED_MAX (FMT_NAMES_UNITS * 3 / 4)

/* Rewrites two neighbouring pages as one, if both fit. Best effort: without a free page they stay. */
static int page_join(struct meta_tx *tx, const struct map *map, const struct map_path *left_path,
		     const struct map_path *right_path)
{
	const struct fmt_record left_record = *map_record(map, left_path);
	const struct fmt_record right_record = *map_record(map, right_path);
	struct fmt_names *left, *right;
	struct item items[ITEMS_MAX];
	struct map_path path;
	unsigned count = 0;
	uint64_t joined;
	int error;

	error = names_page(map, left_path, &left);
	if (error == 0)
		error = names_page(map, right_path, &right);
	if (error != 0)
		return error;
	if (page_units(left) + page_units(right) > PAGE_JOINED_MAX)
		return 0;
	error = items_add(map, left, items, &count);
	if (error == 0)
		error = items_add(map, right, items, &count);
	if (error != 0)
		return error;
	qsort(items, count, sizeof(items[0]), compare_items);
	error = items_write(tx, map, items, count, NULL, &joined);
	if (error != 0)
		return error == -ENOSPC ? 0 : error;
	error = map_update(tx, map, left_path, left_record.key, joined, 0);
	if (error == 0)
		error = map_find(map, right_record.key, &path);
	if (error == 0)
		error = map_remove(tx, map, &path);
	if (error == 0)
		error = tx_page_drop(tx, left_record.value);
	return error == 0 ? tx_page_drop(tx, right_record.value) : error;
}

/* Joins a sparse page with the next one, or the one before. */
static int join_sparse(struct meta_tx *tx, const struct map *map, uint64_t page_key)
{
	struct map_path path, neighbour;
	int error;

	error = map_find(map, page_key, &path);
	if (error != 0)
		return error;
	neighbour = path;
	error = map_next(map, &neighbour);
	if (error == 0)
		return page_join(tx, map, &path, &neighbour);
	if (error == -ENOENT)
		error = map_prev(map, &neighbour);
	if (error == 0)
		return page_join(tx, map, &neighbour, &path);
	return error == -ENOENT ? 0 : error;
}

int names_remove(struct meta_tx *tx, const struct map *map, struct names_place *place)
{
	uint64_t page_key = map_record(map, &place->path)->key;
	uint64_t mask = ((1ull << place->name->units) - 1) << place->unit;
	struct fmt_names *page;
	int error;

	if (place->page->start == 1ull << place->unit) {
		error = tx_page_drop(tx, place->page_number);
		return error != 0 ? error : map_remove(tx, map, &place->path);
	}
	error = page_own(tx, map, place, true, 0, 0);
	if (error != 0)
		return error;
	tx->names_removed = true;
	page = place->page;
	page->used &= ~mask;
	page->start &= ~mask;
	page->fingerprint[place->unit] = 0;
	fmt_names_seal(page);
	return page_units(page) > PAGE_SPARSE ? 0 : join_sparse(tx, map, page_key);
}

int names_edit(struct meta_tx *tx, const struct map *map, struct names_place *place, struct fmt_name **ret_name)
{
	int error = page_own(tx, map, place, false, place->unit, sizeof(*place->name));

	if (error == 0)
		*ret_name = (struct fmt_name *)(uintptr_t)place->name;
	return error;
}

void names_seal(const struct map *map, struct fmt_name *name)
{
	fmt_name_seal(name, map->kind, map->seed);
}

/* ---- Iteration ---- */

/* Keys are cookies: they rise from page to page, or whoever lists the names by them would never come to an end. */
static int items_in_order(const struct item *items, unsigned count, uint64_t *previous)
{
	for (unsigned i = 0; i < count; i++) {
		if (items[i].key <= *previous || items[i].key > INT64_MAX)
			return -EUCLEAN;
		*previous = items[i].key;
	}
	return 0;
}

int names_iterate(const struct map *map, uint64_t after, names_visit *visit, void *arg)
{
	uint64_t previous = META_COOKIE_MIN - 1;
	struct map_path path;
	int error;

	for (error = seek(map, after, &path); error == 0; error = map_next(map, &path)) {
		struct item items[FMT_NAMES_UNITS];
		struct fmt_names *page;
		unsigned count = 0;

		error = names_page(map, &path, &page);
		if (error == 0)
			error = items_add(map, page, items, &count);
		if (error != 0)
			return error;
		qsort(items, count, sizeof(items[0]), compare_items);
		error = items_in_order(items, count, &previous);
		if (error != 0)
			return error;
		for (unsigned i = 0; i < count; i++) {
			if (items[i].key <= after)
				continue;
			error = visit(arg, (const struct fmt_name *)page->unit[items[i].unit]);
			if (error != 0)
				return error;
		}
	}
	return error == -ENOENT ? 0 : error;
}
