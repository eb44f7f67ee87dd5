/*
 * Files without a name (O_TMPFILE). On media such a file is an orphan from its first moment on: nlink 0. The kernel
 * knows it, so it lives until the last forget, or until a crash: the next mount evicts it. fs_link() may give it a name
 * once, which the kernel decides (O_EXCL) and `unnamed` in the in-core inode allows.
 */
#include "fs/names.h"

#include <errno.h>

/* The directory is locked; on success the child is in the table with one reference. */
static int tmpfile_locked(struct fs *fs, const struct fs_birth *birth)
{
	struct timespec now = fs_now();
	struct fmt_inode *media;
	struct meta_tx *tx;
	int error = fs_writable(fs);

	if (error == 0)
		error = fs_birth_begin(fs, birth, &tx);
	if (error != 0)
		return error;
	error = fs_birth_tx(fs, tx, birth, &now, &media);
	if (error == 0)
		media->nlink = 0;
	error = fs_end(fs, tx, error, "tmpfile", birth->directory->ino);
	return error != 0 ? error : fs_inode_publish(fs, birth->child);
}

int fs_tmpfile(struct fs *fs, uint64_t directory, mode_t mode, mode_t umask, const struct fs_cred *cred,
	       struct fs_entry *ret_entry)
{
	const struct fs_make make = {.mode = S_IFREG | (mode & 07777), .umask = umask};
	struct fs_birth birth = {.make = &make, .cred = cred};
	struct fs_inode *parent;
	int error = fs_directory_get(fs, directory, &parent);

	if (error != 0)
		return error;
	birth.directory = parent;
	error = fs_inode_new(S_IFREG, &birth.child);
	if (error != 0)
		goto put;
	birth.child->unnamed = true;
	/* Shared: nothing of the directory changes. */
	lock_rw_take_shared(&parent->layout);
	error = tmpfile_locked(fs, &birth);
	lock_rw_drop(&parent->layout);
	if (error != 0) {
		fs_inode_discard(fs, birth.child);
		goto put;
	}
	fs_entry_fill(fs, birth.child, ret_entry);
	fs_inode_put(fs, birth.child);
put:
	fs_inode_put(fs, parent);
	return error;
}
