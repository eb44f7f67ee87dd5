/*
 * The pin table: which blocks are pinned, by whom, who waits for whom. In memory only; pure state: no I/O, no threads,
 * no media. src/fs composes it with the ledger, the limbo map and the locks of files; README.md has the rules, by
 * number, and the state diagrams.
 *
 * Two counts a block:
 *   held      pins that hold it now: a break waits for these. Lowered by pin_drop().
 *   recorded  pins that the ledger on media still names: while it is not 0 nobody may get the block. Lowered by
 *             pin_reaped(), after the ledger entry is erased. held <= recorded.
 * Counts are kept by runs of equal counts: memory and time go with what is pinned, not with blocks.
 *
 * Locks: LOCK_PIN_FILE (a shard, by inode number) protects the pins and waiters of its files, LOCK_PIN_COUNT (a shard,
 * by place) the counts. Functions take them by themselves, hold no other, and never block for anything else. Callers
 * may hold any lock of a lower rank. Callbacks run with LOCK_PIN_FILE held: they may only queue, under a LOCK_LEAF.
 *
 * Blocks and files: a block belongs to one file, or to limbo. The caller makes sure, by the file's layout lock, that
 * what it says of a file's extents is so: held shared by pin_admit() + pin_take() (exclusive for PIN_EXCLUSIVE), held
 * exclusive by pin_break() for PIN_UNMAP, shared at least for PIN_WRITE.
 */
#ifndef PINFS_PIN_H
#define PINFS_PIN_H

#include "pin/interval.h"
#include "wire/word.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct pin_table;
struct pin_holder;
struct pin;
struct pin_waiter;

#define PIN_FOREVER UINT64_MAX /* a time that never comes */

/* ---- Events to holders ---- */

enum pin_reason {
	PIN_UNMAP = 1, /* blocks are to be unmapped, freed, moved or zeroed: concerns every pin */
	PIN_WRITE = 2, /* somebody else wants to write: concerns exclusive pins */
};

enum pin_event_kind {
	PIN_EVENT_RECALL = 1, /* an operation waits for this pin until `deadline` */
	PIN_EVENT_DETACHED =
		2, /* these bytes are no longer the file's (PIN_UNMAP), or no longer exclusive (PIN_WRITE) */
	PIN_EVENT_CONFLICT = 3, /* a write by the kernel's write-back into an exclusive pin was refused */
	PIN_EVENT_POISON = 4, /* these bytes are lost: an uncorrectable memory error */
	PIN_EVENT_SHUTDOWN = 5, /* the filesystem is being unmounted: unpin everything until `deadline` */
};

struct pin_event {
	enum pin_event_kind kind;
	enum pin_reason reason; /* RECALL, DETACHED */
	uint64_t pin; /* id; 0: all of the holder's (SHUTDOWN) */
	uint64_t ino;
	uint64_t offset; /* bytes of the file, the part of the pin that is concerned */
	uint64_t length;
	uint64_t deadline; /* ns, CLOCK_MONOTONIC; PIN_FOREVER; 0 where it has no meaning */
};

struct pin_ops {
	/* For the holder whose `data` was given to pin_holder_create(); not called after pin_holder_silence(). */
	void (*event)(void *data, const struct pin_event *event);
	/* The operation of this waiter is to be repeated. Once per -EINPROGRESS. */
	void (*wake)(void *arg, struct pin_waiter *waiter);
	/* pin_reap_take() has something. */
	void (*reap)(void *arg);
};

/* `limit`: bytes that one user may pin, root excepted. -ENOMEM. */
int pin_table_create(const struct pin_ops *ops, void *arg, uint64_t limit, struct pin_table **ret_table);
/* Everything is dropped and reaped, or the process ends: frees what is left. No waiter is waiting. */
void pin_table_destroy(struct pin_table *table);
void pin_table_set_limit(struct pin_table *table, uint64_t limit);

/* ---- Holders: one client session each ---- */

