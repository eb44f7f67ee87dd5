/* Sessions, and the threads behind pins: what the files of pins share. pins.md has the picture. */
#ifndef PINFS_FS_PINNING_H
#define PINFS_FS_PINNING_H

#include "fs/data.h"

#include <sys/queue.h>

#define FS_RESUME_THREADS 4u
#define FS_NS_PER_S 1000000000ull
#define FS_NS_PER_MS 1000000ull

/* In fs_pin_request.flags of the table: when the pin goes there may be bytes behind the size in the file's last block.
 */
#define FS_PIN_TAIL 0x400u

/*
 * A session. It is in the table of sessions until its ledger entry is erased. `lock` (LOCK_SESSION) is held for moments
 * around whatever looks a pin up by its id, and by the reaper when it frees one: so a pin that was found stays while
 * the lock is held.
 */
struct fs_holder {
	uint64_t session;
	uint8_t cookie[FS_COOKIE_BYTES];
	struct process_identity process;
	uid_t uid;
	struct pin_holder *pin;
	atomic_uint refs; /* the table of sessions, the caller, moments of others */
	struct lock_mutex lock; /* protects what follows */
	int pidfd; /* -1: nobody can tell when it dies */
	bool connected; /* somebody has the handle */
	bool closed; /* its pins are dropped, there will be no others */
	bool reaped; /* the reaper has come by; the last request, or pin, finishes it */
	bool finished; /* LOCK_REAP */
	uint64_t connection; /* counts connects: what was asked by an earlier one is void */
	uint64_t requests; /* under way */
	uint64_t pins; /* taken and not reaped */
	struct fs_holder_ops ops;
	void *data;
	/* Under the lock of struct fs_pinning. */
	bool away; /* in the list of those that may come back */
	uint64_t away_since;
	TAILQ_ENTRY(fs_holder) next_away;
	UT_hash_handle hh;
};

/* An inode that a pin has left: its last block is to be mended, or its eviction finished. */
struct fs_mend {
	struct fs_mend *next;
	uint64_t ino;
};

/*
 * The kernel was asked to drop its pages and an operation waits for that. `done` may come at any later time, or never
 * while the filesystem is up: memory that both have a reference of.
 */
struct fs_upcall {
	atomic_uint refs;
	atomic_bool settled; /* the operation has been woken, by done, clock or interrupt */
	int result; /* who settled it wrote it, before the wake */
	struct fs *fs;
	struct fs_wait *wait;
	uint64_t ino;
	bool impatient; /* not to outlast a break of this file that waits */
	/* Under the lock of struct fs_pinning. */
	uint64_t since; /* or when it was looked at */
	TAILQ_ENTRY(fs_upcall) next;
};

TAILQ_HEAD(fs_away, fs_holder);
TAILQ_HEAD(fs_upcalls, fs_upcall);

struct fs_pinning {
	struct fs_kernel kernel;
	bool has_kernel;
	int epoll; /* pidfds by session; 0: `bell` */
	int bell; /* eventfd: the watcher has a reason to look */
	atomic_bool ticking; /* the watcher looks at the clock */
	atomic_bool draining;
	atomic_uint_fast64_t next_pin; /* id */
	atomic_uint_fast64_t last_reaped; /* when blocks last came out of limbo, or a record of a pin went */
	struct lock_mutex reap; /* LOCK_REAP: who has it is the reaper */
	struct lock_mutex visiting; /* LOCK_SESSION: holds up the end of a struct pin_holder */
	struct lock_mutex lock; /* LOCK_LEAF; protects what follows */
	struct fs_pin_policy policy;
	struct fs_holder *sessions; /* uthash by session */
	struct fs_away away; /* by away_since */
	struct fs_upcalls upcalls;
	struct fs_wait *resume_first, *resume_last;
	struct fs_mend *mend_first, *mend_last;
	bool reap_wanted;
	bool stopping;
	bool drain_ended;
	uint64_t live; /* pins taken or restored, and not reaped */
	uint64_t limbo_logged; /* when its holders were named in the log */
	pthread_cond_t work; /* for the pool: resume, mend, stopping */
	pthread_cond_t reaping; /* for the reaper */
	pthread_cond_t drained; /* live, drain_ended; CLOCK_MONOTONIC */
	bool started;
	pthread_t pool[FS_RESUME_THREADS];
	pthread_t reaper;
	pthread_t watcher;
};

/* ---- pinning.c ---- */

int fs_pinning_create(struct fs *fs);
/* After the last operation and fs_pins_stop(). What is pinned stays in the ledger. */
void fs_pinning_destroy(struct fs *fs);
/* The data parts are known: sets the default limit. */
void fs_pinning_sized(struct fs *fs);
uint64_t fs_monotonic(void); /* ns */

