#!/bin/bash
# How many requests of the kernel each system call costs, in each cache mode: round trips are what time goes into.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

requests() { # CACHE
	has_kernel 6.6 || skip "older kernels than Linux 6.6 may ask more; this is $(uname -r)"
	pool_make 64M 32M
	pool_mount "cache=$1"
	py requests "$MNT" "$1" >"$MT_CASE/calls"
	note "$(cat "$MT_CASE/calls")"
	pool_finish
}

case_auto() {
	requests auto
}

case_none() {
	requests none
}

case_writeback() {
	requests writeback
}

run_case "$@"
