#include "pin/counts.h"

#include "base/arith.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static int compare(const struct pin_run *a, const struct pin_run *b)
{
	return (a->first > b->first) - (a->first < b->first);
}

/* The macros make more functions than are used. */
RB_GENERATE_INTERNAL(pin_runs, pin_run, link, compare, __attribute__((unused)) static)

/* ---- Shards and pieces ---- */

/* What a range has in one chunk. */
struct piece {
	struct pin_count_shard *shard;
	uint64_t first, last;
};

static struct piece piece_at(struct pin_counts *counts, uint64_t phys, uint64_t end)
{
	uint64_t chunk = phys >> PIN_CHUNK_SHIFT;
	uint64_t hash = chunk * 0x9e3779b97f4a7c15ull;

	return (struct piece){
		.shard = &counts->shard[(hash >> 32) % PIN_COUNT_SHARDS],
		.first = phys,
		.last = min_u64(end, (chunk + 1) << PIN_CHUNK_SHIFT),
	};
}

int pin_counts_init(struct pin_counts *counts)
{
	for (unsigned i = 0; i < PIN_COUNT_SHARDS; i++) {
		int error = lock_mutex_init(&counts->shard[i].lock, LOCK_PIN_COUNT);

		if (error != 0) {
			while (i-- > 0)
				lock_mutex_fini(&counts->shard[i].lock);
			return error;
		}
		RB_INIT(&counts->shard[i].runs);
	}
	return 0;
}

void pin_counts_fini(struct pin_counts *counts)
{
	for (unsigned i = 0; i < PIN_COUNT_SHARDS; i++) {
		struct pin_runs *runs = &counts->shard[i].runs;
		struct pin_run *run;

		while ((run = RB_ROOT(runs)) != NULL) {
			RB_REMOVE(pin_runs, runs, run);
			free(run);
		}
		lock_mutex_fini(&counts->shard[i].lock);
	}
}

/* ---- Runs of a shard, under its lock ---- */

/* The first run that ends behind `phys`. */
static struct pin_run *find(struct pin_runs *runs, uint64_t phys)
{
	struct pin_run *run = RB_ROOT(runs);
	struct pin_run *found = NULL;

	while (run != NULL) {
		if (run->last > phys) {
			found = run;
			run = RB_LEFT(run, link);
		} else {
			run = RB_RIGHT(run, link);
		}
	}
	return found;
}

/* Cuts the run that `phys` lies inside of, if there is one. */
static int split(struct pin_runs *runs, uint64_t phys)
{
	struct pin_run *left = find(runs, phys);
	struct pin_run *right;

	if (left == NULL || left->first >= phys)
		return 0;
	right = malloc(sizeof(*right));
	if (right == NULL)
		return -ENOMEM;
	*right = *left;
	right->first = phys;
	right->first_edges = 0;
	left->last = phys;
	left->last_edges = 0;
	RB_INSERT(pin_runs, runs, right);
	return 0;
}

static int insert_empty(struct pin_runs *runs, uint64_t first, uint64_t last)
{
	struct pin_run *run = calloc(1, sizeof(*run));

	if (run == NULL)
		return -ENOMEM;
	run->first = first;
	run->last = last;
	RB_INSERT(pin_runs, runs, run);
	return 0;
}

/* Runs, empty ones where there was none, cover [first, last) and begin and end with it. On -ENOMEM: tidy(). */
static int cover(struct pin_runs *runs, uint64_t first, uint64_t last)
{
	int error = split(runs, first);

	if (error == 0)
		error = split(runs, last);
	for (uint64_t at = first; error == 0 && at < last;) {
		struct pin_run *run = find(runs, at);
		uint64_t gap = run == NULL ? last : min_u64(run->first, last);

		if (gap > at)
			error = insert_empty(runs, at, gap);
		at = gap > at ? gap : run->last;
	}
	return error;
}

