/* Regular files and devdax nodes under one roof: opening, locking, mapping, and access block by block. */
#include "region/file.h"

#include "base/arith.h"
#include "base/fault.h"
#include "base/holder.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libpmem.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define HUGE_PAGE (2ull << 20)

static int open_sys(dev_t device, const char *attribute)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/dev/char/%u:%u/%s", major(device), minor(device), attribute);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* A number in a device's attribute, decimal or 0x. */
static int read_sys(dev_t device, const char *attribute, uint64_t *ret_value)
{
	char text[64];
	char *end;
	unsigned long long value;
	ssize_t length;
	int err = 0;
	int fd = open_sys(device, attribute);

	if (fd < 0)
		return -errno;
	length = read(fd, text, sizeof(text) - 1);
	if (length < 0)
		err = -errno;
	close(fd);
	if (err != 0)
		return err;
	text[length] = '\0';
	errno = 0;
	value = strtoull(text, &end, 0);
	if (errno != 0 || end == text)
		return -EINVAL;
	*ret_value = value;
	return 0;
}

static bool is_devdax(dev_t device)
{
	char link[128];
	char target[PATH_MAX];
	const char *base;

	snprintf(link, sizeof(link), "/sys/dev/char/%u:%u/subsystem", major(device), minor(device));
	if (realpath(link, target) == NULL)
		return false;
	base = strrchr(target, '/');
	return base != NULL && strcmp(base, "/dax") == 0;
}

/* Where the kernel has the alignment: on the device itself, or on its parent (kernels before 5.1). */
static uint64_t devdax_alignment(dev_t device)
{
	uint64_t alignment = 0;

	if (read_sys(device, "align", &alignment) != 0 && read_sys(device, "device/align", &alignment) != 0)
		return HUGE_PAGE;
	if (alignment < FMT_BLOCK_SIZE || (alignment & (alignment - 1)) != 0)
		return HUGE_PAGE;
	return alignment;
}

static int learn(struct region_file *file, const char *path, struct message *message)
{
	struct stat st;
	int err;

	if (fstat(file->fd, &st) != 0) {
		err = -errno;
		message_set(message, "data part %s: stat: %s", path, strerror(-err));
		return err;
	}
	file->alignment = FMT_BLOCK_SIZE;
	if (S_ISREG(st.st_mode)) {
		file->size = (uint64_t)st.st_size;
		return 0;
	}
	if (!S_ISCHR(st.st_mode) || !is_devdax(st.st_rdev)) {
		message_set(message, "data part %s: neither a regular file nor a devdax node", path);
		return -EINVAL;
	}
	file->devdax = true;
	err = read_sys(st.st_rdev, "size", &file->size);
	if (err != 0) {
		message_set(message, "data part %s: cannot read the size of the devdax node in /sys: %s", path,
			    strerror(-err));
		return err;
	}
	file->alignment = devdax_alignment(st.st_rdev);
	file->size = align_down(file->size, file->alignment);
	return 0;
}

/* Opening a device may do things (rewind a tape, start a watchdog), opening a FIFO waits: so look before. */
static int may_open(const char *path, struct message *message)
{
	struct stat st;
	int err;

	if (stat(path, &st) != 0) {
		err = -errno;
		if (err != -ENOENT)
			message_set(message, "data part %s: %s", path, strerror(-err));
		return err;
	}
	if (S_ISREG(st.st_mode) || (S_ISCHR(st.st_mode) && is_devdax(st.st_rdev)))
		return 0;
	message_set(message, "data part %s: neither a regular file nor a devdax node", path);
	return -EINVAL;
}

int region_file_open(const char *path, int flags, struct region_file *ret_file, struct message *message)
{
	struct region_file file = {0};
	int err;

	if ((flags & O_CREAT) == 0) {
		err = may_open(path, message);
		if (err != 0)
			return err;
	}
	file.fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
	if (file.fd < 0) {
		err = -errno;
		/* A devdax node stays when another driver takes the device. */
		if (err == -ENXIO)
			message_set(
				message,
				"data part %s: the kernel's devdax driver does not have it: it is disabled, or memory "
				"of the kernel: see `daxctl list`, and daxctl reconfigure-device --mode=devdax",
				path);
		else if (err != -ENOENT)
			message_set(message, "data part %s: open: %s", path, strerror(-err));
		return err;
	}
	err = learn(&file, path, message);
	if (err != 0) {
		close(file.fd);
		return err;
	}
	*ret_file = file;
	return 0;
}

void region_file_close(struct region_file *file)
{
	close(file->fd);
	file->fd = -1;
}

