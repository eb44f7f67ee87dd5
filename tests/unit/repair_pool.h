/* What the tests of src/repair share: the copy of the pool is mended, and compared with the sound one. */
#ifndef PINFS_TEST_REPAIR_POOL_H
#define PINFS_TEST_REPAIR_POOL_H

#include "base/crc.h"
#include "check_pool.h"
#include "repair/repair.h"

#define TOUCHED_MAX 512

/* Inodes that are allowed to differ: what was broken, and what had to follow. */
struct touched {
	uint64_t ino[TOUCHED_MAX];
	size_t count;
};

static inline void touch(struct touched *touched, uint64_t ino)
{
	for (size_t i = 0; i < touched->count; i++)
		if (touched->ino[i] == ino)
			return;
	if (ino != 0 && touched->count < TOUCHED_MAX)
		touched->ino[touched->count++] = ino;
}

static inline bool is_touched(const struct touched *touched, uint64_t ino)
{
	for (size_t i = 0; i < touched->count; i++)
		if (touched->ino[i] == ino)
			return true;
	return touched->count == TOUCHED_MAX; /* too many to tell */
}

struct mending {
	struct found before; /* what was wrong */
	struct touched mended; /* inodes of which something is said */
	unsigned actions;
	struct repair_result result;
	int error;
	char message[1024];
};

static inline void note_mending(void *arg, const struct check_problem *problem)
{
	struct mending *mending = arg;

	assert_null(strchr(problem->text, '\n'));
	touch(&mending->mended, problem->ino);
	if (problem->severity == CHECK_MENDED)
		mending->actions++;
	if (getenv("CHECK_VERBOSE") != NULL)
		fprintf(stderr, "# %s %s ino %lu %s: %s\n", problem->invariant,
			problem->severity == CHECK_MENDED  ? "MENDED"
			: problem->severity == CHECK_ERROR ? "error"
							   : "note",
			problem->ino, problem->path != NULL ? problem->path : "-", problem->text);
}

static inline const struct mending *repair_copy(bool in_process, bool dry)
{
	static struct mending mending;
	static const char *data;
	struct repair_options options = {
		.check = {.meta_path = pool.meta,
			  .data_paths = &data,
			  .data_count = 1,
			  .skip_probe = in_process,
			  .in_process = in_process,
			  .stall_seconds = 20,
			  .problem = note_mending,
			  .arg = &mending},
		.dry = dry,
	};
	struct message message = {{0}};

	data = pool.data;
	memset(&mending, 0, sizeof(mending));
	mending.error = repair_pool(&options, &mending.result, &message);
	snprintf(mending.message, sizeof(mending.message), "%s", message.text);
	return &mending;
}

/* ---- Comparing ---- */

/* One name of a tree, and what it leads to. */
struct leaf {
	char path[512];
	uint64_t ino, directory;
	struct fmt_inode inode;
	uint32_t content; /* checksum of extents, data, values, target */
};

struct tree {
	struct meta *meta;
	const unsigned char *data;
	struct leaf *leaf;
	size_t count;
	char path[512]; /* while it is read */
	uint64_t directory;
};
#define LEAVES_MAX 4096

static inline uint32_t content_of(const struct tree *tree, const struct fmt_inode *inode)
{
	static char names[65536], value[FMT_XATTR_VALUE_MAX];
	struct meta_extent extent;
	uint32_t crc = 0;
	ssize_t length;

	for (uint64_t at = 0; S_ISREG(inode->mode) && meta_extent_find(tree->meta, inode, at, &extent) == 0;
	     at = extent.file_block + extent.length) {
		crc = crc32c(crc, &extent, offsetof(struct meta_extent, unwritten));
		if (!extent.unwritten)
			crc = crc32c(crc, tree->data + fmt_phys_block(extent.phys) * FMT_BLOCK_SIZE,
				     (size_t)extent.length * FMT_BLOCK_SIZE);
	}
	length = meta_xattr_list(tree->meta, inode, NULL, names, sizeof(names));
	assert_true(length >= 0);
	for (const char *name = names; name < names + length; name += strlen(name) + 1) {
		ssize_t size = meta_xattr_get(tree->meta, inode, name, strlen(name), value, sizeof(value));

		assert_true(size >= 0);
		crc = crc32c(crc32c(crc, name, strlen(name)), value, (size_t)size);
	}
	if (!S_ISLNK(inode->mode))
		return crc;
	length = meta_symlink_get(tree->meta, inode, value, sizeof(value));
	assert_int_equal(length, inode->size);
	return crc32c(crc, value, (size_t)length);
}

