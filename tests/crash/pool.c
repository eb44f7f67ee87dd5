#include "pool.h"

#include "meta/meta.h"
#include "region/region.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define DATA_SIZE (1u << 20)
#define WHY_BYTES 1024u

static unsigned char *empty[SHIM_FILES];

unsigned char *pool_buffer(size_t size)
{
	void *buffer = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (buffer == MAP_FAILED) {
		perror("memory");
		exit(3);
	}
	return buffer;
}

static int make_parts(const struct image *image, bool new, struct message *message)
{
	struct meta_create_args meta_args = {.size = new ? META_SIZE_MIN : 0, .root_mode = 0755};
	struct region_create_args args = {.path = image->file[1].path, .size = new ? DATA_SIZE : 0};
	struct meta_part part = {.number = 0};
	struct meta *meta;
	int error;

	memset(meta_args.pool_uuid, 1, 16);
	memset(args.pool_uuid, 1, 16);
	memset(args.part_uuid, 2, 16);
	memset(part.uuid, 2, 16);
	(void)snprintf(part.path, sizeof(part.path), "%s", image->file[1].path);
	error = meta_create(image->file[0].path, &meta_args, &meta, message);
	if (error != 0)
		return error;
	error = region_create(&args, &part.blocks, message);
	if (error == 0)
		error = meta_part_add(meta, &part);
	if (error == 0)
		error = meta_create_finish(meta);
	meta_close(meta);
	return error;
}

int pool_format(const struct image *image, struct message *message)
{
	return make_parts(image, false, message);
}

/* In a process of its own: what libpmemobj leaves in memory would be every later child's. */
static int make_parts_apart(const struct image *image, char *why)
{
	struct message message = {.text = ""};
	int status, fds[2];
	ssize_t length;
	pid_t child;

	if (pipe2(fds, O_CLOEXEC) != 0)
		return -errno;
	child = fork();
	if (child == 0) {
		int error = make_parts(image, true, &message);

		_exit(write(fds[1], message.text, strlen(message.text)) < 0 || error != 0);
	}
	close(fds[1]);
	length = read(fds[0], why, WHY_BYTES - 1);
	why[length > 0 ? length : 0] = '\0';
	close(fds[0]);
	return child > 0 && waitpid(child, &status, 0) == child && status == 0 ? 0 : -EIO;
}

static int map_file(struct image_file *file)
{
	int fd = open(file->path, O_RDWR | O_CLOEXEC);
	struct stat stat;

	if (fd < 0 || fstat(fd, &stat) != 0)
		return -errno;
	file->size = (size_t)stat.st_size;
	file->bytes = mmap(NULL, file->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (file->bytes == MAP_FAILED || file->size > (size_t)IMAGE_PAGES_MAX * SHIM_PAGE)
		return -ENOMEM;
	file->durable = pool_buffer(file->size);
	return 0;
}

int pool_make(const char *scratch, struct image *image, char *why)
{
	static const char *const names[SHIM_FILES] = {"meta", "data"};
	char folder[128];
	int error;

	(void)snprintf(folder, sizeof(folder), "%.100s/pool-%d", scratch, getpid());
	if (mkdir(folder, 0700) != 0)
		return -errno;
	for (unsigned i = 0; i < SHIM_FILES; i++)
		(void)snprintf(image->file[i].path, sizeof(image->file[i].path), "%s/%s", folder, names[i]);
	error = make_parts_apart(image, why);
	for (unsigned i = 0; error == 0 && i < SHIM_FILES; i++) {
		error = map_file(&image->file[i]);
		if (error == 0) {
			empty[i] = pool_buffer(image->file[i].size);
			memcpy(empty[i], image->file[i].bytes, image->file[i].size);
		}
	}
	return error;
}

void pool_remove(struct image *image)
{
	for (unsigned i = 0; i < SHIM_FILES; i++)
		(void)unlink(image->file[i].path);
	*strrchr(image->file[0].path, '/') = '\0';
	(void)rmdir(image->file[0].path);
}

int pool_reset(struct image *image)
{
	for (unsigned i = 0; i < SHIM_FILES; i++) {
		memcpy(image->file[i].bytes, empty[i], image->file[i].size);
		memset(image->file[i].touched, 0, image->file[i].size / SHIM_PAGE);
	}
	return 0;
}
