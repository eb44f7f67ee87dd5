/* Mending trees of names: all names that verify, whatever else is damaged; and a tree written anew. */
#include "meta/blob.h"
#include "meta/mend.h"
#include "meta/names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static struct map map_of(struct meta *meta, const struct fmt_inode *inode, bool xattrs)
{
	return xattrs ? map_of_xattrs(meta, inode) : map_of_body(meta, inode);
}

static int add(struct mend_names *names, const struct fmt_name *media, size_t leaf, bool moved)
{
	if (names->count == names->capacity) {
		size_t capacity = names->capacity == 0 ? 64 : 2 * names->capacity;
		struct mend_name *bigger = reallocarray(names->name, capacity, sizeof(*bigger));

		if (bigger == NULL)
			return -ENOMEM;
		names->name = bigger;
		names->capacity = capacity;
	}
	names->name[names->count++] =
		(struct mend_name){.media = media, .leaf = leaf, .type = media->type, .moved = moved};
	return 0;
}

/* The name at a unit by its own checksum alone; the page's header may say anything. NULL: there is none. */
static const struct fmt_name *name_alone(const struct map *map, const struct fmt_names *page, unsigned unit)
{
	const struct fmt_name *name = (const struct fmt_name *)page->unit[unit];
	struct fmt_names alone = {.kind = (uint8_t)map->kind};

	if (name->units == 0 || unit + name->units > FMT_NAMES_UNITS)
		return NULL;
	alone.start = 1ull << unit;
	alone.used = ((1ull << name->units) - 1) << unit;
	alone.fingerprint[unit] = fmt_fingerprint(name->key);
	memcpy(alone.unit[unit], name, (size_t)name->units * FMT_UNIT_SIZE);
	return fmt_name_at(&alone, unit, map->seed) != NULL ? name : NULL;
}

static bool key_is_hash(const struct map *map, const struct fmt_name *name)
{
	return (name->key & ~FMT_KEY_UNIQUE_MASK) ==
	       names_hash(map->meta, (const char *)name->bytes, name->name_length);
}

/* Names of one sound page, in [low, high). */
static int read_page(struct mend_names *names, const struct map *map, const struct fmt_names *page, size_t leaf,
		     uint64_t low, uint64_t high)
{
	int error = 0;

	for (uint64_t left = page->start; error == 0 && left != 0; left &= left - 1) {
		unsigned unit = (unsigned)__builtin_ctzll(left);
		const struct fmt_name *name = fmt_name_at(page, unit, map->seed);
		bool moved;

		if (name == NULL) {
			names->rewrite[leaf] = names->damaged = true;
			name = name_alone(map, page, unit);
		}
		if (name == NULL) {
			names->lost = true;
			continue;
		}
		moved = !key_is_hash(map, name) || name->key < low || name->key >= high;
		names->rewrite[leaf] = names->rewrite[leaf] || moved;
		names->damaged = names->damaged || moved;
		error = add(names, name, leaf, moved);
	}
	return error;
}

static int read_pages(struct mend_names *names, const struct map *map)
{
	uint64_t low = 0;
	int error = 0;

	for (size_t i = 0; error == 0 && i < names->map.count; i++) {
		const uint64_t number = names->map.record[i].value;
		const struct fmt_names *page = meta_page(map->meta, number);
		uint64_t high = i + 1 < names->map.count ? names->map.record[i + 1].key : UINT64_MAX;

		if (page != NULL && fmt_names_valid(page, map->owner, map->kind)) {
			error = read_page(names, map, page, i, low, high);
		} else {
			names->rewrite[i] = names->damaged = names->lost = true;
			error = meta_mend_read_loose(map->meta, map->owner, map->kind == FMT_KIND_XATTRS, number,
						     names);
		}
		low = high;
	}
	return error;
}

