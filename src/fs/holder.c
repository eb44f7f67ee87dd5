/*
 * Sessions. One goes through these states, under its lock:
 *
 *   open ------> connected --leave--> away --reclaim--> connected
 *                   |                  |
 *                   | close, died      | died, or: grace over and no pins
 *                   v                  v
 *                 closed: no more pins; its pins are dropped; the reaper erases their entries, then the session's,
 *                         then (fs_holder_finish) it leaves the table, when its last request has ended
 *
 * A caller's handle is a reference of its own: it is good until fs_holder_close() or fs_holder_leave(), dead or not.
 */
#include "fs/pinning.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

void fs_pin_deliver(void *data, const struct pin_event *event)
{
	struct fs_holder *holder = data;

	/* Not without a receiver: pin_holder_silence() comes before these change. */
	holder->ops.event(holder->data, event);
}

/* ---- The table ---- */

struct fs_holder *fs_holder_find(struct fs *fs, uint64_t session)
{
	struct fs_holder *holder;

	lock_mutex_take(&fs->pinning->lock);
	HASH_FIND(hh, fs->pinning->sessions, &session, sizeof(session), holder);
	if (holder != NULL)
		atomic_fetch_add(&holder->refs, 1);
	lock_mutex_drop(&fs->pinning->lock);
	return holder;
}

static void holder_free(struct fs_holder *holder)
{
	if (holder->pidfd >= 0)
		close(holder->pidfd);
	lock_mutex_fini(&holder->lock);
	free(holder);
}

void fs_holder_get(struct fs_holder *holder)
{
	atomic_fetch_add(&holder->refs, 1);
}

void fs_holder_put(struct fs_holder *holder)
{
	if (atomic_fetch_sub(&holder->refs, 1) == 1)
		holder_free(holder);
}

/* -EEXIST: the number is taken. The table's reference is the one that the holder was made with. */
static int table_add(struct fs_pinning *pinning, struct fs_holder *holder)
{
	struct fs_holder *other;
	int error = 0;

	lock_mutex_take(&pinning->lock);
	HASH_FIND(hh, pinning->sessions, &holder->session, sizeof(holder->session), other);
	if (other != NULL) {
		error = -EEXIST;
	} else {
		HASH_ADD(hh, pinning->sessions, session, sizeof(holder->session), holder);
		if (holder->hh.tbl == NULL)
			error = -ENOMEM;
	}
	lock_mutex_drop(&pinning->lock);
	return error;
}

/* Begins, or ends, the time in which it may come back. */
static void set_away(struct fs_pinning *pinning, struct fs_holder *holder, bool away)
{
	lock_mutex_take(&pinning->lock);
	if (away && !holder->away) {
		holder->away_since = fs_monotonic();
		TAILQ_INSERT_TAIL(&pinning->away, holder, next_away);
	} else if (!away && holder->away) {
		TAILQ_REMOVE(&pinning->away, holder, next_away);
	}
	holder->away = away;
	lock_mutex_drop(&pinning->lock);
}

static bool is_away(struct fs_pinning *pinning, const struct fs_holder *holder)
{
	bool away;

	lock_mutex_take(&pinning->lock);
	away = holder->away;
	lock_mutex_drop(&pinning->lock);
	return away;
}

