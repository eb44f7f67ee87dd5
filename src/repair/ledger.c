/*
 * The pin ledger (I25 to I28). Somebody may hold a pin of which a damaged shard tells nothing any more: then blocks
 * must not be given to others, and the shard stays as it is. It is emptied when all that was in it is void: after a
 * clean unmount, and after a reboot.
 */
#include "base/process.h"
#include "repair/work.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LEDGER "I3 I4 I5 I6 I13 I14 I20 I25 I26 I28"

static int empty_shard(struct work *work, uint64_t ino)
{
	const struct fmt_inode shard = {.generation = 1, .mode = S_IFREG, .nlink = 1};
	int error = meta_mend_slot(work->meta, ino, &shard);

	if (error == 0)
		repair_say(work, "I25", ino, "shard of the pin ledger emptied: all that was in it is void");
	return error;
}

/*
 * Its record is gone, and with it the boot that its pins are of. It becomes a shard of this boot that cannot be read:
 * mounts are read-only until a reboot, and the first mount or repair after it empties it.
 */
static int mark_shard(struct work *work, uint64_t ino, const uint8_t boot_id[16])
{
	struct fmt_inode shard = {.generation = 1, .mode = S_IFREG, .nlink = 1};
	int error;

	memcpy(shard.boot_id, boot_id, sizeof(shard.boot_id));
	shard.xattrs.height = 1;
	shard.xattrs.root = UINT64_MAX;
	error = meta_mend_slot(work->meta, ino, &shard);
	if (error == 0)
		repair_say(work, "I3", ino,
			   "shard of the pin ledger marked as of this boot: who holds its pins is lost until a reboot");
	return error;
}

int repair_ledger(struct work *work)
{
	const bool clean = meta_super(work->meta)->state == FMT_STATE_CLEAN;
	struct process_identity self;
	struct repair_inodes set;
	int pidfd, error = repair_inodes_with(work, LEDGER, &set);

	if (error == 0)
		error = process_identify(getpid(), &self, &pidfd);
	if (error == 0)
		close(pidfd);
	for (size_t i = 0; error == 0 && i < set.count; i++) {
		const struct fmt_inode *shard;

		if (!fmt_ino_is_ledger(set.ino[i]))
			continue;
		shard = meta_mend_peek(work->meta, set.ino[i]);
		if (clean)
			error = empty_shard(work, set.ino[i]);
		else if (!fmt_inode_valid(shard, set.ino[i]))
			error = mark_shard(work, set.ino[i], self.boot_id);
		else if (memcmp(shard->boot_id, self.boot_id, sizeof(self.boot_id)) != 0)
			error = empty_shard(work, set.ino[i]);
	}
	free(set.ino);
	return error;
}
