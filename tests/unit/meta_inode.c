/* Inodes as records: what is touched is undone, what is dropped is gone at once, and neither takes what is not its. */
#include "meta_pool.h"

#include <errno.h>
#include <sys/stat.h>

#define SIZE META_SIZE_MIN

static int setup(void **state)
{
	struct scratch *scratch = test_calloc(1, sizeof(*scratch));

	scratch_create(scratch, SIZE);
	scratch_reopen(scratch);
	*state = scratch;
	return 0;
}

static int teardown(void **state)
{
	scratch_destroy(*state);
	test_free(*state);
	return 0;
}

static const struct fmt_inode *get(struct scratch *scratch, uint64_t ino)
{
	const struct fmt_inode *inode;

	assert_int_equal(meta_inode_get(scratch->meta, ino, &inode), 0);
	return inode;
}

/* A new inode with `nlink`, in no directory. */
static uint64_t make(struct scratch *scratch, mode_t mode, uint32_t nlink)
{
	struct fmt_inode *inode;
	struct meta_tx *tx;
	uint64_t ino;

	assert_int_equal(meta_begin(scratch->meta, META_TX_INODE, &tx), 0);
	assert_int_equal(meta_inode_create(tx, &inode), 0);
	inode->mode = mode;
	inode->nlink = nlink;
	ino = inode->ino;
	assert_int_equal(meta_commit(tx), 0);
	return ino;
}

static void insert(struct scratch *scratch, struct meta_tx *tx, uint64_t target, unsigned number)
{
	char name[32];
	int length = snprintf(name, sizeof(name), "name-%u", number);

	assert_int_equal(meta_entry_insert(tx, get(scratch, FMT_INO_ROOT), name, (size_t)length, get(scratch, target)),
			 0);
}

static uint64_t used(struct scratch *scratch)
{
	struct meta_space space;

	meta_space(scratch->meta, &space);
	return space.inodes_used;
}

/* All that may be touched comes back, and so does what is edited after it. */
static void test_touch_aborted(void **state)
{
	struct scratch *scratch = *state;
	const struct fmt_inode *root = get(scratch, FMT_INO_ROOT);
	const struct fmt_inode before = *root;
	struct fmt_inode *inode;
	struct meta_tx *tx;

	for (int whole = 0; whole < 2; whole++) {
		assert_int_equal(meta_begin(scratch->meta, 0, &tx), 0);
		assert_int_equal(meta_inode_touch(tx, root, &inode), 0);
		inode->size += 5;
		inode->blocks += 5;
		inode->mtime += 5;
		inode->ctime += 5;
		inode->nlink += 5;
		if (whole == 1) {
			assert_int_equal(meta_inode_edit(tx, root, &inode), 0);
			inode->mode ^= 0111;
			inode->atime += 5;
			inode->parent += 5;
			inode->body.pages += 5;
			inode->xattr_record[0].key += 5;
		}
		meta_abort(tx);
		assert_memory_equal(root, &before, sizeof(before));
		assert_true(fmt_inode_valid(root, FMT_INO_ROOT));
	}
	/* And is sealed once more when it stays. */
	assert_int_equal(meta_begin(scratch->meta, 0, &tx), 0);
	assert_int_equal(meta_inode_touch(tx, root, &inode), 0);
	inode->mtime += 5;
	assert_int_equal(meta_commit(tx), 0);
	scratch_reopen(scratch);
	assert_int_equal(get(scratch, FMT_INO_ROOT)->mtime, before.mtime + 5);
}

/* Entries touch their directory only; its map grows and shrinks all the same, and an abort at any size undoes it. */
static void test_touch_with_map(void **state)
{
	struct scratch *scratch = *state;
	uint64_t target = make(scratch, S_IFREG | 0644, 1);
	struct fmt_inode before;
	struct meta_tx *tx;

	for (unsigned i = 0; i < 1000; i++) {
		before = *get(scratch, FMT_INO_ROOT);
		assert_int_equal(meta_begin(scratch->meta, 0, &tx), 0);
		insert(scratch, tx, target, i);
		meta_abort(tx);
		assert_memory_equal(get(scratch, FMT_INO_ROOT), &before, sizeof(before));
		assert_int_equal(meta_begin(scratch->meta, 0, &tx), 0);
		insert(scratch, tx, target, i);
		assert_int_equal(meta_commit(tx), 0);
	}
	assert_int_equal(get(scratch, FMT_INO_ROOT)->body.height, 1);
	scratch_reopen(scratch);
	assert_int_equal(get(scratch, FMT_INO_ROOT)->size, 1000);
}

