/*
 * For tests of src/ctl: a mounted pool with a server, and clients that speak with it over its socket, message by
 * message. There is no mount: a file of the pool is stood for by a file of its scratch folder, whose name tells the
 * inode.
 */
#ifndef PINFS_TEST_CTL_WORLD_H
#define PINFS_TEST_CTL_WORLD_H

#include "fs_pins.h"
#include "stand_in.h"

#include "ctl/ctl.h"
#include "wire/wire.h"

#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#define ANSWER_SECONDS 60 /* one that does not come is a failure */

/* ---- The world ---- */

struct world {
	struct pool *pool;
	struct ctl *ctl;
	char socket[160];
};

static inline void world_options(const struct world *world, struct ctl_options *ret_options)
{
	struct stat st;

	assert_int_equal(stat(world->pool->folder, &st), 0);
	*ret_options = (struct ctl_options){.path = world->socket,
					    .access = CTL_ACCESS_OWNER,
					    .owner = geteuid(),
					    .device = st.st_dev,
					    .read_only = fs_read_only(world->pool->fs)};
	pool_fill_uuid(ret_options->pool_uuid, 1);
}

static inline void world_serve(struct world *world, const struct ctl_options *options)
{
	struct message why;

	if (ctl_open(world->pool->fs, options, &world->ctl, &why) != 0)
		fail_msg("%s", why.text);
	assert_int_equal(ctl_start(world->ctl, &why), 0);
}

static inline void world_start(struct world *world)
{
	struct ctl_options options;

	assert_int_equal(fs_pins_start(world->pool->fs), 0);
	world_options(world, &options);
	world_serve(world, &options);
}

static inline void world_stop(struct world *world)
{
	ctl_stop(world->ctl);
	fs_pins_stop(world->pool->fs);
	ctl_close(world->ctl);
}

static inline int world_setup(void **state)
{
	struct world *world = test_calloc(1, sizeof(*world));
	void *pool;

	pool_setup(&pool);
	world->pool = pool;
	(void)snprintf(world->socket, sizeof(world->socket), "%s/ctl/socket", world->pool->folder);
	world_start(world);
	*state = world;
	return 0;
}

static inline int world_teardown(void **state)
{
	struct world *world = *state;
	char command[512];
	void *pool = world->pool;

	world_stop(world);
	(void)snprintf(command, sizeof(command), "rm -rf %s/ctl %s/ino-*", world->pool->folder, world->pool->folder);
	assert_int_equal(system(command), 0);
	test_free(world);
	return pool_teardown(&pool);
}

