#!/bin/bash
# Media errors that the kernel knows before pinfs does: of a disk by its list in /sys, of an NVDIMM's region by a machine
# check that is made up. The memory itself works: nothing but the lists can tell.
. "$(dirname "${BASH_SOURCE[0]}")/guest.sh"

persistent_memory
fsdax ext4
mkdir -p /run/m
META=$FSDAX/meta

# Where a file's first byte is on its disk, or what of a file's pin is in its part: bytes.
place_of() { # FILE
	filefrag -b1 -v "$1" | sed -n 's/^ *0: *0\.\. *[0-9]*: *\([0-9]*\)\.\..*/\1/p'
}

# Mounts in the foreground: messages go to a file. Ends with the mount.
serve() {
	: >/run/messages
	"$PINFS" mount -f "$META" /run/m 2>/run/messages &
	local tries=0
	until mountpoint -q /run/m; do
		((++tries < 600)) || fail "not mounted: $(cat /run/messages)"
		sleep 0.1
	done
}

leave() {
	umount /run/m
	wait
	cat /run/messages
	"$PINFS" fsck "$META"
}

lost() { # BLOCKS
	"$PINFS" stat --json /run/m >/run/stat
	grep -q "\"lost_blocks\": $1" /run/stat || fail "pinfs stat: not $1 blocks are lost"
}

write_files() {
	head -c 1M /dev/zero | tr '\0' a >/run/m/one
	head -c 1M /dev/zero | tr '\0' b >/run/m/two
	sync /run/m/one /run/m/two
}

# one has lost its third block, and nothing else has: but a block of nobody, which nobody gets.
only_that() {
	serve
	grep -q 'are reported lost' /run/messages || fail "nothing is reported: $(cat /run/messages)"
	lost 2
	cmp <(head -c 1M /dev/zero | tr '\0' b) /run/m/two
	cmp <(head -c 8K /dev/zero | tr '\0' a) <(head -c 8K /run/m/one)
	if dd if=/run/m/one of=/dev/null bs=4K skip=2 count=1 iflag=direct 2>/run/said; then
		fail "a lost block can be read"
	fi
	grep -q 'Input/output error' /run/said
	cmp <(head -c 4K /dev/zero | tr '\0' a) <(dd if=/run/m/one bs=4K skip=3 count=1 status=none)
	head -c 4K /dev/zero | tr '\0' c | dd of=/run/m/one bs=4K seek=2 conv=notrunc status=none
	[[ $(dd if=/run/m/one bs=4K skip=2 count=1 status=none | tr -d c | wc -c) == 0 ]] || fail "overwriting did not help"
	lost 2
	leave
}

# What a pin of it says: its place in the part.
part_offset_of() { # FILE OFFSET
	"$PYTHON" "$MT_ROOT/tests/guest/inside/part_offset.py" "$LIBPINFS" "$1" "$2"
}

# The command succeeds, and says that.
warned() { # PATTERN -- COMMAND...
	"${@:3}" >/run/said 2>&1
	cat /run/said
	grep -q "$1" /run/said || fail "no warning of '$1'"
}

# ---- fsdax: the list of the disk ----
disk=/sys/class/block/${PMEM#/dev/}/badblocks
"$PINFS" mkfs --meta-size 32M --data "$FSDAX/data:64M" "$META"
serve
lost 0
write_files
at=$(part_offset_of /run/m/one 8192)
leave
start=$(place_of "$FSDAX/data")
echo "$(((start + at) / 512)) 1" >"$disk"
echo "$(((start + (60 << 20)) / 512)) 8" >"$disk"
cat "$disk"
only_that
fallocate -l 32M "$FSDAX/bad"
echo "$((($(place_of "$FSDAX/bad") + (1 << 20)) / 512)) 1" >"$disk"
refused 'bad: has media errors .512 bytes, the first at 1048576., and a meta part' -- \
	"$PINFS" mkfs --force --data "$FSDAX/data2:64M" "$FSDAX/bad"
warned 'bad: has media errors: 512 B are lost' -- \
	"$PINFS" mkfs --force --data "$FSDAX/bad" --meta-size 16M "/run/meta2"
rm -f "$META" "$FSDAX/data" "$FSDAX/bad"

# ---- devdax: the list of the region. The meta part elsewhere: this disk has bad blocks, and a new file may get them ----
META=/run/meta
modprobe mce_inject
mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
region=/sys/bus/nd/devices/$(region_of 2)

# As the processor reports an uncorrected error of memory (AMD: bank 4, extended code 8; Intel: a memory hierarchy code).
machine_check() { # ADDRESS
	local inject=/sys/kernel/debug/mce-inject bank=4 status=0xb400000000080000 before tries=0
	before=$(cat "$region/badblocks")
	! grep -q GenuineIntel /proc/cpuinfo || bank=1 status=0xbc00000000000080
	echo sw >$inject/flags
	echo 0x8c >$inject/misc
	echo $status >$inject/status
	printf '%#x\n' "$1" >$inject/addr
	echo $bank >$inject/bank
	until [[ $(cat "$region/badblocks") != "$before" ]]; do
		((++tries < 100)) || fail "the kernel has not noted the error: $(dmesg | tail -n 5)"
		sleep 0.1
	done
}

address=$(($(cat "/sys/bus/dax/devices/${DAX#/dev/}/resource")))
"$PINFS" mkfs --force --meta-size 32M --data "$DAX" "$META"
serve
lost 0
write_files
at=$(part_offset_of /run/m/one 8192)
leave
machine_check $((address + at))
machine_check $((address + (600 << 20)))
ndctl list -M -N
only_that
rm "$META"
warned "$DAX: has media errors: [0-9.]* KiB are lost" -- "$PINFS" mkfs --force --meta-size 32M --data "$DAX" "$META"
refused "$DAX: has media errors .[0-9]+ bytes, the first at [0-9]+., and a meta part" -- "$PINFS" mkfs --force --data "$FSDAX/data:64M" "$DAX"
machine_check "$address"
refused "$DAX: has media errors .*, the first at 0., and the headers" -- \
	"$PINFS" mkfs --force --meta-size 32M --data "$DAX" "$META"
