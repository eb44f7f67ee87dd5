#!/bin/bash
# SUITE pjdfstest [FILE|FOLDER...]: what POSIX says of names, modes, owners, times. PJDFSTEST= its built checkout
# shellcheck source=lib/suite.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/suite.sh"

case_all() {
	local where=${PJDFSTEST:-} tests failed broken status=0
	[[ -x $where/pjdfstest ]] ||
		skip "pjdfstest is missing: build https://github.com/pjd/pjdfstest (autoreconf -ifs, configure, make), set PJDFSTEST"
	need prove perl
	local -a files=("${ARGUMENTS[@]/#/$where/tests/}")
	((${#files[@]})) || files=("$where/tests")
	suite_mount 256M
	cd "$MNT" || fail "cd"
	prove -r -j2 --nocolor "${files[@]}" >"$MT_CASE/pjdfstest.log" 2>&1 || status=$?
	cd /
	tests=$(sed -n 's/^Files=.*, Tests=\([0-9]*\),.*/\1/p' "$MT_CASE/pjdfstest.log")
	failed=$(sed -n 's/.*Tests: [0-9]* Failed: \([0-9]*\)).*/\1/p' "$MT_CASE/pjdfstest.log" | paste -sd+)
	broken=$(grep -cE '^  (Parse errors|Non-zero)' "$MT_CASE/pjdfstest.log") || true
	count_tests $((tests - (${failed:-0}))) $((${failed:-0} + broken)) 0
	note "$tests tests"
	suite_finish
	((status == 0)) || fail "$(sed -n '/^Test Summary Report/,$p' "$MT_CASE/pjdfstest.log")"
}

run_suite "$@"
