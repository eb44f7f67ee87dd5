/* Numbers by chance for the targets' mutators: libFuzzer's seed makes them repeatable. */
#ifndef PINFS_FUZZ_DRAW_H
#define PINFS_FUZZ_DRAW_H

#include <stdint.h>

static uint64_t draw_state;

static inline void draw_seed(unsigned seed)
{
	draw_state = (uint64_t)seed * 0x9e3779b97f4a7c15 + 1;
}

static inline uint64_t draw(uint64_t below)
{
	draw_state ^= draw_state << 13;
	draw_state ^= draw_state >> 7;
	draw_state ^= draw_state << 17;
	return draw_state % below;
}

/* All of its 64 bits. */
static inline uint64_t draw_any(void)
{
	return draw_state * 0x9e3779b97f4a7c15;
}

#endif
