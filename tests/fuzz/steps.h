/*
 * Inputs of the targets that speak: a list of steps of a fixed form, whatever they mean to the target. Random bytes are
 * a conversation, and each half of one is.
 */
#ifndef PINFS_FUZZ_STEPS_H
#define PINFS_FUZZ_STEPS_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct step {
	uint8_t what;
	uint8_t who;
	uint8_t kind;
	uint8_t how;
	uint32_t place;
	uint64_t a;
	uint64_t b;
};
static_assert(sizeof(struct step) == 24, "inputs are arrays of it");
#define STEPS_MAX 48u

/* Returns how many. */
static inline size_t steps_take(struct step *steps, const uint8_t *data, size_t size)
{
	size_t count = size / sizeof(*steps);

	if (count > STEPS_MAX)
		count = STEPS_MAX;
	memcpy(steps, data, count * sizeof(*steps));
	return count;
}

#endif
