/* Freeing the pages of an inode that is being evicted, a few at a time. */
#include "meta/blob.h"
#include "meta/names.h"

#include <errno.h>
#include <sys/stat.h>

static int drop_blobs(struct meta_tx *tx, const struct map *map, const struct fmt_names *page)
{
	for (uint64_t left = page->start; left != 0; left &= left - 1) {
		const struct fmt_name *name = fmt_name_at(page, (unsigned)__builtin_ctzll(left), map->seed);
		int error;

		if (name == NULL)
			return -EUCLEAN;
		if (name->type != FMT_XATTR_BLOB)
			continue;
		error = blob_drop(tx, map->owner, map->kind, name->target, name->value_length);
		if (error != 0)
			return error;
	}
	return 0;
}

/* Drops the last page of names. Returns 1 if it was one, 0 if the map is empty. */
static int strip_names(struct meta_tx *tx, const struct map *map)
{
	struct map_path path;
	struct fmt_names *page;
	uint64_t number;
	int error;

	error = map_find(map, UINT64_MAX, &path);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	number = map_record(map, &path)->value;
	error = names_page(map, &path, &page);
	if (error == 0 && map->kind == FMT_KIND_XATTRS)
		error = drop_blobs(tx, map, page);
	if (error == 0)
		error = map_remove(tx, map, &path);
	if (error == 0)
		error = tx_page_drop(tx, number);
	return error != 0 ? error : 1;
}

int meta_inode_strip(struct meta_tx *tx, const struct fmt_inode *inode)
{
	struct map body = map_of_body(tx->meta, inode);
	struct map xattrs = map_of_xattrs(tx->meta, inode);
	struct fmt_inode *edited;
	int stripped;
	int error;

	if (S_ISLNK(inode->mode) && inode->body.root != 0) {
		error = meta_inode_edit(tx, inode, &edited);
		if (error == 0)
			error = blob_drop(tx, inode, FMT_KIND_SYMLINK, inode->body.root, inode->size);
		if (error != 0)
			return error;
		edited->body.root = 0;
		return 1;
	}
	stripped = S_ISDIR(inode->mode) ? strip_names(tx, &body) : 0;
	return stripped != 0 ? stripped : strip_names(tx, &xattrs);
}
