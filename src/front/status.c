/* The numbers of a mount as JSON: `pinfs stat`, and the virtual xattr that it reads. Sizes in bytes, times in ns. */
#include "device/device.h"
#include "front/request.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The number of this text's form: goes up when a key changes its meaning or goes away, not when one is added. */
#define STATUS_SCHEMA 1

/* Sets a key; takes the value, NULL included. */
static int put(json_t *object, const char *key, json_t *value)
{
	return json_object_set_new(object, key, value) == 0 ? 0 : -ENOMEM;
}

static int put_number(json_t *object, const char *key, uint64_t value)
{
	return put(object, key, json_integer((json_int_t)value));
}

/* Paths are bytes, JSON is text: a path that is not UTF-8 loses the bytes that are not. */
static int put_string(json_t *object, const char *key, const char *value)
{
	json_t *string = json_string(value);
	char *ascii;
	size_t length;

	if (string != NULL)
		return put(object, key, string);
	ascii = strdup(value);
	if (ascii == NULL)
		return -ENOMEM;
	length = strlen(ascii);
	for (size_t i = 0; i < length; i++) {
		if (((unsigned char)ascii[i] & 0x80) != 0)
			ascii[i] = '?';
	}
	string = json_string(ascii);
	free(ascii);
	return put(object, key, string);
}

static uint64_t load(_Atomic uint64_t *number)
{
	return atomic_load_explicit(number, memory_order_relaxed);
}

