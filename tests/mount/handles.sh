#!/bin/bash
# File handles: with cold caches, after a remount, of what is gone; and what an NFS server does with them.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

cold() {
	echo 2 >/proc/sys/vm/drop_caches
}

# Before and after the kernel has forgotten all names; after another daemon has taken over; after one was killed.
case_survive() {
	pool_make 32M
	pool_mount
	py handles take "$MNT" "$MT_CASE/handles"
	py handles open "$MNT" "$MT_CASE/handles"
	cold
	py handles open "$MNT" "$MT_CASE/handles"
	pool_umount
	pool_mount cache=none
	py handles open "$MNT" "$MT_CASE/handles"
	pool_kill
	pool_mount
	py handles open "$MNT" "$MT_CASE/handles"
	mv "$MNT/folder/deep" "$MNT/elsewhere"
	mv "$MNT/top" "$MNT/elsewhere/top"
	ln -s elsewhere "$MNT/folder/deep"
	cold
	"$PYTHON" - "$MT_CASE/handles" <<'EOF'
import json, sys
handles = json.load(open(sys.argv[1]))
for name in ('folder', 'folder/deep'):
    del handles[name]
json.dump(handles, open(sys.argv[1], 'w'))
EOF
	py handles open "$MNT" "$MT_CASE/handles"
	pool_finish
}

case_gone() {
	pool_make 64M
	pool_mount
	py handles gone "$MNT"
	pool_finish
}

case_connectable() {
	local status=0
	pool_make 32M
	pool_mount
	py handles connectable "$MNT" || status=$?
	((status != 77)) || skip "no connectable handles: the kernel is older than 6.13"
	((status == 0))
	pool_finish
}

# Through the kernel's NFS server: the mount has no device number of its own, so the export needs an fsid.
case_nfs() {
	grep -qw nfsd /proc/filesystems || modprobe nfsd 2>/dev/null || skip "this kernel has no NFS server (nfsd)"
	need exportfs rpc.nfsd mount.nfs4
	[[ $(cat /proc/fs/nfsd/threads 2>/dev/null || echo 0) == 0 ]] || skip "an NFS server runs here: it is not ours to change"
	pool_make 32M
	pool_mount
	echo served >"$MNT/file"
	trap 'umount -l "$MT_CASE/nfs" 2>/dev/null; exportfs -u "127.0.0.1:$MNT"; rpc.nfsd 0' EXIT
	exportfs -o rw,no_root_squash,insecure,fsid=4711 "127.0.0.1:$MNT"
	rpc.nfsd 2 || skip "the NFS server does not start"
	mkdir "$MT_CASE/nfs"
	mount -t nfs4 "127.0.0.1:$MNT" "$MT_CASE/nfs"
	grep -q served "$MT_CASE/nfs/file"
	echo back >"$MT_CASE/nfs/new"
	cold
	grep -q back "$MNT/new"
	grep -q served "$MT_CASE/nfs/file"
	umount "$MT_CASE/nfs"
	exportfs -u "127.0.0.1:$MNT"
	rpc.nfsd 0
	pool_finish
}

run_case "$@"
