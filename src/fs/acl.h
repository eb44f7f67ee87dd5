/*
 * POSIX ACLs: what setting one, chmod and making an inode do to the mode and to what is stored. The kernel decides by
 * them who may do what; here they are kept in step with the mode, in one transaction with it:
 *
 * - An access ACL that says no more than the mode is not stored. A stored one has the mode's permission bits: the
 *   group's are those of its mask (I29).
 * - chmod changes a stored one. Removing it leaves the mode: the mask's bits become the group's.
 * - What is made in a directory with a default ACL gets its access ACL from that, bounded by the mode that was asked
 *   for, and the umask does not count; a directory gets the default ACL too. Symlinks have none.
 */
#ifndef PINFS_FS_ACL_H
#define PINFS_FS_ACL_H

#include "meta/meta.h"

enum fs_acl_kind {
	FS_ACL_NONE,
	FS_ACL_ACCESS,
	FS_ACL_DEFAULT,
};

struct fs_acl {
	size_t length; /* of the value; 0: no ACL */
	struct fmt_acl value;
};

/* Which ACL an xattr is; FS_ACL_NONE: another xattr. */
enum fs_acl_kind fs_acl_kind(const char *name);
/* What setxattr was given. A header without entries means no ACL. -EINVAL, -E2BIG. */
int fs_acl_parse(const void *value, size_t length, struct fs_acl *ret_acl);
/* True if setting it stores something: else pages are only given back. */
bool fs_acl_stores(enum fs_acl_kind kind, const struct fs_acl *acl);

/*
 * The rest are parts of a transaction that changes the inode, which is locked exclusive. -ENOSPC, -EUCLEAN.
 *
 * Sets or (length 0) removes an ACL; that there is none is no error. kill_setgid: with an access ACL the caller loses
 * the setgid bit. -EACCES: a default ACL, and no directory. -EOPNOTSUPP: a symlink.
 */
int fs_acl_set(struct meta_tx *tx, const struct fmt_inode *inode, enum fs_acl_kind kind, const struct fs_acl *acl,
	       bool kill_setgid);
/* The stored access ACL follows the new mode; the caller sets the mode. Takes no more pages than it gives back. */
int fs_acl_chmod(struct meta *meta, struct meta_tx *tx, const struct fmt_inode *inode, uint32_t mode);
/* Before the transaction in which a child of that mode inherits: a pool of before the feature words gets its word. */
int fs_acl_announce(struct meta *meta, const struct fmt_inode *parent, uint32_t mode);
/* Of a new inode, its mode set as it was asked for: applies the parent's default ACL, or else the umask. */
int fs_acl_inherit(struct meta *meta, struct meta_tx *tx, const struct fmt_inode *parent, struct fmt_inode *child,
		   mode_t umask);

#endif
