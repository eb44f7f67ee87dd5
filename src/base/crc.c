#include "base/crc.h"

#include <isa-l/crc.h>

uint32_t crc32c(uint32_t seed, const void *data, size_t length)
{
	/* ISA-L takes the buffer as mutable and the length as int, and neither inverts nor writes. */
	unsigned char *bytes = (unsigned char *)(uintptr_t)data;
	uint32_t crc = ~seed;

	while (length > 0) {
		int chunk = length > 1 << 30 ? 1 << 30 : (int)length;

		crc = crc32_iscsi(bytes, chunk, crc);
		bytes += chunk;
		length -= (size_t)chunk;
	}
	return ~crc;
}
