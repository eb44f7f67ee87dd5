/*
 * A daemon for tests of libpinfs: a thread that speaks the protocol, with memfds as parts and what a test wants of it.
 * The library finds it because getxattr(2) is answered here.
 */
#ifndef PINFS_TESTS_CLIENT_DAEMON_H
#define PINFS_TESTS_CLIENT_DAEMON_H

#include "scratch.h"

#include "wire/wire.h"
#include "wire/word.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pinfs.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096u
#define PARTS 3
#ifndef SESSIONS
#define SESSIONS 4
#endif

struct fake_part {
	int fd;
	uint64_t bytes;
	uint64_t alignment;
	unsigned char *map; /* the first FAKE_MAPPED bytes */
};
#define FAKE_MAPPED ((size_t)16 << 20)

struct fake_pin {
	uint64_t id;
	struct wire_pin request;
	bool parked;
	bool wordless; /* kept by a daemon that has not been told its word */
};

struct fake_session {
	bool known;
	int socket, events; /* -1: not connected */
	uint8_t cookie[WIRE_COOKIE_BYTES];
	int page;
	unsigned char *words;
	bool given[PARTS][2];
	struct fake_pin *pins;
	size_t count;
};

struct fake {
	char directory[64];
	char path[100];
	int listener, wake;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stop, down;
	/* What it does. */
	int refuse_hello, refuse_pin, refuse_commit; /* errno */
	unsigned busy; /* so many times the session that comes back is still there */
	bool other_page; /* one that comes back is given a new page */
	bool park; /* PINs are not answered */
	bool deaf; /* to CANCEL */
	unsigned hold_back; /* so many PINs, and answer the last one first */
	bool part_too_late; /* PINNED comes before PART */
	unsigned part_copies; /* descriptors that PART brings */
	uint32_t durability, welcome_flags;
	unsigned extents_a_message;
	/* Place of a block of a file: part, and block in it. */
	void (*place)(uint64_t block, uint32_t *ret_part, uint64_t *ret_block);
	void (*spoil)(struct wire_extent *extents, size_t *count); /* NULL: as they are */
	uint64_t ino;
	uint8_t pool[16];
	/* What it has. */
	struct fake_part parts[PARTS];
	struct fake_session session[SESSIONS];
	uint64_t next_id;
	/* What it has seen. */
	unsigned hellos, asked, unpins, commits, cancels, bells, goodbyes;
	struct wire_range last_commit;
};

static const char *fake_xattr; /* the socket that the "mount" names; NULL: none */
static int fake_xattr_error = ENODATA;

ssize_t getxattr(const char *path, const char *name, void *value, size_t size)
{
	(void)path;
	if (strcmp(name, "pinfs.socket") != 0 || fake_xattr == NULL) {
		errno = fake_xattr_error;
		return -1;
	}
	if (strlen(fake_xattr) > size) {
		errno = ERANGE;
		return -1;
	}
	memcpy(value, fake_xattr, strlen(fake_xattr));
	return (ssize_t)strlen(fake_xattr);
}

/* ---- Layouts ---- */

static inline void place_in_one(uint64_t block, uint32_t *ret_part, uint64_t *ret_block)
{
	*ret_part = 0;
	*ret_block = block + 16;
}

/* Every block somewhere else, in two parts. */
static inline void place_scattered(uint64_t block, uint32_t *ret_part, uint64_t *ret_block)
{
	*ret_part = (uint32_t)(block % 2);
	*ret_block = 1000 - 3 * block;
}

static inline void place_in_devdax(uint64_t block, uint32_t *ret_part, uint64_t *ret_block)
{
	*ret_part = 2;
	*ret_block = block < 4 ? block + 8 : 600 - block;
}

static inline void place_nowhere(uint64_t block, uint32_t *ret_part, uint64_t *ret_block)
{
	*ret_part = UINT32_MAX;
	*ret_block = block;
}

/* ---- The daemon's thread ---- */

static inline void fake_send(int socket, const void *message, size_t length, const int *fds, unsigned count)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int) * (WIRE_FDS_MAX + 1))];
	} control = {.header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
	struct iovec data = {.iov_base = (void *)message, .iov_len = length};
	struct msghdr packet = {.msg_iov = &data, .msg_iovlen = 1};

	if (count > 0) {
		control.header.cmsg_len = CMSG_LEN(sizeof(int) * count);
		memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * count);
		packet.msg_control = &control;
		packet.msg_controllen = CMSG_SPACE(sizeof(int) * count);
	}
	(void)!sendmsg(socket, &packet, MSG_NOSIGNAL);
}

