#!/bin/bash
# How requests come: over io_uring where the kernel offers it, else by /dev/fuse, and why is said once.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

# In the foreground: messages go to $MT_CASE/said.
mount_saying() { # OPTIONS [COMMAND-BEFORE...]
	rm -f "$MT_CASE/said"
	"${@:2}" pinfs mount -f -o "$1" "$META" "$MNT" 2>"$MT_CASE/said" &
	DAEMON=$!
	wait_until $WAIT mounted_or_ended
}

mounted_or_ended() {
	[[ ! -d /proc/$DAEMON || $(stat -c %i "$MNT") == 1 ]]
}

offered() {
	[[ $(cat /sys/module/fuse/parameters/enable_uring 2>/dev/null) == Y ]] && has_kernel 6.14
}

need_uring() {
	offered || skip "the kernel does not offer it (/sys/module/fuse/parameters/enable_uring is not Y, or before 6.14)"
	[[ $(stat_of transport) == uring ]] || skip "this libfuse was built without custom I/O"
}

case_dev() {
	pool_make 32M 16M
	MT_TRANSPORT='' pool_mount transport=dev
	[[ $(stat_of transport) == dev ]]
	echo content >"$MNT/file"
	pool_finish
}

case_uring() {
	pool_make 64M 32M
	MT_TRANSPORT='' pool_mount transport=uring
	need_uring
	cp -r "$MT_ROOT/src" "$MNT/src"
	diff -r "$MT_ROOT/src" "$MNT/src"
	pool_cycle transport=uring
	pool_finish
}

# More requests that are held than a queue has entries: none stays in the kernel.
case_held() {
	pool_make 32M 16M
	MT_TRANSPORT='' pool_mount transport=uring
	need_uring
	pool_finish
	[[ -e ${LIBPINFS:-} ]] || skip "libpinfs.so is not beside PINFS: set LIBPINFS"
	rm -r "$MT_CASE/pool" "$MNT"
	MT_TRANSPORT=uring py pins held_at_once
}

# Where a queue cannot be had, here for want of descriptors, the mount is as good as ever.
case_fallback() {
	local limit
	pool_make 32M 16M
	if ! offered; then
		MT_TRANSPORT='' mount_saying transport=uring
		fell_back
		return
	fi
	for ((limit = 8; limit < 64; limit++)); do
		mount_saying transport=uring prlimit --nofile=$limit
		if [[ -d /proc/$DAEMON ]] && grep -q 'transport=uring' "$MT_CASE/said"; then
			fell_back
			note "with $limit descriptors"
			return
		fi
		[[ ! -d /proc/$DAEMON ]] || pool_umount
	done
	skip "no number of descriptors is too small for the queues alone, or libfuse has no custom I/O"
}

# Where not all cores are the daemon's, some queue would stand still: /dev/fuse it is.
case_cores() {
	(($(nproc) > 1)) || skip "one core"
	offered || skip "the kernel does not offer it"
	CPUSET=/sys/fs/cgroup/cpuset/pinfs-test.$$
	[[ -e /sys/fs/cgroup/cpuset/cpuset.mems ]] || skip "no cpusets in /sys/fs/cgroup/cpuset"
	mkdir "$CPUSET" || skip "no cpuset can be made"
	trap 'rmdir "$CPUSET"' EXIT
	cat /sys/fs/cgroup/cpuset/cpuset.mems >"$CPUSET/cpuset.mems"
	echo 0 >"$CPUSET/cpuset.cpus"
	pool_make 32M 16M
	MT_TRANSPORT='' mount_saying transport=uring in_cpuset
	fell_back
}

in_cpuset() {
	echo $BASHPID >"$CPUSET/tasks"
	exec "$@"
}

fell_back() {
	[[ $(grep -c 'transport=uring: /dev/fuse is used: ' "$MT_CASE/said") == 1 ]] || fail "$(cat "$MT_CASE/said")"
	[[ $(stat_of transport) == dev ]]
	echo content >"$MNT/file"
	[[ $(<"$MNT/file") == content ]]
	pool_umount
	pool_fsck
}

run_case "$@"
