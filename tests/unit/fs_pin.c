/* Pins on a mounted pool: grants, what a holder finds, commits, waits; contiguous ones; parts, read-only mounts. */
#include "fs_pins.h"

#include <sys/file.h>
#include <sys/xattr.h>

/* ---- Grants ---- */

static void test_grant(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	struct client client;
	uint64_t id;

	client_open(&client, pool->fs);
	file_fill(pool, ino, 0, 3 * BLOCK, 0x11);
	assert_int_equal(pin_range(&client, ino, 100, 2 * BLOCK, 0, &id), 0);
	assert_int_equal(fs_pinned_bytes(pool->fs, ino), 3 * BLOCK);
	assert_int_equal(ledger_of(pool->fs).pins, 1);
	assert_true(is_filled(pinned_byte(&client, id, 0), 3 * BLOCK, 0x11));
	assert_null(pinned_byte(&client, id, 3 * BLOCK));
	/* What others write is there at once. */
	file_fill(pool, ino, 50, BLOCK, 0x22);
	assert_true(is_filled(pinned_byte(&client, id, 50), BLOCK, 0x22));
	assert_int_equal(fs_unpin(pool->fs, client.holder, id), 0);
	assert_int_equal(fs_unpin(pool->fs, client.holder, id), -ENOENT);
	settle(pool->fs);
	assert_int_equal(fs_pinned_bytes(pool->fs, ino), 0);
	assert_int_equal(pins_of(pool->fs).pins, 0);
	assert_int_equal(ledger_of(pool->fs).pins, 0);
	client_close(&client);
	settle(pool->fs);
	assert_int_equal(ledger_of(pool->fs).sessions, 0);
	file_remove(pool, "file", ino);
}

static void test_refusals(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	struct client client;
	struct pin_op op;
	uint64_t dir, id;

	client_open(&client, pool->fs);
	file_fill(pool, ino, 0, 5000, 0x11);
	assert_int_equal(pin_range(&client, ino, 0, 0, 0, &id), -EINVAL);
	assert_int_equal(pin_range(&client, ino, 0, 1, 0x8000, &id), -EINVAL);
	assert_int_equal(pin_range(&client, ino, 0, 1, PIN_FLAG_EXCLUSIVE, &id), -EINVAL);
	assert_int_equal(pin_range(&client, ino, 0, 1, PIN_FLAG_EXTEND, &id), -EINVAL);
	assert_int_equal(pin_range(&client, ino, 0, 1, PIN_FLAG_CACHED, &id), -EINVAL);
	assert_int_equal(pin_range(&client, ino, 0, 5001, 0, &id), -ERANGE);
	assert_int_equal(pin_range(&client, ino, 5000, 1, PIN_FLAG_WRITE, &id), -ERANGE);
	assert_int_equal(pin_range(&client, ino, UINT64_MAX, 2, 0, &id), -EFBIG);
	assert_int_equal(pin_range(&client, ino, FMT_FILE_SIZE_MAX, 1, PIN_FLAG_WRITE | PIN_FLAG_EXTEND, &id), -EFBIG);
	assert_int_equal(pin_range(&client, 12345, 0, 1, 0, &id), -ESTALE);
	assert_int_equal(make_kept(pool, ROOT, "dir", S_IFDIR | 0755, &dir), 0);
	assert_int_equal(pin_range(&client, dir, 0, 1, 0, &id), -EISDIR);
	fs_forget(pool->fs, dir, 1);
	/* A file that has the number, and is another. */
	op = (struct pin_op){.request = {.holder = client.holder,
					 .ino = ino,
					 .generation = generation_of(pool->fs, ino) + 1,
					 .length = 1}};
	fs_wait_init(pool->fs, &op.request.wait, 0, pin_op_resume);
	assert_int_equal(fs_pin(pool->fs, &op.request), -ESTALE);
	assert_int_equal(pins_of(pool->fs).grants, 0);
	client_close(&client);
	file_remove(pool, "file", ino);
}

