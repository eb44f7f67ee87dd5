#!/bin/bash
# The ways a mount ends: signals, umount, fusermount3, the foreground.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

# Whatever ended it: nothing is mounted, the pool is whole, what was written is there.
ended_well() {
	wait_exit "$DAEMON"
	! is_mounted "$MNT" || fail "the daemon is gone, its mount is not"
	pool_fsck
	pool_mount
	grep -q content "$MNT/file"
	pool_umount
}

work() {
	pool_make 32M 16M
	pool_mount
	echo content >"$MNT/file"
}

case_sigterm() {
	work
	kill -TERM "$DAEMON"
	ended_well
}

case_sigint_sighup() {
	work
	kill -INT "$DAEMON"
	ended_well
	pool_mount
	kill -HUP "$DAEMON"
	ended_well
}

case_sigterm_while_busy() {
	work
	exec 7>"$MNT/open"
	echo open >&7
	dd if=/dev/zero of="$MNT/busy" bs=4k 2>/dev/null &
	local writer=$!
	wait_until 10 test -s "$MNT/busy"
	kill -TERM "$DAEMON"
	wait_exit "$DAEMON"
	wait "$writer" || true
	exec 7>&-
	# A busy mount may stay behind, dead; the pool is closed.
	! is_mounted "$MNT" || umount -l "$MNT"
	ended_well
}

case_fusermount() {
	need fusermount3
	work
	fusermount3 -u "$MNT"
	ended_well
}

case_umount() {
	work
	umount "$MNT"
	ended_well
}

# The next command need not wait for the daemon's end itself.
case_remount_at_once() {
	local i
	work
	for ((i = 0; i < 10; i++)); do
		echo "$i" >"$MNT/$i"
		umount "$MNT"
		((i % 2)) || pinfs fsck "$META"
		pool_mount
		[[ $(cat "$MNT/$i") == "$i" ]]
	done
	pool_finish
}

case_busy_umount() {
	work
	exec 7<"$MNT/file"
	! umount "$MNT" 2>/dev/null || fail "umount of a busy mount succeeds"
	grep -q content "$MNT/file"
	exec 7<&-
	umount "$MNT"
	ended_well
}

case_foreground() {
	pool_make 32M 16M
	pinfs mount -f "$META" "$MNT" &
	local child=$!
	wait_until 20 is_mounted "$MNT"
	DAEMON=$(daemon_of "$MNT")
	[[ $DAEMON == "$child" ]] || fail "process $DAEMON serves the mount, not $child"
	echo content >"$MNT/file"
	kill -TERM "$child"
	wait "$child" || fail "exit status $? after SIGTERM"
	ended_well
	pinfs mount -f "$META" "$MNT" &
	child=$!
	wait_until 20 is_mounted "$MNT"
	DAEMON=$child
	umount "$MNT"
	wait "$child" || fail "exit status $? after umount"
	ended_well
}

# It returns when the mount answers, with nothing left on the terminal.
case_background() {
	work
	[[ $(readlink "/proc/$DAEMON/fd/0") == /dev/null ]] || fail "the daemon keeps stdin"
	[[ $(readlink "/proc/$DAEMON/fd/1") == /dev/null ]] || fail "the daemon keeps stdout"
	[[ $(readlink "/proc/$DAEMON/cwd") == / ]] || fail "the daemon keeps the working folder $(readlink "/proc/$DAEMON/cwd")"
	local session
	session=$(awk '{ print $6 }' "/proc/$DAEMON/stat")
	[[ $session != "$(awk '{ print $6 }' "/proc/$$/stat")" ]] || fail "the daemon is in our session"
	pinfs stat "$MNT"
	pinfs stat --json "$MNT" | "$PYTHON" -m json.tool >/dev/null
	pool_finish
}

run_case "$@"
