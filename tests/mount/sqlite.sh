#!/bin/bash
# SQLite: 100,000 rows, the daemon killed in the middle; what was committed is there.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

ROWS=100000
BATCH=5 # rows of a transaction
((MT_FULL == 0)) || BATCH=1

database() { # JOURNAL-MODE [OPTIONS]
	"$PYTHON" -c 'import sqlite3' 2>/dev/null || skip "python3 lacks its sqlite3 module"
	pool_make 256M
	pool_mount "${2:-}"
	py database kill "$MNT/db" "$1" $ROWS $BATCH "$MT_CASE/log" "$DAEMON" $((ROWS * 2 / 5))
	umount -l "$MNT"
	pool_fsck
	pool_mount "${2:-}"
	py database check "$MNT/db" "$MT_CASE/log"
	# And on, to the end.
	local there
	there=$("$PYTHON" -c 'import sqlite3, sys
print(sqlite3.connect(sys.argv[1]).execute("select count(*) from t").fetchone()[0])' "$MNT/db")
	py database insert "$MNT/db" "$1" $((ROWS - there)) $BATCH >"$MT_CASE/log"
	pool_umount
	pool_fsck
	pool_mount "${2:-}"
	py database check "$MNT/db" "$MT_CASE/log"
	[[ $(tail -n 1 "$MT_CASE/log") == "$ROWS" ]]
	pool_finish
}

case_wal() {
	database wal
}

case_rollback_journal() {
	database delete
}

case_writeback_cache() {
	database delete cache=writeback
}

run_case "$@"
