/* What libndctl knows of NVDIMM buses. Its own messages are dropped: "unknown" is an answer here. */
#include "device/inside.h"

#include <daxctl/libdaxctl.h>
#include <errno.h>
#include <limits.h>
#include <ndctl/libndctl.h>
#include <stdio.h>
#include <string.h>

static void say_nothing(struct ndctl_ctx *context, int priority, const char *file, int line, const char *function,
			const char *format, va_list args)
{
	(void)context;
	(void)priority;
	(void)file;
	(void)line;
	(void)function;
	(void)format;
	(void)args;
}

static void dax_say_nothing(struct daxctl_ctx *context, int priority, const char *file, int line, const char *function,
			    const char *format, va_list args)
{
	(void)context;
	say_nothing(NULL, priority, file, line, function, format, args);
}

int nd_open(struct devices *devices)
{
	if (devices->nd != NULL)
		return 0;
	if (ndctl_new(&devices->nd) != 0) {
		devices->nd = NULL;
		return -ENOMEM;
	}
	ndctl_set_log_fn(devices->nd, say_nothing);
	daxctl_set_log_fn(ndctl_get_daxctl_ctx(devices->nd), dax_say_nothing);
	return 0;
}

void nd_close(struct devices *devices)
{
	if (devices->nd != NULL)
		ndctl_unref(devices->nd);
}

static enum device_domain domain_of(struct ndctl_region *region)
{
	switch (ndctl_region_get_persistence_domain(region)) {
	case PERSISTENCE_NONE:
		return DEVICE_DOMAIN_NONE;
	case PERSISTENCE_MEM_CTRL:
		return DEVICE_DOMAIN_MEMORY_CONTROLLER;
	case PERSISTENCE_CPU_CACHE:
		return DEVICE_DOMAIN_CPU_CACHE;
	case PERSISTENCE_UNKNOWN:
		break;
	}
	return DEVICE_DOMAIN_UNKNOWN;
}

static enum device_mode mode_of(struct ndctl_namespace *space)
{
	switch (ndctl_namespace_get_mode(space)) {
	case NDCTL_NS_MODE_FSDAX:
		return DEVICE_MODE_FSDAX;
	case NDCTL_NS_MODE_DEVDAX:
		return DEVICE_MODE_DEVDAX;
	case NDCTL_NS_MODE_SECTOR:
		return DEVICE_MODE_SECTOR;
	default:
		return DEVICE_MODE_RAW;
	}
}

static void note(struct ndctl_region *region, struct ndctl_namespace *space, struct device_facts *facts)
{
	unsigned long long free_bytes = ndctl_region_get_max_available_extent(region);

	/* Kernels before 4.17 tell only how much there is in all. */
	if (free_bytes == ULLONG_MAX)
		free_bytes = ndctl_region_get_available_size(region);
	snprintf(facts->region, sizeof(facts->region), "%s", ndctl_region_get_devname(region));
	snprintf(facts->namespace_name, sizeof(facts->namespace_name), "%s", ndctl_namespace_get_devname(space));
	facts->mode = mode_of(space);
	facts->domain = domain_of(region);
	facts->ways = ndctl_region_get_interleave_ways(region);
	facts->free_bytes = free_bytes != ULLONG_MAX ? free_bytes : 0;
	if (ndctl_region_has_numa(region) == 1)
		facts->numa_node = ndctl_region_get_numa_node(region);
}

/* The disk that a namespace has become, by its mode. */
static bool is_disk(struct ndctl_namespace *space, const char *whole)
{
	struct ndctl_pfn *pfn = ndctl_namespace_get_pfn(space);
	struct ndctl_btt *btt = ndctl_namespace_get_btt(space);
	const char *name;

	if (pfn != NULL)
		name = ndctl_pfn_get_block_device(pfn);
	else if (btt != NULL)
		name = ndctl_btt_get_block_device(btt);
	else
		name = ndctl_namespace_get_block_device(space);
	return name != NULL && strcmp(name, whole) == 0;
}

int nd_learn_disk(struct devices *devices, const char *whole, struct device_facts *facts)
{
	struct ndctl_namespace *space;
	struct ndctl_region *region;
	struct ndctl_bus *bus;
	int error = nd_open(devices);

	if (error != 0)
		return error;
	ndctl_bus_foreach(devices->nd, bus)
	{
		ndctl_region_foreach(bus, region)
		{
			ndctl_namespace_foreach(region, space)
			{
				if (is_disk(space, whole)) {
					note(region, space, facts);
					return 0;
				}
			}
		}
	}
	return -ENOENT;
}

/* The namespace that a devdax node is of; NULL: of none, as memory that is no NVDIMM's. */
static struct ndctl_dax *find_dax(struct devices *devices, struct daxctl_dev *node)
{
	struct ndctl_region *region;
	struct ndctl_bus *bus;
	struct ndctl_dax *dax;

	ndctl_bus_foreach(devices->nd, bus)
	{
		ndctl_region_foreach(bus, region)
		{
			ndctl_dax_foreach(region, dax)
			{
				struct daxctl_region *nodes = ndctl_dax_get_daxctl_region(dax);
				struct daxctl_dev *dev = nodes != NULL ? daxctl_dev_get_first(nodes) : NULL;

				for (; dev != NULL; dev = daxctl_dev_get_next(dev)) {
					if (strcmp(daxctl_dev_get_devname(dev), daxctl_dev_get_devname(node)) == 0)
						return dax;
				}
			}
		}
	}
	return NULL;
}

int nd_learn_dax(struct devices *devices, dev_t number, struct device_facts *facts)
{
	struct daxctl_dev *node;
	struct ndctl_dax *dax;
	int error = nd_open(devices);

	if (error != 0)
		return error;
	node = dax_find(ndctl_get_daxctl_ctx(devices->nd), number);
	if (node == NULL)
		return -ENOENT;
	dax_learn(node, facts);
	dax = find_dax(devices, node);
	if (dax == NULL || ndctl_dax_get_namespace(dax) == NULL)
		return -ENOENT;
	note(ndctl_dax_get_region(dax), ndctl_dax_get_namespace(dax), facts);
	return 0;
}

int nd_node_errors(struct devices *devices, dev_t number, struct media_list *list, struct media_extent *ret_node)
{
	struct ndctl_region *region;
	struct daxctl_dev *node;
	struct badblock *block;
	struct ndctl_dax *dax;
	uint64_t start, place;
	int error = nd_open(devices);

	if (error != 0)
		return error;
	node = dax_find(ndctl_get_daxctl_ctx(devices->nd), number);
	dax = node != NULL ? find_dax(devices, node) : NULL;
	if (dax == NULL)
		return -ENOENT;
	region = ndctl_dax_get_region(dax);
	ndctl_region_badblock_foreach(region, block)
	{
		error = media_add(list, block->offset, block->len);
		if (error != 0)
			return error;
	}
	start = ndctl_region_get_resource(region);
	place = dax_address(node);
	if (list->count > 0 && (start == UINT64_MAX || place == UINT64_MAX || place < start))
		return -EACCES;
	*ret_node = (struct media_extent){.place = place - start, .length = daxctl_dev_get_size(node)};
	return 0;
}
