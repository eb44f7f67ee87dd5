#!/bin/bash
# What the shell completes is what the help tells, whatever is added to it.
# shellcheck source=../mount/lib/harness.sh
. "$(dirname "$0")/../mount/lib/harness.sh"

# The words that are offered for the last one: complete WORD...
complete_words() {
	(
		set +eux
		# shellcheck disable=SC2317 # called by what is sourced
		complete() { :; }
		# shellcheck disable=SC2317
		compopt() { :; }
		# shellcheck source=/dev/null
		. "$PACKAGE_ROOT/tools/completion/pinfs"
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
		_pinfs
		printf '%s\n' "${COMPREPLY[@]}"
	)
}

case_commands() {
	local command
	complete_words pinfs '' >"$MT_CASE/offered"
	for command in mkfs mount fsck stat pins pin map metrics; do
		grep -qx "$command" "$MT_CASE/offered" || fail "pinfs $command is not offered"
	done
	[[ $(complete_words pinfs mk) == mkfs ]]
}

# All that `-h` describes, of each command; and each that is offered is taken for an option.
case_options() {
	local command option
	for command in $(complete_words pinfs '' | grep -v '^-'); do
		complete_words pinfs "$command" -- >"$MT_CASE/offered"
		pinfs "$command" --help | grep -oE '^  +(-[a-z], )?--[a-z-]+' | grep -oE -e '--[a-z-]+' >"$MT_CASE/told"
		[[ -s $MT_CASE/told ]]
		while read -r option; do
			grep -qx -e "$option" "$MT_CASE/offered" || fail "pinfs $command $option is not offered"
		done <"$MT_CASE/told"
		while read -r option; do
			pinfs "$command" "$option" </dev/null >"$MT_CASE/said" 2>&1 || true
			! grep -qi 'unknown option' "$MT_CASE/said" || fail "pinfs $command $option: $(cat "$MT_CASE/said")"
		done <"$MT_CASE/offered"
	done
}

case_mount_options() {
	local option
	mkdir "$MNT"
	[[ $(complete_words pinfs mount -o cache=n) == cache=none ]]
	[[ $(complete_words pinfs mount -o ro,break_policy=f) == ro,break_policy=fail ]]
	for option in $(complete_words pinfs mount -o ''); do
		[[ $option != *: ]] || option+=root
		[[ $option != *= ]] || option+=1
		# It is understood: what is wrong is that there is no pool, or nothing to remount.
		expect_fail '1|2' 'no such file|no mount|not the top' -- pinfs mount -o "$option" "$MT_CASE/none" "$MNT"
	done
}

run_case "$@"
