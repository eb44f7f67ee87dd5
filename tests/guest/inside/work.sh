#!/bin/bash
# work.sh MODE: writers at work until the machine is reset.
. "$(dirname "${BASH_SOURCE[0]}")/pool.sh"

"$PINFS" mount "$META" $MNT
echo 1 >/proc/sys/kernel/sysrq
echo "cutting the power"
"$PYTHON" "$MT_ROOT/tests/mount/lib/crash.py" round $MNT /run/host/log reset "$2"
