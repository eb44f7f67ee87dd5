/*
 * A session, from pinfs_connect() to pinfs_disconnect():
 *
 *   connected --the daemon ends--> away --somebody needs it--> reconnecting --WELCOME--> connected
 *                                    ^                              |
 *                                    +------nobody there------------+
 *
 * Pins and their mappings do not depend on it. The new daemon is asked by the cookie for what it has kept (restore.c).
 */
#include "client/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BUSY_ATTEMPTS 6 /* 1 + 2 + 4 + 8 + 16 ms */

/* A page of its own that a child gets empty: no table of processes, no handler of fork(2). */
static int owner_open(struct pinfs *fs)
{
	const size_t size = (size_t)sysconf(_SC_PAGESIZE);
	uint32_t *owner = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (owner == MAP_FAILED)
		return -errno;
	if (madvise(owner, size, MADV_WIPEONFORK) != 0) {
		int error = -errno;

		(void)munmap(owner, size);
		return error;
	}
	*owner = 1;
	fs->owner = owner;
	return 0;
}

static int session_create(const char *path, struct pinfs **ret_fs)
{
	struct pinfs *fs = calloc(1, sizeof(*fs));
	int error;

	if (fs == NULL)
		return -ENOMEM;
	error = client_mount_root(path, &fs->root);
	if (error == 0)
		error = client_start_time(&fs->start_time);
	if (error != 0)
		goto fail;
	error = owner_open(fs);
	if (error != 0)
		goto fail;
	error = client_poller_open(fs);
	if (error != 0)
		goto fail_owner;
	(void)pthread_mutex_init(&fs->lock, NULL);
	(void)pthread_cond_init(&fs->returned, NULL);
	*ret_fs = fs;
	return 0;
fail_owner:
	(void)munmap((void *)fs->owner, (size_t)sysconf(_SC_PAGESIZE));
fail:
	free(fs->root);
	free(fs);
	return error;
}

static void free_link(struct client_link *link)
{
	if (link == NULL)
		return;
	link->refs = 1;
	client_link_put(link);
}

/* Nobody else uses it. In a child what was mapped is not there, and something else may be in its place. */
static void session_free(struct pinfs *fs, bool child)
{
	struct pinfs_pin *pin, *next;

	for (pin = fs->pins; pin != NULL; pin = next) {
		next = pin->next;
		client_cached_remove(fs, pin);
		if (child)
			pin->pieces.map = NULL;
		if (child && pin->word != NULL)
			pin->page->map = NULL;
		client_pin_free(pin);
	}
	if (fs->page != NULL && child)
		fs->page->map = NULL;
	if (fs->page != NULL)
		client_page_put(fs->page);
	free_link(fs->link);
	client_parts_close(fs, true, !child);
	client_poller_close(fs);
	if (!child) {
		(void)pthread_cond_destroy(&fs->returned);
		(void)pthread_mutex_destroy(&fs->lock);
	}
	(void)munmap((void *)fs->owner, (size_t)sysconf(_SC_PAGESIZE));
	free(fs->root);
	free(fs);
}

/* A thread of the parent was in the middle of something: what it changed is left alone, but for descriptors. */
static void close_only(struct pinfs *fs)
{
	if (fs->link != NULL) {
		(void)close(fs->link->socket);
		(void)close(fs->link->event_socket);
	}
	if (fs->page != NULL)
		(void)close(fs->page->fd);
	client_parts_close(fs, false, false);
	client_poller_close(fs);
}

/* The page of a session that came back is the one that it had; another one is a new page, with new words. */
static int open_page(const struct pinfs *fs, const struct client_welcome *welcome, struct client_page **ret_page)
{
	struct stat had, given;

	if (fs->page != NULL && fstat(fs->page->fd, &had) == 0 && fstat(welcome->page, &given) == 0 &&
	    had.st_dev == given.st_dev && had.st_ino == given.st_ino) {
		(void)close(welcome->page);
		*ret_page = NULL;
		return 0;
	}
	return client_page_open(welcome->page, welcome->fields.page_words, ret_page);
}

/* Lock held. Takes `page`, which may be NULL. */
static void adopt(struct pinfs *fs, struct client_link *link, struct client_page *page, struct client_kept *kept,
		  const struct client_welcome *welcome)
{
	if (page != NULL) {
		if (fs->page != NULL)
			client_page_put(fs->page);
		fs->page = page;
	}
	if ((welcome->fields.flags & WIRE_WELCOME_RECLAIMED) != 0)
		client_kept_compare(fs, kept);
	else
		client_lose_all(fs);
	memcpy(fs->cookie, welcome->fields.cookie, sizeof(fs->cookie));
	fs->writeback = (welcome->fields.flags & WIRE_WELCOME_WRITEBACK) != 0;
	fs->link = link;
	link->refs++;
	client_poller_away(fs, false);
}

