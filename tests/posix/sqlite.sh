#!/bin/bash
# SUITE sqlite: processes that share a database, in each journal mode; the daemon killed under them. Python's sqlite3
# (--seconds N: of work before the kill, and after, in each mode; default 30)
# shellcheck source=lib/suite.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/suite.sh"

PROCESSES=4

sqlite_suite() { # JOURNAL-MODE SECONDS KILLS
	local load round
	"$PYTHON" -c 'import sqlite3' 2>/dev/null || skip "python3 lacks its sqlite3 module"
	suite_mount 256M
	suite_py bank make "$MNT/db" "$1"
	for ((round = 0; round < $3; round++)); do
		suite_py bank work "$MNT/db" "$1" $PROCESSES 3600 "$MT_CASE/log" >"$MT_CASE/out" 2>&1 &
		load=$!
		wait_until 60 test -s "$MT_CASE/log.0"
		sleep "$2" # of load: there is nothing to wait for
		kill -KILL "$DAEMON"
		wait_exit "$DAEMON"
		wait "$load" || true
		suite_recover
		suite_py bank check "$MNT/db" $PROCESSES "$MT_CASE/log"
	done
	suite_py bank work "$MNT/db" "$1" $PROCESSES "$2" "$MT_CASE/log"
	note "$(suite_py bank check "$MNT/db" $PROCESSES "$MT_CASE/log")"
	suite_finish
}

case_delete() {
	sqlite_suite delete "${SUITE_SECONDS:-30}" 3
}

case_truncate() {
	sqlite_suite truncate "${SUITE_SECONDS:-30}" 3
}

case_persist() {
	sqlite_suite persist "${SUITE_SECONDS:-30}" 3
}

# Its index is a shared mapping.
case_wal() {
	sqlite_suite wal "${SUITE_SECONDS:-30}" 3
}

run_suite "$@"
