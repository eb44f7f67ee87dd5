/* Which process holds a lock on a file. */
#ifndef PINFS_BASE_HOLDER_H
#define PINFS_BASE_HOLDER_H

/* Pid of a process that holds a flock(2) on the file behind `fd`, by /proc/locks; 0 if none is seen. */
int holder_pid(int fd);

#endif
