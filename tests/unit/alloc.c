/* Free space: against a bitmap that is told the same, and the places that its policies promise. */
#include "alloc/alloc.h"
#include "alloc/group.h"
#include "base/arith.h"
#include "format/format.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RUNS 64

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* ---- An allocator of one part, beside a bitmap of what is in use ---- */

struct model {
	struct alloc *alloc;
	uint32_t part;
	uint64_t first;
	uint64_t end;
	uint64_t used_count;
	bool *used;
};

static void model_init_with(struct model *model, uint32_t part, uint64_t first, uint64_t end,
			    const struct alloc_memory *memory)
{
	*model = (struct model){.part = part, .first = first, .end = end};
	assert_int_equal(memory != NULL ? alloc_create_with(memory, &model->alloc) : alloc_create(&model->alloc), 0);
	assert_int_equal(alloc_add_part(model->alloc, part, first, end), 0);
	model->used = calloc(end, sizeof(bool));
	assert_non_null(model->used);
}

static void model_init(struct model *model, uint64_t first, uint64_t end)
{
	model_init_with(model, 0, first, end, NULL);
}

static void model_fini(struct model *model)
{
	alloc_destroy(model->alloc);
	free(model->used);
}

static void model_set(struct model *model, uint64_t phys, uint64_t length, bool used)
{
	uint64_t first = fmt_phys_block(phys);

	assert_int_equal(fmt_phys_part(phys), model->part);
	assert_true(first >= model->first && first + length <= model->end);
	for (uint64_t block = first; block < first + length; block++) {
		assert_int_equal(model->used[block], !used);
		model->used[block] = used;
	}
	model->used_count += used ? length : -length;
}

static uint64_t model_free(const struct model *model)
{
	return model->end - model->first - model->used_count;
}

static uint64_t runs_sum(const struct alloc_run *runs, size_t count)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++) {
		assert_true(runs[i].length > 0);
		sum += runs[i].length;
	}
	return sum;
}

static void model_reserve(struct model *model, uint64_t want, uint64_t goal, unsigned flags, struct alloc_run *runs,
			  size_t *ret_count)
{
	assert_int_equal(alloc_reserve(model->alloc, want, goal, flags, runs, RUNS, ret_count), 0);
	for (size_t i = 0; i < *ret_count; i++)
		model_set(model, runs[i].phys, runs[i].length, true);
	assert_int_equal(runs_sum(runs, *ret_count), want);
}

/* One run is expected; returns its first block. */
static uint64_t model_reserve_one(struct model *model, uint64_t want, uint64_t goal, unsigned flags)
{
	struct alloc_run runs[RUNS];
	size_t count;

	model_reserve(model, want, goal != 0 ? fmt_phys(model->part, goal) : 0, flags, runs, &count);
	assert_int_equal(count, 1);
	return fmt_phys_block(runs[0].phys);
}

static void model_give(struct model *model, uint64_t first, uint64_t length)
{
	model_set(model, fmt_phys(model->part, first), length, false);
	assert_int_equal(alloc_free(model->alloc, fmt_phys(model->part, first), length), 0);
}

static void model_claim(struct model *model, uint64_t first, uint64_t length)
{
	model_set(model, fmt_phys(model->part, first), length, true);
	assert_int_equal(alloc_claim(model->alloc, fmt_phys(model->part, first), length), 0);
}

struct compare {
	struct model *model;
	uint64_t next; /* block after the last visited run */
	uint64_t runs;
	uint64_t longest;
};

static int compare_run(void *arg, uint64_t phys, uint64_t length)
{
	struct compare *compare = arg;
	struct model *model = compare->model;
	uint64_t first = fmt_phys_block(phys);

	assert_int_equal(fmt_phys_part(phys), model->part);
	assert_true(length > 0 && first + length <= model->end);
	assert_true(first > compare->next || compare->runs == 0); /* runs in order, joined */
	for (uint64_t block = compare->runs > 0 ? compare->next : model->first; block < first; block++)
		assert_true(model->used[block]);
	for (uint64_t block = first; block < first + length; block++)
		assert_false(model->used[block]);
	compare->next = first + length;
	compare->longest = max_u64(compare->longest, length);
	compare->runs++;
	return 0;
}

