/*
 * Free blocks that no node could be had for: one bit each, in a map that the group got when it was made. So a free
 * never fails, whatever malloc says: groups merge these bits into their trees as soon as there are nodes again. The map
 * is zeroed memory that nobody touches before that; it costs address space, not pages.
 */
#include "alloc/group.h"

#include "base/arith.h"

#include <errno.h>

#define WORD_BITS 64u

int alloc_aside_init(struct alloc_group *group)
{
	uint64_t words = (group->end - group->first + WORD_BITS - 1) / WORD_BITS;

	group->aside = group->memory->get(group->memory->arg, (size_t)words * sizeof(uint64_t));
	group->aside_low = group->end - group->first;
	return group->aside != NULL ? 0 : -ENOMEM;
}

/* The bits of [bit, end) that are in the word of `bit`. */
static uint64_t word_mask(uint64_t bit, uint64_t end)
{
	unsigned low = (unsigned)(bit % WORD_BITS);
	uint64_t count = min_u64(end - bit, WORD_BITS - low);

	return (count == WORD_BITS ? UINT64_MAX : (1ull << count) - 1) << low;
}

/* The bit that starts the next word. */
static uint64_t next_word(uint64_t bit)
{
	return (bit / WORD_BITS + 1) * WORD_BITS;
}

void alloc_aside_put(struct alloc_group *group, uint64_t first, uint64_t length)
{
	uint64_t start = first - group->first;

	for (uint64_t bit = start; bit < start + length; bit = next_word(bit))
		group->aside[bit / WORD_BITS] |= word_mask(bit, start + length);
	group->aside_blocks += length;
	group->aside_low = min_u64(group->aside_low, start);
}

void alloc_aside_remove(struct alloc_group *group, uint64_t first, uint64_t length)
{
	uint64_t start = first - group->first;

	for (uint64_t bit = start; bit < start + length; bit = next_word(bit))
		group->aside[bit / WORD_BITS] &= ~word_mask(bit, start + length);
	group->aside_blocks -= length;
	if (group->aside_low == start)
		group->aside_low = start + length;
}

/* The first bit at `bit` or after it with that value; `end` if there is none. */
static uint64_t find_bit(const uint64_t *words, uint64_t bit, uint64_t end, bool value)
{
	while (bit < end) {
		uint64_t word = words[bit / WORD_BITS];
		uint64_t left = (value ? word : ~word) & word_mask(bit, end);

		if (left != 0)
			return align_down(bit, WORD_BITS) + (unsigned)__builtin_ctzll(left);
		bit = next_word(bit);
	}
	return end;
}

struct alloc_span alloc_aside_find(const struct alloc_group *group, uint64_t block)
{
	uint64_t end = group->end - group->first;
	uint64_t bit = max_u64(block - group->first, group->aside_low);
	uint64_t stop;

	if (group->aside_blocks == 0)
		return (struct alloc_span){0, 0};
	bit = find_bit(group->aside, bit, end, true);
	stop = find_bit(group->aside, bit, end, false);
	return (struct alloc_span){group->first + bit, stop - bit};
}
