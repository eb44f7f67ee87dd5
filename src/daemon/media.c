#include "daemon/media.h"

#include "device/device.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

struct part {
	struct fs *fs;
	const char *path;
	unsigned number;
};

static int report(void *arg, uint64_t offset, uint64_t length)
{
	const struct part *part = arg;
	int error = fs_report_lost(part->fs, part->number, offset, length);

	/* Not blocks of anybody: the header in use was read, so it is the other one, if any. */
	if (error == -EINVAL)
		log_warning("%s: %" PRIu64 " bytes at %" PRIu64 " are lost to media errors, outside of all files: "
			    "`pinfs fsck` tells whether a header is",
			    part->path, length, offset);
	else if (error != 0)
		log_warning("%s: %" PRIu64 " bytes at %" PRIu64 " are lost to media errors; noting that: %s",
			    part->path, length, offset, strerror(-error));
	return 0;
}

static void report_part(struct devices *devices, struct part *part)
{
	int error = device_media_errors(devices, part->path, report, part);

	if (error == -EACCES)
		log_warning(
			"%s: its device has media errors, and only root is told where: what is lost will be found when "
			"it is met",
			part->path);
	else if (error != 0)
		log_warning(
			"%s: its device has media errors, and where they are in it cannot be told (%s): what is lost "
			"will be found when it is met",
			part->path, strerror(-error));
}

void daemon_report_media(struct fs *fs)
{
	struct part part = {.fs = fs};
	struct devices *devices;
	const char *durability;
	uint64_t blocks;

	if (devices_open(&devices) != 0)
		return;
	while (fs_part_info(fs, part.number, &part.path, &durability, &blocks) == 0) {
		report_part(devices, &part);
		part.number++;
	}
	devices_close(devices);
}
