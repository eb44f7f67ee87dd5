#!/bin/bash
# Bad input: a clear message with the path and what to do, exit status 1 (2 for wrong use), and nothing harmed: the next
# good mount works.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

# A pool with a file in it.
sample() {
	pool_make 32M 16M
	pool_mount
	cp "$MT_LIB/calls.py" "$MNT/file"
	pool_umount
}

# The pool mounts, and its file is what it was.
still_good() { # [OPTIONS]
	pool_mount "$@"
	cmp "$MT_LIB/calls.py" "$MNT/file"
	pool_umount
	pool_fsck
}

refused() { # PATTERN...
	expect_fail 1 "$@" -- pinfs mount "$META" "$MNT"
	! is_mounted "$MNT" || fail "refused, but mounted"
}

# fsck may call it an error of the pool (4, in its report) or its own (8, a message).
refused_by_fsck() { # POOL PATTERN
	local status=0
	timeout 300 pinfs fsck "$1" >"$MT_CASE/said" 2>&1 || status=$?
	cat "$MT_CASE/said"
	((status == 4 || status == 8)) || fail "pinfs fsck: exit status $status"
	grep -qiE -e "$2" "$MT_CASE/said" || fail "pinfs fsck does not say $2"
}

case_wrong_use() {
	sample
	expect_fail 2 'pinfs' -- pinfs
	expect_fail 2 'nonsense' -- pinfs nonsense
	expect_fail 2 'usage|help' -- pinfs mount
	expect_fail 2 'usage|help' -- pinfs mount "$META"
	expect_fail 2 'help|usage' -- pinfs mount "$META" "$MNT" more
	expect_fail 2 'frob' -- pinfs mount --frob "$META" "$MNT"
	expect_fail '1|2' 'frob' -- pinfs mount -o frob "$META" "$MNT"
	expect_fail '1|2' 'cache' -- pinfs mount -o cache=sometimes "$META" "$MNT"
	expect_fail '1|2' 'break_timeout' -- pinfs mount -o break_timeout=-1 "$META" "$MNT"
	expect_fail 2 'usage|help' -- pinfs mkfs
	expect_fail 2 'usage|help' -- pinfs stat
	expect_fail '2|8|16' 'usage|help' -- pinfs fsck
	pinfs --version | grep -q '[0-9]\.[0-9]'
	local command
	pinfs --help | grep -qi usage
	for command in mkfs mount fsck stat metrics pins pin; do
		pinfs "$command" --help | grep -qi usage
	done
	still_good
}

case_nonsense_sizes() {
	local size
	mkdir "$MT_CASE/new"
	for size in '' 0 -1 -16M x 1X 16MM 16.5M 0x1000000 99999999999999999999 16777216T ' 16M' '16M,' 1; do
		expect_fail '1|2' '.' -- pinfs mkfs --meta-size "$size" --data "$MT_CASE/new/data:16M" "$MT_CASE/new/meta"
		[[ -z $(ls -A "$MT_CASE/new") ]] || fail "--meta-size '$size' left $(ls -A "$MT_CASE/new")"
	done
	for size in 0 -1 -16M 16MM 99999999999999999999 16777216T 1; do
		expect_fail '1|2' '.' -- pinfs mkfs --data "$MT_CASE/new/data:$size" "$MT_CASE/new/meta"
		[[ -z $(ls -A "$MT_CASE/new") ]] || fail "--data :$size left $(ls -A "$MT_CASE/new")"
	done
	# More than there is: nothing is left lying about.
	expect_fail 1 "$MT_CASE/new" -- pinfs mkfs --data "$MT_CASE/new/data:4T" "$MT_CASE/new/meta"
	[[ -z $(ls -A "$MT_CASE/new") ]] || fail "a failed mkfs left $(ls -A "$MT_CASE/new")"
	expect_fail 1 "$MT_CASE/none" -- pinfs mkfs "$MT_CASE/none/meta"
}

