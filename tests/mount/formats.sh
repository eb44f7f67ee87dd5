#!/bin/bash
# Pools of every format that was released (tests/formats) are mounted for ever: read, recovered, written to, checked.
# Feature words, as people meet them.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

FORMATS=$(dirname "$0")/../formats

unpack() { # NAME
	need xz
	mkdir -p "$MT_CASE/pool" "$MNT"
	tar --sparse -C "$MT_CASE/pool" -xJf "$FORMATS/$1.tar.xz"
}

# All that its own pinfs showed of it.
as_it_was() {
	manifest "$MNT" "$MT_CASE/seen"
	same "$MT_CASE/pool/manifest" "$MT_CASE/seen"
}

# The pool of that name: `uses` is what it uses, in stat's words.
old_pool() { # NAME USES
	unpack "$1"
	pinfs fsck --data "$DATA" "$META"
	pool_mount "ro,data=$DATA"
	as_it_was
	pool_umount
	# Recovers, and records where the parts are now.
	pool_mount "data=$DATA"
	as_it_was
	features_are "$2"
	pool_umount
	pool_fsck
	pool_mount
	as_it_was
	# What is there is changed, and more is made.
	cp "$MT_LIB/calls.py" "$MNT/many/new"
	rm "$MNT"/many/1*
	truncate -s 100K "$MNT/large"
	echo more >>"$MNT/small"
	mv "$MNT/a/b" "$MNT/moved"
	rm -r "$MNT/a"
	setfattr -n user.new -v value "$MNT/holes"
	pool_cycle
	cmp "$MT_LIB/calls.py" "$MNT/many/new"
	pool_umount
	pool_fsck
}

features_are() { # NAMES, one space between
	local names
	names=$(pinfs stat "$MNT" | sed -n 's/^features *//p')
	[[ $names == "$1" ]] || fail "uses '$names', not '$1'"
	pinfs stat --json "$MNT" | grep '"features"' >/dev/null
}

case_before_pins() {
	old_pool before-pins ''
	# There is a ledger now.
	pool_mount
	pinfs pin "$MNT/moved" 2>/dev/null || true
	pinfs pin "$MNT/holes" | grep extent >/dev/null
	pool_umount
	pool_fsck
}

case_before_acls() {
	need setfacl
	old_pool before-acls ''
	pool_mount
	setfacl -m u:1001:r "$MNT/holes"
	features_are acl
	pool_umount
	pinfs fsck "$META" | grep 'uses acl' >/dev/null
}

case_before_words() {
	need setfacl getfacl chattr
	old_pool before-words ''
	pool_mount
	getfacl -cn "$MNT/acl" 2>/dev/null | grep -q '^user:1001:---$'
	expect_fail 1 'not permitted' -- rm "$MNT/immutable"
	chattr +d "$MNT/holes"
	features_are flags
	pool_umount
	pool_fsck
}

case_words() {
	need getfacl
	old_pool words 'acl flags'
	pool_mount
	getfacl -cn "$MNT/acl" 2>/dev/null | grep -q '^user:1001:---$'
	expect_fail 1 'not permitted' -- rm "$MNT/immutable"
	pool_umount
}

# A pool of tomorrow: refused, or only read, with the names of what is missing.
case_tomorrow() {
	pool_make 32M 16M
	pool_mount
	echo hello >"$MNT/file"
	features_are ''
	pool_umount
	cp "$META" "$MT_CASE/copy"
	py patch feature-super "$META"
	expect_fail 1 "$META.*incompat bit 31.*newer" -- pinfs mount "$META" "$MNT"
	expect_fail 1 "$META.*incompat bit 31.*newer" -- pinfs mount -o ro "$META" "$MNT"
	cp "$MT_CASE/copy" "$META"
	py patch ro-feature-super "$META"
	expect_fail 1 "$META.*ro_compat bit 31.*-o ro" -- pinfs mount -o rw "$META" "$MNT"
	pool_mount ro
	[[ $(<"$MNT/file") == hello ]]
	pool_umount
	pinfs fsck "$META" | grep 'uses ro_compat bit 31' >/dev/null
	cp "$MT_CASE/copy" "$META"
	cp "$DATA" "$MT_CASE/copy"
	py patch ro-feature-part "$DATA"
	expect_fail 1 "$DATA.*ro_compat bit 31.*-o ro" -- pinfs mount "$META" "$MNT"
	pool_mount ro
	[[ $(<"$MNT/file") == hello ]]
	pool_umount
	cp "$MT_CASE/copy" "$DATA"
	pool_mount
	pool_umount
	pool_fsck
}

run_case "$@"
