#include "data.h"

#include <errno.h>
#include <netinet/in.h>
#include <rdma/fi_rma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define CONNECT_MS 10000
#define PORT_LATER 1 /* in its place while the lease that names it is not there yet */
#define REASON_MS 1000 /* in which the target says why it has closed the connection */

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int data_init(struct data *data, struct link *link)
{
	memset(data, 0, sizeof(*data));
	data->link = link;
	data->fabric.eq_fd = data->fabric.cq_fd = -1;
	data->grant = malloc(REMOTE_MESSAGE_MAX);
	data->memory =
		mmap(NULL, (size_t)DATA_SLOTS * DATA_CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (data->memory == MAP_FAILED || data->grant == NULL) {
		if (data->memory != MAP_FAILED)
			(void)munmap(data->memory, (size_t)DATA_SLOTS * DATA_CHUNK);
		free(data->grant);
		message_set(&link->message, "no memory");
		return -ENOMEM;
	}
	for (unsigned i = 0; i < DATA_SLOTS; i++)
		data->slots[i].memory = data->memory + (size_t)i * DATA_CHUNK;
	return 0;
}

static void close_fabric(struct data *data)
{
	if (data->registration != NULL)
		(void)fi_close(&data->registration->fid);
	data->registration = NULL;
	if (data->open)
		fabric_close(&data->fabric);
	data->open = false;
}

void data_fini(struct data *data)
{
	data_disconnect(data);
	close_fabric(data);
	(void)munmap(data->memory, (size_t)DATA_SLOTS * DATA_CHUNK);
	free(data->grant);
}

void data_disconnect(struct data *data)
{
	if (data->endpoint != NULL)
		(void)fi_close(&data->endpoint->fid);
	data->endpoint = NULL;
	data->connected = false;
	data->first = data->count = 0;
}

/* ---- Failures ---- */

/* What the target says of a lease that is over, or is to be. */
static int lease_state(struct data *data)
{
	if (data->link->ended != 0 && data->link->ended != -ECANCELED) {
		message_set(&data->link->message, "%s: the target has ended the lease: %s", data->link->node,
			    data->link->ended == -ESTALE ? "the range is no longer the file's"
							 : strerror(-data->link->ended));
		return data->link->ended;
	}
	if (data->link->ended != 0 || data->link->recalled) {
		message_set(&data->link->message, "%s: recalled: somebody truncates or frees that range",
			    data->link->node);
		return -ECANCELED;
	}
	return 0;
}

/* The fabric says that it is broken: the control connection knows more, soon. */
static int broken(struct data *data, const char *what, int fabric_errno)
{
	uint64_t end = now_ms() + REASON_MS;
	int error;

	while (now_ms() < end) {
		error = link_wait(data->link, NULL, 0, (int)(end - now_ms()));
		if (error == 0)
			error = lease_state(data);
		if (error != 0)
			return error;
	}
	message_set(&data->link->message, "%s: %s: %s", data->link->node, what, fi_strerror(abs(fabric_errno)));
	error = fabric_error(-abs(fabric_errno));
	return error != 0 ? error : -EIO;
}

/* ---- Progress ---- */

static int take_events(struct data *data)
{
	_Alignas(8) uint8_t room[sizeof(struct fi_eq_cm_entry) + 256];
	struct fi_eq_err_entry error = {0};
	uint32_t event;
	ssize_t got;

	while ((got = fi_eq_read(data->fabric.eq, &event, room, sizeof(room), 0)) >= 0) {
		if (event == FI_CONNECTED)
			data->connected = true;
		if (event == FI_SHUTDOWN && data->endpoint != NULL &&
		    ((struct fi_eq_cm_entry *)room)->fid == &data->endpoint->fid)
			return broken(data, "the target has closed the connection", FI_ECONNRESET);
	}
	if (got == -FI_EAVAIL && fi_eq_readerr(data->fabric.eq, &error, 0) > 0)
		return broken(data, "the connection to the target", error.err);
	return 0;
}

static int take_completions(struct data *data)
{
	struct fi_cq_err_entry error = {0};
	struct fi_cq_entry entry;
	ssize_t got;

	while ((got = fi_cq_read(data->fabric.cq, &entry, 1)) > 0)
		if (entry.op_context != NULL)
			((struct data_slot *)entry.op_context)->pending--;
	if (got == -FI_EAVAIL && fi_cq_readerr(data->fabric.cq, &error, 0) > 0 && data->endpoint != NULL)
		return broken(data, "the transfer", error.err);
	return 0;
}

static int progress(struct data *data)
{
	int error = take_completions(data);

	if (error == 0)
		error = take_events(data);
	return error != 0 ? error : lease_state(data);
}

/* Lets everything go on; waits if nothing is there. `fd` may be -1. */
static int wait_once(struct data *data, int fd, int timeout_ms, bool *ret_ready)
{
	struct pollfd fds[] = {
		{.fd = data->fabric.eq_fd, .events = POLLIN},
		{.fd = data->fabric.cq_fd, .events = POLLIN},
		{.fd = fd, .events = POLLIN},
	};
	int error = link_wait(data->link, fds, 3, fabric_idle(&data->fabric) ? timeout_ms : 0);

	*ret_ready = fds[2].revents != 0;
	return error != 0 ? error : progress(data);
}

/* ---- Connecting ---- */

static void set_port(struct data *data, uint16_t port)
{
	struct sockaddr *address = data->fabric.info->dest_addr;

	if (address->sa_family == AF_INET6)
		((struct sockaddr_in6 *)address)->sin6_port = htons(port);
	else
		((struct sockaddr_in *)address)->sin_port = htons(port);
}

int data_open(struct data *data)
{
	struct link *link = data->link;
	int error;

	error = fabric_open(&data->fabric, link->setup.provider, link->node, PORT_LATER, &link->message);
	if (error != 0)
		return error;
	data->open = true;
	if (pinfs_rdma_usable(data->fabric.info) != 0) {
		message_set(&link->message, "%s: it wants provider %s, which cannot be used", link->node,
			    link->setup.provider);
		return -EOPNOTSUPP;
	}
	data->arrival = pinfs_rdma_arrival(data->fabric.info);
	if ((data->fabric.info->domain_attr->mr_mode & FI_MR_LOCAL) == 0)
		return 0;
	error = fabric_error(fi_mr_reg(data->fabric.domain, data->memory, (size_t)DATA_SLOTS * DATA_CHUNK,
				       FI_READ | FI_WRITE, 0, 0, 0, &data->registration, NULL));
	if (error != 0)
		fabric_explain(link->setup.provider, error, (uint64_t)DATA_SLOTS * DATA_CHUNK, &link->message);
	return error;
}

/* Sends the request to connect: the answer is an event. */
static int dial(struct data *data)
{
	int error;

	set_port(data, data->grant->port);
	error = fabric_endpoint(&data->fabric, NULL, &data->endpoint);
	if (error == 0)
		error = fabric_error(fi_connect(data->endpoint, data->fabric.info->dest_addr, data->grant->token,
						sizeof(data->grant->token)));
	if (error != 0)
		message_set(&data->link->message, "%s: the connection to the target: %s", data->link->node,
			    strerror(-error));
	return error;
}

int data_connect(struct data *data, const struct remote_grant *grant)
{
	uint64_t end;
	bool ready;
	int error;

	memcpy(data->grant, grant, sizeof(*grant) + grant->count * sizeof(grant->piece[0]));
	error = dial(data);
	end = now_ms() + CONNECT_MS;
	while (error == 0 && !data->connected) {
		if (now_ms() >= end) {
			message_set(&data->link->message,
				    "%s: port %u cannot be reached with provider %s: is it blocked by a firewall?",
				    data->link->node, data->grant->port, data->link->setup.provider);
			return -ETIMEDOUT;
		}
		error = wait_once(data, -1, (int)(end - now_ms()), &ready);
	}
	return error;
}

/* ---- Transfers ---- */

struct data_slot *data_free_slot(struct data *data)
{
	return data->count == DATA_SLOTS ? NULL : &data->slots[(data->first + data->count) % DATA_SLOTS];
}

static const struct remote_piece *piece_at(const struct remote_grant *grant, uint64_t offset)
{
	uint32_t low = 0, high = grant->count;

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (grant->piece[middle].offset <= offset)
			low = middle;
		else
			high = middle;
	}
	return &grant->piece[low];
}

