#include "early.h"

#include "shim.h"

#include "fs/inode.h"

#include <libpmem.h>
#include <string.h>

#define RUNS_MAX 64u

int __real_meta_extent_remove_last(struct meta_tx *tx, const struct fmt_inode *file, uint64_t start, uint64_t end,
				   struct meta_extent *ret_removed);
int __wrap_meta_extent_remove_last(struct meta_tx *tx, const struct fmt_inode *file, uint64_t start, uint64_t end,
				   struct meta_extent *ret_removed);
int __real_meta_commit(struct meta_tx *tx);
int __wrap_meta_commit(struct meta_tx *tx);

static struct fs *seeded;
static struct meta_extent removed[RUNS_MAX];
static unsigned runs;

void early_free(struct fs *fs)
{
	seeded = fs;
	runs = 0;
}

int __wrap_meta_extent_remove_last(struct meta_tx *tx, const struct fmt_inode *file, uint64_t start, uint64_t end,
				   struct meta_extent *ret_removed)
{
	int error = __real_meta_extent_remove_last(tx, file, start, end, ret_removed);

	if (error == 0 && seeded != NULL && runs < RUNS_MAX)
		removed[runs++] = *ret_removed;
	return error;
}

/* The new owner has stored there. */
int __wrap_meta_commit(struct meta_tx *tx)
{
	for (unsigned i = 0; i < runs; i++) {
		struct region_part *part = seeded->part[fmt_phys_part(removed[i].phys)];
		unsigned char *at = region_block(part, fmt_phys_block(removed[i].phys));

		pmem_memset_persist(at, 0xaa, (size_t)removed[i].length * FMT_BLOCK_SIZE);
	}
	runs = 0;
	return __real_meta_commit(tx);
}
