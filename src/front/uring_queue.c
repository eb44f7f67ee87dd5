/*
 * A queue of FUSE over io_uring, as the kernel has it (Documentation/filesystems/fuse/fuse-io-uring.rst). An entry is a
 * command that the kernel completes when it has put a request into the entry's memory; the command that carries the
 * answer fetches the next one:
 *
 *   REGISTER -> [kernel] --request--> serving --answered--> COMMIT_AND_FETCH -> [kernel] ...
 *                                        |                         ^
 *                                        +--> held --answered in another thread: done list
 *
 * An entry whose request is held (parked, or waiting for write-back) is out of use, so there is one more for each: any
 * number may be held, and requests go on. The kernel gives a request that found no entry to the next one that commits,
 * not to one that is registered: so each time one is held the kernel is made to send a question (kick), whose answer is
 * a commit. Then requests are waiting in the kernel only while one is served, whose end is a commit, or again a kick.
 *
 * The question (FUSE_NOTIFY_RETRIEVE) is about the very file whose request is held: of folders, the root too, kernels
 * of 2026 answer none (-EINVAL; 6.18.44 is one). And the kernel has that file as long as it waits for our answer: this
 * thread will not be who drops the last reference.
 *
 * Only the queue's thread uses its ring, until it has ended; who answers in another thread puts the entry on the done
 * list and wakes it.
 */
#include "front/uring_abi.h"
#include "front/uring_queue.h"

#include <errno.h>
#include <linux/fuse.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Entries of a queue: while one is served, so many more requests of its core get in without waiting. */
#define DEPTH 16u
#define SQ_ENTRIES 64u
#define CQ_ENTRIES 4096u
/* Numbers of kicks: the kernel counts its requests from 0, by twos. */
#define KICK (1ull << 62)

/* The request that this thread serves. */
static _Thread_local struct front_uring_entry *serving;

struct front_uring_entry *front_uring_serving(void)
{
	return serving;
}

/* ---- Commands ---- */

/* Room in the ring is made by handing over what is in it. */
static struct io_uring_sqe *get_sqe(struct front_uring_queue *queue)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&queue->ring);

	while (sqe == NULL) {
		(void)io_uring_submit(&queue->ring);
		sqe = io_uring_get_sqe(&queue->ring);
	}
	return sqe;
}

static void command(struct front_uring_entry *entry, enum uring_command number)
{
	const struct uring_cmd_req request = {.commit_id = entry->commit_id, .qid = entry->qid};
	struct front_uring_queue *queue = entry->queue;
	struct io_uring_sqe *sqe = get_sqe(queue);

	memset(sqe, 0, 2 * sizeof(*sqe)); /* IORING_SETUP_SQE128 */
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = fuse_session_fd(queue->uring->front->session);
	sqe->cmd_op = number;
	if (number == COMMAND_REGISTER) {
		sqe->addr = (uintptr_t)entry->iov;
		sqe->len = 2;
	}
	memcpy(sqe->cmd, &request, sizeof(request));
	io_uring_sqe_set_data(sqe, entry);
}

/* The answer is in the entry's memory. */
static void commit(struct front_uring_entry *entry)
{
	if (entry->held)
		entry->queue->held--;
	entry->held = false;
	command(entry, COMMAND_COMMIT_AND_FETCH);
}

/* Has the ring complete something when the eventfd is written. */
static void await_event(struct front_uring_queue *queue)
{
	struct io_uring_sqe *sqe = get_sqe(queue);

	memset(sqe, 0, 2 * sizeof(*sqe));
	io_uring_prep_read(sqe, queue->event, &queue->event_value, sizeof(queue->event_value), 0);
	io_uring_sqe_set_data(sqe, NULL);
}

static void wake(const struct front_uring_queue *queue)
{
	const uint64_t one = 1;

	(void)!write(queue->event, &one, sizeof(one));
}

/* The lock is held. */
static void commit_done(struct front_uring_queue *queue)
{
	struct front_uring_entry *entry;

	while ((entry = SLIST_FIRST(&queue->done)) != NULL) {
		SLIST_REMOVE_HEAD(&queue->done, next_done);
		commit(entry);
	}
}

/* In another thread than the queue's. */
static void hand_over(struct front_uring_entry *entry)
{
	struct front_uring_queue *queue = entry->queue;

	pthread_mutex_lock(&queue->lock);
	if (queue->ended) {
		commit(entry);
		(void)io_uring_submit(&queue->ring);
	} else {
		SLIST_INSERT_HEAD(&queue->done, entry, next_done);
		if (SLIST_NEXT(entry, next_done) == NULL)
			wake(queue);
	}
	pthread_mutex_unlock(&queue->lock);
}

