/* Counts of blocks against an array, at random, across chunks, with allocations that fail. */
#include "base/arith.h"
#include "pin/counts.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BLOCKS 160u
#define BASE ((7ull << PIN_CHUNK_SHIFT) - 70) /* the universe lies on both sides of a chunk's border */
#define PINS 24u
#define EXTENTS 3u
#define STEPS 60000u
#define SEEDS 6u

/* ---- Allocations that fail ---- */

static unsigned fail_after; /* the allocation after that many fails, and those that follow; 0: none does */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);

static bool must_fail(void)
{
	if (fail_after > 1)
		fail_after--;
	return fail_after == 1;
}

void *__wrap_malloc(size_t size)
{
	return must_fail() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return must_fail() ? NULL : __real_calloc(count, size);
}

/* ---- The model ---- */

static int compare_first(const struct pin_run *a, const struct pin_run *b)
{
	return (a->first > b->first) - (a->first < b->first);
}

/* To walk over the runs; the macros make more functions than are used. */
RB_GENERATE_INTERNAL(pin_runs, pin_run, link, compare_first, __attribute__((unused)) static)

struct model_pin {
	enum { FREE, HELD, DROPPED } state;
	struct pin_extent extent[EXTENTS];
	size_t count;
};

struct model {
	uint64_t seed, random;
	unsigned step;
	struct pin_counts counts;
	unsigned held[BLOCKS], recorded[BLOCKS];
	bool limbo[BLOCKS];
	uint64_t mark;
	struct model_pin pin[PINS];
};

static uint64_t next(struct model *m)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return m->random;
}

static void check(const struct model *m, bool good, const char *what)
{
	if (!good)
		print_error("seed %llu, step %u: %s\n", (unsigned long long)m->seed, m->step, what);
	assert_true(good);
}

static void add(struct model *m, const struct model_pin *pin, unsigned *numbers, int by)
{
	(void)m;
	for (size_t i = 0; i < pin->count; i++) {
		for (uint64_t b = 0; b < pin->extent[i].length; b++)
			numbers[pin->extent[i].phys - BASE + b] += (unsigned)by;
	}
}

static bool is_file_range(const struct model *m, uint64_t first, uint64_t last)
{
	for (uint64_t b = first; b < last; b++) {
		if (m->limbo[b])
			return false;
	}
	return true;
}

/* A range without limbo; false: none was found. */
static bool choose(struct model *m, uint64_t from, uint64_t *ret_first, uint64_t *ret_last)
{
	for (unsigned tries = 0; tries < 8 && from < BLOCKS; tries++) {
		uint64_t first = from + next(m) % (BLOCKS - from);
		uint64_t last = first + 1 + next(m) % min_u64(BLOCKS - first, next(m) % 4 == 0 ? BLOCKS : 12);

		if (!is_file_range(m, first, last))
			continue;
		*ret_first = first;
		*ret_last = last;
		return true;
	}
	return false;
}

static void raise_one(struct model *m, struct model_pin *pin)
{
	uint64_t first, last = 0;
	int error;

	pin->count = 0;
	while (pin->count < EXTENTS && choose(m, last, &first, &last))
		pin->extent[pin->count++] =
			(struct pin_extent){.phys = BASE + first, .length = (uint32_t)(last - first)};
	fail_after = next(m) % 3 == 0 ? 1 + (unsigned)(next(m) % 8) : 0;
	error = pin_counts_raise(&m->counts, pin->extent, pin->count);
	check(m, error == 0 || (error == -ENOMEM && fail_after == 1), "raise");
	fail_after = 0;
	if (error != 0)
		return;
	add(m, pin, m->held, 1);
	add(m, pin, m->recorded, 1);
	pin->state = HELD;
}

/* What comes out of limbo is counted no more, was in limbo, and comes once. */
static void take_queue(struct model *m, struct pin_reap_list *queue)
{
	while (queue->first != NULL) {
		struct pin_run *run = CONTAINER_OF(queue->first, struct pin_run, reap);

		queue->first = queue->first->next;
		for (uint64_t b = run->first - BASE; b < run->last - BASE; b++) {
			check(m, m->limbo[b] && m->recorded[b] == 0, "freed");
			m->limbo[b] = false;
		}
		atomic_fetch_sub(&m->counts.limbo_blocks, run->last - run->first);
		free(run);
	}
}

static void lower_one(struct model *m, struct model_pin *pin)
{
	struct pin_reap_list queue = {NULL, NULL};

	fail_after = 1; /* lowering needs no memory */
	if (pin->state == HELD) {
		pin_counts_release(&m->counts, pin->extent, pin->count);
		add(m, pin, m->held, -1);
		pin->state = DROPPED;
	} else {
		pin_counts_erase(&m->counts, pin->extent, pin->count, &queue);
		add(m, pin, m->recorded, -1);
		pin->state = FREE;
	}
	fail_after = 0;
	take_queue(m, &queue);
}

