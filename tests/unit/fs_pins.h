/* For tests of pins on a pool: holders, requests that are awaited, a kernel whose answers the test gives. */
#ifndef PINFS_TEST_FS_PINS_H
#define PINFS_TEST_FS_PINS_H

#include "fs_pool.h"

#include "fs/pinning.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define BLOCK FMT_BLOCK_SIZE

/* ---- Things that are awaited ---- */

struct event {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned count;
};

static inline void event_init(struct event *event)
{
	pthread_mutex_init(&event->lock, NULL);
	pthread_cond_init(&event->cond, NULL);
	event->count = 0;
}

static inline void event_raise(struct event *event)
{
	pthread_mutex_lock(&event->lock);
	event->count++;
	pthread_cond_broadcast(&event->cond);
	pthread_mutex_unlock(&event->lock);
}

/* Until it has been raised `count` times: what never comes is the runner's time limit. */
static inline void event_await(struct event *event, unsigned count)
{
	pthread_mutex_lock(&event->lock);
	while (event->count < count)
		pthread_cond_wait(&event->cond, &event->lock);
	pthread_mutex_unlock(&event->lock);
}

static inline unsigned event_count(struct event *event)
{
	unsigned count;

	pthread_mutex_lock(&event->lock);
	count = event->count;
	pthread_mutex_unlock(&event->lock);
	return count;
}

/* A process that holds pins and does nothing else; it does not outlive the test. */
static inline void wait_for_end(void)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		pause();
}

/* ---- A client ---- */

struct client {
	struct fs *fs;
	struct fs_holder *holder;
	struct process_identity process;
	uid_t uid;
	pthread_mutex_t lock; /* protects last */
	struct pin_event last[8]; /* by kind */
	struct event heard[8]; /* by kind */
	struct event dead;
};

static inline void client_event(void *data, const struct pin_event *event)
{
	struct client *client = data;

	pthread_mutex_lock(&client->lock);
	client->last[event->kind] = *event;
	pthread_mutex_unlock(&client->lock);
	event_raise(&client->heard[event->kind]);
}

static inline void client_dead(void *data)
{
	struct client *client = data;

	event_raise(&client->dead);
}

static const struct fs_holder_ops client_ops = {.event = client_event, .dead = client_dead};

static inline void client_init(struct client *client, struct fs *fs, uid_t uid)
{
	*client = (struct client){.fs = fs, .uid = uid};
	pthread_mutex_init(&client->lock, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(client->heard); i++)
		event_init(&client->heard[i]);
	event_init(&client->dead);
}

/* A session of process `pid`. */
static inline int client_try_open(struct client *client, struct fs *fs, pid_t pid, uid_t uid)
{
	int pidfd;

	client_init(client, fs, uid);
	assert_int_equal(process_identify(pid, &client->process, &pidfd), 0);
	return fs_holder_open(fs, &client->process, pidfd, uid, 100, &client_ops, client, &client->holder);
}

static inline void client_open(struct client *client, struct fs *fs)
{
	assert_int_equal(client_try_open(client, fs, getpid(), 1000), 0);
}

static inline void client_close(struct client *client)
{
	fs_holder_close(client->fs, client->holder);
	client->holder = NULL;
}

/* ---- Requests ---- */

struct pin_op {
	struct fs_pin_request request;
	struct fs *fs;
	struct event done;
	int result;
};

static inline void pin_op_resume(struct fs_wait *wait)
{
	struct pin_op *op = CONTAINER_OF(wait, struct pin_op, request.wait);
	int result = fs_pin(op->fs, &op->request);

	if (result == -EINPROGRESS)
		return;
	op->result = result;
	event_raise(&op->done);
}

/* Of a file that may be changing: not from media by itself, whose checksum does not hold then. */
static inline uint32_t generation_of(struct fs *fs, uint64_t ino)
{
	struct fs_inode *inode;
	uint32_t generation;

	if (fs_inode_get(fs, ino, &inode) != 0)
		return 0;
	generation = inode->media->generation;
	fs_inode_put(fs, inode);
	return generation;
}

/* Returns 0 or the error, or -EINPROGRESS: op_await() has the result then. */
static inline int pin_begin(struct pin_op *op, struct client *client, uint64_t ino, uint64_t offset, uint64_t length,
			    uint32_t flags)
{
	int result;

	*op = (struct pin_op){.fs = client->fs};
	event_init(&op->done);
	op->request = (struct fs_pin_request){
		.holder = client->holder,
		.ino = ino,
		.generation = generation_of(client->fs, ino),
		.flags = flags,
		.offset = offset,
		.length = length,
		.path = "a file",
	};
	fs_wait_init(client->fs, &op->request.wait, 0, pin_op_resume);
	result = fs_pin(client->fs, &op->request);
	if (result != -EINPROGRESS)
		op->result = result;
	return result;
}

static inline int pin_await(struct pin_op *op)
{
	event_await(&op->done, 1);
	return op->result;
}

