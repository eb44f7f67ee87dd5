#!/bin/bash
# Remote reads and writes of pinned ranges, over libfabric's tcp provider between two network namespaces; the cases are in
# lib/rdma.py.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

rdma() {
	command -v pinfs-rdma >/dev/null || skip "pinfs-rdma is not beside PINFS: libfabric was missing when it was built"
	need ip nsenter unshare
	py rdma "$1"
}

case_put_get() {
	rdma put_get
}

case_stream() {
	rdma stream
}

case_everywhere() {
	rdma everywhere
}

case_leases() {
	rdma leases
}

case_truncate() {
	rdma truncate
}

case_truncate_stopped() {
	rdma truncate_stopped
}

case_truncate_deaf() {
	rdma truncate_deaf
}

case_detached() {
	rdma detached
}

case_peer_killed() {
	rdma peer_killed
}

case_daemon_killed() {
	rdma daemon_killed
}

case_server_ends() {
	rdma server_ends
}

case_link_down() {
	rdma link_down
}

case_silent() {
	rdma silent
}

case_secrets() {
	rdma secrets
}

case_strangers() {
	rdma strangers
}

case_probe() {
	rdma probe
}

case_versions() {
	rdma versions
}

case_refusals() {
	rdma refusals
}

run_case "$@"
