/* libpmem's functions that store, flush and fence, by the two of standin.h. */
#include "standin.h"

#include <libpmem.h>
#include <string.h>

void pmem_flush(const void *address, size_t length)
{
	standin_flush(address, length);
}

void pmem_deep_flush(const void *address, size_t length)
{
	standin_flush(address, length);
}

void pmem_drain(void)
{
	standin_fence();
}

int pmem_deep_drain(const void *address, size_t length)
{
	(void)address;
	(void)length;
	standin_fence();
	return 0;
}

void pmem_persist(const void *address, size_t length)
{
	standin_flush(address, length);
	standin_fence();
}

int pmem_deep_persist(const void *address, size_t length)
{
	pmem_persist(address, length);
	return 0;
}

int pmem_msync(const void *address, size_t length)
{
	standin_sync(address, length);
	return 0;
}

static void *stored(void *dest, size_t length, unsigned flags)
{
	if (!(flags & PMEM_F_MEM_NOFLUSH))
		standin_flush(dest, length);
	if (!(flags & (PMEM_F_MEM_NOFLUSH | PMEM_F_MEM_NODRAIN)))
		standin_fence();
	return dest;
}

void *pmem_memcpy(void *dest, const void *source, size_t length, unsigned flags)
{
	memcpy(dest, source, length);
	return stored(dest, length, flags);
}

void *pmem_memmove(void *dest, const void *source, size_t length, unsigned flags)
{
	memmove(dest, source, length);
	return stored(dest, length, flags);
}

void *pmem_memset(void *dest, int value, size_t length, unsigned flags)
{
	memset(dest, value, length);
	return stored(dest, length, flags);
}

void *pmem_memcpy_persist(void *dest, const void *source, size_t length)
{
	return pmem_memcpy(dest, source, length, 0);
}

void *pmem_memcpy_nodrain(void *dest, const void *source, size_t length)
{
	return pmem_memcpy(dest, source, length, PMEM_F_MEM_NODRAIN);
}

void *pmem_memmove_persist(void *dest, const void *source, size_t length)
{
	return pmem_memmove(dest, source, length, 0);
}

void *pmem_memmove_nodrain(void *dest, const void *source, size_t length)
{
	return pmem_memmove(dest, source, length, PMEM_F_MEM_NODRAIN);
}

void *pmem_memset_persist(void *dest, int value, size_t length)
{
	return pmem_memset(dest, value, length, 0);
}

void *pmem_memset_nodrain(void *dest, int value, size_t length)
{
	return pmem_memset(dest, value, length, PMEM_F_MEM_NODRAIN);
}
