/* A pool for tests of src/fs: made, mounted, checked and removed in a scratch folder of its own. */
#ifndef PINFS_TEST_FS_POOL_H
#define PINFS_TEST_FS_POOL_H

#include "scratch.h"

#include "base/arith.h"
#include "check/check.h"
#include "fs/inode.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

struct pool {
	char folder[128];
	char meta[160];
	char data[160];
	struct fs *fs;
};

#define POOL_DATA_SIZE (16u << 20)

static inline void pool_fill_uuid(uint8_t uuid[16], uint8_t seed)
{
	for (unsigned i = 0; i < 16; i++)
		uuid[i] = (uint8_t)(seed + i);
}

/* Makes a pool with a 16 MiB meta part and one data part; not mounted. */
static inline void pool_make(struct pool *pool)
{
	struct meta_create_args meta_args = {.size = META_SIZE_MIN, .root_mode = 0755};
	struct region_create_args args = {.path = pool->data, .size = POOL_DATA_SIZE};
	struct meta_part part = {.number = 0};
	struct message why;
	struct meta *meta = NULL;

	scratch_folder(pool->folder, sizeof(pool->folder), "fs");
	(void)snprintf(pool->meta, sizeof(pool->meta), "%s/meta", pool->folder);
	(void)snprintf(pool->data, sizeof(pool->data), "%s/data", pool->folder);
	pool->fs = NULL;
	pool_fill_uuid(meta_args.pool_uuid, 1);
	pool_fill_uuid(args.pool_uuid, 1);
	pool_fill_uuid(args.part_uuid, 101);
	pool_fill_uuid(part.uuid, 101);
	(void)snprintf(part.path, sizeof(part.path), "%s", pool->data);
	assert_int_equal(meta_create(pool->meta, &meta_args, &meta, &why), 0);
	assert_int_equal(region_create(&args, &part.blocks, &why), 0);
	assert_int_equal(meta_part_add(meta, &part), 0);
	assert_int_equal(meta_create_finish(meta), 0);
	meta_close(meta);
}

static inline int pool_try_mount(struct pool *pool, bool read_only, const char *data, struct message *why)
{
	struct fs_options options = {
		.meta_path = pool->meta,
		.data_paths = &data,
		.data_count = data != NULL ? 1 : 0,
		.read_only = read_only,
		.skip_probe = true,
	};

	return fs_open(&options, &pool->fs, why);
}

static inline void pool_mount(struct pool *pool)
{
	struct message why;
	int error = pool_try_mount(pool, false, NULL, &why);

	if (error != 0)
		fail_msg("mount: %s", why.text);
}

static inline void pool_unmount(struct pool *pool)
{
	fs_close(pool->fs);
	pool->fs = NULL;
}

static inline void pool_remount(struct pool *pool)
{
	pool_unmount(pool);
	pool_mount(pool);
}

static inline void pool_problem(void *arg, const struct check_problem *problem)
{
	(void)arg;
	print_error("%s inode %lu %s: %s\n", problem->invariant, (unsigned long)problem->ino,
		    problem->path != NULL ? problem->path : "", problem->text);
}

/* Unmounted: no invariant is broken, and nothing is left over. */
static inline void pool_check(struct pool *pool)
{
	struct check_options options = {
		.meta_path = pool->meta, .skip_probe = true, .in_process = true, .problem = pool_problem};
	struct check_report report;
	struct message why;

	assert_null(pool->fs);
	assert_int_equal(check_pool(&options, &report, &why), 0);
	assert_int_equal(report.errors, 0);
	assert_int_equal(report.orphans, 0);
	assert_int_equal(report.intents, 0);
	assert_true(report.clean);
}

static inline void pool_remove(struct pool *pool)
{
	(void)unlink(pool->meta);
	(void)unlink(pool->data);
	(void)rmdir(pool->folder);
}

/* cmocka set-up and tear-down: a fresh mounted pool per test; whatever the test did, the pool must be sound. */
static inline int pool_setup(void **state)
{
	struct pool *pool = test_calloc(1, sizeof(*pool));

	pool_make(pool);
	pool_mount(pool);
	*state = pool;
	return 0;
}

static inline int pool_teardown(void **state)
{
	struct pool *pool = *state;

	if (pool->fs != NULL)
		pool_unmount(pool);
	pool_check(pool);
	pool_remove(pool);
	test_free(pool);
	return 0;
}

/* ---- Short forms; all as user 1000, group 100, and every look-up is forgotten at once unless kept ---- */

#define ROOT FMT_INO_ROOT

static const struct fs_cred pool_cred = {.uid = 1000, .gid = 100};

/* Returns 0 or -errno, and the number or 0; the kernel keeps knowing the inode. */
static inline int make_kept(struct pool *pool, uint64_t parent, const char *name, mode_t mode, uint64_t *ret_ino)
{
	struct fs_make make = {.mode = mode, .target = S_ISLNK(mode) ? "target" : NULL};
	struct fs_entry entry = {.ino = 0};
	int error = fs_make(pool->fs, parent, name, &make, &pool_cred, &entry);

	*ret_ino = entry.ino;
	return error;
}

static inline int make(struct pool *pool, uint64_t parent, const char *name, mode_t mode)
{
	uint64_t ino;
	int error = make_kept(pool, parent, name, mode, &ino);

	if (error == 0)
		fs_forget(pool->fs, ino, 1);
	return error;
}

/* Number of a name; fails the test if it is not there. */
static inline uint64_t find(struct pool *pool, uint64_t parent, const char *name)
{
	struct fs_entry entry = {.ino = 0};

	assert_int_equal(fs_lookup(pool->fs, parent, name, &entry), 0);
	fs_forget(pool->fs, entry.ino, 1);
	return entry.ino;
}

static inline int find_error(struct pool *pool, uint64_t parent, const char *name)
{
	struct fs_entry entry = {.ino = 0};
	int error = fs_lookup(pool->fs, parent, name, &entry);

	if (error == 0)
		fs_forget(pool->fs, entry.ino, 1);
	return error;
}

static inline int link_to(struct pool *pool, uint64_t ino, uint64_t parent, const char *name)
{
	struct fs_entry entry = {.ino = 0};
	int error = fs_link(pool->fs, ino, parent, name, &entry);

	if (error == 0)
		fs_forget(pool->fs, ino, 1);
	return error;
}

static inline struct stat attr_of(struct pool *pool, uint64_t ino)
{
	struct stat attr;

	assert_int_equal(fs_getattr(pool->fs, ino, &attr), 0);
	return attr;
}

/* Sets a link count behind the filesystem's back. */
static inline void nlink_forge(struct pool *pool, uint64_t ino, uint32_t nlink)
{
	const struct fmt_inode *media;
	struct fmt_inode *edit;
	struct meta_tx *tx;

	assert_int_equal(meta_inode_get(pool->fs->meta, ino, &media), 0);
	assert_int_equal(meta_begin(pool->fs->meta, 0, &tx), 0);
	assert_int_equal(meta_inode_edit(tx, media, &edit), 0);
	edit->nlink = nlink;
	assert_int_equal(meta_commit(tx), 0);
}

#endif
