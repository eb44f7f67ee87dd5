/*
 * src/repair against random damage: a few places in records that are in use become garbage. A repair ends with a
 * clean pool, in which all that it does not tell of is as it was; or it refuses and has changed nothing.
 */
#include "check_sealed.h"
#include "repair_pool.h"

/* REPAIR_PLACES: up to how many places; else 3. */
static unsigned places_max(void)
{
	const char *places = getenv("REPAIR_PLACES");

	return places != NULL ? (unsigned)strtoul(places, NULL, 10) : 3;
}

struct random {
	uint64_t state;
};

static uint64_t next(struct random *random, uint64_t below)
{
	random->state += 0x9e3779b97f4a7c15ull;
	uint64_t value = random->state;

	value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9ull;
	value = (value ^ value >> 27) * 0x94d049bb133111ebull;
	return (value ^ value >> 31) % below;
}

/* From one byte to a page: a bit, a word, a cache line, a block of a device. */
static void damage_place(const struct image *image, const struct sealed *sealed, struct random *random)
{
	static const size_t lengths[] = {1, 8, 64, 256, 4096};
	size_t range = next(random, sealed->count);
	size_t at = sealed->start[range] + next(random, sealed->length[range]);
	size_t length = lengths[next(random, ARRAY_SIZE(lengths))];
	const bool zeros = next(random, 4) == 0;

	at -= at % length;
	/* What is libpmemobj's is another test's. */
	if (at < image->super->arena[0].offset)
		at = image->super->arena[0].offset;
	for (size_t i = 0; i < length && at + i < image->length; i++)
		image->base[at + i] = zeros ? 0 : (unsigned char)next(random, 256);
}

/* Inodes whose record is hit may be gone for ever. */
static void touch_hit(struct touched *touched, const struct tree *sound, const struct image *image)
{
	for (size_t i = 0; i < sound->count; i++)
		if (memcmp(image_inode(image, sound->leaf[i].ino), &sound->leaf[i].inode, FMT_SLOT_SIZE) != 0)
			touch(touched, sound->leaf[i].ino);
}

static void damage(unsigned seed, const struct sealed *sealed, struct touched *ret_hit)
{
	struct tree sound = read_tree(pool.sound_meta, pool.sound_data);
	struct random random = {.state = seed * 1000003ull};
	struct image image = map_image(pool.meta);
	unsigned places = 1 + (unsigned)next(&random, places_max());
	struct fmt_super super = *image.super;

	/* The head of the first group is an object's of libpmemobj. */
	unsigned char object[16];

	memcpy(object, image.base + super.arena[0].offset, sizeof(object));
	while (places-- > 0)
		damage_place(&image, sealed, &random);
	memcpy(image.base + super.arena[0].offset, object, sizeof(object));
	touch_hit(ret_hit, &sound, &image);
	free(sound.leaf);
	unmap_image(&image);
}

enum outcome { OUTCOME_MENDED = 10, OUTCOME_REFUSED, OUTCOME_LEFT, OUTCOME_WRONG };

/* All in a child, so that a crash or a standstill is this seed's failure. */
static enum outcome try(unsigned seed, const struct sealed *sealed)
{
	const struct mending *mending;
	struct touched touched = {.count = 0};

	copy_pool(NULL);
	damage(seed, sealed, &touched);
	mending = repair_copy(true, false);
	if (mending->error != 0) {
		print_error("seed %u: %s\n", seed, mending->message);
		return OUTCOME_REFUSED;
	}
	if (mending->result.after.errors != 0)
		return OUTCOME_LEFT;
	for (size_t i = 0; i < mending->mended.count; i++)
		touch(&touched, mending->mended.ino[i]);
	touch(&touched, FMT_INO_ROOT);
	if (repair_copy(true, false)->result.mended != 0)
		return OUTCOME_WRONG;
	(void)compare_pools(&touched);
	return OUTCOME_MENDED;
}

static enum outcome try_apart(unsigned seed, const struct sealed *sealed)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(60);
		_exit(try(seed, sealed));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status) < OUTCOME_MENDED)
		fail_msg("seed %u: the repair ended with status %#x", seed, (unsigned)status);
	return (enum outcome)WEXITSTATUS(status);
}

static void test_sweep(void **state)
{
	const char *seeds = getenv("REPAIR_SEEDS"), *first = getenv("REPAIR_SEED"); /* how many; the first one */
	unsigned count = seeds != NULL ? (unsigned)strtoul(seeds, NULL, 10) : 40;
	unsigned from = first != NULL ? (unsigned)strtoul(first, NULL, 10) : 1;
	struct sealed *sealed = calloc(1, sizeof(*sealed));
	struct image image;
	unsigned wrong = 0;

	(void)state;
	assert_non_null(sealed);
	image = map_image(pool.meta);
	find_sealed(sealed, &image);
	unmap_image(&image);
	for (unsigned seed = from; seed < from + count; seed++) {
		enum outcome outcome = try_apart(seed, sealed);

		if (outcome == OUTCOME_MENDED)
			continue;
		wrong++;
		print_error("seed %u: %s\n", seed,
			    outcome == OUTCOME_REFUSED ? "refused"
			    : outcome == OUTCOME_LEFT  ? "errors are left"
						       : "a second repair has something to do");
	}
	free(sealed);
	assert_int_equal(wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_sweep),
	};

	return cmocka_run_group_tests(tests, make_pool, remove_pool);
}
