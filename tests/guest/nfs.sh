#!/bin/bash
# A mount, exported by the kernel's NFS server.
# shellcheck source=lib/guest.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/guest.sh"

case_export() {
	guest nfs || true
	guest_count
}

run_case "$@"
