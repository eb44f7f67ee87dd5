/* Is an image what the filesystem promises? Run in a process of its own: it mounts the image, and works on it. */
#ifndef PINFS_CRASH_VERIFY_H
#define PINFS_CRASH_VERIFY_H

#include "image.h"
#include "scenario.h"
#include "script.h"
#include "tree.h"

#define STEPS_MAX 14u
#define WHY_BYTES 1024u

/* An operation, and what was there when it was answered. */
struct step {
	char words[120];
	int result;
	unsigned tolerance;
	uint64_t pins; /* in the ledger */
	uint64_t bad; /* blocks that are known to be lost */
	unsigned features;
	struct tree tree;
};

/* In memory shared by the one who drives, the one who runs the scenario, and the one who verifies. */
struct run {
	unsigned steps;
	struct step step[STEPS_MAX + 1]; /* 0: before the first */
	struct script_world world; /* as the scenario left it */
	uint64_t empty_blocks, empty_inodes; /* free and used, in an empty pool */
	unsigned char touched[SHIM_FILES][IMAGE_PAGES_MAX];
	unsigned char *start[SHIM_FILES]; /* the files when the trace began */
	char why[WHY_BYTES];
	struct shim_trace trace[2]; /* of the scenario; of a recovery */
};

struct verify {
	struct run *run;
	const char *meta_path;
	enum scenario_kind kind;
	unsigned begun, answered; /* operations, at the cut */
	bool lives; /* the process that holds pins */
	bool check_first; /* before it is recovered */
};

/* 0, or 1 with words in run->why. */
int verify(const struct verify *verify);
/* Pins and sessions in the ledger of a mounted pool. */
uint64_t verify_ledger_pins(struct fs *fs);

#endif
