#!/bin/bash
# The machine is reset while pinfs works: what fsync answered is there at the next boot, and the pool is whole.
# shellcheck source=lib/guest.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/guest.sh"

# Twice, as the second boot works on what the first one recovered; in the short form once.
reset() { # MODE
	local seed seeds=(1)
	((GUEST_FULL == 0)) || seeds=(1 2)
	for seed in "${seeds[@]}"; do
		guest_cut work "$1" "$seed"
		guest survived "$1"
	done
	note "$(cat "$MT_CASE/out/steps") acknowledged steps"
}

case_devdax() {
	reset devdax
}

case_ext4() {
	reset ext4
}

case_xfs() {
	reset xfs
}

run_case "$@"
