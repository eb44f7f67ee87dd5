#!/bin/bash
# Mappings of files: shared ones are one with read and write, in both directions and between processes; what msync or
# fsync acknowledged survives the daemon's death; truncated pages give SIGBUS, and zeros when the file grows again; a
# pin's mapping stays readable; private ones stay private. lib/mapping.py has the cases.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

mapping() { # OPTIONS
	pool_make 64M 32M
	pool_mount "$1"
	py mapping private "$MNT"
	if [[ $1 == cache=none ]] && ! has_kernel 6.6; then
		py mapping no_device "$MNT"
		pool_finish
		skip "cache=none: Linux 6.6 is needed for shared mappings, this is $(uname -r): ENODEV; private ones work"
	fi
	py mapping shared "$MNT"
	pool_cycle "$1"
	pool_finish
}

case_auto() {
	mapping cache=auto
}

case_none() {
	mapping cache=none
}

case_writeback() {
	mapping cache=writeback
}

durable() { # CACHE
	pool_make 64M 32M
	pool_mount "cache=$1"
	py mapping store "$MNT" "$DAEMON"
	umount -l "$MNT"
	pool_fsck
	pool_mount "cache=$1"
	py mapping stored "$MNT"
	pool_finish
}

case_durable_auto() {
	durable auto
}

case_durable_writeback() {
	durable writeback
}

case_pin() {
	[[ -e ${LIBPINFS:-} ]] || skip "libpinfs.so is not beside PINFS: set LIBPINFS"
	pool_make 64M 32M
	pool_mount break_timeout=1
	py mapping pinned "$MNT"
	pool_finish
}

run_case "$@"