static inline int stand_in_of(const char *folder, uint64_t ino, uint32_t generation, int flags)
{
	char path[256];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/ino-%lu-%u", folder, (unsigned long)ino, generation);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	fd = open(path, flags | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* A descriptor that stands for the pool's file. */
static inline int stand_in(struct world *world, uint64_t ino, int flags)
{
	return stand_in_of(world->pool->folder, ino, generation_of(world->pool->fs, ino), flags);
}

/* ---- A client ---- */

#define PEER_PARTS 4u

struct peer {
	struct world *world;
	int fd;
	int events;
	int page_fd;
	void *page;
	uint64_t next; /* request number */
	struct wire_welcome welcome;
	int part[PEER_PARTS][2]; /* as given, by number and write */
	unsigned parts; /* PART messages so far */
};

struct packet {
	_Alignas(8) unsigned char bytes[WIRE_MESSAGE_MAX];
	size_t size;
	int fds[WIRE_FDS_MAX];
	unsigned fd_count;
};

static inline int peer_dial(struct world *world)
{
	struct timeval limit = {.tv_sec = ANSWER_SECONDS};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_true(strlen(world->socket) < sizeof(address.sun_path));
	strcpy(address.sun_path, world->socket);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		fail_msg("connect: %s", strerror(errno));
	return fd;
}

/* False: the daemon has ended the session. */
static inline bool receive(int socket, struct packet *packet)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)];
	struct iovec iov = {.iov_base = packet->bytes, .iov_len = sizeof(packet->bytes)};
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	struct cmsghdr *head;
	ssize_t size = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);

	if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		fail_msg("no answer in %d s", ANSWER_SECONDS);
	if (size <= 0)
		return false;
	assert_int_equal(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC), 0);
	packet->size = (size_t)size;
	packet->fd_count = 0;
	head = CMSG_FIRSTHDR(&message);
	if (head != NULL) {
		packet->fd_count = (unsigned)((head->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(packet->fds, CMSG_DATA(head), packet->fd_count * sizeof(int));
	}
	return true;
}

static inline const struct wire_header *header_of(const struct packet *packet)
{
	return (const struct wire_header *)packet->bytes;
}

/* The next answer; every one is well-formed. */
static inline void answer(struct peer *peer, struct packet *packet)
{
	unsigned least, most;

	if (!receive(peer->fd, packet))
		fail_msg("the session has ended");
	assert_true(wire_answer_valid(packet->bytes, packet->size));
	wire_fds_expected(header_of(packet)->type, &least, &most);
	if (header_of(packet)->error == 0)
		assert_true(packet->fd_count >= least && packet->fd_count <= most);
}

static inline void take_part(struct peer *peer, const struct packet *packet)
{
	const struct wire_part *part = (const struct wire_part *)packet->bytes;
	bool write = (part->flags & WIRE_PART_WRITE) != 0;

	assert_true(part->part < PEER_PARTS);
	assert_int_equal(peer->part[part->part][write], -1);
	assert_int_equal(fcntl(packet->fds[0], F_GETFL) & O_ACCMODE, write ? O_RDWR : O_RDONLY);
	peer->part[part->part][write] = packet->fds[0];
	peer->parts++;
}

static inline void hello_fill(struct wire_hello *hello)
{
	struct process_identity self;
	int pidfd;

	assert_int_equal(process_identify(getpid(), &self, &pidfd), 0);
	close(pidfd);
	*hello = (struct wire_hello){
		.version_min = WIRE_VERSION_MIN, .version_max = WIRE_VERSION_MAX, .start_time = self.start_time};
	wire_header_set(&hello->header, WIRE_HELLO, sizeof(*hello), 1, 0);
}

static inline void peer_init(struct peer *peer, struct world *world)
{
	*peer = (struct peer){.world = world, .fd = -1, .events = -1, .page_fd = -1, .next = 2};
	for (unsigned i = 0; i < PEER_PARTS; i++)
		peer->part[i][0] = peer->part[i][1] = -1;
}

/* 0, or what the daemon has against it. A session that comes back: the old one's cookie and page. */
static inline int peer_greet(struct peer *peer, const struct wire_hello *hello, int page)
{
	struct packet packet;

	peer->fd = peer_dial(peer->world);
	assert_int_equal(send_raw(peer->fd, hello, sizeof(*hello), &page, page >= 0 ? 1 : 0, 0), 0);
	answer(peer, &packet);
	assert_int_equal(header_of(&packet)->request, hello->header.request);
	if (header_of(&packet)->type == WIRE_DONE) {
		assert_true(header_of(&packet)->error > 0);
		return -header_of(&packet)->error;
	}
	assert_int_equal(header_of(&packet)->type, WIRE_WELCOME);
	memcpy(&peer->welcome, packet.bytes, sizeof(peer->welcome));
	peer->events = packet.fds[0];
	peer->page_fd = packet.fds[1];
	peer->page = mmap(NULL, WIRE_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, peer->page_fd, 0);
	assert_ptr_not_equal(peer->page, MAP_FAILED);
	return 0;
}

static inline void peer_open(struct peer *peer, struct world *world)
{
	struct wire_hello hello;

	peer_init(peer, world);
	hello_fill(&hello);
	assert_int_equal(peer_greet(peer, &hello, -1), 0);
}

/* Comes back as the session of `old`. */
static inline int peer_reopen(struct peer *peer, const struct peer *old, int page)
{
	struct wire_hello hello;

	peer_init(peer, old->world);
	hello_fill(&hello);
	memcpy(hello.cookie, old->welcome.cookie, sizeof(hello.cookie));
	return peer_greet(peer, &hello, page);
}

static inline void peer_forget(struct peer *peer)
{
	for (unsigned i = 0; i < PEER_PARTS * 2; i++) {
		if (peer->part[i / 2][i % 2] >= 0)
			close(peer->part[i / 2][i % 2]);
	}
	if (peer->page != NULL)
		munmap(peer->page, WIRE_PAGE_BYTES);
	if (peer->page_fd >= 0)
		close(peer->page_fd);
	if (peer->events >= 0)
		close(peer->events);
	if (peer->fd >= 0)
		close(peer->fd);
}

/* ---- Requests ---- */

static inline uint64_t ask(struct peer *peer, unsigned type, void *message, size_t size, int fd)
{
	uint64_t number = peer->next++;
	int error;

	wire_header_set(message, type, size, number, 0);
	error = send_raw(peer->fd, message, size, &fd, fd >= 0 ? 1 : 0, 0);
	if (error != 0)
		fail_msg("send: %s", strerror(-error));
	return number;
}

/* The error of the next DONE, which is this request's. */
static inline int done(struct peer *peer, uint64_t number)
{
	struct packet packet;

	answer(peer, &packet);
	assert_int_equal(header_of(&packet)->type, WIRE_DONE);
	assert_int_equal(header_of(&packet)->request, number);
	return -header_of(&packet)->error;
}

static inline uint64_t ask_range(struct peer *peer, unsigned type, uint64_t pin, uint64_t offset, uint64_t length)
{
	struct wire_range range = {.pin = pin, .offset = offset, .length = length};

	return ask(peer, type, &range, sizeof(range), -1);
}

static inline int unpin(struct peer *peer, uint64_t pin)
{
	return done(peer, ask_range(peer, WIRE_UNPIN, pin, 0, 0));
}

static inline uint64_t ask_pin(struct peer *peer, int fd, uint64_t offset, uint64_t length, uint32_t flags,
			       uint32_t word)
{
	struct wire_pin pin = {.offset = offset, .length = length, .flags = flags, .word = word};

	return ask(peer, WIRE_PIN, &pin, sizeof(pin), fd);
}

/* What a PIN has brought. */
struct grant {
	struct wire_pinned pinned;
	struct wire_extent extent[64]; /* the first of them */
	size_t count;
};

/* The answer to this PIN, parts before it taken: 0 or -errno. */
static inline int pinned(struct peer *peer, uint64_t number, struct grant *grant)
{
	struct packet packet;

	grant->count = 0;
	for (;;) {
		const struct wire_pinned *wire = (const struct wire_pinned *)packet.bytes;

		answer(peer, &packet);
		if (header_of(&packet)->type == WIRE_PART) {
			take_part(peer, &packet);
			continue;
		}
		assert_int_equal(header_of(&packet)->request, number);
		assert_true(header_of(&packet)->type == WIRE_EXTENTS || header_of(&packet)->type == WIRE_PINNED);
		for (uint32_t i = 0; i < wire->count; i++, grant->count++) {
			if (grant->count < ARRAY_SIZE(grant->extent))
				grant->extent[grant->count] = wire->extent[i];
		}
		if (header_of(&packet)->type == WIRE_PINNED) {
			grant->pinned = *wire;
			return -header_of(&packet)->error;
		}
	}
}

static inline int pin_file(struct peer *peer, int fd, uint64_t offset, uint64_t length, uint32_t flags, uint32_t word,
			   struct grant *grant)
{
	return pinned(peer, ask_pin(peer, fd, offset, length, flags, word), grant);
}

/* Of a stand-in that is opened and closed. */
static inline int pin_ino(struct peer *peer, uint64_t ino, uint64_t offset, uint64_t length, uint32_t flags,
			  struct grant *grant)
{
	int fd = stand_in(peer->world, ino, (flags & WIRE_PIN_WRITE) != 0 ? O_RDWR : O_RDONLY);
	int error = pin_file(peer, fd, offset, length, flags, WIRE_WORD_NONE, grant);

	close(fd);
	return error;
}

/* Goodbye, and the end. */
static inline void peer_close(struct peer *peer)
{
	struct wire_done goodbye;
	struct packet packet;

	assert_int_equal(done(peer, ask(peer, WIRE_GOODBYE, &goodbye, sizeof(goodbye), -1)), 0);
	assert_false(receive(peer->fd, &packet));
	peer_forget(peer);
}

/* The next event; waits for it. */
static inline void next_event(struct peer *peer, struct wire_event *ret_event)
{
	struct pollfd poll_fd = {.fd = peer->events, .events = POLLIN};
	struct packet packet;

	assert_int_equal(poll(&poll_fd, 1, ANSWER_SECONDS * 1000), 1);
	assert_true(receive(peer->events, &packet));
	assert_true(wire_event_valid(packet.bytes, packet.size));
	memcpy(ret_event, packet.bytes, sizeof(*ret_event));
}

/* Nothing of the file is pinned any more: what has to happen for that is under way. */
static inline void await_unpinned(struct world *world, uint64_t ino)
{
	struct break_op op;

	set_policy(world->pool->fs, PIN_FOREVER, true, 0);
	if (break_begin(&op, world->pool->fs, ino, 0, UINT64_MAX) == -EINPROGRESS) {
		unsigned woken = 1;

		event_await(&op.woken, woken);
		while (break_look(&op) == -EINPROGRESS)
			event_await(&op.woken, ++woken);
	}
	break_end(&op);
	settle(world->pool->fs);
}

/* ---- Processes ---- */

#define ORDER_FILES 4u

/* What a process of its own is to do. It has nothing of the test's but this. */
struct order {
	void (*body)(const struct order *order);
	struct world world; /* where the socket is; no pool, no server */
	char folder[128];
	uint64_t ino[ORDER_FILES];
	uint32_t generation[ORDER_FILES];
	gid_t group;
	unsigned seed;
	int ready; /* to be written to, and */
	int go; /* to be read from: -1, or pipes to the test */
};

static int starter_socket = -1;

/* In the starter's child: never returns. */
static inline void order_carry_out(struct order *order, const int fds[2])
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(starter_socket);
	order->ready = fds[0];
	order->go = fds[1];
	order->body(order);
	_exit(0);
}

