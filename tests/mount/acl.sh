#!/bin/bash
# POSIX ACLs, as xfstests has their rules (generic/099, 105, 237, 307, 318, 319, 375, 389, 444, 449, 697) and as tmpfs
# answers: who may do what, what is inherited, what the umask, chmod and setgid have to do with it; all of it is there
# after a remount, and fsck finds mode and ACL in step.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

# Users and groups of these tests are numbers; nobody needs an account.
A=1001 B=1002 C=1003

as() { # UID GID [GROUPS] -- COMMAND...
	local uid=$1 gid=$2 groups=--clear-groups
	shift 2
	[[ $1 == -- ]] || { groups=--groups=$1 && shift; }
	shift
	setpriv --reuid="$uid" --regid="$gid" "$groups" -- "$@"
}

denied() { # COMMAND...: fails for want of permission
	! LC_ALL=C "$@" >/dev/null 2>"$MT_CASE/denied" || fail "allowed: $*"
	grep -qiE 'permission denied|not permitted' "$MT_CASE/denied" || fail "$(cat "$MT_CASE/denied"): $*"
}

mode_is() { # MODE PATH
	[[ $(stat -c %a "$2") == "$1" ]] || fail "$2: mode $(stat -c %a "$2"), not $1"
}

# The ACL of a file on one line, words in getfacl's order.
acl_is() { # ACL PATH
	local got
	got=$(getfacl -ncE --absolute-names "$2" | grep . | tr '\n' ' ')
	[[ ${got% } == "$1" ]] || fail "$2: ACL '${got% }', not '$1'"
}

setup() { # [OPTIONS]
	need getfacl setfacl getfattr setfattr setpriv
	pool_make 64M 32M
	pool_mount "allow_other${1:+,$1}"
	chmod 777 "$MNT"
	cd "$MNT"
}

finish() {
	cd /
	pool_cycle "allow_other"
	pool_finish
}

# generic/099: who matches which entry; what a mask takes away.
case_access() {
	setup
	printf '#!/bin/sh\necho done\n' >f
	chown $A:$B f
	setfacl --set u::rx,g::-,o::- f
	mode_is 500 f
	[[ $(getfattr -m - f) == "" ]] || fail "an ACL that says no more than the mode is stored"
	as $A $A -- ./f
	denied as $B $B -- ./f
	setfacl --set u::-,g::rx,o::- f
	denied as $A $A -- ./f
	as $B $B -- ./f
	as $B $C $B -- ./f
	denied as $C $C -- ./f
	setfacl --set u::-,g::-,o::rx f
	denied as $A $A -- ./f
	denied as $B $B -- ./f
	denied as $B $C $B -- ./f
	as $C $C -- ./f
	# Named users and groups.
	setfacl --set u::-,g::-,o::-,u:$B:rx,m::rwx f
	as $B $B -- ./f
	denied as $C $C -- ./f
	setfacl --set u::-,g::-,o::-,g:$C:rx,m::rwx f
	as $C $C -- ./f
	as $B $A $C -- ./f
	denied as 1004 1004 -- ./f
	setfacl --set u::-,g::-,o::-,g:$C:rx,u:$C:rx,m::w f
	denied as $C $C -- ./f
	mode_is 20 f
	chmod 050 f
	as $C $C -- ./f
	chmod 000 f
	denied as $C $C -- ./f
	acl_is "user::--- user:$C:r-x group::--- group:$C:r-x mask::--- other::---" f
	# The first entry that matches decides.
	setfacl --set u::-,g::rwx,o::rwx,u:$A:rwx,m::rwx f
	denied as $A $B -- ./f
	setfacl --set u::-,g::-,o::-,u:$B:rx,m::rwx f
	as $B $B -- ./f
	# Only the owner and root set ACLs (generic/237); an ACL does not give that away.
	setfacl -m u:$B:rwx f
	denied as $B $B -- setfacl -m u:$C:rwx f
	denied as $B $B -- setfacl -b f
	as $A $A -- setfacl -m u:$C:r f
	as $A $A -- setfacl -b f
	finish
}

