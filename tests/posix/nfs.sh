#!/bin/bash
# SUITE nfs: the mount exported by the kernel's server, and worked on through its client. Debian: nfs-kernel-server
# (--seconds N: of the stress of it; default 30)
# shellcheck source=lib/suite.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/suite.sh"

nfs_can() {
	modprobe nfsd 2>/dev/null || true
	modprobe nfs 2>/dev/null || true
	grep -qw nfsd /proc/filesystems || skip "this kernel has no NFS server (CONFIG_NFSD)"
	grep -qw nfs4 /proc/filesystems || skip "this kernel has no NFS client (CONFIG_NFS_V4)"
	need exportfs mount.nfs4
	[[ -s /proc/fs/nfsd/threads && $(cat /proc/fs/nfsd/threads) != 0 ]] ||
		skip "the NFS server does not run: start nfs-server"
}

# Nothing stays exported, whatever happens.
nfs_end() {
	umount -f "$MT_CASE/nfs" 2>/dev/null || true
	exportfs -u "127.0.0.1:$MNT" 2>/dev/null || true
}

case_kernel() {
	nfs_can
	suite_mount 256M
	trap nfs_end EXIT
	trap 'exit 143' TERM
	exportfs -o rw,no_root_squash,fsid=4711,no_subtree_check "127.0.0.1:$MNT"
	mkdir "$MT_CASE/nfs"
	mount -t nfs4 "127.0.0.1:$MNT" "$MT_CASE/nfs"
	cp -r "$MT_ROOT/src" "$MT_CASE/nfs/copy"
	diff -r "$MT_ROOT/src" "$MT_CASE/nfs/copy"
	diff -r "$MT_ROOT/src" "$MNT/copy"
	# The server's handles outlive its caches, and so do files that are open and gone.
	exec 3<"$MT_CASE/nfs/copy/README.md"
	echo 3 >/proc/sys/vm/drop_caches
	rm "$MT_CASE/nfs/copy/README.md"
	cmp - "$MT_ROOT/src/README.md" <&3
	exec 3<&-
	mkdir "$MT_CASE/nfs/stress"
	stress "$MT_CASE/nfs/stress" 4 "${SUITE_SECONDS:-30}"
	nfs_end
	suite_finish
}

run_suite "$@"
