/*
 * pinfs metrics: the daemon's numbers as OpenMetrics text. Types are those that Prometheus' older text format has too
 * (gauge, counter, histogram), so that node_exporter's textfile collector takes it.
 */
#include "json.h"
#include "status.h"
#include "tool.h"

#include "base/arith.h"
#include "base/log.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char help_text[] =
	"pinfs metrics - the numbers of a mount, for a monitoring system\n"
	"\n"
	"Usage: pinfs metrics [--json] MOUNTPOINT\n"
	"\n"
	"Prints OpenMetrics text (which Prometheus' older parsers read, too): space, pins, limbo, waiting\n"
	"breaks, and for each operation a histogram of how long it took. Names and units stay.\n"
	"\n"
	"Options:\n"
	"  -j, --json     print the same as JSON\n"
	"  -h, --help     this text\n"
	"  -V, --version  the version\n"
	"\n"
	"Example, for node_exporter's textfile collector:\n"
	"  pinfs metrics /mnt/pin > /var/lib/node_exporter/pinfs.$$ &&\n"
	"    mv /var/lib/node_exporter/pinfs.$$ /var/lib/node_exporter/pinfs.prom\n"
	"\n"
	"Exit status: 0, 1 failed (also if the daemon does not answer within 10 seconds), 2 wrong use.\n";

/* The number of the --json text's form: goes up when a key changes its meaning or goes away. */
#define METRICS_SCHEMA 1

/* ---- One number of the status each ---- */

static const struct number {
	const char *name; /* with its unit; a counter without _total */
	const char *unit; /* or NULL */
	const char *group; /* of the status; NULL: its top */
	const char *key;
	double scale;
	bool counter;
	const char *help;
} numbers[] = {
	{"pinfs_uptime_seconds", "seconds", NULL, "uptime_seconds", 1, false, "Since the daemon has mounted."},
	{"pinfs_read_only", NULL, NULL, "read_only", 1, false, "1: nothing is written to the pool."},
	{"pinfs_shut_down", NULL, NULL, "shut_down", 1, false, "1: every operation fails; to be unmounted."},
	{"pinfs_data_size_bytes", "bytes", "space", "total_bytes", 1, false, "All blocks of the data parts."},
	{"pinfs_data_used_bytes", "bytes", "space", "used_bytes", 1, false, "Blocks of files, in limbo, or lost."},
	{"pinfs_data_free_bytes", "bytes", "space", "free_bytes", 1, false, "Free blocks."},
	{"pinfs_data_free_runs", NULL, "space", "free_runs", 1, false, "Stretches of free blocks."},
	{"pinfs_data_largest_free_run_bytes", "bytes", "space", "largest_free_run_bytes", 1, false,
	 "The longest stretch of free blocks."},
	{"pinfs_data_lost_bytes", "bytes", "space", "bad_bytes", 1, false, "Recorded as lost to memory errors."},
	{"pinfs_meta_size_bytes", "bytes", "meta", "total_bytes", 1, false, "The meta part's room for metadata."},
	{"pinfs_meta_free_bytes", "bytes", "meta", "free_bytes", 1, false, "What is free of it."},
	{"pinfs_inodes", NULL, "inodes", "used", 1, false, "Files, directories and others."},
	{"pinfs_inodes_cached", NULL, "inodes", "cached", 1, false, "Those that the kernel knows now."},
	{"pinfs_pins", NULL, "pins", "pins", 1, false, "Pins that are held."},
	{"pinfs_pin_holders", NULL, "pins", "holders", 1, false, "Sessions that may hold pins."},
	{"pinfs_pinned_bytes", "bytes", "pins", "pinned_bytes", 1, false, "Blocks that are pinned, each once."},
	{"pinfs_limbo_bytes", "bytes", "pins", "limbo_bytes", 1, false, "No file's any more, and pinned still."},
	{"pinfs_waiting_breaks", NULL, "pins", "waiting_breaks", 1, false, "Operations that wait for pins."},
	{"pinfs_waiting_requests", NULL, "pins", "waiting", 1, false, "Those, and pins that wait behind them."},
	{"pinfs_longest_wait_seconds", "seconds", "pins", "longest_wait_ns", 1e-9, false,
	 "Age of the oldest that waits now."},
	{"pinfs_pin_grants", NULL, "pins", "grants", 1, true, "Pins that were granted."},
	{"pinfs_pin_drops", NULL, "pins", "drops", 1, true, "Pins that have ended."},
	{"pinfs_breaks_waited", NULL, "pins", "breaks_waited", 1, true, "Operations that had to wait for pins."},
	{"pinfs_break_timeouts", NULL, "pins", "timeouts", 1, true, "Waits that came to break_timeout."},
	{"pinfs_break_detaches", NULL, "pins", "detaches", 1, true, "Waits that ended with blocks in limbo."},
	{"pinfs_break_interrupts", NULL, "pins", "interrupts", 1, true, "Waits that a signal ended."},
	{"pinfs_pin_revokes", NULL, "pins", "revokes", 1, true, "Cached pins, not in use, that a break took away."},
	{"pinfs_refused_frees", NULL, "pins", "canaries", 1, true, "Frees of pinned blocks: a bug if not 0."},
	{"pinfs_double_frees", NULL, "space", "bad_frees", 1, true, "Frees of free blocks: a bug if not 0."},
};

