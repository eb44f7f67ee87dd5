/* The socket server: what each request does. Clients over real sockets; see ctl_session.c and ctl_hostile.c, too. */
#include "ctl_world.h"

#define WRITE (WIRE_PIN_READ | WIRE_PIN_WRITE)

static void test_hello(void **state)
{
	struct world *world = *state;
	struct wire_hello hello;
	struct packet packet;
	struct peer peer;
	uint8_t uuid[16];

	peer_open(&peer, world);
	pool_fill_uuid(uuid, 1);
	assert_int_equal(peer.welcome.version, 1);
	assert_int_equal(peer.welcome.flags, 0);
	assert_int_equal(peer.welcome.page_words, WIRE_PAGE_WORDS);
	assert_int_equal(peer.welcome.pins, 0);
	assert_memory_equal(peer.welcome.pool_uuid, uuid, sizeof(uuid));
	assert_int_equal(pins_of(world->pool->fs).holders, 1);
	/* Nobody makes the page smaller under the daemon. */
	assert_int_equal(ftruncate(peer.page_fd, 0), -1);
	assert_int_equal(ftruncate(peer.page_fd, WIRE_PAGE_BYTES * 2), -1);
	peer_close(&peer);
	settle(world->pool->fs);
	assert_int_equal(ledger_of(world->pool->fs).sessions, 0);

	peer_init(&peer, world);
	hello_fill(&hello);
	hello.version_min = WIRE_VERSION_MAX + 1;
	hello.version_max = WIRE_VERSION_MAX + 3;
	assert_int_equal(peer_greet(&peer, &hello, -1), -EPROTONOSUPPORT);
	assert_false(receive(peer.fd, &packet));
	peer_forget(&peer);
	/* One that knows more, too, is spoken with as we can. */
	peer_init(&peer, world);
	hello.version_min = 1;
	assert_int_equal(peer_greet(&peer, &hello, -1), 0);
	assert_int_equal(peer.welcome.version, WIRE_VERSION_MAX);
	peer_close(&peer);
}

static void test_pin(void **state)
{
	struct world *world = *state;
	struct pool *pool = world->pool;
	uint64_t ino = file_make(pool, "file");
	struct grant first, second, third;
	struct stat part, data;
	struct peer peer;
	char byte[2];

	file_fill(pool, ino, 0, 3 * BLOCK, 0x11);
	peer_open(&peer, world);
	assert_int_equal(pin_ino(&peer, ino, 100, 2 * BLOCK, WIRE_PIN_READ, &first), 0);
	assert_int_equal(peer.parts, 1);
	assert_int_equal(first.pinned.ino, ino);
	assert_int_equal(first.pinned.offset, 100);
	assert_int_equal(first.pinned.length, 2 * BLOCK);
	assert_int_equal(first.pinned.flags, WIRE_PIN_READ);
	assert_int_equal(first.pinned.word, WIRE_WORD_NONE);
	assert_int_equal(first.pinned.generation, generation_of(pool->fs, ino));
	assert_int_equal(first.count, 1);
	assert_int_equal(first.extent[0].offset, 0);
	assert_int_equal(first.extent[0].length, 3 * BLOCK);
	/* The part's file, of an open file of its own. */
	assert_int_equal(fstat(peer.part[0][0], &part), 0);
	assert_int_equal(stat(pool->data, &data), 0);
	assert_int_equal(part.st_ino, data.st_ino);
	assert_int_equal(pread(peer.part[0][0], byte, 1, (off_t)first.extent[0].part_offset + BLOCK), 1);
	assert_int_equal(byte[0], 0x11);
	/* Without flags: to read. A part is given once for each kind of access. */
	assert_int_equal(pin_ino(&peer, ino, 0, 1, 0, &second), 0);
	assert_int_equal(second.pinned.flags, WIRE_PIN_READ);
	assert_int_equal(peer.parts, 1);
	assert_int_equal(pin_ino(&peer, ino, 0, 1, WRITE | WIRE_PIN_EXCLUSIVE, &third), 0);
	assert_int_equal(third.pinned.flags, WRITE | WIRE_PIN_EXCLUSIVE);
	assert_int_equal(peer.parts, 2);
	assert_true(first.pinned.pin != second.pinned.pin && second.pinned.pin != third.pinned.pin);
	settle(pool->fs);
	assert_int_equal(ledger_of(pool->fs).pins, 3);
	assert_int_equal(fs_pinned_bytes(pool->fs, ino), 3 * BLOCK);
	assert_int_equal(unpin(&peer, second.pinned.pin), 0);
	assert_int_equal(unpin(&peer, second.pinned.pin), -ENOENT);
	assert_int_equal(unpin(&peer, 0), -ENOENT);
	assert_int_equal(unpin(&peer, first.pinned.pin), 0);
	assert_int_equal(fs_pinned_bytes(pool->fs, ino), BLOCK);
	/* Goodbye unpins the rest. */
	peer_close(&peer);
	assert_int_equal(fs_pinned_bytes(pool->fs, ino), 0);
	file_remove(pool, "file", ino);
}

