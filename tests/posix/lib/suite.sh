# shellcheck shell=bash
# What the suites of this folder share, on top of the mount tests' harness. A suite's file defines functions NAME_... that
# do its work and cases that call them; tests/mount/programs.sh calls the same functions with small sizes.
# shellcheck disable=SC2034 # used by the suites
# shellcheck source=../../mount/lib/harness.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../mount/lib/harness.sh"

SUITE_LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
OPTIONS=${POSIX_OPTIONS:-cache=auto}
SUITE_SECONDS=${POSIX_SECONDS:-} # empty: the suite decides
read -ra ARGUMENTS <<<"${POSIX_ARGUMENTS:-}"

suite_py() {
	"$PYTHON" "$SUITE_LIB/$1.py" "${@:2}"
}

suite_mount() { # [DATA-SIZE [META-SIZE]]
	pool_make "$@"
	pool_mount "$OPTIONS"
	chmod 1777 "$MNT"
}

# The end of each: nothing was lost by an unmount, and the pool has no error.
suite_finish() {
	pool_cycle "$OPTIONS"
	pool_finish
}

# Behind a kill of the daemon.
suite_recover() {
	umount -l "$MNT"
	pool_fsck
	pool_mount "$OPTIONS"
}

# Whoever runs what no root may run.
as_nobody() {
	setpriv --reuid=65534 --regid=65534 --clear-groups -- env HOME="$MT_CASE" "$@"
}

# At the end of each file: it is either a suite of its own, or read by tests/mount/programs.sh.
run_suite() {
	[[ $0 != "${BASH_SOURCE[1]}" ]] || run_case "$@"
}