static void model_check(struct model *model)
{
	struct compare compare = {.model = model, .next = model->first};
	struct alloc_stats stats;

	assert_int_equal(alloc_iterate(model->alloc, compare_run, &compare), 0);
	for (uint64_t block = compare.next; block < model->end; block++)
		assert_true(model->used[block]);
	alloc_stats(model->alloc, &stats);
	assert_int_equal(stats.total, model->end - model->first);
	assert_int_equal(stats.free, model_free(model));
	assert_true(stats.largest_run <= compare.longest);
	assert_true((stats.largest_run > 0) == (stats.free > 0));
}

/* ---- Claims ---- */

static void test_claims(void **state)
{
	struct model model;

	(void)state;
	model_init(&model, 1, 5000);
	model_claim(&model, 1, 1);
	model_claim(&model, 4999, 1);
	model_claim(&model, 100, 50);
	model_claim(&model, 1000, 3000); /* over group borders */
	assert_int_equal(alloc_claim(model.alloc, 149, 1), -EUCLEAN);
	assert_int_equal(alloc_claim(model.alloc, 90, 11), -EUCLEAN);
	assert_int_equal(alloc_claim(model.alloc, 149, 10), -EUCLEAN);
	assert_int_equal(alloc_claim(model.alloc, 600, 401), -EUCLEAN);
	assert_int_equal(alloc_claim(model.alloc, 3999, 600), -EUCLEAN);
	model_claim(&model, 4500, 1);
	assert_int_equal(alloc_claim(model.alloc, 4000, 501), -EUCLEAN); /* the first group's piece is given back */
	model_check(&model);
	model_claim(&model, 99, 1);
	model_claim(&model, 150, 850);
	model_check(&model);
	model_fini(&model);
}

static void test_claim_bounds(void **state)
{
	struct model model;

	(void)state;
	model_init_with(&model, 7, 1, 5000, NULL);
	assert_int_equal(alloc_claim(model.alloc, fmt_phys(7, 0), 1), -EUCLEAN);
	assert_int_equal(alloc_claim(model.alloc, fmt_phys(7, 5000), 1), -EUCLEAN);
	assert_int_equal(alloc_claim(model.alloc, fmt_phys(7, 4999), 2), -EUCLEAN);
	assert_int_equal(alloc_claim(model.alloc, fmt_phys(7, 1), UINT64_MAX), -EUCLEAN);
	assert_int_equal(alloc_claim(model.alloc, fmt_phys(6, 10), 1), -EUCLEAN);
	assert_int_equal(alloc_claim(model.alloc, fmt_phys(8, 10), 1), -EUCLEAN);
	assert_int_equal(alloc_claim(model.alloc, UINT64_MAX, 1), -EUCLEAN);
	model_check(&model);
	model_claim(&model, 1, 4999);
	model_check(&model);
	model_fini(&model);
}

/* ---- Parts ---- */

static void test_parts(void **state)
{
	struct alloc_run runs[RUNS];
	struct alloc_stats stats;
	struct alloc *alloc;
	size_t count = 99;

	(void)state;
	assert_int_equal(alloc_create(&alloc), 0);
	assert_int_equal(alloc_reserve(alloc, 1, 0, ALLOC_PARTIAL, runs, RUNS, &count), -ENOSPC);
	assert_int_equal(alloc_add_part(alloc, 0, 5, 5), -EINVAL);
	assert_int_equal(alloc_add_part(alloc, 0, 6, 5), -EINVAL);
	assert_int_equal(alloc_add_part(alloc, FMT_PART_MAX + 1, 1, 5), -EINVAL);
	assert_int_equal(alloc_add_part(alloc, 0, 1, (1ull << 48) + 1), -EINVAL);
	assert_int_equal(alloc_add_part(alloc, 2, 1, 15), 0);
	assert_int_equal(alloc_add_part(alloc, 2, 1, 15), -EEXIST);
	assert_int_equal(alloc_add_part(alloc, 0, 1, 15), 0);
	assert_int_equal(alloc_claim(alloc, fmt_phys(0, 1), 13), 0);
	assert_int_equal(alloc_add_part(alloc, 1, 3, 100000), 0); /* between the two, in use */
	assert_int_equal(alloc_claim(alloc, fmt_phys(0, 13), 1), -EUCLEAN);
	assert_int_equal(alloc_claim(alloc, fmt_phys(0, 14), 1), 0);
	assert_int_equal(alloc_claim(alloc, fmt_phys(2, 1), 14), 0);
	alloc_stats(alloc, &stats);
	assert_int_equal(stats.total, 14 + 14 + 99997);
	assert_int_equal(stats.free, 99997);
	assert_int_equal(stats.free_runs, 5); /* one a group: the groups' length is rounded down */

	assert_int_equal(alloc_reserve(alloc, 99997, fmt_phys(1, 3), 0, runs, 1, &count), 0);
	assert_int_equal(count, 1);
	assert_int_equal(runs[0].phys, fmt_phys(1, 3));
	assert_int_equal(runs[0].length, 99997); /* runs of neighbouring groups are joined */
	alloc_stats(alloc, &stats);
	assert_int_equal(stats.free, 0);
	assert_int_equal(stats.largest_run, 0);
	assert_int_equal(stats.free_runs, 0);
	assert_int_equal(alloc_free(alloc, fmt_phys(1, 3), 99997), 0);
	assert_int_equal(alloc_free(alloc, fmt_phys(0, 1), 14), 0);
	alloc_stats(alloc, &stats);
	assert_int_equal(stats.free, 99997 + 14);
	assert_int_equal(stats.free_runs, 6);
	alloc_destroy(alloc);
	alloc_destroy(NULL);
}

