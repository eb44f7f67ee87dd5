/*
 * FUSE over io_uring, as the kernel has it (Documentation/filesystems/fuse/fuse-io-uring.rst). An entry is a command
 * that the kernel completes when it has put a request into the entry's memory; the command that carries the answer
 * fetches the next one:
 *
 *   REGISTER -> [kernel] --request--> serving --answered--> COMMIT_AND_FETCH -> [kernel] ...
 *                                        |                         ^
 *                                        +--> held --answered in another thread: done list
 *
 * An entry whose request is held (parked, or waiting for write-back) is out of use, so there is one more for each:
 * any number may be held, and requests go on. Their memory is touched only as far as it is used. The kernel gives a
 * request that found no entry to the next one that commits, not to one that is registered: so each time one is held the
 * kernel is made to send a question (kick), whose answer is a commit. Then requests are waiting in the kernel only
 * while one is served, whose end is a commit, or again a kick. The question (FUSE_NOTIFY_RETRIEVE) is about the very
 * file whose request is held: of folders, the root too, kernels of 2026 answer none (-EINVAL; 6.18.44 is one). And the
 * kernel has that file as long as it waits for our answer: this thread will not be who drops the last reference.
 *
 * Only the queue's thread uses its ring, until it has ended; who answers in another thread puts the entry on the done
 * list and wakes it. libfuse wants a request in one piece, so an entry's memory is
 *
 *   | header, for the kernel | room | payload |
 *                                ^ the request's header and its operation's are copied here: the payload follows
 */
#include "front/uring.h"

#include "base/fault.h"
#include "front/request.h"

#include <errno.h>
#include <liburing.h>
#include <linux/fuse.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

/* What Debian 12's linux/fuse.h lacks; the names are the kernel's. */
#define HEADER_BYTES 128
enum uring_command {
	COMMAND_REGISTER = 1,
	COMMAND_COMMIT_AND_FETCH = 2,
};
struct uring_ent_in_out {
	uint64_t flags;
	uint64_t commit_id;
	uint32_t payload_sz;
	uint32_t padding;
	uint64_t reserved;
};
struct uring_req_header {
	char in_out[HEADER_BYTES]; /* fuse_in_header, fuse_out_header */
	char op_in[HEADER_BYTES];
	struct uring_ent_in_out ent;
};
struct uring_cmd_req {
	uint64_t flags;
	uint64_t commit_id;
	uint16_t qid;
	uint8_t padding[6];
};

#define ROOM_BYTES 4096u /* a page for the header, and one for the room */
/* Entries of a queue: while one is served, so many more requests of its core get in without waiting. */
#define DEPTH 16u
#define SQ_ENTRIES 64u
/* Numbers of kicks: the kernel counts its requests from 0, by twos. */
#define KICK (1ull << 62)
#define CQ_ENTRIES 4096u

struct front_uring_entry {
	SLIST_ENTRY(front_uring_entry) next_done;
	struct front_uring_entry *older; /* of the queue's entries; set before it is published */
	struct queue *queue;
	char *memory;
	struct iovec iov[2]; /* header, payload */
	_Atomic uint64_t unique; /* the request that is to be answered; 0: none */
	uint64_t commit_id;
	uint64_t node; /* that the request is about */
	uint16_t qid;
	bool held;
};
SLIST_HEAD(entries_done, front_uring_entry);

/* A thread's; one for each core, or nearly. */
struct queue {
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
	struct entries_done done;
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
	struct queue queues[];
};

/* The request that this thread serves. */
static _Thread_local struct front_uring_entry *serving;

static struct uring_req_header *header_of(const struct front_uring_entry *entry)
{
	return entry->iov[0].iov_base;
}

/* ---- Entries ---- */

static size_t entry_bytes(const struct front_uring *uring)
{
	return 2 * ROOM_BYTES + uring->payload_max;
}

