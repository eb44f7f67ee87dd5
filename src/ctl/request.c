/*
 * Requests that take time, and the workers that do them. One goes
 *
 *   queued --worker--> running --done--> answered, freed
 *     ^                   | -EINPROGRESS
 *     +---- resume -------+
 *
 * A pin that is asked for while nothing else is to be done is begun by the loop itself, which spares two changes of
 * thread; what it would have to wait for (-ERESTART) makes it a worker's.
 *
 * Connections with something to do stand in a ring; a worker takes one request of the first, so that a busy client does
 * not hold up the others. What waits in the filesystem counts as nobody's work.
 */
#include "ctl/server.h"

#include <errno.h>
#include <stdlib.h>

/* ---- One request ---- */

static void resume_pin(struct fs_wait *wait)
{
	ctl_request_resume(CONTAINER_OF(wait, struct ctl_request, pin.wait));
}

static void resume_commit(struct fs_wait *wait)
{
	ctl_request_resume(CONTAINER_OF(wait, struct ctl_request, commit.wait));
}

struct ctl_request *ctl_request_new(struct ctl_connection *connection, const struct wire_header *header,
				    struct ctl_file *file)
{
	struct ctl_request *request = calloc(1, sizeof(*request));

	if (request == NULL) {
		if (file != NULL)
			ctl_file_close(file);
		return NULL;
	}
	request->connection = connection;
	request->type = header->type;
	request->number = header->request;
	request->file = file;
	request->index = WIRE_WORD_NONE;
	request->refs = 1;
	if (connection->session != NULL) {
		request->holder = connection->session->holder;
		fs_holder_get(request->holder);
	}
	if (request->type == WIRE_PIN)
		fs_wait_init(connection->ctl->fs, &request->pin.wait, 0, resume_pin);
	else if (request->type == WIRE_COMMIT)
		fs_wait_init(connection->ctl->fs, &request->commit.wait, 0, resume_commit);
	return request;
}

void ctl_request_drop_file(struct ctl_request *request)
{
	if (request->file != NULL)
		ctl_file_close(request->file);
	request->file = NULL;
}

void ctl_request_free(struct ctl_request *request)
{
	ctl_request_drop_file(request);
	if (request->holder != NULL)
		fs_holder_put(request->holder);
	free(request->word);
	free(request->path);
	free(request);
}

static void request_put(struct ctl *ctl, struct ctl_request *request)
{
	bool last;

	lock_mutex_take(&ctl->lock);
	last = --request->refs == 0;
	lock_mutex_drop(&ctl->lock);
	if (last)
		ctl_request_free(request);
}

/* ---- Queues ---- */

void ctl_requests_run_locked(struct ctl_connection *connection)
{
	const struct ctl_request *first = TAILQ_FIRST(&connection->queue);
	struct ctl *ctl = connection->ctl;

	if (first == NULL || connection->runnable || connection->running >= CTL_RUNNING_MAX)
		return;
	if (!first->begun && atomic_load(&connection->out_full))
		return;
	connection->runnable = true;
	TAILQ_INSERT_TAIL(&ctl->runnable, connection, next_runnable);
	pthread_cond_signal(&ctl->work);
}

/* Into the table and the queue. ctl->lock held. */
static int enter_locked(struct ctl_request *request)
{
	struct ctl_connection *connection = request->connection;
	struct ctl_request *other;
	int error = 0;

	HASH_FIND(hh, connection->requests, &request->number, sizeof(request->number), other);
	if (other != NULL) {
		error = -EEXIST;
	} else if (HASH_COUNT(connection->requests) >= CTL_REQUESTS_MAX) {
		error = -ENOMEM;
	} else {
		HASH_ADD(hh, connection->requests, number, sizeof(request->number), request);
		if (request->hh.tbl == NULL)
			error = -ENOMEM;
	}
	if (error == 0) {
		TAILQ_INSERT_TAIL(&connection->queue, request, next);
		request->queued = true;
		connection->queued++;
	}
	return error;
}