/* Holes and preallocated blocks inside of the file: zeros in memory, written on media. */
static void test_holes(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	uint64_t free_before, id;
	struct client client;

	client_open(&client, pool->fs);
	pool_soil(pool);
	free_before = blocks_free(pool);
	file_fill(pool, ino, 3 * BLOCK, BLOCK, 0x33);
	assert_int_equal(fs_fallocate(pool->fs, ino, 0, 5 * BLOCK, 3 * BLOCK, NULL), 0);
	assert_int_equal(file_resize(pool->fs, ino, 1500 * BLOCK - 10), 0);
	assert_int_equal(pin_range(&client, ino, 0, 1500 * BLOCK - 10, 0, &id), 0);
	assert_true(blocks_free(pool) <= free_before - 1500);
	assert_true(is_filled(pinned_byte(&client, id, 3 * BLOCK), BLOCK, 0x33));
	for (uint64_t block = 0; block < 1500; block++) {
		if (block != 3)
			assert_true(is_filled(pinned_byte(&client, id, block * BLOCK), BLOCK, 0));
	}
	assert_true(file_has(pool, ino, 0, 3 * BLOCK, 0));
	/* Written: what the holder stores is the file's, without a word to anybody. */
	memset(pinned_byte(&client, id, 6 * BLOCK), 0x44, BLOCK);
	assert_true(file_has(pool, ino, 6 * BLOCK, BLOCK, 0x44));
	memset(pinned_byte(&client, id, 6 * BLOCK), 0, BLOCK);
	client_close(&client);
	file_remove(pool, "file", ino);
}

static void test_no_space(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	uint64_t other = file_make(pool, "other");
	uint64_t free_before, id, again;
	struct client client;

	client_open(&client, pool->fs);
	set_policy(pool->fs, 0, true, UINT64_MAX);
	free_before = blocks_free(pool);
	assert_int_equal(file_resize(pool->fs, ino, (free_before + 10) * BLOCK), 0);
	assert_int_equal(pin_range(&client, ino, 0, (free_before + 1) * BLOCK, PIN_FLAG_WRITE, &id), -ENOSPC);
	assert_true(blocks_free(pool) >= free_before - 10);
	assert_int_equal(pin_range(&client, ino, 0, (free_before - 20) * BLOCK, PIN_FLAG_WRITE, &id), 0);
	/* What is dropped is found again by who needs it, however fast. */
	assert_int_equal(file_resize(pool->fs, other, 100 * BLOCK), 0);
	assert_int_equal(pin_range(&client, other, 0, 100 * BLOCK, PIN_FLAG_WRITE, &again), -ENOSPC);
	client_close(&client);
	settle(pool->fs);
	file_remove(pool, "file", ino);
	file_remove(pool, "other", other);
}

#define PIECES 400u
#define HEAVY_MAX 100000u

/* Files, each with pages of its own, until there is no page left. */
static unsigned heavy_make(struct pool *pool)
{
	static const char value[3000];
	char name[16];

	for (unsigned i = 0; i < HEAVY_MAX; i++) {
		uint64_t ino;
		int error;

		(void)snprintf(name, sizeof(name), "heavy%u", i);
		/* Whether the name or the value finds none is the hash's choice. */
		error = make_kept(pool, ROOT, name, S_IFREG | 0644, &ino);
		if (error == 0) {
			error = fs_setxattr(pool->fs, ino, "user.heavy", value, sizeof(value), 0);
			if (error == 0)
				continue;
			file_remove(pool, name, ino);
		}
		assert_int_equal(error, -ENOSPC);
		return i;
	}
	fail();
	return 0;
}

static void heavy_remove(struct pool *pool, unsigned number)
{
	struct fs_entry entry;
	char name[16];

	(void)snprintf(name, sizeof(name), "heavy%u", number);
	assert_int_equal(fs_lookup(pool->fs, ROOT, name, &entry), 0);
	fs_forget(pool->fs, entry.attr.st_ino, 1);
	file_remove(pool, name, entry.attr.st_ino);
}

/* There are pages for the record of one such pin, and of none besides. */
static void test_no_pages(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	struct client client;
	unsigned heavy;
	uint64_t id;

	client_open(&client, pool->fs);
	for (uint64_t block = 0; block < 2 * PIECES; block += 2)
		file_fill(pool, ino, block * BLOCK, BLOCK, 0x11);
	for (uint64_t block = 1; block < 2 * PIECES; block += 2)
		file_fill(pool, ino, block * BLOCK, BLOCK, 0x22);
	heavy = heavy_make(pool);
	while (pin_range(&client, ino, 0, 2 * PIECES * BLOCK, 0, &id) == -ENOSPC) {
		assert_true(heavy > 0);
		heavy_remove(pool, --heavy);
	}
	/* What was dropped is not waited for: it is erased by who needs the room. */
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(fs_unpin(pool->fs, client.holder, id), 0);
		assert_int_equal(pin_range(&client, ino, 0, 2 * PIECES * BLOCK, 0, &id), 0);
	}
	client_close(&client);
	settle(pool->fs);
	while (heavy > 0)
		heavy_remove(pool, --heavy);
	file_remove(pool, "file", ino);
}