case_mkfs_refuses() {
	sample
	expect_fail 1 "$META" '--force' -- pinfs mkfs --data "$MT_CASE/other:16M" "$META"
	expect_fail 1 "$DATA" '--force' -- pinfs mkfs --data "$DATA:16M" "$MT_CASE/other"
	echo precious >"$MT_CASE/precious"
	expect_fail 1 "$MT_CASE/precious" '--force' -- pinfs mkfs --data "$MT_CASE/d:16M" "$MT_CASE/precious"
	expect_fail 1 "$MT_CASE/precious" '--force' -- pinfs mkfs --data "$MT_CASE/precious:16M" "$MT_CASE/m"
	expect_fail '1|2' "$MT_CASE/m" -- pinfs mkfs --data "$MT_CASE/m:16M" "$MT_CASE/m"
	expect_fail '1|2' "$MT_CASE/d" -- pinfs mkfs --data "$MT_CASE/d:16M" --data "$MT_CASE/d:16M" "$MT_CASE/m"
	grep -q precious "$MT_CASE/precious"
	[[ ! -e $MT_CASE/m && ! -e $MT_CASE/d && ! -e $MT_CASE/other ]] || fail "a refused mkfs left something"
	still_good
	pool_mount
	expect_fail 1 "$META" "$DAEMON" -- pinfs mkfs --force --data "$DATA:16M" "$META"
	cmp "$MT_LIB/calls.py" "$MNT/file"
	pool_umount
	still_good
	pinfs mkfs --force --meta-size 16M --data "$DATA:16M" "$META"
	pool_mount
	[[ -z $(ls -A "$MNT") ]] || fail "mkfs --force left files"
	pool_finish
}

case_no_pool() {
	sample
	expect_fail 1 "$MT_CASE/none" 'no such file' -- pinfs mount "$MT_CASE/none" "$MNT"
	expect_fail 1 "$MT_CASE" '.' -- pinfs mount "$MT_CASE" "$MNT"
	: >"$MT_CASE/empty"
	expect_fail 1 "$MT_CASE/empty" 'mkfs|not a' -- pinfs mount "$MT_CASE/empty" "$MNT"
	head -c 20000000 /dev/urandom >"$MT_CASE/noise"
	expect_fail 1 "$MT_CASE/noise" 'not a|mkfs' -- pinfs mount "$MT_CASE/noise" "$MNT"
	printf 'PMEMPOOLSET\n16M /etc/passwd\n' >"$MT_CASE/set"
	expect_fail 1 "$MT_CASE/set" 'not a|mkfs' -- pinfs mount "$MT_CASE/set" "$MNT"
	mkfifo "$MT_CASE/fifo"
	expect_fail 1 "$MT_CASE/fifo" '.' -- pinfs mount "$MT_CASE/fifo" "$MNT"
	expect_fail 1 /dev/null '.' -- pinfs mount /dev/null "$MNT"
	# Somebody else's libpmemobj pool; a data part in place of the meta part.
	expect_fail 1 "$DATA" 'not a|data part|meta' -- pinfs mount "$DATA" "$MNT"
	expect_fail 8 "$MT_CASE/none" -- pinfs fsck "$MT_CASE/none"
	refused_by_fsck "$MT_CASE/noise" "$MT_CASE/noise"
	expect_fail 1 "$MNT" 'not a|mount' -- pinfs stat "$MNT"
	expect_fail 1 "$MT_CASE/none" -- pinfs stat "$MT_CASE/none"
	still_good
}

# Each byte of the data part's header counts; of the meta part's, what is not used may change.
case_damaged_headers() {
	sample
	local at said status
	for at in 0 7 8 11 12 16 27 28 32 47 48 63 64 71 72 80 100 2000 4095; do
		py patch flip "$DATA" "$at"
		refused "$DATA" 'damaged|not a|header|format|version'
		py patch flip "$DATA" "$at"
	done
	still_good
	cp "$META" "$MT_CASE/copy"
	for at in 0 1 7 8 11 12 24 40 64 96 128 200 256 300 400 512 1000 2000 3000 4000 4064 4088 4095; do
		py patch flip "$META" "$at"
		status=0
		timeout 300 pinfs mount "$META" "$MNT" 2>"$MT_CASE/stderr" || status=$?
		said=$(cat "$MT_CASE/stderr")
		if ((status == 0)); then
			DAEMON=$(daemon_of "$MNT")
			cmp "$MT_LIB/calls.py" "$MNT/file"
			pool_umount
		else
			((status == 1)) || fail "byte $at: exit status $status: $said"
			[[ $said == *"$META"* ]] || fail "byte $at: the message lacks the path: $said"
		fi
		cp "$MT_CASE/copy" "$META"
	done
	still_good
}

case_newer_format() {
	sample
	cp "$META" "$MT_CASE/copy"
	py patch newer-super "$META"
	refused "$META" 'newer|version|format'
	refused_by_fsck "$META" 'newer|version|format'
	cp "$MT_CASE/copy" "$META"
	py patch feature-super "$META"
	refused "$META" 'newer|feature|format'
	cp "$MT_CASE/copy" "$META"
	cp "$DATA" "$MT_CASE/copy"
	py patch newer-part "$DATA"
	refused "$DATA" 'newer|version|format'
	cp "$MT_CASE/copy" "$DATA"
	still_good
}