/* 32 TiB cost little, and what is more than one run can name is cut. */
static void test_huge_part(void **state)
{
	const uint64_t blocks = 1ull << 33;
	struct alloc_run runs[3];
	struct alloc *alloc;
	size_t count;

	(void)state;
	assert_int_equal(alloc_create(&alloc), 0);
	assert_int_equal(alloc_add_part(alloc, 0, 1, blocks), 0);
	assert_int_equal(alloc_reserve(alloc, 5ull << 30, 1, 0, runs, 3, &count), 0);
	assert_int_equal(count, 3);
	assert_int_equal(runs_sum(runs, count), 5ull << 30);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(alloc_free(alloc, runs[i].phys, runs[i].length), 0);
	alloc_destroy(alloc);
}

/* ---- Random operations ---- */

struct held {
	uint64_t first;
	uint64_t length;
};

struct churn {
	struct model model;
	struct held held[4096];
	size_t count;
	uint64_t random;
};

static void churn_reserve(struct churn *churn)
{
	struct model *model = &churn->model;
	struct alloc_run runs[RUNS];
	uint64_t r = random_next(&churn->random);
	uint64_t want = r % 16 == 0 ? 1 + (r >> 8) % 3000 : 1 + (r >> 8) % 20;
	uint64_t goal = (r >> 4) % 3 == 0 ? fmt_phys(0, (r >> 24) % (model->end + 10)) : 0;
	unsigned flags = (unsigned)(r >> 60) & (ALLOC_BIG | ALLOC_PARTIAL);
	size_t capacity = 1 + (r >> 50) % 8;
	size_t count = 999;
	uint64_t sum;
	int err = alloc_reserve(model->alloc, want, goal, flags, runs, capacity, &count);

	if (err != 0) {
		assert_int_equal(err, -ENOSPC);
		assert_int_equal(count, 999);
		assert_true((flags & ALLOC_PARTIAL) == 0 || model_free(model) == 0);
		assert_true(want > model_free(model) || capacity < RUNS);
		return;
	}
	sum = runs_sum(runs, count);
	assert_true(count <= capacity);
	assert_true(sum == want || ((flags & ALLOC_PARTIAL) != 0 && sum < want));
	for (size_t i = 0; i < count; i++) {
		model_set(model, runs[i].phys, runs[i].length, true);
		assert_true(churn->count < ARRAY_SIZE(churn->held));
		churn->held[churn->count++] = (struct held){fmt_phys_block(runs[i].phys), runs[i].length};
	}
}

/* Frees all or the front of something. */
static void churn_free(struct churn *churn)
{
	uint64_t r = random_next(&churn->random);
	struct held *held = &churn->held[r % churn->count];
	uint64_t length = (r >> 32) % 2 == 0 ? held->length : 1 + (r >> 33) % held->length;

	model_give(&churn->model, held->first, length);
	held->first += length;
	held->length -= length;
	if (held->length == 0)
		*held = churn->held[--churn->count];
}

