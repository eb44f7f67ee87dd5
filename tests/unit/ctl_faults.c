/*
 * The socket server, and the N-th allocation, mapping, or call on a socket fails in one of its threads, for every N:
 * the client (libpinfs) is told, or finds the daemon again; nothing stays pinned or open, and the next client is
 * served.
 */
#include "ctl_world.h"
#include "descriptors.h"

#include "faults/fault.h"

#include <pinfs.h>
#include <sys/xattr.h>

#define N_MAX 400u

static struct world *served;

/* libpinfs asks the mount for its socket. */
ssize_t getxattr(const char *path, const char *name, void *value, size_t size)
{
	size_t length = strlen(served->socket);

	(void)path;
	if (strcmp(name, "pinfs.socket") != 0 || length > size) {
		errno = ENODATA;
		return -1;
	}
	memcpy(value, served->socket, length);
	return (ssize_t)length;
}

/* A client's life. The first error. */
static int live(int fd)
{
	struct pinfs_pin *pin, *cached;
	struct pinfs *session;
	int error = pinfs_connect("/tmp", &session);

	if (error != 0)
		return error;
	error = pinfs_pin(session, fd, 0, (size_t)2 * BLOCK, PINFS_WRITE, &pin);
	if (error == 0) {
		error = pinfs_commit(pin, 0, 0);
		(void)pinfs_unpin(pin);
	}
	if (error == 0)
		error = pinfs_pin(session, fd, 0, BLOCK, PINFS_CACHED, &cached);
	if (error == 0) {
		(void)pinfs_unpin(cached);
		error = pinfs_forget(cached);
	}
	pinfs_disconnect(session);
	return error;
}

static bool is_right(int error)
{
	return error == 0 || error == -ENOMEM || error == -EMFILE || error == -ENOTCONN || error == -ETIMEDOUT ||
	       error == -fault_error() || (error == -EPERM && fault_error() == ESRCH); /* no such process */
}

/* Descriptors that clients have sent are closed by threads of their own. */
static void await_descriptors(unsigned want)
{
	for (unsigned i = 0; descriptors() > want; i++) {
		const struct timespec pause = {.tv_nsec = 1000000};

		if (i > 10000)
			fail_msg("%s: %u descriptors, not %u", fault_met(), descriptors(), want);
		(void)nanosleep(&pause, NULL);
	}
}

static bool try_one(uint64_t ino, int fd, const struct fault_plan *plan, bool *ret_more)
{
	bool met;
	int error;

	fault_arm(plan);
	error = live(fd);
	(void)fault_disarm();
	met = fault_met()[0] != '\0';
	*ret_more = fault_has_variant(plan->variant + 1);
	if (!is_right(error))
		fail_msg("%s: %s", fault_met(), strerror(-error));
	error = live(fd);
	if (error != 0)
		fail_msg("%s: once more: %s", fault_met(), strerror(-error));
	await_unpinned(served, ino);
	return met;
}

static void each(struct world *world, unsigned kinds)
{
	uint64_t ino = file_make(world->pool, "file");
	unsigned before;
	bool met = true;
	int fd;

	served = world;
	file_fill(world->pool, ino, 0, 2 * BLOCK, 0x22);
	fd = stand_in(world, ino, O_RDWR);
	assert_int_equal(live(fd), 0);
	await_connections(world, 0);
	before = descriptors();
	for (unsigned n = 1; met && n < N_MAX; n++) {
		struct fault_plan plan = {.kinds = kinds, .n = n, .others = true};
		bool more;

		met = try_one(ino, fd, &plan, &more);
		for (plan.variant = 1; more; plan.variant++)
			(void)try_one(ino, fd, &plan, &more);
	}
	await_connections(world, 0);
	await_descriptors(before);
	close(fd);
	file_remove(world->pool, "file", ino);
}

static void memory(void **state)
{
	each(*state, FAULT_MEMORY);
}

static void mappings(void **state)
{
	each(*state, FAULT_MAP);
}

static void sockets(void **state)
{
	each(*state, FAULT_SOCKET);
}

int main(void)
{
	static unsigned char shared[4096];
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(memory, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(mappings, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(sockets, world_setup, world_teardown),
	};

	fault_init(shared);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
