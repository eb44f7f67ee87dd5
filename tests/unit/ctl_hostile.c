/* The socket server and clients that mean harm, or mean well and die: whoever sends rubbish hurts itself alone. */
#include "ctl_world.h"

#include <sys/resource.h>
#include <time.h>

struct good {
	struct peer peer;
	uint64_t ino;
	int fd;
};

static void good_open(struct good *good, struct world *world)
{
	good->ino = file_make(world->pool, "good");
	file_fill(world->pool, good->ino, 0, BLOCK, 0x11);
	good->fd = stand_in(world, good->ino, O_RDWR);
	peer_open(&good->peer, world);
}

/* It is served as ever. */
static void good_works(struct good *good)
{
	struct grant grant;

	assert_int_equal(pin_file(&good->peer, good->fd, 0, BLOCK, WIRE_PIN_WRITE, WIRE_WORD_NONE, &grant), 0);
	assert_int_equal(unpin(&good->peer, grant.pinned.pin), 0);
}

static void good_close(struct good *good)
{
	good_works(good);
	peer_close(&good->peer);
	close(good->fd);
	file_remove(good->peer.world->pool, "good", good->ino);
}

static uint64_t violations(struct world *world)
{
	struct ctl_stats stats;

	ctl_get_stats(world->ctl, &stats);
	return stats.violations;
}

static void await_connections(struct world *world, uint64_t count)
{
	struct ctl_stats stats;

	do {
		sched_yield();
		ctl_get_stats(world->ctl, &stats);
	} while (stats.connections != count);
}

/* A descriptor whose other end shows when all of it are closed. */
static int witness(int *ret_fd)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	*ret_fd = ends[1];
	return ends[0];
}

static void await_closed(int end)
{
	struct pollfd poll_fd = {.fd = end, .events = POLLIN};

	assert_int_equal(poll(&poll_fd, 1, ANSWER_SECONDS * 1000), 1);
	assert_true((poll_fd.revents & POLLHUP) != 0);
	close(end);
}

/* ---- One message that ends the session, in one that is new or one that is open ---- */

static void ends_session(struct world *world, bool open, const void *bytes, size_t size, unsigned fd_count)
{
	uint64_t before = violations(world);
	struct packet packet;
	struct peer peer;
	int fds[128];
	int fd, end;

	if (open) {
		peer_open(&peer, world);
	} else {
		peer_init(&peer, world);
		peer.fd = peer_dial(world);
	}
	end = witness(&fd);
	for (unsigned i = 0; i < fd_count; i++)
		fds[i] = fd;
	assert_int_equal(send_raw(peer.fd, bytes, size, fds, fd_count, 0), 0);
	close(fd);
	assert_false(receive(peer.fd, &packet));
	await_closed(end);
	assert_true(size == 0 || violations(world) == before + 1);
	peer_forget(&peer);
}

static void test_wrong_messages(void **state)
{
	static const unsigned types[] = {
		WIRE_PIN,  WIRE_UNPIN, WIRE_COMMIT,  WIRE_CANCEL, WIRE_BELL,  WIRE_LIST, WIRE_GOODBYE,
		WIRE_WORD, WIRE_HELLO, WIRE_WELCOME, WIRE_PINNED, WIRE_EVENT, 0};
	static unsigned char bytes[WIRE_MESSAGE_MAX * 2];
	struct wire_header *header = (struct wire_header *)bytes;
	struct world *world = *state;
	struct good good;

	good_open(&good, world);
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		/* Not the first thing to say. */
		wire_header_set(header, types[i], 256, 1, 0);
		if (types[i] != WIRE_HELLO)
			ends_session(world, false, bytes, 256, types[i] == WIRE_PIN);
		/* Too short, cut, longer than it says, of another kind. */
		wire_header_set(header, types[i], sizeof(*header) - 1, 1, 0);
		ends_session(world, true, bytes, sizeof(*header) - 1, 0);
		wire_header_set(header, types[i], 64, 1, 0);
		ends_session(world, true, bytes, 63, 0);
		ends_session(world, true, bytes, 65, 0);
		ends_session(world, true, bytes, 1, 0);
		header->magic ^= 1;
		ends_session(world, true, bytes, 64, 0);
		good_works(&good);
	}
	wire_header_set(header, WIRE_PIN, sizeof(*header), 1, 0);
	ends_session(world, true, bytes, sizeof(*header), 1);
	/* More than any message. */
	wire_header_set(header, WIRE_LIST, sizeof(bytes), 1, 0);
	ends_session(world, true, bytes, sizeof(bytes), 0);
	wire_header_set(header, WIRE_LIST, WIRE_MESSAGE_MAX + 1, 1, 0);
	ends_session(world, true, bytes, WIRE_MESSAGE_MAX + 1, 0);
	ends_session(world, true, bytes, 0, 0);
	ends_session(world, false, bytes, 0, 3);
	good_close(&good);
}

static void test_wrong_descriptors(void **state)
{
	static unsigned char bytes[256];
	struct wire_header *header = (struct wire_header *)bytes;
	struct world *world = *state;
	struct good good;

	good_open(&good, world);
	wire_header_set(header, WIRE_PIN, 256, 1, 0);
	ends_session(world, true, bytes, 256, 0);
	ends_session(world, true, bytes, 256, 2);
	ends_session(world, true, bytes, 256, 100);
	wire_header_set(header, WIRE_UNPIN, 256, 1, 0);
	ends_session(world, true, bytes, 256, 1);
	wire_header_set(header, WIRE_LIST, 256, 1, 0);
	ends_session(world, true, bytes, 256, 2);
	wire_header_set(header, 40, 256, 1, 0);
	ends_session(world, true, bytes, 256, WIRE_FDS_MAX + 1);
	wire_header_set(header, WIRE_HELLO, 256, 1, 0);
	ends_session(world, false, bytes, 256, 2);
	ends_session(world, true, bytes, 256, 0);
	good_close(&good);
}

