/*
 * LIST: who has pinned what, and who waits. Root and the mount's owner see all; others their own pins, and those who
 * wait on files that they have pinned.
 */
#include "ctl/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct own_file {
	UT_hash_handle hh;
	uint64_t ino;
};

struct listing {
	struct ctl_request *request;
	struct ctl_messages list;
	size_t bytes;
	uint64_t now;
	struct own_file *own;
	pid_t pid; /* whose command this is: pins of one process come in rows */
	char command[PROCESS_COMMAND_MAX];
};

/* ---- Processes ---- */

/* A name for people: the number may be another process' by now. */
static void find_command(struct listing *listing, pid_t pid)
{
	char path[64];
	ssize_t length;
	int fd;

	if (pid == listing->pid)
		return;
	listing->pid = pid;
	memset(listing->command, 0, sizeof(listing->command));
	(void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	fd = pid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return;
	length = read(fd, listing->command, sizeof(listing->command) - 1);
	close(fd);
	if (length > 0)
		listing->command[strcspn(listing->command, "\n")] = 0;
}

static uid_t uid_of(pid_t pid)
{
	struct stat st;
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	return pid > 0 && stat(path, &st) == 0 ? st.st_uid : (uid_t)-1;
}

static bool is_away(struct ctl *ctl, uint64_t number)
{
	struct ctl_session *session;
	bool away;

	lock_mutex_take(&ctl->lock);
	HASH_FIND(hh, ctl->sessions, &number, sizeof(number), session);
	away = session == NULL || session->connection == NULL;
	lock_mutex_drop(&ctl->lock);
	return away;
}

/* ---- Entries ---- */

static bool sees_all(const struct listing *listing)
{
	return listing->request->connection->privileged;
}

static int entry_new(struct listing *listing, size_t path_length, pid_t pid, struct wire_listed **ret_entry)
{
	struct ctl_connection *connection = listing->request->connection;
	size_t size = sizeof(struct wire_listed) + path_length;
	struct ctl_message *message;
	struct wire_listed *entry;

	listing->bytes += sizeof(*message) + size;
	if (!sees_all(listing) && ctl_user_out(connection->user, 0) + listing->bytes > CTL_USER_OUT_MAX)
		return -ENOBUFS;
	message = ctl_message_new(WIRE_LISTED, size, listing->request->number, 0);
	if (message == NULL)
		return -ENOMEM;
	find_command(listing, pid);
	entry = (struct wire_listed *)message->bytes;
	entry->pid = (uint32_t)pid;
	memcpy(entry->command, listing->command, sizeof(entry->command));
	entry->path_length = (uint32_t)path_length;
	STAILQ_INSERT_TAIL(&listing->list, message, next);
	*ret_entry = entry;
	return 0;
}

static int note_own(struct listing *listing, uint64_t ino)
{
	struct own_file *own;

	HASH_FIND(hh, listing->own, &ino, sizeof(ino), own);
	if (own != NULL)
		return 0;
	own = calloc(1, sizeof(*own));
	if (own == NULL)
		return -ENOMEM;
	own->ino = ino;
	HASH_ADD(hh, listing->own, ino, sizeof(own->ino), own);
	if (own->hh.tbl != NULL)
		return 0;
	free(own);
	return -ENOMEM;
}

static int see_pin(void *arg, const struct pin_info *info)
{
	const size_t most = WIRE_MESSAGE_MAX - sizeof(struct wire_listed);
	struct listing *listing = arg;
	size_t path_length = info->path == NULL ? 0 : strnlen(info->path, most);
	struct wire_listed *entry;
	int error = 0;

	if (info->dropped || info->tentative)
		return 0;
	if (!sees_all(listing)) {
		if (info->uid != listing->request->connection->uid)
			return 0;
		error = note_own(listing, info->ino);
	}
	if (error == 0)
		error = entry_new(listing, path_length, info->process, &entry);
	if (error != 0)
		return error;
	entry->pin = info->id;
	entry->ino = info->ino;
	entry->offset = info->offset;
	entry->length = info->length;
	entry->age = info->since < listing->now ? listing->now - info->since : 0;
	entry->deadline = UINT64_MAX;
	entry->detached = info->detached_blocks * FMT_BLOCK_SIZE;
	entry->uid = info->uid;
	entry->flags = ctl_wire_flags(info->flags);
	entry->state = (info->idle ? WIRE_STATE_IDLE : 0) |
		       (is_away(listing->request->connection->ctl, info->session) ? WIRE_STATE_AWAY : 0);
	if (path_length > 0)
		memcpy(entry->path, info->path, path_length);
	return 0;
}

/* In bytes; to the end of all files where there is no last block. */
static uint64_t bytes_of(uint64_t blocks)
{
	uint64_t bytes;

	return mul_overflows(blocks, FMT_BLOCK_SIZE, &bytes) ? UINT64_MAX : bytes;
}

static int see_waiter(void *arg, const struct pin_wait_info *info)
{
	struct listing *listing = arg;
	struct wire_listed *entry;
	struct own_file *own;
	int error;

	if (!sees_all(listing)) {
		HASH_FIND(hh, listing->own, &info->ino, sizeof(info->ino), own);
		if (own == NULL)
			return 0;
	}
	error = entry_new(listing, 0, info->process, &entry);
	if (error != 0)
		return error;
	entry->ino = info->ino;
	entry->offset = bytes_of(info->first);
	entry->length = bytes_of(info->last) - entry->offset;
	entry->age = info->since < listing->now ? listing->now - info->since : 0;
	entry->deadline = info->deadline == PIN_FOREVER	  ? UINT64_MAX
			  : info->deadline > listing->now ? info->deadline - listing->now
							  : 0;
	entry->uid = uid_of(info->process);
	entry->reason = info->reason;
	return 0;
}

/* ---- The request ---- */

static void forget_own(struct listing *listing)
{
	struct own_file *own, *next;

	HASH_ITER(hh, listing->own, own, next)
	{
		HASH_DEL(listing->own, own);
		free(own);
	}
}

int ctl_do_list(struct ctl_request *request)
{
	struct listing listing = {.request = request, .now = ctl_now(), .pid = -1};
	uint64_t ino = 0;
	int error = ctl_ended(request->connection) ? -ESHUTDOWN : ctl_request_ino(request, &ino);

	STAILQ_INIT(&listing.list);
	if (error == 0)
		error = fs_pin_list(request->connection->ctl->fs, ino, see_pin, see_waiter, &listing);
	if (error == 0)
		ctl_send(request->connection, &listing.list);
	else
		ctl_messages_free(&listing.list);
	forget_own(&listing);
	ctl_request_answered(request);
	ctl_done(request->connection, request->number, error);
	return 0;
}
