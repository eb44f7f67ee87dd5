/*
 * For those who speak with src/ctl without a mount: handles as FUSE makes them, of files that stand in for the pool's,
 * and messages with descriptors.
 */
#ifndef PINFS_TEST_STAND_IN_H
#define PINFS_TEST_STAND_IN_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int __real_name_to_handle_at(int dirfd, const char *name, struct file_handle *handle, int *mount_id, int flags);
int __wrap_name_to_handle_at(int dirfd, const char *name, struct file_handle *handle, int *mount_id, int flags);

/* The linker puts this in front of the system call. ino-INODE-GENERATION, a file or a memfd, stands for that inode. */
int __wrap_name_to_handle_at(int dirfd, const char *name, struct file_handle *handle, int *mount_id, int flags)
{
	char link[64], path[4096] = {0};
	unsigned generation;
	unsigned long ino;
	uint32_t word[3];
	const char *base;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", dirfd);
	if (readlink(link, path, sizeof(path) - 1) < 0 || (base = strrchr(path, '/')) == NULL ||
	    (sscanf(base, "/ino-%lu-%u", &ino, &generation) != 2 &&
	     sscanf(base, "/memfd:ino-%lu-%u", &ino, &generation) != 2))
		return __real_name_to_handle_at(dirfd, name, handle, mount_id, flags);
	word[0] = (uint32_t)((uint64_t)ino >> 32);
	word[1] = (uint32_t)ino;
	word[2] = generation;
	memcpy(handle->f_handle, word, sizeof(word));
	handle->handle_bytes = sizeof(word);
	handle->handle_type = 0x81;
	return 0;
}

/* Returns 0 or -errno. */
static inline int send_raw(int socket, const void *bytes, size_t size, const int *fds, unsigned count, int flags)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * 128)] = {0};
	struct iovec iov = {.iov_base = (void *)bytes, .iov_len = size};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	if (count > 0) {
		struct cmsghdr *head = (struct cmsghdr *)control;

		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(sizeof(int) * count);
		memcpy(CMSG_DATA(head), fds, sizeof(int) * count);
	}
	return sendmsg(socket, &message, flags | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

#endif
