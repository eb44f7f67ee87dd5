/*
 * aio FILE ROUNDS: asynchronous direct writes (io_submit) beside readers by the page cache. When all writes of a round
 * are done, whoever reads sees them, by the page cache and past it, then and ever after. Exit status 0 if so.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PIECE 65536u
#define PIECES 10u
#define SIZE (PIECE * PIECES)
#define READERS 2u

static const char *path;
static atomic_bool ending;

static void fail(const char *what)
{
	fprintf(stderr, "aio: %s: %s: %s\n", path, what, strerror(errno));
	exit(1);
}

static void *read_on(void *arg)
{
	static _Thread_local char buffer[SIZE];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	(void)arg;
	if (fd < 0)
		fail("open");
	while (!ending) {
		if (pread(fd, buffer, SIZE, 0) < 0)
			fail("read");
	}
	close(fd);
	return NULL;
}

/* All pieces at once, and the wait for all. */
static void write_round(aio_context_t context, int fd, const char *data)
{
	struct iocb iocb[PIECES], *list[PIECES];
	struct io_event events[PIECES];

	for (unsigned i = 0; i < PIECES; i++) {
		iocb[i] = (struct iocb){
			.aio_fildes = (uint32_t)fd,
			.aio_lio_opcode = IOCB_CMD_PWRITE,
			.aio_buf = (uintptr_t)(data + i * PIECE),
			.aio_nbytes = PIECE,
			.aio_offset = i * PIECE,
		};
		list[i] = &iocb[i];
	}
	for (unsigned i = 0; i < PIECES;) {
		long count = syscall(SYS_io_submit, context, (long)(PIECES - i), list + i);

		if (count <= 0)
			fail("io_submit");
		i += (unsigned)count;
	}
	if (syscall(SYS_io_getevents, context, (long)PIECES, (long)PIECES, events, NULL) != (long)PIECES)
		fail("io_getevents");
	for (unsigned i = 0; i < PIECES; i++) {
		errno = (int)-events[i].res;
		if (events[i].res != PIECE)
			fail("write");
	}
}

static void check(int fd, char *buffer, const char *data, unsigned long round, const char *how)
{
	if (pread(fd, buffer, SIZE, 0) != (ssize_t)SIZE)
		fail(how);
	for (unsigned i = 0; i < SIZE; i++) {
		if (buffer[i] == data[i])
			continue;
		fprintf(stderr, "aio: %s: round %lu: byte %u, read %s, is %02x, not %02x\n", path, round, i, how,
			buffer[i] & 0xff, data[i] & 0xff);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	unsigned long rounds = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
	pthread_t readers[READERS];
	aio_context_t context = 0;
	char *data = aligned_alloc(4096, SIZE), *buffer = aligned_alloc(4096, SIZE);
	int direct, cached;

	if (rounds == 0 || data == NULL || buffer == NULL) {
		fprintf(stderr, "usage: aio FILE ROUNDS\n");
		return 2;
	}
	path = argv[1];
	direct = open(path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
	cached = open(path, O_RDONLY | O_CLOEXEC);
	if (direct < 0 || cached < 0)
		fail("open");
	if (syscall(SYS_io_setup, PIECES, &context) != 0)
		fail("io_setup");
	for (unsigned i = 0; i < READERS; i++) {
		if (pthread_create(&readers[i], NULL, read_on, NULL) != 0)
			fail("a thread");
	}
	for (unsigned long round = 0; round < rounds; round++) {
		memset(data, (int)(round % 255 + 1), SIZE);
		write_round(context, direct, data);
		check(cached, buffer, data, round, "by the page cache");
		check(direct, buffer, data, round, "past the page cache");
	}
	ending = true;
	for (unsigned i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	return 0;
}
