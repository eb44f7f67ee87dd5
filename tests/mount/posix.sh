#!/bin/bash
# The rules of POSIX for names, owners, modes and times: each operation on each kind of file, in each kind of folder, by
# each kind of user answers, and leaves behind, what it does on tmpfs. lib/rules.py has the table;
# each mode does a part of it, other ones of names, users and modes: all of it with --full.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

rules() { # CACHE PART
	local part=$2
	((MT_FULL == 0)) || part=1/1
	like_tmpfs "cache=$1" rules "$part"
	pool_finish
}

case_auto() {
	rules auto 1/3
}

case_none() {
	rules none 2/9
}

case_writeback() {
	rules writeback 3/9
}

run_case "$@"
