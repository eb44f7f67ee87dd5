# shellcheck shell=bash
# Software RDMA (RoCE) on an interface of its own: $RDMA_DEVICE, $RDMA_ADDRESS. libibverbs and its providers are the host's.
if ! declare -F software_rdma >/dev/null; then
	software_rdma() {
		local module
		for module in ib_uverbs rdma_ucm rdma_rxe dummy; do
			modprobe --ignore-install "$module"
		done
		RDMA_ADDRESS=10.9.0.1 RDMA_DEVICE=rxe0
		ip link add rdma0 address 02:00:00:00:00:01 type dummy
		ip addr add $RDMA_ADDRESS/24 dev rdma0
		ip link set rdma0 mtu 4200 up
		rdma link add $RDMA_DEVICE type rxe netdev rdma0
		grep -q ACTIVE /sys/class/infiniband/$RDMA_DEVICE/ports/1/state || fail "$RDMA_DEVICE is not active"
		[[ -c /dev/infiniband/uverbs0 ]] || fail "no /dev/infiniband/uverbs0"
	}
fi
