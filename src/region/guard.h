/*
 * Accesses that may meet lost memory: an uncorrectable error, or a file that somebody has truncated under its mapping.
 * Both come as SIGBUS; here they become an error of the access. Inside this folder.
 */
#ifndef PINFS_REGION_GUARD_H
#define PINFS_REGION_GUARD_H

#include <stdbool.h>

/* Installs the handler unless it is there; one that was there before gets what is not ours. -errno. */
int region_guard_install(void);

/* Calls access(arg); false if it met lost memory, *ret_fault is where: it was left at that point, with no cleanup. */
bool region_guard_run(void (*access)(void *arg), void *arg, const void **ret_fault);

/* The calling thread's stores have met lost memory, since region_guard_take_lost() last said so. */
void region_guard_set_lost(void);
bool region_guard_take_lost(void);

#endif
