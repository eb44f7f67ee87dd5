/*
 * Each invariant of records, extents and parts, broken: I1 to I12, I21. A test breaks the copy of the pool, and
 * src/check must report it; what is left is a pool to be mended (repair.c).
 */
#ifndef PINFS_TEST_CHECK_DAMAGE_H
#define PINFS_TEST_CHECK_DAMAGE_H

#include "check_pool.h"

static inline void test_i1_super(void **state)
{
	struct image image = map_image(pool.meta);

	(void)state;
	image.super->hash_key[3] ^= 1;
	unmap_image(&image);
	expect_error("I1", 0);
	assert_true(check_copy(true)->report.unreadable);
	assert_true(check_copy(false)->report.errors > 0);
}

static inline void test_i1_state(void **state)
{
	struct image image = map_image(pool.meta);

	(void)state;
	image.super->state = 77;
	unmap_image(&image);
	expect_error("I1", 0);
}

static inline void test_i2_group(void **state)
{
	struct image image = map_image(pool.meta);
	struct fmt_group *group = (struct fmt_group *)image_frame(&image, 1, 0);

	(void)state;
	group->inode_frames ^= 1ull << 40;
	unmap_image(&image);
	expect_error("I2", 0);
}

static inline void test_i3_inode(void **state)
{
	struct image image = map_image(pool.meta);

	(void)state;
	image_inode(&image, pool.file)->uid ^= 1;
	unmap_image(&image);
	expect_error("I3", pool.file);
}

static inline void test_i3_implausible(void **state)
{
	struct meta *meta = open_meta(pool.meta);
	struct meta_tx *tx = begin(meta, 0);

	(void)state;
	edit(tx, get(meta, pool.file))->mtime_nsec = 1000000000;
	edit(tx, get(meta, pool.fifo))->blocks = 1;
	edit(tx, get(meta, pool.tiny))->flags = 0x80;
	assert_int_equal(meta_commit(tx), 0);
	meta_close(meta);
	expect_error("I3", pool.file);
	expect_error("I3", pool.fifo);
	expect_error("I3", pool.tiny);
}

static inline void test_i4_node(void **state)
{
	struct image image = map_image(pool.meta);
	const struct fmt_inode *many = image_inode(&image, pool.many);
	struct fmt_node *node = image_page(&image, many->body.root);

	(void)state;
	assert_true(many->body.height >= 2);
	node->count--;
	unmap_image(&image);
	expect_error("I4", pool.many);
}

static inline void test_i4_order(void **state)
{
	struct image image = map_image(pool.meta);
	const struct fmt_inode *many = image_inode(&image, pool.many);
	uint32_t seed = fmt_owner_seed(many->ino, many->generation);
	struct fmt_node *node = image_page(&image, many->body.root);
	struct fmt_record record = node->record[0];

	(void)state;
	assert_true(node->count >= 2);
	node->record[1].key = record.key;
	fmt_record_seal(&node->record[1], seed);
	unmap_image(&image);
	expect_error("I4", pool.many);
}

static inline void test_i5_record(void **state)
{
	struct image image = map_image(pool.meta);
	const struct fmt_inode *many = image_inode(&image, pool.many);
	struct fmt_node *node = image_page(&image, many->body.root);

	(void)state;
	node = image_page(&image, node->record[0].value);
	node->record[3].value ^= 2;
	unmap_image(&image);
	expect_error("I5", pool.many);
}

static inline void test_i6_page_twice(void **state)
{
	struct image image = map_image(pool.meta);
	struct fmt_inode *inode = image_inode(&image, pool.c);

	(void)state;
	assert_int_equal(inode->body.height, 0);
	assert_int_equal(inode->body.count, 1);
	inode->record[1] = inode->record[0];
	inode->record[1].key = UINT64_MAX >> 1;
	fmt_record_seal(&inode->record[1], fmt_owner_seed(inode->ino, inode->generation));
	inode->body.count = 2;
	fmt_inode_seal(inode);
	unmap_image(&image);
	expect_error("I6", pool.c);
}

static inline void test_i7_outside(void **state)
{
	struct meta *meta = open_meta(pool.meta);

	(void)state;
	map_blocks(meta, pool.file, 20, fmt_phys(0, PART_BLOCKS - 2), 2,
		   true); /* the last one holds the header's copy */
	map_blocks(meta, pool.many, 2000, fmt_phys(1, 10), 1, true);
	map_blocks(meta, pool.tiny, 20, fmt_phys(0, 0), 1, true);
	meta_close(meta);
	expect_error("I7", pool.file);
	expect_error("I7", pool.many);
	expect_error("I7", pool.tiny);
}

