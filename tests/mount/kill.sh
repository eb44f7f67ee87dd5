#!/bin/bash
# The daemon killed at random moments under a load of all operations, pins too; lib/kill.py compares with what was told.
# MT_SEED chooses the load and the moments (default: of the day).
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

ROUNDS=4
((MT_FULL == 0)) || ROUNDS=170
SEED=${MT_SEED:-$((10#$(date +%j) * 1000 + 10#$(date +%y)))}

rounds() { # OPTIONS
	[[ -e ${LIBPINFS:-} ]] || skip "libpinfs.so is not beside PINFS: set LIBPINFS"
	py kill "$ROUNDS" "$1" "$SEED" | tee "$MT_CASE/said"
	note "$ROUNDS rounds of seed $SEED: $(tail -n 1 "$MT_CASE/said")"
}

case_auto() {
	rounds cache=auto
}

case_none() {
	rounds cache=none
}

case_writeback() {
	rounds cache=writeback
}

run_case "$@"
