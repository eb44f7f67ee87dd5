/*
 * A small world in the meta part and its double in memory. Each step is one transaction, drawn from numbers that are
 * the same in each run: two directories, a file's extents and xattrs change; some transactions are aborted. What a step
 * does to the double depends on the double and its numbers alone, so steps can be replayed without the media.
 */
#ifndef PINFS_TESTS_META_MODEL_H
#define PINFS_TESTS_META_MODEL_H

#include "meta_pool.h"

#include <errno.h>
#include <sys/stat.h>

enum { MODEL_NAMES = 1500, MODEL_BLOCKS = 3000, MODEL_XATTRS = 12, MODEL_VALUE_MAX = 9000 };
#define MODEL_UNWRITTEN (1ull << 63)

/* What a name leads to. */
enum { NAME_NONE, NAME_FIRST, NAME_SECOND, NAME_OWN };

struct model {
	uint32_t random;
	uint64_t directory[2];
	uint64_t file;
	uint64_t target[2]; /* of NAME_FIRST and NAME_SECOND */
	uint64_t steps;
	uint8_t names[2][MODEL_NAMES];
	uint64_t block[MODEL_BLOCKS]; /* physical + 1, MODEL_UNWRITTEN; 0: hole */
	uint32_t xattr[MODEL_XATTRS]; /* length + 1; 0: none */
	unsigned char salt[MODEL_XATTRS];
};

static inline uint32_t model_below(struct model *model, uint32_t limit)
{
	model->random = model->random * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)(model->random >> 8) * limit >> 24);
}

static inline const struct fmt_inode *model_get(struct meta *meta, uint64_t ino)
{
	const struct fmt_inode *inode;
	int error = meta_inode_get(meta, ino, &inode);

	if (error != 0)
		fail_msg("inode %llu: %d", (unsigned long long)ino, error);
	return inode;
}

static inline void must(int error, const char *what)
{
	if (error != 0)
		fail_msg("%s: %d", what, error);
}
#define MUST(call) must(call, #call)

/* Lengths from 1 unit to 5. */
static inline size_t model_name(unsigned number, char name[260])
{
	size_t length = (size_t)snprintf(name, 260, "%u-", number);
	size_t pad = number % 9 == 0 ? number % 230 : number % 25;

	memset(name + length, 'a' + (int)(number % 26), pad);
	name[length + pad] = '\0';
	return length + pad;
}

static inline uint64_t model_inode(struct meta *meta, uint32_t mode)
{
	struct fmt_inode *inode;
	struct meta_tx *tx;
	uint64_t ino;

	MUST(meta_begin(meta, META_TX_INODE, &tx));
	MUST(meta_inode_create(tx, &inode));
	inode->mode = mode;
	inode->nlink = 1;
	ino = inode->ino;
	MUST(meta_commit(tx));
	return ino;
}

static inline void model_create(struct model *model, struct meta *meta, uint32_t seed)
{
	memset(model, 0, sizeof(*model));
	model->random = seed;
	for (unsigned i = 0; i < 2; i++) {
		model->directory[i] = model_inode(meta, S_IFDIR | 0755);
		model->target[i] = model_inode(meta, S_IFREG | 0644);
	}
	model->file = model_inode(meta, S_IFREG | 0644);
}

/* ---- Steps; `tx` and `meta` are NULL in a replay ---- */

static inline void model_remove(struct model *model, const struct fmt_inode *directory, struct meta_tx *tx,
				unsigned side, unsigned number)
{
	char name[260];
	size_t length = model_name(number, name);

	if (tx != NULL)
		MUST(meta_entry_remove(tx, directory, name, length));
	model->names[side][number] = NAME_NONE;
}

/* The directories' records while a transaction has edited them: model_get() would find their old checksum. */
struct model_media {
	const struct fmt_inode *directory[2];
	const struct fmt_inode *target[2];
	const struct fmt_inode *file;
};

static inline struct model_media model_media(const struct model *model, struct meta *meta)
{
	struct model_media media = {0};

	for (unsigned i = 0; meta != NULL && i < 2; i++) {
		media.directory[i] = model_get(meta, model->directory[i]);
		media.target[i] = model_get(meta, model->target[i]);
	}
	if (meta != NULL)
		media.file = model_get(meta, model->file);
	return media;
}

/* The inode behind a name, or NULL in a replay. */
static inline const struct fmt_inode *model_child(struct meta *meta, const struct fmt_inode *directory, unsigned number)
{
	struct meta_entry entry;
	char name[260];
	size_t length = model_name(number, name);

	if (meta == NULL)
		return NULL;
	MUST(meta_entry_find(meta, directory, name, length, &entry));
	return model_get(meta, entry.ino);
}

