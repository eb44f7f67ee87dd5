/*
 * Extended attributes. Namespaces and permissions are the kernel's: names are kept as they come. POSIX ACLs are those
 * of two names, with a meaning: acl.c.
 */
#include "fs/acl.h"
#include "fs/names.h"
#include "fs/protect.h"

#include <errno.h>
#include <string.h>
#include <linux/xattr.h>
#include <sys/xattr.h>

/* -ERANGE as the kernel's own check of a name's length. */
static int xattr_name_check(const char *name, size_t *ret_length)
{
	size_t length = strnlen(name, FMT_NAME_MAX + 1);

	if (length == 0 || length > FMT_NAME_MAX)
		return -ERANGE;
	*ret_length = length;
	return 0;
}

ssize_t fs_getxattr(struct fs *fs, uint64_t ino, const char *name, void *value, size_t capacity)
{
	struct fs_inode *inode;
	size_t name_length;
	ssize_t result;
	int error = xattr_name_check(name, &name_length);

	if (error == 0)
		error = fs_inode_get(fs, ino, &inode);
	if (error != 0)
		return error;
	lock_rw_take_shared(fs_inode_attr_lock(inode));
	result = meta_xattr_get(fs->meta, inode->media, name, name_length, value, capacity);
	lock_rw_drop(fs_inode_attr_lock(inode));
	fs_inode_put(fs, inode);
	return result;
}

ssize_t fs_listxattr(struct fs *fs, uint64_t ino, bool trusted, char *list, size_t capacity)
{
	struct fs_inode *inode;
	ssize_t result;
	int error = fs_inode_get(fs, ino, &inode);

	if (error != 0)
		return error;
	lock_rw_take_shared(fs_inode_attr_lock(inode));
	result = meta_xattr_list(fs->meta, inode->media, trusted ? NULL : XATTR_TRUSTED_PREFIX, list, capacity);
	lock_rw_drop(fs_inode_attr_lock(inode));
	fs_inode_put(fs, inode);
	return result;
}

/* One change of an inode's xattrs; NULL for value and ACL removes. */
struct change {
	const char *name;
	size_t name_length;
	const void *value;
	size_t length;
	unsigned flags; /* META_XATTR_ */
	const struct fs_acl *acl; /* instead of a value */
	enum fs_acl_kind acl_kind;
	bool kill_setgid;
};

/* True if the change only gives pages back: it is done on a full pool, too. */
static bool only_frees(const struct change *change)
{
	if (change->acl != NULL)
		return !fs_acl_stores(change->acl_kind, change->acl);
	return change->value == NULL;
}

/* Else it removes one, or is refused. */
static bool stores_acl(const struct change *change, const struct fs_inode *inode)
{
	if (change->acl == NULL || only_frees(change))
		return false;
	return change->acl_kind == FS_ACL_DEFAULT ? S_ISDIR(inode->type) : !S_ISLNK(inode->type);
}

static int change_tx(struct meta_tx *tx, struct fs_inode *inode, const struct change *change)
{
	struct timespec now = fs_now();
	struct fmt_inode *media;
	int error;

	if (change->acl != NULL)
		error = fs_acl_set(tx, inode->media, change->acl_kind, change->acl, change->kill_setgid);
	else if (change->value == NULL)
		error = meta_xattr_remove(tx, inode->media, change->name, change->name_length);
	else
		error = meta_xattr_set(tx, inode->media, change->name, change->name_length, change->value,
				       change->length, change->flags);
	if (error != 0)
		return error;
	error = meta_inode_edit(tx, inode->media, &media);
	if (error != 0)
		return error;
	fs_touch_ctime(media, &now);
	return 0;
}

static int xattr_change(struct fs *fs, uint64_t ino, const struct change *change)
{
	const bool remove = only_frees(change);
	struct fs_inode *inode;
	struct lock_rw *lock;
	struct meta_tx *tx;
	int error = fs_inode_get(fs, ino, &inode);

	if (error != 0)
		return error;
	lock = fs_inode_attr_lock(inode);
	lock_rw_take_exclusive(lock);
	error = fs_writable(fs);
	if (error == 0)
		error = fs_may_change(inode, FS_CHANGE_ANY);
	if (error == 0 && stores_acl(change, inode))
		error = meta_feature_use(fs->meta, FMT_FEATURE_ACL);
	if (error != 0)
		goto drop;
	error = meta_begin(fs->meta, remove ? META_TX_RESERVE : 0, &tx);
	if (error != 0)
		goto drop;
	error = change_tx(tx, inode, change);
	error = fs_end(fs, tx, error, remove ? "removexattr" : "setxattr", ino);
drop:
	lock_rw_drop(lock);
	fs_inode_put(fs, inode);
	return error;
}

static int set_acl(struct fs *fs, uint64_t ino, enum fs_acl_kind kind, const void *value, size_t length, int flags)
{
	struct fs_acl acl;
	struct change change = {
		.acl = &acl,
		.acl_kind = kind,
		.kill_setgid = (flags & FS_XATTR_KILL_SETGID) != 0,
	};
	int error = fs_acl_parse(value, length, &acl);

	return error != 0 ? error : xattr_change(fs, ino, &change);
}

int fs_setxattr(struct fs *fs, uint64_t ino, const char *name, const void *value, size_t length, int flags)
{
	const enum fs_acl_kind kind = fs_acl_kind(name);
	/* A value of no bytes may come as NULL. */
	struct change change = {.name = name, .value = value != NULL ? value : "", .length = length};
	int error = xattr_name_check(name, &change.name_length);

	if (error != 0)
		return error;
	if (length > FMT_XATTR_VALUE_MAX)
		return -E2BIG;
	if ((flags & ~(XATTR_CREATE | XATTR_REPLACE | FS_XATTR_KILL_SETGID)) != 0 ||
	    (flags & (XATTR_CREATE | XATTR_REPLACE)) == (XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	if (kind != FS_ACL_NONE)
		return set_acl(fs, ino, kind, change.value, length, flags);
	if ((flags & XATTR_CREATE) != 0)
		change.flags |= META_XATTR_CREATE;
	if ((flags & XATTR_REPLACE) != 0)
		change.flags |= META_XATTR_REPLACE;
	return xattr_change(fs, ino, &change);
}

int fs_removexattr(struct fs *fs, uint64_t ino, const char *name)
{
	static const struct fs_acl no_acl = {.length = 0};
	struct change change = {.name = name, .acl_kind = fs_acl_kind(name)};
	int error = xattr_name_check(name, &change.name_length);

	/* Of an ACL that is not there, too, as other filesystems have it. */
	if (change.acl_kind != FS_ACL_NONE)
		change.acl = &no_acl;
	return error != 0 ? error : xattr_change(fs, ino, &change);
}
