/*
 * Requests over io_uring in place of /dev/fuse (kernel 6.14): a queue and a thread for each core, so that a request is
 * answered on the core that asked. Under libfuse: its bytes come and go as if by read(2) and writev(2) (channel.c).
 *
 * Life: open and go during INIT, stop when the loop ends, close after the unmount.
 */
#ifndef PINFS_FRONT_URING_H
#define PINFS_FRONT_URING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct front;
struct front_uring;

/* All that may fail, with requests of up to `payload_max` bytes beside their headers. Negative errno. */
int front_uring_open(struct front *front, size_t payload_max, struct front_uring **ret_uring);
/* INIT has been answered, with FUSE_OVER_IO_URING: the kernel waits for the queues now. */
void front_uring_go(struct front_uring *uring);
/* Takes no more requests; those that are parked can be answered until the close. NULL is fine, as below. */
void front_uring_stop(struct front_uring *uring);
void front_uring_close(struct front_uring *uring);
/*
 * An answer, in any thread; as writev(2), of which *ret_result is the result, errno too. False: this request did not
 * come by io_uring.
 */
bool front_uring_answer(struct front_uring *uring, const struct iovec *iov, int count, ssize_t *ret_result);

#endif
