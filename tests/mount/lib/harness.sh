# shellcheck shell=bash
# What the mount tests share. A test file is a list of functions case_NAME; each runs in a process of its own, in an empty
# scratch folder $MT_CASE, with `set -e`. tests/mount/run cleans up behind it. A case fails by any command that fails.
#
# A case has one pool at a time: $META with its data part $DATA, mounted on $MNT, served by process $DAEMON.
# shellcheck disable=SC2034 # used by the test files
set -euo pipefail

if [[ ${1:-} != --case || -z ${MT_CASE:-} ]]; then
	exec "$(dirname "$0")/run" "$(basename "$0" .sh)"
fi

META=$MT_CASE/pool/meta
DATA=${MT_DATA:-$MT_CASE/pool/data}
MNT=$MT_CASE/mnt
DAEMON=
WAIT=30 # seconds that any one event may take

fail() {
	printf 'FAIL: %s\n' "$*" >&2
	exit 1
}

# Ends the case as skipped, with the reason.
skip() {
	{ set +x; } 2>/dev/null # the reason is the last line
	printf '%s\n' "$*"
	exit 77
}

# Shown behind the case's result, if it succeeds.
note() {
	printf '%s' "$*" >"$MT_CASE.note"
}

need() {
	local each
	for each; do
		command -v "$each" >/dev/null || skip "$each is missing: run tools/setup"
	done
}

# Says how many tests a case that is a suite of others has run: its result is then counted by these.
count_tests() { # PASSED FAILED SKIPPED
	echo "$1 $2 $3" >"$MT_CASE.count"
}

py() {
	"$PYTHON" "$MT_LIB/$1.py" "${@:2}"
}

# Waits for the end of a process, by its pidfd: no time is lost, and no other process of that number can be meant.
wait_exit() { # PID [SECONDS]
	py wait_exit "$1" "${2:-$WAIT}" || fail "process $1 still runs after ${2:-$WAIT} s"
}

# For what sends no event: tries the command each 20 ms until it succeeds.
wait_until() { # SECONDS COMMAND...
	local - end=$((SECONDS + $1 + 1))
	set +x
	shift
	until "$@"; do
		((SECONDS < end)) || fail "not within its time: $*"
		sleep 0.02
	done
}