/* One operation on one piece; again when the queue has room. */
static int post(struct data *data, struct data_slot *slot, uint8_t *memory, size_t length, uint64_t address,
		uint64_t key, bool write)
{
	void *desc = data->registration != NULL ? fi_mr_desc(data->registration) : NULL;
	struct iovec iov = {.iov_base = memory, .iov_len = length};
	struct fi_rma_iov remote = {.addr = address, .len = length, .key = key};
	struct fi_msg_rma message = {
		.msg_iov = &iov,
		.desc = &desc,
		.iov_count = 1,
		.rma_iov = &remote,
		.rma_iov_count = 1,
		.context = slot,
	};
	uint64_t flags =
		FI_COMPLETION | (write && data->arrival == PINFS_RDMA_ARRIVAL_DELIVERY ? FI_DELIVERY_COMPLETE : 0);
	ssize_t got;
	bool ready;

	for (;;) {
		int error;

		got = write ? fi_writemsg(data->endpoint, &message, flags)
			    : fi_readmsg(data->endpoint, &message, FI_COMPLETION);
		if (got != -FI_EAGAIN)
			break;
		error = wait_once(data, -1, -1, &ready);
		if (error != 0)
			return error;
	}
	if (got != 0)
		return broken(data, "the transfer", (int)-got);
	slot->pending++;
	return 0;
}

