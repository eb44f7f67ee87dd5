/* libpinfs against a daemon of the test's own: pins and their memory, durability, refusals, rubbish. */
#include "client_world.h"

#include "client/ask.h"

/* True if the kernel may store there. */
static bool is_writable(void *address)
{
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	bool result;

	result = read(zero, address, 1) == 1;
	assert_true(result || errno == EFAULT);
	close(zero);
	return result;
}

static void test_connect(void **state)
{
	struct world *world = *state;
	struct pinfs *fs = NULL;

	fake_xattr = NULL;
	assert_int_equal(pinfs_connect("/tmp", &fs), -ENODEV);
	fake_xattr_error = ENOTSUP;
	assert_int_equal(pinfs_connect("/tmp", &fs), -ENODEV);
	fake_xattr_error = ENOTCONN;
	assert_int_equal(pinfs_connect("/tmp", &fs), -ENOTCONN);
	fake_xattr_error = ENODATA;
	fake_xattr = "/tmp/pinfs-client-nothing-there";
	assert_int_equal(pinfs_connect("/tmp", &fs), -ENOTCONN);
	fake_xattr = "relative";
	assert_int_equal(pinfs_connect("/tmp", &fs), -ENODEV);
	fake_xattr = world->daemon.path;
	assert_int_equal(pinfs_connect("/pinfs/no/such/path", &fs), -ENOENT);
	world->daemon.refuse_hello = EACCES;
	assert_int_equal(pinfs_connect("/tmp", &fs), -EACCES);
	world->daemon.refuse_hello = -5;
	assert_int_equal(pinfs_connect("/tmp", &fs), -EPROTO);
	world->daemon.refuse_hello = 0;
	assert_null(fs);
	pinfs_disconnect(NULL);
}

static void test_memory(void **state)
{
	struct world *world = *state;
	struct pinfs_pin *pin = take(world, 2 * BLOCK + 100, 3 * BLOCK, PINFS_WRITE);
	unsigned char *part = world->daemon.parts[0].map;
	const struct pinfs_extent *extents;
	unsigned char *memory = pinfs_addr(pin);
	size_t count;

	assert_non_null(memory);
	assert_int_equal((uintptr_t)memory % BLOCK, 100);
	assert_int_equal(pinfs_length(pin), 3 * BLOCK);
	assert_int_equal(pinfs_id(pin), 100);
	memset(memory, 'x', 3 * BLOCK);
	assert_int_equal(part[18 * BLOCK + 99], 0);
	assert_int_equal(part[18 * BLOCK + 100], 'x');
	assert_int_equal(part[21 * BLOCK + 99], 'x');
	assert_int_equal(part[21 * BLOCK + 100], 0);
	assert_int_equal(pinfs_extents(pin, &extents, &count), 0);
	assert_int_equal(count, 1);
	assert_ptr_equal(extents[0].addr, memory);
	assert_int_equal(extents[0].offset, 2 * BLOCK + 100);
	assert_int_equal(extents[0].length, 3 * BLOCK);
	assert_int_equal(extents[0].part, 0);
	assert_int_equal(extents[0].part_offset, 18 * BLOCK + 100);
	assert_int_equal(pinfs_unpin(pin), 0);
	assert_int_equal(fake_held(&world->daemon), 0);
}

static void test_read_only(void **state)
{
	struct world *world = *state;
	struct pinfs_pin *pin, *scattered;

	assert_int_equal(pinfs_pin(world->fs, world->read_only, 0, BLOCK, PINFS_READ, &pin), 0);
	world->daemon.parts[0].map[16 * BLOCK] = 'r';
	assert_int_equal(*(unsigned char *)pinfs_addr(pin), 'r');
	assert_false(is_writable(pinfs_addr(pin)));
	world->daemon.place = place_scattered;
	assert_int_equal(pinfs_pin(world->fs, world->read_only, 0, 3 * BLOCK, 0, &scattered), 0);
	assert_false(is_writable(pinfs_addr(scattered)));
	assert_false(world->daemon.session[0].given[0][1]);
	assert_int_equal(pinfs_persist(pin, 0, 0), -EBADF);
	assert_int_equal(pinfs_commit(pin, 0, 0), -EBADF);
	assert_int_equal(pinfs_unpin(pin), 0);
	assert_int_equal(pinfs_unpin(scattered), 0);
}

