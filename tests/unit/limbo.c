/* Limbo: each block has one place in it, it survives a reopening, and there is always room for what is pinned. */
#include "base/lock.h"
#include "meta/pool.h"
#include "meta_model.h"

#include <inttypes.h>

static struct scratch pool;
static struct lock_mutex limbo_lock;
static bool locked; /* a test that fails leaves it so */
static uint32_t random_state;

static void lock(void)
{
	lock_mutex_take(&limbo_lock);
	locked = true;
}

static void unlock(void)
{
	locked = false;
	lock_mutex_drop(&limbo_lock);
}

static int setup(void **state)
{
	(void)state;
	random_state = 20240229;
	assert_int_equal(lock_mutex_init(&limbo_lock, LOCK_LIMBO), 0);
	scratch_create(&pool, META_SIZE_MIN);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (locked)
		unlock();
	lock_mutex_fini(&limbo_lock);
	scratch_destroy(&pool);
	return 0;
}

static uint32_t below(uint32_t limit)
{
	random_state = random_state * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)(random_state >> 8) * limit >> 24);
}

static struct meta_tx *begin(unsigned flags)
{
	struct meta_tx *tx;

	lock();
	MUST(meta_begin(pool.meta, flags, &tx));
	return tx;
}

static void commit(struct meta_tx *tx)
{
	MUST(meta_commit(tx));
	unlock();
}

static void give_up(struct meta_tx *tx)
{
	meta_abort(tx);
	unlock();
}

/* ---- Limbo and its double ---- */

/* Parts whose addresses have few bits and all bits. */
static const uint32_t parts[] = {0, 7, 8, 65534, 65535};
enum { PARTS = sizeof(parts) / sizeof(parts[0]), BLOCKS = 2000 };
static bool held[PARTS][BLOCKS];
static const uint64_t first_block[PARTS] = {1, 1, 1ull << 40, 1, (1ull << FMT_PHYS_BLOCK_BITS) - 1 - BLOCKS};

static uint64_t phys_of(unsigned part, unsigned block)
{
	return fmt_phys(parts[part], first_block[part] + block);
}

/* The double's next run at or after (part, block). False: none. */
static bool double_next(unsigned *part, unsigned *block, uint32_t *length)
{
	for (; *part < PARTS; (*part)++, *block = 0) {
		while (*block < BLOCKS && !held[*part][*block])
			(*block)++;
		for (*length = 0; *block + *length < BLOCKS && held[*part][*block + *length];)
			(*length)++;
		if (*length > 0)
			return true;
	}
	return false;
}

static void verify(void)
{
	uint64_t phys, at = 0, blocks = 0;
	unsigned part = 0, block = 0;
	uint32_t length, expected;

	lock();
	while (double_next(&part, &block, &expected)) {
		MUST(meta_limbo_find(pool.meta, at, &phys, &length));
		assert_int_equal(phys, phys_of(part, block));
		assert_int_equal(length, expected);
		blocks += length;
		block += length;
		at = phys + length;
	}
	assert_int_equal(meta_limbo_find(pool.meta, at, &phys, &length), -ENOENT);
	assert_int_equal(meta_limbo_blocks(pool.meta), blocks);
	unlock();
}

/* A run that is all in limbo, or all not, as `want` says; at most `most` blocks. Its length, or 0. */
static uint32_t draw(bool want, uint32_t most, unsigned *ret_part, unsigned *ret_block)
{
	unsigned part = below(PARTS), block = below(BLOCKS);
	uint32_t length = 0;

	most = 1 + below(most);
	while (length < most && block + length < BLOCKS && held[part][block + length] == want)
		length++;
	*ret_part = part;
	*ret_block = block;
	return length;
}

static void mark(unsigned part, unsigned block, uint32_t length, bool value)
{
	memset(&held[part][block], value, length);
}

/* Removes what limbo has of blocks [block, +length), piece by piece. */
static void remove_range(struct meta_tx *tx, unsigned part, unsigned block, uint32_t length)
{
	uint64_t phys;
	uint32_t run;
	unsigned at = block;

	for (;;) {
		int error = meta_limbo_remove(tx, phys_of(part, block), length, &phys, &run);

		while (at < block + length && !held[part][at])
			at++;
		if (at == block + length) {
			assert_int_equal(error, -ENOENT);
			return;
		}
		MUST(error);
		assert_int_equal(phys, phys_of(part, at));
		for (uint32_t i = 0; i < run; i++, at++) {
			assert_true(at < block + length && held[part][at]);
			held[part][at] = false;
		}
	}
}

