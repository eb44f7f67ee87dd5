/*
 * src/repair: what more than a bit of damage leaves. Records, heads of pages and whole pages become garbage; what has a
 * checksum of its own is found again, what is doubtful is not.
 */
#include "repair_pool.h"

/* Garbage that is the same each time. */
static void scribble(void *address, size_t length)
{
	uint64_t random = 0x9e3779b97f4a7c15ull;
	unsigned char *bytes = address;

	for (size_t i = 0; i < length; i++) {
		random = random * 6364136223846793005ull + 1442695040888963407ull;
		bytes[i] = (unsigned char)(random >> 40);
	}
}

static const struct mending *mend(void)
{
	const struct mending *mending = repair_copy(true, false);

	if (mending->error != 0)
		fail_msg("%s", mending->message);
	assert_true(mending->result.mended > 0);
	assert_int_equal(mending->result.after.errors, 0);
	return mending;
}

/* Mends, and compares all that is not told of; `more` may differ too. Returns how many names are elsewhere. */
static unsigned mend_and_compare(uint64_t more)
{
	struct touched touched = {.count = 0};
	const struct mending *mending = mend();

	for (size_t i = 0; i < mending->mended.count; i++)
		touch(&touched, mending->mended.ino[i]);
	touch(&touched, FMT_INO_ROOT);
	touch(&touched, more);
	assert_int_equal(check_copy(true)->report.errors, 0);
	assert_int_equal(repair_copy(true, false)->result.mended, 0);
	return compare_pools(&touched);
}

/* The content of an inode is as it was, whatever its record says of owner and mode. */
static void assert_same_content(uint64_t ino)
{
	struct tree sound = read_tree(pool.sound_meta, pool.sound_data);
	struct tree mended = read_tree(pool.meta, pool.data);
	const struct leaf *before = find_inode(&sound, ino), *after = find_inode(&mended, ino);

	assert_non_null(before);
	assert_non_null(after);
	assert_int_equal(before->content, after->content);
	assert_int_equal(before->inode.size, after->inode.size);
	free(sound.leaf);
	free(mended.leaf);
}

static struct leaf leaf_of(uint64_t ino)
{
	struct tree tree = read_tree(pool.meta, pool.data);
	const struct leaf *leaf = find_inode(&tree, ino);
	struct leaf copy = {.path = ""};

	if (leaf != NULL)
		copy = *leaf;
	free(tree.leaf);
	return copy;
}

/* ---- Maps ---- */

static struct fmt_node *many_root(const struct image *image)
{
	return image_page(image, image_inode(image, pool.many)->body.root);
}

static void test_leaf_head(void **state)
{
	struct image image = map_image(pool.meta);

	(void)state;
	scribble(image_page(&image, many_root(&image)->record[1].value), 64);
	unmap_image(&image);
	assert_int_equal(mend_and_compare(0), 0);
	assert_same_content(pool.many);
}

/* Its leaves are found by the owner that they name; together they have the file's count of blocks. */
static void test_root_node(void **state)
{
	struct image image = map_image(pool.meta);

	(void)state;
	scribble(many_root(&image), FMT_BLOCK_SIZE);
	unmap_image(&image);
	assert_int_equal(mend_and_compare(0), 0);
	assert_same_content(pool.many);
}

static void test_root_record(void **state)
{
	struct image image = map_image(pool.meta);

	(void)state;
	scribble(&many_root(&image)->record[1], sizeof(struct fmt_record));
	unmap_image(&image);
	assert_int_equal(mend_and_compare(0), 0);
	assert_same_content(pool.many);
}

static void test_leaf_lost(void **state)
{
	struct image image = map_image(pool.meta);
	struct leaf leaf;

	(void)state;
	scribble(image_page(&image, many_root(&image)->record[1].value), FMT_BLOCK_SIZE);
	unmap_image(&image);
	assert_int_equal(mend_and_compare(0), 0);
	leaf = leaf_of(pool.many);
	assert_true(leaf.inode.blocks > 0 && leaf.inode.blocks < MANY_EXTENTS);
	assert_int_equal(leaf.inode.size, MANY_EXTENTS * 2 * FMT_BLOCK_SIZE);
}

