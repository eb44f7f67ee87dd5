#!/bin/bash
# The daemon killed during parallel writes: what was acknowledged is there, and the pool is whole.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

ROUNDS=30
((MT_FULL == 0)) || ROUNDS=200

rounds() { # OPTIONS
	local i start=0
	pool_make 512M 128M
	for ((i = 0; i < ROUNDS; i++)); do
		pool_mount "$1"
		((i == 0)) || py crash verify "$MNT" "$MT_CASE/log"
		py crash round "$MNT" "$MT_CASE/log" "$DAEMON" "$i"
		umount -l "$MNT"
		pool_fsck
	done
	start=$EPOCHREALTIME
	pool_mount "$1"
	note "$(wc -l <"$MT_CASE/log") acknowledged steps in $ROUNDS rounds, the last mount took $(
		awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3f", b - a }') s"
	py crash verify "$MNT" "$MT_CASE/log"
	pool_finish
	pool_mount
	py crash verify "$MNT" "$MT_CASE/log"
	pool_finish
}

case_parallel_writers() {
	rounds cache=auto
}

case_parallel_writers_writeback() {
	((MT_FULL)) || ROUNDS=15
	rounds cache=writeback
}

# Files that are unlinked but open when the daemon dies: their space is back after the next mount.
case_orphans() {
	pool_make 64M
	pool_mount
	local before i
	before=$(statfs_of bfree)
	for i in 1 2 3 4 5; do
		head -c 3000000 /dev/urandom >"$MNT/$i"
		sync "$MNT/$i"
	done
	exec 7<"$MNT/1" 8<"$MNT/2" 9<"$MNT/3"
	rm "$MNT"/[1-5]
	pool_kill
	exec 7<&- 8<&- 9<&-
	pool_fsck
	pool_mount
	[[ $(statfs_of bfree) == "$before" ]] || fail "$(statfs_of bfree) blocks free, not $before"
	pool_finish
}

# Killed at any time while large files shrink and go: no block is lost.
case_truncates() {
	local before i
	pool_make 256M
	pool_mount
	before=$(statfs_of bfree)
	for ((i = 0; i < 10; i++)); do
		"$PYTHON" -c '
import os, signal, sys
pid, path, stop = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
fds = [os.open(f"{path}/{i}", os.O_RDWR | os.O_CREAT) for i in range(4)]
for block in range(1000):
    for fd in fds:
        os.pwrite(fd, b"x" * 4096, block * 8192)
for i, fd in enumerate(fds):
    os.ftruncate(fd, 4096 * stop + 123)
    if i == 2:
        os.kill(pid, signal.SIGKILL)
' "$DAEMON" "$MNT" "$i" || true
		umount -l "$MNT"
		wait_exit "$DAEMON"
		pool_fsck
		pool_mount
		[[ $(stat -c %s "$MNT/1") == $((4096 * i + 123)) ]] ||
			fail "a truncated file has $(stat -c %s "$MNT/1") bytes"
		rm "$MNT"/[0-3]
	done
	wait_until 20 all_free "$before"
	pool_cycle
	pool_finish
}

all_free() {
	(($(statfs_of bfree) == $1))
}

run_case "$@"
