#include "lease.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void lease_init(struct lease *lease, const struct lease_config *config, const char *who, const char *node)
{
	*lease = (struct lease){.config = config, .who = who, .fd = -1, .fabric = {.eq_fd = -1, .cq_fd = -1}};
	strncpy(lease->node, node, sizeof(lease->node) - 1);
}

static void close_fabric(struct lease *lease)
{
	if (lease->listener != NULL)
		(void)fi_close(&lease->listener->fid);
	lease->listener = NULL;
	fabric_close(&lease->fabric);
}

static void disconnect(struct lease *lease)
{
	if (lease->fs != NULL)
		pinfs_disconnect(lease->fs);
	lease->fs = NULL;
	lease->fs_export = NULL;
}

void lease_fini(struct lease *lease)
{
	if (lease->fd >= 0)
		(void)close(lease->fd);
	lease->fd = -1;
	close_fabric(lease);
	disconnect(lease);
}

/* ---- Beginning ---- */

static const struct lease_export *find_export(const struct lease *lease, const struct remote_open *open)
{
	for (size_t i = 0; i < lease->config->export_count; i++) {
		const struct lease_export *export = &lease->config->exports[i];

		if (strlen(export->name) == open->name_length &&
		    memcmp(export->name, open->name, open->name_length) == 0)
			return export;
	}
	return NULL;
}

static int listen_for_peer(struct lease *lease)
{
	struct sockaddr_storage address;
	size_t length = sizeof(address);
	int error;

	error = fi_passive_ep(lease->fabric.fabric, lease->fabric.info, &lease->listener, NULL);
	if (error == 0)
		error = fi_pep_bind(lease->listener, &lease->fabric.eq->fid, 0);
	if (error == 0)
		error = fi_listen(lease->listener);
	if (error == 0)
		error = fi_getname(&lease->listener->fid, &address, &length);
	if (error != 0) {
		log_error("%s: cannot listen with provider %s: %s", lease->node, lease->config->provider,
			  fi_strerror(-error));
		return fabric_error(error);
	}
	if (address.ss_family == AF_INET)
		lease->port = ntohs(((const struct sockaddr_in *)&address)->sin_port);
	else if (address.ss_family == AF_INET6)
		lease->port = ntohs(((const struct sockaddr_in6 *)&address)->sin6_port);
	return lease->port != 0 ? 0 : -EAFNOSUPPORT;
}

/* The fabric and its listener stay from lease to lease. */
static int open_fabric(struct lease *lease)
{
	struct message message = {.text = ""};
	int error;

	if (lease->listener != NULL)
		return 0;
	error = fabric_open(&lease->fabric, lease->config->provider, lease->node, 0, &message);
	if (error != 0) {
		log_error("%s", message.text);
		return error;
	}
	error = listen_for_peer(lease);
	if (error != 0)
		close_fabric(lease);
	return error;
}

/* Exports may be on different mounts; a session is for one. */
static int connect_mount(struct lease *lease, const struct lease_export *export)
{
	int error;

	if (lease->fs_export == export)
		return 0;
	disconnect(lease);
	error = pinfs_connect(export->path, &lease->fs);
	if (error == 0)
		lease->fs_export = export;
	else
		log_error("%s: %s", export->path, error == -ENODEV ? "is not on a pinfs mount" : strerror(-error));
	return error;
}

static int pin_with(struct lease *lease, const struct remote_grant *grant, unsigned flags)
{
	return pinfs_rdma_register(lease->fs, lease->fabric.domain, lease->fabric.info, lease->fd, (off_t)grant->offset,
				   grant->length, PINFS_NONBLOCK | flags, &lease->region);
}