/* To the end; the pin's id in *ret_id. */
static inline int pin_range(struct client *client, uint64_t ino, uint64_t offset, uint64_t length, uint32_t flags,
			    uint64_t *ret_id)
{
	struct pin_op op;
	int result = pin_begin(&op, client, ino, offset, length, flags);

	if (result == -EINPROGRESS)
		result = pin_await(&op);
	*ret_id = op.request.ret_id;
	return result;
}

struct commit_op {
	struct fs_commit_request request;
	struct fs *fs;
	struct event done;
	int result;
};

static inline void commit_op_resume(struct fs_wait *wait)
{
	struct commit_op *op = CONTAINER_OF(wait, struct commit_op, request.wait);
	int result = fs_commit(op->fs, &op->request);

	if (result == -EINPROGRESS)
		return;
	op->result = result;
	event_raise(&op->done);
}

static inline int commit_begin(struct commit_op *op, struct client *client, uint64_t pin, uint64_t offset,
			       uint64_t length)
{
	int result;

	*op = (struct commit_op){.fs = client->fs};
	event_init(&op->done);
	op->request =
		(struct fs_commit_request){.holder = client->holder, .pin = pin, .offset = offset, .length = length};
	fs_wait_init(client->fs, &op->request.wait, 0, commit_op_resume);
	result = fs_commit(client->fs, &op->request);
	if (result != -EINPROGRESS)
		op->result = result;
	return result;
}

static inline int commit_range(struct client *client, uint64_t pin, uint64_t offset, uint64_t length)
{
	struct commit_op op;
	int result = commit_begin(&op, client, pin, offset, length);

	if (result == -EINPROGRESS) {
		event_await(&op.done, 1);
		result = op.result;
	}
	return result;
}

/* ---- Memory behind a pin ---- */

#define EXTENTS_MAX 1024u

/* Address of byte `offset` of the file, by what the pin was told. */
static inline unsigned char *pinned_byte(struct client *client, uint64_t id, uint64_t offset)
{
	static _Thread_local struct fs_pin_extent extents[EXTENTS_MAX];
	size_t total;
	ssize_t count = fs_pin_extents(client->fs, client->holder, id, 0, extents, EXTENTS_MAX, &total);

	for (ssize_t i = 0; i < count; i++) {
		if (offset >= extents[i].offset && offset - extents[i].offset < extents[i].length)
			return client->fs->part[extents[i].part]->base + extents[i].part_offset +
			       (offset - extents[i].offset);
	}
	return NULL;
}

static inline size_t extent_count(struct client *client, uint64_t id)
{
	size_t total = 0;

	return fs_pin_extents(client->fs, client->holder, id, 0, NULL, 0, &total) < 0 ? 0 : total;
}

static inline bool is_filled(const unsigned char *bytes, size_t length, unsigned char value)
{
	for (size_t i = 0; i < length; i++) {
		if (bytes[i] != value)
			return false;
	}
	return true;
}

/* ---- A break, as the data path makes one ---- */

struct break_op {
	struct fs_wait wait;
	struct fs *fs;
	struct fs_inode *file;
	uint64_t first, last;
	struct event woken;
};

static inline void break_op_resume(struct fs_wait *wait)
{
	event_raise(&CONTAINER_OF(wait, struct break_op, wait)->woken);
}

static inline int break_look(struct break_op *op)
{
	int result;

	lock_rw_take_exclusive(&op->file->layout);
	result = pin_break(op->fs->pins, op->file->ino, op->first, op->last, PIN_UNMAP, &op->wait.pin);
	lock_rw_drop(&op->file->layout);
	if (result == -EINPROGRESS)
		fs_wait_parked(op->fs);
	return result;
}

static inline int break_begin(struct break_op *op, struct fs *fs, uint64_t ino, uint64_t first, uint64_t last)
{
	*op = (struct break_op){.fs = fs, .first = first, .last = last};
	event_init(&op->woken);
	assert_int_equal(fs_inode_get(fs, ino, &op->file), 0);
	fs_wait_init(fs, &op->wait, 0, break_op_resume);
	return break_look(op);
}

static inline void break_end(struct break_op *op)
{
	pin_waiter_end(op->fs->pins, &op->wait.pin);
	fs_inode_put(op->fs, op->file);
}

/* ---- The kernel ---- */

#define KERNEL_ASKED 16u

struct kernel {
	pthread_mutex_t lock;
	bool holds; /* answers are the test's to give */
	unsigned asked;
	struct asked {
		uint64_t ino, offset, length;
		void (*done)(void *done_arg);
		void *done_arg;
	} ask[KERNEL_ASKED];
	struct event hears;
};

