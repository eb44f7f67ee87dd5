/*
 * Stopping at once, by request: as a power cut would, but that the daemon lives on to answer, with EIO. What was
 * answered before is durable; a transaction that has begun is completed; what is half done the next mount finishes or
 * undoes. Holders of pins are told; their blocks stay theirs, since nothing is freed any more.
 */
#include "fs/pinning.h"

bool fs_is_shut_down(const struct fs *fs)
{
	return atomic_load(&fs->shut_down);
}

void fs_shut_down(struct fs *fs)
{
	/* First: what fails for this reason is no damage to be reported. */
	atomic_store(&fs->damaged, true);
	if (atomic_exchange(&fs->shut_down, true))
		return;
	meta_stop(fs->meta);
	atomic_store(&fs->pinning->draining, true);
	/* Whoever waits for a pin, or for one to go, waits no longer. */
	pin_shutdown(fs->pins, fs_monotonic());
	log_warning("%s: shut down by request: nothing is read or written until it is mounted again", fs->meta_path);
}