int ctl_request_add(struct ctl_request *request)
{
	struct ctl *ctl = request->connection->ctl;
	int error;

	lock_mutex_take(&ctl->lock);
	error = enter_locked(request);
	if (error == 0)
		ctl_requests_run_locked(request->connection);
	lock_mutex_drop(&ctl->lock);
	return error;
}

void ctl_request_resume_locked(struct ctl_request *request)
{
	struct ctl_connection *connection = request->connection;

	/* Before what has not begun: others wait for its end. */
	TAILQ_INSERT_HEAD(&connection->queue, request, next);
	request->queued = true;
	ctl_requests_run_locked(connection);
}

void ctl_request_resume(struct ctl_request *request)
{
	struct ctl *ctl = request->connection->ctl;

	lock_mutex_take(&ctl->lock);
	ctl_request_resume_locked(request);
	lock_mutex_drop(&ctl->lock);
}

/* The next request of the connection; it is begun now. NULL: there is none that may be. */
static struct ctl_request *take_locked(struct ctl_connection *connection)
{
	struct ctl_request *request = TAILQ_FIRST(&connection->queue);

	if (request == NULL || (!request->begun && atomic_load(&connection->out_full)))
		return NULL;
	TAILQ_REMOVE(&connection->queue, request, next);
	request->queued = false;
	if (!request->begun) {
		request->begun = true;
		TAILQ_INSERT_TAIL(&connection->begun, request, next_begun);
		connection->queued--;
		/* The loop may read on. */
		if (connection->queued == CTL_QUEUED_MAX / 2)
			ctl_post_locked(connection);
	}
	connection->running++;
	ctl_requests_run_locked(connection);
	return request;
}

static void answered_locked(struct ctl_request *request)
{
	if (!request->answered)
		HASH_DEL(request->connection->requests, request);
	request->answered = true;
}

void ctl_request_answered(struct ctl_request *request)
{
	struct ctl *ctl = request->connection->ctl;

	lock_mutex_take(&ctl->lock);
	answered_locked(request);
	lock_mutex_drop(&ctl->lock);
}

/* Nothing of the connection may be touched once the lock is dropped. */
static void finish_locked(struct ctl_request *request)
{
	struct ctl_connection *connection = request->connection;

	answered_locked(request);
	TAILQ_REMOVE(&connection->begun, request, next_begun);
}

/* ---- Workers ---- */

bool ctl_ended(struct ctl_connection *connection)
{
	bool ended;

	lock_mutex_take(&connection->ctl->lock);
	ended = connection->ended;
	lock_mutex_drop(&connection->ctl->lock);
	return ended;
}

static int run(struct ctl_request *request)
{
	switch (request->type) {
	case WIRE_HELLO:
		return ctl_do_hello(request);
	case WIRE_PIN:
		return ctl_do_pin(request);
	case WIRE_COMMIT:
		return ctl_do_commit(request);
	case WIRE_MAP:
		return ctl_do_map(request);
	default:
		return ctl_do_list(request);
	}
}

/* The request is taken. Lock held, dropped meanwhile. */
static void do_locked(struct ctl *ctl, struct ctl_request *request)
{
	struct ctl_connection *connection = request->connection;
	bool over;
	int result;

	lock_mutex_drop(&ctl->lock);
	result = run(request);
	lock_mutex_take(&ctl->lock);
	/* In progress: it may have been repeated and be gone by now. */
	over = result != -EINPROGRESS && result != -ERESTART;
	if (over)
		finish_locked(request);
	else if (result == -ERESTART)
		ctl_request_resume_locked(request);
	connection->running--;
	ctl_requests_run_locked(connection);
	if (connection->ended)
		ctl_post_locked(connection);
	if (over) {
		lock_mutex_drop(&ctl->lock);
		request_put(ctl, request);
		lock_mutex_take(&ctl->lock);
	}
}

/* One request of the first connection in the ring. Lock held, dropped meanwhile. */
static void work_locked(struct ctl *ctl)
{
	struct ctl_connection *connection = TAILQ_FIRST(&ctl->runnable);
	struct ctl_request *request;

	TAILQ_REMOVE(&ctl->runnable, connection, next_runnable);
	connection->runnable = false;
	request = take_locked(connection);
	if (request != NULL)
		do_locked(ctl, request);
}