static void test_limit(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	struct client user, root;
	uint64_t id, other;

	client_open(&user, pool->fs);
	assert_int_equal(client_try_open(&root, pool->fs, getpid(), 0), 0);
	file_fill(pool, ino, 0, 20 * BLOCK, 1);
	set_policy(pool->fs, FS_NS_PER_S, true, 10 * BLOCK);
	assert_int_equal(pin_range(&user, ino, 0, 10 * BLOCK, 0, &id), 0);
	assert_int_equal(pin_range(&user, ino, 10 * BLOCK, 1, 0, &other), -ENOMEM);
	assert_int_equal(pin_range(&root, ino, 0, 20 * BLOCK, 0, &other), 0);
	assert_int_equal(fs_unpin(pool->fs, user.holder, id), 0);
	assert_int_equal(pin_range(&user, ino, 10 * BLOCK, 1, 0, &other), 0);
	client_close(&user);
	client_close(&root);
	file_remove(pool, "file", ino);
}

/* ---- Extend and commit ---- */

static void test_extend(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	struct client client;
	uint64_t id;

	client_open(&client, pool->fs);
	pool_soil(pool);
	file_fill(pool, ino, 0, 100, 0x55);
	assert_int_equal(pin_range(&client, ino, 0, 10 * BLOCK, PIN_FLAG_WRITE | PIN_FLAG_EXTEND, &id), 0);
	assert_int_equal(attr_of(pool, ino).st_size, 100);
	for (uint64_t block = 1; block < 10; block++)
		assert_true(is_filled(pinned_byte(&client, id, block * BLOCK), BLOCK, 0));
	memset(pinned_byte(&client, id, 2 * BLOCK), 0x66, 3 * BLOCK);
	/* Not the file's yet: another writer's growth shows zeros, also a crash. */
	assert_int_equal(attr_of(pool, ino).st_size, 100);
	assert_int_equal(commit_range(&client, id, 2 * BLOCK + 10, BLOCK), 0);
	assert_int_equal(attr_of(pool, ino).st_size, 3 * BLOCK + 10);
	assert_true(file_has(pool, ino, 100, 2 * BLOCK - 100, 0));
	assert_true(file_has(pool, ino, 2 * BLOCK + 10, BLOCK, 0x66));
	/* Only what was committed is written: the rest is zeros when the size grows over it. */
	assert_int_equal(file_resize(pool->fs, ino, 5 * BLOCK), 0);
	assert_true(file_has(pool, ino, 4 * BLOCK, BLOCK, 0));
	assert_int_equal(commit_range(&client, id, 4 * BLOCK, 0), 0);
	assert_int_equal(attr_of(pool, ino).st_size, 10 * BLOCK);
	assert_true(file_has(pool, ino, 4 * BLOCK, BLOCK, 0x66));
	client_close(&client);
	file_remove(pool, "file", ino);
}

/* The gap behind the old end is zeroed, unless it is what is committed. */
static void test_gap(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	struct client client;
	uint64_t id;

	client_open(&client, pool->fs);
	file_fill(pool, ino, 0, 100, 0x55);
	assert_int_equal(pin_range(&client, ino, 0, BLOCK, PIN_FLAG_WRITE | PIN_FLAG_EXTEND, &id), 0);
	memset(pinned_byte(&client, id, 100), 0x77, BLOCK - 100);
	assert_int_equal(commit_range(&client, id, 50, 150), 0);
	assert_int_equal(attr_of(pool, ino).st_size, 200);
	assert_true(file_has(pool, ino, 100, 100, 0x77));
	assert_int_equal(commit_range(&client, id, 300, 10), 0);
	assert_true(file_has(pool, ino, 200, 100, 0));
	assert_true(file_has(pool, ino, 300, 10, 0x77));
	/* Also what lies before the committed bytes in a block behind the old last one. */
	assert_int_equal(pin_range(&client, ino, 0, 3 * BLOCK, PIN_FLAG_WRITE | PIN_FLAG_EXTEND, &id), 0);
	memset(pinned_byte(&client, id, BLOCK), 0x77, 2 * BLOCK);
	assert_int_equal(commit_range(&client, id, 2 * BLOCK + 300, 10), 0);
	assert_true(file_has(pool, ino, 310, 2 * BLOCK - 10, 0));
	assert_true(file_has(pool, ino, 2 * BLOCK + 300, 10, 0x77));
	client_close(&client);
	file_remove(pool, "file", ino);
}

