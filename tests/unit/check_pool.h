/* What the tests of src/check share: a sound pool, made once, copies of it to break, and its bytes. */
#ifndef PINFS_TEST_CHECK_POOL_H
#define PINFS_TEST_CHECK_POOL_H

#include "scratch.h"

#include "base/arith.h"
#include "check/check.h"
#include "format/format.h"
#include "meta/meta.h"
#include "region/region.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define META_SIZE (16ull << 20)
#define PART_BLOCKS 4096ull
#define BIG_ENTRIES 300u
#define MANY_EXTENTS 400u
#define BIG_VALUE 20000u

/* One folder for all tests: a sound pool, made once, and the copy that a test breaks. */
struct pool {
	char folder[64];
	char sound_meta[128], sound_data[128];
	char meta[128], data[128];
	/* Inodes of the sound pool. */
	uint64_t a, b, c, file, many, big, short_link, long_link, fifo, tiny;
};

static struct pool pool;

/* ---- Making the sound pool ---- */

static inline struct meta *open_meta(const char *path)
{
	struct message message = {{0}};
	struct meta *meta;

	if (meta_open(path, 0, &meta, &message) != 0)
		fail_msg("%s", message.text);
	if (meta_scan(meta, NULL, &message) != 0)
		fail_msg("%s", message.text);
	return meta;
}

/* To be called before an inode is edited: until the commit it does not verify. */
static inline const struct fmt_inode *get(struct meta *meta, uint64_t ino)
{
	const struct fmt_inode *inode;

	assert_int_equal(meta_inode_get(meta, ino, &inode), 0);
	return inode;
}

static inline struct meta_tx *begin(struct meta *meta, unsigned flags)
{
	struct meta_tx *tx;

	assert_int_equal(meta_begin(meta, flags, &tx), 0);
	return tx;
}

static inline struct fmt_inode *edit(struct meta_tx *tx, const struct fmt_inode *inode)
{
	struct fmt_inode *ret;

	assert_int_equal(meta_inode_edit(tx, inode, &ret), 0);
	return ret;
}

/* A new inode, named in `parent` unless name is NULL. */
static inline uint64_t make(struct meta *meta, uint64_t parent, const char *name, uint32_t mode, const char *target)
{
	const struct fmt_inode *directory = get(meta, parent);
	struct meta_tx *tx = begin(meta, META_TX_INODE);
	struct fmt_inode *inode;
	uint64_t ino;

	assert_int_equal(meta_inode_create(tx, &inode), 0);
	ino = inode->ino;
	inode->mode = mode;
	inode->nlink = S_ISDIR(mode) ? 2 : 1;
	if (S_ISDIR(mode)) {
		inode->parent = parent;
		edit(tx, directory)->nlink++;
	}
	if (target != NULL)
		assert_int_equal(meta_symlink_set(tx, inode, target, strlen(target)), 0);
	if (name != NULL)
		assert_int_equal(meta_entry_insert(tx, directory, name, strlen(name), inode), 0);
	assert_int_equal(meta_commit(tx), 0);
	return ino;
}

static inline void map_blocks(struct meta *meta, uint64_t ino, uint64_t file_block, uint64_t phys, uint32_t length,
			      bool unwritten)
{
	struct meta_extent extent = {file_block, phys, length, unwritten};
	struct meta_tx *tx = begin(meta, 0);

	assert_int_equal(meta_extent_insert(tx, get(meta, ino), &extent), 0);
	assert_int_equal(meta_commit(tx), 0);
}

static inline void set_size(struct meta *meta, uint64_t ino, uint64_t size)
{
	struct meta_tx *tx = begin(meta, 0);

	edit(tx, get(meta, ino))->size = size;
	assert_int_equal(meta_commit(tx), 0);
}

static inline void set_xattr(struct meta *meta, uint64_t ino, const char *name, size_t length)
{
	struct meta_tx *tx = begin(meta, 0);
	char *value = malloc(length);

	assert_non_null(value);
	memset(value, 'v', length);
	assert_int_equal(meta_xattr_set(tx, get(meta, ino), name, strlen(name), value, length, 0), 0);
	assert_int_equal(meta_commit(tx), 0);
	free(value);
}

static inline void add_link(struct meta *meta, uint64_t parent, const char *name, uint64_t ino)
{
	const struct fmt_inode *directory = get(meta, parent), *inode = get(meta, ino);
	struct meta_tx *tx = begin(meta, 0);

	edit(tx, inode)->nlink++;
	assert_int_equal(meta_entry_insert(tx, directory, name, strlen(name), inode), 0);
	assert_int_equal(meta_commit(tx), 0);
}

