/* Mapping at once what a long store is about to touch. */
#ifndef PINFS_REGION_PREFAULT_H
#define PINFS_REGION_PREFAULT_H

#include "region/region.h"

/* Room for what is known; NULL: no memory, and nothing is ever prefaulted. */
void region_prefault_init(struct region_part *part);
void region_prefault_fini(struct region_part *part);
/*
 * Before a store to [dest, +length): the pages of it that nobody has stored to since the part was mapped are mapped by
 * one call instead of a fault each. Best effort.
 */
void region_prefault(const struct region_part *part, const void *dest, size_t length);

#endif
