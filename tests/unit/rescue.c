/*
 * src/rescue against pools that were made to harm: names that leave the folder, loops, blocks of others, transactions
 * that did not end, and logs that libpmemobj must not see (src/format/pmdk.c).
 */
#include "check_pool.h"
#include "format/pmdk.h"
#include "rescue/rescue.h"

#include <ftw.h>

static struct {
	char target[160];
	char text[1 << 16];
	struct rescue_report report;
} out;

static void note_lost(void *arg, const char *text)
{
	(void)arg;
	assert_null(strchr(text, '\n'));
	assert_true(strlen(out.text) + strlen(text) + 2 < sizeof(out.text));
	strcat(out.text, text);
	strcat(out.text, "\n");
}

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *place)
{
	(void)stat;
	(void)type;
	(void)place;
	return remove(path);
}

static int remove_target(void **state)
{
	(void)state;
	(void)nftw(out.target, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}

static int rescue_with(void (*progress)(void *arg, const char *phase, uint64_t done, uint64_t total))
{
	const char *data = pool.data;
	const struct rescue_options options = {.meta_path = pool.meta,
					       .data_paths = &data,
					       .data_count = 1,
					       .target = out.target,
					       .lost = note_lost,
					       .progress = progress};
	struct message message = {{0}};
	int error;

	snprintf(out.target, sizeof(out.target), "%s/out", pool.folder);
	remove_target(NULL);
	out.text[0] = '\0';
	error = rescue_pool(&options, &out.report, &message);
	if (getenv("CHECK_VERBOSE") != NULL)
		fprintf(stderr, "%s# %d %s\n", out.text, error, message.text);
	return error;
}

static int rescue(void)
{
	return rescue_with(NULL);
}

static bool made(const char *name, struct stat *ret_stat)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", out.target, name);
	return lstat(path, ret_stat) == 0;
}

static void expect_made(const char *name)
{
	struct stat stat;

	if (!made(name, &stat))
		fail_msg("%s is not there; said: %s", name, out.text);
}

static void expect_said(const char *text)
{
	if (strstr(out.text, text) == NULL)
		fail_msg("`%s` is not said: %s", text, out.text);
}

