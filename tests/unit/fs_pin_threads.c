/*
 * Threads that pin, unpin, write, cut, punch, replace and die on the same files, and an oracle that knows who holds
 * which block:
 *   - a block that somebody holds is never another file's, or another place of its own file
 *   - what a holder has stored is there until it unpins, detached or not
 *   - each operation that was parked is answered once
 *   - at the end nothing is pinned, nothing is in limbo, and every block is free or a file's
 *
 * Each pin stores in a lane of bytes that is its own, and everybody else writes beside the lanes; sizes are whole
 * blocks, since who grows the size zeroes the rest of the last block, pinned or not.
 */
#include "fs_pins.h"

#define THREADS 4u
#define FILES 3u
#define FILE_BLOCKS 96u
#define ALWAYS_BLOCKS 24u /* inside of every file; only here others write */
#define SLOTS 4u /* pins of a thread */
#define PARKED 4u /* operations of a thread that wait */
#define CHILDREN 24u
#define LANE 8u
#define WRITERS_BYTES 2048u /* from here on in each block others write */
#define PART_BLOCKS (POOL_DATA_SIZE / BLOCK)

static unsigned rounds = 4000;

/* ---- The oracle ---- */

struct owner {
	uint64_t ino;
	uint32_t generation;
	uint64_t block;
	unsigned holds;
};

struct world {
	struct pool *pool;
	pthread_mutex_t lock; /* protects owner, children */
	struct owner owner[PART_BLOCKS];
	pid_t child[CHILDREN];
	unsigned children; /* that live */
	_Atomic uint64_t ino[FILES];
	atomic_uint failures;
	atomic_ulong granted, parked, cut, detached, deaths;
};

#define COMPLAIN(world, ...)                                                                                           \
	do {                                                                                                           \
		fprintf(stderr, __VA_ARGS__);                                                                          \
		fputc('\n', stderr);                                                                                   \
		atomic_fetch_add(&(world)->failures, 1);                                                               \
	} while (0)

struct held {
	bool used;
	uint64_t id, ino;
	uint32_t generation;
	uint64_t first, blocks;
	uint64_t pattern;
	bool write;
	uint64_t phys[FILE_BLOCKS]; /* of each block, by part offset: there is one part */
};

static void oracle_hold(struct world *world, const struct held *held)
{
	pthread_mutex_lock(&world->lock);
	for (uint64_t i = 0; i < held->blocks; i++) {
		struct owner *owner = &world->owner[held->phys[i]];

		if (owner->holds == 0)
			*owner = (struct owner){held->ino, held->generation, held->first + i, 0};
		else if (owner->ino != held->ino || owner->generation != held->generation ||
			 owner->block != held->first + i)
			COMPLAIN(world, "block %lu is held by block %lu of inode %lu and of block %lu of inode %lu",
				 (unsigned long)held->phys[i], (unsigned long)owner->block, (unsigned long)owner->ino,
				 (unsigned long)(held->first + i), (unsigned long)held->ino);
		owner->holds++;
	}
	pthread_mutex_unlock(&world->lock);
}

/* Before the filesystem hears of it. */
static void oracle_let_go(struct world *world, const struct held *held)
{
	pthread_mutex_lock(&world->lock);
	for (uint64_t i = 0; i < held->blocks; i++)
		world->owner[held->phys[i]].holds--;
	pthread_mutex_unlock(&world->lock);
}

/* ---- Threads ---- */

struct parked;

struct worker {
	struct world *world;
	pthread_t thread;
	unsigned number;
	uint64_t random;
	struct client client;
	struct held held[SLOTS];
	struct parked *parked[PARKED];
	uint64_t stamp;
};

static uint64_t pick(struct worker *w, uint64_t below)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random % below;
}

static void expect(struct worker *w, const char *what, ssize_t result, const int *errors)
{
	if (result >= 0)
		return;
	for (; *errors != 0; errors++) {
		if (*errors == (int)-result)
			return;
	}
	COMPLAIN(w->world, "thread %u: %s: %s", w->number, what, strerror((int)-result));
}

#define EXPECT(w, what, result, ...) expect(w, what, result, (const int[]){__VA_ARGS__, 0})

