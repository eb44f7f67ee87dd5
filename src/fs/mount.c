/*
 * Mounting and unmounting. Nothing is changed before all is known to be good: probe, open, parts, scan; then recovery,
 * new part paths, and the mark that the pool is mounted.
 */
#include "fs/parts.h"
#include "fs/pinning.h"

#include "base/fault.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- State ---- */

bool fs_read_only(const struct fs *fs)
{
	return fs->read_only || atomic_load(&fs->damaged);
}

void fs_pool_uuid(const struct fs *fs, uint8_t ret_uuid[16])
{
	memcpy(ret_uuid, meta_super(fs->meta)->pool_uuid, 16);
}

int fs_writable(struct fs *fs)
{
	if (!fs_read_only(fs))
		return 0;
	return fs_is_shut_down(fs) ? -EIO : -EROFS;
}

int fs_failed(struct fs *fs, int error, const char *operation, uint64_t ino)
{
	/* Lost memory of a file's data is that file's loss only. */
	if (error == -EHWPOISON)
		return -EIO;
	if ((error == -EUCLEAN || error == -EIO) && !atomic_exchange(&fs->damaged, true))
		log_error("%s: %s of inode %" PRIu64 ": %s: read-only from now on; unmount and run `pinfs fsck`",
			  fs->meta_path, operation, ino, strerror(-error));
	return error;
}

/* ---- Making and freeing the struct ---- */