static inline void fake_done(int socket, uint64_t request, int error)
{
	struct wire_done done;

	wire_header_set(&done.header, WIRE_DONE, sizeof(done), request, error);
	fake_send(socket, &done, sizeof(done), NULL, 0);
}

static inline void fake_give_part(struct fake *fake, struct fake_session *session, uint32_t number, bool write)
{
	struct fake_part *part = &fake->parts[number];
	struct wire_part message = {.part = number,
				    .durability = fake->durability,
				    .bytes = part->bytes,
				    .alignment = part->alignment,
				    .flags = write ? WIRE_PART_WRITE : 0};
	int fds[WIRE_FDS_MAX + 1];
	char path[64];
	int fd;

	if (session->given[number][write])
		return;
	session->given[number][write] = true;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", part->fd);
	fd = open(path, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	wire_header_set(&message.header, WIRE_PART, sizeof(message), 0, 0);
	for (unsigned i = 0; i < fake->part_copies; i++)
		fds[i] = fd;
	fake_send(session->socket, &message, sizeof(message), fds, fake->part_copies);
	close(fd);
}

static inline size_t fake_extents(struct fake *fake, const struct wire_pin *request, struct wire_extent *extents)
{
	size_t count = 0;

	for (uint64_t block = request->offset / BLOCK; block * BLOCK < request->offset + request->length; block++) {
		struct wire_extent *last = count > 0 ? &extents[count - 1] : NULL;
		uint64_t place;
		uint32_t part;

		fake->place(block, &part, &place);
		if (last != NULL && last->part == part && last->part_offset + last->length == place * BLOCK) {
			last->length += BLOCK;
			continue;
		}
		extents[count++] = (struct wire_extent){
			.offset = block * BLOCK, .length = BLOCK, .part_offset = place * BLOCK, .part = part};
	}
	if (fake->spoil != NULL)
		fake->spoil(extents, &count);
	return count;
}

static inline void fake_grant(struct fake *fake, struct fake_session *session, struct fake_pin *pin, uint64_t number)
{
	size_t most = pin->request.length / BLOCK + 16;
	struct wire_extent *extents = calloc(most, sizeof(*extents));
	size_t count = fake_extents(fake, &pin->request, extents);
	bool write = (pin->request.flags & WIRE_PIN_WRITE) != 0;
	size_t sent = 0;

	for (size_t i = 0; i < count && !fake->part_too_late; i++) {
		if (extents[i].part < PARTS)
			fake_give_part(fake, session, extents[i].part, write);
	}
	do {
		size_t now = count - sent < fake->extents_a_message ? count - sent : fake->extents_a_message;
		size_t length = sizeof(struct wire_pinned) + now * sizeof(*extents);
		struct wire_pinned *pinned = calloc(1, length);

		*pinned = (struct wire_pinned){.pin = pin->id,
					       .ino = fake->ino,
					       .offset = pin->request.offset,
					       .length = pin->request.length,
					       .flags = pin->request.flags,
					       .word = pin->wordless ? WIRE_WORD_NONE : pin->request.word,
					       .count = (uint32_t)now};
		memcpy(pinned->extent, extents + sent, now * sizeof(*extents));
		sent += now;
		wire_header_set(&pinned->header, sent == count ? WIRE_PINNED : WIRE_EXTENTS, length, number, 0);
		fake_send(session->socket, pinned, length, NULL, 0);
		free(pinned);
	} while (sent < count);
	free(extents);
	pin->parked = false;
}

static inline struct fake_pin *fake_find(struct fake_session *session, uint64_t id)
{
	for (size_t i = 0; i < session->count; i++) {
		if (session->pins[i].id == id)
			return &session->pins[i];
	}
	return NULL;
}

static inline void fake_remove(struct fake_session *session, struct fake_pin *pin)
{
	*pin = session->pins[--session->count];
}

static inline int fake_page(unsigned char **ret_words)
{
	int fd = memfd_create("words", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (ftruncate(fd, WIRE_PAGE_BYTES) != 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
		abort();
	*ret_words = mmap(NULL, WIRE_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return fd;
}

static inline struct fake_session *fake_new_session(struct fake *fake)
{
	struct fake_session *session = fake->session;

	while (session->known)
		session++;
	if (session == fake->session + SESSIONS)
		abort();
	memset(session, 0, sizeof(*session));
	session->known = true;
	session->cookie[0] = (uint8_t)(session - fake->session + 1);
	session->cookie[1] = (uint8_t)fake->hellos;
	session->page = fake_page(&session->words);
	return session;
}

static inline struct fake_session *fake_find_session(struct fake *fake, const uint8_t *cookie)
{
	for (int i = 0; i < SESSIONS; i++) {
		if (fake->session[i].known && memcmp(fake->session[i].cookie, cookie, WIRE_COOKIE_BYTES) == 0)
			return &fake->session[i];
	}
	return NULL;
}

static inline void fake_welcome(struct fake *fake, struct fake_session *session, bool back)
{
	struct wire_welcome welcome = {
		.version = 1,
		.flags = fake->welcome_flags | (back ? WIRE_WELCOME_RECLAIMED : 0),
		.session = (uint64_t)session->cookie[1] << 8 | session->cookie[0],
		.page_words = WIRE_PAGE_WORDS,
		.pins = back ? (uint32_t)session->count : 0,
	};
	int sockets[2], fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0)
		abort();
	session->events = sockets[0];
	memcpy(welcome.cookie, session->cookie, sizeof(welcome.cookie));
	memcpy(welcome.pool_uuid, fake->pool, sizeof(welcome.pool_uuid));
	wire_header_set(&welcome.header, WIRE_WELCOME, sizeof(welcome), 0, 0);
	fds[0] = sockets[1];
	fds[1] = session->page;
	fake_send(session->socket, &welcome, sizeof(welcome), fds, 2);
	close(sockets[1]);
	memset(session->given, 0, sizeof(session->given));
	for (size_t i = 0; back && i < session->count; i++)
		fake_grant(fake, session, &session->pins[i], 0);
}

static inline void fake_hang_up(struct fake_session *session);

static inline void fake_hello(struct fake *fake, int socket)
{
	static const uint8_t none[WIRE_COOKIE_BYTES];
	struct fake_session *session = NULL;
	struct wire_hello hello;
	ssize_t got = recv(socket, &hello, sizeof(hello), 0);
	bool back;

	if (got <= 0) { /* it has given up */
		close(socket);
		return;
	}
	fake->hellos++;
	if (got != (ssize_t)sizeof(hello) || !wire_request_valid(&hello, sizeof(hello)))
		abort();
	back = memcmp(hello.cookie, none, sizeof(none)) != 0;
	if (fake->refuse_hello != 0) {
		fake_done(socket, 0, fake->refuse_hello);
		close(socket);
		return;
	}
	if (back && fake->busy > 0) {
		fake->busy--;
		fake_done(socket, 0, EBUSY);
		close(socket);
		return;
	}
	if (back)
		session = fake_find_session(fake, hello.cookie);
	if (back && session == NULL) {
		fake_done(socket, 0, ENOENT);
		close(socket);
		return;
	}
	if (!back)
		session = fake_new_session(fake);
	else
		fake_hang_up(session); /* its old end may not have been seen yet */
	if (back && fake->other_page) {
		munmap(session->words, WIRE_PAGE_BYTES);
		close(session->page);
		session->page = fake_page(&session->words);
	}
	session->socket = socket;
	fake_welcome(fake, session, back);
}

static inline void fake_hang_up(struct fake_session *session)
{
	if (session->socket >= 0) {
		/* A child of the test may have copies. */
		shutdown(session->socket, SHUT_RDWR);
		shutdown(session->events, SHUT_RDWR);
		close(session->socket);
		close(session->events);
	}
	session->socket = session->events = -1;
}

static inline void fake_forget(struct fake_session *session)
{
	if (!session->known)
		return;
	fake_hang_up(session);
	munmap(session->words, WIRE_PAGE_BYTES);
	close(session->page);
	free(session->pins);
	memset(session, 0, sizeof(*session));
	session->socket = session->events = -1;
}

static inline void fake_pin(struct fake *fake, struct fake_session *session, const struct wire_pin *request)
{
	struct fake_pin *pin;

	fake->asked++;
	if (fake->refuse_pin != 0) {
		fake_done(session->socket, request->header.request, fake->refuse_pin);
		return;
	}
	session->pins = realloc(session->pins, (session->count + 1) * sizeof(*pin));
	pin = &session->pins[session->count++];
	*pin = (struct fake_pin){
		.id = fake->next_id++, .request = *request, .parked = fake->park || fake->hold_back > 0};
	if (!pin->parked)
		fake_grant(fake, session, pin, request->header.request);
}

static inline void fake_cancel(struct fake *fake, struct fake_session *session, const struct wire_cancel *cancel)
{
	fake->cancels++;
	for (size_t i = 0; i < session->count && !fake->deaf; i++) {
		if (session->pins[i].parked && session->pins[i].request.header.request == cancel->target) {
			fake_remove(session, &session->pins[i]);
			fake_done(session->socket, cancel->target, EINTR);
			break;
		}
	}
	fake_done(session->socket, cancel->header.request, 0);
}

static inline void fake_list(struct fake_session *session, uint64_t request)
{
	for (uint64_t i = 1; i <= 3; i++) {
		struct {
			struct wire_listed listed;
			char path[4];
		} entry = {.listed = {.pin = i < 3 ? i : 0, .pid = 7, .path_length = 4, .command = "fake"},
			   .path = "/a/b"};

		wire_header_set(&entry.listed.header, WIRE_LISTED, sizeof(entry), request, 0);
		fake_send(session->socket, &entry, sizeof(entry), NULL, 0);
	}
	fake_done(session->socket, request, 0);
}

/* A file of five blocks, two an answer; a pool of two parts, of three cells and one. */
static inline void fake_map(struct fake_session *session, const struct wire_map *map, bool of_file)
{
	struct {
		struct wire_file_map map;
		struct wire_extent extent[2];
	} file = {.map = {.ino = 5, .size = 5 * 4096}};
	struct {
		struct wire_pool_map map;
		struct wire_cell cell[3];
	} pool = {.map = {.cell_bytes = 8192, .part_bytes = 20480, .count = 3}, .cell = {{1, 0, 0, 0}, {0, 2, 0, 0}}};

	for (uint64_t block = map->offset / 4096; of_file && block < 5 && file.map.count < 2; block++)
		file.extent[file.map.count++] = (struct wire_extent){.offset = block * 4096, .length = 4096};
	wire_header_set(&file.map.header, WIRE_FILE_MAP, sizeof(file), map->header.request, 0);
	wire_header_set(&pool.map.header, WIRE_POOL_MAP, sizeof(pool), map->header.request, 0);
	if (of_file) {
		fake_send(session->socket, &file, sizeof(file), NULL, 0);
	} else {
		fake_send(session->socket, &pool, sizeof(pool), NULL, 0);
		pool.map.part = 1;
		pool.map.count = 1;
		fake_send(session->socket, &pool, sizeof(pool), NULL, 0);
	}
	fake_done(session->socket, map->header.request, 0);
}

static inline void fake_range(struct fake *fake, struct fake_session *session, const struct wire_range *range)
{
	struct fake_pin *pin = fake_find(session, range->pin);

	switch (range->header.type) {
	case WIRE_UNPIN:
		fake->unpins++;
		if (pin != NULL)
			fake_remove(session, pin);
		fake_done(session->socket, range->header.request, pin != NULL ? 0 : ENOENT);
		break;
	case WIRE_COMMIT:
		fake->commits++;
		fake->last_commit = *range;
		fake_done(session->socket, range->header.request, pin != NULL ? fake->refuse_commit : ENOENT);
		break;
	case WIRE_WORD:
		fake_done(session->socket, range->header.request,
			  pin != NULL && pin->wordless && range->offset == pin->request.word ? 0 : EINVAL);
		if (pin != NULL)
			pin->wordless = false;
		break;
	case WIRE_BELL:
		fake->bells++;
		if (pin != NULL && !pin->wordless && pin->request.word < WIRE_PAGE_WORDS &&
		    wire_word_revoke(wire_word_at(session->words, pin->request.word)))
			fake_remove(session, pin);
		break;
	}
}

/* False: the client has gone. */
static inline bool fake_request(struct fake *fake, struct fake_session *session)
{
	_Alignas(8) unsigned char bytes[WIRE_MESSAGE_MAX];
	char control[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)];
	struct iovec data = {.iov_base = bytes, .iov_len = sizeof(bytes)};
	struct msghdr packet = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	ssize_t got = recvmsg(session->socket, &packet, MSG_CMSG_CLOEXEC);
	const struct wire_header *header = (const struct wire_header *)bytes;
	struct cmsghdr *attached = got > 0 ? CMSG_FIRSTHDR(&packet) : NULL;
	int fd = -1;

	if (attached != NULL)
		memcpy(&fd, CMSG_DATA(attached), sizeof(fd));
	if (fd >= 0)
		close(fd);
	if (got <= 0)
		return false;
	if (!wire_request_valid(bytes, (size_t)got) || (header->type == WIRE_PIN && fd < 0))
		abort();
	if (header->type == WIRE_PIN) {
		fake_pin(fake, session, (const struct wire_pin *)bytes);
	} else if (header->type == WIRE_CANCEL) {
		fake_cancel(fake, session, (const struct wire_cancel *)bytes);
	} else if (header->type == WIRE_LIST) {
		fake_list(session, header->request);
	} else if (header->type == WIRE_MAP) {
		fake_map(session, (const struct wire_map *)bytes, fd >= 0);
	} else if (header->type == WIRE_GOODBYE) {
		fake->goodbyes++;
		fake_done(session->socket, header->request, 0);
		fake_forget(session);
	} else {
		fake_range(fake, session, (const struct wire_range *)bytes);
	}
	return true;
}

static inline unsigned fake_parked(const struct fake *fake)
{
	unsigned count = 0;

	for (int i = 0; i < SESSIONS; i++) {
		for (size_t j = 0; j < fake->session[i].count; j++)
			count += fake->session[i].pins[j].parked;
	}
	return count;
}

/* The last one first. */
static inline void fake_grant_parked(struct fake *fake)
{
	for (int i = 0; i < SESSIONS; i++) {
		struct fake_session *session = &fake->session[i];

		for (size_t j = session->count; j-- > 0;) {
			if (session->pins[j].parked)
				fake_grant(fake, session, &session->pins[j], session->pins[j].request.header.request);
		}
	}
}

static inline void *fake_run(void *arg)
{
	struct fake *fake = arg;
	bool holding = false;

	for (;;) {
		struct pollfd poll_fds[SESSIONS + 2];
		uint64_t count;
		int ready;

		pthread_mutex_lock(&fake->lock);
		poll_fds[SESSIONS] = (struct pollfd){.fd = fake->wake, .events = POLLIN};
		poll_fds[SESSIONS + 1] = (struct pollfd){.fd = fake->down ? -1 : fake->listener, .events = POLLIN};
		for (int i = 0; i < SESSIONS; i++)
			poll_fds[i] = (struct pollfd){.fd = fake->session[i].socket, .events = POLLIN};
		pthread_mutex_unlock(&fake->lock);
		/* Held back no longer than others have something to say. */
		ready = poll(poll_fds, SESSIONS + 2, holding ? 1 : -1);
		pthread_mutex_lock(&fake->lock);
		if (fake->stop)
			break;
		if (poll_fds[SESSIONS].revents != 0 && read(fake->wake, &count, sizeof(count)) < 0)
			abort();
		for (int i = 0; i < SESSIONS; i++) {
			struct fake_session *session = &fake->session[i];

			if (poll_fds[i].revents != 0 && session->socket == poll_fds[i].fd &&
			    !fake_request(fake, session))
				fake_hang_up(session);
		}
		if (poll_fds[SESSIONS + 1].revents != 0 && !fake->down) {
			int socket = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC);

			if (socket >= 0)
				fake_hello(fake, socket);
		}
		if (fake->hold_back > 0 && (ready == 0 || fake_parked(fake) >= fake->hold_back))
			fake_grant_parked(fake);
		holding = fake->hold_back > 0 && fake_parked(fake) > 0;
		pthread_cond_broadcast(&fake->changed);
		pthread_mutex_unlock(&fake->lock);
	}
	pthread_mutex_unlock(&fake->lock);
	return NULL;
}

/* ---- For the test ---- */

static inline void fake_poke(struct fake *fake)
{
	uint64_t one = 1;

	if (write(fake->wake, &one, sizeof(one)) < 0)
		abort();
}

static inline void fake_listen(struct fake *fake)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	memcpy(address.sun_path, fake->path, sizeof(fake->path));
	unlink(fake->path);
	fake->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (bind(fake->listener, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fake->listener, 64) != 0)
		abort();
}

