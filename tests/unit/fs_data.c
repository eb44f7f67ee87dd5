/* The data path of src/fs against models: random mixes, limits, space to the block, no stale bytes. */
#include "fs_model.h"

/* ---- Operations on both ---- */

static uint64_t random_offset(void)
{
	uint32_t offset = random_below(FILE_MAX);

	return random_below(4) == 0 ? align_down(offset, BLOCK) : offset;
}

static uint64_t random_end(uint64_t start, uint32_t most)
{
	uint64_t end = min_u64(FILE_MAX, start + 1 + random_below(random_below(8) == 0 ? most * 16 : most));

	return random_below(4) == 0 ? min_u64(FILE_MAX, align_up(end, BLOCK)) : end;
}

static void op_write(struct model *model)
{
	/* Often near the end, as programs do. */
	uint64_t start = random_below(3) == 0 ? min_u64(model->size, FILE_MAX - 1) : random_offset();
	uint64_t end = random_end(start, 80000);

	for (uint64_t i = start; i < end; i++)
		model->bytes[i] = (unsigned char)(random_below(255) + 1);
	assert_int_equal(fs_write(pool.fs, model->ino, model->bytes + start, end - start, (off_t)start, NULL),
			 end - start);
	model_mark(model, start, end);
}

static void op_read(struct model *model)
{
	uint64_t start = random_offset();
	uint64_t end = random_end(start, 80000);
	uint64_t expected = start < model->size ? min_u64(end, model->size) - start : 0;

	assert_int_equal(file_read(model->ino, start, end - start, buffer), expected);
	assert_memory_equal(buffer, model->bytes + start, expected);
}

static void op_truncate(struct model *model)
{
	uint64_t size = random_below(3) == 0 ? model->size - min_u64(model->size, random_below(9000)) : random_offset();

	assert_int_equal(file_truncate(model->ino, size), 0);
	model_truncate(model, size);
}

static void op_fallocate(struct model *model)
{
	static const int modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
				    FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
				    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE};
	int mode = modes[random_below(ARRAY_SIZE(modes))];
	uint64_t start = random_offset();
	uint64_t end = random_end(start, 40000);

	assert_int_equal(fs_fallocate(pool.fs, model->ino, mode, (off_t)start, (off_t)(end - start), NULL), 0);
	if (mode & FALLOC_FL_PUNCH_HOLE)
		model_punch(model, start, end);
	else
		model_allocate(model, mode, start, end);
}

static void op_copy(struct model *in, struct model *out)
{
	uint64_t from = random_offset();
	uint64_t to = random_offset();
	uint64_t length = min_u64(random_end(from, 80000) - from, FILE_MAX - to);
	uint64_t expected = from < in->size ? min_u64(length, in->size - from) : 0;
	ssize_t count = fs_copy_range(pool.fs, in->ino, (off_t)from, out->ino, (off_t)to, length, NULL);

	if (in == out && expected > 0 && from < to + expected && to < from + expected) {
		assert_int_equal(count, -EINVAL);
		return;
	}
	assert_int_equal(count, expected);
	memcpy(out->bytes + to, in->bytes + from, expected);
	if (expected > 0)
		model_mark(out, to, to + expected);
}

static void step_random(void)
{
	struct model *model = models[random_below(FILES)];

	switch (random_below(8)) {
	case 0:
	case 1:
	case 2:
		op_write(model);
		break;
	case 3:
		op_truncate(model);
		break;
	case 4:
	case 5:
		op_fallocate(model);
		break;
	case 6:
		op_copy(model, models[random_below(FILES)]);
		break;
	default:
		op_read(model);
		check_seek(model, random_offset());
	}
}

static void random_mix(void **state)
{
	const char *steps = getenv("PINFS_TEST_STEPS");
	unsigned count = steps != NULL ? (unsigned)strtoul(steps, NULL, 0) : 20000;

	(void)state;
	files_create();
	for (unsigned i = 1; i <= count; i++) {
		step_random();
		if (i % 250 == 0)
			files_check();
		if (i % 2500 == 0) {
			pool_remount();
			files_check();
		}
	}
	files_delete();
}

/* ---- Edges of arguments ---- */

