/*
 * src/check against bit flips, one at a time, anywhere in the meta part: it never crashes or hangs, and no flip in a
 * record under a checksum of ours is silently accepted.
 */
#include "check_pool.h"

/* Bytes under a checksum of ours, of records that are in use. */
struct sealed {
	size_t start[4096];
	size_t length[4096];
	size_t count;
};

static void seal(struct sealed *sealed, const struct image *image, const void *start, size_t length)
{
	assert_true(sealed->count < ARRAY_SIZE(sealed->start));
	sealed->start[sealed->count] = (size_t)((const unsigned char *)start - image->base);
	sealed->length[sealed->count++] = length;
}

static void seal_page(struct sealed *sealed, const struct image *image, const void *page)
{
	const struct fmt_names *names = page;
	const struct fmt_node *node = page;
	const struct fmt_blob *blob = page;

	if (node->magic == FMT_NODE_MAGIC) {
		seal(sealed, image, node, offsetof(struct fmt_node, record) + node->count * sizeof(node->record[0]));
	} else if (blob->magic == FMT_BLOB_MAGIC) {
		seal(sealed, image, blob, offsetof(struct fmt_blob, bytes) + blob->count);
	} else if (names->magic == FMT_NAMES_MAGIC) {
		seal(sealed, image, names, offsetof(struct fmt_names, unit));
		for (unsigned unit = 0; unit < FMT_NAMES_UNITS; unit++)
			if ((names->start >> unit & 1) != 0)
				seal(sealed, image, names->unit[unit],
				     fmt_name_bytes((struct fmt_name *)names->unit[unit], names->kind));
	}
}

/* Pages that an inode has left behind still look like pages: those of each inode are followed from its maps. */
static void seal_map(struct sealed *sealed, const struct image *image, uint64_t page, unsigned level, bool names)
{
	const struct fmt_node *node = image_page(image, page);

	seal_page(sealed, image, node);
	for (unsigned i = 0; i < node->count; i++) {
		if (level > 0)
			seal_map(sealed, image, node->record[i].value, level - 1, names);
		else if (names)
			seal_page(sealed, image, image_page(image, node->record[i].value));
	}
}

static void seal_inode(struct sealed *sealed, const struct image *image, const struct fmt_inode *inode)
{
	bool names = S_ISDIR(inode->mode);

	/* The magic too: one flipped bit does not make it 0, a free slot's. */
	seal(sealed, image, inode, sizeof(*inode));
	if (inode->body.height > 0)
		seal_map(sealed, image, inode->body.root, inode->body.height - 1u, names);
	for (unsigned i = 0; names && i < inode->body.count; i++)
		seal_page(sealed, image, image_page(image, inode->record[i].value));
	if (S_ISLNK(inode->mode) && inode->size > FMT_SYMLINK_INLINE_MAX)
		seal_page(sealed, image, image_page(image, inode->body.root));
	for (unsigned i = 0; i < inode->xattrs.count; i++)
		seal_page(sealed, image, image_page(image, inode->xattr_record[i].value));
}

static void find_sealed(struct sealed *sealed, const struct image *image)
{
	seal(sealed, image, image->super, offsetof(struct fmt_super, state));
	seal(sealed, image, image->super->needs, sizeof(*image->super) - offsetof(struct fmt_super, needs));
	for (uint64_t group = 0; group < image->super->groups; group++) {
		const struct fmt_group *header = (struct fmt_group *)image_frame(image, group, 0);

		seal(sealed, image, &header->magic, 48);
		for (unsigned at = 1; at < FMT_GROUP_FRAMES * FMT_FRAME_SLOTS; at++) {
			const struct fmt_inode *inode = image_inode(image, group << 10 | at);

			if ((header->inode_frames >> (at / FMT_FRAME_SLOTS) & 1) != 0 && !fmt_inode_free(inode))
				seal_inode(sealed, image, inode);
		}
	}
}

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
