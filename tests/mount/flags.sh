#!/bin/bash
# Inode flags as chattr(1) sets them, and what they forbid; the shutdown by ioctl.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

USER_ID=65534

flags_are() { # WANTED PATH...
	local each want=$1
	shift
	for each; do
		[[ $(lsattr -d "$each" | cut -d ' ' -f 1 | tr -d -) == "$want" ]] || fail "$(lsattr -d "$each"), not $want"
	done
}

# A file of either kind, and directories, with everything tried on them; then once more after a remount.
protected() { # OPTIONS
	need chattr lsattr
	pool_make
	pool_mount "$1"
	echo hello >"$MNT/fixed"
	echo hello >"$MNT/log"
	setfattr -n user.a -v a "$MNT/fixed"
	setfattr -n user.a -v a "$MNT/log"
	mkdir "$MNT/closed" "$MNT/grows"
	touch "$MNT"/{closed,grows}/{file,spare}
	chattr +i "$MNT/fixed" "$MNT/closed"
	chattr +a "$MNT/log" "$MNT/grows"
	local round before loose=
	[[ $1 != *writeback* ]] || loose=--loose # ctime is the kernel's own there
	for round in 1 2; do
		flags_are i "$MNT/fixed" "$MNT/closed"
		flags_are a "$MNT/log" "$MNT/grows"
		py flags refused "$MNT/fixed" immutable
		py flags refused "$MNT/log" append
		before=$(stat -c %y "$MNT/log")
		until [[ $(stat -c %y "$MNT/log") != "$before" ]]; do
			echo "one more line" >>"$MNT/log"
		done
		py flags appends "$MNT/log" "$1"
		folders $round
		manifest "$MNT" "$MT_CASE/before" "$loose"
		pool_umount
		pool_fsck
		# The second time the flags that are found turn the option on.
		pool_mount "${1/inode_flags/}"
		manifest "$MNT" "$MT_CASE/after" "$loose"
		same "$MT_CASE/before" "$MT_CASE/after"
	done
	chattr -i "$MNT/fixed" "$MNT/closed"
	chattr -a "$MNT/log" "$MNT/grows"
	echo more >>"$MNT/fixed"
	echo new >"$MNT/log"
	[[ $(cat "$MNT/fixed" "$MNT/log") == $'hello\nmore\nnew' ]]
	rm -r "${MNT:?}"/*
	pool_finish
}

folders() { # ROUND
	expect_fail 1 'not permitted' -- touch "$MNT/closed/new"
	expect_fail 1 'not permitted' -- mkdir "$MNT/closed/new"
	expect_fail 1 'not permitted' -- ln "$MNT/grows/spare" "$MNT/closed/new"
	expect_fail 1 'not permitted' -- mv "$MNT/grows/spare" "$MNT/closed/"
	expect_fail 1 'not permitted' -- rm -f "$MNT/closed/file"
	expect_fail 1 'not permitted' -- mv "$MNT/closed/file" "$MNT/closed/moved"
	expect_fail 1 'not permitted' -- rm -f "$MNT/grows/file"
	expect_fail 1 'not permitted' -- mv "$MNT/grows/file" "$MNT/moved"
	expect_fail 1 'not permitted' -- mv "$MNT/grows/spare" "$MNT/grows/file"
	echo "$1" >"$MNT/closed/file"
	echo "$1" >"$MNT/grows/new$1"
	mkdir "$MNT/grows/dir$1"
}

case_auto() {
	protected inode_flags
}

case_none() {
	protected cache=none
}

case_writeback() {
	protected cache=writeback,inode_flags
}

opened() { # COUNT
	(($(stat_of operations open count) == $1))
}

# Without the option opens are not asked for, and so nothing can be protected; the other flags are as ever.
case_without_option() {
	need chattr lsattr
	pool_make 32M 16M
	pool_mount
	touch "$MNT/file"
	expect_fail 1 'not supported' -- chattr +i "$MNT/file"
	expect_fail 1 'not supported' -- chattr +a "$MNT/file"
	expect_fail 1 'not supported' -- chattr +id "$MNT/file"
	flags_are '' "$MNT/file"
	chattr +d "$MNT/file"
	flags_are d "$MNT/file"
	local count
	count=$(stat_of operations open count)
	cat "$MNT"/file "$MNT"/file
	(($(stat_of operations open count) == count)) || fail "opens are asked for"
	pool_umount
	# With it they are.
	pool_mount inode_flags
	cat "$MNT"/file "$MNT"/file
	wait_until $WAIT opened 2 # counted when they have been answered
	chattr +i "$MNT/file"
	chattr -V -i "$MNT/file"
	chattr -d "$MNT/file"
	chattr +i "$MNT/file"
	pool_umount
	pool_mount
	expect_fail 1 'not permitted' -- rm -f "$MNT/file"
	expect_fail 1 'not permitted' -- truncate -s 5 "$MNT/file"
	chattr -i "$MNT/file"
	pool_umount
	pool_mount
	expect_fail 1 'not supported' -- chattr +i "$MNT/file"
	pool_finish
}

case_numbers_and_users() {
	need chattr lsattr setpriv
	pool_make 32M 16M
	pool_mount inode_flags
	touch "$MNT/file" "$MNT/theirs"
	mkdir "$MNT/dir"
	py flags numbers "$MNT/file" "$MNT/dir"
	chown $USER_ID "$MNT/theirs"
	setpriv --reuid=$USER_ID --regid=$USER_ID --clear-groups -- "$PYTHON" "$MT_LIB/flags.py" user "$MNT/theirs"
	# New files take over what is for them.
	chattr +adADS "$MNT/dir"
	touch "$MNT/dir/file"
	mkdir "$MNT/dir/dir"
	ln -s x "$MNT/dir/link"
	flags_are SdA "$MNT/dir/file"
	flags_are SDdA "$MNT/dir/dir"
	chattr -a "$MNT/dir"
	pool_finish
}

# What was written before a file is protected reaches it, also what only the kernel has.
case_dirty_before() {
	need chattr
	pool_make
	pool_mount cache=writeback,inode_flags
	exec 7>>"$MNT/log" 8>"$MNT/fixed"
	exec 9<>"$MNT/log"
	seq 1 100000 >&7
	seq 1 50000 >&8
	chattr +i "$MNT/fixed"
	chattr +a "$MNT/log"
	seq 100001 200000 >&7 # opened before: through the cache, in whole pages
	printf bad >&9 # and this is none
	exec 7>&- 8>&- 9>&-
	sync -f "$MNT"
	pool_umount
	pool_fsck
	pool_mount
	cmp "$MNT/log" <(seq 1 200000)
	cmp "$MNT/fixed" <(seq 1 50000)
	chattr -ia "$MNT/log" "$MNT/fixed"
	pool_finish
}

# As a power cut: what was acknowledged is there after it, and the pool is whole.
shut_down_under_load() { # OPTIONS
	local mode round=0
	pool_make 512M 128M
	for mode in 0 1 2 2 1 0; do
		pool_mount "$1"
		((round == 0)) || py crash verify "$MNT" "$MT_CASE/log"
		py crash round "$MNT" "$MT_CASE/log" shutdown-$mode $((round++))
		[[ $(stat_of shut_down) == True ]]
		expect_fail 1 'input/output error' -- mkdir "$MNT/new"
		pool_umount
		pool_fsck
	done
	pool_mount "$1"
	py crash verify "$MNT" "$MT_CASE/log"
	pool_finish
}

case_shutdown_auto() {
	shut_down_under_load cache=auto
}

case_shutdown_none() {
	shut_down_under_load cache=none
}

case_shutdown_writeback() {
	shut_down_under_load cache=writeback
}

# What only the kernel has is written back first, but for the mode that is to lose it; then nothing goes any more.
case_shutdown_modes() {
	pool_make
	local mode
	for mode in 0 1 2; do
		pool_mount cache=writeback
		rm -f "$MNT/file" "$MNT/open"
		exec 7>"$MNT/open"
		seq 1 200000 >"$MNT/file"
		py flags shutdown "$MNT" $mode
		py flags dead "$MNT"
		if echo more >&7 && sync "$MNT/open"; then
			fail "a write after the shutdown was synced"
		fi
		exec 7>&-
		[[ $(stat_of shut_down) == True ]]
		is_mounted "$MNT"
		kill -0 "$DAEMON"
		pool_umount
		pool_fsck
		pool_mount
		((mode == 2)) || cmp "$MNT/file" <(seq 1 200000)
		[[ ! -s $MNT/open ]]
		pool_umount
	done
	pool_fsck
}

# The daemon that is shut down still ends by a signal.
case_shutdown_and_signal() {
	pool_make 32M 16M
	pool_mount
	echo kept >"$MNT/file"
	py flags shutdown "$MNT" 2
	kill -TERM "$DAEMON"
	wait_exit "$DAEMON"
	if is_mounted "$MNT"; then
		fail "the daemon is gone, the mount is not"
	fi
	pool_fsck
	pool_mount
	[[ $(cat "$MNT/file") == kept ]]
	pool_finish
}

run_case "$@"