static inline void populate(struct meta *meta)
{
	char name[32], target[3001];

	pool.a = make(meta, FMT_INO_ROOT, "a", S_IFDIR | 0755, NULL);
	pool.b = make(meta, pool.a, "b", S_IFDIR | 0755, NULL);
	pool.c = make(meta, pool.b, "c", S_IFDIR | 0755, NULL);
	pool.big = make(meta, FMT_INO_ROOT, "big", S_IFDIR | 0755, NULL);
	pool.file = make(meta, pool.a, "file", S_IFREG | 0644, NULL);
	map_blocks(meta, pool.file, 0, fmt_phys(0, 1), 2, false);
	map_blocks(meta, pool.file, 4, fmt_phys(0, 3), 2, false);
	map_blocks(meta, pool.file, 10, fmt_phys(0, 5), 4, true);
	set_size(meta, pool.file, 5 * FMT_BLOCK_SIZE + 100);
	set_xattr(meta, pool.file, "user.small", 10);
	set_xattr(meta, pool.file, "user.big", BIG_VALUE);
	add_link(meta, FMT_INO_ROOT, "link", pool.file);
	pool.many = make(meta, pool.a, "many", S_IFREG | 0644, NULL);
	for (unsigned i = 0; i < MANY_EXTENTS; i++)
		map_blocks(meta, pool.many, i * 2, fmt_phys(0, 100 + i * 2), 1, false);
	set_size(meta, pool.many, MANY_EXTENTS * 2 * FMT_BLOCK_SIZE);
	pool.tiny = make(meta, pool.c, "tiny", S_IFREG | 0644, NULL);
	map_blocks(meta, pool.tiny, 0, fmt_phys(0, 50), 1, false);
	set_size(meta, pool.tiny, 7);
	for (unsigned i = 0; i < BIG_ENTRIES; i++) {
		snprintf(name, sizeof(name), "entry number %u", i);
		make(meta, pool.big, name, S_IFREG | 0600, NULL);
	}
	memset(target, 't', sizeof(target) - 1);
	target[sizeof(target) - 1] = '\0';
	pool.short_link = make(meta, pool.a, "short", S_IFLNK | 0777, "file");
	pool.long_link = make(meta, pool.a, "long", S_IFLNK | 0777, target);
	pool.fifo = make(meta, pool.a, "fifo", S_IFIFO | 0600, NULL);
}

static inline int make_pool(void **state)
{
	struct meta_create_args args = {.size = META_SIZE, .root_mode = 0755, .pool_uuid = "unit test pool"};
	struct region_create_args data = {.size = PART_BLOCKS * FMT_BLOCK_SIZE, .part_uuid = "unit test part"};
	struct meta_part part = {.uuid = "unit test part"};
	struct message message = {{0}};
	struct meta *meta;

	(void)state;
	scratch_folder(pool.folder, sizeof(pool.folder), "check");
	snprintf(pool.sound_meta, sizeof(pool.sound_meta), "%s/sound-meta", pool.folder);
	snprintf(pool.sound_data, sizeof(pool.sound_data), "%s/sound-data", pool.folder);
	snprintf(pool.meta, sizeof(pool.meta), "%s/meta", pool.folder);
	snprintf(pool.data, sizeof(pool.data), "%s/data", pool.folder);
	data.path = pool.sound_data;
	memcpy(data.pool_uuid, args.pool_uuid, sizeof(data.pool_uuid));
	assert_int_equal(region_create(&data, &part.blocks, &message), 0);
	strcpy(part.path, pool.sound_data);
	if (meta_create(pool.sound_meta, &args, &meta, &message) != 0)
		fail_msg("%s", message.text);
	assert_int_equal(meta_part_add(meta, &part), 0);
	assert_int_equal(meta_create_finish(meta), 0);
	meta_close(meta);
	meta = open_meta(pool.sound_meta);
	populate(meta);
	meta_close(meta);
	return 0;
}

static inline int remove_pool(void **state)
{
	(void)state;
	unlink(pool.sound_meta);
	unlink(pool.sound_data);
	unlink(pool.meta);
	unlink(pool.data);
	return rmdir(pool.folder);
}

/* ---- A copy to break ---- */

static inline void copy_file(const char *from, const char *to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	static char buffer[1 << 20];
	ssize_t length;

	assert_true(in >= 0 && out >= 0);
	while ((length = read(in, buffer, sizeof(buffer))) > 0)
		assert_int_equal(write(out, buffer, (size_t)length), length);
	assert_int_equal(length, 0);
	close(in);
	close(out);
}

static inline int copy_pool(void **state)
{
	(void)state;
	copy_file(pool.sound_meta, pool.meta);
	copy_file(pool.sound_data, pool.data);
	return 0;
}

/* The meta part as bytes, while nobody has it open. */
struct image {
	unsigned char *base;
	size_t length;
	struct fmt_super *super;
};

static inline struct image map_image(const char *path)
{
	struct image image = {.length = META_SIZE};
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat stat;
	size_t at;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &stat), 0);
	image.length = (size_t)stat.st_size;
	image.base = mmap(NULL, image.length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(image.base, MAP_FAILED);
	close(fd);
	for (at = 0; at + sizeof(struct fmt_super) <= image.length && image.super == NULL; at += 16)
		if (fmt_super_valid((struct fmt_super *)(image.base + at)))
			image.super = (struct fmt_super *)(image.base + at);
	assert_non_null(image.super);
	return image;
}

static inline void unmap_image(struct image *image)
{
	assert_int_equal(munmap(image->base, image->length), 0);
}

