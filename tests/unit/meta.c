/* The meta part against oracles in memory: names, extents, xattrs, symlinks, space, transactions, damage. */
#include "meta/pool.h"
#include "meta_pool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define POOL_SIZE (64ull << 20)

static struct scratch pool;

static int setup(void **state)
{
	(void)state;
	scratch_create(&pool, POOL_SIZE);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	scratch_destroy(&pool);
	return 0;
}

/* Numbers that are the same in each run. */
static uint32_t random_state = 12345;

static uint32_t random_below(uint32_t limit)
{
	random_state = random_state * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)(random_state >> 8) * limit >> 24);
}

static uint64_t make_inode(uint32_t mode)
{
	struct fmt_inode *inode;
	struct meta_tx *tx;
	uint64_t ino;

	assert_int_equal(meta_begin(pool.meta, META_TX_INODE, &tx), 0);
	assert_int_equal(meta_inode_create(tx, &inode), 0);
	inode->mode = mode;
	inode->nlink = 1;
	ino = inode->ino;
	assert_int_equal(meta_commit(tx), 0);
	return ino;
}

static const struct fmt_inode *get(uint64_t ino)
{
	const struct fmt_inode *inode;

	assert_int_equal(meta_inode_get(pool.meta, ino, &inode), 0);
	return inode;
}

static int entry_insert(uint64_t directory, const char *name, uint64_t target)
{
	struct meta_tx *tx;
	int error = meta_begin(pool.meta, 0, &tx);

	if (error == 0) {
		error = meta_entry_insert(tx, get(directory), name, strlen(name), get(target));
		if (error != 0)
			meta_abort(tx);
		else
			error = meta_commit(tx);
	}
	return error;
}

static int entry_remove(uint64_t directory, const char *name)
{
	struct meta_tx *tx;
	int error;

	assert_int_equal(meta_begin(pool.meta, META_TX_RESERVE, &tx), 0);
	error = meta_entry_remove(tx, get(directory), name, strlen(name));
	if (error != 0)
		meta_abort(tx);
	else
		error = meta_commit(tx);
	return error;
}

static int fail_damage(void *arg, const char *invariant, uint64_t ino, const char *what)
{
	(void)arg;
	fail_msg("%s: inode %llu: %s", invariant, (unsigned long long)ino, what);
	return -EUCLEAN;
}

/* Everything verifies, and the pages in use are those that were. */
static void check_sound(uint64_t ino)
{
	struct meta_visitor visitor = {.damage = fail_damage};
	struct meta_space before, after;

	meta_space(pool.meta, &before);
	scratch_reopen(&pool);
	meta_space(pool.meta, &after);
	assert_int_equal(before.pages_free, after.pages_free);
	assert_int_equal(before.inodes_used, after.inodes_used);
	assert_int_equal(before.inode_slots_free, after.inode_slots_free);
	assert_int_equal(meta_inode_check(pool.meta, get(ino), &visitor), 0);
}

struct count {
	uint64_t entries;
	uint64_t last_cookie;
};

static int count_entry(void *arg, const struct meta_entry *entry)
{
	struct count *count = arg;

	assert_true(entry->cookie > count->last_cookie);
	count->last_cookie = entry->cookie;
	count->entries++;
	return 0;
}

static void name_of(unsigned number, char name[260])
{
	/* Lengths from 1 unit to 5. */
	int length = snprintf(name, 260, "file-%u-", number);
	unsigned pad = number % 7 == 0 ? number % 240 : number % 20;

	for (unsigned i = 0; i < pad && length < 255; i++)
		name[length++] = (char)('a' + (number + i) % 26);
	name[length] = '\0';
}

