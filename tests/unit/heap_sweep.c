/*
 * What libpmemobj keeps in a pool, damaged word by word: header, descriptor, heap, zone and chunk headers, logs.
 * Mounting and checking such a pool ends, in time and without a crash, with a refusal or with all that is ours as it
 * was.
 */
#include "check_pool.h"
#include "format/pmdk.h"
#include "fs/fs.h"

/* HEAP_SWEEP=N: so many samples. They are others each day. */
#define SAMPLE 60u
#define SECONDS 60u

enum outcome { OUTCOME_SOUND, OUTCOME_REFUSED, OUTCOME_REPORTED };

static const struct {
	const char *name;
	uint64_t start;
	uint64_t length;
} areas[] = {
	{"pool header", 0, 4096},
	{"descriptor", 4096, 4096},
	{"lane 0", PMDK_LANES_AT, PMDK_LANE_SIZE},
	{"lane 1", PMDK_LANES_AT + PMDK_LANE_SIZE, 512},
	{"lane 1023", PMDK_LANES_AT + 1023 * PMDK_LANE_SIZE + 900, 260},
	{"heap header", PMDK_HEAP_AT, 1024},
	{"zone and chunk headers", PMDK_HEAP_AT + 1024, 64 + 8 * 64},
	{"first chunk", PMDK_CHUNKS_AT, 512},
	{"object header", PMDK_CHUNKS_AT + PMDK_CHUNK_SIZE, 16},
};

static int open_fs(struct fs **ret_fs, struct message *message)
{
	const char *data = pool.data;
	const struct fs_options options = {.meta_path = pool.meta, .data_paths = &data, .data_count = 1};

	return fs_open(&options, ret_fs, message);
}

/* In a child of its own, as the daemon would. */
static enum outcome mount_and_check(void)
{
	const char *data = pool.data;
	const struct check_options options = {
		.meta_path = pool.meta, .data_paths = &data, .data_count = 1, .stall_seconds = 20};
	struct check_report report;
	struct message message = {{0}};
	struct fs *fs;

	if (open_fs(&fs, &message) != 0) {
		if (getenv("CHECK_VERBOSE") != NULL)
			fprintf(stderr, "# %s\n", message.text);
		/* Who reads it must know what is left to do. */
		return strstr(message.text, "--rescue") != NULL || strstr(message.text, "fsck") != NULL ||
				       strstr(message.text, "mkfs") != NULL
			       ? OUTCOME_REFUSED
			       : OUTCOME_REPORTED;
	}
	fs_close(fs);
	if (check_pool(&options, &report, NULL) != 0)
		return OUTCOME_REFUSED;
	return report.errors > 0 ? OUTCOME_REPORTED : OUTCOME_SOUND;
}

static enum outcome run_forked(const char *what)
{
	static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		for (size_t i = 0; i < ARRAY_SIZE(fatal); i++)
			signal(fatal[i], SIG_DFL);
		alarm(SECONDS);
		_exit(mount_and_check());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status))
		fail_msg("%s: the mount ended with status %#x", what, (unsigned)status);
	if (WEXITSTATUS(status) > OUTCOME_REFUSED)
		fail_msg("%s: outcome %d", what, WEXITSTATUS(status));
	return (enum outcome)WEXITSTATUS(status);
}

/* All groups are as they were, but for libpmemobj's first 16 bytes of an arena. */
static void compare_groups(const struct image *image, const struct image *sound, const char *what)
{
	for (uint64_t group = 0; group < sound->super->groups; group++) {
		const unsigned char *want = image_frame(sound, group, 0);
		const unsigned char *got = image->base + (want - sound->base);

		if (memcmp(want + 16, got + 16, FMT_GROUP_SIZE - 16) != 0)
			fail_msg("%s: group %lu has changed", what, group);
	}
}

static uint64_t scramble(uint64_t value)
{
	value = (value + 1) * 0x9e3779b97f4a7c15ull;
	value ^= value >> 29;
	value *= 0xbf58476d1ce4e5b9ull;
	return value ^ value >> 32;
}

/* Zeros and ones, a bit, a place in the pool, one of ours, with each kind of log entry, and anything. */
static uint64_t choose_value(uint64_t old, uint64_t seed, const struct image *sound)
{
	uint64_t random = scramble(seed);
	uint64_t inode = (uint64_t)((unsigned char *)image_inode(sound, pool.file) - sound->base);

	switch (seed % 8) {
	case 0:
		return 0;
	case 1:
		return UINT64_MAX;
	case 2:
		return old ^ 1ull << random % 64;
	case 3:
		return random % META_SIZE / 16 * 16;
	case 4:
		return inode | random % 8 << 61;
	case 5:
		return old + 1;
	case 6:
		return META_SIZE + random % (1ull << 40);
	default:
		return random;
	}
}

static void sweep_word(const struct image *sound, uint64_t offset, uint64_t seed, const char *name)
{
	struct image image;
	uint64_t value;
	char what[128];

	copy_file(pool.sound_meta, pool.meta);
	image = map_image(pool.meta);
	memcpy(&value, image.base + offset, sizeof(value));
	value = choose_value(value, seed, sound);
	memcpy(image.base + offset, &value, sizeof(value));
	snprintf(what, sizeof(what), "%s: byte %lu, seed %lu, value %#lx", name, offset, seed, value);
	(void)run_forked(what);
	compare_groups(&image, sound, what);
	unmap_image(&image);
}

/* Each area as often as any other, whatever its length. */
static void sweep_nth(const struct image *sound, uint64_t place, uint64_t seed)
{
	size_t area = place % ARRAY_SIZE(areas);
	uint64_t word = place / ARRAY_SIZE(areas) % (areas[area].length / 8);

	sweep_word(sound, areas[area].start + word * 8, seed, areas[area].name);
}

static void test_words(void **state)
{
	const char *count = getenv("HEAP_SWEEP");
	uint64_t samples = count != NULL ? strtoull(count, NULL, 10) : SAMPLE;
	uint64_t day = (uint64_t)time(NULL) / 86400;
	struct image sound = map_image(pool.sound_meta);

	(void)state;
	print_message("# %lu samples of day %lu\n", samples, day);
	for (uint64_t i = 0; i < samples; i++)
		sweep_nth(&sound, scramble(day << 32 | i), scramble(day + i));
	unmap_image(&sound);
}

static int make_mounted_pool(void **state)
{
	struct message message = {{0}};
	struct fs *fs;

	make_pool(state);
	/* What the first mount adds is there. */
	copy_pool(state);
	if (open_fs(&fs, &message) != 0)
		fail_msg("%s", message.text);
	fs_close(fs);
	copy_file(pool.meta, pool.sound_meta);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_words),
	};

	return cmocka_run_group_tests(tests, make_mounted_pool, remove_pool);
}