static bool may_join(const struct pin_run *left, const struct pin_run *right)
{
	return left->last == right->first && left->first >> PIN_CHUNK_SHIFT == right->first >> PIN_CHUNK_SHIFT &&
	       left->last_edges == 0 && right->first_edges == 0 && left->held == right->held &&
	       left->recorded == right->recorded && left->limbo == right->limbo && left->leaving == right->leaving;
}

/* C4: a run that nothing counts and no break has asked about. Neighbours go to the reaper as one. */
static void remove_empty(struct pin_runs *runs, struct pin_run *run, struct pin_reap_list *queue)
{
	struct pin_run *last = queue->last != NULL ? CONTAINER_OF(queue->last, struct pin_run, reap) : NULL;

	assert(run->held == 0 && run->first_edges == 0 && run->last_edges == 0);
	RB_REMOVE(pin_runs, runs, run);
	if (!run->limbo) {
		free(run);
	} else if (last != NULL && last->last == run->first) {
		last->last = run->last;
		free(run);
	} else {
		pin_reap_list_add(queue, &run->reap, PIN_REAP_RUN);
	}
}

/* C3 and C4 for the runs that overlap or touch [first, last). `queue` has runs only. */
static void tidy(struct pin_runs *runs, uint64_t first, uint64_t last, struct pin_reap_list *queue)
{
	struct pin_run *run = find(runs, first > 0 ? first - 1 : 0);

	while (run != NULL && run->first <= last) {
		struct pin_run *next = RB_NEXT(pin_runs, runs, run);

		if (run->recorded == 0 && run->leaving == 0) {
			remove_empty(runs, run, queue);
		} else if (next != NULL && may_join(run, next)) {
			run->last = next->last;
			run->last_edges = next->last_edges;
			RB_REMOVE(pin_runs, runs, next);
			free(next);
			continue;
		}
		run = next;
	}
}

/* ---- Raising and lowering ---- */

static int raise_piece(struct pin_counts *counts, const struct piece *piece)
{
	struct pin_runs *runs = &piece->shard->runs;
	struct pin_reap_list none = {NULL, NULL};
	struct pin_run *run;
	int error;

	lock_mutex_take(&piece->shard->lock);
	error = cover(runs, piece->first, piece->last);
	for (run = find(runs, piece->first); error == 0 && run != NULL && run->first < piece->last;
	     run = RB_NEXT(pin_runs, runs, run)) {
		if (run->recorded == UINT32_MAX)
			error = -EOVERFLOW;
	}
	if (error != 0)
		goto drop_lock;
	run = find(runs, piece->first);
	run->first_edges++; /* C2; edges are never more than recorded */
	for (; run != NULL && run->first < piece->last; run = RB_NEXT(pin_runs, runs, run)) {
		if (run->held++ == 0)
			atomic_fetch_add_explicit(&counts->held_blocks, run->last - run->first, memory_order_relaxed);
		run->recorded++;
		run->leaving = 0; /* of a break that was given up: none goes on while the layout lock is held */
		if (run->last == piece->last)
			run->last_edges++;
	}
drop_lock:
	tidy(runs, piece->first, piece->last, &none);
	lock_mutex_drop(&piece->shard->lock);
	assert(none.first == NULL); /* empty runs are new ones, not of limbo */
	return error;
}

static void release_piece(struct pin_counts *counts, const struct piece *piece)
{
	struct pin_runs *runs = &piece->shard->runs;

	lock_mutex_take(&piece->shard->lock);
	for (struct pin_run *run = find(runs, piece->first); run != NULL && run->first < piece->last;
	     run = RB_NEXT(pin_runs, runs, run)) {
		assert(run->held > 0 && run->first >= piece->first && run->last <= piece->last);
		if (--run->held == 0)
			atomic_fetch_sub_explicit(&counts->held_blocks, run->last - run->first, memory_order_relaxed);
	}
	lock_mutex_drop(&piece->shard->lock);
}

