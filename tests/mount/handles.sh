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

run_case "$@"
