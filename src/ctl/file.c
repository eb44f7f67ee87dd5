/*
 * What a received descriptor is of. Only calls that the kernel answers by itself: the descriptor may be of a mount
 * whose server is the client, or we.
 */
#include "ctl/server.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#ifndef AT_HANDLE_FID
#define AT_HANDLE_FID 0x200 /* 6.5: a handle that need not be openable */
#endif

/* A handle of FUSE: number of the inode (high half first), generation; then perhaps the same of its parent. */
#define HANDLE_WORDS 3u
#define HANDLE_ROOM 128u

static int handle_of(int fd, uint64_t *ret_ino, uint32_t *ret_generation)
{
	union {
		struct file_handle handle;
		char room[sizeof(struct file_handle) + HANDLE_ROOM];
	} handle;
	uint32_t word[HANDLE_WORDS];
	int mount_id;
	int result;

	handle.handle.handle_bytes = HANDLE_ROOM;
	result = name_to_handle_at(fd, "", &handle.handle, &mount_id, AT_EMPTY_PATH);
	if (result != 0 && errno == EOPNOTSUPP) {
		handle.handle.handle_bytes = HANDLE_ROOM;
		result = name_to_handle_at(fd, "", &handle.handle, &mount_id, AT_EMPTY_PATH | AT_HANDLE_FID);
	}
	if (result != 0)
		return -errno;
	if (handle.handle.handle_bytes < sizeof(word))
		return -ENODEV;
	memcpy(word, handle.handle.f_handle, sizeof(word));
	*ret_ino = (uint64_t)word[0] << 32 | word[1];
	*ret_generation = word[2];
	return 0;
}

int ctl_file_facts(const struct ctl *ctl, int fd, struct ctl_file_facts *ret_facts)
{
	struct ctl_file_facts facts = {.open_flags = fcntl(fd, F_GETFL)};
	struct statx attr;
	int error;

	if (facts.open_flags < 0)
		return -EBADF;
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &attr) != 0)
		return errno == ENOMEM ? -ENOMEM : -ENODEV;
	if (makedev(attr.stx_dev_major, attr.stx_dev_minor) != ctl->options.device)
		return -ENODEV;
	facts.mode = attr.stx_mode;
	error = handle_of(fd, &facts.ino, &facts.generation);
	if (error != 0)
		return error;
	*ret_facts = facts;
	return 0;
}

int ctl_request_ino(struct ctl_request *request, uint64_t *ret_ino)
{
	struct ctl_file_facts facts;
	int error;

	*ret_ino = 0;
	if (request->file == NULL)
		return 0;
	error = ctl_file_facts(request->connection->ctl, request->file->fd, &facts);
	ctl_request_drop_file(request);
	if (error == 0)
		*ret_ino = facts.ino;
	return error;
}

char *ctl_file_path(int fd)
{
	char path[PATH_MAX];
	char link[64];
	ssize_t length;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof(path));
	return length < 0 ? strdup("?") : strndup(path, (size_t)length);
}
