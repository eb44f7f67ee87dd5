#include "full.h"

#include "fault.h"

#include "fs/inode.h"
#include "meta/pool.h"

#include <errno.h>

#define TAKEN_MAX 8192u

int __real_alloc_reserve(struct alloc *alloc, uint64_t want, uint64_t goal, unsigned flags, struct alloc_run *runs,
			 size_t capacity, size_t *ret_count);
int __wrap_alloc_reserve(struct alloc *alloc, uint64_t want, uint64_t goal, unsigned flags, struct alloc_run *runs,
			 size_t capacity, size_t *ret_count);
int __real_space_page_take(struct meta *meta, bool use_reserve, uint64_t *ret_page);
int __wrap_space_page_take(struct meta *meta, bool use_reserve, uint64_t *ret_page);
int __real_space_slot_take(struct meta *meta, bool use_reserve, uint64_t *ret_ino);
int __wrap_space_slot_take(struct meta *meta, bool use_reserve, uint64_t *ret_ino);

/* Blocks, pages or slots that were taken out of use. */
struct taken {
	unsigned count;
	uint64_t item[TAKEN_MAX];
};

static struct fs *filled;
static struct taken blocks, pages, slots;
static bool met;

static const struct fault_function f_blocks = {"alloc_reserve", FAULT_BLOCKS, {ENOSPC}};
static const struct fault_function f_page = {"space_page_take", FAULT_PAGES, {ENOSPC}};
static const struct fault_function f_slot = {"space_slot_take", FAULT_PAGES, {ENOSPC}};

/* ---- What says so ---- */

int __wrap_alloc_reserve(struct alloc *alloc, uint64_t want, uint64_t goal, unsigned flags, struct alloc_run *runs,
			 size_t capacity, size_t *ret_count)
{
	uint64_t got = 0;
	int error;

	if (fault_fails(&f_blocks))
		return -ENOSPC;
	error = __real_alloc_reserve(alloc, want, goal, flags, runs, capacity, ret_count);
	for (size_t i = 0; error == 0 && i < *ret_count; i++)
		got += runs[i].length;
	if (error == -ENOSPC || (error == 0 && got < want))
		met = true;
	return error;
}

/* Who may use the reserve is never told that it is full. */
int __wrap_space_page_take(struct meta *meta, bool use_reserve, uint64_t *ret_page)
{
	int error;

	if (!use_reserve && fault_fails(&f_page))
		return -ENOSPC;
	error = __real_space_page_take(meta, use_reserve, ret_page);
	met = met || error == -ENOSPC;
	return error;
}

int __wrap_space_slot_take(struct meta *meta, bool use_reserve, uint64_t *ret_ino)
{
	int error;

	if (!use_reserve && fault_fails(&f_slot))
		return -ENOSPC;
	error = __real_space_slot_take(meta, use_reserve, ret_ino);
	met = met || error == -ENOSPC;
	return error;
}

/* ---- Filling ---- */

static void take_blocks(struct fs *fs)
{
	struct alloc_run run;
	size_t count;

	while (blocks.count < TAKEN_MAX && __real_alloc_reserve(fs->alloc, 1, 0, 0, &run, 1, &count) == 0)
		blocks.item[blocks.count++] = run.phys;
}

static void free_block(unsigned i)
{
	(void)alloc_free(filled->alloc, blocks.item[i], 1);
	blocks.item[i] = blocks.item[--blocks.count];
}

/* Is a neighbour of this one free? Then it was given back here. */
static bool has_neighbour(const uint64_t *freed, unsigned count, uint64_t phys)
{
	for (unsigned i = 0; i < count; i++) {
		if (freed[i] == phys + 1 || freed[i] + 1 == phys)
			return true;
	}
	return false;
}

static unsigned leave_blocks(unsigned left, bool scattered)
{
	static uint64_t freed[TAKEN_MAX];
	unsigned count = 0;

	for (unsigned i = 0; i < blocks.count && count < left;) {
		uint64_t phys = blocks.item[i];

		if (count > 0 && has_neighbour(freed, count, phys) == scattered) {
			i++;
			continue;
		}
		freed[count++] = phys;
		free_block(i);
		i = 0;
	}
	return count;
}

static unsigned take_pages(struct meta *meta, unsigned left)
{
	unsigned count = 0;

	while (pages.count < TAKEN_MAX && __real_space_page_take(meta, false, &pages.item[pages.count]) == 0)
		pages.count++;
	/* No page can become slots any more. */
	while (slots.count < TAKEN_MAX && __real_space_slot_take(meta, false, &slots.item[slots.count]) == 0)
		slots.count++;
	for (; count < left && pages.count > 0; count++)
		space_page_put(meta, pages.item[--pages.count]);
	return count;
}

bool full_make(struct fs *fs, enum full full, unsigned left)
{
	unsigned count;

	full_forget();
	filled = fs;
	if (full == FULL_PAGES) {
		count = take_pages(fs->meta, left);
	} else {
		take_blocks(fs);
		count = leave_blocks(left, full == FULL_SCATTERED);
	}
	met = false;
	return count == left;
}

void full_end(void)
{
	if (filled == NULL)
		return;
	while (blocks.count > 0)
		free_block(blocks.count - 1);
	while (pages.count > 0)
		space_page_put(filled->meta, pages.item[--pages.count]);
	while (slots.count > 0)
		space_slot_put(filled->meta, slots.item[--slots.count]);
	filled = NULL;
}

void full_forget(void)
{
	filled = NULL;
	blocks.count = pages.count = slots.count = 0;
	met = false;
}

bool full_was_met(void)
{
	return met;
}
