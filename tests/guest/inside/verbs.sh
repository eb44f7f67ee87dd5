#!/bin/bash
# pinfs-rdma over verbs, by software RDMA, into a file on devdax.
set -- devdax
. "$(dirname "${BASH_SOURCE[0]}")/pool.sh"

install -t /run/bin /run/host/pinfs-rdma*
PATH=/run/bin:$PATH
software_rdma
"$PINFS" mount -o break_timeout=60 "$META" $MNT
cd /run
(umask 077 && echo 'a secret of the guest, and of nobody else' >secret)
: >$MNT/file
head -c 20000001 /dev/urandom >source
mkfifo ready
pinfs-rdma-serve --secret secret --provider verbs --lease 60 --listen "$RDMA_ADDRESS" --write $MNT/file >ready &
server=$!
read -r _ <ready
for _ in 1 2; do # into blocks that are made for it, and into those that are there
	timeout 300 pinfs-rdma put --secret secret "$RDMA_ADDRESS" file source
	cmp source $MNT/file
done
timeout 300 pinfs-rdma get --secret secret "$RDMA_ADDRESS" file got
cmp source got
# A truncate ends a peer's access.
mkfifo lines committed
timeout 300 pinfs-rdma stream --secret secret "$RDMA_ADDRESS" file <lines >committed 2>said &
peer=$!
exec 3>lines 4<committed
echo line >&3
until [[ ${answer:-} == 'committed 5' ]]; do
	read -r answer <&4 || fail "the peer has ended: $(cat said)"
done
"$PINFS" pins $MNT
truncate -s 2 $MNT/file
status=0
wait $peer || status=$?
cat said
[[ $status == 1 ]] && grep -q recalled said
[[ $(cat $MNT/file) == li ]]
kill $server
wait $server
umount $MNT
"$PINFS" fsck "$META"