static void test_commit_attributes(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	struct fs_setattr changes = {.valid = FS_SET_MODE | FS_SET_MTIME | FS_SET_CTIME, .attr.st_mode = 06777};
	struct client client;
	struct stat attr;
	uint64_t id, read_only;

	client_open(&client, pool->fs);
	file_fill(pool, ino, 0, 2 * BLOCK, 0x55);
	assert_int_equal(fs_setxattr(pool->fs, ino, "security.capability", "x", 1, 0), 0);
	assert_int_equal(fs_setattr(pool->fs, ino, &changes, NULL, &attr), 0);
	assert_int_equal(attr.st_mode & 07777, 06777);
	assert_int_equal(pin_range(&client, ino, 10, BLOCK, PIN_FLAG_WRITE, &id), 0);
	assert_int_equal(pin_range(&client, ino, 0, BLOCK, 0, &read_only), 0);
	assert_int_equal(attr_of(pool, ino).st_mtim.tv_sec, 0);
	assert_int_equal(commit_range(&client, id, 10, BLOCK), 0);
	attr = attr_of(pool, ino);
	assert_int_equal(attr.st_mode & 07777, 0777);
	assert_int_not_equal(attr.st_mtim.tv_sec, 0);
	assert_int_not_equal(attr.st_ctim.tv_sec, 0);
	assert_int_equal(fs_getxattr(pool->fs, ino, "security.capability", NULL, 0), -ENODATA);
	assert_int_equal(commit_range(&client, read_only, 0, 1), -EBADF);
	assert_int_equal(commit_range(&client, id + 1000, 0, 1), -ENOENT);
	assert_int_equal(commit_range(&client, id, 9, 1), -ERANGE);
	assert_int_equal(commit_range(&client, id, 10, BLOCK + 1), -ERANGE);
	assert_int_equal(commit_range(&client, id, BLOCK + 10, 0), -ERANGE);
	client_close(&client);
	file_remove(pool, "file", ino);
}

/* Two holders of blocks beyond the end: the second finds what the first has stored. */
static void test_extend_shared(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	struct client first, second;
	uint64_t one, two;

	client_open(&first, pool->fs);
	client_open(&second, pool->fs);
	assert_int_equal(pin_range(&first, ino, 0, 4 * BLOCK, PIN_FLAG_WRITE | PIN_FLAG_EXTEND, &one), 0);
	memset(pinned_byte(&first, one, 0), 0x12, 4 * BLOCK);
	assert_int_equal(pin_range(&second, ino, 0, 8 * BLOCK, PIN_FLAG_WRITE | PIN_FLAG_EXTEND, &two), 0);
	assert_true(is_filled(pinned_byte(&second, two, 0), 4 * BLOCK, 0x12));
	assert_true(is_filled(pinned_byte(&second, two, 4 * BLOCK), 4 * BLOCK, 0));
	/* Both gone, and nothing was committed: the next one finds zeros. */
	client_close(&first);
	client_close(&second);
	client_open(&first, pool->fs);
	assert_int_equal(pin_range(&first, ino, 0, 8 * BLOCK, PIN_FLAG_WRITE | PIN_FLAG_EXTEND, &one), 0);
	assert_true(is_filled(pinned_byte(&first, one, 0), 4 * BLOCK, 0));
	client_close(&first);
	file_remove(pool, "file", ino);
}

/* ---- Waiting ---- */

static void test_break_waits(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	struct client client, other;
	struct break_op cut;
	struct pin_op behind;
	uint64_t id, elsewhere;

	client_open(&client, pool->fs);
	client_open(&other, pool->fs);
	file_fill(pool, ino, 0, 10 * BLOCK, 0x11);
	assert_int_equal(pin_range(&client, ino, 0, 4 * BLOCK, PIN_FLAG_WRITE, &id), 0);
	set_policy(pool->fs, PIN_FOREVER, true, 0);
	assert_int_equal(break_begin(&cut, pool->fs, ino, 2, 5), -EINPROGRESS);
	event_await(&client.heard[PIN_EVENT_RECALL], 1);
	assert_int_equal(client.last[PIN_EVENT_RECALL].pin, id);
	/* Behind the break: waits; not if it may not; beside it: granted; its holder may not wait for itself. */
	assert_int_equal(pin_begin(&behind, &other, ino, 4 * BLOCK, BLOCK, 0), -EINPROGRESS);
	assert_int_equal(pin_range(&other, ino, 3 * BLOCK, BLOCK, FS_PIN_NONBLOCK, &elsewhere), -EAGAIN);
	assert_int_equal(pin_range(&other, ino, 6 * BLOCK, BLOCK, 0, &elsewhere), 0);
	assert_int_equal(pin_range(&client, ino, 4 * BLOCK, BLOCK, 0, &elsewhere), -EDEADLK);
	assert_int_equal(fs_unpin(pool->fs, client.holder, id), 0);
	event_await(&cut.woken, 1);
	assert_int_equal(break_look(&cut), 0);
	assert_int_equal(event_count(&behind.done), 0);
	break_end(&cut);
	assert_int_equal(pin_await(&behind), 0);
	client_close(&client);
	client_close(&other);
	file_remove(pool, "file", ino);
}

