/* Each invariant of limbo and the pin ledger, broken: I23 to I28. As check_damage.h. */
#ifndef PINFS_TEST_CHECK_DAMAGE_LEDGER_H
#define PINFS_TEST_CHECK_DAMAGE_LEDGER_H

#include "base/lock.h"
#include "check_pool.h"

static struct lock_mutex limbo_lock;

static inline int make_all(void **state)
{
	assert_int_equal(lock_mutex_init(&limbo_lock, LOCK_LIMBO), 0);
	return make_pool(state);
}

static inline int remove_all(void **state)
{
	lock_mutex_fini(&limbo_lock);
	return remove_pool(state);
}

static inline void to_limbo(struct meta *meta, uint64_t phys, uint32_t length, bool bad)
{
	struct meta_tx *tx;

	lock_mutex_take(&limbo_lock);
	tx = begin(meta, 0);
	if (bad)
		assert_int_equal(meta_bad_add(tx, phys, length), 0);
	else
		assert_int_equal(meta_limbo_add(tx, phys, length), 0);
	assert_int_equal(meta_commit(tx), 0);
	lock_mutex_drop(&limbo_lock);
}

static inline void add_session(struct meta *meta, uint64_t id)
{
	struct meta_session session = {.id = id, .pid = 77, .command = "holder"};

	assert_int_equal(meta_ledger_add_session(meta, &session), 0);
}

/* Of pool.file's first two blocks, unless `ino` and `phys` say otherwise. */
static inline void add_pin(struct meta *meta, uint64_t id, uint64_t session, uint64_t ino, uint64_t phys,
			   uint32_t length)
{
	struct meta_extent extent = {0, phys, length, false};
	struct meta_pin pin = {
		.id = id,
		.session = session,
		.ino = ino,
		.generation = get(meta, ino)->generation,
		.length = (uint64_t)length * FMT_BLOCK_SIZE,
		.count = 1,
		.extents = &extent,
	};

	assert_int_equal(meta_ledger_add_pin(meta, &pin), 0);
}

#define FREE_BLOCK 2000u

/* Zeros where an inode of the pool's own was: all of it, or its magic (4 bytes). */
static inline void wipe_own(uint64_t ino, size_t length)
{
	struct image image = map_image(pool.meta);

	memset(image_inode(&image, ino), 0, length);
	unmap_image(&image);
}

/* Made anew in silence it would let go of what it keeps from others. The last one holds nothing, and says that all
 * were. */
static inline void test_i3_own(void **state)
{
	for (uint64_t ino = FMT_INO_LIMBO; ino < FMT_INO_FIRST_FREE - 1; ino++) {
		copy_pool(state);
		wipe_own(ino, FMT_SLOT_SIZE);
		expect_only("I3", CHECK_ERROR, ino);
	}
}

static inline void test_i3_limbo(void **state)
{
	struct meta *meta = open_meta(pool.meta);

	(void)state;
	to_limbo(meta, fmt_phys(0, FREE_BLOCK), 3, false);
	meta_close(meta);
	wipe_own(FMT_INO_LIMBO, 4);
	expect_only("I3", CHECK_ERROR, FMT_INO_LIMBO);
}

static inline void test_i23_place(void **state)
{
	struct meta *meta = open_meta(pool.meta);

	(void)state;
	map_blocks(meta, FMT_INO_LIMBO, fmt_phys(0, FREE_BLOCK), fmt_phys(0, FREE_BLOCK + 1), 1, false);
	meta_close(meta);
	expect_only("I23", CHECK_ERROR, FMT_INO_LIMBO);
}

static inline void test_i23_unwritten(void **state)
{
	struct meta *meta = open_meta(pool.meta);

	(void)state;
	map_blocks(meta, FMT_INO_BAD, fmt_phys(0, FREE_BLOCK), fmt_phys(0, FREE_BLOCK), 1, true);
	meta_close(meta);
	expect_only("I23", CHECK_ERROR, FMT_INO_BAD);
}

/* Keys that no file's extent could have are none of I9's business; a part that is not there is I7's. */
static inline void test_i7_limbo(void **state)
{
	struct meta *meta = open_meta(pool.meta);

	(void)state;
	to_limbo(meta, fmt_phys(60000, FREE_BLOCK), 1, false);
	meta_close(meta);
	expect_only("I7", CHECK_ERROR, FMT_INO_LIMBO);
}

static inline void test_i24_limbo(void **state)
{
	struct meta *meta = open_meta(pool.meta);

	(void)state;
	to_limbo(meta, fmt_phys(0, 2), 1, false); /* within an extent of the file */
	meta_close(meta);
	expect_only("I24", CHECK_ERROR, pool.file);
}

