/* Inode flags: what chattr(1) sets and lsattr(1) shows. What they forbid is in protect.c. */
#include "base/arith.h"
#include "fs/protect.h"
#include "fs/names.h"

#include <errno.h>
#include <linux/fs.h>

static const struct {
	uint32_t media; /* FMT_INODE_ */
	unsigned flag; /* as the kernel's ioctls have it */
} flag_table[] = {
	{FMT_INODE_IMMUTABLE, FS_IMMUTABLE_FL}, {FMT_INODE_APPEND, FS_APPEND_FL}, {FMT_INODE_NODUMP, FS_NODUMP_FL},
	{FMT_INODE_NOATIME, FS_NOATIME_FL},	{FMT_INODE_SYNC, FS_SYNC_FL},	  {FMT_INODE_DIRSYNC, FS_DIRSYNC_FL},
};

unsigned fs_inode_flags(const struct fs_inode *inode)
{
	unsigned flags = 0;

	for (size_t i = 0; i < ARRAY_SIZE(flag_table); i++) {
		if ((inode->media->flags & flag_table[i].media) != 0)
			flags |= flag_table[i].flag;
	}
	return flags;
}

uint32_t fs_flags_inherited(const struct fmt_inode *parent, uint32_t mode)
{
	return parent->flags & FMT_INODE_USER & ~FMT_INODE_PROTECTED & fmt_user_flags(mode);
}

bool fs_honours_flags(const struct fs *fs)
{
	return fs->inode_flags;
}

int fs_get_flags(struct fs *fs, uint64_t ino, struct fs_flags *ret_flags)
{
	struct fs_inode *inode;
	int error = fs_inode_get(fs, ino, &inode);

	if (error != 0)
		return error;
	lock_rw_take_shared(fs_inode_attr_lock(inode));
	*ret_flags = (struct fs_flags){.flags = fs_inode_flags(inode), .generation = inode->media->generation};
	lock_rw_drop(fs_inode_attr_lock(inode));
	fs_inode_put(fs, inode);
	return 0;
}

/* ---- Setting ---- */

static int to_media(unsigned flags, uint32_t *ret_media)
{
	*ret_media = 0;
	for (size_t i = 0; i < ARRAY_SIZE(flag_table); i++) {
		if ((flags & flag_table[i].flag) != 0)
			*ret_media |= flag_table[i].media;
		flags &= ~flag_table[i].flag;
	}
	return flags != 0 ? -EOPNOTSUPP : 0;
}

/*
 * The kernel has checked this for whoever it knows to own the file or to have CAP_LINUX_IMMUTABLE, by our answers to
 * its questions; before 5.13 it did not ask. An immutable inode takes no change but to be immutable no more.
 */
static int check(const struct fs *fs, const struct fmt_inode *media, uint32_t after, const struct fs_cred *cred)
{
	const uint32_t changed = (media->flags ^ after) & FMT_INODE_USER;
	const uint32_t added = after & ~media->flags;

	if (!S_ISREG(media->mode) && !S_ISDIR(media->mode))
		return -EOPNOTSUPP;
	if (cred->uid != 0 && (cred->uid != media->uid || (changed & FMT_INODE_PROTECTED) != 0))
		return -EPERM;
	if ((after & FMT_INODE_USER & ~fmt_user_flags(media->mode)) != 0)
		return -EOPNOTSUPP;
	if ((added & FMT_INODE_PROTECTED) != 0 && !fs->inode_flags)
		return -EOPNOTSUPP;
	return (media->flags & after & FMT_INODE_IMMUTABLE) != 0 && changed != 0 ? -EPERM : 0;
}

/* The inode is locked. */
static int set_locked(struct fs *fs, struct fs_inode *inode, uint32_t flags, uint32_t mask, const struct fs_cred *cred)
{
	const uint32_t after = (inode->media->flags & ~mask) | flags;
	struct timespec now = fs_now();
	struct fmt_inode *media;
	struct meta_tx *tx;
	int error = fs_writable(fs);

	if (error == 0)
		error = check(fs, inode->media, after, cred);
	if (error != 0 || after == inode->media->flags)
		return error;
	if ((after & FMT_INODE_USER) != 0)
		error = meta_feature_use(fs->meta, FMT_FEATURE_FLAGS);
	if (error != 0)
		return error;
	error = meta_begin(fs->meta, META_TX_RESERVE, &tx);
	if (error != 0)
		return error;
	error = meta_inode_edit(tx, inode->media, &media);
	if (error == 0) {
		media->flags = after;
		fs_touch_ctime(media, &now);
	}
	return fs_end(fs, tx, error, "setting flags", inode->ino);
}

int fs_set_flags(struct fs *fs, uint64_t ino, unsigned flags, unsigned mask, const struct fs_cred *cred)
{
	struct fs_inode *inode;
	uint32_t media_flags, media_mask;
	int error = to_media(flags, &media_flags);

	if (error != 0 || (flags & ~mask) != 0)
		return -EOPNOTSUPP;
	(void)to_media(mask, &media_mask);
	error = fs_inode_get(fs, ino, &inode);
	if (error != 0)
		return error;
	/* What is being written is written; what asks later finds the flags. */
	lock_rw_take_exclusive(&inode->layout);
	if (!fs_inode_is_dir(inode))
		lock_rw_take_exclusive(&inode->map);
	error = set_locked(fs, inode, media_flags, media_mask, cred);
	if (!fs_inode_is_dir(inode))
		lock_rw_drop(&inode->map);
	lock_rw_drop(&inode->layout);
	fs_inode_put(fs, inode);
	return error;
}
