#include "fabric.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define FABRIC_API FI_VERSION(1, 17)
#define ERRNO_MAX 255 /* libfabric has numbers of its own above it */

int fabric_error(ssize_t result)
{
	if (result >= 0)
		return 0;
	return result >= -ERRNO_MAX ? (int)result : -EIO;
}

static int find(struct fabric *fabric, const char *provider, const char *node, uint16_t port, struct message *message)
{
	struct fi_info *hints = fi_allocinfo();
	const char *where = node != NULL ? node : "any address of this machine";
	uint64_t flags = port == 0 && node != NULL ? FI_SOURCE : 0;
	char service[8];
	int error = 0;

	if (hints == NULL)
		return -ENOMEM;
	hints->ep_attr->type = FI_EP_MSG;
	hints->caps = FI_MSG | FI_RMA;
	hints->mode = FI_CONTEXT | FI_RX_CQ_DATA;
	hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
	hints->fabric_attr->prov_name = strdup(provider);
	(void)snprintf(service, sizeof(service), "%u", port);
	if (hints->fabric_attr->prov_name == NULL)
		error = -ENOMEM;
	if (error == 0)
		error = fi_getinfo(FABRIC_API, node, port != 0 ? service : NULL, flags, hints, &fabric->info);
	fi_freeinfo(hints);
	if (error == -FI_ENODATA)
		message_set(
			message,
			"libfabric's provider %s has no device for %s: see 'fi_info -p %s'; verbs needs an RDMA device "
			"(rdma link show), and the provider may be a package of its own",
			provider, where, provider);
	else if (error != 0)
		message_set(message, "libfabric's provider %s for %s: %s", provider, where, fi_strerror(-error));
	return fabric_error(error);
}

static int open_queues(struct fabric *fabric)
{
	struct fi_eq_attr eq = {.wait_obj = FI_WAIT_FD};
	struct fi_cq_attr cq = {.wait_obj = FI_WAIT_FD, .format = FI_CQ_FORMAT_CONTEXT, .size = 256};
	int error;

	error = fi_fabric(fabric->info->fabric_attr, &fabric->fabric, NULL);
	if (error == 0)
		error = fi_eq_open(fabric->fabric, &eq, &fabric->eq, NULL);
	if (error == 0)
		error = fi_domain(fabric->fabric, fabric->info, &fabric->domain, NULL);
	if (error == 0)
		error = fi_cq_open(fabric->domain, &cq, &fabric->cq, NULL);
	if (error == 0)
		error = fi_control(&fabric->eq->fid, FI_GETWAIT, &fabric->eq_fd);
	if (error == 0)
		error = fi_control(&fabric->cq->fid, FI_GETWAIT, &fabric->cq_fd);
	return error;
}

int fabric_open(struct fabric *fabric, const char *provider, const char *node, uint16_t port, struct message *message)
{
	int error;

	*fabric = (struct fabric){.eq_fd = -1, .cq_fd = -1};
	/* The other providers would look for their devices: a quarter of a second. Who has set it knows better. */
	(void)setenv("FI_PROVIDER", provider, 0);
	error = find(fabric, provider, node, port, message);
	if (error != 0)
		return error;
	error = open_queues(fabric);
	if (error != 0) {
		message_set(message, "libfabric's provider %s cannot be opened for %s: %s", provider,
			    node != NULL ? node : "any address", fi_strerror(-error));
		fabric_close(fabric);
	}
	return fabric_error(error);
}

void fabric_close(struct fabric *fabric)
{
	if (fabric->cq != NULL)
		(void)fi_close(&fabric->cq->fid);
	if (fabric->domain != NULL)
		(void)fi_close(&fabric->domain->fid);
	if (fabric->eq != NULL)
		(void)fi_close(&fabric->eq->fid);
	if (fabric->fabric != NULL)
		(void)fi_close(&fabric->fabric->fid);
	if (fabric->info != NULL)
		fi_freeinfo(fabric->info);
	*fabric = (struct fabric){.eq_fd = -1, .cq_fd = -1};
}

int fabric_endpoint(struct fabric *fabric, struct fi_info *info, struct fid_ep **ret_endpoint)
{
	struct fid_ep *endpoint;
	int error;

	error = fi_endpoint(fabric->domain, info != NULL ? info : fabric->info, &endpoint, NULL);
	if (error != 0)
		return fabric_error(error);
	error = fi_ep_bind(endpoint, &fabric->eq->fid, 0);
	if (error == 0)
		error = fi_ep_bind(endpoint, &fabric->cq->fid, FI_TRANSMIT | FI_RECV);
	if (error == 0)
		error = fi_enable(endpoint);
	if (error != 0) {
		(void)fi_close(&endpoint->fid);
		return fabric_error(error);
	}
	*ret_endpoint = endpoint;
	return 0;
}

bool fabric_idle(struct fabric *fabric)
{
	struct fid *queues[] = {&fabric->eq->fid, &fabric->cq->fid};

	return fi_trywait(fabric->fabric, queues, 2) == 0;
}

void fabric_explain(const char *provider, int error, uint64_t length, struct message *message)
{
	struct rlimit limit;

	if (error == -ENOMEM && strcmp(provider, "tcp") != 0 && getrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
	    limit.rlim_cur < length)
		message_set(message,
			    "%" PRIu64 " bytes cannot be registered: the limit of locked memory is %ju bytes: raise it "
			    "(ulimit -l, LimitMEMLOCK= of systemd)",
			    length, (uintmax_t)limit.rlim_cur);
	else if (error == -EOPNOTSUPP)
		message_set(message,
			    "this memory cannot be registered with provider %s: RDMA needs a data part on devdax (or "
			    "tmpfs); "
			    "the kernel refuses files, and fsdax",
			    provider);
	else
		message_set(message, "%" PRIu64 " bytes cannot be pinned, or registered with provider %s: %s", length,
			    provider, strerror(-error));
}