/* The daemon's answer becomes the session's link. Takes the socket and what WELCOME brought. */
static int join(struct pinfs *fs, int socket, const struct client_welcome *welcome, const char *path)
{
	const bool reclaimed = (welcome->fields.flags & WIRE_WELCOME_RECLAIMED) != 0;
	struct client_kept *kept = NULL;
	struct client_page *page = NULL;
	struct client_link *link;
	int error;

	error = client_link_create(socket, welcome->event_socket, welcome->fields.session, &link);
	if (error != 0) {
		(void)close(welcome->page);
		return error;
	}
	error = open_page(fs, welcome, &page);
	if (error == 0)
		error = client_kept_read(fs, socket, reclaimed ? welcome->fields.pins : 0, &kept);
	if (error == 0)
		error = client_greeted(socket);
	pthread_mutex_lock(&fs->lock);
	if (error == 0)
		error = client_poller_watch(fs, link);
	if (error == 0) {
		adopt(fs, link, page, kept, welcome);
		memcpy(fs->socket_path, path, strlen(path) + 1);
	} else if (page != NULL) {
		client_page_put(page);
	}
	pthread_mutex_unlock(&fs->lock);
	if (error == 0)
		client_kept_settle(fs, link, kept);
	client_link_return(fs, link);
	client_kept_free(kept);
	return error;
}

/* The same daemon may not have noticed yet that the session has left it. */
static int greet_patiently(struct pinfs *fs, const char *path, int *ret_socket, struct client_welcome *ret_welcome)
{
	struct timespec pause = {.tv_nsec = 1000000};
	int error = -EBUSY;

	for (int i = 0; error == -EBUSY && i < BUSY_ATTEMPTS; i++) {
		if (i > 0)
			(void)nanosleep(&pause, NULL);
		pause.tv_nsec *= 2;
		error = client_greet(path, fs->start_time, fs->cookie, fs->page->fd, ret_socket, ret_welcome);
	}
	return error;
}

static int greet_again(struct pinfs *fs, const char *path)
{
	struct client_welcome welcome;
	int error, socket;

	error = greet_patiently(fs, path, &socket, &welcome);
	if (error == -ENOENT)
		error = client_greet(path, fs->start_time, NULL, -1, &socket, &welcome);
	if (error != 0)
		return error;
	if (memcmp(welcome.fields.pool_uuid, fs->pool_uuid, sizeof(fs->pool_uuid)) != 0) {
		(void)close(socket);
		(void)close(welcome.event_socket);
		(void)close(welcome.page);
		return -ENODEV;
	}
	return join(fs, socket, &welcome, path);
}

/* The pool may be mounted in the same place, or its daemon be found where it was. */
static void reconnect(struct pinfs *fs)
{
	char path[sizeof(fs->socket_path)];
	int error;

	error = client_socket_path(fs->root, path, sizeof(path));
	if (error == 0)
		error = greet_again(fs, path);
	if (error != 0) {
		memcpy(path, fs->socket_path, sizeof(path));
		(void)greet_again(fs, path);
	}
}

int client_link_get(struct pinfs *fs, bool wait, struct client_link **ret_link)
{
	int error = 0;

	pthread_mutex_lock(&fs->lock);
	if (fs->reconnecting && !wait) {
		error = -EAGAIN;
	} else if (fs->reconnecting) {
		while (fs->reconnecting)
			(void)pthread_cond_wait(&fs->returned, &fs->lock);
	} else if (fs->link == NULL) {
		fs->reconnecting = true;
		pthread_mutex_unlock(&fs->lock);
		reconnect(fs);
		pthread_mutex_lock(&fs->lock);
		fs->reconnecting = false;
		(void)pthread_cond_broadcast(&fs->returned);
	}
	if (error == 0 && fs->link == NULL)
		error = -ENOTCONN;
	if (error == 0) {
		fs->link->refs++;
		*ret_link = fs->link;
	}
	pthread_mutex_unlock(&fs->lock);
	return error;
}

void client_link_return(struct pinfs *fs, struct client_link *link)
{
	pthread_mutex_lock(&fs->lock);
	client_link_put(link);
	pthread_mutex_unlock(&fs->lock);
}

int pinfs_connect(const char *path, struct pinfs **fsp)
{
	struct client_welcome welcome;
	char socket_path[sizeof((*fsp)->socket_path)];
	struct pinfs *fs;
	int error, socket;

	error = client_socket_path(path, socket_path, sizeof(socket_path));
	if (error != 0)
		return error;
	error = session_create(path, &fs);
	if (error != 0)
		return error;
	error = client_greet(socket_path, fs->start_time, NULL, -1, &socket, &welcome);
	if (error == 0) {
		memcpy(fs->pool_uuid, welcome.fields.pool_uuid, sizeof(fs->pool_uuid));
		error = join(fs, socket, &welcome, socket_path);
	}
	if (error != 0) {
		session_free(fs, false);
		return error;
	}
	*fsp = fs;
	return 0;
}

#define GOODBYE_ATTEMPTS 3

/* A session that only hangs up is waited for, and its pins stay. */
static void say_goodbye(struct pinfs *fs)
{
	int error = -ENOTCONN;

	for (int i = 0; i < GOODBYE_ATTEMPTS && error == -ENOTCONN; i++) {
		struct client_call call = {.must = true};
		struct client_link *link;
		struct wire_header message;

		if (client_link_get(fs, true, &link) != 0)
			return;
		error = client_call(fs, link, &call, &message, sizeof(message), WIRE_GOODBYE, -1);
		client_link_return(fs, link);
	}
}

void pinfs_disconnect(struct pinfs *fs)
{
	if (fs == NULL)
		return;
	if (client_owns(fs)) {
		say_goodbye(fs);
		session_free(fs, false);
	} else if (pthread_mutex_trylock(&fs->lock) == 0) {
		session_free(fs, true);
	} else {
		close_only(fs);
	}
}