int fs_holder_create(struct fs *fs, uint64_t session, const uint8_t cookie[FS_COOKIE_BYTES],
		     const struct process_identity *process, int pidfd, uid_t uid, struct fs_holder **ret_holder)
{
	struct fs_holder *holder = calloc(1, sizeof(*holder));
	int error;

	if (holder == NULL) {
		error = -ENOMEM;
		goto close_pidfd;
	}
	holder->session = session;
	memcpy(holder->cookie, cookie, sizeof(holder->cookie));
	holder->process = *process;
	holder->uid = uid;
	holder->pidfd = pidfd;
	atomic_init(&holder->refs, 1);
	error = lock_mutex_init(&holder->lock, LOCK_SESSION);
	if (error != 0)
		goto free_holder;
	/* The number of a process that we cannot see is another process' number here. */
	error = pin_holder_create(fs->pins, session, uid, pidfd >= 0 ? process->pid : 0, NULL, &holder->pin);
	if (error != 0)
		goto fini_lock;
	error = table_add(fs->pinning, holder);
	if (error != 0)
		goto close_pin;
	set_away(fs->pinning, holder, true);
	*ret_holder = holder;
	return 0;

close_pin:
	/* The reaper will not find the session: nothing but the table's own struct is left of it. */
	pin_holder_close(holder->pin);
fini_lock:
	lock_mutex_fini(&holder->lock);
free_holder:
	free(holder);
close_pidfd:
	if (pidfd >= 0)
		close(pidfd);
	return error;
}

void fs_holder_finish(struct fs *fs, struct fs_holder *holder)
{
	set_away(fs->pinning, holder, false);
	lock_mutex_take(&fs->pinning->lock);
	HASH_DEL(fs->pinning->sessions, holder);
	lock_mutex_drop(&fs->pinning->lock);
	fs_holder_put(holder);
}

void fs_holders_fini(struct fs *fs)
{
	struct fs_holder *holder, *next;

	HASH_ITER(hh, fs->pinning->sessions, holder, next)
	{
		HASH_DEL(fs->pinning->sessions, holder);
		holder_free(holder);
	}
}

/* ---- Requests ---- */

int fs_holder_begin(struct fs_holder *holder, uint64_t *ret_connection)
{
	int error = 0;

	lock_mutex_take(&holder->lock);
	if (holder->closed || !holder->connected) {
		error = -ESHUTDOWN;
	} else {
		atomic_fetch_add(&holder->refs, 1);
		holder->requests++;
		*ret_connection = holder->connection;
	}
	lock_mutex_drop(&holder->lock);
	return error;
}

void fs_holder_end(struct fs *fs, struct fs_holder *holder)
{
	bool late;

	lock_mutex_take(&holder->lock);
	late = --holder->requests == 0 && holder->reaped;
	lock_mutex_drop(&holder->lock);
	if (late)
		fs_reap_holder_late(fs, holder);
	fs_holder_put(holder);
}

/* ---- The end ---- */

/* No more pins from now on; those that it has are dropped, and its owner is told if `dead`. Its lock is held. */
static void close_locked(struct fs_holder *holder, bool dead)
{
	if (holder->closed)
		return;
	holder->closed = true;
	pin_holder_silence(holder->pin);
	pin_holder_close(holder->pin);
	/* After the last look at a state word: they may be the owner's memory. */
	if (dead && holder->ops.dead != NULL)
		holder->ops.dead(holder->data);
}

void fs_holder_died(struct fs *fs, struct fs_holder *holder)
{
	set_away(fs->pinning, holder, false);
	fs_unwatch_holder(fs, holder);
	lock_mutex_take(&holder->lock);
	close_locked(holder, true);
	lock_mutex_drop(&holder->lock);
}

void fs_holder_close(struct fs *fs, struct fs_holder *holder)
{
	set_away(fs->pinning, holder, false);
	fs_unwatch_holder(fs, holder);
	lock_mutex_take(&holder->lock);
	close_locked(holder, false);
	holder->connected = false;
	lock_mutex_drop(&holder->lock);
	fs_holder_put(holder);
}

void fs_holder_leave(struct fs *fs, struct fs_holder *holder)
{
	bool closed;

	lock_mutex_take(&holder->lock);
	closed = holder->closed;
	if (!closed)
		pin_holder_silence(holder->pin);
	holder->connected = false;
	if (!closed)
		set_away(fs->pinning, holder, true);
	lock_mutex_drop(&holder->lock);
	if (!closed)
		fs_watch_bell(fs);
	fs_holder_put(holder);
}

