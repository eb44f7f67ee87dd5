/* The pin ledger: what is added is there after a reopening, what is erased is gone, what a crash leaves is swept. */
#include "ledger_book.h"
#include "meta/ledger.h"

static struct scratch pool;

static int setup(void **state)
{
	(void)state;
	scratch_create(&pool, META_SIZE_MIN);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	scratch_destroy(&pool);
	return 0;
}

static uint64_t pages_free(void)
{
	return atomic_load(&pool.meta->pages_free);
}

static void add_session(uint64_t id)
{
	struct meta_session session = book_session(id);

	BOOK_MUST(meta_ledger_add_session(pool.meta, &session));
}

/* ---- Reading back ---- */

struct seen {
	unsigned sessions, pins;
	struct meta_session session;
	uint64_t pin;
	bool same;
};

static int see_session(void *arg, const struct meta_session *session)
{
	struct seen *seen = arg;

	assert_int_equal(seen->pins, 0);
	seen->sessions++;
	seen->session = *session;
	return 0;
}

static int see_pin(void *arg, const struct meta_pin *pin)
{
	struct meta_pin expected = book_pin(pin->id, pin->session);
	struct seen *seen = arg;

	seen->pins++;
	seen->pin = pin->id;
	seen->same = book_same_pin(&expected, pin);
	free((void *)(uintptr_t)expected.extents);
	return 0;
}

static struct seen see(int expected_error)
{
	struct seen seen = {.sessions = 0};

	assert_int_equal(meta_ledger_visit(pool.meta, see_session, see_pin, &seen), expected_error);
	return seen;
}

static uint64_t count_void(void)
{
	uint64_t count;

	assert_int_equal(meta_ledger_check(pool.meta, NULL, &count), 0);
	return count;
}

static void test_session(void **state)
{
	struct meta_session session = book_session(UINT64_MAX);
	struct seen seen;

	(void)state;
	memset(session.command, 'c', sizeof(session.command) - 1);
	BOOK_MUST(meta_ledger_add_session(pool.meta, &session));
	assert_int_equal(meta_ledger_add_session(pool.meta, &session), -EEXIST);
	scratch_reopen(&pool);
	seen = see(0);
	assert_int_equal(seen.sessions, 1);
	assert_memory_equal(&seen.session, &session, sizeof(session));
	BOOK_MUST(meta_ledger_erase_session(pool.meta, session.id));
	BOOK_MUST(meta_ledger_erase_session(pool.meta, session.id));
	assert_int_equal(see(0).sessions, 0);
	session.id = 0;
	assert_int_equal(meta_ledger_add_session(pool.meta, &session), -EINVAL);
	session.id = 1;
	session.command[15] = 'c'; /* not terminated */
	assert_int_equal(meta_ledger_add_session(pool.meta, &session), -EINVAL);
}

/* Pins of every size, one after the other: read back, erased, all pages free again. */
static void test_pins(void **state)
{
	uint64_t free_before;

	(void)state;
	add_session(5);
	free_before = pages_free();
	for (uint64_t id = 1; id <= 64; id += id % 8 == 0 ? 8 : 7) {
		struct seen seen;

		BOOK_MUST(book_add_pin(pool.meta, id, 5));
		assert_int_equal(book_add_pin(pool.meta, id, 5), -EEXIST);
		assert_int_equal(pool.meta->ledger_extents, book_extents(id));
		scratch_reopen(&pool);
		assert_int_equal(pool.meta->ledger_extents, book_extents(id));
		seen = see(0);
		assert_int_equal(seen.pins, 1);
		assert_int_equal(seen.pin, id);
		assert_true(seen.same);
		assert_int_equal(count_void(), 0);
		BOOK_MUST(meta_ledger_erase_pin(pool.meta, 5, id));
		BOOK_MUST(meta_ledger_erase_pin(pool.meta, 5, id));
		assert_int_equal(see(0).pins, 0);
		assert_int_equal(count_void(), 0);
		assert_int_equal(pages_free(), free_before);
		assert_int_equal(pool.meta->ledger_extents, 0);
	}
}

