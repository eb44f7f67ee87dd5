/* Recovery at mount: what operations had promised on media and a crash kept them from finishing. */
#include "fs/recover.h"
#include "fs/data.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int list_add(struct fs_ino_list *list, uint64_t ino)
{
	if (list->count == list->capacity) {
		size_t capacity = list->capacity == 0 ? 64 : list->capacity * 2;
		uint64_t *grown = reallocarray(list->ino, capacity, sizeof(*grown));

		if (grown == NULL)
			return -ENOMEM;
		list->ino = grown;
		list->capacity = capacity;
	}
	list->ino[list->count++] = ino;
	return 0;
}

int fs_recovery_note(struct fs_recovery *recovery, const struct fmt_inode *inode)
{
	int error = 0;

	if (inode->ino != FMT_INO_ROOT && inode->ino < FMT_INO_FIRST_FREE)
		return 0; /* reserved inodes have no links */
	if (inode->nlink == 0)
		return list_add(&recovery->orphans, inode->ino);
	if ((inode->flags & FMT_INODE_PROTECTED) != 0)
		recovery->protected = true;
	if (inode->flags & FMT_INODE_INTENT)
		error = list_add(&recovery->intents, inode->ino);
	if (error == 0 && S_ISREG(inode->mode) && inode->size % FMT_BLOCK_SIZE != 0)
		error = list_add(&recovery->tails, inode->ino);
	return error;
}

void fs_recovery_fini(struct fs_recovery *recovery)
{
	free(recovery->orphans.ino);
	free(recovery->intents.ino);
	free(recovery->tails.ino);
	*recovery = (struct fs_recovery){.orphans = {.count = 0}};
}

/* A write or a truncate that a crash interrupted may have left bytes behind the end. */
static int recover_tail(struct fs *fs, struct fs_inode *file)
{
	uint64_t start = file->media->size;
	uint64_t end = align_up(start, FMT_BLOCK_SIZE);
	bool zero;
	int error = fs_reads_zero(fs, file, start, end, &zero);

	/* What a pin counts may hold its holder's stores: the last unpin has it mended. */
	return error != 0 || zero ? error : fs_zero_idle(fs, file, start, end);
}

static int recover_orphan(struct fs *fs, struct fs_inode *inode)
{
	(void)fs_evict(fs, inode);
	return fs_writable(fs);
}

static int recover_locked(struct fs *fs, struct fs_inode *file, int (*what)(struct fs *fs, struct fs_inode *file))
{
	int error;

	lock_rw_take_exclusive(&file->layout);
	lock_rw_take_exclusive(&file->map);
	error = what(fs, file);
	lock_rw_drop(&file->map);
	lock_rw_drop(&file->layout);
	return error;
}

static int recover_intent(struct fs *fs, struct fs_inode *file)
{
	return recover_locked(fs, file, fs_intent_run);
}

static int recover_tail_locked(struct fs *fs, struct fs_inode *file)
{
	return recover_locked(fs, file, recover_tail);
}

/* An inode outside of the table: nobody else is there yet. */
static int recover_inode(struct fs *fs, uint64_t ino, int (*what)(struct fs *fs, struct fs_inode *inode))
{
	struct fs_inode inode = {.ino = ino};
	int error;

	error = meta_inode_get(fs->meta, ino, &inode.media);
	if (error != 0)
		return error;
	inode.type = inode.media->mode & S_IFMT;
	error = lock_rw_init(&inode.layout, fs_inode_is_dir(&inode) ? LOCK_DIRECTORY : LOCK_LAYOUT);
	if (error != 0)
		return error;
	error = lock_rw_init(&inode.map, LOCK_MAP);
	if (error != 0)
		goto fini_layout;
	error = what(fs, &inode);
	lock_rw_fini(&inode.map);
fini_layout:
	lock_rw_fini(&inode.layout);
	return error;
}

static int recover_list(struct fs *fs, const struct fs_ino_list *list,
			int (*what)(struct fs *fs, struct fs_inode *inode), const char *words, struct message *message)
{
	for (size_t i = 0; i < list->count; i++) {
		int error = recover_inode(fs, list->ino[i], what);

		if (error != 0) {
			message_set(message,
				    "%s: cannot %s inode %" PRIu64 ": %s; mount it with -o ro, or run "
				    "`pinfs fsck --repair %s`",
				    fs->meta_path, words, list->ino[i], strerror(-error), fs->meta_path);
			return error;
		}
	}
	return 0;
}

int fs_recover(struct fs *fs, const struct fs_recovery *recovery, bool was_clean, struct message *message)
{
	int error;

	if (fs->read_only)
		return 0;
	error = recover_list(fs, &recovery->intents, recover_intent, "finish the truncation of", message);
	if (error == 0)
		error = recover_list(fs, &recovery->orphans, recover_orphan, "evict the unlinked", message);
	if (error == 0 && !was_clean)
		error = recover_list(fs, &recovery->tails, recover_tail_locked, "clear the last block of", message);
	return error;
}