static void test_entries(void **state)
{
	enum { NAMES = 20000 };
	static bool there[NAMES];
	uint64_t directory = make_inode(S_IFDIR | 0755);
	uint64_t target = make_inode(S_IFREG | 0644);
	uint64_t expected = 0;
	struct meta_space empty, space;
	char name[260];

	(void)state;
	memset(there, 0, sizeof(there));
	meta_space(pool.meta, &empty);
	for (unsigned i = 0; i < 4 * NAMES; i++) {
		/* Grows at first, shrinks later. */
		unsigned number = random_below(NAMES);
		bool insert = random_below(4 * NAMES) > i;
		struct meta_entry entry;
		int error;

		name_of(number, name);
		error = meta_entry_find(pool.meta, get(directory), name, strlen(name), &entry);
		assert_int_equal(error, there[number] ? 0 : -ENOENT);
		if (error == 0) {
			assert_string_equal(entry.name, name);
			assert_int_equal(entry.ino, target);
			assert_int_equal(entry.type, DT_REG);
		}
		if (insert && !there[number]) {
			assert_int_equal(entry_insert(directory, name, target), 0);
			there[number] = true;
			expected++;
		} else if (!insert && there[number]) {
			assert_int_equal(entry_remove(directory, name), 0);
			there[number] = false;
			expected--;
		}
		if (i % NAMES == NAMES - 1) {
			struct count count = {0};

			assert_int_equal(get(directory)->size, expected);
			assert_int_equal(meta_entry_iterate(pool.meta, get(directory), 0, count_entry, &count), 0);
			assert_int_equal(count.entries, expected);
			check_sound(directory);
		}
	}
	for (unsigned i = 0; i < NAMES; i++) {
		name_of(i, name);
		assert_int_equal(entry_remove(directory, name), there[i] ? 0 : -ENOENT);
	}
	assert_int_equal(get(directory)->size, 0);
	check_sound(directory);
	meta_space(pool.meta, &space);
	assert_int_equal(space.pages_free, empty.pages_free);
}

static int compare_cookies(const void *a, const void *b)
{
	const struct meta_entry *left = a, *right = b;

	return left->cookie < right->cookie ? -1 : left->cookie > right->cookie;
}

/*
 * The first pages go with their names; what comes back has lower keys than the first page that is left, and splits it.
 */
static void test_entries_low(void **state)
{
	enum { NAMES = 4000 };
	static struct meta_entry entries[NAMES];
	uint64_t directory = make_inode(S_IFDIR | 0755);
	uint64_t target = make_inode(S_IFREG | 0644);
	struct meta_entry entry;
	struct count count = {0};
	char name[260];

	(void)state;
	for (unsigned i = 0; i < NAMES; i++) {
		snprintf(name, sizeof(name), "%u", i);
		assert_int_equal(entry_insert(directory, name, target), 0);
		assert_int_equal(meta_entry_find(pool.meta, get(directory), name, strlen(name), &entries[i]), 0);
	}
	qsort(entries, NAMES, sizeof(entries[0]), compare_cookies);
	for (unsigned part = 8; part > 1; part--) {
		unsigned removed = NAMES - NAMES / part;

		for (unsigned i = 0; i < removed; i++)
			assert_int_equal(entry_remove(directory, entries[i].name), 0);
		for (unsigned i = removed; i-- > 0;) {
			assert_int_equal(entry_insert(directory, entries[i].name, target), 0);
			assert_int_equal(entry_insert(directory, entries[i].name, target), -EEXIST);
		}
		for (unsigned i = 0; i < NAMES; i++)
			assert_int_equal(meta_entry_find(pool.meta, get(directory), entries[i].name,
							 entries[i].name_length, &entry),
					 0);
		check_sound(directory);
	}
	assert_int_equal(meta_entry_iterate(pool.meta, get(directory), 0, count_entry, &count), 0);
	assert_int_equal(count.entries, NAMES);
}

/* Insertion and removal in one transaction, undone: the units of the removed name are as they were. */
static void test_entries_abort(void **state)
{
	uint64_t directory = make_inode(S_IFDIR | 0755);
	uint64_t target = make_inode(S_IFREG | 0644);
	struct meta_entry entry;
	struct meta_tx *tx;

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		char name[260];

		name_of(i, name);
		assert_int_equal(entry_insert(directory, name, target), 0);
	}
	for (unsigned i = 0; i < 200; i++) {
		const struct fmt_inode *inode = get(directory), *file = get(target);
		char name[260], other[260];

		name_of(i, name);
		name_of(i + 1000, other);
		assert_int_equal(meta_begin(pool.meta, 0, &tx), 0);
		assert_int_equal(meta_entry_remove(tx, inode, name, strlen(name)), 0);
		assert_int_equal(meta_entry_insert(tx, inode, other, strlen(other), file), 0);
		meta_abort(tx);
		assert_int_equal(meta_entry_find(pool.meta, get(directory), name, strlen(name), &entry), 0);
		assert_int_equal(meta_entry_find(pool.meta, get(directory), other, strlen(other), &entry), -ENOENT);
	}
	check_sound(directory);
}