/* -ENOMEM. By the queue's thread, or before there is one. */
static int add_entry(struct queue *queue, uint16_t qid, struct front_uring_entry **ret_entry)
{
	struct front_uring_entry *entry = calloc(1, sizeof(*entry));
	char *memory;

	if (entry == NULL)
		return -ENOMEM;
	memory = mmap(NULL, entry_bytes(queue->uring), PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED) {
		free(entry);
		return -ENOMEM;
	}
	entry->queue = queue;
	entry->memory = memory;
	entry->qid = qid;
	entry->iov[0] = (struct iovec){.iov_base = memory, .iov_len = sizeof(struct uring_req_header)};
	entry->iov[1] = (struct iovec){.iov_base = memory + 2 * ROOM_BYTES, .iov_len = queue->uring->payload_max};
	entry->older = atomic_load(&queue->entries);
	atomic_store(&queue->entries, entry);
	*ret_entry = entry;
	return 0;
}

static void free_entries(struct queue *queue)
{
	struct front_uring_entry *entry = atomic_load(&queue->entries), *older;

	for (; entry != NULL; entry = older) {
		older = entry->older;
		munmap(entry->memory, entry_bytes(queue->uring));
		free(entry);
	}
}

/* The thread that answers is rarely another than the one that serves: then all are looked at. */
static struct front_uring_entry *find(struct front_uring *uring, uint64_t unique)
{
	struct front_uring_entry *entry;

	if (serving != NULL && atomic_load(&serving->unique) == unique)
		return serving;
	for (unsigned i = 0; i < uring->count; i++) {
		for (entry = atomic_load(&uring->queues[i].entries); entry != NULL; entry = entry->older) {
			if (atomic_load(&entry->unique) == unique)
				return entry;
		}
	}
	return NULL;
}

/* ---- Commands ---- */

/* Room in the ring is made by handing over what is in it. */
static struct io_uring_sqe *get_sqe(struct queue *queue)
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
	struct queue *queue = entry->queue;
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
static void await_event(struct queue *queue)
{
	struct io_uring_sqe *sqe = get_sqe(queue);

	memset(sqe, 0, 2 * sizeof(*sqe));
	io_uring_prep_read(sqe, queue->event, &queue->event_value, sizeof(queue->event_value), 0);
	io_uring_sqe_set_data(sqe, NULL);
}

static void wake(const struct queue *queue)
{
	const uint64_t one = 1;

	(void)!write(queue->event, &one, sizeof(one));
}

/* The lock is held. */
static void commit_done(struct queue *queue)
{
	struct front_uring_entry *entry;

	while ((entry = SLIST_FIRST(&queue->done)) != NULL) {
		SLIST_REMOVE_HEAD(&queue->done, next_done);
		commit(entry);
	}
}

/* ---- Answers ---- */

struct load {
	char *dest;
	const struct iovec *source;
};

static void do_load(void *arg)
{
	const struct load *load = arg;

	memcpy(load->dest, load->source->iov_base, load->source->iov_len);
}

/* False: some of it is lost (a file's blocks, which the answer to a read names). */
static bool load(char *dest, const struct iovec *source)
{
	struct load load = {.dest = dest, .source = source};
	const void *fault;

	return fault_run(do_load, &load, &fault);
}

/* Into the entry's memory: 0, or -EFAULT if some of it is lost (the answer is EIO then), as /dev/fuse has it. */
static int fill(const struct front_uring_entry *entry, const struct iovec *iov, int count, size_t *ret_length)
{
	struct uring_req_header *header = header_of(entry);
	struct fuse_out_header out;
	char *payload = entry->iov[1].iov_base;
	size_t length = 0;
	int error = 0;

	memcpy(&out, iov[0].iov_base, sizeof(out));
	for (int i = 1; i < count && error == 0; i++) {
		if (iov[i].iov_len > entry->iov[1].iov_len - length || !load(payload + length, &iov[i]))
			error = -EFAULT;
		else
			length += iov[i].iov_len;
	}
	if (error != 0) {
		out.error = -EIO;
		length = 0;
	}
	out.len = (uint32_t)(sizeof(out) + length);
	memcpy(header->in_out, &out, sizeof(out));
	header->ent.payload_sz = (uint32_t)length;
	*ret_length = out.len;
	return error;
}