static inline void starter_serve(void)
{
	struct packet packet;

	while (receive(starter_socket, &packet)) {
		struct order order;
		pid_t pid;

		memcpy(&order, packet.bytes, sizeof(order));
		/* A child of the test. */
		pid = (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL);
		if (pid == 0)
			order_carry_out(&order, packet.fds);
		close(packet.fds[0]);
		close(packet.fds[1]);
		(void)send_raw(starter_socket, &pid, sizeof(pid), NULL, 0, 0);
	}
	_exit(0);
}

/*
 * Before the first thread: a process that makes processes. A fork of the test itself would have the pool's locks, in
 * memory and on its files, in whatever state they are.
 */
static inline void starter_start(void)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	if (fork() == 0) {
		close(pair[0]);
		starter_socket = pair[1];
		starter_serve();
	}
	close(pair[1]);
	starter_socket = pair[0];
}

/* A process that does this. *ret_ready can be read from, *ret_go be written to. */
static inline pid_t order_start(struct order *order, int *ret_ready, int *ret_go)
{
	int ready[2], go[2], fds[2];
	struct packet packet;
	pid_t pid;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	fds[0] = ready[1];
	fds[1] = go[0];
	assert_int_equal(send_raw(starter_socket, order, sizeof(*order), fds, 2, 0), 0);
	assert_true(receive(starter_socket, &packet));
	memcpy(&pid, packet.bytes, sizeof(pid));
	assert_true(pid > 0);
	close(ready[1]);
	close(go[0]);
	*ret_ready = ready[0];
	*ret_go = go[1];
	return pid;
}