/* Makes a file of its own, or removes one. */
static inline void step_make(struct model *model, struct meta *meta, const struct model_media *media,
			     struct meta_tx *tx)
{
	unsigned side = model_below(model, 2), number = model_below(model, MODEL_NAMES);
	struct fmt_inode *inode = NULL;
	char name[260];
	size_t length = model_name(number, name);

	if (model->names[side][number] == NAME_OWN) {
		const struct fmt_inode *child = model_child(meta, media->directory[side], number);

		model_remove(model, media->directory[side], tx, side, number);
		if (tx != NULL)
			MUST(meta_inode_destroy(tx, child));
		return;
	}
	if (model->names[side][number] != NAME_NONE)
		return;
	if (tx != NULL) {
		MUST(meta_inode_create(tx, &inode));
		inode->mode = S_IFREG | 0600;
		inode->nlink = 1;
		MUST(meta_entry_insert(tx, media->directory[side], name, length, inode));
	}
	model->names[side][number] = NAME_OWN;
}

/* One change of a name that makes and frees no inode. */
static inline void change_name(struct model *model, const struct model_media *media, struct meta_tx *tx)
{
	unsigned side = model_below(model, 2), number = model_below(model, MODEL_NAMES), kind = model_below(model, 2);
	char name[260];
	size_t length = model_name(number, name);

	if (model->names[side][number] == NAME_OWN)
		return;
	if (model->names[side][number] == NAME_NONE) {
		if (tx != NULL)
			MUST(meta_entry_insert(tx, media->directory[side], name, length, media->target[kind]));
		model->names[side][number] = (uint8_t)(NAME_FIRST + kind);
	} else if (model_below(model, 3) == 0) {
		if (tx != NULL)
			MUST(meta_entry_replace(tx, media->directory[side], name, length, media->target[kind]));
		model->names[side][number] = (uint8_t)(NAME_FIRST + kind);
	} else {
		model_remove(model, media->directory[side], tx, side, number);
	}
}

/* Moves a name, with all that a rename edits: both directories, the child, and a victim's place taken by the file. */
static inline void step_rename(struct model *model, struct meta *meta, const struct model_media *media,
			       struct meta_tx *tx)
{
	unsigned from = model_below(model, 2), to = model_below(model, 2);
	unsigned old = model_below(model, MODEL_NAMES), new = model_below(model, MODEL_NAMES);
	uint8_t kind = model->names[from][old];
	const struct fmt_inode *child;
	struct fmt_inode *edited;
	char name[260];
	size_t length = model_name(new, name);

	if (kind == NAME_NONE || model->names[to][new] != NAME_NONE)
		return;
	child = model_child(meta, media->directory[from], old);
	if (tx != NULL) {
		MUST(meta_inode_edit(tx, media->file, &edited));
		MUST(meta_inode_edit(tx, child, &edited));
		MUST(meta_entry_insert(tx, media->directory[to], name, length, child));
	}
	model->names[to][new] = kind;
	model_remove(model, media->directory[from], tx, from, old);
}

static inline void change_insert(struct model *model, const struct model_media *media, struct meta_tx *tx,
				 uint64_t start, uint64_t most)
{
	struct meta_extent extent = {.file_block = start};
	uint64_t length = 0;

	while (length < most && start + length < MODEL_BLOCKS && model->block[start + length] == 0)
		length++;
	if (length == 0)
		return;
	extent.length = (uint32_t)length;
	extent.unwritten = model_below(model, 3) == 0;
	/* Sometimes where the neighbour ends, so that extents join. */
	extent.phys = start > 0 && model->block[start - 1] != 0 && model_below(model, 2) == 0
			      ? (model->block[start - 1] & ~MODEL_UNWRITTEN)
			      : fmt_phys(model_below(model, 3), 1 + model_below(model, 1 << 30));
	for (uint64_t i = 0; i < length; i++)
		model->block[start + i] = (extent.phys + i + 1) | (extent.unwritten ? MODEL_UNWRITTEN : 0);
	if (tx != NULL)
		MUST(meta_extent_insert(tx, media->file, &extent));
}

static inline void change_remove(struct model *model, const struct model_media *media, struct meta_tx *tx,
				 uint64_t start, uint64_t end)
{
	struct meta_extent removed;
	int error = tx == NULL ? -ENOENT : 0;

	while (error == 0) {
		error = meta_extent_remove_last(tx, media->file, start, end, &removed);
		for (uint64_t i = 0; error == 0 && i < removed.length; i++)
			assert_true((model->block[removed.file_block + i] & ~MODEL_UNWRITTEN) == removed.phys + i + 1);
	}
	assert_int_equal(error, -ENOENT);
	for (uint64_t i = start; i < end && i < MODEL_BLOCKS; i++)
		model->block[i] = 0;
}

