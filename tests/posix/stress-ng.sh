#!/bin/bash
# SUITE stress-ng [STRESSOR...]: its filesystem stressors, which verify what they read. Debian: stress-ng
# (default: 20 seconds for each stressor, two processes; --seconds N: N for each)
# shellcheck source=lib/suite.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/suite.sh"

# Those of its class filesystem that work in a folder (others stress /proc, /sys or the kernel), and those of files mapped.
STRESSORS=(access aio aiol chattr chdir chmod chown copy-file dentry dir dirdeep dirmany dup fallocate fanotify
	fcntl fiemap file-ioctl filename flock fpunch fstat getdent hdd inode-flags inotify io io-uring iomix lease link locka
	lockf lockofd metamix mknod mmap msync open readahead rename revio seek sendfile splice symlink sync-file touch utime
	verity xattr)

# How it ended, of its exit status: 3 and 4 say that the machine lacks something.
stress_ng_result() { # STATUS LOG
	if grep -qiE 'fail:|flaw' "$2"; then
		echo failed
	elif (($1 == 3 || $1 == 4)) || grep -qE 'skipp(ed|ing) stressor|stressor skipped' "$2"; then
		echo skipped
	elif (($1 != 0)); then
		echo failed
	else
		echo passed
	fi
}

stress_ng_run() { # FOLDER STRESSOR SECONDS: how it ended
	local status=0
	local -a extra=()
	[[ $2 != mmap ]] || extra=(--mmap-file --mmap-bytes 16M)
	[[ $2 != hdd ]] || extra=(--hdd-bytes 32M)
	mkdir -p "$1/$2"
	timeout -k 5 $(($3 + 120)) stress-ng --"$2" 2 "${extra[@]}" --timeout "$3s" --verify --temp-path "$1/$2" \
		>"$MT_CASE/stress.log" 2>&1 || status=$?
	rm -rf "${1:?}/$2"
	stress_ng_result "$status" "$MT_CASE/stress.log"
}

# One that fails in a folder of another filesystem as well says nothing of this one.
stress_ng_one() { # STRESSOR SECONDS
	local result
	result=$(stress_ng_run "$MNT" "$1" "$2")
	[[ $result == passed ]] || sed "s/^/$1: /" "$MT_CASE/stress.log" >>"$MT_CASE/$result"
	if [[ $result == failed && $(stress_ng_run "$MT_CASE" "$1" "$2") == failed ]]; then
		result=elsewhere
	fi
	echo "$1 $result" >>"$MT_CASE/results"
}

stress_ng_named() { # RESULT: the stressors that ended so
	sed -n "s/ $1\$//p" "$MT_CASE/results" | paste -sd ' '
}

stress_ng_suite() { # SECONDS STRESSOR...
	local seconds=$1 each
	shift
	need stress-ng
	suite_mount 512M
	for each; do stress_ng_one "$each" "$seconds"; done
	count_tests "$(grep -c ' passed$' "$MT_CASE/results")" "$(grep -c ' failed$' "$MT_CASE/results")" \
		"$(grep -cE ' (skipped|elsewhere)$' "$MT_CASE/results")"
	note "skipped by stress-ng: $(stress_ng_named skipped); fail elsewhere too: $(stress_ng_named elsewhere)"
	suite_finish
	! grep -q ' failed$' "$MT_CASE/results" || fail "$(tail -n 40 "$MT_CASE/failed"; stress_ng_named failed)"
}

case_filesystem() {
	((${#ARGUMENTS[@]})) || ARGUMENTS=("${STRESSORS[@]}")
	stress_ng_suite "${SUITE_SECONDS:-20}" "${ARGUMENTS[@]}"
}

run_suite "$@"
