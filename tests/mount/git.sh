#!/bin/bash
# Git on a pool; and the project builds itself there and passes its unit tests.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_TERMINAL_PROMPT=0
export GIT_AUTHOR_NAME=test GIT_AUTHOR_EMAIL=test@localhost GIT_COMMITTER_NAME=test GIT_COMMITTER_EMAIL=test@localhost

# A repository of the project's files, whether this is a checkout or an unpacked archive, and 500 commits of their own.
make_repository() {
	mkdir "$1"
	tar -C "$MT_ROOT" --exclude=./.git --exclude='./build*' -cf - . | tar -C "$1" -xf -
	git -C "$1" init -q -b main
	git -C "$1" add -A
	git -C "$1" commit -q -m 'The project'
	"$PYTHON" -c '
for i in range(500):
    text = f"change {i}\n" * (i % 50 + 1)
    print(f"commit refs/heads/history\nmark :{i + 1}\ncommitter t <t@localhost> {1000000000 + i} +0000")
    print(f"data {len(str(i))}\n{i}")
    if i:
        print(f"from :{i}")
    print(f"M 100644 inline folder{i % 20}/file{i % 97}\ndata {len(text)}\n{text}")
' | git -C "$1" fast-import --quiet
}

case_repository() {
	need git
	make_repository "$MT_CASE/origin"
	pool_make 512M
	pool_mount
	git clone -q --no-local "file://$MT_CASE/origin" "$MNT/clone"
	cd "$MNT/clone" || fail "cd"
	git fetch -q origin history:history
	git checkout -q history
	git checkout -q main
	git merge -q --allow-unrelated-histories -m 'Both' history
	[[ -z $(git status --porcelain) ]] || fail "a clean tree shows changes"
	git repack -q -a -d -f
	git gc -q --prune=now
	git fsck --strict
	git worktree add -q ../worktree history~5
	git -C ../worktree status --porcelain
	git log --oneline | wc -l
	cd /
	pool_cycle
	git -C "$MNT/clone" fsck --strict
	[[ -z $(git -C "$MNT/clone" status --porcelain) ]] || fail "a clean tree shows changes after a remount"
	rm -rf "$MNT/clone" "$MNT/worktree"
	pool_finish
}

case_build_itself() {
	need git meson ninja cc
	make_repository "$MT_CASE/origin"
	pool_make 1G
	pool_mount
	git clone -q --no-local "file://$MT_CASE/origin" "$MNT/clone"
	meson setup "$MNT/clone/build" "$MNT/clone" -Dwerror=true >"$MT_CASE/setup.log" || fail "$(tail -n 5 "$MT_CASE/setup.log")"
	ninja -C "$MNT/clone/build" -j 2 >"$MT_CASE/build.log" || fail "$(tail -n 20 "$MT_CASE/build.log")"
	ninja -C "$MNT/clone/build" -n | grep -q 'no work to do' || fail "ninja would build again: times are wrong"
	"$MNT/clone/build/tools/pinfs" --version
	# What was built there runs; all of them run where they are tests of pinfs.
	meson test -C "$MNT/clone/build" --no-rebuild --print-errorlogs base format meta fs_data client ctl upcall \
		client_install >"$MT_CASE/test.log" ||
		fail "$(tail -n 60 "$MT_CASE/test.log")"
	pool_cycle
	"$MNT/clone/build/tools/pinfs" --version
	pool_finish
}

run_case "$@"
