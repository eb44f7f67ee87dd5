/*
 * The peer's side of the control connection: proofs, leases, heartbeats. Everything that waits here keeps the heartbeat
 * going, and notices when the target is silent, recalls, or has ended the lease. After a failure `message` says why,
 * and the link is of no use any more.
 */
#ifndef PINFS_TOOLS_RDMA_LINK_H
#define PINFS_TOOLS_RDMA_LINK_H

#include "remote/seal.h"

#include <poll.h>

struct link {
	int fd;
	struct message message; /* why it failed */
	char node[64]; /* the target's address, in numbers */
	struct remote_seal seal;
	struct remote_setup setup;
	uint64_t heard_ms, said_ms; /* the last that came; the last heartbeat */
	uint64_t lease; /* 0: none */
	bool recalled; /* the lease is wanted back: stop, and close it */
	int ended; /* -errno: the target has ended the lease; -ECANCELED: recalled */
	bool answered; /* what `answer` has is an answer to the last request */
	size_t have;
	uint8_t input[REMOTE_SEALED_MAX + 4];
	uint8_t output[REMOTE_SEALED_MAX + 4];
	_Alignas(8) uint8_t message_room[REMOTE_MESSAGE_MAX];
	_Alignas(8) uint8_t answer[REMOTE_MESSAGE_MAX];
};

/* Connects, proves, and is given the setup. -errno, with link->message. */
int link_connect(struct link *link, const char *host, uint16_t port, const struct remote_secret *secret);
void link_close(struct link *link);

/*
 * Waits until something comes on the link or one of `fds`, or for so long; takes what the link has. 0, also when the
 * lease was recalled or ended; -errno: the link has failed.
 */
int link_wait(struct link *link, struct pollfd *fds, size_t count, int timeout_ms);

/*
 * Asks for a lease; *ret_grant lives until the next request. -EAGAIN: somebody changes that range just now. Others: the
 * link is good, link->message has the reason.
 */
int link_open(struct link *link, const char *name, uint32_t flags, uint64_t offset, uint64_t length,
	      const struct remote_grant **ret_grant);
int link_commit(struct link *link, uint64_t offset, uint64_t length);
/* cut: the file shall end at `size`. */
int link_end(struct link *link, bool cut, uint64_t size);

#endif
