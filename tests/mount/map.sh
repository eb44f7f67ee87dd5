#!/bin/bash
# pinfs map: what it says of a file is where its bytes are in the data part; what it says of the pool adds up.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

map() {
	[[ -e ${LIBPINFS:-} ]] || skip "libpinfs.so is not beside PINFS: set LIBPINFS"
	py map "$1"
}

case_file() {
	map file
}

case_file_sparse() {
	map file_sparse
}

case_file_many() {
	map file_many
}

case_huge() {
	map huge
}

case_pool() {
	map pool
}

case_pool_lost() {
	map pool_lost
}

case_svg() {
	map svg
}

case_text() {
	map text
}

case_refused() {
	pool_make
	expect_fail 2 'MOUNTPOINT' -- pinfs map
	expect_fail 2 'MOUNTPOINT' -- pinfs map "$MNT" "$MNT"
	expect_fail 2 'either' -- pinfs map --json --svg "$MNT"
	local cells
	for cells in 0 -1 65537 99999999999999999999 many '' 1x; do
		expect_fail 2 "cells $cells" '65536' -- pinfs map --cells "$cells" "$MNT"
	done
	expect_fail 1 "$MNT" 'not on a pinfs mount' -- pinfs map "$MNT"
	expect_fail 1 "$MT_CASE/none" 'no such file' -- pinfs map "$MT_CASE/none"
	pool_mount
	mkdir "$MNT/d"
	mkfifo "$MNT/fifo"
	expect_fail 1 "$MNT/d" 'neither' -- pinfs map "$MNT/d"
	expect_fail 1 "$MNT/fifo" 'neither' -- pinfs map --json "$MNT/fifo"
	pinfs map "$MNT" >/dev/full 2>"$MT_CASE/stderr" && fail "a full device is no error"
	grep -q 'No space left' "$MT_CASE/stderr"
	pool_kill
	expect_fail 1 "$MNT" -- pinfs map "$MNT"
}

run_case "$@"
