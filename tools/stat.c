/* pinfs stat: asks the daemon of a mount for its numbers, and prints them for people or as they came. */
#include "json.h"
#include "status.h"
#include "tool.h"

#include "base/log.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char help_text[] =
	"pinfs stat - what a mount is doing\n"
	"\n"
	"Usage: pinfs stat [--json] MOUNTPOINT\n"
	"\n"
	"Prints space, inodes, parts and what they lie on, and for each operation how many there were and how long "
	"they took\n"
	"(p50, p99: half, 99 % of them took no longer; powers of two).\n"
	"\n"
	"Options:\n"
	"  -j, --json     print the numbers as JSON: bytes and nanoseconds\n"
	"  -h, --help     this text\n"
	"  -V, --version  the version\n"
	"\n"
	"Examples:\n"
	"  pinfs stat /mnt/pin\n"
	"  pinfs stat --json /mnt/pin | jq .space.free_bytes\n"
	"\n"
	"Exit status: 0, 1 failed (also if the daemon does not answer within 10 seconds), 2 wrong use.\n";

struct time_text {
	char text[32];
};

static const char *time_text(double ns, struct time_text *room)
{
	static const char *const units[] = {"ns", "us", "ms", "s"};
	unsigned unit = 0;

	while (ns >= 999.5 && unit < 3) {
		ns /= 1000;
		unit++;
	}
	snprintf(room->text, sizeof(room->text), unit == 0 || ns >= 99.95 ? "%.0f %s" : "%.1f %s", ns, units[unit]);
	return room->text;
}

/* The upper end of the bucket in which the share of all operations is reached. */
static double quantile(const json_t *buckets, uint64_t count, double share)
{
	double bound = 1;
	double seen = 0;

	for (size_t i = 0; i < json_array_size(buckets); i++) {
		seen += (double)json_integer_value(json_array_get(buckets, i));
		if (seen >= share * (double)count)
			break;
		bound *= 2;
	}
	return bound;
}

static void print_operations(const json_t *operations)
{
	struct time_text mean, median, high;
	const char *name;
	json_t *operation;

	printf("\n%-18s %12s %8s %10s %10s %10s\n", "operation", "count", "errors", "mean", "p50", "p99");
	json_object_foreach((json_t *)operations, name, operation)
	{
		const json_t *buckets = json_object_get(operation, "log2_ns");
		uint64_t count = tool_json_number(operation, "count");

		if (count == 0)
			continue;
		printf("%-18s %12" PRIu64 " %8" PRIu64 " %10s %10s %10s\n", name, count,
		       tool_json_number(operation, "errors"),
		       time_text((double)tool_json_number(operation, "total_ns") / (double)count, &mean),
		       time_text(quantile(buckets, count, 0.5), &median),
		       time_text(quantile(buckets, count, 0.99), &high));
	}
}

/* What matters of persistent memory; of an ordinary disk nothing does. */
static void print_device(const json_t *object)
{
	const json_t *device = json_object_get(object, "device");
	const char *domain = json_string_value(json_object_get(device, "persistence_domain"));
	const char *kind = tool_json_string(device, "kind");
	struct tool_size_text alignment;

	if (strcmp(kind, "devdax") != 0 && strcmp(kind, "pmem") != 0)
		return;
	printf("%-10s %-10s %s on %s", "", "", kind, tool_json_string(device, "name"));
	if (json_object_get(device, "namespace") != NULL)
		printf(", %s, %s", tool_json_string(device, "namespace"), tool_json_string(device, "region"));
	if (tool_json_number(device, "alignment_bytes") != 0)
		printf(", aligned to %s", tool_size_text(tool_json_number(device, "alignment_bytes"), &alignment));
	if (json_object_get(device, "numa_node") != NULL)
		printf(", NUMA node %" PRIu64, tool_json_number(device, "numa_node"));
	if (domain != NULL && strcmp(domain, "memory_controller") == 0)
		printf(", persistent from the memory controller on");
	else if (domain != NULL && strcmp(domain, "cpu_cache") == 0)
		printf(", persistent from the CPU cache on");
	else if (domain != NULL)
		printf(", persistence domain: %s", domain);
	printf("\n");
}

static void print_parts(const json_t *status)
{
	const json_t *parts = json_object_get(status, "parts");
	struct tool_size_text size;

	if (parts == NULL)
		printf("%-10s %" PRIu64 "\n", "parts", tool_json_number(status, "part_count"));
	for (size_t i = 0; i < json_array_size(parts); i++) {
		const json_t *part = json_array_get(parts, i);

		printf("part %-5" PRIu64 " %-10s %s (%s)\n", tool_json_number(part, "number"),
		       tool_size_text(tool_json_number(part, "bytes"), &size), tool_json_string(part, "path"),
		       tool_json_string(part, "durability"));
		print_device(part);
	}
}

