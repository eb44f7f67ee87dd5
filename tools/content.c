#include "content.h"

#include "base/arith.h"
#include "base/fault.h"
#include "format/format.h"
#include "progress.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <libpmem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCAN_BYTES (1u << 20)
#define ENDS_BYTES (2ull << 20) /* signatures that libblkid knows are no farther from the ends, but for copies */

static int failure(const char *path, int error, struct message *message)
{
	if (error == -EIO)
		message_set(message,
			    "%s: has media errors, so what it holds cannot be read: see `ndctl list --media-errors`; "
			    "--force takes it unread",
			    path);
	else
		message_set(message, "%s: %s", path, strerror(-error));
	return error;
}

/* ---- Files ---- */

/* True if all of `length` bytes at `buffer` are 0. */
static bool is_zero(const char *buffer, size_t length)
{
	return length == 0 || (buffer[0] == 0 && memcmp(buffer, buffer + 1, length - 1) == 0);
}

/* Reads what is no hole in an open file, up to a byte that is not 0. */
static int scan_file(int fd, bool *ret_zero)
{
	char *buffer = malloc(SCAN_BYTES);
	bool zero = true;
	off_t offset = 0;
	int error = 0;

	if (buffer == NULL)
		return -ENOMEM;
	while (zero) {
		off_t data = lseek(fd, offset, SEEK_DATA);
		ssize_t got;

		if (data < 0 && errno == ENXIO)
			break;
		/* Where holes are not known, all is read. */
		if (data >= 0)
			offset = data;
		got = pread(fd, buffer, SCAN_BYTES, offset);
		if (got <= 0) {
			error = got < 0 ? -errno : 0;
			break;
		}
		zero = is_zero(buffer, (size_t)got);
		offset += got;
	}
	free(buffer);
	if (error == 0)
		*ret_zero = zero;
	return error;
}

static int is_file_blank(const char *path, bool *ret_blank)
{
	int fd, error;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	error = scan_file(fd, ret_blank);
	close(fd);
	return error;
}

/* ---- Devdax nodes, which read(2) does not reach ---- */

struct look {
	const char *at;
	size_t length;
	char *copy; /* NULL: it is only looked whether it is zero */
	bool zero;
};

static void do_look(void *arg)
{
	struct look *look = arg;

	if (look->copy != NULL)
		memcpy(look->copy, look->at, look->length);
	else
		look->zero = is_zero(look->at, look->length);
}

/* Whether a piece is zero; in one that is lost, page by page, what is not. */
static bool is_piece_zero(const char *at, size_t length)
{
	struct look look = {.at = at, .length = length};
	const void *fault;
	bool zero = true;

	if (fault_run(do_look, &look, &fault))
		return look.zero;
	look.length = FMT_BLOCK_SIZE;
	for (size_t i = 0; zero && i < length; i += FMT_BLOCK_SIZE) {
		look.at = at + i;
		zero = !fault_run(do_look, &look, &fault) || look.zero;
	}
	return zero;
}

static int is_devdax_blank(const char *path, bool *ret_blank)
{
	struct progress progress;
	bool zero = true;
	size_t length;
	char *base;
	int is_pmem;

	base = pmem_map_file(path, 0, 0, 0, &length, &is_pmem);
	if (base == NULL)
		return -errno;
	progress_init(&progress, false);
	for (size_t at = 0; zero && at < length; at += SCAN_BYTES) {
		zero = is_piece_zero(base + at, (size_t)min_u64(SCAN_BYTES, length - at));
		progress_show(&progress, path, at, length);
	}
	progress_clear(&progress);
	*ret_blank = zero;
	return pmem_unmap(base, length) == 0 ? 0 : -errno;
}

int content_is_blank(const char *path, bool devdax, bool *ret_blank, struct message *message)
{
	int error = fault_install();

	if (error == 0)
		error = devdax ? is_devdax_blank(path, ret_blank) : is_file_blank(path, ret_blank);
	return error != 0 ? failure(path, error, message) : 0;
}

/* ---- Names ---- */

static int copy_piece(int fd, const char *base, size_t offset, size_t length)
{
	const void *fault;
	struct look look = {.at = base + offset, .length = length, .copy = malloc(length)};
	int error = -ENOMEM;

	/* What is lost leaves zeros. */
	if (look.copy != NULL && fault_run(do_look, &look, &fault))
		error = pwrite(fd, look.copy, length, (off_t)offset) == (ssize_t)length ? 0 : -EIO;
	free(look.copy);
	return error;
}

/* A file of the node's size that has its ends: libblkid reads, and a node can only be mapped. */
static int open_copy(const char *path)
{
	size_t length;
	char *base;
	int is_pmem, fd;

	base = pmem_map_file(path, 0, 0, 0, &length, &is_pmem);
	if (base == NULL)
		return -1;
	fd = memfd_create("content", MFD_CLOEXEC);
	if (fd >= 0 && ftruncate(fd, (off_t)length) == 0) {
		size_t piece = (size_t)min_u64(ENDS_BYTES, length);

		(void)copy_piece(fd, base, 0, piece);
		(void)copy_piece(fd, base, length - piece, piece);
	}
	(void)pmem_unmap(base, length);
	return fd;
}

/* libblkid knows filesystems, partition tables, RAID, LVM and such. */
static bool name_by_blkid(int fd, struct content_name *room)
{
	blkid_probe probe = blkid_new_probe();
	const char *type = NULL;

	if (probe == NULL)
		return false;
	if (blkid_probe_set_device(probe, fd, 0, 0) == 0) {
		blkid_probe_enable_superblocks(probe, 1);
		blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE);
		blkid_probe_enable_partitions(probe, 1);
		if (blkid_do_fullprobe(probe) == 0 && blkid_probe_lookup_value(probe, "TYPE", &type, NULL) == 0)
			snprintf(room->text, sizeof(room->text), "what blkid(8) calls %.30s", type);
		else if (blkid_probe_lookup_value(probe, "PTTYPE", &type, NULL) == 0)
			snprintf(room->text, sizeof(room->text), "a partition table (%.30s)", type);
	}
	blkid_free_probe(probe);
	return type != NULL;
}

/* The first bytes of what libpmempool makes: 'PMEM' and the kind, or the list of a set of files. */
static bool name_pmdk(int fd, struct content_name *room)
{
	char start[8] = "";

	if (pread(fd, start, sizeof(start), 0) != (ssize_t)sizeof(start))
		return false;
	if (memcmp(start, "PMEMOBJ", 8) != 0 && memcmp(start, "PMEMBLK", 8) != 0 && memcmp(start, "PMEMLOG", 8) != 0 &&
	    memcmp(start, "PMEMPOOL", 8) != 0)
		return false;
	snprintf(room->text, sizeof(room->text), "a PMDK pool, maybe a meta part");
	return true;
}

const char *content_name(const char *path, bool devdax, struct content_name *room)
{
	int fd = -1;

	snprintf(room->text, sizeof(room->text), "data");
	if (fault_install() == 0)
		fd = devdax ? open_copy(path) : open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return room->text;
	if (!name_pmdk(fd, room))
		(void)name_by_blkid(fd, room);
	close(fd);
	return room->text;
}
