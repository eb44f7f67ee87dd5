/*
 * What a change of its contents takes away from a file: setuid, setgid if the group may execute it, and capabilities.
 * A file that others have changed is nobody's privilege any more.
 */
#include "fs/data.h"
#include "fs/names.h"
#include "fs/protect.h"

#include <errno.h>
#include <string.h>

#define CAPABILITY "security.capability"

uint32_t fs_mode_unprivileged(uint32_t mode)
{
	mode &= ~(uint32_t)S_ISUID;
	if ((mode & S_IXGRP) != 0)
		mode &= ~(uint32_t)S_ISGID;
	return mode;
}

static uint32_t mode_without(uint32_t mode, unsigned which)
{
	if ((which & FS_DROP_MODE) != 0)
		mode = fs_mode_unprivileged(mode);
	if ((which & FS_DROP_SETGID) != 0)
		mode &= ~(uint32_t)S_ISGID;
	return mode;
}

int fs_privileges_find(struct fs *fs, const struct fs_inode *file, unsigned which, unsigned *ret_found)
{
	unsigned found = 0;
	ssize_t length;

	if (mode_without(file->media->mode, which) != file->media->mode)
		found |= which & (FS_DROP_MODE | FS_DROP_SETGID);
	if ((which & FS_DROP_CAPABILITY) != 0) {
		length = meta_xattr_get(fs->meta, file->media, CAPABILITY, strlen(CAPABILITY), NULL, 0);
		if (length >= 0)
			found |= FS_DROP_CAPABILITY;
		else if (length != -ENODATA)
			return (int)length;
	}
	*ret_found = found;
	return 0;
}

int fs_privileges_remove(struct meta_tx *tx, const struct fs_inode *file, unsigned found)
{
	struct fmt_inode *inode;
	int error = 0;

	if ((found & FS_DROP_CAPABILITY) != 0)
		error = meta_xattr_remove(tx, file->media, CAPABILITY, strlen(CAPABILITY));
	if (error != 0 || (found & (FS_DROP_MODE | FS_DROP_SETGID)) == 0)
		return error;
	error = meta_inode_edit(tx, file->media, &inode);
	if (error == 0)
		inode->mode = mode_without(inode->mode, found);
	return error;
}

static int remove_in_tx(struct meta_tx *tx, const struct fs_inode *file, unsigned found)
{
	struct timespec now = fs_now();
	struct fmt_inode *inode;
	int error = fs_privileges_remove(tx, file, found);

	if (error == 0)
		error = meta_inode_edit(tx, file->media, &inode);
	if (error == 0)
		fs_touch_ctime(inode, &now);
	return error;
}

/* Looked for once more: the lock was let go of. */
static int drop(struct fs *fs, struct fs_inode *file, unsigned which, bool *ret_dropped)
{
	struct meta_tx *tx;
	unsigned found;
	int error;

	lock_rw_take_exclusive(&file->map);
	error = fs_writable(fs);
	/* Nor is the change that follows. */
	if (error == 0)
		error = fs_may_change(file, FS_CHANGE_ADD);
	if (error == 0)
		error = fs_privileges_find(fs, file, which, &found);
	if (error != 0 || found == 0)
		goto out;
	error = meta_begin(fs->meta, META_TX_RESERVE, &tx);
	if (error != 0)
		goto out;
	error = fs_end(fs, tx, remove_in_tx(tx, file, found), "taking privileges away", file->ino);
	*ret_dropped = error == 0;
out:
	lock_rw_drop(&file->map);
	return error;
}

int fs_drop_privileges(struct fs *fs, uint64_t ino, unsigned which, bool *ret_dropped)
{
	struct fs_inode *file;
	unsigned found = 0;
	int error = fs_inode_get(fs, ino, &file);

	*ret_dropped = false;
	if (error != 0)
		return error;
	if (S_ISREG(file->type)) {
		lock_rw_take_shared(&file->map);
		error = fs_privileges_find(fs, file, which, &found);
		lock_rw_drop(&file->map);
		if (error == 0 && found != 0)
			error = drop(fs, file, which, ret_dropped);
	}
	fs_inode_put(fs, file);
	return error;
}

int fs_setgid_group(struct fs *fs, uint64_t ino, gid_t *ret_gid)
{
	struct fs_inode *file;
	bool set;
	int error = fs_inode_get(fs, ino, &file);

	if (error != 0)
		return error;
	lock_rw_take_shared(fs_inode_attr_lock(file));
	set = S_ISREG(file->type) && (file->media->mode & S_ISGID) != 0;
	if (set)
		*ret_gid = file->media->gid;
	lock_rw_drop(fs_inode_attr_lock(file));
	fs_inode_put(fs, file);
	return set ? 0 : -ENOENT;
}