/* ---- Extents ---- */

enum { BLOCKS = 6000 };

/* Physical block of each file block, +1; 0: hole. Bit 63: unwritten. */
static uint64_t oracle[BLOCKS];
#define UNWRITTEN (1ull << 63)

static void check_extents(uint64_t ino)
{
	const struct fmt_inode *file = get(ino);
	uint64_t blocks = 0;

	for (uint64_t block = 0; block < BLOCKS;) {
		struct meta_extent extent;
		int error = meta_extent_find(pool.meta, file, block, &extent);
		uint64_t start = error == 0 ? extent.file_block : BLOCKS;

		if (error != 0)
			assert_int_equal(error, -ENOENT);
		for (; block < start; block++)
			assert_int_equal(oracle[block], 0);
		if (error != 0)
			break;
		for (; block < extent.file_block + extent.length; block++, blocks++) {
			uint64_t expected =
				(extent.phys + block - extent.file_block + 1) | (extent.unwritten ? UNWRITTEN : 0);

			assert_true(oracle[block] == expected);
		}
	}
	assert_int_equal(file->blocks, blocks);
}

static uint64_t extent_of(uint64_t start, uint64_t length, bool unwritten, uint64_t phys, struct meta_extent *extent)
{
	*extent = (struct meta_extent){start, phys, (uint32_t)length, unwritten};
	for (uint64_t i = 0; i < length; i++)
		oracle[start + i] = (phys + i + 1) | (unwritten ? UNWRITTEN : 0);
	return phys + length;
}

static void insert_hole(uint64_t ino, uint64_t start, uint64_t length)
{
	/* Mostly where the neighbour ends, so that extents join. */
	uint64_t phys = start > 0 && oracle[start - 1] != 0 && random_below(3) > 0
				? (oracle[start - 1] & ~UNWRITTEN)
				: fmt_phys(random_below(3), 1 + random_below(1 << 30));
	struct meta_extent extent;
	struct meta_tx *tx;

	extent_of(start, length, random_below(3) == 0, phys, &extent);
	assert_int_equal(meta_begin(pool.meta, 0, &tx), 0);
	assert_int_equal(meta_extent_insert(tx, get(ino), &extent), 0);
	assert_int_equal(meta_commit(tx), 0);
}

static void remove_range(uint64_t ino, uint64_t start, uint64_t end)
{
	struct meta_extent removed;
	struct meta_tx *tx;
	int error;

	do {
		assert_int_equal(meta_begin(pool.meta, META_TX_RESERVE, &tx), 0);
		error = meta_extent_remove_last(tx, get(ino), start, end, &removed);
		if (error != 0) {
			assert_int_equal(error, -ENOENT);
			meta_abort(tx);
			break;
		}
		assert_int_equal(meta_commit(tx), 0);
		for (uint64_t i = 0; i < removed.length; i++) {
			assert_true((oracle[removed.file_block + i] & ~UNWRITTEN) == removed.phys + i + 1);
			oracle[removed.file_block + i] = 0;
		}
	} while (error == 0);
	for (uint64_t i = start; i < end && i < BLOCKS; i++)
		assert_int_equal(oracle[i], 0);
}

static void mark_piece(uint64_t ino, uint64_t start)
{
	struct meta_extent extent;
	struct meta_tx *tx;
	bool unwritten = random_below(2) == 0;
	uint64_t end;

	if (meta_extent_find(pool.meta, get(ino), start, &extent) != 0)
		return;
	start = start > extent.file_block ? start : extent.file_block;
	end = extent.file_block + extent.length;
	end = start + 1 + random_below((uint32_t)(end - start));
	assert_int_equal(meta_begin(pool.meta, 0, &tx), 0);
	assert_int_equal(meta_extent_mark(tx, get(ino), start, (uint32_t)(end - start), unwritten), 0);
	assert_int_equal(meta_commit(tx), 0);
	for (; start < end; start++)
		oracle[start] = (oracle[start] & ~UNWRITTEN) | (unwritten ? UNWRITTEN : 0);
}

