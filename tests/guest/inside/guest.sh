# shellcheck shell=bash
# What scripts in the guest share. There is no host to clean up: when the script ends, the machine does.
set -euo pipefail
trap 'echo "FAIL: line $LINENO: $BASH_COMMAND" >&2' ERR
set -E -x
PS4='+ $SECONDS '

fail() {
	printf 'FAIL: %s\n' "$*" >&2
	exit 1
}

# The region of the memory with that handle. Handles are stable from boot to boot, the numbers of regions are not.
region_of() { # HANDLE
	local region dimm
	for region in /sys/bus/nd/devices/region*; do
		dimm=$(cut -d, -f 1 "$region/mapping0")
		[[ $(($(cat "/sys/bus/nd/devices/$dimm/nfit/handle"))) != "$1" ]] || basename "$region"
	done
}

has_regions() {
	(($(find /sys/bus/nd/devices -maxdepth 1 -name 'region*' 2>/dev/null | wc -l) >= 2))
}

# $DAX, a character device, and $PMEM, a block device: namespaces of the two memories, made at the first boot.
persistent_memory() {
	local module tries=0
	for module in libnvdimm nfit nd_pmem dax_pmem device_dax fuse; do
		modprobe --ignore-install "$module"
	done
	until has_regions; do
		((++tries < 100)) || fail "no persistent memory"
		sleep 0.1
	done
	if ! ndctl list -N | grep -q '"mode":"\(devdax\|fsdax\)"'; then
		ndctl disable-region all
		ndctl init-labels -f all
		ndctl enable-region all
		ndctl create-namespace -f -m devdax -r "$(region_of 2)"
		ndctl create-namespace -f -m fsdax -r "$(region_of 1)"
	fi
	DAX=/dev/$(ndctl list -N | sed -n 's/.*"chardev":"\([^"]*\)".*/\1/p' | head -n 1)
	PMEM=/dev/$(ndctl list -N -m fsdax | sed -n 's/.*"blockdev":"\([^"]*\)".*/\1/p' | head -n 1)
	[[ -c $DAX && -b $PMEM ]] || fail "namespaces: $(ndctl list -N)"
}

# A filesystem on $PMEM, mounted on $FSDAX: ext4 or xfs; made unless there is one.
fsdax() { # TYPE
	local options=dax
	FSDAX=/run/fsdax
	mkdir -p $FSDAX
	modprobe "$1" 2>/dev/null || true
	if ! blkid "$PMEM" >/dev/null; then
		case $1 in
		ext4) mkfs.ext4 -q -b 4096 "$PMEM" ;;
		xfs) mkfs.xfs -q -m reflink=0 "$PMEM" ;;
		esac
	fi
	[[ $1 != xfs ]] || options=dax=always
	mount -t "$1" -o "$options" "$PMEM" $FSDAX
}

# The command fails, with status 1, and says all of that.
refused() { # PATTERN... -- COMMAND...
	local status=0 pattern patterns=()
	while [[ $1 != -- ]]; do
		patterns+=("$1")
		shift
	done
	shift
	"$@" >/run/said 2>&1 || status=$?
	cat /run/said
	((status == 1)) || fail "exit status $status, not 1: $*"
	for pattern in "${patterns[@]}"; do
		grep -Eq -e "$pattern" /run/said || fail "the message lacks '$pattern': $*"
	done
}

# Software RDMA (RoCE) on an interface of its own: $RDMA_DEVICE, $RDMA_ADDRESS. libibverbs and its providers are the host's.
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
