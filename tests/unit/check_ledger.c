/* src/check: limbo and the pin ledger, I23 to I28. */
#include "check_damage_ledger.h"

/* What a mount leaves is no error: pins of a file's blocks, of blocks in limbo and of blocks that are free. */
static void test_sound(void **state)
{
	struct meta *meta = open_meta(pool.meta);
	const struct check_report *report;

	(void)state;
	add_session(meta, 1);
	add_session(meta, 2);
	add_pin(meta, 1, 1, pool.file, fmt_phys(0, 1), 2);
	add_pin(meta, 2, 1, pool.file, fmt_phys(0, FREE_BLOCK), 9);
	add_pin(meta, 3, 2, pool.file, fmt_phys(0, FREE_BLOCK + 10), 9);
	to_limbo(meta, fmt_phys(0, FREE_BLOCK), 5, false);
	to_limbo(meta, fmt_phys(0, FREE_BLOCK + 100), 3, false); /* which no pin names */
	to_limbo(meta, fmt_phys(0, FREE_BLOCK + 200), 1, true);
	meta_close(meta);
	report = &check_copy(true)->report;
	assert_int_equal(report->errors + report->notes, 0);
	assert_int_equal(report->limbo_bytes, 8 * FMT_BLOCK_SIZE);
	assert_int_equal(report->bad_bytes, FMT_BLOCK_SIZE);
	assert_int_equal(report->ledger_sessions, 2);
	assert_int_equal(report->ledger_pins, 3);
	assert_int_equal(report->ledger_void, 0);
	assert_int_equal(report->blocks_used, MANY_EXTENTS + 9 + 9);
	assert_int_equal(report->inodes, BIG_ENTRIES + 11);
	assert_int_equal(check_copy(false)->report.ledger_pins, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_sound),	TEST(test_i23_place),	TEST(test_i23_unwritten), TEST(test_i7_limbo),
		TEST(test_i24_limbo),	TEST(test_i24_bad),	TEST(test_i24_both),	  TEST(test_i7_bad),
		TEST(test_i25_name),	TEST(test_i25_session), TEST(test_i25_pin),	  TEST(test_i25_extents),
		TEST(test_i26_missing), TEST(test_i26_short),	TEST(test_i26_long),	  TEST(test_i27_session),
		TEST(test_i28_other),	TEST(test_i28_end),	TEST(test_i28_outside),	  TEST(test_i28_generation),
		TEST(test_i3_own),	TEST(test_i3_limbo),
	};

	return cmocka_run_group_tests(tests, make_all, remove_all);
}