static void test_extents(void **state)
{
	uint64_t ino = make_inode(S_IFREG | 0644);
	struct meta_space empty, space;

	(void)state;
	memset(oracle, 0, sizeof(oracle));
	meta_space(pool.meta, &empty);
	for (unsigned round = 0; round < 30000; round++) {
		uint64_t start = random_below(BLOCKS);
		uint64_t length = 0, most = 1 + random_below(8);

		switch (random_below(round < 20000 ? 4 : 8)) {
		case 0:
		case 1:
			while (length < most && start + length < BLOCKS && oracle[start + length] == 0)
				length++;
			if (length > 0)
				insert_hole(ino, start, length);
			break;
		case 2:
			mark_piece(ino, start);
			break;
		default:
			remove_range(ino, start, start + most < BLOCKS ? start + most : BLOCKS);
			break;
		}
		if (round % 1000 == 0)
			check_extents(ino);
	}
	check_extents(ino);
	check_sound(ino);
	check_extents(ino);
	remove_range(ino, 0, UINT64_MAX);
	assert_int_equal(get(ino)->body.height, 0);
	meta_space(pool.meta, &space);
	assert_int_equal(space.pages_free, empty.pages_free);
}

/* 100,000 extents that cannot join, in order, then found and removed in any order: the tree has at most 3 levels. */
static void test_extents_many(void **state)
{
	enum { MANY = 100000 };
	uint64_t ino = make_inode(S_IFREG | 0644);
	struct meta_extent extent;
	struct meta_tx *tx;

	(void)state;
	for (uint64_t i = 0; i < MANY; i++) {
		extent = (struct meta_extent){2 * i, fmt_phys(0, 3 * i + 1), 1, false};
		assert_int_equal(meta_begin(pool.meta, 0, &tx), 0);
		assert_int_equal(meta_extent_insert(tx, get(ino), &extent), 0);
		assert_int_equal(meta_commit(tx), 0);
	}
	assert_in_range(get(ino)->body.height, 2, 3);
	check_sound(ino);
	for (uint64_t i = 0; i < MANY; i++) {
		uint64_t at = i * 7919 % MANY;

		assert_int_equal(meta_extent_find(pool.meta, get(ino), 2 * at, &extent), 0);
		assert_int_equal(extent.phys, 3 * at + 1);
		assert_int_equal(meta_begin(pool.meta, META_TX_RESERVE, &tx), 0);
		assert_int_equal(meta_extent_remove_last(tx, get(ino), 2 * at, 2 * at + 1, &extent), 0);
		assert_int_equal(meta_commit(tx), 0);
	}
	assert_int_equal(get(ino)->blocks, 0);
	assert_int_equal(get(ino)->body.height, 0);
	check_sound(ino);
}

/* A node with two parents, checksums and all: a walk does not go back to where it was. */
static void test_extents_twice(void **state)
{
	uint64_t ino = make_inode(S_IFREG | 0644);
	struct meta_extent extent;
	struct fmt_node *root;
	struct meta_tx *tx;

	(void)state;
	for (uint64_t i = 0; i < 1000; i++) {
		extent = (struct meta_extent){2 * i, fmt_phys(0, 3 * i + 1), 1, false};
		assert_int_equal(meta_begin(pool.meta, 0, &tx), 0);
		assert_int_equal(meta_extent_insert(tx, get(ino), &extent), 0);
		assert_int_equal(meta_commit(tx), 0);
	}
	assert_int_equal(get(ino)->body.height, 2);
	root = meta_page(pool.meta, get(ino)->body.root);
	assert_true(root->count > 2);
	assert_int_equal(meta_extent_find(pool.meta, get(ino), root->record[2].key - 1, &extent), 0);
	root->record[2].value = root->record[1].value;
	fmt_record_seal(&root->record[2], fmt_owner_seed(ino, get(ino)->generation));
	assert_int_equal(meta_extent_find(pool.meta, get(ino), root->record[2].key - 1, &extent), -EUCLEAN);
	assert_int_equal(meta_extent_find(pool.meta, get(ino), root->record[1].key - 1, &extent), 0);
}

/* ---- Xattrs and symlinks ---- */

