#include "transfer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUSY_TRIES 100 /* of a range that somebody changes: each after so many ms */
#define BUSY_MS 100
/*
 * A lease of what may come, where nobody knows how much that is: a write pin allocates all of its range, and what is
 * behind the end of the file stays the file's.
 */
#define STREAM_WINDOW (16ul << 20)

static int report(const struct transfer *transfer, int error)
{
	if (error != 0)
		log_error("%s: %s (%" PRIu64 " bytes were done before)", transfer->name,
			  transfer->link->message.text[0] != '\0' ? transfer->link->message.text : strerror(-error),
			  transfer->done);
	return error;
}

static int local_failure(struct transfer *transfer, int error)
{
	message_set(&transfer->link->message, "%s: %s", transfer->local, strerror(-error));
	return error;
}

/* A lease from transfer->offset + done on, connected. *ret_length 0: the file ends there. */
static int begin_lease(struct transfer *transfer, bool write, uint64_t wanted, uint64_t *ret_length)
{
	const struct remote_grant *grant;
	uint64_t length = wanted < transfer->link->setup.length_max ? wanted : transfer->link->setup.length_max;
	int error, tries = BUSY_TRIES;

	if (transfer->offset + transfer->done > INT64_MAX - length)
		return local_failure(transfer, -EFBIG);
	do {
		error = link_open(transfer->link, transfer->name, write ? REMOTE_OPEN_WRITE : 0,
				  transfer->offset + transfer->done, length, &grant);
		if (error == -EAGAIN && link_wait(transfer->link, NULL, 0, BUSY_MS) != 0)
			return -ENOTCONN;
	} while (error == -EAGAIN && --tries > 0);
	if (error == -EAGAIN)
		message_set(&transfer->link->message, "%s: somebody is changing that range, and does not end",
			    transfer->link->node);
	if (error != 0)
		return error;
	*ret_length = grant->length;
	return grant->length > 0 ? data_connect(transfer->data, grant) : 0;
}

/* Whatever came of it: the target shall not wait for us. */
static int end_lease(struct transfer *transfer, int error, bool cut, uint64_t size)
{
	int ended = 0;

	data_disconnect(transfer->data);
	if (transfer->link->lease != 0 && transfer->link->ended == 0 && error != -ETIMEDOUT && error != -ECONNRESET)
		ended = link_end(transfer->link, cut && error == 0, size);
	return error != 0 ? error : ended;
}

/* ---- get ---- */

static int write_local(struct transfer *transfer, const struct data_slot *slot)
{
	size_t at = 0;

	while (at < slot->length) {
		ssize_t got = write(transfer->fd, slot->memory + at, slot->length - at);

		if (got < 0 && errno != EINTR)
			return local_failure(transfer, -errno);
		if (got > 0)
			at += (size_t)got;
	}
	transfer->done += slot->length;
	return 0;
}

static int read_lease(struct transfer *transfer, uint64_t length)
{
	struct data *data = transfer->data;
	uint64_t asked = transfer->offset + transfer->done, end = asked + length;
	int error = 0;

	while (error == 0 && (asked < end || data->count > 0)) {
		struct data_slot *slot = asked < end ? data_free_slot(data) : NULL;

		if (slot != NULL) {
			slot->offset = asked;
			slot->length = end - asked < DATA_CHUNK ? (size_t)(end - asked) : DATA_CHUNK;
			asked += slot->length;
			error = data_begin(data, slot, false);
			continue;
		}
		error = data_wait(data, &slot);
		if (error == 0)
			error = write_local(transfer, slot);
	}
	return error;
}

int transfer_get(struct transfer *transfer)
{
	uint64_t length;
	int error = 0;

	while (error == 0 && transfer->done < transfer->length) {
		error = begin_lease(transfer, false, transfer->length - transfer->done, &length);
		if (error == 0 && length == 0)
			break;
		if (error == 0)
			error = read_lease(transfer, length);
		error = end_lease(transfer, error, false, 0);
	}
	if (error == 0 && transfer->length != UINT64_MAX && transfer->done < transfer->length) {
		message_set(&transfer->link->message, "the file ends before the range does");
		error = -ERANGE;
	}
	return report(transfer, error);
}

/* ---- put ---- */

/* As much of `length` as there is. */
static ssize_t read_local(struct transfer *transfer, uint8_t *memory, size_t length)
{
	size_t have = 0;

	while (have < length) {
		ssize_t got = read(transfer->fd, memory + have, length - have);

		if (got < 0 && errno != EINTR)
			return local_failure(transfer, -errno);
		if (got == 0)
			break;
		if (got > 0)
			have += (size_t)got;
	}
	return (ssize_t)have;
}

