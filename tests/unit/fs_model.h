/*
 * For tests of the data path: a pool in a scratch folder, and files with models of them in memory: contents, size,
 * blocks, data and holes.
 */
#ifndef PINFS_TEST_FS_MODEL_H
#define PINFS_TEST_FS_MODEL_H

#include "scratch.h"

#include "base/arith.h"
#include "check/check.h"
#include "fs/fs.h"
#include "meta/meta.h"
#include "region/region.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define BLOCK FMT_BLOCK_SIZE
#define FILE_MAX (8u << 20) /* bytes a model holds */
#define FILE_BLOCKS (FILE_MAX / BLOCK)
#define PART_SIZE (48ull << 20)

/* ---- A pool in a scratch folder ---- */

struct pool {
	char folder[200];
	char meta_path[256];
	char part_path[256];
	struct fs *fs;
	uint64_t blocks_free; /* when it was empty */
};
static struct pool pool;

static inline uint64_t blocks_free(void)
{
	static struct fs_stats stats;

	fs_get_stats(pool.fs, &stats);
	assert_int_equal(stats.bad_frees, 0);
	return stats.blocks_free;
}

static inline int pool_open(void)
{
	struct fs_options options = {.meta_path = pool.meta_path, .skip_probe = true};
	struct message message = {""};
	int error = fs_open(&options, &pool.fs, &message);

	if (error != 0)
		print_error("%s\n", message.text);
	return error;
}

static inline void pool_close(void)
{
	if (pool.fs != NULL)
		fs_close(pool.fs);
	pool.fs = NULL;
}

static inline void pool_remount(void)
{
	pool_close();
	assert_int_equal(pool_open(), 0);
}

static inline int pool_create(void **state)
{
	struct meta_create_args args = {.size = 64u << 20, .pool_uuid = "data test", .root_mode = 0755};
	struct region_create_args region = {.path = pool.part_path, .size = PART_SIZE, .part_uuid = "data part"};
	struct meta_part part = {.number = 0};
	struct message message = {""};
	struct meta *meta;

	(void)state;
	scratch_folder(pool.folder, sizeof(pool.folder), "data");
	snprintf(pool.meta_path, sizeof(pool.meta_path), "%s/meta", pool.folder);
	snprintf(pool.part_path, sizeof(pool.part_path), "%s/data", pool.folder);
	memcpy(region.pool_uuid, args.pool_uuid, sizeof(region.pool_uuid));
	if (meta_create(pool.meta_path, &args, &meta, &message) != 0 ||
	    region_create(&region, &part.blocks, &message) != 0)
		fail_msg("%s", message.text);
	memcpy(part.uuid, region.part_uuid, sizeof(part.uuid));
	snprintf(part.path, sizeof(part.path), "%s", pool.part_path);
	assert_int_equal(meta_part_add(meta, &part), 0);
	assert_int_equal(meta_create_finish(meta), 0);
	meta_close(meta);
	assert_int_equal(pool_open(), 0);
	pool.blocks_free = blocks_free();
	return 0;
}

static inline void pool_problem(void *arg, const struct check_problem *problem)
{
	(void)arg;
	print_error("%s inode %llu: %s\n", problem->invariant, (unsigned long long)problem->ino, problem->text);
}

/* Unmounted: no invariant is broken. */
static inline void pool_check(void)
{
	struct check_options options = {
		.meta_path = pool.meta_path, .skip_probe = true, .in_process = true, .problem = pool_problem};
	struct check_report report;
	struct message message = {""};

	pool_close();
	if (check_pool(&options, &report, &message) != 0)
		fail_msg("%s", message.text);
	assert_int_equal(report.errors, 0);
}

static inline int pool_destroy(void **state)
{
	(void)state;
	pool_check();
	unlink(pool.meta_path);
	unlink(pool.part_path);
	return rmdir(pool.folder);
}

/* Numbers that are the same in each run. */
static uint32_t random_state = 1;

static inline uint32_t random_below(uint32_t limit)
{
	random_state = random_state * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)(random_state >> 8) * limit >> 24);
}

/* ---- Files and their models ---- */

enum block_state { HOLE, UNWRITTEN, WRITTEN };

struct model {
	uint64_t ino;
	char name[16];
	uint64_t size;
	unsigned char bytes[FILE_MAX]; /* zeros from size on */
	unsigned char block[FILE_BLOCKS];
};

static unsigned char buffer[FILE_MAX];

static inline void file_create(struct model *model, const char *name)
{
	struct fs_make make = {.mode = S_IFREG | 0644};
	struct fs_cred cred = {0};
	struct fs_entry entry;

	memset(model, 0, sizeof(*model));
	snprintf(model->name, sizeof(model->name), "%s", name);
	assert_int_equal(fs_make(pool.fs, FMT_INO_ROOT, name, &make, &cred, &entry), 0);
	model->ino = entry.ino;
}

static inline void file_delete(const struct model *model)
{
	assert_int_equal(fs_unlink(pool.fs, FMT_INO_ROOT, model->name), 0);
	fs_forget(pool.fs, model->ino, UINT64_MAX);
}

