/*
 * Requests. No thread of the library's own reads answers: of the threads that wait, one leads. It receives, and hands
 * each answer to the thread that it belongs to; when its own has come it makes another one the leader. The others
 * sleep on a futex of their own rather than a condition, because a signal has to wake them.
 *
 *   sending --sent--> leading <--the leader left-- asleep
 *                        |  \                        |
 *                        |   --somebody else leads-->|
 *                        +------ answered -----------+--> done
 *
 * Only a thread that sleeps is made the leader: one that is still sending may be held up until somebody receives.
 */
#include "client/client.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int client_link_create(int socket, int event_socket, uint64_t session, struct client_link **ret_link)
{
	struct client_link *link = malloc(sizeof(*link));

	if (link == NULL) {
		(void)close(socket);
		(void)close(event_socket);
		return -ENOMEM;
	}
	memset(link, 0, sizeof(*link));
	link->refs = 1;
	link->socket = socket;
	link->event_socket = event_socket;
	link->session = session;
	*ret_link = link;
	return 0;
}

void client_link_put(struct client_link *link)
{
	if (--link->refs != 0)
		return;
	(void)close(link->socket);
	(void)close(link->event_socket);
	free(link->calls);
	free(link->free_slots);
	free(link);
}

static int grow_slots(struct client_link *link)
{
	uint32_t capacity = link->capacity == 0 ? 8 : link->capacity * 2;
	struct client_call **calls;
	uint32_t *free_slots;

	if (capacity < link->capacity)
		return -ENOMEM;
	calls = realloc(link->calls, capacity * sizeof(*calls));
	if (calls == NULL)
		return -ENOMEM;
	link->calls = calls;
	free_slots = realloc(link->free_slots, capacity * sizeof(*free_slots));
	if (free_slots == NULL)
		return -ENOMEM;
	link->free_slots = free_slots;
	for (uint32_t slot = link->capacity; slot < capacity; slot++) {
		calls[slot] = NULL;
		free_slots[link->free_count++] = slot;
	}
	link->capacity = capacity;
	return 0;
}

static int enter(struct client_link *link, struct client_call *call)
{
	uint32_t slot;
	int error;

	if (link->error != 0)
		return link->error;
	if (link->free_count == 0) {
		error = grow_slots(link);
		if (error != 0)
			return error;
	}
	slot = link->free_slots[--link->free_count];
	link->calls[slot] = call;
	call->number = (uint64_t)++link->sequence << 32 | slot;
	return 0;
}

static void leave(struct client_link *link, struct client_call *call)
{
	uint32_t slot = (uint32_t)call->number;

	link->calls[slot] = NULL;
	link->free_slots[link->free_count++] = slot;
}

