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

try() { # NAME META DATA
	mkdir -p /run/m
	"$PINFS" mkfs --force --data "$3" "$2"
	"$PINFS" mount "$2" /run/m
	stat_has "\"durability\": \"$DURABILITY\""
	fill "$1"
	umount /run/m
	"$PINFS" fsck "$2"
	"$PINFS" mount "$2" /run/m
	compare "$1"
	umount /run/m
	"$PINFS" fsck "$2"
}

DURABILITY=$1
persistent_memory
fsdax ext4
try devdax "$FSDAX/meta" "$DAX"
rm "$FSDAX/meta"
try fsdax "$FSDAX/meta" "$FSDAX/data:128M"
rm "$FSDAX/meta" "$FSDAX/data"
try metadax "$DAX" "$FSDAX/data:128M"
