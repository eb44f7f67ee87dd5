/*
 * The life of pins and breaks, for spin. README.md says which step is which function, what each configuration of
 * tests/model/run looks at, and what is left out.
 *
 * One file; processes are the client (Holder, User), the kernel (Kernel), the threads of the daemon (Worker, Operation,
 * Control, Reaper, Timer), another file's allocations (Other), crashes (Crash). What one lock or one transaction makes
 * indivisible is one d_step.
 *
 * Masks: bit h a holder, bit s a pin, bit i a break, bit p a physical block, bit f a block of the file.
 */
#ifndef HOLDERS
#define HOLDERS 2
#endif
#ifndef SLOTS
#define SLOTS 2 /* pins of a holder that exist at a time: one may be dropped and not yet reaped */
#endif
#ifndef BREAKS
#define BREAKS 1
#endif
#ifndef BLOCKS
#define BLOCKS 2 /* physical */
#endif
#ifndef FILE_BLOCKS
#define FILE_BLOCKS 1
#endif
#ifndef ROUNDS
#define ROUNDS 1 /* pins that a holder asks for, one after the other */
#endif
#ifndef REUSES
#define REUSES 1 /* allocations for another file */
#endif
#ifndef CRASHES
#define CRASHES 0
#endif
/* Blocks of the file that each holder pins, each break touches: two bits each. */
#ifndef PIN_RANGES
#define PIN_RANGES 5
#endif
#ifndef BREAK_RANGES
#define BREAK_RANGES 5
#endif
#define PIN_RANGE(h) ((PIN_RANGES >> (2 * (h))) & 3)
#define BREAK_RANGE(i) ((BREAK_RANGES >> (2 * (i))) & 3)
#ifdef CRASH_WHEN_TOLD
#define CRASH_WHEN TOLD(0) && TOLD(1) /* two holders are too many for crashes at all times */
#else
#define CRASH_WHEN true
#endif
/* Masks of holders. */
#ifndef CACHED
#define CACHED 0 /* their pins have a state word */
#endif
#ifndef STUBBORN
#define STUBBORN 0 /* unpin nothing while a break is unanswered */
#endif
#ifndef MORTAL
#define MORTAL 0 /* may be killed at any time */
#endif
#ifndef STUCK
#define STUCK 0 /* while they die they hang in the kernel behind an unanswered break */
#endif
#ifndef LEAVING
#define LEAVING 0 /* may lose their socket, and live on */
#endif
#ifndef NESTED
#define NESTED 0 /* pin again while they hold a pin */
#endif
/* Masks of breaks. */
#ifndef BOUNDED
#define BOUNDED 0 /* have a timeout; it comes for certain, sooner or later */
#endif
#ifndef FAILING
#define FAILING 0 /* fail at the timeout, rather than detach */
#endif
#ifndef NO_WAIT
#define NO_WAIT 0 /* never wait: eviction */
#endif
#ifndef EDGE
#define EDGE 0 /* zero a part of the block, rather than unmap it */
#endif
#ifndef SIGNALLED
#define SIGNALLED 0 /* their process gets a signal, for certain */
#endif

#define PINS (HOLDERS * SLOTS)
#define BIT(n) (1 << (n))
#define ALL(n) (BIT(n) - 1)
#define HAS(mask, n) (((mask) >> (n)) & 1)
#define OWNER(s) ((s) / SLOTS)
#define THREADS (2 * HOLDERS + BREAKS + 1)

/* ---- What is on media ---- */
byte file[FILE_BLOCKS]; /* physical block + 1; 0: hole */
byte limbo; /* blocks that no file owns and a pin may hold */
byte other; /* blocks of another file */
byte ledger[PINS]; /* blocks that the entry of the pin names; 0: no entry */
byte intent; /* blocks of the file that are still to be unmapped */