static inline int read_leaf(void *arg, const struct meta_entry *entry)
{
	const size_t length = strlen(((struct tree *)arg)->path);
	const struct fmt_inode *inode;
	struct tree *tree = arg;
	const uint64_t directory = tree->directory;
	struct leaf *leaf = &tree->leaf[tree->count];

	assert_true(tree->count++ < LEAVES_MAX);
	assert_int_equal(meta_inode_get(tree->meta, entry->ino, &inode), 0);
	leaf->inode = *inode;
	leaf->ino = entry->ino;
	leaf->directory = directory;
	leaf->content = content_of(tree, inode);
	snprintf(leaf->path, sizeof(leaf->path), "%s/%s", tree->path, entry->name);
	if (!S_ISDIR(inode->mode))
		return 0;
	strcpy(tree->path, leaf->path);
	tree->directory = entry->ino;
	assert_int_equal(meta_entry_iterate(tree->meta, inode, 0, read_leaf, tree), 0);
	tree->directory = directory;
	tree->path[length] = '\0';
	return 0;
}

/* To be freed: tree.leaf. Pools of one origin cannot be open at the same time. */
static inline struct tree read_tree(const char *meta_path, const char *data_path)
{
	struct tree tree = {.directory = FMT_INO_ROOT, .leaf = calloc(LEAVES_MAX, sizeof(struct leaf))};
	int fd = open(data_path, O_RDONLY | O_CLOEXEC);
	struct message message = {{0}};
	const struct fmt_inode *root;
	void *data = mmap(NULL, PART_BLOCKS * FMT_BLOCK_SIZE, PROT_READ, MAP_PRIVATE, fd, 0);

	assert_non_null(tree.leaf);
	assert_ptr_not_equal(data, MAP_FAILED);
	close(fd);
	tree.data = data;
	if (meta_open(meta_path, META_OPEN_COPY, &tree.meta, &message) != 0 ||
	    meta_scan(tree.meta, NULL, &message) != 0)
		fail_msg("%s", message.text);
	assert_int_equal(meta_inode_get(tree.meta, FMT_INO_ROOT, &root), 0);
	assert_int_equal(meta_entry_iterate(tree.meta, root, 0, read_leaf, &tree), 0);
	meta_close(tree.meta);
	munmap(data, PART_BLOCKS * FMT_BLOCK_SIZE);
	return tree;
}

static inline const struct leaf *find_leaf(const struct tree *tree, const char *path)
{
	for (size_t i = 0; i < tree->count; i++)
		if (strcmp(tree->leaf[i].path, path) == 0)
			return &tree->leaf[i];
	return NULL;
}

/* True if a directory on the way to the leaf was touched: its name may have gone with it. */
static inline bool way_touched(const struct tree *tree, const struct leaf *leaf, const struct touched *touched)
{
	char path[512];

	for (; leaf != NULL; leaf = find_leaf(tree, path)) {
		if (is_touched(touched, leaf->directory))
			return true;
		strcpy(path, leaf->path);
		*strrchr(path, '/') = '\0';
	}
	return false;
}

/* An inode by any of its names. */
static inline const struct leaf *find_inode(const struct tree *tree, uint64_t ino)
{
	for (size_t i = 0; i < tree->count; i++)
		if (tree->leaf[i].ino == ino)
			return &tree->leaf[i];
	return NULL;
}

/* All that is not touched is as it was: records byte for byte, names, contents, values. Returns how many names are
 * lost. */
static inline unsigned compare_pools(const struct touched *touched)
{
	struct tree sound = read_tree(pool.sound_meta, pool.sound_data);
	struct tree mended = read_tree(pool.meta, pool.data);
	unsigned lost = 0;

	for (size_t i = 0; i < sound.count; i++) {
		const struct leaf *leaf = &sound.leaf[i], *same = find_leaf(&mended, leaf->path);

		if (same == NULL || same->ino != leaf->ino) {
			lost++;
			if (!is_touched(touched, leaf->ino) && !way_touched(&sound, leaf, touched))
				fail_msg("%s is lost", leaf->path);
			same = find_inode(&mended, leaf->ino); /* in /lost+found, then */
		}
		if (is_touched(touched, leaf->ino))
			continue;
		if (same == NULL)
			fail_msg("inode %lu, %s, is lost", leaf->ino, leaf->path);
		if (memcmp(&same->inode, &leaf->inode, sizeof(leaf->inode)) != 0 || same->content != leaf->content)
			fail_msg("%s is not as it was", leaf->path);
	}
	free(sound.leaf);
	free(mended.leaf);
	return lost;
}

#endif
