#!/bin/bash
# What the kernel caches changes no answer: the same operations answer as on tmpfs in each cache mode, and what they
# left is there after a remount; times do not move when the kernel writes back or forgets; what is dirty is no hole.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

coherence() { # CACHE
	like_tmpfs "cache=$1" coherence
	pool_cycle "cache=$1"
	pool_finish
}

case_auto() {
	coherence auto
}

case_none() {
	coherence none
}

case_writeback() {
	coherence writeback
}

# The kernel answers asynchronous direct writes by another path than synchronous ones.
asynchronous() { # CACHE
	pool_make 64M 32M
	pool_mount "cache=$1"
	aio "$MNT/f" $((MT_FULL ? 5000 : 200))
	pool_cycle "cache=$1"
	pool_finish
}

case_asynchronous_auto() {
	asynchronous auto
}

case_asynchronous_none() {
	asynchronous none
}

case_asynchronous_writeback() {
	asynchronous writeback
}

times() { # CACHE
	pool_make 64M 32M
	pool_mount "cache=$1"
	py times change "$1" "$MNT"
	pool_umount
	pool_fsck
	pool_mount "cache=$1"
	py times verify "$1" "$MNT"
	pool_finish
}

case_times_auto() {
	times auto
}

case_times_none() {
	times none
}

case_times_writeback() {
	times writeback
}

holes() { # CACHE
	pool_make 64M 32M
	pool_mount "cache=$1"
	py holes "$1" "$MNT"
	pool_cycle "cache=$1"
	pool_finish
}

case_holes_auto() {
	holes auto
}

case_holes_none() {
	holes none
}

case_holes_writeback() {
	holes writeback
}

case_shared_mmap_none() {
	pool_make 64M 32M
	pool_mount cache=none
	has_kernel 6.6 || skip "Linux 6.6 is needed, this is $(uname -r)"
	py shared "$MNT"
	pool_cycle cache=none
	[[ $(head -c 9 "$MNT/late" | tail -c 4) == late ]] || fail "what was stored before the end is lost"
	pool_finish
}

run_case "$@"