/* ---- What the daemon has in memory ---- */
bool up;
byte falling; /* after a crash: the thread that stops next; 0: they run */
byte avail; /* blocks that the allocator may give */
byte held[BLOCKS], recorded[BLOCKS];
byte in_limbo; /* the table's flag of a run: it is in the limbo map for certain */
#define P_NONE 0
#define P_TENTATIVE 1
#define P_TAKEN 2 /* was tentative; a break was faster; the grant is still under way */
#define P_HELD 3
#define P_DROPPED 4 /* in the reaper's queue */
byte pin[PINS];
byte blocks[PINS]; /* of the pin */
byte live[PINS]; /* of these: still the file's, not detached */
byte no_word; /* pins restored, whose page has not been shown yet */
byte ignored, closing; /* holders */
#define W_IDLE 0
#define W_WAITING 1
#define W_WOKEN 2
byte waiter[BREAKS]; /* of a break */
byte conflicts[BREAKS]; /* pins that it waits for */
byte barrier, timed_out, interrupted; /* breaks */
byte resume[BREAKS]; /* how often the operation is to be (re)started */
byte queue[HOLDERS]; /* W_: of a pin that waits behind breaks */
byte ahead[HOLDERS]; /* breaks that it waits for */
bool exclusive; /* the layout lock */
byte shared;
bool table_lock; /* LOCK_PIN_FILE, where it is held for more than one step */
#define R_PIN 0
#define R_RUN 1
chan reaping = [PINS + BLOCKS] of { bit, byte };

/* ---- What the holders know, and the kernel ---- */
#define ALIVE 0
#define DYING 1
#define DEAD 2
byte life[HOLDERS];
byte connected; /* holders */
bool asked[HOLDERS];
byte told[PINS]; /* blocks that the client was told it has */
byte using[PINS]; /* cached: threads that use them now; else unused */
byte count[PINS], bell, revoked; /* the state words */
byte ring, unpin, words; /* messages under way: pins */
byte sent, answered; /* breaks */

/* Scratch of a d_step, worth nothing outside of one. */
hidden byte x, y, z, w;

/* ---- What must hold ---- */
hidden byte block_of_a_holder_not_reused, counted_block_not_freed, erased_before_allocatable, erased_only_when_idle,
	ledger_before_reply, one_answer, busy_block_not_zeroed, every_break_answered, every_holder_done,
	nothing_leaked, no_lock_left, recorded_block_has_an_owner;
#define CHECK(name, condition) \
	name = (condition); \
	assert(name)

/* True if the process behind pin `s` may load, store or do DMA in block `p` now. */
#define TOUCHES(s, p) (life[OWNER(s)] != DEAD && HAS(told[s], p) && (!HAS(CACHED, OWNER(s)) || using[s] > 0))

/* Block `p` is about to become somebody's. */
inline check_allocated(p) {
	for (y : 0 .. PINS - 1) {
		CHECK(block_of_a_holder_not_reused, !TOUCHES(y, p));
		CHECK(erased_before_allocatable, !HAS(ledger[y], p));
	}
	y = 0
}

#include "table.pml"
#include "daemon.pml"
#include "reaper.pml"
#include "world.pml"

#ifndef STREAM
/* Nothing can happen any more: is everything done? */
proctype Final()
{
	timeout;
	d_step {
		CHECK(every_break_answered, answered == ALL(BREAKS));
		for (x : 0 .. HOLDERS - 1) {
			CHECK(every_holder_done, life[x] == DEAD)
		}
		CHECK(no_lock_left, !exclusive && shared == 0 && !table_lock);
		y = limbo;
		for (x : 0 .. PINS - 1) {
			y = y | ledger[x] | pin[x]
		}
		for (x : 0 .. BLOCKS - 1) {
			y = y | recorded[x] | held[x]
		}
#ifndef LEAKS_ALLOWED
		CHECK(nothing_leaked, y == 0)
#endif
	}
}
#endif

init
{
	atomic {
		file[0] = 1;
#if FILE_BLOCKS > 1
		file[1] = 2;
#endif
		avail = ALL(BLOCKS) & ~ALL(FILE_BLOCKS);
		connected = ALL(HOLDERS);
		up = true;
		byte k;
		/* The threads of the daemon are 1 to THREADS. */
		for (k : 0 .. HOLDERS - 1) {
			run Worker(k);
			run Control(k)
		}
		for (k : 0 .. BREAKS - 1) {
			run Operation(k)
		}
		run Reaper();
		for (k : 0 .. HOLDERS - 1) {
			run Holder(k);
#if CACHED
			if
			:: HAS(CACHED, k) -> run User(k)
			:: else
			fi
#endif
		}
		for (k : 0 .. BREAKS - 1) {
			run Kernel(k);
#if BOUNDED
			if
			:: HAS(BOUNDED, k) -> run Timer(k)
			:: else
			fi
#endif
		}
		k = 0;
#if REUSES
		run Other();
#endif
#if CRASHES
		run Crash();
#endif
#ifndef STREAM
		run Final()
#endif
	}
}

#ifdef STREAM
ltl served { [] ((waiter[0] == W_WAITING) -> <> HAS(answered, 0)) }
#endif