static void test_timeout(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	struct client client;
	struct break_op cut;
	uint64_t id;

	client_open(&client, pool->fs);
	file_fill(pool, ino, 0, BLOCK, 0x11);
	assert_int_equal(pin_range(&client, ino, 0, BLOCK, 0, &id), 0);
	set_policy(pool->fs, 60 * FS_NS_PER_MS, false, 0);
	assert_int_equal(break_begin(&cut, pool->fs, ino, 0, 1), -EINPROGRESS);
	event_await(&cut.woken, 1);
	assert_int_equal(break_look(&cut), -EBUSY);
	break_end(&cut);
	set_policy(pool->fs, 0, false, 0);
	assert_int_equal(break_begin(&cut, pool->fs, ino, 0, 1), -EBUSY);
	break_end(&cut);
	client_close(&client);
	file_remove(pool, "file", ino);
}

static void test_interrupt(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	struct client client, other;
	struct break_op cut;
	struct pin_op behind;
	uint64_t id;

	client_open(&client, pool->fs);
	client_open(&other, pool->fs);
	file_fill(pool, ino, 0, BLOCK, 0x11);
	assert_int_equal(pin_range(&client, ino, 0, BLOCK, 0, &id), 0);
	set_policy(pool->fs, PIN_FOREVER, true, 0);
	assert_int_equal(break_begin(&cut, pool->fs, ino, 0, 1), -EINPROGRESS);
	assert_int_equal(pin_begin(&behind, &other, ino, 0, BLOCK, 0), -EINPROGRESS);
	fs_wait_interrupt(pool->fs, &behind.request.wait);
	assert_int_equal(pin_await(&behind), -EINTR);
	fs_wait_interrupt(pool->fs, &cut.wait);
	event_await(&cut.woken, 1);
	assert_int_equal(break_look(&cut), -EINTR);
	break_end(&cut);
	client_close(&client);
	client_close(&other);
	file_remove(pool, "file", ino);
}

/* ---- The kernel's pages ---- */

/* A break is faster than the kernel's answer: the grant begins anew, behind it. */
static void test_grant_taken_back(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	struct kernel kernel;
	struct client client;
	struct break_op cut;
	struct pin_op op;

	client_open(&client, pool->fs);
	file_fill(pool, ino, 0, 2 * BLOCK, 0x11);
	kernel_init(&kernel, pool->fs, true);
	set_policy(pool->fs, PIN_FOREVER, true, 0);
	assert_int_equal(pin_begin(&op, &client, ino, 100, BLOCK, PIN_FLAG_WRITE), -EINPROGRESS);
	event_await(&kernel.hears, 1);
	assert_int_equal(kernel.ask[0].ino, ino);
	assert_int_equal(kernel.ask[0].offset, 0);
	assert_int_equal(kernel.ask[0].length, 2 * BLOCK);
	/* Nobody was told of the pin: the break goes on. */
	assert_int_equal(break_begin(&cut, pool->fs, ino, 0, 1), 0);
	break_end(&cut);
	kernel_answer(&kernel, 0);
	event_await(&kernel.hears, 2);
	assert_int_equal(event_count(&op.done), 0);
	kernel_answer(&kernel, 1);
	assert_int_equal(pin_await(&op), 0);
	settle(pool->fs);
	assert_int_equal(pins_of(pool->fs).pins, 1);
	client_close(&client);
	file_remove(pool, "file", ino);
}