case_parts() {
	sample
	mv "$DATA" "$MT_CASE/moved"
	refused "$DATA" 'data='
	expect_fail '1|2' "$MT_CASE/none" -- pinfs mount -o "data=$MT_CASE/none" "$META" "$MNT"
	still_good "data=$MT_CASE/moved"
	# The new place was recorded.
	still_good
	mv "$MT_CASE/moved" "$DATA"
	still_good "data=$DATA"

	mkdir "$MT_CASE/b"
	pinfs mkfs --meta-size 16M --data "$MT_CASE/b/data:32M" "$MT_CASE/b/meta"
	mv "$DATA" "$MT_CASE/moved"
	cp "$MT_CASE/b/data" "$DATA"
	refused "$DATA" 'another pool|belongs|uuid|not .*part'
	expect_fail 1 "$MT_CASE/b/data" -- pinfs mount -o "data=$MT_CASE/b/data" "$META" "$MNT"
	mv -f "$MT_CASE/moved" "$DATA"
	still_good

	cp --sparse=never "$DATA" "$MT_CASE/copy"
	truncate -s 16M "$DATA"
	refused "$DATA" 'truncated|short|small|size|bytes'
	: >"$DATA"
	refused "$DATA" '.'
	cp --sparse=never "$MT_CASE/copy" "$DATA"
	cp "$META" "$MT_CASE/copy"
	truncate -s 8M "$META"
	refused "$META" '.'
	cp "$MT_CASE/copy" "$META"
	still_good
}

case_no_permission() {
	sample
	chmod 600 "$META" "$DATA"
	chown 65534:65534 "$MNT"
	expect_fail 1 "$META" 'permission' -- setpriv --reuid=65534 --regid=65534 --clear-groups -- pinfs mount "$META" "$MNT"
	expect_fail 8 "$META" 'permission' -- setpriv --reuid=65534 --regid=65534 --clear-groups -- pinfs fsck "$META"
	chmod 755 "$MT_CASE/pool"
	expect_fail 1 "$MT_CASE/pool" 'permission' -- \
		setpriv --reuid=65534 --regid=65534 --clear-groups -- pinfs mkfs --data "$MT_CASE/pool/d:16M" "$MT_CASE/pool/m"
	still_good
}

case_held() {
	sample
	pool_mount
	mkdir "$MT_CASE/mnt2"
	expect_fail 1 "$META" "$DAEMON" -- pinfs mount "$META" "$MT_CASE/mnt2"
	! is_mounted "$MT_CASE/mnt2" || fail "one pool mounted twice"
	expect_fail 8 "$META" "$DAEMON" -- pinfs fsck "$META"
	cmp "$MT_LIB/calls.py" "$MNT/file"
	pool_umount
	still_good
}

case_mountpoint() {
	sample
	: >"$MT_CASE/file"
	expect_fail 1 "$MT_CASE/none" 'no such file|does not exist' -- pinfs mount "$META" "$MT_CASE/none"
	expect_fail 1 "$MT_CASE/file" 'director|folder' -- pinfs mount "$META" "$MT_CASE/file"
	: >"$MNT/something"
	expect_fail 1 "$MNT" 'empty' -- pinfs mount "$META" "$MNT"
	rm "$MNT/something"
	pool_mount
	pinfs mkfs --meta-size 16M --data "$MT_CASE/d2:16M" "$MT_CASE/m2"
	expect_fail 1 "$MNT" 'mounted|mount|busy|empty' -- pinfs mount "$MT_CASE/m2" "$MNT"
	cmp "$MT_LIB/calls.py" "$MNT/file"
	pool_umount
	still_good
}

case_read_only() {
	sample
	pool_mount ro
	cmp "$MT_LIB/calls.py" "$MNT/file"
	! touch "$MNT/new" 2>"$MT_CASE/stderr" || fail "a file made on a read-only mount"
	grep -qi 'read-only' "$MT_CASE/stderr"
	pool_umount
	sha256sum "$META" "$DATA" >"$MT_CASE/sums"
	pool_mount ro
	cat "$MNT/file" >/dev/null
	pool_umount
	sha256sum -c "$MT_CASE/sums" || echo "read-only mounts change the pool's files (libpmemobj's own header)"
	still_good
}

run_case "$@"
