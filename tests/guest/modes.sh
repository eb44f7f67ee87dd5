#!/bin/bash
# pinfs on devdax nodes and on fsdax files, in a guest with two NVDIMMs.
# shellcheck source=lib/guest.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/guest.sh"

# Data and meta parts on each kind of memory; flushes of the processor make durable.
case_modes() {
	guest modes cpu-flush
}

# A platform whose caches are not lost with the power needs no flushes.
case_eadr() {
	GUEST_PERSISTENCE=cpu guest modes eADR
}

run_case "$@"