static void test_scattered(void **state)
{
	struct world *world = *state;
	struct pinfs_pin *pin;
	const struct pinfs_extent *extents;
	unsigned char *memory;
	size_t count;

	world->daemon.place = place_scattered;
	world->daemon.extents_a_message = 3;
	pin = take(world, 50, 20 * BLOCK, PINFS_WRITE);
	memory = pinfs_addr(pin);
	assert_non_null(memory);
	assert_int_equal((uintptr_t)memory % BLOCK, 50);
	assert_int_equal(pinfs_extents(pin, &extents, &count), 0);
	assert_int_equal(count, 21);
	for (size_t i = 0; i < 20 * BLOCK; i++)
		memory[i] = (unsigned char)(i / 37);
	for (size_t i = 0; i < count; i++) {
		const struct pinfs_extent *extent = &extents[i];

		assert_ptr_equal(extent->addr, memory + (extent->offset - 50));
		assert_int_equal(extent->part, i % 2);
		assert_memory_equal(world->daemon.parts[extent->part].map + extent->part_offset, extent->addr,
				    extent->length);
	}
	assert_int_equal(pinfs_persist(pin, 4000, 3 * BLOCK), 0);
	assert_int_equal(pinfs_unpin(pin), 0);
	assert_false(is_mapped(memory));
}

static void place_huge(uint64_t block, uint32_t *ret_part, uint64_t *ret_block)
{
	*ret_part = 0;
	*ret_block = block < 1000 ? block + 37 : block + 900;
}

static void test_huge(void **state)
{
	struct world *world = *state;
	struct pinfs_pin *one, *two;

	world->daemon.place = place_huge;
	one = take(world, 4 * BLOCK, 700 * BLOCK, PINFS_WRITE);
	two = take(world, 4 * BLOCK, 1100 * BLOCK, PINFS_WRITE);
	assert_int_equal((uintptr_t)pinfs_addr(one) % (2u << 20), 41 * BLOCK);
	assert_int_equal((uintptr_t)pinfs_addr(two) % (2u << 20), 41 * BLOCK);
	memset(pinfs_addr(two), 1, 1100 * BLOCK);
	assert_int_equal(*((unsigned char *)pinfs_addr(one) + 700 * BLOCK - 1), 1);
	assert_int_equal(pinfs_unpin(one), 0);
	assert_int_equal(pinfs_unpin(two), 0);
}

static void test_devdax(void **state)
{
	struct world *world = *state;
	struct pinfs_pin *one, *pieces;
	const struct pinfs_extent *extents;
	size_t count;

	world->daemon.place = place_in_devdax;
	one = take(world, 10, 2 * BLOCK, PINFS_WRITE);
	assert_non_null(pinfs_addr(one));
	pieces = take(world, 2 * BLOCK, 4 * BLOCK, PINFS_WRITE);
	assert_null(pinfs_addr(pieces));
	assert_int_equal(pinfs_extents(pieces, &extents, &count), 0);
	assert_int_equal(count, 3);
	for (size_t i = 0; i < count; i++) {
		memset(extents[i].addr, (int)i + 1, extents[i].length);
		assert_memory_equal(world->daemon.parts[2].map + extents[i].part_offset, extents[i].addr,
				    extents[i].length);
	}
	assert_ptr_equal((char *)extents[0].addr, (char *)pinfs_addr(one) + 2 * BLOCK - 10);
	assert_int_equal(pinfs_persist(pieces, 0, 0), 0);
	assert_int_equal(pinfs_unpin(one), 0);
	assert_int_equal(pinfs_unpin(pieces), 0);
}

/* A part that is too large to be mapped whole. */
static void test_vast(void **state)
{
	struct world *world = *state;
	struct fake_part *part = &world->daemon.parts[0];
	struct pinfs_pin *pin;

	part->bytes = (uint64_t)65 << 40;
	assert_int_equal(ftruncate(part->fd, (off_t)part->bytes), 0);
	pin = take(world, 5, 600 * BLOCK, PINFS_WRITE);
	assert_int_equal((uintptr_t)pinfs_addr(pin) % (2u << 20), 16 * BLOCK + 5);
	memset(pinfs_addr(pin), 9, 600 * BLOCK);
	assert_int_equal(part->map[16 * BLOCK + 4], 0);
	assert_int_equal(part->map[16 * BLOCK + 5], 9);
	assert_int_equal(pinfs_unpin(pin), 0);
}

