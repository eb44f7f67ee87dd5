#!/bin/bash
# Changing a file takes its setuid, setgid and capabilities away, in each cache mode, as on tmpfs; what that costs.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

killpriv() { # CACHE
	local but=
	mkdir "$MT_CASE/tmpfs"
	pool_make 64M 32M
	pool_mount "cache=$1"
	# Without HANDLE_KILLPRIV_V2 a write into the kernel's cache is not seen here, and the kernel leaves that setgid.
	[[ $1 != writeback ]] || has_kernel 5.12 || but=--but-setgid
	mount -t tmpfs tmpfs "$MT_CASE/tmpfs"
	py killpriv "$MT_CASE/tmpfs/d" $but >"$MT_CASE/want"
	umount "$MT_CASE/tmpfs"
	py killpriv "$MNT/d" $but >"$MT_CASE/got"
	same "$MT_CASE/want" "$MT_CASE/got"
	note "$(wc -l <"$MT_CASE/got") changes, libfuse $(stat_of libfuse)"
	pool_finish
}

case_auto() {
	killpriv auto
}

case_none() {
	killpriv none
}

case_writeback() {
	killpriv writeback
}

# The kernel asks for security.capability once, and not before each write; and again after it has heard new attributes.
case_requests() {
	local before after
	pool_make 64M 32M
	pool_mount cache=auto
	has_kernel 5.12 || skip "Linux 5.12 is needed, this is $(uname -r)"
	: >"$MNT/f"
	printf x >>"$MNT/f"
	before=$(stat_of operations getxattr count)
	dd if=/dev/zero of="$MNT/f" bs=100 count=1000 conv=notrunc status=none
	after=$(stat_of operations getxattr count)
	# One is stat_of's own.
	((after - before <= 3)) || fail "$((after - before)) requests for a capability, of 1000 writes"
	(($(stat_of operations write count) >= 1000))
	note "$((after - before)) getxattr of 1000 writes"
	pool_finish
}

run_case "$@"
