#!/bin/bash
# Software RDMA comes up, with what the host has of libibverbs.
. "$(dirname "${BASH_SOURCE[0]}")/guest.sh"

software_rdma
rdma link
