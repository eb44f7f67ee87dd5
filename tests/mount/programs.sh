#!/bin/bash
# Real programs, and suites that others wrote: the short forms of tests/posix, of what Debian has.
# shellcheck source=../posix/lib/suite.sh
. "$(dirname "$0")/../posix/lib/suite.sh"

SUITES=$(dirname "$0")/../posix

# shellcheck disable=SC1090 # one of the folder
suite() { # NAME
	. "$SUITES/$1.sh" --case
}

case_stress_ng() {
	suite stress-ng
	stress_ng_suite 1 access aio chmod chown copy-file dentry dir dup fallocate fcntl flock fpunch fstat getdent hdd io \
		io-uring link lockf mknod mmap msync readahead rename seek sendfile symlink utime xattr
}

case_python() {
	suite python
	python_suite -- "${TESTS[@]}"
}

case_postgresql() {
	suite postgresql
	postgresql_suite 1 3 1
}

case_overlay() {
	suite overlayfs
	overlay_lower 2
}

case_sqlite() {
	suite sqlite
	sqlite_suite truncate 1 1
}

run_case "$@"