static void test_pins_refused(void **state)
{
	struct meta_extent extents[] = {{0, fmt_phys(0, 9), 2, false}, {2, fmt_phys(0, 20), 1, false}};
	const struct meta_pin sound = {
		.id = 1, .session = 5, .length = 3 * FMT_BLOCK_SIZE, .count = 2, .extents = extents};
	struct meta_pin pin;

	(void)state;
	add_session(5);
#define REFUSED(change)                                                                                                \
	do {                                                                                                           \
		pin = sound;                                                                                           \
		change;                                                                                                \
		assert_int_equal(meta_ledger_add_pin(pool.meta, &pin), -EINVAL);                                       \
		extents[0] = (struct meta_extent){0, fmt_phys(0, 9), 2, false};                                        \
		extents[1] = (struct meta_extent){2, fmt_phys(0, 20), 1, false};                                       \
	} while (0)
	REFUSED(pin.id = 0);
	REFUSED(pin.length = 0);
	REFUSED(pin.length = UINT64_MAX);
	REFUSED(pin.offset = UINT64_MAX);
	REFUSED(extents[0].length = 0);
	REFUSED(extents[0].length = 3); /* overlaps the second */
	REFUSED(extents[1].length = 2); /* ends behind the pin */
	REFUSED(extents[1].length = UINT32_MAX);
	REFUSED(pin.offset = FMT_BLOCK_SIZE); /* begins before it */
	REFUSED(extents[1].phys = fmt_phys(1, 0) - 1; extents[1].length = 2);
	assert_int_equal(see(0).pins, 0);
	assert_int_equal(pool.meta->ledger_extents, 0);
	BOOK_MUST(meta_ledger_add_pin(pool.meta, &sound));
}

/* ---- Leftovers of a crash ---- */

static void add_piece(uint64_t session, uint64_t pin, uint32_t piece)
{
	const struct fmt_ledger_key key = {FMT_LEDGER_PIECE, piece, session, pin};
	const struct fmt_inode *shard;
	char name[FMT_LEDGER_NAME_MAX];
	struct meta_tx *tx;

	BOOK_MUST(ledger_shard(pool.meta, session, &shard));
	BOOK_MUST(meta_begin(pool.meta, 0, &tx));
	BOOK_MUST(meta_xattr_set(tx, shard, name, fmt_ledger_name(&key, name), "extents", 7, 0));
	BOOK_MUST(meta_commit(tx));
}

static void test_sweep(void **state)
{
	struct fmt_ledger_key key = {.kind = FMT_LEDGER_PIN, .session = 5, .pin = 56};
	struct fmt_ledger_key piece = {.kind = FMT_LEDGER_PIECE, .session = 5, .pin = 64};

	(void)state;
	add_session(5);
	add_session(6);
	BOOK_MUST(book_add_pin(pool.meta, 56, 5)); /* with pieces: L1 */
	BOOK_MUST(book_add_pin(pool.meta, 48, 5));
	BOOK_MUST(book_add_pin(pool.meta, 64, 6)); /* L2 */
	BOOK_MUST(book_add_pin(pool.meta, 1, 6));
	BOOK_MUST(ledger_erase(pool.meta, &key));
	BOOK_MUST(meta_ledger_erase_session(pool.meta, 6));
	add_piece(5, 48, 7); /* which its head does not ask for */
	assert_int_equal(see(0).pins, 1);
	assert_int_equal(count_void(), 5);
	scratch_reopen(&pool);
	atomic_store(&pool.meta->ledger_damaged, 1u << 5 | 1u << 6); /* then nothing is void */
	BOOK_MUST(meta_ledger_sweep(pool.meta));
	atomic_store(&pool.meta->ledger_damaged, 0);
	assert_int_equal(count_void(), 5);
	BOOK_MUST(meta_ledger_sweep(pool.meta));
	assert_int_equal(count_void(), 0);
	assert_int_equal(see(0).pins, 1);
	assert_true(see(0).same);
	assert_int_equal(see(0).sessions, 1);
	assert_int_equal(pool.meta->ledger_extents, book_extents(48));
	assert_int_equal(ledger_erase(pool.meta, &piece), -ENOENT);
	BOOK_MUST(meta_ledger_erase_pin(pool.meta, 5, 48));
	BOOK_MUST(meta_ledger_erase_session(pool.meta, 5));
	scratch_reopen(&pool);
	for (unsigned i = 0; i < FMT_LEDGER_SHARDS; i++) {
		const struct fmt_inode *shard;

		BOOK_MUST(meta_inode_get(pool.meta, FMT_INO_LEDGER + i, &shard));
		assert_int_equal(shard->xattrs.count, 0);
		assert_int_equal(shard->xattrs.height, 0);
	}
}

/* ---- Damage ---- */

static struct names_place media_place(const struct fmt_ledger_key *key)
{
	const struct fmt_inode *shard;
	struct names_place place;
	struct map map;

	BOOK_MUST(ledger_shard(pool.meta, key->session, &shard));
	map = map_of_xattrs(pool.meta, shard);
	BOOK_MUST(ledger_find(&map, key, &place));
	return place;
}

/* The record of a name, to be broken. */
static struct fmt_name *media_name(const struct fmt_ledger_key *key)
{
	return (struct fmt_name *)(uintptr_t)media_place(key).name;
}

