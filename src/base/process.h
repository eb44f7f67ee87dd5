/*
 * Who a process is, so that it is known again: a number can be another process' tomorrow. Reads /proc; calls into no
 * mount. Thread-safe.
 */
#ifndef PINFS_BASE_PROCESS_H
#define PINFS_BASE_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define PROCESS_COMMAND_MAX 16 /* with its end, as the kernel's comm */

struct process_identity {
	uint8_t boot_id[16]; /* of this boot of the machine */
	uint64_t pid_namespace; /* inode number of the namespace that `pid` counts in: the caller's own */
	uint64_t start_time; /* clock ticks since boot: /proc/PID/stat, field 22 */
	uint64_t pidfs_inode; /* of its pidfd where pidfds have numbers of their own (6.9), else 0 */
	pid_t pid; /* of the process, not of a thread */
	char command[PROCESS_COMMAND_MAX];
};

/*
 * Identity of the living process `pid` and a pidfd of it (close-on-exec, the caller's), readable once it is dead and
 * its memory is gone. -ESRCH: there is none; -EINVAL: pid <= 0; -EMFILE, -ENOMEM, -EIO.
 */
int process_identify(pid_t pid, struct process_identity *ret_identity, int *ret_pidfd);

enum process_fate {
	PROCESS_LIVES, /* *ret_pidfd is its pidfd */
	PROCESS_DEAD, /* proven: another boot, no such process, or another process has its number */
	PROCESS_UNSEEN, /* its namespace is not ours: nothing is proven */
};
/* What has become of a recorded process. *ret_pidfd is -1 unless it lives. -EMFILE, -ENOMEM, -EIO. */
int process_find(const struct process_identity *identity, enum process_fate *ret_fate, int *ret_pidfd);

/*
 * True if the process is dying and cannot know it: every thread of it is exiting or has SIGKILL pending. False for a
 * living process whose leader has exited, for one that is stopped or traced, and if nothing can be read.
 */
bool process_dying(pid_t pid);

/* The process of a thread; 0 if it is not known (any more). pid 0 gives 0. */
pid_t process_of_thread(pid_t thread);

#endif
