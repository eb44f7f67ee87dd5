/* get, put, stream: ranges of a remote file, lease by lease. They report their own failures. */
#ifndef PINFS_TOOLS_RDMA_TRANSFER_H
#define PINFS_TOOLS_RDMA_TRANSFER_H

#include "data.h"

struct transfer {
	struct link *link;
	struct data *data;
	const char *name; /* of the remote file */
	const char *local; /* for messages */
	int fd;
	uint64_t offset;
	uint64_t length; /* UINT64_MAX: to the end */
	bool whole; /* put: the file ends where what was put ends */
	uint64_t done; /* bytes: got; put and durable */
};

/* 0 or -errno, reported. */
int transfer_get(struct transfer *transfer);
int transfer_put(struct transfer *transfer);
/* Commits what comes from `fd` as it comes, and prints a line for each commit: `committed OFFSET`. */
int transfer_stream(struct transfer *transfer);

#endif