static void place_half_zeros(uint64_t block, uint32_t *ret_part, uint64_t *ret_block)
{
	(block % 2 == 0 ? place_in_one : place_nowhere)(block, ret_part, ret_block);
}

static void place_devdax_and_zeros(uint64_t block, uint32_t *ret_part, uint64_t *ret_block)
{
	(block % 2 == 0 ? place_in_devdax : place_nowhere)(block, ret_part, ret_block);
}

static void test_zeros(void **state)
{
	struct world *world = *state;
	const struct pinfs_extent *extents;
	struct pinfs_pin *pin;
	unsigned char *memory;
	size_t count;

	world->daemon.place = place_nowhere;
	pin = take(world, 7, 5 * BLOCK, PINFS_READ);
	memory = pinfs_addr(pin);
	for (size_t i = 0; i < 5 * BLOCK; i++)
		assert_int_equal(memory[i], 0);
	assert_false(is_writable(memory));
	assert_int_equal(pinfs_unpin(pin), 0);
	world->daemon.place = place_half_zeros;
	memset(world->daemon.parts[0].map, 'z', FAKE_MAPPED);
	pin = take(world, 0, 5 * BLOCK, PINFS_READ);
	memory = pinfs_addr(pin);
	for (size_t i = 0; i < 5 * BLOCK; i++)
		assert_int_equal(memory[i], i / BLOCK % 2 == 0 ? 'z' : 0);
	assert_int_equal(pinfs_unpin(pin), 0);
	world->daemon.place = place_devdax_and_zeros;
	pin = take(world, 0, 4 * BLOCK, PINFS_READ);
	assert_null(pinfs_addr(pin));
	assert_int_equal(pinfs_extents(pin, &extents, &count), 0);
	assert_int_equal(extents[1].part, UINT32_MAX);
	assert_int_equal(*(unsigned char *)extents[1].addr, 0);
	assert_int_equal(pinfs_unpin(pin), 0);
}

static void test_refused_arguments(void **state)
{
	struct world *world = *state;
	struct pinfs_pin *pin;
	int fd;

	assert_int_equal(try(world, 0, 0, PINFS_READ), -EINVAL);
	assert_int_equal(try(world, -1, 10, PINFS_READ), -EINVAL);
	assert_int_equal(try(world, INT64_MAX, 10, PINFS_READ), -ERANGE);
	assert_int_equal(try(world, 10, SIZE_MAX, PINFS_READ), -ERANGE);
	assert_int_equal(try(world, 0, 10, 1u << 20), -EINVAL);
	assert_int_equal(try(world, 0, 10, PINFS_EXCLUSIVE), -EINVAL);
	assert_int_equal(try(world, 0, 10, PINFS_READ | PINFS_EXTEND), -EINVAL);
	assert_int_equal(pinfs_pin(world->fs, -1, 0, 10, PINFS_READ, &pin), -EBADF);
	assert_int_equal(pinfs_pin(world->fs, world->read_only, 0, 10, PINFS_WRITE, &pin), -EBADF);
	fd = open_file(O_WRONLY);
	assert_int_equal(pinfs_pin(world->fs, fd, 0, 10, PINFS_READ, &pin), -EBADF);
	close(fd);
	fd = open_file(O_RDWR | O_APPEND);
	assert_int_equal(pinfs_pin(world->fs, fd, 0, 10, PINFS_WRITE, &pin), -EBADF);
	close(fd);
	fd = open("/tmp", O_PATH | O_CLOEXEC);
	assert_int_equal(pinfs_pin(world->fs, fd, 0, 10, PINFS_READ, &pin), -EBADF);
	close(fd);
	assert_int_equal(world->daemon.asked, 0);
	world->daemon.refuse_pin = EDEADLK;
	assert_int_equal(try(world, 0, 10, PINFS_READ), -EDEADLK);
	assert_int_equal(try(world, 0, 10, PINFS_READ | PINFS_CACHED), -EDEADLK);
}

static void spoil_gap(struct wire_extent *extents, size_t *count)
{
	extents[*count - 1].offset += BLOCK;
}

static void spoil_short(struct wire_extent *extents, size_t *count)
{
	(void)extents;
	--*count;
}

static void spoil_part(struct wire_extent *extents, size_t *count)
{
	extents[*count / 2].part = 9;
}

static void spoil_end(struct wire_extent *extents, size_t *count)
{
	(void)count;
	extents[0].part_offset = FAKE_MAPPED;
}