/* In another thread than the queue's. */
static void hand_over(struct front_uring_entry *entry)
{
	struct queue *queue = entry->queue;

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

bool front_uring_answer(struct front_uring *uring, const struct iovec *iov, int count, ssize_t *ret_result)
{
	const struct fuse_out_header *out = iov[0].iov_base;
	struct front_uring_entry *entry;
	size_t length;
	int error;

	entry = uring != NULL && out->unique != 0 ? find(uring, out->unique) : NULL;
	if (entry == NULL)
		return false;
	error = fill(entry, iov, count, &length);
	atomic_store(&entry->unique, 0);
	if (entry == serving)
		commit(entry);
	else
		hand_over(entry);
	errno = -error;
	*ret_result = error != 0 ? -1 : (ssize_t)length;
	return true;
}

/* ---- Requests ---- */

/* In one piece; NULL: no kernel sends such a thing. */
static char *message_of(struct front_uring_entry *entry, size_t *ret_length)
{
	const struct uring_req_header *header = header_of(entry);
	struct fuse_in_header in;
	size_t operation;
	char *message;

	memcpy(&in, header->in_out, sizeof(in));
	if (in.len < sizeof(in) + header->ent.payload_sz)
		return NULL;
	operation = in.len - sizeof(in) - header->ent.payload_sz;
	if (operation > sizeof(header->op_in) || header->ent.payload_sz > entry->iov[1].iov_len)
		return NULL;
	message = (char *)entry->iov[1].iov_base - operation - sizeof(in);
	memcpy(message, &in, sizeof(in));
	memcpy(message + sizeof(in), header->op_in, operation);
	entry->commit_id = header->ent.commit_id;
	entry->node = in.nodeid;
	atomic_store(&entry->unique, in.unique);
	*ret_length = in.len;
	return message;
}

/* The kernel sends what it has cached of the file at offset 0, 0 bytes: to this core's queue. False: of this one not. */
static bool ask(struct queue *queue, uint64_t node)
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
static void kick(struct front_uring_entry *held)
{
	struct front_uring_entry *entry;

	if (ask(held->queue, held->node))
		return;
	for (entry = atomic_load(&held->queue->entries); entry != NULL; entry = entry->older) {
		if (entry->held && entry != held && ask(held->queue, entry->node))
			return;
	}
}

static bool is_kick(const struct front_uring_entry *entry)
{
	return (atomic_load(&entry->unique) & KICK) != 0;
}

static void answer_kick(struct front_uring_entry *entry)
{
	struct fuse_out_header out = {.len = sizeof(out), .unique = atomic_load(&entry->unique)};
	const struct iovec iov = {&out, sizeof(out)};
	size_t length;

	(void)fill(entry, &iov, 1, &length);
	atomic_store(&entry->unique, 0);
	commit(entry);
}

/* The request goes on elsewhere: another entry takes the place of this one. Without memory there is one less. */
static void hold(struct front_uring_entry *entry)
{
	struct queue *queue = entry->queue;
	struct front_uring_entry *more;

	entry->held = true;
	if (++queue->held > queue->extra && add_entry(queue, entry->qid, &more) == 0) {
		queue->extra++;
		command(more, COMMAND_REGISTER);
	}
	(void)io_uring_submit(&queue->ring);
	kick(entry);
}

static void serve(struct front_uring_entry *entry)
{
	struct front *front = entry->queue->uring->front;
	struct fuse_buf buffer = {.fd = -1};

	buffer.mem = message_of(entry, &buffer.size);
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
static void handle(struct queue *queue)
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

/* ---- Threads ---- */

/* If that core is not for us the thread runs where it may. */
static void stay_on(unsigned core)
{
	cpu_set_t *set = CPU_ALLOC(core + 1);

	if (set == NULL)
		return;
	CPU_ZERO_S(CPU_ALLOC_SIZE(core + 1), set);
	CPU_SET_S(core, CPU_ALLOC_SIZE(core + 1), set);
	(void)sched_setaffinity(0, CPU_ALLOC_SIZE(core + 1), set);
	CPU_FREE(set);
}

static void wait_for_go(struct front_uring *uring)
{
	pthread_mutex_lock(&uring->lock);
	while (!uring->going && !atomic_load(&uring->stopping))
		pthread_cond_wait(&uring->go, &uring->lock);
	pthread_mutex_unlock(&uring->lock);
}

static void register_entries(struct queue *queue)
{
	for (struct front_uring_entry *entry = atomic_load(&queue->entries); entry != NULL; entry = entry->older)
		command(entry, COMMAND_REGISTER);
	await_event(queue);
}

static void *serve_queue(void *arg)
{
	struct queue *queue = arg;
	struct front_uring *uring = queue->uring;

	stay_on(queue->core);
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

/* The kernel wants a queue for each core that there may ever be. */
static unsigned possible_cores(void)
{
	FILE *file = fopen("/sys/devices/system/cpu/possible", "re");
	unsigned last = 0;
	char text[256] = "";
	const char *number;

	if (file == NULL)
		return (unsigned)get_nprocs_conf();
	if (fgets(text, sizeof(text), file) != NULL) {
		number = text + strcspn(text, "\n");
		while (number > text && number[-1] >= '0' && number[-1] <= '9')
			number--;
		last = (unsigned)strtoul(number, NULL, 10);
	}
	(void)fclose(file);
	return last + 1;
}

static int open_queue(struct queue *queue, unsigned number)
{
	struct front_uring *uring = queue->uring;
	struct io_uring_params params = {
		.flags = IORING_SETUP_SQE128 | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
		.cq_entries = CQ_ENTRIES,
	};
	struct front_uring_entry *entry;
	int error;

	queue->core = number;
	queue->event = eventfd(0, EFD_CLOEXEC);
	if (queue->event < 0)
		return -errno;
	error = io_uring_queue_init_params(SQ_ENTRIES, &queue->ring, &params);
	if (error != 0)
		return error;
	queue->has_ring = true;
	for (unsigned core = number; core < uring->cores; core += uring->count) {
		for (unsigned i = 0; i < DEPTH; i++) {
			error = add_entry(queue, (uint16_t)core, &entry);
			if (error != 0)
				return error;
		}
	}
	error = -pthread_create(&queue->thread, NULL, serve_queue, queue);
	queue->has_thread = error == 0;
	return error;
}

int front_uring_open(struct front *front, size_t payload_max, struct front_uring **ret_uring)
{
	const unsigned cores = possible_cores(), online = (unsigned)get_nprocs(),
		       count = cores < online ? cores : online;
	struct front_uring *uring = calloc(1, sizeof(*uring) + count * sizeof(uring->queues[0]));
	int error = 0;

	if (uring == NULL)
		return -ENOMEM;
	uring->front = front;
	uring->payload_max = payload_max;
	uring->cores = cores;
	uring->count = count;
	pthread_mutex_init(&uring->lock, NULL);
	pthread_cond_init(&uring->go, NULL);
	for (unsigned i = 0; i < count; i++) {
		uring->queues[i].uring = uring;
		uring->queues[i].event = -1;
		pthread_mutex_init(&uring->queues[i].lock, NULL);
	}
	for (unsigned i = 0; i < count && error == 0; i++)
		error = open_queue(&uring->queues[i], i);
	if (error == 0) {
		*ret_uring = uring;
		return 0;
	}
	front_uring_stop(uring);
	front_uring_close(uring);
	return error;
}

void front_uring_go(struct front_uring *uring)
{
	pthread_mutex_lock(&uring->lock);
	uring->going = true;
	pthread_cond_broadcast(&uring->go);
	pthread_mutex_unlock(&uring->lock);
}

void front_uring_stop(struct front_uring *uring)
{
	if (uring == NULL)
		return;
	pthread_mutex_lock(&uring->lock);
	atomic_store(&uring->stopping, true);
	pthread_cond_broadcast(&uring->go);
	pthread_mutex_unlock(&uring->lock);
	for (unsigned i = 0; i < uring->count; i++) {
		if (!uring->queues[i].has_thread)
			continue;
		wake(&uring->queues[i]);
		(void)pthread_join(uring->queues[i].thread, NULL);
		uring->queues[i].has_thread = false;
	}
}

void front_uring_close(struct front_uring *uring)
{
	if (uring == NULL)
		return;
	for (unsigned i = 0; i < uring->count; i++) {
		struct queue *queue = &uring->queues[i];

		if (queue->has_ring)
			io_uring_queue_exit(&queue->ring);
		if (queue->event >= 0)
			close(queue->event);
		free_entries(queue);
		pthread_mutex_destroy(&queue->lock);
	}
	pthread_cond_destroy(&uring->go);
	pthread_mutex_destroy(&uring->lock);
	free(uring);
}
