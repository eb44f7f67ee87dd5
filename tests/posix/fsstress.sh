#!/bin/bash
# SUITE fsstress [OPERATIONS [SEED...]]: four processes, any call on one tree. FSSTRESS=, or XFSTESTS= a built xfstests
# (default: 20000 operations for each process with seeds 1 2 3; --seconds N: N for each seed)
# shellcheck source=lib/suite.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/suite.sh"

fsstress_find() {
	local each
	for each in "${FSSTRESS:-}" "${XFSTESTS:-/nowhere}/ltp/fsstress"; do
		[[ ! -x $each ]] || fsstress=$each
	done
	[[ -n ${fsstress:-} ]] ||
		skip "fsstress is missing: build xfstests (git.kernel.org: fs/xfs/xfstests-dev) and set XFSTESTS to its folder"
}

fsstress_seed() { # SEED FSSTRESS-OPTION...
	local -a until=(-n "${ARGUMENTS[0]:-20000}")
	[[ -z $SUITE_SECONDS ]] || until=(--duration="$SUITE_SECONDS")
	mkdir -p "$MNT/$1"
	"$fsstress" -d "$MNT/$1" -p 4 "${until[@]}" -s "$1" "${@:2}" >"$MT_CASE/fsstress.log" 2>&1 ||
		fail "fsstress, seed $1: status $?: $(tail -n 20 "$MT_CASE/fsstress.log")"
	kill -0 "$DAEMON" || fail "fsstress, seed $1: the daemon has ended"
}

fsstress_suite() { # FSSTRESS-OPTION...
	local seed
	local -a seeds=("${ARGUMENTS[@]:1}")
	((${#seeds[@]})) || seeds=(1 2 3)
	fsstress_find
	suite_mount 1G 256M
	for seed in "${seeds[@]}"; do
		fsstress_seed "$seed" "$@"
		pool_cycle "$OPTIONS"
		rm -rf "${MNT:?}/$seed"
	done
	note "seeds ${seeds[*]}"
	suite_finish
}

case_processes() {
	fsstress_suite
}

# Names only: no data is written, so all of the time goes into folders.
case_names() {
	fsstress_suite -z -f creat=4 -f mkdir=4 -f link=4 -f symlink=2 -f mknod=2 -f rename=6 -f rnoreplace=2 -f rexchange=4 \
		-f unlink=6 -f rmdir=3 -f getdents=2 -f stat=2 -f attr_set=2 -f attr_remove=1 -f chown=2 -f truncate=2
}

# The daemon is killed in the middle; what is left must be a sound pool, and go on to work.
case_killed() {
	fsstress_find
	suite_mount 1G 256M
	mkdir "$MNT/a"
	local round load
	for round in 1 2 3 4 5; do
		"$fsstress" -d "$MNT/a" -p 4 -n 1000000 -s "$round" >"$MT_CASE/fsstress.log" 2>&1 &
		load=$!
		sleep "0.$((RANDOM % 900 + 100))"
		kill -KILL "$DAEMON"
		wait_exit "$DAEMON"
		kill -TERM "$load" 2>/dev/null || true
		wait "$load" || true
		suite_recover
		ls -lR "$MNT" >/dev/null
	done
	suite_finish
}

run_suite "$@"
