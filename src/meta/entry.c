/* Directory entries: the names of a directory's body. */
#include "meta/names.h"

#include <dirent.h>
#include <errno.h>

static void to_entry(const struct fmt_name *name, struct meta_entry *entry)
{
	entry->cookie = name->key;
	entry->ino = name->target;
	entry->generation = name->generation;
	entry->type = name->type;
	entry->name_length = name->name_length;
	memcpy(entry->name, name->bytes, name->name_length);
	entry->name[name->name_length] = '\0';
}

int meta_entry_find(struct meta *meta, const struct fmt_inode *directory, const char *name, size_t length,
		    struct meta_entry *ret_entry)
{
	struct map map = map_of_body(meta, directory);
	struct names_place place;
	int error = names_find(&map, name, length, &place);

	if (error == 0)
		to_entry(place.name, ret_entry);
	return error;
}

int meta_entry_insert(struct meta_tx *tx, const struct fmt_inode *directory, const char *name, size_t length,
		      const struct fmt_inode *target)
{
	struct map map = map_of_body(tx->meta, directory);
	struct names_new new_name = {
		.name = name,
		.length = length,
		.type = (uint8_t)IFTODT(target->mode),
		.target = target->ino,
		.generation = target->generation,
	};
	struct fmt_inode *inode;
	int error;

	error = meta_inode_touch(tx, directory, &inode);
	if (error == 0)
		error = names_insert(tx, &map, &new_name);
	if (error == 0)
		inode->size++;
	return error;
}

int meta_entry_remove(struct meta_tx *tx, const struct fmt_inode *directory, const char *name, size_t length)
{
	struct map map = map_of_body(tx->meta, directory);
	struct names_place place;
	struct fmt_inode *inode;
	int error;

	error = names_find(&map, name, length, &place);
	if (error == 0)
		error = meta_inode_touch(tx, directory, &inode);
	if (error == 0)
		error = names_remove(tx, &map, &place);
	if (error == 0)
		inode->size--;
	return error;
}

int meta_entry_replace(struct meta_tx *tx, const struct fmt_inode *directory, const char *name, size_t length,
		       const struct fmt_inode *target)
{
	struct map map = map_of_body(tx->meta, directory);
	struct names_place place;
	struct fmt_name *entry;
	int error;

	error = names_find(&map, name, length, &place);
	if (error == 0)
		error = names_edit(tx, &map, &place, &entry);
	if (error != 0)
		return error;
	entry->type = (uint8_t)IFTODT(target->mode);
	entry->target = target->ino;
	entry->generation = target->generation;
	names_seal(&map, entry);
	return 0;
}

struct visit_entry {
	meta_entry_visit *visit;
	void *arg;
};

static int visit_name(void *arg, const struct fmt_name *name)
{
	const struct visit_entry *visit = arg;
	struct meta_entry entry;

	to_entry(name, &entry);
	return visit->visit(visit->arg, &entry);
}

int meta_entry_iterate(struct meta *meta, const struct fmt_inode *directory, uint64_t after, meta_entry_visit *visit,
		       void *arg)
{
	struct map map = map_of_body(meta, directory);
	struct visit_entry visit_arg = {visit, arg};

	return names_iterate(&map, after, visit_name, &visit_arg);
}