/* It has not come back: breaks do not wait for it any more. */
static void grace_over(struct fs *fs, struct fs_holder *holder)
{
	bool useless, over;

	lock_mutex_take(&holder->lock);
	/* Not if it came back, or left anew, since the list was looked at. */
	over = !holder->connected && !holder->closed && !is_away(fs->pinning, holder);
	if (over)
		pin_holder_set_ignored(holder->pin, true);
	useless = over && holder->pins == 0;
	if (useless)
		close_locked(holder, true);
	lock_mutex_drop(&holder->lock);
	if (useless)
		fs_unwatch_holder(fs, holder);
}

uint64_t fs_holders_tick(struct fs *fs, uint64_t now)
{
	struct fs_pinning *pinning = fs->pinning;
	struct fs_holder *holder;
	uint64_t next;

	for (;;) {
		lock_mutex_take(&pinning->lock);
		holder = TAILQ_FIRST(&pinning->away);
		if (holder == NULL || add_overflows(holder->away_since, pinning->policy.grace, &next))
			next = PIN_FOREVER;
		if (next <= now) {
			TAILQ_REMOVE(&pinning->away, holder, next_away);
			holder->away = false;
			atomic_fetch_add(&holder->refs, 1);
		}
		lock_mutex_drop(&pinning->lock);
		if (next > now)
			return next;
		grace_over(fs, holder);
		fs_holder_put(holder);
	}
}

/* ---- The beginning ---- */

static int ledger_add(struct fs *fs, const struct fs_holder *holder, gid_t gid)
{
	struct meta_session session = {
		.id = holder->session,
		.pid_namespace = holder->process.pid_namespace,
		.start_time = holder->process.start_time,
		.pidfs_inode = holder->process.pidfs_inode,
		.pid = (uint32_t)holder->process.pid,
		.uid = holder->uid,
		.gid = gid,
	};

	/* A read-only mount has no ledger; the descriptors that it gives out keep writers away (fs_part_client_fd). */
	if (fs->read_only)
		return 0;
	memcpy(session.boot_id, holder->process.boot_id, sizeof(session.boot_id));
	memcpy(session.cookie, holder->cookie, sizeof(session.cookie));
	memcpy(session.command, holder->process.command, sizeof(session.command));
	return fs_failed(fs, meta_ledger_add_session(fs->meta, &session), "recording a session", FMT_INO_LEDGER);
}

/* The caller gets the handle. -EBUSY: somebody has it; -ESHUTDOWN: it is closed. */
static int connect_holder(struct fs *fs, struct fs_holder *holder, const struct fs_holder_ops *ops, void *data)
{
	int error = 0;

	lock_mutex_take(&holder->lock);
	if (holder->closed) {
		error = -ESHUTDOWN;
	} else if (holder->connected) {
		error = -EBUSY;
	} else {
		holder->connected = true;
		holder->connection++;
		holder->ops = *ops;
		holder->data = data;
		set_away(fs->pinning, holder, false);
		pin_holder_set_ignored(holder->pin, false);
		pin_holder_set_data(holder->pin, holder);
		atomic_fetch_add(&holder->refs, 1);
	}
	lock_mutex_drop(&holder->lock);
	return error;
}

/* Takes the pidfd, also on failure. */
static int new_holder(struct fs *fs, const struct process_identity *process, int pidfd, uid_t uid,
		      struct fs_holder **ret_holder)
{
	struct {
		uint64_t session;
		uint8_t cookie[FS_COOKIE_BYTES];
	} random;
	int error;

	do {
		if (getrandom(&random, sizeof(random), 0) != sizeof(random)) {
			error = -errno;
			close(pidfd);
			return error;
		}
	} while (random.session == 0);
	/* A number that is taken is as likely as a cookie that is guessed. */
	error = fs_holder_create(fs, random.session, random.cookie, process, pidfd, uid, ret_holder);
	return error == -EEXIST ? -EAGAIN : error;
}