# generic/105: without search permission nobody but root gets in, whatever other entries say.
case_search() {
	setup
	mkdir -m 600 sub
	chown $A sub
	echo data >sub/file
	setfacl -m u:$A:r sub
	cat sub/file
	denied as $A $A -- cat sub/file
	denied as $B $B -- ls sub
	setfacl -m u:$B:x sub
	as $B $B -- cat sub/file
	denied as $B $B -- ls sub
	denied as $B $B -- touch sub/new
	setfacl -m u:$B:rwx sub
	as $B $B -- touch sub/new
	as $B $B -- rm sub/new
	chmod g-w sub
	denied as $B $B -- touch sub/new
	finish
}

# The umask counts without a default ACL, and only then; generic/319: also a default ACL that says little is inherited.
case_umask() {
	setup
	umask 027
	touch f && mode_is 640 f
	mkdir d && mode_is 750 d
	mkfifo p && mode_is 640 p
	umask 777
	touch none && mode_is 0 none
	umask 022
	mkdir top
	setfacl -d --set u::rwx,g::rwx,o::- top
	umask 077
	touch top/f && mode_is 660 top/f
	mkdir top/d && mode_is 770 top/d
	mkfifo top/p && mode_is 660 top/p
	ln -s x top/l
	acl_is "user::rw- group::rw- other::---" top/f
	acl_is "user::rwx group::rwx other::--- default:user::rwx default:group::rwx default:other::---" top/d
	[[ $(getfattr -hm - top/l top/f top/p) == "" ]] || fail "a symlink, or what the mode says, has an ACL"
	setfacl -d -m u:$B:rwx,g::rx top
	as $A $A -- true
	chmod 777 top
	as $A $A -- mkdir top/of_a
	as $A $A -- touch top/of_a/f
	acl_is "user::rw- user:$B:rwx group::r-x mask::rw- other::---" top/of_a/f
	as $B $B -- sh -c 'echo b >>top/of_a/f && cat top/of_a/f && touch top/of_a/new'
	denied as $C $C -- cat top/of_a/f
	denied as $C $C -- touch top/of_a/new2
	# From a file with exact modes.
	install -m 600 /dev/null top/of_a/exact
	mode_is 600 top/of_a/exact
	denied as $B $B -- cat top/of_a/exact
	umask 022
	setfacl -k top
	touch top/late && mode_is 644 top/late
	finish
}

# generic/375: who could not set setgid takes it away by chmod and by setfacl; generic/444: inheriting keeps it.
case_setgid() {
	local what group
	setup
	touch file
	mkdir dir
	chown 100:100 file dir
	for what in file dir; do
		for group in "100" "101 100" "101 7,8,100,9"; do
			chmod 2755 $what
			# shellcheck disable=SC2086 # a group, and maybe supplementary ones
			as 100 $group -- chmod 2777 $what
			mode_is 2777 $what
			chmod 2755 $what
			# shellcheck disable=SC2086
			as 100 $group -- setfacl -m u::rwx,g::rwx,o::rwx $what
			mode_is 2777 $what
		done
		for group in "101" "101 7,8,102,9" "101 $(seq -s , 1000 1200)"; do
			chmod 2755 $what
			# shellcheck disable=SC2086
			as 100 $group -- chmod 2777 $what
			mode_is 777 $what
			chmod 2755 $what
			# shellcheck disable=SC2086
			as 100 $group -- setfacl -m u::rwx,g::rwx,o::rwx,u:$A:r $what
			mode_is 777 $what
			setfacl -b $what
		done
		chmod 2755 $what
		as 100 101 "$(seq -s , 1000 1200),100" -- setfacl -m u::rwx,g::rwx,o::r $what
		mode_is 2774 $what
		setfacl -m u:$A:rw $what
		mode_is 2774 $what
		denied as 101 101 -- setfacl -m u:101:rwx $what
		setfacl -b $what
	done
	chmod 2755 dir
	as 100 101 -- setfacl -d -m u:101:rwx dir
	mode_is 2755 dir
	as 100 100 -- mkdir dir/sub1
	as 100 101 -- mkdir dir/sub2
	mode_is 2775 dir/sub1
	mode_is 2775 dir/sub2
	[[ $(stat -c %g dir/sub2) == 100 ]] || fail "a setgid directory's group is not inherited"
	finish
}

