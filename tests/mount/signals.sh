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

# What was written or stored before SIGTERM is there, although only the kernel had it; the files are still open.
dirty() { # CACHE HOW
	local i
	local -a busy=()
	work
	pool_umount
	pinfs mkfs -q --force --meta-size 16M --data "$DATA:192M" "$META"
	pool_mount "cache=$1"
	echo content >"$MNT/file"
	# On a machine where others are busy the daemon lags behind the kernel.
	find "/proc/$DAEMON/task" -mindepth 1 -maxdepth 1 -printf '%f\n' | xargs renice -n 19 -p >/dev/null
	[[ ! -w /proc/$DAEMON/autogroup ]] || echo 19 >"/proc/$DAEMON/autogroup"
	for ((i = $(nproc); i > 0; i--)); do
		sh -c 'while :; do :; done' &
		busy+=($!)
	done
	py dirty "$2" "$MNT" "$DAEMON" &
	local writer=$!
	wait_exit "$DAEMON"
	kill "${busy[@]}"
	kill -KILL "$writer" || echo "the writer has ended"
	wait "$writer" || true
	! is_mounted "$MNT" || umount -l "$MNT"
	pool_fsck
	pool_mount "cache=$1"
	py dirty verify "$MNT"
	grep -q content "$MNT/file"
	pool_finish
}

case_sigterm_dirty_writeback() {
	dirty writeback write
}

case_sigterm_dirty_mmap() {
	dirty auto store
}

case_sigterm_dirty_and_busy() {
	dirty writeback write-more
}

signals_during_start() { # WHOM SIGNAL STEPS
	work
	pool_umount
	py start "$1" "$2" "$3" "$META" "$MNT"
	pool_fsck
	pool_mount
	grep -q content "$MNT/file"
	pool_finish
}

case_sigterm_during_start() {
	signals_during_start daemon SIGTERM 40
}

case_sigkill_during_start() {
	signals_during_start daemon SIGKILL 20
}

case_parent_killed_during_start() {
	signals_during_start parent SIGKILL 20
}

# Who reads what the command prints sees its end: the daemon keeps nothing of it.
case_background_pipe() {
	local options said
	work
	pool_umount
	for options in rw auto_unmount; do
		# shellcheck disable=SC2016 # for the other shell
		said=$(timeout "$WAIT" bash -c 'pinfs mount -o "$@" 2>&1 | cat' mount "$options" "$META" "$MNT")
		[[ -z $said ]] || fail "it says: $said"
		DAEMON=$(daemon_of "$MNT")
		umount "$MNT"
		ended_well
	done
}

run_case "$@"