/* Hundreds of extents: more than a message has room for. */
static void test_many_extents(void **state)
{
	const uint32_t blocks = WIRE_EXTENTS_MAX * 2 + 10;
	struct world *world = *state;
	struct pool *pool = world->pool;
	uint64_t ino = file_make(pool, "file");
	uint64_t other = file_make(pool, "other");
	struct grant grant;
	struct peer peer;

	for (uint32_t i = 0; i < blocks; i++) {
		file_fill(pool, ino, i * BLOCK, BLOCK, (unsigned char)i);
		file_fill(pool, other, i * BLOCK, BLOCK, 1);
	}
	peer_open(&peer, world);
	assert_int_equal(pin_ino(&peer, ino, 0, blocks * BLOCK, WIRE_PIN_READ, &grant), 0);
	assert_true(grant.count > 1);
	assert_int_equal(grant.extent[0].offset, 0);
	for (size_t i = 1; i < grant.count && i < ARRAY_SIZE(grant.extent); i++)
		assert_int_equal(grant.extent[i].offset, grant.extent[i - 1].offset + grant.extent[i - 1].length);
	print_message("# %zu extents\n", grant.count);
	peer_close(&peer);
	file_remove(pool, "file", ino);
	file_remove(pool, "other", other);
}

/* ---- What a PIN may not be ---- */

static int try_fd(struct peer *peer, int fd, uint32_t flags)
{
	struct grant grant;
	int error = pin_file(peer, fd, 0, 1, flags, WIRE_WORD_NONE, &grant);

	close(fd);
	return error;
}

static int try_range(struct peer *peer, uint64_t ino, uint64_t offset, uint64_t length, uint32_t flags)
{
	struct grant grant;

	return pin_ino(peer, ino, offset, length, flags, &grant);
}