static inline void order_init(struct order *order, const struct world *world, void (*body)(const struct order *order))
{
	*order = (struct order){.body = body};
	memcpy(order->world.socket, world->socket, sizeof(order->world.socket));
	memcpy(order->folder, world->pool->folder, sizeof(order->folder));
}

static inline void order_file(struct order *order, const struct world *world, unsigned number, uint64_t ino)
{
	order->ino[number] = ino;
	order->generation[number] = generation_of(world->pool->fs, ino);
}

/* In the process: a stand-in of the file. */
static inline int order_open(const struct order *order, unsigned number, int flags)
{
	return stand_in_of(order->folder, order->ino[number], order->generation[number], flags);
}

/* ---- One that behaves, among others that do not ---- */

struct good {
	struct peer peer;
	uint64_t ino;
	int fd;
};

static inline void good_open(struct good *good, struct world *world)
{
	good->ino = file_make(world->pool, "good");
	file_fill(world->pool, good->ino, 0, BLOCK, 0x11);
	good->fd = stand_in(world, good->ino, O_RDWR);
	peer_open(&good->peer, world);
}

/* It is served as ever. */
static inline void good_works(struct good *good)
{
	struct grant grant;

	assert_int_equal(pin_file(&good->peer, good->fd, 0, BLOCK, WIRE_PIN_WRITE, WIRE_WORD_NONE, &grant), 0);
	assert_int_equal(unpin(&good->peer, grant.pinned.pin), 0);
}

static inline void good_close(struct good *good)
{
	good_works(good);
	peer_close(&good->peer);
	close(good->fd);
	file_remove(good->peer.world->pool, "good", good->ino);
}

static inline uint64_t violations(struct world *world)
{
	struct ctl_stats stats;

	ctl_get_stats(world->ctl, &stats);
	return stats.violations;
}

static inline void await_connections(struct world *world, uint64_t count)
{
	struct ctl_stats stats;

	do {
		sched_yield();
		ctl_get_stats(world->ctl, &stats);
	} while (stats.connections != count);
}

/* A descriptor whose other end shows when all of it are closed. */
static inline int witness(int *ret_fd)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	*ret_fd = ends[1];
	return ends[0];
}

static inline void await_closed(int end)
{
	struct pollfd poll_fd = {.fd = end, .events = POLLIN};

	assert_int_equal(poll(&poll_fd, 1, ANSWER_SECONDS * 1000), 1);
	assert_true((poll_fd.revents & POLLHUP) != 0);
	close(end);
}

#endif
