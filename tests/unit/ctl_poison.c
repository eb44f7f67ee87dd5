/* Lost memory that a thread of the socket server meets is an answer, as it is for a thread of the mount. */
#include "ctl_world.h"

#include "base/fault.h"
#include "fs/data.h"

/* A mapping of a file without bytes: each access is a SIGBUS. */
static void lose(struct fs *fs, uint64_t ino, uint64_t block, uint64_t count)
{
	struct region_part *part;
	struct meta_extent extent;
	struct fs_inode *file;
	unsigned char *address;
	int fd = memfd_create("lost", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(fs_inode_get(fs, ino, &file), 0);
	assert_int_equal(meta_extent_find(fs->meta, file->media, block, &extent), 0);
	fs_inode_put(fs, file);
	assert_true(extent.file_block == block && extent.length >= count);
	address = fs_block_address(fs, extent.phys, count, &part);
	assert_ptr_not_equal(mmap(address, count * BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0),
			     MAP_FAILED);
	close(fd);
}

/* A grant zeroes what was only preallocated. */
static void test_pin(void **state)
{
	struct world *world = *state;
	struct fs *fs = world->pool->fs;
	uint64_t ino = file_make(world->pool, "f");
	struct grant grant;
	struct good good;
	struct peer peer;

	/* The test library puts handlers of its own in place for each test. */
	assert_int_equal(fault_install(), 0);
	assert_int_equal(fs_fallocate(fs, ino, 0, 0, 8 * BLOCK, NULL), 0);
	lose(fs, ino, 0, 8);
	good_open(&good, world);
	peer_open(&peer, world);
	assert_int_equal(pin_ino(&peer, ino, 0, 4 * BLOCK, WIRE_PIN_WRITE, &grant), -EIO);
	good_works(&good);
	assert_true(meta_bad_blocks(fs->meta) > 0);
	peer_close(&peer);
	good_close(&good);
	file_remove(world->pool, "f", ino);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_pin, world_setup, world_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