/* A writeback cache knows of a later end than we do: the kernel writes back, once, before a pin is past the end. */
static void test_size_in_cache(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	struct kernel kernel;
	struct client client;
	struct pin_op op;

	client_open(&client, pool->fs);
	kernel_init(&kernel, pool->fs, true);
	assert_int_equal(pin_begin(&op, &client, ino, 100, BLOCK, 0), -EINPROGRESS);
	event_await(&kernel.hears, 1);
	assert_int_equal(kernel.ask[0].ino, ino);
	assert_int_equal(kernel.ask[0].offset, 0);
	assert_int_equal(kernel.ask[0].length, 0); /* to the end */
	file_fill(pool, ino, 0, 2 * BLOCK, 0x11);
	kernel_answer(&kernel, 0);
	assert_int_equal(pin_await(&op), 0);
	assert_true(is_filled(pinned_byte(&client, op.request.ret_id, 100), BLOCK, 0x11));
	/* It had nothing: past the end it is, and it is not asked again. */
	assert_int_equal(pin_begin(&op, &client, ino, BLOCK, 2 * BLOCK, PIN_FLAG_WRITE), -EINPROGRESS);
	event_await(&kernel.hears, 2);
	kernel_answer(&kernel, 1);
	assert_int_equal(pin_await(&op), -ERANGE);
	assert_int_equal(kernel.asked, 2);
	/* Interrupted while the kernel writes back. */
	assert_int_equal(pin_begin(&op, &client, ino, BLOCK, 2 * BLOCK, 0), -EINPROGRESS);
	fs_wait_interrupt(pool->fs, &op.request.wait);
	assert_int_equal(pin_await(&op), -EINTR);
	kernel_answer(&kernel, 2);
	settle(pool->fs);
	assert_int_equal(pins_of(pool->fs).pins, 1);
	client_close(&client);
	file_remove(pool, "file", ino);
}

/* Settled by the kernel's answer, as its thread does it, and not repeated yet: the interrupt is for what comes then. */
static void test_interrupted_after_answer(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	struct client client, holder;
	struct break_op cut;
	struct kernel kernel;
	struct pin_op op;
	uint64_t id;

	client_open(&client, pool->fs);
	client_open(&holder, pool->fs);
	file_fill(pool, ino, 0, 2 * BLOCK, 0x11);
	set_policy(pool->fs, PIN_FOREVER, true, 0);
	assert_int_equal(pin_range(&holder, ino, BLOCK, BLOCK, 0, &id), 0);
	kernel_init(&kernel, pool->fs, true);
	assert_int_equal(pin_begin(&op, &client, ino, 0, BLOCK, PIN_FLAG_WRITE), -EINPROGRESS);
	assert_int_equal(break_begin(&cut, pool->fs, ino, 0, 2), -EINPROGRESS);
	/* No thread repeats it: it is done here. */
	fs_pins_stop(pool->fs);
	kernel_answer(&kernel, 0);
	fs_wait_interrupt(pool->fs, &op.request.wait);
	fs_pool_drain(pool->fs);
	assert_int_equal(event_count(&op.done), 1);
	assert_int_equal(op.result, -EINTR);
	break_end(&cut);
	assert_int_equal(fs_pins_start(pool->fs), 0);
	client_close(&holder);
	client_close(&client);
	file_remove(pool, "file", ino);
}

static void test_grant_interrupted(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	struct kernel kernel;
	struct client client;
	struct pin_op op;

	client_open(&client, pool->fs);
	file_fill(pool, ino, 0, 2 * BLOCK, 0x11);
	kernel_init(&kernel, pool->fs, true);
	assert_int_equal(pin_begin(&op, &client, ino, 0, BLOCK, PIN_FLAG_WRITE), -EINPROGRESS);
	fs_wait_interrupt(pool->fs, &op.request.wait);
	assert_int_equal(pin_await(&op), -EINTR);
	settle(pool->fs);
	assert_int_equal(pins_of(pool->fs).pins, 0);
	/* The answer that nobody waits for. */
	kernel_answer(&kernel, 0);
	/* The session ends while the kernel is asked: the pin is nobody's. */
	assert_int_equal(pin_begin(&op, &client, ino, 0, BLOCK, PIN_FLAG_WRITE), -EINPROGRESS);
	fs_holder_leave(pool->fs, client.holder);
	kernel_answer(&kernel, 1);
	assert_int_equal(pin_await(&op), -ESHUTDOWN);
	settle(pool->fs);
	assert_int_equal(pins_of(pool->fs).pins, 0);
	file_remove(pool, "file", ino);
}