/* `uid`: whom its pins are charged to; `process`: whose own write(2) does not wait; `session`: its ledger number. */
int pin_holder_create(struct pin_table *table, uint64_t session, uid_t uid, pid_t process, void *data,
		      struct pin_holder **ret_holder);
/*
 * Gives the holder a new receiver of events (reclaim), or none (NULL): after it returns no event is being delivered to
 * the old one. Not from within a callback.
 */
void pin_holder_set_data(struct pin_holder *holder, void *data);
void pin_holder_silence(struct pin_holder *holder);
/* Breaks no longer wait for it: it is dying and stuck, or did not come back. Its blocks stay counted. Reversible. */
void pin_holder_set_ignored(struct pin_holder *holder, bool ignored);
/*
 * Drops all of its pins and interrupts those that wait; then a PIN_REAP_HOLDER follows them through the reap queue,
 * once the last tentative pin and the last waiter of it have ended. A pin_take() that is too late gets -ESHUTDOWN.
 */
void pin_holder_close(struct pin_holder *holder);
uint64_t pin_holder_session(const struct pin_holder *holder);
uid_t pin_holder_uid(const struct pin_holder *holder);
pid_t pin_holder_process(const struct pin_holder *holder);

/* ---- Waiting ---- */

enum pin_verdict {
	PIN_VERDICT_NONE, /* not woken yet */
	PIN_VERDICT_LOOK, /* what was in the way is gone, or less: look again */
	PIN_VERDICT_TIMEOUT,
	PIN_VERDICT_INTERRUPT,
	PIN_VERDICT_SHUTDOWN,
};

/*
 * An operation that waits: a break, or a pin behind a break. Embedded by the caller. Exactly one of look, timeout,
 * interrupt and shutdown wakes it for each time it was told -EINPROGRESS. From its first wait until pin_waiter_end() a
 * break is a barrier: new pins that overlap it wait behind it.
 *
 *   idle --told -EINPROGRESS--> waiting --verdict, ops.wake--> woken --the operation again--> waiting, or idle by end
 *
 * An operation asks for one file, and for the same kind of thing, until pin_waiter_end().
 */

/* What somebody asks for: decides which pins are in its way. The table's. */
struct pin_want {
	enum pin_reason reason; /* of a break; 0: a pin */
	unsigned flags; /* of a pin: PIN_FLAG_WRITE, PIN_FLAG_EXCLUSIVE */
	pid_t process; /* who asks; 0: unknown */
	struct pin_holder *holder; /* of a pin; while it waits, kept until the end */
	uint64_t first, last; /* blocks of the file, last exclusive */
};

struct pin_waiter {
	/* Set by pin_waiter_init(). `process` may be set later, while the operation runs: it is read when it asks. */
	uint64_t timeout; /* ns from the first wait on; PIN_FOREVER; 0: decided at once */
	bool detach; /* at the timeout: true: go on (detach), false: -EBUSY */
	pid_t process; /* who asks, 0 unknown: a holder's own write(2) never waits */
	/* The table's, under LOCK_PIN_FILE of the file; the atomics are for pin_waiter_interrupt(). */
	_Atomic uint64_t ino; /* 0: has not waited */
	atomic_bool interrupted; /* it ends rather than wait again */
	enum { PIN_WAITER_IDLE, PIN_WAITER_WAITING, PIN_WAITER_WOKEN } state;
	enum pin_verdict verdict;
	bool expired; /* its time for waiting for pins is over */
	struct pin_want want;
	struct pin_interval range;
	uint64_t since; /* ns, CLOCK_MONOTONIC, of the first wait */
	uint64_t deadline; /* PIN_FOREVER also while a pin waits for breaks only: these have a deadline of their own */
	uint64_t conflicts; /* what it waits for: 0 wakes it */
	uint64_t number; /* order of arrival */
	uint64_t parked; /* when it last began to wait: it counts what is older, in the shard's order */
	uint64_t recalled; /* holders of pins that were known by then have been told */
	struct pin_waiter *next, *previous; /* in its shard, by arrival */
};