static inline void test_i8_twice(void **state)
{
	struct meta *meta = open_meta(pool.meta);

	(void)state;
	map_blocks(meta, pool.file, 20, fmt_phys(0, 101), 2, true);
	meta_close(meta);
	expect_only("I8", CHECK_ERROR, pool.many);
	assert_int_equal(check_copy(true)->report.blocks_used, MANY_EXTENTS + 10);
}

static inline void test_i9_overlap(void **state)
{
	struct meta *meta = open_meta(pool.meta);
	struct meta_tx *tx = begin(meta, 0);
	struct fmt_inode *file = edit(tx, get(meta, pool.file));

	(void)state;
	file->record[1].key = 1;
	fmt_record_seal(&file->record[1], fmt_owner_seed(file->ino, file->generation));
	assert_int_equal(meta_commit(tx), 0);
	meta_close(meta);
	expect_error("I9", pool.file);
}

static inline void test_i9_length(void **state)
{
	struct meta *meta = open_meta(pool.meta);
	struct meta_tx *tx = begin(meta, 0);
	struct fmt_inode *file = edit(tx, get(meta, pool.file));

	(void)state;
	file->record[2].key = (uint64_t)FMT_FILE_SIZE_MAX / FMT_BLOCK_SIZE;
	fmt_record_seal(&file->record[2], fmt_owner_seed(file->ino, file->generation));
	assert_int_equal(meta_commit(tx), 0);
	meta_close(meta);
	expect_only("I9", CHECK_ERROR, pool.file);
}

static inline void test_i10_blocks(void **state)
{
	struct meta *meta = open_meta(pool.meta);
	struct meta_tx *tx = begin(meta, 0);

	(void)state;
	edit(tx, get(meta, pool.many))->blocks++;
	assert_int_equal(meta_commit(tx), 0);
	meta_close(meta);
	expect_only("I10", CHECK_ERROR, pool.many);
}

static inline void test_i11_beyond(void **state)
{
	struct meta *meta = open_meta(pool.meta);

	(void)state;
	map_blocks(meta, pool.tiny, 1, fmt_phys(0, 60), 1, false);
	meta_close(meta);
	expect_only("I11", CHECK_ERROR, pool.tiny);
}

static inline void test_i12_tail(void **state)
{
	struct image image;

	(void)state;
	write_data(50 * FMT_BLOCK_SIZE, "7 bytes", 7); /* all of it in the file */
	assert_int_equal(check_copy(true)->count, 0);
	write_data(51 * FMT_BLOCK_SIZE - 1, "x", 1);
	expect_only("I12", CHECK_ERROR, pool.tiny);
	write_data(51 * FMT_BLOCK_SIZE - 1, "", 1);
	write_data(4 * FMT_BLOCK_SIZE + 100, "x", 1);
	expect_only("I12", CHECK_ERROR, pool.file);
	image = map_image(pool.meta);
	image.super->state = FMT_STATE_MOUNTED;
	unmap_image(&image);
	expect_only("I12", CHECK_NOTE, pool.file);
	assert_false(check_copy(true)->report.clean);
}

static inline void test_i21_copy(void **state)
{
	(void)state;
	write_data(PART_BLOCKS * FMT_BLOCK_SIZE - 1000, "x", 1);
	expect_only("I21", CHECK_ERROR, 0);
}

static inline void record_copy_as_part(void)
{
	struct meta *meta = open_meta(pool.meta);

	/* A file without a sound header is not recognized as a part that has moved. */
	assert_int_equal(meta_part_set_path(meta, 0, pool.data), 0);
	meta_close(meta);
}

static inline void test_i21_header(void **state)
{
	(void)state;
	record_copy_as_part();
	assert_int_equal(check_copy(true)->count, 0);
	write_data(3000, "x", 1);
	expect_only("I21", CHECK_ERROR, 0);
}

static inline void test_i21_missing(void **state)
{
	(void)state;
	record_copy_as_part();
	assert_int_equal(unlink(pool.data), 0);
	expect_only("I21", CHECK_ERROR, 0);
}

static inline void test_i21_short(void **state)
{
	(void)state;
	assert_int_equal(truncate(pool.data, (PART_BLOCKS - 1) * FMT_BLOCK_SIZE), 0);
	expect_only("I21", CHECK_ERROR, 0);
}

static inline void test_i21_record(void **state)
{
	struct meta *meta = open_meta(pool.meta);
	struct meta_tx *tx = begin(meta, 0);

	(void)state;
	assert_int_equal(meta_xattr_set(tx, get(meta, FMT_INO_PARTS), "part.0", 6, "short", 5, 0), 0);
	assert_int_equal(meta_commit(tx), 0);
	meta_close(meta);
	expect_error("I21", 0);
}

#endif
