/* The socket server and clients that take too much, or do not listen: they hurt themselves alone. */
#include "ctl_world.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>

/* ---- Clients that do not listen ---- */

static void send_until_full(struct peer *peer, unsigned type, void *message, size_t size, unsigned *ret_count)
{
	unsigned refused = 0;

	*ret_count = 0;
	/* Full for good: the daemon does not read on, and neither does it grow. */
	while (refused < 200) {
		wire_header_set(message, type, size, peer->next, 0);
		if (send_raw(peer->fd, message, size, NULL, 0, MSG_DONTWAIT) == 0) {
			peer->next++;
			++*ret_count;
			refused = 0;
		} else {
			struct pollfd poll_fd = {.fd = peer->fd, .events = POLLOUT};

			(void)poll(&poll_fd, 1, 1);
			refused++;
		}
	}
}

static void test_deaf(void **state)
{
	struct world *world = *state;
	struct wire_range range = {.pin = 4711};
	unsigned count, unpins;
	struct packet packet;
	struct good good;
	struct peer peer;

	good_open(&good, world);
	peer_open(&peer, world);
	/* Answered at once, each of them. */
	send_until_full(&peer, WIRE_UNPIN, &range, sizeof(range), &unpins);
	print_message("# %u unpins before it is full\n", unpins);
	assert_true(unpins < 100000);
	good_works(&good);
	/* What it was told is all there. */
	for (unsigned i = 0; i < unpins; i++)
		assert_int_equal(done(&peer, 2 + i), -ENOENT);
	/* Done by workers. */
	send_until_full(&peer, WIRE_COMMIT, &range, sizeof(range), &count);
	print_message("# %u commits before it is full\n", count);
	assert_true(count < 100000);
	good_works(&good);
	for (unsigned i = 0; i < count; i++) {
		answer(&peer, &packet);
		assert_int_equal(header_of(&packet)->error, ENOENT);
	}
	/* And if it never listens: it goes, and that is all. */
	send_until_full(&peer, WIRE_COMMIT, &range, sizeof(range), &count);
	peer_forget(&peer);
	await_connections(world, 1);
	good_close(&good);
}

/* Events that are not taken are joined; no kind is lost, and nobody waits. */
static void test_deaf_to_events(void **state)
{
	const unsigned pins = 3000, rounds = 3;
	struct world *world = *state;
	struct pool *pool = world->pool;
	uint64_t ino = file_make(pool, "file");
	struct wire_event event;
	struct break_op op;
	struct good good;
	struct grant grant;
	struct peer peer;
	uint64_t *id = test_calloc(pins, sizeof(*id));
	unsigned heard = 0;
	int fd;

	file_fill(pool, ino, 0, BLOCK, 0x11);
	set_policy(pool->fs, PIN_FOREVER, true, 0);
	good_open(&good, world);
	peer_open(&peer, world);
	fd = stand_in(world, ino, O_RDONLY);
	for (unsigned round = 0; round < rounds; round++) {
		for (unsigned i = 0; i < pins; i++) {
			assert_int_equal(pin_file(&peer, fd, 0, 1 + i % 100, 0, WIRE_WORD_NONE, &grant), 0);
			id[i] = grant.pinned.pin;
		}
		assert_int_equal(break_begin(&op, pool->fs, ino, 0, 1), -EINPROGRESS);
		good_works(&good);
		for (unsigned i = 0; i < pins; i++)
			assert_int_equal(unpin(&peer, id[i]), 0);
		event_await(&op.woken, 1);
		assert_int_equal(break_look(&op), 0);
		break_end(&op);
	}
	/* The queue holds 4096, the socket some hundreds; then it is said of all. */
	do {
		next_event(&peer, &event);
		heard++;
		assert_int_equal(event.kind, PIN_EVENT_RECALL);
		assert_int_equal(event.reason, PIN_UNMAP);
	} while (event.pin != 0);
	print_message("# %u events for %u pins\n", heard, pins * rounds);
	assert_true(heard < pins * rounds);
	assert_true(heard > 4000);
	assert_int_equal(event.length, UINT64_MAX);
	test_free(id);
	peer_close(&peer);
	close(fd);
	good_close(&good);
	file_remove(pool, "file", ino);
}

