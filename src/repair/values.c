/*
 * Extended attributes, ACLs and symlinks. A value that does not verify goes. What an access ACL forbade must not become
 * allowed by its loss, so the mode is narrowed with it.
 */
#include "repair/work.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- Extended attributes (I13, I20) ---- */

static bool is_named(const struct fmt_name *name, const char *text)
{
	return name->name_length == strlen(text) && memcmp(name->bytes, text, name->name_length) == 0;
}

static bool equal_before(const struct mend_names *names, size_t i)
{
	const struct fmt_name *name = names->name[i].media;

	for (size_t j = 0; j < i; j++) {
		const struct fmt_name *other = names->name[j].media;

		if (!names->name[j].drop && other->name_length == name->name_length &&
		    memcmp(other->bytes, name->bytes, name->name_length) == 0)
			return true;
	}
	return false;
}

/*
 * Loose names may be of values of old: a permission that was taken back must not come again. Where a part is, the part
 * confirms.
 */
static size_t judge_xattrs(struct work *work, const struct fmt_inode *inode, struct mend_names *names, bool *ret_acl)
{
	size_t dropped = 0;

	*ret_acl = names->lost;
	for (size_t i = 0; i < names->count; i++) {
		struct mend_name *name = &names->name[i];

		if (name->leaf == MEND_LOOSE) {
			name->drop = inode->ino != FMT_INO_PARTS || !repair_part_vouched(work, name->media);
			continue;
		}
		if (meta_mend_value_sound(work->meta, inode, name->media) && !equal_before(names, i))
			continue;
		name->drop = true;
		dropped++;
		*ret_acl = *ret_acl || is_named(name->media, FMT_ACL_ACCESS);
	}
	return dropped;
}

static int write_xattrs(struct work *work, const struct fmt_inode *inode, struct mend_names *names, bool narrow)
{
	struct fmt_inode *edited;
	struct meta_tx *tx;
	int error = repair_edit(work, inode->ino, &tx, &edited);

	if (error != 0)
		return error;
	error = meta_mend_write_names(tx, inode, true, names);
	if (error == 0 && narrow)
		edited->mode &= ~077u;
	return repair_end(tx, error);
}

int repair_xattrs(struct work *work, const struct fmt_inode *inode)
{
	const bool user = inode->ino == FMT_INO_ROOT || inode->ino >= FMT_INO_FIRST_FREE;
	const uint32_t mode = inode->mode;
	struct mend_names names = {.rewrite = NULL};
	size_t dropped;
	bool narrow;
	int error = meta_mend_read_names(work->meta, inode, true, &names);

	if (error != 0)
		return error;
	dropped = judge_xattrs(work, inode, &names, &narrow);
	narrow = narrow && user && !S_ISLNK(mode);
	if (names.damaged || dropped > 0) {
		error = write_xattrs(work, inode, &names, narrow);
		if (error == 0)
			repair_say(work, dropped > 0 ? "I20" : "I13", inode->ino,
				   "its extended attributes written anew from what verifies, %s%s",
				   names.lost || dropped > 0 ? "some are lost" : "none is lost",
				   narrow && (mode & 077) != 0
					   ? "; an ACL may be among them: the mode is its owner's only"
					   : "");
	}
	meta_mend_free_names(&names);
	return error;
}

/* ---- ACLs (I29) ---- */

/* Permissions of owner, group class and others, each no more than the mode's, go into ACL and mode alike. */
static uint32_t narrow_acl(struct fmt_acl *acl, size_t length, uint32_t mode)
{
	bool masked = false;
	uint32_t result = mode;

	for (size_t i = 0; i < fmt_acl_entries(length); i++)
		masked = masked || acl->entry[i].tag == FMT_ACL_MASK;
	for (size_t i = 0; i < fmt_acl_entries(length); i++) {
		struct fmt_acl_entry *entry = &acl->entry[i];

		if (entry->tag == FMT_ACL_USER_OBJ)
			entry->perm &= mode >> 6 & 7;
		else if (entry->tag == (masked ? FMT_ACL_MASK : FMT_ACL_GROUP_OBJ))
			entry->perm &= mode >> 3 & 7;
		else if (entry->tag == FMT_ACL_OTHER)
			entry->perm &= mode & 7;
	}
	(void)fmt_acl_mode(acl, length, &result);
	return result;
}

