/*
 * The entries of one directory. What verifies and names a living inode stays. Names of pages that nothing vouches for
 * may have been removed long ago: such a name counts if its inode lacks a name, and has no more such names than it
 * lacks. What loses its name is found again in /lost+found.
 */
#include "base/arith.h"
#include "repair/work.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct directory {
	struct work *work;
	const struct fmt_inode *inode;
	struct mend_names names;
	uint64_t size; /* as it was */
	uint64_t dropped, retyped, found;
};

/* ---- Reading: trusted and loose names, each once ---- */

static int compare_names(const void *a, const void *b)
{
	const struct mend_name *const *left = a, *const *right = b;
	const struct fmt_name *one = (*left)->media, *other = (*right)->media;
	int order;

	if (one->name_length != other->name_length)
		return one->name_length < other->name_length ? -1 : 1;
	order = memcmp(one->bytes, other->bytes, one->name_length);
	if (order != 0)
		return order;
	/* What is sound, and where it should be, is the first. */
	if (((*left)->leaf == MEND_LOOSE) != ((*right)->leaf == MEND_LOOSE))
		return (*left)->leaf == MEND_LOOSE ? 1 : -1;
	if ((*left)->moved != (*right)->moved)
		return (*left)->moved ? 1 : -1;
	return one->key < other->key ? -1 : one->key > other->key;
}

static bool same_name(const struct fmt_name *one, const struct fmt_name *other)
{
	return one->name_length == other->name_length && memcmp(one->bytes, other->bytes, one->name_length) == 0;
}

/* Of sound names that are equal the first stays, and no loose one; of loose ones one for each target. */
static int drop_doubles(struct mend_names *names)
{
	struct mend_name **sorted = calloc(names->count + 1, sizeof(struct mend_name *));

	if (sorted == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < names->count; i++)
		sorted[i] = &names->name[i];
	qsort(sorted, names->count, sizeof(*sorted), compare_names);
	for (size_t i = 1; i < names->count; i++) {
		for (size_t j = i; j-- > 0 && same_name(sorted[j]->media, sorted[i]->media);)
			if (!sorted[j]->drop && (sorted[j]->leaf != MEND_LOOSE ||
						 (sorted[j]->media->target == sorted[i]->media->target &&
						  sorted[j]->media->generation == sorted[i]->media->generation)))
				sorted[i]->drop = true;
	}
	free(sorted);
	return 0;
}

static bool is_names_page(const struct fmt_inode *inode, const struct mend_page *page)
{
	return page->magic == FMT_NAMES_MAGIC && page->kind == FMT_KIND_ENTRIES && page->owner == inode->ino &&
	       page->generation == inode->generation;
}

static int read_names(struct work *work, const struct fmt_inode *inode, struct mend_names *ret_names)
{
	const struct repair_pages *pages = &work->pages;
	int error = meta_mend_read_names(work->meta, inode, false, ret_names);

	if (error != 0)
		return error;
	for (size_t i = repair_pages_find(pages, inode->ino);
	     error == 0 && ret_names->lost && i < pages->count && pages->page[i].owner == inode->ino; i++)
		if (is_names_page(inode, &pages->page[i]))
			error = meta_mend_read_loose(work->meta, inode, false, pages->page[i].page, ret_names);
	if (error == 0)
		error = drop_doubles(ret_names);
	if (error != 0)
		meta_mend_free_names(ret_names);
	return error;
}

/* ---- Judging ---- */

/* NULL: not there, of another generation, or not to be named. */
static struct check_inode *target_of(struct work *work, const struct fmt_name *name)
{
	struct check_inode *target = check_inode_find(&work->check, name->target);

	if (target == NULL || check_reserved(name->target) || name->target == FMT_INO_ROOT ||
	    target->generation != name->generation)
		return NULL;
	return target;
}

static bool legal(const struct fmt_name *name)
{
	const char *bytes = (const char *)name->bytes;
	const size_t length = name->name_length;

	if (memchr(bytes, '/', length) != NULL || memchr(bytes, '\0', length) != NULL)
		return false;
	return !(bytes[0] == '.' && (length == 1 || (length == 2 && bytes[1] == '.')));
}

/* Counts names by what they name: in all directories, once for an analysis. */
static int count_names(struct work *work)
{
	const size_t inodes = work->check.inodes;
	int error = 0;

	work->named = calloc(inodes + 1, sizeof(*work->named));
	work->loose = calloc(inodes + 1, sizeof(*work->loose));
	if (work->named == NULL || work->loose == NULL)
		return -ENOMEM;
	for (size_t i = 0; error == 0 && i < inodes; i++) {
		struct mend_names names = {.rewrite = NULL};
		const struct fmt_inode *inode;

		check_step(&work->check);
		if (!S_ISDIR(work->check.inode[i].mode) ||
		    meta_inode_get(work->meta, work->check.inode[i].ino, &inode) != 0)
			continue;
		error = read_names(work, inode, &names);
		for (size_t j = 0; error == 0 && j < names.count; j++) {
			const struct check_inode *target = target_of(work, names.name[j].media);

			if (target != NULL && !names.name[j].drop && legal(names.name[j].media))
				(names.name[j].leaf == MEND_LOOSE ? work->loose
								  : work->named)[target - work->check.inode]++;
		}
		meta_mend_free_names(&names);
	}
	return error;
}

