/*
 * Operations that a pin can make wait. The operation does not block: it returns -EINPROGRESS, and `resume` is called
 * once, by a thread of a small pool and with no lock held, when it is to be repeated with the same arguments and the
 * same wait. It may return -EINPROGRESS again.
 *
 *   struct fs_wait wait;                          lives where the arguments live, until the last answer
 *   fs_wait_init(fs, &wait, thread, resume);
 *   error = fs_setattr(fs, ino, &changes, &wait, &attr);
 *   if (error == -EINPROGRESS) return;            nothing of it is touched any more: it may be running elsewhere
 *   ... answer
 *
 * Without a wait (NULL) the operation returns -EAGAIN where it would have to wait, and has changed nothing.
 */
#ifndef PINFS_FS_WAIT_H
#define PINFS_FS_WAIT_H

#include "pin/pin.h"

#include <sys/types.h>

struct fs;

struct fs_wait {
	struct pin_waiter pin; /* private */
	pid_t thread; /* who asks, as FUSE tells it: a thread; 0: nobody knows. Resolved to a process only if need be */
	void (*resume)(struct fs_wait *wait);
	struct fs_wait *next; /* private: the queue of the pool */
	struct fs_upcall *upcall; /* private: what the kernel was asked and has not answered yet */
	bool interrupted; /* private */
};

void fs_wait_init(struct fs *fs, struct fs_wait *wait, pid_t thread, void (*resume)(struct fs_wait *wait));
/* Not to wait: the break policy decides at once. Between init and the first call of the operation. */
static inline void fs_wait_never(struct fs_wait *wait)
{
	wait->pin.timeout = 0;
}
/* The operation answers -EINTR if it is still waiting. Any thread, any time between init and the last answer. */
void fs_wait_interrupt(struct fs *fs, struct fs_wait *wait);

#endif
