#include "fs/acl.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define HEADER offsetof(struct fmt_acl, entry)
#define PERMISSIONS 0777u

static const char *const names[] = {[FS_ACL_ACCESS] = FMT_ACL_ACCESS, [FS_ACL_DEFAULT] = FMT_ACL_DEFAULT};

enum fs_acl_kind fs_acl_kind(const char *name)
{
	if (strcmp(name, FMT_ACL_ACCESS) == 0)
		return FS_ACL_ACCESS;
	return strcmp(name, FMT_ACL_DEFAULT) == 0 ? FS_ACL_DEFAULT : FS_ACL_NONE;
}

int fs_acl_parse(const void *value, size_t length, struct fs_acl *ret_acl)
{
	struct fmt_acl *acl = &ret_acl->value;

	if (length > sizeof(*acl))
		return -E2BIG;
	memcpy(acl, value, length);
	if (length == HEADER && acl->version == FMT_ACL_VERSION) {
		ret_acl->length = 0;
		return 0;
	}
	if (!fmt_acl_valid(acl, length))
		return -EINVAL;
	/* Whatever stands there: the kernel writes, and reads, just this. */
	for (size_t i = 0; i < fmt_acl_entries(length); i++) {
		if (acl->entry[i].tag != FMT_ACL_USER && acl->entry[i].tag != FMT_ACL_GROUP)
			acl->entry[i].id = FMT_ACL_NO_ID;
	}
	ret_acl->length = length;
	return 0;
}

bool fs_acl_stores(enum fs_acl_kind kind, const struct fs_acl *acl)
{
	uint32_t mode;

	return acl->length > 0 && (kind == FS_ACL_DEFAULT || fmt_acl_mode(&acl->value, acl->length, &mode));
}

/* A stored ACL; length 0 if there is none. */
static int get(struct meta *meta, const struct fmt_inode *inode, enum fs_acl_kind kind, struct fs_acl *ret_acl)
{
	ssize_t length =
		meta_xattr_get(meta, inode, names[kind], strlen(names[kind]), &ret_acl->value, sizeof(ret_acl->value));

	if (length == -ENODATA)
		length = 0;
	else if (length == -ERANGE || (length >= 0 && !fmt_acl_valid(&ret_acl->value, (size_t)length)))
		length = -EUCLEAN;
	if (length < 0)
		return (int)length;
	ret_acl->length = (size_t)length;
	return 0;
}

static int store(struct meta_tx *tx, const struct fmt_inode *inode, enum fs_acl_kind kind, const struct fs_acl *acl)
{
	return meta_xattr_set(tx, inode, names[kind], strlen(names[kind]), &acl->value, acl->length, 0);
}

int fs_acl_set(struct meta_tx *tx, const struct fmt_inode *inode, enum fs_acl_kind kind, const struct fs_acl *acl,
	       bool kill_setgid)
{
	struct fmt_inode *edit;
	uint32_t mode;
	int error = 0;

	if (S_ISLNK(inode->mode))
		return -EOPNOTSUPP;
	if (kind == FS_ACL_DEFAULT && acl->length > 0 && !S_ISDIR(inode->mode))
		return -EACCES;
	if (kind == FS_ACL_ACCESS && acl->length > 0) {
		error = meta_inode_edit(tx, inode, &edit);
		if (error != 0)
			return error;
		(void)fmt_acl_mode(&acl->value, acl->length, &mode);
		edit->mode = (edit->mode & ~PERMISSIONS) | mode;
		if (kill_setgid)
			edit->mode &= ~(uint32_t)S_ISGID;
	}
	if (fs_acl_stores(kind, acl))
		return store(tx, inode, kind, acl);
	if (meta_has_xattrs(inode))
		error = meta_xattr_remove(tx, inode, names[kind], strlen(names[kind]));
	return error == -ENODATA ? 0 : error;
}

/* The entry that the mode's group bits stand for. */
static struct fmt_acl_entry *group_class(struct fs_acl *acl)
{
	struct fmt_acl_entry *found = NULL;

	for (size_t i = 0; i < fmt_acl_entries(acl->length); i++) {
		struct fmt_acl_entry *entry = &acl->value.entry[i];

		if (entry->tag == FMT_ACL_MASK || entry->tag == FMT_ACL_GROUP_OBJ)
			found = entry; /* the mask is the later one */
	}
	return found;
}

/* USER_OBJ is the first entry of a valid ACL, OTHER its last. */
static struct fmt_acl_entry *other(struct fs_acl *acl)
{
	return &acl->value.entry[fmt_acl_entries(acl->length) - 1];
}

int fs_acl_chmod(struct meta *meta, struct meta_tx *tx, const struct fmt_inode *inode, uint32_t mode)
{
	struct fs_acl acl;
	uint32_t old;
	int error;

	if (!meta_has_xattrs(inode))
		return 0;
	error = get(meta, inode, FS_ACL_ACCESS, &acl);
	if (error != 0 || acl.length == 0)
		return error;
	(void)fmt_acl_mode(&acl.value, acl.length, &old);
	if (old == (mode & PERMISSIONS))
		return 0;
	acl.value.entry[0].perm = mode >> 6 & 7;
	group_class(&acl)->perm = mode >> 3 & 7;
	other(&acl)->perm = mode & 7;
	return store(tx, inode, FS_ACL_ACCESS, &acl);
}

/* As posix_acl_create(): the default ACL, bounded by the mode, is the access ACL and bounds the mode. */
static int inherit(struct meta_tx *tx, struct fs_acl *acl, struct fmt_inode *child)
{
	uint32_t mode;
	int error = 0;

	if (S_ISDIR(child->mode))
		error = store(tx, child, FS_ACL_DEFAULT, acl);
	if (error != 0)
		return error;
	acl->value.entry[0].perm &= child->mode >> 6 & 7;
	group_class(acl)->perm &= child->mode >> 3 & 7;
	other(acl)->perm &= child->mode & 7;
	if (fmt_acl_mode(&acl->value, acl->length, &mode))
		error = store(tx, child, FS_ACL_ACCESS, acl);
	child->mode = (child->mode & ~PERMISSIONS) | mode;
	return error;
}

/* Apart, so that a create without ACLs has no such frame. */
static int inherit_default(struct meta *meta, struct meta_tx *tx, const struct fmt_inode *parent,
			   struct fmt_inode *child, mode_t umask)
{
	struct fs_acl acl;
	int error = get(meta, parent, FS_ACL_DEFAULT, &acl);

	if (error != 0)
		return error;
	if (acl.length > 0)
		return inherit(tx, &acl, child);
	child->mode &= ~(umask & PERMISSIONS);
	return 0;
}

int fs_acl_announce(struct meta *meta, const struct fmt_inode *parent, uint32_t mode)
{
	const char *name = names[FS_ACL_DEFAULT];
	ssize_t length;

	if (S_ISLNK(mode) || !meta_has_xattrs(parent) || (meta_features(meta) >> FMT_FEATURE_ACL & 1) != 0)
		return 0;
	length = meta_xattr_get(meta, parent, name, strlen(name), NULL, 0);
	if (length < 0)
		return length == -ENODATA ? 0 : (int)length;
	return meta_feature_use(meta, FMT_FEATURE_ACL);
}

int fs_acl_inherit(struct meta *meta, struct meta_tx *tx, const struct fmt_inode *parent, struct fmt_inode *child,
		   mode_t umask)
{
	if (S_ISLNK(child->mode))
		return 0;
	if (meta_has_xattrs(parent))
		return inherit_default(meta, tx, parent, child, umask);
	child->mode &= ~(umask & PERMISSIONS);
	return 0;
}
