#!/bin/bash
# client_install.sh BUILD: installs the build into a scratch folder, and makes programs with what is there: by pkg-config
# with the shared library, with the static one, and in C++. Exit status 77: skipped.
set -euo pipefail

build=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
fail() {
	echo "client_install: $*" >&2
	exit 1
}

command -v pkg-config >/dev/null || {
	echo "pkg-config is missing"
	exit 77
}
if ! meson install -C "$build" --no-rebuild --quiet --destdir "$scratch/root" >"$scratch/log" 2>&1; then
	cat "$scratch/log" >&2
	fail "meson install fails"
fi
pc=$(find "$scratch/root" -name pinfs.pc)
[[ -n $pc ]] || fail "there is no pinfs.pc"
export PKG_CONFIG_SYSROOT_DIR=$scratch/root
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
libraries=$(dirname "$PKG_CONFIG_PATH")
read -ra flags < <(pkg-config --cflags pinfs)
read -ra libs < <(pkg-config --libs pinfs)
header=$(find "$scratch/root" -name pinfs.h)
[[ -n $header ]] || fail "there is no pinfs.h"

cat >"$scratch/program.c" <<'END'
#include <pinfs.h>

int main(void)
{
	struct pinfs *fs = 0;

	/* Nothing of pinfs is there: -ENODEV. */
	return pinfs_connect("/proc", &fs) == -19 ? 0 : 1;
}
END
strict=(-Wall -Wextra -Werror -pedantic)
cc -std=c11 "${strict[@]}" "${flags[@]}" -o "$scratch/shared" "$scratch/program.c" "${libs[@]}"
readelf -d "$scratch/shared" | grep -q 'NEEDED.*libpinfs\.so\.1\]' || fail "the program does not need libpinfs.so.1"
LD_LIBRARY_PATH=$libraries "$scratch/shared" || fail "the program with the shared library fails"

read -ra pmem < <(env -u PKG_CONFIG_SYSROOT_DIR pkg-config --libs libpmem)
cc -std=c11 "${flags[@]}" -o "$scratch/static" "$scratch/program.c" "$libraries/libpinfs.a" "${pmem[@]}" -pthread
! readelf -d "$scratch/static" | grep -q libpinfs || fail "the static program needs libpinfs.so"
"$scratch/static" || fail "the program with the static library fails"

if command -v c++ >/dev/null; then
	cp "$scratch/program.c" "$scratch/program.cc"
	c++ -std=c++11 "${strict[@]}" "${flags[@]}" -o "$scratch/plus" "$scratch/program.cc" "${libs[@]}"
fi

nm -D --defined-only "$libraries/libpinfs.so" | awk '$2 != "A" {sub(/@.*/, "", $3); print $3}' | sort >"$scratch/exported"
grep -oE '\bpinfs_[a-z_]+\(' "$header" | tr -d '(' | sort -u >"$scratch/declared"
diff "$scratch/declared" "$scratch/exported" || fail "what pinfs.h declares is not what the library exports"