static void test_refusals(void **state)
{
	struct world *world = *state;
	struct pool *pool = world->pool;
	uint64_t ino = file_make(pool, "file");
	struct ctl_stats stats;
	struct peer peer;
	int ends[2];
	uint64_t dir;

	file_fill(pool, ino, 0, 5000, 0x11);
	assert_int_equal(make_kept(pool, ROOT, "dir", S_IFDIR | 0755, &dir), 0);
	peer_open(&peer, world);
	/* How it was opened. */
	assert_int_equal(try_fd(&peer, stand_in(world, ino, O_PATH), WIRE_PIN_READ), -EBADF);
	assert_int_equal(try_fd(&peer, stand_in(world, ino, O_WRONLY), WIRE_PIN_READ), -EBADF);
	assert_int_equal(try_fd(&peer, stand_in(world, ino, O_WRONLY), WRITE), -EBADF);
	assert_int_equal(try_fd(&peer, stand_in(world, ino, O_RDONLY), WRITE), -EBADF);
	assert_int_equal(try_fd(&peer, stand_in(world, ino, O_RDWR | O_APPEND), WRITE), -EBADF);
	assert_int_equal(try_fd(&peer, stand_in(world, ino, O_WRONLY | O_RDWR), WIRE_PIN_READ), -EBADF);
	assert_int_equal(try_fd(&peer, stand_in(world, ino, O_RDWR | O_APPEND), WIRE_PIN_READ), 0);
	/* What it is. */
	assert_int_equal(try_fd(&peer, open(pool->folder, O_RDONLY | O_DIRECTORY), WIRE_PIN_READ), -EISDIR);
	assert_int_equal(try_fd(&peer, stand_in(world, dir, O_RDONLY), WIRE_PIN_READ), -EISDIR);
	assert_int_equal(try_fd(&peer, stand_in(world, 1234567, O_RDONLY), WIRE_PIN_READ), -ESTALE);
	assert_int_equal(pipe(ends), 0);
	close(ends[1]);
	assert_int_equal(try_fd(&peer, ends[0], WIRE_PIN_READ), -ENODEV);
	assert_int_equal(try_fd(&peer, open("/proc/self/status", O_RDONLY), WIRE_PIN_READ), -ENODEV);
	assert_int_equal(try_fd(&peer, memfd_create("x", 0), WIRE_PIN_READ), -ENODEV);
	assert_int_equal(try_fd(&peer, dup(peer.fd), WIRE_PIN_READ), -ENODEV);
	/* Which bytes, and how. */
	assert_int_equal(try_range(&peer, ino, 0, 0, WIRE_PIN_READ), -EINVAL);
	assert_int_equal(try_range(&peer, ino, 0, 5001, WIRE_PIN_READ), -ERANGE);
	assert_int_equal(try_range(&peer, ino, UINT64_MAX, 2, WIRE_PIN_READ), -ERANGE);
	assert_int_equal(try_range(&peer, ino, 1, UINT64_MAX, WIRE_PIN_READ), -ERANGE);
	assert_int_equal(try_range(&peer, ino, 1, INT64_MAX, WRITE | WIRE_PIN_EXTEND), -EFBIG);
	assert_int_equal(try_range(&peer, ino, 0, 1, WIRE_PIN_FLAGS + 1), -EINVAL);
	assert_int_equal(try_range(&peer, ino, 0, 1, WIRE_PIN_EXCLUSIVE), -EINVAL);
	assert_int_equal(try_range(&peer, ino, 0, 1, WIRE_PIN_EXTEND), -EINVAL);
	assert_int_equal(try_range(&peer, ino, 0, 1, WIRE_PIN_CACHED), -EINVAL);
	/* Nothing of that ends a session, or is one that a mount is asked about. */
	assert_int_equal(try_range(&peer, ino, 0, 5000, WIRE_PIN_READ), 0);
	ctl_get_stats(world->ctl, &stats);
	assert_int_equal(stats.violations, 0);
	assert_int_equal(pins_of(pool->fs).grants, 2);
	peer_close(&peer);
	fs_forget(pool->fs, dir, 1);
	file_remove(pool, "file", ino);
}

static void test_read_only(void **state)
{
	struct world *world = *state;
	struct pool *pool = world->pool;
	uint64_t ino = file_make(pool, "file");
	struct message why;
	struct peer peer;

	file_fill(pool, ino, 0, BLOCK, 0x11);
	assert_int_equal(file_resize(pool->fs, ino, 3 * BLOCK), 0);
	world_stop(world);
	fs_forget(pool->fs, ino, 1);
	pool_unmount(pool);
	assert_int_equal(pool_try_mount(pool, true, NULL, &why), 0);
	world_start(world);
	peer_open(&peer, world);
	assert_int_equal(peer.welcome.flags, WIRE_WELCOME_READ_ONLY);
	assert_int_equal(try_fd(&peer, stand_in(world, ino, O_RDONLY), WRITE), -EROFS);
	assert_int_equal(try_range(&peer, ino, 0, 3 * BLOCK, WIRE_PIN_READ), 0);
	assert_int_equal(peer.parts, 1);
	peer_close(&peer);
	world_stop(world);
	pool_remount(pool);
	world_start(world);
	ino = find(pool, ROOT, "file");
	assert_int_equal(fs_unlink(pool->fs, ROOT, "file"), 0);
}

