/* All that can be seen of a filesystem, read through src/fs into one piece of memory, and compared. */
#ifndef PINFS_CRASH_TREE_H
#define PINFS_CRASH_TREE_H

#include "fs/fs.h"

#define TREE_BYTES (1u << 20)
/* A file that takes space and nothing else: only its attributes are read. */
#define TREE_FULL "/full"

struct tree {
	uint32_t length;
	uint32_t inodes; /* names of files with several names count once each */
	uint64_t blocks; /* of all files */
	uint64_t lost; /* of them, known to be lost */
	bool acls, flags; /* there are some */
	unsigned char bytes[TREE_BYTES]; /* nodes, in the order of reading */
};

/* What may differ after a cut inside of an operation. */
#define TREE_MIXED 1u /* written bytes: each word old or new, while the attributes are the old ones */
#define TREE_BLOCKS 2u /* preallocation: any number of blocks */
#define TREE_ROOT 4u /* attributes of the root: others have worked there */
#define TREE_GENERATION 8u /* numbers that are drawn: one that was given to nobody makes the next ones others */
#define TREE_INO 32u /* numbers of inodes: what is free is elsewhere */
#define TREE_TIMES 64u
#define TREE_SHORT 16u /* with TREE_MIXED: a beginning of it is written, and the size goes with that */

/* -errno: something could not be read. */
int tree_read(struct fs *fs, struct tree *ret_tree);
/* NULL if `got` is `old` or `new`, as `tolerance` sees it; else what is neither, in words (static). */
const char *tree_compare(const struct tree *got, const struct tree *old, const struct tree *new, unsigned tolerance);
/* Calls visit for each path, children before their directory; the root is left out. */
int tree_visit(const struct tree *tree, int (*visit)(void *arg, const char *path, mode_t mode, uint64_t ino),
	       void *arg);

#endif