/* To be read by the peer, on a kernel that registers only what could be written. */
static int pin_as_writer(struct lease *lease, const struct lease_export *export, const struct remote_grant *grant)
{
	int fd = open(export->path, O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -errno;
	(void)close(lease->fd);
	lease->fd = fd;
	return pin_with(lease, grant, PINFS_WRITE | PINFS_RDMA_PEERS_READ);
}

static int pin(struct lease *lease, const struct lease_export *export, bool write, const struct remote_grant *grant)
{
	struct message message;
	int error;

	error = pin_with(lease, grant, write ? PINFS_WRITE | PINFS_EXTEND : PINFS_READ);
	if (error == -EFAULT && !write)
		error = pin_as_writer(lease, export, grant);
	if (error != 0 && error != -EAGAIN) {
		fabric_explain(lease->config->provider, error, grant->length, &message);
		log_error("%s: %s", export->path, message.text);
	}
	return error;
}

static int fill_grant(struct lease *lease, struct remote_grant *grant)
{
	const struct pinfs_rdma_piece *pieces;
	size_t count;

	pinfs_rdma_pieces(lease->region, &pieces, &count);
	if (count > REMOTE_PIECES_MAX)
		return -E2BIG;
	for (size_t i = 0; i < count; i++)
		grant->piece[i] = (struct remote_piece){
			.offset = (uint64_t)pieces[i].offset,
			.length = pieces[i].length,
			.address = pieces[i].address,
			.key = pieces[i].key,
		};
	grant->count = (uint32_t)count;
	grant->port = lease->port;
	randombytes_buf(lease->token, sizeof(lease->token));
	memcpy(grant->token, lease->token, sizeof(grant->token));
	return 0;
}

static int open_file(struct lease *lease, const struct lease_export *export, const struct remote_open *request,
		     struct remote_grant *grant)
{
	bool write = (request->flags & REMOTE_OPEN_WRITE) != 0;
	struct stat attr;

	if (write && !export->write)
		return -EROFS;
	if (lease->fd >= 0)
		(void)close(lease->fd);
	lease->fd = open(export->path, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
	if (lease->fd < 0 || fstat(lease->fd, &attr) != 0)
		return -errno;
	if (!S_ISREG(attr.st_mode))
		return -EINVAL;
	grant->size = (uint64_t)attr.st_size;
	grant->offset = request->offset;
	grant->length = request->length;
	if (!write && request->offset >= grant->size)
		grant->length = 0;
	else if (!write && request->length > grant->size - request->offset)
		grant->length = grant->size - request->offset;
	return 0;
}

int lease_open(struct lease *lease, const struct remote_open *open, struct remote_grant *ret_grant)
{
	const struct lease_export *export = find_export(lease, open);
	int error;

	if (export == NULL)
		return -ENOENT;
	error = open_file(lease, export, open, ret_grant);
	if (error != 0 || ret_grant->length == 0)
		return error;
	error = connect_mount(lease, export);
	if (error == 0)
		error = open_fabric(lease);
	if (error == 0)
		error = pin(lease, export, (open->flags & REMOTE_OPEN_WRITE) != 0, ret_grant);
	if (error != 0)
		return error;
	lease->offset = ret_grant->offset;
	lease->connected = false;
	error = fill_grant(lease, ret_grant);
	if (error != 0)
		lease_close(lease);
	return error;
}

/* ---- Its end ---- */

int lease_commit(struct lease *lease, uint64_t offset, uint64_t length)
{
	return pinfs_commit(pinfs_rdma_pin(lease->region), offset - lease->offset, length);
}

void lease_close(struct lease *lease)
{
	int error;

	sodium_memzero(lease->token, sizeof(lease->token));
	error = pinfs_rdma_end(lease->region);
	if (error != 0) {
		/* The kernel ends what libfabric could not, before it tells the filesystem's daemon of our death. */
		log_error("%s: a lease could not be ended (%s): its process ends", lease->who, strerror(-error));
		_exit(1);
	}
	lease->region = NULL;
}

int lease_cut(struct lease *lease, uint64_t size)
{
	return ftruncate(lease->fd, (off_t)size) == 0 ? 0 : -errno;
}

/* ---- In between ---- */

/* Only who has this lease's token comes in, once. */
static bool may_enter(const struct lease *lease, const struct fi_eq_cm_entry *request, size_t data_length)
{
	return lease->region != NULL && !lease->connected && data_length >= REMOTE_TOKEN_BYTES &&
	       sodium_memcmp(request->data, lease->token, REMOTE_TOKEN_BYTES) == 0;
}

static void enter(struct lease *lease, const struct fi_eq_cm_entry *request, size_t data_length)
{
	struct fid_ep *endpoint;

	if (!may_enter(lease, request, data_length) || fabric_endpoint(&lease->fabric, request->info, &endpoint) != 0) {
		(void)fi_reject(lease->listener, request->info->handle, NULL, 0);
		return;
	}
	/* From here on it is closed before the blocks are given up. */
	if (pinfs_rdma_attach(lease->region, endpoint) != 0) {
		(void)fi_close(&endpoint->fid);
		return;
	}
	/* What fails now the peer sees, and asks for another lease. */
	(void)fi_accept(endpoint, NULL, 0);
	lease->connected = true;
}

static void take_events(struct lease *lease)
{
	_Alignas(8) uint8_t room[sizeof(struct fi_eq_cm_entry) + 256];
	struct fi_eq_cm_entry *entry = (struct fi_eq_cm_entry *)room;
	struct fi_eq_err_entry error = {0};
	uint32_t event;
	ssize_t got;

	for (;;) {
		got = fi_eq_read(lease->fabric.eq, &event, room, sizeof(room), 0);
		if (got == -FI_EAVAIL && fi_eq_readerr(lease->fabric.eq, &error, 0) > 0)
			continue;
		if (got < 0)
			return;
		if (event == FI_CONNREQ && (size_t)got >= sizeof(*entry)) {
			enter(lease, entry, (size_t)got - sizeof(*entry));
			fi_freeinfo(entry->info);
		}
	}
}

void lease_progress(struct lease *lease)
{
	struct fi_cq_err_entry error = {0};
	struct fi_cq_entry entry;
	ssize_t got;

	if (lease->listener == NULL)
		return;
	take_events(lease);
	/* Nothing is posted here, so nothing is said but errors of connections that end. */
	do {
		got = fi_cq_read(lease->fabric.cq, &entry, 1);
		if (got == -FI_EAVAIL)
			got = fi_cq_readerr(lease->fabric.cq, &error, 0);
	} while (got > 0);
}
