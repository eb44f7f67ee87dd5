/*
 * The target's side of a lease: the file, its pin and registration, and the listener by which the peer that has the
 * token comes in. One at a time for each process: a peer has a process of its own.
 */
#ifndef PINFS_TOOLS_RDMA_LEASE_H
#define PINFS_TOOLS_RDMA_LEASE_H

#include "fabric.h"
#include "remote/session.h"

#include <pinfs-rdma.h>

struct lease_export {
	const char *name; /* as peers know it */
	const char *path;
	bool write;
};

struct lease_config {
	const struct lease_export *exports;
	size_t export_count;
	const char *provider;
};

struct lease {
	const struct lease_config *config;
	const char *who; /* the peer, for messages */
	char node[64]; /* our address that the peer has reached */
	struct pinfs *fs;
	const struct lease_export *fs_export; /* that `fs` is connected for */
	struct fabric fabric;
	struct fid_pep *listener;
	uint16_t port;
	/* Of the current lease: */
	struct pinfs_rdma *region; /* NULL: none */
	uint64_t offset;
	int fd; /* the file's, also after the lease, to cut it; -1 */
	bool connected;
	uint8_t token[REMOTE_TOKEN_BYTES];
};

void lease_init(struct lease *lease, const struct lease_config *config, const char *who, const char *node);
/* No lease is there any more. */
void lease_fini(struct lease *lease);

/* As struct remote_session_ops wants them. */
int lease_open(struct lease *lease, const struct remote_open *open, struct remote_grant *ret_grant);
int lease_commit(struct lease *lease, uint64_t offset, uint64_t length);
void lease_close(struct lease *lease);
int lease_cut(struct lease *lease, uint64_t size);

/* Lets libfabric work: accepts the peer, moves data where the CPU does that. */
void lease_progress(struct lease *lease);

#endif
