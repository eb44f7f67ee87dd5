#!/bin/bash
# suite.sh MODE TEST...: tests of tests/mount on pools in persistent memory. MODE: devdax (data part; the meta part on fsdax),
# ext4 or xfs (both on fsdax).
. "$(dirname "${BASH_SOURCE[0]}")/guest.sh"

mode=$1
shift
persistent_memory
case $mode in
devdax)
	# About as large as the tests would make it: some fill it.
	ndctl destroy-namespace --force all -r "$(region_of 2)"
	ndctl create-namespace --mode=devdax --region="$(region_of 2)" --size=288M
	DAX=/dev/$(ndctl list -N -m devdax | sed -n 's/.*"chardev":"\([^"]*\)".*/\1/p' | head -n 1)
	fsdax ext4
	export MT_DATA=$DAX
	;;
*) fsdax "$mode" ;;
esac
MT_BASE=$FSDAX exec "$MT_ROOT/tests/mount/run" "$@"
