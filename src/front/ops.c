#include "front/request.h"

/*
 * What is not here, libfuse answers: flush and access with ENOSYS, after which the kernel stops asking; release and
 * releasedir with success, because nothing lives in a handle. flock(2) and fcntl(2) locks are the kernel's business.
 */
const struct fuse_lowlevel_ops front_ops = {
	.init = front_init,
	.lookup = front_lookup,
	.forget = front_forget,
	.forget_multi = front_forget_multi,
	.getattr = front_getattr,
	.setattr = front_setattr,
	.readlink = front_readlink,
	.mknod = front_mknod,
	.mkdir = front_mkdir,
	.unlink = front_unlink,
	.rmdir = front_rmdir,
	.symlink = front_symlink,
	.rename = front_rename,
	.link = front_link,
	.create = front_create,
	.open = front_open_file,
	.read = front_read,
	.write = front_write,
	.fsync = front_fsync,
	.fallocate = front_fallocate,
	.lseek = front_lseek,
	.copy_file_range = front_copy_file_range,
	.opendir = front_opendir,
	.readdir = front_readdir,
	.readdirplus = front_readdirplus,
	.fsyncdir = front_fsyncdir,
	.statfs = front_statfs,
	.setxattr = front_setxattr,
	.getxattr = front_getxattr,
	.listxattr = front_listxattr,
	.removexattr = front_removexattr,
	.ioctl = front_ioctl,
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
	.tmpfile = front_tmpfile,
#endif
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 18)
	.statx = front_statx,
#endif
};
