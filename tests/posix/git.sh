#!/bin/bash
# SUITE git [TEST...]: a repository's life, the daemon killed under it; GIT_SOURCE= a built git: its own tests as well
# (--seconds N: of commits before each kill; default 10)
# shellcheck source=lib/suite.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/suite.sh"

export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_TERMINAL_PROMPT=0
export GIT_AUTHOR_NAME=test GIT_AUTHOR_EMAIL=test@localhost GIT_COMMITTER_NAME=test GIT_COMMITTER_EMAIL=test@localhost

# Commits until a call fails; those that git said were made are in the log.
git_commits() { # REPOSITORY LOG
	local i
	for ((i = 0; ; i++)); do
		echo "$i $RANDOM" >>"$1/file$((i % 10))"
		git -C "$1" add -A || return
		git -C "$1" commit -q -m "$i" || return
		git -C "$1" rev-parse HEAD >>"$2" || return
		((i % 100 != 99)) || git -C "$1" gc -q || return
	done
}

case_killed() {
	need git
	suite_mount 512M
	local repository=$MNT/repository load round last
	git init -q -b main "$repository"
	git -C "$repository" config gc.auto 0
	for round in 1 2 3; do
		git_commits "$repository" "$MT_CASE/log" 2>"$MT_CASE/err" &
		load=$!
		wait_until 60 test -s "$MT_CASE/log"
		sleep "${SUITE_SECONDS:-10}" # of load: there is nothing to wait for
		kill -KILL "$DAEMON"
		wait_exit "$DAEMON"
		wait "$load" || true
		suite_recover
		rm -f "$repository"/.git/*.lock "$repository"/.git/refs/heads/*.lock "$repository"/.git/gc.pid*
		git -C "$repository" fsck --strict --no-dangling
		last=$(tail -n 1 "$MT_CASE/log")
		git -C "$repository" merge-base --is-ancestor "$last" main || fail "the commit $last is lost"
		git -C "$repository" reset -q --hard
	done
	note "$(git -C "$repository" rev-list --count main) commits, $round kills"
	suite_finish
}

# Where each commit of a history is checked out, and the tree must then be what git thinks it is.
case_checkouts() {
	need git
	[[ -n $(git -C "$MT_ROOT" rev-list -n 1 HEAD 2>/dev/null) ]] || skip "$MT_ROOT is no checkout: no history to work on"
	suite_mount 1G
	local commit
	git -c safe.directory='*' clone -q --no-local "file://$MT_ROOT" "$MNT/clone"
	cd "$MNT/clone" || fail "cd"
	for commit in $(git rev-list --first-parent HEAD | awk 'NR % 5 == 1'); do
		git checkout -q "$commit"
		[[ -z $(git status --porcelain) ]] || fail "$commit: a clean tree shows changes"
	done
	git repack -q -a -d -f
	git fsck --strict --no-dangling
	cd /
	suite_finish
}

case_own_tests() {
	local status=0 count
	local -a tests=("${ARGUMENTS[@]}")
	[[ -x ${GIT_SOURCE:-}/bin-wrappers/git ]] ||
		skip "git's own tests are missing: build git (apt-get source git; make) and set GIT_SOURCE to its folder"
	need prove
	((${#tests[@]})) || mapfile -t tests < <(cd "$GIT_SOURCE/t" && ls -- t[0-7]*.sh)
	suite_mount 2G 256M
	(cd "$GIT_SOURCE/t" && prove -j2 --nocolor "${tests[@]}" :: --root="$MNT") >"$MT_CASE/git.log" 2>&1 || status=$?
	count=$(sed -n 's/^Files=.*, Tests=\([0-9]*\),.*/\1/p' "$MT_CASE/git.log")
	note "$count tests"
	suite_finish
	((status == 0)) || fail "$(sed -n '/^Test Summary Report/,$p' "$MT_CASE/git.log")"
}

run_suite "$@"
