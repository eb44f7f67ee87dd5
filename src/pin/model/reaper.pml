/* What follows a drop, and what time brings: two more threads of the daemon. */

/* pin_reaped() */
inline lower_recorded(s) {
	for (x : 0 .. BLOCKS - 1) {
		recorded[x] = recorded[x] - HAS(blocks[s], x);
		if
		:: HAS(blocks[s], x) && recorded[x] == 0 && HAS(in_limbo, x) -> reaping!R_RUN, x
		:: else
		fi
	};
	blocks[s] = 0;
	live[s] = 0;
	pin[s] = P_NONE
}

proctype Reaper() RUNS
{
	byte n;
	bit kind;

DAEMON
	d_step { n = 0; kind = 0 };
end_idle:
	do
	:: atomic {
			up && len(reaping) > 0 ->
			reaping?kind, n;
			if
			:: kind == R_RUN -> limbo = limbo & ~BIT(n); goto free_run
			:: else
			fi;
#ifdef FREE_BEFORE_ERASE
			d_step { true -> lower_recorded(n) }
		}
		ledger[n] = 0;
#else
			d_step {
				CHECK(erased_only_when_idle, pin[n] == P_DROPPED && !(told[n] != 0 && using[n] > 0));
				ledger[n] = 0
			}
		}
		d_step { !table_lock -> lower_recorded(n) };
#endif
		goto done;
free_run:
		atomic {
			d_step {
				!table_lock ->
				CHECK(counted_block_not_freed, recorded[n] == 0);
				in_limbo = in_limbo & ~BIT(n);
				avail = avail | BIT(n)
			}
		};
done:
		atomic { d_step { n = 0; kind = 0 } }
	od
DAEMON_END
}

#if BOUNDED
proctype Timer(byte i)
{
	do
#ifdef TWO_ANSWERS
	:: d_step { up && waiter[i] != W_IDLE && !HAS(timed_out, i) && !table_lock ->
#else
	:: d_step { up && waiter[i] == W_WAITING && !table_lock ->
#endif
			timed_out = timed_out | BIT(i);
			wake(i)
		}
	:: HAS(answered, i) -> break
	od
}
#endif
