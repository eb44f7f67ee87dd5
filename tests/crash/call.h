/* An operation's words, taken apart. */
#ifndef PINFS_CRASH_CALL_H
#define PINFS_CRASH_CALL_H

#include "script.h"
#include "tree.h"

#define ARGUMENTS 6u

struct call {
	struct script_world *world;
	char text[160];
	const char *argument[ARGUMENTS]; /* 0 is the verb */
	unsigned count;
};

/* Argument `i`: 0 or "" if it is not there. */
uint64_t call_number(const struct call *call, unsigned i);
const char *call_word(const struct call *call, unsigned i);
/* The inode of argument `i`, a path, or `@0` for what is held. */
int call_find(const struct call *call, unsigned i, uint64_t *ret_ino);
/* Whatever is in the way of a pin, the policy decides at once: nothing is parked. */
void call_never_resumed(struct fs_wait *wait);

/* ---- script_pins.c ---- */

int run_session(const struct call *call);
int run_pin(const struct call *call);
int run_store(const struct call *call);
int run_commit(const struct call *call);
int run_unpin(const struct call *call);
int run_goodbye(const struct call *call);
int run_reap(const struct call *call);
int run_mend(const struct call *call);

/* ---- script_media.c ---- */

int run_acl(const struct call *call);
int run_flags(const struct call *call);
int run_lose(const struct call *call);
int run_fill(const struct call *call);

/* ---- script_damage.c ---- */

int run_damage(const struct call *call);
int run_repair(const struct call *call);

#endif