static void churn_run(struct churn *churn, unsigned operations)
{
	for (unsigned i = 0; i < operations; i++) {
		bool full = churn->count > ARRAY_SIZE(churn->held) - RUNS;

		if (churn->count > 0 && (full || random_next(&churn->random) % 100 < 48))
			churn_free(churn);
		else
			churn_reserve(churn);
		if (i % 997 == 0)
			model_check(&churn->model);
	}
	model_check(&churn->model);
}

static void churn_end(struct churn *churn)
{
	struct model *model = &churn->model;

	while (churn->count > 0) {
		struct held *held = &churn->held[--churn->count];

		model_give(model, held->first, held->length);
	}
	model_check(model);
}

static void test_random(void **state)
{
	struct churn *churn = calloc(1, sizeof(*churn));
	struct alloc_stats stats;

	(void)state;
	assert_non_null(churn);
	churn->random = 88172645463325252ull;
	model_init(&churn->model, 1, 20001);
	churn_run(churn, 100000);
	churn_end(churn);
	alloc_stats(churn->model.alloc, &stats);
	assert_int_equal(stats.free, 20000);
	assert_int_equal(stats.free_runs, 5);
	assert_int_equal(stats.bad_frees, 0);
	model_fini(&churn->model);
	free(churn);
}

/* ---- Places ---- */

static void test_big_alignment(void **state)
{
	uint64_t at[2] = {0, 0};
	struct model model;
	uint64_t first;

	(void)state;
	model_init(&model, 1, 64 * 512);
	first = model_reserve_one(&model, 512, 0, 0);
	assert_int_equal(first % 512, 0);
	first = model_reserve_one(&model, 8, 0, ALLOC_BIG);
	assert_int_equal(first % 512, 0);
	first = model_reserve_one(&model, 3000, 0, 0);
	assert_int_equal(first % 512, 0);
	model_check(&model);
	model_fini(&model);

	/* Two files grow in turn by 32 blocks: each 2 MiB chunk has one owner. */
	model_init(&model, 1, 64 * 512);
	for (unsigned i = 0; i < 2 * 10 * 16; i++) {
		uint64_t *next = &at[i % 2];

		first = model_reserve_one(&model, 32, *next, ALLOC_BIG);
		if (i / 2 % 16 == 0)
			assert_int_equal(first % 512, 0);
		else
			assert_int_equal(first, *next);
		*next = first + 32;
	}
	model_check(&model);
	model_fini(&model);
}

/* No aligned room is left: any place will do. */
static void test_big_falls_back(void **state)
{
	struct model model;

	(void)state;
	model_init(&model, 1, 8 * 512);
	for (uint64_t block = 512; block < 8 * 512; block += 512)
		model_claim(&model, block, 1);
	assert_int_equal(model_reserve_one(&model, 511, 0, ALLOC_BIG) % 512, 1);
	model_check(&model);
	model_fini(&model);

	/* Just enough room at a boundary is worse than 2 MiB at one; it is taken when there is no such. */
	model_init(&model, 1, 4 * 512);
	model_claim(&model, 1, 511);
	model_claim(&model, 552, 400);
	assert_int_equal(model_reserve_one(&model, 32, 0, ALLOC_BIG), 1024);
	model_claim(&model, 1056, 1);
	model_claim(&model, 1536, 1);
	assert_int_equal(model_reserve_one(&model, 32, 0, ALLOC_BIG), 512);
	model_check(&model);
	model_fini(&model);

	/* A head of a run that is free before the boundary stays free, and an aligned run that is just long enough is
	 * taken. */
	model_init(&model, 1, 4 * 512);
	model_claim(&model, 1, 300);
	model_claim(&model, 1024, 1024);
	assert_int_equal(model_reserve_one(&model, 512, 0, ALLOC_BIG), 512);
	model_check(&model);
	model_fini(&model);
}

static void test_small_packing(void **state)
{
	struct model model;

	(void)state;
	model_init(&model, 1, 512);
	model_claim(&model, 10, 1);
	model_claim(&model, 15, 1);
	model_claim(&model, 18, 1);
	/* Free: 1-9, 11-14, 16-17, 19-511. */
	assert_int_equal(model_reserve_one(&model, 2, 0, 0), 16);
	assert_int_equal(model_reserve_one(&model, 2, 0, 0), 11);
	assert_int_equal(model_reserve_one(&model, 2, 0, 0), 13);
	assert_int_equal(model_reserve_one(&model, 2, 0, 0), 1);
	assert_int_equal(model_reserve_one(&model, 7, 0, 0), 3);
	assert_int_equal(model_reserve_one(&model, 1, 0, 0), 19);
	model_check(&model);
	model_fini(&model);
}