static void erase_piece(const struct piece *piece, struct pin_reap_list *queue)
{
	struct pin_runs *runs = &piece->shard->runs;
	struct pin_run *run;

	lock_mutex_take(&piece->shard->lock);
	run = find(runs, piece->first);
	assert(run != NULL && run->first == piece->first && run->first_edges > 0);
	run->first_edges--;
	for (; run != NULL && run->first < piece->last; run = RB_NEXT(pin_runs, runs, run)) {
		assert(run->recorded > run->held && run->last <= piece->last);
		run->recorded--;
		if (run->last == piece->last)
			run->last_edges--;
	}
	tidy(runs, piece->first, piece->last, queue);
	lock_mutex_drop(&piece->shard->lock);
}

/* Releases and erases what was raised just now. */
static void undo(struct pin_counts *counts, uint64_t first, uint64_t last)
{
	struct pin_reap_list none = {NULL, NULL};

	for (uint64_t at = first; at < last;) {
		struct piece piece = piece_at(counts, at, last);

		release_piece(counts, &piece);
		erase_piece(&piece, &none);
		at = piece.last;
	}
	assert(none.first == NULL);
}

static int raise_extent(struct pin_counts *counts, const struct pin_extent *extent)
{
	uint64_t end = extent->phys + extent->length;

	for (uint64_t at = extent->phys; at < end;) {
		struct piece piece = piece_at(counts, at, end);
		int error = raise_piece(counts, &piece);

		if (error != 0) {
			undo(counts, extent->phys, at);
			return error;
		}
		at = piece.last;
	}
	return 0;
}

int pin_counts_raise(struct pin_counts *counts, const struct pin_extent *extents, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int error = raise_extent(counts, &extents[i]);

		if (error != 0) {
			while (i-- > 0)
				undo(counts, extents[i].phys, extents[i].phys + extents[i].length);
			return error;
		}
	}
	return 0;
}

void pin_counts_release(struct pin_counts *counts, const struct pin_extent *extents, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t end = extents[i].phys + extents[i].length;

		for (uint64_t at = extents[i].phys; at < end;) {
			struct piece piece = piece_at(counts, at, end);

			release_piece(counts, &piece);
			at = piece.last;
		}
	}
}

void pin_counts_erase(struct pin_counts *counts, const struct pin_extent *extents, size_t count,
		      struct pin_reap_list *queue)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t end = extents[i].phys + extents[i].length;

		for (uint64_t at = extents[i].phys; at < end;) {
			struct piece piece = piece_at(counts, at, end);

			erase_piece(&piece, queue);
			at = piece.last;
		}
	}
}

/* ---- Limbo ---- */

/* Where the first counted stretch of the piece is. False: there is none. */
static bool find_counted(struct pin_runs *runs, const struct piece *piece, uint64_t *ret_first, uint64_t *ret_last)
{
	struct pin_run *run = find(runs, piece->first);
	uint64_t last;

	while (run != NULL && run->first < piece->last && run->recorded == 0)
		run = RB_NEXT(pin_runs, runs, run);
	if (run == NULL || run->first >= piece->last)
		return false;
	*ret_first = max_u64(run->first, piece->first);
	for (last = run->first; run != NULL && run->first == last && last < piece->last && run->recorded > 0;
	     run = RB_NEXT(pin_runs, runs, run))
		last = run->last;
	*ret_last = min_u64(last, piece->last);
	return true;
}

/* Counted no more since an earlier look: whoever asks now is told so and frees the blocks himself. */
static void forget_left(struct pin_runs *runs, uint64_t first, uint64_t last)
{
	struct pin_reap_list none = {NULL, NULL};

	for (struct pin_run *run = find(runs, first); run != NULL && run->first < last;
	     run = RB_NEXT(pin_runs, runs, run)) {
		if (run->recorded == 0 && run->first >= first && run->last <= last)
			run->leaving = 0;
	}
	tidy(runs, first, last, &none);
	assert(none.first == NULL);
}

