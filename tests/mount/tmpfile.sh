#!/bin/bash
# Files without a name (O_TMPFILE), linked or not, pinned, and in a crash.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

unnamed() { # COMMAND
	local status=0
	py tmpfile "$1" "$MNT" || status=$?
	((status != 77)) || skip "no O_TMPFILE: pinfs was built with a libfuse older than 3.17, or the kernel is older than 6.1"
	((status == 0)) || fail "tmpfile.py $1: status $status"
}

free_is() {
	(($(statfs_of bfree) == $1))
}

basic() { # CACHE
	local free
	pool_make 64M
	pool_mount "cache=$1"
	free=$(statfs_of bfree)
	unnamed basic
	pool_cycle "cache=$1"
	rm -r "${MNT:?}"/*
	wait_until 20 free_is "$free"
	pool_finish
}

case_auto() {
	basic auto
}

case_none() {
	basic none
}

case_writeback() {
	basic writeback
}

case_excl() {
	pool_make 64M
	pool_mount
	unnamed excl
	pool_finish
}

case_race() {
	pool_make 64M
	pool_mount
	unnamed race
	[[ -z $(ls -A "$MNT") ]]
	pool_finish
}

case_pin() {
	local free
	pool_make 64M
	pool_mount
	free=$(statfs_of bfree)
	unnamed pin
	rm "$MNT/pinned"
	wait_until 20 free_is "$free"
	pool_finish
}

# What had no name when the daemon was killed is gone after the next mount, with its blocks.
case_crash() {
	local free inodes
	pool_make 64M
	pool_mount
	unnamed excl
	free=$(statfs_of bfree)
	inodes=$(statfs_of ffree)
	coproc HOLDER { py tmpfile leave "$MNT"; }
	read -r -t "$WAIT" -u "${HOLDER[0]}" line
	[[ $line == open ]]
	free_is "$((free - 245))" || fail "a million bytes are not 245 blocks"
	pool_kill
	kill "$HOLDER_PID"
	pool_mount
	free_is "$free" || fail "blocks are lost"
	[[ $(statfs_of ffree) == "$inodes" ]] || fail "an inode is left"
	pool_finish
}

run_case "$@"
