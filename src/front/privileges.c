/*
 * A change of a file's contents takes setuid, setgid and its capabilities away, unless root makes it (capabilities even
 * then). Who sees to that:
 *
 *                        agreed: HANDLE_KILLPRIV_V2           else
 *   write, cached        mode: here, if the kernel says so    the kernel, by getxattr and setattr
 *   write, past cache    here                                 here; uid 0 stands for CAP_FSETID
 *   fallocate, copy      mode: here; uid 0 as above           the kernel
 *   truncate, chown      mode: with the change (attr.c)       the kernel
 *
 * Where it says "mode", capabilities have been removed by the kernel before. It looks for them once, and then no more
 * until it hears new attributes of the file; without the agreement it asks before each write.
 */
#include "front/request.h"

unsigned front_write_drops(struct front *front, fuse_req_t req, const struct fuse_file_info *fi)
{
	const bool direct = front->cache == FRONT_CACHE_NONE || fi->fh == FRONT_FH_PAST_CACHE;
	unsigned which = direct ? FS_DROP_CAPABILITY : 0;

	if (front->killpriv ? front_kill_asked(fi) : direct && fuse_req_ctx(req)->uid != 0)
		which |= FS_DROP_MODE;
	return which;
}

unsigned front_change_drops(struct front *front, fuse_req_t req)
{
	return front->killpriv && fuse_req_ctx(req)->uid != 0 ? FS_DROP_MODE : 0;
}

int front_drop_privileges(struct front *front, uint64_t ino, unsigned which)
{
	bool dropped;
	int error;

	if (which == 0)
		return 0;
	error = fs_drop_privileges(front->fs, ino, which, &dropped);
	/* Offset -1 drops the kernel's copy of the attributes and takes no lock of the inode. */
	if (error == 0 && dropped)
		(void)fuse_lowlevel_notify_inval_inode(front->session, ino, -1, 0);
	return error;
}
