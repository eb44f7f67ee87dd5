# shellcheck shell=bash
# What the files of cases share; on top of tests/mount/lib/harness.sh. These run on the host.
# shellcheck source=../../mount/lib/harness.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../mount/lib/harness.sh"

GUEST_LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
GUEST_INSIDE=$GUEST_LIB/../inside
GUEST_SECONDS=${GUEST_SECONDS:-600} # for one boot: many times what a quiet host needs

# Two NVDIMMs of 1 GiB, new: what a guest leaves in them the next guest of this case finds.
guest_memory() {
	truncate -s 1026M "$MT_CASE/nvdimm1" "$MT_CASE/nvdimm2"
}

nvdimm() { # NUMBER
	echo -object "memory-backend-file,id=memory$1,share=on,mem-path=$MT_CASE/nvdimm$1,size=1026M,align=2M"
	echo -device "nvdimm,id=nvdimm$1,memdev=memory$1,label-size=2M"
}

share() { # NAME PATH [OPTIONS]
	echo -fsdev "local,id=$1,path=$2,security_model=none,multidevs=remap${3:-}"
	echo -device "virtio-9p-pci,fsdev=$1,mount_tag=$1"
}

# QEMU's part of it. GUEST_PERSISTENCE: mem-ctrl (caches are lost with the power: flushes are needed) or cpu (eADR).
machine() {
	local arguments
	mapfile -t arguments < <({
		nvdimm 1
		nvdimm 2
		share hostroot / ,readonly=on
		share programs "$GUEST_WORK/programs" ,readonly=on
		share hostout "$MT_CASE/out"
	} | tr ' ' '\n')
	exec timeout --foreground -k 5 "$GUEST_SECONDS" qemu-system-x86_64 -accel "${GUEST_ACCEL:-tcg,thread=multi}" \
		-machine "q35,nvdimm=on,usb=off,vmport=off,smbus=off,nvdimm-persistence=${GUEST_PERSISTENCE:-mem-ctrl}" \
		-cpu max -smp 2 -m 2G,slots=4,maxmem=8G "${arguments[@]}" \
		-nodefaults -no-user-config -display none -no-reboot -monitor none -nic none -serial "file:$MT_CASE/console" \
		-kernel "$GUEST_WORK/vmlinux" -initrd "$GUEST_WORK/initramfs.cpio" \
		-append "console=ttyS0 quiet panic=-1 nokaslr mitigations=off tsc=reliable
			guest.work=$GUEST_WORK guest.lib=$GUEST_LIB" </dev/null
}

# Until the command has begun, or the machine $1 has ended.
started() {
	local -
	set +x
	[[ -e $MT_CASE/out/output ]] || ! kill -0 "$1" 2>/dev/null
}

# Under load an emulated machine may stand still before its kernel says a word: that is no test's result, it is booted anew.
boot() {
	local tries machine status
	for tries in 1 2 3; do
		machine &
		machine=$!
		(wait_until 90 started $machine) || true
		if [[ -e $MT_CASE/out/output ]]; then
			status=0
			wait $machine || status=$?
			return $status
		fi
		echo "boot $tries: the guest did not start"
		cat "$MT_CASE/console"
		! grep -q '^guest:' "$MT_CASE/console" || break
		kill $machine 2>/dev/null || true
		wait $machine || true
	done
	fail "the guest does not boot"
}

# Runs inside/$1 in a guest. Returns its exit status; 125 if the machine ended before it did.
guest() { # SCRIPT [ARGUMENT...]
	local status=0
	[[ -e $MT_CASE/nvdimm1 ]] || guest_memory
	mkdir -p "$MT_CASE/out"
	rm -f "$MT_CASE/out"/{command,output,status}
	# The guest has a /dev/shm of its own: what lies there it does not see.
	cp "$MT_SCRATCH/bin/pinfs" "$LIBPINFS" "$MT_CASE/out"
	{
		echo 'install -D -t /run/bin /run/host/pinfs /run/host/libpinfs.so'
		printf 'export PINFS=/run/bin/pinfs LIBPINFS=/run/bin/libpinfs.so MT_ROOT=%q PYTHON=%q\n' "$MT_ROOT" "$PYTHON"
		printf 'exec bash %q' "$GUEST_INSIDE/$1.sh"
		(($# == 1)) || printf ' %q' "${@:2}"
		echo
	} >"$MT_CASE/out/command"
	boot || status=$?
	cat "$MT_CASE/out/output" || tail -n 20 "$MT_CASE/console"
	((status != 124 && status != 137)) || fail "the guest did not end within $GUEST_SECONDS s"
	[[ -s $MT_CASE/out/status ]] || return 125
	return "$(cat "$MT_CASE/out/status")"
}

# The same, but the power is to be cut while SCRIPT works, after it said so.
guest_cut() { # SCRIPT [ARGUMENT...]
	local status=0
	guest "$@" || status=$?
	((status == 125)) || fail "$1 ended with status $status; its power should have been cut"
	grep -qx 'cutting the power' "$MT_CASE/out/output" || fail "the guest ended before its power was cut"
}

# The tests that a guest ran by tests/mount/run count as the case's.
guest_count() {
	local line
	line=$(tail -n 1 "$MT_CASE/out/output")
	[[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped$ ]] || fail "the tests in the guest did not end"
	count_tests "${BASH_REMATCH[@]:1}"
}