/* True if its inode lacks so many names that this one must be right. */
static bool is_missed(struct work *work, const struct fmt_name *name)
{
	const struct check_inode *target = target_of(work, name);
	const struct fmt_inode *slot;
	uint32_t named, loose;

	if (target == NULL) {
		slot = repair_inodes_has(&work->slots, name->target) ? meta_mend_peek(work->meta, name->target) : NULL;
		return slot != NULL && slot->generation == name->generation;
	}
	named = work->named[target - work->check.inode];
	loose = work->loose[target - work->check.inode];
	if (S_ISDIR(target->mode))
		return named == 0 && loose == 1;
	return named < target->nlink && loose <= target->nlink - named;
}

/* What is to be said against a sound name; NULL: nothing. */
static const char *against(struct work *work, const struct fmt_name *name)
{
	if (!legal(name))
		return "its name is not legal";
	if (repair_inodes_has(&work->slots, name->target)) /* it may come back */
		return NULL;
	if (target_of(work, name) == NULL)
		return "its inode is not there";
	return NULL;
}

static void say_dropped(struct directory *directory, const struct fmt_name *name, const char *why)
{
	char text[FMT_NAME_MAX + 1];

	memcpy(text, name->bytes, name->name_length);
	text[name->name_length] = '\0';
	for (char *at = text; at < text + name->name_length; at++)
		if ((unsigned char)*at < ' ' || *at == 127)
			*at = '?';
	repair_say(directory->work, legal(name) ? "I15" : "I14", directory->inode->ino,
		   "entry \"%s\" of inode %lu taken out: %s", text, name->target, why);
}

static void judge(struct directory *directory, struct mend_name *name)
{
	struct work *work = directory->work;
	const struct check_inode *target = target_of(work, name->media);
	const char *why;

	if (name->drop) {
		directory->dropped += name->leaf != MEND_LOOSE;
		return;
	}
	if (name->leaf == MEND_LOOSE) {
		name->drop = !legal(name->media) || !is_missed(work, name->media);
		directory->found += !name->drop;
	} else {
		why = against(work, name->media);
		if (why != NULL)
			say_dropped(directory, name->media, why);
		name->drop = why != NULL;
		directory->dropped += why != NULL;
	}
	if (target != NULL && IFTODT(target->mode) != name->type) {
		name->type = (uint8_t)IFTODT(target->mode);
		directory->retyped += !name->drop;
	}
}

/* ---- Writing ---- */

static int write_directory(struct directory *directory)
{
	struct meta_tx *tx;
	int error = repair_begin(directory->work, false, &tx);

	if (error != 0)
		return error;
	error = meta_mend_write_names(tx, directory->inode, false, &directory->names);
	return repair_end(tx, error);
}

static void say(struct directory *directory)
{
	uint64_t ino = directory->inode->ino, size = directory->inode->size;

	if (directory->names.damaged)
		repair_say(directory->work, "I13", ino,
			   "its names written anew from what verifies: %lu of %lu, %lu of them found again", size,
			   directory->size, directory->found);
	else if (directory->retyped > 0)
		repair_say(directory->work, "I15", ino, "types of %lu entries set to those of their inodes",
			   directory->retyped);
	else if (directory->dropped > 0)
		repair_say(directory->work, "I14", ino, "%lu entries taken out, it has %lu now", directory->dropped,
			   size);
	else
		repair_say(directory->work, "I18", ino, "size set to %lu entries, was %lu", size, directory->size);
}

static int mend(struct directory *directory)
{
	struct mend_names *names = &directory->names;
	size_t kept = 0;
	int error = 0;

	if (names->lost && directory->work->named == NULL)
		error = count_names(directory->work);
	for (size_t i = 0; error == 0 && i < names->count; i++) {
		judge(directory, &names->name[i]);
		kept += !names->name[i].drop;
	}
	if (error != 0 ||
	    (!names->damaged && directory->dropped == 0 && directory->retyped == 0 && kept == directory->size))
		return error;
	error = write_directory(directory);
	if (error == 0)
		say(directory);
	return error;
}

int repair_directory(struct work *work, const struct fmt_inode *inode)
{
	struct directory directory = {.work = work, .inode = inode, .size = inode->size};
	int error = read_names(work, inode, &directory.names);

	if (error != 0)
		return error;
	error = mend(&directory);
	meta_mend_free_names(&directory.names);
	return error;
}
