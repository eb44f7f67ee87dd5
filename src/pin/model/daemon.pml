/*
 * The threads of the daemon. Steps that one lock or one transaction makes indivisible are one; taking a lock is joined
 * with what follows it, dropping one with what precedes it, as no other thread can tell the difference.
 */
#if CRASHES
/* A crash stops the threads one by one, in the order of their numbers: any order leaves the same behind. */
#define RUNS provided (falling == 0 || falling == _pid)
#define DAEMON restarted: {
#define DAEMON_END } unless { d_step { falling == _pid -> falling++ } }; goto restarted
#else
#define RUNS
#define DAEMON
#define DAEMON_END
#endif

/* ---- A grant: fs_pin() ---- */

#define UNUSED(s) (pin[s] == P_NONE && told[s] == 0 && ledger[s] == 0)
#if SLOTS > 2
#define UNUSED_OF(h) (UNUSED(h * SLOTS) || UNUSED(h * SLOTS + 1) || UNUSED(h * SLOTS + 2))
#define CHOOSE(h) (UNUSED(h * SLOTS) -> h * SLOTS : (UNUSED(h * SLOTS + 1) -> h * SLOTS + 1 : h * SLOTS + 2))
#else
#define UNUSED_OF(h) (UNUSED(h * SLOTS) || UNUSED(h * SLOTS + 1))
#define CHOOSE(h) (UNUSED(h * SLOTS) -> h * SLOTS : h * SLOTS + 1)
#endif

/* Breaks that a pin of holder `h` waits for are left in `mine`. */
inline admit(h, mine, failed) {
	mine = 0;
	failed = HAS(closing, h);
#ifndef BARRIER_OUT
	for (x : 0 .. BREAKS - 1) {
		if
		:: HAS(barrier, x) && (BREAK_RANGE(x) & PIN_RANGE(h)) != 0 ->
			mine = mine | BIT(x);
#ifndef EDEADLK_OUT
			for (y : 0 .. PINS - 1) {
				failed = failed || (OWNER(y) == h && HAS(conflicts[x], y))
			}
#endif
		:: else
		fi
	};
#endif
	if
	:: failed || mine == 0
	:: else -> queue[h] = W_WAITING; ahead[h] = mine
	fi
}

inline fill_holes(h, mine, failed) {
	for (x : 0 .. FILE_BLOCKS - 1) {
		if
		:: HAS(PIN_RANGE(h), x) && file[x] == 0 ->
			for (z : 0 .. BLOCKS - 1) {
				if
				:: file[x] == 0 && HAS(avail, z) ->
					check_allocated(z);
					avail = avail & ~BIT(z);
					file[x] = z + 1
				:: else
				fi
			}
			failed = failed || file[x] == 0
		:: else
		fi
	};
	look_up(PIN_RANGE(h));
	mine = (failed -> 0 : x)
}

inline take(h, s, mine, failed) {
	if
	:: HAS(closing, h) -> failed = true
	:: else ->
		pin[s] = P_TENTATIVE;
		blocks[s] = mine;
		live[s] = mine;
		count[s] = HAS(CACHED, h);
		bell = bell & ~BIT(s);
		revoked = revoked & ~BIT(s);
		/* Messages name pins by numbers that are never used again. */
		unpin = unpin & ~BIT(s);
		ring = ring & ~BIT(s);
		words = words & ~BIT(s);
		for (x : 0 .. BLOCKS - 1) {
			held[x] = held[x] + HAS(mine, x);
			recorded[x] = recorded[x] + HAS(mine, x)
		}
	fi
}

inline confirm(s, mine) {
	if
	:: pin[s] == P_TENTATIVE -> pin[s] = P_HELD
	:: else ->
		/* Only now may the reaper have it: the ledger entry has been written meanwhile. */
		pin[s] = P_DROPPED;
#ifndef REAP_BEFORE_CONFIRM
		reaping!R_PIN, s;
#endif
		count[s] = 0;
		mine = 0
	fi
}

inline answer(h, s, mine, failed) {
	if
	:: !failed && life[h] == ALIVE && HAS(connected, h) ->
		told[s] = mine;
		using[s] = HAS(CACHED, h);
#ifndef LEDGER_AFTER_REPLY
		CHECK(ledger_before_reply, ledger[s] == mine)
#endif
	:: else
	fi;
	asked[h] = false
}