/* Lost, and a file's still: that file's loss only. */
static inline void test_i24_bad(void **state)
{
	struct meta *meta = open_meta(pool.meta);

	(void)state;
	to_limbo(meta, fmt_phys(0, 50), 1, true);
	meta_close(meta);
	expect_only("I24", CHECK_NOTE, pool.tiny);
}

static inline void test_i24_both(void **state)
{
	struct meta *meta = open_meta(pool.meta);
	const struct check_report *report;

	(void)state;
	to_limbo(meta, fmt_phys(0, FREE_BLOCK), 3, true);
	to_limbo(meta, fmt_phys(0, FREE_BLOCK + 1), 1, false);
	meta_close(meta);
	report = &check_copy(false)->report;
	assert_int_equal(report->errors + report->notes, 0);
	assert_int_equal(report->blocks_used, MANY_EXTENTS + 9 + 3);
}

static inline void test_i7_bad(void **state)
{
	struct meta *meta = open_meta(pool.meta);

	(void)state;
	to_limbo(meta, fmt_phys(7, 1), 1, true);
	meta_close(meta);
	expect_only("I7", CHECK_ERROR, FMT_INO_BAD);
}

static inline void set_value(struct meta *meta, uint64_t ino, const char *name, const void *value, size_t length)
{
	struct meta_tx *tx = begin(meta, 0);

	assert_int_equal(meta_xattr_set(tx, get(meta, ino), name, strlen(name), value, length, 0), 0);
	assert_int_equal(meta_commit(tx), 0);
}

static inline void test_i25_name(void **state)
{
	static const char *const names[] = {
		"x",
		"s.",
		"s.000000000000000",
		"s.0000000000000000",
		"s.000000000000000A",
		"s.00000000000000080",
		"p.0000000000000008",
		"p.0000000000000008.",
		"q.0000000000000008",
		"x.0000000000000008.0000000000000001",
		"s.0000000000000009", /* of another shard */
	};
	struct meta *meta = open_meta(pool.meta);
	struct fmt_ledger_session session = {.id = 9};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		set_value(meta, FMT_INO_LEDGER, names[i], &session, sizeof(session));
	meta_close(meta);
	expect_error("I25", FMT_INO_LEDGER);
	assert_int_equal(check_copy(true)->count, ARRAY_SIZE(names));
}

static inline void test_i25_session(void **state)
{
	struct meta *meta = open_meta(pool.meta);
	struct fmt_ledger_session session = {.id = 7};

	(void)state;
	set_value(meta, FMT_INO_LEDGER, "s.0000000000000008", &session, sizeof(session));
	meta_close(meta);
	expect_only("I25", CHECK_ERROR, FMT_INO_LEDGER);
}

/* A pin as it would be in shard 0, session 8, pin 1. */
static inline void write_pin(struct meta *meta, const struct fmt_ledger_pin *pin,
			     const struct fmt_ledger_extent *extents, size_t count)
{
	char value[FMT_XATTR_INLINE_MAX];

	memcpy(value, pin, sizeof(*pin));
	for (size_t i = 0; i < count; i++)
		memcpy(value + sizeof(*pin) + i * sizeof(*extents), &extents[i], sizeof(*extents));
	set_value(meta, FMT_INO_LEDGER, "p.0000000000000008.0000000000000001", value,
		  sizeof(*pin) + count * sizeof(*extents));
}

static inline void test_i25_pin(void **state)
{
	struct meta *meta = open_meta(pool.meta);
	struct fmt_ledger_pin pin = {.id = 1, .session = 8, .ino = pool.file, .length = 1, .count = 1};

	(void)state;
	add_session(meta, 8);
	write_pin(meta, &pin, NULL, 0); /* one extent in pieces, none in the head */
	meta_close(meta);
	expect_only("I25", CHECK_ERROR, FMT_INO_LEDGER);
}

static inline void test_i25_extents(void **state)
{
	struct fmt_ledger_extent extents[] = {
		{.file_block = 0, .phys = fmt_phys(0, 1), .length = 2},
		{.file_block = 1, .phys = fmt_phys(0, 3), .length = 1},
	};
	struct meta *meta = open_meta(pool.meta);
	struct fmt_ledger_pin pin = {.id = 1,
				     .session = 8,
				     .ino = pool.file,
				     .generation = get(meta, pool.file)->generation,
				     .length = 3 * FMT_BLOCK_SIZE,
				     .count = 2,
				     .head_count = 2};

	(void)state;
	add_session(meta, 8);
	write_pin(meta, &pin, extents, 2);
	meta_close(meta);
	expect_only("I25", CHECK_ERROR, FMT_INO_LEDGER);
}

