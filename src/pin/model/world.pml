/* What is around the daemon: the kernel, other files, clients, crashes. */

proctype Kernel(byte i)
{
	d_step { up -> sent = sent | BIT(i); resume[i]++ };
#if SIGNALLED
	if
	:: HAS(answered, i) || !HAS(SIGNALLED, i)
	:: d_step {
			up && HAS(SIGNALLED, i) && !HAS(answered, i) && !table_lock ->
			/* fs_wait_interrupt(): also if it does not wait yet, or is looking again. */
#ifdef INTERRUPT_NOT_KEPT
			interrupted = (waiter[i] == W_WAITING -> interrupted | BIT(i) : interrupted);
#else
			interrupted = interrupted | BIT(i);
#endif
			if
			:: waiter[i] == W_WAITING -> wake(i)
			:: else
			fi
		}
	fi
#endif
}

/* Another file wants blocks. */
proctype Other()
{
	byte n = REUSES;

end_idle:
	do
	:: d_step { n > 0 && up && HAS(avail, 0) -> check_allocated(0); avail = avail & ~1; other = other | 1; n-- }
	:: d_step { n > 0 && up && HAS(avail, 1) -> check_allocated(1); avail = avail & ~2; other = other | 2; n-- }
#if BLOCKS > 2
	:: d_step { n > 0 && up && HAS(avail, 2) -> check_allocated(2); avail = avail & ~4; other = other | 4; n-- }
#endif
	od
}

/* ---- Clients ---- */

#define RINGS(s) (HAS(bell, s) && !HAS(revoked, s))

/* A word is released, by the one who raised it. */
inline release(s) {
	if
#ifdef BELL_LOST
	/* A hold that has failed does not ring. */
	:: count[s] == 1 && RINGS(s) && HAS(connected, OWNER(s)) && using[s] > 0 ->
#else
	:: count[s] == 1 && RINGS(s) && HAS(connected, OWNER(s)) ->
#endif
		ring = ring | BIT(s)
	:: else
	fi;
	count[s]--
}

#if SLOTS > 2
#define TOLD(h) ((told[(h) * SLOTS] | told[(h) * SLOTS + 1] | told[(h) * SLOTS + 2]) != 0)
#else
#define TOLD(h) ((told[(h) * SLOTS] | told[(h) * SLOTS + 1]) != 0)
#endif
#if CACHED
#define IN_USE(h) (count[(h) * SLOTS] + count[(h) * SLOTS + 1] > 0)
#else
#define IN_USE(h) false
#endif
#define MAY_UNPIN(h) (!HAS(STUBBORN, h) || answered == ALL(BREAKS))
#define EACH_PIN(h) x : h * SLOTS .. h * SLOTS + SLOTS - 1

/* Unpins everything. */
inline forget(h) {
	for (EACH_PIN(h)) {
		unpin = (told[x] != 0 -> unpin | BIT(x) : unpin);
		told[x] = 0
	};
	x = 0
}

/*
 * Comes back, with the same cookie, and is told of its pins: those that it does not know are unpinned. A daemon that
 * was started anew does not know words: they are shown to it.
 */
inline reclaim(h) {
	connected = connected | BIT(h);
	ignored = ignored & ~BIT(h);
	for (EACH_PIN(h)) {
		if
		:: pin[x] == P_HELD && told[x] == 0 -> unpin = unpin | BIT(x)
		:: pin[x] == P_HELD && told[x] != 0 && HAS(CACHED, h) && HAS(no_word, x) ->
#ifdef RECLAIM_UNPINS_BUSY
			unpin = unpin | BIT(x)
#else
			words = words | BIT(x);
			ring = (count[x] == 0 && RINGS(x) -> ring | BIT(x) : ring)
#endif
#ifndef RECLAIM_RINGS_NOT
		/* What would have rung while nobody listened. */
		:: told[x] != 0 && HAS(CACHED, h) && !HAS(no_word, x) && count[x] == 0 && RINGS(x) ->
			ring = ring | BIT(x)
#endif
		:: else
		fi
	};
	x = 0
}

/* Mappings and device registrations go with the process. */
inline die(h) {
	life[h] = DEAD;
	connected = connected & ~BIT(h);
	asked[h] = false;
	for (EACH_PIN(h)) {
		told[x] = 0;
		using[x] = 0;
		count[x] = 0
	};
	x = 0
}

proctype Holder(byte h)
{
	byte n = ROUNDS;
#if LEAVING
	bool stays = !HAS(LEAVING, h);
#endif

	do
	:: atomic {
			d_step {
				n > 0 && HAS(connected, h) && up && !asked[h] && (HAS(NESTED, h) || !TOLD(h)) ->
#ifndef STREAM
				n--;
#endif
				asked[h] = true
			}
		}
		if
		:: !asked[h]
		:: HAS(MORTAL, h) -> goto exit
		fi;
#if CACHED
		/* The hold that came with the pin. */
		d_step {
			for (EACH_PIN(h)) {
				if
				:: told[x] != 0 && using[x] > 0 -> release(x); using[x]--
				:: else
				fi
			};
			x = 0
		}
#endif
	:: d_step { TOLD(h) && MAY_UNPIN(h) && !IN_USE(h) -> forget(h) }
#if CRASHES || LEAVING
	:: d_step { !HAS(connected, h) && up -> reclaim(h) }
#endif
#if LEAVING
	:: d_step { !stays && HAS(connected, h) -> connected = connected & ~BIT(h); stays = true }
#endif
#ifndef STREAM
	:: HAS(MORTAL, h) || (!TOLD(h) && MAY_UNPIN(h)) -> break
#endif
	od;
exit:
#if STUCK
	life[h] = DYING;
	(!HAS(STUCK, h) || (sent & ~answered) == 0);
#endif
	atomic { d_step { true -> die(h) } }
}

