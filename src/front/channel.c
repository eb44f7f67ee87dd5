/*
 * The bytes between the kernel and libfuse, as they pass: a libfuse that does not hand on all that counts reads and
 * writes /dev/fuse by the functions here (fuse_session_custom_io). Then
 *
 *   INIT     is answered with what this libfuse cannot ask the kernel for (front_channel_ask), and
 *   WRITE    tells whether the writer may keep setuid and setgid (front_kill_asked).
 *
 * And it is how libfuse answers what came by io_uring (uring.c). libfuse 3.18.3 needs nothing else of it, and may have
 * been built without such functions.
 */
#include "front/request.h"
#include "front/uring.h"

#include <errno.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* Of the request that this thread took last. */
static _Thread_local bool kill_asked;

static uint64_t flags_of(uint32_t low, uint32_t high)
{
	return low | ((low & FUSE_INIT_EXT) != 0 ? (uint64_t)high << 32 : 0);
}

static void look_at_init(struct front_channel *channel, const struct fuse_in_header *header, size_t length)
{
	struct fuse_init_in init = {0};

	length -= sizeof(*header);
	memcpy(&init, header + 1, length < sizeof(init) ? length : sizeof(init));
	channel->init = header->unique;
	channel->offered = flags_of(init.flags, init.flags2);
}

void front_channel_look(struct front *front, const void *message, size_t length)
{
	const struct fuse_in_header *header = message;
	const struct fuse_write_in *write_in = (const void *)(header + 1);

	if (header->opcode == FUSE_WRITE && length >= sizeof(*header) + sizeof(*write_in))
		kill_asked = (write_in->write_flags & FUSE_WRITE_KILL_SUIDGID) != 0;
	else if (header->opcode == FUSE_INIT)
		look_at_init(&front->channel, header, length);
}

static ssize_t channel_read(int fd, void *message, size_t capacity, void *userdata)
{
	ssize_t length = read(fd, message, capacity);

	if (length >= (ssize_t)sizeof(struct fuse_in_header))
		front_channel_look(userdata, message, (size_t)length);
	return length;
}

/* The answer to INIT, with what is asked for besides. An old kernel's is shorter, and lacks nothing that counts here.
 */
static ssize_t write_init(int fd, struct front *front, struct iovec *iov, int count)
{
	const struct front_channel *channel = &front->channel;
	struct fuse_init_out init;
	struct iovec with[2];
	ssize_t result;

	if (count != 2 || iov[1].iov_len != sizeof(init))
		return writev(fd, iov, count);
	memcpy(&init, iov[1].iov_base, sizeof(init));
	init.flags |= (uint32_t)channel->asked;
	if (channel->asked >> 32 != 0) {
		init.flags |= FUSE_INIT_EXT;
		init.flags2 |= (uint32_t)(channel->asked >> 32);
	}
	with[0] = iov[0];
	with[1] = (struct iovec){.iov_base = &init, .iov_len = sizeof(init)};
	result = writev(fd, with, 2);
	if (front->uring != NULL)
		front_uring_go(front->uring);
	return result;
}

static ssize_t channel_write(int fd, struct iovec *iov, int count, void *userdata)
{
	struct front *front = userdata;
	const struct fuse_out_header *header = iov[0].iov_base;
	ssize_t result;

	if (front_uring_answer(front->uring, iov, count, &result))
		return result;
	if (header->unique != 0 && header->unique == front->channel.init && header->error == 0)
		return write_init(fd, front, iov, count);
	return writev(fd, iov, count);
}

int front_channel_open(struct front *front)
{
	static const struct fuse_custom_io io = {.read = channel_read, .writev = channel_write};
	int error;

	if (FRONT_LIBFUSE_RELAYS_KILLPRIV && front->transport != FRONT_TRANSPORT_URING)
		return 0;
	error = fuse_session_custom_io(front->session, &io, fuse_session_fd(front->session));
	front->channel.open = error == 0;
	return error == -EOPNOTSUPP ? 0 : error;
}

bool front_channel_ask(struct front *front, uint64_t flag)
{
	if ((front->channel.offered & flag) == 0)
		return false;
	front->channel.asked |= flag;
	return true;
}

bool front_kill_asked(const struct front *front, const struct fuse_file_info *fi)
{
#if FRONT_LIBFUSE_RELAYS_KILLPRIV
	if (!front->channel.open)
		return fi->kill_suidgid;
#else
	(void)front;
	(void)fi;
#endif
	return kill_asked;
}
