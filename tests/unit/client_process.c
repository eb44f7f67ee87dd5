/* libpinfs against a daemon of the test's own: fork, signals, a request under way when the daemon dies. */
#include "client_world.h"

#include <signal.h>
#include <sys/wait.h>

#define CHECK(condition)                                                                                               \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			fprintf(stderr, "child: line %d: %s\n", __LINE__, #condition);                                 \
			_exit(1);                                                                                      \
		}                                                                                                      \
	} while (0)

struct inherited {
	struct pinfs_pin *pin, *scattered, *cached;
	void *memory[4];
};

static void in_child(struct world *world, const struct inherited *parent)
{
	const struct pinfs_extent *extents;
	struct pinfs_event event;
	struct pinfs_pin *pin;
	struct pinfs *fs;
	size_t count;

	for (int i = 0; i < 4; i++)
		CHECK(!is_mapped(parent->memory[i]));
	CHECK(pinfs_addr(parent->pin) == NULL && pinfs_addr(parent->cached) == NULL);
	CHECK(pinfs_length(parent->pin) == BLOCK);
	CHECK(pinfs_extents(parent->pin, &extents, &count) == -EPERM);
	CHECK(pinfs_persist(parent->pin, 0, 0) == -EPERM);
	CHECK(pinfs_commit(parent->pin, 0, 0) == -EPERM);
	CHECK(pinfs_unpin(parent->pin) == -EPERM && pinfs_unpin(parent->cached) == -EPERM);
	CHECK(pinfs_repin(parent->cached) == -EPERM && pinfs_forget(parent->cached) == -EPERM);
	CHECK(pinfs_pin(world->fs, world->file, 0, BLOCK, PINFS_READ, &pin) == -EPERM);
	CHECK(pinfs_event_fd(world->fs) == -EPERM);
	CHECK(pinfs_next_event(world->fs, &event) == -EPERM);
	/* A session of its own, where the parent's was. */
	CHECK(pinfs_connect("/tmp", &fs) == 0);
	CHECK(pinfs_pin(fs, world->file, 0, BLOCK, PINFS_WRITE, &pin) == 0);
	memset(pinfs_addr(pin), 'c', BLOCK);
	pinfs_disconnect(world->fs);
	CHECK(*(char *)pinfs_addr(pin) == 'c');
	CHECK(pinfs_unpin(pin) == 0);
	pinfs_disconnect(fs);
	_exit(0);
}

