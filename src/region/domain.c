/*
 * Does the platform flush the CPU's caches itself when the power goes (eADR)? pmem_has_auto_flush(3) reads sysfs each
 * time, by fts_open(3), which in glibc 2.36 does not survive a malloc(3) that fails. The hardware stays what it is, so
 * it is asked once, before main(), as libpmem itself does.
 */
#include "region/region.h"

#include <libpmem.h>

static bool auto_flush;

static __attribute__((constructor)) void ask(void)
{
	auto_flush = pmem_has_auto_flush() == 1;
}

enum region_durability region_durability(bool pmem)
{
	return !pmem ? REGION_MSYNC : auto_flush ? REGION_EADR : REGION_CPU_FLUSH;
}