static int fs_create(struct fs **ret_fs)
{
	struct fs *fs = calloc(1, sizeof(*fs));
	int error;

	if (fs == NULL)
		return -ENOMEM;
	atomic_init(&fs->damaged, false);
	atomic_init(&fs->shut_down, false);
	/* Not writable: what holes read as can never become anything else. */
	fs->zeros = mmap(NULL, FS_ZEROS_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (fs->zeros == MAP_FAILED) {
		error = -errno;
		goto free_fs;
	}
	error = lock_mutex_init(&fs->rename, LOCK_RENAME);
	if (error != 0)
		goto unmap_zeros;
	error = alloc_create(&fs->alloc);
	if (error != 0)
		goto fini_rename;
	error = fs_poison_init(fs);
	if (error != 0)
		goto destroy_alloc;
	error = fs_pinning_create(fs);
	if (error != 0)
		goto fini_poison;
	error = fs_inodes_init(fs);
	if (error != 0)
		goto destroy_pinning;
	*ret_fs = fs;
	return 0;

destroy_pinning:
	fs_pinning_destroy(fs);
fini_poison:
	fs_poison_fini(fs);
destroy_alloc:
	alloc_destroy(fs->alloc);
fini_rename:
	lock_mutex_fini(&fs->rename);
unmap_zeros:
	munmap(fs->zeros, FS_ZEROS_SIZE);
free_fs:
	free(fs);
	return error;
}

/* Frees everything but the in-core inodes. */
static void fs_destroy(struct fs *fs)
{
	fs_pinning_destroy(fs);
	fs_poison_fini(fs);
	fs_parts_close(fs);
	alloc_destroy(fs->alloc);
	if (fs->meta != NULL)
		meta_close(fs->meta);
	lock_mutex_fini(&fs->rename);
	munmap(fs->zeros, FS_ZEROS_SIZE);
	free(fs->meta_path);
	free(fs);
}

/* ---- Opening ---- */

static int meta_part_open(struct fs *fs, const struct fs_options *options, struct message *message)
{
	int error;

	fs->meta_path = realpath(options->meta_path, NULL);
	if (fs->meta_path == NULL) {
		error = -errno;
		message_set(message, "%s: %s", options->meta_path, strerror(-error));
		return error;
	}
	if (!options->skip_probe) {
		error = meta_probe(fs->meta_path, message);
		if (error != 0)
			return error;
	}
	/* Read-only also spares the pool what libpmemobj recovers: that happens in the private copy. */
	error = meta_open(fs->meta_path, options->read_only ? META_OPEN_COPY : 0, &fs->meta, message);
	if (error != 0)
		return error;
	fs->read_only = options->read_only;
	return 0;
}

struct scan {
	struct fs *fs;
	struct fs_recovery *recovery;
	struct message found; /* what a visitor has to say; empty: nothing */
};

static int scan_inode(void *arg, const struct fmt_inode *inode)
{
	struct scan *scan = arg;

	return fs_recovery_note(scan->recovery, inode);
}

/* I7, I8, I24: no block belongs to two extents, and all lie in the parts. */
static int scan_extent(void *arg, const struct fmt_inode *inode, const struct meta_extent *extent)
{
	struct scan *scan = arg;
	int error;

	/* A lost block may be a file's, or limbo's, too. */
	if (inode->ino == FMT_INO_BAD)
		error = fs_poison_load(scan->fs, extent->phys, extent->length);
	else
		error = alloc_claim(scan->fs->alloc, extent->phys, extent->length);
	if (error == -EUCLEAN)
		message_set(&scan->found,
			    "inode %" PRIu64 ", file block %" PRIu64 ": %" PRIu32 " blocks at %" PRIu64
			    " of part %" PRIu32 " are outside of it or used twice",
			    inode->ino, extent->file_block, extent->length, fmt_phys_block(extent->phys),
			    fmt_phys_part(extent->phys));
	return error;
}

static int pool_scan(struct fs *fs, struct fs_recovery *recovery, struct message *message)
{
	struct scan scan = {.fs = fs, .recovery = recovery};
	struct meta_visitor visitor = {.inode = scan_inode, .extent = scan_extent, .arg = &scan};
	struct message why = {.text = ""};
	int error = meta_scan(fs->meta, &visitor, &why);

	if (error == 0) {
		fs_poison_claim(fs);
		return 0;
	}
	if (scan.found.text[0] != '\0')
		why = scan.found;
	if (why.text[0] == '\0')
		message_set(&why, "%s", strerror(-error));
	if (error == -EUCLEAN)
		message_set(message, "%s: %s; run `pinfs fsck --repair %s`", fs->meta_path, why.text, fs->meta_path);
	else
		message_set(message, "%s: %s", fs->meta_path, why.text);
	return error;
}

/* From here on the pool is changed. */
static int pool_start(struct fs *fs, const struct fs_recovery *recovery, struct message *message)
{
	const bool was_clean = meta_super(fs->meta)->state == FMT_STATE_CLEAN;
	int error;

	/* First: what recovery frees may be pinned. */
	error = fs_restore_pins(fs, message);
	if (error != 0 || fs->read_only)
		return error;
	error = fs_recover(fs, recovery, was_clean, message);
	if (error != 0)
		return error;
	fs_reap(fs);
	error = fs_parts_record(fs, message);
	if (error != 0)
		return error;
	error = meta_set_state(fs->meta, FMT_STATE_MOUNTED);
	if (error != 0)
		message_set(message, "%s: marking the pool as mounted: %s", fs->meta_path, strerror(-error));
	return error;
}

static int pool_open(struct fs *fs, const struct fs_options *options, struct message *message)
{
	struct fs_recovery recovery = {0};
	int error = meta_part_open(fs, options, message);

	if (error == 0)
		error = fs_parts_open(fs, options, message);
	if (error == 0)
		error = pool_scan(fs, &recovery, message);
	if (error == 0)
		fs_pinning_sized(fs);
	/* Flags that are set are honoured, whatever this mount was told. */
	fs->inode_flags = options->inode_flags || recovery.protected;
	if (error == 0 && !fs->read_only)
		error = pool_start(fs, &recovery, message);
	fs_recovery_fini(&recovery);
	return error;
}

int fs_open(const struct fs_options *options, struct fs **ret_fs, struct message *message)
{
	struct message why = {.text = ""};
	struct fs *fs = NULL;
	int error;

	/* Before anything is mapped: nothing can make good what of the meta part is lost, but a message can name it. */
	error = fault_install();
	if (error == 0)
		error = fs_create(&fs);
	if (error != 0)
		goto explain;
	error = pool_open(fs, options, &why);
	if (error != 0)
		goto destroy;
	*ret_fs = fs;
	return 0;

destroy:
	fs_inodes_fini(fs);
	fs_destroy(fs);
explain:
	/* What fails without words of its own is want of memory or the like. */
	message_set(message, "%s", why.text);
	if (why.text[0] == '\0')
		message_set(message, "%s: %s", options->meta_path, strerror(-error));
	return error;
}

void fs_close(struct fs *fs)
{
	int error = 0;

	/* What is dropped, and what follows from it, while there are inodes still. */
	fs_reap(fs);
	fs_pool_drain(fs);
	fs_inodes_fini(fs);
	fs_reap(fs);
	/* Who has pins still may store behind the ends of files, then and later: the next mount is to look there (D3).
	 */
	if (fs_writable(fs) == 0 && !pin_any(fs->pins))
		error = meta_set_state(fs->meta, FMT_STATE_CLEAN);
	if (error != 0)
		log_error("%s: marking the pool as clean: %s", fs->meta_path, strerror(-error));
	fs_destroy(fs);
}

/* ---- Statistics ---- */

void fs_get_stats(struct fs *fs, struct fs_stats *ret_stats)
{
	struct fmt_feature_text features;
	struct alloc_stats blocks;
	struct meta_space space;

	alloc_stats(fs->alloc, &blocks);
	meta_space(fs->meta, &space);
	*ret_stats = (struct fs_stats){
		.block_size = FMT_BLOCK_SIZE,
		.blocks_total = blocks.total,
		.blocks_free = blocks.free,
		.free_runs = blocks.free_runs,
		.largest_free_run = blocks.largest_run,
		.bad_frees = blocks.bad_frees,
		.blocks_bad = meta_bad_blocks(fs->meta),
		.inodes_used = space.inodes_used,
		.meta_pages_total = space.pages_total,
		.meta_pages_free = space.pages_free,
		.parts = fs->parts,
	};
	/* Paths longer than the field are cut: they are for people. */
	(void)snprintf(ret_stats->meta_path, sizeof(ret_stats->meta_path), "%s", fs->meta_path);
	(void)snprintf(ret_stats->meta_durability, sizeof(ret_stats->meta_durability), "%s",
		       region_durability_name(region_durability(meta_is_pmem(fs->meta))));
	(void)snprintf(ret_stats->features, sizeof(ret_stats->features), "%s",
		       fmt_feature_all(meta_super(fs->meta), &features));
	for (unsigned i = 0; i < FS_SHARDS; i++) {
		lock_mutex_take(&fs->shard[i].lock);
		ret_stats->inodes_cached += fs->shard[i].count;
		lock_mutex_drop(&fs->shard[i].lock);
	}
}
