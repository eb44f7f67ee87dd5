/*
 * The table of in-core inodes, sharded by number. An entry is there while the kernel has looked it up or an operation
 * uses it, and for the time of its eviction:
 *
 *   media --get--> used (refs > 0) --last put--> idle (lookups > 0) --get--> used
 *                        |                             |
 *                        | last put, no lookups        | last forget
 *                        v                             v
 *                  linked: dropped from the table     unlinked: evicting --fs_evict()--> dropped
 *
 * An eviction leaves the slot on media while pins hold the number; fs_evict_rest() enters it in the table once more.
 *
 * While an entry is evicting, get answers -ESTALE: nobody can load from media what is being taken apart. When the
 * eviction has freed the number a new inode may take it before the evicting entry is gone: insert() pushes it out.
 *
 * Whoever changes an inode holds a reference, so what is not in the table does not change while it is loaded under the
 * shard's lock; and after the last reference is gone `nlink` can be read under that lock alone.
 */
#include "fs/inode.h"

#include <assert.h>
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

static struct fs_shard *shard_of(struct fs *fs, uint64_t ino)
{
	/* Neighbours in a frame are often used together: spread by all bits of frame and slot. */
	return &fs->shard[(ino ^ ino >> 6) % FS_SHARDS];
}

/* Fibonacci hashing: uthash's own is for keys of any length. The upper half: shards are dealt by the lower bits. */
static unsigned hash_of(uint64_t ino)
{
	return (unsigned)(ino * 0x9e3779b97f4a7c15ull >> 32);
}

/* The shard's lock is held. */
static struct fs_inode *shard_find(struct fs_shard *shard, uint64_t ino)
{
	struct fs_inode *inode;

	HASH_FIND_BYHASHVALUE(hh, shard->table, &ino, sizeof(ino), hash_of(ino), inode);
	return inode;
}

static int shard_add(struct fs_shard *shard, struct fs_inode *inode)
{
	HASH_ADD_BYHASHVALUE(hh, shard->table, ino, sizeof(inode->ino), hash_of(inode->ino), inode);
	if (inode->hh.tbl == NULL)
		return -ENOMEM;
	shard->count++;
	if (shard->count > shard->peak)
		shard->peak = shard->count;
	return 0;
}

static void shard_remove(struct fs_shard *shard, struct fs_inode *inode)
{
	HASH_DEL(shard->table, inode);
	shard->count--;
}

#define TRIM_PEAK_MIN 1024u /* entries of a shard */

/*
 * True if most of what the shard once held is gone: time to give memory back to the system, which free(3) by itself
 * does not after many small objects. The shard's lock is held.
 */
static bool shard_shrunk(struct fs_shard *shard)
{
	if (shard->peak < TRIM_PEAK_MIN || shard->count > shard->peak / 8)
		return false;
	shard->peak = shard->count;
	return true;
}

static void inode_free(struct fs_inode *inode)
{
	lock_rw_fini(&inode->map);
	lock_rw_fini(&inode->layout);
	free(inode);
}

int fs_inode_new(uint32_t type, struct fs_inode **ret_inode)
{
	struct fs_inode *inode = calloc(1, sizeof(*inode));
	int error;

	if (inode == NULL)
		return -ENOMEM;
	inode->type = type;
	error = lock_rw_init(&inode->layout, S_ISDIR(type) ? LOCK_DIRECTORY : LOCK_LAYOUT);
	if (error != 0)
		goto free_inode;
	error = lock_rw_init(&inode->map, LOCK_MAP);
	if (error != 0)
		goto fini_layout;
	*ret_inode = inode;
	return 0;

fini_layout:
	lock_rw_fini(&inode->layout);
free_inode:
	free(inode);
	return error;
}

/* Loads an inode into its shard, whose lock is held, with one reference. */
static int shard_load(struct fs *fs, struct fs_shard *shard, uint64_t ino, struct fs_inode **ret_inode)
{
	const struct fmt_inode *media;
	struct fs_inode *inode;
	int error = meta_inode_get(fs->meta, ino, &media);

	if (error != 0)
		return error == -ENOENT ? -ESTALE : error;
	if (media->nlink == 0)
		return -ESTALE;
	error = fs_inode_new(media->mode & S_IFMT, &inode);
	if (error != 0)
		return error;
	inode->ino = ino;
	inode->media = media;
	inode->refs = 1;
	error = shard_add(shard, inode);
	if (error != 0) {
		inode_free(inode);
		return error;
	}
	*ret_inode = inode;
	return 0;
}

