/* POSIX ACLs as values of xattrs. Field by field what Linux' posix_acl_valid() and posix_acl_equiv_mode() say. */
#include "format/format.h"

#define HEADER offsetof(struct fmt_acl, entry)

size_t fmt_acl_entries(size_t length)
{
	return (length - HEADER) / sizeof(struct fmt_acl_entry);
}

static bool named(const struct fmt_acl_entry *entry)
{
	return entry->tag == FMT_ACL_USER || entry->tag == FMT_ACL_GROUP;
}

/*
 * What may follow, by the last tag: the tags as a mask. USER_OBJ comes first, OTHER last; OTHER straight behind the
 * groups is right only without USER and GROUP, which want a MASK.
 */
static unsigned followers(unsigned tag, bool mask_needed)
{
	switch (tag) {
	case 0:
		return FMT_ACL_USER_OBJ;
	case FMT_ACL_USER_OBJ:
	case FMT_ACL_USER:
		return FMT_ACL_USER | FMT_ACL_GROUP_OBJ;
	case FMT_ACL_GROUP_OBJ:
	case FMT_ACL_GROUP:
		return FMT_ACL_GROUP | FMT_ACL_MASK | (mask_needed ? 0 : FMT_ACL_OTHER);
	case FMT_ACL_MASK:
		return FMT_ACL_OTHER;
	default:
		return 0;
	}
}

/* One tag, and no bits besides. */
static bool follows(unsigned tag, unsigned last, bool mask_needed)
{
	return tag != 0 && (tag & (tag - 1)) == 0 && (tag & followers(last, mask_needed)) != 0;
}

bool fmt_acl_valid(const struct fmt_acl *acl, size_t length)
{
	bool mask_needed = false;
	unsigned last = 0;

	if (length < HEADER || length > sizeof(*acl) || (length - HEADER) % sizeof(acl->entry[0]) != 0 ||
	    acl->version != FMT_ACL_VERSION)
		return false;
	for (size_t i = 0; i < fmt_acl_entries(length); i++) {
		const struct fmt_acl_entry *entry = &acl->entry[i];

		if (!follows(entry->tag, last, mask_needed) || entry->perm > 7)
			return false;
		if (named(entry) && entry->id == FMT_ACL_NO_ID)
			return false;
		mask_needed = mask_needed || named(entry);
		last = entry->tag;
	}
	return last == FMT_ACL_OTHER;
}

bool fmt_acl_mode(const struct fmt_acl *acl, size_t length, uint32_t *ret_mode)
{
	uint32_t user = 0, group = 0, other = 0;
	bool more = false;

	for (size_t i = 0; i < fmt_acl_entries(length); i++) {
		const struct fmt_acl_entry *entry = &acl->entry[i];

		if (entry->tag == FMT_ACL_USER_OBJ)
			user = entry->perm;
		else if (entry->tag == FMT_ACL_OTHER)
			other = entry->perm;
		/* The mask comes behind the group and stands for it. */
		else if (entry->tag == FMT_ACL_GROUP_OBJ || entry->tag == FMT_ACL_MASK)
			group = entry->perm;
		more = more || named(entry) || entry->tag == FMT_ACL_MASK;
	}
	*ret_mode = user << 6 | group << 3 | other;
	return more;
}
