/*
 * What both programs need of libfabric: a domain with its queues at an address, of connected endpoints (FI_EP_MSG: the
 * target chooses whom it accepts).
 */
#ifndef PINFS_TOOLS_RDMA_FABRIC_H
#define PINFS_TOOLS_RDMA_FABRIC_H

#include "base/log.h"

#include <poll.h>
#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>
#include <stdbool.h>
#include <stdint.h>

struct fabric {
	struct fi_info *info;
	struct fid_fabric *fabric;
	struct fid_domain *domain;
	struct fid_eq *eq;
	struct fid_cq *cq;
	int eq_fd, cq_fd; /* to poll, after fabric_idle() */
};

/*
 * Opens `provider` (tcp or verbs) to listen at the address `node` (NULL: any), or (port not 0) to connect to it.
 * -errno, with `message`.
 */
int fabric_open(struct fabric *fabric, const char *provider, const char *node, uint16_t port, struct message *message);
/* Endpoints, registrations and listeners are closed before. */
void fabric_close(struct fabric *fabric);
/* An endpoint with this domain's queues, of `info` (that of a request, or NULL: fabric->info). -errno. */
int fabric_endpoint(struct fabric *fabric, struct fi_info *info, struct fid_ep **ret_endpoint);
/* False: there is something to read already; else polling eq_fd and cq_fd for input tells. */
bool fabric_idle(struct fabric *fabric);
/* libfabric's error numbers as errno. */
int fabric_error(ssize_t result);

/* Why a registration of `length` bytes was refused, for the operator. */
void fabric_explain(const char *provider, int error, uint64_t length, struct message *message);

#endif