/* Marks one block, or the run of blocks of one kind from it on. */
static inline void change_mark(struct model *model, const struct model_media *media, struct meta_tx *tx, uint64_t start,
			       uint64_t most)
{
	bool unwritten = model_below(model, 2) == 0;
	uint64_t length = 1;

	if (model->block[start] == 0)
		return;
	while (length < most && start + length < MODEL_BLOCKS &&
	       model->block[start + length] == model->block[start] + length &&
	       fmt_phys_part(model->block[start] - 1) == fmt_phys_part(model->block[start] - 1 + length))
		length++;
	if (tx != NULL)
		MUST(meta_extent_mark(tx, media->file, start, (uint32_t)length, unwritten));
	for (uint64_t i = start; i < start + length; i++)
		model->block[i] = (model->block[i] & ~MODEL_UNWRITTEN) | (unwritten ? MODEL_UNWRITTEN : 0);
}

static inline void step_extents(struct model *model, const struct model_media *media, struct meta_tx *tx)
{
	unsigned changes = 1 + model_below(model, model_below(model, 4) == 0 ? 80 : 4);
	bool shrink = model->steps / 500 % 3 == 2;

	for (unsigned i = 0; i < changes; i++) {
		uint64_t start = model_below(model, MODEL_BLOCKS), most = 1 + model_below(model, 6);
		unsigned what = model_below(model, shrink ? 4 : 3);

		if (what == 0)
			change_insert(model, media, tx, start, most);
		else if (what == 1)
			change_mark(model, media, tx, start, most);
		else if (what == 2 && !shrink && model_below(model, 2) == 0)
			change_insert(model, media, tx, start, 1);
		else
			change_remove(model, media, tx, start, shrink ? start + 20 * most : start + most);
	}
}

static inline unsigned char *model_value(unsigned char salt, unsigned char value[MODEL_VALUE_MAX])
{
	for (unsigned i = 0; i < MODEL_VALUE_MAX; i++)
		value[i] = (unsigned char)(salt + i * 7);
	return value;
}

static inline void step_xattr(struct model *model, const struct model_media *media, struct meta_tx *tx)
{
	static const uint32_t lengths[] = {0, 1, 60, 300, 512, 513, 4033, MODEL_VALUE_MAX};
	unsigned number = model_below(model, MODEL_XATTRS);
	uint32_t length = lengths[model_below(model, 8)];
	unsigned char value[MODEL_VALUE_MAX];
	char name[32];
	size_t name_length = (size_t)snprintf(name, sizeof(name), "user.%u", number);

	if (model->xattr[number] != 0 && model_below(model, 3) == 0) {
		if (tx != NULL)
			MUST(meta_xattr_remove(tx, media->file, name, name_length));
		model->xattr[number] = 0;
		return;
	}
	model->salt[number] = (unsigned char)model_below(model, 256);
	if (tx != NULL)
		MUST(meta_xattr_set(tx, media->file, name, name_length, model_value(model->salt[number], value), length,
				    0));
	model->xattr[number] = length + 1;
}

static inline void step_change(struct model *model, struct meta *meta, const struct model_media *media,
			       struct meta_tx *tx, unsigned what)
{
	unsigned changes;

	switch (what) {
	case 0:
	case 1:
	case 2:
		step_make(model, meta, media, tx);
		break;
	case 3:
		step_rename(model, meta, media, tx);
		break;
	case 4:
		changes = 1 + model_below(model, 30);
		for (unsigned i = 0; i < changes; i++)
			change_name(model, media, tx);
		break;
	case 5:
		step_xattr(model, media, tx);
		break;
	default:
		step_extents(model, media, tx);
		break;
	}
}

/* One transaction; without `meta` only the double changes. */
static inline void model_step(struct model *model, struct meta *meta)
{
	unsigned what = model_below(model, 9);
	bool abort_it = model_below(model, 5) == 0;
	struct model_media media = model_media(model, meta);
	struct meta_tx *tx = NULL;
	struct model before = *model;

	if (meta != NULL)
		MUST(meta_begin(meta, what < 3 ? META_TX_INODE : META_TX_RESERVE, &tx));
	step_change(model, meta, &media, tx, what);
	if (abort_it) {
		before.random = model->random;
		*model = before;
	}
	model->steps++;
	if (tx == NULL)
		return;
	if (abort_it)
		meta_abort(tx);
	else
		MUST(meta_commit(tx));
}