static inline unsigned char *image_frame(const struct image *image, uint64_t group, unsigned frame)
{
	for (uint32_t i = 0; i < image->super->arenas; i++) {
		const struct fmt_arena *arena = &image->super->arena[i];

		if (group < arena->groups)
			return image->base + arena->offset + group * FMT_GROUP_SIZE + (uint64_t)frame * FMT_BLOCK_SIZE;
		group -= arena->groups;
	}
	fail_msg("no such group");
	return NULL;
}

static inline struct fmt_inode *image_inode(const struct image *image, uint64_t ino)
{
	return (struct fmt_inode *)(image_frame(image, fmt_ino_group(ino), fmt_ino_frame(ino)) +
				    (size_t)fmt_ino_slot(ino) * FMT_SLOT_SIZE);
}

static inline void *image_page(const struct image *image, uint64_t page)
{
	return image_frame(image, page / FMT_GROUP_FRAMES, page % FMT_GROUP_FRAMES);
}

/* The page of names whose record is first in a map of height 0, and a name in it. */
static inline struct fmt_names *image_names(const struct image *image, const struct fmt_map *map,
					    const struct fmt_record *record)
{
	assert_int_equal(map->height, 0);
	assert_true(map->count > 0);
	return image_page(image, record[0].value);
}

static inline struct fmt_name *image_name(const struct image *image, uint64_t directory, const char *name,
					  unsigned *ret_unit)
{
	const struct fmt_inode *inode = image_inode(image, directory);
	struct fmt_names *names = image_names(image, &inode->body, inode->record);

	for (unsigned unit = 0; unit < FMT_NAMES_UNITS; unit++) {
		struct fmt_name *found = (struct fmt_name *)names->unit[unit];

		if ((names->start >> unit & 1) != 0 && found->name_length == strlen(name) &&
		    memcmp(found->bytes, name, found->name_length) == 0) {
			if (ret_unit != NULL)
				*ret_unit = unit;
			return found;
		}
	}
	fail_msg("no name %s", name);
	return NULL;
}

/* ---- Checking it ---- */

#define PROBLEMS_MAX 4096

struct found {
	struct {
		char invariant[8];
		enum check_severity severity;
		uint64_t ino;
		char path[128];
	} problem[PROBLEMS_MAX];
	size_t count;
	struct check_report report;
};

static inline void note_problem(void *arg, const struct check_problem *problem)
{
	struct found *found = arg;

	assert_true(found->count < PROBLEMS_MAX);
	assert_true(strlen(problem->invariant) < sizeof(found->problem[0].invariant));
	assert_null(strchr(problem->text, '\n'));
	strcpy(found->problem[found->count].invariant, problem->invariant);
	found->problem[found->count].severity = problem->severity;
	found->problem[found->count].ino = problem->ino;
	snprintf(found->problem[found->count].path, sizeof(found->problem[0].path), "%s",
		 problem->path != NULL ? problem->path : "");
	found->count++;
	if (getenv("CHECK_VERBOSE") != NULL)
		fprintf(stderr, "# %s %s ino %lu %s: %s\n", problem->invariant,
			problem->severity == CHECK_ERROR ? "error" : "note", problem->ino,
			problem->path != NULL ? problem->path : "-", problem->text);
}

static inline const struct found *check_copy(bool in_process)
{
	static struct found found;
	const char *data = pool.data;
	struct check_options options = {
		.meta_path = pool.meta,
		.data_paths = &data,
		.data_count = 1,
		.skip_probe = in_process,
		.in_process = in_process,
		.problem = note_problem,
		.arg = &found,
	};
	struct message message = {{0}};

	memset(&found, 0, sizeof(found));
	if (check_pool(&options, &found.report, &message) != 0)
		fail_msg("%s", message.text);
	assert_int_equal(found.count, found.report.errors + found.report.notes);
	return &found;
}

/* `invariant` is reported of `ino` (0: any) with that severity. */
static inline void expect(const char *invariant, enum check_severity severity, uint64_t ino)
{
	const struct found *found = check_copy(true);

	for (size_t i = 0; i < found->count; i++)
		if (strcmp(found->problem[i].invariant, invariant) == 0 && found->problem[i].severity == severity &&
		    (ino == 0 || found->problem[i].ino == ino))
			return;
	for (size_t i = 0; i < found->count; i++)
		print_error("reported: %s of inode %lu\n", found->problem[i].invariant, found->problem[i].ino);
	fail_msg("%s of inode %lu is not among %zu problems", invariant, ino, found->count);
}

/* ... and nothing else is. */
static inline void expect_only(const char *invariant, enum check_severity severity, uint64_t ino)
{
	expect(invariant, severity, ino);
	assert_int_equal(check_copy(true)->count, 1);
}

static inline void expect_error(const char *invariant, uint64_t ino)
{
	expect(invariant, CHECK_ERROR, ino);
}

static inline void write_data(uint64_t offset, const void *bytes, size_t length)
{
	int fd = open(pool.data, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, length, (off_t)offset), length);
	close(fd);
}

#define TEST(name) cmocka_unit_test_setup(name, copy_pool)

#endif
