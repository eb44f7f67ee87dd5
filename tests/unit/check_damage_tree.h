/* Each invariant of names, the tree and values, broken: I13 to I20, I22, I29. As check_damage.h. */
#ifndef PINFS_TEST_CHECK_DAMAGE_TREE_H
#define PINFS_TEST_CHECK_DAMAGE_TREE_H

#include "check_pool.h"

static inline void test_i13_name(void **state)
{
	struct image image = map_image(pool.meta);

	(void)state;
	image_name(&image, pool.a, "many", NULL)->bytes[0] ^= 1;
	unmap_image(&image);
	expect_error("I13", pool.a);
}

static inline void test_i13_key(void **state)
{
	struct image image = map_image(pool.meta);
	const struct fmt_inode *a = image_inode(&image, pool.a);
	struct fmt_name *name = image_name(&image, pool.a, "many", NULL);

	(void)state;
	name->bytes[0] = 'M'; /* its key stays that of "many" */
	fmt_name_seal(name, FMT_KIND_ENTRIES, fmt_owner_seed(a->ino, a->generation));
	unmap_image(&image);
	expect_only("I13", CHECK_ERROR, pool.a);
}

static inline void test_i14_illegal(void **state)
{
	static const char *const names[] = {".", "..", "x/y"};
	struct meta *meta;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		copy_pool(NULL);
		meta = open_meta(pool.meta);
		add_link(meta, pool.b, names[i], pool.tiny);
		meta_close(meta);
		expect_only("I14", CHECK_ERROR, pool.b);
	}
}

/* A second "many": the entry "fifo", which takes as many units, becomes one with the next unique number. */
static inline void test_i14_twice(void **state)
{
	struct image image = map_image(pool.meta);
	const struct fmt_inode *a = image_inode(&image, pool.a);
	uint32_t seed = fmt_owner_seed(a->ino, a->generation);
	const struct fmt_name *many = image_name(&image, pool.a, "many", NULL);
	struct fmt_names *names = image_names(&image, &a->body, a->record);
	struct fmt_name *fifo;
	unsigned unit;

	(void)state;
	fifo = image_name(&image, pool.a, "fifo", &unit);
	fifo->key = many->key + 1;
	memcpy(fifo->bytes, "many", 4);
	fmt_name_seal(fifo, FMT_KIND_ENTRIES, seed);
	names->fingerprint[unit] = fmt_fingerprint(fifo->key);
	fmt_names_seal(names);
	unmap_image(&image);
	expect_only("I14", CHECK_ERROR, pool.a);
}

static inline void insert_forged(uint64_t parent, const char *name, uint64_t ino, uint32_t generation, uint32_t mode)
{
	struct fmt_inode target = {.ino = ino, .generation = generation, .mode = mode};
	struct meta *meta = open_meta(pool.meta);
	struct meta_tx *tx = begin(meta, 0);

	assert_int_equal(meta_entry_insert(tx, get(meta, parent), name, strlen(name), &target), 0);
	assert_int_equal(meta_commit(tx), 0);
	meta_close(meta);
}

static inline uint32_t generation_of(uint64_t ino)
{
	struct image image = map_image(pool.meta);
	uint32_t generation = image_inode(&image, ino)->generation;

	unmap_image(&image);
	return generation;
}

static inline void test_i15_dangling(void **state)
{
	(void)state;
	insert_forged(pool.c, "nothing", 1000000, 1, S_IFREG);
	expect_only("I15", CHECK_ERROR, pool.c);
}

static inline void test_i15_reserved(void **state)
{
	(void)state;
	insert_forged(pool.c, "parts", FMT_INO_PARTS, generation_of(FMT_INO_PARTS), S_IFREG);
	expect_only("I15", CHECK_ERROR, pool.c);
}

static inline void test_i15_generation(void **state)
{
	(void)state;
	insert_forged(pool.c, "stale", pool.tiny, generation_of(pool.tiny) + 1, S_IFREG);
	expect_only("I15", CHECK_ERROR, pool.c);
}

static inline void test_i15_type(void **state)
{
	struct image image = map_image(pool.meta);
	const struct fmt_inode *c = image_inode(&image, pool.c);
	struct fmt_name *name = image_name(&image, pool.c, "tiny", NULL);

	(void)state;
	name->type = DT_DIR;
	fmt_name_seal(name, FMT_KIND_ENTRIES, fmt_owner_seed(c->ino, c->generation));
	unmap_image(&image);
	expect_only("I15", CHECK_ERROR, pool.c);
}

static inline void set_nlink(uint64_t ino, uint32_t nlink)
{
	struct meta *meta = open_meta(pool.meta);
	struct meta_tx *tx = begin(meta, 0);

	edit(tx, get(meta, ino))->nlink = nlink;
	assert_int_equal(meta_commit(tx), 0);
	meta_close(meta);
}

