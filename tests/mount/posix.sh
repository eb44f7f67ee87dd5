#!/bin/bash
# The rules of POSIX for names, owners, modes and times: each operation on each kind of file, in each kind of folder, by
# each kind of user answers, and leaves behind, what it does on tmpfs. lib/rules.py has the table.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

rules() { # CACHE PART
	like_tmpfs "cache=$1" rules "$2"
	pool_finish
}

case_auto() {
	rules auto 1/1
}

# Names and modes do not pass through the caches of data: a part of the table, another one for each.
case_none() {
	rules none 1/5
}

case_writeback() {
	rules writeback 2/5
}

run_case "$@"