int ctl_request_do(struct ctl_request *request)
{
	struct ctl_connection *connection = request->connection;
	struct ctl *ctl = connection->ctl;
	int error;

	lock_mutex_take(&ctl->lock);
	error = enter_locked(request);
	if (error == 0 && TAILQ_FIRST(&connection->queue) == request && connection->running == 0 &&
	    !atomic_load(&connection->out_full)) {
		request->pin.hurried = true;
		do_locked(ctl, take_locked(connection));
	} else if (error == 0) {
		ctl_requests_run_locked(connection);
	}
	lock_mutex_drop(&ctl->lock);
	return error;
}

void *ctl_worker(void *arg)
{
	struct ctl *ctl = arg;

	lock_mutex_take(&ctl->lock);
	for (;;) {
		while (TAILQ_EMPTY(&ctl->runnable) && !ctl->workers_stopping)
			pthread_cond_wait(&ctl->work, &ctl->lock.mutex);
		if (TAILQ_EMPTY(&ctl->runnable))
			break;
		work_locked(ctl);
	}
	lock_mutex_drop(&ctl->lock);
	return NULL;
}

/* ---- The end of some, or of all ---- */

/* ctl->lock held, dropped meanwhile; the request is begun. */
static void interrupt_locked(struct ctl *ctl, struct ctl_request *request)
{
	if (request->type == WIRE_HELLO && request->awaits != NULL) {
		request->awaits->heir = NULL;
		request->awaits = NULL;
		ctl_request_resume_locked(request);
	}
	if (request->type != WIRE_PIN && request->type != WIRE_COMMIT)
		return;
	request->refs++;
	lock_mutex_drop(&ctl->lock);
	fs_wait_interrupt(ctl->fs, request->type == WIRE_PIN ? &request->pin.wait : &request->commit.wait);
	request_put(ctl, request);
	lock_mutex_take(&ctl->lock);
}

/* Out of the tables; it has not begun. */
static void forget_locked(struct ctl_request *request)
{
	struct ctl_connection *connection = request->connection;

	HASH_DEL(connection->requests, request);
	TAILQ_REMOVE(&connection->queue, request, next);
	connection->queued--;
}

void ctl_request_cancel(struct ctl_connection *connection, uint64_t number)
{
	struct ctl *ctl = connection->ctl;
	struct ctl_request *request, *dropped = NULL;

	lock_mutex_take(&ctl->lock);
	HASH_FIND(hh, connection->requests, &number, sizeof(number), request);
	if (request != NULL && request->begun) {
		interrupt_locked(ctl, request);
	} else if (request != NULL) {
		forget_locked(request);
		dropped = request;
	}
	lock_mutex_drop(&ctl->lock);
	if (dropped != NULL) {
		ctl_done(connection, number, -EINTR);
		ctl_request_free(dropped);
	}
}

void ctl_requests_end(struct ctl_connection *connection)
{
	struct ctl_requests dropped = TAILQ_HEAD_INITIALIZER(dropped);
	struct ctl *ctl = connection->ctl;
	struct ctl_request *request, *next;

	lock_mutex_take(&ctl->lock);
	connection->ended = true;
	for (request = TAILQ_FIRST(&connection->queue); request != NULL; request = next) {
		next = TAILQ_NEXT(request, next);
		if (request->begun)
			continue;
		forget_locked(request);
		TAILQ_INSERT_TAIL(&dropped, request, next);
	}
	while ((request = TAILQ_FIRST(&connection->begun)) != NULL && !request->interrupted) {
		request->interrupted = true;
		TAILQ_REMOVE(&connection->begun, request, next_begun);
		TAILQ_INSERT_TAIL(&connection->begun, request, next_begun);
		interrupt_locked(ctl, request);
	}
	lock_mutex_drop(&ctl->lock);
	while ((request = TAILQ_FIRST(&dropped)) != NULL) {
		TAILQ_REMOVE(&dropped, request, next);
		ctl_request_free(request);
	}
}