static void run_child(void (*run)(struct world *world, const struct inherited *parent), struct world *world,
		      const struct inherited *parent)
{
	pid_t child;
	int status;

	fflush(NULL);
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		run(world, parent);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_fork(void **state)
{
	struct world *world = *state;
	struct inherited mine = {.pin = take(world, 0, BLOCK, PINFS_WRITE)};
	const struct pinfs_extent *extents;
	struct pinfs_event event;
	size_t count;

	mine.cached = take(world, 0, BLOCK, PINFS_WRITE | PINFS_CACHED);
	world->daemon.place = place_scattered;
	mine.scattered = take(world, 0, 3 * BLOCK, PINFS_WRITE);
	mine.memory[0] = pinfs_addr(mine.pin);
	mine.memory[1] = pinfs_addr(mine.scattered);
	assert_int_equal(pinfs_extents(mine.scattered, &extents, &count), 0);
	mine.memory[2] = extents[2].addr;
	world->daemon.place = place_nowhere;
	mine.memory[3] = pinfs_addr(take(world, 0, BLOCK, PINFS_READ));
	world->daemon.place = place_in_one;
	run_child(in_child, world, &mine);
	FAKE_AWAIT(&world->daemon, world->daemon.goodbyes == 1);
	/* The parent's is as it was. */
	assert_int_equal(pinfs_next_event(world->fs, &event), -EAGAIN);
	assert_int_equal(world->daemon.hellos, 2);
	assert_int_equal(pinfs_unpin(mine.cached), 0);
	assert_int_equal(pinfs_repin(mine.cached), 0);
	assert_int_equal(pinfs_commit(mine.pin, 0, 0), 0);
	assert_int_equal(pinfs_unpin(mine.pin), 0);
	assert_int_equal(pinfs_unpin(mine.scattered), 0);
}

/* The daemon's end is noticed though a child has the descriptors still. */
static void test_fork_and_death(void **state)
{
	struct world *world = *state;
	struct pinfs_event event;
	int hold[2];
	pid_t child;

	assert_int_equal(pipe(hold), 0);
	fflush(NULL);
	child = fork();
	if (child == 0) {
		char end;

		close(hold[1]);
		_exit(read(hold[0], &end, 1) == 0 ? 0 : 1);
	}
	close(hold[0]);
	fake_kill(&world->daemon, false);
	fake_restart(&world->daemon);
	assert_true(is_readable(pinfs_event_fd(world->fs), -1));
	assert_int_equal(pinfs_next_event(world->fs, &event), -EAGAIN);
	assert_false(is_readable(pinfs_event_fd(world->fs), 0));
	close(hold[1]);
	assert_int_equal(waitpid(child, NULL, 0), child);
}

static atomic_int signals;

static void on_signal(int number)
{
	(void)number;
	signals++;
}

struct sleeper {
	struct world *world;
	pthread_t thread;
	int result;
	struct pinfs_pin *pin;
};

static void *sleep_in_pin(void *arg)
{
	struct sleeper *sleeper = arg;

	sleeper->result = pinfs_pin(sleeper->world->fs, sleeper->world->file, 0, BLOCK, PINFS_READ, &sleeper->pin);
	return NULL;
}

static void start_sleeper(struct sleeper *sleeper, struct world *world)
{
	unsigned asked = world->daemon.asked;

	*sleeper = (struct sleeper){.world = world, .result = 1};
	assert_int_equal(pthread_create(&sleeper->thread, NULL, sleep_in_pin, sleeper), 0);
	FAKE_AWAIT(&world->daemon, world->daemon.asked == asked + 1);
}

/* Signals until the thread has ended: one that comes before it waits in the kernel is lost, as with any system call. */
static void signal_until_ended(struct sleeper *sleeper)
{
	const struct timespec pause = {.tv_nsec = 1000000};

	while (pthread_tryjoin_np(sleeper->thread, NULL) != 0) {
		pthread_kill(sleeper->thread, SIGUSR1);
		nanosleep(&pause, NULL);
	}
}

static void test_interrupt(void **state)
{
	struct sigaction action = {.sa_handler = on_signal};
	struct world *world = *state;
	struct sleeper leader, follower;

	sigaction(SIGUSR1, &action, NULL);
	world->daemon.park = true;
	start_sleeper(&leader, world);
	start_sleeper(&follower, world);
	signal_until_ended(&follower);
	assert_int_equal(follower.result, -EINTR);
	assert_int_equal(leader.result, 1);
	assert_int_equal(world->daemon.cancels, 1);
	start_sleeper(&follower, world);
	signal_until_ended(&leader);
	assert_int_equal(leader.result, -EINTR);
	/* The other one leads now. */
	fake_answer_parked(&world->daemon);
	assert_int_equal(pthread_join(follower.thread, NULL), 0);
	assert_int_equal(follower.result, 0);
	assert_int_equal(pinfs_unpin(follower.pin), 0);
	assert_int_equal(fake_held(&world->daemon), 0);
	/* With SA_RESTART the wait goes on. */
	action.sa_flags = SA_RESTART;
	sigaction(SIGUSR1, &action, NULL);
	world->daemon.park = true;
	start_sleeper(&leader, world);
	start_sleeper(&follower, world);
	signals = 0;
	for (int i = 0; i < 50; i++) {
		pthread_kill(leader.thread, SIGUSR1);
		pthread_kill(follower.thread, SIGUSR1);
		while (signals < 2 * i + 2)
			sched_yield();
	}
	assert_int_equal(world->daemon.cancels, 2);
	fake_answer_parked(&world->daemon);
	pthread_join(leader.thread, NULL);
	pthread_join(follower.thread, NULL);
	assert_int_equal(leader.result, 0);
	assert_int_equal(follower.result, 0);
}

/* Who sleeps is woken by its own answer, however long the one waits that reads for all. */
static void test_answered_first(void **state)
{
	struct world *world = *state;
	struct sleeper leader, follower;

	world->daemon.park = true;
	start_sleeper(&leader, world);
	pthread_mutex_lock(&world->daemon.lock);
	world->daemon.park = false;
	pthread_mutex_unlock(&world->daemon.lock);
	for (int i = 0; i < 100; i++) {
		start_sleeper(&follower, world);
		assert_int_equal(pthread_join(follower.thread, NULL), 0);
		assert_int_equal(follower.result, 0);
		assert_int_equal(pinfs_unpin(follower.pin), 0);
	}
	fake_answer_parked(&world->daemon);
	pthread_join(leader.thread, NULL);
	assert_int_equal(leader.result, 0);
}

/* It was granted before the daemon heard of the signal. */
static void test_interrupt_too_late(void **state)
{
	struct sigaction action = {.sa_handler = on_signal};
	struct world *world = *state;
	struct sleeper sleeper;

	sigaction(SIGUSR1, &action, NULL);
	world->daemon.park = true;
	world->daemon.deaf = true;
	start_sleeper(&sleeper, world);
	while (world->daemon.cancels == 0) {
		pthread_kill(sleeper.thread, SIGUSR1);
		sched_yield();
	}
	/* It asks once. */
	signals = 0;
	while (signals < 50) {
		pthread_kill(sleeper.thread, SIGUSR1);
		sched_yield();
	}
	fake_answer_parked(&world->daemon);
	pthread_join(sleeper.thread, NULL);
	assert_int_equal(sleeper.result, 0);
	assert_int_equal(world->daemon.cancels, 1);
	assert_int_equal(pinfs_unpin(sleeper.pin), 0);
}

/* A request that waits when the daemon dies is made again. */
static void test_asked_again(void **state)
{
	struct world *world = *state;
	struct sleeper sleeper;

	world->daemon.park = true;
	start_sleeper(&sleeper, world);
	fake_kill(&world->daemon, false);
	world->daemon.park = false;
	fake_xattr = world->daemon.path;
	fake_restart(&world->daemon);
	pthread_join(sleeper.thread, NULL);
	/* It may have looked for the daemon before that was back. */
	assert_true(sleeper.result == 0 || sleeper.result == -ENOTCONN);
	assert_int_equal(fake_held(&world->daemon), sleeper.result == 0 ? 1 : 0);
	assert_int_equal(pinfs_unpin(take(world, 0, BLOCK, PINFS_READ)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_fork),	   TEST(test_fork_and_death),	  TEST(test_interrupt),
		TEST(test_answered_first), TEST(test_interrupt_too_late), TEST(test_asked_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
