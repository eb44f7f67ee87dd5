#!/bin/bash
# Processes that make, move and remove the same few names at the same time: no wrong answer, and what is left is a tree.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

stress_for() { # CACHE
	local seconds=4
	((MT_FULL == 0)) || seconds=60
	pool_make 512M 64M
	pool_mount "cache=$1"
	mkdir "$MNT/d"
	stress "$MNT/d" 6 "$seconds" | tee "$MT_CASE/calls"
	note "$(awk '/calls/ { sum += $1 } END { print sum }' "$MT_CASE/calls") calls"
	py links "$MNT"
	pool_cycle "cache=$1"
	py links "$MNT"
	pool_finish
}

case_auto() {
	stress_for auto
}

case_none() {
	stress_for none
}

case_writeback() {
	stress_for writeback
}

run_case "$@"
