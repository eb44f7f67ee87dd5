#!/bin/bash
# A tree of 20,000 files and more: in, out and about with cp, rsync, tar, find, du and rm.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

FILES=20000

# A copy of parts of /usr: /usr itself may change meanwhile. On a machine that has little there, copies of copies.
make_source() {
	local i=0
	mkdir "$1"
	find /usr/include /usr/share -xdev \( -type l -o -type f -size -129k \) -print0 |
		"$PYTHON" -c 'import sys; d = sys.stdin.buffer.read().split(b"\0"); sys.stdout.buffer.write(b"\0".join(d[:22000]))' \
			>"$MT_CASE/list"
	rsync -aHAX --from0 --files-from="$MT_CASE/list" / "$1/0/"
	while (($(find "$1" | wc -l) < FILES)); do
		((++i))
		cp -a "$1/0" "$1/$i"
	done
	mkdir "$1/special" "$1/empty"
	(
		cd "$1/special"
		echo linked >one
		ln one two
		ln one ../three
		truncate -s 3000001 sparse
		printf end | dd of=sparse bs=1 seek=2000000 conv=notrunc status=none
		mkfifo fifo
		mknod null c 1 3
		setfattr -n user.note -v 'an attribute' one
		ln -s /nowhere dangling
		chmod 4751 one
		chown 1000:1001 ../empty
	)
}

case_copy() {
	need rsync setfattr
	make_source "$MT_CASE/source"
	manifest "$MT_CASE/source" "$MT_CASE/want" --loose
	pool_make 900M 128M
	pool_mount
	local before
	before=$(statfs_of bfree)
	cp -a "$MT_CASE/source" "$MNT/cp"
	manifest "$MNT/cp" "$MT_CASE/got" --loose
	same "$MT_CASE/want" "$MT_CASE/got"
	[[ $(find "$MNT/cp" | wc -l) == $(wc -l <"$MT_CASE/want") ]] || fail "find sees another number of names"
	pool_cycle
	manifest "$MNT/cp" "$MT_CASE/got" --loose
	same "$MT_CASE/want" "$MT_CASE/got"
	cp -a "$MNT/cp" "$MT_CASE/out"
	manifest "$MT_CASE/out" "$MT_CASE/got" --loose
	same "$MT_CASE/want" "$MT_CASE/got"
	note "$(wc -l <"$MT_CASE/want") names, $(du -sh "$MT_CASE/source" | cut -f 1)"
	rm -rf "$MNT/cp"
	[[ -z $(ls -A "$MNT") ]] || fail "rm -rf left something"
	wait_until 20 test_free "$before"
	pool_finish
}

test_free() {
	(($(statfs_of bfree) == $1))
}

case_rsync_tar() {
	need rsync setfattr tar
	make_source "$MT_CASE/source"
	manifest "$MT_CASE/source" "$MT_CASE/want" --loose
	pool_make 900M 128M
	pool_mount
	rsync -aHAX --delete "$MT_CASE/source/" "$MNT/r/"
	rsync -aHAX --delete --itemize-changes "$MT_CASE/source/" "$MNT/r/" >"$MT_CASE/changes"
	[[ ! -s $MT_CASE/changes ]] || fail "a second rsync changes: $(head -n 5 "$MT_CASE/changes")"
	touch "$MNT/r/extra"
	rm "$MNT/r/special/one"
	rsync -aHAX --delete "$MT_CASE/source/" "$MNT/r/"
	manifest "$MNT/r" "$MT_CASE/got" --loose
	same "$MT_CASE/want" "$MT_CASE/got"
	pool_umount
	pool_fsck
	pool_mount
	rsync -aHAX --delete --itemize-changes --checksum "$MT_CASE/source/" "$MNT/r/" >"$MT_CASE/changes"
	[[ ! -s $MT_CASE/changes ]] || fail "rsync --checksum after a remount changes: $(head -n 5 "$MT_CASE/changes")"
	tar --xattrs -C "$MNT" -cf "$MNT/r.tar" r
	tar -C "$MNT" -df "$MNT/r.tar"
	mkdir "$MNT/x"
	tar --xattrs -C "$MNT/x" -xpf "$MNT/r.tar"
	manifest "$MNT/x/r" "$MT_CASE/got" --loose
	whole_seconds "$MT_CASE/want" >"$MT_CASE/want.seconds"
	whole_seconds "$MT_CASE/got" >"$MT_CASE/got.seconds"
	same "$MT_CASE/want.seconds" "$MT_CASE/got.seconds"
	[[ $(files_size "$MNT/x/r") == $(files_size "$MT_CASE/source") ]] || fail "du sees another size"
	rm -rf "$MNT/x" "$MNT/r"
	pool_finish
}

# What du says about the files of a tree (not its folders, whose size is each filesystem's own).
files_size() {
	find "$1" -type f -links 1 -print0 | du --files0-from=- -c --apparent-size -B1 | tail -n 1
}

# tar's format keeps whole seconds.
whole_seconds() {
	"$PYTHON" -c '
import ast, sys
for line in open(sys.argv[1]):
    f = ast.literal_eval(line)
    print([x // 10**9 if i == 6 and isinstance(x, int) else x for i, x in enumerate(f)])' "$1"
}

run_case "$@"