#if CACHED
inline hold(number, s, ok) {
	s = number;
	count[s]++;
	ok = !HAS(bell | revoked, s);
	using[s] = using[s] + ok
}

/* A thread of the holder that pins again, and unpins, by the word alone. */
proctype User(byte h)
{
	byte n = USES, s = 255;
	bool ok;

end_idle:
	do
	:: n > 0 ->
		n--;
		/* libpinfs has a lock of its own around the choice of a pin. */
		if
		:: d_step { told[h * SLOTS] != 0 -> hold(h * SLOTS, s, ok) }
		:: d_step { told[h * SLOTS + 1] != 0 -> hold(h * SLOTS + 1, s, ok) }
		:: life[h] != ALIVE -> break
		fi;
		d_step {
			if
			:: life[h] == ALIVE -> release(s); using[s] = using[s] - ok
			:: else
			fi;
			s = 255;
			ok = false
		}
	:: break
	od
}
#endif

/* ---- Crashes of the daemon ---- */

#if CRASHES
inline forget_memory() {
	up = false;
	avail = 0;
	in_limbo = 0;
	no_word = 0;
	ignored = 0;
	closing = 0;
	barrier = 0;
	timed_out = 0;
	interrupted = 0;
	exclusive = false;
	shared = 0;
	table_lock = false;
	for (x : 0 .. PINS - 1) {
		pin[x] = P_NONE;
		blocks[x] = 0;
		live[x] = 0
	}
	for (x : 0 .. BLOCKS - 1) {
		held[x] = 0;
		recorded[x] = 0
	}
	for (x : 0 .. BREAKS - 1) {
		waiter[x] = W_IDLE;
		conflicts[x] = 0;
		resume[x] = 0
	}
	for (x : 0 .. HOLDERS - 1) {
		queue[x] = W_IDLE;
		ahead[x] = 0;
		asked[x] = false
	}
	do
	:: len(reaping) > 0 -> reaping?x, y
	:: else -> break
	od;
	connected = 0;
	ring = 0;
	unpin = 0;
	words = 0;
	answered = answered | sent /* the kernel gives up on what it has asked */
}

/* The ledger is read: entries of the dead go, pins of the others are held again, by holders that are away. */
inline restore() {
	for (x : 0 .. PINS - 1) {
		if
		:: ledger[x] == 0
#ifdef UNSEEN_IS_DEAD
		:: ledger[x] != 0 -> ledger[x] = 0
#else
		:: ledger[x] != 0 && life[OWNER(x)] == DEAD -> ledger[x] = 0
#endif
		:: else ->
			pin[x] = P_HELD;
			blocks[x] = ledger[x];
			no_word = no_word | BIT(x);
			for (y : 0 .. FILE_BLOCKS - 1) {
				if
				:: file[y] != 0 && HAS(ledger[x], file[y] - 1) -> live[x] = live[x] | BIT(file[y] - 1)
				:: else
				fi
			}
			for (y : 0 .. BLOCKS - 1) {
				held[y] = held[y] + HAS(ledger[x], y);
				recorded[y] = recorded[y] + HAS(ledger[x], y)
			}
			CHECK(recorded_block_has_an_owner, (ledger[x] & ~(live[x] | limbo)) == 0)
		fi
	};
	x = 0
}

inline finish_intent() {
	for (z : 0 .. FILE_BLOCKS - 1) {
		if
		:: HAS(intent, z) && file[z] != 0 ->
			x = file[z] - 1;
			limbo = (recorded[x] > 0 -> limbo | BIT(x) : limbo);
			file[z] = 0;
			for (y : 0 .. PINS - 1) {
				live[y] = live[y] & ~BIT(x)
			}
		:: else
		fi
	};
	intent = 0
}

/* Limbo that nobody counts is freed; free space is what no file and no limbo names. */
inline scan() {
	for (x : 0 .. BLOCKS - 1) {
		limbo = (recorded[x] == 0 -> limbo & ~BIT(x) : limbo)
	}
	in_limbo = limbo;
	avail = ALL(BLOCKS) & ~(limbo | other);
	for (x : 0 .. FILE_BLOCKS - 1) {
		avail = (file[x] != 0 -> avail & ~BIT(file[x] - 1) : avail)
	}
}

proctype Crash()
{
	byte n = CRASHES;

	do
	:: d_step { n > 0 && up && (CRASH_WHEN) -> n--; forget_memory(); falling = 1 };
again:
		atomic {
			(falling == 0 || falling > THREADS);
			falling = 0;
#ifdef RESTORE_AFTER_INTENT
			d_step { true -> finish_intent() };
			d_step { true -> restore() }
		}
#else
#ifndef RESTORE_OUT
			d_step { true -> restore() };
#endif
		}
		if
		:: d_step { true -> finish_intent() }
		:: d_step { n > 0 -> n--; forget_memory() }; goto again
		fi;
#endif
		if
		:: d_step { true -> scan(); up = true }
		:: d_step { n > 0 -> n--; forget_memory() }; goto again
		fi
	:: break
	od
}
#endif