static inline void fake_make_part(struct fake_part *part, uint64_t bytes, uint64_t alignment)
{
	part->fd = memfd_create("part", MFD_CLOEXEC);
	part->bytes = bytes;
	part->alignment = alignment;
	if (ftruncate(part->fd, (off_t)bytes) != 0)
		abort();
	part->map = mmap(NULL, FAKE_MAPPED, PROT_READ | PROT_WRITE, MAP_SHARED, part->fd, 0);
}

static inline void fake_start(struct fake *fake)
{
	memset(fake, 0, sizeof(*fake));
	scratch_folder(fake->directory, sizeof(fake->directory), "client");
	snprintf(fake->path, sizeof(fake->path), "%s/socket", fake->directory);
	fake->durability = WIRE_DURABILITY_CPU_FLUSH;
	fake->extents_a_message = WIRE_EXTENTS_MAX;
	fake->part_copies = 1;
	fake->place = place_in_one;
	fake->ino = 42;
	fake->next_id = 100;
	memset(fake->pool, 7, sizeof(fake->pool));
	for (int i = 0; i < PARTS; i++)
		fake_make_part(&fake->parts[i], FAKE_MAPPED, i == 2 ? 2u << 20 : BLOCK);
	for (int i = 0; i < SESSIONS; i++)
		fake->session[i].socket = -1;
	pthread_mutex_init(&fake->lock, NULL);
	pthread_cond_init(&fake->changed, NULL);
	fake->wake = eventfd(0, EFD_CLOEXEC);
	fake_listen(fake);
	fake_xattr = fake->path;
	pthread_create(&fake->thread, NULL, fake_run, fake);
}