void pin_waiter_init(struct pin_waiter *waiter, uint64_t timeout, bool detach, pid_t process);
/* The operation is over, with whatever result: the barrier falls, pins behind it are woken. Also if it never waited. */
void pin_waiter_end(struct pin_table *table, struct pin_waiter *waiter);
/*
 * The verdict is INTERRUPT if it waits. If it does not wait now, nothing happens unless it would have to wait (again):
 * then it gets -EINTR instead. Any thread, from init on while the waiter exists.
 */
void pin_waiter_interrupt(struct pin_table *table, struct pin_waiter *waiter);

/*
 * What time brings, called while anything waits (pin_waiting() > 0), some 20 times a second: gives TIMEOUT to waiters
 * whose deadline has come, and calls visit, without locks, for each holder that a break waits for (each once).
 */
void pin_tick(struct pin_table *table, uint64_t now, void (*visit)(void *arg, struct pin_holder *holder), void *arg);
uint64_t pin_waiting(const struct pin_table *table);

/* ---- Pinning ---- */

#define PIN_FLAG_WRITE 1u
#define PIN_FLAG_EXCLUSIVE 2u
#define PIN_FLAG_EXTEND 4u
#define PIN_FLAG_CACHED 8u /* has a state word */

/* A piece of a pin: blocks that lie side by side in the file and in a part. */
struct pin_extent {
	uint64_t file_block;
	uint64_t phys; /* fmt_phys() */
	uint32_t length; /* blocks */
	bool detached; /* in limbo: no longer the file's */
};

struct pin_request {
	uint64_t id; /* the caller's, unique among all that the ledger names */
	uint64_t ino;
	uint32_t generation;
	uint32_t flags;
	uint64_t offset; /* bytes, as asked */
	uint64_t length;
	const struct pin_extent *extents; /* in file order; cover all blocks of the range, or (ro) none */
	size_t count;
	wire_word *word; /* PIN_FLAG_CACHED, else NULL; its count is 1 */
	const char *path; /* for people: where the file was when it was pinned; may be NULL */
	uint64_t now; /* ns, CLOCK_MONOTONIC */
};

/*
 * May this pin be granted now? The caller holds the file's layout lock (exclusive for PIN_FLAG_EXCLUSIVE) until
 * pin_take(). 0: yes. -EINPROGRESS: parked, `waiter` will be woken: the caller lets go of its locks and forgets the
 * waiter until then. waiter NULL: -EAGAIN instead. -EDEADLK: a break in the way waits for a pin of this holder.
 * -EINTR, -ESHUTDOWN, -EBUSY: as the verdict says (-EBUSY: others' write pins outlast the wait of an exclusive one, or
 * the policy says fail).
 * A write pin is also a PIN_WRITE break of others' exclusive pins; an exclusive one waits for others' write pins.
 */
int pin_admit(struct pin_table *table, struct pin_holder *holder, uint64_t ino, uint64_t first, uint64_t last,
	      unsigned flags, struct pin_waiter *waiter);

/*
 * Grants: raises both counts of every block, charges the user. The caller has been admitted and still holds the layout
 * lock. The pin is *tentative*: a break that meets it takes it back at once, and pin_confirm() says so. Not durable
 * yet: the caller writes the ledger, then confirms, then tells the client. -EAGAIN: something came between: admit
 * again; -ENOMEM (also: over the user's limit), -EOVERFLOW, -ESHUTDOWN.
 */
int pin_take(struct pin_table *table, struct pin_holder *holder, const struct pin_request *request,
	     struct pin **ret_pin);
/*
 * 0: held now. -EAGAIN: a break was faster and the pin is dropped: the reaper erases it, from now on (a tentative pin
 * that was taken away stays the granter's until this call or pin_drop(), so that it does not write its entry after it
 * was erased). Begin anew.
 */
int pin_confirm(struct pin *pin);
/* Lowers held, wakes whoever can go on, queues the rest for the reaper. Of a pin that is dropped already: nothing. */
void pin_drop(struct pin *pin);
/*
 * The client rang: if its word has BELL and is idle the pin is revoked and dropped: true. False: still in use, not
 * wanted, or dropped already.
 */
