#!/bin/bash
# Each operation's errno, as man pages say it: for bad paths, descriptors and arguments as on tmpfs; on a read-only mount,
# on a full pool, between filesystems, at limits, and when the daemon is gone. lib/refusals.py has the tables.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

arguments() { # CACHE
	like_tmpfs "cache=$1" refusals arguments
	pool_finish
}

case_arguments_auto() {
	arguments auto
}

case_arguments_none() {
	arguments none
}

case_arguments_writeback() {
	arguments writeback
}

case_read_only() {
	pool_make 16M 16M
	pool_mount
	py refusals "$MNT" sample
	pool_umount
	pool_mount ro
	py refusals "$MNT" read_only
	pool_finish
}

limits() { # CACHE
	pool_make 16M 16M
	pool_mount "cache=$1"
	py refusals "$MNT" limits "$MT_CASE"
	py refusals "$MNT" full "$1"
	# What could not be written back is told once more, to who syncs the whole filesystem.
	sync -f "$MNT" || [[ $1 == writeback ]]
	pool_cycle "cache=$1"
	pool_finish
}

case_limits_auto() {
	limits auto
}

case_limits_none() {
	limits none
}

case_limits_writeback() {
	limits writeback
}

case_daemon_gone() {
	pool_make 16M 16M
	pool_mount
	py refusals "$MNT" sample
	py refusals "$MNT" gone "$DAEMON"
	umount -l "$MNT"
	pool_fsck
}

run_case "$@"
