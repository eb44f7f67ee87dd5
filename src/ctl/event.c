/*
 * Events on their way to a client: at most one of a pin, kind and reason, which covers all ranges. A client that does
 * not take them makes the queue as long as EVENTS_MAX; what then comes is told of all of its pins at once, by kind and
 * reason: no kind is ever dropped.
 */
#include "ctl/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define EVENTS_MAX 4096u
#define REASONS 3u /* none, PIN_UNMAP, PIN_WRITE */
#define KINDS 6u

struct key {
	uint64_t pin;
	uint32_t kind;
	uint32_t reason;
};

struct ctl_event {
	TAILQ_ENTRY(ctl_event) next;
	UT_hash_handle hh;
	struct key key;
	uint64_t ino;
	uint64_t offset;
	uint64_t end;
	uint64_t deadline; /* CLOCK_MONOTONIC; PIN_FOREVER: none */
	uint64_t changes; /* how often it has grown: what is sent meanwhile is sent again */
};

static uint64_t end_of(const struct pin_event *event)
{
	uint64_t end;

	return add_overflows(event->offset, event->length, &end) ? UINT64_MAX : end;
}

static uint64_t deadline_of(const struct pin_event *event)
{
	return event->deadline == 0 ? PIN_FOREVER : event->deadline;
}

static void join(struct ctl_event *known, const struct pin_event *event)
{
	known->offset = min_u64(known->offset, event->offset);
	known->end = max_u64(known->end, end_of(event));
	known->deadline = min_u64(known->deadline, deadline_of(event));
	known->changes++;
}

/* NULL: no room, or no memory. */
static struct ctl_event *add_locked(struct ctl_session *session, const struct key *key, const struct pin_event *event)
{
	struct ctl_event *new;

	if (session->event_count >= EVENTS_MAX)
		return NULL;
	new = calloc(1, sizeof(*new));
	if (new == NULL)
		return NULL;
	new->key = *key;
	new->ino = event->ino;
	new->offset = event->offset;
	new->end = end_of(event);
	new->deadline = deadline_of(event);
	HASH_ADD(hh, session->event_keys, key, sizeof(new->key), new);
	if (new->hh.tbl == NULL) {
		free(new);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&session->event_queue, new, next);
	session->event_count++;
	return new;
}

void ctl_event_queue(struct ctl_session *session, const struct pin_event *event)
{
	const struct key key = {.pin = event->pin, .kind = event->kind, .reason = event->reason};
	struct ctl *ctl = session->ctl;
	struct ctl_event *known;

	lock_mutex_take(&ctl->lock);
	HASH_FIND(hh, session->event_keys, &key, sizeof(key), known);
	if (known != NULL) {
		join(known, event);
	} else if (add_locked(session, &key, event) == NULL) {
		if (session->lost_kinds == 0)
			session->lost_deadline = PIN_FOREVER;
		session->lost_kinds |= 1u << (event->kind * REASONS + event->reason);
		session->lost_deadline = min_u64(session->lost_deadline, deadline_of(event));
	}
	ctl_post_session_locked(session);
	lock_mutex_drop(&ctl->lock);
}

static void remove_locked(struct ctl_session *session, struct ctl_event *event)
{
	HASH_DEL(session->event_keys, event);
	TAILQ_REMOVE(&session->event_queue, event, next);
	session->event_count--;
	free(event);
}

void ctl_events_drop(struct ctl_session *session)
{
	struct ctl *ctl = session->ctl;
	struct ctl_event *event;

	lock_mutex_take(&ctl->lock);
	while ((event = TAILQ_FIRST(&session->event_queue)) != NULL)
		remove_locked(session, event);
	session->lost_kinds = 0;
	lock_mutex_drop(&ctl->lock);
}

/* ---- Sending; loop thread ---- */

/* 0, -EAGAIN: the socket is full; any other: the client does not want events. */
static int send_event(const struct ctl_session *session, const struct ctl_event *event)
{
	uint64_t now = ctl_now();
	struct wire_event message = {
		.kind = event->key.kind,
		.reason = event->key.reason,
		.pin = event->key.pin,
		.ino = event->ino,
		.offset = event->offset,
		.length = event->end - event->offset,
		.deadline = event->deadline,
	};

	if (event->deadline != PIN_FOREVER)
		message.deadline = event->deadline > now ? event->deadline - now : 0;
	wire_header_set(&message.header, WIRE_EVENT, sizeof(message), 0, 0);
	while (send(session->events, &message, sizeof(message), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		if (errno != EINTR)
			return errno == EWOULDBLOCK ? -EAGAIN : -errno;
	}
	return 0;
}

/* The oldest that is to be told, or of all pins at once. False: there is none. */
static bool peek(struct ctl_session *session, struct ctl_event *ret_event)
{
	struct ctl_event *first;
	bool found = true;

	lock_mutex_take(&session->ctl->lock);
	first = TAILQ_FIRST(&session->event_queue);
	if (first != NULL) {
		*ret_event = *first;
	} else if (session->lost_kinds != 0) {
		unsigned bit = (unsigned)__builtin_ctz(session->lost_kinds);

		*ret_event = (struct ctl_event){.key = {.kind = bit / REASONS, .reason = bit % REASONS},
						.end = UINT64_MAX,
						.deadline = session->lost_deadline};
	} else {
		found = false;
	}
	lock_mutex_drop(&session->ctl->lock);
	return found;
}

/* It has been told; what has been added to it meanwhile is still to be. Only this thread removes. */
static void told(struct ctl_session *session, const struct ctl_event *sent, bool listed)
{
	struct ctl_event *first;

	lock_mutex_take(&session->ctl->lock);
	first = TAILQ_FIRST(&session->event_queue);
	if (!listed)
		session->lost_kinds &= ~(1u << (sent->key.kind * REASONS + sent->key.reason));
	else if (first->changes == sent->changes)
		remove_locked(session, first);
	lock_mutex_drop(&session->ctl->lock);
}

/* The loop comes back when the socket has room. */
static void watch(struct ctl_session *session)
{
	struct epoll_event event = {.events = EPOLLOUT | EPOLLONESHOT, .data.ptr = session};

	if (epoll_ctl(session->ctl->epoll, session->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, session->events, &event) ==
	    0)
		session->watched = true;
}

void ctl_events_flush(struct ctl_session *session)
{
	struct ctl_event event;
	int error = 0;

	if (session->events < 0)
		return;
	while (error == 0 && peek(session, &event)) {
		error = send_event(session, &event);
		if (error == 0)
			told(session, &event, event.hh.tbl != NULL);
	}
	if (error == -EAGAIN)
		watch(session);
	else if (error != 0)
		ctl_events_drop(session);
}