static void expect_whole(void)
{
	static const char *const names[] = {"a/b/c/tiny",	    "a/file", "link",  "a/many",
					    "big/entry number 299", "a/long", "a/fifo"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		expect_made(names[i]);
}

static void test_whole(void **state)
{
	struct stat file, link;

	(void)state;
	assert_int_equal(rescue(), 0);
	assert_string_equal(out.text, "");
	expect_whole();
	assert_int_equal(out.report.files, BIG_ENTRIES + 3);
	assert_true(made("a/file", &file) && made("link", &link));
	assert_int_equal(file.st_ino, link.st_ino);
	assert_int_equal(file.st_size, 5 * FMT_BLOCK_SIZE + 100);
	/* Not the hole, not what is unwritten. */
	assert_true(file.st_blocks * 512 <= 4 * FMT_BLOCK_SIZE);
	/* A target that is not empty is left alone. */
	assert_int_equal(
		rescue_pool(&(struct rescue_options){.meta_path = pool.meta, .target = pool.folder, .lost = note_lost},
			    &out.report, &(struct message){{0}}),
		-ENOTEMPTY);
}

static uint32_t seed_of(const struct image *image, uint64_t ino)
{
	return fmt_owner_seed(ino, image_inode(image, ino)->generation);
}

/* A page that is freed does not say any more that it is one. */
static void test_freed_pages(void **state)
{
	struct image image = map_image(pool.meta);
	const struct fmt_inode *file = image_inode(&image, pool.file);
	const struct fmt_names *names = image_names(&image, &file->xattrs, file->xattr_record);
	const struct fmt_blob *blob = NULL;
	struct meta *meta;
	struct meta_tx *tx;

	(void)state;
	for (unsigned unit = 0; unit < FMT_NAMES_UNITS; unit++) {
		const struct fmt_name *name = fmt_name_at(names, unit, seed_of(&image, pool.file));

		if (name != NULL && name->type == FMT_XATTR_BLOB)
			blob = image_page(&image, name->target);
	}
	assert_non_null(blob);
	assert_int_equal(blob->magic, FMT_BLOB_MAGIC);
	meta = open_meta(pool.meta);
	tx = begin(meta, 0);
	assert_int_equal(meta_xattr_remove(tx, get(meta, pool.file), "user.big", 8), 0);
	assert_int_equal(blob->magic, FMT_BLOB_MAGIC);
	assert_int_equal(meta_commit(tx), 0);
	meta_close(meta);
	assert_int_equal(blob->magic, 0);
	unmap_image(&image);
}

/* ---- Hostile records ---- */

/* The entry `name` gets bytes of the same length. */
static void rename_entry(const struct image *image, uint64_t directory, const char *name, const char *bytes)
{
	struct fmt_name *found = image_name(image, directory, name, NULL);

	memcpy(found->bytes, bytes, found->name_length);
	fmt_name_seal(found, FMT_KIND_ENTRIES, seed_of(image, directory));
}

static void test_names(void **state)
{
	struct image image = map_image(pool.meta);
	char name[64];
	struct stat stat;

	(void)state;
	rename_entry(&image, pool.a, "file", "../f");
	rename_entry(&image, pool.a, "many", "/tmp");
	rename_entry(&image, pool.b, "c", ".");
	rename_entry(&image, pool.a, "fifo", "f\0fo");
	rename_entry(&image, pool.a, "short", "\033[31m");
	unmap_image(&image);
	assert_int_equal(rescue(), 0);
	expect_said("/a/../f: ");
	expect_said("/a//tmp: ");
	expect_said("/a/f\\000fo: ");
	assert_null(strchr(out.text, '\033'));
	snprintf(name, sizeof(name), "lost+found/#%lu", pool.many);
	expect_made(name);
	snprintf(name, sizeof(name), "lost+found/#%lu/tiny", pool.c);
	expect_made(name);
	/* It has another name. */
	expect_made("link");
	snprintf(name, sizeof(name), "lost+found/#%lu", pool.file);
	assert_false(made(name, &stat));
	assert_false(made("f", &stat));
	expect_made("a/\033[31m");
}

/* An entry names what it should not. */
static void retarget(const struct image *image, uint64_t directory, const char *name, uint64_t ino, uint8_t type)
{
	struct fmt_name *found = image_name(image, directory, name, NULL);

	found->target = ino;
	found->generation = image_inode(image, ino)->generation;
	found->type = type;
	fmt_name_seal(found, FMT_KIND_ENTRIES, seed_of(image, directory));
}

static void test_loops(void **state)
{
	struct image image = map_image(pool.meta);
	char name[64];

	(void)state;
	/* a/b/c/tiny is a; and what named a is big: a, b and c are a ring. */
	retarget(&image, pool.c, "tiny", pool.a, DT_DIR);
	retarget(&image, FMT_INO_ROOT, "a", pool.big, DT_DIR);
	retarget(&image, pool.a, "short", FMT_INO_ROOT, DT_DIR);
	retarget(&image, pool.a, "fifo", FMT_INO_PARTS, DT_REG);
	unmap_image(&image);
	assert_int_equal(rescue(), 0);
	snprintf(name, sizeof(name), "lost+found/#%lu", pool.tiny);
	expect_made(name);
	expect_said("has another name already");
	expect_said("/fifo: its inode 2 is damaged");
	assert_true(out.report.directories <= 5);
}

static void test_shared_nodes(void **state)
{
	struct image image = map_image(pool.meta);
	struct fmt_inode *many = image_inode(&image, pool.many);
	struct fmt_node *root = image_page(&image, many->body.root);

	(void)state;
	assert_true(root->level == 1 && root->count >= 3);
	/* All children are one; and a root that is its own child. */
	for (unsigned i = 1; i < root->count; i++) {
		root->record[i].value = root->record[0].value;
		fmt_record_seal(&root->record[i], seed_of(&image, pool.many));
	}
	/* The others are found by what they say themselves: with them the file has as many blocks as it must have. */
	assert_int_equal(rescue(), 0);
	assert_string_equal(out.text, "");
	many->blocks++;
	fmt_inode_seal(many);
	assert_int_equal(rescue(), 0);
	expect_said("/a/many: bytes ");
	root->record[0].value = many->body.root;
	fmt_record_seal(&root->record[0], seed_of(&image, pool.many));
	unmap_image(&image);
	assert_int_equal(rescue(), 0);
	expect_said("/a/many: bytes 0 to ");
	expect_made("a/many");
}

/* Blocks of a file, by a record that verifies, in another one. */
static void test_stolen_blocks(void **state)
{
	struct image image = map_image(pool.meta);
	struct fmt_inode *tiny = image_inode(&image, pool.tiny), *file = image_inode(&image, pool.file);
	char bytes[8] = {0}, path[256], secret[] = "secret";
	int fd;

	(void)state;
	write_data(fmt_phys_block(file->record[0].value) * FMT_BLOCK_SIZE, secret, sizeof(secret));
	tiny->record[0].value = file->record[0].value;
	fmt_record_seal(&tiny->record[0], seed_of(&image, pool.tiny));
	fmt_inode_seal(tiny);
	unmap_image(&image);
	assert_int_equal(rescue(), 0);
	expect_said("/a/b/c/tiny: bytes 0 to 6 are left out: another file has the same blocks");
	expect_said("/a/file: bytes 0 to 4095 are left out");
	snprintf(path, sizeof(path), "%s/a/b/c/tiny", out.target);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, bytes, sizeof(bytes)), 7);
	close(fd);
	assert_memory_equal(bytes, "\0\0\0\0\0\0\0", 7);
}