/* A page that nothing reaches, and that no page ever was. */
static struct fmt_node *free_page(const struct image *image)
{
	for (uint64_t page = 50; page < 64; page++) {
		struct fmt_node *node = image_page(image, page);

		if (node->magic == 0)
			return node;
	}
	fail_msg("no page is free");
	return NULL;
}

/* A page of earlier times, with other blocks, names the same owner: it cannot be told which is the file's. */
static void test_root_node_and_stale_leaf(void **state)
{
	struct image image = map_image(pool.meta);
	const struct fmt_inode *many = image_inode(&image, pool.many);
	struct fmt_node *stale = free_page(&image);
	struct meta_extent extent;
	struct meta *meta;

	(void)state;
	*stale = *(struct fmt_node *)image_page(&image, many_root(&image)->record[1].value);
	stale->record[5].value = fmt_phys(0, 3000);
	fmt_record_seal(&stale->record[5], fmt_owner_seed(many->ino, many->generation));
	scribble(many_root(&image), FMT_BLOCK_SIZE);
	unmap_image(&image);
	assert_int_equal(mend_and_compare(0), 0);
	meta = open_meta(pool.meta);
	for (uint64_t at = 0; meta_extent_find(meta, get(meta, pool.many), at, &extent) == 0;
	     at = extent.file_block + 1)
		assert_true(extent.phys != fmt_phys(0, 3000));
	meta_close(meta);
}

/* One whose blocks are another file's is known to be of earlier times. */
static void test_root_node_and_foreign_leaf(void **state)
{
	struct image image = map_image(pool.meta);
	const struct fmt_inode *many = image_inode(&image, pool.many);
	struct fmt_node *stale = free_page(&image);

	(void)state;
	*stale = *(struct fmt_node *)image_page(&image, many_root(&image)->record[1].value);
	stale->record[5].value = fmt_phys(0, 50); /* tiny's */
	fmt_record_seal(&stale->record[5], fmt_owner_seed(many->ino, many->generation));
	scribble(many_root(&image), FMT_BLOCK_SIZE);
	unmap_image(&image);
	assert_int_equal(mend_and_compare(0), 0);
	assert_same_content(pool.many);
}

/* ---- Inodes ---- */

static void scribble_inode(uint64_t ino, size_t offset, size_t length)
{
	struct image image = map_image(pool.meta);

	scribble((char *)image_inode(&image, ino) + offset, length);
	unmap_image(&image);
}

static void test_inode_head(void **state)
{
	struct leaf leaf;

	(void)state;
	scribble_inode(pool.many, 0, 64);
	assert_int_equal(mend_and_compare(0), 0);
	leaf = leaf_of(pool.many);
	assert_string_equal(leaf.path, "/a/many");
	assert_int_equal(leaf.inode.blocks, MANY_EXTENTS);
	assert_int_equal(leaf.inode.mode, S_IFREG | 0600);
	assert_int_equal(leaf.inode.uid, 0);
	/* It ends in a hole. */
	assert_int_equal(leaf.inode.size, (MANY_EXTENTS * 2 - 1) * FMT_BLOCK_SIZE);
}

static void test_inode_owner(void **state)
{
	(void)state;
	scribble_inode(pool.file, 64, 16);
	assert_int_equal(mend_and_compare(0), 0);
	assert_same_content(pool.file);
	assert_int_equal(leaf_of(pool.file).inode.mode, S_IFREG | 0600);
	assert_int_equal(leaf_of(pool.file).inode.nlink, 2);
}

static void test_inode_body(void **state)
{
	(void)state;
	scribble_inode(pool.many, 128, 16);
	assert_int_equal(mend_and_compare(0), 0);
	assert_same_content(pool.many);
	copy_pool(NULL);
	scribble_inode(pool.file, 128, 64);
	assert_int_equal(mend_and_compare(0), 0);
	assert_int_equal(leaf_of(pool.file).inode.blocks, 0);
}

static void test_inode_directory(void **state)
{
	(void)state;
	for (size_t offset = 0; offset < 256; offset += 64) {
		copy_pool(NULL);
		scribble_inode(pool.big, offset, 64);
		assert_int_equal(mend_and_compare(0), 0);
		assert_int_equal(leaf_of(pool.big).inode.size, BIG_ENTRIES);
	}
	copy_pool(NULL);
	scribble_inode(pool.big, 0, 256);
	assert_int_equal(mend_and_compare(0), 0);
	assert_int_equal(leaf_of(pool.big).inode.size, BIG_ENTRIES);
}

