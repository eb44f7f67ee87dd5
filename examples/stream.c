/*
 * Streams records into a pinned file: stores straight into its persistent memory, no system call on the way. When
 * somebody wants the file truncated it is recalled: it finishes, unpins and ends. With --stubborn it does not care,
 * loses the file's blocks (DETACHED), and goes on in memory that nobody else gets. See pinfs.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <pinfs.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LENGTH (16ul << 20)
#define RECORD 4096u

static void check(int result, const char *what)
{
	if (result >= 0)
		return;
	fprintf(stderr, "stream: %s: %s\n", what, strerror(-result));
	exit(1);
}

static const char *kind_name(unsigned kind)
{
	static const char *const names[] = {"?", "recall", "detached", "conflict", "poison", "shutdown"};

	return kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "?";
}

/* True if the pin is to be given up. */
static int wanted_back(struct pinfs *fs, unsigned long records)
{
	struct pinfs_event event;
	int recalled = 0;

	while (pinfs_next_event(fs, &event) == 0) {
		printf("stream: %s of bytes %llu to %llu after %lu records\n", kind_name(event.kind),
		       (unsigned long long)event.offset, (unsigned long long)(event.offset + event.length), records);
		fflush(stdout);
		recalled |= event.kind == PINFS_EVENT_RECALL || event.kind == PINFS_EVENT_SHUTDOWN;
	}
	return recalled;
}

int main(int argc, char **argv)
{
	int stubborn = argc == 3 && strcmp(argv[2], "--stubborn") == 0;
	unsigned long records = 0;
	struct pollfd events;
	struct pinfs_pin *pin;
	struct pinfs *fs;
	char *memory;
	int fd;

	if (argc != 2 + stubborn) {
		fprintf(stderr, "usage: stream FILE [--stubborn]\n");
		return 2;
	}
	fd = open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	check(fd < 0 ? -errno : 0, argv[1]);
	check(pinfs_connect(argv[1], &fs), "pinfs_connect");
	check(pinfs_pin(fs, fd, 0, LENGTH, PINFS_WRITE | PINFS_EXTEND, &pin), "pinfs_pin");
	memory = pinfs_addr(pin);
	events = (struct pollfd){.fd = pinfs_event_fd(fs), .events = POLLIN};
	printf("stream: pinned %lu MiB of %s at %p\n", LENGTH >> 20, argv[1], (void *)memory);
	fflush(stdout);

	for (;;) {
		size_t at = records * RECORD % LENGTH;

		memset(memory + at, 'a' + (int)(records % 26), RECORD);
		check(pinfs_persist(pin, at, RECORD), "pinfs_persist");
		records++;
		/* Others see what is committed; -ESTALE: these bytes are no longer the file's. */
		if (records % 256 == 0 && pinfs_commit(pin, at, RECORD) == -ESTALE && !stubborn)
			break;
		if (poll(&events, 1, 0) == 1 && wanted_back(fs, records) && !stubborn)
			break;
	}
	check(pinfs_unpin(pin), "pinfs_unpin");
	printf("stream: unpinned after %lu records\n", records);
	pinfs_disconnect(fs);
	return 0;
}