static void print_space(const json_t *status)
{
	const json_t *space = json_object_get(status, "space");
	const json_t *inodes = json_object_get(status, "inodes");
	const json_t *meta = json_object_get(status, "meta");
	struct tool_size_text total, used, free_bytes, largest;

	printf("%-10s %-10s %s used, %s free in %" PRIu64 " runs, the largest %s\n", "data",
	       tool_size_text(tool_json_number(space, "total_bytes"), &total),
	       tool_size_text(tool_json_number(space, "used_bytes"), &used),
	       tool_size_text(tool_json_number(space, "free_bytes"), &free_bytes), tool_json_number(space, "free_runs"),
	       tool_size_text(tool_json_number(space, "largest_free_run_bytes"), &largest));
	if (tool_json_number(space, "bad_frees") != 0)
		printf("%-10s %" PRIu64 " blocks that were free already: a bug, please report it\n", "BAD FREES",
		       tool_json_number(space, "bad_frees"));
	printf("%-10s %-10s %s used, %s free\n", "meta", tool_size_text(tool_json_number(meta, "total_bytes"), &total),
	       tool_size_text(tool_json_number(meta, "total_bytes") - tool_json_number(meta, "free_bytes"), &used),
	       tool_size_text(tool_json_number(meta, "free_bytes"), &free_bytes));
	printf("%-10s %-10" PRIu64 " %" PRIu64 " in use by the kernel\n", "inodes", tool_json_number(inodes, "used"),
	       tool_json_number(inodes, "cached"));
	printf("%-10s %-10s %s (%s)\n", "meta part", "", tool_json_string(meta, "path"),
	       tool_json_string(meta, "durability"));
	print_device(meta);
}

/* Only what there is to tell. */
static void print_pins(const json_t *status)
{
	const json_t *pins = json_object_get(status, "pins");
	struct tool_size_text pinned, limbo;
	struct time_text wait;

	printf("%-10s %-10" PRIu64 " %s pinned by %" PRIu64 " holders, %s in limbo, %" PRIu64 " granted so far\n",
	       "pins", tool_json_number(pins, "pins"), tool_size_text(tool_json_number(pins, "pinned_bytes"), &pinned),
	       tool_json_number(pins, "holders"), tool_size_text(tool_json_number(pins, "limbo_bytes"), &limbo),
	       tool_json_number(pins, "grants"));
	if (tool_json_number(pins, "waiting") != 0)
		printf("%-10s %-10" PRIu64 " breaks, and %" PRIu64 " pins behind them; the longest wait so far %s\n",
		       "waiting", tool_json_number(pins, "waiting_breaks"),
		       tool_json_number(pins, "waiting") - tool_json_number(pins, "waiting_breaks"),
		       time_text((double)tool_json_number(pins, "longest_wait_ns"), &wait));
	if (tool_json_number(pins, "canaries") != 0)
		printf("%-10s %" PRIu64 " frees of pinned blocks, refused: a bug, please report it\n", "BAD FREES",
		       tool_json_number(pins, "canaries"));
	if (tool_json_number(pins, "lost_blocks") != 0)
		printf("%-10s %" PRIu64
		       " blocks of 4 KiB are lost to memory errors: `pinfs fsck` names files that have some\n",
		       "LOST", tool_json_number(pins, "lost_blocks"));
}

/* Only if there are any: what older versions do not know. */
static void print_features(const json_t *status)
{
	const json_t *features = json_object_get(status, "features");

	if (json_array_size(features) == 0)
		return;
	printf("%-10s", "features");
	for (size_t i = 0; i < json_array_size(features); i++) {
		const char *name = json_string_value(json_array_get(features, i));

		printf(" %s", name != NULL ? name : "?");
	}
	printf("\n");
}

static const char *state_text(const json_t *status)
{
	if (json_is_true(json_object_get(status, "shut_down")))
		return "shut down";
	return json_is_true(json_object_get(status, "read_only")) ? "read-only" : "read-write";
}

static void print_status(const char *path, const json_t *status)
{
	uint64_t up = tool_json_number(status, "uptime_seconds");

	printf("%s: pinfs %s, cache=%s, %s, daemon %" PRIu64 ", up %" PRIu64 ":%02" PRIu64 ":%02" PRIu64 "\n\n", path,
	       tool_json_string(status, "version"), tool_json_string(status, "cache"), state_text(status),
	       tool_json_number(status, "pid"), up / 3600, up / 60 % 60, up % 60);
	print_space(status);
	print_parts(status);
	print_features(status);
	print_pins(status);
	print_operations(json_object_get(status, "operations"));
}

static int stat_mount(const char *path, bool json)
{
	json_t *status = status_ask(path);
	int error = 0;

	if (status == NULL)
		return TOOL_FAILED;
	if (json)
		error = tool_json_print(status);
	else
		print_status(path, status);
	json_decref(status);
	if (error != 0) {
		log_error("stat: %s", strerror(-error));
		return TOOL_FAILED;
	}
	return tool_end_output();
}

int tool_stat(int argc, char **argv)
{
	bool json;
	int status;

	if (!tool_show_options("stat", help_text, argc, argv, &json, &status))
		return status;
	if (argc - optind != 1)
		return tool_wrong_use("stat", "needs one MOUNTPOINT, got %d arguments", argc - optind);
	return stat_mount(argv[optind], json);
}
