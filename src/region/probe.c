/* Looks at a path without changing anything. */
#include "region/file.h"

#include "base/arith.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_zero(const unsigned char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (bytes[i] != 0)
			return false;
	}
	return true;
}

/* A file on fsdax can be mapped with MAP_SYNC; what a page mapped past its end would show does not matter. */
static bool is_fsdax(const struct region_file *file)
{
	void *page = mmap(NULL, FMT_BLOCK_SIZE, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, file->fd, 0);

	if (page == MAP_FAILED)
		return false;
	munmap(page, FMT_BLOCK_SIZE);
	return true;
}

/* Notes a header or content in a block. */
static int look_at(const struct region_file *file, uint64_t block, struct fmt_part_header *header,
		   struct region_probe *probe)
{
	int err = region_file_read(file, block, header);

	if (err != 0)
		return err;
	if (!is_zero((const unsigned char *)header, sizeof(*header)))
		probe->blank = false;
	if (!probe->has_header && fmt_part_header_valid(header)) {
		probe->header = *header;
		probe->has_header = true;
	}
	return 0;
}

/* The bytes of a regular file behind its last whole block. */
static int look_at_rest(const struct region_file *file, unsigned char *buffer, struct region_probe *probe)
{
	uint64_t offset = align_down(file->size, FMT_BLOCK_SIZE);
	ssize_t count;

	if (offset == file->size)
		return 0;
	count = pread(file->fd, buffer, (size_t)(file->size - offset), (off_t)offset);
	if (count < 0)
		return -errno;
	if (!is_zero(buffer, (size_t)count))
		probe->blank = false;
	return 0;
}

int region_file_probe(const struct region_file *file, struct region_probe *ret_probe)
{
	struct region_probe probe = {.exists = true, .devdax = file->devdax, .blank = true};
	struct fmt_part_header *buffer = malloc(sizeof(*buffer));
	uint64_t blocks = region_file_blocks(file);
	int err = 0;

	if (buffer == NULL)
		return -ENOMEM;
	probe.fsdax = !file->devdax && is_fsdax(file);
	probe.size = file->size;
	probe.alignment = file->alignment;
	if (blocks > 0)
		err = look_at(file, 0, buffer, &probe);
	if (err == 0 && blocks > 1)
		err = look_at(file, blocks - 1, buffer, &probe);
	if (err == 0)
		err = look_at_rest(file, (unsigned char *)buffer, &probe);
	free(buffer);
	if (err == 0)
		*ret_probe = probe;
	return err;
}

int region_probe(const char *path, struct region_probe *ret_probe, struct message *message)
{
	struct region_file file;
	int err = region_file_open(path, O_RDONLY, &file, message);

	if (err == -ENOENT) {
		memset(ret_probe, 0, sizeof(*ret_probe));
		return 0;
	}
	if (err != 0)
		return err;
	err = region_file_probe(&file, ret_probe);
	if (err != 0)
		message_set(message, "data part %s: read: %s", path, strerror(-err));
	region_file_close(&file);
	return err;
}
