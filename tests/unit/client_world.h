/* A session of libpinfs with a daemon of the test's own. */
#ifndef PINFS_TESTS_CLIENT_WORLD_H
#define PINFS_TESTS_CLIENT_WORLD_H

#include "client_daemon.h"

struct world {
	struct fake daemon;
	struct pinfs *fs;
	int file; /* any regular file: the daemon believes it is one of its own */
	int read_only;
};

static inline int open_file(int flags)
{
	char path[] = "/tmp/pinfs-client-file-XXXXXX";
	int made = mkostemp(path, O_CLOEXEC);
	int fd = open(path, flags | O_CLOEXEC);

	assert_true(made >= 0 && fd >= 0);
	close(made);
	unlink(path);
	return fd;
}

static inline int set_up(void **state)
{
	struct world *world = calloc(1, sizeof(*world));

	fake_start(&world->daemon);
	world->file = open_file(O_RDWR);
	world->read_only = open_file(O_RDONLY);
	if (pinfs_connect("/tmp", &world->fs) != 0)
		return -1;
	*state = world;
	return 0;
}

static inline int tear_down(void **state)
{
	struct world *world = *state;

	pinfs_disconnect(world->fs);
	fake_stop(&world->daemon);
	close(world->file);
	close(world->read_only);
	free(world);
	return 0;
}

static inline struct pinfs_pin *take(struct world *world, off_t offset, size_t length, unsigned flags)
{
	struct pinfs_pin *pin = NULL;
	int error = pinfs_pin(world->fs, world->file, offset, length, flags, &pin);

	if (error != 0)
		fail_msg("pinfs_pin: %s", strerror(-error));
	return pin;
}

static inline int try(struct world *world, off_t offset, size_t length, unsigned flags)
{
	struct pinfs_pin *pin;

	return pinfs_pin(world->fs, world->file, offset, length, flags, &pin);
}

/* True if the address is part of a mapping. */
static inline bool is_mapped(const void *address)
{
	unsigned char resident;

	return mincore((void *)((uintptr_t)address & ~(uintptr_t)(BLOCK - 1)), 1, &resident) == 0;
}

/* True if there is something to read within so many ms; -1: it will come. */
static inline bool is_readable(int fd, int timeout)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	return poll(&poll_fd, 1, timeout) == 1;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
