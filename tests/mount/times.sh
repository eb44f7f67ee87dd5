#!/bin/bash
# Times of access by each policy, of birth, and in the whole range of 64 bits.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

atime() { # POLICY CACHE
	pool_make 32M 16M
	pool_mount "$1,cache=$2"
	py atime "$1" "$2" "$MNT"
	pool_finish
}

case_relatime() {
	pool_make 32M 16M
	pool_mount
	[[ $(getfattr --only-values -n pinfs.atime "$MNT") == relatime ]]
	py atime relatime auto "$MNT"
	pool_finish
}

case_relatime_none() {
	atime relatime none
}

case_relatime_writeback() {
	atime relatime writeback
}

case_noatime() {
	atime noatime auto
}

case_nodiratime() {
	atime nodiratime auto
}

# The kernel's caches would hide reads: there are none, which is said.
case_strictatime() {
	pool_make 32M 16M
	pinfs mount -o strictatime "$META" "$MNT" 2>"$MT_CASE/stderr"
	DAEMON=$(daemon_of "$MNT")
	grep -q 'strictatime: cache=none' "$MT_CASE/stderr"
	[[ ,$(findmnt -no OPTIONS "$MNT"), != *,relatime,* ]] || fail "the mount table says relatime"
	py atime strictatime none "$MNT"
	pool_finish
}

case_read_only() {
	pool_make 32M 16M
	pool_mount
	echo -n data >"$MNT/file"
	mkdir "$MNT/folder"
	ln -s target "$MNT/symlink"
	pool_umount
	pool_mount ro,strictatime
	py atime strictatime none "$MNT" paused
	pool_finish
}

# A remount changes the policy; read-only it rests.
case_remount() {
	pool_make 32M 16M
	pool_mount noatime
	py atime noatime auto "$MNT"
	rm -r "${MNT:?}"/*
	pinfs mount -o remount,relatime "$META" "$MNT"
	[[ ,$(findmnt -no OPTIONS "$MNT"), == *,relatime,* ]]
	py atime relatime auto "$MNT"
	touch -hd '2001-01-01' "$MNT"/*
	pinfs mount -o remount,ro "$META" "$MNT"
	py atime relatime auto "$MNT" paused
	pinfs mount -o remount,rw,nodiratime "$META" "$MNT"
	[[ $(getfattr --only-values -n pinfs.atime "$MNT") == relatime,nodiratime ]]
	rm -r "${MNT:?}"/*
	py atime nodiratime auto "$MNT"
	expect_fail 1 'needs a new mount' -- pinfs mount -o remount,strictatime "$META" "$MNT"
	[[ ,$(findmnt -no OPTIONS "$MNT"), == *,relatime,* ]]
	! setpriv --reuid 1234 --clear-groups setfattr -n pinfs.atime -v noatime "$MNT" || fail "anybody may set it"
	! setfattr -n pinfs.atime -v nonsense "$MNT" || fail "nonsense is taken"
	pool_finish
}

birth_of() {
	stat -c %.9W "$1"
}

case_birth() {
	pool_make 32M 16M
	pool_mount
	local before after name
	before=$EPOCHREALTIME
	touch -d 1999-01-01 "$MNT/file"
	mkdir "$MNT/folder"
	ln -s file "$MNT/link"
	[[ $(birth_of "$MNT/file") != 0.0* ]] ||
		skip "no time of birth: pinfs was built with a libfuse older than 3.18, or the kernel is older than 6.6"
	for name in file folder link; do
		awk -v b="$before" -v w="$(birth_of "$MNT/$name")" 'BEGIN { exit !(w >= b - 0.02 && w < b + 60) }' ||
			fail "$name: born $(birth_of "$MNT/$name"), made after $before"
	done
	[[ $(stat -c %Y "$MNT/file") == $(date -d 1999-01-01 +%s) ]]
	after=$(birth_of "$MNT/file")
	mv "$MNT/file" "$MNT/folder/moved"
	echo more >>"$MNT/folder/moved"
	pool_umount
	pool_mount
	[[ $(birth_of "$MNT/folder/moved") == "$after" ]] || fail "another birth after a remount"
	[[ $(birth_of "$MNT") != 0.0* ]] || fail "the root was never born"
	pool_finish
}

range() { # CACHE
	pool_make 32M 16M
	pool_mount "cache=$1,noatime"
	py times_range set "$MNT"
	pool_cycle "cache=$1,noatime"
	py times_range verify "$MNT"
	pool_finish
}

case_range() {
	range auto
}

case_range_none() {
	range none
}

case_range_writeback() {
	range writeback
}

run_case "$@"