static void test_inode_root(void **state)
{
	(void)state;
	for (size_t offset = 0; offset < 256; offset += 64) {
		copy_pool(NULL);
		scribble_inode(FMT_INO_ROOT, offset, 64);
		assert_int_equal(mend_and_compare(0), 0);
	}
	copy_pool(NULL);
	scribble_inode(FMT_INO_ROOT, 0, 256);
	assert_int_equal(mend_and_compare(0), 0);
}

static void test_inode_parts(void **state)
{
	struct meta_part part;
	struct meta *meta;

	(void)state;
	scribble_inode(FMT_INO_PARTS, 0, 256);
	assert_int_equal(mend_and_compare(0), 0);
	meta = open_meta(pool.meta);
	assert_int_equal(meta_part_get(meta, 0, &part), 0);
	assert_string_equal(part.path, pool.data);
	meta_close(meta);
}

/* Where the part is, is read from what is left, and confirmed by its header. */
static void test_names_of_parts(void **state)
{
	struct meta *meta = open_meta(pool.meta);
	struct meta_part part;
	struct repair_options options = {.check = {.meta_path = pool.meta, .skip_probe = true, .in_process = true}};
	struct repair_result result;
	struct message message = {{0}};
	const struct fmt_inode *parts;
	struct image image;

	(void)state;
	assert_int_equal(meta_part_set_path(meta, 0, pool.data), 0);
	meta_close(meta);
	image = map_image(pool.meta);
	parts = image_inode(&image, FMT_INO_PARTS);
	scribble(image_names(&image, &parts->xattrs, parts->xattr_record), 128);
	unmap_image(&image);
	assert_int_equal(repair_pool(&options, &result, &message), 0);
	assert_true(result.mended > 0);
	assert_int_equal(result.after.errors, 0);
	meta = open_meta(pool.meta);
	assert_int_equal(meta_part_get(meta, 0, &part), 0);
	assert_string_equal(part.path, pool.data);
	meta_close(meta);
}

static void test_inode_pool(void **state)
{
	(void)state;
	for (uint64_t ino = FMT_INO_LIMBO; ino <= FMT_INO_BAD; ino++)
		scribble_inode(ino, 0, 256);
	assert_int_equal(mend_and_compare(0), 0);
}

static void test_inode_others(void **state)
{
	(void)state;
	scribble_inode(pool.short_link, 128, 32);
	scribble_inode(pool.long_link, 64, 16); /* its target has checksums */
	scribble_inode(pool.fifo, 64, 16);
	assert_int_equal(mend_and_compare(pool.a), 1);
	assert_int_equal(leaf_of(pool.short_link).ino, 0);
	assert_same_content(pool.long_link);
	assert_int_equal(leaf_of(pool.fifo).inode.mode, S_IFIFO | 0600);
}

/* ---- Names ---- */

static void test_names_head(void **state)
{
	struct image image = map_image(pool.meta);
	const struct fmt_inode *big = image_inode(&image, pool.big);
	const struct fmt_record *record = big->record;

	(void)state;
	if (big->body.height > 0)
		record = ((struct fmt_node *)image_page(&image, big->body.root))->record;
	scribble(image_page(&image, record[2].value), 128);
	unmap_image(&image);
	assert_int_equal(mend_and_compare(0), 0);
	assert_int_equal(leaf_of(pool.big).inode.size, BIG_ENTRIES);
}

/* What has lost its name is whole under another. */
static void test_names_page(void **state)
{
	struct image image = map_image(pool.meta);
	struct tree tree;
	unsigned found = 0;

	(void)state;
	scribble(image_names(&image, &image_inode(&image, pool.a)->body, image_inode(&image, pool.a)->record),
		 FMT_BLOCK_SIZE);
	unmap_image(&image);
	assert_int_equal(mend_and_compare(pool.file), 8);
	assert_same_content(pool.many);
	tree = read_tree(pool.meta, pool.data);
	for (size_t i = 0; i < tree.count; i++)
		found += strncmp(tree.leaf[i].path, "/lost+found/#", 13) == 0 &&
			 strchr(tree.leaf[i].path + 13, '/') == NULL;
	free(tree.leaf);
	/* b, many, short, long, fifo; file has another name. */
	assert_int_equal(found, 5);
}