/* While a break waits on the file a commit does not wait for the kernel for long. */
static void test_commit_behind_break(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	struct kernel kernel;
	struct client client;
	struct commit_op op;
	struct break_op cut;
	uint64_t id;

	client_open(&client, pool->fs);
	file_fill(pool, ino, 0, 2 * BLOCK, 0x11);
	kernel_init(&kernel, pool->fs, false);
	set_policy(pool->fs, PIN_FOREVER, true, 0);
	assert_int_equal(pin_range(&client, ino, 0, BLOCK, PIN_FLAG_WRITE, &id), 0);
	assert_int_equal(commit_range(&client, id, 0, 100), 0);
	kernel.holds = true;
	assert_int_equal(commit_begin(&op, &client, id, 0, 100), -EINPROGRESS);
	event_await(&kernel.hears, 3);
	assert_int_equal(kernel.ask[2].length, 100);
	kernel_answer(&kernel, 2);
	event_await(&op.done, 1);
	assert_int_equal(op.result, 0);
	assert_int_equal(break_begin(&cut, pool->fs, ino, 0, 1), -EINPROGRESS);
	assert_int_equal(commit_begin(&op, &client, id, 0, 100), -EINPROGRESS);
	event_await(&op.done, 1);
	assert_int_equal(op.result, -EAGAIN);
	assert_int_equal(fs_unpin(pool->fs, client.holder, id), 0);
	event_await(&cut.woken, 1);
	break_end(&cut);
	kernel_answer(&kernel, 3);
	client_close(&client);
	file_remove(pool, "file", ino);
}

/* ---- Contiguous ---- */

/* Every block an extent of its own. */
static uint64_t file_fragmented(struct pool *pool, const char *name, unsigned blocks)
{
	uint64_t ino = file_make(pool, name);
	uint64_t other = file_make(pool, "between");

	for (unsigned i = 0; i < blocks; i++) {
		if (i % 7 != 3)
			file_fill(pool, ino, (uint64_t)i * BLOCK, BLOCK, (unsigned char)(i + 1));
		file_fill(pool, other, (uint64_t)i * BLOCK, BLOCK, 0xff);
	}
	file_remove(pool, "between", other);
	return ino;
}

static void check_fragmented(struct pool *pool, uint64_t ino, unsigned blocks)
{
	for (unsigned i = 0; i < blocks; i++)
		assert_true(file_has(pool, ino, (uint64_t)i * BLOCK, BLOCK, (unsigned char)(i % 7 != 3 ? i + 1 : 0)));
}

static void test_contiguous(void **state)
{
	struct pool *pool = *state;
	uint64_t free_before, id, other, ino;
	struct client client;

	pool_soil(pool);
	ino = file_fragmented(pool, "file", 100);
	client_open(&client, pool->fs);
	assert_int_equal(pin_range(&client, ino, 0, 10 * BLOCK, 0, &id), 0);
	assert_true(extent_count(&client, id) > 5);
	assert_int_equal(pin_range(&client, ino, 0, 5 * BLOCK, FS_PIN_CONTIGUOUS, &other), -EDEADLK);
	assert_int_equal(fs_unpin(pool->fs, client.holder, id), 0);
	settle(pool->fs);
	free_before = blocks_free(pool);
	assert_int_equal(pin_range(&client, ino, 0, 100 * BLOCK, FS_PIN_CONTIGUOUS, &id), 0);
	assert_int_equal(extent_count(&client, id), 1);
	settle(pool->fs);
	/* The holes of it are blocks now; the first ten were before. */
	assert_int_equal(blocks_free(pool), free_before - 13);
	check_fragmented(pool, ino, 100);
	/* It is one extent: nothing has to move, so others' pins are not in the way. */
	assert_int_equal(pin_range(&client, ino, 10 * BLOCK, BLOCK, FS_PIN_CONTIGUOUS, &other), 0);
	client_close(&client);
	file_remove(pool, "file", ino);
}

static void test_contiguous_waits(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_fragmented(pool, "file", 20);
	struct client client, other;
	struct pin_op op;
	uint64_t id, unused;

	client_open(&client, pool->fs);
	client_open(&other, pool->fs);
	assert_int_equal(pin_range(&other, ino, 5 * BLOCK, BLOCK, 0, &id), 0);
	assert_int_equal(pin_range(&client, ino, 0, 20 * BLOCK, FS_PIN_CONTIGUOUS | FS_PIN_NONBLOCK, &unused), -EAGAIN);
	/* Whatever the policy says, nobody is detached for that. */
	set_policy(pool->fs, 60 * FS_NS_PER_MS, true, 0);
	assert_int_equal(pin_range(&client, ino, 0, 20 * BLOCK, FS_PIN_CONTIGUOUS, &unused), -EBUSY);
	assert_int_equal(event_count(&other.heard[PIN_EVENT_DETACHED]), 0);
	set_policy(pool->fs, PIN_FOREVER, true, 0);
	assert_int_equal(pin_begin(&op, &client, ino, 0, 20 * BLOCK, FS_PIN_CONTIGUOUS | PIN_FLAG_WRITE), -EINPROGRESS);
	assert_int_equal(fs_unpin(pool->fs, other.holder, id), 0);
	assert_int_equal(pin_await(&op), 0);
	assert_int_equal(extent_count(&client, op.request.ret_id), 1);
	check_fragmented(pool, ino, 20);
	client_close(&client);
	client_close(&other);
	file_remove(pool, "file", ino);
}