static void test_silent(void **state)
{
	struct world *world = *state;
	int silent[100];
	struct ctl_stats stats;
	struct packet packet;
	struct good good;

	good_open(&good, world);
	for (unsigned i = 0; i < ARRAY_SIZE(silent); i++)
		silent[i] = peer_dial(world);
	/* The oldest have made room. */
	for (unsigned i = 0; i < ARRAY_SIZE(silent) - 64; i++) {
		assert_false(receive(silent[i], &packet));
		close(silent[i]);
	}
	await_connections(world, 65);
	good_works(&good);
	for (size_t i = ARRAY_SIZE(silent) - 64; i < ARRAY_SIZE(silent); i++)
		close(silent[i]);
	await_connections(world, 1);
	ctl_get_stats(world->ctl, &stats);
	assert_int_equal(stats.refused, ARRAY_SIZE(silent) - 64);
	good_close(&good);
}

/* ---- Descriptors that cannot be closed ---- */

/* A TCP socket whose last close waits for a peer that does not read: until that is closed. */
static void make_sticky(int *ret_fd, int *ret_peer)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 600};
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	static const char bytes[65536];

	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	*ret_peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(*ret_peer >= 0);
	close(listener);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	for (int failed = 0; failed < 50;) {
		struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};

		failed = send(fd, bytes, sizeof(bytes), MSG_DONTWAIT) < 0 ? failed + 1 : 0;
		if (failed > 0)
			(void)poll(&poll_fd, 1, 1);
	}
	*ret_fd = fd;
}

/* A server whose first clients have sent such sockets, when nobody else had them any more. */
static void serve_sticky(struct world *world, unsigned count, int *ret_peers)
{
	struct ctl_options options;
	struct message why;
	int client[8];

	world_stop(world);
	assert_int_equal(fs_pins_start(world->pool->fs), 0);
	world_options(world, &options);
	assert_int_equal(ctl_open(world->pool->fs, &options, &world->ctl, &why), 0);
	for (unsigned i = 0; i < count; i++) {
		int fd;

		make_sticky(&fd, &ret_peers[i]);
		client[i] = peer_dial(world);
		assert_int_equal(send_raw(client[i], "rubbish", 7, &fd, 1, 0), 0);
		close(fd);
	}
	assert_int_equal(ctl_start(world->ctl, &why), 0);
	for (unsigned i = 0; i < count; i++) {
		struct packet packet;

		assert_false(receive(client[i], &packet));
		close(client[i]);
	}
}

/* Others' are closed by other threads. */
static void test_stuck_close(void **state)
{
	struct world *world = *state;
	int sticky[3], fd, end;
	struct grant grant;
	struct good good;

	serve_sticky(world, ARRAY_SIZE(sticky), sticky);
	good_open(&good, world);
	end = witness(&fd);
	assert_int_equal(pin_file(&good.peer, fd, 0, 1, WIRE_PIN_READ, WIRE_WORD_NONE, &grant), -ENODEV);
	close(fd);
	await_closed(end);
	good_close(&good);
	for (unsigned i = 0; i < ARRAY_SIZE(sticky); i++)
		close(sticky[i]);
}

/* Too many of one user: its others wait, and when a thousand do, it is told to go. */
static void test_too_many_stuck(void **state)
{
	struct world *world = *state;
	int sticky[4], fd, end;
	struct packet packet;
	struct peer peer;
	unsigned asked = 0;

	serve_sticky(world, ARRAY_SIZE(sticky), sticky);
	peer_open(&peer, world);
	end = witness(&fd);
	do {
		struct wire_pin pin = {.length = 1, .word = WIRE_WORD_NONE};

		wire_header_set(&pin.header, WIRE_PIN, sizeof(pin), ++asked, 0);
		if (send_raw(peer.fd, &pin, sizeof(pin), &fd, 1, 0) != 0)
			break;
	} while (receive(peer.fd, &packet));
	close(fd);
	assert_true(asked > 1000);
	assert_int_equal(violations(world), ARRAY_SIZE(sticky) + 1);
	for (unsigned i = 0; i < ARRAY_SIZE(sticky); i++)
		close(sticky[i]);
	await_closed(end);
	peer_forget(&peer);
}

/* ---- Many ---- */

