#!/bin/bash
# SUITE fsx [OPERATIONS [SEED...]]: one file, any call, compared with memory. FSX=, or XFSTESTS= a built xfstests
# (default: 1000000 operations with seeds 1 2 3; --seconds N: N for each seed)
# shellcheck source=lib/suite.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/suite.sh"

fsx_find() {
	local each
	for each in "${FSX:-}" "${XFSTESTS:-/nowhere}/ltp/fsx"; do
		[[ ! -x $each ]] || fsx=$each
	done
	[[ -n ${fsx:-} ]] ||
		skip "fsx is missing: build xfstests (git.kernel.org: fs/xfs/xfstests-dev) and set XFSTESTS to its folder"
}

fsx_seeds() { # FSX-OPTION...
	local seed operations=${ARGUMENTS[0]:-1000000}
	local -a seeds=("${ARGUMENTS[@]:1}") until=(-N "$operations")
	((${#seeds[@]})) || seeds=(1 2 3)
	[[ -z $SUITE_SECONDS ]] || until=(--duration="$SUITE_SECONDS")
	for seed in "${seeds[@]}"; do
		"$fsx" "${until[@]}" -S "$seed" -P "$MT_CASE" -l 1000000 "$@" "$MNT/fsx.$seed" >"$MT_CASE/fsx.log" 2>&1 ||
			fail "fsx $*, seed $seed: $(tail -n 50 "$MT_CASE/fsx.log")"
	done
	note "$(grep -oE '[0-9]+ operations' "$MT_CASE/fsx.log" | tail -n 1), seeds ${seeds[*]};" \
		"left out: $(sed -nE 's/.*not support (fallocate mode )?(.*), disabling.*/\2/p' "$MT_CASE/fsx.log" | paste -sd ,)"
}

fsx_suite() { # FSX-OPTION...
	fsx_find
	suite_mount 64M
	! "$fsx" "$@" -N 100 -P "$MT_CASE" "$MNT/fsx" 2>&1 | grep -E '^io_rw: need' >"$MT_CASE/lacks" ||
		skip "this fsx was built without what it needs for $*: $(head -n 1 "$MT_CASE/lacks")"
	fsx_seeds "$@"
	suite_finish
}

# Whether this mount can do a shared writable mapping: under cache=none an older libfuse or kernel cannot.
fsx_can_map() {
	"$PYTHON" -c 'import mmap, sys
with open(sys.argv[1], "wb+") as file:
    file.truncate(4096)
    mmap.mmap(file.fileno(), 4096)' "$MNT/map" 2>/dev/null && rm "$MNT/map"
}

case_mapped() {
	fsx_find
	suite_mount 64M
	fsx_can_map || skip "no shared mappings with $OPTIONS here"
	fsx_seeds
	suite_finish
}

# It drops the kernel's caches at each close, which takes long.
case_reopened() {
	fsx_suite -R -W -c 50000
}

case_system_calls() {
	fsx_suite -R -W
}

case_direct() {
	fsx_suite -R -W -Z -r 4096 -w 4096 -t 4096
}

# These need a build with libaio and liburing.
case_asynchronous() {
	fsx_suite -R -W -A
}

case_uring() {
	fsx_suite -R -W -U
}

run_suite "$@"