/* ---- Operations that may be parked ---- */

enum kind { CUT, GROW, PUNCH, ZERO, WRITE, COPY, KINDS };

struct parked {
	struct fs_wait wait;
	struct worker *worker;
	enum kind kind;
	uint64_t ino, other;
	uint64_t start, length; /* bytes */
	unsigned char data[512];
	struct event done;
	ssize_t result;
};

static ssize_t run_op(struct parked *op, struct fs_wait *wait)
{
	struct fs_setattr changes = {.valid = FS_SET_SIZE, .attr.st_size = (off_t)op->start};
	struct fs *fs = op->worker->world->pool->fs;
	struct stat attr;

	switch (op->kind) {
	case CUT:
	case GROW:
		return fs_setattr(fs, op->ino, &changes, wait, &attr);
	case PUNCH:
		return fs_fallocate(fs, op->ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)op->start,
				    (off_t)op->length, wait);
	case ZERO:
		return fs_fallocate(fs, op->ino, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)op->start,
				    (off_t)op->length, wait);
	case COPY:
		return fs_copy_range(fs, op->other, (off_t)op->start, op->ino, (off_t)op->start, op->length, wait);
	default:
		return fs_write(fs, op->ino, op->data, op->length, (off_t)op->start, wait);
	}
}

static void resume_op(struct fs_wait *wait)
{
	struct parked *op = CONTAINER_OF(wait, struct parked, wait);
	ssize_t result = run_op(op, wait);

	if (result == -EINPROGRESS)
		return;
	op->result = result;
	event_raise(&op->done);
}

static void check_op(struct worker *w, struct parked *op)
{
	EXPECT(w, "an operation", op->result, EBUSY, EINTR, ESTALE, ENOSPC);
	free(op);
}

/* An answer that comes twice is one too many for the next one in this memory. */
static void finish_op(struct worker *w, unsigned slot)
{
	struct parked *op = w->parked[slot];

	if (op == NULL)
		return;
	event_await(&op->done, 1);
	if (event_count(&op->done) != 1)
		COMPLAIN(w->world, "an operation was answered twice");
	w->parked[slot] = NULL;
	check_op(w, op);
}

static void start_op(struct worker *w, struct parked *op)
{
	unsigned slot = (unsigned)pick(w, PARKED);
	struct fs *fs = w->world->pool->fs;
	ssize_t result;

	finish_op(w, slot);
	op->worker = w;
	event_init(&op->done);
	result = run_op(op, NULL);
	if (result == -EAGAIN) {
		fs_wait_init(fs, &op->wait, 0, resume_op);
		/* Before it may be answered elsewhere. */
		w->parked[slot] = op;
		result = run_op(op, &op->wait);
		if (result == -EINPROGRESS) {
			atomic_fetch_add(&w->world->parked, 1);
			if (pick(w, 8) == 0)
				fs_wait_interrupt(fs, &op->wait);
			return;
		}
		w->parked[slot] = NULL;
	}
	op->result = result;
	check_op(w, op);
}

static void do_break(struct worker *w)
{
	struct parked *op = calloc(1, sizeof(*op));

	op->kind = (enum kind)pick(w, KINDS);
	op->ino = w->world->ino[pick(w, FILES)];
	op->other = w->world->ino[pick(w, FILES)];
	op->start = pick(w, FILE_BLOCKS) * BLOCK;
	op->length = (1 + pick(w, 16)) * BLOCK;
	switch (op->kind) {
	case CUT:
	case GROW:
		op->start = (ALWAYS_BLOCKS + pick(w, FILE_BLOCKS - ALWAYS_BLOCKS)) * BLOCK;
		break;
	case PUNCH:
		/* An edge of a block that is not whole: others' bytes only, so that the lanes stay. */
		if (pick(w, 2) == 0)
			op->start += WRITERS_BYTES + pick(w, 1000);
		break;
	case WRITE:
		op->start = pick(w, ALWAYS_BLOCKS) * BLOCK + WRITERS_BYTES + pick(w, 1000);
		op->length = 1 + pick(w, sizeof(op->data));
		memset(op->data, (int)pick(w, 256), sizeof(op->data));
		break;
	case COPY:
		op->start = pick(w, ALWAYS_BLOCKS) * BLOCK + WRITERS_BYTES;
		op->length = 1 + pick(w, BLOCK - WRITERS_BYTES);
		if (op->other == op->ino) {
			free(op);
			return;
		}
		break;
	default:
		break;
	}
	atomic_fetch_add(&w->world->cut, 1);
	start_op(w, op);
}