proctype Worker(byte h) RUNS
{
	byte s, mine;
	bool failed;

DAEMON
	d_step { s = 0; mine = 0; failed = false };
end_idle:
	do
	:: atomic {
			d_step {
				up && asked[h] && !table_lock && !exclusive && UNUSED_OF(h) ->
				admit(h, mine, failed)
			}
			if
			:: failed -> goto reply
			:: !failed && mine != 0
			:: else -> d_step { shared++; s = CHOOSE(h) }; goto admitted
			fi
		}
		d_step { queue[h] == W_WOKEN -> queue[h] = W_IDLE; mine = 0 };
		goto end_idle;
admitted:
		atomic {
			d_step { true -> fill_holes(h, mine, failed) };
			if
			:: failed -> shared--; goto reply
			:: else
			fi
		}
#ifdef COUNT_OUTSIDE_LOCK
		shared--;
#endif
		atomic {
			d_step { !table_lock -> take(h, s, mine, failed) };
#ifndef COUNT_OUTSIDE_LOCK
			shared--;
#endif
			if
			:: failed -> goto reply
			:: else
			fi
		}
#ifndef LEDGER_AFTER_REPLY
		ledger[s] = mine;
#endif
#ifdef UPCALL
		/* The kernel cleans and drops its pages: not before the call that has the inode's lock is answered. */
		((sent & ~answered) == 0);
#endif
		atomic {
			d_step { !table_lock -> confirm(s, mine) };
			if
			:: mine == 0 -> s = 0; goto end_idle
			:: else
			fi
		}
reply:
		atomic {
			d_step { true -> answer(h, s, mine, failed) };
#ifdef LEDGER_AFTER_REPLY
			if
			:: failed -> goto told_it
			:: else
			fi
		}
		atomic {
			ledger[s] = mine;
			goto told_it
		}
told_it:
		atomic {
#endif
			d_step { s = 0; mine = 0; failed = false }
		}
	od
DAEMON_END
}

/* ---- A break: fs_setattr(), fs_fallocate() and others ---- */

/* A pin in the way whose word is idle is taken away; a busy one gets the bell. */
inline revoke(i, s, seen) {
	if
	:: d_step {
			pin[s] == P_HELD && HAS(CACHED, OWNER(s)) && !HAS(no_word, s) ->
			look_up(BREAK_RANGE(i));
			seen = ((live[s] & x) != 0 -> count[s] : 255);
			bell = (seen == 255 -> bell : bell | BIT(s))
		};
		d_step {
#ifdef REVOKE_BUSY
			if
			:: seen != 255 && using[s] > 0 ->
#else
			if
			:: seen == 0 && count[s] == 0 ->
#endif
#ifndef BELL_WITHOUT_LOOK
				revoked = revoked | BIT(s);
				drop(s)
#endif
			:: else
			fi;
			seen = 0
		}
	:: else
	fi
}

#define GO 1
#define PARKED 2
#define REFUSED 3

inline park(i, seen) {
	waiter[i] = W_WAITING;
	conflicts[i] = seen;
	barrier = barrier | BIT(i)
}

inline pin_break(i, verdict, seen) {
	look_up(BREAK_RANGE(i));
	z = x; /* blocks */
	seen = 0; /* pins in the way */
	for (x : 0 .. PINS - 1) {
		if
		:: (live[x] & z) != 0 && pin[x] == P_TENTATIVE ->
#ifdef TENTATIVE_NOT_TAKEN
			seen = seen | BIT(x)
#else
			lower_held(x);
			pin[x] = P_TAKEN;
#ifdef REAP_BEFORE_CONFIRM
			reaping!R_PIN, x;
#endif
			release_waiters(x)
#endif
		:: (live[x] & z) != 0 && pin[x] == P_HELD && !HAS(ignored, OWNER(x)) -> seen = seen | BIT(x)
		:: else
		fi
	};
	if
	:: seen == 0 || HAS(NO_WAIT, i) -> verdict = GO
	:: else ->
		if
		:: HAS(interrupted, i) -> verdict = REFUSED
		:: !HAS(interrupted, i) && HAS(timed_out, i) -> verdict = (HAS(FAILING, i) -> REFUSED : GO)
		:: else -> verdict = PARKED
		fi
	fi;
#ifndef LOOK_THEN_PARK
	if
	:: verdict == PARKED -> park(i, seen)
	:: else
	fi;
	seen = 0;
#endif
	table_lock = false
}