/* ---- Commit ---- */

static void test_commit(void **state)
{
	struct world *world = *state;
	struct pool *pool = world->pool;
	uint64_t ino = file_make(pool, "file");
	struct grant grant, reader;
	struct peer peer;
	char bytes[BLOCK];

	file_fill(pool, ino, 0, 100, 0x11);
	peer_open(&peer, world);
	assert_int_equal(pin_ino(&peer, ino, 0, 3 * BLOCK, WRITE | WIRE_PIN_EXTEND, &grant), 0);
	assert_int_equal(attr_of(pool, ino).st_size, 100);
	memset(bytes, 0x55, sizeof(bytes));
	assert_int_equal(grant.count, 1);
	assert_int_equal(pwrite(peer.part[0][1], bytes, sizeof(bytes), (off_t)grant.extent[0].part_offset + BLOCK),
			 sizeof(bytes));
	assert_int_equal(done(&peer, ask_range(&peer, WIRE_COMMIT, grant.pinned.pin, BLOCK, BLOCK)), 0);
	assert_int_equal(attr_of(pool, ino).st_size, 2 * BLOCK);
	assert_true(file_has(pool, ino, BLOCK, BLOCK, 0x55));
	assert_int_equal(done(&peer, ask_range(&peer, WIRE_COMMIT, grant.pinned.pin, BLOCK, 3 * BLOCK)), -ERANGE);
	assert_int_equal(done(&peer, ask_range(&peer, WIRE_COMMIT, 4711, 0, 1)), -ENOENT);
	assert_int_equal(pin_ino(&peer, ino, 0, 1, WIRE_PIN_READ, &reader), 0);
	assert_int_equal(done(&peer, ask_range(&peer, WIRE_COMMIT, reader.pinned.pin, 0, 1)), -EBADF);
	peer_close(&peer);
	file_remove(pool, "file", ino);
}

/* While a commit waits for the kernel its pin can be given back, and the session ended. */
static void test_unpin_beside_commit(void **state)
{
	struct world *world = *state;
	struct pool *pool = world->pool;
	uint64_t ino = file_make(pool, "file");
	struct peer peer, again;
	struct kernel kernel;
	struct packet packet;
	struct grant grant;
	uint64_t commit;

	file_fill(pool, ino, 0, BLOCK, 0x11);
	peer_open(&peer, world);
	assert_int_equal(pin_ino(&peer, ino, 0, BLOCK, WRITE, &grant), 0);
	kernel_init(&kernel, pool->fs, true);
	commit = ask_range(&peer, WIRE_COMMIT, grant.pinned.pin, 0, BLOCK);
	event_await(&kernel.hears, 1);
	assert_int_equal(unpin(&peer, grant.pinned.pin), 0);
	await_unpinned(world, ino);
	kernel_answer(&kernel, 0);
	assert_int_equal(done(&peer, commit), 0);
	kernel.holds = false;
	assert_int_equal(pin_ino(&peer, ino, 0, BLOCK, WRITE, &grant), 0);
	kernel.holds = true;
	(void)ask_range(&peer, WIRE_COMMIT, grant.pinned.pin, 0, BLOCK);
	event_await(&kernel.hears, 3);
	assert_int_equal(shutdown(peer.fd, SHUT_WR), 0);
	/* It is not waited for: it is interrupted, and the session left. */
	assert_false(receive(peer.fd, &packet));
	assert_int_equal(peer_reopen(&again, &peer, peer.page_fd), 0);
	assert_int_equal(again.welcome.pins, 1);
	assert_int_equal(pinned(&again, 0, &grant), 0);
	peer_close(&again);
	kernel_answer(&kernel, 2);
	peer_forget(&peer);
	kernel.holds = false;
	file_remove(pool, "file", ino);
}