static void limits(void **state)
{
	struct model *model = malloc(sizeof(*model));
	static struct fs_read read;
	off_t last = INT64_MAX;

	(void)state;
	assert_non_null(model);
	file_create(model, "limits");
	assert_int_equal(fs_write(pool.fs, model->ino, "x", 1, last, NULL), -EFBIG);
	assert_int_equal(fs_write(pool.fs, model->ino, "x", 1, -1, NULL), -EINVAL);
	assert_int_equal(fs_write(pool.fs, model->ino, "x", 0, 5, NULL), 0);
	assert_int_equal(fs_write(pool.fs, model->ino, "xyz", 3, last - 2, NULL), 2);
	assert_int_equal(file_read(model->ino, INT64_MAX - 3, 10, buffer), 3);
	assert_memory_equal(buffer, "\0xy", 3);
	assert_int_equal(fs_lseek(pool.fs, model->ino, 0, SEEK_DATA), align_down(INT64_MAX, BLOCK));
	assert_int_equal(fs_lseek(pool.fs, model->ino, last - 1, SEEK_HOLE), last);
	assert_int_equal(fs_lseek(pool.fs, model->ino, last, SEEK_HOLE), -ENXIO);
	assert_int_equal(fs_lseek(pool.fs, model->ino, -1, SEEK_HOLE), -ENXIO);
	assert_int_equal(fs_lseek(pool.fs, model->ino, 0, SEEK_SET), -EINVAL);
	assert_int_equal(fs_fallocate(pool.fs, model->ino, 0, last, 1, NULL), -EFBIG);
	assert_int_equal(fs_fallocate(pool.fs, model->ino, 0, 0, last, NULL), -ENOSPC);
	assert_int_equal(fs_fallocate(pool.fs, model->ino, 0, 0, 0, NULL), -EINVAL);
	assert_int_equal(fs_fallocate(pool.fs, model->ino, FALLOC_FL_PUNCH_HOLE, 0, 1, NULL), -EOPNOTSUPP);
	assert_int_equal(fs_fallocate(pool.fs, model->ino, FALLOC_FL_COLLAPSE_RANGE, 0, BLOCK, NULL), -EOPNOTSUPP);
	assert_int_equal(fs_fallocate(pool.fs, FMT_INO_ROOT, 0, 0, 1, NULL), -EISDIR);
	assert_int_equal(fs_write(pool.fs, FMT_INO_ROOT, "x", 1, 0, NULL), -EISDIR);
	assert_int_equal(fs_read_begin(pool.fs, FMT_INO_ROOT, 0, 1, &read), -EISDIR);
	assert_int_equal(fs_copy_range(pool.fs, model->ino, 0, FMT_INO_ROOT, 0, 1, NULL), -EISDIR);
	assert_int_equal(fs_copy_range(pool.fs, model->ino, last - 2, model->ino, last, 1, NULL), -EFBIG);
	assert_int_equal(fs_copy_range(pool.fs, model->ino, last, model->ino, 0, 1, NULL), 0);
	assert_int_equal(file_truncate(model->ino, 0), 0);
	assert_int_equal(blocks_free(), pool.blocks_free);
	file_delete(model);
	free(model);
}

/* ---- Space ---- */

/* Writes until nothing fits; the bytes written. */
static uint64_t fill(uint64_t ino, const unsigned char *data, size_t chunk)
{
	uint64_t offset = 0;
	ssize_t count;

	do {
		count = fs_write(pool.fs, ino, data, chunk, (off_t)offset, NULL);
		offset += count > 0 ? (uint64_t)count : 0;
	} while (count == (ssize_t)chunk);
	if (count > 0)
		count = fs_write(pool.fs, ino, data, chunk, (off_t)offset, NULL);
	assert_int_equal(count, -ENOSPC);
	return offset;
}

static void space_is_exact(void **state)
{
	struct model *model = malloc(sizeof(*model));

	(void)state;
	assert_non_null(model);
	memset(buffer, 0xaa, sizeof(buffer));
	for (unsigned round = 0; round < 20; round++) {
		file_create(model, "full");
		assert_int_equal(fill(model->ino, buffer, round % 2 ? 1u << 20 : 100000 + round),
				 pool.blocks_free * BLOCK);
		assert_int_equal(blocks_free(), 0);
		/* What is there can be overwritten and zeroed; what is not cannot be had. */
		assert_int_equal(fs_write(pool.fs, model->ino, buffer, 5000, 100, NULL), 5000);
		assert_int_equal(fs_fallocate(pool.fs, model->ino, FALLOC_FL_ZERO_RANGE, 5, 1 << 20, NULL), 0);
		assert_int_equal(fs_fallocate(pool.fs, model->ino, FALLOC_FL_KEEP_SIZE, 0,
					      (off_t)(pool.blocks_free * BLOCK + 1), NULL),
				 -ENOSPC);
		assert_int_equal(fs_fallocate(pool.fs, model->ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1,
					      BLOCK * (round + 1), NULL),
				 0);
		assert_int_equal(blocks_free(), round);
		if (round % 5 == 4)
			pool_remount();
		file_delete(model);
		assert_int_equal(blocks_free(), pool.blocks_free);
	}
	free(model);
}

