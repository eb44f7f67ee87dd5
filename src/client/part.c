/*
 * Data parts: what the daemon has given of them, and mappings of them. Memory is mapped without access first, made
 * MADV_DONTFORK, and opened last: a fork(2) in between gives the child nothing it could store through.
 */
#include "client/client.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static bool is_power_of_two(uint64_t value)
{
	return value != 0 && (value & (value - 1)) == 0;
}

static int check_part(const struct wire_part *message)
{
	/* A file offset must reach all of it. */
	if (message->bytes == 0 || message->bytes > INT64_MAX - CLIENT_HUGE || message->part == UINT32_MAX)
		return -EPROTO;
	if (!is_power_of_two(message->alignment) || message->alignment < CLIENT_BLOCK ||
	    message->alignment > (uint64_t)1 << 40)
		return -EPROTO;
	if (message->durability < WIRE_DURABILITY_MSYNC || message->durability > WIRE_DURABILITY_EADR)
		return -EPROTO;
	return 0;
}

/* How much of it is there: behind the end of a file there is only SIGBUS. Another one's may have been cut short. */
static int find_present(const struct wire_part *message, const struct stat *attr, uint64_t *ret_present)
{
	*ret_present = message->bytes;
	if (S_ISCHR(attr->st_mode))
		return 0;
	if (!S_ISREG(attr->st_mode))
		return -EPROTO;
	if ((uint64_t)attr->st_size < message->bytes)
		*ret_present = (uint64_t)attr->st_size;
	return 0;
}

/* For tsearch(3). */
static int compare_parts(const void *left, const void *right)
{
	uint32_t a = ((const struct client_part *)left)->number;
	uint32_t b = ((const struct client_part *)right)->number;

	return a < b ? -1 : a > b;
}

/* The newest of that number: an older one is what a former daemon had, and another file. */
static struct client_part *newest(const struct pinfs *fs, uint32_t number)
{
	const struct client_part key = {.number = number};
	struct client_part **node = tfind(&key, &fs->newest_parts, compare_parts);

	return node != NULL ? *node : NULL;
}

static struct client_part *add_part(struct pinfs *fs, const struct wire_part *message, const struct stat *attr)
{
	struct client_part *part = calloc(1, sizeof(*part));
	struct client_part **node;

	if (part == NULL)
		return NULL;
	part->number = message->part;
	part->map_sync = (message->flags & WIRE_PART_MAP_SYNC) != 0;
	part->bytes = message->bytes;
	part->granule = larger(message->alignment, (uint64_t)sysconf(_SC_PAGESIZE));
	part->dev = S_ISCHR(attr->st_mode) ? attr->st_rdev : attr->st_dev;
	part->ino = S_ISCHR(attr->st_mode) ? 0 : attr->st_ino;
	part->fd[CLIENT_READ] = part->fd[CLIENT_WRITE] = -1;
	node = tsearch(part, &fs->newest_parts, compare_parts);
	if (node == NULL) {
		free(part);
		return NULL;
	}
	*node = part;
	part->next = fs->parts;
	__atomic_store_n(&fs->parts, part, __ATOMIC_RELEASE);
	return part;
}

static bool is_same(const struct client_part *part, const struct wire_part *message, const struct stat *attr)
{
	if (part->bytes != message->bytes)
		return false;
	if (S_ISCHR(attr->st_mode))
		return part->ino == 0 && part->dev == attr->st_rdev;
	return part->ino == attr->st_ino && part->dev == attr->st_dev;
}

int client_part_add(struct pinfs *fs, const struct wire_part *message, int fd)
{
	enum client_access access = message->flags & WIRE_PART_WRITE ? CLIENT_WRITE : CLIENT_READ;
	struct client_part *part = newest(fs, message->part);
	uint64_t present = 0;
	struct stat attr;
	int error;

	error = check_part(message);
	if (error == 0 && fstat(fd, &attr) != 0)
		error = -errno;
	if (error == 0)
		error = find_present(message, &attr, &present);
	if (error != 0)
		goto fail;
	if (part == NULL || !is_same(part, message, &attr))
		part = add_part(fs, message, &attr);
	if (part == NULL) {
		error = -ENOMEM;
		goto fail;
	}
	atomic_store(&part->present, present);
	atomic_store(&part->durability, message->durability);
	if (part->fd[access] >= 0)
		(void)close(fd);
	else
		part->fd[access] = fd;
	return 0;
fail:
	(void)close(fd);
	return error;
}

