#!/bin/bash
# Parts on each kind of persistent memory, and what `pinfs stat` says of them: CPU flushes, MAP_SYNC, alignment.
. "$(dirname "${BASH_SOURCE[0]}")/guest.sh"

# What must be there again after it was unmounted.
fill() {
	cp -a "$MT_ROOT/src/region" /run/m/
	setfattr -n user.kind -v "$1" /run/m/region
}

compare() {
	diff -r "$MT_ROOT/src/region" /run/m/region
	[[ $(getfattr --only-values -n user.kind /run/m/region) == "$1" ]]
}

stat_has() { # TEXT
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
	diff -r "$MT_ROOT/src/region" "$FSDAX/out/region"
	[[ $(getfattr --only-values -n user.kind "$FSDAX/out/region") == "$1" ]]
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
	"$PINFS" stat --json /run/m >/tmp/stat
	"$PINFS" stat /run/m
	stat_has "\"durability\": \"$DURABILITY\""
	stat_has "\"persistence_domain\": \"$DOMAIN\""
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

DURABILITY=$1 DOMAIN=memory_controller
[[ $1 != eADR ]] || DOMAIN=cpu_cache
persistent_memory
fsdax ext4
try devdax "$FSDAX/meta" "$DAX"
rm "$FSDAX/meta"
try fsdax "$FSDAX/meta" "$FSDAX/data:128M"
rm "$FSDAX/meta" "$FSDAX/data"
try metadax "$DAX" "$FSDAX/data:128M"
umount $FSDAX

# Without dax it is the page cache: that is said, and msync does it.
[[ $DURABILITY != eADR ]] || exit 0
rm -f /tmp/warning
mount -t ext4 -o dax=never "$PMEM" $FSDAX
"$PINFS" mkfs --force --meta-size 16M --data "$FSDAX/data:32M" "$FSDAX/meta" 2>/tmp/warning
grep 'waits for msync' /tmp/warning
"$PINFS" mount "$FSDAX/meta" /run/m 2>/tmp/warning
grep 'not on persistent memory: each change waits for msync' /tmp/warning
"$PINFS" stat --json /run/m >/tmp/stat
stat_has '"durability": "msync"'
grep -q '"durability": "cpu-flush"' /tmp/stat && fail "no msync, without dax"
fill msync
compare msync
umount /run/m
"$PINFS" fsck "$FSDAX/meta"
