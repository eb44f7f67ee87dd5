/*
 * src/repair: each invariant is broken as the tests of src/check break it, mended, and found clean; what was sound is
 * untouched, and a second repair has nothing to do.
 */
#include "check_damage.h"
#include "check_damage_ledger.h"
#include "check_damage_tree.h"
#include "repair_pool.h"

/* What is told of the second time. */
static void assert_second_does_nothing(void)
{
	const struct mending *mending = repair_copy(true, false);

	assert_int_equal(mending->error, 0);
	assert_int_equal(mending->actions, 0);
	assert_int_equal(mending->result.mended, 0);
	assert_int_equal(mending->result.before.errors, 0);
}

static void assert_clean(bool in_process)
{
	const struct found *found = check_copy(in_process);

	for (size_t i = 0; i < found->count; i++)
		print_error("left: %s of inode %lu\n", found->problem[i].invariant, found->problem[i].ino);
	assert_int_equal(found->report.errors, 0);
}

static void touch_all(struct touched *touched, const struct touched *more)
{
	for (size_t i = 0; i < more->count; i++)
		touch(touched, more->ino[i]);
}

/* The pool has been broken; `more`, 0 or an inode that follows. */
static unsigned mend_and_compare(uint64_t more, bool in_process)
{
	struct touched touched = {.count = 0};
	const struct mending *mending = repair_copy(in_process, false);

	if (mending->error != 0)
		fail_msg("%s", mending->message);
	assert_true(mending->actions > 0);
	assert_int_equal(mending->actions, mending->result.mended);
	assert_int_equal(mending->result.after.errors, 0);
	touch_all(&touched, &mending->mended);
	touch(&touched, FMT_INO_ROOT); /* which has /lost+found */
	touch(&touched, more);
	assert_clean(in_process);
	assert_second_does_nothing();
	return compare_pools(&touched);
}

/* Every damage of the tests of src/check that can be mended. */
struct damage {
	const char *name;
	void (*run)(void **state);
	const uint64_t *touched; /* besides what the repair tells of */
};

#define DAMAGE(name, touched)                                                                                          \
	{                                                                                                              \
#name, test_##name, touched                                                                            \
	}

static const struct damage damages[] = {
	DAMAGE(i1_state, NULL),	       DAMAGE(i2_group, NULL),	    DAMAGE(i3_inode, NULL),
	DAMAGE(i3_implausible, NULL),  DAMAGE(i4_node, NULL),	    DAMAGE(i4_order, NULL),
	DAMAGE(i5_record, NULL),       DAMAGE(i6_page_twice, NULL), DAMAGE(i7_outside, NULL),
	DAMAGE(i8_twice, &pool.file),  DAMAGE(i9_overlap, NULL),    DAMAGE(i9_length, NULL),
	DAMAGE(i10_blocks, NULL),      DAMAGE(i11_beyond, NULL),    DAMAGE(i12_tail, &pool.tiny),
	DAMAGE(i21_copy, NULL),	       DAMAGE(i21_header, NULL),    DAMAGE(i21_record, NULL),
	DAMAGE(i13_name, NULL),	       DAMAGE(i13_key, NULL),	    DAMAGE(i14_illegal, &pool.tiny),
	DAMAGE(i14_twice, &pool.fifo), DAMAGE(i15_dangling, NULL),  DAMAGE(i15_reserved, NULL),
	DAMAGE(i15_generation, NULL),  DAMAGE(i15_type, NULL),	    DAMAGE(i16_links, NULL),
	DAMAGE(i16_lost, NULL),	       DAMAGE(i17_parent, NULL),    DAMAGE(i17_two_parents, &pool.big),
	DAMAGE(i17_circle, &pool.a),   DAMAGE(i17_lost, &pool.a),   DAMAGE(i17_root, NULL),
	DAMAGE(i18_size, NULL),	       DAMAGE(i19_symlink, NULL),   DAMAGE(i19_size, NULL),
	DAMAGE(i20_value, NULL),       DAMAGE(i22_orphan, NULL),    DAMAGE(i22_intent, NULL),
	DAMAGE(i29_mode, NULL),	       DAMAGE(i29_place, NULL),	    DAMAGE(i29_form, NULL),
	DAMAGE(i23_place, NULL),       DAMAGE(i23_unwritten, NULL), DAMAGE(i7_limbo, NULL),
	DAMAGE(i24_limbo, &pool.file), DAMAGE(i7_bad, NULL),	    DAMAGE(i25_name, NULL),
	DAMAGE(i25_session, NULL),     DAMAGE(i25_pin, NULL),	    DAMAGE(i25_extents, NULL),
	DAMAGE(i26_missing, NULL),     DAMAGE(i26_short, NULL),	    DAMAGE(i28_other, NULL),
	DAMAGE(i28_end, NULL),	       DAMAGE(i28_outside, NULL),   DAMAGE(i28_generation, NULL),
	DAMAGE(i3_own, NULL),	       DAMAGE(i3_limbo, NULL),
};

static void test_each(void **state)
{
	const char *only = getenv("REPAIR_ONLY"); /* a name */

	for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
		const struct damage *damage = &damages[i];

		if (only != NULL && strcmp(only, damage->name) != 0)
			continue;
		copy_pool(NULL);
		print_message("# %s\n", damage->name);
		damage->run(state);
		mend_and_compare(damage->touched != NULL ? *damage->touched : 0, i % 6 != 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_each),
	};

	return cmocka_run_group_tests(tests, make_all, remove_all);
}
