#!/bin/bash
# suite.sh MODE TEST...: tests of tests/mount on pools in persistent memory. MODE: devdax (data part; the meta part on fsdax),
# ext4 or xfs (both on fsdax).
. "$(dirname "${BASH_SOURCE[0]}")/guest.sh"

mode=$1
shift
persistent_memory
case $mode in
devdax)
	fsdax ext4
	export MT_DATA=$DAX
	;;
*) fsdax "$mode" ;;
esac
MT_BASE=$FSDAX exec "$MT_ROOT/tests/mount/run" "$@"
