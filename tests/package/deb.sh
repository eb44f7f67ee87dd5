#!/bin/bash
# The packages that tools/package makes: what is in them; and, in a new Debian of its own, from apt install to purge.
# shellcheck source=../mount/lib/harness.sh
. "$(dirname "$0")/../mount/lib/harness.sh"

make_packages() {
	need dpkg-buildpackage dh
	"$PACKAGE_ROOT/tools/package" --no-install "$MT_CASE/deb"
	rm -f "$MT_CASE"/deb/*-dbgsym_*
}

has() { # PACKAGE PATTERN
	dpkg-deb -c "$MT_CASE/deb/$1"_*.deb | awk '{ print $6 }' >"$MT_CASE/files"
	grep -qxE "\./$2" "$MT_CASE/files" || fail "$1 has no $2: $(cat "$MT_CASE/files")"
}

case_files() {
	local name
	make_packages
	has pinfs usr/bin/pinfs
	for name in mkfs.pinfs fsck.pinfs mount.fuse.pinfs; do
		has pinfs "usr/sbin/$name"
		has pinfs "usr/share/man/man8/$name.8.gz"
	done
	has pinfs usr/share/man/man1/pinfs.1.gz
	has pinfs usr/share/bash-completion/completions/pinfs
	has pinfs usr/share/doc/pinfs/copyright
	has libpinfs1 'usr/lib/.*/libpinfs.so.1'
	has libpinfs-dev usr/include/pinfs.h
	has libpinfs-dev 'usr/lib/.*/pkgconfig/pinfs.pc'
	has libpinfs-dev usr/share/man/man3/libpinfs.3.gz
	has pinfs-rdma usr/bin/pinfs-rdma-serve
	has pinfs-rdma usr/share/man/man1/pinfs-rdma.1.gz
	has libpinfs-rdma1 'usr/lib/.*/libpinfs-rdma.so.1'
	has libpinfs-rdma-dev usr/include/pinfs-rdma.h
	dpkg-deb -f "$MT_CASE"/deb/pinfs_*.deb Depends | grep -q 'fuse3.*libpmemobj1'
	# Who has no other machines needs no libfabric.
	! dpkg-deb -f "$MT_CASE"/deb/pinfs_*.deb Depends | grep -q libfabric || fail "pinfs depends on libfabric"
	! dpkg-deb -f "$MT_CASE"/deb/libpinfs1_*.deb Depends | grep -q libfabric || fail "libpinfs1 depends on libfabric"
	dpkg-deb -f "$MT_CASE"/deb/pinfs-rdma_*.deb Depends | grep -q libfabric
	dpkg-deb -f "$MT_CASE"/deb/libpinfs-rdma1_*.deb Depends | grep -q libpinfs1
	! dpkg-deb -c "$MT_CASE"/deb/pinfs_*.deb | grep -q 'usr/local\|^-rws' || fail "what does not belong into a package"
	# A program is built with what is in them, and found at run time.
	dpkg-deb -x "$MT_CASE"/deb/libpinfs1_*.deb "$MT_CASE/root"
	dpkg-deb -x "$MT_CASE"/deb/libpinfs-dev_*.deb "$MT_CASE/root"
	export PKG_CONFIG_SYSROOT_DIR=$MT_CASE/root PKG_CONFIG_PATH
	PKG_CONFIG_PATH=$(dirname "$(find "$MT_CASE/root" -name pinfs.pc)"):$(pkg-config --variable pc_path pkg-config)
	# shellcheck disable=SC2046 # words
	cc -o "$MT_CASE/stream" "$PACKAGE_ROOT/examples/stream.c" $(pkg-config --cflags --libs pinfs)
	"$MT_CASE/stream" 2>&1 | grep -qi usage || LD_LIBRARY_PATH=$(dirname "$(find "$MT_CASE/root" -name libpinfs.so.1)") \
		ldd "$MT_CASE/stream" | grep -q "libpinfs.so.1 => $MT_CASE"
}

# A new system, and what a person does there. Minutes, and some hundred MB from Debian: with --full only.
case_install() {
	((MT_FULL)) || skip "a new Debian is installed with --full only"
	need debootstrap
	make_packages
	local system=$MT_CASE/system
	mkdir "$system"
	mount -t tmpfs -o size=2G,mode=755,dev,exec tmpfs "$system"
	# shellcheck source=/dev/null
	debootstrap --variant=minbase "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$system" >"$MT_CASE/log" 2>&1 ||
		fail "debootstrap: $(tail -n 3 "$MT_CASE/log")"
	mkdir -p "$system/deb" "$system/dev/shm"
	cp "$MT_CASE"/deb/*.deb "$system/deb"
	cp /etc/resolv.conf "$system/etc/resolv.conf"
	mount -t proc proc "$system/proc"
	mount --rbind /sys "$system/sys"
	mount --rbind /dev "$system/dev"
	mount --make-rslave "$system/dev"
	mount --make-rslave "$system/sys"
	cp "$PACKAGE_ROOT/tests/package/lib/inside.sh" "$system/inside.sh"
	env -i MT_CASE="$MT_CASE" PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root PMEM_IS_PMEM_FORCE=1 chroot "$system" bash /inside.sh
}

run_case "$@"