int fs_holder_open(struct fs *fs, const struct process_identity *process, int pidfd, uid_t uid, gid_t gid,
		   const struct fs_holder_ops *ops, void *data, struct fs_holder **ret_holder)
{
	struct fs_holder *holder;
	int error = 0;

	if (atomic_load(&fs->pinning->draining))
		error = -ESHUTDOWN;
	else if (atomic_load(&fs->damaged))
		error = -EROFS;
	if (error != 0) {
		close(pidfd);
		return error;
	}
	error = new_holder(fs, process, pidfd, uid, &holder);
	if (error != 0)
		return error;
	error = connect_holder(fs, holder, ops, data);
	if (error != 0)
		return error;
	error = ledger_add(fs, holder, gid);
	if (error == 0)
		error = fs_watch_holder(fs, holder);
	if (error != 0) {
		fs_holder_close(fs, holder);
		return error;
	}
	*ret_holder = holder;
	return 0;
}

/* In time that does not tell where they differ. */
static bool cookies_equal(const uint8_t a[FS_COOKIE_BYTES], const uint8_t b[FS_COOKIE_BYTES])
{
	unsigned difference = 0;

	for (size_t i = 0; i < FS_COOKIE_BYTES; i++)
		difference |= a[i] ^ b[i];
	return difference == 0;
}

static bool same_process(const struct process_identity *a, const struct process_identity *b)
{
	return a->pid == b->pid && a->start_time == b->start_time && a->pid_namespace == b->pid_namespace &&
	       memcmp(a->boot_id, b->boot_id, sizeof(a->boot_id)) == 0 &&
	       (a->pidfs_inode == 0 || b->pidfs_inode == 0 || a->pidfs_inode == b->pidfs_inode);
}

static struct fs_holder *find_cookie(struct fs *fs, const uint8_t cookie[FS_COOKIE_BYTES])
{
	struct fs_holder *holder;

	lock_mutex_take(&fs->pinning->lock);
	for (holder = fs->pinning->sessions; holder != NULL; holder = holder->hh.next) {
		if (cookies_equal(holder->cookie, cookie)) {
			atomic_fetch_add(&holder->refs, 1);
			break;
		}
	}
	lock_mutex_drop(&fs->pinning->lock);
	return holder;
}

/* Takes the pidfd, if there was none to watch; one that is being watched is of the same process. */
static int watch_again(struct fs *fs, struct fs_holder *holder, int pidfd)
{
	bool taken;
	int error;

	lock_mutex_take(&holder->lock);
	taken = holder->pidfd < 0;
	if (taken)
		holder->pidfd = pidfd;
	lock_mutex_drop(&holder->lock);
	if (!taken) {
		close(pidfd);
		return 0;
	}
	error = fs_watch_holder(fs, holder);
	if (error != 0)
		fs_holder_leave(fs, holder);
	return error;
}

int fs_holder_reclaim(struct fs *fs, const uint8_t cookie[FS_COOKIE_BYTES], const struct process_identity *process,
		      int pidfd, uid_t uid, const struct fs_holder_ops *ops, void *data, struct fs_holder **ret_holder)
{
	struct fs_holder *holder = find_cookie(fs, cookie);
	int error;

	if (holder == NULL) {
		close(pidfd);
		return -ENOENT;
	}
	if (holder->uid != uid || !same_process(&holder->process, process))
		error = -EPERM;
	else
		error = connect_holder(fs, holder, ops, data);
	if (error == 0)
		error = watch_again(fs, holder, pidfd);
	else
		close(pidfd);
	fs_holder_put(holder);
	if (error != 0)
		return error == -ESHUTDOWN ? -ENOENT : error;
	/* While it was away it heard nothing. */
	fs_poison_tell(fs, holder->pin);
	*ret_holder = holder;
	return 0;
}

const uint8_t *fs_holder_cookie(const struct fs_holder *holder)
{
	return holder->cookie;
}

uint64_t fs_holder_session(const struct fs_holder *holder)
{
	return holder->session;
}
