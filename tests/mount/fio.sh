#!/bin/bash
# fio writes and verifies: four jobs at once, by several engines; and verifies again after a remount.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

SIZE=24M PART=768M
((MT_FULL == 0)) || SIZE=256M PART=6G

fio_jobs() { # ENGINE DIRECT WRITE-PATTERN BLOCK-SIZES EXTRA...
	local name=$1-$2-$3
	mkdir -p "$MNT/$name"
	fio --name="$name" --directory="$MNT/$name" --ioengine="$1" --direct="$2" --rw="$3" --bsrange="$4" --size="$SIZE" \
		--numjobs=4 --verify=crc32c --verify_fatal=1 --verify_state_save=0 --randseed=4711 --minimal --fsync_on_close=1 \
		"${@:5}" >"$MT_CASE/fio.log" 2>&1 || fail "fio: $(tail -n 15 "$MT_CASE/fio.log")"
}

all_jobs() { # EXTRA...
	fio_jobs psync 0 write 4k-256k "$@"
	fio_jobs psync 0 randwrite 4k-4k "$@"
	fio_jobs psync 1 randwrite 4k-128k --blockalign=4k "$@"
	fio_jobs libaio 1 write 64k-1m --blockalign=4k --iodepth=8 "$@"
	fio_jobs mmap 0 randwrite 4k-4k "$@"
}

case_verify() {
	need fio
	pool_make "$PART"
	pool_mount
	all_jobs --do_verify=1
	pool_umount
	pool_fsck
	pool_mount
	all_jobs --verify_only=1
	pool_finish
}

case_mixed_overwrites() {
	need fio
	pool_make 512M
	pool_mount
	fio_jobs psync 0 randrw 512-64k --do_verify=1 --fallocate=none --overwrite=0 --verify_backlog=256
	pool_finish
}

run_case "$@"
