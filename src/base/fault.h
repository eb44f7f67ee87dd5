/*
 * SIGBUS: an access to memory that is lost, by an uncorrectable error or because somebody has truncated the file behind
 * it. A guarded access gets it as an error. Anything else cannot go on, as nobody can say what it has read or what it
 * holds: a message names the place, and the process ends. Thread-safe.
 */
#ifndef PINFS_BASE_FAULT_H
#define PINFS_BASE_FAULT_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

/* Installs the handler unless it is there; one that was there before gets what is not ours. -errno. */
int fault_install(void);

/*
 * Calls access(arg), which takes no lock and holds nothing; false if it met lost memory, *ret_fault is where: it was
 * left at that point, with no cleanup. Not nested.
 */
bool fault_run(void (*access)(void *arg), void *arg, const void **ret_fault);

/*
 * All signals but those of a thread's own faults. Where such a one is blocked the kernel ends the process, whatever
 * handles it: threads that want no signals block these.
 */
void fault_fill_others(sigset_t *ret_set);

/*
 * For the message: [base, +length) is a mapping of this file. `path` is the caller's, until fault_unname(base). Names
 * beyond FAULT_NAMES_MAX are not kept: the message has the address only.
 */
#define FAULT_NAMES_MAX 64u
void fault_name(const void *base, size_t length, const char *path);
void fault_unname(const void *base);

#endif
