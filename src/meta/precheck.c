#include "meta/precheck.h"

#include "format/format.h"
#include "format/pmdk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define POOL_SIZE_MIN (8ull << 20)
#define HEAD_SIZE (2ull << 20 << 1) /* 4 MiB: covers the lanes, a multiple of devdax alignments */

/* The pool, as far as it is needed to judge what its logs would write. */
struct target {
	int fd;
	uint64_t size;
};

/* True if the chunk that holds `offset` is a group of ours, or may be: devdax nodes cannot be read so. */
static bool in_group(const struct target *target, uint64_t offset)
{
	uint64_t chunk = offset - (offset - PMDK_CHUNKS_AT) % PMDK_CHUNK_SIZE;
	uint32_t magic;

	return pread(target->fd, &magic, sizeof(magic), (off_t)(chunk + offsetof(struct fmt_group, magic))) !=
		       sizeof(magic) ||
	       magic == FMT_GROUP_MAGIC;
}

/*
 * Undo logs restore what transactions of ours have changed, which lies in chunks. Redo logs are libpmemobj's own: they
 * change its head, its headers and the first bytes of objects, so what lies in a group of ours is not theirs.
 */
static bool allowed(void *arg, bool undo, uint64_t offset, uint64_t length)
{
	const struct target *target = arg;

	if (offset > target->size || length > target->size - offset)
		return false;
	if (undo)
		return offset >= PMDK_CHUNKS_AT;
	return offset < PMDK_CHUNKS_AT ||
	       (offset - PMDK_CHUNKS_AT) % PMDK_CHUNK_SIZE < offsetof(struct fmt_group, magic) ||
	       !in_group(target, offset);
}

static int lanes_check(const char *path, const unsigned char *head, struct target *target, struct message *message)
{
	for (unsigned lane = 0; lane < PMDK_LANES; lane++) {
		const char *fault =
			pmdk_lane_fault(head + PMDK_LANES_AT + (size_t)lane * PMDK_LANE_SIZE, allowed, target);

		if (fault != NULL) {
			message_set(message, "%s: damaged: the %s log of lane %u leads astray; " PRECHECK_ADVICE, path,
				    fault, lane);
			return -EUCLEAN;
		}
	}
	return 0;
}

static int head_check(const char *path, int fd, uint64_t size, struct message *message)
{
	struct target target = {fd, size};
	uint64_t length = size < HEAD_SIZE ? size : HEAD_SIZE;
	unsigned char *head = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, 0);
	int error;

	if (head == MAP_FAILED) {
		error = -errno;
		message_set(message, "%s: cannot map it: %s", path, strerror(-error));
		return error;
	}
	if (memcmp(head, PMDK_SIGNATURE, sizeof(PMDK_SIGNATURE)) != 0) {
		message_set(message,
			    "%s: not a pinfs pool (no libpmemobj signature); `pinfs mkfs` makes one; if it was "
			    "one: " PRECHECK_ADVICE,
			    path);
		error = -EUCLEAN;
	} else {
		error = lanes_check(path, head, &target, message);
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
