/*
 * No space: each operation is tried with 0, 1, 2 ... free pages until it succeeds. When it fails, it says so and every
 * byte in use is as before.
 */
#include "base/crc.h"
#include "meta/pool.h"
#include "meta_model.h"

enum { HELD_MAX = 8192 };

/* What the test keeps from the pool. */
struct held {
	uint64_t page[HELD_MAX];
	unsigned pages;
	uint64_t slot[HELD_MAX];
	unsigned slots;
};

static struct scratch pool;
static struct held held;

static int setup(void **state)
{
	(void)state;
	memset(&held, 0, sizeof(held));
	scratch_create(&pool, META_SIZE_MIN);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	scratch_destroy(&pool);
	return 0;
}

/* Takes all pages, the reserve too if `reserve`, and all slots. */
static void hold_all(bool reserve)
{
	while (space_page_take(pool.meta, reserve, &held.page[held.pages]) == 0)
		assert_true(++held.pages < HELD_MAX);
	while (space_slot_take(pool.meta, reserve, &held.slot[held.slots]) == 0)
		assert_true(++held.slots < HELD_MAX);
}

static void release_page(void)
{
	assert_true(held.pages > 0);
	space_page_put(pool.meta, held.page[--held.pages]);
}

static void release_all(void)
{
	while (held.pages > 0)
		release_page();
	while (held.slots > 0)
		space_slot_put(pool.meta, held.slot[--held.slots]);
}

/* Checksum of what counts in a page: not of free units in a page of names, nor of free records in a node. */
static uint32_t page_crc(const void *page, uint32_t crc)
{
	const struct fmt_names *names = page;
	const struct fmt_node *node = page;

	if (names->magic == FMT_NAMES_MAGIC) {
		crc = crc32c(crc, names, offsetof(struct fmt_names, unit));
		for (unsigned unit = 0; unit < FMT_NAMES_UNITS; unit++) {
			if ((names->used >> unit & 1) != 0)
				crc = crc32c(crc, names->unit[unit], FMT_UNIT_SIZE);
		}
		return crc;
	}
	if (node->magic == FMT_NODE_MAGIC)
		return crc32c(crc, node, offsetof(struct fmt_node, record) + node->count * sizeof(node->record[0]));
	return crc32c(crc, page, FMT_BLOCK_SIZE);
}

/* Of a frame of inodes only those in use count: a page may have become such a frame for an inode that was not made. */
static uint32_t inodes_crc(const void *frame, bool first, uint32_t crc)
{
	const struct fmt_inode *inode = frame;

	for (unsigned slot = first ? 1 : 0; slot < FMT_FRAME_SLOTS; slot++) {
		if (!fmt_inode_free(&inode[slot]))
			crc = crc32c(crc, &inode[slot], sizeof(inode[slot]));
	}
	return crc;
}

/* Checksum of all that is in use. */
static uint32_t media_crc(void)
{
	struct meta *meta = pool.meta;
	uint32_t crc = 0;

	for (uint64_t group = 0; group < meta->super->groups; group++) {
		for (unsigned frame = 0; frame < FMT_GROUP_FRAMES; frame++) {
			const void *address = meta_frame(meta, group, frame);

			if ((meta->state[group].inode_frames >> frame & 1) != 0)
				crc = inodes_crc(address, frame == 0, crc);
			else if ((meta->state[group].free_pages >> frame & 1) == 0)
				crc = page_crc(address, crc);
		}
	}
	return crc;
}

/* Free pages, the reserve included; frames of free slots count as pages. */
static uint64_t space_left(void)
{
	return atomic_load(&pool.meta->pages_free) + atomic_load(&pool.meta->slots_free) / FMT_FRAME_SLOTS;
}

typedef int operation(struct meta_tx *tx, const struct model_media *media, unsigned number);