static void step(void)
{
	struct meta_tx *tx = begin(META_TX_RESERVE);
	static bool before[PARTS][BLOCKS];
	unsigned part, block;
	uint32_t length;

	memcpy(before, held, sizeof(held));
	for (unsigned i = below(20); i > 0; i--) {
		if (below(5) < 3) {
			length = draw(false, 6, &part, &block);
			if (length == 0)
				continue;
			MUST(meta_limbo_add(tx, phys_of(part, block), length));
			mark(part, block, length, true);
		} else {
			part = below(PARTS);
			block = below(BLOCKS - 10);
			remove_range(tx, part, block, 1 + below(10));
		}
	}
	if (below(6) == 0) {
		give_up(tx);
		memcpy(held, before, sizeof(held));
	} else {
		commit(tx);
	}
}

static void test_double(void **state)
{
	(void)state;
	memset(held, 0, sizeof(held));
	for (unsigned i = 0; i < 4000; i++) {
		step();
		if (i % 200 == 0) {
			verify();
			model_reopen(&pool);
			verify();
		}
	}
	for (unsigned part = 0; part < PARTS; part++) {
		struct meta_tx *tx = begin(META_TX_RESERVE);

		remove_range(tx, part, 0, BLOCKS);
		commit(tx);
	}
	verify();
	assert_int_equal(meta_limbo_blocks(pool.meta), 0);
	assert_int_equal(pool.meta->limbo_nodes, 0);
}

static void test_refused(void **state)
{
	struct meta_tx *tx = begin(0);
	uint64_t phys;
	uint32_t length;

	(void)state;
	MUST(meta_limbo_add(tx, fmt_phys(1, 10), 5));
	assert_int_equal(meta_limbo_add(tx, fmt_phys(2, 0) - 1, 2), -EINVAL);
	assert_int_equal(meta_limbo_add(tx, fmt_phys(1, 1), 0), -EINVAL);
	assert_int_equal(meta_limbo_add(tx, fmt_phys(1, 1), UINT32_MAX), -EINVAL);
	assert_int_equal(meta_limbo_remove(tx, fmt_phys(1, 15), UINT64_MAX, &phys, &length), -ENOENT);
	assert_int_equal(meta_limbo_remove(tx, fmt_phys(1, 0), 10, &phys, &length), -ENOENT);
	assert_int_equal(meta_limbo_remove(tx, fmt_phys(1, 10), 0, &phys, &length), -ENOENT);
	MUST(meta_limbo_remove(tx, fmt_phys(1, 12), UINT64_MAX, &phys, &length));
	assert_int_equal(phys, fmt_phys(1, 12));
	assert_int_equal(length, 3);
	assert_int_equal(meta_limbo_add(tx, fmt_phys(1, 11), 3), -EUCLEAN); /* a block twice */
	give_up(tx);
	assert_int_equal(meta_limbo_blocks(pool.meta), 0);
}

/* ---- Reading by the scan ---- */

static int see_extent(void *arg, const struct fmt_inode *inode, const struct meta_extent *extent)
{
	uint64_t *blocks = arg;

	assert_true(extent->phys == extent->file_block && !extent->unwritten);
	blocks[inode->ino] += extent->length;
	return 0;
}

static void test_scan(void **state)
{
	uint64_t blocks[FMT_INO_FIRST_FREE] = {0};
	const struct meta_visitor visitor = {.extent = see_extent, .arg = blocks};
	struct message message = {{0}};
	struct meta_tx *tx = begin(0);

	(void)state;
	for (unsigned i = 0; i < 500; i++) {
		MUST(meta_limbo_add(tx, fmt_phys(i, 100), 2));
		MUST(meta_bad_add(tx, fmt_phys(i, 200), 1));
	}
	commit(tx);
	meta_close(pool.meta);
	MUST(meta_open(pool.meta_path, 0, &pool.meta, &message));
	MUST(meta_scan(pool.meta, &visitor, &message));
	assert_int_equal(blocks[FMT_INO_LIMBO], 1000);
	assert_int_equal(blocks[FMT_INO_BAD], 500);
	assert_int_equal(meta_limbo_blocks(pool.meta), 1000);
	assert_int_equal(meta_bad_blocks(pool.meta), 500);
}

