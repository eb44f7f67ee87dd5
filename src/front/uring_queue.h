/*
 * What the files of the transport share. A queue is a thread's and its core's; an entry carries one request at a time.
 *
 *   uring.c        all queues: made, started, stopped; whose request an answer is for
 *   uring_queue.c  a queue: what its thread does, what is held, how the kernel is made to go on
 *   uring_entry.c  an entry's memory: requests out of it, answers into it
 */
#ifndef PINFS_FRONT_URING_QUEUE_H
#define PINFS_FRONT_URING_QUEUE_H

#include "front/request.h"
#include "front/uring.h"

#include <liburing.h>

struct front_uring_queue;

struct front_uring_entry {
	SLIST_ENTRY(front_uring_entry) next_done;
	struct front_uring_entry *older; /* of the queue's entries; set before it is published */
	struct front_uring_queue *queue;
	char *memory;
	struct iovec iov[2]; /* header, payload */
	_Atomic uint64_t unique; /* the request that is to be answered; 0: none */
	uint64_t commit_id;
	uint64_t node; /* that the request is about */
	uint16_t qid;
	bool held;
};
SLIST_HEAD(front_uring_done, front_uring_entry);

/* A thread's; one for each core, or nearly. */
struct front_uring_queue {
	struct front_uring *uring;
	pthread_t thread;
	unsigned core;
	struct io_uring ring; /* the thread's, under the lock once it has ended */
	bool has_ring, has_thread;
	int event;
	uint64_t event_value;
	_Atomic(struct front_uring_entry *) entries; /* all of them, the newest first */
	unsigned held, extra; /* entries that are held, and those that were added for them */
	uint64_t kicks;
	pthread_mutex_t lock; /* leaf; protects what follows */
	struct front_uring_done done;
	bool ended;
};

struct front_uring {
	struct front *front;
	size_t payload_max;
	unsigned cores; /* for the kernel: those that are possible */
	unsigned count;
	pthread_mutex_t lock; /* leaf; protects going */
	pthread_cond_t go;
	bool going;
	atomic_bool stopping;
	struct front_uring_queue queues[];
};

/* ---- uring_entry.c ---- */

/* -ENOMEM. By the queue's thread, or before there is one. */
int front_uring_entry_add(struct front_uring_queue *queue, uint16_t qid, struct front_uring_entry **ret_entry);
void front_uring_entries_free(struct front_uring_queue *queue);
/* The request that has come, in one piece; NULL: no kernel sends such a thing. */
char *front_uring_message(struct front_uring_entry *entry, size_t *ret_length);
/* The answer: 0, or -EFAULT if some of it is lost (it is EIO then), as /dev/fuse has it. */
int front_uring_fill(const struct front_uring_entry *entry, const struct iovec *iov, int count, size_t *ret_length);

/* ---- uring_queue.c ---- */

/* The ring, the entries, and the thread, which waits for front_uring_go(). What it has made is the caller's to undo. */
int front_uring_queue_open(struct front_uring_queue *queue, unsigned core);
void front_uring_queue_stop(struct front_uring_queue *queue);
void front_uring_queue_close(struct front_uring_queue *queue);
/* The entry whose request this thread serves; NULL: none. */
struct front_uring_entry *front_uring_serving(void);
/* The answer is in the entry's memory: to the kernel with it. Any thread. */
void front_uring_answered(struct front_uring_entry *entry);

#endif
