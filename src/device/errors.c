/* The media errors that the kernel knows in a file or a devdax node. */
#include "device/inside.h"

#include "base/arith.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define EXTENTS 256u /* asked for at once */

static int visit_dax(struct devices *devices, dev_t number, device_visit visit, void *arg)
{
	struct media_list list = {.count = 0};
	struct media_extent node = {.length = 0};
	int error = nd_node_errors(devices, number, &list, &node);

	if (error == 0)
		error = media_visit(&list, &node, node.length, visit, arg);
	media_fini(&list);
	return error == -ENOENT ? 0 : error;
}

static int read_disk_errors(const struct disk *disk, struct media_list *list)
{
	char path[128], line[64];
	int error = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/sys/class/block/%s/badblocks", disk->whole);
	file = fopen(path, "re");
	/* Not every disk has a list. */
	if (file == NULL)
		return errno == ENOENT ? 0 : -errno;
	while (error == 0 && fgets(line, sizeof(line), file) != NULL) {
		/* An empty one is an empty line. */
		if (line[0] != '\n')
			error = media_add_line(list, line);
	}
	fclose(file);
	return error;
}

/* One round of extents, from *offset on; *offset is where the next begins, UINT64_MAX: there is none. */
static int visit_extents(int fd, const struct disk *disk, uint64_t size, const struct media_list *list,
			 struct fiemap *map, uint64_t *offset, device_visit visit, void *arg)
{
	int result = 0;

	*map = (struct fiemap){
		.fm_start = *offset,
		.fm_length = FIEMAP_MAX_OFFSET - *offset,
		.fm_flags = *offset == 0 ? FIEMAP_FLAG_SYNC : 0,
		.fm_extent_count = EXTENTS,
	};
	if (ioctl(fd, FS_IOC_FIEMAP, map) != 0)
		return -errno;
	*offset = map->fm_mapped_extents == EXTENTS ? *offset : UINT64_MAX;
	for (unsigned i = 0; i < map->fm_mapped_extents && result == 0; i++) {
		const struct fiemap_extent *each = &map->fm_extents[i];
		const struct media_extent extent = {
			.offset = each->fe_logical,
			.place = disk->start + each->fe_physical,
			.length = each->fe_length,
		};

		if ((each->fe_flags & (FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_ENCODED)) == 0)
			result = media_visit(list, &extent, size, visit, arg);
		if (*offset != UINT64_MAX)
			*offset = each->fe_logical + each->fe_length;
	}
	return result;
}

static int visit_file(const char *path, const struct disk *disk, uint64_t size, const struct media_list *list,
		      device_visit visit, void *arg)
{
	struct fiemap *map = calloc(1, sizeof(*map) + EXTENTS * sizeof(map->fm_extents[0]));
	uint64_t offset = 0;
	int error = 0;
	int fd;

	if (map == NULL)
		return -ENOMEM;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		error = -errno;
	while (error == 0 && offset < size)
		error = visit_extents(fd, disk, size, list, map, &offset, visit, arg);
	if (fd >= 0)
		close(fd);
	free(map);
	return error == -ENOTTY || error == -EINVAL ? -EOPNOTSUPP : error;
}

int device_media_errors(struct devices *devices, const char *path, device_visit visit, void *arg)
{
	struct media_list list = {.count = 0};
	struct stat attr;
	struct disk disk;
	int error;

	if (stat(path, &attr) != 0)
		return -errno;
	if (S_ISCHR(attr.st_mode))
		return device_is_dax(attr.st_rdev) ? visit_dax(devices, attr.st_rdev, visit, arg) : 0;
	if (!S_ISREG(attr.st_mode) || device_find_disk(attr.st_dev, &disk) != 0)
		return 0;
	error = read_disk_errors(&disk, &list);
	if (error == 0 && list.count > 0)
		error = visit_file(path, &disk, (uint64_t)attr.st_size, &list, visit, arg);
	media_fini(&list);
	return error;
}
