/*
 * What the kernel tells of the device below a file or a devdax node. Reads only; functions return 0 or -errno, words in
 * `message` (may be NULL). Not for one `struct devices` from two threads.
 */
#ifndef PINFS_DEVICE_DEVICE_H
#define PINFS_DEVICE_DEVICE_H

#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum device_kind {
	DEVICE_NONE, /* none that could be told: tmpfs, a network filesystem, several devices */
	DEVICE_DEVDAX, /* a devdax node */
	DEVICE_PMEM, /* a disk that is persistent memory, or a partition of one */
	DEVICE_DISK, /* any other disk */
	DEVICE_NVDIMM, /* nmemN, ndctlN: control nodes, no memory */
};

enum device_mode {
	DEVICE_MODE_NONE, /* of no NVDIMM bus */
	DEVICE_MODE_FSDAX,
	DEVICE_MODE_DEVDAX,
	DEVICE_MODE_SECTOR,
	DEVICE_MODE_RAW,
};

/* What is lost when the power fails. */
enum device_domain {
	DEVICE_DOMAIN_UNKNOWN,
	DEVICE_DOMAIN_NONE, /* nothing is persistent */
	DEVICE_DOMAIN_MEMORY_CONTROLLER, /* what is still in a cache: it has to be flushed */
	DEVICE_DOMAIN_CPU_CACHE, /* nothing: eADR */
};

struct device_facts {
	enum device_kind kind;
	char name[64]; /* as the kernel calls it: dax0.0, pmem1, pmem1p2; "": none */
	uint64_t bytes; /* of a devdax node */
	uint64_t alignment; /* of mappings; 0: not known */
	int numa_node; /* -1: not known */
	bool system_ram; /* the kernel uses the devdax node as memory */
	int dax_region; /* number of a devdax node's region, for daxctl; -1: not known */
	/* The rest only on an NVDIMM bus. */
	char namespace_name[32];
	char region[32];
	enum device_mode mode;
	enum device_domain domain;
	unsigned ways; /* DIMMs that the region is interleaved over */
	uint64_t free_bytes; /* the largest namespace that could be made in the region */
};

struct devices;
int devices_open(struct devices **ret_devices);
void devices_close(struct devices *devices);

/* Of the device that a path is (devdax, disk) or that its filesystem is on. */
int device_learn(struct devices *devices, const char *path, struct device_facts *ret_facts);
const char *device_domain_name(enum device_domain domain);
const char *device_kind_name(enum device_kind kind);

/*
 * Calls visit(arg, offset, length) for each range of the file or devdax node that the kernel knows to be lost, until it
 * returns not 0; in bytes of it. -EACCES: only root can tell; -EOPNOTSUPP: where the file's blocks are is not known.
 * Both mean nothing if there are no errors to be found, and are then not returned.
 */
typedef int (*device_visit)(void *arg, uint64_t offset, uint64_t length);
int device_media_errors(struct devices *devices, const char *path, device_visit visit, void *arg);

/* -EBUSY, with who and what to do in `message`, if something uses the file or device that takes no lock on it. */
int device_check_users(const char *path, struct message *message);

/* In words: how two devices are made of a devdax node and what is free beside it; commands, a line each. */
void device_carve(const struct device_facts *facts, const char *path, struct message *message);
/* In words: why a disk or control node is no part of a pool, and how it is made one. `mounted_on`: or "". */
void device_unfit(const struct device_facts *facts, const char *path, const char *mounted_on, struct message *message);

/* Where a disk is mounted, "" if it is not. */
#define DEVICE_PATH_MAX 4096u
void device_mounted_on(const char *path, char ret_mountpoint[DEVICE_PATH_MAX]);

#endif