static json_t *make_family(const char *name, const char *type, const char *unit, const char *help)
{
	return json_pack("{s:s, s:s, s:s*, s:s, s:[]}", "name", name, "type", type, "unit", unit, "help", help,
			 "samples");
}

/* Takes `labels` (NULL: none) and `value`. */
static int add_sample(json_t *family, const char *suffix, json_t *labels, json_t *value)
{
	json_t *sample = json_pack("{s:s, s:o*, s:o}", "suffix", suffix, "labels", labels, "value", value);

	return json_array_append_new(json_object_get(family, "samples"), sample) == 0 ? 0 : -ENOMEM;
}

static json_t *value_of(const json_t *group, const struct number *number)
{
	const json_t *value = json_object_get(group, number->key);

	if (json_is_boolean(value))
		return json_integer(json_is_true(value));
	if (number->scale != 1)
		return json_real((double)json_integer_value(value) * number->scale);
	return json_integer(json_integer_value(value));
}

static int add_number(json_t *families, const json_t *status, const struct number *number)
{
	const json_t *group = number->group != NULL ? json_object_get(status, number->group) : status;
	json_t *family;
	int error;

	/* An older daemon: a number that is not there is left out, not told as 0. */
	if (json_object_get(group, number->key) == NULL)
		return 0;
	family = make_family(number->name, number->counter ? "counter" : "gauge", number->unit, number->help);
	error = add_sample(family, number->counter ? "_total" : "", NULL, value_of(group, number));
	return json_array_append_new(families, family) == 0 ? error : -ENOMEM;
}

/* ---- What it is, and its parts ---- */

static int add_build(json_t *families, const json_t *status)
{
	json_t *family =
		make_family("pinfs_build", "gauge", NULL, "Always 1: the labels tell what is mounted, and how.");
	json_t *labels = json_object();
	int error = 0;

	for (const char *const *key = (const char *const[]){"version", "libfuse", "cache", "transport", NULL}; *key;
	     key++)
		error |= json_object_set_new(labels, *key, json_string(tool_json_string(status, *key)));
	error |= add_sample(family, "", labels, json_integer(1));
	return json_array_append_new(families, family) == 0 && error == 0 ? 0 : -ENOMEM;
}

static int add_parts(json_t *families, const json_t *status)
{
	json_t *family = make_family("pinfs_part_size_bytes", "gauge", "bytes", "A data part.");
	const json_t *parts = json_object_get(status, "parts");
	int error = 0;

	for (size_t i = 0; i < json_array_size(parts); i++) {
		const json_t *part = json_array_get(parts, i);
		char number[32];

		(void)snprintf(number, sizeof(number), "%" PRIu64, tool_json_number(part, "number"));
		error |= add_sample(family, "",
				    json_pack("{s:s, s:s, s:s}", "part", number, "path", tool_json_string(part, "path"),
					      "durability", tool_json_string(part, "durability")),
				    json_integer((json_int_t)tool_json_number(part, "bytes")));
	}
	return json_array_append_new(families, family) == 0 && error == 0 ? 0 : -ENOMEM;
}

/* ---- Operations ---- */

/* The daemon counts by powers of two of a nanosecond; here every second one, from 1 us to 17 s. */
#define FIRST_BUCKET 10u
#define LAST_BUCKET 34u

static uint64_t count_to(const json_t *buckets, size_t end)
{
	uint64_t count = 0;

	for (size_t i = 0; i <= end && i < json_array_size(buckets); i++)
		count += (uint64_t)json_integer_value(json_array_get(buckets, i));
	return count;
}

static json_t *operation_label(const char *name)
{
	return json_pack("{s:s}", "operation", name);
}

static int add_histogram(json_t *family, const char *name, const json_t *operation)
{
	const json_t *buckets = json_object_get(operation, "log2_ns");
	/* Of those that have ended; "count" is of those that have begun. */
	const uint64_t count = count_to(buckets, SIZE_MAX);
	int error = 0;
	char bound[32];

	for (size_t i = FIRST_BUCKET; i <= LAST_BUCKET + 2; i += 2) {
		uint64_t below = i <= LAST_BUCKET ? count_to(buckets, i) : count;

		(void)snprintf(bound, sizeof(bound), i <= LAST_BUCKET ? "%.9g" : "+Inf", (double)(1ull << i) * 1e-9);
		error |= add_sample(family, "_bucket", json_pack("{s:s, s:s}", "operation", name, "le", bound),
				    json_integer((json_int_t)below));
	}
	error |= add_sample(family, "_sum", operation_label(name),
			    json_real((double)tool_json_number(operation, "total_ns") * 1e-9));
	return error | add_sample(family, "_count", operation_label(name), json_integer((json_int_t)count));
}