/* Everything is 0xaa; then files that show only what they were given. */
static void no_stale_bytes(void **state)
{
	static const uint64_t ends[] = {1, 4095, 4096, 4097, 50000, 3000000};

	(void)state;
	memset(buffer, 0xaa, sizeof(buffer));
	files_create();
	(void)fill(models[0]->ino, buffer, 1u << 20);
	model_truncate(models[0], 0);
	assert_int_equal(file_truncate(models[0]->ino, 0), 0);
	for (unsigned round = 0; round < 30; round++) {
		struct model *model = models[round % FILES];
		uint64_t end = ends[random_below(ARRAY_SIZE(ends))];

		assert_int_equal(fs_fallocate(pool.fs, model->ino, FALLOC_FL_KEEP_SIZE, 0, (off_t)end, NULL), 0);
		model_allocate(model, FALLOC_FL_KEEP_SIZE, 0, end);
		op_write(model);
		op_truncate(model);
		op_write(model);
		files_check();
	}
	pool_remount();
	files_check();
	files_delete();
}

/* Every second block is an extent, in pages full of them: transactions that move many records. */
static void comb(void **state)
{
	static const int modes[] = {0, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};

	(void)state;
	files_create();
	for (unsigned i = 0; i < FILES; i++) {
		struct model *model = models[i];
		uint64_t middle = FILE_MAX / 2 + 1000;
		uint64_t end = middle + (1u << 20);

		for (uint64_t at = 0; at < FILE_MAX; at += 2 * BLOCK) {
			memset(model->bytes + at, (int)(at / BLOCK % 255) + 1, BLOCK);
			assert_int_equal(fs_write(pool.fs, model->ino, model->bytes + at, BLOCK, (off_t)at, NULL),
					 BLOCK);
			model_mark(model, at, at + BLOCK);
		}
		if (i < ARRAY_SIZE(modes)) {
			assert_int_equal(fs_fallocate(pool.fs, model->ino, modes[i], (off_t)middle, 1 << 20, NULL), 0);
			model_allocate(model, modes[i], middle, end);
		} else if (i == 2) {
			assert_int_equal(fs_fallocate(pool.fs, model->ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
						      (off_t)middle, 1 << 20, NULL),
					 0);
			model_punch(model, middle, end);
		}
		assert_true(file_is(model, true));
		memset(model->bytes + middle + 9000, 0xee, 500000);
		assert_int_equal(
			fs_write(pool.fs, model->ino, model->bytes + middle + 9000, 500000, (off_t)middle + 9000, NULL),
			500000);
		model_mark(model, middle + 9000, middle + 509000);
		files_check();
	}
	pool_remount();
	files_check();
	files_delete();
}

/*
 * Holes in the middle of a file on a full meta part: refused in time, whole, and nobody's unlink suffers. The
 * attributes that fill it are of one file, in pages of their own.
 */
static void holes_leave_the_reserve(void **state)
{
	struct model *model = malloc(sizeof(*model));
	unsigned count = 0, refused = 0;
	char name[32];
	int error = 0;

	(void)state;
	assert_non_null(model);
	file_create(model, "holes");
	memset(buffer, 0x5a, FILE_MAX);
	assert_int_equal(fs_write(pool.fs, model->ino, buffer, FILE_MAX, 0, NULL), FILE_MAX);
	memset(model->bytes, 0x5a, FILE_MAX);
	model->size = FILE_MAX;
	model_mark(model, 0, FILE_MAX);
	for (size_t length = 60000; length > 500; length /= 2) {
		for (error = 0; error == 0;) {
			snprintf(name, sizeof(name), "user.%zu.%u", length, count++);
			error = fs_setxattr(pool.fs, model->ino, name, buffer, length, 0);
		}
		assert_int_equal(error, -ENOSPC);
	}
	for (uint64_t at = BLOCK / 2; at + 3 * BLOCK < FILE_MAX; at += 4 * BLOCK) {
		error = fs_fallocate(pool.fs, model->ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at,
				     2 * BLOCK, NULL);
		if (error == 0)
			model_punch(model, at, at + 2 * BLOCK);
		else
			assert_int_equal(error, -ENOSPC);
		refused += error != 0;
	}
	assert_true(refused > 100);
	assert_int_equal(fs_fallocate(pool.fs, model->ino, FALLOC_FL_ZERO_RANGE, 3, 5 * BLOCK, NULL), -ENOSPC);
	assert_true(file_is(model, true));
	/* What only gives back goes on. */
	assert_int_equal(file_truncate(model->ino, FILE_MAX / 2 + 100), 0);
	model_truncate(model, FILE_MAX / 2 + 100);
	assert_true(file_is(model, true));
	file_delete(model);
	free(model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(limits, pool_create, pool_destroy),
		cmocka_unit_test_setup_teardown(random_mix, pool_create, pool_destroy),
		cmocka_unit_test_setup_teardown(space_is_exact, pool_create, pool_destroy),
		cmocka_unit_test_setup_teardown(comb, pool_create, pool_destroy),
		cmocka_unit_test_setup_teardown(no_stale_bytes, pool_create, pool_destroy),
		cmocka_unit_test_setup_teardown(holes_leave_the_reserve, pool_create, pool_destroy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