static int xattr_set(uint64_t ino, const char *name, const void *value, size_t length, unsigned flags)
{
	struct meta_tx *tx;
	int error;

	assert_int_equal(meta_begin(pool.meta, 0, &tx), 0);
	error = meta_xattr_set(tx, get(ino), name, strlen(name), value, length, flags);
	if (error != 0)
		meta_abort(tx);
	else
		error = meta_commit(tx);
	return error;
}

static void test_xattrs(void **state)
{
	static const size_t lengths[] = {0, 1, 100, 512, 513, 4032, 4033, 30000, 65536};
	uint64_t ino = make_inode(S_IFREG | 0644);
	static char value[65536], read_back[65536];
	struct meta_space empty, space;
	struct meta_tx *tx;
	char name[64];

	(void)state;
	meta_space(pool.meta, &empty);
	for (unsigned i = 0; i < sizeof(value); i++)
		value[i] = (char)(i * 31 >> 3);
	for (unsigned round = 0; round < 2000; round++) {
		size_t length = lengths[random_below(9)];

		if (round % 10 != 0 && length > 600)
			length = 20;
		snprintf(name, sizeof(name), "user.attribute-%u", round % 500);
		assert_int_equal(xattr_set(ino, name, value, length, 0), 0);
		assert_int_equal(meta_xattr_get(pool.meta, get(ino), name, strlen(name), read_back, sizeof(read_back)),
				 length);
		assert_memory_equal(value, read_back, length);
	}
	assert_int_equal(xattr_set(ino, "user.attribute-0", value, 1, META_XATTR_CREATE), -EEXIST);
	assert_int_equal(xattr_set(ino, "user.none", value, 1, META_XATTR_REPLACE), -ENODATA);
	assert_int_equal(xattr_set(ino, "user.none", value, 65537, 0), -E2BIG);
	assert_int_equal(meta_xattr_get(pool.meta, get(ino), "user.none", 9, NULL, 0), -ENODATA);
	assert_true(meta_xattr_list(pool.meta, get(ino), NULL, NULL, 0) > 500 * 16);
	assert_int_equal(meta_xattr_list(pool.meta, get(ino), NULL, read_back, 100), -ERANGE);
	check_sound(ino);
	for (unsigned i = 0; i < 250; i++) {
		snprintf(name, sizeof(name), "user.attribute-%u", i);
		assert_int_equal(meta_begin(pool.meta, META_TX_RESERVE, &tx), 0);
		assert_int_equal(meta_xattr_remove(tx, get(ino), name, strlen(name)), 0);
		assert_int_equal(meta_commit(tx), 0);
	}
	for (int more = 1; more > 0;) {
		assert_int_equal(meta_begin(pool.meta, META_TX_RESERVE, &tx), 0);
		more = meta_inode_strip(tx, get(ino));
		assert_in_range(more, 0, 1);
		assert_int_equal(meta_commit(tx), 0);
	}
	meta_space(pool.meta, &space);
	assert_int_equal(space.pages_free, empty.pages_free);
}

static void test_symlinks(void **state)
{
	static const size_t lengths[] = {1, 72, 73, 4032, 4033, 4095};
	char target[4096], read_back[4096];

	(void)state;
	memset(target, 'x', sizeof(target));
	for (unsigned i = 0; i < 6; i++) {
		uint64_t ino = make_inode(S_IFLNK | 0777);
		struct meta_tx *tx;

		target[lengths[i] - 1] = 'y';
		assert_int_equal(meta_begin(pool.meta, 0, &tx), 0);
		assert_int_equal(meta_symlink_set(tx, get(ino), target, lengths[i]), 0);
		assert_int_equal(meta_commit(tx), 0);
		check_sound(ino);
		assert_int_equal(meta_symlink_get(pool.meta, get(ino), read_back, sizeof(read_back)), lengths[i]);
		assert_memory_equal(target, read_back, lengths[i]);
		target[lengths[i] - 1] = 'x';
		/* Its page is not forgotten: first the target goes, then the inode. */
		assert_int_equal(meta_begin(pool.meta, META_TX_RESERVE, &tx), 0);
		if (lengths[i] > FMT_SYMLINK_INLINE_MAX) {
			assert_int_equal(meta_inode_destroy(tx, get(ino)), -ENOTEMPTY);
			assert_int_equal(meta_inode_strip(tx, get(ino)), 1);
		}
		meta_abort(tx);
		check_sound(ino);
	}
}

/* ---- Space ---- */