int data_begin(struct data *data, struct data_slot *slot, bool write)
{
	size_t done = 0;
	int error = 0;

	data->count++;
	while (error == 0 && done < slot->length) {
		const struct remote_piece *piece = piece_at(data->grant, slot->offset + done);
		uint64_t within = slot->offset + done - piece->offset;
		size_t part = slot->length - done;

		if (part > piece->length - within)
			part = (size_t)(piece->length - within);
		error = post(data, slot, slot->memory + done, part, piece->address + within, piece->key, write);
		done += part;
	}
	return error;
}

int data_wait(struct data *data, struct data_slot **ret_slot)
{
	struct data_slot *slot = &data->slots[data->first];
	int error = progress(data);
	bool ready;

	while (error == 0 && slot->pending > 0)
		error = wait_once(data, -1, -1, &ready);
	if (error != 0)
		return error;
	data->first = (data->first + 1) % DATA_SLOTS;
	data->count--;
	*ret_slot = slot;
	return 0;
}

int data_wait_fd(struct data *data, int fd, int timeout_ms)
{
	uint64_t end = now_ms() + (uint64_t)(timeout_ms < 0 ? 0 : timeout_ms);
	bool ready = false;

	for (;;) {
		uint64_t now = now_ms();
		int left = timeout_ms < 0 ? -1 : now >= end ? 0 : (int)(end - now);
		int error = wait_once(data, fd, left, &ready);

		if (error != 0)
			return error;
		if (ready || left == 0)
			return ready ? 1 : 0;
	}
}

int data_arrive(struct data *data)
{
	/* The slot that was written last still has what was written. */
	struct data_slot *slot = &data->slots[(data->first + DATA_SLOTS - 1) % DATA_SLOTS];
	const struct remote_piece *piece;
	uint64_t last;
	bool ready;
	int error;

	if (data->arrival == PINFS_RDMA_ARRIVAL_DELIVERY)
		return 0;
	last = slot->offset + slot->length - 1;
	piece = piece_at(data->grant, last);
	error = post(data, slot, slot->memory, 1, piece->address + last - piece->offset, piece->key, false);
	while (error == 0 && slot->pending > 0)
		error = wait_once(data, -1, -1, &ready);
	return error;
}
