/* ---- The pin table. Each inline is a part of a d_step: LOCK_PIN_FILE is held. ---- */

/* x: the physical blocks of blocks `mask` of the file. */
inline look_up(mask) {
	x = 0;
	for (y : 0 .. FILE_BLOCKS - 1) {
		if
		:: HAS(mask, y) && file[y] != 0 -> x = x | BIT(file[y] - 1)
		:: else
		fi
	};
	y = 0
}

inline wake(i) {
	waiter[i] = W_WOKEN;
	resume[i]++
}

/* No break waits for pin `s` any more. */
inline release_waiters(s) {
	for (y : 0 .. BREAKS - 1) {
		if
		:: waiter[y] == W_WAITING && conflicts[y] == BIT(s) -> conflicts[y] = 0; wake(y)
		:: else -> conflicts[y] = conflicts[y] & ~BIT(s)
		fi
	};
	y = 0
}

inline lower_held(s) {
	for (y : 0 .. BLOCKS - 1) {
		held[y] = held[y] - HAS(blocks[s], y)
	};
	y = 0
}

inline drop(s) {
	lower_held(s);
	pin[s] = P_DROPPED;
	no_word = no_word & ~BIT(s);
	reaping!R_PIN, s;
	release_waiters(s)
}

/* Block `p` is in limbo, durably. */
inline detached(p) {
	in_limbo = in_limbo | BIT(p);
	for (x : 0 .. PINS - 1) {
		if
		:: HAS(live[x], p) ->
			live[x] = live[x] & ~BIT(p);
#ifndef DETACH_WAKES_NOBODY
			for (z : 0 .. BREAKS - 1) {
				/* A break of other blocks of this pin waits on. */
				if
				:: waiter[z] == W_WAITING && HAS(conflicts[z], x) ->
					w = 0; /* still in its way */
					for (y : 0 .. FILE_BLOCKS - 1) {
						if
						:: HAS(BREAK_RANGE(z), y) && file[y] != 0 && HAS(live[x], file[y] - 1) -> w = 1
						:: else
						fi
					}
					if
					:: w == 0 && conflicts[z] == BIT(x) -> conflicts[z] = 0; wake(z)
					:: w == 0 && conflicts[z] != BIT(x) -> conflicts[z] = conflicts[z] & ~BIT(x)
					:: else
					fi
				:: else
				fi
			}
#endif
		:: else
		fi
	}
#ifndef DETACHED_WITHOUT_LOOK
	if
	:: recorded[p] == 0 -> reaping!R_RUN, p
	:: else
	fi
#endif
}

/* Breaks no longer wait for holder `h`. */
inline ignore(h) {
	ignored = ignored | BIT(h);
	for (x : 0 .. PINS - 1) {
		if
		:: OWNER(x) == h && pin[x] == P_HELD -> release_waiters(x)
		:: else
		fi
	};
	x = 0
}

/* All pins of holder `h` go. A grant under way ends by itself: it sees that the holder is closing. */
inline close(h) {
	for (x : 0 .. PINS - 1) {
		if
		:: OWNER(x) == h && pin[x] == P_HELD -> drop(x)
		:: OWNER(x) == h && pin[x] == P_TENTATIVE -> lower_held(x); pin[x] = P_TAKEN; release_waiters(x)
		:: else
		fi
	};
	if
	:: queue[h] == W_WAITING -> queue[h] = W_WOKEN; ahead[h] = 0
	:: else
	fi
}