static void remove_entry(struct meta *meta, uint64_t directory, const char *name)
{
	struct meta_tx *tx = begin(meta, 0);

	assert_int_equal(meta_entry_remove(tx, get(meta, directory), name, strlen(name)), 0);
	assert_int_equal(meta_commit(tx), 0);
}

static void add_entry(struct meta *meta, uint64_t directory, const char *name, uint64_t ino)
{
	struct meta_tx *tx = begin(meta, 0);

	assert_int_equal(meta_entry_insert(tx, get(meta, directory), name, strlen(name), get(meta, ino)), 0);
	assert_int_equal(meta_commit(tx), 0);
}

/* A name of old and the present one, on a page that does not tell which: the inode goes to /lost+found. */
static void test_names_removed(void **state)
{
	struct meta *meta = open_meta(pool.meta);
	struct image image;

	(void)state;
	remove_entry(meta, pool.a, "short");
	add_entry(meta, pool.a, "a name of the link that has no room where the other was", pool.short_link);
	meta_close(meta);
	image = map_image(pool.meta);
	scribble(image_names(&image, &image_inode(&image, pool.a)->body, image_inode(&image, pool.a)->record), 128);
	unmap_image(&image);
	assert_int_equal(mend_and_compare(pool.short_link), 1);
	assert_memory_equal(leaf_of(pool.short_link).path, "/lost+found/#", 13);
}

/* ---- Values ---- */

static void test_xattrs(void **state)
{
	struct image image = map_image(pool.meta);
	struct fmt_inode *file = image_inode(&image, pool.file);

	(void)state;
	scribble(image_names(&image, &file->xattrs, file->xattr_record), 128);
	unmap_image(&image);
	assert_int_equal(mend_and_compare(0), 0);
	/* An ACL may have been among them. */
	assert_int_equal(leaf_of(pool.file).inode.mode, S_IFREG | 0600);
	assert_int_equal(leaf_of(pool.file).inode.blocks, 8);
}

static void test_group(void **state)
{
	struct image image = map_image(pool.meta);

	(void)state;
	for (uint64_t group = 0; group < image.super->groups; group++)
		scribble(&((struct fmt_group *)image_frame(&image, group, 0))->magic, 48);
	unmap_image(&image);
	assert_int_equal(mend_and_compare(0), 0);
}

/* ---- Blocks with two owners ---- */

static void set_owner(uint64_t ino, uint32_t uid)
{
	struct meta *meta = open_meta(pool.meta);
	struct meta_tx *tx = begin(meta, 0);

	edit(tx, get(meta, ino))->uid = uid;
	assert_int_equal(meta_commit(tx), 0);
	meta_close(meta);
}

/* tiny gets the first of many's blocks as its second. */
static void share_block(void)
{
	struct meta *meta = open_meta(pool.meta);

	map_blocks(meta, pool.tiny, 1, fmt_phys(0, 100), 1, false);
	set_size(meta, pool.tiny, FMT_BLOCK_SIZE + 10);
	meta_close(meta);
	write_data(100 * FMT_BLOCK_SIZE, "secret", 6);
	expect_error("I8", pool.tiny);
}

static uint64_t block_of(uint64_t ino, uint64_t file_block)
{
	struct meta *meta = open_meta(pool.meta);
	struct meta_extent extent;
	uint64_t phys = 0;

	if (meta_extent_find(meta, get(meta, ino), file_block, &extent) == 0 && extent.file_block <= file_block)
		phys = extent.phys + (file_block - extent.file_block);
	meta_close(meta);
	return phys;
}

static void read_block(uint64_t phys, char *bytes, size_t length)
{
	int fd = open(pool.data, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, bytes, length, (off_t)(fmt_phys_block(phys) * FMT_BLOCK_SIZE)), length);
	close(fd);
}

