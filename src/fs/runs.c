#include "fs/runs.h"

#include "base/arith.h"

#include <errno.h>
#include <stdlib.h>

struct fs_run {
	RB_ENTRY(fs_run) link;
	uint64_t phys;
	uint64_t end;
};

static int compare(const struct fs_run *a, const struct fs_run *b)
{
	return (a->phys > b->phys) - (a->phys < b->phys);
}

/* The macros make more functions than are used. */
RB_GENERATE_INTERNAL(fs_run_tree, fs_run, link, compare, __attribute__((unused)) static)

/* The run that begins at `phys`, or the last one before it. */
static struct fs_run *run_before(struct fs_runs *runs, uint64_t phys)
{
	struct fs_run *run = RB_ROOT(&runs->tree);
	struct fs_run *found = NULL;

	while (run != NULL) {
		if (run->phys <= phys) {
			found = run;
			run = RB_RIGHT(run, link);
		} else {
			run = RB_LEFT(run, link);
		}
	}
	return found;
}

int fs_runs_add(struct fs_runs *runs, uint64_t phys, uint64_t length)
{
	struct fs_run *before = run_before(runs, phys);
	struct fs_run *after =
		before != NULL ? RB_NEXT(fs_run_tree, &runs->tree, before) : RB_MIN(fs_run_tree, &runs->tree);

	if (after != NULL && after->phys != phys + length)
		after = NULL;
	if (before != NULL && before->end == phys) {
		before->end += length;
	} else if (after != NULL) {
		/* Its place among the others is the same. */
		after->phys = phys;
		return 0;
	} else {
		before = malloc(sizeof(*before));
		if (before == NULL)
			return -ENOMEM;
		*before = (struct fs_run){.phys = phys, .end = phys + length};
		RB_INSERT(fs_run_tree, &runs->tree, before);
	}
	if (after != NULL) {
		before->end = after->end;
		RB_REMOVE(fs_run_tree, &runs->tree, after);
		free(after);
	}
	return 0;
}

bool fs_runs_find(struct fs_runs *runs, uint64_t phys, uint64_t end, uint64_t *ret_start, uint64_t *ret_end)
{
	struct fs_run *run = run_before(runs, phys);

	if (run != NULL && run->end <= phys)
		run = RB_NEXT(fs_run_tree, &runs->tree, run);
	else if (run == NULL)
		run = RB_MIN(fs_run_tree, &runs->tree);
	if (run == NULL || run->phys >= end)
		return false;
	*ret_start = max_u64(phys, run->phys);
	*ret_end = min_u64(end, run->end);
	return true;
}

void fs_runs_fini(struct fs_runs *runs)
{
	struct fs_run *run;

	while ((run = RB_MIN(fs_run_tree, &runs->tree)) != NULL) {
		RB_REMOVE(fs_run_tree, &runs->tree, run);
		free(run);
	}
}