# The daemon that serves mountpoint $1: it was called with it.
daemon_of() {
	local - exe pid
	set +x
	for exe in /proc/[0-9]*/exe; do
		pid=${exe#/proc/}
		pid=${pid%/exe}
		[[ $(readlink "$exe" 2>/dev/null) =~ /${MT_DAEMON_EXE:-pinfs}( \(deleted\))?$ ]] || continue
		if grep -qzxF -- "$1" "/proc/$pid/cmdline" 2>/dev/null; then
			echo "$pid"
			return
		fi
	done
	fail "$1: no daemon serves it"
}

is_mounted() {
	awk -v path="$1" '$5 == path { found = 1 } END { exit !found }' /proc/self/mountinfo
}

pool_make() { # [DATA-SIZE [META-SIZE]]
	local data=$DATA:${1:-256M}
	[[ -z ${MT_DATA:-} ]] || data=$DATA # a device has its size
	mkdir -p "$MT_CASE/pool" "$MNT"
	pinfs mkfs ${MT_DATA:+--force} --meta-size "${2:-64M}" --data "$data" "$META"
}

pool_mount() { # [OPTIONS]
	local options=${1-}${MT_TRANSPORT:+${1:+,}transport=$MT_TRANSPORT}
	pinfs mount ${options:+-o "$options"} "$META" "$MNT"
	is_mounted "$MNT" || fail "$MNT: pinfs mount succeeded, but nothing is mounted"
	DAEMON=$(daemon_of "$MNT")
}

# Unmounts, and waits for the daemon's end: the pool is closed then.
pool_umount() {
	umount "$MNT"
	wait_exit "$DAEMON"
	DAEMON=
}

pool_fsck() {
	pinfs fsck "$META" || fail "pinfs fsck $META: exit status $?"
}

pool_kill() {
	kill -KILL "$DAEMON"
	wait_exit "$DAEMON"
	umount -l "$MNT"
	DAEMON=
}

# Everything under $1 that must survive: names, types, modes, owners, link counts, times, xattrs, sizes and contents.
manifest() { # FOLDER FILE [--loose]
	py manifest ${3:+"$3"} "$1" >"$2"
}

same() { # FILE FILE
	cmp -s "$1" "$2" || {
		diff "$1" "$2" | head -n 20
		fail "$1 and $2 differ"
	}
}

# Unmounts, checks, mounts again with the same options and compares everything with what was there before.
pool_cycle() { # [OPTIONS [--loose]]
	sync -f "$MNT"
	manifest "$MNT" "$MT_CASE/before" "${2:-}"
	pool_umount
	pool_fsck
	pool_mount "${1:-}"
	manifest "$MNT" "$MT_CASE/after" "${2:-}"
	same "$MT_CASE/before" "$MT_CASE/after"
}

# The end of most cases.
pool_finish() {
	pool_umount
	pool_fsck
}

# Runs lib/$2.py in a folder of a tmpfs and in one of a new pool: what it prints, its answers, must be the same. The pool
# stays mounted.
like_tmpfs() { # OPTIONS PROGRAM [ARGUMENT...]
	local options=$1 program=$2
	shift 2
	mkdir "$MT_CASE/tmpfs"
	mount -t tmpfs tmpfs "$MT_CASE/tmpfs"
	mkdir "$MT_CASE/tmpfs/d"
	py "$program" "$MT_CASE/tmpfs/d" "$@" >"$MT_CASE/want"
	umount "$MT_CASE/tmpfs"
	pool_make 64M 64M
	pool_mount "$options"
	mkdir "$MNT/d"
	py "$program" "$MNT/d" "$@" >"$MT_CASE/got"
	same "$MT_CASE/want" "$MT_CASE/got"
	note "$(grep -vc '^#' "$MT_CASE/got") answers as on tmpfs"
}

# Runs a command that must fail with STATUS (one of a list a|b), with each PATTERN (extended, ignoring case) in what it
# says, on stderr, and nothing on stdout.
expect_fail() { # STATUS PATTERN... -- COMMAND...
	local want=$1 got=0 pattern
	local -a patterns=()
	shift
	while [[ $1 != -- ]]; do
		patterns+=("$1")
		shift
	done
	shift
	timeout 300 "$@" >"$MT_CASE/stdout" 2>"$MT_CASE/stderr" </dev/null || got=$?
	{ printf '%s -> %s: ' "$*" "$got" && cat "$MT_CASE/stderr"; } | tee "$MT_CASE/said"
	[[ $got =~ ^($want)$ ]] || fail "exit status $got, not $want: $*"
	for pattern in "${patterns[@]}"; do
		grep -qiE -e "$pattern" "$MT_CASE/stderr" || fail "the message lacks '$pattern': $*"
	done
	[[ ! -s $MT_CASE/stdout ]] || fail "a failure that prints on stdout: $(head -n 3 "$MT_CASE/stdout")"
}

# A statfs value of $MNT: bfree, bavail, blocks, ffree, files.
statfs_of() {
	"$PYTHON" -c 'import os, sys; print(getattr(os.statvfs(sys.argv[1]), "f_" + sys.argv[2]))' "$MNT" "$1"
}

# A number of `pinfs stat --json`, by its keys: stat_of meta free_bytes.
stat_of() {
	pinfs stat --json "$MNT" | "$PYTHON" -c 'import functools, json, sys
print(functools.reduce(lambda object, key: object[key], sys.argv[1:], json.load(sys.stdin)))' "$@"
}

has_kernel() { # VERSION
	[[ $(printf '%s\n' "$1" "$(uname -r)" | sort -V | head -n 1) == "$1" ]]
}

# Called at the end of each test file.
run_case() {
	trap 'echo "FAIL: line $LINENO: $BASH_COMMAND" >&2' ERR
	set -E -x
	"case_$2"
}
