/* Making one inode that is no directory. Files with several names are made once, in a folder of links. */
#include "rescue/work.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

bool node_fatal(int error)
{
	switch (error) {
	case -ENOSPC:
	case -EDQUOT:
	case -EROFS:
	case -EIO:
	case -ENOMEM:
	case -EMFILE:
	case -ENFILE:
		return true;
	default:
		return false;
	}
}

static int make_file(struct work *work, int folder, const char *name, const struct fmt_inode *inode, const char *path)
{
	int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int error;

	if (fd < 0)
		return -errno;
	error = file_copy(work, fd, inode, path);
	if (error == 0) {
		attributes_copy(work, fd, folder, name, inode, path);
		work->report.files++;
	}
	/* What a network filesystem could not write it may say here. */
	if (close(fd) != 0 && error == 0)
		error = node_fatal(-errno) ? -errno : 0;
	return error;
}

static int make_symlink(struct work *work, int folder, const char *name, const struct fmt_inode *inode,
			const char *path)
{
	char target[FMT_SYMLINK_MAX + 1];
	size_t length = inode->size;
	int error = 0;

	if (length == 0 || length > FMT_SYMLINK_MAX)
		error = -EUCLEAN;
	else if (length <= FMT_SYMLINK_INLINE_MAX)
		memcpy(target, inode->symlink, length);
	else
		error = blob_copy(work, inode, FMT_KIND_SYMLINK, inode->body.root, target, length);
	if (error == 0)
		target[length] = '\0';
	if (error != 0 || strlen(target) != length) {
		rescue_lost(work, "%s: the target of this symlink is damaged: left out", path);
		return 0;
	}
	if (symlinkat(target, folder, name) != 0)
		return -errno;
	attributes_copy(work, -1, folder, name, inode, path);
	work->report.symlinks++;
	return 0;
}

static int make_special(struct work *work, int folder, const char *name, const struct fmt_inode *inode,
			const char *path)
{
	bool device = S_ISCHR(inode->mode) || S_ISBLK(inode->mode);
	/* As Linux' new_encode_dev. */
	dev_t rdev = device ? makedev((unsigned)(inode->rdev >> 8) & 0xfff,
				      ((unsigned)inode->rdev & 0xff) | ((unsigned)(inode->rdev >> 12) & 0xfff00))
			    : 0;

	if (mknodat(folder, name, (inode->mode & S_IFMT) | 0600, rdev) != 0) {
		if (errno != EPERM)
			return -errno;
		rescue_lost(work, "%s: this special file is left out: %s", path, strerror(errno));
		return 0;
	}
	attributes_copy(work, -1, folder, name, inode, path);
	work->report.others++;
	return 0;
}

static int make(struct work *work, int folder, const char *name, const struct fmt_inode *inode, const char *path)
{
	if (S_ISREG(inode->mode))
		return make_file(work, folder, name, inode, path);
	if (S_ISLNK(inode->mode))
		return make_symlink(work, folder, name, inode, path);
	return make_special(work, folder, name, inode, path);
}

/* A name for what was made in the folder of links. -EMLINK and the like: the target can have no more, or none. */
static int link_name(const struct work *work, const char *link, int folder, const char *name)
{
	return linkat(work->links, link, folder, name, 0) == 0 ? 0 : -errno;
}

static int copy_linked(struct work *work, int folder, const char *name, struct info *info,
		       const struct fmt_inode *inode, const char *path)
{
	char link[24];
	int error = 0;

	if (work->links < 0 && mkdirat(work->target, work->links_name, 0700) != 0)
		return -errno;
	if (work->links < 0)
		work->links = openat(work->target, work->links_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (work->links < 0)
		return -errno;
	snprintf(link, sizeof(link), "%" PRIu64, info->ino);
	if ((info->flags & INFO_STAGED) == 0)
		error = make(work, work->links, link, inode, path);
	if (error != 0)
		return error;
	info->flags |= INFO_STAGED;
	error = link_name(work, link, folder, name);
	/* One that could not be made has been told of. */
	if (error == 0 || error == -ENOENT || error == -EEXIST || error == -ENAMETOOLONG || node_fatal(error))
		return error == -ENOENT ? 0 : error;
	rescue_lost(work, "%s: is a copy and no hard link: %s", path, strerror(-error));
	return make(work, folder, name, inode, path);
}

int node_copy(struct work *work, int folder, const char *name, struct info *info, const char *path)
{
	struct fmt_inode inode;
	int error = inode_read(work, info->ino, &inode);

	if (error != 0)
		return 0; /* it was sound a moment ago: whoever changes the pool meanwhile gets no copy */
	if (inode.nlink > 1)
		error = copy_linked(work, folder, name, info, &inode, path);
	else
		error = make(work, folder, name, &inode, path);
	if (error == 0) {
		info->flags |= INFO_COPIED;
		return 0;
	}
	if (node_fatal(error)) {
		message_set(work->message, "%s: %s", path, strerror(-error));
		return error;
	}
	/* Names that the target does not take, or has: it will be found in lost+found, unless it has another. */
	rescue_lost(work, "%s: cannot be made under this name: %s", path, strerror(-error));
	return 0;
}