void front_uring_answered(struct front_uring_entry *entry)
{
	atomic_store(&entry->unique, 0);
	if (entry == serving)
		commit(entry);
	else
		hand_over(entry);
}

/* ---- What is held ---- */

/* NULL: no memory. */
static cpu_set_t *set_of(unsigned core, size_t *ret_bytes)
{
	cpu_set_t *set = CPU_ALLOC(core + 1);

	*ret_bytes = CPU_ALLOC_SIZE(core + 1);
	if (set == NULL)
		return NULL;
	CPU_ZERO_S(*ret_bytes, set);
	CPU_SET_S(core, *ret_bytes, set);
	return set;
}

static void move_to(unsigned core)
{
	size_t bytes;
	cpu_set_t *set = set_of(core, &bytes);

	if (set != NULL)
		(void)sched_setaffinity(0, bytes, set);
	CPU_FREE(set);
}

/* The kernel sends what it has cached of the file at offset 0, 0 bytes: to this core's queue. False: of this one not.
 */
static bool ask(struct front_uring_queue *queue, uint64_t node)
{
	struct fuse_notify_retrieve_out retrieve = {.notify_unique = KICK | queue->kicks << 1, .nodeid = node};
	struct fuse_out_header out = {.len = sizeof(out) + sizeof(retrieve), .error = FUSE_NOTIFY_RETRIEVE};
	const struct iovec iov[] = {{&out, sizeof(out)}, {&retrieve, sizeof(retrieve)}};

	queue->kicks++;
	return writev(fuse_session_fd(queue->uring->front->session), iov, 2) >= 0;
}

/*
 * What a folder holds up (FS_IOC_SHUTDOWN, chattr) is asked for by way of another file whose request is held. Where
 * there is none, others of the entries are in use, and their end is a commit or a kick.
 */
static void ask_about_any(struct front_uring_entry *held)
{
	struct front_uring_entry *entry;

	if (ask(held->queue, held->node))
		return;
	for (entry = atomic_load(&held->queue->entries); entry != NULL; entry = entry->older) {
		if (entry->held && entry != held && ask(held->queue, entry->node))
			return;
	}
}

/* The kernel takes the question to the queue of the core that asks: rarely not ours (one that came after the mount). */
static void kick(struct front_uring_entry *held)
{
	const unsigned core = held->queue->core;

	if (held->qid != core)
		move_to(held->qid);
	ask_about_any(held);
	if (held->qid != core)
		move_to(core);
}

/* The request goes on elsewhere: another entry takes the place of this one. Without memory there is one less. */
static void hold(struct front_uring_entry *entry)
{
	struct front_uring_queue *queue = entry->queue;
	struct front_uring_entry *more;

	entry->held = true;
	if (++queue->held > queue->extra && front_uring_entry_add(queue, entry->qid, &more) == 0) {
		queue->extra++;
		command(more, COMMAND_REGISTER);
	}
	(void)io_uring_submit(&queue->ring);
	kick(entry);
}

/* ---- Requests ---- */

static bool is_kick(const struct front_uring_entry *entry)
{
	return (atomic_load(&entry->unique) & KICK) != 0;
}

static void answer_kick(struct front_uring_entry *entry)
{
	struct fuse_out_header out = {.len = sizeof(out), .unique = atomic_load(&entry->unique)};
	const struct iovec iov = {&out, sizeof(out)};
	size_t length;

	(void)front_uring_fill(entry, &iov, 1, &length);
	atomic_store(&entry->unique, 0);
	commit(entry);
}

static void serve(struct front_uring_entry *entry)
{
	struct front *front = entry->queue->uring->front;
	struct fuse_buf buffer = {.fd = -1};

	buffer.mem = front_uring_message(entry, &buffer.size);
	if (buffer.mem == NULL) {
		log_error("%s: a request over io_uring that makes no sense", front->mountpoint);
		front_loop_stop(&front->loop);
		return;
	}
	if (is_kick(entry)) {
		answer_kick(entry);
		return;
	}
	front_channel_look(front, buffer.mem, buffer.size);
	serving = entry;
	fuse_session_process_buf(front->session, &buffer);
	serving = NULL;
	if (atomic_load(&entry->unique) != 0)
		hold(entry);
}