/* Of a later version: an answer, and its descriptors are closed. */
static void test_unknown_request(void **state)
{
	struct world *world = *state;
	struct wire_cancel message = {.target = 1};
	struct peer peer;
	uint64_t number;
	int fd, end;

	peer_open(&peer, world);
	end = witness(&fd);
	number = ask(&peer, 40, &message, sizeof(message), fd);
	close(fd);
	assert_int_equal(done(&peer, number), -EOPNOTSUPP);
	await_closed(end);
	/* Bytes behind the fields are for later versions, too. */
	assert_int_equal(done(&peer, ask(&peer, WIRE_CANCEL, &(unsigned char[512]){0}, 512, -1)), 0);
	peer_close(&peer);
}

/* Each number is one request. */
static void test_number_in_use(void **state)
{
	struct world *world = *state;
	struct wire_pin pin = {.length = 1, .word = WIRE_WORD_NONE};
	struct break_op op;
	struct packet packet;
	struct good good;
	struct grant grant;
	struct peer peer;

	set_policy(world->pool->fs, PIN_FOREVER, true, 0);
	good_open(&good, world);
	assert_int_equal(pin_file(&good.peer, good.fd, 0, 1, 0, WIRE_WORD_NONE, &grant), 0);
	assert_int_equal(break_begin(&op, world->pool->fs, good.ino, 0, 1), -EINPROGRESS);
	peer_open(&peer, world);
	wire_header_set(&pin.header, WIRE_PIN, sizeof(pin), 5, 0);
	assert_int_equal(send_raw(peer.fd, &pin, sizeof(pin), &good.fd, 1, 0), 0);
	while (pins_of(world->pool->fs).waiting < 2)
		sched_yield();
	assert_int_equal(send_raw(peer.fd, &pin, sizeof(pin), &good.fd, 1, 0), 0);
	assert_false(receive(peer.fd, &packet));
	assert_int_equal(violations(world), 1);
	while (pins_of(world->pool->fs).waiting > 1)
		sched_yield();
	assert_int_equal(unpin(&good.peer, grant.pinned.pin), 0);
	event_await(&op.woken, 1);
	assert_int_equal(break_look(&op), 0);
	break_end(&op);
	peer_forget(&peer);
	good_close(&good);
}

/* ---- Noise ---- */

static size_t make_noise(unsigned char *bytes, size_t room)
{
	static const size_t sizes[] = {sizeof(struct wire_header), sizeof(struct wire_cancel),
				       sizeof(struct wire_range), sizeof(struct wire_hello)};
	size_t size = rand() % 4 == 0 ? (size_t)rand() % room : sizes[(size_t)rand() % ARRAY_SIZE(sizes)];

	for (size_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)(rand() % 3 == 0 ? rand() : 0);
	if (size >= sizeof(struct wire_header) && rand() % 8 != 0)
		wire_header_set((struct wire_header *)bytes, (unsigned)(1 + rand() % 10), size,
				(unsigned)rand() % 4 == 0 ? 1 : (unsigned)rand(), 0);
	return size;
}

/* Until the daemon ends it, or enough is said. Goodbye, or just gone. */
static void babble(struct world *world, int fd)
{
	_Alignas(8) unsigned char bytes[1024];
	struct packet packet;
	struct peer peer;

	if (rand() % 4 == 0) {
		peer_init(&peer, world);
		peer.fd = peer_dial(world);
	} else {
		peer_open(&peer, world);
	}
	for (unsigned i = 0; i < 20; i++) {
		const int fds[3] = {fd, peer.fd, fd};
		size_t size = make_noise(bytes, sizeof(bytes));
		unsigned type = ((struct wire_header *)bytes)->type;
		unsigned count = rand() % 4 == 0 ? (unsigned)rand() % 4 : type == WIRE_PIN;

		if (send_raw(peer.fd, bytes, size, fds, count, MSG_DONTWAIT) != 0)
			break;
		while (rand() % 2 == 0 && recv(peer.fd, packet.bytes, sizeof(packet.bytes), MSG_DONTWAIT) > 0)
			;
	}
	peer_forget(&peer);
}

static void test_noise(void **state)
{
	const char *given = getenv("SEED");
	unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	struct world *world = *state;
	struct good good;

	print_message("# seed %u\n", seed);
	srand(seed);
	good_open(&good, world);
	for (unsigned round = 0; round < 500; round++) {
		babble(world, good.fd);
		if (round % 16 == 0)
			good_works(&good);
	}
	await_connections(world, 1);
	good_close(&good);
}

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
		WITH_WORLD(test_wrong_messages),  WITH_WORLD(test_wrong_descriptors),
		WITH_WORLD(test_unknown_request), WITH_WORLD(test_number_in_use),
		WITH_WORLD(test_noise),		  WITH_WORLD(test_deaf),
		WITH_WORLD(test_deaf_to_events),  WITH_WORLD(test_silent),
		WITH_WORLD(test_many_pins),	  WITH_WORLD(test_many_sessions),
		WITH_WORLD(test_no_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
