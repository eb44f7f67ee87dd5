/*
 * src/repair: a repair that dies before, or inside of, each of its transactions leaves a pool that the next repair
 * finishes; what was sound is as it was.
 */
#include "crash_points.h"
#include "repair_pool.h"

static void scribble(void *address, size_t length)
{
	unsigned char *bytes = address;

	for (size_t i = 0; i < length; i++)
		bytes[i] = (unsigned char)(i * 37 + 11);
}

/* Maps, names, records and links at once. */
static void damage_records(void)
{
	struct image image = map_image(pool.meta);
	const struct fmt_inode *many = image_inode(&image, pool.many), *a = image_inode(&image, pool.a);

	scribble(image_page(&image, many->body.root), FMT_BLOCK_SIZE);
	scribble(image_names(&image, &a->body, a->record), 128);
	scribble(image_inode(&image, pool.b), 48);
	scribble((char *)image_inode(&image, pool.file) + 64, 20);
	scribble(image_inode(&image, FMT_INO_PARTS), 256);
	scribble(&((struct fmt_group *)image_frame(&image, 1, 0))->magic, 48);
	unmap_image(&image);
}

/* Shared blocks, lost inodes, wrong counts, an orphan, a part's header. */
static void damage_tree(void)
{
	struct meta *meta = open_meta(pool.meta);
	struct fmt_inode *tiny;
	struct meta_tx *tx;

	map_blocks(meta, pool.tiny, 1, fmt_phys(0, 100), 1, false);
	make(meta, FMT_INO_ROOT, NULL, S_IFREG | 0600, NULL);
	make(meta, FMT_INO_ROOT, NULL, S_IFDIR | 0700, NULL);
	tx = begin(meta, 0);
	tiny = edit(tx, get(meta, pool.tiny));
	tiny->uid = 1000;
	tiny->size = FMT_BLOCK_SIZE + 1;
	edit(tx, get(meta, pool.big))->size = 3;
	edit(tx, get(meta, pool.c))->parent = pool.a;
	assert_int_equal(meta_commit(tx), 0);
	meta_close(meta);
	write_data(PART_BLOCKS * FMT_BLOCK_SIZE - 1000, "x", 1);
	write_data(4 * FMT_BLOCK_SIZE + 100, "x", 1);
}

/* True if the repair came to its end before the point was reached. */
static bool repair_until(unsigned point)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		points_left = point;
		_exit(repair_copy(true, false)->error == 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != CRASHED))
		fail_msg("at point %u: status %#x", point, (unsigned)status);
	return WEXITSTATUS(status) == 0;
}

static void kill_at_each(void (*damage)(void))
{
	struct touched touched;
	const struct mending *mending;
	bool ended = false;

	copy_pool(NULL);
	damage();
	mending = repair_copy(true, false);
	assert_int_equal(mending->error, 0);
	assert_int_equal(mending->result.after.errors, 0);
	touched = mending->mended;
	touch(&touched, FMT_INO_ROOT);
	touch(&touched, pool.many); /* whose block is shared */
	(void)compare_pools(&touched);
	for (unsigned point = 1; !ended; point++) {
		assert_true(point < 500);
		copy_pool(NULL);
		damage();
		ended = repair_until(point);
		mending = repair_copy(true, false);
		if (mending->error != 0)
			fail_msg("at point %u: %s", point, mending->message);
		if (mending->result.after.errors != 0)
			fail_msg("at point %u: %lu errors are left", point, mending->result.after.errors);
		(void)compare_pools(&touched);
		assert_int_equal(repair_copy(true, false)->result.mended, 0);
	}
}

static void test_records(void **state)
{
	(void)state;
	kill_at_each(damage_records);
}

static void test_tree(void **state)
{
	(void)state;
	kill_at_each(damage_tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_records),
		TEST(test_tree),
	};

	return cmocka_run_group_tests(tests, make_pool, remove_pool);
}
