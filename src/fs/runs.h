/* A set of blocks, as runs by place. The caller's locks. */
#ifndef PINFS_FS_RUNS_H
#define PINFS_FS_RUNS_H

#include <bsd/sys/tree.h>
#include <stdbool.h>
#include <stdint.h>

struct fs_run;
RB_HEAD(fs_run_tree, fs_run);

struct fs_runs {
	struct fs_run_tree tree; /* neighbours are joined: no run touches another */
};

/* Adds [phys, +length), of which nothing is in the set; with its neighbours it becomes one run. -ENOMEM. */
int fs_runs_add(struct fs_runs *runs, uint64_t phys, uint64_t length);
/* The first piece of [phys, end) that is in the set. */
bool fs_runs_find(struct fs_runs *runs, uint64_t phys, uint64_t end, uint64_t *ret_start, uint64_t *ret_end);
void fs_runs_fini(struct fs_runs *runs);

#endif
