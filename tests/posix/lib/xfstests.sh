#!/bin/bash
# The inside of tests/posix/xfstests.sh: xfstests.sh SCRATCH [ARGUMENT OF check...], in namespaces of its own.
set -uo pipefail

lib=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) || exit 1
scratch=$1
shift
size=$((4 << 30)) # bytes of a pool's data, and of a device; sparse
export FSTYP=fuse TEST_DIR=$scratch/mnt/test SCRATCH_MNT=$scratch/mnt/scratch
export RESULT_BASE=$XFSTESTS_RESULTS LOGGER_PROG=true HOST_OPTIONS=$scratch/local.config
export TMPDIR=/media # ours is mounted there: tests have ideas about a path's dots
export FSTESTS_ISOL=privatens # some tests need to know
# The suite wants some option: this one changes nothing.
export FUSE_MOUNT_OPTIONS=-oallow_other${XFSTESTS_OPTIONS:+,$XFSTESTS_OPTIONS}
export TEST_FS_MOUNT_OPTS=$FUSE_MOUNT_OPTIONS

die() {
	printf 'xfstests: %s\n' "$*" >&2
	exit 2
}

# The suite shows what it is given as the source of a mount; for pinfs that is the meta part.
set_up_pinfs() {
	export TEST_DEV=$scratch/test.pool SCRATCH_DEV=$scratch/scratch.pool
	export XFSTESTS_MKFS=$lib/xfstests-mkfs XFSTESTS_SIZE=$size
	XFSTESTS_PROGRAM=$(command -v pinfs) || die "no pinfs in PATH"
	export XFSTESTS_PROGRAM
	"$XFSTESTS_MKFS" "$TEST_DEV" "$size" || die "cannot make the pools"
	"$XFSTESTS_MKFS" "$SCRATCH_DEV" "$size" || die "cannot make the pools"
	mount --bind "$lib/mount.fuse.xfstests" /sbin/mount.fuse || die "cannot cover /sbin/mount.fuse"
}

# $device becomes a loop device with an ext4. This process keeps it; it is let go with its last user, whatever ends us.
ext4_device() { # NAME
	truncate -s "$size" "$scratch/$1.img" || die "$scratch: cannot write"
	mkfs.ext4 -q "$scratch/$1.img" || die "no mkfs.ext4"
	device=$(losetup -f --show "$scratch/$1.img") || die "no loop device"
	# shellcheck disable=SC2034 # kept open, not read
	exec {kept}<"$device" || die "$device: cannot open it"
	losetup -d "$device"
}

set_up_ext4() {
	local device
	export FSTYP=ext4 TEST_FS_MOUNT_OPTS=
	ext4_device test
	export TEST_DEV=$device
	ext4_device scratch
	export SCRATCH_DEV=$device
}

set_up_passthrough() {
	local device
	export XFSTESTS_PROGRAM=$XFSTESTS_ON XFSTESTS_BELOW=$scratch/below TEST_DEV=test SCRATCH_DEV=scratch
	ext4_device below
	mkdir "$XFSTESTS_BELOW" || die "$scratch: cannot write"
	mount "$device" "$XFSTESTS_BELOW" || die "cannot mount ext4"
	mkdir "$XFSTESTS_BELOW"/{test,scratch} || die "$XFSTESTS_BELOW: cannot write"
	mount --bind "$lib/mount.fuse.xfstests" /sbin/mount.fuse || die "cannot cover /sbin/mount.fuse"
}

# The suite as it is, but common/rc ends with what it does not know of pinfs, and a test has a limit of time.
make_suite() {
	mkdir "$scratch/suite" || die "$scratch: cannot write"
	ln -s "$XFSTESTS"/* "$scratch/suite/" || die "$XFSTESTS: cannot link it"
	cd "$scratch/suite" || die "$scratch/suite: cannot enter it"
	rm -f common check local.config results
	cp -r "$XFSTESTS/common" common || die "$XFSTESTS/common: cannot copy it"
	cp "$XFSTESTS/check" check || die "$XFSTESTS/check: cannot copy it"
	printf '\n. %q\n' "$lib/xfstests.rc" >>common/rc
	# shellcheck disable=SC2016 # the suite's variable
	sed -i "s|exec \./\$seq|exec timeout -k 20 ${XFSTESTS_LIMIT:-240} ./\$seq|" check
	grep -q 'exec timeout' check || die "$XFSTESTS/check: no place for a limit of time"
	: >"$HOST_OPTIONS"
}

# Tests that cannot pass here, each with its reason.
leave_out() {
	echo "generic/556 # is of sh, and its library of bash"
	[[ ${XFSTESTS_OPTIONS:-} != *cache=none* ]] ||
		echo "generic/346 # threads store to the pages that others write: with cache=none these undo each other in the kernel"
	# CAP_SYS_RESOURCE
	(ulimit -S -n 1024 && ulimit -H -n 1024 && ulimit -n 2048) 2>/dev/null ||
		printf '%s # needs root that may raise limits\n' generic/{394,530,531,564}
	[[ ${XFSTESTS_ON:-pinfs} != pinfs ]] || cat "$lib/xfstests.left-out"
}

((EUID == 0)) || die "not root"
# A namespace has copies of all mounts: of others' FUSE mounts they would keep the daemons from ending.
findmnt -rno TARGET,FSTYPE | awk '$2 ~ /^fuse/ { print $1 }' | tac | xargs -r -d '\n' printf '%b\0' | xargs -r -0 umount -l
umask 022
mkdir -p "$TEST_DIR" "$SCRATCH_MNT" "$scratch/tmp" || die "$scratch: cannot write"
chmod 755 "$scratch" "$scratch/mnt"
chmod 1777 "$scratch/tmp"
mount --bind "$scratch/tmp" "$TMPDIR" || die "cannot cover $TMPDIR"
case ${XFSTESTS_ON:-pinfs} in
pinfs) set_up_pinfs ;;
ext4) set_up_ext4 ;;
*) set_up_passthrough ;;
esac
make_suite
(($#)) || set -- -g generic/auto -g generic/quick
mount -t "$FSTYP" ${TEST_FS_MOUNT_OPTS:+"$TEST_FS_MOUNT_OPTS"} "$TEST_DEV" "$TEST_DIR" || die "$TEST_DEV: cannot mount it"
leave_out >"$scratch/left-out"
./check -E "$scratch/left-out" "$@" </dev/null 2>&1 | tee "$scratch/log"
for folder in "$SCRATCH_MNT" "$TEST_DIR" "$scratch/below"; do
	! mountpoint -q "$folder" || umount "$folder"
done
