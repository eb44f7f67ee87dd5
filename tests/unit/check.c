/*
 * src/check: a sound pool gives no error, and each broken invariant is reported by its number, one test each;
 * check_tree.c has I13 to I20, I22 and I29. Damage is done through src/meta where a record with a right checksum is to
 * lie, and byte by byte where it is to be torn.
 */
#include "check_damage.h"

/* ---- Sound pools ---- */

static void assert_sound(const struct found *found)
{
	assert_int_equal(found->count, 0);
	assert_int_equal(found->report.inodes, BIG_ENTRIES + 11);
	assert_int_equal(found->report.directories, 5);
	assert_int_equal(found->report.files, BIG_ENTRIES + 3);
	assert_int_equal(found->report.symlinks, 2);
	assert_int_equal(found->report.others, 1);
	assert_int_equal(found->report.entries, BIG_ENTRIES + 11);
	assert_int_equal(found->report.extents, MANY_EXTENTS + 4);
	assert_int_equal(found->report.xattrs, 2);
	assert_int_equal(found->report.blocks_total, PART_BLOCKS - 2);
	assert_int_equal(found->report.blocks_used, MANY_EXTENTS + 9);
	assert_int_equal(found->report.blocks_free, PART_BLOCKS - 2 - MANY_EXTENTS - 9);
	assert_int_equal(found->report.parts, 1);
	assert_true(found->report.clean);
	assert_false(found->report.unreadable);
}

static void test_sound(void **state)
{
	(void)state;
	assert_sound(check_copy(true));
	assert_sound(check_copy(false));
}

static void test_changes_nothing(void **state)
{
	struct image sound, copy;

	(void)state;
	check_copy(true);
	check_copy(false);
	sound = map_image(pool.sound_meta);
	copy = map_image(pool.meta);
	assert_memory_equal(sound.base, copy.base, sound.length);
	unmap_image(&sound);
	unmap_image(&copy);
}

static void test_busy(void **state)
{
	struct check_options options = {.meta_path = pool.meta};
	struct check_report report;
	struct message message = {{0}};
	int to_child[2], to_parent[2];
	struct meta *meta;
	char byte = 0;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(to_child), 0);
	assert_int_equal(pipe(to_parent), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(to_child[1]);
		if (meta_open(pool.meta, 0, &meta, NULL) != 0 || write(to_parent[1], &byte, 1) != 1)
			_exit(1);
		_exit(read(to_child[0], &byte, 1) != 0);
	}
	close(to_parent[1]);
	assert_int_equal(read(to_parent[0], &byte, 1), 1);
	assert_int_equal(check_pool(&options, &report, &message), -EBUSY);
	options.skip_probe = true;
	assert_int_equal(check_pool(&options, &report, &message), -EBUSY);
	assert_true(strlen(message.text) > 0);
	close(to_child[1]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(to_child[0]);
	close(to_parent[0]);
}

static void test_no_pool(void **state)
{
	struct check_options options = {.meta_path = "/nonexistent/meta"};
	struct check_report report;
	struct message message = {{0}};

	(void)state;
	assert_int_equal(check_pool(&options, &report, &message), -ENOENT);
	assert_true(strlen(message.text) > 0);
	options.skip_probe = options.in_process = true;
	assert_int_equal(check_pool(&options, &report, &message), -ENOENT);
}

static void test_paths(void **state)
{
	struct meta *meta = open_meta(pool.meta);
	const struct found *found;

	(void)state;
	set_size(meta, pool.c, 77);
	meta_close(meta);
	for (int in_process = 0; in_process < 2; in_process++) {
		found = check_copy(in_process);
		assert_int_equal(found->count, 1);
		assert_string_equal(found->problem[0].path, "/a/b/c");
	}
}

/* True if the block of the data part is lost to a memory error from now on. */
static bool poison_block(uint64_t block)
{
	int fd = open(pool.data, O_RDWR | O_CLOEXEC);
	unsigned char *page =
		mmap(NULL, FMT_BLOCK_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)(block * FMT_BLOCK_SIZE));
	bool lost;

	assert_true(fd >= 0);
	assert_ptr_not_equal(page, MAP_FAILED);
	close(fd);
	*(volatile unsigned char *)page = *(volatile unsigned char *)page;
	lost = madvise(page, FMT_BLOCK_SIZE, MADV_HWPOISON) == 0;
	if (!lost)
		print_message("# %s: no MADV_HWPOISON here (%s): it needs root and CONFIG_MEMORY_FAILURE\n", __func__,
			      strerror(errno));
	assert_int_equal(munmap(page, FMT_BLOCK_SIZE), 0);
	return lost;
}

/* A header that is lost to a memory error is damaged as any, and neither the end of the check nor of the pool. */
static void test_lost_headers(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		copy_pool(state);
		record_copy_as_part();
		if (!poison_block(i == 0 ? 0 : PART_BLOCKS - 1))
			return;
		expect_only("I21", CHECK_ERROR, 0);
		assert_false(check_copy(false)->report.unreadable);
		assert_int_equal(check_copy(false)->count, 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_sound),      TEST(test_changes_nothing), TEST(test_busy),	    TEST(test_no_pool),
		TEST(test_paths),      TEST(test_i1_super),	   TEST(test_i1_state),	    TEST(test_i2_group),
		TEST(test_i3_inode),   TEST(test_i3_implausible),  TEST(test_i4_node),	    TEST(test_i4_order),
		TEST(test_i5_record),  TEST(test_i6_page_twice),   TEST(test_i7_outside),   TEST(test_i8_twice),
		TEST(test_i9_overlap), TEST(test_i9_length),	   TEST(test_i10_blocks),   TEST(test_i11_beyond),
		TEST(test_i12_tail),   TEST(test_i21_copy),	   TEST(test_i21_header),   TEST(test_i21_missing),
		TEST(test_i21_short),  TEST(test_i21_record),	   TEST(test_lost_headers),
	};

	return cmocka_run_group_tests(tests, make_pool, remove_pool);
}