int meta_mend_read_names(struct meta *meta, const struct fmt_inode *inode, bool xattrs, struct mend_names *ret_names)
{
	const struct map map = map_of(meta, inode, xattrs);
	struct mend_names names = {.rewrite = NULL};
	int error = meta_mend_read_map(meta, inode, xattrs, &names.map);

	if (error != 0)
		return error;
	names.damaged = names.lost = names.map.damaged;
	names.rewrite = calloc(names.map.count + 1, sizeof(*names.rewrite));
	error = names.rewrite != NULL ? read_pages(&names, &map) : -ENOMEM;
	if (error == 0)
		*ret_names = names;
	else
		meta_mend_free_names(&names);
	return error;
}

int meta_mend_read_loose(struct meta *meta, const struct fmt_inode *inode, bool xattrs, uint64_t number,
			 struct mend_names *names)
{
	const struct map map = map_of(meta, inode, xattrs);
	const struct fmt_names *page = meta_page(meta, number);
	int error = 0;

	for (unsigned unit = 0; page != NULL && error == 0 && unit < FMT_NAMES_UNITS; unit++) {
		const struct fmt_name *name = name_alone(&map, page, unit);

		if (name != NULL && key_is_hash(&map, name))
			error = add(names, name, MEND_LOOSE, true);
	}
	return error;
}

void meta_mend_free_names(struct mend_names *names)
{
	meta_mend_free_map(&names->map);
	free(names->rewrite);
	free(names->name);
	*names = (struct mend_names){.rewrite = NULL};
}

/* ---- Writing ---- */

/* The names that do not stay where they are. A name that is there already goes. */
static int write_moved(struct meta_tx *tx, const struct map *map, struct mend_names *names)
{
	int error = 0;

	for (size_t i = 0; error == 0 && i < names->count; i++) {
		const struct mend_name *name = &names->name[i];
		const struct names_new new_name = {
			.name = (const char *)name->media->bytes,
			.length = name->media->name_length,
			.type = name->type,
			.target = name->media->target,
			.generation = name->media->generation,
			.value = name->media->bytes + name->media->name_length,
			.value_length = name->media->value_length,
		};

		if (name->drop || (name->leaf != MEND_LOOSE && !names->rewrite[name->leaf]))
			continue;
		error = names_insert(tx, map, &new_name);
		if (error == -EEXIST) {
			names->name[i].drop = true;
			error = 0;
		}
	}
	return error;
}

int meta_mend_write_names(struct meta_tx *tx, const struct fmt_inode *inode, bool xattrs, struct mend_names *names)
{
	const struct map map = map_of(tx->meta, inode, xattrs);
	size_t pages = 0, kept = 0;
	struct fmt_inode *edited;
	int error;

	for (size_t i = 0; i < names->count; i++) {
		const struct mend_name *name = &names->name[i];

		if (name->leaf != MEND_LOOSE && (name->drop || name->type != name->media->type))
			names->rewrite[name->leaf] = true;
	}
	for (size_t i = 0; i < names->map.count; i++)
		if (!names->rewrite[i])
			names->map.record[pages++] = names->map.record[i];
	error = meta_mend_write_map(tx, inode, xattrs, names->map.record, pages);
	if (error == 0)
		error = write_moved(tx, &map, names);
	for (size_t i = 0; i < names->count; i++)
		kept += !names->name[i].drop;
	if (error == 0)
		error = meta_inode_edit(tx, inode, &edited);
	if (error == 0 && !xattrs)
		edited->size = kept;
	return error;
}

bool meta_mend_value_sound(struct meta *meta, const struct fmt_inode *inode, const struct fmt_name *name)
{
	unsigned char *value;
	bool sound;

	if (name->type != FMT_XATTR_BLOB)
		return true;
	if (name->value_length == 0 || name->value_length > FMT_XATTR_VALUE_MAX)
		return false;
	value = malloc(name->value_length);
	sound = value != NULL && blob_read(meta, inode, FMT_KIND_XATTRS, name->target, value, name->value_length) == 0;
	free(value);
	return sound;
}