static inline void kernel_invalidate(void *arg, uint64_t ino, uint64_t offset, uint64_t length,
				     void (*done)(void *done_arg), void *done_arg)
{
	struct kernel *kernel = arg;
	bool holds;

	pthread_mutex_lock(&kernel->lock);
	holds = kernel->holds;
	kernel->ask[kernel->asked++ % KERNEL_ASKED] = (struct asked){ino, offset, length, done, done_arg};
	pthread_mutex_unlock(&kernel->lock);
	event_raise(&kernel->hears);
	if (!holds)
		done(done_arg);
}

static inline void kernel_init(struct kernel *kernel, struct fs *fs, bool holds)
{
	struct fs_kernel ops = {.arg = kernel, .invalidate = kernel_invalidate};

	*kernel = (struct kernel){.holds = holds};
	pthread_mutex_init(&kernel->lock, NULL);
	event_init(&kernel->hears);
	fs_set_kernel(fs, &ops);
}

static inline void kernel_answer(struct kernel *kernel, unsigned number)
{
	kernel->ask[number].done(kernel->ask[number].done_arg);
}

/* ---- Files ---- */

static inline uint64_t file_make(struct pool *pool, const char *name)
{
	uint64_t ino;

	assert_int_equal(make_kept(pool, ROOT, name, S_IFREG | 0644, &ino), 0);
	return ino;
}

/* The kernel knows it, and forgets it. */
static inline void file_remove(struct pool *pool, const char *name, uint64_t ino)
{
	assert_int_equal(fs_unlink(pool->fs, ROOT, name), 0);
	fs_forget(pool->fs, ino, 1);
}

static inline void file_fill(struct pool *pool, uint64_t ino, uint64_t offset, uint64_t length, unsigned char value)
{
	unsigned char *bytes = malloc(length);

	assert_non_null(bytes);
	memset(bytes, value, length);
	assert_int_equal(fs_write(pool->fs, ino, bytes, length, (off_t)offset, NULL), length);
	free(bytes);
}

static inline bool file_has(struct pool *pool, uint64_t ino, uint64_t offset, uint64_t length, unsigned char value)
{
	while (length > 0) {
		struct fs_read read;
		bool same = true;
		size_t count;

		if (fs_read_begin(pool->fs, ino, (off_t)offset, length, &read) != 0)
			return false;
		count = read.length;
		for (int i = 0; i < read.count; i++)
			same = same && is_filled(read.iov[i].iov_base, read.iov[i].iov_len, value);
		fs_read_end(pool->fs, &read);
		if (!same || count == 0)
			return false;
		offset += count;
		length -= count;
	}
	return true;
}

static inline int file_resize(struct fs *fs, uint64_t ino, uint64_t size)
{
	struct fs_setattr changes = {.valid = FS_SET_SIZE, .attr.st_size = (off_t)size};
	struct stat attr;

	return fs_setattr(fs, ino, &changes, NULL, &attr);
}

static inline uint64_t blocks_free(struct pool *pool)
{
	struct fs_stats stats;

	fs_get_stats(pool->fs, &stats);
	return stats.blocks_free;
}

static inline struct pin_stats pins_of(struct fs *fs)
{
	struct pin_stats stats;

	fs_pin_stats(fs, &stats);
	return stats;
}

/* Blocks that hold what their last owner left. */
static inline void pool_soil(struct pool *pool)
{
	uint64_t ino = file_make(pool, "soil");

	file_fill(pool, ino, 0, blocks_free(pool) * BLOCK / 2, 0xee);
	file_remove(pool, "soil", ino);
}

/* ---- The ledger ---- */

struct ledger {
	uint64_t sessions, pins;
};

static inline int ledger_session(void *arg, const struct meta_session *session)
{
	(void)session;
	((struct ledger *)arg)->sessions++;
	return 0;
}

static inline int ledger_pin(void *arg, const struct meta_pin *pin)
{
	(void)pin;
	((struct ledger *)arg)->pins++;
	return 0;
}

/* While nobody pins. */
static inline struct ledger ledger_of(struct fs *fs)
{
	struct ledger ledger = {0};

	assert_int_equal(meta_ledger_visit(fs->meta, ledger_session, ledger_pin, &ledger), 0);
	return ledger;
}

/* As pool_setup(), with threads; the tear-down stops them. */
static inline int pins_setup(void **state)
{
	struct pool *pool;

	pool_setup(state);
	pool = *state;
	assert_int_equal(fs_pins_start(pool->fs), 0);
	return 0;
}

static inline int pins_teardown(void **state)
{
	struct pool *pool = *state;

	fs_pins_stop(pool->fs);
	return pool_teardown(state);
}

/* What was dropped is reaped: the numbers are exact. */
static inline void settle(struct fs *fs)
{
	(void)fs_reaper_flush(fs);
}

static inline void set_policy(struct fs *fs, uint64_t timeout, bool detach, uint64_t limit)
{
	struct fs_pin_policy policy = {
		.break_timeout = timeout, .break_detach = detach, .pin_limit = limit, .grace = 10 * FS_NS_PER_S};

	fs_set_pin_policy(fs, &policy);
}

#endif
