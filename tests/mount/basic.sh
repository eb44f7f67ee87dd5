#!/bin/bash
# Every system call, in each cache mode; all of it is there after unmount, fsck and remount.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

basic() { # CACHE
	pool_make 128M
	pool_mount "cache=$1"
	py basic "$1" "$MNT"
	pool_cycle "cache=$1"
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

run_case "$@"