static int set_acl(struct work *work, const struct fmt_inode *inode, const char *name, const struct fmt_acl *acl,
		   size_t length, uint32_t permissions)
{
	struct fmt_inode *edited;
	struct meta_tx *tx;
	int error = repair_edit(work, inode->ino, &tx, &edited);

	if (error != 0)
		return error;
	if (acl != NULL)
		error = meta_xattr_set(tx, inode, name, strlen(name), acl, length, META_XATTR_REPLACE);
	else
		error = meta_xattr_remove(tx, inode, name, strlen(name));
	if (error == 0)
		edited->mode = (edited->mode & ~0777u) | permissions;
	return repair_end(tx, error);
}

static int mend_access(struct work *work, const struct fmt_inode *inode, struct fmt_acl *acl, size_t length)
{
	const uint32_t before = inode->mode & 0777;
	uint32_t mode = before;
	int error;

	if (S_ISLNK(inode->mode)) {
		error = set_acl(work, inode, FMT_ACL_ACCESS, NULL, 0, before);
		if (error == 0)
			repair_say(work, "I29", inode->ino, "ACL of a symlink taken away");
		return error;
	}
	if (!fmt_acl_valid(acl, length)) {
		error = set_acl(work, inode, FMT_ACL_ACCESS, NULL, 0, before & 0700);
		if (error == 0)
			repair_say(work, "I29", inode->ino,
				   "access ACL without right form taken away, mode set to %03o", before & 0700);
		return error;
	}
	if (fmt_acl_mode(acl, length, &mode) && mode == before)
		return 0;
	mode = narrow_acl(acl, length, before);
	if (!fmt_acl_mode(acl, length, &mode))
		error = set_acl(work, inode, FMT_ACL_ACCESS, NULL, 0, mode);
	else
		error = set_acl(work, inode, FMT_ACL_ACCESS, acl, length, mode);
	if (error == 0)
		repair_say(work, "I29", inode->ino, "access ACL and mode set to what both allow, %03o", mode);
	return error;
}

static int mend_default(struct work *work, const struct fmt_inode *inode, const struct fmt_acl *acl, size_t length)
{
	int error;

	if (S_ISDIR(inode->mode) && fmt_acl_valid(acl, length))
		return 0;
	error = set_acl(work, inode, FMT_ACL_DEFAULT, NULL, 0, inode->mode & 0777);
	if (error == 0)
		repair_say(work, "I29", inode->ino, "default ACL taken away: %s",
			   S_ISDIR(inode->mode) ? "it has no right form" : "only directories have one");
	return error;
}

static int mend_acls(struct work *work, uint64_t ino)
{
	static const char *const names[] = {FMT_ACL_ACCESS, FMT_ACL_DEFAULT};
	const struct fmt_inode *inode;
	struct fmt_acl *acl = malloc(FMT_XATTR_VALUE_MAX);
	int error = 0;

	if (acl == NULL)
		return -ENOMEM;
	for (size_t i = 0; error == 0 && i < 2; i++) {
		ssize_t length;

		if (meta_inode_get(work->meta, ino, &inode) != 0)
			break;
		length = meta_xattr_get(work->meta, inode, names[i], strlen(names[i]), acl, FMT_XATTR_VALUE_MAX);
		if (length < 0) /* not there, or damaged: content.c */
			continue;
		error = i == 0 ? mend_access(work, inode, acl, (size_t)length)
			       : mend_default(work, inode, acl, (size_t)length);
	}
	free(acl);
	return error == -ENOSPC ? 0 : error;
}

/* ---- Symlinks (I19) ---- */

/* Nothing is left to point anywhere. Its entries go with the next analysis. */
static int drop_symlink(struct work *work, uint64_t ino)
{
	int error = meta_mend_slot(work->meta, ino, NULL);

	if (error == 0)
		repair_say(work, "I19", ino, "symlink without a whole target taken out");
	return error;
}

int repair_values(struct work *work)
{
	struct repair_inodes set;
	int error = repair_inodes_with(work, "I19", &set);

	for (size_t i = 0; error == 0 && i < set.count; i++)
		error = drop_symlink(work, set.ino[i]);
	free(set.ino);
	if (error == 0)
		error = repair_inodes_with(work, "I29", &set);
	else
		return error;
	for (size_t i = 0; error == 0 && i < set.count; i++)
		error = mend_acls(work, set.ino[i]);
	free(set.ino);
	return error;
}