/* ---- Comparing: NULL if the media are as the double says, else what differs ---- */

static inline const char *differs_names(const struct model *model, struct meta *meta, unsigned side)
{
	const struct fmt_inode *directory = model_get(meta, model->directory[side]);
	uint64_t entries = 0;

	for (unsigned i = 0; i < MODEL_NAMES; i++) {
		uint8_t kind = model->names[side][i];
		struct meta_entry entry;
		const struct fmt_inode *child;
		char name[260];
		size_t length = model_name(i, name);
		int error = meta_entry_find(meta, directory, name, length, &entry);

		if (error != (kind == NAME_NONE ? -ENOENT : 0))
			return error == 0 ? "a name is there" : "a name is not there";
		if (error != 0)
			continue;
		entries++;
		if (kind != NAME_OWN && entry.ino != model->target[kind - NAME_FIRST])
			return "a name leads elsewhere";
		if (meta_inode_get(meta, entry.ino, &child) != 0 || child->generation != entry.generation)
			return "a name leads nowhere";
	}
	return directory->size == entries ? NULL : "number of entries";
}

static inline const char *differs_extents(const struct model *model, struct meta *meta)
{
	const struct fmt_inode *file = model_get(meta, model->file);
	uint64_t blocks = 0, block = 0;

	while (block < MODEL_BLOCKS) {
		struct meta_extent extent;
		int error = meta_extent_find(meta, file, block, &extent);
		uint64_t start = error == 0 ? extent.file_block : MODEL_BLOCKS;

		if (error != 0 && error != -ENOENT)
			return "extents cannot be read";
		for (; block < start; block++) {
			if (model->block[block] != 0)
				return "a hole";
		}
		for (uint64_t i = 0; error == 0 && block < extent.file_block + extent.length; i++, block++, blocks++) {
			uint64_t phys = extent.phys + block - extent.file_block + 1;

			if (model->block[block] != (phys | (extent.unwritten ? MODEL_UNWRITTEN : 0)))
				return "a block";
		}
	}
	return file->blocks == blocks ? NULL : "number of blocks";
}

static inline const char *differs_xattrs(const struct model *model, struct meta *meta)
{
	const struct fmt_inode *file = model_get(meta, model->file);
	unsigned char value[MODEL_VALUE_MAX], there[MODEL_VALUE_MAX];

	for (unsigned i = 0; i < MODEL_XATTRS; i++) {
		char name[32];
		size_t name_length = (size_t)snprintf(name, sizeof(name), "user.%u", i);
		ssize_t length = meta_xattr_get(meta, file, name, name_length, there, sizeof(there));

		if (length != (model->xattr[i] == 0 ? -ENODATA : (ssize_t)model->xattr[i] - 1))
			return "an extended attribute";
		if (length > 0 && memcmp(there, model_value(model->salt[i], value), (size_t)length) != 0)
			return "the value of an extended attribute";
	}
	return NULL;
}

static inline const char *model_differs(const struct model *model, struct meta *meta)
{
	const char *what = differs_names(model, meta, 0);

	if (what == NULL)
		what = differs_names(model, meta, 1);
	if (what == NULL)
		what = differs_extents(model, meta);
	return what != NULL ? what : differs_xattrs(model, meta);
}

static inline int model_damage(void *arg, const char *invariant, uint64_t ino, const char *what)
{
	(void)arg;
	fail_msg("%s: inode %llu: %s", invariant, (unsigned long long)ino, what);
	return -EUCLEAN;
}

/* Every page verifies, of what the scan reads and of what it does not. */
static inline void model_verify(const struct model *model, struct meta *meta)
{
	struct meta_visitor visitor = {.damage = model_damage};
	const char *what = model_differs(model, meta);

	if (what != NULL)
		fail_msg("after %llu steps: %s differs", (unsigned long long)model->steps, what);
	for (unsigned i = 0; i < 2; i++)
		MUST(meta_inode_check(meta, model_get(meta, model->directory[i]), &visitor));
	MUST(meta_inode_check(meta, model_get(meta, model->file), &visitor));
}

/* Opens the pool again: the scan finds the same free space. */
static inline void model_reopen(struct scratch *scratch)
{
	struct meta_space before, after;

	meta_space(scratch->meta, &before);
	scratch_reopen(scratch);
	meta_space(scratch->meta, &after);
	assert_int_equal(before.pages_free, after.pages_free);
	assert_int_equal(before.inodes_used, after.inodes_used);
	assert_int_equal(before.inode_slots_free, after.inode_slots_free);
}

#endif
