/*
 * Lost memory (rule 20): which blocks are lost, on media and in memory. poison.md has what follows from it.
 *
 *   access met SIGBUS --fs_lost--> looked at, block by block --> recorded (FMT_INO_BAD), holders told
 *   a list of the device --fs_report_lost--------------------^
 *   mount: the scan --fs_poison_load----------> known
 */
#include "fs/data.h"
#include "fs/runs.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_BLOCKS (1ull << 30) /* of a run that is recorded at once: fits an extent's length */

struct fs_poison {
	struct lock_mutex lock; /* LOCK_LEAF; protects runs. Who adds holds LOCK_LIMBO, too */
	struct fs_runs runs; /* all that are known to be lost, whoever they belong to */
	atomic_uint_fast64_t count; /* blocks in runs */
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
	if (fs->poison == NULL)
		return;
	fs_runs_fini(&fs->poison->runs);
	lock_mutex_fini(&fs->poison->lock);
	free(fs->poison);
	fs->poison = NULL;
}

uint64_t fs_poison_count(const struct fs *fs)
{
	return atomic_load(&fs->poison->count);
}

/* ---- What is known ---- */

static bool find_known(struct fs *fs, uint64_t phys, uint64_t end, uint64_t *ret_start, uint64_t *ret_end)
{
	struct fs_poison *poison = fs->poison;
	bool found;

	if (atomic_load(&poison->count) == 0)
		return false;
	lock_mutex_take(&poison->lock);
	found = fs_runs_find(&poison->runs, phys, end, ret_start, ret_end);
	lock_mutex_drop(&poison->lock);
	return found;
}

bool fs_lost_find(struct fs *fs, uint64_t phys, uint64_t length, uint64_t *ret_phys, uint64_t *ret_length)
{
	uint64_t start, end;

	if (!find_known(fs, phys, phys + length, &start, &end))
		return false;
	*ret_phys = start;
	*ret_length = end - start;
	return true;
}

