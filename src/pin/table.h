/*
 * What the files of src/pin share: the table, and the insides of pins, holders and files.
 *
 * L1  LOCK_PIN_FILE of the shard of its file protects a pin and a waiter. LOCK_PIN_COUNT and LOCK_LEAF are taken under
 *     it; no two locks of one rank are ever held.
 * L2  `conflicts` of a waiter that waits is how many pins and waiters it counts: pin_counts_for() and what
 *     pin_waits_behind() say, nothing else. Whatever changes that answer lowers `conflicts` before, with the old
 * answer, and raises it after, with the new one, under the lock; then who is at 0 is woken. So there is no lost
 * wake-up. L3  A waiter counts only what is older than its last park (`parked`): the shard's clock orders all births
 * and parks.
 */
#ifndef PINFS_PIN_TABLE_H
#define PINFS_PIN_TABLE_H

#include "base/lock.h"
#include "pin/counts.h"
#include "pin/interval.h"
#include "pin/pin.h"
#include "pin/reap.h"

#include <sys/queue.h>

#define PIN_FILE_SHARDS 64u
#define PIN_BLOCK_SHIFT 12u

/*
 *   tentative --pin_confirm--> held --drop, break of an idle cached one--> dropped --pin_reaped--> freed
 *       |  \--pin_drop---------------------------------------------------/   |
 *       |--break, end of the holder--> taken --pin_confirm, pin_drop--------/
 */
enum pin_state {
	PIN_TENTATIVE, /* counted, not told to its client */
	PIN_HELD,
	PIN_TAKEN, /* holds nothing; its granter does not know yet, and may be writing the ledger entry */
	PIN_DROPPED, /* queued for the reaper */
};

struct pin {
	/* Constant. */
	struct pin_table *table;
	struct pin_holder *holder;
	uint64_t id, ino, offset, length, since, session;
	uid_t uid;
	pid_t process;
	uint32_t generation;
	wire_word *word; /* CACHED; NULL if not, or restored */
	char *path;
	size_t count;
	uint64_t blocks; /* of the extents */
	struct pin_extent *extents; /* `detached` of these means nothing: the counts know what is in limbo */

	/* Under LOCK_PIN_FILE of the file. */
	enum pin_state state;
	uint32_t flags;
	bool ignored; /* the holder is */
	uint64_t born; /* L3 */
	uint64_t known; /* when its holder could first be recalled for it */
	uint64_t detached_blocks;
	struct pin_interval range; /* in file->pins; not if all of it is detached */
	LIST_ENTRY(pin) gone_link; /* in file->gone then */

	/* Under the holder's lock. */
	RB_ENTRY(pin) id_link;
	bool confirmed;

	atomic_uint references; /* the table's, until pin_reaped(); who walks over pins without a lock */
	struct pin_reap_link reap;
};
RB_HEAD(pin_ids, pin);
LIST_HEAD(pin_list, pin);

struct pin_holder {
	/* Constant. */
	struct pin_table *table;
	uint64_t session;
	uid_t uid;
	pid_t process;

	_Atomic(void *) data; /* of events; NULL: nobody listens */
	_Atomic uint64_t blocking; /* pairs of a waiter and a pin of this holder that it counts */
	_Atomic uint64_t waited; /* a bit for each shard where a pin of it has waited */
	/* Its living pins, its waiters, who walks over holders, and 1 until it is closed: at 0 it goes to the reaper.
	 */
	_Atomic uint64_t uses;

	struct lock_mutex lock; /* LOCK_LEAF; protects: */
	struct pin_ids ids; /* pins that are tentative or held */
	bool ignored;
	bool closed;

	LIST_ENTRY(pin_holder) link; /* in its shard, by session; under LOCK_PIN_FILE of that */
	struct pin_reap_link reap;
};
LIST_HEAD(pin_holders, pin_holder);