bool pin_bell(struct pin *pin);
/* A cached pin that was restored without its word gets it again. -EINVAL: not cached, dropped, or it has one. */
int pin_set_word(struct pin *pin, wire_word *word);
/* At mount, before the first operation: a pin that the ledger names. Extents may be detached (limbo). */
int pin_restore(struct pin_table *table, struct pin_holder *holder, const struct pin_request *request,
		struct pin **ret_pin);

/*
 * The holder's pin of that id, or NULL: it is not there, dropped, or not confirmed yet. A pin may be dropped by others
 * at any time (a break takes an idle cached one; the holder's end); the struct stays valid until pin_reaped(). So
 * whoever calls pin_reaped() makes sure that nobody uses the pin then.
 */
struct pin *pin_find(struct pin_holder *holder, uint64_t id);

/* What a pin is; constant but for extents' detached, exclusive and state. */
struct pin_info {
	uint64_t id, session, ino, offset, length;
	uint32_t generation;
	uint32_t flags; /* PIN_FLAG_EXCLUSIVE goes when it is lost */
	uint64_t since;
	uid_t uid;
	pid_t process;
	bool dropped, tentative, idle; /* idle: cached, and its count is 0 */
	uint64_t blocks, detached_blocks;
	const char *path;
};
void pin_get_info(struct pin *pin, struct pin_info *ret_info);
/* Copies extents [start, ...), at most capacity; *ret_total is how many there are. */
size_t pin_get_extents(struct pin *pin, size_t start, struct pin_extent *extents, size_t capacity, size_t *ret_total);
/* 0 if file bytes [offset, +length) of the pin are still the file's; -ESTALE if any is detached; -ERANGE outside. */
int pin_check_range(struct pin *pin, uint64_t offset, uint64_t length);

/* ---- Breaks ---- */

/*
 * Looks for pins in the way of an operation on file blocks [first, last): all held ones (PIN_UNMAP), or exclusive ones
 * of other processes (PIN_WRITE). Idle cached pins and tentative ones are taken away; pins of ignored holders do not
 * count. 0: go on; what is still counted in the range is to go to limbo, not to be freed. -EINPROGRESS: parked (recalls
 * are sent). waiter NULL: -EAGAIN. -EBUSY (policy fail), -EINTR, -ESHUTDOWN. At a TIMEOUT with detach: 0; for PIN_WRITE
 * the exclusive pins lose their exclusivity and are told (DETACHED, PIN_WRITE).
 */
int pin_break(struct pin_table *table, uint64_t ino, uint64_t first, uint64_t last, enum pin_reason reason,
	      struct pin_waiter *waiter);
/* The kernel's write-back into [first, last) of exclusive pins by others: true, and they get CONFLICT: answer EIO. */
bool pin_conflict(struct pin_table *table, uint64_t ino, uint64_t first, uint64_t last);
/* Without a lock: false if no block at all is counted, or no exclusive pin is there. For the fast path only. */
bool pin_any(const struct pin_table *table);
bool pin_any_exclusive(const struct pin_table *table);

/*
 * The first counted (recorded > 0) run in [phys, +length): it must go to limbo. -ENOENT: none; -ENOMEM. Cuts the run's
 * nodes to the range, so that pin_detached() needs no memory.
 */
int pin_counted(struct pin_table *table, uint64_t phys, uint64_t length, uint64_t *ret_phys, uint64_t *ret_length);
/* These blocks of the file went to limbo, durably. Tells the holders; what is not counted any more is queued to be
 * freed.
 */
void pin_detached(struct pin_table *table, uint64_t ino, uint64_t file_block, uint64_t phys, uint32_t length);
/* At mount, after all pins are restored: a run of limbo. What none of them counts is queued to be freed. */
int pin_restore_limbo(struct pin_table *table, uint64_t phys, uint64_t length);
/* The canary (rule 16): true if any block of it is counted. Who then refuses to free it says so by pin_canary(). */
bool pin_is_counted(struct pin_table *table, uint64_t phys, uint64_t length);
/* The first run in [phys, +length) that is not counted. False: all of it is. */
bool pin_find_idle(struct pin_table *table, uint64_t phys, uint64_t length, uint64_t *ret_phys, uint64_t *ret_length);
void pin_canary(struct pin_table *table);
/* These blocks are lost: POISON to whoever pins them, or to that holder only, if it is not NULL. */
void pin_poisoned(struct pin_table *table, uint64_t phys, uint64_t length, const struct pin_holder *holder);

