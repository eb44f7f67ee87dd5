#include "meta/precheck.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/*
 * The head of a libpmemobj 1.x pool (layout version 6): a 4 KiB pool header with its signature at offset 0, a 4 KiB
 * descriptor, then 1024 lanes of 3072 bytes, each with three logs: internal redo at 0, external redo at 256, undo at
 * 960. A log begins with checksum, next, capacity (8 bytes each). Both bounds are believed by libpmemobj's recovery.
 */
#define POOL_SIGNATURE "PMEMOBJ"
#define POOL_SIZE_MIN (8ull << 20)
#define LANES_OFFSET 8192u
#define LANES 1024u
#define LANE_SIZE 3072u
#define HEAD_SIZE (2ull << 20 << 1) /* 4 MiB: covers the lanes, a multiple of devdax alignments */

static const struct lane_log {
	uint32_t offset;
	uint64_t capacity;
	const char *name;
} lane_logs[] = {
	{0, 192, "internal redo"},
	{256, 640, "external redo"},
	{960, 2048, "undo"},
};

static uint64_t read_u64(const unsigned char *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static int lanes_check(const char *path, const unsigned char *head, struct message *message)
{
	for (unsigned lane = 0; lane < LANES; lane++) {
		for (unsigned i = 0; i < sizeof(lane_logs) / sizeof(lane_logs[0]); i++) {
			const unsigned char *log = head + LANES_OFFSET + lane * LANE_SIZE + lane_logs[i].offset;
			uint64_t next = read_u64(log + 8), capacity = read_u64(log + 16);

			/* A redo log that has been carried out is left with capacity 0. No log of ours has a
			 * continuation. */
			if ((capacity != 0 && capacity != lane_logs[i].capacity) || next != 0) {
				message_set(message,
					    "%s: damaged: the %s log of lane %u leads astray; run `pinfs fsck`", path,
					    lane_logs[i].name, lane);
				return -EUCLEAN;
			}
		}
	}
	return 0;
}

static int head_check(const char *path, int fd, uint64_t size, struct message *message)
{
	uint64_t length = size < HEAD_SIZE ? size : HEAD_SIZE;
	unsigned char *head = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, 0);
	int error;

	if (head == MAP_FAILED) {
		error = -errno;
		message_set(message, "%s: cannot map it: %s", path, strerror(-error));
		return error;
	}
	if (memcmp(head, POOL_SIGNATURE, sizeof(POOL_SIGNATURE)) != 0) {
		message_set(message, "%s: not a pinfs pool (no libpmemobj signature); `pinfs mkfs` makes one", path);
		error = -EUCLEAN;
	} else {
		error = lanes_check(path, head, message);
	}
	munmap(head, length);
	return error;
}

/* Size of a devdax node; -EINVAL if the device is not one. */
static int devdax_size(const struct stat *st, uint64_t *ret_size)
{
	char name[96], link[256];
	unsigned long long size;
	ssize_t length;
	FILE *file;
	int fields;

	snprintf(name, sizeof(name), "/sys/dev/char/%u:%u/subsystem", major(st->st_rdev), minor(st->st_rdev));
	length = readlink(name, link, sizeof(link) - 1);
	if (length < 0)
		return -EINVAL;
	link[length] = '\0';
	if (strcmp(strrchr(link, '/') == NULL ? link : strrchr(link, '/') + 1, "dax") != 0)
		return -EINVAL;
	snprintf(name, sizeof(name), "/sys/dev/char/%u:%u/size", major(st->st_rdev), minor(st->st_rdev));
	file = fopen(name, "re");
	if (file == NULL)
		return -errno;
	fields = fscanf(file, "%llu", &size);
	fclose(file);
	if (fields != 1)
		return -EINVAL;
	*ret_size = size;
	return 0;
}

static int kind_check(const char *path, const struct stat *st, struct precheck_file *file, struct message *message)
{
	file->devdax = S_ISCHR(st->st_mode) && devdax_size(st, &file->size) == 0;
	if (S_ISREG(st->st_mode)) {
		file->size = (uint64_t)st->st_size;
	} else if (!file->devdax) {
		message_set(message, "%s: neither a regular file nor a devdax node", path);
		return S_ISDIR(st->st_mode) ? -EISDIR : -EINVAL;
	}
	if (st->st_uid != 0 && st->st_uid != geteuid()) {
		message_set(message, "%s: belongs to user %u: a pool is only opened by its owner, or if it is root's",
			    path, (unsigned)st->st_uid);
		return -EPERM;
	}
	if (file->size < POOL_SIZE_MIN) {
		message_set(message, "%s: not a pinfs pool: only %llu bytes long", path,
			    (unsigned long long)file->size);
		return -EUCLEAN;
	}
	return 0;
}

/* As libpmem decides: devdax, what can be mapped with MAP_SYNC (fsdax), or PMEM_IS_PMEM_FORCE (tests). */
static bool is_pmem(int fd, bool devdax)
{
	const char *force = getenv("PMEM_IS_PMEM_FORCE");
	void *page;

	if (devdax || (force != NULL && strcmp(force, "1") == 0))
		return true;
	page = mmap(NULL, 4096, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0);
	if (page == MAP_FAILED)
		return false;
	munmap(page, 4096);
	return true;
}

int precheck(const char *path, struct precheck_file *ret_file, struct message *message)
{
	struct precheck_file file;
	struct stat st;
	int error;
	int fd;

	/* O_NONBLOCK: not to hang on a FIFO. */
	fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		error = -errno;
		message_set(message, "%s: %s%s", path, strerror(-error),
			    error == -ENOENT ? "; `pinfs mkfs` makes a pool" : "");
		return error;
	}
	error = fstat(fd, &st) == 0 ? 0 : -errno;
	if (error == 0)
		error = kind_check(path, &st, &file, message);
	if (error == 0)
		error = head_check(path, fd, file.size, message);
	if (error == 0) {
		file.pmem = is_pmem(fd, file.devdax);
		*ret_file = file;
	}
	close(fd);
	return error;
}
