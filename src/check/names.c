/* Directory entries: every one names, legally and once, an inode that is there (I13, I14, I15). */
#include "check/walk.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

struct reading {
	struct check *check;
	const struct fmt_inode *directory;
	size_t index; /* of the directory */
	uint64_t last; /* cookie */
	uint64_t limit; /* entries that the whole meta part has room for: a directory with more goes in circles */
};

static bool legal_name(const struct meta_entry *entry)
{
	if (entry->name_length == 0 || memchr(entry->name, '/', entry->name_length) != NULL ||
	    memchr(entry->name, '\0', entry->name_length) != NULL)
		return false;
	return strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0;
}

/* Looking the name up must lead to this entry: else its key is not its name's, or another has the same name. */
static int judge_name(struct reading *reading, const struct meta_entry *entry)
{
	struct check *check = reading->check;
	uint64_t ino = reading->directory->ino;
	struct meta_entry same;
	int ret;

	if (!legal_name(entry)) {
		check_error(check, "I14", ino, "the name of the entry for inode %lu is not legal", entry->ino);
		return 0;
	}
	ret = meta_entry_find(check->meta, reading->directory, entry->name, entry->name_length, &same);
	if ((ret == -ENOENT || ret == -EUCLEAN) && check->inode[reading->index].damaged)
		return 0; /* reported, and more precisely */
	if (ret == -ENOENT)
		check_error(check, "I13", ino, "entry \"%s\" cannot be found by its name", entry->name);
	else if (ret == -EUCLEAN)
		check_error(check, "I13", ino, "looking up entry \"%s\" meets damage", entry->name);
	else if (ret < 0)
		return ret;
	else if (same.cookie != entry->cookie)
		check_error(check, "I14", ino, "there are two entries \"%s\"", entry->name);
	return 0;
}

static void judge_target(struct reading *reading, const struct meta_entry *entry)
{
	struct check *check = reading->check;
	struct check_inode *target = check_inode_find(check, entry->ino);
	uint64_t ino = reading->directory->ino;

	if (target == NULL || check_reserved(entry->ino)) {
		check_error(check, "I15", ino, "entry \"%s\" names inode %lu, which is not there", entry->name,
			    entry->ino);
		return;
	}
	if (target->generation != entry->generation) {
		/* Of an inode that is gone: its number lives on in another one, which has its own names. */
		check_error(check, "I15", ino, "entry \"%s\" names generation %u of inode %lu, which is now %u",
			    entry->name, entry->generation, entry->ino, target->generation);
		return;
	}
	if (IFTODT(target->mode) != entry->type)
		check_error(check, "I15", ino, "entry \"%s\" has type %u, inode %lu has type %u", entry->name,
			    entry->type, entry->ino, IFTODT(target->mode));
	target->named++;
	if (target->named_by == CHECK_NO_INDEX)
		target->named_by = reading->index;
	if (S_ISDIR(target->mode))
		check->inode[reading->index].subdirs++;
}

static int visit_entry(void *arg, const struct meta_entry *entry)
{
	struct reading *reading = arg;
	struct check *check = reading->check;
	struct check_inode *directory = &check->inode[reading->index];
	int ret;

	check_step(check);
	if (entry->cookie <= reading->last || directory->entries >= reading->limit)
		return -EUCLEAN;
	reading->last = entry->cookie;
	directory->entries++;
	check->report.entries++;
	ret = judge_name(reading, entry);
	if (ret < 0)
		return ret;
	judge_target(reading, entry);
	return 0;
}

static int read_directory(struct check *check, size_t index, const struct fmt_inode *media)
{
	struct reading reading = {
		.check = check,
		.directory = media,
		.index = index,
		.limit = (check->report.meta_pages_total + 1) * FMT_NAMES_UNITS,
	};
	int ret;

	ret = meta_entry_iterate(check->meta, media, 0, visit_entry, &reading);
	if (ret != -EUCLEAN)
		return ret;
	check->inode[index].partial = true;
	check_error(check, "I13", media->ino, "its entries can be read only in part: %lu of %lu",
		    check->inode[index].entries, media->size);
	return 0;
}

static int read_inode(struct check *check, size_t index)
{
	const struct check_inode *inode = &check->inode[index];
	const struct fmt_inode *media;
	int ret;

	check_step(check);
	if (!inode->values && !S_ISDIR(inode->mode) && !S_ISLNK(inode->mode))
		return 0;
	ret = meta_inode_get(check->meta, inode->ino, &media);
	if (ret == -EUCLEAN || ret == -ENOENT) {
		check_error(check, "I3", inode->ino, "it can no longer be read");
		return 0;
	}
	if (ret < 0)
		return ret;
	ret = inode->tangled ? 0 : meta_inode_check(check->meta, media, &check->visitor);
	if (ret < 0 && ret != -EUCLEAN)
		return ret;
	if (inode->values) {
		ret = check_xattrs(check, inode, media);
		if (ret < 0)
			return ret;
	}
	if (S_ISDIR(inode->mode))
		return read_directory(check, index, media);
	return S_ISLNK(inode->mode) ? check_symlink(check, inode, media) : 0;
}

int check_names(struct check *check)
{
	size_t i;
	int ret;

	check_phase(check, "names");
	for (i = 0; i < check->inodes; i++) {
		ret = read_inode(check, i);
		if (ret < 0)
			return ret;
	}
	return 0;
}
