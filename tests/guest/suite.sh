#!/bin/bash
# The tests of tests/mount that persistent memory matters to, on each kind of it.
# shellcheck source=lib/guest.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/guest.sh"

tests=(pins/rule1_detached pins/rule6_recall pins/fragments)
((GUEST_FULL == 0)) || tests=(basic tree coherence mmap xattr pins/{rule1_detached,rule4_doors,rule6_recall,rule7_detach,rule12_unlinked}
	pins/{rule11_daemon_killed,rule17_auto,rule20_lost_memory,fragments})

on() { # MODE
	guest suite "$1" "${tests[@]}" || true
	guest_count
}

case_devdax() {
	on devdax
}

case_ext4() {
	on ext4
}

case_xfs() {
	on xfs
}

run_case "$@"