/* ---- Pins ---- */

static unsigned char *lane_of(struct worker *w, unsigned slot, uint64_t phys)
{
	return w->client.fs->part[0]->base + phys * BLOCK + (w->number * SLOTS + slot) * LANE;
}

static void store(struct worker *w, unsigned slot)
{
	struct held *held = &w->held[slot];

	for (uint64_t i = 0; held->write && i < held->blocks; i++)
		memcpy(lane_of(w, slot, held->phys[i]), &held->pattern, LANE);
}

static void check_stores(struct worker *w, unsigned slot)
{
	struct held *held = &w->held[slot];

	for (uint64_t i = 0; held->write && i < held->blocks; i++) {
		uint64_t found;

		memcpy(&found, lane_of(w, slot, held->phys[i]), LANE);
		if (found != held->pattern)
			COMPLAIN(w->world, "thread %u: block %lu of inode %lu at %lu: %#lx instead of %#lx", w->number,
				 (unsigned long)(held->first + i), (unsigned long)held->ino,
				 (unsigned long)held->phys[i], (unsigned long)found, (unsigned long)held->pattern);
	}
}

/* Where its blocks are; false: it is gone. */
static bool learn(struct worker *w, struct held *held)
{
	static _Thread_local struct fs_pin_extent extents[FILE_BLOCKS * 2];
	size_t total, block = 0;
	ssize_t count = fs_pin_extents(w->client.fs, w->client.holder, held->id, 0, extents, FILE_BLOCKS * 2, &total);

	for (ssize_t i = 0; i < count; i++) {
		if (extents[i].offset != (held->first + block) * BLOCK || extents[i].part != 0)
			COMPLAIN(w->world, "thread %u: extents out of order", w->number);
		for (uint64_t j = 0; j < extents[i].length / BLOCK; j++)
			held->phys[block++] = extents[i].part_offset / BLOCK + j;
	}
	if (count > 0 && block != held->blocks)
		COMPLAIN(w->world, "thread %u: %zu of %lu blocks", w->number, block, (unsigned long)held->blocks);
	return count > 0;
}

static void do_pin(struct worker *w, unsigned slot)
{
	static const uint32_t kinds[] = {
		0,
		PIN_FLAG_WRITE,
		PIN_FLAG_WRITE,
		PIN_FLAG_WRITE | PIN_FLAG_EXTEND,
		PIN_FLAG_WRITE | PIN_FLAG_EXTEND,
		PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE,
		PIN_FLAG_WRITE | FS_PIN_NONBLOCK,
		PIN_FLAG_WRITE | FS_PIN_CONTIGUOUS,
	};
	struct held *held = &w->held[slot];
	uint32_t flags = kinds[pick(w, ARRAY_SIZE(kinds))];
	struct pin_op op;
	int result;

	*held = (struct held){.ino = w->world->ino[pick(w, FILES)], .write = (flags & PIN_FLAG_WRITE) != 0};
	held->first = pick(w, FILE_BLOCKS);
	held->blocks = 1 + pick(w, FILE_BLOCKS - held->first < 12 ? FILE_BLOCKS - held->first : 12);
	held->pattern = ++w->stamp << 8 | w->number << 4 | slot;
	result = pin_begin(&op, &w->client, held->ino, held->first * BLOCK, held->blocks * BLOCK, flags);
	held->generation = op.request.generation;
	if (result == -EINPROGRESS) {
		if (pick(w, 8) == 0)
			fs_wait_interrupt(w->client.fs, &op.request.wait);
		result = pin_await(&op);
	}
	EXPECT(w, "a pin", result, EAGAIN, EDEADLK, EINTR, EBUSY, ENOSPC, ENOMEM, ERANGE, ESTALE);
	if (result != 0)
		return;
	held->id = op.request.ret_id;
	held->used = learn(w, held);
	if (!held->used)
		COMPLAIN(w->world, "thread %u: a pin is gone", w->number);
	atomic_fetch_add(&w->world->granted, 1);
	oracle_hold(w->world, held);
	store(w, slot);
}