/* Cuts the first counted stretch out and marks it as leaving. -ENOENT: there is none (at the start, if `at_start`). */
static int leave_piece(const struct piece *piece, uint64_t asked, bool at_start, uint64_t *ret_first,
		       uint64_t *ret_last)
{
	struct pin_runs *runs = &piece->shard->runs;
	struct pin_reap_list none = {NULL, NULL};
	uint64_t first, last;
	int error = -ENOENT;

	lock_mutex_take(&piece->shard->lock);
	if (!find_counted(runs, piece, &first, &last))
		first = last = piece->last;
	if (first > piece->first)
		forget_left(runs, piece->first, first);
	if (first == last || (at_start && first > piece->first))
		goto drop_lock;
	error = split(runs, first);
	if (error == 0)
		error = split(runs, last);
	if (error == 0) {
		for (struct pin_run *run = find(runs, first); run != NULL && run->first < last;
		     run = RB_NEXT(pin_runs, runs, run))
			run->leaving = asked;
		*ret_first = first;
		*ret_last = last;
	}
	tidy(runs, first, last, &none);
	assert(none.first == NULL);
drop_lock:
	lock_mutex_drop(&piece->shard->lock);
	return error;
}

int pin_counts_leave(struct pin_counts *counts, uint64_t phys, uint64_t length, uint64_t *ret_phys,
		     uint64_t *ret_length)
{
	uint64_t end = phys + length;
	uint64_t asked = atomic_fetch_add_explicit(&counts->asked, 1, memory_order_relaxed) + 1;
	uint64_t first = 0, last = 0, piece_first;
	int error = -ENOENT;

	while (error == -ENOENT && phys < end) {
		struct piece piece = piece_at(counts, phys, end);

		error = leave_piece(&piece, asked, false, &first, &last);
		phys = piece.last;
	}
	if (error != 0)
		return error;
	/* Over the borders of chunks. An error there only makes the answer shorter. */
	while (last == phys && phys < end) {
		struct piece piece = piece_at(counts, phys, end);

		if (leave_piece(&piece, asked, true, &piece_first, &last) != 0)
			break;
		phys = piece.last;
	}
	*ret_phys = first;
	*ret_length = last - first;
	return 0;
}

static void to_limbo(struct pin_counts *counts, const struct piece *piece)
{
	struct pin_runs *runs = &piece->shard->runs;

	/* Both are cut already, unless this range is not one that pin_counts_leave() has named. */
	(void)split(runs, piece->first);
	(void)split(runs, piece->last);
	for (struct pin_run *run = find(runs, piece->first); run != NULL && run->first < piece->last;
	     run = RB_NEXT(pin_runs, runs, run)) {
		/* Was not cut, and there was no memory: out of the allocator's reach until the next mount. */
		if (run->first < piece->first || run->last > piece->last)
			continue;
		run->leaving = 0;
		if (run->limbo)
			continue;
		run->limbo = true;
		atomic_fetch_add_explicit(&counts->limbo_blocks, run->last - run->first, memory_order_relaxed);
	}
}

void pin_counts_to_limbo(struct pin_counts *counts, uint64_t phys, uint64_t length, struct pin_reap_list *queue)
{
	uint64_t end = phys + length;

	for (uint64_t at = phys; at < end;) {
		struct piece piece = piece_at(counts, at, end);

		lock_mutex_take(&piece.shard->lock);
		to_limbo(counts, &piece);
		tidy(&piece.shard->runs, piece.first, piece.last, queue);
		lock_mutex_drop(&piece.shard->lock);
		at = piece.last;
	}
}

int pin_counts_restore_limbo(struct pin_counts *counts, uint64_t phys, uint64_t length, struct pin_reap_list *queue)
{
	uint64_t end = phys + length;

	for (uint64_t at = phys; at < end;) {
		struct piece piece = piece_at(counts, at, end);
		int error;

		lock_mutex_take(&piece.shard->lock);
		error = cover(&piece.shard->runs, piece.first, piece.last);
		if (error == 0)
			to_limbo(counts, &piece);
		tidy(&piece.shard->runs, piece.first, piece.last, queue);
		lock_mutex_drop(&piece.shard->lock);
		if (error != 0)
			return error;
		at = piece.last;
	}
	return 0;
}

/* ---- Questions ---- */

