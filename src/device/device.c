/* From a path to the device below it. */
#include "device/inside.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static const char *last_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? slash + 1 : path;
}

/* The folder in /sys of a device, without links. */
static int sys_folder(const char *type, dev_t number, char ret_path[PATH_MAX])
{
	char link[64];

	snprintf(link, sizeof(link), "/sys/dev/%s/%u:%u", type, major(number), minor(number));
	return realpath(link, ret_path) != NULL ? 0 : -ENODEV;
}

static bool sys_number(const char *folder, const char *attribute, uint64_t *ret_value)
{
	char path[PATH_MAX];
	FILE *file;
	bool found;

	if (snprintf(path, sizeof(path), "%s/%s", folder, attribute) >= (int)sizeof(path))
		return false;
	file = fopen(path, "re");
	if (file == NULL)
		return false;
	found = fscanf(file, "%" SCNu64, ret_value) == 1;
	fclose(file);
	return found;
}

int device_find_disk(dev_t number, struct disk *ret_disk)
{
	char folder[PATH_MAX];
	uint64_t ignored;
	int error;

	error = sys_folder("block", number, folder);
	if (error != 0)
		return error;
	*ret_disk = (struct disk){.start = 0};
	snprintf(ret_disk->name, sizeof(ret_disk->name), "%.63s", last_name(folder));
	if (sys_number(folder, "partition", &ignored)) {
		if (!sys_number(folder, "start", &ret_disk->start))
			return -ENODEV;
		ret_disk->start *= MEDIA_SECTOR;
		*strrchr(folder, '/') = '\0';
	}
	snprintf(ret_disk->whole, sizeof(ret_disk->whole), "%.63s", last_name(folder));
	return 0;
}

dev_t device_number(const struct stat *attr)
{
	return S_ISBLK(attr->st_mode) || S_ISCHR(attr->st_mode) ? attr->st_rdev : attr->st_dev;
}

bool device_is_dax(dev_t number)
{
	char path[PATH_MAX], subsystem[PATH_MAX];

	snprintf(path, sizeof(path), "/sys/dev/char/%u:%u/subsystem", major(number), minor(number));
	return realpath(path, subsystem) != NULL && strcmp(last_name(subsystem), "dax") == 0;
}

int devices_open(struct devices **ret_devices)
{
	*ret_devices = calloc(1, sizeof(**ret_devices));
	return *ret_devices != NULL ? 0 : -ENOMEM;
}

void devices_close(struct devices *devices)
{
	if (devices == NULL)
		return;
	nd_close(devices);
	free(devices);
}

static int learn_char(struct devices *devices, dev_t number, struct device_facts *facts)
{
	char folder[PATH_MAX];
	int error;

	if (sys_folder("char", number, folder) != 0)
		return 0;
	snprintf(facts->name, sizeof(facts->name), "%.63s", last_name(folder));
	if (!device_is_dax(number)) {
		if (strncmp(facts->name, "nmem", 4) == 0 || strncmp(facts->name, "ndctl", 5) == 0)
			facts->kind = DEVICE_NVDIMM;
		return 0;
	}
	facts->kind = DEVICE_DEVDAX;
	error = nd_learn_dax(devices, number, facts);
	return error == -ENOENT ? 0 : error;
}

static int learn_disk(struct devices *devices, dev_t number, struct device_facts *facts)
{
	struct disk disk;
	int error;

	if (device_find_disk(number, &disk) != 0)
		return 0;
	facts->kind = DEVICE_DISK;
	memcpy(facts->name, disk.name, sizeof(facts->name));
	/* The driver's name for all of its disks; no look at the buses of NVDIMMs for others. */
	if (strncmp(disk.whole, "pmem", 4) != 0)
		return 0;
	facts->kind = DEVICE_PMEM;
	error = nd_learn_disk(devices, disk.whole, facts);
	return error == -ENOENT ? 0 : error;
}

int device_learn(struct devices *devices, const char *path, struct device_facts *ret_facts)
{
	struct stat attr;

	*ret_facts = (struct device_facts){.numa_node = -1, .dax_region = -1};
	if (stat(path, &attr) != 0)
		return -errno;
	if (S_ISCHR(attr.st_mode))
		return learn_char(devices, attr.st_rdev, ret_facts);
	return learn_disk(devices, device_number(&attr), ret_facts);
}

const char *device_domain_name(enum device_domain domain)
{
	static const char *const names[] = {
		[DEVICE_DOMAIN_UNKNOWN] = "unknown",
		[DEVICE_DOMAIN_NONE] = "none",
		[DEVICE_DOMAIN_MEMORY_CONTROLLER] = "memory_controller",
		[DEVICE_DOMAIN_CPU_CACHE] = "cpu_cache",
	};

	return names[domain];
}

const char *device_kind_name(enum device_kind kind)
{
	static const char *const names[] = {
		[DEVICE_NONE] = "none", [DEVICE_DEVDAX] = "devdax", [DEVICE_PMEM] = "pmem",
		[DEVICE_DISK] = "disk", [DEVICE_NVDIMM] = "nvdimm",
	};

	return names[kind];
}