static int add_operations(json_t *families, const json_t *status)
{
	json_t *durations = make_family("pinfs_operation_duration_seconds", "histogram", "seconds",
					"How long operations took that have ended.");
	json_t *errors = make_family("pinfs_operation_errors", "counter", NULL,
				     "Operations that failed; what was not there is no failure.");
	json_t *bytes = make_family("pinfs_operation_bytes", "counter", "bytes", "What operations have moved.");
	const json_t *operation;
	const char *name;
	int error = 0;

	json_object_foreach(json_object_get(status, "operations"), name, operation)
	{
		error |= add_histogram(durations, name, operation);
		error |= add_sample(errors, "_total", operation_label(name),
				    json_integer((json_int_t)tool_json_number(operation, "errors")));
		if (json_object_get(operation, "bytes") != NULL)
			error |= add_sample(bytes, "_total", operation_label(name),
					    json_integer((json_int_t)tool_json_number(operation, "bytes")));
	}
	error |= json_array_append_new(families, durations);
	error |= json_array_append_new(families, errors);
	error |= json_array_append_new(families, bytes);
	return error == 0 ? 0 : -ENOMEM;
}

/* ---- Printing ---- */

static json_t *make_families(const json_t *status)
{
	json_t *families = json_array();
	int error = families != NULL ? 0 : -ENOMEM;

	error |= add_build(families, status);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		error |= add_number(families, status, &numbers[i]);
	error |= add_parts(families, status);
	error |= add_operations(families, status);
	if (error == 0)
		return families;
	json_decref(families);
	return NULL;
}

static void print_label(const char *name, const char *value, char before)
{
	printf("%c%s=\"", before, name);
	for (; *value != '\0'; value++) {
		if (*value == '\n')
			(void)fputs("\\n", stdout);
		else if (*value == '"' || *value == '\\')
			printf("\\%c", *value);
		else
			(void)putchar(*value);
	}
	(void)putchar('"');
}

static void print_sample(const char *name, const char *mountpoint, const json_t *sample)
{
	const json_t *value = json_object_get(sample, "value");
	const json_t *label;
	const char *key;

	printf("%s%s", name, tool_json_string(sample, "suffix"));
	print_label("mountpoint", mountpoint, '{');
	json_object_foreach(json_object_get(sample, "labels"), key, label)
		print_label(key, json_string_value(label), ',');
	if (json_is_real(value))
		printf("} %.9f\n", json_real_value(value));
	else
		printf("} %" JSON_INTEGER_FORMAT "\n", json_integer_value(value));
}

static void print_family(const char *mountpoint, const json_t *family)
{
	const char *name = tool_json_string(family, "name");
	const json_t *samples = json_object_get(family, "samples");

	printf("# TYPE %s %s\n", name, tool_json_string(family, "type"));
	if (json_object_get(family, "unit") != NULL)
		printf("# UNIT %s %s\n", name, tool_json_string(family, "unit"));
	printf("# HELP %s %s\n", name, tool_json_string(family, "help"));
	for (size_t i = 0; i < json_array_size(samples); i++)
		print_sample(name, mountpoint, json_array_get(samples, i));
}

static int print_metrics(const json_t *status, bool json)
{
	const char *mountpoint = tool_json_string(status, "mountpoint");
	json_t *families = make_families(status);
	json_t *report;
	int error = 0;

	if (families == NULL)
		return -ENOMEM;
	if (json) {
		report = json_pack("{s:i, s:s, s:O}", "schema", METRICS_SCHEMA, "mountpoint", mountpoint, "metrics",
				   families);
		error = tool_json_print(report);
		json_decref(report);
	} else {
		for (size_t i = 0; i < json_array_size(families); i++)
			print_family(mountpoint, json_array_get(families, i));
		printf("# EOF\n");
	}
	json_decref(families);
	return error;
}

int tool_metrics(int argc, char **argv)
{
	json_t *status;
	int error;
	bool json;

	if (!tool_show_options("metrics", help_text, argc, argv, &json, &error))
		return error;
	if (argc - optind != 1)
		return tool_wrong_use("metrics", "needs one MOUNTPOINT, got %d arguments", argc - optind);
	status = status_ask(argv[optind]);
	if (status == NULL)
		return TOOL_FAILED;
	error = print_metrics(status, json);
	json_decref(status);
	if (error == 0)
		return tool_end_output();
	log_error("metrics: %s", strerror(-error));
	return TOOL_FAILED;
}
