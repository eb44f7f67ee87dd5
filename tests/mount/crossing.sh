#!/bin/bash
# Several processes in one file, by every way in at once: cached, direct, mapped, appending, by pin and commit; truncated,
# punched, zeroed and copied. A model of the file tells what each byte, the size and the holes have to be.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

crossing() { # CACHE PROGRAM [ARGUMENT...]
	[[ -e ${LIBPINFS:-} ]] || skip "libpinfs.so is not beside PINFS: set LIBPINFS"
	local options=cache=$1
	shift
	pool_make 64M 32M
	pool_mount "$options"
	py "$1" "$MNT" "${@:2}" >"$MT_CASE/said"
	note "$(cat "$MT_CASE/said")"
	pool_cycle "$options"
	pool_finish
}

model() { # CACHE
	local steps=250
	((MT_FULL == 0)) || steps=20000
	crossing "$1" crossing "$steps" "${MT_SEED:-$RANDOM$RANDOM}"
}

case_model_auto() {
	model auto
}

case_model_none() {
	model none
}

case_model_writeback() {
	model writeback
}

case_appends_auto() {
	crossing auto appends
}

case_appends_none() {
	crossing none appends
}

case_appends_writeback() {
	crossing writeback appends
}

case_stripes_auto() {
	crossing auto stripes auto
}

case_stripes_none() {
	crossing none stripes none
}

case_stripes_writeback() {
	crossing writeback stripes writeback
}

run_case "$@"
