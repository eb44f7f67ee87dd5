/*
 * ioctl(2): inode flags, the generation, the shutdown. Flags come from the kernel's own functions, which check who may
 * (fs/fs.h has what is left to us), take the inode's lock and ask with exactly these numbers: others that look alike
 * would come past those checks.
 */
#include "front/request.h"

#include "base/arith.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>

#ifndef FS_IOC_SHUTDOWN
#define FS_IOC_SHUTDOWN _IOR('X', 125, __u32)
#endif

/* The other form of the flags, struct fsxattr; it has no word for FS_DIRSYNC_FL. */
static const struct {
	unsigned flag;
	uint32_t xflag;
} xflags[] = {
	{FS_IMMUTABLE_FL, FS_XFLAG_IMMUTABLE}, {FS_APPEND_FL, FS_XFLAG_APPEND}, {FS_NODUMP_FL, FS_XFLAG_NODUMP},
	{FS_NOATIME_FL, FS_XFLAG_NOATIME},     {FS_SYNC_FL, FS_XFLAG_SYNC},
};

#define PROTECTED (FS_IMMUTABLE_FL | FS_APPEND_FL)

/* ---- Getting ---- */

static void get_flags(struct front_request *request, fuse_ino_t ino, unsigned cmd, size_t room)
{
	struct fsxattr xattr = {.fsx_xflags = 0};
	struct fs_flags flags;
	int error = fs_get_flags(request->front->fs, ino, &flags);
	uint32_t word;

	if (error == 0 && room < (cmd == FS_IOC_FSGETXATTR ? sizeof(xattr) : sizeof(word)))
		error = -EINVAL;
	if (error != 0) {
		front_reply_error(request, error);
		return;
	}
	if (cmd == FS_IOC_FSGETXATTR) {
		for (size_t i = 0; i < ARRAY_SIZE(xflags); i++)
			xattr.fsx_xflags |= (flags.flags & xflags[i].flag) != 0 ? xflags[i].xflag : 0;
		front_reply_ioctl(request, &xattr, sizeof(xattr));
		return;
	}
	word = cmd == FS_IOC_GETVERSION ? flags.generation : flags.flags;
	front_reply_ioctl(request, &word, sizeof(word));
}

/* ---- Setting ---- */

struct setting {
	struct front_request request;
	fuse_ino_t ino;
	unsigned flags, mask;
	struct fs_cred cred;
};

static void apply(struct setting *setting)
{
	struct front *front = setting->request.front;
	int error = fs_set_flags(front->fs, setting->ino, setting->flags, setting->mask, &setting->cred);

	/* ctime is another one. Offset -1 takes no lock of the inode: the caller has it. */
	if (error == 0)
		(void)fuse_lowlevel_notify_inval_inode(front->session, setting->ino, -1, 0);
	if (error != 0)
		front_reply_error(&setting->request, error);
	else
		front_reply_ioctl(&setting->request, NULL, 0);
}

/* The kernel has written back what it held. */
static void apply_later(void *arg)
{
	struct setting *setting = arg;

	if (setting->request.front->upcalls.stopping)
		front_reply_error(&setting->request, -ENOTCONN);
	else
		apply(setting);
	free(setting);
}

/*
 * What was written before is to reach the file before it is protected, also if the kernel still has it: pages stored to
 * by mmap, or all with cache=writeback.
 */
static void set_flags(struct setting *setting)
{
	struct front *front = setting->request.front;
	struct setting *later;

	if ((setting->flags & PROTECTED) == 0 || !front_has_pages(front) || !fs_honours_flags(front->fs)) {
		apply(setting);
		return;
	}
	later = malloc(sizeof(*later));
	if (later == NULL) {
		front_reply_error(&setting->request, -ENOMEM);
		return;
	}
	*later = *setting;
	front_invalidate(front, later->ino, 0, 0, apply_later, later);
}

/* -EOPNOTSUPP: flags, hints or projects that there are not here. */
static int parse_xattr(const struct fsxattr *xattr, unsigned *ret_flags)
{
	uint32_t left = xattr->fsx_xflags;

	*ret_flags = 0;
	for (size_t i = 0; i < ARRAY_SIZE(xflags); i++) {
		if ((left & xflags[i].xflag) != 0)
			*ret_flags |= xflags[i].flag;
		left &= ~xflags[i].xflag;
	}
	left |= xattr->fsx_extsize | xattr->fsx_cowextsize | xattr->fsx_projid;
	return left != 0 ? -EOPNOTSUPP : 0;
}

static int parse(struct setting *setting, unsigned cmd, const void *in, size_t in_size)
{
	struct fsxattr xattr;
	uint32_t word;

	if (in_size < (cmd == FS_IOC_FSSETXATTR ? sizeof(xattr) : sizeof(word)))
		return -EINVAL;
	if (cmd == FS_IOC_FSSETXATTR) {
		memcpy(&xattr, in, sizeof(xattr));
		for (size_t i = 0; i < ARRAY_SIZE(xflags); i++)
			setting->mask |= xflags[i].flag;
		return parse_xattr(&xattr, &setting->flags);
	}
	memcpy(&word, in, sizeof(word));
	setting->flags = word;
	setting->mask = UINT32_MAX;
	return 0;
}

static void parse_and_set(struct front_request *request, fuse_ino_t ino, unsigned cmd, const void *in, size_t in_size)
{
	const struct fuse_ctx *context = fuse_req_ctx(request->req);
	struct setting setting = {.request = *request, .ino = ino, .cred = {.uid = context->uid, .gid = context->gid}};
	int error = parse(&setting, cmd, in, in_size);

	if (error != 0)
		front_reply_error(request, error);
	else
		set_flags(&setting);
}

/* ---- The operation ---- */

void front_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg, struct fuse_file_info *fi, unsigned flags,
		 const void *in, size_t in_size, size_t out_size)
{
	struct front_request request;

	(void)fi;
	(void)flags;
	front_begin(&request, req, FRONT_IOCTL);
	switch (cmd) {
	case FS_IOC_GETFLAGS:
	case FS_IOC_FSGETXATTR:
	case FS_IOC_GETVERSION:
		get_flags(&request, ino, cmd, out_size);
		break;
	case FS_IOC_SETFLAGS:
	case FS_IOC_FSSETXATTR:
		parse_and_set(&request, ino, cmd, in, in_size);
		break;
	case FS_IOC_SHUTDOWN:
		front_shut_down(&request, arg);
		break;
	default:
		front_reply_error(&request, fs_is_shut_down(request.front->fs) ? -EIO : -ENOTTY);
		break;
	}
}