/* What can be read is; nothing is taken for void that may only be damaged; after a reboot it is over. */
static void check_damaged(unsigned sessions, unsigned pins)
{
	const struct meta_session session = book_session(1);
	uint8_t other_boot[16] = {1};

	for (unsigned opened = 0; opened < 2; opened++) {
		struct seen seen = see(-EUCLEAN);

		assert_int_equal(seen.sessions, sessions);
		assert_int_equal(seen.pins, pins);
		BOOK_MUST(meta_ledger_sweep(pool.meta));
		assert_int_equal(meta_ledger_reset(pool.meta, session.boot_id), -EUCLEAN);
		scratch_reopen(&pool);
	}
	BOOK_MUST(meta_ledger_reset(pool.meta, other_boot));
	for (unsigned opened = 0; opened < 2; opened++) {
		struct seen seen = see(0);

		assert_int_equal(seen.sessions, 1);
		assert_int_equal(seen.pins, 1);
		BOOK_MUST(meta_ledger_reset(pool.meta, session.boot_id));
		scratch_reopen(&pool);
	}
	add_session(5);
	BOOK_MUST(book_add_pin(pool.meta, 56, 5));
	assert_int_equal(see(0).pins, 2);
}

/* A session and pins in two shards; what is damaged is of session 5. */
static void prepare_damage(void)
{
	add_session(5);
	add_session(6);
	BOOK_MUST(book_add_pin(pool.meta, 56, 5));
	BOOK_MUST(book_add_pin(pool.meta, 1, 5));
	BOOK_MUST(book_add_pin(pool.meta, 2, 6));
}

static void test_damaged_name(void **state)
{
	const struct fmt_ledger_key key = {.kind = FMT_LEDGER_PIN, .session = 5, .pin = 1};

	(void)state;
	prepare_damage();
	media_name(&key)->bytes[40] ^= 1;
	check_damaged(2, 2);
}

static void test_damaged_session(void **state)
{
	const struct fmt_ledger_key key = {.kind = FMT_LEDGER_SESSION, .session = 5};

	(void)state;
	prepare_damage();
	media_name(&key)->bytes[40] ^= 1;
	check_damaged(1, 1);
}

static void test_damaged_page(void **state)
{
	const struct fmt_ledger_key key = {.kind = FMT_LEDGER_PIN, .session = 5, .pin = 1};

	(void)state;
	prepare_damage();
	media_place(&key).page->owner = 99;
	check_damaged(1, 1);
}

static void test_damaged_piece(void **state)
{
	const struct fmt_ledger_key key = {.kind = FMT_LEDGER_PIECE, .session = 5, .pin = 56};
	struct fmt_blob *blob;

	(void)state;
	prepare_damage();
	blob = meta_page(pool.meta, media_name(&key)->target);
	blob->bytes[77] ^= 1;
	check_damaged(2, 2);
}

/* It is there, and says what its name does not: its pins are neither told nor void. */
static void test_forged_session(void **state)
{
	const struct fmt_ledger_key key = {.kind = FMT_LEDGER_SESSION, .session = 5};
	const struct fmt_inode *shard;
	struct fmt_name *name;

	(void)state;
	prepare_damage();
	name = media_name(&key);
	name->bytes[name->name_length] ^= 1; /* the id */
	BOOK_MUST(ledger_shard(pool.meta, 5, &shard));
	fmt_name_seal(name, FMT_KIND_XATTRS, fmt_owner_seed(shard->ino, shard->generation));
	check_damaged(1, 1);
}

/* Of the right form by its checksums, but not what its name says. */
static void test_forged_head(void **state)
{
	const struct fmt_ledger_key key = {.kind = FMT_LEDGER_PIN, .session = 5, .pin = 1};
	const struct fmt_inode *shard;
	struct fmt_ledger_pin pin;
	struct fmt_name *name;

	(void)state;
	prepare_damage();
	name = media_name(&key);
	memcpy(&pin, name->bytes + name->name_length, sizeof(pin));
	pin.count = UINT64_MAX;
	memcpy(name->bytes + name->name_length, &pin, sizeof(pin));
	BOOK_MUST(ledger_shard(pool.meta, 5, &shard));
	fmt_name_seal(name, FMT_KIND_XATTRS, fmt_owner_seed(shard->ino, shard->generation));
	check_damaged(2, 2);
}

/* ---- Pools of before ---- */

