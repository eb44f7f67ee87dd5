/* A set of numbers: images that were verified. */
#ifndef PINFS_CRASH_NUMBERS_H
#define PINFS_CRASH_NUMBERS_H

#include <stdbool.h>
#include <stdint.h>

struct numbers;

struct numbers *numbers_create(void);
void numbers_destroy(struct numbers *numbers);
void numbers_clear(struct numbers *numbers);
/* False if it is there already; true, and not remembered, if the set is full. */
bool numbers_add(struct numbers *numbers, uint64_t number);

#endif