/* The first counted stretch of the range. */
static bool find_counted(const struct model *m, uint64_t *first, uint64_t *last)
{
	uint64_t b = *first;

	while (b < *last && m->recorded[b] == 0)
		b++;
	if (b == *last)
		return false;
	*first = b;
	while (b < *last && m->recorded[b] > 0)
		b++;
	*last = b;
	return true;
}

/* A break: asks what is counted; in between pins may be reaped; it may be given up. */
static void leave_one(struct model *m)
{
	struct pin_reap_list queue = {NULL, NULL};
	uint64_t first, last, phys, length;
	bool counted;
	int error;

	if (!choose(m, 0, &first, &last))
		return;
	fail_after = next(m) % 3 == 0 ? 1 + (unsigned)(next(m) % 3) : 0;
	error = pin_counts_leave(&m->counts, BASE + first, last - first, &phys, &length);
	counted = find_counted(m, &first, &last);
	if (error == -ENOMEM) {
		check(m, fail_after == 1, "leave: -ENOMEM");
		fail_after = 0;
		return;
	}
	check(m, counted == (error == 0), "leave: found");
	if (error == 0)
		check(m, phys == BASE + first && (length == last - first || (fail_after == 1 && length < last - first)),
		      "leave: range");
	fail_after = 0;
	if (error != 0 || next(m) % 3 == 0)
		return;
	for (unsigned i = 0; i < PINS; i++) {
		if (m->pin[i].state != FREE && next(m) % 4 == 0)
			lower_one(m, &m->pin[i]);
	}
	for (uint64_t b = phys - BASE; b < phys - BASE + length; b++)
		m->limbo[b] = true;
	fail_after = 1;
	pin_counts_to_limbo(&m->counts, phys, length, &queue);
	fail_after = 0;
	take_queue(m, &queue);
}

/* ---- Comparing ---- */

static void compare_idle(struct model *m, uint64_t first, uint64_t last)
{
	uint64_t begin = first, end, phys, length;
	bool idle;

	while (begin < last && m->recorded[begin] > 0)
		begin++;
	for (end = begin; end < last && m->recorded[end] == 0;)
		end++;
	idle = pin_counts_idle(&m->counts, BASE + first, last - first, &phys, &length);
	check(m, idle == (begin < last), "idle");
	check(m, phys == BASE + begin && length == end - begin, "idle stretch");
}

static void compare_questions(struct model *m)
{
	uint64_t first = next(m) % BLOCKS;
	uint64_t last = first + 1 + next(m) % (BLOCKS - first);
	uint64_t same = first, any_first = first, any_last = last;
	bool limbo;

	check(m, pin_counts_any(&m->counts, BASE + first, last - first) == find_counted(m, &any_first, &any_last),
	      "any");
	while (same < last && m->limbo[same] == m->limbo[first])
		same++;
	check(m, pin_counts_same_limbo(&m->counts, BASE + first, last - first, &limbo) == same - first, "same limbo");
	check(m, limbo == m->limbo[first], "limbo");
	compare_idle(m, first, last);
}

static void compare_runs(struct model *m)
{
	unsigned seen[BLOCKS] = {0};

	for (unsigned i = 0; i < PIN_COUNT_SHARDS; i++) {
		struct pin_run *run, *last = NULL;

		RB_FOREACH(run, pin_runs, &m->counts.shard[i].runs)
		{
			check(m, run->first < run->last && run->held <= run->recorded, "run");
			check(m, run->first >> PIN_CHUNK_SHIFT == (run->last - 1) >> PIN_CHUNK_SHIFT, "chunk");
			check(m, run->recorded > 0 || run->leaving, "empty run");
			check(m, last == NULL || last->last <= run->first, "order");
			check(m,
			      last == NULL || last->last != run->first || last->last_edges > 0 ||
				      run->first_edges > 0 || last->held != run->held ||
				      last->recorded != run->recorded || last->limbo != run->limbo ||
				      last->leaving != run->leaving ||
				      last->first >> PIN_CHUNK_SHIFT != run->first >> PIN_CHUNK_SHIFT,
			      "runs that are one");
			for (uint64_t b = run->first - BASE; b < run->last - BASE; b++) {
				seen[b]++;
				check(m, m->held[b] == run->held && m->recorded[b] == run->recorded, "counts");
				check(m, m->limbo[b] == run->limbo, "limbo of a run");
			}
			last = run;
		}
	}
	for (unsigned b = 0; b < BLOCKS; b++)
		check(m, seen[b] == 1 || (seen[b] == 0 && m->recorded[b] == 0), "covered");
}

static void compare_numbers(struct model *m)
{
	uint64_t held = 0, limbo = 0, file = 0, marked;

	for (unsigned b = 0; b < BLOCKS; b++) {
		held += m->held[b] > 0;
		limbo += m->limbo[b];
		file += m->held[b] > 0 && !m->limbo[b];
	}
	check(m, atomic_load(&m->counts.held_blocks) == held, "held blocks");
	check(m, atomic_load(&m->counts.limbo_blocks) == limbo, "limbo blocks");
	m->mark++;
	marked = pin_counts_mark(&m->counts, BASE, BLOCKS, m->mark);
	check(m, marked == file, "marked");
	check(m, pin_counts_mark(&m->counts, BASE, BLOCKS, m->mark) == 0, "marked twice");
}

