#!/bin/bash
# mount(8), fstab lines and the helper that they call.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

HELPER=/sbin/mount.fuse.pinfs

# mount(8) looks for helpers in /sbin only; this one is removed whatever happens, unless one was installed before.
with_helper() {
	[[ ! -e $HELPER && ! -L $HELPER ]] || skip "$HELPER is installed: this would test that one"
	trap 'rm -f "$HELPER"' EXIT
	trap 'exit 143' TERM
	ln -s "$MT_SCRATCH/bin/mount.fuse.pinfs" "$HELPER"
}

case_mount_type() {
	with_helper
	pool_make 32M 16M
	mount -t fuse.pinfs "$META" "$MNT"
	DAEMON=$(daemon_of "$MNT")
	[[ $(findmnt -no FSTYPE "$MNT") == fuse.pinfs ]] || fail "type $(findmnt -no FSTYPE "$MNT")"
	[[ $(findmnt -no SOURCE "$MNT") == "$META" ]] || fail "source $(findmnt -no SOURCE "$MNT")"
	echo through mount >"$MNT/file"
	pool_umount
	mount -t fuse.pinfs -o ro,noatime,cache=none "$META" "$MNT"
	DAEMON=$(daemon_of "$MNT")
	grep -q 'through mount' "$MNT/file"
	! touch "$MNT/file" 2>/dev/null || fail "-o ro mounts read-write"
	[[ ,$(findmnt -no OPTIONS "$MNT"), == *,ro,* ]]
	pool_finish
	! mount -t fuse.pinfs "$MT_CASE/none" "$MNT" 2>"$MT_CASE/stderr" || fail "mount of what does not exist succeeds"
	grep -qF "$MT_CASE/none" "$MT_CASE/stderr"
}

case_fstab() {
	with_helper
	pool_make 32M 16M
	printf '%s %s fuse.pinfs defaults,noauto,nofail,noatime,x-test=1 0 0\n' "$META" "$MNT" >"$MT_CASE/fstab"
	mount -T "$MT_CASE/fstab" "$MNT"
	DAEMON=$(daemon_of "$MNT")
	echo fstab >"$MNT/file"
	pool_umount
	pool_fsck
	mount -T "$MT_CASE/fstab" "$META"
	DAEMON=$(daemon_of "$MNT")
	grep -q fstab "$MNT/file"
	pool_finish
	# fake: everything but the mount
	mount -f -T "$MT_CASE/fstab" "$MNT"
	! is_mounted "$MNT" || fail "mount -f mounts"
	fsck.pinfs -a "$META"
}

run_case "$@"
