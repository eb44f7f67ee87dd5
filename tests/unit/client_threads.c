/*
 * Threads that share a session of libpinfs: answers out of order, cached pins that are taken away meanwhile, signals,
 * and a daemon that dies again and again. Nothing may be lost: no answer, no pin, no word.
 */
#include "client_world.h"

#include <inttypes.h>
#include <signal.h>

#define THREADS 6
#define ROUNDS 1500
#define RANGES 8

struct worker {
	struct world *world;
	pthread_t thread;
	uint64_t random;
	pthread_barrier_t *over; /* all have done their rounds; then: nobody will signal them any more */
	atomic_uint *failures;
	unsigned done;
};

static uint64_t pick(struct worker *worker, uint64_t below)
{
	worker->random ^= worker->random << 13;
	worker->random ^= worker->random >> 7;
	worker->random ^= worker->random << 17;
	return worker->random % below;
}

/* cmocka's asserts are for the main thread only. */
static bool expect(struct worker *worker, const char *what, int result, const int *errors)
{
	if (result == 0) {
		worker->done++;
		return true;
	}
	for (; *errors != 0; errors++) {
		if (*errors == result)
			return false;
	}
	fprintf(stderr, "%s: %s\n", what, strerror(-result));
	atomic_fetch_add(worker->failures, 1);
	return false;
}

#define EXPECT(worker, call, ...) expect(worker, #call, call, (const int[]){__VA_ARGS__, 0})

static void do_plain(struct worker *worker)
{
	struct world *world = worker->world;
	off_t offset = (off_t)pick(worker, 64 * BLOCK);
	size_t length = 1 + pick(worker, 20 * BLOCK);
	struct pinfs_pin *pin;

	if (!EXPECT(worker, pinfs_pin(world->fs, world->file, offset, length, PINFS_READ, &pin), -ENOTCONN, -EINTR))
		return;
	/* Each block of the part says which one it is: what is mapped is what was pinned. */
	for (size_t at = 0; at < length; at += 1000) {
		uint64_t block = ((uint64_t)offset + at) / BLOCK;
		const unsigned char *byte = (const unsigned char *)pinfs_addr(pin) + at;
		uint64_t place;
		uint32_t part;

		world->daemon.place(block, &part, &place);
		if (*byte != (unsigned char)(place * 2 + part)) {
			fprintf(stderr, "block %" PRIu64 " is not in its place\n", block);
			atomic_fetch_add(worker->failures, 1);
		}
	}
	EXPECT(worker, pinfs_unpin(pin), -ENOTCONN);
}

static void do_cached(struct worker *worker)
{
	struct world *world = worker->world;
	off_t offset = (off_t)pick(worker, RANGES) * BLOCK;
	struct pinfs_pin *pin;

	if (!EXPECT(worker, pinfs_pin(world->fs, world->file, offset, BLOCK, PINFS_WRITE | PINFS_CACHED, &pin),
		    -ENOTCONN, -EINTR))
		return;
	for (uint64_t i = pick(worker, 20); i > 0; i--) {
		if (EXPECT(worker, pinfs_repin(pin), -ESTALE))
			EXPECT(worker, pinfs_unpin(pin), 0);
	}
	EXPECT(worker, pinfs_commit(pin, 0, 0), -ENOTCONN, -ESTALE);
	EXPECT(worker, pinfs_unpin(pin), 0);
}

static void *work(void *arg)
{
	struct worker *worker = arg;
	struct pinfs_event event;

	for (int i = 0; i < ROUNDS; i++) {
		switch (pick(worker, 4)) {
		case 0:
			EXPECT(worker, pinfs_next_event(worker->world->fs, &event), -EAGAIN, -ENOTCONN);
			break;
		case 1:
			do_cached(worker);
			break;
		default:
			do_plain(worker);
			break;
		}
	}
	pthread_barrier_wait(worker->over);
	pthread_barrier_wait(worker->over);
	return NULL;
}

static uint64_t make_seed(void)
{
	const char *given = getenv("SEED");

	return given != NULL ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
}

static void prepare(struct world *world, unsigned hold_back)
{
	for (uint32_t part = 0; part < 2; part++) {
		for (uint64_t block = 0; block < FAKE_MAPPED / BLOCK; block++)
			memset(world->daemon.parts[part].map + block * BLOCK, (int)(block * 2 + part), BLOCK);
	}
	pthread_mutex_lock(&world->daemon.lock);
	world->daemon.place = place_scattered;
	world->daemon.extents_a_message = 2;
	world->daemon.hold_back = hold_back;
	pthread_mutex_unlock(&world->daemon.lock);
}