/* ---- wait.c ---- */

/* To the pool: the operation is to be repeated. */
void fs_resume(struct fs *fs, struct fs_wait *wait);
void *fs_pool_thread(void *fs);
/* Does what the pool has not, in the calling thread. No thread of it runs. */
void fs_pool_drain(struct fs *fs);
/*
 * Asks the kernel to drop bytes [offset, +length) of the file; `wait` is resumed when it has, and the operation then
 * calls fs_upcall_end(). After a 0 nothing of the operation may be touched. -ENOMEM, -EINTR: was not asked.
 */
int fs_upcall_begin(struct fs *fs, struct fs_wait *wait, uint64_t ino, uint64_t offset, uint64_t length,
		    bool impatient);
/* 0: the kernel has dropped them; -EAGAIN: a break of the file waits; -EINTR. */
int fs_upcall_end(struct fs *fs, struct fs_wait *wait);
/* While something waits: ends upcalls that must not outlast a break. */
void fs_upcalls_tick(struct fs *fs, uint64_t now);

/* ---- holder.c ---- */

struct fs_holder *fs_holder_find(struct fs *fs, uint64_t session); /* with a reference, or NULL */
/* A request of the holder begins; -ESHUTDOWN: it is closed. `end` may finish the holder: no lock held. */
int fs_holder_begin(struct fs_holder *holder, uint64_t *ret_connection);
void fs_holder_end(struct fs *fs, struct fs_holder *holder);
/* In-core half of a session, not connected and away from now on; cookie and ledger are the caller's. Takes the pidfd.
 */
int fs_holder_create(struct fs *fs, uint64_t session, const uint8_t cookie[FS_COOKIE_BYTES],
		     const struct process_identity *process, int pidfd, uid_t uid, struct fs_holder **ret_holder);
/* Its process is dead. */
void fs_holder_died(struct fs *fs, struct fs_holder *holder);
/* The grace period of those that went away until `now` - grace is over; returns when the next one's is, or FOREVER. */
uint64_t fs_holders_tick(struct fs *fs, uint64_t now);
/* The last of a holder: out of the table. By the reaper. */
void fs_holder_finish(struct fs *fs, struct fs_holder *holder);
void fs_holders_fini(struct fs *fs);
void fs_pin_deliver(void *data, const struct pin_event *event);

/* ---- pin.c ---- */

struct fs_extents {
	struct pin_extent *extent;
	size_t count;
	size_t capacity;
	size_t most; /* more are too many: -ERESTART, as for all that has to be waited for; 0: any number, and time */
};
/* Adds blocks to the list; joins what continues the last one. -ENOMEM; -ERESTART. */
int fs_extents_add(struct fs_extents *list, uint64_t file_block, uint64_t phys, uint64_t length, bool detached);

/* ---- populate.c ---- */

/*
 * Maps and zeroes what is missing of blocks [first, last), and puts the extents into `list`. Layout is held, map is
 * not; on success it is, shared or exclusive, until the caller has taken the pin. -ENOSPC, -ENOMEM. With list->most
 * nothing is changed and no lock is waited for: -ERESTART.
 */
int fs_populate(struct fs *fs, struct fs_inode *file, uint64_t first, uint64_t last, struct fs_extents *list);

/* ---- relocate.c ---- */

/*
 * Makes blocks [first, last) one extent. Layout held exclusive, map not held. -EINPROGRESS, -EAGAIN as pin_break();
 * -EDEADLK: the holder's own pins are there; -EBUSY: others' pins stayed; -ENOSPC.
 */
int fs_relocate(struct fs *fs, struct fs_inode *file, uint64_t first, uint64_t last, struct fs_pin_request *request);

/* ---- reaper.c ---- */

void *fs_reaper_thread(void *fs);
/* Reaps what is dropped, in the calling thread. */
void fs_reap(struct fs *fs);
/* A holder that was reaped while a request of it was under way. No lock held; the caller has a reference. */
void fs_reap_holder_late(struct fs *fs, struct fs_holder *holder);
void fs_pins_live(struct fs *fs, int64_t change);

/* ---- watcher.c ---- */

void *fs_watcher_thread(void *fs);
/* Has the watcher look: there is something new. */
void fs_watch_bell(struct fs *fs);
int fs_watch_holder(struct fs *fs, struct fs_holder *holder);
void fs_unwatch_holder(struct fs *fs, struct fs_holder *holder);

/* ---- restore.c ---- */

void fs_identity_of(const struct meta_session *record, struct process_identity *ret_identity);
/* At mount, after the scan and before recovery; not if read-only. May set fs->read_only: the ledger is damaged. */
int fs_restore_pins(struct fs *fs, struct message *message);

#endif
