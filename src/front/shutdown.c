/*
 * FS_IOC_SHUTDOWN (XFS_IOC_GOINGDOWN), for root: the filesystem stops as in a power cut, until it is mounted again. But
 * for FS_SHUTDOWN_FLAGS_NOLOGFLUSH the kernel's dirty pages are written back first: by the thread of clean.c, while the
 * workers answer the writes. The ioctl's caller holds no lock meanwhile. A file whose truncate waits for a pin is
 * waited for, as long as that wait may last.
 */
#include "front/request.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>

/* As in xfs_fs.h. */
#define SHUTDOWN_DEFAULT 0u
#define SHUTDOWN_NO_FLUSH 2u

/*
 * The number says that the argument is read by the caller, so the kernel does not send it along, and it is in the
 * memory of a thread that waits for our answer. What cannot be read means the default.
 */
static uint32_t asked_mode(const struct front_request *request, const void *arg)
{
	uint32_t mode = SHUTDOWN_DEFAULT;
	const struct iovec here = {.iov_base = &mode, .iov_len = sizeof(mode)};
	const struct iovec there = {.iov_base = (void *)arg, .iov_len = sizeof(mode)};

	if (process_vm_readv(fuse_req_ctx(request->req)->pid, &here, 1, &there, 1, 0) != (ssize_t)sizeof(mode))
		return SHUTDOWN_DEFAULT;
	return mode;
}

static void shut_down(void *arg)
{
	struct front_request *request = arg;

	/* Unmounted meanwhile: nobody is left to be stopped, and the filesystem may be closed. */
	if (atomic_load(&request->front->cleaner.stopping)) {
		front_reply_error(request, -ENOTCONN);
	} else {
		fs_shut_down(request->front->fs);
		front_reply_ioctl(request, NULL, 0);
	}
	free(request);
}

void front_shut_down(struct front_request *request, const void *arg)
{
	struct front_request *later;
	uint32_t mode;

	if (fuse_req_ctx(request->req)->uid != 0) {
		front_reply_error(request, -EPERM);
		return;
	}
	mode = asked_mode(request, arg);
	if (mode > SHUTDOWN_NO_FLUSH) {
		front_reply_error(request, -EINVAL);
		return;
	}
	later = malloc(sizeof(*later));
	if (later == NULL) {
		front_reply_error(request, -ENOMEM);
		return;
	}
	*later = *request;
	/* If it cannot be written back (again), then the cut comes now. */
	if (mode == SHUTDOWN_NO_FLUSH || !front_has_pages(request->front) || fs_is_shut_down(request->front->fs) ||
	    front_write_back_then(request->front, shut_down, later) != 0)
		shut_down(later);
}