/* I23 */
static void test_scan_refuses(void **state)
{
	const struct meta_extent forged[] = {
		{5, fmt_phys(0, 6), 1, false}, /* not its own place */
		{5, fmt_phys(0, 5), 1, true}, /* unwritten */
		{(1ull << FMT_PHYS_BLOCK_BITS) - 1, (1ull << FMT_PHYS_BLOCK_BITS) - 1, 2,
		 false}, /* goes on in the next part */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
		struct meta_extent removed;
		struct message message = {{0}};
		struct meta_tx *tx = begin(0);

		MUST(meta_extent_insert(tx, model_get(pool.meta, FMT_INO_LIMBO), &forged[i]));
		commit(tx);
		meta_close(pool.meta);
		MUST(meta_open(pool.meta_path, 0, &pool.meta, &message));
		assert_int_equal(meta_scan(pool.meta, NULL, &message), -EUCLEAN);
		assert_non_null(strstr(message.text, "I23"));
		pool.meta->scanned = true; /* to repair it */
		tx = begin(0);
		MUST(meta_extent_remove_last(tx, model_get(pool.meta, FMT_INO_LIMBO), 0, UINT64_MAX, &removed));
		commit(tx);
		scratch_reopen(&pool);
	}
}

/* ---- Moving blocks of files ---- */

enum { SERIES = 64 };

static uint64_t make_file(const struct meta_extent *extents, unsigned count)
{
	uint64_t ino = model_inode(pool.meta, S_IFREG | 0600);

	for (unsigned i = 0; i < count;) {
		struct meta_tx *tx = begin(0);

		for (unsigned end = i + SERIES; i < count && i < end; i++)
			MUST(meta_extent_insert(tx, meta_slot(pool.meta, ino), &extents[i]));
		commit(tx);
	}
	return ino;
}

/* Moves up to SERIES extents of the file to limbo, and every fifth to the bad blocks. Returns how many. */
static unsigned move_some(struct meta_tx *tx, const struct fmt_inode *file, bool to_bad)
{
	unsigned moved = 0;

	while (moved < SERIES) {
		struct meta_extent removed;
		int error = meta_extent_remove_last(tx, file, 0, UINT64_MAX, &removed);

		if (error == -ENOENT)
			break;
		MUST(error);
		if (to_bad && moved % 5 == 0)
			MUST(meta_bad_add(tx, removed.phys, removed.length));
		else
			MUST(meta_limbo_add(tx, removed.phys, removed.length));
		moved++;
	}
	return moved;
}

enum { EXTENTS = 3000, EXTENTS_MAX = 20000 };
static struct meta_extent extents[EXTENTS_MAX];

/* `count` extents of one block; `order` says where the i-th lies. */
static void fill_extents(unsigned count, uint64_t first, uint64_t stride, int order)
{
	for (unsigned i = 0; i < count; i++) {
		unsigned place = order > 0 ? i : order < 0 ? count - 1 - i : (unsigned)((uint64_t)i * 1999 % count);

		extents[i] = (struct meta_extent){2 * (uint64_t)i, fmt_phys(9, first + place * stride), 1, false};
	}
}

/* The file, limbo and bad blocks in one transaction, and another inode: all of it or nothing, whatever its size. */
static void test_undo(void **state)
{
	struct fmt_inode *edited;
	uint64_t file, other;

	(void)state;
	fill_extents(EXTENTS, 1, 3, 0);
	file = make_file(extents, EXTENTS);
	other = model_inode(pool.meta, S_IFREG | 0600);
	for (unsigned i = 0; model_get(pool.meta, file)->blocks > 0; i++) {
		struct meta_tx *tx = begin(META_TX_RESERVE);
		uint64_t blocks = model_get(pool.meta, file)->blocks;
		uint64_t limbo = meta_limbo_blocks(pool.meta), bad = meta_bad_blocks(pool.meta);
		unsigned moved;

		MUST(meta_inode_edit(tx, model_get(pool.meta, other), &edited));
		edited->mtime++;
		moved = move_some(tx, model_get(pool.meta, file), true);
		assert_int_equal(meta_limbo_blocks(pool.meta), limbo);
		if (i % 2 == 0) {
			give_up(tx);
			model_reopen(&pool);
			moved = 0;
		} else {
			commit(tx);
		}
		assert_int_equal(model_get(pool.meta, file)->blocks, blocks - moved);
		assert_int_equal(meta_limbo_blocks(pool.meta) + meta_bad_blocks(pool.meta), limbo + bad + moved);
	}
	model_reopen(&pool);
	assert_int_equal(meta_limbo_blocks(pool.meta) + meta_bad_blocks(pool.meta), EXTENTS);
}

/* ---- No space ---- */

static uint64_t page[8192];
static unsigned pages;

/* Takes what is not promised to limbo, the reserve too. */
static void hold_all(void)
{
	while (atomic_load(&pool.meta->pages_free) > limbo_promise(pool.meta)) {
		MUST(space_page_take(pool.meta, true, &page[pages]));
		assert_true(++pages < 8192);
	}
}

static void release_all(void)
{
	while (pages > 0)
		space_page_put(pool.meta, page[--pages]);
}