/* ---- Reaping: what follows a drop, in order ---- */

enum pin_reap_kind {
	PIN_REAP_PIN, /* erase its ledger entry, then pin_reaped() */
	PIN_REAP_RUN, /* in limbo and counted no more: take it out of limbo, then free it */
	PIN_REAP_HOLDER, /* erase the session's entry, then pin_reaped_holder() */
};

struct pin_reap {
	enum pin_reap_kind kind;
	union {
		struct pin *pin;
		struct {
			uint64_t phys;
			uint64_t length;
		} run;
		struct pin_holder *holder;
	};
};

/* Takes the oldest, in order. One thread reaps. */
size_t pin_reap_take(struct pin_table *table, struct pin_reap *items, size_t capacity);
/* The entry is erased: lowers recorded, queues runs of limbo that reach 0, frees the pin. Cannot fail. */
void pin_reaped(struct pin *pin);
void pin_reaped_holder(struct pin_holder *holder);
/* Instead of pin_reaped(): the entry could not be erased. The pin stays counted; pin_reap_kept()
 * queues it anew, and does not ask for the reaper: he calls it, once whenever he is asked for. */
void pin_keep(struct pin *pin);
void pin_reap_kept(struct pin_table *table);

/* ---- Shutdown, numbers, lists ---- */

/* From now on no pin is granted (-ESHUTDOWN), all waiters get SHUTDOWN, each holder gets the event. */
void pin_shutdown(struct pin_table *table, uint64_t deadline);

struct pin_stats {
	uint64_t pins, holders, waiting; /* held pins; waiters: breaks and pins */
	uint64_t waiting_breaks;
	uint64_t pinned_blocks; /* blocks with held > 0, each once */
	uint64_t limbo_blocks; /* counted blocks that are in limbo, and queued runs */
	/* Since mount. detaches: pins that lost blocks or their exclusivity; revokes: idle cached pins taken away. */
	uint64_t grants, drops, breaks_waited, timeouts, detaches, interrupts, revokes;
	uint64_t canaries; /* rule 16: frees refused */
	uint64_t longest_wait; /* ns, of those that wait now */
};
void pin_get_stats(struct pin_table *table, uint64_t now, struct pin_stats *ret_stats);
/* Bytes of file `ino`, in whole blocks, that are pinned and still its own, each once: getfattr -n pinfs.pins. */
uint64_t pin_file_bytes(struct pin_table *table, uint64_t ino);

/* Blocks in one place that are all pinned, or all in limbo. */
struct pin_block_run {
	uint64_t phys;
	uint64_t length;
	bool limbo;
};
/* All of them, in no order; no lock is held in visit: what changes meanwhile is seen or not. */
void pin_visit_blocks(struct pin_table *table, void (*visit)(void *arg, const struct pin_block_run *run), void *arg);

/* Who waits, for `pinfs pins`. */
struct pin_wait_info {
	uint64_t ino, first, last, since, deadline, conflicts;
	enum pin_reason reason; /* 0: a pin that waits */
	pid_t process;
};
/*
 * All pins, then all waiters, of file `ino` (0: of all files), copied shard by shard: no lock is held in visit. A
 * non-zero return ends it and is passed on. -ENOMEM.
 */
int pin_visit(struct pin_table *table, uint64_t ino, int (*visit_pin)(void *arg, const struct pin_info *info),
	      int (*visit_waiter)(void *arg, const struct pin_wait_info *info), void *arg);

/* The pins of one holder, in the order of their ids, in the same way. `path` is valid during the call. */
int pin_holder_visit(struct pin_holder *holder, int (*visit)(void *arg, const struct pin_info *info), void *arg);

#endif
