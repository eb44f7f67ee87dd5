/*
 * Breaks and pins at the same time, from many threads. An oracle says:
 *   - the bytes that a holder has stored behind a pin stay until it unpins, also when they are detached
 *   - each operation is answered once, whoever ends its wait: unpin, timeout, signal, the end of a session
 *   - at the end no block is missing, in limbo, or waited for
 */
#include "fs_break.h"

#define FILES 3u
#define FILE_BLOCKS 24u
#define HOLDERS 3u
#define BREAKERS 3u
#define ROUNDS 300u

struct stage {
	struct pool *pool;
	struct fs *fs;
	uint64_t ino[FILES];
	unsigned seed;
	atomic_uint holding; /* holders that are not done: the others go on until then */
	bool keep; /* holders keep some pins while they ask for others: two of them may wait in a circle until a timeout
		    */
};

struct actor {
	struct stage *stage;
	unsigned number;
	uint32_t random;
	unsigned answered[4]; /* done, -EINTR, -EBUSY, other */
};

/* In a thread an assertion of cmocka ends the process without a word. */
#define MUST(condition) must(condition, #condition, __LINE__)

static void must(bool holds, const char *condition, int line)
{
	if (!holds) {
		(void)fprintf(stderr, "line %d: not true: %s\n", line, condition);
		abort();
	}
}

static uint32_t below(struct actor *actor, uint32_t limit)
{
	actor->random = actor->random * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)(actor->random >> 8) * limit >> 24);
}

/* ---- Holders ---- */

/* Each stores in blocks of its own; no break may zero or reuse them. Nobody writes them by write(2). */
static void hold_once(struct actor *actor, struct client *client)
{
	uint64_t ino = actor->stage->ino[below(actor, FILES)];
	uint64_t block = actor->number + HOLDERS * below(actor, FILE_BLOCKS / HOLDERS);
	unsigned char value = (unsigned char)(1 + below(actor, 255));
	unsigned char *bytes;
	uint64_t id;
	int error;

	error = pin_range(client, ino, block * BLOCK, BLOCK, PIN_FLAG_WRITE | PIN_FLAG_EXTEND, &id);
	if (error != 0) {
		MUST(error == -ENOSPC || error == -EBUSY || error == -EDEADLK);
		return;
	}
	bytes = pinned_byte(client, id, block * BLOCK);
	MUST(bytes != NULL);
	memset(bytes, value, BLOCK);
	for (unsigned i = below(actor, 20); i > 0; i--)
		sched_yield();
	MUST(is_filled(bytes, BLOCK, value));
	if (below(actor, 4) == 0) {
		error = commit_range(client, id, block * BLOCK, BLOCK);
		MUST(error == 0 || error == -ESTALE || error == -EAGAIN);
		MUST(is_filled(bytes, BLOCK, value));
	}
	if (below(actor, 8) != 0 || !actor->stage->keep)
		MUST(fs_unpin(client->fs, client->holder, id) == 0);
}

static void *hold(void *arg)
{
	struct actor *actor = arg;

	for (unsigned round = 0; round < ROUNDS; round += 20) {
		struct client client;

		client_open(&client, actor->stage->fs);
		for (unsigned i = 0; i < 20; i++)
			hold_once(actor, &client);
		client_close(&client);
	}
	atomic_fetch_sub(&actor->stage->holding, 1);
	return NULL;
}

/* ---- Breakers ---- */

static struct door any_door(struct actor *actor)
{
	struct stage *stage = actor->stage;
	uint64_t ino = stage->ino[below(actor, FILES)];
	uint64_t first = below(actor, FILE_BLOCKS);
	uint64_t blocks = 1 + below(actor, FILE_BLOCKS);
	uint64_t inside = below(actor, 2) * below(actor, BLOCK);

	switch (below(actor, 5)) {
	case 0:
		return door_truncate(stage->fs, ino, 0);
	case 1:
		return door_truncate(stage->fs, ino, first * BLOCK);
	case 2:
		return door_fallocate(stage->fs, ino, FALLOC_FL_PUNCH_HOLE, first * BLOCK + inside, blocks * BLOCK);
	case 3:
		return door_fallocate(stage->fs, ino, FALLOC_FL_ZERO_RANGE, first * BLOCK + inside, blocks * BLOCK);
	default:
		return door_fallocate(stage->fs, ino, 0, first * BLOCK, blocks * BLOCK);
	}
}

