#!/bin/bash
# `pinfs fsck --rescue`: what is not hit comes out equal, what is hit is named, and nobody gets another's data.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

SOURCE=$MT_CASE/source
OUT=$MT_CASE/out

# A pool with a tree of everything, unmounted; the tree's copy is in $SOURCE.
make_damageable() {
	pool_make 64M 16M
	pool_mount
	py rescue tree "$MNT"
	cp -a "$MNT" "$SOURCE"
	pool_umount
	pool_fsck
	cp --sparse=always "$META" "$META.sound"
}

# Copies out what is left of the pool, with the exit status STATUS, and compares.
rescue() { # STATUS [OPTION...]
	local want=$1 got=0
	shift
	rm -rf --one-file-system "$OUT"
	timeout 60 pinfs fsck --rescue "$@" "$META" "$OUT" >"$MT_CASE/said" 2>"$MT_CASE/errors" || got=$?
	[[ $got =~ ^($want)$ ]] || fail "exit status $got, not $want: $(tail -n 5 "$MT_CASE/said" "$MT_CASE/errors")"
	[[ ! -s $MT_CASE/errors ]] || fail "it says $(cat "$MT_CASE/errors")"
	py rescue verify "$SOURCE" "$OUT" "$MT_CASE/said" | tee "$MT_CASE/verified"
}

# All but what `verify` counts as equal is nothing.
all_equal() {
	grep -q ' 0 damaged, 0 missing, 0 lost+found' "$MT_CASE/verified" ||
		fail "not all came out: $(cat "$MT_CASE/verified" "$MT_CASE/said")"
}

damage() { # WHAT SEED
	cp --sparse=always "$META.sound" "$META"
	py rescue damage "$META" "$@"
}

case_sound() {
	make_damageable
	rescue 0
	all_equal
	cmp "$META" "$META.sound"
}

# What libpmemobj does not survive, and ours does.
case_heap() {
	make_damageable
	damage heap 1
	expect_fail '1|4|8|32' 'fsck --rescue' -- pinfs mount "$META" "$MNT"
	rescue 0
	all_equal
	local what
	for what in super super0 lanes; do
		damage $what 1
		expect_fail '1|4|8|32' 'fsck --rescue' -- pinfs mount "$META" "$MNT"
		rescue 4
		all_equal
	done
	# And all of it at once.
	py rescue damage "$META" heap 2
	py rescue damage "$META" super 3
	rescue 4
	all_equal
}

# Each group's header, and with it, what tells inodes from names.
case_headers() {
	make_damageable
	local i count
	count=$(py rescue groups "$META")
	for ((i = 0; i < count; i += i < 6 ? 1 : 7)); do
		damage header $i
		rescue 4
		all_equal
		py rescue damage "$META" super $i
		rescue 4
		all_equal
	done
}

case_pages() {
	make_damageable
	local i
	for ((i = 0; i < (MT_FULL ? 400 : 40); i++)); do
		damage page $i
		rescue '0|4'
	done
}

run_case "$@"