static void test_goals(void **state)
{
	struct alloc_run runs[RUNS];
	struct model model;
	size_t count;

	(void)state;
	model_init(&model, 1, 8 * 512);
	assert_int_equal(model_reserve_one(&model, 10, 700, 0), 700); /* in the middle of a free run */
	assert_int_equal(model_reserve_one(&model, 10, 710, 0), 710); /* behind it */
	assert_int_equal(model_reserve_one(&model, 10, 1020, 0), 1020); /* over a group's border */
	assert_int_equal(model_reserve_one(&model, 1500, 1030, 0), 1030); /* over several */
	assert_int_not_equal(model_reserve_one(&model, 5, 705, 0), 705); /* taken: elsewhere */
	model_reserve(&model, 40, 680, 0, runs, &count); /* as far as it goes, then elsewhere */
	assert_int_equal(count, 2);
	assert_int_equal(runs[0].phys, 680);
	assert_int_equal(runs[0].length, 20);
	/* Goals that are no place of ours count as none. */
	assert_int_equal(alloc_reserve(model.alloc, 1, UINT64_MAX, 0, runs, RUNS, &count), 0);
	assert_int_equal(alloc_free(model.alloc, runs[0].phys, 1), 0);
	assert_int_equal(alloc_reserve(model.alloc, 1, 8 * 512, 0, runs, RUNS, &count), 0);
	assert_int_equal(alloc_free(model.alloc, runs[0].phys, 1), 0);
	model_check(&model);
	model_fini(&model);
}

/* ---- Fragments, full parts, capacity ---- */

static void test_fragments(void **state)
{
	const uint64_t end = 10000;
	struct alloc_stats stats;
	struct alloc_run runs[4];
	struct model model;
	size_t count;

	(void)state;
	model_init(&model, 2, end);
	model_claim(&model, 2, end - 2);
	for (uint64_t block = 2; block < end; block += 2)
		model_give(&model, block, 1);
	alloc_stats(model.alloc, &stats);
	assert_int_equal(stats.free_runs, (end - 2) / 2);
	assert_int_equal(stats.largest_run, 1);
	model_check(&model);
	assert_int_equal(alloc_reserve(model.alloc, 5, 0, 0, runs, 4, &count), -ENOSPC);
	assert_int_equal(alloc_reserve(model.alloc, 4, 0, 0, runs, 4, &count), 0);
	assert_int_equal(count, 4);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(alloc_free(model.alloc, runs[i].phys, runs[i].length), 0);
	for (uint64_t block = 3; block < end; block += 2)
		model_give(&model, block, 1);
	alloc_stats(model.alloc, &stats);
	assert_int_equal(stats.free_runs, 5);
	model_check(&model);
	model_fini(&model);
}

static void test_full(void **state)
{
	struct alloc_run runs[RUNS];
	struct model model;
	size_t count = 77;

	(void)state;
	model_init(&model, 1, 2001);
	assert_int_equal(alloc_reserve(model.alloc, 2001, 0, 0, runs, RUNS, &count), -ENOSPC);
	assert_int_equal(alloc_reserve(model.alloc, 2001, 500, ALLOC_BIG, runs, RUNS, &count), -ENOSPC);
	assert_int_equal(alloc_reserve(model.alloc, UINT64_MAX, 0, 0, runs, RUNS, &count), -ENOSPC);
	assert_int_equal(count, 77);
	model_check(&model);
	assert_int_equal(alloc_reserve(model.alloc, 0, 0, 0, runs, RUNS, &count), -EINVAL);
	assert_int_equal(alloc_reserve(model.alloc, 1, 0, 0, runs, 0, &count), -EINVAL);
	model_reserve(&model, 1990, 0, 0, runs, &count);
	model_check(&model);
	assert_int_equal(alloc_reserve(model.alloc, 11, 0, 0, runs, RUNS, &count), -ENOSPC);
	assert_int_equal(alloc_reserve(model.alloc, 5000, 0, ALLOC_PARTIAL, runs, RUNS, &count), 0);
	assert_int_equal(runs_sum(runs, count), 10);
	assert_int_equal(alloc_reserve(model.alloc, 1, 0, ALLOC_PARTIAL, runs, RUNS, &count), -ENOSPC);
	model_fini(&model);

	/* Every last block can be had by one call, whatever its policy. */
	model_init(&model, 1, 2001);
	model_claim(&model, 513, 3);
	model_reserve(&model, 1997, 700, ALLOC_BIG, runs, &count);
	model_check(&model);
	model_fini(&model);
}

