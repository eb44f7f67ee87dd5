/* PIN and COMMIT, by workers. */
#include "ctl/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

/* ---- PIN: checks ---- */

static int check_flags(const struct ctl_request *request)
{
	const uint32_t flags = request->flags;
	const uint64_t most = INT64_MAX;

	if ((flags & ~WIRE_PIN_FLAGS) != 0 || request->pin.length == 0)
		return -EINVAL;
	if ((flags & WIRE_PIN_WRITE) == 0 && (flags & (WIRE_PIN_EXCLUSIVE | WIRE_PIN_EXTEND)) != 0)
		return -EINVAL;
	if (request->pin.offset > most || request->pin.length > most - request->pin.offset)
		return (flags & WIRE_PIN_EXTEND) != 0 ? -EFBIG : -ERANGE;
	if ((flags & WIRE_PIN_WRITE) != 0 && request->connection->ctl->options.read_only)
		return -EROFS;
	return 0;
}

/* The kernel lets through it what a load or a store would be. What the flags of the inode forbid fs_pin() knows. */
static int check_access(const struct ctl_file_facts *facts, uint32_t flags)
{
	const int mode = facts->open_flags & O_ACCMODE;

	if (S_ISDIR(facts->mode))
		return -EISDIR;
	if (!S_ISREG(facts->mode))
		return -EINVAL;
	if ((facts->open_flags & O_PATH) != 0 || (mode != O_RDONLY && mode != O_RDWR))
		return -EBADF;
	if ((flags & WIRE_PIN_WRITE) == 0)
		return 0;
	return mode != O_RDWR || (facts->open_flags & O_APPEND) != 0 ? -EBADF : 0;
}

static uint32_t table_flags(uint32_t flags)
{
	return ((flags & WIRE_PIN_WRITE) != 0 ? PIN_FLAG_WRITE : 0) |
	       ((flags & WIRE_PIN_EXCLUSIVE) != 0 ? PIN_FLAG_EXCLUSIVE : 0) |
	       ((flags & WIRE_PIN_EXTEND) != 0 ? PIN_FLAG_EXTEND : 0) |
	       ((flags & WIRE_PIN_CACHED) != 0 ? PIN_FLAG_CACHED : 0) |
	       ((flags & WIRE_PIN_NONBLOCK) != 0 ? FS_PIN_NONBLOCK : 0) |
	       ((flags & WIRE_PIN_CONTIGUOUS) != 0 ? FS_PIN_CONTIGUOUS : 0);
}

/* From here on the word is this request's. */
static int take_word(struct ctl_request *request)
{
	int error;

	if ((request->flags & WIRE_PIN_CACHED) == 0)
		return 0;
	request->word = calloc(1, sizeof(*request->word));
	if (request->word == NULL)
		return -ENOMEM;
	error = ctl_word_take(request->connection, request->asked_index, &request->pin.word);
	if (error == 0)
		request->index = request->asked_index;
	return error;
}

static int prepare(struct ctl_request *request)
{
	struct ctl_file_facts facts;
	int error;

	if (ctl_ended(request->connection))
		return -ESHUTDOWN;
	error = check_flags(request);
	if (error == 0)
		error = ctl_file_facts(request->connection->ctl, request->file->fd, &facts);
	if (error == 0)
		error = check_access(&facts, request->flags);
	if (error != 0)
		return error;
	request->path = ctl_file_path(request->file->fd);
	if (request->path == NULL)
		return -ENOMEM;
	request->pin.ino = facts.ino;
	request->pin.generation = facts.generation;
	request->pin.flags = table_flags(request->flags);
	request->pin.path = request->path;
	return take_word(request);
}

/* ---- PIN: answers ---- */

static void refuse(struct ctl_request *request, int error)
{
	struct ctl_messages list = STAILQ_HEAD_INITIALIZER(list);
	struct ctl_message *message = ctl_message_new(WIRE_PINNED, sizeof(struct wire_pinned), request->number, -error);

	if (request->index != WIRE_WORD_NONE)
		ctl_word_release(request->connection, request->index);
	ctl_request_answered(request);
	if (message == NULL) {
		ctl_done(request->connection, request->number, error);
		return;
	}
	STAILQ_INSERT_TAIL(&list, message, next);
	ctl_send(request->connection, &list);
}

/* One user's answers may take so much of the daemon, and no more. */
static int send_within_limit(struct ctl_request *request, struct ctl_messages *list)
{
	struct ctl_connection *connection = request->connection;

	if (!connection->privileged &&
	    ctl_user_out(connection->user, 0) + ctl_messages_bytes(list) > CTL_USER_OUT_MAX) {
		ctl_messages_free(list);
		return -ENOMEM;
	}
	ctl_request_answered(request);
	ctl_send(connection, list);
	return 0;
}

static int tell(struct ctl_request *request)
{
	struct ctl_connection *connection = request->connection;
	struct ctl_messages list = STAILQ_HEAD_INITIALIZER(list);
	const struct ctl_pinned pinned = {
		.request = request->number,
		.pin = request->pin.ret_id,
		.ino = request->pin.ino,
		.offset = request->pin.offset,
		.length = request->pin.length,
		.flags = ctl_wire_flags(request->pin.flags),
		.word = request->index,
		.generation = request->pin.generation,
	};
	int error;

	/* Whoever asked has left: nobody would ever give the pin back. */
	if (ctl_ended(connection))
		return -ESHUTDOWN;
	pthread_mutex_lock(&connection->giving);
	error = ctl_answer_pinned(connection, request->holder, &pinned, &list);
	if (error == 0)
		error = send_within_limit(request, &list);
	pthread_mutex_unlock(&connection->giving);
	/* A break was faster: it took the pin, idle as its word said. */
	return error == -ENOENT ? -EAGAIN : error;
}

static void granted(struct ctl_request *request)
{
	struct ctl_connection *connection = request->connection;
	int error;

	/* Before the client learns of it, and gives it back. */
	if (request->word != NULL) {
		ctl_word_bind(connection, request->word, request->pin.ret_id, request->index);
		request->word = NULL;
	}
	error = tell(request);
	if (error == 0)
		return;
	(void)fs_unpin(connection->ctl->fs, request->holder, request->pin.ret_id);
	if (ctl_word_unbind(connection, request->pin.ret_id))
		request->index = WIRE_WORD_NONE;
	refuse(request, error);
}

static int do_prepared(struct ctl_request *request, int error)
{
	if (error == 0)
		error = fs_pin(request->connection->ctl->fs, &request->pin);
	if (error == -EINPROGRESS || error == -ERESTART)
		return error;
	if (error == 0)
		granted(request);
	else
		refuse(request, error);
	return 0;
}

int ctl_do_pin(struct ctl_request *request)
{
	struct ctl_file *kept = NULL;
	int error;

	if (request->identified)
		return do_prepared(request, 0);
	error = prepare(request);
	request->identified = true;
	/* Who has no time gives it up last: whoever asked is not to wait until a closer has been woken. */
	if (request->pin.hurried) {
		kept = request->file;
		request->file = NULL;
	}
	ctl_request_drop_file(request);
	error = do_prepared(request, error);
	if (kept != NULL)
		ctl_file_close(kept);
	return error;
}

/* ---- COMMIT ---- */

int ctl_do_commit(struct ctl_request *request)
{
	int error = fs_commit(request->connection->ctl->fs, &request->commit);

	if (error == -EINPROGRESS)
		return error;
	ctl_request_answered(request);
	ctl_done(request->connection, request->number, error);
	return error;
}