int region_file_lock(const struct region_file *file, bool shared, const char *path, struct message *message)
{
	int err;
	int pid;

	if (flock(file->fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0)
		return 0;
	err = -errno;
	if (err != -EWOULDBLOCK) {
		message_set(message, "data part %s: flock: %s", path, strerror(-err));
		return err;
	}
	pid = holder_pid(file->fd);
	if (pid > 0)
		message_set(message, "data part %s: in use by process %d; unmount its pool first", path, pid);
	else
		message_set(message, "data part %s: in use by another process; unmount its pool first", path);
	return -EBUSY;
}

/* Reserves addresses so that offset 0 of the mapping is at a multiple of `unit`. */
static int reserve_addresses(size_t length, uint64_t unit, unsigned char **ret_base)
{
	size_t total;
	unsigned char *area;
	unsigned char *base;

	if (add_overflows(length, unit, &total))
		return -ENOMEM;
	area = mmap(NULL, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		return -errno;
	base = area + (align_up((uintptr_t)area, unit) - (uintptr_t)area);
	/* Giving back the ends of an area splits it and can fail for too many mappings only: then they stay. */
	if (base > area)
		munmap(area, (size_t)(base - area));
	munmap(base + length, total - (size_t)(base - area) - length);
	*ret_base = base;
	return 0;
}

int region_file_map(const struct region_file *file, uint64_t offset, size_t length, bool read_only,
		    unsigned char **ret_base, bool *ret_sync)
{
	int protection = PROT_READ | (read_only ? 0 : PROT_WRITE);
	uint64_t unit = length >= HUGE_PAGE ? max_u64(HUGE_PAGE, file->alignment) : file->alignment;
	unsigned char *base = NULL;
	bool sync = true;
	void *mapped;
	int err;

	assert(offset % file->alignment == 0 && length > 0 && length % file->alignment == 0);
	err = reserve_addresses(length, unit, &base);
	if (err != 0)
		return err;
	mapped = mmap(base, length, protection, MAP_SHARED_VALIDATE | MAP_SYNC | MAP_FIXED, file->fd, (off_t)offset);
	if (mapped == MAP_FAILED && (errno == EOPNOTSUPP || errno == EINVAL)) {
		sync = file->devdax;
		mapped = mmap(base, length, protection, MAP_SHARED | MAP_FIXED, file->fd, (off_t)offset);
	}
	if (mapped == MAP_FAILED) {
		err = -errno;
		munmap(base, length);
		return err;
	}
	*ret_base = base;
	*ret_sync = sync;
	return 0;
}

void region_file_unmap(unsigned char *base, size_t length)
{
	munmap(base, length);
}

enum region_durability region_file_durability(const unsigned char *base, size_t length, bool sync)
{
	/* libpmem knows only its own mappings, so for ours this asks for PMEM_IS_PMEM_FORCE alone. */
	return region_durability(sync || pmem_is_pmem(base, length));
}

/* Maps the aligned piece of a devdax node around a block, which read(2) and write(2) cannot reach. */
static int map_block(const struct region_file *file, uint64_t block, bool read_only, unsigned char **ret_piece,
		     unsigned char **ret_block)
{
	uint64_t offset = block << FMT_BLOCK_SHIFT;
	uint64_t start = align_down(offset, file->alignment);
	unsigned char *piece;
	bool sync;
	int err = region_file_map(file, start, (size_t)file->alignment, read_only, &piece, &sync);

	if (err != 0)
		return err;
	*ret_piece = piece;
	*ret_block = piece + (offset - start);
	return 0;
}

struct block_copy {
	void *to;
	const void *from;
};

static void do_copy(void *arg)
{
	const struct block_copy *copy = arg;

	memcpy(copy->to, copy->from, FMT_BLOCK_SIZE);
}

/* Memory that is lost is -EIO, as read(2) has it of a file. */
static int read_mapped(const struct region_file *file, uint64_t block, void *buffer)
{
	struct block_copy copy = {.to = buffer};
	unsigned char *piece, *mapped;
	const void *fault;
	int err = fault_install();

	if (err == 0)
		err = map_block(file, block, true, &piece, &mapped);
	if (err != 0)
		return err;
	copy.from = mapped;
	if (!fault_run(do_copy, &copy, &fault))
		err = -EIO;
	region_file_unmap(piece, (size_t)file->alignment);
	return err;
}

int region_file_read(const struct region_file *file, uint64_t block, void *buffer)
{
	ssize_t count;

	if (block >= region_file_blocks(file))
		return -EIO;
	if (file->devdax)
		return read_mapped(file, block, buffer);
	count = pread(file->fd, buffer, FMT_BLOCK_SIZE, (off_t)(block << FMT_BLOCK_SHIFT));
	if (count < 0)
		return -errno;
	return count == FMT_BLOCK_SIZE ? 0 : -EIO;
}

int region_file_write(const struct region_file *file, uint64_t block, const void *buffer)
{
	unsigned char *piece;
	unsigned char *mapped;
	ssize_t count;
	int err;

	if (block >= region_file_blocks(file))
		return -EIO;
	if (file->devdax) {
		err = map_block(file, block, false, &piece, &mapped);
		if (err != 0)
			return err;
		pmem_memcpy_persist(mapped, buffer, FMT_BLOCK_SIZE);
		region_file_unmap(piece, (size_t)file->alignment);
		return 0;
	}
	/* Not through a mapping: a hole on a full disk is -ENOSPC here, and SIGBUS there. */
	count = pwrite(file->fd, buffer, FMT_BLOCK_SIZE, (off_t)(block << FMT_BLOCK_SHIFT));
	if (count < 0)
		return -errno;
	return count == FMT_BLOCK_SIZE ? 0 : -EIO;
}

int region_file_sync(const struct region_file *file)
{
	/* A devdax block is durable once written. */
	if (file->devdax || fsync(file->fd) == 0)
		return 0;
	return -errno;
}