static int get(struct fs *fs, uint64_t ino, struct fs_inode **ret_inode)
{
	struct fs_shard *shard = shard_of(fs, ino);
	struct fs_inode *inode;
	int error = 0;

	/* Reserved numbers are the filesystem's own: no name leads to them. */
	if (ino != FMT_INO_ROOT && ino < FMT_INO_FIRST_FREE)
		return -ESTALE;
	lock_mutex_take(&shard->lock);
	inode = shard_find(shard, ino);
	if (inode == NULL)
		error = shard_load(fs, shard, ino, &inode);
	else if (inode->evicting)
		error = -ESTALE;
	else
		inode->refs++;
	lock_mutex_drop(&shard->lock);
	if (error == 0)
		*ret_inode = inode;
	return error;
}

int fs_inode_get(struct fs *fs, uint64_t ino, struct fs_inode **ret_inode)
{
	return fs_is_shut_down(fs) ? -EIO : get(fs, ino, ret_inode);
}

int fs_root_get(struct fs *fs, struct fs_inode **ret_inode)
{
	return get(fs, FMT_INO_ROOT, ret_inode);
}

/* An entry that is evicting: evicts it, and it leaves the table. As settle(). */
static bool evict(struct fs *fs, struct fs_shard *shard, struct fs_inode *inode)
{
	bool again;
	bool shrunk;

	do {
		bool waits = fs_evict(fs, inode);

		lock_mutex_take(&shard->lock);
		/* Whoever has reaped its last pin meanwhile has found it in the table and left the rest to us. */
		again = waits && !fs_evict_waits(fs, inode->ino);
		if (!again && shard_find(shard, inode->ino) == inode)
			shard_remove(shard, inode);
		shrunk = shard_shrunk(shard);
		lock_mutex_drop(&shard->lock);
	} while (again);
	inode_free(inode);
	return shrunk;
}

/*
 * Called with the shard's lock held after a count was lowered; drops the lock. Returns true if the table has shrunk
 * much. If nobody knows the inode any more it leaves the table: at once if it has links (or nothing may be written: it
 * stays an orphan), else after its eviction.
 */
static bool settle(struct fs *fs, struct fs_shard *shard, struct fs_inode *inode)
{
	bool shrunk;

	if (inode->refs > 0 || inode->lookups > 0) {
		lock_mutex_drop(&shard->lock);
		return false;
	}
	if (inode->media->nlink > 0 || fs_writable(fs) != 0) {
		shard_remove(shard, inode);
		shrunk = shard_shrunk(shard);
		lock_mutex_drop(&shard->lock);
		inode_free(inode);
		return shrunk;
	}
	inode->evicting = true;
	lock_mutex_drop(&shard->lock);
	return evict(fs, shard, inode);
}

void fs_evict_rest(struct fs *fs, uint64_t ino)
{
	struct fs_shard *shard = shard_of(fs, ino);
	const struct fmt_inode *media;
	struct fs_inode *inode;
	int error;

	if (fs_writable(fs) != 0 || fs_inode_new(S_IFREG, &inode) != 0)
		return;
	lock_mutex_take(&shard->lock);
	/* Who is in the table is evicted by its last user, who has not looked at the pins for the last time. */
	error = shard_find(shard, ino) != NULL ? -EBUSY : meta_inode_get(fs->meta, ino, &media);
	if (error == 0 && (media->nlink > 0 || !S_ISREG(media->mode)))
		error = -EBUSY;
	if (error == 0) {
		inode->ino = ino;
		inode->media = media;
		inode->evicting = true;
		error = shard_add(shard, inode);
	}
	lock_mutex_drop(&shard->lock);
	if (error == 0)
		(void)evict(fs, shard, inode);
	else
		inode_free(inode);
}

void fs_inode_put(struct fs *fs, struct fs_inode *inode)
{
	struct fs_shard *shard = shard_of(fs, inode->ino);

	lock_mutex_take(&shard->lock);
	assert(inode->refs > 0);
	inode->refs--;
	(void)settle(fs, shard, inode);
}

void fs_inode_looked_up(struct fs *fs, struct fs_inode *inode)
{
	struct fs_shard *shard = shard_of(fs, inode->ino);

	lock_mutex_take(&shard->lock);
	assert(inode->refs > 0);
	inode->lookups++;
	lock_mutex_drop(&shard->lock);
}

