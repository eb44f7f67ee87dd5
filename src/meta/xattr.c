/* Extended attributes and symlink targets. */
#include "meta/blob.h"
#include "meta/names.h"

#include <errno.h>

ssize_t meta_xattr_get(struct meta *meta, const struct fmt_inode *inode, const char *name, size_t name_length,
		       void *value, size_t capacity)
{
	struct map map = map_of_xattrs(meta, inode);
	const struct fmt_name *found;
	struct names_place place;
	int error;

	error = names_find(&map, name, name_length, &place);
	if (error != 0)
		return error == -ENOENT ? -ENODATA : error;
	found = place.name;
	if (found->value_length > FMT_XATTR_VALUE_MAX)
		return -EUCLEAN;
	if (capacity == 0)
		return found->value_length;
	if (capacity < found->value_length)
		return -ERANGE;
	if (found->type == FMT_XATTR_BLOB)
		error = blob_read(meta, inode, FMT_KIND_XATTRS, found->target, value, found->value_length);
	else
		memcpy(value, found->bytes + found->name_length, found->value_length);
	return error != 0 ? error : (ssize_t)found->value_length;
}

static int remove_place(struct meta_tx *tx, const struct map *map, struct names_place *place)
{
	const struct fmt_name *name = place->name;
	int error = 0;

	if (name->type == FMT_XATTR_BLOB)
		error = blob_drop(tx, map->owner, FMT_KIND_XATTRS, name->target, name->value_length);
	return error == 0 ? names_remove(tx, map, place) : error;
}

int meta_xattr_set(struct meta_tx *tx, const struct fmt_inode *inode, const char *name, size_t name_length,
		   const void *value, size_t value_length, unsigned flags)
{
	struct map map = map_of_xattrs(tx->meta, inode);
	struct names_new new_name = {
		.name = name,
		.length = name_length,
		.type = value_length > FMT_XATTR_INLINE_MAX ? FMT_XATTR_BLOB : FMT_XATTR_INLINE,
		.value = value,
		.value_length = (uint32_t)value_length,
	};
	struct names_place place;
	int error;

	if (value_length > FMT_XATTR_VALUE_MAX)
		return -E2BIG;
	error = names_find(&map, name, name_length, &place);
	if (error != 0 && error != -ENOENT)
		return error;
	if (error == 0 && (flags & META_XATTR_CREATE) != 0)
		return -EEXIST;
	if (error == -ENOENT && (flags & META_XATTR_REPLACE) != 0)
		return -ENODATA;
	if (error == 0) {
		error = remove_place(tx, &map, &place);
		if (error != 0)
			return error;
	}
	if (new_name.type == FMT_XATTR_BLOB) {
		error = blob_write(tx, inode, FMT_KIND_XATTRS, value, value_length, &new_name.target);
		if (error != 0)
			return error;
	}
	return names_insert(tx, &map, &new_name);
}

int meta_xattr_remove(struct meta_tx *tx, const struct fmt_inode *inode, const char *name, size_t name_length)
{
	struct map map = map_of_xattrs(tx->meta, inode);
	struct names_place place;
	int error;

	error = names_find(&map, name, name_length, &place);
	if (error != 0)
		return error == -ENOENT ? -ENODATA : error;
	return remove_place(tx, &map, &place);
}

struct listing {
	const char *hidden; /* prefix of names that are left out */
	size_t hidden_length; /* 0: none */
	char *list;
	size_t capacity; /* 0: only count */
	size_t length;
};

static int list_name(void *arg, const struct fmt_name *name)
{
	struct listing *listing = arg;
	size_t length = name->name_length + (size_t)1;

	if (listing->hidden_length > 0 && name->name_length >= listing->hidden_length &&
	    memcmp(name->bytes, listing->hidden, listing->hidden_length) == 0)
		return 0;
	if (listing->capacity > 0) {
		if (listing->length + length > listing->capacity)
			return -ERANGE;
		memcpy(listing->list + listing->length, name->bytes, name->name_length);
		listing->list[listing->length + name->name_length] = '\0';
	}
	listing->length += length;
	return 0;
}

ssize_t meta_xattr_list(struct meta *meta, const struct fmt_inode *inode, const char *hidden, char *list,
			size_t capacity)
{
	struct map map = map_of_xattrs(meta, inode);
	struct listing listing = {
		.hidden = hidden,
		.hidden_length = hidden != NULL ? strlen(hidden) : 0,
		.list = list,
		.capacity = capacity,
	};
	int error = names_iterate(&map, 0, list_name, &listing);

	return error != 0 ? error : (ssize_t)listing.length;
}

int meta_symlink_set(struct meta_tx *tx, const struct fmt_inode *link, const char *target, size_t length)
{
	struct fmt_inode *inode;
	int error;

	if (length == 0 || length > FMT_SYMLINK_MAX)
		return -ENAMETOOLONG;
	error = meta_inode_edit(tx, link, &inode);
	if (error != 0)
		return error;
	if (length <= FMT_SYMLINK_INLINE_MAX)
		memcpy(inode->symlink, target, length);
	else
		error = blob_write(tx, inode, FMT_KIND_SYMLINK, target, length, &inode->body.root);
	if (error == 0)
		inode->size = length;
	return error;
}

ssize_t meta_symlink_get(struct meta *meta, const struct fmt_inode *link, char *target, size_t capacity)
{
	char whole[FMT_SYMLINK_MAX];
	size_t length = link->size;
	int error = 0;

	if (length == 0 || length > FMT_SYMLINK_MAX)
		return -EUCLEAN;
	if (length <= FMT_SYMLINK_INLINE_MAX)
		memcpy(whole, link->symlink, length);
	else
		error = blob_read(meta, link, FMT_KIND_SYMLINK, link->body.root, whole, length);
	if (error != 0)
		return error;
	memcpy(target, whole, length < capacity ? length : capacity);
	return (ssize_t)length;
}
