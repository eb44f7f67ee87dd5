#!/bin/bash
# Devices as they come: made fit for a pool by what mkfs says, refused when they are not, and with errors that are known.
# shellcheck source=lib/guest.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/guest.sh"

# One device; what holds something; what is in use; disks and control nodes.
case_carve() {
	guest carve
}

# Known media errors, of a disk and of a devdax node, are kept from use.
case_errors() {
	guest errors
}

# Software RDMA, for whoever needs it.
case_rdma() {
	guest rdma
}

run_case "$@"