/* Takes all out, from the front and from somewhere in the middle, while others hold all pages. */
static void empty_limbo(void)
{
	hold_all();
	while (meta_limbo_blocks(pool.meta) > 0) {
		struct meta_tx *tx = begin(META_TX_RESERVE);
		uint64_t phys;
		uint32_t length;

		for (unsigned i = 0; i < SERIES; i++) {
			uint64_t from = i % 2 == 0 ? 0 : fmt_phys(9, below(16000000));

			if (meta_limbo_remove(tx, from, UINT64_MAX, &phys, &length) == -ENOENT)
				break;
		}
		commit(tx);
		hold_all();
	}
	release_all();
	model_reopen(&pool);
	assert_int_equal(pool.meta->limbo_nodes, 0);
}

/*
 * What is pinned finds room in limbo when nothing else does, and others have taken the pages that its files gave up. An
 * earlier pin's record is erased before its blocks leave limbo.
 */
static void test_full(void **state)
{
	static const struct {
		unsigned count;
		uint64_t first, stride;
		int order;
	} rounds[] = {
		{200, 100000000, 2, 0}, /* into an empty map */
		{20000, 1000, 1000, 1}, /* leaves full nodes behind, */
		{119, 1500 + 168000ull * 5 / 2, 168000, 1}, /* each of which is split by this */
		{14000, 200000000, 2, 0}, /* in no order */
		{3000, 100000001, 2, -1}, /* joins what is there */
		{20000, 1250, 1000, 0},
	};
	uint64_t blocks = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(rounds) / sizeof(rounds[0]); i++) {
		struct meta_pin pin = {.id = i + 1,
				       .session = 5,
				       .ino = 99,
				       .length = 2 * EXTENTS_MAX * FMT_BLOCK_SIZE,
				       .count = rounds[i].count,
				       .extents = extents};
		uint64_t file;

		fill_extents(rounds[i].count, rounds[i].first, rounds[i].stride, rounds[i].order);
		file = make_file(extents, rounds[i].count);
		MUST(meta_ledger_add_pin(pool.meta, &pin));
		do {
			struct meta_tx *tx;

			hold_all();
			tx = begin(META_TX_RESERVE);
			blocks += move_some(tx, model_get(pool.meta, file), false);
			commit(tx);
		} while (model_get(pool.meta, file)->blocks > 0);
		assert_int_equal(meta_limbo_blocks(pool.meta), blocks);
		MUST(meta_ledger_erase_pin(pool.meta, 5, pin.id));
		release_all();
		model_reopen(&pool);
	}
	empty_limbo();
}

/* Without a pin in the ledger there is no promise: it may fail, and then nothing has changed. */
static void test_squeezed(void **state)
{
	unsigned failures = 0;
	uint64_t file;

	(void)state;
	fill_extents(EXTENTS, 1, 3, 0);
	file = make_file(extents, EXTENTS);
	while (model_get(pool.meta, file)->blocks > 0) {
		uint64_t blocks = model_get(pool.meta, file)->blocks, limbo = meta_limbo_blocks(pool.meta);
		struct meta_extent removed;
		unsigned moved = 0;
		int error = 0;

		while (space_page_take(pool.meta, true, &page[pages]) == 0)
			assert_true(++pages < 8192);
		do {
			uint64_t left = atomic_load(&pool.meta->pages_free);
			struct meta_tx *tx = begin(META_TX_RESERVE);

			for (moved = 0, error = 0; moved < SERIES && error == 0; moved += error == 0) {
				error = meta_extent_remove_last(tx, meta_slot(pool.meta, file), 0, UINT64_MAX,
								&removed);
				if (error == 0)
					error = meta_limbo_add(tx, removed.phys, removed.length);
			}
			if (error == 0 || error == -ENOENT) {
				commit(tx);
				break;
			}
			assert_int_equal(error, -ENOSPC);
			give_up(tx);
			assert_int_equal(model_get(pool.meta, file)->blocks, blocks);
			assert_int_equal(meta_limbo_blocks(pool.meta), limbo);
			assert_int_equal(atomic_load(&pool.meta->pages_free), left);
			assert_true(pages > 0);
			space_page_put(pool.meta, page[--pages]);
			failures++;
		} while (true);
		assert_int_equal(model_get(pool.meta, file)->blocks, blocks - moved);
		release_all();
	}
	assert_true(failures > 20);
	model_reopen(&pool);
	assert_int_equal(meta_limbo_blocks(pool.meta), EXTENTS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_double), TEST(test_refused), TEST(test_scan),	    TEST(test_scan_refuses),
		TEST(test_undo),   TEST(test_full),    TEST(test_squeezed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
