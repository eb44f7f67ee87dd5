#!/bin/bash
# Pins, a case for each rule of src/pin/README.md and each door; the cases are in lib/pins.py.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

pins() {
	[[ -e ${LIBPINFS:-} ]] || skip "libpinfs.so is not beside PINFS: set LIBPINFS"
	py pins "$1"
}

case_rule1_detached() {
	pins rule1_detached
}

case_rule12_unlinked() {
	pins rule12_unlinked
}

case_rule12_rename_over() {
	pins rule12_rename_over
}

case_rule12_open_file() {
	pins rule12_open_file
}

case_rule4_doors() {
	pins rule4_doors
}

case_rule4_others_go_on() {
	pins rule4_others_go_on
}

case_rule4_eof_of_part() {
	pins rule4_eof_of_part
}

case_rule9_latency() {
	pins rule9_latency
}

case_rule9_rounds() {
	pins rule9_rounds
}

case_rule5_barrier() {
	pins rule5_barrier
}

case_rule5_elsewhere() {
	pins rule5_elsewhere
}

case_rule6_recall() {
	pins rule6_recall
}

case_rule6_cached() {
	pins rule6_cached
}

case_rule7_detach() {
	pins rule7_detach
}

case_rule7_fail() {
	pins rule7_fail
}

case_rule8_interrupt() {
	pins rule8_interrupt
}

case_rule10_death() {
	pins rule10_death
}

case_rule10_leader_gone_lives() {
	pins rule10_leader_gone_lives
}

case_rule11_daemon_killed() {
	pins rule11_daemon_killed
}

case_rule11_reclaim() {
	pins rule11_reclaim
}

case_rule11_dead_holder() {
	pins rule11_dead_holder
}

case_rule11_dies_later() {
	pins rule11_dies_later
}

case_rule11_mkfs() {
	pins rule11_mkfs
}

case_rule13_sigterm() {
	pins rule13_sigterm
}

case_rule13_umount_with_pins() {
	pins rule13_umount_with_pins
}

case_rule13_second_sigterm() {
	pins rule13_second_sigterm
}

case_rule13_remount_ro() {
	pins rule13_remount_ro
}

case_rule15_exclusive() {
	pins rule15_exclusive
}

case_rule15_loses() {
	pins rule15_loses
}

case_rule15_copy_range() {
	pins rule15_copy_range
}

case_rule15_deadlock() {
	pins rule15_deadlock
}

case_rule15_writeback() {
	pins rule15_writeback
}

case_rule17_auto() {
	pins rule17_auto
}

case_rule17_none() {
	pins rule17_none
}

case_rule17_writeback() {
	pins rule17_writeback
}

case_rule17_commit_while_parked() {
	pins rule17_commit_while_parked
}

case_rule17_setuid() {
	pins rule17_setuid
}

case_rule18_limit() {
	pins rule18_limit
}

case_rule19_descriptors() {
	pins rule19_descriptors
}

case_rule19_owner() {
	pins rule19_owner
}

case_rule19_read_only_mapping() {
	pins rule19_read_only_mapping
}

case_rule19_rubbish() {
	pins rule19_rubbish
}

case_rule21_ranges() {
	pins rule21_ranges
}

case_rule21_read_only_mount() {
	pins rule21_read_only_mount
}

case_reader_no_sigbus() {
	pins reader_no_sigbus
}

case_rule8_eintr() {
	pins rule8_eintr
}

case_limbo_is_named() {
	pins limbo_is_named
}

case_many_waiters() {
	pins many_waiters
}

case_fragments() {
	pins fragments
}

case_after_fork() {
	pins after_fork
}

case_commands() {
	pins commands
}

case_rule20_lost_memory() {
	pins rule20_lost_memory
}

run_case "$@"