/* ---- Waiting ---- */

static void test_recall(void **state)
{
	struct world *world = *state;
	struct pool *pool = world->pool;
	uint64_t ino = file_make(pool, "file");
	struct wire_event event;
	struct break_op op;
	struct grant grant;
	struct peer peer;

	set_policy(pool->fs, 1000 * FS_NS_PER_S, true, 0);
	file_fill(pool, ino, 0, 4 * BLOCK, 0x11);
	peer_open(&peer, world);
	assert_int_equal(pin_ino(&peer, ino, 10, 3 * BLOCK, WIRE_PIN_READ, &grant), 0);
	assert_int_equal(break_begin(&op, pool->fs, ino, 2, 4), -EINPROGRESS);
	next_event(&peer, &event);
	assert_int_equal(event.kind, PIN_EVENT_RECALL);
	assert_int_equal(event.reason, PIN_UNMAP);
	assert_int_equal(event.pin, grant.pinned.pin);
	assert_int_equal(event.ino, ino);
	assert_int_equal(event.offset, 2 * BLOCK);
	assert_int_equal(event.length, BLOCK + 10);
	assert_true(event.deadline > 900 * FS_NS_PER_S && event.deadline <= 1000 * FS_NS_PER_S);
	assert_int_equal(unpin(&peer, grant.pinned.pin), 0);
	event_await(&op.woken, 1);
	assert_int_equal(break_look(&op), 0);
	break_end(&op);
	peer_close(&peer);
	file_remove(pool, "file", ino);
}

static void test_cancel(void **state)
{
	struct world *world = *state;
	struct pool *pool = world->pool;
	uint64_t ino = file_make(pool, "file");
	struct wire_cancel cancel = {.target = 0};
	struct peer holder, waiter;
	struct break_op op;
	struct grant grant;
	uint64_t number, second, word;
	int fd;

	set_policy(pool->fs, PIN_FOREVER, true, 0);
	file_fill(pool, ino, 0, BLOCK, 0x11);
	fd = stand_in(world, ino, O_RDONLY);
	peer_open(&holder, world);
	peer_open(&waiter, world);
	assert_int_equal(pin_ino(&holder, ino, 0, BLOCK, WIRE_PIN_READ, &grant), 0);
	assert_int_equal(break_begin(&op, pool->fs, ino, 0, 1), -EINPROGRESS);
	/* Two wait behind the break; one gives up, the other one gets its pin when the break is over. */
	number = ask_pin(&waiter, fd, 0, 1, WIRE_PIN_READ, WIRE_WORD_NONE);
	second = ask_pin(&waiter, fd, 0, 1, WIRE_PIN_READ, WIRE_WORD_NONE);
	while (pins_of(pool->fs).waiting < 3)
		sched_yield();
	cancel.target = 987654321;
	assert_int_equal(done(&waiter, ask(&waiter, WIRE_CANCEL, &cancel, sizeof(cancel), -1)), 0);
	cancel.target = number;
	word = ask(&waiter, WIRE_CANCEL, &cancel, sizeof(cancel), -1);
	/* What was cancelled is answered by a worker, the cancellation by the loop: in any order. */
	for (unsigned i = 0; i < 2; i++) {
		struct packet packet;

		answer(&waiter, &packet);
		if (header_of(&packet)->type == WIRE_DONE) {
			assert_int_equal(header_of(&packet)->request, word);
			assert_int_equal(header_of(&packet)->error, 0);
			word = 0;
		} else {
			assert_int_equal(header_of(&packet)->request, number);
			assert_int_equal(header_of(&packet)->error, EINTR);
			number = 0;
		}
	}
	assert_int_equal(word + number, 0);
	/* Whose pin the break waits for does not get another one behind it. */
	assert_int_equal(pin_file(&holder, fd, 0, 1, WIRE_PIN_READ, WIRE_WORD_NONE, &grant), -EDEADLK);
	assert_int_equal(pin_file(&waiter, fd, 0, 1, WIRE_PIN_NONBLOCK, WIRE_WORD_NONE, &grant), -EAGAIN);
	peer_close(&holder);
	event_await(&op.woken, 1);
	assert_int_equal(break_look(&op), 0);
	break_end(&op);
	assert_int_equal(pinned(&waiter, second, &grant), 0);
	peer_close(&waiter);
	close(fd);
	file_remove(pool, "file", ino);
}

