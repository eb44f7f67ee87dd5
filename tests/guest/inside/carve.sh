#!/bin/bash
# pinfs mkfs on devices as they come: it says what to do, and what it says works. Two regions of 1 GiB, a namespace in each.
. "$(dirname "${BASH_SOURCE[0]}")/guest.sh"

persistent_memory
mkdir -p /run/m

# The commands in the last message, but for those of pinfs: their names are for people to fill in.
follow() {
	local command
	grep -E '^  (ndctl|daxctl) ' /run/said >/run/commands
	while read -r command; do
		eval "$command" </dev/null
	done </run/commands
}

# Devdax nodes in the region of the first one: $BIG, $SMALL.
nodes() {
	local list=/sys/bus/nd/devices/$REGION name
	BIG='' SMALL=''
	for name in $(find "$list/" -path '*/dax*/dax*' -name 'dax*.*' -type d -printf '%f\n' | sort -u); do
		[[ -c /dev/$name && -e /sys/bus/dax/devices/$name ]] || continue
		if (($(cat "/sys/bus/dax/devices/$name/size") > 512 << 20)); then
			BIG=/dev/$name
		else
			SMALL=/dev/$name
		fi
	done
}

# Bytes of a file into a devdax node at an offset that is a multiple of 2 MiB.
into() { # DEVICE OFFSET <FILE
	"$PYTHON" -c '
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
data = sys.stdin.buffer.read()
with mmap.mmap(fd, (len(data) + (2 << 20) - 1) >> 21 << 21, offset=int(sys.argv[2])) as memory:
    memory[:len(data)] = data' "$1" "$2"
}

# ---- One device ----
REGION=$(region_of 2)
refused "$DAX: is one device" "--region=$REGION --mode=devdax --size=128M" -- "$PINFS" mkfs "$DAX"
refused "$DAX: is one device" -- "$PINFS" mkfs --force --data "$DAX" "$DAX"
follow
nodes
[[ -c $BIG && -c $SMALL ]] || fail "not carved: $(ndctl list -N)"
"$PINFS" mkfs --force --data "$BIG" "$SMALL"
"$PINFS" mount "$SMALL" /run/m
echo contents >/run/m/file
"$PINFS" stat /run/m | tee /run/stat
for text in "devdax on ${BIG#/dev/}, namespace" "devdax on ${SMALL#/dev/}, namespace" "$REGION" 'aligned to 2.0 MiB' \
	'persistent from the memory controller on'; do
	grep -q "$text" /run/stat || fail "pinfs stat does not say '$text'"
done
umount /run/m
"$PINFS" fsck "$SMALL"
refused "$BIG: holds a part of a pinfs pool: --force" -- "$PINFS" mkfs --data "$BIG" "$SMALL.not"
refused "$SMALL: holds a PMDK pool" -- "$PINFS" mkfs --data "$BIG" "$SMALL"

# ---- What it holds ----
truncate -s 128M /run/image
mkfs.ext4 -q /run/image
head -c 4M /run/image | into "$SMALL" 0
refused "$SMALL: holds .*ext4.*--force" -- "$PINFS" mkfs --data "$SMALL" /run/meta
head -c 124M /dev/zero | into "$SMALL" 0
printf precious | into "$SMALL" $((64 << 20))
refused "$SMALL: holds data: --force" -- "$PINFS" mkfs --data "$SMALL" /run/meta
head -c 8 /dev/zero | into "$SMALL" $((64 << 20))
"$PINFS" mkfs --meta-size 16M --data "$SMALL" /run/meta

# ---- In use ----
daxctl reconfigure-device --mode=system-ram --no-online "${BIG#/dev/}"
refused "$BIG: is in use: .*system-ram" -- "$PINFS" mkfs --force --data "$BIG" "$SMALL"
refused "$BIG: is in use: .*system-ram" -- "$PINFS" mkfs --force "$BIG"
follow
"$PINFS" mkfs --force --data "$BIG" "$SMALL"
coproc mapper { exec "$PYTHON" -c 'import mmap, os, sys
with mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 2 << 20) as memory:
    print(flush=True)
    sys.stdin.readline()' "$BIG"; }
read -r <&"${mapper[0]}"
# shellcheck disable=SC2154 # by coproc
pid=$mapper_PID
refused "process $pid .*mapped" -- "$PINFS" mkfs --force --data "$BIG" "$SMALL"
echo >&"${mapper[1]}"
wait "$pid"

# ---- Room beside it ----
ndctl destroy-namespace --force "$(ndctl list -N | tr -d '\n' | grep -o '{[^}]*}' | grep "\"${SMALL#/dev/}\"" |
	sed 's/.*"dev":"\([^"]*\)".*/\1/')"
refused 'there is room' -- "$PINFS" mkfs "$BIG"
follow
nodes
"$PINFS" mkfs --force --data "$BIG" "$SMALL"

# ---- Disks, control nodes ----
fsdax ext4
refused "$PMEM: is a disk, mounted on $FSDAX: name a file there" -- "$PINFS" mkfs --force "$PMEM"
umount $FSDAX
refused "$PMEM: is a disk" "mount -o dax $PMEM" '--reconfig=namespace' -- "$PINFS" mkfs --force --data "$BIG" "$PMEM"
refused '/dev/nmem0: is a control node .*labels' -- "$PINFS" mkfs --force --data "$BIG" /dev/nmem0
refused "$PMEM: is a disk" -- "$PINFS" mkfs "$PMEM"
space=$(sed -n 's/.*--reconfig=\(namespace[0-9.]*\) .*/\1/p' /run/said)
ndctl create-namespace --force --reconfig="$space" --mode=raw
PMEM=/dev/$(ndctl list -N -m raw | sed -n 's/.*"blockdev":"\([^"]*\)".*/\1/p' | head -n 1)
refused "$PMEM: .*raw mode" '--mode=devdax' -- "$PINFS" mkfs --force --data "$BIG" "$PMEM"
follow
REGION=$(region_of 1)
nodes
"$PINFS" mkfs --force --data "$BIG" /run/meta2
