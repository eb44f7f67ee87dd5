/*
 * src/repair and data parts: a try leaves them as they are; and a part's header that a memory error has taken: reading
 * it fails, as on fsdax, until all of it is written anew. So does the read(2) of this program.
 */
#include "check_damage.h"
#include "repair_pool.h"

#include <sys/syscall.h>

#define NOTHING (-1)

static off_t lost = NOTHING; /* the block of that offset, of any file */

ssize_t pread(int fd, void *buffer, size_t length, off_t offset)
{
	if (offset == lost) {
		errno = EIO;
		return -1;
	}
	return syscall(SYS_pread64, fd, buffer, length, offset);
}

ssize_t pwrite(int fd, const void *buffer, size_t length, off_t offset)
{
	if (offset == lost && length == FMT_BLOCK_SIZE)
		lost = NOTHING;
	return syscall(SYS_pwrite64, fd, buffer, length, offset);
}

static void mend_lost(off_t offset)
{
	const struct mending *mending;

	record_copy_as_part();
	lost = offset;
	mending = repair_copy(true, true);
	assert_int_equal(mending->error, 0);
	assert_int_equal(mending->actions, 1);
	assert_int_equal(lost, offset);
	mending = repair_copy(true, false);
	assert_int_equal(mending->error, 0);
	assert_int_equal(mending->actions, 1);
	assert_int_equal(mending->result.before.errors, 1);
	assert_int_equal(mending->result.after.errors, 0);
	assert_int_equal(lost, NOTHING);
	assert_int_equal(repair_copy(true, false)->result.before.errors, 0);
}

static void test_header(void **state)
{
	(void)state;
	mend_lost(0);
}

/* The other one is what is damaged as well: what is lost is damaged by that, not the end of all. */
static void test_both(void **state)
{
	(void)state;
	record_copy_as_part();
	write_data(PART_BLOCKS * FMT_BLOCK_SIZE - 1000, "x", 1);
	lost = 0;
	assert_int_equal(check_copy(true)->report.errors, 1);
	assert_int_equal(repair_copy(true, false)->actions, 0);
	lost = NOTHING;
	assert_int_equal(repair_copy(true, false)->actions, 1);
}

/* What is wrong in a data part stays there in a try: it is told once, and the try ends. */
static void test_dry(void **state)
{
	const struct mending *mending;

	(void)state;
	record_copy_as_part();
	write_data(51 * FMT_BLOCK_SIZE - 1, "x", 1); /* behind the end of `tiny` */
	write_data(PART_BLOCKS * FMT_BLOCK_SIZE - 1000, "x", 1);
	mending = repair_copy(true, true);
	assert_int_equal(mending->error, 0);
	assert_int_equal(mending->actions, 2);
	assert_int_equal(repair_copy(true, true)->actions, 2);
	assert_int_equal(repair_copy(true, false)->actions, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_header),
		TEST(test_both),
		TEST(test_dry),
	};

	return cmocka_run_group_tests(tests, make_pool, remove_pool);
}