/* ---- Cached pins ---- */

static void test_cached(void **state)
{
	struct world *world = *state;
	struct pool *pool = world->pool;
	uint64_t ino = file_make(pool, "file");
	struct break_op op;
	struct grant grant, other;
	struct peer peer;
	wire_word *word;
	int fd;

	set_policy(pool->fs, PIN_FOREVER, true, 0);
	file_fill(pool, ino, 0, BLOCK, 0x11);
	fd = stand_in(world, ino, O_RDONLY);
	peer_open(&peer, world);
	word = wire_word_at(peer.page, 7);
	atomic_store(word, 1);
	assert_int_equal(pin_file(&peer, fd, 0, 1, WIRE_PIN_CACHED, WIRE_PAGE_WORDS, &grant), -EINVAL);
	assert_int_equal(pin_file(&peer, fd, 0, 1, WIRE_PIN_CACHED, WIRE_WORD_NONE, &grant), -EINVAL);
	assert_int_equal(pin_file(&peer, fd, 0, 1, WIRE_PIN_CACHED, 7, &grant), 0);
	assert_int_equal(grant.pinned.flags, WIRE_PIN_READ | WIRE_PIN_CACHED);
	assert_int_equal(grant.pinned.word, 7);
	/* One pin, one word. */
	assert_int_equal(pin_file(&peer, fd, 0, 1, WIRE_PIN_CACHED, 7, &other), -EINVAL);
	assert_int_equal(pin_file(&peer, fd, 0, 2 * BLOCK, WIRE_PIN_CACHED, 8, &other), -ERANGE);
	atomic_store(wire_word_at(peer.page, 8), 1);
	assert_int_equal(pin_file(&peer, fd, 0, 1, WIRE_PIN_CACHED, 8, &other), 0);
	assert_int_equal(unpin(&peer, other.pinned.pin), 0);
	/* In use: its bell is set, and rung. */
	assert_int_equal(break_begin(&op, pool->fs, ino, 0, 1), -EINPROGRESS);
	assert_int_equal(atomic_load(word), 1 | WIRE_WORD_BELL);
	assert_int_equal(atomic_fetch_sub(word, 1), 1 | WIRE_WORD_BELL);
	(void)ask_range(&peer, WIRE_BELL, grant.pinned.pin, 0, 0);
	event_await(&op.woken, 1);
	assert_int_equal(break_look(&op), 0);
	break_end(&op);
	assert_true((atomic_load(word) & WIRE_WORD_REVOKED) != 0);
	/* Its word is the client's again once it has given the pin back. */
	assert_int_equal(pin_file(&peer, fd, 0, 1, WIRE_PIN_CACHED, 7, &other), -EINVAL);
	assert_int_equal(unpin(&peer, grant.pinned.pin), 0);
	atomic_store(word, 1);
	assert_int_equal(pin_file(&peer, fd, 0, 1, WIRE_PIN_CACHED, 7, &grant), 0);
	/* Idle: a break takes it away without a word. */
	atomic_store(word, 0);
	assert_int_equal(break_begin(&op, pool->fs, ino, 0, 1), 0);
	break_end(&op);
	assert_int_equal(atomic_load(word) & WIRE_WORD_COUNT, 0);
	assert_true((atomic_load(word) & WIRE_WORD_REVOKED) != 0);
	peer_close(&peer);
	close(fd);
	file_remove(pool, "file", ino);
}