static inline void fake_stop(struct fake *fake)
{
	pthread_mutex_lock(&fake->lock);
	fake->stop = true;
	pthread_mutex_unlock(&fake->lock);
	fake_poke(fake);
	pthread_join(fake->thread, NULL);
	for (int i = 0; i < SESSIONS; i++)
		fake_forget(&fake->session[i]);
	for (int i = 0; i < PARTS; i++) {
		munmap(fake->parts[i].map, FAKE_MAPPED);
		close(fake->parts[i].fd);
	}
	if (!fake->down)
		close(fake->listener);
	close(fake->wake);
	unlink(fake->path);
	rmdir(fake->directory);
	pthread_cond_destroy(&fake->changed);
	pthread_mutex_destroy(&fake->lock);
	fake_xattr = NULL;
}

/* Dies, as by SIGKILL: what the ledger has stays. `forget`: that, too, is lost. */
static inline void fake_kill(struct fake *fake, bool forget)
{
	pthread_mutex_lock(&fake->lock);
	fake->down = true;
	close(fake->listener);
	for (int i = 0; i < SESSIONS; i++) {
		if (forget)
			fake_forget(&fake->session[i]);
		else if (fake->session[i].known)
			fake_hang_up(&fake->session[i]);
	}
	/* What it had not granted nobody has. */
	for (int i = 0; i < SESSIONS; i++) {
		struct fake_session *session = &fake->session[i];

		for (size_t j = session->count; j-- > 0;) {
			session->pins[j].wordless = session->pins[j].request.word != WIRE_WORD_NONE;
			if (session->pins[j].parked)
				fake_remove(session, &session->pins[j]);
		}
	}
	pthread_mutex_unlock(&fake->lock);
	fake_poke(fake);
}