static inline void test_i16_links(void **state)
{
	(void)state;
	set_nlink(pool.file, 1);
	expect_only("I16", CHECK_ERROR, pool.file);
	copy_pool(NULL);
	set_nlink(pool.a, 2);
	expect_only("I16", CHECK_ERROR, pool.a);
	copy_pool(NULL);
	set_nlink(pool.tiny, 0); /* and yet an entry names it */
	expect_only("I16", CHECK_ERROR, pool.tiny);
	copy_pool(NULL);
	set_nlink(pool.c, 0);
	expect_error("I16", pool.c);
}

static inline void test_i16_lost(void **state)
{
	struct meta *meta = open_meta(pool.meta);
	uint64_t ino = make(meta, FMT_INO_ROOT, NULL, S_IFREG | 0600, NULL);

	(void)state;
	meta_close(meta);
	expect_only("I16", CHECK_ERROR, ino);
}

static inline void test_i17_parent(void **state)
{
	struct meta *meta = open_meta(pool.meta);
	struct meta_tx *tx = begin(meta, 0);

	(void)state;
	edit(tx, get(meta, pool.c))->parent = pool.a;
	assert_int_equal(meta_commit(tx), 0);
	meta_close(meta);
	expect_only("I17", CHECK_ERROR, pool.c);
}

static inline void test_i17_two_parents(void **state)
{
	(void)state;
	insert_forged(pool.big, "second c", pool.c, generation_of(pool.c), S_IFDIR);
	set_nlink(pool.big, 3);
	expect_only("I17", CHECK_ERROR, pool.c);
}

/* b moves into c, which lies in b: both are whole in themselves, and out of reach. */
static inline void test_i17_circle(void **state)
{
	struct meta *meta = open_meta(pool.meta);
	const struct fmt_inode *a = get(meta, pool.a), *b = get(meta, pool.b), *c = get(meta, pool.c);
	struct meta_tx *tx = begin(meta, 0);

	(void)state;
	assert_int_equal(meta_entry_remove(tx, a, "b", 1), 0);
	edit(tx, a)->nlink--;
	assert_int_equal(meta_entry_insert(tx, c, "b", 1, b), 0);
	edit(tx, c)->nlink++;
	edit(tx, b)->parent = pool.c;
	assert_int_equal(meta_commit(tx), 0);
	meta_close(meta);
	expect_only("I17", CHECK_ERROR, 0);
}

static inline void test_i17_lost(void **state)
{
	struct meta *meta = open_meta(pool.meta);
	const struct fmt_inode *a = get(meta, pool.a);
	struct meta_tx *tx = begin(meta, 0);

	(void)state;
	assert_int_equal(meta_entry_remove(tx, a, "b", 1), 0);
	edit(tx, a)->nlink--;
	assert_int_equal(meta_commit(tx), 0);
	meta_close(meta);
	expect_only("I17", CHECK_ERROR, pool.b);
}

static inline void test_i17_root(void **state)
{
	struct image image = map_image(pool.meta);

	(void)state;
	image_inode(&image, FMT_INO_ROOT)->magic = 0;
	unmap_image(&image);
	expect_error("I17", FMT_INO_ROOT);
}

static inline void test_i18_size(void **state)
{
	struct meta *meta = open_meta(pool.meta);

	(void)state;
	set_size(meta, pool.big, BIG_ENTRIES - 1);
	meta_close(meta);
	expect_only("I18", CHECK_ERROR, pool.big);
}

static inline void test_i19_symlink(void **state)
{
	struct image image = map_image(pool.meta);
	struct fmt_inode *link = image_inode(&image, pool.long_link);
	struct fmt_blob *blob = image_page(&image, link->body.root);

	(void)state;
	blob->bytes[100] ^= 1;
	link = image_inode(&image, pool.short_link);
	link->symlink[1] = '\0';
	fmt_inode_seal(link);
	unmap_image(&image);
	expect_error("I19", pool.long_link);
	expect_error("I19", pool.short_link);
}

static inline void test_i19_size(void **state)
{
	struct meta *meta = open_meta(pool.meta);

	(void)state;
	set_size(meta, pool.short_link, 0);
	set_size(meta, pool.long_link, 3001);
	meta_close(meta);
	expect_error("I19", pool.short_link);
	expect_error("I19", pool.long_link);
}

static inline void test_i20_value(void **state)
{
	struct image image = map_image(pool.meta);
	const struct fmt_inode *file = image_inode(&image, pool.file);
	struct fmt_names *names = image_names(&image, &file->xattrs, file->xattr_record);
	struct fmt_blob *blob = NULL;

	(void)state;
	for (unsigned unit = 0; unit < FMT_NAMES_UNITS; unit++) {
		const struct fmt_name *name = (struct fmt_name *)names->unit[unit];

		if ((names->start >> unit & 1) != 0 && name->type == FMT_XATTR_BLOB)
			blob = image_page(&image, name->target);
	}
	assert_non_null(blob);
	blob = image_page(&image, blob->next);
	blob->bytes[7] ^= 0x40;
	unmap_image(&image);
	expect_error("I20", pool.file);
}