/* Fills the pool with inodes and names until nothing fits: then everything can still be removed, and comes back. */
static void test_full(void **state)
{
	uint64_t directory = make_inode(S_IFDIR | 0755);
	struct meta_space empty, space;
	static uint64_t inos[400000];
	unsigned count = 0;
	char name[260];
	int error = 0;

	(void)state;
	meta_space(pool.meta, &empty);
	while (error == 0) {
		struct fmt_inode *inode;
		struct meta_tx *tx;

		snprintf(name, sizeof(name), "%u", count);
		error = meta_begin(pool.meta, META_TX_INODE, &tx);
		if (error != 0)
			break;
		error = meta_inode_create(tx, &inode);
		assert_int_equal(error, 0);
		inode->mode = S_IFREG | 0644;
		inode->nlink = 1;
		inos[count] = inode->ino;
		error = meta_entry_insert(tx, get(directory), name, strlen(name), inode);
		if (error == 0)
			error = meta_commit(tx);
		else
			meta_abort(tx);
		if (error == 0)
			count++;
	}
	assert_int_equal(error, -ENOSPC);
	meta_space(pool.meta, &space);
	assert_int_equal(space.inodes_used, empty.inodes_used + count);
	/* 64 MiB less lanes and logs, 256 B an inode and a little over 64 B a name. */
	assert_in_range(count, 100000, 399999);
	check_sound(directory);
	for (unsigned i = 0; i < count; i++) {
		struct meta_tx *tx;

		snprintf(name, sizeof(name), "%u", i);
		assert_int_equal(meta_begin(pool.meta, META_TX_RESERVE, &tx), 0);
		assert_int_equal(meta_entry_remove(tx, get(directory), name, strlen(name)), 0);
		assert_int_equal(meta_inode_destroy(tx, get(inos[i])), 0);
		assert_int_equal(meta_commit(tx), 0);
	}
	check_sound(directory);
	meta_space(pool.meta, &space);
	assert_int_equal(space.inodes_used, empty.inodes_used);
	/* Frames kept for inodes are not lost: they hold slots. */
	assert_int_equal(space.pages_free + space.inode_slots_free / 16,
			 empty.pages_free + empty.inode_slots_free / 16);
}

static void test_abort_inode(void **state)
{
	const struct fmt_inode *found;
	struct meta_space before, after;
	struct fmt_inode *inode;
	struct meta_tx *tx;
	uint64_t ino;

	(void)state;
	(void)make_inode(S_IFREG | 0644);
	meta_space(pool.meta, &before);
	assert_int_equal(meta_begin(pool.meta, META_TX_INODE, &tx), 0);
	assert_int_equal(meta_inode_create(tx, &inode), 0);
	inode->mode = S_IFREG;
	ino = inode->ino;
	meta_abort(tx);
	assert_int_equal(meta_inode_get(pool.meta, ino, &found), -ENOENT);
	meta_space(pool.meta, &after);
	assert_memory_equal(&before, &after, sizeof(before));
}

static void test_parts(void **state)
{
	struct meta_part part = {.uuid = "0123456789abcde", .blocks = 1000}, found;

	(void)state;
	for (part.number = 0; part.number < 40; part.number++) {
		snprintf(part.path, sizeof(part.path), "/a/path/%0*u", (int)part.number * 90, part.number);
		assert_int_equal(meta_part_add(pool.meta, &part), 0);
	}
	part.number = 3;
	assert_int_equal(meta_part_add(pool.meta, &part), -EEXIST);
	assert_int_equal(meta_part_set_path(pool.meta, 3, "/moved"), 0);
	check_sound(FMT_INO_PARTS);
	assert_int_equal(meta_part_get(pool.meta, 3, &found), 0);
	assert_string_equal(found.path, "/moved");
	assert_memory_equal(found.uuid, part.uuid, 16);
	assert_int_equal(meta_part_get(pool.meta, 39, &found), 0);
	assert_int_equal(strlen(found.path), 8 + 39 * 90);
	assert_int_equal(meta_part_get(pool.meta, 40, &found), -ENOENT);
}

/* ---- Refusals ---- */