# generic/307; and where ACLs cannot be.
case_attributes() {
	setup
	touch -d @1000 f
	local before
	before=$(stat -c %z f)
	wait_until 5 coarse_clock_after "$before"
	setfacl -m u::x,g::x,o::x f
	[[ $(stat -c %z f) != "$before" ]] || fail "ctime stays"
	[[ $(stat -c %Y f) == 1000 ]] || fail "mtime moves"
	ln -s f link
	! setfacl -d -m u:$A:r f 2>/dev/null || fail "a file has a default ACL"
	! setfattr -h -n system.posix_acl_access -v 0x0200000001000700ffffffff04000700ffffffff20000700ffffffff link ||
		fail "a symlink has an ACL"
	! setfattr -n system.posix_acl_access -v junk f || fail "junk is taken for an ACL"
	! setfattr -n system.posix_acl_nonsense -v junk f || fail "any name in system. is taken"
	! getfattr -n system.posix_acl_access f || fail "there is an ACL"
	setfacl -b f
	finish
}

coarse_clock_after() { # TIME of stat
	touch "$MNT/clock"
	[[ $(stat -c %z "$MNT/clock") > "$1" ]]
}

acls_of() { # FOLDER
	find "$1" ! -type l | sort | getfacl -n -
}

# Trees with ACLs come in and out with the tools that copy them.
case_tree() {
	local each
	need rsync tar
	setup
	mkdir "$MT_CASE/tmpfs"
	mount -t tmpfs tmpfs "$MT_CASE/tmpfs"
	mkdir tree
	setfacl -d -m u:$A:rwx,g:$B:rx,m::rwx,o::- tree
	mkdir -p tree/{1,2,3}/{1,2,3}/{1,2,3}
	touch tree/{1,2,3}/{1,2,3}/{1,2,3}/{f,g}
	setfacl -R -m u:$C:rX tree/2
	chmod -R o+r,g-w tree/3
	acls_of tree >"$MT_CASE/want"
	[[ $(grep -c "^default:user:$A:rwx" "$MT_CASE/want") == 40 ]] || fail "not all directories inherit"
	cp -a tree "$MT_CASE/tmpfs/"
	(cd "$MT_CASE/tmpfs" && acls_of tree) >"$MT_CASE/got"
	same "$MT_CASE/want" "$MT_CASE/got"
	mkdir in && cp -a "$MT_CASE/tmpfs/tree" in/
	mkdir rs && rsync -aAX "$MT_CASE/tmpfs/tree" rs/
	[[ -z $(rsync -aAXi "$MT_CASE/tmpfs/tree" rs/) ]] || fail "a second rsync changes something"
	mkdir tr && tar --acls -cC "$MT_CASE/tmpfs" tree | tar --acls -xpC tr
	for each in in rs tr; do
		(cd $each && acls_of tree) >"$MT_CASE/got"
		same "$MT_CASE/want" "$MT_CASE/got"
	done
	setfacl -Rb in/tree
	[[ -z $(getfattr -Rm - in/tree) ]] || fail "setfacl -b leaves something"
	(cd in && setfacl --restore="$MT_CASE/want" && acls_of tree) >"$MT_CASE/got"
	same "$MT_CASE/want" "$MT_CASE/got"
	umount "$MT_CASE/tmpfs"
	cd /
	pool_cycle allow_other
	cd "$MNT/in" && acls_of tree >"$MT_CASE/got" && cd /
	same "$MT_CASE/want" "$MT_CASE/got"
	pool_finish
}

