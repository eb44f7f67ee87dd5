/*
 * The inodes that belong to the pool itself. Their slots are never free to others, so they are made without a
 * transaction: the magic is stored last, and a slot without it is free whatever else it holds. They are made in order,
 * each durable before the next: so one that is not there, before one that is, has been lost.
 */
#include "meta/pool.h"

#include <sys/stat.h>
#include <time.h>

static struct fmt_inode *reserved_slot(const struct meta *meta, uint64_t ino)
{
	return (struct fmt_inode *)((char *)meta_frame(meta, 0, 0) + ino * FMT_SLOT_SIZE);
}

void reserved_create(struct meta *meta, uint64_t ino, uint32_t mode, uint32_t uid, uint32_t gid)
{
	struct fmt_inode *slot = reserved_slot(meta, ino);
	struct fmt_inode inode = {
		.magic = FMT_INODE_MAGIC,
		.ino = ino,
		.generation = 1,
		.mode = mode,
		.uid = uid,
		.gid = gid,
		.nlink = S_ISDIR(mode) ? 2 : 1,
	};
	struct timespec now;

	if (S_ISDIR(mode))
		inode.parent = ino;
	clock_gettime(CLOCK_REALTIME, &now);
	inode.atime = inode.mtime = inode.ctime = inode.btime = now.tv_sec;
	inode.atime_nsec = inode.mtime_nsec = inode.ctime_nsec = inode.btime_nsec = (uint32_t)now.tv_nsec;
	fmt_inode_seal(&inode);
	inode.magic = 0;
	pmemobj_memcpy_persist(meta->pop, slot, &inode, sizeof(inode));
	slot->magic = FMT_INODE_MAGIC;
	pmemobj_persist(meta->pop, &slot->magic, sizeof(slot->magic));
}

/* The last one that has been made. */
static uint64_t reserved_last(const struct meta *meta)
{
	uint64_t ino = FMT_INO_FIRST_FREE - 1;

	while (ino > FMT_INO_PARTS && fmt_inode_free(reserved_slot(meta, ino)))
		ino--;
	return ino;
}

bool reserved_lost(const struct meta *meta, uint64_t ino)
{
	return ino >= FMT_INO_LIMBO && ino < FMT_INO_FIRST_FREE && ino < reserved_last(meta) &&
	       fmt_inode_free(reserved_slot(meta, ino));
}

uint64_t reserved_complete(struct meta *meta)
{
	const uint64_t first = reserved_last(meta) + 1;

	for (uint64_t ino = first; ino < FMT_INO_FIRST_FREE; ino++)
		reserved_create(meta, ino, S_IFREG, 0, 0);
	return FMT_INO_FIRST_FREE - first;
}
