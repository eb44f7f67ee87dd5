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
	timeout 300 pinfs fsck --rescue "$@" "$META" "$OUT" >"$MT_CASE/said" 2>"$MT_CASE/errors" || got=$?
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
	local left
	left=$(find "$OUT/lost+found/#$many" -type f | wc -l)
	((left == 600)) || fail "only $left names of 600"
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

# The data part: elsewhere, unknown, cut off, without its headers, away.
case_parts() {
	make_damageable
	mv "$DATA" "$DATA.moved"
	rescue 4
	grep -q 'data part 0: .*/data: No such file' "$MT_CASE/said" || fail "the missing part is not named"
	grep -qE '/(a/big|a/b/linked|third): bytes 0 to 2500002 are left out: their data part is not there' "$MT_CASE/said" ||
		fail "what is lost is not named"
	rescue 0 --data "$DATA.moved"
	all_equal
	# The list of parts is an xattr of inode 2.
	py rescue damage "$META" wipe 2
	expect_fail 8 'name each with --data' -- pinfs fsck --rescue "$META" "$MT_CASE/new"
	[[ ! -e $MT_CASE/new ]] || fail "a refusal makes a folder"
	rescue 4 --data "$DATA.moved"
	all_equal
	cp --sparse=always "$META.sound" "$META"
	expect_fail 8 'does not say that it is one' -- pinfs fsck --rescue --data "$META" "$META" "$MT_CASE/new"
	# The copy of the header at its end serves as well.
	mv "$DATA.moved" "$DATA"
	cp --sparse=always "$DATA" "$DATA.sound"
	dd if=/dev/urandom of="$DATA" bs=4096 count=1 conv=notrunc status=none
	rescue 0
	all_equal
	rescue 0 --data "$DATA"
	dd if=/dev/urandom of="$DATA" bs=4096 seek=$((64 * 256 - 1)) count=1 conv=notrunc status=none
	rescue 4
	all_equal
	cp --sparse=always "$DATA.sound" "$DATA"
	truncate -s 3000000 "$DATA"
	rescue 4
	grep -q ' 0 missing, 0 lost+found' "$MT_CASE/verified" || fail "names are lost with data"
	grep -q 'has only 732 of its 16384 blocks' "$MT_CASE/said" || fail "it does not say that the part is cut off"
}

# The meta part ends early.
case_cut() {
	make_damageable
	local size
	for size in 12M 6999999; do
		cp --sparse=always "$META.sound" "$META"
		truncate -s $size "$META"
		rescue '4' --data "$DATA"
	done
	truncate -s 3M "$META"
	expect_fail 8 'nothing of a pinfs pool' -- pinfs fsck --rescue "$META" "$MT_CASE/new"
	truncate -s 0 "$META"
	expect_fail 8 'empty' -- pinfs fsck --rescue "$META" "$MT_CASE/new"
}

case_target() {
	make_damageable
	mkdir "$OUT"
	touch "$OUT/file"
	expect_fail 8 'not empty' -- pinfs fsck --rescue "$META" "$OUT"
	expect_fail 8 'Not a directory' -- pinfs fsck --rescue "$META" "$OUT/file"
	rm "$OUT/file"
	mount -t tmpfs -o size=2M tmpfs "$OUT"
	! pinfs fsck --rescue "$META" "$OUT" >"$MT_CASE/said" 2>"$MT_CASE/errors" || fail "2 MiB are enough"
	cat "$MT_CASE/said" "$MT_CASE/errors"
	grep -q 'No space left.*begin again' "$MT_CASE/errors" || fail "it does not say what to do"
	grep -qE ' [1-9][0-9]* files' "$MT_CASE/said" || fail "it does not say how far it got"
	umount "$OUT"
	# In use.
	pool_mount
	expect_fail 8 "in use by process $DAEMON" -- pinfs fsck --rescue "$META" "$MT_CASE/new"
	pool_umount
	# By somebody else: owners and setuid are not kept.
	chmod 755 "$MT_CASE" "$MT_CASE/pool"
	chown 4242:4242 "$META" "$DATA"
	mkdir "$MT_CASE/theirs"
	chown 4242:4242 "$MT_CASE/theirs"
	local got=0
	setpriv --reuid 4242 --regid 4242 --clear-groups pinfs fsck --rescue "$META" "$MT_CASE/theirs/out" \
		>"$MT_CASE/said" || got=$?
	((got == 4)) || fail "status $got"
	grep -q 'owners of .* are not kept' "$MT_CASE/said" || fail "lost owners are not told"
	cmp "$MT_CASE/theirs/out/a/few" "$SOURCE/a/few"
	[[ $(stat -c %a "$MT_CASE/theirs/out/a/few") == 751 ]] || fail "setuid of another's file"
}

# A daemon that is killed leaves transactions open: what is rescued is what the next mount shows.
case_killed() {
	pool_make 64M 16M
	pool_mount
	local i steps
	for ((i = 0; i < (MT_FULL ? 40 : 3); i++)); do
		exec 8< <(stress_a_bit)
		local stress=$!
		# The moment is meant to be any: so many steps of the load, and it goes on.
		read -r -u 8 -N $((100 + RANDOM % 900)) steps || fail "the load ended after ${#steps} steps"
		pool_kill
		exec 8<&-
		kill "$stress" 2>/dev/null || true
		wait "$stress" || true
		rm -rf --one-file-system "$OUT"
		cp --sparse=always "$META" "$META.killed"
		cp --sparse=always "$DATA" "$DATA.killed"
		pinfs fsck --rescue --data "$DATA.killed" "$META.killed" "$OUT"
		pool_mount
		manifest "$MNT" "$MT_CASE/want" --loose
		manifest "$OUT" "$MT_CASE/got" --loose
		same "$MT_CASE/want" "$MT_CASE/got"
	done
	pool_finish
}

# Says a dot for each step.
stress_a_bit() {
	cd "$MNT" || return
	exec "$PYTHON" -c '
import os, random
while True:
    name = f"f{random.randrange(300)}"
    do = random.randrange(6)
    try:
        if do == 0: os.unlink(name)
        elif do == 1: os.rename(name, f"f{random.randrange(300)}")
        elif do == 2: os.setxattr(name, "user.x", os.urandom(random.randrange(900)))
        elif do == 3: os.truncate(name, random.randrange(100000))
        elif do == 4: os.link(name, f"f{random.randrange(300)}")
        else:
            with open(name, "ab") as f: f.write(os.urandom(random.randrange(30000)))
        os.write(1, b".")
    except FileNotFoundError: pass
    except FileExistsError: pass
    except OSError: break' 2>/dev/null
}

case_pages() {
	make_damageable
	local i j
	for ((i = 0; i < (MT_FULL ? 400 : 10); i++)); do
		damage page $i
		# Which page that is differs from pool to pool. Of an inner node nothing is lost: its leaves are found.
		rescue '0|4' --data "$DATA"
		! grep -q ' 0 lines of losses' "$MT_CASE/said" || all_equal
	done
	# Several at once.
	for ((i = 0; i < (MT_FULL ? 100 : 3); i++)); do
		cp --sparse=always "$META.sound" "$META"
		for ((j = 0; j < 8; j++)); do py rescue damage "$META" page $((1000 + 8 * i + j)); done
		rescue 4 --data "$DATA"
	done
}

run_case "$@"
