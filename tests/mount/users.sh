#!/bin/bash
# An unprivileged user's pool and mount, through fusermount3.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

USER_ID=65534

as_user() {
	setpriv --reuid=$USER_ID --regid=$USER_ID --clear-groups -- "$@"
}

# /dev/fuse is open to everyone where udev has made it; elsewhere a copy of it is, in a mount namespace of our own.
open_device() {
	as_user test -r /dev/fuse -a -w /dev/fuse && return
	mknod "$MT_CASE/fuse" c "$((0x$(stat -c %t /dev/fuse)))" "$((0x$(stat -c %T /dev/fuse)))"
	chmod 666 "$MT_CASE/fuse"
	exec 3<>"$MT_CASE/fuse" || skip "/dev/fuse is not for users, and device files do not work in $MT_CASE"
	exec 3>&-
	mount --bind "$MT_CASE/fuse" /dev/fuse
}

case_own_pool() {
	need fusermount3 setpriv unshare
	[[ -u $(readlink -f "$(command -v fusermount3)") ]] || skip "fusermount3 is not set-user-ID root"
	if [[ -z ${INSIDE:-} ]]; then
		unshare --mount --propagation private true || skip "no mount namespace of our own can be had (in a chroot?)"
		INSIDE=1 unshare --mount --propagation private bash "$0" --case own_pool
		return
	fi
	open_device
	mkdir "$MT_CASE/pool" "$MNT"
	chown $USER_ID:$USER_ID "$MT_CASE/pool" "$MNT" "$MT_CASE"
	as_user pinfs mkfs --meta-size 16M --data "$DATA:32M" "$META"
	as_user pinfs mount "$META" "$MNT"
	DAEMON=$(daemon_of "$MNT")
	[[ $(awk '/^Uid:/ { print $2, $3 }' "/proc/$DAEMON/status") == "$USER_ID $USER_ID" ]] || fail "the daemon has another user"
	grep -qF " $MNT " /proc/self/mountinfo
	as_user cp -r "$MT_LIB" "$MNT/copy"
	as_user diff -r "$MT_LIB" "$MNT/copy"
	[[ $(as_user stat -c %u "$MNT/copy") == "$USER_ID" ]]
	as_user pinfs stat "$MNT"
	! ls "$MNT" 2>/dev/null || fail "root sees a user's mount without allow_other"
	as_user fusermount3 -u "$MNT"
	wait_exit "$DAEMON"
	as_user pinfs fsck "$META"
	as_user pinfs mount "$META" "$MNT"
	DAEMON=$(daemon_of "$MNT")
	as_user diff -r "$MT_LIB" "$MNT/copy"
	as_user fusermount3 -u "$MNT"
	wait_exit "$DAEMON"
}

run_case "$@"