/* Enormous extents, again and again: an end in time. */
static void test_absurd_extents(void **state)
{
	struct image image = map_image(pool.meta);
	struct fmt_inode *many = image_inode(&image, pool.many);
	struct fmt_node *root = image_page(&image, many->body.root);

	(void)state;
	for (unsigned i = 0; i < root->count; i++) {
		struct fmt_node *leaf = image_page(&image, root->record[i].value);

		for (unsigned j = 0; j < leaf->count; j++) {
			leaf->record[j].key *= 1ull << 31;
			leaf->record[j].value = fmt_phys(0, 0);
			leaf->record[j].length = FMT_EXTENT_LENGTH_MAX;
			fmt_record_seal(&leaf->record[j], seed_of(&image, pool.many));
		}
		root->record[i].key *= 1ull << 31;
		fmt_record_seal(&root->record[i], seed_of(&image, pool.many));
	}
	many->size = FMT_FILE_SIZE_MAX;
	fmt_inode_seal(many);
	unmap_image(&image);
	assert_int_equal(rescue(), -EUCLEAN);
}

/* Memory errors, in a file's block and in the meta part: they cost that range only. */
static void test_poison(void **state)
{
	struct image image = map_image(pool.meta), data = {.length = PART_BLOCKS * FMT_BLOCK_SIZE};
	const struct fmt_node *root = image_page(&image, image_inode(&image, pool.many)->body.root);
	uintptr_t leaf = (uintptr_t)image_page(&image, root->record[1].value) + FMT_BLOCK_SIZE / 2;
	int fd = open(pool.data, O_RDWR | O_CLOEXEC);
	volatile unsigned char *block;

	(void)state;
	assert_true(fd >= 0);
	data.base = mmap(NULL, data.length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(data.base, MAP_FAILED);
	close(fd);
	/* The third block of `file` that is data: its bytes from 16384 on. */
	block = data.base + 3 * FMT_BLOCK_SIZE;
	*block = 1;
	if (madvise((void *)(uintptr_t)block, FMT_BLOCK_SIZE, MADV_HWPOISON) != 0 ||
	    madvise((void *)(leaf - leaf % FMT_BLOCK_SIZE), FMT_BLOCK_SIZE, MADV_HWPOISON) != 0) {
		print_message("# test_poison: no MADV_HWPOISON here (%s): it needs root and CONFIG_MEMORY_FAILURE\n",
			      strerror(errno));
	} else {
		assert_int_equal(rescue(), 0);
		expect_said("/a/file: bytes 16384 to 20479 are left out: the memory that holds them cannot be read");
		expect_said("/a/many: bytes ");
		assert_null(strstr(out.text, "/a/file: bytes 20480"));
		expect_whole();
	}
	assert_int_equal(munmap(data.base, data.length), 0);
	unmap_image(&image);
}

/* Cut off while they are mapped: a real SIGBUS, also where there is no MADV_HWPOISON. */
static void cut_parts(void *arg, const char *phase, uint64_t done, uint64_t total)
{
	(void)arg;
	(void)done;
	(void)total;
	if (strcmp(phase, "reading maps") == 0)
		assert_int_equal(truncate(pool.data, 3 * FMT_BLOCK_SIZE), 0);
	if (strcmp(phase, "copying") == 0)
		assert_int_equal(truncate(pool.meta, PMDK_CHUNKS_AT + 3 * PMDK_CHUNK_SIZE), 0);
}

static void test_cut_meanwhile(void **state)
{
	(void)state;
	assert_int_equal(rescue_with(cut_parts), 0);
	expect_said("/a/file: bytes 16384 to 20579 are left out: the memory that holds them cannot be read");
	assert_true(out.report.lost > 1);
}

/* ---- Logs ---- */

/* A transaction that has changed much and does not end. */
static void die_in_transaction(void)
{
	struct message message = {{0}};
	const struct fmt_inode *root;
	struct meta_tx *tx;
	struct meta *meta;
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		if (meta_open(pool.meta, 0, &meta, &message) != 0 || meta_scan(meta, NULL, &message) != 0 ||
		    meta_inode_get(meta, FMT_INO_ROOT, &root) != 0 || meta_begin(meta, 0, &tx) != 0 ||
		    meta_entry_remove(tx, root, "link", 4) != 0 || meta_entry_remove(tx, root, "big", 3) != 0)
			_exit(1);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_unfinished_transaction(void **state)
{
	struct image image;

	(void)state;
	die_in_transaction();
	image = map_image(pool.meta);
	/* Without the log the root does not verify. */
	assert_false(fmt_inode_valid(image_inode(&image, FMT_INO_ROOT), FMT_INO_ROOT));
	assert_int_equal(rescue(), 0);
	assert_string_equal(out.text, "");
	expect_whole();
	unmap_image(&image);
}

static uint64_t fletcher(const void *data, size_t length, uint64_t sum)
{
	uint32_t low = (uint32_t)sum, high = (uint32_t)(sum >> 32);

	for (size_t i = 0; i < length / 4; i++) {
		low += ((const uint32_t *)data)[i];
		high += low;
	}
	return (uint64_t)high << 32 | low;
}

/* Of a lane: words of the external redo log and of the undo log. */
#define REDO(lane) ((uint64_t *)(image.base + PMDK_LANES_AT + (lane)*PMDK_LANE_SIZE + 256))
#define UNDO(lane) ((uint64_t *)(image.base + PMDK_LANES_AT + (lane)*PMDK_LANE_SIZE + 960))

/* The pool is refused before libpmemobj sees it, and who reads it knows what is left. */
static void expect_refused(const char *what)
{
	struct message message = {{0}};
	struct meta *meta;
	int error = meta_open(pool.meta, META_OPEN_COPY, &meta, &message);

	if (error != -EUCLEAN || strstr(message.text, "leads astray") == NULL ||
	    strstr(message.text, "fsck --rescue") == NULL)
		fail_msg("%s: %d: %s", what, error, message.text);
}

static void set_undo(uint64_t *log, uint64_t offset, uint64_t size)
{
	uint64_t *entry = log + 8;

	memset(entry, 0, 128);
	entry[0] = offset | 6ull << 61;
	entry[2] = size;
	entry[1] = fletcher(&log[3], 8, fletcher(entry, 64, 0));
}

static void set_redo(uint64_t *log, uint64_t offset)
{
	log[0] = 0;
	log[2] = 640;
	log[8] = offset;
	log[9] = 0x4242;
	log[10] = 0;
	log[0] = fletcher(log, 64 + 16, 0);
}

static void test_crafted_logs(void **state)
{
	struct image image = map_image(pool.meta);
	uint64_t inode = (uint64_t)((unsigned char *)image_inode(&image, pool.file) - image.base);

	(void)state;
	set_undo(UNDO(5), META_SIZE - 8, 32);
	expect_refused("undo: out of the pool");
	set_undo(UNDO(5), 4096, 32);
	expect_refused("undo: in the descriptor");
	set_undo(UNDO(5), ~(7ull << 61) - 64, 32);
	expect_refused("undo: far away");
	/* An entry of a kind that has no size: libpmemobj would not come to its end. */
	UNDO(5)[8] = 3ull << 61 | 4096;
	expect_refused("undo: no kind");
	UNDO(5)[8] = 0;
	set_redo(REDO(5), inode);
	expect_refused("redo: an inode");
	set_redo(REDO(5), META_SIZE);
	expect_refused("redo: out of the pool");
	set_redo(REDO(5), 1ull << 60);
	expect_refused("redo: far away");
	REDO(5)[8] = 7ull << 61 | 64;
	expect_refused("redo: no kind");
	REDO(5)[8] = 0;
	REDO(5)[1] = 64;
	expect_refused("redo: a continuation");
	REDO(5)[1] = 0;
	meta_close(open_meta(pool.meta));
	unmap_image(&image);
}

/* The first of several entries is damaged: libpmemobj would see the end of the log. */
static void test_gap_in_log(void **state)
{
	struct image image;
	struct pmdk_undo *entry;
	size_t at = 0;
	unsigned lane = 0;

	(void)state;
	die_in_transaction();
	image = map_image(pool.meta);
	while (pmdk_undo_next(UNDO(lane) - 120, &at) == NULL)
		lane++;
	assert_non_null(pmdk_undo_next(UNDO(lane) - 120, &at));
	entry = (struct pmdk_undo *)(UNDO(lane) + 8);
	entry->data[3] ^= 16;
	expect_refused("undo: a gap");
	/* What is left of it is said to be doubtful. */
	assert_int_equal(rescue(), 0);
	expect_said("of the transaction logs are damaged");
	unmap_image(&image);
}

static int teardown(void **state)
{
	return remove_target(state);
}

#define RESCUE_TEST(name) cmocka_unit_test_setup_teardown(name, copy_pool, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RESCUE_TEST(test_whole),	  RESCUE_TEST(test_freed_pages),
		RESCUE_TEST(test_names),	  RESCUE_TEST(test_loops),
		RESCUE_TEST(test_shared_nodes),	  RESCUE_TEST(test_stolen_blocks),
		RESCUE_TEST(test_absurd_extents), RESCUE_TEST(test_poison),
		RESCUE_TEST(test_cut_meanwhile),  RESCUE_TEST(test_unfinished_transaction),
		RESCUE_TEST(test_crafted_logs),	  RESCUE_TEST(test_gap_in_log),
	};

	return cmocka_run_group_tests(tests, make_pool, remove_pool);
}