/* Reads into `to`; the count. */
static inline size_t file_read(uint64_t ino, uint64_t offset, size_t size, unsigned char *to)
{
	static _Thread_local struct fs_read read;
	size_t done = 0;

	while (done < size) {
		if (fs_read_begin(pool.fs, ino, (off_t)(offset + done), size - done, &read) != 0)
			return SIZE_MAX;
		if (read.length == 0) {
			fs_read_end(pool.fs, &read);
			break;
		}
		for (int i = 0; i < read.count; i++) {
			memcpy(to + done, read.iov[i].iov_base, read.iov[i].iov_len);
			done += read.iov[i].iov_len;
		}
		fs_read_end(pool.fs, &read);
	}
	return done;
}

static inline int file_truncate(uint64_t ino, uint64_t size)
{
	struct fs_setattr changes = {.valid = FS_SET_SIZE, .attr.st_size = (off_t)size};
	struct stat attr;
	int error = fs_setattr(pool.fs, ino, &changes, NULL, &attr);

	return error == 0 && (uint64_t)attr.st_size != size ? -ERANGE : error;
}

static inline void model_mark(struct model *model, uint64_t start, uint64_t end)
{
	for (uint64_t i = start / BLOCK; i * BLOCK < end; i++)
		model->block[i] = WRITTEN;
	model->size = max_u64(model->size, end);
}

static inline void model_truncate(struct model *model, uint64_t size)
{
	if (size <= model->size) {
		memset(model->bytes + size, 0, FILE_MAX - size);
		for (uint64_t i = align_up(size, BLOCK) / BLOCK; i < FILE_BLOCKS; i++)
			model->block[i] = HOLE;
	}
	model->size = size;
}

static inline void model_punch(struct model *model, uint64_t start, uint64_t end)
{
	memset(model->bytes + start, 0, end - start);
	if (end >= model->size)
		end = max_u64(end, align_up(model->size, BLOCK));
	for (uint64_t i = align_up(start, BLOCK) / BLOCK; (i + 1) * BLOCK <= end; i++)
		model->block[i] = HOLE;
}

static inline void model_allocate(struct model *model, int mode, uint64_t start, uint64_t end)
{
	if (mode & FALLOC_FL_ZERO_RANGE) {
		memset(model->bytes + start, 0, end - start);
		for (uint64_t i = align_up(start, BLOCK) / BLOCK; (i + 1) * BLOCK <= end; i++)
			model->block[i] = UNWRITTEN;
	}
	for (uint64_t i = start / BLOCK; i * BLOCK < end; i++) {
		if (model->block[i] == HOLE)
			model->block[i] = UNWRITTEN;
	}
	if (!(mode & FALLOC_FL_KEEP_SIZE))
		model->size = max_u64(model->size, end);
}

/* What lseek(2) is to answer. */
static inline off_t model_seek(const struct model *model, uint64_t offset, int whence)
{
	while (offset < model->size) {
		if ((model->block[offset / BLOCK] == WRITTEN) == (whence == SEEK_DATA))
			return (off_t)offset;
		offset = (offset / BLOCK + 1) * BLOCK;
	}
	offset = min_u64(offset, model->size);
	return whence == SEEK_DATA ? -ENXIO : (off_t)offset;
}

static uint64_t model_blocks(const struct model *model)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < FILE_BLOCKS; i++)
		count += model->block[i] != HOLE;
	return count;
}

/* True if the file is what the model says; st_blocks only if `exact`. */
static inline bool file_is(const struct model *model, bool exact)
{
	struct stat attr;

	if (fs_getattr(pool.fs, model->ino, &attr) != 0 || (uint64_t)attr.st_size != model->size)
		return false;
	if (exact && (uint64_t)attr.st_blocks != model_blocks(model) * 8)
		return false;
	return file_read(model->ino, 0, FILE_MAX, buffer) == model->size &&
	       memcmp(buffer, model->bytes, model->size) == 0;
}

static inline void check_seek(const struct model *model, uint64_t offset)
{
	off_t data = offset < model->size ? model_seek(model, offset, SEEK_DATA) : -ENXIO;
	off_t hole = offset < model->size ? model_seek(model, offset, SEEK_HOLE) : -ENXIO;

	assert_int_equal(fs_lseek(pool.fs, model->ino, (off_t)offset, SEEK_DATA), data);
	assert_int_equal(fs_lseek(pool.fs, model->ino, (off_t)offset, SEEK_HOLE), hole);
}

#define FILES 4u

static struct model *models[FILES];

static inline void files_create(void)
{
	for (unsigned i = 0; i < FILES; i++) {
		char name[16];

		snprintf(name, sizeof(name), "file%u", i);
		models[i] = malloc(sizeof(*models[i]));
		assert_non_null(models[i]);
		file_create(models[i], name);
	}
}

static inline void files_delete(void)
{
	for (unsigned i = 0; i < FILES; i++) {
		file_delete(models[i]);
		free(models[i]);
	}
	assert_int_equal(blocks_free(), pool.blocks_free);
}

static inline void files_check(void)
{
	uint64_t used = 0;

	for (unsigned i = 0; i < FILES; i++) {
		assert_true(file_is(models[i], true));
		used += model_blocks(models[i]);
	}
	assert_int_equal(blocks_free(), pool.blocks_free - used);
}

#endif
