#!/bin/bash
# Memory that is lost, by files of the pool that somebody truncates: each access to what is cut off is a SIGBUS, as one to
# memory that has failed. The cases are in lib/poison.py.
# shellcheck source=lib/harness.sh
. "$(dirname "$0")/lib/harness.sh"

poison() {
	[[ -e ${LIBPINFS:-} ]] || skip "libpinfs.so is not beside PINFS: set LIBPINFS"
	py poison "$@"
}

case_doors_none() {
	poison doors none
}

case_doors_auto() {
	poison doors auto
}

case_doors_writeback() {
	poison doors writeback
}

case_stays_lost() {
	poison stays_lost
}

case_overwritten() {
	poison overwritten
}

case_holders() {
	poison holders
}

case_holder_touches_it() {
	poison holder_touches_it
}

case_under_load() {
	poison under_load
}

case_meta() {
	poison meta
}

case_meta_foreground() {
	poison meta_foreground
}

case_meta_unreadable() {
	poison meta_unreadable
}

# A page of a file that is poisoned as hardware does it.
case_hwpoison() {
	"$PYTHON" -c 'import mmap, os, sys
with mmap.mmap(-1, mmap.PAGESIZE) as page:
    page[0] = 1
    page.madvise(100)  # MADV_HWPOISON' 2>"$MT_CASE/why" ||
		skip "no MADV_HWPOISON: $(tail -n 1 "$MT_CASE/why"): it needs root and CONFIG_MEMORY_FAILURE"
	poison hwpoison
}

run_case "$@"
