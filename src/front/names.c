/* The namespace: look-ups, and what makes, renames and removes names. */
#include "front/request.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>

void front_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct front_request request;
	struct fs_entry entry;
	int error;

	front_begin(&request, req, FRONT_LOOKUP);
	error = fs_lookup(request.front->fs, parent, name, &entry);
	if (error == -ENOENT)
		front_reply_absent(&request);
	else if (error != 0)
		front_reply_error(&request, error);
	else
		front_reply_entry(&request, &entry, NULL);
}

void front_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	struct front_request request;

	front_begin(&request, req, FRONT_FORGET);
	fs_forget(request.front->fs, ino, count);
	front_reply_none(&request);
}

void front_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct front_request request;

	front_begin(&request, req, FRONT_FORGET);
	for (size_t i = 0; i < count; i++)
		fs_forget(request.front->fs, forgets[i].ino, forgets[i].nlookup);
	front_reply_none(&request);
}

void front_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct front_request request;
	char target[PATH_MAX];
	ssize_t length;

	front_begin(&request, req, FRONT_READLINK);
	length = fs_readlink(request.front->fs, ino, target, sizeof(target) - 1);
	if (length < 0) {
		front_reply_error(&request, (int)length);
		return;
	}
	if ((size_t)length > sizeof(target) - 1)
		length = sizeof(target) - 1;
	target[length] = '\0';
	front_reply_link(&request, target);
}

static struct fs_cred caller(fuse_req_t req)
{
	const struct fuse_ctx *context = fuse_req_ctx(req);

	return (struct fs_cred){.uid = context->uid, .gid = context->gid};
}

/* Makes an inode and its name, and answers. The umask is ours to apply: a default ACL counts instead of it. */
static void make(struct front_request *request, fuse_ino_t parent, const char *name, const struct fs_make *new,
		 const struct fuse_file_info *fi)
{
	const struct fs_cred cred = caller(request->req);
	struct fs_make masked = *new;
	struct fs_entry entry;
	int error;

	masked.umask = fuse_req_ctx(request->req)->umask;
	error = fs_make(request->front->fs, parent, name, &masked, &cred, &entry);
	if (error != 0)
		front_reply_error(request, error);
	else
		front_reply_entry(request, &entry, fi);
}

void front_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	const struct fs_make new = {.mode = mode, .rdev = rdev};
	struct front_request request;

	front_begin(&request, req, FRONT_MKNOD);
	make(&request, parent, name, &new, NULL);
}

void front_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	const struct fs_make new = {.mode = S_IFDIR | (mode & ~(mode_t)S_IFMT)};
	struct front_request request;

	front_begin(&request, req, FRONT_MKDIR);
	make(&request, parent, name, &new, NULL);
}

void front_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	const struct fs_make new = {.mode = S_IFLNK | 0777, .target = target};
	struct front_request request;

	front_begin(&request, req, FRONT_SYMLINK);
	make(&request, parent, name, &new, NULL);
}

/*
 * open(2) with O_CREAT of a name that does not exist: the kernel has looked it up and holds the directory, so a name
 * that is there all the same is an error and not a file to open.
 */
void front_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	const struct fs_make new = {.mode = S_IFREG | (mode & ~(mode_t)S_IFMT)};
	struct front_request request;

	front_begin(&request, req, FRONT_CREATE);
	front_file_opened(request.front, fi);
	make(&request, parent, name, &new, fi);
}

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
/* O_TMPFILE. Without this function the kernel answers EOPNOTSUPP. */
void front_tmpfile(fuse_req_t req, fuse_ino_t directory, mode_t mode, struct fuse_file_info *fi)
{
	const struct fs_cred cred = caller(req);
	struct front_request request;
	struct fs_entry entry;
	int error;

	front_begin(&request, req, FRONT_TMPFILE);
	front_file_opened(request.front, fi);
	error = fs_tmpfile(request.front->fs, directory, mode, fuse_req_ctx(req)->umask, &cred, &entry);
	if (error != 0)
		front_reply_error(&request, error);
	else
		front_reply_entry(&request, &entry, fi);
}
#endif

void front_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	struct front_request request;
	struct fs_entry entry;
	int error;

	front_begin(&request, req, FRONT_LINK);
	error = fs_link(request.front->fs, ino, parent, name, &entry);
	if (error != 0)
		front_reply_error(&request, error);
	else
		front_reply_entry(&request, &entry, NULL);
}

void front_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct front_request request;

	front_begin(&request, req, FRONT_UNLINK);
	front_reply_error(&request, fs_unlink(request.front->fs, parent, name));
}

void front_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct front_request request;

	front_begin(&request, req, FRONT_RMDIR);
	front_reply_error(&request, fs_rmdir(request.front->fs, parent, name));
}

void front_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
		  unsigned int flags)
{
	struct front_request request;
	struct fs_cred cred;
	int error;

	front_begin(&request, req, FRONT_RENAME);
	if ((flags & RENAME_WHITEOUT) != 0) {
		cred = caller(req);
		error = fs_rename_whiteout(request.front->fs, parent, name, new_parent, new_name,
					   flags & ~(unsigned)RENAME_WHITEOUT, &cred);
	} else {
		error = fs_rename(request.front->fs, parent, name, new_parent, new_name, flags);
	}
	front_reply_error(&request, error);
}
