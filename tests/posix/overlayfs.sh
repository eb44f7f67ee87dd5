#!/bin/bash
# SUITE overlayfs: the kernel's overlay, with its lower layers on a pool, and its upper one if the kernel can
# (--seconds N: of the stress of it; default 30)
# shellcheck source=lib/suite.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/suite.sh"

overlay_tree() { # FOLDER
	mkdir -p "$1/deep/deeper" "$1/full" "$1/removed"
	cp -r "$MT_ROOT/src" "$1/"
	seq 20000 >"$1/large"
	echo link >"$1/a"
	ln "$1/a" "$1/full/b"
	ln -s ../large "$1/full/symlink"
	mkfifo "$1/fifo"
	echo x | tee "$1"/full/{1..200} "$1/deep/deeper/file" "$1/removed/file" >/dev/null
	setfattr -n user.test -v value "$1/large" || fail "no xattrs"
	chown 1234:5678 "$1/deep/deeper/file"
	chmod 2750 "$1/deep"
}

# The same on an overlay and on a plain folder: what they show then is the same.
overlay_change() { # FOLDER
	echo more >>"$1/large"
	truncate -s 5 "$1/src/README.md"
	rm -r "$1/removed" "$1/src/fs"
	mkdir "$1/removed" "$1/src/fs"
	echo new >"$1/src/fs/new"
	mv "$1/full" "$1/moved"
	mv "$1/a" "$1/deep/a"
	chmod 600 "$1/deep/deeper/file"
	setfattr -n user.other -v 1 "$1/moved/7"
	rm "$1"/moved/1?
	ln "$1/moved/3" "$1/link"
	mkfifo "$1/new-fifo"
	"$PYTHON" -c 'import mmap, sys
with open(sys.argv[1], "r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
    mapping[:5] = b"mmap\n"' "$1/src/meta/scan.c"
}

# Names, types, modes, owners, xattrs, sizes and contents; not times, and not link counts: copying up breaks links.
overlay_view() { # FOLDER
	(cd "$1" && find . -mindepth 1 -printf '%P %y %m %U:%G %l' \( -type f -printf ' %s' -o -true \) -printf '\n' | sort &&
		find . -type f -print0 | sort -z | xargs -0 sha256sum &&
		find . -print0 | sort -z | xargs -0 getfattr -h -d -m '^user\.')
}

overlay_check() { # MERGED PLAIN
	overlay_view "$1" >"$MT_CASE/merged.view"
	overlay_view "$2" >"$MT_CASE/plain.view"
	same "$MT_CASE/merged.view" "$MT_CASE/plain.view"
}

overlay_mount() { # LOWER-LAYERS UPPER-PARENT
	mkdir -p "$2/upper" "$2/work" "$MT_CASE/merged"
	mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$MT_CASE/merged" 2>"$MT_CASE/mount.err"
}

overlay_work() {
	overlay_tree "$MT_CASE/plain"
	overlay_check "$MT_CASE/merged" "$MT_CASE/plain"
	overlay_change "$MT_CASE/merged"
	overlay_change "$MT_CASE/plain"
	overlay_check "$MT_CASE/merged" "$MT_CASE/plain"
}

overlay_lower() { # SECONDS
	need getfattr setfattr
	grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null || skip "this kernel has no overlay filesystem"
	suite_mount 256M
	mkdir "$MNT/below"
	overlay_tree "$MNT/lower"
	echo hidden >"$MNT/below/large"
	manifest "$MNT" "$MT_CASE/lower.before"
	overlay_mount "$MNT/lower:$MNT/below" "$MT_CASE" || fail "$(cat "$MT_CASE/mount.err")"
	overlay_work
	stress "$MT_CASE/merged/src" 4 "$1" | tail -n 4
	umount "$MT_CASE/merged"
	manifest "$MNT" "$MT_CASE/lower.after"
	same "$MT_CASE/lower.before" "$MT_CASE/lower.after"
	# Read-only, of two layers that are both on the pool.
	mount -t overlay overlay -o "lowerdir=$MNT/below:$MNT/lower" "$MT_CASE/merged"
	[[ $(cat "$MT_CASE/merged/large") == hidden ]]
	umount "$MT_CASE/merged"
	suite_finish
}

case_lower() {
	overlay_lower "${SUITE_SECONDS:-30}"
}

case_upper() {
	need getfattr setfattr
	suite_mount 256M
	overlay_tree "$MT_CASE/lower"
	overlay_mount "$MT_CASE/lower" "$MNT" ||
		skip "this kernel takes no upper layer on FUSE: $(dmesg 2>/dev/null | grep -a 'overlay' | tail -n 1)"
	overlay_work
	umount "$MT_CASE/merged"
	overlay_mount "$MT_CASE/lower" "$MNT"
	overlay_check "$MT_CASE/merged" "$MT_CASE/plain"
	umount "$MT_CASE/merged"
	suite_finish
}

run_suite "$@"
