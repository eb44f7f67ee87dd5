/* The socket server and clients that say what makes no sense: that ends their sessions, and nobody else's. */
#include "ctl_world.h"

#include <time.h>

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
	static const unsigned types[] = {WIRE_PIN,     WIRE_UNPIN, WIRE_COMMIT, WIRE_CANCEL, WIRE_BELL,	   WIRE_LIST,
					 WIRE_GOODBYE, WIRE_WORD,  WIRE_MAP,	WIRE_HELLO,  WIRE_WELCOME, WIRE_PINNED,
					 WIRE_EVENT,   0};
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

/* Gone before it is welcomed: the worker that greets it must not find the session freed (under ASan). */
static void test_gone_at_once(void **state)
{
	struct world *world = *state;
	struct wire_hello hello;
	struct good good;
	struct peer peer;

	good_open(&good, world);
	hello_fill(&hello);
	for (unsigned i = 0; i < 400; i++) {
		peer_init(&peer, world);
		peer.fd = peer_dial(world);
		assert_int_equal(send_raw(peer.fd, &hello, sizeof(hello), NULL, 0, 0), 0);
		/* At different points of the greeting. */
		for (unsigned yields = 0; yields < i % 8; yields++)
			(void)sched_yield();
		peer_forget(&peer);
	}
	good_works(&good);
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

/* Once it is answered a number is free. */
static void test_number_again(void **state)
{
	struct world *world = *state;
	struct good good;
	uint64_t number;

	good_open(&good, world);
	number = good.peer.next;
	for (unsigned i = 0; i < 1000; i++) {
		good.peer.next = number;
		good_works(&good);
	}
	assert_int_equal(violations(world), 0);
	good_close(&good);
}

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

static void babbles(const struct order *order)
{
	struct world world = order->world;
	int fd = order_open(order, 0, O_RDWR);

	srand(order->seed);
	for (unsigned round = 0; round < 500; round++)
		babble(&world, fd);
}

/* By a process of its own: now and then noise is a valid request for a pin, and that lasts as long as the process. */
static void test_noise(void **state)
{
	const char *given = getenv("SEED");
	struct world *world = *state;
	int ready, go, status;
	struct order order;
	struct good good;
	pid_t pid;

	good_open(&good, world);
	order_init(&order, world, babbles);
	order_file(&order, world, 0, good.ino);
	order.seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	print_message("# seed %u\n", order.seed);
	pid = order_start(&order, &ready, &go);
	while (waitpid(pid, &status, WNOHANG) == 0)
		good_works(&good);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	close(ready);
	close(go);
	await_connections(world, 1);
	await_unpinned(world, good.ino);
	good_close(&good);
}

#define WITH_WORLD(test) cmocka_unit_test_setup_teardown(test, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_WORLD(test_wrong_messages),  WITH_WORLD(test_gone_at_once),  WITH_WORLD(test_wrong_descriptors),
		WITH_WORLD(test_unknown_request), WITH_WORLD(test_number_in_use), WITH_WORLD(test_number_again),
		WITH_WORLD(test_noise),
	};

	starter_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
