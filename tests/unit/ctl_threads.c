/*
 * The socket server under load: clients in threads pin, commit, cancel, unpin, leave without a word and come back,
 * while breaks go on. Nothing may be left in the end, and every request is answered.
 */
#include "ctl_world.h"

#define CLIENTS 4u
#define FILES 3u
#define BLOCKS 8u
#define ASKED_MAX 8u

struct load {
	struct world *world;
	uint64_t ino[FILES];
	int fd[FILES];
	atomic_bool stop;
	atomic_uint grants, refusals, breaks;
	unsigned rounds;
};

struct worker {
	struct load *load;
	unsigned seed;
	pthread_t thread;
};

static unsigned pick(struct worker *worker, unsigned most)
{
	return (unsigned)rand_r(&worker->seed) % most;
}

/* Several at once, some cancelled; the answers come in any order. Returns the pins. */
static unsigned pin_some(struct worker *worker, struct peer *peer, uint64_t *pins)
{
	struct load *load = worker->load;
	unsigned asked = 1 + pick(worker, ASKED_MAX), answers = asked, count = 0;
	uint64_t first = peer->next;

	for (unsigned i = 0; i < asked; i++) {
		unsigned file = pick(worker, FILES);
		uint64_t block = pick(worker, BLOCKS - 2);
		uint32_t flags = pick(worker, 2) == 0 ? WIRE_PIN_READ : WIRE_PIN_WRITE;

		if (pick(worker, 8) == 0)
			flags = WIRE_PIN_WRITE | WIRE_PIN_EXCLUSIVE;
		if (pick(worker, 4) == 0)
			flags |= WIRE_PIN_NONBLOCK;
		(void)ask_pin(peer, load->fd[file], block * BLOCK, 1 + pick(worker, 2 * BLOCK), flags, WIRE_WORD_NONE);
	}
	if (pick(worker, 4) == 0) {
		struct wire_cancel cancel = {.target = first + pick(worker, asked)};

		(void)ask(peer, WIRE_CANCEL, &cancel, sizeof(cancel), -1);
		answers++;
	}
	while (answers > 0) {
		struct packet packet;

		answer(peer, &packet);
		if (header_of(&packet)->type == WIRE_PART) {
			take_part(peer, &packet);
		} else if (header_of(&packet)->type == WIRE_PINNED && header_of(&packet)->error == 0) {
			pins[count++] = ((struct wire_pinned *)packet.bytes)->pin;
			atomic_fetch_add(&load->grants, 1);
			answers--;
		} else if (header_of(&packet)->type != WIRE_EXTENTS) {
			if (header_of(&packet)->type == WIRE_PINNED)
				atomic_fetch_add(&load->refusals, 1);
			answers--;
		}
	}
	return count;
}

static void use_and_drop(struct worker *worker, struct peer *peer, uint64_t *pins, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		/* Detached, or a read pin: its error is no concern here. */
		if (pick(worker, 4) == 0)
			(void)done(peer, ask_range(peer, WIRE_COMMIT, pins[i], 0, 0));
		assert_int_equal(unpin(peer, pins[i]), 0);
	}
}

static void drain_events(struct peer *peer)
{
	struct packet packet;

	while (recv(peer->events, packet.bytes, sizeof(packet.bytes), MSG_DONTWAIT) > 0)
		;
}

/* Away with what it has, and back: it is all there. */
static void leave_and_return(struct peer *peer, const uint64_t *pins, unsigned count)
{
	struct grant grant;
	struct peer back;

	assert_int_equal(peer_reopen(&back, peer, peer->page_fd), 0);
	assert_int_equal(back.welcome.pins, count);
	for (unsigned i = 0; i < count; i++) {
		unsigned known = 0;

		assert_int_equal(pinned(&back, 0, &grant), 0);
		for (unsigned j = 0; j < count; j++)
			known += pins[j] == grant.pinned.pin;
		assert_int_equal(known, 1);
	}
	peer_forget(peer);
	*peer = back;
}

static void *client(void *arg)
{
	struct worker *worker = arg;
	struct load *load = worker->load;
	uint64_t pins[ASKED_MAX];
	struct peer peer;

	peer_open(&peer, load->world);
	for (unsigned round = 0; round < load->rounds; round++) {
		unsigned count = pin_some(worker, &peer, pins);

		if (pick(worker, 8) == 0)
			leave_and_return(&peer, pins, count);
		/* The end of the session is as good as unpinning. */
		if (pick(worker, 8) == 0) {
			peer_close(&peer);
			peer_open(&peer, load->world);
		} else {
			use_and_drop(worker, &peer, pins, count);
		}
		drain_events(&peer);
	}
	peer_close(&peer);
	return NULL;
}

/* Breaks, each to its end: nobody is waited for in vain. */
static void *breaker(void *arg)
{
	struct worker *worker = arg;
	struct load *load = worker->load;

	while (!atomic_load(&load->stop)) {
		unsigned file = pick(worker, FILES), woken = 0;
		uint64_t first = pick(worker, BLOCKS);
		struct break_op op;
		int error = break_begin(&op, load->world->pool->fs, load->ino[file], first, first + 1);

		while (error == -EINPROGRESS) {
			event_await(&op.woken, ++woken);
			error = break_look(&op);
		}
		assert_int_equal(error, 0);
		break_end(&op);
		atomic_fetch_add(&load->breaks, 1);
	}
	return NULL;
}

