#!/bin/bash
# Locks between processes: flock, POSIX and open-file-description locks, their conflicts, ranges and ends (close, exit,
# fork, exec), deadlocks, signals; leases. The same answers as on tmpfs. lib/locking.py has the table.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

locks() { # CACHE
	like_tmpfs "cache=$1" locking
	pool_finish
}

case_auto() {
	locks auto
}

case_none() {
	locks none
}

case_writeback() {
	locks writeback
}

run_case "$@"
