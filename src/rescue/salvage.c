/*
 * Files whose inode is damaged. Of the slot nothing is believed but what something else confirms: the generation by the
 * entry that names it, extents by their seals, which have that generation in them, and size and number of blocks by
 * each other.
 */
#include "rescue/work.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct fmt_inode believable(const struct work *work, uint64_t ino, uint32_t generation)
{
	struct fmt_inode inode = {.ino = ino, .generation = generation, .mode = S_IFREG};
	uint32_t seed = fmt_owner_seed(ino, generation);
	uint64_t offset = pool_slot_offset(work, ino);
	struct fmt_inode slot;

	inode.blocks = UINT64_MAX;
	if (offset == 0 || image_read(&work->meta, offset, &slot, sizeof(slot)) != 0)
		return inode;
	if (slot.size <= FMT_FILE_SIZE_MAX) {
		inode.size = slot.size;
		inode.blocks = slot.blocks;
	}
	for (unsigned i = 0; i < FMT_BODY_RECORDS; i++) {
		if (slot.record[i].length != 0 && fmt_record_valid(&slot.record[i], seed) && i == inode.body.count)
			inode.record[inode.body.count++] = slot.record[i];
	}
	return inode;
}

static int make(struct work *work, const char *name, const struct fmt_inode *inode, const char *path)
{
	int fd = openat(work->lost_found, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int error;

	if (fd < 0)
		return -errno;
	error = file_copy(work, fd, inode, path);
	if (close(fd) != 0 && error == 0)
		error = -errno;
	if (error == 0) {
		work->report.files++;
		work->report.unnamed++;
	}
	return error;
}

int salvage_copy(struct work *work, uint64_t ino, uint32_t generation, const char *path)
{
	struct fmt_inode inode = believable(work, ino, generation);
	struct info info = {.ino = ino, .generation = generation};
	bool found = false;
	char name[24];
	int error;

	snprintf(name, sizeof(name), "#%" PRIu64, ino);
	error = orphans_salvage(work, &info, &inode, &found);
	if (error == 0 && !found && inode.body.count > 0) {
		/* A file that has got nodes leaves its inline records as they were. */
		inode.body.count = 0;
		error = orphans_salvage(work, &info, &inode, &found);
	}
	if (error != 0)
		return error;
	if (!found) {
		rescue_lost(work, "%s: its inode %" PRIu64 " is damaged", path, ino);
		return 0;
	}
	rescue_lost(work, "%s: its inode %" PRIu64 " is damaged: its contents, perhaps, are in %s/%s", path, ino,
		    work->lost_found_name, name);
	error = place_lost_found(work);
	if (error == 0)
		error = make(work, name, &inode, path);
	if (error == 0 || node_fatal(error))
		return error;
	rescue_lost(work, "%s/%s: cannot be made: %s", work->lost_found_name, name, strerror(-error));
	return 0;
}
