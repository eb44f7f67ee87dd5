#!/bin/bash
# pinfs mkfs and files that exist: what holds data is refused and stays as it is, what is blank is taken, and a mkfs that
# fails half way leaves everything as it was.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

NEW=$MT_CASE/new

# Zeros, all of it, and as large as before.
is_blank() { # FILE BYTES
	[[ $(stat -c %s "$1") == "$2" ]] || fail "$1 has $(stat -c %s "$1") bytes, not $2"
	cmp -n "$2" "$1" /dev/zero || fail "$1 is not blank any more"
}

only() { # FILE...
	[[ $(ls "$NEW") == "$(printf '%s\n' "$@")" ]] || fail "left in $NEW: $(ls "$NEW")"
}

# Its ends are blank, as of a file system or a disk image: what is in between counts.
case_foreign_data() {
	local at
	mkdir "$NEW"
	for at in 0 511 4096 65536 $(((64 << 20) - 8)); do
		truncate -s 64M "$NEW/image"
		printf precious | dd of="$NEW/image" bs=1 seek="$at" conv=notrunc status=none
		sha256sum "$NEW/image" >"$MT_CASE/sum"
		expect_fail 1 "$NEW/image" '--force' -- pinfs mkfs --meta-size 16M --data "$NEW/image" "$NEW/meta"
		expect_fail 1 "$NEW/image" '--force' -- pinfs mkfs --meta-size 16M --data "$NEW/image:32M" "$NEW/meta"
		expect_fail 1 "$NEW/image" '--force' -- pinfs mkfs --meta-size 16M --data "$NEW/data:32M" "$NEW/image"
		expect_fail 1 "$NEW/image" '--force' -- pinfs mkfs "$NEW/image"
		sha256sum -c "$MT_CASE/sum"
		only image
		rm "$NEW/image"
	done
}

case_blank_files() {
	mkdir "$NEW" "$MNT"
	truncate -s 64M "$NEW/data"
	truncate -s 32M "$NEW/meta"
	pinfs mkfs --data "$NEW/data" "$NEW/meta"
	META=$NEW/meta
	pool_mount
	(($(statfs_of blocks) > (60 << 20) / 4096))
	pool_finish
	[[ $(stat -c %s "$NEW/data") == $((64 << 20)) && $(stat -c %s "$NEW/meta") == $((32 << 20)) ]] || fail "sizes changed"
}

case_no_room() {
	mkdir "$NEW"
	truncate -s 64M "$NEW/data"
	truncate -s 32M "$NEW/meta"
	expect_fail 1 "$NEW/more" 'room|space' -- pinfs mkfs --data "$NEW/data" --data "$NEW/more:1000T" "$NEW/meta"
	only data meta
	is_blank "$NEW/data" $((64 << 20))
	is_blank "$NEW/meta" $((32 << 20))
}

# The third data part cannot be made, when the first is written and the second made.
case_fails_half_way() {
	mkdir "$NEW"
	truncate -s 64M "$NEW/data"
	truncate -s 32M "$NEW/meta"
	expect_fail 1 "$NEW/data3" 'too large' -- bash -c 'ulimit -f 80000 && exec pinfs mkfs "$@"' mkfs \
		--data "$NEW/data" --data "$NEW/data2:60M" --data "$NEW/data3:99M" "$NEW/meta"
	only data meta
	is_blank "$NEW/data" $((64 << 20))
	is_blank "$NEW/meta" $((32 << 20))
	pinfs mkfs --data "$NEW/data" "$NEW/meta"
	pinfs fsck "$NEW/meta"
}

# Several at once take the same blank file: one gets it, and the others leave it alone when they give up.
case_at_once() {
	mkdir "$NEW"
	local round each
	for round in {1..25}; do
		rm -f "$NEW"/*
		truncate -s 32M "$NEW/meta"
		for each in 1 2 3 4; do
			(! pinfs mkfs --quiet --data "$NEW/data$each:16M" "$NEW/meta" || echo "$each" >>"$MT_CASE/won.$round") &
		done
		wait
		[[ $(wc -l <"$MT_CASE/won.$round") == 1 ]] || fail "round $round: not one has the pool"
		only "data$(cat "$MT_CASE/won.$round")" meta
		pinfs fsck "$NEW/meta"
	done
}

# What it holds is named where somebody knows it.
case_signatures() {
	mkdir "$NEW"
	need mkfs.ext4 mkfs.xfs
	local each
	for each in ext4 xfs; do
		truncate -s 320M "$NEW/image"
		case $each in
		ext4) mkfs.ext4 -q "$NEW/image" ;;
		xfs) mkfs.xfs -q "$NEW/image" ;;
		esac
		expect_fail 1 "$NEW/image" "$each.*--force" -- pinfs mkfs --data "$NEW/image" "$NEW/meta"
		only image
		rm "$NEW/image"
	done
	truncate -s 64M "$NEW/image"
	# One partition, Linux, from sector 2048 on.
	printf '\0\40\41\0\203\50\40\10\0\10\0\0\0\370\1\0' | dd of="$NEW/image" bs=1 seek=446 conv=notrunc status=none
	printf '\125\252' | dd of="$NEW/image" bs=1 seek=510 conv=notrunc status=none
	expect_fail 1 "$NEW/image" 'partition table.*--force' -- pinfs mkfs --data "$NEW/image" "$NEW/meta"
	only image
	rm "$NEW/image"
	pinfs mkfs --quiet --meta-size 16M --data "$NEW/data:16M" "$NEW/image"
	expect_fail 1 "$NEW/image" 'a PMDK pool.*--force' -- pinfs mkfs --data "$NEW/more:16M" "$NEW/image"
	expect_fail 1 "$NEW/data" 'a part of a pinfs pool.*--force' -- pinfs mkfs --data "$NEW/data" "$NEW/other"
	only data image
	pinfs fsck "$NEW/image"
}

# A file that somebody has mapped, and who takes no lock, as a virtual machine does: not even --force.
case_mapped() {
	mkdir "$NEW"
	truncate -s 64M "$NEW/data"
	coproc mapper { exec "$PYTHON" -c 'import mmap, sys
with open(sys.argv[1], "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
    print(flush=True)
    sys.stdin.readline()' "$NEW/data"; }
	read -r <&"${mapper[0]}"
	# shellcheck disable=SC2154 # by coproc
	local pid=$mapper_PID
	expect_fail 1 "$NEW/data" "process $pid .*mapped" -- pinfs mkfs --force --data "$NEW/data" "$NEW/meta"
	only data
	echo >&"${mapper[1]}"
	wait_exit "$pid"
	pinfs mkfs --data "$NEW/data" "$NEW/meta"
}

# The file of a loop device; the loop device; and where the file system in it is mounted.
case_loop() {
	local disk
	mkdir "$NEW" "$MNT"
	truncate -s 64M "$NEW/image"
	disk=$(losetup --show -f "$NEW/image") || skip "no loop devices"
	# shellcheck disable=SC2064 # now
	trap "losetup -d $disk" EXIT
	expect_fail 1 "$NEW/image" "is $disk.*losetup -d" -- pinfs mkfs --force --data "$NEW/image" "$NEW/meta"
	expect_fail 1 "$disk" "is a disk" -- pinfs mkfs --force --data "$disk" "$NEW/meta"
	need mkfs.ext4
	mkfs.ext4 -q "$disk"
	mount "$disk" "$MNT"
	expect_fail 1 "$disk" "mounted on $MNT: name a file there" -- pinfs mkfs --force "$disk"
	umount "$MNT"
	only image
}

run_case "$@"
