#!/bin/bash
# SUITE python [TEST...]: CPython's own tests of files, as root and as nobody. Debian: libpython3.*-testsuite
# shellcheck source=lib/suite.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/suite.sh"

TESTS=(test_os test_posix test_shutil test_mmap test_largefile test_fcntl test_tempfile test_pathlib test_sqlite3)
MORE_TESTS=(test_glob test_file test_fileio test_io test_dbm test_tarfile test_zipfile test_mailbox test_filecmp
	test_genericpath test_posixpath)

# These want the time of a file within 50 ms of the time before the call: a machine with work to do does not keep that.
IGNORED='test_utime_current*'

# Runs them in a folder; what each says goes to LOG, the results to XML.
python_run() { # FOLDER LOG XML COMMAND... -- TEST...
	local folder=$1 log=$2 xml=$3
	local -a as=()
	shift 3
	while [[ $1 != -- ]]; do
		as+=("$1")
		shift
	done
	shift
	(
		cd "$folder"
		TMPDIR=$folder timeout -k 5 3000 "${as[@]}" "$PYTHON" -m test -u largefile --timeout 900 --ignore "$IGNORED" \
			--tempdir "$folder" --junit-xml "$xml" "$@"
	) >"$log" 2>&1 </dev/null || true
	[[ -s $xml ]] || fail "python -m test did not end: $(tail -n 20 "$log")"
}

# A test that fails on the pool counts, unless it fails in a folder of another filesystem as well.
python_suite() { # COMMAND... -- TEST...
	local status=0
	local -a counts
	"$PYTHON" -c 'import test.test_os' 2>/dev/null ||
		skip "CPython's tests are missing: run tools/setup test"
	suite_mount 512M
	mkdir -m 1777 "$MNT/tmp" "$MT_CASE/tmp" "$MT_CASE/out"
	python_run "$MNT/tmp" "$MT_CASE/log" "$MT_CASE/out/xml" "$@"
	suite_py junit "$MT_CASE/out/xml" >"$MT_CASE/result" || {
		python_run "$MT_CASE/tmp" "$MT_CASE/log.elsewhere" "$MT_CASE/out/xml.elsewhere" "$@"
		suite_py junit "$MT_CASE/out/xml" "$MT_CASE/out/xml.elsewhere" >"$MT_CASE/result" || status=1
	}
	read -ra counts <"$MT_CASE/result"
	count_tests "${counts[@]:0:3}"
	note "$(tail -n +2 "$MT_CASE/result" | paste -sd ';')"
	rm -rf "$MNT/tmp"
	suite_finish
	((status == 0)) || fail "$(cat "$MT_CASE/result"; grep -aE -A 25 '^(ERROR|FAIL):' "$MT_CASE/log" | head -n 50)"
}

case_root() {
	((${#ARGUMENTS[@]})) || ARGUMENTS=("${TESTS[@]}" "${MORE_TESTS[@]}")
	python_suite -- "${ARGUMENTS[@]}"
}

case_nobody() {
	((${#ARGUMENTS[@]})) || ARGUMENTS=("${TESTS[@]}" "${MORE_TESTS[@]}")
	need setpriv
	python_suite setpriv --reuid=65534 --regid=65534 --clear-groups -- "${ARGUMENTS[@]}"
}

run_suite "$@"