/* ---- Lists ---- */

static unsigned list(struct peer *peer, int fd, struct wire_listed *entries, unsigned room)
{
	struct wire_list message;
	uint64_t number = ask(peer, WIRE_LIST, &message, sizeof(message), fd);
	struct packet packet;
	unsigned count = 0;

	for (;;) {
		answer(peer, &packet);
		assert_int_equal(header_of(&packet)->request, number);
		if (header_of(&packet)->type == WIRE_DONE)
			break;
		assert_int_equal(header_of(&packet)->type, WIRE_LISTED);
		assert_true(count < room);
		memcpy(&entries[count++], packet.bytes, sizeof(*entries));
	}
	assert_int_equal(header_of(&packet)->error, 0);
	return count;
}

/* MAP: extents of a file, in pieces; `cells` of the pool. */
static void test_map(void **state)
{
	struct world *world = *state;
	struct pool *pool = world->pool;
	uint64_t ino = file_make(pool, "file");
	struct wire_map message = {.offset = 0};
	struct packet packet;
	const struct wire_file_map *map = (const struct wire_file_map *)packet.bytes;
	const struct wire_pool_map *cells = (const struct wire_pool_map *)packet.bytes;
	struct alloc_stats space;
	uint64_t number, free_blocks = 0, pinned = 0, blocks = 0;
	uint32_t seen = 0;
	struct grant grant;
	struct peer peer;
	int fd;

	/* No two neighbours: more extents than a message has room for. */
	for (uint64_t i = 0; i < WIRE_FILE_MAP_MAX + 3; i++)
		file_fill(pool, ino, 2 * i * BLOCK, BLOCK, 0x11);
	peer_open(&peer, world);
	assert_int_equal(pin_ino(&peer, ino, 0, 10, WRITE, &grant), 0);
	fd = stand_in(world, ino, O_PATH);
	for (unsigned round = 0; round < 3; round++) {
		number = ask(&peer, WIRE_MAP, &message, sizeof(message), fd);
		answer(&peer, &packet);
		assert_int_equal(header_of(&packet)->type, WIRE_FILE_MAP);
		assert_int_equal(map->ino, ino);
		assert_int_equal(map->size, (2 * (WIRE_FILE_MAP_MAX + 2) + 1) * BLOCK);
		assert_int_equal(map->count, round == 0 ? WIRE_FILE_MAP_MAX : round == 1 ? 3 : 0);
		for (uint32_t i = 0; i < map->count; i++, seen++) {
			assert_int_equal(map->extent[i].offset, 2ull * seen * BLOCK);
			assert_int_equal(map->extent[i].length, BLOCK);
			assert_int_equal(map->extent[i].flags, seen == 0 ? WIRE_EXTENT_PINNED : 0);
			message.offset = map->extent[i].offset + BLOCK;
		}
		assert_int_equal(done(&peer, number), 0);
	}
	close(fd);
	message.cells = 7;
	number = ask(&peer, WIRE_MAP, &message, sizeof(message), -1);
	for (answer(&peer, &packet); header_of(&packet)->type == WIRE_POOL_MAP; answer(&peer, &packet)) {
		for (uint32_t i = 0; i < cells->count; i++) {
			free_blocks += cells->cell[i].free;
			pinned += cells->cell[i].pinned;
			assert_int_equal(cells->cell[i].limbo + cells->cell[i].lost, 0);
		}
		assert_true(cells->first + cells->count <= 8);
		blocks = max_u64(blocks, cells->part_bytes / BLOCK);
	}
	assert_int_equal(header_of(&packet)->request, number);
	assert_int_equal(header_of(&packet)->error, 0);
	alloc_stats(pool->fs->alloc, &space);
	assert_int_equal(free_blocks, space.free);
	assert_int_equal(pinned, 1);
	assert_true(blocks >= space.total);
	for (message.cells = 0; message.cells <= WIRE_CELLS_MAX + 1; message.cells += WIRE_CELLS_MAX + 1)
		assert_int_equal(done(&peer, ask(&peer, WIRE_MAP, &message, sizeof(message), -1)), -EINVAL);
	fd = stand_in(world, 1, O_PATH);
	assert_int_equal(done(&peer, ask(&peer, WIRE_MAP, &message, sizeof(message), fd)), -EINVAL);
	close(fd);
	peer_close(&peer);
	file_remove(pool, "file", ino);
}