static void test_shared_by_one_user(void **state)
{
	char bytes[6];

	(void)state;
	share_block();
	mend();
	assert_int_equal(check_copy(true)->report.errors, 0);
	assert_true(block_of(pool.tiny, 1) != 0 && block_of(pool.many, 0) != 0);
	assert_true(block_of(pool.tiny, 1) != block_of(pool.many, 0));
	read_block(block_of(pool.tiny, 1), bytes, sizeof(bytes));
	assert_memory_equal(bytes, "secret", sizeof(bytes));
	read_block(block_of(pool.many, 0), bytes, sizeof(bytes));
	assert_memory_equal(bytes, "secret", sizeof(bytes));
}

static void test_shared_by_two_users(void **state)
{
	struct tree tree;
	unsigned saved = 0;

	(void)state;
	share_block();
	set_owner(pool.tiny, 1000);
	mend();
	assert_int_equal(check_copy(true)->report.errors, 0);
	assert_int_equal(block_of(pool.tiny, 1), 0);
	assert_int_equal(block_of(pool.many, 0), 0);
	tree = read_tree(pool.meta, pool.data);
	for (size_t i = 0; i < tree.count; i++) {
		if (strncmp(tree.leaf[i].path, "/lost+found/#", 13) != 0)
			continue;
		saved++;
		assert_int_equal(tree.leaf[i].inode.uid, 0);
		assert_int_equal(tree.leaf[i].inode.mode, S_IFREG | 0600);
		assert_int_equal(block_of(tree.leaf[i].ino, 0), fmt_phys(0, 100));
	}
	free(tree.leaf);
	assert_int_equal(saved, 1);
}

/* A third owner: what the first two may both read could be his. */
static void test_shared_by_three(void **state)
{
	struct meta *meta;

	(void)state;
	share_block();
	meta = open_meta(pool.meta);
	map_blocks(meta, pool.file, 20, fmt_phys(0, 100), 1, true);
	meta_close(meta);
	set_owner(pool.file, 1000);
	mend();
	assert_int_equal(check_copy(true)->report.errors, 0);
	assert_int_equal(block_of(pool.tiny, 1), 0);
	assert_int_equal(block_of(pool.many, 0), 0);
	assert_int_equal(block_of(pool.file, 20), 0);
}

/* ---- What is refused, and what is only said ---- */

static void test_super(void **state)
{
	struct image image = map_image(pool.meta);
	const struct mending *mending;

	(void)state;
	scribble(&image.super->hash_key, 16);
	for (int dry = 0; dry < 2; dry++) {
		mending = repair_copy(false, dry != 0);
		assert_int_equal(mending->error, -EUCLEAN);
		assert_non_null(strstr(mending->message, "--rescue"));
		assert_int_equal(mending->actions, 0);
	}
	unmap_image(&image);
}

static void test_dry(void **state)
{
	static unsigned char before[META_SIZE];
	struct image image;
	const struct mending *mending;

	(void)state;
	scribble_inode(pool.many, 64, 16);
	scribble_inode(pool.big, 128, 16);
	write_data(4 * FMT_BLOCK_SIZE + 100, "x", 1);
	image = map_image(pool.meta);
	assert_int_equal(image.length, META_SIZE);
	memcpy(before, image.base, META_SIZE);
	unmap_image(&image);
	mending = repair_copy(false, true);
	assert_int_equal(mending->error, 0);
	assert_true(mending->actions >= 3);
	image = map_image(pool.meta);
	assert_memory_equal(before, image.base, META_SIZE);
	unmap_image(&image);
	assert_true(check_copy(true)->report.errors > 0);
	mend();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_leaf_head),
		TEST(test_root_node),
		TEST(test_root_record),
		TEST(test_leaf_lost),
		TEST(test_root_node_and_stale_leaf),
		TEST(test_root_node_and_foreign_leaf),
		TEST(test_inode_head),
		TEST(test_inode_owner),
		TEST(test_inode_body),
		TEST(test_inode_directory),
		TEST(test_inode_root),
		TEST(test_inode_parts),
		TEST(test_names_of_parts),
		TEST(test_inode_pool),
		TEST(test_inode_others),
		TEST(test_names_head),
		TEST(test_names_page),
		TEST(test_names_removed),
		TEST(test_xattrs),
		TEST(test_group),
		TEST(test_shared_by_one_user),
		TEST(test_shared_by_two_users),
		TEST(test_shared_by_three),
		TEST(test_super),
		TEST(test_dry),
	};

	return cmocka_run_group_tests(tests, make_pool, remove_pool);
}
