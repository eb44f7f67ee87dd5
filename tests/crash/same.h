#ifndef PINFS_CRASH_SAME_H
#define PINFS_CRASH_SAME_H

#include <stdint.h>

/* The clock and the randomness that the product sees begin anew. */
void same_restart(uint64_t seed);
/* The clock goes on by a second. It stands still otherwise. */
void same_tick(void);
/* The simulator's own choices. */
uint64_t same_mix(uint64_t value);
uint64_t same_random(uint64_t *state);

#endif