static bool is_empty(struct model *m)
{
	for (unsigned i = 0; i < PIN_COUNT_SHARDS; i++) {
		if (!RB_EMPTY(&m->counts.shard[i].runs))
			return false;
	}
	return true;
}

static void run_seed(uint64_t seed)
{
	struct model *m = aligned_alloc(64, align_up(sizeof(*m), 64));
	uint64_t phys, length;

	assert_non_null(m);
	memset(m, 0, sizeof(*m));
	m->seed = seed;
	m->random = seed * 0x9e3779b97f4a7c15ull | 1;
	assert_int_equal(pin_counts_init(&m->counts), 0);
	for (m->step = 0; m->step < STEPS; m->step++) {
		struct model_pin *pin = &m->pin[next(m) % PINS];

		if (next(m) % 6 == 0)
			leave_one(m);
		else if (pin->state == FREE)
			raise_one(m, pin);
		else
			lower_one(m, pin);
		compare_questions(m);
		if (m->step % 16 == 0) {
			compare_runs(m);
			compare_numbers(m);
		}
	}
	for (unsigned i = 0; i < 2 * PINS; i++) {
		if (m->pin[i % PINS].state != FREE)
			lower_one(m, &m->pin[i % PINS]);
	}
	/* What a break has asked about and given up goes when somebody asks again. */
	check(m, pin_counts_leave(&m->counts, BASE, BLOCKS, &phys, &length) == -ENOENT, "all is lowered");
	check(m, is_empty(m), "nothing is left");
	check(m, atomic_load(&m->counts.limbo_blocks) == 0, "limbo is empty");
	pin_counts_fini(&m->counts);
	free(m);
}

static void test_random(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		run_seed(seed);
}

/* Rule 2: an overflow is refused, and nothing is changed. */
static void test_overflow(void **state)
{
	struct pin_counts *counts = aligned_alloc(64, align_up(sizeof(*counts), 64));
	const struct pin_extent full = {.phys = BASE + 10, .length = 5};
	const struct pin_extent wide[] = {{.phys = BASE, .length = 4}, {.phys = BASE + 8, .length = 10}};
	struct pin_reap_list queue = {NULL, NULL};
	struct pin_run *run = NULL;

	(void)state;
	assert_non_null(counts);
	memset(counts, 0, sizeof(*counts));
	assert_int_equal(pin_counts_init(counts), 0);
	assert_int_equal(pin_counts_raise(counts, &full, 1), 0);
	for (unsigned i = 0; run == NULL; i++)
		run = RB_ROOT(&counts->shard[i].runs);
	run->recorded = UINT32_MAX;
	run->held = UINT32_MAX;
	assert_int_equal(pin_counts_raise(counts, wide, 2), -EOVERFLOW);
	assert_false(pin_counts_any(counts, BASE, 10));
	assert_false(pin_counts_any(counts, BASE + 15, 10));
	assert_int_equal(atomic_load(&counts->held_blocks), 5);
	run->recorded = 1;
	run->held = 1;
	pin_counts_release(counts, &full, 1);
	pin_counts_erase(counts, &full, 1, &queue);
	assert_false(pin_counts_any(counts, BASE, 100));
	pin_counts_fini(counts);
	free(counts);
}

static unsigned count_runs(struct pin_counts *counts)
{
	unsigned count = 0;

	for (unsigned i = 0; i < PIN_COUNT_SHARDS; i++) {
		struct pin_run *run;

		RB_FOREACH(run, pin_runs, &counts->shard[i].runs)
		count++;
	}
	return count;
}

/* C3: a contiguous GiB is one or two runs, and is again after a million blocks of it were pinned one by one. */
static void test_memory(void **state)
{
	struct pin_counts *counts = aligned_alloc(64, align_up(sizeof(*counts), 64));
	const struct pin_extent big = {.phys = 100, .length = 1u << PIN_CHUNK_SHIFT};
	struct pin_reap_list queue = {NULL, NULL};

	(void)state;
	assert_non_null(counts);
	memset(counts, 0, sizeof(*counts));
	assert_int_equal(pin_counts_init(counts), 0);
	assert_int_equal(pin_counts_raise(counts, &big, 1), 0);
	assert_int_equal(count_runs(counts), 2);
	for (uint32_t b = 0; b < big.length; b++) {
		const struct pin_extent one = {.phys = big.phys + b, .length = 1};

		assert_int_equal(pin_counts_raise(counts, &one, 1), 0);
	}
	for (uint32_t b = big.length; b-- > 0;) {
		const struct pin_extent one = {.phys = big.phys + b, .length = 1};

		pin_counts_release(counts, &one, 1);
		pin_counts_erase(counts, &one, 1, &queue);
	}
	assert_int_equal(count_runs(counts), 2);
	pin_counts_release(counts, &big, 1);
	pin_counts_erase(counts, &big, 1, &queue);
	assert_int_equal(count_runs(counts), 0);
	pin_counts_fini(counts);
	free(counts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_overflow),
		cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
