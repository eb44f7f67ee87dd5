/*
 * What a pin costs. pins_calls MOUNTPOINT STEP...
 *
 *   cached  pinfs_repin() and pinfs_unpin() of a cached pin; the same while another thread breaks that range a thousand
 *           times a second (step `revoked`)
 *   first   pinfs_pin() of 4 KiB, 2 MiB and 64 MiB that nobody holds, and its pinfs_unpin(); steps of the system
 * `socket` are bare round trips over a socket of the same kind, to a process that waits in poll(2), in turns with them
 *
 * Round trips are medians of single calls. Exit status 0, 1 (failed), 2 (wrong use).
 */
#include "pins.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define LAP 1000u
#define TURNS 20u
#define TURN 25u
#define MESSAGE 48u

/* ---- Cached pins ---- */

static void cached_laps(struct pinfs *fs, int fd, struct step *step)
{
	struct pinfs_pin *pin = NULL;

	do {
		for (unsigned i = 0; i < LAP; i++) {
			if (pin != NULL && pinfs_repin(pin) == 0) {
				pins_check(pinfs_unpin(pin), "pinfs_unpin");
				continue;
			}
			if (pin != NULL)
				pins_check(pinfs_forget(pin), "pinfs_forget");
			pins_check(pinfs_pin(fs, fd, 0, 4096, PINFS_READ | PINFS_CACHED, &pin), "pinfs_pin");
			pins_check(pinfs_unpin(pin), "pinfs_unpin");
		}
		step_lap(step, LAP);
	} while (step_goes_on(step));
	pins_check(pinfs_forget(pin), "pinfs_forget");
}

struct breaker {
	int fd;
	atomic_bool stop;
};

/* Each punch revokes the pin, if it is idle. */
static void *break_all(void *arg)
{
	struct breaker *breaker = arg;
	struct timespec next;

	clock_gettime(CLOCK_MONOTONIC, &next);
	while (!atomic_load(&breaker->stop)) {
		if (fallocate(breaker->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) != 0)
			err(1, "fallocate");
		next.tv_nsec += 1000000;
		if (next.tv_nsec >= 1000000000) {
			next.tv_nsec -= 1000000000;
			next.tv_sec++;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
	}
	return NULL;
}

static void cached(struct pinfs *fs, const char *mount)
{
	int fd = pins_file(mount, "cached", 4096);
	struct breaker breaker = {.fd = fd};
	pthread_t thread;
	static struct step step;

	step_begin(&step, "cached");
	cached_laps(fs, fd, &step);
	step_end(&step, 0);
	if (pthread_create(&thread, NULL, break_all, &breaker) != 0)
		errx(1, "no thread");
	step_begin(&step, "revoked");
	cached_laps(fs, fd, &step);
	step_end(&step, 0);
	atomic_store(&breaker.stop, true);
	pthread_join(thread, NULL);
	pins_remove(mount, "cached", fd);
}

/* ---- Round trips ---- */

struct echo {
	int fd;
	pid_t child;
};

static struct echo echo_start(void)
{
	char message[MESSAGE];
	struct echo echo;
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0 || (echo.child = fork()) < 0)
		err(1, "socketpair");
	if (echo.child == 0) {
		struct pollfd poll_fd = {.fd = fds[1], .events = POLLIN};

		close(fds[0]);
		while (poll(&poll_fd, 1, -1) == 1 && recv(fds[1], message, sizeof(message), 0) > 0)
			(void)send(fds[1], message, sizeof(message), MSG_NOSIGNAL);
		_exit(0);
	}
	close(fds[1]);
	echo.fd = fds[0];
	return echo;
}

static double echo_call(const struct echo *echo)
{
	char message[MESSAGE] = {0};
	double start = timing_now();

	if (send(echo->fd, message, sizeof(message), 0) < 0 || recv(echo->fd, message, sizeof(message), 0) < 0)
		err(1, "socket");
	return timing_now() - start;
}

struct calls {
	double pin[TURNS * TURN], unpin[TURNS * TURN], socket[TURNS * TURN];
};

static void pin_once(struct pinfs *fs, int fd, size_t length, double *ret_pin, double *ret_unpin)
{
	struct pinfs_pin *pin;
	double start = timing_now(), middle;

	pins_check(pinfs_pin(fs, fd, 0, length, PINFS_READ, &pin), "pinfs_pin");
	middle = timing_now();
	pins_check(pinfs_unpin(pin), "pinfs_unpin");
	*ret_unpin = timing_now() - middle;
	*ret_pin = middle - start;
}

static void first_of(struct pinfs *fs, int fd, const struct echo *echo, size_t length, const char *size)
{
	static struct calls calls;
	char name[32];

	for (unsigned at = 0; at < TURNS * TURN; at += TURN) {
		for (unsigned i = at; i < at + TURN; i++)
			calls.socket[i] = echo_call(echo);
		for (unsigned i = at; i < at + TURN; i++)
			pin_once(fs, fd, length, &calls.pin[i], &calls.unpin[i]);
	}
	snprintf(name, sizeof(name), "pin-%s", size);
	step_print(name, "-", 1, 0, timing_median(calls.pin, TURNS * TURN));
	step_print(name, "socket", 1, 0, timing_median(calls.socket, TURNS * TURN));
	snprintf(name, sizeof(name), "unpin-%s", size);
	step_print(name, "-", 1, 0, timing_median(calls.unpin, TURNS * TURN));
	step_print(name, "socket", 1, 0, timing_median(calls.socket, TURNS * TURN));
}

static void first(struct pinfs *fs, const char *mount)
{
	const size_t big = 64ul << 20;
	int fd = pins_file(mount, "first", big);
	struct echo echo = echo_start();

	first_of(fs, fd, &echo, 4096, "4k");
	first_of(fs, fd, &echo, 2ul << 20, "2m");
	first_of(fs, fd, &echo, big, "64m");
	close(echo.fd);
	waitpid(echo.child, NULL, 0);
	pins_remove(mount, "first", fd);
}

int main(int argc, char **argv)
{
	struct pinfs *fs;

	if (argc < 3)
		errx(2, "usage: pins_calls MOUNTPOINT STEP...");
	pins_check(pinfs_connect(argv[1], &fs), "pinfs_connect");
	for (int i = 2; i < argc; i++) {
		if (is(argv[i], "cached"))
			cached(fs, argv[1]);
		else if (is(argv[i], "first"))
			first(fs, argv[1]);
		else
			errx(2, "%s: no such step", argv[i]);
	}
	pinfs_disconnect(fs);
	return 0;
}