static json_t *histogram(struct front_counter *counter)
{
	json_t *array = json_array();
	unsigned used = FRONT_BUCKETS;

	while (used > 0 && load(&counter->bucket[used - 1]) == 0)
		used--;
	for (unsigned i = 0; array != NULL && i < used; i++) {
		if (json_array_append_new(array, json_integer((json_int_t)load(&counter->bucket[i]))) != 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static json_t *operation(enum front_op op, struct front_counter *counter)
{
	json_t *object = json_object();
	int error = 0;

	error |= put_number(object, "count", load(&counter->count));
	error |= put_number(object, "errors", load(&counter->errors));
	if (op == FRONT_READ || op == FRONT_WRITE || op == FRONT_COPY_FILE_RANGE)
		error |= put_number(object, "bytes", load(&counter->bytes));
	error |= put_number(object, "total_ns", load(&counter->total_ns));
	error |= put(object, "log2_ns", histogram(counter));
	if (error == 0)
		return object;
	json_decref(object);
	return NULL;
}

static int put_operations(json_t *status, struct front *front)
{
	json_t *object = json_object();
	int error = 0;

	for (unsigned op = 0; op < FRONT_OPS; op++)
		error |= put(object, front_op_name(op), operation(op, &front->stats.counter[op]));
	error |= put(status, "operations", object);
	return error;
}

/* What is known of the device below a path; nothing of one that is no device's, as on tmpfs. */
static int put_device(json_t *object, struct devices *devices, const char *path)
{
	struct device_facts facts;
	json_t *device;
	int error = 0;

	if (device_learn(devices, path, &facts) != 0 || facts.kind == DEVICE_NONE)
		return 0;
	device = json_object();
	error |= put_string(device, "name", facts.name);
	error |= put_string(device, "kind", device_kind_name(facts.kind));
	if (facts.alignment != 0)
		error |= put_number(device, "alignment_bytes", facts.alignment);
	if (facts.numa_node >= 0)
		error |= put_number(device, "numa_node", (uint64_t)facts.numa_node);
	if (facts.namespace_name[0] != '\0') {
		error |= put_string(device, "namespace", facts.namespace_name);
		error |= put_string(device, "region", facts.region);
		error |= put_string(device, "persistence_domain", device_domain_name(facts.domain));
	}
	return error | put(object, "device", device);
}

static int put_parts(json_t *status, struct fs *fs, struct devices *devices, uint64_t block_size)
{
	const char *path, *durability;
	json_t *array = json_array();
	uint64_t blocks;
	int error = 0;

	for (unsigned i = 0; fs_part_info(fs, i, &path, &durability, &blocks) == 0; i++) {
		json_t *part = json_object();

		error |= put_number(part, "number", i);
		error |= put_string(part, "path", path);
		error |= put_string(part, "durability", durability);
		error |= put_number(part, "bytes", blocks * block_size);
		error |= put_device(part, devices, path);
		error |= json_array_append_new(array, part) == 0 ? 0 : -ENOMEM;
	}
	error |= put(status, "parts", array);
	return error;
}

/* A list of names, ", " between. */
static int put_features(json_t *status, const char *names)
{
	json_t *array = json_array();
	int error = 0;

	while (names[0] != '\0') {
		size_t length = strcspn(names, ",");

		error |= json_array_append_new(array, json_stringn(names, length)) == 0 ? 0 : -ENOMEM;
		names += length;
		names += strspn(names, ", ");
	}
	error |= put(status, "features", array);
	return error;
}

static int put_space(json_t *status, struct devices *devices, const struct fs_stats *stats)
{
	json_t *space = json_object();
	json_t *inodes = json_object();
	json_t *meta = json_object();
	int error = 0;

	error |= put_number(space, "block_bytes", stats->block_size);
	error |= put_number(space, "total_bytes", stats->blocks_total * stats->block_size);
	error |= put_number(space, "used_bytes", (stats->blocks_total - stats->blocks_free) * stats->block_size);
	error |= put_number(space, "free_bytes", stats->blocks_free * stats->block_size);
	error |= put_number(space, "free_runs", stats->free_runs);
	error |= put_number(space, "largest_free_run_bytes", stats->largest_free_run * stats->block_size);
	error |= put_number(space, "bad_frees", stats->bad_frees);
	error |= put_number(space, "bad_bytes", stats->blocks_bad * stats->block_size);
	error |= put(status, "space", space);

	error |= put_number(inodes, "used", stats->inodes_used);
	error |= put_number(inodes, "cached", stats->inodes_cached);
	error |= put(status, "inodes", inodes);

	error |= put_string(meta, "path", stats->meta_path);
	error |= put_string(meta, "durability", stats->meta_durability);
	error |= put_number(meta, "total_bytes", stats->meta_pages_total * stats->block_size);
	error |= put_number(meta, "free_bytes", stats->meta_pages_free * stats->block_size);
	error |= put_device(meta, devices, stats->meta_path);
	error |= put(status, "meta", meta);
	return error;
}

static int put_pins(json_t *status, struct fs *fs, uint64_t block_size)
{
	struct pin_stats stats;
	json_t *pins = json_object();
	int error = 0;

	fs_pin_stats(fs, &stats);
	error |= put_number(pins, "pins", stats.pins);
	error |= put_number(pins, "holders", stats.holders);
	error |= put_number(pins, "pinned_bytes", stats.pinned_blocks * block_size);
	error |= put_number(pins, "limbo_bytes", fs_limbo_blocks(fs) * block_size);
	error |= put_number(pins, "waiting", stats.waiting);
	error |= put_number(pins, "waiting_breaks", stats.waiting_breaks);
	error |= put_number(pins, "longest_wait_ns", stats.longest_wait);
	error |= put_number(pins, "grants", stats.grants);
	error |= put_number(pins, "drops", stats.drops);
	error |= put_number(pins, "breaks_waited", stats.breaks_waited);
	error |= put_number(pins, "timeouts", stats.timeouts);
	error |= put_number(pins, "detaches", stats.detaches);
	error |= put_number(pins, "interrupts", stats.interrupts);
	error |= put_number(pins, "revokes", stats.revokes);
	error |= put_number(pins, "canaries", stats.canaries);
	error |= put_number(pins, "lost_blocks", fs_poison_count(fs));
	error |= put(status, "pins", pins);
	return error;
}

static int put_daemon(json_t *status, struct front *front)
{
	struct timespec now;

	if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
		return -errno;
	return put_number(status, "schema", STATUS_SCHEMA) | put_string(status, "version", PINFS_VERSION) |
	       put_number(status, "pid", (uint64_t)getpid()) |
	       put_number(status, "uptime_seconds", (uint64_t)(now.tv_sec - front->started.tv_sec)) |
	       put_string(status, "mountpoint", front->mountpoint) | put_string(status, "libfuse", fuse_pkgversion()) |
	       put_string(status, "cache", front_cache_name(front->cache)) |
	       put_string(status, "transport",
			  front_transport_name(front->uring != NULL ? FRONT_TRANSPORT_URING : FRONT_TRANSPORT_DEV)) |
	       put(status, "read_only", json_boolean(fs_read_only(front->fs))) |
	       put(status, "shut_down", json_boolean(fs_is_shut_down(front->fs)));
}

/* Without `parts` only their number is told. */
static int make_text(struct front *front, bool parts, char **ret_text)
{
	json_t *status = json_object();
	struct fs_stats *stats = malloc(sizeof(*stats));
	struct devices *devices = NULL;
	int error = -ENOMEM;
	char *text;

	if (status == NULL || stats == NULL || devices_open(&devices) != 0)
		goto out;
	fs_get_stats(front->fs, stats);
	error = put_daemon(status, front);
	error |= put_features(status, stats->features);
	error |= put_space(status, devices, stats);
	error |= put_pins(status, front->fs, stats->block_size);
	error |= put_number(status, "part_count", stats->parts);
	if (parts)
		error |= put_parts(status, front->fs, devices, stats->block_size);
	error |= put_operations(status, front);
	text = error == 0 ? json_dumps(status, JSON_COMPACT) : NULL;
	error = text == NULL ? -ENOMEM : 0;
	if (error == 0)
		*ret_text = text;
out:
	devices_close(devices);
	free(stats);
	json_decref(status);
	return error;
}

int front_status(struct front *front, size_t limit, char **ret_text)
{
	char *text;
	int error;

	error = make_text(front, true, &text);
	if (error == 0 && strlen(text) > limit) {
		free(text);
		error = make_text(front, false, &text);
	}
	if (error != 0)
		return error;
	if (strlen(text) > limit) {
		free(text);
		return -E2BIG;
	}
	*ret_text = text;
	return 0;
}
