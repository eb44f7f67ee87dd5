/* What libdaxctl knows of a devdax node. */
#include "device/inside.h"

#include <daxctl/libdaxctl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/sysmacros.h>

struct daxctl_dev *dax_find(struct daxctl_ctx *context, dev_t number)
{
	struct daxctl_region *region;
	struct daxctl_dev *dev;

	daxctl_region_foreach(context, region)
	{
		daxctl_dev_foreach(region, dev)
		{
			if (daxctl_dev_get_major(dev) == (int)major(number) &&
			    daxctl_dev_get_minor(dev) == (int)minor(number))
				return dev;
		}
	}
	return NULL;
}

void dax_learn(struct daxctl_dev *dev, struct device_facts *facts)
{
	unsigned long alignment = daxctl_dev_get_align(dev);

	facts->bytes = daxctl_dev_get_size(dev);
	facts->alignment = alignment != ULONG_MAX ? alignment : 0;
	facts->numa_node = daxctl_dev_get_target_node(dev);
	facts->system_ram = daxctl_dev_get_memory(dev) != NULL;
	facts->dax_region = daxctl_region_get_id(daxctl_dev_get_region(dev));
}

uint64_t dax_address(struct daxctl_dev *dev)
{
	unsigned long long address = daxctl_dev_get_resource(dev);

	/* The library's word for what it could not read differs from version to version. */
	return address == 0 || address == ULLONG_MAX ? UINT64_MAX : address;
}