static void test_capacity(void **state)
{
	struct alloc_run runs[RUNS];
	struct model model;
	size_t count;

	(void)state;
	model_init(&model, 1, 512);
	model_claim(&model, 1, 511);
	model_give(&model, 10, 5);
	model_give(&model, 20, 9);
	model_give(&model, 40, 3);
	assert_int_equal(alloc_reserve(model.alloc, 15, 0, 0, runs, 2, &count), -ENOSPC);
	assert_int_equal(alloc_reserve(model.alloc, 15, 0, ALLOC_PARTIAL, runs, 2, &count), 0);
	assert_int_equal(count, 2);
	assert_int_equal(runs[0].phys, 20); /* the largest first */
	assert_int_equal(runs[1].phys, 10);
	assert_int_equal(alloc_free(model.alloc, 20, 9), 0);
	assert_int_equal(alloc_free(model.alloc, 10, 5), 0);
	/* The goal's three blocks would cost the run that is needed for the rest. */
	assert_int_equal(alloc_reserve(model.alloc, 9, 40, 0, runs, 1, &count), 0);
	assert_int_equal(runs[0].phys, 20);
	assert_int_equal(alloc_free(model.alloc, 20, 9), 0);
	model_check(&model);
	model_fini(&model);
}

static void test_bad_frees(void **state)
{
	struct alloc_stats stats;
	struct model model;

	(void)state;
	model_init(&model, 1, 3000);
	model_claim(&model, 100, 1500);
	assert_int_equal(alloc_free(model.alloc, 99, 1), -EUCLEAN);
	assert_int_equal(alloc_free(model.alloc, 99, 2), -EUCLEAN);
	assert_int_equal(alloc_free(model.alloc, 1599, 2), -EUCLEAN);
	assert_int_equal(alloc_free(model.alloc, 100, 1501), -EUCLEAN); /* over groups, nothing of it freed */
	assert_int_equal(alloc_free(model.alloc, 0, 1), -EUCLEAN);
	assert_int_equal(alloc_free(model.alloc, 2999, 2), -EUCLEAN);
	assert_int_equal(alloc_free(model.alloc, fmt_phys(3, 100), 1), -EUCLEAN);
	assert_int_equal(alloc_free(model.alloc, 100, UINT64_MAX), -EUCLEAN);
	model_check(&model);
	model_give(&model, 200, 1);
	assert_int_equal(alloc_free(model.alloc, 200, 1), -EUCLEAN);
	assert_int_equal(alloc_free(model.alloc, 150, 100), -EUCLEAN);
	alloc_stats(model.alloc, &stats);
	assert_int_equal(stats.bad_frees, 10);
	model_check(&model);
	model_fini(&model);
}

static int stop_at_third(void *arg, uint64_t phys, uint64_t length)
{
	(void)phys;
	(void)length;
	return ++*(int *)arg == 3 ? 42 : 0;
}

static void test_iterate_stops(void **state)
{
	struct model model;
	int visits = 0;

	(void)state;
	model_init(&model, 1, 5000);
	for (uint64_t block = 10; block < 5000; block += 10)
		model_claim(&model, block, 1);
	assert_int_equal(alloc_iterate(model.alloc, stop_at_third, &visits), 42);
	assert_int_equal(visits, 3);
	model_check(&model);
	model_fini(&model);
}

/* ---- Want of memory ---- */

struct meagre {
	uint64_t left; /* allocations that succeed */
	int64_t held;
};

static void *meagre_get(void *arg, size_t size)
{
	struct meagre *meagre = arg;

	if (meagre->left == 0)
		return NULL;
	meagre->left--;
	meagre->held++;
	return calloc(1, size);
}

static void meagre_put(void *arg, void *memory)
{
	struct meagre *meagre = arg;

	meagre->held--;
	free(memory);
}