/* Writes up to `length` bytes of the lease, less if the local file ends; *ret_written is certain to have arrived. */
static int write_lease(struct transfer *transfer, uint64_t length, uint64_t *ret_written)
{
	struct data *data = transfer->data;
	uint64_t written = 0;
	bool more = true;
	int error = 0;

	while (error == 0 && ((more && written < length) || data->count > 0)) {
		struct data_slot *slot = more && written < length ? data_free_slot(data) : NULL;
		ssize_t got;

		if (slot == NULL) {
			error = data_wait(data, &slot);
			continue;
		}
		got = read_local(transfer, slot->memory,
				 length - written < DATA_CHUNK ? (size_t)(length - written) : DATA_CHUNK);
		if (got < 0)
			return (int)got;
		more = got > 0;
		slot->offset = transfer->offset + transfer->done + written;
		slot->length = (size_t)got;
		written += slot->length;
		if (got > 0)
			error = data_begin(data, slot, true);
	}
	if (error == 0 && written > 0)
		error = data_arrive(data);
	*ret_written = written;
	return error;
}

static int commit(struct transfer *transfer, uint64_t length)
{
	int error = length > 0 ? link_commit(transfer->link, transfer->offset + transfer->done, length) : 0;

	if (error == 0)
		transfer->done += length;
	return error;
}

/* Bytes that are left of the local file; STREAM_WINDOW where nobody knows. */
static uint64_t local_left(const struct transfer *transfer)
{
	struct stat attr;
	off_t at;

	if (fstat(transfer->fd, &attr) != 0 || !S_ISREG(attr.st_mode))
		return STREAM_WINDOW;
	at = lseek(transfer->fd, 0, SEEK_CUR);
	return at < 0 || at >= attr.st_size ? 0 : (uint64_t)(attr.st_size - at);
}

/* How long a lease to ask for; at least 1: an empty file is put, too. */
static uint64_t put_window(const struct transfer *transfer)
{
	uint64_t left = local_left(transfer);

	if (left > transfer->length - transfer->done)
		left = transfer->length - transfer->done;
	return left > 0 ? left : 1;
}

int transfer_put(struct transfer *transfer)
{
	uint64_t length, written;
	int error = 0;

	while (error == 0 && transfer->done < transfer->length) {
		bool last;

		written = 0;
		error = begin_lease(transfer, true, put_window(transfer), &length);
		if (error == 0)
			error = write_lease(transfer, length, &written);
		if (error == 0)
			error = commit(transfer, written);
		last = error == 0 &&
		       (written < length || transfer->done == transfer->length || local_left(transfer) == 0);
		error = end_lease(transfer, error, last && transfer->whole, transfer->offset + transfer->done);
		if (last)
			break;
	}
	return report(transfer, error);
}

/* ---- stream ---- */

static int say_committed(const struct transfer *transfer)
{
	if (printf("committed %" PRIu64 "\n", transfer->offset + transfer->done) < 0 || fflush(stdout) != 0)
		return -errno;
	return 0;
}

/* One chunk of what has come: written, arrived, committed. *ret_got 0: the end. */
static int stream_chunk(struct transfer *transfer, uint64_t length, size_t *ret_got)
{
	struct data_slot *slot = data_free_slot(transfer->data);
	int error = data_wait_fd(transfer->data, transfer->fd, -1);
	ssize_t got;

	if (error < 0)
		return error;
	do {
		got = read(transfer->fd, slot->memory, length < DATA_CHUNK ? (size_t)length : DATA_CHUNK);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return local_failure(transfer, -errno);
	*ret_got = (size_t)got;
	if (got == 0)
		return 0;
	slot->offset = transfer->offset + transfer->done;
	slot->length = (size_t)got;
	error = data_begin(transfer->data, slot, true);
	if (error == 0)
		error = data_wait(transfer->data, &slot);
	if (error == 0)
		error = data_arrive(transfer->data);
	if (error == 0)
		error = commit(transfer, slot->length);
	return error != 0 ? error : say_committed(transfer);
}

int transfer_stream(struct transfer *transfer)
{
	size_t got = 1;
	int error = 0;

	while (error == 0 && got > 0) {
		uint64_t length, end;

		error = begin_lease(transfer, true, STREAM_WINDOW, &length);
		end = transfer->done + (error == 0 ? length : 0);
		while (error == 0 && got > 0 && transfer->done < end)
			error = stream_chunk(transfer, end - transfer->done, &got);
		error = end_lease(transfer, error, false, 0);
	}
	return report(transfer, error);
}