static void do_unpin(struct worker *w, unsigned slot)
{
	struct held *held = &w->held[slot];

	check_stores(w, slot);
	oracle_let_go(w->world, held);
	EXPECT(w, "unpin", fs_unpin(w->client.fs, w->client.holder, held->id), 0);
	held->used = false;
}

static void do_commit(struct worker *w, unsigned slot)
{
	struct held *held = &w->held[slot];
	int result = commit_range(&w->client, held->id, held->first * BLOCK, held->blocks * BLOCK);

	if (result == -ESTALE)
		atomic_fetch_add(&w->world->detached, 1);
	EXPECT(w, "commit", result, EBADF, ESTALE, EAGAIN);
	check_stores(w, slot);
}

static void do_slot(struct worker *w)
{
	unsigned slot = (unsigned)pick(w, SLOTS);

	if (!w->held[slot].used)
		do_pin(w, slot);
	else if (pick(w, 4) == 0)
		do_commit(w, slot);
	else
		do_unpin(w, slot);
}

/* ---- Sessions and files ---- */

static void let_go_all(struct worker *w)
{
	for (unsigned slot = 0; slot < SLOTS; slot++) {
		if (!w->held[slot].used)
			continue;
		check_stores(w, slot);
		oracle_let_go(w->world, &w->held[slot]);
		w->held[slot].used = false;
	}
}

/* A process for a session: a child that may be killed, or, when they are gone, ourselves. */
static pid_t take_child(struct world *world)
{
	pid_t child = getpid();

	pthread_mutex_lock(&world->lock);
	if (world->children > 0)
		child = world->child[--world->children];
	pthread_mutex_unlock(&world->lock);
	return child;
}

static void open_session(struct worker *w)
{
	int pidfd, error;

	client_init(&w->client, w->world->pool->fs, 1000 + w->number);
	error = process_identify(take_child(w->world), &w->client.process, &pidfd);
	if (error == 0)
		error = fs_holder_open(w->client.fs, &w->client.process, pidfd, w->client.uid, 100, &client_ops,
				       &w->client, &w->client.holder);
	EXPECT(w, "a session", error, 0);
}

static void do_session(struct worker *w)
{
	if (pick(w, 60) != 0)
		return;
	let_go_all(w);
	if (w->client.process.pid != getpid()) {
		atomic_fetch_add(&w->world->deaths, 1);
		(void)kill(w->client.process.pid, SIGKILL);
		if (pick(w, 2) == 0)
			event_await(&w->client.dead, 1);
	}
	fs_holder_close(w->client.fs, w->client.holder);
	open_session(w);
}

static void do_replace(struct worker *w)
{
	struct fs *fs = w->world->pool->fs;
	struct fs_make make = {.mode = S_IFREG | 0644};
	unsigned number = (unsigned)pick(w, FILES);
	struct fs_entry entry;
	char name[16];

	if (pick(w, 40) != 0)
		return;
	(void)snprintf(name, sizeof(name), "file%u", number);
	/* One of those that come together removes it, and makes another. */
	if (fs_unlink(fs, ROOT, name) != 0)
		return;
	fs_forget(fs, w->world->ino[number], 1);
	EXPECT(w, "make", fs_make(fs, ROOT, name, &make, &pool_cred, &entry), 0);
	EXPECT(w, "resize", file_resize(fs, entry.ino, ALWAYS_BLOCKS * BLOCK), 0);
	w->world->ino[number] = entry.ino;
}

static void do_policy(struct worker *w)
{
	static const uint64_t timeouts[] = {0, 0, 1, 20 * FS_NS_PER_MS, 200 * FS_NS_PER_MS};

	if (pick(w, 10) == 0)
		set_policy(w->world->pool->fs, timeouts[pick(w, ARRAY_SIZE(timeouts))], pick(w, 4) != 0, 0);
}

