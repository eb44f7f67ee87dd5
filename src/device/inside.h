/* What the files of src/device share. */
#ifndef PINFS_DEVICE_INSIDE_H
#define PINFS_DEVICE_INSIDE_H

#include "device/device.h"
#include "device/media.h"

#include <sys/stat.h>
#include <sys/types.h>

struct ndctl_ctx;
struct ndctl_region;
struct daxctl_ctx;
struct daxctl_dev;

struct devices {
	struct ndctl_ctx *nd; /* NULL until something lies on such a bus */
};

/* A disk, or a partition of one. */
struct disk {
	char name[64]; /* its own */
	char whole[64]; /* of the disk that it is on */
	uint64_t start; /* bytes of the disk before it */
};

/* device.c. -ENODEV: no disk has that number. */
int device_find_disk(dev_t number, struct disk *ret_disk);
/* The number of the disk that a path is, or that its filesystem is on. */
dev_t device_number(const struct stat *attr);
bool device_is_dax(dev_t number);

/* nd.c: fills in what libndctl knows. -ENOENT: it is on no NVDIMM bus. */
int nd_open(struct devices *devices);
void nd_close(struct devices *devices);
int nd_learn_disk(struct devices *devices, const char *whole, struct device_facts *facts);
int nd_learn_dax(struct devices *devices, dev_t number, struct device_facts *facts);
/*
 * Errors of the region that a devdax node is in, and where in the region the node is. -ENOENT: it is in none, and the
 * kernel keeps no list; -EACCES: there are errors, and only root is told where.
 */
int nd_node_errors(struct devices *devices, dev_t number, struct media_list *list, struct media_extent *ret_node);

/* dax.c. NULL: none has that number. */
struct daxctl_dev *dax_find(struct daxctl_ctx *context, dev_t number);
void dax_learn(struct daxctl_dev *dev, struct device_facts *facts);
uint64_t dax_address(struct daxctl_dev *dev); /* UINT64_MAX: unknown */

#endif