bool fs_is_lost(struct fs *fs, uint64_t phys, uint64_t length)
{
	uint64_t start, end;

	return find_known(fs, phys, phys + length, &start, &end);
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

/* Blocks of [address, +length), which is not in two parts; false: of none. */
static bool blocks_of(const struct fs *fs, const void *address, size_t length, uint64_t *ret_phys, uint64_t *ret_length)
{
	uint64_t first = length > 0 ? phys_of(fs, address) : 0;

	if (first == 0)
		return false;
	*ret_phys = first;
	*ret_length = phys_of(fs, (const unsigned char *)address + length - 1) - first + 1;
	return true;
}

int fs_lost_check(struct fs *fs, const void *address, size_t length)
{
	uint64_t phys, blocks;

	if (fs_poison_count(fs) == 0 || !blocks_of(fs, address, length, &phys, &blocks))
		return 0;
	return fs_is_lost(fs, phys, blocks) ? -EHWPOISON : 0;
}

int fs_lost_check_iov(struct fs *fs, const struct iovec *iov, size_t count)
{
	int error = 0;

	for (size_t i = 0; i < count && error == 0 && fs_poison_count(fs) != 0; i++)
		error = fs_lost_check(fs, iov[i].iov_base, iov[i].iov_len);
	return error;
}

int fs_lost_check_blocks(struct fs *fs, const struct fs_inode *file, uint64_t first, uint64_t last)
{
	while (first < last && fs_poison_count(fs) != 0) {
		struct meta_extent extent;
		uint64_t end;
		int error = meta_extent_find(fs->meta, file->media, first, &extent);

		if (error == -ENOENT || (error == 0 && extent.file_block >= last))
			return 0;
		if (error != 0)
			return error;
		first = max_u64(first, extent.file_block);
		end = min_u64(last, extent.file_block + extent.length);
		if (fs_is_lost(fs, extent.phys + (first - extent.file_block), end - first))
			return -EHWPOISON;
		first = end;
	}
	return 0;
}

/* ---- What is found ---- */

/* Without memory it is not remembered, and found again. */
static bool remember(struct fs_poison *poison, uint64_t phys, uint64_t length)
{
	int error;

	lock_mutex_take(&poison->lock);
	error = fs_runs_add(&poison->runs, phys, length);
	if (error == 0)
		atomic_fetch_add(&poison->count, length);
	lock_mutex_drop(&poison->lock);
	return error == 0;
}

/* LOCK_LIMBO is held. */
static int record(struct fs *fs, uint64_t phys, uint64_t length)
{
	struct meta_tx *tx;
	int error = fs_writable(fs);

	if (error == 0)
		error = meta_begin(fs->meta, META_TX_RESERVE, &tx);
	if (error != 0)
		return error;
	while (length > 0 && error == 0) {
		uint32_t piece = (uint32_t)min_u64(length, RECORD_BLOCKS);

		error = meta_bad_add(tx, phys, piece);
		phys += piece;
		length -= piece;
	}
	if (error == 0)
		return meta_commit(tx);
	meta_abort(tx);
	return error;
}

/* A run that is new; -ENOMEM: it stays so. LOCK_LIMBO is held. */
static int learn_run(struct fs *fs, uint64_t ino, uint64_t phys, uint64_t length)
{
	const struct region_part *part = fs->part[fmt_phys_part(phys)];
	int error;

	if (!remember(fs->poison, phys, length))
		return -ENOMEM;
	error = record(fs, phys, length);
	if (ino != 0)
		log_error("%s: %" PRIu64 " blocks of 4 KiB from block %" PRIu64
			  " on are lost (memory error, or the file was truncated); they belong to inode %" PRIu64
			  ": EIO, until they are overwritten whole, truncated or punched away",
			  part->path, length, fmt_phys_block(phys), ino);
	else
		log_error("%s: %" PRIu64 " blocks of 4 KiB from block %" PRIu64 " on are reported lost", part->path,
			  length, fmt_phys_block(phys));
	if (error != 0)
		log_error("%s: that could not be recorded: %s: the next mount does not know", part->path,
			  strerror(-error));
	pin_poisoned(fs->pins, phys, length, NULL);
	return 0;
}

/* Those of a lost run that are not known yet. LOCK_LIMBO is held. */
static int learn(struct fs *fs, uint64_t ino, uint64_t phys, uint64_t end)
{
	int error = 0;

	while (phys < end) {
		uint64_t start = end, next = end;

		(void)find_known(fs, phys, end, &start, &next);
		if (phys < start && learn_run(fs, ino, phys, start - phys) != 0)
			error = -ENOMEM;
		phys = next;
	}
	return error;
}

/* The next run of [*block, length) whose loads fail; *block is where it begins. */
static bool next_lost(const struct region_part *part, const unsigned char *address, uint64_t length, uint64_t *block,
		      uint64_t *ret_end)
{
	const void *lost;
	uint64_t end;

	if (region_find_lost(part, address + (*block << FMT_BLOCK_SHIFT), (length - *block) << FMT_BLOCK_SHIFT,
			     &lost) != 0)
		return false;
	*block = (uint64_t)((const unsigned char *)lost - address) >> FMT_BLOCK_SHIFT;
	for (end = *block + 1; end < length; end++) {
		const unsigned char *at = address + (end << FMT_BLOCK_SHIFT);

		if (region_find_lost(part, at, FMT_BLOCK_SIZE, &lost) != 0)
			break;
	}
	*ret_end = end;
	return true;
}

bool fs_lost_look(struct fs *fs, uint64_t ino, uint64_t phys, uint64_t length)
{
	struct region_part *part;
	const unsigned char *address = fs_block_address(fs, phys, length, &part);
	uint64_t block = 0;
	uint64_t end;

	if (address == NULL)
		return false;
	lock_mutex_take(&fs->limbo);
	while (block < length && next_lost(part, address, length, &block, &end)) {
		(void)learn(fs, ino, phys + block, phys + end);
		block = end;
	}
	lock_mutex_drop(&fs->limbo);
	return fs_is_lost(fs, phys, length);
}

int fs_lost(struct fs *fs, uint64_t ino, const void *address, size_t length, int error)
{
	uint64_t phys, blocks;

	if (error == -EHWPOISON && blocks_of(fs, address, length, &phys, &blocks))
		(void)fs_lost_look(fs, ino, phys, blocks);
	return error;
}

void fs_lost_iov(struct fs *fs, uint64_t ino, const struct iovec *iov, size_t count)
{
	for (size_t i = 0; i < count; i++)
		(void)fs_lost(fs, ino, iov[i].iov_base, iov[i].iov_len, -EHWPOISON);
}

void fs_read_failed(struct fs *fs, const struct fs_read *read)
{
	fs_lost_iov(fs, read->inode->ino, read->iov, (size_t)read->count);
}

/* Takes those that are free from the allocator; the others are somebody's, and stay with it. */
static void take_free(struct fs *fs, uint64_t phys, uint64_t end)
{
	if (alloc_claim(fs->alloc, phys, end - phys) == 0)
		return;
	for (; phys < end; phys++)
		(void)alloc_claim(fs->alloc, phys, 1);
}

int fs_report_lost(struct fs *fs, unsigned number, uint64_t offset, uint64_t length)
{
	uint64_t first, last, phys;
	int error;

	if (number >= fs->parts || length == 0 || add_overflows(offset, length, &last))
		return -EINVAL;
	first = max_u64(offset >> FMT_BLOCK_SHIFT, 1);
	last = min_u64((last - 1) >> FMT_BLOCK_SHIFT, fs->part[number]->blocks - 2);
	/* The headers are not blocks of anybody. */
	if (first > last)
		return -EINVAL;
	phys = fmt_phys(number, first);
	lock_mutex_take(&fs->limbo);
	error = learn(fs, 0, phys, phys + (last - first + 1));
	lock_mutex_drop(&fs->limbo);
	take_free(fs, phys, phys + (last - first + 1));
	return error;
}

/* ---- Mount ---- */

int fs_poison_load(struct fs *fs, uint64_t phys, uint64_t length)
{
	struct region_part *part;

	if (fs_block_address(fs, phys, length, &part) == NULL || fs_is_lost(fs, phys, length))
		return -EUCLEAN;
	return remember(fs->poison, phys, length) ? 0 : -ENOMEM;
}

void fs_poison_claim(struct fs *fs)
{
	uint64_t from = 0;
	uint64_t start, end;

	while (find_known(fs, from, UINT64_MAX, &start, &end)) {
		take_free(fs, start, end);
		from = end;
	}
}

void fs_poison_tell(struct fs *fs, struct pin_holder *holder)
{
	uint64_t from = 0;
	uint64_t start, end;

	while (find_known(fs, from, UINT64_MAX, &start, &end)) {
		pin_poisoned(fs->pins, start, end - start, holder);
		from = end;
	}
}

/* ---- Taking and freeing ---- */

static bool any_lost(struct fs *fs, const struct alloc_run *runs, size_t count)
{
	for (size_t i = 0; i < count && fs_poison_count(fs) != 0; i++) {
		if (fs_is_lost(fs, runs[i].phys, runs[i].length))
			return true;
	}
	return false;
}

/*
 * What is reported lost while somebody frees it may have been found in use by the one, and unknown by the other: it is
 * free then. Each turn keeps what it has met of that out of the allocator.
 */
int fs_take_blocks(struct fs *fs, uint64_t want, uint64_t goal, unsigned flags, struct alloc_run *runs, size_t capacity,
		   size_t *ret_count)
{
	int error = alloc_reserve(fs->alloc, want, goal, flags, runs, capacity, ret_count);

	while (error == 0 && any_lost(fs, runs, *ret_count)) {
		for (size_t i = 0; i < *ret_count; i++)
			(void)fs_release_blocks(fs, runs[i].phys, runs[i].length);
		error = alloc_reserve(fs->alloc, want, goal, flags, runs, capacity, ret_count);
	}
	return error;
}

int fs_release_blocks(struct fs *fs, uint64_t phys, uint64_t length)
{
	const uint64_t end = phys + length;
	int first_error = 0;

	while (phys < end) {
		uint64_t lost = end, next = end;
		int error;

		/* Those are on media already, as nobody's but FMT_INO_BAD's: there is nothing to do. */
		(void)find_known(fs, phys, end, &lost, &next);
		error = lost > phys ? alloc_free(fs->alloc, phys, lost - phys) : 0;
		if (first_error == 0)
			first_error = error;
		phys = next;
	}
	return first_error;
}