static void spoil_overflow(struct wire_extent *extents, size_t *count)
{
	(void)count;
	extents[0].part_offset = UINT64_MAX - 4095;
}

static void spoil_length(struct wire_extent *extents, size_t *count)
{
	(void)count;
	extents[1].length = UINT64_MAX;
}

static void spoil_order(struct wire_extent *extents, size_t *count)
{
	struct wire_extent first = extents[0];

	(void)count;
	extents[0] = extents[1];
	extents[1] = first;
}

static void spoil_alignment(struct wire_extent *extents, size_t *count)
{
	(void)count;
	extents[2].part_offset += 512;
}

static void spoil_zeros(struct wire_extent *extents, size_t *count)
{
	(void)count;
	extents[1].part = UINT32_MAX;
}

static void spoil_empty(struct wire_extent *extents, size_t *count)
{
	(void)count;
	extents[1].length = 0;
}

static void spoil_split(struct wire_extent *extents, size_t *count)
{
	(void)count;
	extents[1].length += 512;
	extents[2].offset += 512;
	extents[2].length -= 512;
	extents[2].part_offset += 512;
}

/* More extents than blocks: nothing may grow without bounds. */
static void spoil_many(struct wire_extent *extents, size_t *count)
{
	for (size_t i = *count; i < *count + 8; i++)
		extents[i] = extents[0];
	*count += 8;
}

static void test_rubbish(void **state)
{
	static void (*const spoils[])(struct wire_extent * extents, size_t * count) = {
		spoil_gap,   spoil_short,     spoil_part,  spoil_end,	spoil_overflow, spoil_length,
		spoil_order, spoil_alignment, spoil_zeros, spoil_empty, spoil_split,	spoil_many,
	};
	struct world *world = *state;

	world->daemon.place = place_scattered;
	for (size_t i = 0; i < sizeof(spoils) / sizeof(spoils[0]); i++) {
		world->daemon.spoil = spoils[i];
		assert_int_equal(try(world, 100, 10 * BLOCK, PINFS_WRITE), -EPROTO);
		world->daemon.spoil = NULL;
		/* Still, or again, a session; what was granted was given back. */
		assert_int_equal(pinfs_unpin(take(world, 0, BLOCK, PINFS_WRITE)), 0);
		assert_int_equal(fake_held(&world->daemon), 0);
	}
	/* The last one ended the session. */
	assert_int_equal(world->daemon.hellos, 2);
	world->daemon.part_too_late = true;
	fake_kill(&world->daemon, true);
	fake_restart(&world->daemon);
	assert_int_equal(try(world, 0, BLOCK, PINFS_READ), -EPROTO);
}

/* A part whose file is shorter than the daemon says would be SIGBUS behind its end; what is no file is no part. */
static void test_short_part(void **state)
{
	struct world *world = *state;
	const off_t end = FAKE_MAPPED - 16 * BLOCK; /* its last block in the part: see place_in_one() */
	int file = world->daemon.parts[0].fd;

	/* What is not behind the end is all right: a part may have been cut short. */
	world->daemon.parts[0].bytes += BLOCK;
	assert_int_equal(pinfs_unpin(take(world, 0, BLOCK, PINFS_WRITE)), 0);
	assert_int_equal(try(world, end - BLOCK, 2 * BLOCK, PINFS_WRITE), -EPROTO);
	world->daemon.parts[0].bytes -= BLOCK;
	assert_int_equal(pinfs_unpin(take(world, 0, BLOCK, PINFS_WRITE)), 0);
	world->daemon.parts[0].fd = open("/dev", O_PATH | O_CLOEXEC);
	assert_int_equal(try(world, 0, BLOCK, PINFS_READ), -EPROTO);
	close(world->daemon.parts[0].fd);
	world->daemon.parts[0].fd = file;
}

