/*
 * Lost memory (rule 20): blocks whose load or store met an uncorrectable error, or a part that somebody has truncated.
 * Reads and writes of them give EIO, holders of pins are told, and when such a block is freed it does not go back to
 * the allocator: it goes to FMT_INO_BAD, for ever.
 *
 * What is known here is known until unmount; media remember only what was retired. A lost block that is still a file's
 * is found again by its next access.
 */
#include "fs/data.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

struct poison_block {
	uint64_t phys;
	UT_hash_handle hh;
};

struct fs_poison {
	struct lock_mutex lock; /* LOCK_LEAF; protects blocks */
	struct poison_block *blocks; /* uthash by phys; few */
	atomic_uint_fast64_t count;
};

int fs_poison_init(struct fs *fs)
{
	struct fs_poison *poison = calloc(1, sizeof(*poison));
	int error;

	if (poison == NULL)
		return -ENOMEM;
	error = lock_mutex_init(&poison->lock, LOCK_LEAF);
	if (error != 0) {
		free(poison);
		return error;
	}
	fs->poison = poison;
	return 0;
}

void fs_poison_fini(struct fs *fs)
{
	struct poison_block *block, *next;

	if (fs->poison == NULL)
		return;
	HASH_ITER(hh, fs->poison->blocks, block, next)
	{
		HASH_DEL(fs->poison->blocks, block);
		free(block);
	}
	lock_mutex_fini(&fs->poison->lock);
	free(fs->poison);
	fs->poison = NULL;
}

uint64_t fs_poison_count(const struct fs *fs)
{
	return atomic_load(&fs->poison->count);
}

/* True if it was not known. Without memory it is not remembered, and found again. */
static bool remember(struct fs_poison *poison, uint64_t phys)
{
	struct poison_block *block;
	bool added = false;

	lock_mutex_take(&poison->lock);
	HASH_FIND(hh, poison->blocks, &phys, sizeof(phys), block);
	if (block == NULL) {
		block = calloc(1, sizeof(*block));
		if (block != NULL) {
			block->phys = phys;
			HASH_ADD(hh, poison->blocks, phys, sizeof(block->phys), block);
			added = block->hh.tbl != NULL;
			if (!added)
				free(block);
			else
				atomic_fetch_add(&poison->count, 1);
		}
	}
	lock_mutex_drop(&poison->lock);
	return added;
}

/* Finds the lost ones of these blocks, and tells their holders. */
static void look(struct fs *fs, uint64_t ino, uint64_t phys, uint64_t length)
{
	struct region_part *part;
	unsigned char *address = fs_block_address(fs, phys, length, &part);
	uint64_t block = 0;

	while (address != NULL && block < length) {
		const void *lost;

		if (region_find_lost(part, address + (block << FMT_BLOCK_SHIFT), (length - block) << FMT_BLOCK_SHIFT,
				     &lost) != 0)
			return;
		block = (uint64_t)((const unsigned char *)lost - address) >> FMT_BLOCK_SHIFT;
		if (remember(fs->poison, phys + block)) {
			log_error("%s: memory of block %" PRIu64 " is lost; it belongs to inode %" PRIu64
				  ": those bytes give EIO until they are truncated or punched away",
				  part->path, fmt_phys_block(phys) + block, ino);
			pin_poisoned(fs->pins, phys + block, 1);
		}
		block++;
	}
}

/* The physical place of an address within a part; 0: in none, as the zeros that holes read as. */
static uint64_t phys_of(const struct fs *fs, const void *address)
{
	for (unsigned i = 0; i < fs->parts; i++) {
		const struct region_part *part = fs->part[i];
		uintptr_t distance = (uintptr_t)address - (uintptr_t)part->base;

		if ((uintptr_t)address >= (uintptr_t)part->base && distance < part->blocks << FMT_BLOCK_SHIFT)
			return fmt_phys(part->number, distance >> FMT_BLOCK_SHIFT);
	}
	return 0;
}

int fs_lost(struct fs *fs, uint64_t ino, const void *address, size_t length, int error)
{
	uint64_t first;

	if (error != -EHWPOISON)
		return error;
	first = length > 0 ? phys_of(fs, address) : 0;
	if (first != 0)
		look(fs, ino, first, phys_of(fs, (const unsigned char *)address + length - 1) - first + 1);
	return error;
}

void fs_read_failed(struct fs *fs, const struct fs_read *read)
{
	for (int i = 0; i < read->count; i++)
		(void)fs_lost(fs, read->inode->ino, read->iov[i].iov_base, read->iov[i].iov_len, -EHWPOISON);
}

/* The first known lost block at or after `phys`, before `end`; `end` if there is none. */
static uint64_t next_lost(struct fs_poison *poison, uint64_t phys, uint64_t end)
{
	struct poison_block *block, *next;
	uint64_t found = end;

	lock_mutex_take(&poison->lock);
	HASH_ITER(hh, poison->blocks, block, next)
	{
		if (block->phys >= phys && block->phys < found)
			found = block->phys;
	}
	lock_mutex_drop(&poison->lock);
	return found;
}

/* A block that nobody owns goes to FMT_INO_BAD. If it cannot, it is kept from the allocator until unmount at least. */
static void retire(struct fs *fs, uint64_t phys)
{
	struct meta_tx *tx;
	int error;

	lock_mutex_take(&fs->limbo);
	error = meta_begin(fs->meta, META_TX_RESERVE, &tx);
	if (error == 0) {
		error = meta_bad_add(tx, phys, 1);
		if (error == 0)
			error = meta_commit(tx);
		else
			meta_abort(tx);
	}
	lock_mutex_drop(&fs->limbo);
	if (error != 0)
		log_error("block %" PRIu64 " of part %u is lost, and that could not be recorded (%d): it is out of use "
			  "until unmount",
			  fmt_phys_block(phys), fmt_phys_part(phys), -error);
}

int fs_release_blocks(struct fs *fs, uint64_t phys, uint64_t length)
{
	uint64_t end = phys + length;
	int first_error = 0;

	while (phys < end) {
		uint64_t lost = fs_poison_count(fs) == 0 ? end : next_lost(fs->poison, phys, end);
		int error = lost > phys ? alloc_free(fs->alloc, phys, lost - phys) : 0;

		if (first_error == 0)
			first_error = error;
		if (lost < end)
			retire(fs, lost);
		phys = lost + 1;
	}
	return first_error;
}
