/* /lost+found: where inodes without a name get one, #INO. It is made when it is first needed, for root only. */
#include "repair/work.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define FOUND_NAME "lost+found"
#define TRIES 1000u

static int make(struct work *work, const struct fmt_inode *root, const char *name, uint64_t *ret_ino)
{
	struct fmt_inode *inode, *edited;
	struct timespec now;
	struct meta_tx *tx;
	int error = repair_begin(work, true, &tx);

	if (error != 0)
		return error;
	clock_gettime(CLOCK_REALTIME, &now);
	error = meta_inode_edit(tx, root, &edited);
	if (error == 0)
		error = meta_inode_create(tx, &inode);
	if (error == 0) {
		inode->mode = S_IFDIR | 0700;
		inode->nlink = 2;
		inode->parent = FMT_INO_ROOT;
		inode->atime = inode->mtime = inode->ctime = inode->btime = now.tv_sec;
		inode->atime_nsec = inode->mtime_nsec = inode->ctime_nsec = inode->btime_nsec = (uint32_t)now.tv_nsec;
		edited->nlink++;
		*ret_ino = inode->ino;
		error = meta_entry_insert(tx, root, name, strlen(name), inode);
	}
	error = repair_end(tx, error);
	if (error == 0)
		repair_say(work, "I17", *ret_ino, "directory /%s made for what is found", name);
	return error;
}

/* If something else has its name, the next one is tried. */
int repair_found_open(struct work *work, uint64_t *ret_ino)
{
	char name[sizeof(FOUND_NAME) + 16] = FOUND_NAME;
	const struct fmt_inode *root;
	struct meta_entry entry;
	int error = meta_inode_get(work->meta, FMT_INO_ROOT, &root);

	for (unsigned i = 1; error == 0 && i < TRIES; i++) {
		const struct check_inode *found;

		error = meta_entry_find(work->meta, root, name, strlen(name), &entry);
		if (error == -ENOENT)
			return make(work, root, name, ret_ino);
		found = error == 0 && entry.type == DT_DIR ? check_inode_find(&work->check, entry.ino) : NULL;
		*ret_ino = entry.ino;
		/* Made since the analysis, or known to it as a directory. */
		if (error == 0 && entry.type == DT_DIR && (found == NULL || S_ISDIR(found->mode)))
			return 0;
		(void)snprintf(name, sizeof(name), FOUND_NAME ".%u", i);
	}
	return error != 0 ? error : -EEXIST;
}

int repair_found_add(struct work *work, struct meta_tx *tx, uint64_t found, const struct fmt_inode *inode)
{
	const struct fmt_inode *directory;
	struct fmt_inode *edited;
	char name[64];
	int error = meta_inode_get(work->meta, found, &directory);

	(void)snprintf(name, sizeof(name), "#%lu", inode->ino);
	for (unsigned i = 1; error == 0 && i < TRIES; i++) {
		struct meta_entry entry;

		error = meta_entry_find(work->meta, directory, name, strlen(name), &entry);
		if (error == 0)
			(void)snprintf(name, sizeof(name), "#%lu.%u", inode->ino, i);
	}
	if (error != -ENOENT)
		return error != 0 ? error : -EEXIST;
	error = meta_inode_edit(tx, directory, &edited);
	if (error == 0 && S_ISDIR(inode->mode))
		edited->nlink++;
	return error != 0 ? error : meta_entry_insert(tx, directory, name, strlen(name), inode);
}