static void test_no_memory_to_create(void **state)
{
	struct meagre meagre = {0, 0};
	const struct alloc_memory memory = {meagre_get, meagre_put, &meagre};
	struct alloc *alloc;
	uint64_t allowed;

	(void)state;
	for (allowed = 0;; allowed++) {
		int err;

		meagre.left = allowed;
		err = alloc_create_with(&memory, &alloc);
		if (err == 0) {
			err = alloc_add_part(alloc, 0, 1, 5000);
			if (err == -ENOMEM) {
				meagre.left = UINT64_MAX;
				assert_int_equal(alloc_add_part(alloc, 0, 1, 5000), 0);
			}
			alloc_destroy(alloc);
		}
		assert_int_equal(meagre.held, 0);
		if (err == 0)
			break;
		assert_int_equal(err, -ENOMEM);
	}
	assert_true(allowed > 10);
}

/* Frees succeed without a single node more, are counted at once, and every block can be had again. */
static void test_no_memory_to_free(void **state)
{
	struct meagre meagre = {UINT64_MAX, 0};
	const struct alloc_memory memory = {meagre_get, meagre_put, &meagre};
	struct alloc_run runs[RUNS];
	struct alloc_stats stats;
	struct model model;
	size_t count;

	(void)state;
	model_init_with(&model, 0, 1, 5000, &memory);
	model_claim(&model, 1, 4999);
	meagre.left = 0;
	for (uint64_t block = 1; block < 5000; block += 2)
		model_give(&model, block, 1);
	alloc_stats(model.alloc, &stats);
	assert_true(stats.free_runs < 2500); /* the others are set aside */
	model_check(&model);
	assert_int_equal(alloc_free(model.alloc, 3001, 1), -EUCLEAN); /* also there a double free is seen */
	assert_int_equal(alloc_claim(model.alloc, 3001, 2), -ENOMEM);

	for (unsigned i = 0; i < 2500 / 50; i++) {
		uint64_t first = model_free(&model);

		model_reserve(&model, 50, 0, 0, runs, &count);
		assert_int_equal(model_free(&model), first - 50);
	}
	assert_int_equal(model_free(&model), 0);
	assert_int_equal(alloc_reserve(model.alloc, 1, 0, 0, runs, RUNS, &count), -ENOSPC);
	model_check(&model);

	/* Set aside again, then joined by their neighbours and by memory that has come back. */
	for (uint64_t block = 1; block < 5000; block += 2)
		model_give(&model, block, 1);
	for (uint64_t block = 2; block < 4000; block += 2)
		model_give(&model, block, 1);
	model_check(&model);
	meagre.left = UINT64_MAX;
	for (uint64_t block = 4000; block < 5000; block += 2)
		model_give(&model, block, 1);
	model_check(&model);
	alloc_stats(model.alloc, &stats);
	assert_int_equal(stats.free_runs, 5);
	model_fini(&model);
	assert_int_equal(meagre.held, 0);
}

/* Memory that fails and comes back at random changes nothing of what the bitmap says. */
static void test_random_memory(void **state)
{
	struct churn *churn = calloc(1, sizeof(*churn));
	struct meagre meagre = {UINT64_MAX, 0};
	const struct alloc_memory memory = {meagre_get, meagre_put, &meagre};

	(void)state;
	assert_non_null(churn);
	churn->random = 1234567;
	model_init_with(&churn->model, 0, 1, 20001, &memory);
	for (unsigned i = 0; i < 100; i++) {
		meagre.left = i % 3 == 0 ? 1000 : random_next(&churn->random) % 3;
		churn_run(churn, 400);
	}
	meagre.left = 0;
	churn_end(churn);
	assert_int_equal(model_free(&churn->model), 20000);
	model_fini(&churn->model);
	assert_int_equal(meagre.held, 0);
	free(churn);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_claims),
		cmocka_unit_test(test_claim_bounds),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_huge_part),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_big_alignment),
		cmocka_unit_test(test_big_falls_back),
		cmocka_unit_test(test_small_packing),
		cmocka_unit_test(test_goals),
		cmocka_unit_test(test_fragments),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_capacity),
		cmocka_unit_test(test_bad_frees),
		cmocka_unit_test(test_iterate_stops),
		cmocka_unit_test(test_no_memory_to_create),
		cmocka_unit_test(test_no_memory_to_free),
		cmocka_unit_test(test_random_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
