/*
 * Sessions. One lives as long as its holder may have pins with state words: after its connection has ended without a
 * goodbye it is away, in the tables, until its process comes back or is dead.
 *
 *   HELLO --> attached --goodbye, death--> gone
 *                |  ^
 *      the end   v  | HELLO with its cookie
 *               away --death--> gone
 */
#include "ctl/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- What the filesystem tells, with locks held: only queued ---- */

static void take_event(void *data, const struct pin_event *event)
{
	ctl_event_queue(data, event);
}

static void take_death(void *data)
{
	struct ctl_session *session = data;

	lock_mutex_take(&session->ctl->lock);
	session->dead = true;
	ctl_post_session_locked(session);
	lock_mutex_drop(&session->ctl->lock);
}

const struct fs_holder_ops ctl_holder_ops = {.event = take_event, .dead = take_death};

/* ---- Making and freeing ---- */

struct ctl_session *ctl_session_new(struct ctl_connection *connection)
{
	struct ctl_session *session = calloc(1, sizeof(*session));

	if (session == NULL)
		return NULL;
	session->source = CTL_SOURCE_EVENTS;
	session->ctl = connection->ctl;
	session->connection = connection;
	session->uid = connection->uid;
	session->events = -1;
	TAILQ_INIT(&session->event_queue);
	return session;
}

void ctl_session_free(struct ctl_session *session)
{
	if (session->page != NULL)
		munmap(session->page, WIRE_PAGE_BYTES);
	if (session->events >= 0)
		close(session->events);
	ctl_events_drop(session);
	ctl_words_free(session);
	free(session);
}

static void unlist_locked(struct ctl_session *session)
{
	struct ctl *ctl = session->ctl;

	if (session->listed) {
		HASH_DELETE(hh, ctl->sessions, session);
		HASH_DELETE(hh_cookie, ctl->cookies, session);
	}
	session->listed = false;
	if (session->posted)
		STAILQ_REMOVE(&ctl->posted_sessions, session, ctl_session, next_posted);
	session->posted = false;
}

/* Loop thread: freed after this round of events. */
static void go(struct ctl_session *session)
{
	struct ctl *ctl = session->ctl;

	if (session->gone)
		return;
	session->gone = true;
	lock_mutex_take(&ctl->lock);
	unlist_locked(session);
	lock_mutex_drop(&ctl->lock);
	STAILQ_INSERT_TAIL(&ctl->gone_sessions, session, next_posted);
}

void ctl_sessions_free(struct ctl *ctl)
{
	struct ctl_session *session, *next;

	HASH_ITER(hh, ctl->sessions, session, next)
	{
		unlist_locked(session);
		ctl_session_free(session);
	}
	while ((session = STAILQ_FIRST(&ctl->posted_sessions)) != NULL) {
		unlist_locked(session);
		ctl_session_free(session);
	}
}

/* ---- Attaching ---- */

static int list_locked(struct ctl_session *session)
{
	struct ctl *ctl = session->ctl;

	HASH_ADD(hh, ctl->sessions, number, sizeof(session->number), session);
	if (session->hh.tbl == NULL)
		return -ENOMEM;
	HASH_ADD(hh_cookie, ctl->cookies, cookie, sizeof(session->cookie), session);
	if (session->hh_cookie.tbl == NULL) {
		HASH_DELETE(hh, ctl->sessions, session);
		return -ENOMEM;
	}
	session->listed = true;
	return 0;
}

int ctl_session_attach(struct ctl_session *session, struct ctl_connection *connection, struct fs_holder *holder)
{
	struct ctl *ctl = session->ctl;
	int error = 0;

	lock_mutex_take(&ctl->lock);
	if (!session->listed) {
		session->number = fs_holder_session(holder);
		memcpy(session->cookie, fs_holder_cookie(holder), sizeof(session->cookie));
		error = list_locked(session);
	}
	if (error == 0) {
		session->holder = holder;
		connection->session = session;
		connection->session_number = session->number;
		/* What has come meanwhile. */
		ctl_post_session_locked(session);
	}
	lock_mutex_drop(&ctl->lock);
	return error;
}

/* Nobody has it now. */
static void release_locked(struct ctl_session *session)
{
	struct ctl_request *heir = session->heir;

	session->connection = NULL;
	session->heir = NULL;
	if (heir != NULL) {
		heir->awaits = NULL;
		ctl_request_resume_locked(heir);
	}
}

void ctl_session_abandon(struct ctl_session *session, bool has_holder)
{
	struct ctl *ctl = session->ctl;

	lock_mutex_take(&ctl->lock);
	release_locked(session);
	if (!session->listed && !has_holder)
		session->dead = true;
	ctl_post_session_locked(session);
	lock_mutex_drop(&ctl->lock);
}

static bool same_process(const struct process_identity *a, const struct process_identity *b)
{
	return a->pid == b->pid && a->start_time == b->start_time && a->pidfs_inode == b->pidfs_inode;
}

/* The old connection may not have been seen to end yet: it is ended now, as there is the same process again. */
static int wait_for_locked(struct ctl_request *request, struct ctl_session *session)
{
	if (session->heir != NULL)
		return -EBUSY;
	session->heir = request;
	request->awaits = session;
	session->connection->superseded = true;
	ctl_post_locked(session->connection);
	return -EINPROGRESS;
}

int ctl_session_claim(struct ctl_request *request, const struct process_identity *process,
		      struct ctl_session **ret_session)
{
	struct ctl_connection *connection = request->connection;
	struct ctl *ctl = connection->ctl;
	struct ctl_session *session;
	int error = 0;

	lock_mutex_take(&ctl->lock);
	HASH_FIND(hh_cookie, ctl->cookies, request->hello.cookie, sizeof(request->hello.cookie), session);
	if (session == NULL || session->dead)
		error = -ENOENT;
	else if (session->uid != connection->uid || !same_process(&session->process, process))
		error = -EPERM;
	else if (connection->ended)
		error = -ECANCELED;
	else if (session->connection != NULL)
		error = wait_for_locked(request, session);
	else
		session->connection = connection;
	lock_mutex_drop(&ctl->lock);
	if (error == 0)
		*ret_session = session;
	return error;
}

/* ---- In the loop ---- */

void ctl_session_detach(struct ctl_connection *connection)
{
	struct ctl *ctl = connection->ctl;
	struct ctl_session *session;
	bool end;

	lock_mutex_take(&ctl->lock);
	session = connection->session;
	connection->session = NULL;
	end = session != NULL && (connection->goodbye || session->dead);
	lock_mutex_drop(&ctl->lock);
	if (session == NULL)
		return;
	if (session->events >= 0)
		close(session->events);
	session->events = -1;
	session->watched = false;
	if (end)
		fs_holder_close(ctl->fs, session->holder);
	else
		fs_holder_leave(ctl->fs, session->holder);
	session->holder = NULL;
	ctl_events_drop(session);
	lock_mutex_take(&ctl->lock);
	end = end || session->dead;
	session->dead = end;
	/* An heir finds that there is no such session. */
	release_locked(session);
	lock_mutex_drop(&ctl->lock);
	if (end)
		go(session);
}

void ctl_session_look(struct ctl_session *session)
{
	struct ctl *ctl = session->ctl;
	struct ctl_connection *connection;
	bool dead, attached;

	lock_mutex_take(&ctl->lock);
	connection = session->connection;
	attached = connection != NULL && connection->session == session;
	dead = session->dead;
	lock_mutex_drop(&ctl->lock);
	if (dead && connection == NULL)
		go(session);
	else if (dead)
		ctl_connection_end(connection);
	else if (attached)
		ctl_events_flush(session);
}