static void *break_things(void *arg)
{
	struct actor *actor = arg;

	for (unsigned round = 0; round < ROUNDS || atomic_load(&actor->stage->holding) > 0; round++) {
		struct door door = any_door(actor);
		ssize_t result = door_begin(&door);

		if (result == -EINPROGRESS) {
			if (below(actor, 2) == 0)
				fs_wait_interrupt(actor->stage->fs, &door.wait);
			result = door_await(&door);
			MUST(event_count(&door.done) == 1);
		}
		actor->answered[result == 0 ? 0 : result == -EINTR ? 1 : result == -EBUSY ? 2 : 3]++;
		MUST(result == 0 || result == -EINTR || result == -EBUSY || result == -ENOSPC);
	}
	return NULL;
}

/* Takes and soils whatever becomes free. */
static void *take_space(void *arg)
{
	static const char name[] = "space";
	struct actor *actor = arg;
	unsigned char bytes[16 * BLOCK];

	memset(bytes, 0, sizeof(bytes));
	for (unsigned round = 0; round < ROUNDS || atomic_load(&actor->stage->holding) > 0; round++) {
		uint64_t ino = file_make(actor->stage->pool, name);

		for (unsigned i = 0; i < 8; i++)
			(void)fs_write(actor->stage->fs, ino, bytes, sizeof(bytes), (off_t)(i * sizeof(bytes)), NULL);
		file_remove(actor->stage->pool, name, ino);
	}
	return NULL;
}

/* ---- The play ---- */

static void run_all(struct stage *stage, unsigned answered[4])
{
	struct actor actors[HOLDERS + BREAKERS + 1];
	pthread_t threads[HOLDERS + BREAKERS + 1];

	for (unsigned i = 0; i < ARRAY_SIZE(actors); i++) {
		bool holds = i < HOLDERS;

		actors[i] = (struct actor){
			.stage = stage, .number = holds ? i : i - HOLDERS, .random = stage->seed * 1000 + i};
		assert_int_equal(pthread_create(&threads[i], NULL,
						holds			 ? hold
						: i < HOLDERS + BREAKERS ? break_things
									 : take_space,
						&actors[i]),
				 0);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(actors); i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		for (unsigned j = 0; j < 4; j++)
			answered[j] += actors[i].answered[j];
	}
}

static void play(struct pool *pool, uint64_t timeout, bool detach, unsigned seed)
{
	struct stage stage = {.pool = pool, .fs = pool->fs, .seed = seed, .keep = timeout != PIN_FOREVER};
	uint64_t blocks_empty = blocks_free(pool);
	unsigned answered[4] = {0};
	char name[16];

	print_message("# seed %u\n", seed);
	atomic_init(&stage.holding, HOLDERS);
	set_policy(pool->fs, timeout, detach, UINT64_MAX);
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "file%u", i);
		stage.ino[i] = file_make(pool, name);
	}
	run_all(&stage, answered);
	print_message("# done %u, interrupted %u, busy %u, other %u; waits %lu, detaches %lu\n", answered[0],
		      answered[1], answered[2], answered[3], (unsigned long)pins_of(pool->fs).breaks_waited,
		      (unsigned long)pins_of(pool->fs).detaches);
	assert_true(answered[0] > 0);
	settle(pool->fs);
	assert_int_equal(pins_of(pool->fs).waiting, 0);
	assert_int_equal(pins_of(pool->fs).pins, 0);
	assert_int_equal(pins_of(pool->fs).canaries, 0);
	assert_int_equal(limbo(pool), 0);
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "file%u", i);
		file_remove(pool, name, stage.ino[i]);
	}
	assert_int_equal(blocks_free(pool), blocks_empty);
}

static void test_wait(void **state)
{
	play(*state, PIN_FOREVER, true, 1);
}

static void test_detach(void **state)
{
	play(*state, 0, true, 2);
	play(*state, FS_NS_PER_MS, true, 3);
}

static void test_fail(void **state)
{
	play(*state, 0, false, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_wait, pins_setup, pins_teardown),
		cmocka_unit_test_setup_teardown(test_detach, pins_setup, pins_teardown),
		cmocka_unit_test_setup_teardown(test_fail, pins_setup, pins_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
