#!/bin/bash
# Folders: what stays is read exactly once while others come and go; positions; removed ones; deep ones; large ones.
# lib/folders.py has the cases.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

folders() { # CACHE
	pool_make 16M 64M
	pool_mount "cache=$1"
	py folders "$MNT" small
	pool_cycle "cache=$1"
	py folders "$MNT" deep
	pool_finish
}

case_auto() {
	folders auto
}

case_none() {
	folders none
}

case_writeback() {
	folders writeback
}

case_large() {
	pool_make 16M 128M
	pool_mount
	py folders "$MNT" large 100000
	pool_umount
	pool_fsck
	pool_mount
	py folders "$MNT" large_again 100000
	pool_finish
}

run_case "$@"