static void test_ranges(void **state)
{
	struct world *world = *state;
	struct pinfs_pin *pin = take(world, 1000, 5000, PINFS_WRITE);
	const struct wire_range *last = &world->daemon.last_commit;

	world->daemon.refuse_commit = 0;
	assert_int_equal(pinfs_persist(pin, 0, 5001), -ERANGE);
	assert_int_equal(pinfs_persist(pin, 5000, 0), -ERANGE);
	assert_int_equal(pinfs_persist(pin, 1, SIZE_MAX), -ERANGE);
	assert_int_equal(pinfs_persist(pin, 4999, 1), 0);
	assert_int_equal(pinfs_commit(pin, SIZE_MAX, 2), -ERANGE);
	assert_int_equal(world->daemon.commits, 0);
	assert_int_equal(pinfs_commit(pin, 0, 0), 0);
	assert_int_equal(last->offset, 1000);
	assert_int_equal(last->length, 5000);
	assert_int_equal(last->pin, pinfs_id(pin));
	assert_int_equal(pinfs_commit(pin, 200, 0), 0);
	assert_int_equal(last->offset, 1200);
	assert_int_equal(last->length, 4800);
	assert_int_equal(pinfs_commit(pin, 200, 300), 0);
	assert_int_equal(last->length, 300);
	world->daemon.refuse_commit = ESTALE;
	assert_int_equal(pinfs_commit(pin, 0, 0), -ESTALE);
	world->daemon.refuse_commit = EAGAIN;
	assert_int_equal(pinfs_commit(pin, 0, 0), -EAGAIN);
	assert_int_equal(pinfs_unpin(pin), 0);
}

static void test_durability(void **state)
{
	struct world *world = *state;

	for (uint32_t mode = WIRE_DURABILITY_MSYNC; mode <= WIRE_DURABILITY_EADR; mode++) {
		struct pinfs_pin *pin;

		world->daemon.durability = mode;
		fake_kill(&world->daemon, true);
		fake_restart(&world->daemon);
		pin = take(world, 10, 3 * BLOCK, PINFS_WRITE);
		assert_int_equal(pinfs_persist(pin, 5, 2 * BLOCK), 0);
		assert_int_equal(pinfs_unpin(pin), 0);
	}
	/* A mode of a later version is none that we could keep a promise by. */
	world->daemon.durability = 9;
	fake_kill(&world->daemon, true);
	fake_restart(&world->daemon);
	assert_int_equal(try(world, 0, BLOCK, PINFS_READ), -EPROTO);
}

/* cache=writeback: the kernel keeps size and times of its own. */
static void test_writeback(void **state)
{
	const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	struct world *world = *state;
	struct pinfs_pin *pin, *plain;
	struct stat attr;

	world->daemon.welcome_flags = WIRE_WELCOME_WRITEBACK;
	fake_kill(&world->daemon, true);
	fake_restart(&world->daemon);
	assert_int_equal(ftruncate(world->file, 100), 0);
	assert_int_equal(futimens(world->file, old), 0);
	pin = take(world, 0, 2 * BLOCK, PINFS_WRITE | PINFS_EXTEND);
	plain = take(world, 0, BLOCK, PINFS_WRITE);
	world->daemon.refuse_commit = ESTALE;
	assert_int_equal(pinfs_commit(pin, 0, 5000), -ESTALE);
	assert_int_equal(fstat(world->file, &attr), 0);
	assert_int_equal(attr.st_size, 100);
	assert_int_equal(attr.st_mtim.tv_sec, 1000);
	world->daemon.refuse_commit = 0;
	assert_int_equal(pinfs_commit(plain, 0, 0), 0);
	assert_int_equal(fstat(world->file, &attr), 0);
	assert_int_equal(attr.st_size, 100);
	assert_true(attr.st_mtim.tv_sec > 1000);
	assert_int_equal(pinfs_commit(pin, 0, 5000), 0);
	assert_int_equal(fstat(world->file, &attr), 0);
	assert_int_equal(attr.st_size, 5000);
	assert_int_equal(pinfs_unpin(pin), 0);
	assert_int_equal(pinfs_unpin(plain), 0);
}

#define DESCRIPTORS 4096

struct descriptors {
	unsigned count;
	bool open[DESCRIPTORS];
};

static void look_at_descriptors(struct world *world, struct descriptors *seen)
{
	/* Not while the daemon is at something. */
	pthread_mutex_lock(&world->daemon.lock);
	seen->count = 0;
	for (int fd = 0; fd < DESCRIPTORS; fd++) {
		seen->open[fd] = fcntl(fd, F_GETFD) >= 0;
		seen->count += seen->open[fd];
	}
	pthread_mutex_unlock(&world->daemon.lock);
}