/* An ACL of 5 entries, or of 3: u7 (U5:7) g5 (m5) o0. Of 2 entries: one of 3 with permissions that there are not. */
static inline void set_acl(struct meta *meta, uint64_t ino, const char *name, size_t entries)
{
	static const struct fmt_acl_entry all[] = {
		{FMT_ACL_USER_OBJ, 7, FMT_ACL_NO_ID},  {FMT_ACL_USER, 7, 5},
		{FMT_ACL_GROUP_OBJ, 5, FMT_ACL_NO_ID}, {FMT_ACL_MASK, 5, FMT_ACL_NO_ID},
		{FMT_ACL_OTHER, 0, FMT_ACL_NO_ID},
	};
	struct fmt_acl acl = {.version = FMT_ACL_VERSION};
	struct meta_tx *tx = begin(meta, 0);
	size_t count = 0;

	for (size_t i = 0; i < 5; i++) {
		if (entries == 5 || (all[i].tag != FMT_ACL_USER && all[i].tag != FMT_ACL_MASK))
			acl.entry[count++] = all[i];
	}
	if (entries < 3)
		acl.entry[0].perm = 8;
	assert_int_equal(meta_xattr_set(tx, get(meta, ino), name, strlen(name), &acl, 4 + count * 8, 0), 0);
	assert_int_equal(meta_commit(tx), 0);
}

static inline void set_mode(struct meta *meta, uint64_t ino, uint32_t mode)
{
	struct meta_tx *tx = begin(meta, 0);

	edit(tx, get(meta, ino))->mode = mode;
	assert_int_equal(meta_commit(tx), 0);
}

static inline void test_i29_sound(void **state)
{
	struct meta *meta = open_meta(pool.meta);

	(void)state;
	set_mode(meta, pool.a, S_IFDIR | 02750);
	set_acl(meta, pool.a, FMT_ACL_ACCESS, 5);
	set_acl(meta, pool.a, FMT_ACL_DEFAULT, 5);
	set_acl(meta, pool.b, FMT_ACL_DEFAULT, 3);
	meta_close(meta);
	assert_int_equal(check_copy(false)->report.errors, 0);
}

static inline void test_i29_mode(void **state)
{
	struct meta *meta = open_meta(pool.meta);

	(void)state;
	set_mode(meta, pool.file, S_IFREG | 0770);
	set_acl(meta, pool.file, FMT_ACL_ACCESS, 5);
	set_mode(meta, pool.fifo, S_IFIFO | 0750);
	set_acl(meta, pool.fifo, FMT_ACL_ACCESS, 3);
	meta_close(meta);
	expect_error("I29", pool.file);
	expect_error("I29", pool.fifo);
}

static inline void test_i29_place(void **state)
{
	struct meta *meta = open_meta(pool.meta);

	(void)state;
	set_acl(meta, pool.file, FMT_ACL_DEFAULT, 5);
	set_mode(meta, pool.short_link, S_IFLNK | 0750);
	set_acl(meta, pool.short_link, FMT_ACL_ACCESS, 5);
	meta_close(meta);
	expect_error("I29", pool.file);
	expect_error("I29", pool.short_link);
}

static inline void test_i29_form(void **state)
{
	struct meta *meta = open_meta(pool.meta);

	(void)state;
	set_acl(meta, pool.a, FMT_ACL_DEFAULT, 2);
	set_xattr(meta, pool.b, FMT_ACL_ACCESS, 5000);
	meta_close(meta);
	expect_error("I29", pool.a);
	expect_error("I29", pool.b);
}

static inline void test_i22_orphan(void **state)
{
	struct meta *meta = open_meta(pool.meta);
	uint64_t ino = make(meta, FMT_INO_ROOT, NULL, S_IFREG | 0600, NULL);

	(void)state;
	meta_close(meta);
	set_nlink(ino, 0);
	expect_only("I22", CHECK_NOTE, ino);
	assert_int_equal(check_copy(true)->report.orphans, 1);
}

static inline void test_i22_intent(void **state)
{
	struct meta *meta = open_meta(pool.meta);
	struct meta_tx *tx = begin(meta, 0);
	struct fmt_inode *file = edit(tx, get(meta, pool.file));

	(void)state;
	/* A truncation to 0: the blocks are still there. */
	file->flags |= FMT_INODE_INTENT;
	file->intent_start = 0;
	file->intent_end = UINT64_MAX;
	file->size = 0;
	assert_int_equal(meta_commit(tx), 0);
	meta_close(meta);
	expect_only("I22", CHECK_NOTE, pool.file);
	assert_int_equal(check_copy(true)->report.intents, 1);
}

#endif
