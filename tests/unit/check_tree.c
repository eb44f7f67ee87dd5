/* src/check: names, the tree and values: I13 to I20, I29, and what a crash may leave, I22. As check.c. */
#include "check_damage_tree.h"

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_i13_name),	 TEST(test_i13_key),	  TEST(test_i14_illegal),    TEST(test_i14_twice),
		TEST(test_i15_dangling), TEST(test_i15_reserved), TEST(test_i15_generation), TEST(test_i15_type),
		TEST(test_i16_links),	 TEST(test_i16_lost),	  TEST(test_i17_parent),     TEST(test_i17_two_parents),
		TEST(test_i17_circle),	 TEST(test_i17_lost),	  TEST(test_i17_root),	     TEST(test_i18_size),
		TEST(test_i19_symlink),	 TEST(test_i19_size),	  TEST(test_i20_value),	     TEST(test_i22_orphan),
		TEST(test_i22_intent),	 TEST(test_i29_sound),	  TEST(test_i29_mode),	     TEST(test_i29_place),
		TEST(test_i29_form),
	};

	return cmocka_run_group_tests(tests, make_pool, remove_pool);
}