/* Under the lock, which the sleeper takes before it goes: its memory is there. */
static void wake(struct client_call *call)
{
	atomic_store(&call->wake, 1);
	(void)syscall(SYS_futex, &call->wake, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void finish(struct client_call *call, int error)
{
	if (call->done)
		return;
	call->done = true;
	call->error = error;
	if (call->asleep)
		wake(call);
}

static void pass_lead(struct client_link *link)
{
	if (!link->reading && link->followers != NULL)
		wake(link->followers);
}

void client_link_fail(struct pinfs *fs, struct client_link *link, int error)
{
	if (link->error != 0)
		return;
	link->error = error;
	for (uint32_t slot = 0; slot < link->capacity; slot++) {
		if (link->calls[slot] != NULL)
			finish(link->calls[slot], error);
	}
	/* Wakes a thread that receives or sends; the daemon learns that nothing more will come. */
	(void)shutdown(link->socket, SHUT_RDWR);
	if (fs->link == link) {
		/* A child's copy of the descriptor would keep a closed one in the set. */
		(void)epoll_ctl(fs->epoll_fd, EPOLL_CTL_DEL, link->event_socket, NULL);
		fs->link = NULL;
		client_poller_away(fs, true);
		client_link_put(link);
	}
}

int client_extents_add(struct client_extents *extents, const struct wire_extent *extent, size_t count)
{
	if (count == 0)
		return 0;
	if (count > extents->capacity - extents->count) {
		size_t capacity = extents->capacity * 2 + count;
		struct wire_extent *grown = reallocarray(extents->extent, capacity, sizeof(*grown));

		if (grown == NULL)
			return -ENOMEM;
		extents->extent = grown;
		extents->capacity = capacity;
	}
	memcpy(extents->extent + extents->count, extent, count * sizeof(*extent));
	extents->count += count;
	return 0;
}

static int take_extents(struct client_call *call, const struct client_message *message)
{
	const struct wire_pinned *pinned = (const struct wire_pinned *)message->bytes;

	if (pinned->count > call->most_extents - call->extents.count)
		return -EPROTO;
	call->pinned = *pinned;
	if (call->trouble == 0)
		call->trouble = client_extents_add(&call->extents, pinned->extent, pinned->count);
	return 0;
}

/* The daemon's errors are Linux' own; -4095 is the last one that can be told from a count. */
static int answer_error(const struct wire_header *header)
{
	return header->error >= 0 && header->error < 4096 ? -header->error : -EPROTO;
}

static int take_answer(struct client_call *call, const struct client_message *message)
{
	const struct wire_header *header = client_message_header(message);
	int error;

	switch (header->type) {
	case WIRE_EXTENTS:
		return call->most_extents == 0 ? -EPROTO : take_extents(call, message);
	case WIRE_PINNED:
		error = call->most_extents == 0 ? -EPROTO : take_extents(call, message);
		if (error != 0)
			return error;
		call->granted = header->error == 0;
		finish(call, header->error != 0 ? answer_error(header) : call->trouble);
		return 0;
	case WIRE_DONE:
		/* A grant comes as PINNED only. */
		if (call->most_extents != 0 && header->error == 0)
			return -EPROTO;
		finish(call, header->error != 0 ? answer_error(header) : call->trouble);
		return 0;
	default:
		if (call->takes != header->type)
			return -EPROTO;
		if (call->trouble == 0)
			call->trouble = call->take(call->arg, header);
		return 0;
	}
}

/* An answer has come: to the call that it belongs to. */
static int dispatch(struct pinfs *fs, struct client_link *link, struct client_message *message)
{
	const struct wire_header *header = client_message_header(message);
	uint32_t slot = (uint32_t)header->request;
	int error;

	if (header->type == WIRE_PART) {
		error = client_part_add(fs, (const struct wire_part *)message->bytes, message->fds[0]);
		message->fds[0] = -1;
		/* The daemon gives each part once: without it the session is of no use. */
		return error;
	}
	if (slot == CLIENT_NOBODY)
		return header->type == WIRE_DONE ? 0 : -EPROTO;
	if (slot >= link->capacity || link->calls[slot] == NULL || link->calls[slot]->number != header->request)
		return -EPROTO;
	return take_answer(link->calls[slot], message);
}

/* One turn of the leader. Lock held, dropped while it receives. -EINTR. */
static int lead(struct pinfs *fs, struct client_link *link)
{
	int error;

	link->reading = true;
	pthread_mutex_unlock(&fs->lock);
	error = client_receive(link->socket, wire_answer_valid, 0, &link->answer);
	pthread_mutex_lock(&fs->lock);
	link->reading = false;
	if (error == -EINTR)
		return error;
	if (error == 0) {
		if (link->error == 0)
			error = dispatch(fs, link, &link->answer);
		client_message_close(&link->answer);
	}
	if (error != 0)
		client_link_fail(fs, link, error);
	return 0;
}

/* Sleeps until it is answered or is to lead. Lock held, dropped meanwhile. -EINTR. */
static int follow(struct pinfs *fs, struct client_link *link, struct client_call *call)
{
	long result = 0;
	int error = 0;

	atomic_store(&call->wake, 0);
	call->asleep = true;
	call->next = link->followers;
	call->previous = NULL;
	if (link->followers != NULL)
		link->followers->previous = call;
	link->followers = call;
	pthread_mutex_unlock(&fs->lock);
	while (atomic_load(&call->wake) == 0 && error == 0) {
		result = syscall(SYS_futex, &call->wake, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
		error = result != 0 && errno == EINTR ? -EINTR : 0;
	}
	pthread_mutex_lock(&fs->lock);
	if (call->next != NULL)
		call->next->previous = call->previous;
	if (call->previous != NULL)
		call->previous->next = call->next;
	else
		link->followers = call->next;
	call->asleep = false;
	return error;
}

/* Lock held, dropped while it sends. */
static int send_unlocked(struct pinfs *fs, struct client_link *link, const void *message, size_t length, int attached,
			 bool interruptible)
{
	int error;

	pthread_mutex_unlock(&fs->lock);
	do
		error = client_send(link->socket, message, length, attached, 0);
	while (error == -EINTR && !interruptible);
	pthread_mutex_lock(&fs->lock);
	if (error == -ENOTCONN)
		client_link_fail(fs, link, error);
	return error;
}

/* A signal came: asks the daemon to end the wait. What it then answers counts: it may have been granted already. */
static void cancel(struct pinfs *fs, struct client_link *link, struct client_call *call)
{
	struct wire_cancel message = {.target = call->number};

	call->cancelled = true;
	wire_header_set(&message.header, WIRE_CANCEL, sizeof(message), CLIENT_NOBODY, 0);
	pass_lead(link);
	(void)send_unlocked(fs, link, &message, sizeof(message), -1, false);
}

static void wait_answer(struct pinfs *fs, struct client_link *link, struct client_call *call)
{
	while (!call->done) {
		int error = link->reading ? follow(fs, link, call) : lead(fs, link);

		if (error == -EINTR && call->interruptible && !call->cancelled && !call->done)
			cancel(fs, link, call);
	}
	pass_lead(link);
}

int client_call(struct pinfs *fs, struct client_link *link, struct client_call *call, void *message, size_t length,
		unsigned type, int attached)
{
	bool sent = false;
	int error;

	pthread_mutex_lock(&fs->lock);
	error = enter(link, call);
	if (error == 0) {
		wire_header_set(message, type, length, call->number, 0);
		error = send_unlocked(fs, link, message, length, attached, call->interruptible);
		sent = error == 0;
		if (sent) {
			wait_answer(fs, link, call);
			error = call->error;
		}
		leave(link, call);
	}
	if (!sent && call->must) {
		client_link_fail(fs, link, -ENOTCONN);
		error = -ENOTCONN;
	}
	pthread_mutex_unlock(&fs->lock);
	return error;
}

int client_call_range(struct pinfs *fs, struct client_link *link, unsigned type, uint64_t pin, uint64_t offset,
		      uint64_t length)
{
	struct wire_range message = {.pin = pin, .offset = offset, .length = length};
	struct client_call call = {.must = type == WIRE_UNPIN || type == WIRE_WORD};

	return client_call(fs, link, &call, &message, sizeof(message), type, -1);
}

void client_tell(struct pinfs *fs, struct client_link *link, void *message, size_t length, unsigned type)
{
	int error;

	wire_header_set(message, type, length, CLIENT_NOBODY, 0);
	do
		error = client_send(link->socket, message, length, -1, MSG_DONTWAIT);
	while (error == -EINTR);
	pthread_mutex_lock(&fs->lock);
	if (error == -EAGAIN)
		error = send_unlocked(fs, link, message, length, -1, false);
	/* Whatever it was: who connects anew tells it. */
	if (error != 0)
		client_link_fail(fs, link, -ENOTCONN);
	pthread_mutex_unlock(&fs->lock);
}