inline waiter_end(i) {
	waiter[i] = W_IDLE;
	conflicts[i] = 0;
	barrier = barrier & ~BIT(i);
#ifndef BARRIER_WAKES_NOBODY
	for (x : 0 .. HOLDERS - 1) {
		if
		:: queue[x] == W_WAITING && ahead[x] == BIT(i) -> ahead[x] = 0; queue[x] = W_WOKEN
		:: else -> ahead[x] = ahead[x] & ~BIT(i)
		fi
	};
#endif
	x = 0
}

/* One transaction: the copy comes in, the old block goes to limbo. No space: the operation fails. */
inline swap_edge(p, verdict) {
	verdict = REFUSED;
	for (x : 0 .. BLOCKS - 1) {
		if
		:: verdict == REFUSED && HAS(avail, x) ->
			check_allocated(x);
			avail = avail & ~BIT(x);
			file[0] = x + 1;
			limbo = limbo | BIT(p);
			verdict = GO
		:: else
		fi
	};
	x = 0
}

/* A part of the block is zeroed: in a copy, if the block is counted. */
inline zero_edge(p, counted, verdict) {
	d_step { p = file[0]; counted = (p != 0 && recorded[p - 1] > 0) };
#ifdef EDGE_IN_PLACE
	counted = false;
#endif
	if
	:: p == 0
	:: d_step {
			p != 0 && !counted ->
			for (x : 0 .. PINS - 1) {
				CHECK(busy_block_not_zeroed, !TOUCHES(x, p - 1))
			};
			x = 0
		}
	:: d_step { p != 0 && counted -> swap_edge(p - 1, verdict) };
		d_step {
			if
			:: verdict == GO -> detached(p - 1)
			:: else
			fi
		}
	fi
}

/* The blocks are unmapped: an intent, then one transaction a run, then the table or the allocator hears of it. */
inline unmap(i, f, p, counted) {
	d_step { intent = BREAK_RANGE(i); f = 0 };
	do
	:: atomic {
			f < FILE_BLOCKS ->
			if
			:: !HAS(BREAK_RANGE(i), f) || file[f] == 0 -> goto next
			:: else -> d_step { p = file[f] - 1; counted = recorded[p] > 0 }
			fi;
#ifdef DETACH_FREES
			counted = false
#endif
		}
		d_step { file[f] = 0; limbo = (counted -> limbo | BIT(p) : limbo) };
		d_step {
			if
			:: counted -> detached(p);
#ifdef DETACH_ERASES
				for (x : 0 .. PINS - 1) {
					if
					:: pin[x] == P_HELD && told[x] != 0 -> ledger[x] = ledger[x] & ~BIT(p)
					:: else
					fi
				}
#endif
			:: else ->
#ifndef DETACH_FREES
				CHECK(counted_block_not_freed, recorded[p] == 0);
#endif
				avail = avail | BIT(p)
			fi;
			p = 0;
			counted = false
		}
next:
		f++
	:: d_step { f == FILE_BLOCKS -> f = 0; intent = 0 }; break
	od
}

proctype Operation(byte i) RUNS
{
	byte verdict, f, p, seen;
	bool counted;

DAEMON
	d_step { f = 0; p = 0; seen = 0; counted = false; verdict = 0 };
end_idle:
	do
	:: atomic {
			up && resume[i] > 0 && !exclusive && shared == 0 && !table_lock ->
			d_step {
				resume[i]--;
				CHECK(one_answer, !HAS(answered, i));
				exclusive = true;
#if CACHED
				table_lock = true
#endif
			}
#if CACHED
		}
		do
		:: f < PINS -> revoke(i, f, seen); f++
		:: else -> break
		od;
		atomic {
			f = 0;
#endif
			d_step { true -> pin_break(i, verdict, seen) };
#ifdef LOOK_THEN_PARK
		}
		atomic {
			if
			:: verdict == PARKED -> park(i, seen)
			:: else
			fi;
			seen = 0;
#endif
			if
			:: verdict == PARKED -> d_step { exclusive = false; verdict = 0 }; goto end_idle
			:: verdict == REFUSED -> goto over
			:: else
			fi
		}
#if EDGE
		zero_edge(p, counted, verdict);
#else
		unmap(i, f, p, counted);
#endif
over:
		atomic { d_step { !table_lock -> waiter_end(i); exclusive = false } };
		d_step {
			CHECK(one_answer, !HAS(answered, i));
			answered = answered | BIT(i);
			verdict = 0;
			p = 0;
			counted = false
		}
	od
DAEMON_END
}