/* ---- Parts, and read-only mounts ---- */

static void test_parts(void **state)
{
	struct pool *pool = *state;
	struct fs_part_facts facts;
	char byte = 0;
	int fd;

	assert_int_equal(fs_part_facts(pool->fs, 0, &facts), 0);
	assert_int_equal(facts.bytes, POOL_DATA_SIZE);
	assert_int_equal(facts.alignment, 4096);
	assert_int_equal(fs_part_facts(pool->fs, 1, &facts), -ENOENT);
	assert_int_equal(fs_part_client_fd(pool->fs, 1, false, &fd), -ENOENT);
	assert_int_equal(fs_part_client_fd(pool->fs, 0, false, &fd), 0);
	assert_int_equal(write(fd, &byte, 1), -1);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	/* The lock is not the client's to drop. */
	assert_int_equal(flock(fd, LOCK_UN), 0);
	assert_int_equal(flock(fd, LOCK_SH | LOCK_NB), -1);
	close(fd);
	assert_int_equal(fs_part_client_fd(pool->fs, 0, true, &fd), 0);
	assert_int_equal(pread(fd, &byte, 1, BLOCK), 1);
	assert_int_equal(pwrite(fd, &byte, 1, BLOCK), 1);
	close(fd);
}

static void test_read_only(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = file_make(pool, "file");
	struct client client;
	struct message why;
	uint64_t id;
	int fd;

	file_fill(pool, ino, 0, BLOCK, 0x11);
	file_fill(pool, ino, 2 * BLOCK, BLOCK, 0x22);
	fs_forget(pool->fs, ino, 1);
	fs_pins_stop(pool->fs);
	pool_unmount(pool);
	assert_int_equal(pool_try_mount(pool, true, NULL, &why), 0);
	assert_int_equal(fs_pins_start(pool->fs), 0);
	client_open(&client, pool->fs);
	assert_int_equal(pin_range(&client, ino, 0, 3 * BLOCK, PIN_FLAG_WRITE, &id), -EROFS);
	assert_int_equal(pin_range(&client, ino, 0, 3 * BLOCK + 1, 0, &id), -ERANGE);
	assert_int_equal(pin_range(&client, ino, 10, 3 * BLOCK - 10, 0, &id), 0);
	assert_int_equal(extent_count(&client, id), 3);
	assert_true(is_filled(pinned_byte(&client, id, 0), BLOCK, 0x11));
	assert_true(is_filled(pinned_byte(&client, id, 2 * BLOCK), BLOCK, 0x22));
	assert_int_equal(fs_part_client_fd(pool->fs, 0, true, &fd), -EROFS);
	assert_int_equal(fs_part_client_fd(pool->fs, 0, false, &fd), 0);
	/* No ledger knows of it: as long as the client has the part nobody can change it. */
	client_close(&client);
	fs_pins_stop(pool->fs);
	pool_unmount(pool);
	assert_int_equal(pool_try_mount(pool, false, NULL, &why), -EBUSY);
	assert_int_equal(pool_try_mount(pool, true, NULL, &why), 0);
	pool_unmount(pool);
	close(fd);
	pool_mount(pool);
	assert_int_equal(fs_pins_start(pool->fs), 0);
	assert_int_equal(fs_unlink(pool->fs, ROOT, "file"), 0);
}

#define PIN_TEST(test) cmocka_unit_test_setup_teardown(test, pins_setup, pins_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PIN_TEST(test_grant),
		PIN_TEST(test_refusals),
		PIN_TEST(test_holes),
		PIN_TEST(test_no_space),
		PIN_TEST(test_no_pages),
		PIN_TEST(test_limit),
		PIN_TEST(test_extend),
		PIN_TEST(test_gap),
		PIN_TEST(test_commit_attributes),
		PIN_TEST(test_extend_shared),
		PIN_TEST(test_break_waits),
		PIN_TEST(test_timeout),
		PIN_TEST(test_interrupt),
		PIN_TEST(test_grant_taken_back),
		PIN_TEST(test_size_in_cache),
		PIN_TEST(test_interrupted_after_answer),
		PIN_TEST(test_grant_interrupted),
		PIN_TEST(test_commit_behind_break),
		PIN_TEST(test_contiguous),
		PIN_TEST(test_contiguous_waits),
		PIN_TEST(test_parts),
		PIN_TEST(test_read_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