static void test_drop(void **state)
{
	static const mode_t modes[] = {S_IFREG | 0644, S_IFDIR | 0755, S_IFIFO | 0600, S_IFLNK | 0777};
	struct scratch *scratch = *state;
	const uint64_t first = used(scratch);

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		uint64_t ino = make(scratch, modes[i], 0);
		const struct fmt_inode *inode = get(scratch, ino);

		if (S_ISLNK(modes[i])) {
			struct meta_tx *tx;

			assert_int_equal(meta_begin(scratch->meta, 0, &tx), 0);
			assert_int_equal(meta_symlink_set(tx, inode, "short", 5), 0);
			assert_int_equal(meta_commit(tx), 0);
		}
		assert_true(meta_inode_is_bare(inode));
		assert_int_equal(used(scratch), first + 1);
		assert_int_equal(meta_inode_drop(scratch->meta, inode), 0);
		assert_int_equal(used(scratch), first);
		assert_int_equal(meta_inode_get(scratch->meta, ino, &inode), -ENOENT);
		/* The slot is the next one's, whatever it holds. */
		assert_int_equal(make(scratch, S_IFREG | 0600, 0), ino);
		assert_int_equal(get(scratch, ino)->size, 0);
		assert_int_equal(meta_inode_drop(scratch->meta, get(scratch, ino)), 0);
	}
	scratch_reopen(scratch);
	assert_int_equal(used(scratch), first);
}

/* Extents go with it: in the slot they are nobody's when it is free. */
static void test_drop_extents(void **state)
{
	const struct meta_extent extent = {.file_block = 7, .phys = fmt_phys(0, 9), .length = 2};
	struct scratch *scratch = *state;
	uint64_t ino = make(scratch, S_IFREG | 0644, 0);
	struct meta_tx *tx;

	assert_int_equal(meta_begin(scratch->meta, 0, &tx), 0);
	assert_int_equal(meta_extent_insert(tx, get(scratch, ino), &extent), 0);
	assert_int_equal(meta_commit(tx), 0);
	assert_true(meta_inode_is_bare(get(scratch, ino)));
	assert_int_equal(meta_inode_drop(scratch->meta, get(scratch, ino)), 0);
	scratch_reopen(scratch);
	assert_int_equal(make(scratch, S_IFREG | 0644, 0), ino);
	assert_int_equal(get(scratch, ino)->body.count, 0);
}

/* What has pages is not bare: a store to the slot would leave them to nobody. */
static void test_not_bare(void **state)
{
	struct scratch *scratch = *state;
	uint64_t ino = make(scratch, S_IFREG | 0644, 0);
	char target[200];
	struct meta_tx *tx;

	assert_int_equal(meta_begin(scratch->meta, 0, &tx), 0);
	assert_int_equal(meta_xattr_set(tx, get(scratch, ino), "user.a", 6, "b", 1, 0), 0);
	assert_int_equal(meta_commit(tx), 0);
	assert_false(meta_inode_is_bare(get(scratch, ino)));
	assert_int_equal(meta_inode_drop(scratch->meta, get(scratch, ino)), -EUCLEAN);

	assert_int_equal(meta_begin(scratch->meta, 0, &tx), 0);
	insert(scratch, tx, ino, 1);
	assert_int_equal(meta_commit(tx), 0);
	assert_false(meta_inode_is_bare(get(scratch, FMT_INO_ROOT)));

	ino = make(scratch, S_IFLNK | 0777, 0);
	memset(target, 'x', sizeof(target));
	assert_int_equal(meta_begin(scratch->meta, 0, &tx), 0);
	assert_int_equal(meta_symlink_set(tx, get(scratch, ino), target, sizeof(target)), 0);
	assert_int_equal(meta_commit(tx), 0);
	assert_false(meta_inode_is_bare(get(scratch, ino)));
	assert_int_equal(meta_inode_drop(scratch->meta, get(scratch, ino)), -EUCLEAN);

	ino = make(scratch, S_IFREG | 0644, 0);
	meta_stop(scratch->meta);
	assert_int_equal(meta_inode_drop(scratch->meta, get(scratch, ino)), -EIO);
	assert_true(meta_inode_is_bare(get(scratch, ino)));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_touch_aborted), TEST(test_touch_with_map), TEST(test_drop),
		TEST(test_drop_extents),  TEST(test_not_bare),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