/* Only pins that are cached may be left. */
static void check_held(struct world *world)
{
	struct fake_session *session = &world->daemon.session[0];

	pthread_mutex_lock(&world->daemon.lock);
	for (size_t i = 0; i < session->count; i++) {
		assert_true(session->pins[i].request.flags & WIRE_PIN_CACHED);
		assert_int_equal(
			atomic_load(wire_word_at(session->words, session->pins[i].request.word)) & WIRE_WORD_COUNT, 0);
	}
	pthread_mutex_unlock(&world->daemon.lock);
}

struct disturber {
	struct world *world;
	struct worker *workers;
	atomic_bool stop;
	unsigned rounds;
};

static void *take_cached_away(void *arg)
{
	struct disturber *disturber = arg;
	struct fake *daemon = &disturber->world->daemon;
	struct fake_session *session = &daemon->session[0];

	for (size_t i = 0; !disturber->stop; i++) {
		struct fake_pin *pin;

		pthread_mutex_lock(&daemon->lock);
		pin = session->count > 0 ? &session->pins[i % session->count] : NULL;
		if (pin != NULL && !pin->parked && pin->request.word != WIRE_WORD_NONE &&
		    wire_word_revoke(wire_word_at(session->words, pin->request.word)))
			fake_remove(session, pin);
		disturber->rounds++;
		pthread_mutex_unlock(&daemon->lock);
		sched_yield();
	}
	return NULL;
}

static void on_signal(int number)
{
	(void)number;
}

static void *send_signals(void *arg)
{
	struct disturber *disturber = arg;
	const struct timespec pause = {.tv_nsec = 100000};

	while (!disturber->stop) {
		pthread_kill(disturber->workers[disturber->rounds++ % THREADS].thread, SIGUSR1);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

/* Dies when it has seen so many requests more. */
static void *die_often(void *arg)
{
	struct disturber *disturber = arg;
	struct fake *daemon = &disturber->world->daemon;

	while (!disturber->stop) {
		unsigned seen;

		pthread_mutex_lock(&daemon->lock);
		seen = daemon->asked + daemon->unpins + daemon->commits;
		while (daemon->asked + daemon->unpins + daemon->commits < seen + 200 && !disturber->stop)
			pthread_cond_wait(&daemon->changed, &daemon->lock);
		pthread_mutex_unlock(&daemon->lock);
		fake_kill(daemon, disturber->rounds % 3 == 2);
		fake_restart(daemon);
		disturber->rounds++;
	}
	return NULL;
}

static void run_workers(struct world *world, void *(*disturb)(void *arg), unsigned hold_back)
{
	struct worker workers[THREADS];
	struct disturber disturber = {.world = world, .workers = workers};
	uint64_t seed = make_seed();
	atomic_uint failures = 0;
	pthread_barrier_t over;
	pthread_t thread;
	unsigned done = 0;

	prepare(world, hold_back);
	assert_int_equal(pthread_barrier_init(&over, NULL, THREADS + 1), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){
			.world = world, .random = seed * 1000 + i + 1, .failures = &failures, .over = &over};
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	assert_int_equal(pthread_create(&thread, NULL, disturb, &disturber), 0);
	pthread_barrier_wait(&over);
	pthread_mutex_lock(&world->daemon.lock);
	disturber.stop = true;
	pthread_cond_broadcast(&world->daemon.changed);
	pthread_mutex_unlock(&world->daemon.lock);
	pthread_join(thread, NULL);
	pthread_barrier_wait(&over);
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		done += workers[i].done;
	}
	pthread_barrier_destroy(&over);
	if (atomic_load(&failures) != 0)
		fail_msg("%u failures with SEED=%" PRIu64, atomic_load(&failures), seed);
	assert_true(done > ROUNDS);
}

static void *do_nothing(void *arg)
{
	return arg;
}

static void test_out_of_order(void **state)
{
	run_workers(*state, do_nothing, THREADS / 2);
	check_held(*state);
}

static void test_taken_away(void **state)
{
	run_workers(*state, take_cached_away, 0);
	check_held(*state);
}

static void test_signals(void **state)
{
	struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGUSR1, &action, NULL);
	run_workers(*state, send_signals, 0);
	check_held(*state);
}

static void test_deaths(void **state)
{
	struct world *world = *state;
	struct pinfs_event event;
	int error;

	run_workers(world, die_often, 0);
	do
		error = pinfs_next_event(world->fs, &event);
	while (error == 0 || error == -ENOTCONN);
	assert_int_equal(error, -EAGAIN);
	pinfs_unpin(take(world, 0, BLOCK, PINFS_READ));
	check_held(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_out_of_order),
		TEST(test_taken_away),
		TEST(test_signals),
		TEST(test_deaths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
