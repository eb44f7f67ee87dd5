#!/bin/bash
# Parts on each kind of persistent memory, and what `pinfs stat` says of them: CPU flushes, MAP_SYNC, alignment.
. "$(dirname "${BASH_SOURCE[0]}")/guest.sh"

# What must be there again after it was unmounted.
fill() {
	cp -a "$MT_ROOT/src" /run/m/
	setfattr -n user.kind -v "$1" /run/m/src
}

compare() {
	diff -r "$MT_ROOT/src" /run/m/src
	[[ $(getfattr --only-values -n user.kind /run/m/src) == "$1" ]]
}

stat_has() { # TEXT
	"$PINFS" stat --json /run/m | tee /tmp/stat
	grep -q "$1" /tmp/stat || fail "pinfs stat does not say $1"
}

fsck_is() { # STATUS OPTION... META
	local want=$1 got=0
	shift
	"$PINFS" fsck "$@" || got=$?
	((got == want)) || fail "pinfs fsck $*: exit status $got, not $want"
}

# The first block of a part becomes zeros, by a mapping: write(2) does not reach a devdax node.
wipe_header() { # PART
	python3 -c '
import mmap, sys
with open(sys.argv[1], "r+b") as part, mmap.mmap(part.fileno(), 2 << 20) as piece:
    piece[:4096] = bytes(4096)' "$1"
}

# Without its header: rescued as it is, and mended by the copy in the last block.
mend() { # NAME META PART
	wipe_header "$3"
	fsck_is 4 "$2"
	"$PINFS" fsck --rescue --data "$3" "$2" "$FSDAX/out"
	diff -r "$MT_ROOT/src" "$FSDAX/out/src"
	[[ $(getfattr --only-values -n user.kind "$FSDAX/out/src") == "$1" ]]
	rm -r "$FSDAX/out"
	# Of a device there is no private copy to try it on.
	fsck_is "$([[ -c $2 ]] && echo 8 || echo 4)" --repair -n "$2"
	fsck_is 1 --repair "$2"
	fsck_is 0 --repair "$2"
}

try() { # NAME META DATA
	mkdir -p /run/m
	"$PINFS" mkfs --force --data "$3" "$2"
	"$PINFS" mount "$2" /run/m
	stat_has "\"durability\": \"$DURABILITY\""
	fill "$1"
	umount /run/m
	fsck_is 0 "$2"
	# Of files tests/mount shows it.
	[[ $1 == fsdax ]] || mend "$1" "$2" "${3%%:*}"
	"$PINFS" mount "$2" /run/m
	compare "$1"
	umount /run/m
	fsck_is 0 "$2"
}

DURABILITY=$1
persistent_memory
fsdax ext4
try devdax "$FSDAX/meta" "$DAX"
rm "$FSDAX/meta"
try fsdax "$FSDAX/meta" "$FSDAX/data:128M"
rm "$FSDAX/meta" "$FSDAX/data"
try metadax "$DAX" "$FSDAX/data:128M"
