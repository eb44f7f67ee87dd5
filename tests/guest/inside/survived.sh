#!/bin/bash
# survived.sh MODE: at the next boot, what work.sh's writers were told is there.
. "$(dirname "${BASH_SOURCE[0]}")/pool.sh"

"$PINFS" fsck "$META"
"$PINFS" mount "$META" $MNT
"$PYTHON" "$MT_ROOT/tests/mount/lib/crash.py" verify $MNT /run/host/log
cat /run/host/log.* | wc -l >/run/host/steps
umount $MNT
"$PINFS" fsck "$META"