static void test_many_pins(void **state)
{
	const unsigned count = 10000, ahead = 64;
	struct world *world = *state;
	struct pool *pool = world->pool;
	uint64_t ino = file_make(pool, "file");
	uint64_t *id = test_calloc(count, sizeof(*id));
	struct grant grant;
	struct peer peer;
	unsigned asked = 0;
	int fd;

	file_fill(pool, ino, 0, 100 * BLOCK, 0x11);
	fd = stand_in(world, ino, O_RDONLY);
	peer_open(&peer, world);
	for (unsigned i = 0; i < count; i++) {
		struct packet packet;

		for (; asked < count && asked < i + ahead; asked++)
			(void)ask_pin(&peer, fd, asked % 100 * BLOCK, BLOCK, 0, WIRE_WORD_NONE);
		do {
			answer(&peer, &packet);
			if (header_of(&packet)->type == WIRE_PART)
				take_part(&peer, &packet);
		} while (header_of(&packet)->type != WIRE_PINNED);
		assert_int_equal(header_of(&packet)->error, 0);
		id[i] = ((struct wire_pinned *)packet.bytes)->pin;
	}
	assert_int_equal(peer.parts, 1);
	assert_int_equal(pins_of(pool->fs).pins, count);
	assert_int_equal(fs_pinned_bytes(pool->fs, ino), 100 * BLOCK);
	for (unsigned i = 0; i < count / 2; i++)
		assert_int_equal(unpin(&peer, id[i]), 0);
	assert_int_equal(pins_of(pool->fs).pins, count / 2);
	assert_int_equal(pin_file(&peer, fd, 0, 1, 0, WIRE_WORD_NONE, &grant), 0);
	peer_close(&peer);
	settle(pool->fs);
	assert_int_equal(pins_of(pool->fs).pins, 0);
	assert_int_equal(ledger_of(pool->fs).pins, 0);
	close(fd);
	test_free(id);
	file_remove(pool, "file", ino);
}

static void test_many_sessions(void **state)
{
	const unsigned count = 300;
	struct world *world = *state;
	struct peer *peers = test_calloc(count, sizeof(*peers));

	for (unsigned i = 0; i < count; i++) {
		peer_open(&peers[i], world);
		close(peers[i].page_fd);
		peers[i].page_fd = -1;
	}
	await_connections(world, count);
	assert_int_equal(pins_of(world->pool->fs).holders, count);
	for (unsigned i = 0; i < count; i++)
		peer_close(&peers[i]);
	await_connections(world, 0);
	test_free(peers);
}

/* Without a descriptor for them, clients are refused at once; the others are served. */
static void test_no_descriptors(void **state)
{
	struct world *world = *state;
	struct rlimit before, none;
	struct ctl_stats stats;
	struct packet packet;
	struct good good;
	struct peer peer;
	int fd;

	good_open(&good, world);
	good_works(&good);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	peer_init(&peer, world);
	{
		struct sockaddr_un address = {.sun_family = AF_UNIX};

		strcpy(address.sun_path, world->socket);
		assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	}
	do {
		sched_yield();
		ctl_get_stats(world->ctl, &stats);
	} while (stats.refused == 0);
	assert_int_equal(unpin(&good.peer, 4711), -ENOENT);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	/* Refused, or (there was not even one to refuse with) taken when there is room again. */
	peer.fd = fd;
	{
		struct wire_hello hello;

		hello_fill(&hello);
		if (send_raw(fd, &hello, sizeof(hello), NULL, 0, 0) == 0 && receive(fd, &packet)) {
			assert_int_equal(header_of(&packet)->type, WIRE_WELCOME);
			close(packet.fds[0]);
			close(packet.fds[1]);
		}
	}
	close(fd);
	await_connections(world, 1);
	peer_open(&peer, world);
	peer_close(&peer);
	good_close(&good);
}

#define WITH_WORLD(test) cmocka_unit_test_setup_teardown(test, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_WORLD(test_deaf),		WITH_WORLD(test_deaf_to_events), WITH_WORLD(test_silent),
		WITH_WORLD(test_stuck_close),	WITH_WORLD(test_too_many_stuck), WITH_WORLD(test_many_pins),
		WITH_WORLD(test_many_sessions), WITH_WORLD(test_no_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
