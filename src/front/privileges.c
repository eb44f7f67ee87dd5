/*
 * A change of a file's contents takes setuid, setgid and its capabilities away, unless root makes it (capabilities even
 * then). Who sees to that:
 *
 *                        agreed: HANDLE_KILLPRIV_V2           else
 *   write, cached        mode: here, if the kernel says so    the kernel, by getxattr and setattr, and here
 *   write, past cache    here                                 here; uid 0 stands for CAP_FSETID
 *   fallocate, copy      mode: here; uid 0 as above           the kernel, and here
 *   truncate             mode: here and with the change       the kernel, and here
 *   chown                mode: with the change (attr.c)       the kernel
 *   chown of nothing     nobody: the kernel says nothing      the kernel
 *
 * setgid goes if the group may execute the file; and in any case if who changes it is not of its group, which the
 * kernel leaves to us; a write into its writeback cache we cannot see without the agreement.
 *
 * Where it says "mode", capabilities have been removed by the kernel before. It looks for them once, and then no more
 * until it hears new attributes of the file; without the agreement it asks before each write.
 */
#include "front/request.h"

#include <stdlib.h>

/* Supplementary groups that are looked at without an allocation. */
#define GROUPS_SMALL 64

/* Supplementary groups of a caller that cannot be seen: none. */
static bool has_group(fuse_req_t req, gid_t gid)
{
	gid_t small[GROUPS_SMALL];
	gid_t *groups = small;
	int count = fuse_req_getgroups(req, GROUPS_SMALL, small), room = GROUPS_SMALL;
	bool found = false;

	if (count > room) {
		room = count;
		groups = calloc((size_t)room, sizeof(*groups));
		if (groups == NULL)
			return false;
		count = fuse_req_getgroups(req, room, groups);
	}
	for (int i = 0; i < count && i < room && !found; i++)
		found = groups[i] == gid;
	if (groups != small)
		free(groups);
	return found;
}

bool front_in_group(fuse_req_t req, gid_t gid)
{
	return fuse_req_ctx(req)->gid == gid || has_group(req, gid);
}

unsigned front_write_drops(struct front *front, fuse_req_t req, const struct fuse_file_info *fi)
{
	const bool direct = front->cache == FRONT_CACHE_NONE || fi->fh == FRONT_FH_PAST_CACHE;
	unsigned which = direct ? FS_DROP_CAPABILITY : 0;

	if (front->killpriv ? front_kill_asked(front, fi) : fuse_req_ctx(req)->uid != 0)
		which |= FS_DROP_MODE;
	return which;
}

unsigned front_change_drops(fuse_req_t req)
{
	return fuse_req_ctx(req)->uid != 0 ? FS_DROP_MODE : 0;
}

unsigned front_truncate_drops(const struct front_request *request, struct fs_setattr *changes)
{
	const bool ours = request->front->killpriv;

	/* No system call changes both: this is the kernel's way to say it. */
	if ((changes->valid & FS_SET_MODE) != 0)
		changes->valid = (changes->valid & ~FS_SET_MODE) | FS_SET_UNPRIVILEGED;
	if (ours ? (changes->valid & FS_SET_UNPRIVILEGED) != 0 : fuse_req_ctx(request->req)->uid != 0)
		return FS_DROP_MODE;
	return 0;
}

int front_drop_privileges(const struct front_request *request, uint64_t ino, unsigned which)
{
	struct front *front = request->front;
	bool dropped;
	gid_t gid;
	int error;

	if (which == 0)
		return 0;
	if ((which & FS_DROP_MODE) != 0 && fs_setgid_group(front->fs, ino, &gid) == 0 &&
	    !front_in_group(request->req, gid))
		which |= FS_DROP_SETGID;
	error = fs_drop_privileges(front->fs, ino, which, &dropped);
	/* Offset -1 drops the kernel's copy of the attributes and takes no lock of the inode. */
	if (error == 0 && dropped)
		(void)fuse_lowlevel_notify_inval_inode(front->session, ino, -1, 0);
	return error;
}