/* One attempt; the media change only if it succeeds. */
static int attempt(operation *run, const struct model *model, unsigned number, unsigned flags)
{
	struct model_media media = model_media(model, pool.meta);
	uint64_t left = space_left();
	uint32_t crc = media_crc();
	struct meta_tx *tx;
	int error;

	error = meta_begin(pool.meta, flags, &tx);
	if (error == 0) {
		error = run(tx, &media, number);
		if (error != 0)
			meta_abort(tx);
		else
			error = meta_commit(tx);
	}
	if (error == 0)
		return 0;
	assert_int_equal(error, -ENOSPC);
	assert_int_equal(crc, media_crc());
	assert_int_equal(left, space_left());
	return error;
}

/* Runs it with 0, 1, 2 ... free pages until it succeeds; returns how many it took. */
static unsigned squeeze(operation *run, const struct model *model, unsigned number, unsigned flags)
{
	unsigned pages = 0;

	hold_all((flags & META_TX_RESERVE) != 0);
	while (attempt(run, model, number, flags) != 0) {
		release_page();
		assert_in_range(++pages, 1, 100);
	}
	return pages;
}

static int op_insert(struct meta_tx *tx, const struct model_media *media, unsigned number)
{
	char name[260];
	size_t length = model_name(number, name);

	return meta_entry_insert(tx, media->directory[0], name, length, media->target[0]);
}

static int op_remove(struct meta_tx *tx, const struct model_media *media, unsigned number)
{
	char name[260];
	size_t length = model_name(number, name);

	return meta_entry_remove(tx, media->directory[0], name, length);
}

static int op_rename(struct meta_tx *tx, const struct model_media *media, unsigned number)
{
	char name[260];
	size_t length = model_name(number, name);
	int error = meta_entry_insert(tx, media->directory[1], name, length, media->target[0]);

	return error != 0 ? error : op_remove(tx, media, number);
}

static int op_make(struct meta_tx *tx, const struct model_media *media, unsigned number)
{
	struct fmt_inode *inode;
	char name[260];
	size_t length = model_name(number, name);
	int error = meta_inode_create(tx, &inode);

	if (error != 0)
		return error;
	inode->mode = S_IFREG | 0600;
	return meta_entry_insert(tx, media->directory[1], name, length, inode);
}

static int op_symlink(struct meta_tx *tx, const struct model_media *media, unsigned number)
{
	static const char target[FMT_SYMLINK_MAX] = "/somewhere";
	struct fmt_inode *inode;
	char name[260];
	size_t length = model_name(number, name);
	int error = meta_inode_create(tx, &inode);

	if (error != 0)
		return error;
	inode->mode = S_IFLNK | 0777;
	error = meta_symlink_set(tx, inode, target, sizeof(target));
	return error != 0 ? error : meta_entry_insert(tx, media->directory[1], name, length, inode);
}

static int op_xattr(struct meta_tx *tx, const struct model_media *media, unsigned number)
{
	static const size_t lengths[] = {10, 500, 600, 5000, FMT_XATTR_VALUE_MAX};
	static const char value[FMT_XATTR_VALUE_MAX];
	char name[32];
	size_t length = (size_t)snprintf(name, sizeof(name), "user.%u", number % 30);

	return meta_xattr_set(tx, media->file, name, length, value, lengths[number % 5], 0);
}

static int op_xattr_remove(struct meta_tx *tx, const struct model_media *media, unsigned number)
{
	char name[32];
	size_t length = (size_t)snprintf(name, sizeof(name), "user.%u", number);

	return meta_xattr_remove(tx, media->file, name, length);
}

/* 40 extents that do not join, spread over the file: each may move a node. */
static int op_extents(struct meta_tx *tx, const struct model_media *media, unsigned number)
{
	int error = 0;

	for (unsigned i = 0; i < 40 && error == 0; i++) {
		uint64_t block = ((uint64_t)number * 40 + i) * 7919 % 100003;
		struct meta_extent extent = {10 * block, fmt_phys(0, 30 * block + 1), 9, true};

		error = meta_extent_insert(tx, media->file, &extent);
	}
	return error;
}