/* A pin of which the last 10 extents are in a piece; that is taken away, or gets another length. */
static inline void check_i26(size_t length)
{
	enum { COUNT = FMT_LEDGER_HEAD_EXTENTS + 10 };
	static struct meta_extent extents[COUNT];
	static const struct fmt_ledger_key key = {.kind = FMT_LEDGER_PIECE, .session = 8, .pin = 1};
	struct meta *meta = open_meta(pool.meta);
	struct meta_pin pin = {
		.id = 1, .session = 8, .ino = 99, .length = COUNT * FMT_BLOCK_SIZE, .count = COUNT, .extents = extents};
	struct fmt_ledger_extent value[11] = {{.length = 0}}; /* as it is, and more */
	char name[FMT_LEDGER_NAME_MAX];
	struct meta_tx *tx;

	for (unsigned i = 0; i < COUNT; i++)
		extents[i] = (struct meta_extent){i, fmt_phys(0, FREE_BLOCK + i % 1000), 1, false};
	add_session(meta, 8);
	assert_int_equal(meta_ledger_add_pin(meta, &pin), 0);
	tx = begin(meta, 0);
	for (unsigned i = 0; i < 10; i++)
		value[i] = (struct fmt_ledger_extent){
			.file_block = COUNT - 10 + i,
			.phys = extents[COUNT - 10 + i].phys,
			.length = 1,
		};
	if (length == 0)
		assert_int_equal(meta_xattr_remove(tx, get(meta, FMT_INO_LEDGER), name, fmt_ledger_name(&key, name)),
				 0);
	else
		assert_int_equal(meta_xattr_set(tx, get(meta, FMT_INO_LEDGER), name, fmt_ledger_name(&key, name), value,
						length, META_XATTR_REPLACE),
				 0);
	assert_int_equal(meta_commit(tx), 0);
	meta_close(meta);
	expect_only("I26", CHECK_ERROR, FMT_INO_LEDGER);
}

static inline void test_i26_missing(void **state)
{
	(void)state;
	check_i26(0);
}

static inline void test_i26_short(void **state)
{
	(void)state;
	check_i26(9 * sizeof(struct fmt_ledger_extent));
}

static inline void test_i26_long(void **state)
{
	(void)state;
	check_i26(10 * sizeof(struct fmt_ledger_extent) + 1);
}

static inline void test_i27_session(void **state)
{
	struct meta *meta = open_meta(pool.meta);

	(void)state;
	add_session(meta, 8);
	add_pin(meta, 1, 8, pool.file, fmt_phys(0, 1), 2);
	assert_int_equal(meta_ledger_erase_session(meta, 8), 0);
	meta_close(meta);
	expect_only("I27", CHECK_NOTE, 0);
	assert_int_equal(check_copy(true)->report.ledger_void, 1);
	assert_int_equal(check_copy(true)->report.ledger_pins, 0);
}

static inline void check_i28(uint64_t ino, uint64_t phys, uint32_t length)
{
	struct meta *meta = open_meta(pool.meta);

	add_session(meta, 8);
	add_pin(meta, 1, 8, ino, phys, length);
	meta_close(meta);
	expect_only("I28", CHECK_ERROR, FMT_INO_LEDGER);
}

static inline void test_i28_other(void **state)
{
	(void)state;
	check_i28(pool.file, fmt_phys(0, 50), 1); /* tiny's */
}

/* The first block is free, the last one is not. */
static inline void test_i28_end(void **state)
{
	(void)state;
	check_i28(pool.file, fmt_phys(0, 40), 11);
}

static inline void test_i28_outside(void **state)
{
	(void)state;
	check_i28(pool.file, fmt_phys(0, PART_BLOCKS - 2), 2);
}

/* The file that was pinned is gone, and another one has its number. */
static inline void test_i28_generation(void **state)
{
	struct meta *meta = open_meta(pool.meta);
	struct meta_extent extent = {0, fmt_phys(0, 1), 1, false};
	struct meta_pin pin = {
		.id = 1, .session = 8, .ino = pool.file, .length = FMT_BLOCK_SIZE, .count = 1, .extents = &extent};

	(void)state;
	pin.generation = get(meta, pool.file)->generation + 1;
	add_session(meta, 8);
	assert_int_equal(meta_ledger_add_pin(meta, &pin), 0);
	meta_close(meta);
	expect_only("I28", CHECK_ERROR, FMT_INO_LEDGER);
}

#endif
