/* src/repair and the pin ledger: a damaged shard is emptied only when nobody can hold what it tells no more of. */
#include "base/process.h"
#include "check_damage_ledger.h"
#include "fs/fs.h"
#include "repair_pool.h"

static void set_unclean(uint64_t ino, const uint8_t *boot_id)
{
	struct image image = map_image(pool.meta);
	struct fmt_inode *shard = image_inode(&image, ino);

	image.super->state = FMT_STATE_MOUNTED;
	if (boot_id != NULL) {
		memcpy(shard->boot_id, boot_id, sizeof(shard->boot_id));
		fmt_inode_seal(shard);
	}
	unmap_image(&image);
}

static const uint8_t *this_boot(void)
{
	static struct process_identity self;
	int pidfd;

	assert_int_equal(process_identify(getpid(), &self, &pidfd), 0);
	close(pidfd);
	return self.boot_id;
}

static const struct fmt_inode *shard_now(void)
{
	static struct fmt_inode shard;
	struct image image = map_image(pool.meta);

	shard = *image_inode(&image, FMT_INO_LEDGER);
	unmap_image(&image);
	return &shard;
}

static void test_this_boot(void **state)
{
	struct fmt_inode before;
	const struct mending *mending;

	test_i25_pin(state);
	set_unclean(FMT_INO_LEDGER, this_boot());
	before = *shard_now();
	mending = repair_copy(false, false);
	assert_int_equal(mending->error, 0);
	assert_int_equal(mending->actions, 0);
	assert_true(mending->result.after.errors > 0);
	assert_memory_equal(&before, shard_now(), sizeof(before));
}

static void test_other_boot(void **state)
{
	static const uint8_t other[16] = "another boot id";
	const struct mending *mending;

	test_i25_pin(state);
	set_unclean(FMT_INO_LEDGER, other);
	mending = repair_copy(true, false);
	assert_int_equal(mending->error, 0);
	assert_true(mending->actions > 0);
	assert_int_equal(mending->result.after.errors, 0);
	assert_int_equal(mending->result.after.ledger_pins, 0);
	assert_int_equal(repair_copy(true, false)->actions, 0);
}

/* The boot is not known: it becomes a shard of this boot that cannot be read, until there is another. */
static void test_lost_shard(void **state)
{
	static const uint8_t other[16] = "another boot id";
	struct image image = map_image(pool.meta);
	const struct mending *mending;
	struct fmt_inode shard;

	(void)state;
	memset((char *)image_inode(&image, FMT_INO_LEDGER) + 8, 0x5a, 200);
	unmap_image(&image);
	set_unclean(FMT_INO_LEDGER, NULL);
	mending = repair_copy(true, false);
	assert_int_equal(mending->error, 0);
	assert_int_equal(mending->actions, 1);
	assert_true(mending->result.after.errors > 0);
	shard = *shard_now();
	assert_true(fmt_inode_valid(&shard, FMT_INO_LEDGER));
	assert_memory_equal(shard.boot_id, this_boot(), sizeof(shard.boot_id));
	assert_int_equal(repair_copy(true, false)->actions, 0);
	set_unclean(FMT_INO_LEDGER, other);
	mending = repair_copy(true, false);
	assert_int_equal(mending->error, 0);
	assert_int_equal(mending->result.after.errors, 0);
}

/* A block of limbo is its pin's: the file has a hole, what it held is root's. */
static void test_limbo(void **state)
{
	struct tree tree;
	unsigned saved = 0;

	test_i24_limbo(state);
	write_data(2 * FMT_BLOCK_SIZE, "content", 7);
	assert_int_equal(repair_copy(true, false)->result.after.errors, 0);
	tree = read_tree(pool.meta, pool.data);
	assert_int_equal(find_inode(&tree, pool.file)->inode.blocks, 7);
	for (size_t i = 0; i < tree.count; i++) {
		const struct leaf *leaf = &tree.leaf[i];
		char bytes[7];
		int fd;

		if (strncmp(leaf->path, "/lost+found/#", 13) != 0)
			continue;
		saved++;
		assert_int_equal(leaf->inode.mode, S_IFREG | 0600);
		assert_int_equal(leaf->inode.blocks, 1);
		fd = open(pool.data, O_RDONLY | O_CLOEXEC);
		assert_int_equal(pread(fd, bytes, 7, (off_t)(fmt_phys_block(leaf->inode.record[0].value) << 12)), 7);
		close(fd);
		assert_memory_equal(bytes, "content", 7);
	}
	free(tree.leaf);
	assert_int_equal(saved, 1);
}

/* Limbo and the list of lost blocks: with their records whole but for the magic they keep all that they had. */
static void test_lost_magic(void **state)
{
	struct meta *meta = open_meta(pool.meta);
	const struct mending *mending;

	(void)state;
	to_limbo(meta, fmt_phys(0, FREE_BLOCK), 3, false);
	to_limbo(meta, fmt_phys(0, FREE_BLOCK + 100), 2, true);
	meta_close(meta);
	wipe_own(FMT_INO_LIMBO, 4);
	wipe_own(FMT_INO_BAD, 4);
	wipe_own(FMT_INO_LEDGER, 4);
	mending = repair_copy(true, false);
	assert_int_equal(mending->error, 0);
	assert_int_equal(mending->actions, 3);
	assert_int_equal(mending->result.before.errors, 3);
	assert_int_equal(mending->result.after.errors, 0);
	assert_int_equal(mending->result.after.limbo_bytes, 3 * FMT_BLOCK_SIZE);
	assert_int_equal(mending->result.after.bad_bytes, 2 * FMT_BLOCK_SIZE);
}

static int mount_copy(void)
{
	struct fs_options options = {.meta_path = pool.meta, .skip_probe = true};
	const char *data = pool.data;
	struct message message;
	struct fs *fs;
	int error;

	options.data_paths = &data;
	options.data_count = 1;
	error = fs_open(&options, &fs, &message);
	if (error == 0)
		fs_close(fs);
	return error;
}

/* With all of it gone nothing is free in silence: no mount, an error, and words; what a pin holds the ledger has too.
 */
static void test_lost_limbo(void **state)
{
	struct meta *meta = open_meta(pool.meta);
	const struct mending *mending;

	(void)state;
	add_session(meta, 1);
	add_pin(meta, 1, 1, pool.file, fmt_phys(0, FREE_BLOCK), 3);
	to_limbo(meta, fmt_phys(0, FREE_BLOCK), 3, false);
	meta_close(meta);
	wipe_own(FMT_INO_LIMBO, FMT_SLOT_SIZE);
	assert_int_equal(mount_copy(), -EUCLEAN);
	mending = repair_copy(true, true);
	assert_int_equal(mending->actions, 1);
	assert_true(is_touched(&mending->mended, FMT_INO_LIMBO));
	assert_int_equal(mount_copy(), -EUCLEAN);
	mending = repair_copy(true, false);
	assert_int_equal(mending->error, 0);
	assert_int_equal(mending->actions, 1);
	assert_int_equal(mending->result.before.errors, 1);
	assert_int_equal(mending->result.after.errors, 0);
	assert_int_equal(mending->result.after.ledger_pins, 1);
	assert_int_equal(mount_copy(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_this_boot), TEST(test_other_boot), TEST(test_lost_shard),
		TEST(test_limbo),     TEST(test_lost_magic), TEST(test_lost_limbo),
	};

	return cmocka_run_group_tests(tests, make_all, remove_all);
}
