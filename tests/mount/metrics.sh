#!/bin/bash
# pinfs metrics: read by others' parsers, both of OpenMetrics and of Prometheus' older text; the numbers are what happened.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

need_parser() {
	"$PYTHON" -c 'import prometheus_client' 2>/dev/null || skip "python3-prometheus-client is missing: run tools/setup"
}

scrape() { # FILE
	pinfs metrics "$MNT" >"$1"
}

metric() { # SCRAPE NAME [LABEL=VALUE...]
	py metrics "$@"
}

# Exactly: no operation of ours is counted by chance, none is forgotten.
case_operations() {
	need_parser
	pool_make
	pool_mount
	scrape "$MT_CASE/before"
	mkdir "$MNT"/d{1..7}
	rmdir "$MNT/d1"
	expect_fail 1 'No such file' -- mkdir "$MNT/d2/none/none" # no failure of ours: there is no such name
	head -c 10000 /dev/zero >"$MNT/file"
	scrape "$MT_CASE/after"
	[[ $(metric "$MT_CASE/before" pinfs_operation_duration_seconds_count operation=mkdir) == 0 ]]
	[[ $(metric "$MT_CASE/after" pinfs_operation_duration_seconds_count operation=mkdir) == 7 ]]
	[[ $(metric "$MT_CASE/after" pinfs_operation_duration_seconds_bucket operation=mkdir le=+Inf) == 7 ]]
	[[ $(metric "$MT_CASE/after" pinfs_operation_duration_seconds_count operation=rmdir) == 1 ]]
	[[ $(metric "$MT_CASE/after" pinfs_operation_errors_total operation=mkdir) == 0 ]]
	[[ $(metric "$MT_CASE/after" pinfs_operation_bytes_total operation=write) == 10000 ]]
	[[ $(metric "$MT_CASE/after" pinfs_inodes) == $(($(metric "$MT_CASE/before" pinfs_inodes) + 7)) ]]
	[[ $(metric "$MT_CASE/after" pinfs_data_free_bytes) == \
	$(($(metric "$MT_CASE/before" pinfs_data_free_bytes) - 3 * 4096)) ]]
	[[ $(metric "$MT_CASE/after" pinfs_part_size_bytes part=0) == $((256 << 20)) ]]
	[[ $(metric "$MT_CASE/after" pinfs_build) == 1 ]]
	touch "$MNT/d2/file"
	expect_fail 1 'not empty' -- rmdir "$MNT/d2"
	scrape "$MT_CASE/last"
	[[ $(metric "$MT_CASE/last" pinfs_operation_errors_total operation=rmdir) == 1 ]]
	pool_finish
}

case_pins() {
	need_parser
	local holder truncating
	pool_make
	pool_mount break_timeout=inf
	head -c 40960 /dev/zero >"$MNT/file"
	mkfifo "$MT_CASE/hold" "$MT_CASE/said"
	pinfs pin --write --until-eof "$MNT/file" <"$MT_CASE/hold" >"$MT_CASE/said" &
	holder=$!
	exec 5>"$MT_CASE/hold" 6<"$MT_CASE/said"
	read -r _ <&6
	truncate -s 0 "$MNT/file" 5>&- 6<&- & # else it would keep the pin
	truncating=$!
	read -r _ <&6 # the recall: it waits
	scrape "$MT_CASE/held"
	[[ $(metric "$MT_CASE/held" pinfs_pins) == 1 ]]
	[[ $(metric "$MT_CASE/held" pinfs_pinned_bytes) == 40960 ]]
	[[ $(metric "$MT_CASE/held" pinfs_waiting_breaks) == 1 ]]
	[[ $(metric "$MT_CASE/held" pinfs_pin_grants_total) == 1 ]]
	[[ $(metric "$MT_CASE/held" pinfs_longest_wait_seconds) != 0.0 ]]
	exec 5>&-
	wait "$holder" "$truncating"
	exec 6<&-
	scrape "$MT_CASE/free"
	[[ $(metric "$MT_CASE/free" pinfs_pins) == 0 ]]
	[[ $(metric "$MT_CASE/free" pinfs_waiting_breaks) == 0 ]]
	[[ $(metric "$MT_CASE/free" pinfs_breaks_waited_total) == 1 ]]
	[[ $(metric "$MT_CASE/free" pinfs_refused_frees_total) == 0 ]]
	pool_finish
}

# A mountpoint, and so a label, with what has a meaning in a label.
case_strange_mountpoint() {
	need_parser
	MNT=$MT_CASE/$'quote" back\\slash \xc3\xa4 =,}'
	pool_make
	pinfs mount "$META" "$MNT" # pool_mount would look for the name as the kernel's table escapes it
	DAEMON=$(daemon_of "$MNT")
	scrape "$MT_CASE/got"
	[[ $(metric "$MT_CASE/got" pinfs_pins "mountpoint=$MNT") == 0 ]]
	pool_finish
}

# The JSON has what the text has.
case_json() {
	need_parser
	pool_make
	pool_mount
	pinfs metrics --json "$MNT" >"$MT_CASE/json"
	scrape "$MT_CASE/text"
	"$PYTHON" - "$MT_CASE/json" "$MT_CASE/text" <<-'END'
		import json, sys
		got = json.load(open(sys.argv[1]))
		assert got['schema'] == 1
		names = [line.split()[2] for line in open(sys.argv[2]) if line.startswith('# TYPE')]
		assert [family['name'] for family in got['metrics']] == names, names
		assert len(names) == len(set(names)) and len(names) > 30
	END
	pool_finish
}

case_refused() {
	pool_make
	expect_fail 2 'MOUNTPOINT|usage' -- pinfs metrics
	expect_fail 2 'MOUNTPOINT|usage' -- pinfs metrics "$MNT" "$MNT"
	expect_fail 1 "$MNT" 'not a pinfs mount' -- pinfs metrics "$MNT"
	expect_fail 1 "$MT_CASE/none" -- pinfs metrics "$MT_CASE/none"
	pool_mount
	mkdir "$MNT/d"
	expect_fail 1 "$MNT/d" "use $MNT" -- pinfs metrics "$MNT/d"
	pinfs metrics "$MNT" >/dev/full 2>"$MT_CASE/stderr" && fail "a full device is no error"
	grep -q 'No space left' "$MT_CASE/stderr"
	kill -STOP "$DAEMON"
	expect_fail 1 "$MNT" 'does not answer' -- pinfs metrics "$MNT"
	kill -CONT "$DAEMON"
	pool_finish
}

run_case "$@"
