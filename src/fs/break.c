/*
 * Breaks: what the data path asks of the pin table before it takes blocks out of a file, or writes to them.
 *
 *   UNMAP   truncate down, punch, zero range: layout exclusive, so that no pin is granted meanwhile
 *   WRITE   write, copy: layout shared; only exclusive pins are in the way, and these are granted under layout
 * exclusive
 *
 * An operation asks before its first change, with all of its blocks: if it is parked nothing has happened, and it
 * begins anew. Operations that only add blocks, or grow the size, break nothing. An eviction never asks: it detaches.
 */
#include "fs/inode.h"

#include <assert.h>
#include <errno.h>

/* Who writes: looked up only here, where pins are in the way; a write with a wait has been refused without one. */
static void resolve_process(struct fs_wait *wait)
{
	if (wait->pin.process == 0)
		wait->pin.process = process_of_thread(wait->thread);
}

int fs_break(struct fs *fs, struct fs_inode *file, uint64_t first, uint64_t last, enum pin_reason reason,
	     struct fs_wait *wait)
{
	int error;

	assert(lock_held(LOCK_LAYOUT));
	if (first >= last || (reason == PIN_UNMAP ? !pin_any(fs->pins) : !pin_any_exclusive(fs->pins)))
		return 0;
	if (wait != NULL && reason == PIN_WRITE)
		resolve_process(wait);
	error = pin_break(fs->pins, file->ino, first, last, reason, wait != NULL ? &wait->pin : NULL);
	/* The wait is not ours any more: it may be running elsewhere. */
	if (error == -EINPROGRESS)
		fs_wait_parked(fs);
	return error;
}

ssize_t fs_break_end(struct fs *fs, struct fs_wait *wait, ssize_t result)
{
	if (wait != NULL && result != -EINPROGRESS)
		pin_waiter_end(fs->pins, &wait->pin);
	return result;
}