struct client_part *client_part_find(struct pinfs *fs, uint32_t number, enum client_access access)
{
	struct client_part *part = newest(fs, number);

	return part != NULL && part->fd[access] >= 0 ? part : NULL;
}

static void keep(void *part)
{
	(void)part;
}

void client_parts_close(struct pinfs *fs, bool whole, bool mapped)
{
	struct client_part *part, *next;

	if (whole)
		tdestroy(fs->newest_parts, keep);
	for (part = __atomic_load_n(&fs->parts, __ATOMIC_ACQUIRE); part != NULL; part = next) {
		next = part->next;
		for (int access = CLIENT_READ; access <= CLIENT_WRITE; access++) {
			if (mapped && part->map[access] != NULL)
				(void)munmap(part->map[access], part->bytes);
			if (part->fd[access] >= 0)
				(void)close(part->fd[access]);
		}
		free(part);
	}
	fs->parts = NULL;
}

int client_reserve(size_t length, size_t alignment, size_t remainder, void **ret_room)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *room, *start;
	size_t total, skip;

	/* A reservation of a page's alignment needs no slack: mmap gives that. */
	if (alignment <= page)
		alignment = 0;
	if (__builtin_add_overflow(length, page - 1, &length) ||
	    __builtin_add_overflow(length & ~(page - 1), alignment, &total))
		return -ENOMEM;
	length &= ~(page - 1);
	room = mmap(NULL, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (room == MAP_FAILED)
		return -errno;
	skip = alignment == 0 ? 0 : (remainder - (uintptr_t)room) & (alignment - 1);
	start = room + skip;
	if (skip != 0)
		(void)munmap(room, skip);
	if (total - skip != length)
		(void)munmap(start + length, total - skip - length);
	*ret_room = start;
	return 0;
}

int client_map_at(void *address, size_t length, const struct client_part *part, enum client_access access, int fd,
		  uint64_t offset)
{
	int flags = MAP_SHARED_VALIDATE | MAP_FIXED;

	/* What is only loaded never has to be made durable. */
	if (part->map_sync && access == CLIENT_WRITE)
		flags |= MAP_SYNC;
	return mmap(address, length, PROT_NONE, flags, fd, (off_t)offset) == MAP_FAILED ? -errno : 0;
}

int client_open_room(void *address, size_t length, enum client_access access)
{
	if (madvise(address, length, MADV_DONTFORK) != 0 ||
	    mprotect(address, length, access == CLIENT_WRITE ? PROT_READ | PROT_WRITE : PROT_READ) != 0)
		return -errno;
	return 0;
}

static int map_whole(struct client_part *part, enum client_access access, void **ret_base)
{
	size_t alignment = larger(part->granule, part->bytes >= CLIENT_HUGE ? CLIENT_HUGE : 0);
	void *base;
	int error;

	error = client_reserve(part->bytes, alignment, 0, &base);
	if (error != 0)
		return error;
	error = client_map_at(base, part->bytes, part, access, part->fd[access], 0);
	if (error == 0)
		error = client_open_room(base, part->bytes, access);
	if (error != 0) {
		(void)munmap(base, part->bytes);
		return error;
	}
	*ret_base = base;
	return 0;
}

int client_part_map(struct pinfs *fs, struct client_part *part, enum client_access access, void **ret_base)
{
	int error = 0;

	pthread_mutex_lock(&fs->lock);
	if (part->map[access] == NULL)
		error = map_whole(part, access, &part->map[access]);
	if (error == 0)
		*ret_base = part->map[access];
	pthread_mutex_unlock(&fs->lock);
	return error;
}