static void *work(void *arg)
{
	static void (*const operations[])(struct worker * w) = {
		do_slot, do_slot, do_slot, do_slot, do_slot, do_break, do_break, do_session, do_replace, do_policy,
	};
	struct worker *w = arg;

	open_session(w);
	for (unsigned i = 0; i < rounds; i++)
		operations[pick(w, ARRAY_SIZE(operations))](w);
	let_go_all(w);
	fs_holder_close(w->client.fs, w->client.holder);
	for (unsigned i = 0; i < PARKED; i++)
		finish_op(w, i);
	return NULL;
}

/* ---- All of it ---- */

static void children_start(struct world *world)
{
	for (; world->children < CHILDREN; world->children++) {
		pid_t child = fork();

		if (child == 0)
			wait_for_end();
		assert_true(child > 0);
		world->child[world->children] = child;
	}
}

static void children_end(struct world *world)
{
	for (unsigned i = 0; i < CHILDREN; i++) {
		(void)kill(world->child[i], SIGKILL);
		assert_int_equal(waitpid(world->child[i], NULL, 0), world->child[i]);
	}
}

static void check_end(struct world *world, uint64_t free_empty)
{
	struct pool *pool = world->pool;
	struct pin_stats stats;
	uint64_t used = 0;

	settle(pool->fs);
	stats = pins_of(pool->fs);
	assert_int_equal(stats.pins, 0);
	assert_int_equal(stats.holders, 0);
	assert_int_equal(stats.waiting, 0);
	assert_int_equal(stats.pinned_blocks, 0);
	assert_int_equal(stats.limbo_blocks, 0);
	assert_int_equal(stats.canaries, 0);
	assert_int_equal(fs_limbo_blocks(pool->fs), 0);
	assert_false(fs_read_only(pool->fs));
	for (unsigned i = 0; i < FILES; i++)
		used += (uint64_t)attr_of(pool, world->ino[i]).st_blocks / 8;
	assert_int_equal(blocks_free(pool), free_empty - used);
	for (unsigned i = 0; i < FILES; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "file%u", i);
		file_remove(pool, name, world->ino[i]);
	}
	assert_int_equal(blocks_free(pool), free_empty);
}

static void test_threads(void **state)
{
	struct pool *pool = *state;
	struct world *world = test_calloc(1, sizeof(*world));
	struct worker *worker = test_calloc(THREADS, sizeof(*worker));
	const char *seed = getenv("SEED");
	uint64_t random = seed != NULL ? strtoull(seed, NULL, 0) : (uint64_t)getpid() * 2654435761u;
	uint64_t free_empty = blocks_free(pool);

	world->pool = pool;
	pthread_mutex_init(&world->lock, NULL);
	children_start(world);
	assert_int_equal(fs_pins_start(pool->fs), 0);
	for (unsigned i = 0; i < FILES; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "file%u", i);
		world->ino[i] = file_make(pool, name);
		file_fill(pool, world->ino[i], 0, (uint64_t)FILE_BLOCKS / 2 * BLOCK, 0x11);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		worker[i] =
			(struct worker){.world = world, .number = i, .random = (random + i) * 88172645463325252u | 1};
		assert_int_equal(pthread_create(&worker[i].thread, NULL, work, &worker[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(worker[i].thread, NULL), 0);
	print_message("# seed %lu: %lu pins, %lu breaks, %lu parked, %lu commits too late, %lu deaths\n",
		      (unsigned long)random, world->granted, world->cut, world->parked, world->detached, world->deaths);
	assert_int_equal(world->failures, 0);
	assert_true(world->granted > rounds / 8 && world->parked > 0 && world->detached > 0 && world->deaths > 0);
	check_end(world, free_empty);
	fs_pins_stop(pool->fs);
	children_end(world);
	test_free(worker);
	test_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_threads, pool_setup, pool_teardown),
	};

	if (getenv("ROUNDS") != NULL)
		rounds = (unsigned)strtoul(getenv("ROUNDS"), NULL, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
