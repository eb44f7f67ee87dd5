/* Which way requests come: io_uring if it was asked for and can be had; else /dev/fuse, and why is said once. */
#include "front/request.h"
#include "front/uring.h"

#include <string.h>

/* Came after Debian 12's linux/fuse.h, in kernel 6.14. */
#define OVER_IO_URING (1ull << 41)

const char *front_transport_name(enum front_transport transport)
{
	static const char *const names[] = {
		[FRONT_TRANSPORT_AUTO] = "auto",
		[FRONT_TRANSPORT_DEV] = "dev",
		[FRONT_TRANSPORT_URING] = "uring",
	};

	return names[transport];
}

/* Once it is asked for the kernel sends nothing before the queues are there: all that may fail comes before. */
static const char *try_uring(struct front *front, size_t payload_max)
{
	int error;

	if (!front->channel.open)
		return "this libfuse was built without custom I/O (tools/fuse3 builds one with it)";
	if ((front->channel.offered & OVER_IO_URING) == 0)
		return "the kernel does not offer it: Linux 6.14, and Y in /sys/module/fuse/parameters/enable_uring";
	error = front_uring_open(front, payload_max, &front->uring);
	if (error != 0)
		return strerror(-error);
	(void)front_channel_ask(front, OVER_IO_URING);
	return NULL;
}

void front_transport_agree(struct front *front, size_t payload_max)
{
	const char *why;

	if (front->transport != FRONT_TRANSPORT_URING)
		return;
	why = try_uring(front, payload_max);
	if (why != NULL)
		log_warning("%s: transport=uring: /dev/fuse is used: %s", front->mountpoint, why);
}
