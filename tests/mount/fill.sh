#!/bin/bash
# Full parts: ENOSPC where it must come, deleting works, and every byte is back afterwards.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

case_data() {
	pool_make 64M
	pool_mount
	py fill data "$MNT" 20
	pool_cycle
	pool_finish
}

case_data_writeback() {
	pool_make 64M
	pool_mount cache=writeback
	py fill data "$MNT" 3
	pool_finish
}

case_meta() {
	pool_make 64M 16M
	pool_mount
	py fill meta "$MNT" | tee "$MT_CASE/said"
	note "$(tail -n 1 "$MT_CASE/said")"
	pool_cycle
	pool_finish
}

# What is full stays whole through a crash.
case_killed_when_full() {
	pool_make 32M 16M
	pool_mount
	mkdir "$MNT/d"
	! dd if=/dev/urandom of="$MNT/data" bs=64k 2>"$MT_CASE/dd" || fail "dd did not fill the data part"
	grep -q 'No space left' "$MT_CASE/dd"
	sync "$MNT/data"
	sha256sum "$MNT/data" >"$MT_CASE/sum"
	! seq -f "$MNT/d/%.0f" 1000000 | xargs sh -c 'touch "$@" || exit 255' touch 2>"$MT_CASE/touch" || fail "touch did not fill the meta part"
	grep -q 'No space left' "$MT_CASE/touch"
	pool_kill
	pool_fsck
	pool_mount
	sha256sum -c "$MT_CASE/sum"
	rm -rf "$MNT/d" "$MNT/data"
	echo again >"$MNT/again"
	pool_cycle
	pool_finish
}

run_case "$@"
