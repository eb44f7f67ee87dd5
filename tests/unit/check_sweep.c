/*
 * src/check against bit flips, one at a time, anywhere in the meta part: it never crashes or hangs, and no flip in a
 * record under a checksum of ours is silently accepted.
 */
#include "check_sealed.h"

enum outcome { OUTCOME_SILENT, OUTCOME_REPORTED, OUTCOME_REFUSED };

/* The whole check, as fsck runs it, with a limit of time; a crash or a standstill of it fails the test. */
static enum outcome check_forked(unsigned seed, size_t offset)
{
	const char *data = pool.data;
	struct check_options options = {
		.meta_path = pool.meta, .data_paths = &data, .data_count = 1, .stall_seconds = 20};
	struct check_report report;
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		/* A crash is to be one, not an exception that the test runner catches in the child. */
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		signal(SIGABRT, SIG_DFL);
		signal(SIGFPE, SIG_DFL);
		signal(SIGILL, SIG_DFL);
		alarm(60);
		if (check_pool(&options, &report, NULL) != 0)
			_exit(OUTCOME_REFUSED);
		_exit(report.errors > 0 ? OUTCOME_REPORTED : OUTCOME_SILENT);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status) > OUTCOME_REFUSED)
		fail_msg("seed %u: a flip at byte %zu ended the check: status %#x", seed, offset, (unsigned)status);
	return (enum outcome)WEXITSTATUS(status);
}

/* Half of the flips in our sealed records, a quarter in what libpmemobj keeps at the start, the rest anywhere. */
static size_t choose_offset(const struct sealed *sealed, const struct image *image, unsigned seed, bool *ret_sealed)
{
	uint64_t random = seed * 0x9e3779b97f4a7c15ull;
	size_t range;

	random ^= random >> 29;
	random *= 0xbf58476d1ce4e5b9ull;
	random ^= random >> 32;
	*ret_sealed = seed % 2 == 0;
	if (*ret_sealed) {
		range = random % sealed->count;
		return sealed->start[range] + random / sealed->count % sealed->length[range];
	}
	return random % (seed % 4 == 1 ? (size_t)4 << 20 : image->length);
}

static void test_sweep(void **state)
{
	const char *seeds = getenv("CHECK_SEEDS"); /* how many; a failure names its seed */
	unsigned count = seeds != NULL ? (unsigned)strtoul(seeds, NULL, 10) : 300;
	struct sealed *sealed = calloc(1, sizeof(*sealed));
	struct image image = map_image(pool.meta);
	bool is_sealed;

	(void)state;
	assert_non_null(sealed);
	find_sealed(sealed, &image);
	assert_true(sealed->count > BIG_ENTRIES * 2);
	for (unsigned seed = 0; seed < count; seed++) {
		size_t offset = choose_offset(sealed, &image, seed, &is_sealed);
		enum outcome outcome;

		image.base[offset] ^= (unsigned char)(1u << seed / 4 % 8);
		outcome = check_forked(seed, offset);
		image.base[offset] ^= (unsigned char)(1u << seed / 4 % 8);
		if (is_sealed && outcome != OUTCOME_REPORTED)
			fail_msg("seed %u: a flip at byte %zu, in a sealed record, is not reported (outcome %d)", seed,
				 offset, outcome);
	}
	assert_int_equal(check_forked(count, 0), OUTCOME_SILENT);
	unmap_image(&image);
	free(sealed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_sweep),
	};

	return cmocka_run_group_tests(tests, make_pool, remove_pool);
}