/* ---- The others ---- */

#define OF(mask, h) (((mask) >> ((h) * SLOTS)) & ALL(SLOTS))

/* s: the first pin of holder `h` in `mask`, which has one. */
inline first_of(mask, h, s) {
	s = h * SLOTS;
	do
	:: HAS(mask, s) -> break
	:: else -> s++
	od
}

/* Breaks may wait for cached pin `s`: it goes if it is idle, else its client gets the bell. */
inline wanted(s) {
	x = 0;
	for (y : 0 .. BREAKS - 1) {
		x = x || (waiter[y] == W_WAITING && HAS(conflicts[y], s))
	};
	if
	:: x && count[s] == 0 -> revoked = revoked | BIT(s); drop(s)
	:: x && count[s] > 0 -> bell = bell | BIT(s)
	:: else
	fi
}

/* Sessions: messages that are handled at once, deaths, ticks, the grace period. */
proctype Control(byte h) RUNS
{
	byte s;

DAEMON
	s = 0;
end_idle:
	do
	:: d_step { up && life[h] == DEAD && !HAS(closing, h) && !table_lock -> closing = closing | BIT(h); close(h) }
#if STUCK
#ifndef DYING_NOT_SEEN
	/* It dies behind a parked break. */
	:: d_step {
			up && life[h] == DYING && !HAS(ignored, h) && (barrier & ~answered) != 0 && !table_lock ->
			ignore(h)
		}
#endif
#endif
#if LEAVING || CRASHES
	/* Its time to come back is over. */
	:: d_step {
			up && !HAS(connected, h) && life[h] != DEAD && !HAS(ignored, h) && !table_lock ->
			ignore(h);
#ifdef GRACE_FREES
			close(h)
#endif
		}
#endif
#ifdef EOF_FREES
	:: d_step { up && !HAS(connected, h) && life[h] == ALIVE && !table_lock -> close(h) }
#endif
#ifdef WAKE_BEFORE_COUNT
	:: d_step {
			up && OF(unpin, h) != 0 && !table_lock ->
			first_of(unpin, h, s);
			unpin = unpin & ~BIT(s);
			for (x : 0 .. BREAKS - 1) {
				if
				:: pin[s] == P_HELD && waiter[x] == W_WAITING && conflicts[x] == BIT(s) ->
					conflicts[x] = 0;
					wake(x)
				:: else
				fi
			};
			x = 0
		};
		d_step {
			!table_lock ->
			if
			:: pin[s] == P_HELD -> lower_held(s); pin[s] = P_DROPPED; reaping!R_PIN, s
			:: else
			fi;
			s = 0
		}
#else
	:: d_step {
			up && OF(unpin, h) != 0 && !table_lock ->
			first_of(unpin, h, s);
			unpin = unpin & ~BIT(s);
			if
			:: pin[s] == P_HELD -> drop(s)
			:: else
			fi;
			s = 0
		}
#endif
#if CACHED && CRASHES
	/* pin_set_word(): a break may be waiting for the pin, and its client has not seen a bell. */
	:: d_step {
			up && OF(words, h) != 0 && !table_lock ->
			first_of(words, h, s);
			words = words & ~BIT(s);
			if
			:: pin[s] == P_HELD && HAS(no_word, s) ->
				no_word = no_word & ~BIT(s);
#ifndef WORD_WITHOUT_LOOK
				wanted(s)
#endif
			:: else
			fi;
			s = 0
		}
#endif
#if CACHED
	/* pin_bell() */
	:: d_step {
			up && OF(ring, h) != 0 && !table_lock ->
			first_of(ring, h, s);
			ring = ring & ~BIT(s);
			if
			:: pin[s] == P_HELD && count[s] == 0 && !HAS(no_word, s) -> revoked = revoked | BIT(s); drop(s)
			:: else
			fi;
			s = 0
		}
#endif
	od
DAEMON_END
}
