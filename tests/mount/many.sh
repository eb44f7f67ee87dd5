#!/bin/bash
# Very many files in one folder; rates, and what a file takes of the meta part and of the daemon's memory.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

COUNT=1000000 META_SIZE=640M
# The kernel keeps about 1 KiB of each file, and the pool is memory too.
if ((MT_FULL == 0 && $(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo) < 6 << 20)); then
	COUNT=200000 META_SIZE=128M
fi

# KiB of the daemon's own memory, without the pool that it maps.
memory() {
	awk '/^RssAnon:/ { print $2 }' "/proc/$DAEMON/status"
}

rates() {
	awk '{ printf "%s %s/s, ", $1, $2 }' "$MT_CASE/rates"
}

forgotten() {
	(($(stat_of inodes cached) < 16))
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
	rmdir "$MNT/d"
	# FORGETs follow the unlinks; when all have come the daemon's memory is back where it was.
	wait_until 60 forgotten
	note "$(cat "$MT_CASE.note"); after a remount: $(rates)and $(memory) KiB once they are forgotten"
	(($(memory) < start + 16384)) || fail "the daemon keeps $(memory) KiB, started with $start KiB"
	pool_finish
}

run_case "$@"
