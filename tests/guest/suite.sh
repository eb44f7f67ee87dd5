#!/bin/bash
# The tests of tests/mount that persistent memory matters to, on each kind of it.
# shellcheck source=lib/guest.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/guest.sh"

tests=(basic tree coherence mmap xattr pins/rule1 pins/rule2 pins/rule3)

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
