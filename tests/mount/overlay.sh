#!/bin/bash
# overlayfs with its upper layer on pinfs, and its lower one: whiteouts, renames, copies up.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

O=$MT_CASE/merged

lower_make() { # FOLDER
	mkdir -p "$1/dir/sub" "$1/gone"
	echo lower >"$1/file"
	echo moved >"$1/dir/moved"
	echo deep >"$1/dir/sub/deep"
	echo gone >"$1/gone/gone"
	ln -s file "$1/link"
}

overlay_mount() { # LOWER
	mkdir -p "$O" "$MNT/upper" "$MNT/work"
	grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null || skip "this kernel has no overlayfs"
	mount -t overlay overlay -o "lowerdir=$1,upperdir=$MNT/upper,workdir=$MNT/work" "$O"
}

is_whiteout() {
	[[ $(stat -c %F:%t:%T "$1") == "character special file:0:0" ]] || fail "$1 is no whiteout: $(stat -c %F:%t:%T "$1")"
}

work() { # LOWER
	overlay_mount "$1"
	rm "$O/link"
	is_whiteout "$MNT/upper/link"
	echo more >>"$O/file"
	[[ $(cat "$O/file") == $'lower\nmore' && $(cat "$1/file") == lower ]]
	# The rename of a file that the lower layer has leaves a whiteout, in one step.
	mv "$O/dir/moved" "$O/dir/renamed"
	is_whiteout "$MNT/upper/dir/moved"
	[[ ! -e $O/dir/moved && $(cat "$O/dir/renamed") == moved ]]
	mv "$O/dir/renamed" "$O/file"
	[[ $(cat "$O/file") == moved ]]
	rm -r "$O/gone"
	is_whiteout "$MNT/upper/gone"
	mkdir "$O/gone"
	[[ -z $(ls -A "$O/gone") ]] || fail "a new folder shows what the old one had"
	chmod 600 "$O/dir/sub/deep"
	echo new >"$O/dir/new"
	find "$O" | sort >"$MT_CASE/before"
	umount "$O"
}

# All of it is there once more, in another mount.
again() { # LOWER
	pool_umount
	pool_fsck
	pool_mount
	overlay_mount "$1"
	find "$O" | sort >"$MT_CASE/after"
	same "$MT_CASE/before" "$MT_CASE/after"
	[[ ! -e $O/link ]]
}

contents() {
	[[ $(cat "$O/file") == moved && $(stat -c %a "$O/dir/sub/deep") == 600 ]]
}

case_upper() {
	pool_make 64M
	pool_mount
	lower_make "$MT_CASE/lower"
	work "$MT_CASE/lower"
	again "$MT_CASE/lower"
	contents
	contents
	umount "$O"
	pool_finish
}

# Both layers on one mount: overlayfs finds the lower half of what was copied up by its handle. Kernels from 6.16 on take
# what FUSE gives for a handle for outdated at the second look (fuse_dentry_revalidate: no epoch): not ours to mend.
case_both() {
	pool_make 64M
	pool_mount
	lower_make "$MNT/lower"
	work "$MNT/lower"
	again "$MNT/lower"
	if ! (contents && contents) 2>"$MT_CASE/stderr"; then
		grep -q 'Stale file handle' "$MT_CASE/stderr"
		[[ $(printf '%s\n' 6.16 "$(uname -r)" | sort -V | head -n 1) == 6.16 ]] || fail "$(cat "$MT_CASE/stderr")"
		note "this kernel forgets what it got by handles: ESTALE for copied-up files"
	fi
	umount "$O"
	pool_finish
}

case_lower() {
	pool_make 64M
	pool_mount
	lower_make "$MNT/lower"
	mkdir -p "$O" "$MT_CASE/upper"
	mount -t tmpfs upper "$MT_CASE/upper"
	mkdir "$MT_CASE/upper/u" "$MT_CASE/upper/w"
	grep -qw overlay /proc/filesystems || skip "this kernel has no overlayfs"
	mount -t overlay overlay -o "lowerdir=$MNT/lower,upperdir=$MT_CASE/upper/u,workdir=$MT_CASE/upper/w" "$O"
	mv "$O/dir/moved" "$O/file"
	rm -r "$O/gone"
	for _ in 1 2; do
		[[ $(cat "$O/file") == moved && $(cat "$MNT/lower/file") == lower && -e $MNT/lower/gone/gone ]]
		echo 2 >/proc/sys/vm/drop_caches
	done
	umount "$O" "$MT_CASE/upper"
	pool_finish
}

run_case "$@"