/* A file with pins or waiters. */
struct pin_file {
	RB_ENTRY(pin_file) link;
	uint64_t ino;
	struct pin_intervals pins; /* of struct pin: tentative or held, not wholly detached */
	struct pin_list gone; /* held, wholly detached */
	size_t pin_count; /* of both */
	/* Of struct pin_waiter, waiting or woken. */
	struct pin_intervals breaks;
	struct pin_intervals writers; /* pins that wait, for write or exclusive: for pins, and for breaks */
	struct pin_intervals readers; /* other pins that wait: for breaks only */
	size_t waiter_count;
};
RB_HEAD(pin_files, pin_file);

struct pin_shard {
	_Alignas(64) struct lock_mutex lock; /* LOCK_PIN_FILE; protects: */
	struct pin_files files;
	size_t pin_count;
	uint64_t clock; /* L3 */
	struct pin_waiter *first_waiter, *last_waiter; /* waiting or woken, by arrival */
	size_t waiter_count;
	struct pin_holders holders;
};

struct pin_user {
	RB_ENTRY(pin_user) link;
	uid_t uid;
	uint64_t bytes;
};
RB_HEAD(pin_users, pin_user);

struct pin_table {
	struct pin_ops ops;
	void *arg;
	struct pin_shard shard[PIN_FILE_SHARDS];
	struct pin_counts counts;

	struct lock_mutex users_lock; /* LOCK_LEAF; protects users */
	struct pin_users users;
	struct lock_mutex reap_lock; /* LOCK_LEAF; protects reap, kept */
	struct pin_reap_list reap;
	struct pin_reap_list kept; /* pins that could not be reaped */

	_Atomic uint64_t limit;
	atomic_bool shutdown; /* set before the shards are walked: who parks after that sees it */
	_Atomic uint64_t recorded; /* pins not reaped: pin_any() */
	_Atomic uint64_t exclusive; /* pins, tentative or held: pin_any_exclusive() */
	_Atomic uint64_t waiting; /* waiters, waiting or woken */
	_Atomic uint64_t marks;

	/* Statistics. */
	_Atomic uint64_t pins, holders, waiting_breaks;
	_Atomic uint64_t grants, drops, breaks_waited, timeouts, detaches, interrupts, revokes, canaries;
};

static inline void pin_add(_Atomic uint64_t *counter, uint64_t number)
{
	atomic_fetch_add_explicit(counter, number, memory_order_relaxed);
}

static inline void pin_subtract(_Atomic uint64_t *counter, uint64_t number)
{
	atomic_fetch_sub_explicit(counter, number, memory_order_relaxed);
}

uint64_t pin_now(void); /* ns, CLOCK_MONOTONIC */

/* ---- table.c: shards ---- */

unsigned pin_shard_number(uint64_t number);
struct pin_shard *pin_shard_of(struct pin_table *table, uint64_t ino);
/* Locked: the shard of that file. */
struct pin_shard *pin_shard_lock(struct pin_table *table, uint64_t ino);

/* ---- users.c ---- */

/* Charges the user. -ENOMEM: no memory, or over the limit if `limited`. */
int pin_user_charge(struct pin_table *table, uid_t uid, uint64_t bytes, bool limited);
void pin_user_refund(struct pin_table *table, uid_t uid, uint64_t bytes);
void pin_users_fini(struct pin_table *table);

/* ---- holder.c ---- */

int pin_holder_add(struct pin_holder *holder, struct pin *pin); /* -ESHUTDOWN: closed; -EEXIST: that id is there */
void pin_holder_remove(struct pin_holder *holder, struct pin *pin);
void pin_holder_confirm(struct pin_holder *holder, struct pin *pin);
bool pin_holder_is_closed(struct pin_holder *holder);
void pin_holder_use(struct pin_holder *holder);
bool pin_holder_try_use(struct pin_holder *holder); /* false: it is the reaper's already */
void pin_holder_unuse(struct pin_holder *holder); /* may queue it for the reaper */
void pin_holder_free(struct pin_holder *holder);
/* Under LOCK_PIN_FILE of any shard. */
void pin_holder_tell(struct pin_holder *holder, const struct pin_event *event);

/* ---- file.c: under the shard's lock ---- */

