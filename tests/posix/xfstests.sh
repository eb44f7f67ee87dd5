#!/bin/bash
# SUITE xfstests [TEST...]: the kernel's tests of filesystems. XFSTESTS= a built one; XFSTESTS_ON= ext4 or a passthrough_hp
# (default: its groups auto and quick of tests/generic; TESTs are arguments of its `check`, such as -g quick, generic/013)
#
# Two pools, made anew when a test wants it, and checked by fsck after each test. A test has 240 seconds, or XFSTESTS_LIMIT.
# With XFSTESTS_ON the same is run on an ext4 (loop devices), or on libfuse's example at that path, above an ext4: what they
# fail too is hardly pinfs' fault. XFSTESTS_RESULTS is a folder for all that the suite writes; else --keep keeps it.
#
# Everything runs in a mount and a PID namespace of its own (lib/xfstests.sh): whatever ends it, nothing stays mounted or
# running, and what the tests kill by name are their own processes.
# shellcheck source=lib/suite.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/suite.sh"

xfstests_need() {
	local user
	[[ -x ${XFSTESTS:-}/check && -x $XFSTESTS/src/nsexec && -x $XFSTESTS/ltp/fsstress ]] ||
		skip "xfstests is missing: build git.kernel.org: fs/xfs/xfstests-dev and set XFSTESTS to its folder"
	[[ -e /sbin/mount.fuse ]] || skip "/sbin/mount.fuse is missing: install fuse3"
	need xfs_io bc gawk getfattr setfacl fio unshare flock
	for user in fsgqa fsgqa2 123456-fsgqa; do
		getent passwd "$user" >/dev/null || skip "no user $user: useradd --create-home --badname $user"
	done
}

# What came of each test, from the lines that `check` prints: `generic/001 3s`, `... [not run] WHY`, `... - output mismatch`.
xfstests_results() {
	awk '
		FNR == NR { at = index($0, " # "); reason[$1] = substr($0, at + 3); next }
		$1 !~ /^[a-z0-9]+\/[0-9]+$/ { next }
		/\[not run\]/ { print "skip " $1 " # " substr($0, index($0, "[not run]") + 10); next }
		/\[expunged\]/ { print "skip " $1 " # " reason[$1]; next }
		$NF ~ /^[0-9]+s$/ && !/failed|dumped|mismatch|_check/ { print "ok " $1; next }
		{ print "not ok " $0 }' "$MT_CASE/left-out" "$MT_CASE/log"
}

case_all() {
	local status=0 results=$MT_CASE/list passed failed skipped
	xfstests_need
	export XFSTESTS_RESULTS=${XFSTESTS_RESULTS:-$MT_CASE/results} XFSTESTS_OPTIONS=$OPTIONS
	mkdir -p "$XFSTESTS_RESULTS"
	unshare --mount --pid --fork --kill-child --mount-proc --propagation private \
		bash "$SUITE_LIB/xfstests.sh" "$MT_CASE" "${ARGUMENTS[@]}" || status=$?
	xfstests_results >"$results"
	cp "$MT_CASE/log" "$results" "$XFSTESTS_RESULTS"
	passed=$(grep -c '^ok' "$results") || true
	failed=$(grep -c '^not ok' "$results") || true
	skipped=$(grep -c '^skip' "$results") || true
	count_tests "$passed" "$failed" "$skipped"
	((passed + failed + skipped > 0)) || fail "nothing was run: status $status"
	((failed == 0)) || fail "xfstests on ${XFSTESTS_ON:-pinfs}:
$(grep '^not ok' "$results")"
	note "xfstests on ${XFSTESTS_ON:-pinfs}; not run: $(sed -n 's/^skip.*# //p' "$results" | sed "s|$MT_CASE/||" |
		sort | uniq -c | sort -rn | awk '{ $1 = $1 ":"; printf "%s%s", separator, $0; separator = "; " }')"
}

run_suite "$@"
