#include "numbers.h"

#include <stdlib.h>
#include <string.h>

#define SLOTS (1u << 18)

struct numbers {
	unsigned count;
	uint64_t slot[SLOTS]; /* 0: free */
};

struct numbers *numbers_create(void)
{
	return calloc(1, sizeof(struct numbers));
}

void numbers_destroy(struct numbers *numbers)
{
	free(numbers);
}

void numbers_clear(struct numbers *numbers)
{
	if (numbers->count > 0)
		memset(numbers, 0, sizeof(*numbers));
}

bool numbers_add(struct numbers *numbers, uint64_t number)
{
	unsigned at = (unsigned)(number % SLOTS);

	number |= 1; /* never 0 */
	while (numbers->slot[at] != 0) {
		if (numbers->slot[at] == number)
			return false;
		at = (at + 1) % SLOTS;
	}
	if (numbers->count < SLOTS / 2) {
		numbers->slot[at] = number;
		numbers->count++;
	}
	return true;
}
