/*
 * Limbo, and bad blocks: maps of reserved inodes in which each block has one place, its own address. The scan finds
 * their blocks in use like any file's.
 */
#include "base/arith.h"
#include "meta/map.h"

#include <errno.h>

/* Half-full nodes hold more records than this. */
#define RECORDS_PER_NODE 64u
/* Nodes above the lowest level, their copies, and nodes of the file that gives its blocks up. */
#define PROMISE_BASE 64u

/* ---- The space that limbo may need ---- */

/*
 * Each extent of a recorded pin may have to be added to limbo at a time when the meta part is full. A new record needs
 * a page only if its node is full: once for each node that is full already, and once for as many records as a half-full
 * node takes. Besides, a transaction may move each node to a fresh page.
 */
uint64_t limbo_promise(const struct meta *meta)
{
	uint64_t extents = atomic_load_explicit(&meta->ledger_extents, memory_order_relaxed);
	uint64_t nodes = atomic_load_explicit(&meta->limbo_nodes, memory_order_relaxed);

	if (extents == 0 && nodes == 0)
		return 0;
	return PROMISE_BASE + extents / RECORDS_PER_NODE + 2 * nodes;
}

void limbo_settle(struct meta *meta)
{
	const struct fmt_inode *inode;

	uint64_t nodes = 0;

	if (meta_inode_get(meta, FMT_INO_LIMBO, &inode) == 0) {
		atomic_store(&meta->limbo_blocks, inode->blocks);
		nodes += inode->body.pages;
	}
	if (meta_inode_get(meta, FMT_INO_BAD, &inode) == 0) {
		atomic_store(&meta->bad_blocks, inode->blocks);
		nodes += inode->body.pages;
	}
	atomic_store(&meta->limbo_nodes, nodes);
}

/* ---- The maps ---- */

/* Not meta_inode_get(): the inode may be edited in this transaction, and does not verify then. */
static const struct fmt_inode *identity_inode(const struct meta *meta, uint64_t ino)
{
	const struct fmt_inode *inode = meta_slot(meta, ino);

	return inode == NULL || fmt_inode_free(inode) ? NULL : inode;
}

static int identity_add(struct meta_tx *tx, uint64_t ino, uint64_t phys, uint32_t length)
{
	const struct fmt_inode *inode = identity_inode(tx->meta, ino);
	struct meta_extent extent = {.file_block = phys, .phys = phys, .length = length};

	assert(lock_held(LOCK_LIMBO));
	if (inode == NULL)
		return -EUCLEAN;
	if (!fmt_phys_run_possible(phys, length))
		return -EINVAL;
	tx->limbo = true;
	return meta_extent_insert(tx, inode, &extent);
}

int meta_limbo_add(struct meta_tx *tx, uint64_t phys, uint32_t length)
{
	return identity_add(tx, FMT_INO_LIMBO, phys, length);
}

int meta_bad_add(struct meta_tx *tx, uint64_t phys, uint32_t length)
{
	return identity_add(tx, FMT_INO_BAD, phys, length);
}

int meta_limbo_find(struct meta *meta, uint64_t phys, uint64_t *ret_phys, uint32_t *ret_length)
{
	const struct fmt_inode *limbo = identity_inode(meta, FMT_INO_LIMBO);
	struct meta_extent extent;
	uint64_t start;
	int error;

	assert(lock_held(LOCK_LIMBO));
	if (limbo == NULL)
		return -ENOENT;
	error = meta_extent_find(meta, limbo, phys, &extent);
	if (error != 0)
		return error;
	start = max_u64(phys, extent.phys);
	*ret_length = (uint32_t)(extent.phys + extent.length - start);
	*ret_phys = start;
	return 0;
}

int meta_limbo_remove(struct meta_tx *tx, uint64_t phys, uint64_t length, uint64_t *ret_phys, uint32_t *ret_length)
{
	const struct fmt_inode *limbo = identity_inode(tx->meta, FMT_INO_LIMBO);
	struct meta_extent removed;
	uint64_t first, end;
	uint32_t run;
	int error;

	if (add_overflows(phys, length, &end))
		end = UINT64_MAX;
	error = meta_limbo_find(tx->meta, phys, &first, &run);
	if (error != 0)
		return error;
	if (first >= end)
		return -ENOENT;
	tx->limbo = true;
	error = meta_extent_remove_last(tx, limbo, first, min_u64(end, first + run), &removed);
	if (error != 0)
		return error;
	*ret_phys = removed.phys;
	*ret_length = removed.length;
	return 0;
}

uint64_t meta_limbo_blocks(const struct meta *meta)
{
	return atomic_load(&meta->limbo_blocks);
}

uint64_t meta_bad_blocks(const struct meta *meta)
{
	return atomic_load(&meta->bad_blocks);
}
