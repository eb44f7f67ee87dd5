/* Sealed records verify; a flip of any bit that a checksum covers, or another owner, does not. */
#include "format/format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static struct fmt_inode owner_of(uint64_t ino, uint32_t generation)
{
	struct fmt_inode inode;

	memset(&inode, 0, sizeof(inode));
	inode.magic = FMT_INODE_MAGIC;
	inode.ino = ino;
	inode.generation = generation;
	inode.mode = S_IFREG | 0644;
	inode.nlink = 1;
	fmt_inode_seal(&inode);
	return inode;
}

/* `valid` holds, and holds for no flip of one bit in the first `covered` bytes. */
#define ASSERT_EACH_BIT(record, covered, valid)                                                                        \
	do {                                                                                                           \
		unsigned char *bytes_ = (unsigned char *)(record);                                                     \
		assert_true(valid);                                                                                    \
		for (size_t bit_ = 0; bit_ < 8 * (size_t)(covered); bit_++) {                                          \
			bytes_[bit_ / 8] ^= (unsigned char)(1u << bit_ % 8);                                           \
			if (valid)                                                                                     \
				fail_msg("bit %zu of %s is not covered", bit_, #record);                               \
			bytes_[bit_ / 8] ^= (unsigned char)(1u << bit_ % 8);                                           \
		}                                                                                                      \
		assert_true(valid);                                                                                    \
	} while (0)

static void test_inode(void **state)
{
	struct fmt_inode inode = owner_of(77, 5);

	(void)state;
	ASSERT_EACH_BIT(&inode, sizeof(inode), fmt_inode_valid(&inode, 77));
	assert_false(fmt_inode_valid(&inode, 78));
	assert_false(fmt_inode_free(&inode));
	inode.mode = 0644;
	fmt_inode_seal(&inode);
	assert_false(fmt_inode_valid(&inode, 77));
	inode.mode = S_IFREG;
	inode.body.count = FMT_BODY_RECORDS + 1;
	fmt_inode_seal(&inode);
	assert_false(fmt_inode_valid(&inode, 77));
}

static void test_group(void **state)
{
	static const uint8_t uuid[16] = "a pool", other[16] = "another pool";
	struct fmt_group group;

	(void)state;
	memset(&group, 0, sizeof(group));
	group.magic = FMT_GROUP_MAGIC;
	group.number = 9;
	group.inode_frames = 1;
	fmt_group_seal(&group, uuid);
	ASSERT_EACH_BIT(&group.magic, 48, fmt_group_valid(&group, uuid, 9));
	assert_false(fmt_group_valid(&group, other, 9));
	assert_false(fmt_group_valid(&group, uuid, 8));
}

static void test_part_header(void **state)
{
	static struct fmt_part_header header = {.magic = FMT_PART_MAGIC, .version = 1, .blocks = 100};

	(void)state;
	fmt_part_header_seal(&header);
	ASSERT_EACH_BIT(&header, sizeof(header), fmt_part_header_valid(&header));
}

static void test_super(void **state)
{
	struct fmt_super super;

	(void)state;
	memset(&super, 0, sizeof(super));
	super.magic = FMT_SUPER_MAGIC;
	super.version = 1;
	fmt_super_seal(&super);
	assert_true(fmt_super_valid(&super));
	super.state = FMT_STATE_MOUNTED;
	super.mounts++;
	assert_true(fmt_super_valid(&super));
	super.state = 0;
	super.mounts = 0;
	ASSERT_EACH_BIT(&super, offsetof(struct fmt_super, state), fmt_super_valid(&super));
}

static void test_record(void **state)
{
	struct fmt_record record = {.key = 1, .value = fmt_phys(3, 500), .length = 8};
	uint32_t seed = fmt_owner_seed(77, 5);

	(void)state;
	fmt_record_seal(&record, seed);
	ASSERT_EACH_BIT(&record, sizeof(record), fmt_record_valid(&record, seed));
	assert_false(fmt_record_valid(&record, fmt_owner_seed(77, 6)));
	assert_false(fmt_record_valid(&record, fmt_owner_seed(78, 5)));
	assert_int_equal(fmt_phys_part(record.value), 3);
	assert_int_equal(fmt_phys_block(record.value), 500);
}

static void test_node(void **state)
{
	static struct fmt_node node;
	struct fmt_inode owner = owner_of(77, 5), other = owner_of(77, 6);

	(void)state;
	node.magic = FMT_NODE_MAGIC;
	node.owner = 77;
	node.generation = 5;
	node.kind = FMT_KIND_EXTENTS;
	node.level = 1;
	node.count = 2;
	fmt_node_seal(&node);
	ASSERT_EACH_BIT(&node, 64, fmt_node_valid(&node, &owner, FMT_KIND_EXTENTS, 1));
	assert_false(fmt_node_valid(&node, &other, FMT_KIND_EXTENTS, 1));
	assert_false(fmt_node_valid(&node, &owner, FMT_KIND_ENTRIES, 1));
	assert_false(fmt_node_valid(&node, &owner, FMT_KIND_EXTENTS, 0));
	node.count = FMT_NODE_RECORDS + 1;
	fmt_node_seal(&node);
	assert_false(fmt_node_valid(&node, &owner, FMT_KIND_EXTENTS, 1));
}

static void test_names(void **state)
{
	static struct fmt_names page;
	struct fmt_inode owner = owner_of(77, 5);
	struct fmt_name *name = (struct fmt_name *)page.unit[3];
	uint32_t seed = fmt_owner_seed(77, 5);

	(void)state;
	page.magic = FMT_NAMES_MAGIC;
	page.owner = 77;
	page.generation = 5;
	page.kind = FMT_KIND_ENTRIES;
	name->name_length = 40;
	name->units = (uint8_t)fmt_name_units(40, 0);
	assert_int_equal(name->units, 2);
	name->key = 5ull << FMT_KEY_UNIQUE_BITS;
	memset(name->bytes, 'n', 40);
	fmt_name_seal(name, FMT_KIND_ENTRIES, seed);
	page.used = 3ull << 3;
	page.start = 1ull << 3;
	page.fingerprint[3] = fmt_fingerprint(name->key);
	fmt_names_seal(&page);
	ASSERT_EACH_BIT(&page, 128, fmt_names_valid(&page, &owner, FMT_KIND_ENTRIES));
	ASSERT_EACH_BIT(name, 32 + 40, fmt_name_at(&page, 3, seed) == name);
	assert_null(fmt_name_at(&page, 4, seed));
	assert_null(fmt_name_at(&page, FMT_NAMES_UNITS, seed));
	assert_null(fmt_name_at(&page, 3, seed + 1));
	/* A name that would end behind the page. */
	page.start = 1ull << 61;
	page.used = 1ull << 61;
	page.fingerprint[61] = page.fingerprint[3];
	memcpy(page.unit[61], name, FMT_UNIT_SIZE);
	assert_null(fmt_name_at(&page, 61, seed));
}

static void test_blob(void **state)
{
	static struct fmt_blob blob;
	struct fmt_inode owner = owner_of(77, 5);

	(void)state;
	blob.magic = FMT_BLOB_MAGIC;
	blob.owner = 77;
	blob.generation = 5;
	blob.kind = FMT_KIND_SYMLINK;
	blob.count = 100;
	fmt_blob_seal(&blob);
	ASSERT_EACH_BIT(&blob, 164, fmt_blob_valid(&blob, &owner, FMT_KIND_SYMLINK));
	blob.count = FMT_BLOB_BYTES + 1;
	assert_false(fmt_blob_valid(&blob, &owner, FMT_KIND_SYMLINK));
}

static void test_ledger_names(void **state)
{
	static const struct {
		struct fmt_ledger_key key;
		const char *name;
	} cases[] = {
		{{FMT_LEDGER_SESSION, 0, 0x123456789abcdef0, 0}, "s.123456789abcdef0"},
		{{FMT_LEDGER_PIN, 0, 1, UINT64_MAX}, "p.0000000000000001.ffffffffffffffff"},
		{{FMT_LEDGER_PIECE, 0xabc, 2, 3}, "x.0000000000000002.0000000000000003.00000abc"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char name[FMT_LEDGER_NAME_MAX + 1];
		size_t length = fmt_ledger_name(&cases[i].key, name);
		struct fmt_ledger_key key;

		assert_int_equal(length, strlen(cases[i].name));
		assert_memory_equal(name, cases[i].name, length);
		assert_true(fmt_ledger_parse(name, length, &key));
		assert_memory_equal(&key, &cases[i].key, sizeof(key));
		/* Neither shorter nor longer, and no other byte anywhere that gives the same. */
		for (size_t cut = 0; cut < length; cut++)
			assert_false(fmt_ledger_parse(name, cut, &key));
		name[length] = '0';
		assert_false(fmt_ledger_parse(name, length + 1, &key));
		for (size_t at = 0; at < length; at++) {
			for (unsigned byte = 0; byte < 256; byte++) {
				memcpy(name, cases[i].name, length);
				name[at] = (char)byte;
				if (byte != (unsigned char)cases[i].name[at] && fmt_ledger_parse(name, length, &key))
					assert_memory_not_equal(&key, &cases[i].key, sizeof(key));
			}
		}
	}
}

/* Fields of a pin's head that do not fit together. */
static void test_ledger_pin(void **state)
{
	const struct fmt_ledger_key key = {.kind = FMT_LEDGER_PIN, .session = 5, .pin = 6};
	const struct fmt_ledger_pin sound = {
		.id = 6,
		.session = 5,
		.length = 1,
		.head_count = FMT_LEDGER_HEAD_EXTENTS,
		.count = FMT_LEDGER_HEAD_EXTENTS + FMT_LEDGER_PIECE_EXTENTS + 7,
	};
	const size_t length = sizeof(sound) + FMT_LEDGER_HEAD_EXTENTS * sizeof(struct fmt_ledger_extent);
	struct fmt_ledger_pin pin = sound;

	(void)state;
	assert_true(fmt_ledger_pin_valid(&pin, length, &key));
	assert_int_equal(fmt_ledger_piece_extents(&pin, 0), FMT_LEDGER_PIECE_EXTENTS);
	assert_int_equal(fmt_ledger_piece_extents(&pin, 1), 7);
	assert_int_equal(fmt_ledger_piece_extents(&pin, 2), 0);
	assert_int_equal(fmt_ledger_piece_extents(&pin, UINT32_MAX), 0);
	pin.count = FMT_LEDGER_HEAD_EXTENTS + FMT_LEDGER_PIECE_EXTENTS;
	assert_int_equal(fmt_ledger_piece_extents(&pin, 1), 0);
#define ASSERT_BROKEN(change)                                                                                          \
	do {                                                                                                           \
		pin = sound;                                                                                           \
		change;                                                                                                \
		assert_false(fmt_ledger_pin_valid(&pin, length, &key));                                                \
	} while (0)
	ASSERT_BROKEN(pin.id = 7);
	ASSERT_BROKEN(pin.session = 6);
	ASSERT_BROKEN(pin.head_count--);
	ASSERT_BROKEN(pin.head_count = UINT32_MAX);
	ASSERT_BROKEN(pin.count = FMT_LEDGER_HEAD_EXTENTS - 1);
	ASSERT_BROKEN(pin.count = UINT64_MAX);
	ASSERT_BROKEN(pin.length = 0);
	ASSERT_BROKEN(pin.offset = UINT64_MAX);
	ASSERT_BROKEN(pin.offset = FMT_FILE_SIZE_MAX);
	ASSERT_BROKEN(pin.reserved = 1);
	pin = sound;
	assert_false(fmt_ledger_pin_valid(&pin, sizeof(pin) - 1, &key));
	assert_false(fmt_ledger_pin_valid(&pin, length + 1, &key));
	pin.head_count = 1; /* the rest would be in pieces, though there is room here */
	assert_false(fmt_ledger_pin_valid(&pin, sizeof(pin) + sizeof(struct fmt_ledger_extent), &key));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inode),	   cmocka_unit_test(test_group),  cmocka_unit_test(test_part_header),
		cmocka_unit_test(test_super),	   cmocka_unit_test(test_record), cmocka_unit_test(test_node),
		cmocka_unit_test(test_names),	   cmocka_unit_test(test_blob),	  cmocka_unit_test(test_ledger_names),
		cmocka_unit_test(test_ledger_pin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
