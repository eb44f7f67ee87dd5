#!/bin/bash
# In a new system: installs the packages, uses them as their manual says, and purges them.
set -eux
export DEBIAN_FRONTEND=noninteractive

apt-get update -q
apt-get install -qy --no-install-recommends /deb/*.deb mount
pinfs --version
mkdir -p /srv/pool /mnt/pin
mkfs.pinfs --meta-size 16M --data /srv/pool/data:64M /srv/pool/meta
echo '/srv/pool/meta  /mnt/pin  fuse.pinfs  defaults  0 0' >>/etc/fstab
mount /mnt/pin
echo hello >/mnt/pin/file
cp -r /usr/share/doc/pinfs /mnt/pin/doc
pinfs stat /mnt/pin
pinfs pin --write /mnt/pin/file
umount /mnt/pin
fsck.pinfs /srv/pool/meta
mount /mnt/pin
test "$(cat /mnt/pin/file)" = hello
umount /mnt/pin
mount -t fuse.pinfs -o ro /srv/pool/meta /mnt/pin
diff -r /usr/share/doc/pinfs /mnt/pin/doc
umount /mnt/pin
pinfs-rdma-serve --version
apt-get purge -qy pinfs libpinfs1 libpinfs-dev pinfs-rdma libpinfs-rdma1 libpinfs-rdma-dev
# The pool is its owner's: it stays.
test -s /srv/pool/meta
left=$(find / -xdev -iname '*pinfs*' -not -path '/deb/*' -not -path '/var/log/*' -not -path '/proc/*')
test -z "$left"