struct pin_file *pin_file_find(struct pin_shard *shard, uint64_t ino);
struct pin_file *pin_file_get(struct pin_shard *shard, uint64_t ino); /* makes it; NULL: no memory */
void pin_file_put(struct pin_shard *shard, struct pin_file *file); /* frees it if it is empty; NULL is fine */
/* The one with the next higher number; 0: the first. */
struct pin_file *pin_file_after(struct pin_shard *shard, uint64_t ino);
struct pin *pin_file_pin(struct pin_interval *interval);
struct pin_waiter *pin_file_waiter(struct pin_interval *interval);

/* True if the pin is in the way of who wants that: concerned, not ignored, and not detached there. */
bool pin_in_way(const struct pin_want *want, struct pin *pin);
/* L2: true if the waiter's `conflicts` count the pin. */
bool pin_counts_for(const struct pin_waiter *waiter, struct pin *pin);
/* Before and after a change of a pin: see L2. */
void pin_uncount(struct pin_file *file, struct pin *pin);
void pin_recount(struct pin_file *file, struct pin *pin);
/* Tells the holder what of the pin is concerned. */
void pin_tell(struct pin *pin, enum pin_event_kind kind, enum pin_reason reason, uint64_t first, uint64_t last,
	      uint64_t deadline);
/* Recalls the pin, held, for all that count it, or takes it away if it is an idle cached one. Not to be used then. */
void pin_recall_known(struct pin_shard *shard, struct pin_file *file, struct pin *pin);
/*
 * Takes away what of the pins in the way can be (idle cached ones; tentative ones if `tentative`); returns how many are
 * left.
 */
uint64_t pin_look(struct pin_shard *shard, struct pin_file *file, const struct pin_want *want, bool tentative);
/* Exclusive pins of others in the range are so no more, and are told; tentative ones are taken away. */
void pin_lose_exclusive(struct pin_shard *shard, struct pin_file *file, const struct pin_want *want);

/* ---- pin.c ---- */

/* Ends a tentative or held pin: a tentative one is its granter's until that has heard (PIN_TAKEN). Under the lock. */
void pin_end(struct pin_shard *shard, struct pin_file *file, struct pin *pin);
struct pin *pin_next(struct pin_holder *holder, uint64_t id); /* with the next higher id, tentative too; a reference */
void pin_unref(struct pin *pin);
void pin_free(struct pin *pin);
bool pin_is_idle(const struct pin *pin);

/* ---- list.c ---- */

void pin_free_all(struct pin_table *table);

/* ---- extents.c ---- */

/* True if any block of the pin in [first, last) of the file is still the file's. Under the lock. */
bool pin_is_live(struct pin *pin, uint64_t first, uint64_t last);
/* How many of the file's blocks [file_block, +length), which are at `phys`, this pin pins. */
uint64_t pin_blocks_at(const struct pin *pin, uint64_t file_block, uint64_t phys, uint64_t length);

/* ---- waiter.c: under the lock ---- */

/* The operation of this waiter asks for that file: before pin_may_wait(). */
void pin_waiter_begin(struct pin_waiter *waiter, uint64_t ino);
/*
 * How the operation of this waiter (or NULL) may go on where it would have to wait: 0: it may not wait any longer, the
 * policy decides; -EAGAIN: it may wait; -EINTR. Not for pins: for waiters before it, whose own time is bounded.
 */
int pin_may_wait(struct pin_table *table, struct pin_waiter *waiter, bool for_pins);
/*
 * Parks it: -EINPROGRESS, or -EINTR. `pins` of those in the way of `want` are waited for, and `before` waiters.
 */
int pin_park(struct pin_table *table, struct pin_shard *shard, struct pin_file *file, struct pin_waiter *waiter,
	     const struct pin_want *want, uint64_t pins, uint64_t before);
/* Wakes those who overlap the range and wait for nothing any more. */
void pin_wake_free(struct pin_table *table, struct pin_file *file, uint64_t first, uint64_t last);
void pin_waiter_wake(struct pin_table *table, struct pin_file *file, struct pin_waiter *waiter,
		     enum pin_verdict verdict);

/* ---- admit.c ---- */

/* L2: true if `conflicts` of the waiter (of a pin, waiting) count `other`. */
bool pin_waits_behind(const struct pin_waiter *waiter, const struct pin_waiter *other);

#endif