static void *lister(void *arg)
{
	struct worker *worker = arg;
	struct wire_list message;
	struct peer peer;

	peer_open(&peer, worker->load->world);
	while (!atomic_load(&worker->load->stop)) {
		struct packet packet;

		(void)ask(&peer, WIRE_LIST, &message, sizeof(message), -1);
		do
			answer(&peer, &packet);
		while (header_of(&packet)->type == WIRE_LISTED);
	}
	peer_close(&peer);
	return NULL;
}

static void files_make(struct load *load)
{
	struct pool *pool = load->world->pool;

	for (unsigned i = 0; i < FILES; i++) {
		char name[8];

		(void)snprintf(name, sizeof(name), "f%u", i);
		load->ino[i] = file_make(pool, name);
		file_fill(pool, load->ino[i], 0, BLOCKS * BLOCK, (unsigned char)i);
		load->fd[i] = stand_in(load->world, load->ino[i], O_RDWR);
	}
}

static void files_remove(struct load *load)
{
	for (unsigned i = 0; i < FILES; i++) {
		char name[8];

		(void)snprintf(name, sizeof(name), "f%u", i);
		close(load->fd[i]);
		file_remove(load->world->pool, name, load->ino[i]);
	}
}

static void test_load(void **state)
{
	static void *(*const roles[])(void *arg) = {client, client, client, client, breaker, lister};
	const char *given = getenv("ROUNDS");
	struct world *world = *state;
	struct load load = {.world = world, .rounds = given != NULL ? (unsigned)strtoul(given, NULL, 10) : 300};
	struct worker workers[ARRAY_SIZE(roles)];
	unsigned seed = (unsigned)fs_monotonic();
	struct pin_stats stats;

	print_message("# seed %u\n", seed);
	set_policy(world->pool->fs, 2 * FS_NS_PER_MS, true, 0);
	files_make(&load);
	for (unsigned i = 0; i < ARRAY_SIZE(roles); i++) {
		workers[i] = (struct worker){.load = &load, .seed = seed + i};
		assert_int_equal(pthread_create(&workers[i].thread, NULL, roles[i], &workers[i]), 0);
	}
	for (unsigned i = 0; i < CLIENTS; i++)
		pthread_join(workers[i].thread, NULL);
	atomic_store(&load.stop, true);
	for (unsigned i = CLIENTS; i < ARRAY_SIZE(roles); i++)
		pthread_join(workers[i].thread, NULL);
	print_message("# %u grants, %u refusals, %u breaks\n", load.grants, load.refusals, load.breaks);
	settle(world->pool->fs);
	stats = pins_of(world->pool->fs);
	assert_int_equal(stats.pins, 0);
	assert_int_equal(stats.waiting, 0);
	assert_int_equal(stats.canaries, 0);
	files_remove(&load);
}

/* ---- The server ends while clients are busy ---- */

/* A process of its own, which pins until the session ends under it. */
static void until_the_end(const struct order *order)
{
	struct world world = order->world;
	struct packet packet;
	struct peer peer;
	int fd[FILES];

	for (unsigned i = 0; i < FILES; i++)
		fd[i] = order_open(order, i, O_RDWR);
	peer_open(&peer, &world);
	for (unsigned asked = 1;; asked++) {
		struct wire_pin pin = {.length = 1, .flags = WIRE_PIN_WRITE, .word = WIRE_WORD_NONE};

		wire_header_set(&pin.header, WIRE_PIN, sizeof(pin), asked, 0);
		if (send_raw(peer.fd, &pin, sizeof(pin), &fd[asked % FILES], 1, 0) != 0)
			break;
		if (!receive(peer.fd, &packet))
			break;
		for (unsigned i = 0; i < packet.fd_count; i++)
			close(packet.fds[i]);
	}
}

static void test_stop(void **state)
{
	struct world *world = *state;
	struct load load = {.world = world};
	int ready[CLIENTS], go[CLIENTS];
	pid_t pid[CLIENTS];
	struct order order;

	files_make(&load);
	order_init(&order, world, until_the_end);
	for (unsigned i = 0; i < FILES; i++)
		order_file(&order, world, i, load.ino[i]);
	for (unsigned i = 0; i < CLIENTS; i++)
		pid[i] = order_start(&order, &ready[i], &go[i]);
	while (pins_of(world->pool->fs).grants < 500)
		sched_yield();
	ctl_stop(world->ctl);
	for (unsigned i = 0; i < CLIENTS; i++) {
		int status;

		assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
		close(ready[i]);
		close(go[i]);
	}
	/* Their processes are dead: so are their pins, without a server. */
	for (unsigned i = 0; i < FILES; i++)
		await_unpinned(world, load.ino[i]);
	while (pins_of(world->pool->fs).holders > 0)
		sched_yield();
	files_remove(&load);
}

#define WITH_WORLD(test) cmocka_unit_test_setup_teardown(test, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_WORLD(test_load),
		WITH_WORLD(test_stop),
	};

	starter_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
