#!/bin/bash
# What a device may pin: the kernel's refusal of fsdax, and pinfs on devdax; pinfs-rdma over verbs, by software RDMA.
# shellcheck source=lib/guest.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/guest.sh"

# The kernel does not let a device pin a file on ext4 with DAX; a pinned file of pinfs on devdax it does, and truncate waits.
case_refusal() {
	guest refusal
}

# put, get, and a truncate that ends a peer's access.
case_verbs() {
	mkdir -p "$MT_CASE/out"
	command -v pinfs-rdma >/dev/null || skip "pinfs-rdma is not beside PINFS: libfabric was missing when it was built"
	cp "$MT_SCRATCH"/bin/pinfs-rdma* "$MT_CASE/out"
	guest verbs
}

run_case "$@"
