# shellcheck shell=bash
# A pool on a kind of memory, made at the first boot, mounted on $MNT. Set before: $1, devdax, ext4 or xfs.
. "$(dirname "${BASH_SOURCE[0]}")/guest.sh"

MNT=/run/mnt
mkdir -p $MNT
persistent_memory
case $1 in
devdax)
	fsdax ext4
	DATA=$DAX
	;;
*)
	fsdax "$1"
	DATA=$FSDAX/data:256M
	;;
esac
META=$FSDAX/meta
[[ -e $META ]] || "$PINFS" mkfs --force --meta-size 32M --data "$DATA" "$META"
