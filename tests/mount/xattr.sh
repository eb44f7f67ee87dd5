#!/bin/bash
# Extended attributes: namespaces and who may see them, errors, limits, thousands of them; ACLs have acl.sh.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

xattrs() { # CASE
	pool_make 64M "${2:-64M}"
	pool_mount allow_other
	chmod 777 "$MNT"
	py xattrs "$1" "$MNT"
	pool_cycle allow_other
	pool_finish
}

case_namespaces() {
	xattrs namespaces
}

case_users() {
	xattrs users
}

case_errors() {
	xattrs errors
}

case_many() {
	xattrs many
}

case_list_limit() {
	xattrs list_limit
}

case_as_a_dictionary() {
	xattrs as_a_dictionary
}

run_case "$@"
