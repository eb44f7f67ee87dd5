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
	many=$(stat -c %i "$MNT/many") more=$(stat -c %i "$MNT/a/more") few=$(stat -c %i "$MNT/a/few")
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
	for ((i = 0; i < count; i += i < 3 ? 1 : 13)); do
		damage header $i
		rescue 4
		all_equal
		py rescue damage "$META" super $i
		rescue 4
		all_equal
	done
}

# Nodes and names that are there without what led to them.
case_orphans() {
	make_damageable
	damage inner "$more"
	rescue 0
	all_equal
	damage names "$many"
	rescue 4
	all_equal
	grep -q '/many: some of the names' "$MT_CASE/said" || fail "names are doubtful, and nothing says so"
	# The directory itself: its names are in lost+found.
	damage wipe "$many"
	rescue 4
	[[ $(ls "$OUT/lost+found/#$many" | wc -l) == 600 ]] || fail "only $(ls "$OUT/lost+found/#$many" | wc -l) names of 600"
}

# Files whose inode is damaged, but that an entry still names.
case_slots() {
	make_damageable
	local what ino name
	for what in slot/more slot/few wipe/more; do
		name=${what#*/}
		ino=${!name}
		damage "${what%/*}" "$ino"
		rescue 4
		grep -q " 1 missing, 2 lost+found" "$MT_CASE/verified" || fail "more is lost than one file"
		cmp -n "$(stat -c %s "$OUT/lost+found/#$ino")" "$OUT/lost+found/#$ino" "$SOURCE/a/$name"
		[[ $(stat -c %a "$OUT/lost+found/#$ino") == 600 ]] || fail "a salvaged file may be read by others"
	done
	damage wipe "$few"
	rescue 4
	[[ ! -e $OUT/lost+found ]] || fail "something is made of nothing"
}

case_pages() {
	make_damageable
	local i j
	for ((i = 0; i < (MT_FULL ? 400 : 15); i++)); do
		damage page $i
		rescue 4 --data "$DATA"
	done
	# Several at once.
	for ((i = 0; i < (MT_FULL ? 100 : 5); i++)); do
		cp --sparse=always "$META.sound" "$META"
		for ((j = 0; j < 8; j++)); do py rescue damage "$META" page $((1000 + 8 * i + j)); done
		rescue 4 --data "$DATA"
	done
}

run_case "$@"