/* The mount's end, or something that should not be: then that is the end, too. */
static void fail(const struct front_uring_entry *entry, int error)
{
	struct front *front = entry->queue->uring->front;

	if (error == -ENOTCONN || atomic_load(&entry->queue->uring->stopping))
		return;
	log_error("%s: io_uring: %s", front->mountpoint, strerror(-error));
	front_loop_stop(&front->loop);
}

/* One thing at a time: what it answered is not kept back by what comes next. */
static void handle(struct front_uring_queue *queue)
{
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&queue->ring, &cqe) == 0) {
		struct front_uring_entry *entry = io_uring_cqe_get_data(cqe);
		const int result = cqe->res;

		io_uring_cqe_seen(&queue->ring, cqe);
		if (entry == NULL) {
			pthread_mutex_lock(&queue->lock);
			commit_done(queue);
			pthread_mutex_unlock(&queue->lock);
			await_event(queue);
		} else if (result == 0) {
			serve(entry);
		} else {
			fail(entry, result);
		}
		if (io_uring_cq_ready(&queue->ring) > 0)
			(void)io_uring_submit(&queue->ring);
	}
}

/* ---- The thread ---- */

static void wait_for_go(struct front_uring *uring)
{
	pthread_mutex_lock(&uring->lock);
	while (!uring->going && !atomic_load(&uring->stopping))
		pthread_cond_wait(&uring->go, &uring->lock);
	pthread_mutex_unlock(&uring->lock);
}

static void register_entries(struct front_uring_queue *queue)
{
	for (struct front_uring_entry *entry = atomic_load(&queue->entries); entry != NULL; entry = entry->older)
		command(entry, COMMAND_REGISTER);
	await_event(queue);
}

static void *serve_queue(void *arg)
{
	struct front_uring_queue *queue = arg;
	struct front_uring *uring = queue->uring;

	wait_for_go(uring);
	if (!atomic_load(&uring->stopping))
		register_entries(queue);
	while (!atomic_load(&uring->stopping)) {
		(void)io_uring_submit_and_wait(&queue->ring, 1);
		handle(queue);
	}
	pthread_mutex_lock(&queue->lock);
	queue->ended = true;
	commit_done(queue);
	(void)io_uring_submit(&queue->ring);
	pthread_mutex_unlock(&queue->lock);
	return NULL;
}

/* ---- Life ---- */

/* On its core from the start: its kicks have to come from there. -EINVAL: that core is not for us. */
static int start_thread(struct front_uring_queue *queue)
{
	size_t bytes;
	cpu_set_t *set = set_of(queue->core, &bytes);
	pthread_attr_t attr;
	int error = set == NULL ? -ENOMEM : -pthread_attr_init(&attr);

	if (error != 0)
		goto free_set;
	error = -pthread_attr_setaffinity_np(&attr, bytes, set);
	if (error == 0)
		error = -pthread_create(&queue->thread, &attr, serve_queue, queue);
	queue->has_thread = error == 0;
	pthread_attr_destroy(&attr);
free_set:
	CPU_FREE(set);
	return error;
}

int front_uring_queue_open(struct front_uring_queue *queue, unsigned core)
{
	struct front_uring *uring = queue->uring;
	struct io_uring_params params = {
		.flags = IORING_SETUP_SQE128 | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
		.cq_entries = CQ_ENTRIES,
	};
	struct front_uring_entry *entry;
	int error;

	queue->core = core;
	queue->event = eventfd(0, EFD_CLOEXEC);
	if (queue->event < 0)
		return -errno;
	error = io_uring_queue_init_params(SQ_ENTRIES, &queue->ring, &params);
	if (error != 0)
		return error;
	queue->has_ring = true;
	for (unsigned qid = core; qid < uring->cores; qid += uring->count) {
		for (unsigned i = 0; i < DEPTH; i++) {
			error = front_uring_entry_add(queue, (uint16_t)qid, &entry);
			if (error != 0)
				return error;
		}
	}
	return start_thread(queue);
}

void front_uring_queue_stop(struct front_uring_queue *queue)
{
	if (!queue->has_thread)
		return;
	wake(queue);
	(void)pthread_join(queue->thread, NULL);
	queue->has_thread = false;
}

void front_uring_queue_close(struct front_uring_queue *queue)
{
	if (queue->has_ring)
		io_uring_queue_exit(&queue->ring);
	if (queue->event >= 0)
		close(queue->event);
	front_uring_entries_free(queue);
	pthread_mutex_destroy(&queue->lock);
}
