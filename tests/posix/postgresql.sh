#!/bin/bash
# SUITE postgresql [SCALE]: a database under load, the daemon killed under it, recovered. Debian: postgresql
# (--seconds N: of load before each kill, and after; default 30)
# shellcheck source=lib/suite.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/suite.sh"

CLIENTS=4

# A server of our own in $MNT/data, reached by a socket in our scratch folder only, of a user who is not root.
pg() { # PROGRAM ARGUMENT...
	(
		cd "$MT_CASE/pg" || exit
		as_nobody PGHOST="$MT_CASE/pg" PGUSER=test PGDATABASE=postgres PGCONNECT_TIMEOUT=20 "$PG/$1" "${@:2}"
	)
}

pg_find() {
	local each
	for each in /usr/lib/postgresql/*/bin /usr/local/pgsql/bin; do
		[[ ! -x $each/initdb || ! -x $each/pgbench ]] || PG=$each
	done
	[[ -n ${PG:-} ]] || skip "PostgreSQL is missing: run tools/setup test"
	need setpriv
}

pg_start() {
	pg pg_ctl -D "$MNT/data" -l "$MT_CASE/pg/server" -w -t 120 start >"$MT_CASE/pg/start" 2>&1 </dev/null ||
		fail "the server does not start: $(tail -n 20 "$MT_CASE/pg/server")"
	SERVER=$(head -n 1 "$MNT/data/postmaster.pid")
}

pg_stop() {
	pg pg_ctl -D "$MNT/data" -w -t 120 -m fast stop
}

pg_make() { # SCALE
	mkdir -m 777 "$MT_CASE/pg"
	install -d -o 65534 -g 65534 -m 700 "$MNT/data"
	pg initdb -D "$MNT/data" -U test -A trust -k --no-locale -E UTF8 >"$MT_CASE/initdb.log" 2>&1 ||
		fail "initdb: $(tail -n 20 "$MT_CASE/initdb.log")"
	cat >>"$MNT/data/postgresql.conf" <<-END
		listen_addresses = ''
		unix_socket_directories = '$MT_CASE/pg'
		fsync = on
		full_page_writes = on
		shared_buffers = 16MB
		max_wal_size = 64MB
		restart_after_crash = off
	END
	pg_start
	pg pgbench -q -i -s "$1" >"$MT_CASE/init.log" 2>&1 || fail "pgbench -i: $(tail -n 20 "$MT_CASE/init.log")"
}

# Load; a line of the log is a transaction that the server said was committed.
pg_load() { # SECONDS LOG
	rm -f "$MT_CASE/pg/$2".*
	pg pgbench -n -c $CLIENTS -j 2 -T "$1" -l --log-prefix="$MT_CASE/pg/$2" >"$MT_CASE/pg/$2.out" 2>&1
}

pg_value() { # SQL
	pg psql -X -q -t -A -v ON_ERROR_STOP=1 -c "$1"
}

pg_logged() { # LOG
	find "$MT_CASE/pg" -name "$1.[0-9]*" -exec cat {} + | wc -l
}

# pgbench's invariant: each transaction adds one delta to an account, a teller, a branch and the history.
pg_check() { # ROWS-OF-HISTORY-AT-LEAST AT-MOST
	local sums rows
	sums=$(pg_value "with total as (select coalesce(sum(delta), 0) as delta from pgbench_history)
		select (select sum(abalance) from pgbench_accounts) = delta and (select sum(tbalance) from pgbench_tellers) = delta
			and (select sum(bbalance) from pgbench_branches) = delta from total")
	[[ $sums == t ]] || fail "the balances and the history differ"
	rows=$(pg_value 'select count(*) from pgbench_history')
	((rows >= $1 && rows <= $2)) || fail "$rows transactions in the history, not $1 to $2"
	pg_value 'create extension if not exists amcheck'
	pg_value "select bt_index_check(c.oid, true) from pg_class c join pg_am a on a.oid = c.relam
		where a.amname = 'btree' and c.relkind = 'i' and c.relpersistence = 'p'" >/dev/null
}

# Kills the daemon while the load runs; the server cannot go on then, and is ended too.
pg_kill() { # SECONDS-BEFORE LOG
	local load
	pg_load 3600 "$2" &
	load=$!
	wait_until 60 pg_is_at_work
	sleep "$1" # of load: there is nothing to wait for
	kill -KILL "$DAEMON"
	wait_exit "$DAEMON"
	kill -QUIT "$SERVER" 2>/dev/null || true
	wait_exit "$SERVER" 60
	wait "$load" || true
	suite_recover
	# Its number may be another process's by now, or wait for init to collect it.
	rm "$MNT/data/postmaster.pid"
}

pg_is_at_work() {
	[[ $(pg_value "select count(*) from pg_stat_activity where application_name = 'pgbench'" 2>/dev/null) == "$CLIENTS" ]]
}

postgresql_suite() { # SCALE SECONDS KILLS
	local round before logged total=0
	pg_find
	suite_mount 1G
	pg_make "$1"
	for ((round = 1; round <= $3; round++)); do
		before=$(pg_value 'select count(*) from pgbench_history')
		pg_kill "$2" "kill$round"
		pg_start
		logged=$(pg_logged "kill$round")
		((logged > 0)) || fail "no transaction was committed before the kill: $(tail -n 5 "$MT_CASE/pg/kill$round.out")"
		pg_check $((before + logged)) $((before + logged + CLIENTS))
		total=$((total + logged))
	done
	before=$(pg_value 'select count(*) from pgbench_history')
	pg_load "$2" last || fail "pgbench: $(tail -n 20 "$MT_CASE/pg/last.out")"
	logged=$(pg_logged last)
	pg_check $((before + logged)) $((before + logged))
	pg_stop
	pg pg_checksums -D "$MNT/data" --check >"$MT_CASE/checksums" 2>&1 || fail "$(tail -n 5 "$MT_CASE/checksums")"
	note "$((total + logged)) transactions, $3 kills"
	suite_finish
}

case_pgbench() {
	postgresql_suite "${ARGUMENTS[0]:-5}" "${SUITE_SECONDS:-30}" 3
}

run_suite "$@"
