/*
 * What pins cost. pins MOUNTPOINT PART PLAIN ECHO-COUNT: MOUNTPOINT a pinfs mount, PART the data part's file, PLAIN a
 * folder on tmpfs. Prints lines `WHAT VALUE UNIT`, separated by tabs; tests/bench/run makes the table of several
 * rounds.
 *
 * Latencies are medians of single calls, but for what is too short to be timed singly (means of a batch). Bandwidths
 * are those of the best of several passes over 64 MiB.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pinfs.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BATCH 1000000u
#define CALLS 5000u
#define BIG (1ul << 30)
#define COPY (64ul << 20)

static void check(int result, const char *what)
{
	if (result >= 0)
		return;
	fprintf(stderr, "pins: %s: %s\n", what, strerror(result == -1 ? errno : -result));
	exit(1);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int order(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
	qsort(values, count, sizeof(*values), order);
	return values[count / 2];
}

static int make(const char *folder, const char *name, size_t size)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	check(fd, path);
	errno = posix_fallocate(fd, 0, (off_t)size);
	check(errno == 0 ? 0 : -1, "posix_fallocate");
	return fd;
}

/* ---- Cached pins ---- */

static double cached_batch(struct pinfs_pin *pin)
{
	double start = now();

	for (unsigned i = 0; i < BATCH; i++) {
		check(pinfs_repin(pin), "pinfs_repin");
		check(pinfs_unpin(pin), "pinfs_unpin");
	}
	return (now() - start) / BATCH;
}

struct breaker {
	int fd;
	atomic_bool stop;
	unsigned long breaks;
};

/* Breaks the pins of its file a thousand times a second: each punch revokes what is idle. */
static void *break_all(void *arg)
{
	struct breaker *breaker = arg;
	struct timespec next;

	clock_gettime(CLOCK_MONOTONIC, &next);
	while (!atomic_load(&breaker->stop)) {
		check(fallocate(breaker->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), "fallocate");
		breaker->breaks++;
		next.tv_nsec += 1000000;
		if (next.tv_nsec >= 1000000000) {
			next.tv_nsec -= 1000000000;
			next.tv_sec++;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
	}
	return NULL;
}

/* Pins again, or anew when it was taken away: nanoseconds each, all in all. */
static double cached_revoked(struct pinfs *fs, int fd, int other)
{
	struct breaker breaker = {.fd = other};
	struct pinfs_pin *pin = NULL;
	pthread_t thread;
	double start;
	unsigned anew = 0;

	check(-pthread_create(&thread, NULL, break_all, &breaker), "pthread_create");
	start = now();
	for (unsigned i = 0; i < BATCH; i++) {
		if (pin != NULL && pinfs_repin(pin) == -ESTALE) {
			check(pinfs_forget(pin), "pinfs_forget");
			pin = NULL;
		} else if (pin != NULL) {
			check(pinfs_unpin(pin), "pinfs_unpin");
			continue;
		}
		check(pinfs_pin(fs, fd, 0, 4096, PINFS_READ | PINFS_CACHED, &pin), "pinfs_pin");
		check(pinfs_unpin(pin), "pinfs_unpin");
		anew++;
	}
	start = (now() - start) / BATCH;
	atomic_store(&breaker.stop, true);
	pthread_join(thread, NULL);
	check(pinfs_forget(pin), "pinfs_forget");
	printf("breaks while so\t%lu\tof %u pins\n", breaker.breaks, BATCH);
	printf("pinned anew\t%u\tof %u pins\n", anew, BATCH);
	return start;
}

/* ---- Round trips ---- */

/* A bare round trip over a socket of the same kind, to a process that waits in epoll's simplest form. */
static double socket_round_trip(void)
{
	static double values[CALLS];
	char message[48] = {0};
	int fds[2];
	pid_t child;

	check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), "socketpair");
	child = fork();
	check(child, "fork");
	if (child == 0) {
		struct pollfd poll_fd = {.fd = fds[1], .events = POLLIN};

		close(fds[0]);
		while (poll(&poll_fd, 1, -1) == 1 && recv(fds[1], message, sizeof(message), 0) > 0)
			send(fds[1], message, sizeof(message), MSG_NOSIGNAL);
		_exit(0);
	}
	close(fds[1]);
	for (unsigned i = 0; i < CALLS; i++) {
		double start = now();

		check((int)send(fds[0], message, sizeof(message), 0), "send");
		check((int)recv(fds[0], message, sizeof(message), 0), "recv");
		values[i] = now() - start;
	}
	close(fds[0]);
	waitpid(child, NULL, 0);
	return median(values, CALLS);
}

static void first_pins(struct pinfs *fs, int fd, size_t length, unsigned calls, double *ret_pin, double *ret_unpin)
{
	double *pins = calloc(calls, sizeof(*pins));
	double *unpins = calloc(calls, sizeof(*unpins));

	if (pins == NULL || unpins == NULL)
		check(-ENOMEM, "calloc");
	for (unsigned i = 0; i < calls; i++) {
		struct pinfs_pin *pin;
		double start = now();

		check(pinfs_pin(fs, fd, 0, length, PINFS_READ, &pin), "pinfs_pin");
		pins[i] = now() - start;
		start = now();
		check(pinfs_unpin(pin), "pinfs_unpin");
		unpins[i] = now() - start;
	}
	*ret_pin = median(pins, calls);
	*ret_unpin = median(unpins, calls);
	free(pins);
	free(unpins);
}

/* ---- Bandwidth ---- */

