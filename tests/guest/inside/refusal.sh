#!/bin/bash
# Registers a file on ext4 with DAX, and a pinned file of pinfs on devdax, with an RDMA device.
set -- devdax
. "$(dirname "${BASH_SOURCE[0]}")/pool.sh"

software_rdma
"$PINFS" mount -o break_timeout=60 "$META" $MNT
"$PYTHON" "$(dirname "${BASH_SOURCE[0]}")/refusal.py" "$FSDAX" $MNT
umount $MNT
