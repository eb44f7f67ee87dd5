/*
 * What to do with a device that is not fit as it is, in words, with the commands filled in. Who runs them knows what is
 * on the device; we say what they destroy.
 */
#include "device/device.h"

#include "base/arith.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define META_MIN (128ull << 20) /* a namespace has some MiB less for data than its size */
#define META_SHARE 32 /* of the data: as mkfs makes a meta part in a file */
#define UNIT (16ull << 20) /* namespaces begin and end at multiples of it, on each DIMM */

struct words {
	struct message *message;
	size_t length;
};

static void add(struct words *words, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct words *words, const char *format, ...)
{
	const size_t room = sizeof(words->message->text) - words->length;
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(words->message->text + words->length, room, format, args);
	va_end(args);
	words->length += length > 0 ? min_u64((uint64_t)length, room - 1) : 0;
}

/* Of the namespace for the meta part: a multiple of what the region's interleaving asks for. */
static uint64_t meta_size(const struct device_facts *facts)
{
	const uint64_t unit = UNIT * max_u64(facts->ways, 1);
	const uint64_t size = max_u64(META_MIN, facts->bytes / META_SHARE);

	return (size + unit - 1) / unit * unit;
}

static void on_nvdimm(const struct device_facts *facts, const char *path, struct words *words)
{
	const uint64_t size = meta_size(facts) >> 20;

	if (facts->free_bytes >= meta_size(facts)) {
		add(words, "there is room for another one beside it, in %s:\n", facts->region);
		add(words, "  ndctl create-namespace --region=%s --mode=devdax --size=%" PRIu64 "M\n", facts->region,
		    size);
		add(words, "  pinfs mkfs --data %s /dev/daxX.Y      # X.Y: the chardev that it names\n", path);
		return;
	}
	add(words, "carve it in two, which destroys what it holds:\n");
	add(words, "  ndctl destroy-namespace --force %s\n", facts->namespace_name);
	add(words, "  ndctl create-namespace --region=%s --mode=devdax --size=%" PRIu64 "M\n", facts->region, size);
	add(words, "  ndctl create-namespace --region=%s --mode=devdax\n", facts->region);
	add(words, "  pinfs mkfs --force --data /dev/daxX.Y /dev/daxV.W      # V.W: the chardev of the first, X.Y of "
		   "the second\n");
}

/* Soft-reserved memory, CXL: the dax driver divides it by itself. */
static void on_dax_region(const struct device_facts *facts, const char *path, struct words *words)
{
	const uint64_t size = meta_size(facts) >> 20;

	add(words, "it is of no NVDIMM, so whether it survives a loss of power is for its maker to say. "
		   "Carve it in two, which destroys what it holds:\n");
	add(words, "  daxctl disable-device %s\n", facts->name);
	add(words, "  daxctl reconfigure-device --size=%" PRIu64 "M %s\n", (facts->bytes >> 20) - size, facts->name);
	add(words, "  daxctl create-device --region=%d --size=%" PRIu64 "M\n", facts->dax_region, size);
	add(words, "  pinfs mkfs --force --data %s /dev/daxX.Y      # X.Y: the chardev that it names\n", path);
}

void device_carve(const struct device_facts *facts, const char *path, struct message *message)
{
	struct words words = {.message = message};

	if (message == NULL)
		return;
	add(&words, "%s: is one device, and a pool takes two: the meta part has a device, or a file, of its own", path);
	if (facts->namespace_name[0] != '\0') {
		add(&words, "; ");
		on_nvdimm(facts, path, &words);
	} else if (facts->dax_region >= 0 && facts->bytes > 2 * meta_size(facts)) {
		add(&words, "; ");
		on_dax_region(facts, path, &words);
	} else {
		add(&words, ":\n");
	}
	add(&words, "or have the meta part in a file on persistent memory, mounted with -o dax:\n");
	add(&words, "  pinfs mkfs --data %s FILE", path);
}

/* A disk of persistent memory: files on it are parts, or the namespace becomes devdax. */
static void pmem_disk(const struct device_facts *facts, const char *path, struct words *words)
{
	if (facts->mode == DEVICE_MODE_FSDAX) {
		add(words, "make a filesystem on it, mount it with dax, and name a file there:\n");
		add(words, "  mkfs.ext4 -b 4096 %s\n", path);
		add(words, "  mount -o dax %s /mnt\n", path);
		add(words, "  pinfs mkfs /mnt/pool\n");
		add(words, "or give it to pinfs as a devdax node (both destroy what it holds):\n");
	} else {
		add(words,
		    "its namespace is in %s mode, which cannot be mapped safely: make it a devdax node, which "
		    "destroys what it holds:\n",
		    facts->mode == DEVICE_MODE_SECTOR ? "sector" : "raw");
	}
	add(words, "  ndctl create-namespace --force --reconfig=%s --mode=devdax", facts->namespace_name);
}

void device_unfit(const struct device_facts *facts, const char *path, const char *mounted_on, struct message *message)
{
	struct words words = {.message = message};

	if (message == NULL)
		return;
	add(&words, "%s: ", path);
	if (facts->system_ram)
		add(&words,
		    "is in use: the kernel has it as memory (system-ram mode); this gives it back, if nothing is in "
		    "it that cannot be moved:\n  daxctl reconfigure-device --mode=devdax --force %s",
		    facts->name);
	else if (facts->kind == DEVICE_NVDIMM)
		add(&words, "is a control node of NVDIMMs, and their labels are no memory for data: name a devdax node "
			    "or a file: see `ndctl list --namespaces`");
	else if (facts->kind != DEVICE_PMEM && facts->kind != DEVICE_DISK)
		add(&words, "is neither a file nor a devdax node");
	else if (mounted_on[0] != '\0')
		add(&words, "is a disk, mounted on %.512s: name a file there, as in `pinfs mkfs %.512s/pool`",
		    mounted_on, strcmp(mounted_on, "/") == 0 ? "" : mounted_on);
	else if (facts->kind == DEVICE_PMEM && facts->namespace_name[0] != '\0') {
		add(&words, "is a disk, and parts of a pool are files and devdax nodes: ");
		pmem_disk(facts, path, &words);
	} else {
		add(&words,
		    "is a disk, and parts of a pool are files and devdax nodes: make a filesystem on it, mount it, "
		    "and name a file there");
	}
}
