#!/bin/bash
# The kernel's NFS server exports a pool, and its client works on it: tests/posix/nfs.sh.
. "$(dirname "${BASH_SOURCE[0]}")/guest.sh"

modprobe fuse
modprobe nfsd
modprobe nfs
mkdir -p /run/rpc_pipefs /proc/fs/nfsd /var/lib/nfs/{sm,rpc_pipefs,v4recovery}
mount -t nfsd nfsd /proc/fs/nfsd
mount -t rpc_pipefs rpc_pipefs /var/lib/nfs/rpc_pipefs
: >/var/lib/nfs/etab
: >/var/lib/nfs/rmtab
echo 10 >/proc/fs/nfsd/nfsv4leasetime
echo 10 >/proc/fs/nfsd/nfsv4gracetime
rpc.mountd --manage-gids --no-nfs-version 2 --no-nfs-version 3
rpc.nfsd --no-nfs-version 3 2
# Nobody was a client before.
echo Y >/proc/fs/nfsd/v4_end_grace
MT_BASE=/run "$MT_ROOT/tests/posix/run" --seconds 5 nfs
