#include "rescue/image.h"

#include "base/arith.h"
#include "base/fault.h"
#include "rescue/undo.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Made for its owner or by root: another user's pool can name data parts that are not that user's. */
static int owner_check(const char *path, const struct region_file *file, struct message *message)
{
	struct stat st;

	if (fstat(file->fd, &st) != 0)
		return -errno;
	if (st.st_uid == 0 || st.st_uid == geteuid())
		return 0;
	message_set(message, "%s: belongs to user %u: run it as that user, or give the file to root", path,
		    (unsigned)st.st_uid);
	return -EPERM;
}

int image_open(const char *path, struct image *ret_image, struct message *message)
{
	struct image image = {0};
	bool sync;
	int error;

	error = region_file_open(path, O_RDONLY, &image.file, message);
	if (error != 0)
		return error;
	error = region_file_lock(&image.file, true, path, message);
	if (error == 0)
		error = owner_check(path, &image.file, message);
	image.size = image.file.size;
	image.mapped = align_up(image.size, image.file.alignment);
	if (error == 0 && image.size == 0) {
		message_set(message, "%s: is empty", path);
		error = -EUCLEAN;
	}
	if (error == 0)
		error = fault_install();
	if (error == 0)
		error = region_file_map(&image.file, 0, image.mapped, true, &image.base, &sync);
	if (error != 0) {
		region_file_close(&image.file);
		return error;
	}
	*ret_image = image;
	return 0;
}

void image_close(struct image *image)
{
	undo_free(image->undo);
	region_file_unmap(image->base, image->mapped);
	region_file_close(&image->file);
}

struct access {
	const unsigned char *from;
	void *to;
	size_t length;
};

static void access_copy(void *arg)
{
	const struct access *access = arg;

	memcpy(access->to, access->from, access->length);
}

int image_read(const struct image *image, uint64_t offset, void *buffer, size_t length)
{
	struct access access = {image->base + offset, buffer, length};
	const void *fault;

	if (offset > image->size || length > image->size - offset)
		return -EIO;
	if (!fault_run(access_copy, &access, &fault))
		return -EIO;
	if (image->undo != NULL)
		undo_apply(image->undo, offset, buffer, length);
	return 0;
}