/* The middle of an extent is written: two more records. */
static int op_mark(struct meta_tx *tx, const struct model_media *media, unsigned number)
{
	return meta_extent_mark(tx, media->file, 10 * ((uint64_t)number * 40 * 7919 % 100003) + 3, 3, false);
}

static int op_punch(struct meta_tx *tx, const struct model_media *media, unsigned number)
{
	uint64_t start = 10 * (((uint64_t)number * 40 + 1) * 7919 % 100003) + 3;
	struct meta_extent removed;

	return meta_extent_remove_last(tx, media->file, start, start + 1, &removed);
}

/* The last 30 extents, or what is left. */
static int op_truncate(struct meta_tx *tx, const struct model_media *media, unsigned number)
{
	struct meta_extent removed;
	int error = 0;

	(void)number;
	for (unsigned i = 0; i < 30 && error == 0; i++)
		error = meta_extent_remove_last(tx, media->file, 0, UINT64_MAX, &removed);
	return error == -ENOENT ? 0 : error;
}

/* What removes takes pages only to give them back: a handful of the reserve, whatever the size of the tree. */
#define REMOVAL_PAGES 8u

static void check_squeeze(operation *run, const struct model *model, unsigned count, unsigned flags, unsigned most)
{
	unsigned max = 0;

	for (unsigned i = 0; i < count; i++) {
		unsigned pages = squeeze(run, model, i, flags);

		max = pages > max ? pages : max;
		if (i % 50 == 49)
			release_all();
	}
	release_all();
	assert_in_range(max, 0, most);
}

static void test_names(void **state)
{
	enum { NAMES = 2000 };
	static struct model model;

	(void)state;
	model_create(&model, pool.meta, 1);
	check_squeeze(op_insert, &model, NAMES, 0, 12);
	check_squeeze(op_make, &model, 200, META_TX_INODE, 12);
	model_reopen(&pool);
	for (unsigned i = 300; i < 900; i++)
		squeeze(op_rename, &model, i, 0);
	release_all();
	model_reopen(&pool);
	for (unsigned i = 0; i < NAMES; i++) {
		if (i < 300 || i >= 900)
			assert_in_range(squeeze(op_remove, &model, i, META_TX_RESERVE), 0, REMOVAL_PAGES);
	}
	release_all();
	assert_int_equal(model_get(pool.meta, model.directory[0])->size, 0);
	model_reopen(&pool);
}

static void test_symlinks(void **state)
{
	static struct model model;

	(void)state;
	model_create(&model, pool.meta, 1);
	check_squeeze(op_symlink, &model, 50, META_TX_INODE, 12);
	model_reopen(&pool);
}

static void test_xattrs(void **state)
{
	static struct model model;

	(void)state;
	model_create(&model, pool.meta, 1);
	check_squeeze(op_xattr, &model, 100, 0, 25);
	model_reopen(&pool);
	check_squeeze(op_xattr_remove, &model, 30, META_TX_RESERVE, REMOVAL_PAGES);
	model_reopen(&pool);
}

static void test_extents(void **state)
{
	static struct model model;

	(void)state;
	model_create(&model, pool.meta, 1);
	check_squeeze(op_extents, &model, 300, 0, 90);
	model_reopen(&pool);
	check_squeeze(op_mark, &model, 300, 0, 12);
	check_squeeze(op_punch, &model, 300, META_TX_RESERVE, 12);
	model_reopen(&pool);
	/* 30 extents a transaction: every node on the way may be moved once, and joined. */
	for (unsigned i = 0; model_get(pool.meta, model.file)->blocks > 0; i++)
		assert_in_range(squeeze(op_truncate, &model, i, META_TX_RESERVE), 0, REMOVAL_PAGES);
	release_all();
	model_reopen(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_symlinks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_xattrs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_extents, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