static double copy_rate(void *to, const void *from)
{
	double best = 0;

	for (unsigned i = 0; i < 10; i++) {
		double start = now();

		memcpy(to, from, COPY);
		start = (double)COPY / (now() - start) * 1e9 / (1 << 20);
		best = start > best ? start : best;
	}
	return best;
}

static double pread_rate(int fd, void *to)
{
	double best = 0;

	for (unsigned i = 0; i < 10; i++) {
		double start = now();

		for (size_t at = 0; at < COPY; at += 1 << 20)
			check((int)pread(fd, (char *)to + at, 1 << 20, (off_t)at), "pread");
		start = (double)COPY / (now() - start) * 1e9 / (1 << 20);
		best = start > best ? start : best;
	}
	return best;
}

static double random_loads(const void *from, void *to)
{
	double start = now();
	unsigned state = 1;

	for (unsigned i = 0; i < BATCH; i++) {
		state = state * 1664525 + 1013904223;
		memcpy(to, (const char *)from + (size_t)(state >> 8) % (COPY / 4096) * 4096, 4096);
	}
	return (now() - start) / BATCH;
}

static double random_preads(int fd, void *to)
{
	double start = now();
	unsigned state = 1;

	for (unsigned i = 0; i < BATCH; i++) {
		state = state * 1664525 + 1013904223;
		check((int)pread(fd, to, 4096, (off_t)((size_t)(state >> 8) % (COPY / 4096) * 4096)), "pread");
	}
	return (now() - start) / BATCH;
}

static void bandwidth(struct pinfs *fs, int fd, const char *part, const char *plain)
{
	const struct pinfs_extent *extents;
	struct pinfs_pin *pin;
	size_t count;
	void *raw, *buffer = malloc(COPY);
	int part_fd = open(part, O_RDWR | O_CLOEXEC), plain_fd = make(plain, "plain", COPY);

	check(part_fd, part);
	if (buffer == NULL)
		check(-ENOMEM, "malloc");
	memset(buffer, 1, COPY);
	check(pinfs_pin(fs, fd, 0, COPY, PINFS_WRITE, &pin), "pinfs_pin");
	check(pinfs_extents(pin, &extents, &count), "pinfs_extents");
	raw = mmap(NULL, COPY, PROT_READ | PROT_WRITE, MAP_SHARED, part_fd, (off_t)extents[0].part_offset);
	if (raw == MAP_FAILED)
		check(-1, "mmap");
	for (size_t at = 0; at < COPY; at += 1 << 20)
		check((int)pwrite(plain_fd, buffer, 1 << 20, (off_t)at), "pwrite");
	memcpy(pinfs_addr(pin), buffer, COPY);
	printf("store through a pin\t%.0f\tMiB/s\n", copy_rate(pinfs_addr(pin), buffer));
	printf("store, raw mmap of the part\t%.0f\tMiB/s\n", copy_rate(raw, buffer));
	printf("load through a pin\t%.0f\tMiB/s\n", copy_rate(buffer, pinfs_addr(pin)));
	printf("load, raw mmap of the part\t%.0f\tMiB/s\n", copy_rate(buffer, raw));
	printf("pread 1 MiB, tmpfs\t%.0f\tMiB/s\n", pread_rate(plain_fd, buffer));
	printf("4 KiB random load through a pin\t%.1f\tns\n", random_loads(pinfs_addr(pin), buffer));
	printf("4 KiB random load, raw mmap\t%.1f\tns\n", random_loads(raw, buffer));
	printf("4 KiB random pread, tmpfs\t%.1f\tns\n", random_preads(plain_fd, buffer));
	if (count != 1)
		fprintf(stderr, "pins: the pin has %zu extents: its raw mapping is only of the first\n", count);
	check(pinfs_unpin(pin), "pinfs_unpin");
	munmap(raw, COPY);
	free(buffer);
	close(part_fd);
	close(plain_fd);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		size_t length;
		unsigned calls;
	} sizes[] = {{"4 KiB", 4096, CALLS}, {"2 MiB", 2ul << 20, CALLS}, {"1 GiB", BIG, 500}};
	struct pinfs_pin *pin;
	struct pinfs *fs;
	int fd, other;

	if (argc != 4) {
		fprintf(stderr, "usage: pins MOUNTPOINT PART PLAIN\n");
		return 2;
	}
	check(pinfs_connect(argv[1], &fs), "pinfs_connect");
	fd = make(argv[1], "big", BIG);
	other = make(argv[1], "small", 4096);
	/* The first pin of the file zeroes what was only allocated. */
	check(pinfs_pin(fs, fd, 0, BIG, PINFS_READ, &pin), "pinfs_pin");
	check(pinfs_unpin(pin), "pinfs_unpin");

	check(pinfs_pin(fs, fd, 0, 4096, PINFS_READ | PINFS_CACHED, &pin), "pinfs_pin");
	check(pinfs_unpin(pin), "pinfs_unpin");
	printf("cached pin and unpin\t%.1f\tns\n", cached_batch(pin));
	check(pinfs_forget(pin), "pinfs_forget");
	printf("the same, revoked at 1 kHz\t%.1f\tns\n", cached_revoked(fs, other, other));
	printf("bare socket round trip\t%.0f\tns\n", socket_round_trip());
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		double pin_ns, unpin_ns;

		first_pins(fs, fd, sizes[i].length, sizes[i].calls, &pin_ns, &unpin_ns);
		printf("first pin of %s\t%.0f\tns\n", sizes[i].name, pin_ns);
		printf("its unpin (%s)\t%.0f\tns\n", sizes[i].name, unpin_ns);
	}
	bandwidth(fs, fd, argv[2], argv[3]);
	pinfs_disconnect(fs);
	close(other);
	close(fd);
	return 0;
}
