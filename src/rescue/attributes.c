/* Owners, modes, extended attributes, times. */
#include "rescue/work.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

struct target {
	struct work *work;
	const char *path;
	int fd; /* or -1: */
	int folder;
	const char *name;
	bool acl_lost;
	bool gap;
};

/* True if it has the owner that it had in the pool. */
static bool set_owner(const struct target *target, const struct fmt_inode *inode)
{
	int result;

	/* -1 would mean: as it is. */
	if (inode->uid == UINT32_MAX || inode->gid == UINT32_MAX)
		return false;
	result = target->fd >= 0 ? fchown(target->fd, inode->uid, inode->gid)
				 : fchownat(target->folder, target->name, inode->uid, inode->gid, AT_SYMLINK_NOFOLLOW);

	return result == 0;
}

static int set_xattr(const struct target *target, const char *name, const void *value, size_t length)
{
	char path[64 + FMT_NAME_MAX];

	if (target->fd >= 0)
		return fsetxattr(target->fd, name, value, length, XATTR_CREATE) == 0 ? 0 : -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", target->folder, target->name);
	return lsetxattr(path, name, value, length, XATTR_CREATE) == 0 ? 0 : -errno;
}

/* The spaces that pinfs keeps: in others, names have meanings of their own. */
static bool name_known(const char *name)
{
	static const char *const spaces[] = {"user.", "trusted.", "security."};

	for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++) {
		if (strncmp(name, spaces[i], strlen(spaces[i])) == 0)
			return true;
	}
	return strcmp(name, FMT_ACL_ACCESS) == 0 || strcmp(name, FMT_ACL_DEFAULT) == 0;
}

static int copy_xattr(struct walk *walk, const struct fmt_name *found)
{
	unsigned char *value = walk->work->buffer;
	struct target *target = walk->arg;
	struct rescue_text room;
	char name[FMT_NAME_MAX + 1];
	int error = 0;

	memcpy(name, found->bytes, found->name_length);
	name[found->name_length] = '\0';
	if (found->value_length > FMT_XATTR_VALUE_MAX || strlen(name) != found->name_length || !name_known(name))
		error = -EUCLEAN;
	else if (found->type == FMT_XATTR_BLOB)
		error = blob_copy(walk->work, walk->inode, FMT_KIND_XATTRS, found->target, value, found->value_length);
	else
		memcpy(value, found->bytes + found->name_length, found->value_length);
	if (error == 0)
		error = set_xattr(target, name, value, found->value_length);
	if (node_fatal(error) && error != -EIO && error != -ENOSPC)
		return error;
	/* A page may be told of twice: an old one says nothing new. */
	if (error == 0 || (walk->doubtful && error == -EEXIST))
		return 0;
	if (strcmp(name, FMT_ACL_ACCESS) == 0)
		target->acl_lost = true;
	rescue_lost(walk->work, "%s: extended attribute %s is lost: %s", target->path,
		    rescue_text(&room, name, strlen(name)), strerror(-error));
	return 0;
}

static void xattr_gap(struct walk *walk, uint64_t low, uint64_t high)
{
	struct target *target = walk->arg;

	(void)low;
	(void)high;
	target->gap = true;
}

static void copy_xattrs(struct target *target, const struct fmt_inode *inode)
{
	struct walk walk = {.work = target->work,
			    .inode = inode,
			    .kind = FMT_KIND_XATTRS,
			    .name = copy_xattr,
			    .gap = xattr_gap,
			    .arg = target};
	const struct page_info *page = orphans_first(target->work, inode->ino, inode->generation, FMT_KIND_XATTRS);
	int error = map_walk(&walk);

	for (; error == 0 && page != NULL; page = orphans_next(target->work, page))
		error = map_walk_page(&walk, page);
	if (error == 0 && !target->gap)
		return;
	target->acl_lost = true;
	rescue_lost(target->work, "%s: some of its extended attributes are lost", target->path);
}

/* Without its ACL, what is the ACL's mask in the mode would let the group do more than it could. */
static void set_mode(struct target *target, const struct fmt_inode *inode, bool owned)
{
	mode_t mode = inode->mode & 07777;
	int result;

	if (S_ISLNK(inode->mode))
		return;
	if (!owned)
		mode &= 0777;
	if (target->acl_lost && (mode & 077) != 0) {
		mode &= ~(mode_t)077;
		rescue_lost(target->work, "%s: only its owner may use it now, for its ACL may be lost", target->path);
	}
	/* DIR itself may be another's who puts something else there meanwhile. */
	result = target->fd >= 0 ? fchmod(target->fd, mode)
				 : fchmodat(target->folder, target->name, mode, AT_SYMLINK_NOFOLLOW);
	if (result != 0)
		rescue_lost(target->work, "%s: its mode is lost: %s", target->path, strerror(errno));
}

static struct timespec to_time(int64_t seconds, uint32_t nanoseconds)
{
	/* Not what utimensat() takes for something else than a time. */
	return (struct timespec){.tv_sec = seconds, .tv_nsec = nanoseconds < 1000000000u ? nanoseconds : 0};
}

static void set_times(const struct target *target, const struct fmt_inode *inode)
{
	const struct timespec times[2] = {to_time(inode->atime, inode->atime_nsec),
					  to_time(inode->mtime, inode->mtime_nsec)};
	int result = target->fd >= 0 ? futimens(target->fd, times)
				     : utimensat(target->folder, target->name, times, AT_SYMLINK_NOFOLLOW);

	if (result != 0)
		rescue_lost(target->work, "%s: its times are lost: %s", target->path, strerror(errno));
}

void attributes_copy(struct work *work, int fd, int folder, const char *name, const struct fmt_inode *inode,
		     const char *path)
{
	struct target target = {.work = work, .path = path, .fd = fd, .folder = folder, .name = name};
	bool owned = set_owner(&target, inode);

	if (!owned)
		work->owners_lost++;
	copy_xattrs(&target, inode);
	set_mode(&target, inode, owned);
	set_times(&target, inode);
}
