/* The two headers of a part: one that is damaged is written anew from the other. */
#include "base/arith.h"
#include "region/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

struct headers {
	struct fmt_part_header first;
	struct fmt_part_header last;
};

static bool is_expected(const struct fmt_part_header *header, const struct region_expected *expected)
{
	return fmt_part_header_valid(header) && header->number == expected->number &&
	       header->blocks == expected->blocks &&
	       memcmp(header->pool_uuid, expected->pool_uuid, sizeof(header->pool_uuid)) == 0 &&
	       memcmp(header->part_uuid, expected->part_uuid, sizeof(header->part_uuid)) == 0;
}

/* One that is lost to a memory error is no header; what is written in its place makes the memory good again. */
static int read_header(const struct region_file *file, uint64_t block, struct fmt_part_header *header)
{
	int err = region_file_read(file, block, header);

	if (err != -EIO)
		return err;
	memset(header, 0, sizeof(*header));
	return 0;
}

static int write_header(const struct region_file *file, uint64_t block, const struct fmt_part_header *header, bool dry)
{
	int err = dry ? 0 : region_file_write(file, block, header);

	return err == 0 && !dry ? region_file_sync(file) : err;
}

static int mend_headers(const struct region_file *file, const struct region_expected *expected, bool dry,
			struct headers *headers, const char **ret_what)
{
	const uint64_t last = expected->blocks - 1;
	int err = read_header(file, 0, &headers->first);

	if (err == 0)
		err = read_header(file, last, &headers->last);
	if (err != 0)
		return err;
	*ret_what = NULL;
	if (is_expected(&headers->first, expected)) {
		if (memcmp(&headers->first, &headers->last, sizeof(headers->first)) == 0)
			return 0;
		err = write_header(file, last, &headers->first, dry);
		*ret_what = "the copy of its header in the last block written anew";
		return err;
	}
	if (!is_expected(&headers->last, expected))
		return -EUCLEAN;
	err = write_header(file, 0, &headers->last, dry);
	*ret_what = "its header written anew from the copy in the last block";
	return err;
}

int region_mend_header(const char *path, const struct region_expected *expected, bool dry, const char **ret_what,
		       struct message *message)
{
	struct headers *headers = malloc(sizeof(*headers));
	struct region_file file;
	int err;

	if (headers == NULL)
		return -ENOMEM;
	err = region_file_open(path, dry ? O_RDONLY : O_RDWR, &file, message);
	if (err != 0)
		goto free_headers;
	err = region_file_lock(&file, dry, path, message);
	if (err == 0 && region_file_blocks(&file) < expected->blocks)
		err = -EUCLEAN;
	if (err == 0)
		err = mend_headers(&file, expected, dry, headers, ret_what);
	region_file_close(&file);
free_headers:
	free(headers);
	return err;
}