static void test_unfinished(void **state)
{
	struct meta_create_args args = {.size = META_SIZE_MIN, .root_mode = 0755};
	struct message message = {""};
	struct scratch scratch;
	struct meta *meta;

	(void)state;
	scratch_create(&scratch, META_SIZE_MIN);
	meta_close(scratch.meta);
	assert_int_equal(unlink(scratch.meta_path), 0);
	assert_int_equal(meta_create(scratch.meta_path, &args, &scratch.meta, &message), 0);
	meta_close(scratch.meta);
	assert_int_equal(meta_open(scratch.meta_path, 0, &meta, &message), -EUCLEAN);
	assert_non_null(strstr(message.text, "mkfs"));
	assert_int_equal(meta_open(scratch.meta_path, META_OPEN_UNFINISHED, &scratch.meta, &message), 0);
	assert_int_equal(meta_create(scratch.meta_path, &args, &meta, &message), -EEXIST);
	args.size = META_SIZE_MIN - 1;
	assert_int_equal(meta_create("/nowhere", &args, &meta, &message), -EINVAL);
	scratch_destroy(&scratch);
}

static void test_held(void **state)
{
	struct message message = {""};
	char pid[32];
	struct meta *meta;

	(void)state;
	snprintf(pid, sizeof(pid), "process %d ", (int)getpid());
	assert_int_equal(meta_open(pool.meta_path, 0, &meta, &message), -EBUSY);
	assert_non_null(strstr(message.text, pid));
}

/* What is no file is refused before anything waits for it. */
static void test_probe_fifo(void **state)
{
	struct message message = {""};
	char path[320];

	(void)state;
	snprintf(path, sizeof(path), "%s/fifo", pool.folder);
	assert_int_equal(mkfifo(path, 0600), 0);
	alarm(10);
	assert_int_equal(meta_probe(path, &message), -EINVAL);
	assert_int_equal(meta_open(path, 0, &pool.meta, &message), -EINVAL);
	alarm(0);
	assert_non_null(strstr(message.text, path));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(meta_probe(pool.folder, &message), -EISDIR);
	assert_int_equal(meta_probe("/nowhere/at/all", &message), -ENOENT);
}

/* The probe refuses what would crash or hang this process; flips in libpmemobj's own structures among it. */
static void test_probe_damaged(void **state)
{
	static const off_t places[] = {0, 8, 4096, 4100, 4096 + 2048, 8192 + 8, 8192 + 16, 8192 + 960 + 16};
	struct message message = {""};
	struct scratch scratch;
	int fd;

	(void)state;
	scratch_create(&scratch, META_SIZE_MIN);
	meta_close(scratch.meta);
	assert_int_equal(meta_probe(scratch.meta_path, &message), 0);
	fd = open(scratch.meta_path, O_RDWR);
	assert_true(fd >= 0);
	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		unsigned char byte, flipped;

		assert_int_equal(pread(fd, &byte, 1, places[i]), 1);
		flipped = byte ^ 0xff;
		assert_int_equal(pwrite(fd, &flipped, 1, places[i]), 1);
		message.text[0] = '\0';
		if (meta_probe(scratch.meta_path, &message) == 0)
			fail_msg("a flip at %lld is accepted", (long long)places[i]);
		assert_non_null(strstr(message.text, scratch.meta_path));
		assert_int_equal(pwrite(fd, &byte, 1, places[i]), 1);
	}
	close(fd);
	assert_int_equal(meta_probe(scratch.meta_path, &message), 0);
	assert_int_equal(meta_open(scratch.meta_path, 0, &scratch.meta, &message), 0);
	scratch_destroy(&scratch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_entries, setup, teardown),
		cmocka_unit_test_setup_teardown(test_entries_low, setup, teardown),
		cmocka_unit_test_setup_teardown(test_entries_abort, setup, teardown),
		cmocka_unit_test_setup_teardown(test_extents, setup, teardown),
		cmocka_unit_test_setup_teardown(test_extents_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_extents_twice, setup, teardown),
		cmocka_unit_test_setup_teardown(test_xattrs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_symlinks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_abort_inode, setup, teardown),
		cmocka_unit_test_setup_teardown(test_parts, setup, teardown),
		cmocka_unit_test(test_unfinished),
		cmocka_unit_test_setup_teardown(test_held, setup, teardown),
		cmocka_unit_test_setup_teardown(test_probe_fifo, setup, teardown),
		cmocka_unit_test(test_probe_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
