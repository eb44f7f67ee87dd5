/* Transactions of many changes, committed and aborted, against their double. */
#include "meta_model.h"

static void test_batches(void **state)
{
	enum { STEPS = 6000 };
	static struct model model;
	struct meta_space before, after;
	struct scratch scratch;

	(void)state;
	scratch_create(&scratch, 32ull << 20);
	model_create(&model, scratch.meta, 4711);
	for (unsigned i = 0; i < STEPS; i++) {
		model_step(&model, scratch.meta);
		if (i % 20 == 0)
			model_verify(&model, scratch.meta);
		if (i % 500 == 0)
			model_reopen(&scratch);
	}
	model_reopen(&scratch);
	model_verify(&model, scratch.meta);
	meta_space(scratch.meta, &before);
	scratch_reopen(&scratch);
	meta_space(scratch.meta, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	scratch_destroy(&scratch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_batches),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
