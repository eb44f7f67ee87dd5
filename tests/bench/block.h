/* Blocks of files whose first word says where they belong, so that a misplaced or lost one is noticed. */
#ifndef PINFS_BENCH_BLOCK_H
#define PINFS_BENCH_BLOCK_H

#include "timing.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK (1u << 20)
#define WORD_EVERY 4096u

static inline unsigned char *block_memory(size_t size)
{
	unsigned char *memory = aligned_alloc(4096, (size + 4095) / 4096 * 4096);

	if (memory == NULL)
		err(1, "memory");
	memset(memory, 0x5a, size);
	return memory;
}

static inline void block_fill(unsigned char *block, size_t size, uint64_t offset)
{
	for (size_t at = 0; at < size; at += WORD_EVERY) {
		uint64_t word = (offset + at) ^ 0x9e3779b97f4a7c15u;

		memcpy(block + at, &word, sizeof(word));
	}
}

static inline void block_check(const unsigned char *block, size_t size, uint64_t offset)
{
	for (size_t at = 0; at < size; at += WORD_EVERY) {
		uint64_t word;

		memcpy(&word, block + at, sizeof(word));
		if (word != ((offset + at) ^ 0x9e3779b97f4a7c15u))
			errx(1, "what is at %llu is not what was written there", (unsigned long long)(offset + at));
	}
}

static inline void block_write(int fd, unsigned char *block, size_t size, uint64_t offset)
{
	block_fill(block, size, offset);
	if (pwrite(fd, block, size, (off_t)offset) != (ssize_t)size)
		err(1, "write at %llu", (unsigned long long)offset);
}

static inline void block_read(int fd, unsigned char *block, size_t size, uint64_t offset)
{
	if (pread(fd, block, size, (off_t)offset) != (ssize_t)size)
		err(1, "read at %llu", (unsigned long long)offset);
	block_check(block, size, offset);
}

/* The file, of `bytes` bytes and written back; opened with `flags` besides. */
static inline int block_file(const char *path, uint64_t bytes, int flags)
{
	unsigned char *chunk = block_memory(CHUNK);
	struct stat stat;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0 || fstat(fd, &stat) != 0)
		err(1, "%s", path);
	for (uint64_t at = 0; (uint64_t)stat.st_size != bytes && at < bytes; at += CHUNK)
		block_write(fd, chunk, CHUNK, at);
	if (fsync(fd) != 0 || close(fd) != 0)
		err(1, "%s", path);
	free(chunk);
	fd = open(path, O_RDWR | O_CLOEXEC | flags);
	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

#endif