void fs_forget(struct fs *fs, uint64_t ino, uint64_t count)
{
	struct fs_shard *shard = shard_of(fs, ino);
	struct fs_inode *inode;

	lock_mutex_take(&shard->lock);
	inode = shard_find(shard, ino);
	if (inode == NULL || inode->evicting || inode->lookups == 0) {
		lock_mutex_drop(&shard->lock);
		return;
	}
	/* The kernel cannot forget more than it was told; if it says so, it knows nothing of the inode now. */
	inode->lookups -= count < inode->lookups ? count : inode->lookups;
	/* Takes milliseconds: here, where nobody waits and no lock is held. */
	if (settle(fs, shard, inode))
		malloc_trim(0);
}

/* The numbers of a shard's regular files that have look-ups; the caller frees them. */
static int shard_known_files(struct fs_shard *shard, uint64_t **ret_inos, size_t *ret_count)
{
	struct fs_inode *inode;
	uint64_t *inos;
	size_t count = 0;
	int error = 0;

	lock_mutex_take(&shard->lock);
	inos = malloc((shard->count + 1) * sizeof(*inos));
	if (inos == NULL)
		error = -ENOMEM;
	for (inode = shard->table; error == 0 && inode != NULL; inode = inode->hh.next) {
		if (inode->lookups > 0 && S_ISREG(inode->type))
			inos[count++] = inode->ino;
	}
	lock_mutex_drop(&shard->lock);
	*ret_inos = inos;
	*ret_count = count;
	return error;
}

int fs_visit_known_files(struct fs *fs, int (*visit)(void *arg, uint64_t ino), void *arg)
{
	int error = 0;

	for (unsigned i = 0; error == 0 && i < FS_SHARDS; i++) {
		uint64_t *inos;
		size_t count;

		error = shard_known_files(&fs->shard[i], &inos, &count);
		for (size_t j = 0; error == 0 && j < count; j++)
			error = visit(arg, inos[j]);
		free(inos);
	}
	return error;
}

int fs_inode_insert(struct fs *fs, struct fs_inode *inode, uint64_t ino)
{
	struct fs_shard *shard = shard_of(fs, ino);
	struct fs_inode *old;
	int error;

	inode->ino = ino;
	inode->refs = 1;
	inode->evicting = true;
	lock_mutex_take(&shard->lock);
	old = shard_find(shard, ino);
	/* A free number has no user: what is left of the old inode is an eviction about to end. */
	assert(old == NULL || old->evicting);
	if (old != NULL)
		shard_remove(shard, old);
	error = shard_add(shard, inode);
	if (error != 0)
		inode->refs = 0;
	lock_mutex_drop(&shard->lock);
	return error;
}

int fs_inode_publish(struct fs *fs, struct fs_inode *inode)
{
	struct fs_shard *shard = shard_of(fs, inode->ino);
	int error = meta_inode_get(fs->meta, inode->ino, &inode->media);

	if (error != 0)
		return error;
	lock_mutex_take(&shard->lock);
	inode->evicting = false;
	lock_mutex_drop(&shard->lock);
	return 0;
}

void fs_inode_discard(struct fs *fs, struct fs_inode *inode)
{
	struct fs_shard *shard = shard_of(fs, inode->ino);

	/* refs is 0 if it was never inserted. */
	if (inode->refs > 0) {
		lock_mutex_take(&shard->lock);
		if (shard_find(shard, inode->ino) == inode)
			shard_remove(shard, inode);
		lock_mutex_drop(&shard->lock);
	}
	inode_free(inode);
}

int fs_inodes_init(struct fs *fs)
{
	unsigned shards = 0;
	int error;

	for (; shards < FS_SHARDS; shards++) {
		error = lock_mutex_init(&fs->shard[shards].lock, LOCK_INODES);
		if (error != 0)
			goto fini_shards;
		fs->shard[shards].table = NULL;
		fs->shard[shards].count = 0;
		fs->shard[shards].peak = 0;
	}
	return 0;

fini_shards:
	while (shards-- > 0)
		lock_mutex_fini(&fs->shard[shards].lock);
	return error;
}

void fs_inodes_fini(struct fs *fs)
{
	for (unsigned i = 0; i < FS_SHARDS; i++) {
		struct fs_shard *shard = &fs->shard[i];

		/* The last look-up of each: as if the kernel had forgotten it. No operation is in progress. */
		while (shard->table != NULL) {
			lock_mutex_take(&shard->lock);
			assert(shard->table->refs == 0);
			shard->table->refs = 0; /* or settle() would keep it, and this loop never end */
			shard->table->lookups = 0;
			(void)settle(fs, shard, shard->table);
		}
		lock_mutex_fini(&shard->lock);
	}
}