bool pin_counts_any(struct pin_counts *counts, uint64_t phys, uint64_t length)
{
	uint64_t end = phys + length;
	uint64_t first, last;
	bool any = false;

	for (uint64_t at = phys; at < end && !any;) {
		struct piece piece = piece_at(counts, at, end);

		lock_mutex_take(&piece.shard->lock);
		any = find_counted(&piece.shard->runs, &piece, &first, &last);
		lock_mutex_drop(&piece.shard->lock);
		at = piece.last;
	}
	return any;
}

bool pin_counts_idle(struct pin_counts *counts, uint64_t phys, uint64_t length, uint64_t *ret_phys,
		     uint64_t *ret_length)
{
	const uint64_t end = phys + length;
	uint64_t at = phys; /* [phys, at) is idle */

	while (at < end) {
		struct piece piece = piece_at(counts, at, end);
		uint64_t first = piece.last, last = piece.last;

		lock_mutex_take(&piece.shard->lock);
		(void)find_counted(&piece.shard->runs, &piece, &first, &last);
		lock_mutex_drop(&piece.shard->lock);
		at = first;
		if (first == last)
			continue;
		if (phys < at)
			break;
		phys = at = last;
	}
	*ret_phys = phys;
	*ret_length = at - phys;
	return phys < at;
}

/* One run that is in limbo or not, or a gap, which is not. */
static uint64_t end_of_same(struct pin_runs *runs, const struct piece *piece, uint64_t at, bool *ret_limbo)
{
	const struct pin_run *run = find(runs, at);

	*ret_limbo = run != NULL && run->first <= at && run->limbo;
	if (run == NULL)
		return piece->last;
	return min_u64(run->first <= at ? run->last : run->first, piece->last);
}

uint64_t pin_counts_same_limbo(struct pin_counts *counts, uint64_t phys, uint64_t length, bool *ret_limbo)
{
	uint64_t end = phys + length;
	uint64_t at = phys;
	bool same = true;

	while (same && at < end) {
		struct piece piece = piece_at(counts, at, end);

		lock_mutex_take(&piece.shard->lock);
		while (same && at < piece.last) {
			bool limbo;
			uint64_t stop = end_of_same(&piece.shard->runs, &piece, at, &limbo);

			if (at == phys)
				*ret_limbo = limbo;
			same = limbo == *ret_limbo;
			if (same)
				at = stop;
		}
		lock_mutex_drop(&piece.shard->lock);
	}
	return at - phys;
}

uint64_t pin_counts_mark(struct pin_counts *counts, uint64_t phys, uint64_t length, uint64_t mark)
{
	uint64_t end = phys + length;
	uint64_t blocks = 0;

	for (uint64_t at = phys; at < end;) {
		struct piece piece = piece_at(counts, at, end);
		struct pin_runs *runs = &piece.shard->runs;

		lock_mutex_take(&piece.shard->lock);
		for (struct pin_run *run = find(runs, piece.first); run != NULL && run->first < piece.last;
		     run = RB_NEXT(pin_runs, runs, run)) {
			if (run->held > 0 && !run->limbo && run->mark != mark)
				blocks += run->last - run->first;
			run->mark = mark;
		}
		lock_mutex_drop(&piece.shard->lock);
		at = piece.last;
	}
	return blocks;
}

size_t pin_counts_list(struct pin_counts *counts, unsigned number, uint64_t phys, struct pin_block_run *runs,
		       size_t capacity)
{
	struct pin_count_shard *shard = &counts->shard[number];
	size_t count = 0;

	lock_mutex_take(&shard->lock);
	for (struct pin_run *run = find(&shard->runs, phys); run != NULL && count < capacity;
	     run = RB_NEXT(pin_runs, &shard->runs, run)) {
		if (run->held > 0 || run->limbo)
			runs[count++] = (struct pin_block_run){
				.phys = run->first,
				.length = run->last - run->first,
				.limbo = run->limbo,
			};
	}
	lock_mutex_drop(&shard->lock);
	return count;
}