/* Nothing is leaked, and everything is close-on-exec. */
static void test_descriptors(void **state)
{
	struct world *world = *state;
	struct descriptors before, after;
	struct pinfs_pin *pin;
	struct pinfs *fs;

	/* With one of the file for each pin, too. */
	world->daemon.welcome_flags = WIRE_WELCOME_WRITEBACK;
	look_at_descriptors(world, &before);
	for (unsigned i = 1; i <= 3; i++) {
		assert_int_equal(pinfs_connect("/tmp", &fs), 0);
		assert_int_equal(pinfs_pin(fs, world->file, 0, BLOCK, PINFS_WRITE, &pin), 0);
		assert_int_equal(pinfs_pin(fs, world->file, 0, BLOCK, PINFS_WRITE | PINFS_CACHED, &pin), 0);
		for (int fd = 0; fd < DESCRIPTORS; fd++) {
			int flags = fcntl(fd, F_GETFD);

			assert_true(before.open[fd] || flags < 0 || (flags & FD_CLOEXEC) != 0);
		}
		pinfs_disconnect(fs);
		FAKE_AWAIT(&world->daemon, world->daemon.goodbyes == i);
	}
	look_at_descriptors(world, &after);
	assert_int_equal(after.count, before.count);
	assert_int_equal(fake_held(&world->daemon), 0);
}

/* A descriptor of a part that is lost, as with a full table: the session begins anew, and the call says why. */
static void test_cut_descriptors(void **state)
{
	struct world *world = *state;
	struct descriptors before, after;

	look_at_descriptors(world, &before);
	world->daemon.part_copies = WIRE_FDS_MAX + 1;
	assert_int_equal(try(world, 0, BLOCK, PINFS_READ), -EMFILE);
	world->daemon.part_copies = 1;
	assert_int_equal(pinfs_unpin(take(world, 0, BLOCK, PINFS_READ)), 0);
	assert_int_equal(world->daemon.hellos, 2);
	look_at_descriptors(world, &after);
	assert_int_equal(after.count, before.count + 1);
	/* More of them than the message should bring. */
	world->daemon.part_copies = 2;
	assert_int_equal(try(world, 0, BLOCK, PINFS_WRITE), -EPROTO);
}

struct seen {
	unsigned pins, waiters;
};

static int see(void *arg, const struct wire_listed *entry)
{
	struct seen *seen = arg;

	assert_memory_equal(entry->path, "/a/b", entry->path_length);
	if (entry->pin != 0)
		seen->pins++;
	else
		seen->waiters++;
	return seen->pins == 100 ? -ENOMEM : 0;
}

static void test_list(void **state)
{
	struct world *world = *state;
	struct seen seen = {.pins = 0};

	assert_int_equal(client_list(world->fs, -1, see, &seen), 0);
	assert_int_equal(seen.pins, 2);
	assert_int_equal(seen.waiters, 1);
	seen = (struct seen){.pins = 99};
	assert_int_equal(client_list(world->fs, world->file, see, &seen), -ENOMEM);
	assert_int_equal(seen.pins, 100);
}

static int see_extents(void *arg, const struct wire_file_map *map)
{
	uint64_t *blocks = arg;

	assert_int_equal(map->size, 5 * BLOCK);
	for (uint32_t i = 0; i < map->count; i++)
		assert_int_equal(map->extent[i].offset, (*blocks)++ * BLOCK);
	return 0;
}

static int see_cells(void *arg, const struct wire_pool_map *map)
{
	unsigned *parts = arg;

	assert_int_equal(map->part, (*parts)++);
	assert_int_equal(map->count, map->part == 0 ? 3 : 1);
	assert_int_equal(map->cell[0].free, 1);
	return 0;
}

/* A file's extents come in as many answers as it takes. */
static void test_map(void **state)
{
	struct world *world = *state;
	uint64_t blocks = 0;
	unsigned parts = 0;

	assert_int_equal(client_map_file(world->fs, world->file, see_extents, &blocks), 0);
	assert_int_equal(blocks, 5);
	assert_int_equal(client_map_pool(world->fs, 4, see_cells, &parts), 0);
	assert_int_equal(parts, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_connect),
		TEST(test_memory),
		TEST(test_read_only),
		TEST(test_scattered),
		TEST(test_huge),
		TEST(test_devdax),
		TEST(test_vast),
		TEST(test_zeros),
		TEST(test_refused_arguments),
		TEST(test_rubbish),
		TEST(test_short_part),
		TEST(test_ranges),
		TEST(test_durability),
		TEST(test_writeback),
		TEST(test_descriptors),
		TEST(test_cut_descriptors),
		TEST(test_list),
		TEST(test_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
