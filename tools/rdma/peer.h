/* One peer of pinfs-rdma-serve, in a process of its own: its connection, its session, its lease. */
#ifndef PINFS_TOOLS_RDMA_PEER_H
#define PINFS_TOOLS_RDMA_PEER_H

#include "lease.h"

#include <stdatomic.h>

/* Serves the connection until it ends, or SIGTERM comes (which the caller has blocked). Sets *proven once it is. */
void peer_serve(int fd, const struct remote_policy *policy, const struct lease_config *config, atomic_uchar *proven);

#endif