static void test_old_pool(void **state)
{
	struct message message;
	struct meta_space space;
	uint64_t used;

	(void)state;
	meta_space(pool.meta, &space);
	used = space.inodes_used;
	for (uint64_t ino = FMT_INO_LIMBO; ino < FMT_INO_FIRST_FREE; ino++)
		memset(meta_slot(pool.meta, ino), 0, FMT_SLOT_SIZE);
	/* Torn when it was made: all there but the magic. */
	memset((char *)meta_slot(pool.meta, FMT_INO_LIMBO) + 8, 0x55, FMT_SLOT_SIZE - 8);
	meta_close(pool.meta);
	BOOK_MUST(meta_open(pool.meta_path, META_OPEN_COPY, &pool.meta, &message));
	BOOK_MUST(meta_scan(pool.meta, NULL, &message));
	assert_true(fmt_inode_free(meta_slot(pool.meta, FMT_INO_LEDGER)));
	assert_int_equal(see(0).sessions, 0);
	assert_int_equal(meta_limbo_blocks(pool.meta), 0);
	scratch_reopen(&pool);
	meta_space(pool.meta, &space);
	assert_int_equal(space.inodes_used, used);
	add_session(9);
	scratch_reopen(&pool);
	meta_space(pool.meta, &space);
	assert_int_equal(space.inodes_used, used);
	assert_int_equal(see(0).sessions, 1);
}

/* ---- Many steps ---- */

static void test_book(void **state)
{
	enum { STEPS = 6000 };
	static struct book book;
	uint64_t free_before = pages_free();

	(void)state;
	book_init(&book, 4711, 0);
	for (unsigned i = 0; i < STEPS; i++) {
		book_step(&book, pool.meta);
		if (i % 500 == 0) {
			book_verify(&book, pool.meta);
			scratch_reopen(&pool);
			book_verify(&book, pool.meta);
			assert_int_equal(count_void(), 0);
		}
	}
	book_empty(&book, pool.meta);
	book_verify(&book, pool.meta);
	assert_int_equal(pages_free(), free_before);
}

/* ---- No space ---- */

/* Adding takes all that it needs or nothing; erasing needs nothing. */
static void test_full(void **state)
{
	static uint64_t page[8192];
	unsigned pages = 0, failures = 0;

	(void)state;
	add_session(5);
	for (uint64_t id = 1; id <= 64; id++) {
		int error = -ENOSPC;

		while (space_page_take(pool.meta, false, &page[pages]) == 0)
			assert_true(++pages < 8192);
		while (error == -ENOSPC) {
			uint64_t left = pages_free();

			error = book_add_pin(pool.meta, id, 5);
			if (error != -ENOSPC)
				break;
			assert_int_equal(pages_free(), left);
			assert_int_equal(see(0).pins, 0);
			assert_int_equal(count_void(), 0);
			assert_int_equal(pool.meta->ledger_extents, 0);
			assert_true(pages > 0);
			space_page_put(pool.meta, page[--pages]);
			failures++;
		}
		assert_int_equal(error, 0);
		assert_int_equal(see(0).pins, 1);
		while (space_page_take(pool.meta, true, &page[pages]) == 0)
			assert_true(++pages < 8192);
		BOOK_MUST(meta_ledger_erase_pin(pool.meta, 5, id));
		assert_int_equal(see(0).pins, 0);
		assert_int_equal(count_void(), 0);
	}
	assert_true(failures > 64);
	while (pages > 0)
		space_page_put(pool.meta, page[--pages]);
}

/* A pin needs the pages that limbo may need for it, though there is room for its record. */
static void test_promise(void **state)
{
	static uint64_t page[8192];
	unsigned pages = 0, released = 0;

	(void)state;
	add_session(5);
	while (space_page_take(pool.meta, false, &page[pages]) == 0)
		assert_true(++pages < 8192);
	while (book_add_pin(pool.meta, 1, 5) == -ENOSPC) {
		struct meta_space space;

		meta_space(pool.meta, &space);
		assert_int_equal(space.pages_free, released);
		assert_int_equal(see(0).pins, 0);
		assert_int_equal(pool.meta->ledger_extents, 0);
		space_page_put(pool.meta, page[--pages]);
		released++;
	}
	assert_int_equal(released, limbo_promise(pool.meta));
	assert_int_equal(see(0).pins, 1);
	assert_int_equal(space_page_take(pool.meta, false, &page[pages]), -ENOSPC);
	BOOK_MUST(meta_ledger_erase_pin(pool.meta, 5, 1));
	BOOK_MUST(space_page_take(pool.meta, false, &page[pages]));
	pages++;
	while (pages > 0)
		space_page_put(pool.meta, page[--pages]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_session),	   TEST(test_pins),	     TEST(test_pins_refused),
		TEST(test_sweep),	   TEST(test_damaged_name),  TEST(test_damaged_session),
		TEST(test_damaged_page),   TEST(test_damaged_piece), TEST(test_forged_head),
		TEST(test_forged_session), TEST(test_old_pool),	     TEST(test_book),
		TEST(test_full),	   TEST(test_promise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
