/* Names of a directory, as far as they can be read. */
#include "rescue/work.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int grow(void **array, size_t *capacity, size_t wanted, size_t size)
{
	size_t more = *capacity == 0 ? 64 : *capacity;
	void *grown;

	if (wanted <= *capacity)
		return 0;
	while (more < wanted)
		more *= 2;
	grown = realloc(*array, more * size);
	if (grown == NULL)
		return -ENOMEM;
	*array = grown;
	*capacity = more;
	return 0;
}

/* What would leave the directory, or is no name. */
static bool name_illegal(const uint8_t *name, size_t length)
{
	return memchr(name, '/', length) != NULL || memchr(name, '\0', length) != NULL ||
	       (length == 1 && name[0] == '.') || (length == 2 && name[0] == '.' && name[1] == '.');
}

static int child_add(struct walk *walk, const struct fmt_name *name)
{
	struct children *children = walk->arg;
	struct child *child;
	int error;

	error = grow((void **)&children->child, &children->capacity, children->count + 1, sizeof(*children->child));
	if (error == 0)
		error = grow((void **)&children->names, &children->names_capacity,
			     children->names_length + name->name_length + 1, 1);
	if (error != 0)
		return error;
	child = &children->child[children->count++];
	*child = (struct child){
		.name = children->names_length,
		.ino = name->target,
		.generation = name->generation,
		.type = name->type,
		.doubtful = walk->doubtful,
		.illegal = name_illegal(name->bytes, name->name_length),
		.name_length = name->name_length,
	};
	memcpy(children->names + children->names_length, name->bytes, name->name_length);
	children->names[children->names_length + name->name_length] = '\0';
	children->names_length += name->name_length + 1u;
	return 0;
}

static void children_gap(struct walk *walk, uint64_t low, uint64_t high)
{
	struct children *children = walk->arg;

	(void)low;
	(void)high;
	children->gap = true;
}

int children_read(struct work *work, const struct info *directory, struct children *ret_children)
{
	struct fmt_inode inode;
	struct walk walk = {.work = work,
			    .inode = &inode,
			    .kind = FMT_KIND_ENTRIES,
			    .name = child_add,
			    .gap = children_gap,
			    .arg = ret_children};
	const struct page_info *page = orphans_first(work, directory->ino, directory->generation, FMT_KIND_ENTRIES);
	int error;

	*ret_children = (struct children){0};
	if (inode_read(work, directory->ino, &inode) != 0) {
		ret_children->gap = true;
		return 0;
	}
	error = map_walk(&walk);
	for (; error == 0 && page != NULL; page = orphans_next(work, page))
		error = map_walk_page(&walk, page);
	return error;
}

int children_read_lost(struct work *work, uint64_t ino, struct children *ret_children)
{
	struct fmt_inode inode = {.ino = ino};
	struct walk walk = {.work = work,
			    .inode = &inode,
			    .kind = FMT_KIND_ENTRIES,
			    .name = child_add,
			    .gap = children_gap,
			    .arg = ret_children};
	int error = 0;

	*ret_children = (struct children){.gap = true};
	/* Of which generation it was is not known: what an entry names must fit by itself. */
	for (size_t i = orphans_begin(work, ino); error == 0 && i < work->pages && work->page[i].owner == ino; i++) {
		const struct page_info *page = &work->page[i];

		if (!page->accepted || page->kind != FMT_KIND_ENTRIES)
			continue;
		inode.generation = page->generation;
		error = map_walk_page(&walk, page);
	}
	return error;
}

void children_free(struct children *children)
{
	free(children->child);
	free(children->names);
	*children = (struct children){0};
}
