#!/bin/bash
# Extremes: the largest files, the longest names, many links, and listings of what changes all the time.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

far() { # CACHE
	pool_make 64M
	pool_mount "cache=$1"
	py limits far "$MNT"
	# No manifest: reading it all would take a while.
	pool_umount
	pool_fsck
	pool_mount "cache=$1"
	[[ $(stat -c %s "$MNT/far") == 9223372036854775807 ]]
	pool_finish
}

case_far() {
	far auto
}

case_far_none() {
	far none
}

case_far_writeback() {
	far writeback
}

rlimit() { # CACHE
	pool_make 64M
	pool_mount "cache=$1"
	py limits rlimit "$MNT"
	pool_finish
}

case_rlimit() {
	rlimit auto
}

case_rlimit_none() {
	rlimit none
}

case_names() {
	pool_make 64M
	pool_mount
	py limits names "$MNT"
	pool_umount
	pool_fsck
	pool_mount
	rm -r "$MNT/n"
	pool_finish
}

case_links() {
	pool_make 64M
	pool_mount
	py limits links "$MNT"
	pool_finish
}

listed() { # CACHE
	pool_make 64M 128M
	pool_mount "cache=$1"
	mkdir "$MNT/d"
	listing "$MNT/d" "$((MT_FULL ? 60 : 5))" | tee "$MT_CASE/listed"
	note "$(cat "$MT_CASE/listed")"
	[[ $(find "$MNT/d" -type f | wc -l) == 1000 ]] || fail "not the names that stay"
	pool_finish
}

case_listing() {
	listed auto
}

case_listing_none() {
	listed none
}

run_case "$@"