static void test_list(void **state)
{
	struct world *world = *state;
	struct pool *pool = world->pool;
	uint64_t ino = file_make(pool, "file");
	uint64_t other = file_make(pool, "other");
	struct wire_listed entry[8];
	struct break_op op;
	struct grant grant;
	struct peer peer;
	int fd;

	set_policy(pool->fs, PIN_FOREVER, true, 0);
	file_fill(pool, ino, 0, BLOCK, 0x11);
	file_fill(pool, other, 0, BLOCK, 0x11);
	peer_open(&peer, world);
	assert_int_equal(list(&peer, -1, entry, 8), 0);
	assert_int_equal(pin_ino(&peer, ino, 5, 10, WRITE, &grant), 0);
	assert_int_equal(pin_ino(&peer, other, 0, 10, WIRE_PIN_READ, &grant), 0);
	assert_int_equal(list(&peer, -1, entry, 8), 2);
	fd = stand_in(world, ino, O_PATH);
	assert_int_equal(break_begin(&op, pool->fs, ino, 0, UINT64_MAX), -EINPROGRESS);
	assert_int_equal(list(&peer, fd, entry, 8), 2);
	assert_int_equal(entry[0].ino, ino);
	assert_int_equal(entry[0].offset, 5);
	assert_int_equal(entry[0].length, 10);
	assert_int_equal(entry[0].pid, getpid());
	assert_int_equal(entry[0].uid, getuid());
	assert_int_equal(entry[0].flags, WRITE);
	assert_int_equal(entry[0].state, 0);
	assert_string_equal(entry[0].command, "unit-ctl");
	assert_true(entry[0].path_length > 4);
	assert_int_equal(entry[1].pin, 0);
	assert_int_equal(entry[1].reason, PIN_UNMAP);
	assert_int_equal(entry[1].deadline, UINT64_MAX);
	close(fd);
	fd = open("/proc/self/status", O_RDONLY);
	assert_int_equal(
		done(&peer, ask(&peer, WIRE_LIST, &(struct wire_list){.header = {0}}, sizeof(struct wire_list), fd)),
		-ENODEV);
	close(fd);
	peer_close(&peer);
	event_await(&op.woken, 1);
	assert_int_equal(break_look(&op), 0);
	break_end(&op);
	file_remove(pool, "file", ino);
	file_remove(pool, "other", other);
}

#define WITH_WORLD(test) cmocka_unit_test_setup_teardown(test, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_WORLD(test_hello),
		WITH_WORLD(test_pin),
		WITH_WORLD(test_many_extents),
		WITH_WORLD(test_refusals),
		WITH_WORLD(test_read_only),
		WITH_WORLD(test_commit),
		WITH_WORLD(test_unpin_beside_commit),
		WITH_WORLD(test_recall),
		WITH_WORLD(test_cancel),
		WITH_WORLD(test_cached),
		WITH_WORLD(test_map),
		WITH_WORLD(test_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
