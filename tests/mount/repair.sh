#!/bin/bash
# pinfs fsck --repair of pools that were mounted, damaged, and are mounted again.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

fsck_status() { # STATUS OPTION...
	local want=$1 got=0
	shift
	timeout 300 pinfs fsck "$@" "$META" >"$MT_CASE/fsck" 2>&1 </dev/null || got=$?
	((got == want)) || {
		tail -n 30 "$MT_CASE/fsck"
		fail "pinfs fsck $*: exit status $got, not $want"
	}
}

fill() {
	local i
	mkdir -p "$MNT/d/e" "$MNT/empty"
	for ((i = 0; i < 300; i++)); do
		echo "content of $i" >"$MNT/d/file number $i"
	done
	ln "$MNT/d/file number 7" "$MNT/d/e/link"
	ln -s ../d "$MNT/d/e/symlink"
	setfattr -n user.name -v value "$MNT/d/e/link"
	mkfifo "$MNT/d/e/pipe"
	# Many extents: a map with nodes.
	python3 -c '
import os, sys
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
for i in range(1000):
    os.pwrite(fd, b"%d" % i * 1000, i * 8192)' "$MNT/d/sparse"
}

# What a repair finds again is as it was: names, attributes, contents, values.
damaged() { # KIND COUNT [--no-manifest]
	pool_make 64M 32M
	pool_mount
	fill
	manifest "$MNT" "$MT_CASE/before" --loose
	pool_umount
	note "one of $(py damage "$META" "$1" "$2")"
	fsck_status 4
	sha256sum "$META" "$DATA" >"$MT_CASE/sums"
	fsck_status 4 --repair -n
	grep -q 'would repair: I' "$MT_CASE/fsck"
	fsck_status 4 --repair -n --json
	python3 -c '
import json, sys
report = json.load(sys.stdin)
assert report["dry_run"] and report["problems"] and report["repairs"] and not report["left"], report
assert all(r["severity"] == "repaired" and r["invariant"][0] == "I" for r in report["repairs"])' <"$MT_CASE/fsck"
	sha256sum --quiet -c "$MT_CASE/sums"
	fsck_status 1 --repair
	grep -q 'repaired: I' "$MT_CASE/fsck"
	fsck_status 0 --repair
	fsck_status 0
	pool_mount
	manifest "$MNT" "$MT_CASE/after" --loose
	[[ ${3:-} == --no-manifest ]] || same "$MT_CASE/before" "$MT_CASE/after"
}

case_names() {
	damaged names 3
	pool_finish
}

case_nodes() {
	damaged nodes 1
	pool_finish
}

# Who owned them is lost with their records: they are root's, and hold what they held.
case_inodes() {
	damaged inodes 20 --no-manifest
	[[ $(cat "$MNT"/d/file* | sha256sum) == "$(for i in "$MNT"/d/file*; do
		echo "content of ${i##* }"
	done | sha256sum)" ]] || fail "contents differ"
	(($(find "$MNT/d" -maxdepth 1 -name 'file*' | wc -l) == 300)) || fail "files are lost"
	echo new >"$MNT/d/new"
	pool_finish
}

case_part_header() {
	pool_make 64M 32M
	pool_mount
	fill
	manifest "$MNT" "$MT_CASE/before" --loose
	pool_umount
	head -c 4096 /dev/urandom | dd of="$DATA" conv=notrunc status=none
	expect_fail 1 'fsck --repair' -- pinfs mount "$META" "$MNT"
	fsck_status 1 --repair
	pool_mount
	manifest "$MNT" "$MT_CASE/after" --loose
	same "$MT_CASE/before" "$MT_CASE/after"
	pool_finish
}

# What a crash left is tidied up as by a mount; a mounted pool is left alone.
case_orphans() {
	local before
	pool_make 64M 32M
	pool_mount
	before=$(statfs_of bfree)
	expect_fail 8 'use|mounted' -- pinfs fsck --repair "$META"
	head -c 3000000 /dev/urandom >"$MNT/file"
	exec 7<"$MNT/file"
	rm "$MNT/file"
	pool_kill
	exec 7<&-
	fsck_status 1 --repair
	fsck_status 0 --repair
	pool_mount
	[[ $(statfs_of bfree) == "$before" ]] || fail "$(statfs_of bfree) blocks free, not $before"
	pool_finish
}

case_refused() {
	pool_make 64M 32M
	py damage "$META" names 0 # the tool itself changes nothing then
	pool_fsck
	dd if=/dev/zero of="$META" bs=4096 count=2 conv=notrunc status=none
	fsck_status 4 --repair
	grep -q -- --rescue "$MT_CASE/fsck" || fail "no advice: $(cat "$MT_CASE/fsck")"
	expect_fail 2 'exit|usage|argument' -- pinfs fsck --repair
}

run_case "$@"
