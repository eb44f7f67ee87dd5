#!/bin/bash
# Very many files in one folder; rates, and what a file takes of the meta part and of the daemon's memory.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

COUNT=200000 META_SIZE=256M
((MT_FULL == 0)) || COUNT=1000000 META_SIZE=1G

# KiB of the daemon's own memory, without the pool that it maps.
memory() {
	awk '/^RssAnon:/ { print $2 }' "/proc/$DAEMON/status"
}

rates() {
	awk '{ printf "%s %s/s, ", $1, $2 }' "$MT_CASE/rates"
}

case_one_folder() {
	pool_make 64M "$META_SIZE"
	pool_mount
	mkdir "$MNT/d"
	local start meta
	start=$(memory)
	meta=$(stat_of meta free_bytes)
	fileops files "$MNT/d" "$COUNT" create stat readdir | tee "$MT_CASE/rates"
	meta=$(((meta - $(stat_of meta free_bytes)) / COUNT))
	note "$COUNT files: $(rates)$meta bytes of meta part a file, daemon $start KiB -> $(memory) KiB"
	pool_umount
	pool_fsck
	pool_mount
	fileops files "$MNT/d" "$COUNT" readdir stat rename unlink | tee "$MT_CASE/rates"
	note "$(cat "$MT_CASE.note"); after a remount: $(rates)"
	rmdir "$MNT/d"
	pool_finish
}

run_case "$@"