# As many entries as the kernel passes on: inherited, changed by chmod, there after a remount.
case_big() {
	setup
	mkdir d
	seq -f 'default:user:%.0f:rwx' 2000 2503 >"$MT_CASE/big"
	setfacl -M "$MT_CASE/big" d
	touch d/f
	mkdir d/d
	[[ $(getfacl -nc d/f | grep -c ^user:2) == 504 ]] || fail "not all entries are inherited"
	[[ $(getfacl -nc d/d | grep -c user:2) == 1008 ]] || fail "not all entries are inherited"
	chmod 600 d/f
	denied as 2100 2100 -- cat d/f
	chmod 640 d/f
	setfacl -m o::x d
	as 2100 2100 -- cat d/f
	finish
}

# generic/318: ids are the namespace's of whoever asks.
case_user_namespace() {
	setup
	touch f
	chown $A:$A f
	setfacl -m u:$B:rw,g:$B:r f
	py acl_userns $A true || skip "no user namespace can be had"
	py acl_userns $A setfacl -m u:0:rx,g:1:x f
	acl_is "user::rw- user:$A:r-x user:$B:rw- group::r-- group:$B:--x mask::rwx other::r--" f
	cd /
	pool_cycle allow_other
	cd "$MNT"
	acl_is "user::rw- user:$A:r-x user:$B:rw- group::r-- group:$B:--x mask::rwx other::r--" f
	[[ $(py acl_userns $A getfacl -nc f | head -n 3 | tr '\n' ' ') == "user::rw- user:0:r-x user:1:rw- " ]]
	cd /
	pool_finish
}

# generic/449: a setfacl that lacks space changes nothing.
case_full() {
	setup
	touch f
	chmod 700 f
	py acl_fill filler
	! setfacl -m m::r f 2>"$MT_CASE/said" || fail "an ACL is stored on a full pool"
	grep -qi 'no space' "$MT_CASE/said"
	mode_is 700 f
	setfacl -m u::rw,g::r f
	mode_is 640 f
	rm filler
	wait_until 20 setfacl -m m::r f
	finish
}

trace() { # CACHE
	local steps=$((MT_FULL ? 40000 : 4000))
	mkdir "$MT_CASE/tmpfs"
	mount -t tmpfs tmpfs "$MT_CASE/tmpfs"
	py acl_trace "$MT_CASE/tmpfs" $steps >"$MT_CASE/want"
	umount "$MT_CASE/tmpfs"
	setup "cache=$1"
	mkdir d
	py acl_trace "$MNT/d" $steps >"$MT_CASE/got"
	same "$MT_CASE/want" "$MT_CASE/got"
	note "$steps changes: $(grep -c ' ok ' "$MT_CASE/got") succeed"
	# Not times: with cache=writeback the kernel has its own.
	rights_of . >"$MT_CASE/want"
	cd /
	pool_umount
	pool_fsck
	pool_mount "allow_other,cache=$1"
	cd "$MNT"
	rights_of . >"$MT_CASE/got"
	same "$MT_CASE/want" "$MT_CASE/got"
	cd /
	pool_finish
}

rights_of() { # FOLDER
	find "$1" -printf '%p %m %U %G\n' | sort
	acls_of "$1"
}

case_as_tmpfs_auto() {
	trace auto
}

case_as_tmpfs_none() {
	trace none
}

case_as_tmpfs_writeback() {
	trace writeback
}

# The daemon dies at any moment: mode and ACL are in step, says fsck.
case_kill() {
	local round
	setup
	for ((round = 0; round < 5; round++)); do
		mkdir "d$round"
		py acl_trace "$MNT/d$round" 1000000 >"$MT_CASE/trace" 2>/dev/null &
		wait_until 20 test_lines "$MT_CASE/trace" $((100 + round * 300))
		cd /
		pool_kill
		wait $! || true
		pool_fsck
		pool_mount allow_other
		cd "$MNT"
	done
	finish
}

test_lines() { # FILE LINES
	(($(wc -l <"$1") >= $2))
}

run_case "$@"