static inline void fake_restart(struct fake *fake)
{
	pthread_mutex_lock(&fake->lock);
	fake_listen(fake);
	fake->down = false;
	pthread_mutex_unlock(&fake->lock);
	fake_poke(fake);
}

/* Until the condition is true: awaits what the daemon's thread does. */
#define FAKE_AWAIT(fake, condition)                                                                                    \
	do {                                                                                                           \
		pthread_mutex_lock(&(fake)->lock);                                                                     \
		while (!(condition))                                                                                   \
			pthread_cond_wait(&(fake)->changed, &(fake)->lock);                                            \
		pthread_mutex_unlock(&(fake)->lock);                                                                   \
	} while (0)

static inline size_t fake_held(struct fake *fake)
{
	size_t count = 0;

	pthread_mutex_lock(&fake->lock);
	for (int i = 0; i < SESSIONS; i++)
		count += fake->session[i].count;
	pthread_mutex_unlock(&fake->lock);
	return count;
}

static inline void fake_answer_parked(struct fake *fake)
{
	pthread_mutex_lock(&fake->lock);
	fake->park = false;
	fake_grant_parked(fake);
	pthread_mutex_unlock(&fake->lock);
}

static inline void fake_tell(struct fake *fake, const struct wire_event *fields)
{
	struct wire_event event = *fields;

	wire_header_set(&event.header, WIRE_EVENT, sizeof(event), 0, 0);
	pthread_mutex_lock(&fake->lock);
	fake_send(fake->session[0].events, &event, sizeof(event), NULL, 0);
	pthread_mutex_unlock(&fake->lock);
}

#endif
