/* pinfs pins: who has pinned what, and who waits for whom. */
#include "json.h"
#include "tool.h"

#include "base/log.h"
#include "client/ask.h"
#include "daemon/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <mntent.h>
#include <pinfs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOUNT_TABLE "/proc/self/mounts"
#define MOUNT_TYPE "fuse.pinfs"
/* An entry of the table has two paths, with escapes of four bytes, and options. */
#define ENTRY_MAX (12 * PATH_MAX)
/* The number of the --json text's form: goes up when a key changes its meaning or goes away. */
#define REPORT_SCHEMA 1

static const char help_text[] =
	"pinfs pins - who has pinned what, and who waits\n"
	"\n"
	"Usage: pinfs pins [--json] [PATH]\n"
	"\n"
	"PATH is a file on a pinfs mount, or its mountpoint; without it: all pinfs mounts. Prints the pins\n"
	"(MODE: read, write or exclusive; idle: cached, and not in use; away: its program is not connected;\n"
	"LIMBO: bytes that are no longer the file's), and the operations that wait for them. Root and the\n"
	"owner of the mount see all, others what is theirs.\n"
	"\n"
	"Options:\n"
	"  -j, --json     print it as JSON: bytes and nanoseconds\n"
	"  -h, --help     this text\n"
	"  -V, --version  the version\n"
	"\n"
	"Examples:\n"
	"  pinfs pins /mnt/pin\n"
	"  pinfs pins --json | jq '.pins[] | select(.limbo_bytes > 0)'\n"
	"\n"
	"Exit status: 0, 1 failed (also if one of the mounts could not be asked), 2 wrong use.\n";

struct entry {
	struct wire_listed fields;
	char *path; /* "" if nobody knows */
	size_t mount; /* index in the listing's */
};

struct listing {
	char **mounts;
	size_t mount_count;
	struct entry *entries;
	size_t count;
	size_t capacity;
	bool failed; /* a mount could not be asked; it has been told */
};

static void listing_free(struct listing *listing)
{
	for (size_t i = 0; i < listing->count; i++)
		free(listing->entries[i].path);
	for (size_t i = 0; i < listing->mount_count; i++)
		free(listing->mounts[i]);
	free(listing->entries);
	free(listing->mounts);
}

static int add_mount(struct listing *listing, const char *directory)
{
	char **mounts = reallocarray(listing->mounts, listing->mount_count + 1, sizeof(*mounts));

	if (mounts == NULL)
		return -ENOMEM;
	listing->mounts = mounts;
	mounts[listing->mount_count] = strdup(directory);
	if (mounts[listing->mount_count] == NULL)
		return -ENOMEM;
	listing->mount_count++;
	return 0;
}

static int add_entry(void *arg, const struct wire_listed *fields)
{
	struct listing *listing = arg;
	struct entry *entry;

	if (listing->count == listing->capacity) {
		size_t capacity = listing->capacity == 0 ? 64 : listing->capacity * 2;
		struct entry *grown = reallocarray(listing->entries, capacity, sizeof(*grown));

		if (grown == NULL)
			return -ENOMEM;
		listing->entries = grown;
		listing->capacity = capacity;
	}
	entry = &listing->entries[listing->count];
	entry->fields = *fields;
	entry->fields.command[sizeof(entry->fields.command) - 1] = '\0';
	entry->mount = listing->mount_count - 1;
	entry->path = strndup(fields->path, fields->path_length);
	if (entry->path == NULL)
		return -ENOMEM;
	listing->count++;
	return 0;
}

/* ---- Asking ---- */

/* `fd`: of one file, or -1. */
static int ask(struct listing *listing, const char *directory, int fd)
{
	struct pinfs *fs;
	int error;

	error = add_mount(listing, directory);
	if (error == 0)
		error = pinfs_connect(directory, &fs);
	if (error == 0) {
		error = client_list(fs, fd, add_entry, listing);
		pinfs_disconnect(fs);
	}
	if (error != 0) {
		tool_report_mount(directory, error);
		listing->failed = true;
	}
	return error;
}

static int ask_path(struct listing *listing, const char *path)
{
	char absolute[PATH_MAX], directory[PATH_MAX];
	struct stat attr;
	int error, fd;

	if (realpath(path, absolute) == NULL) {
		tool_report_mount(path, -errno);
		return -errno;
	}
	error = daemon_mount_of(absolute, directory);
	if (error != 0) {
		tool_report_mount(path, error == -ENOENT ? -ENODEV : error);
		return error;
	}
	if (strcmp(absolute, directory) == 0)
		return ask(listing, directory, -1);
	fd = open(absolute, O_PATH | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &attr) != 0) {
		error = -errno;
		tool_report_mount(path, error);
	} else if (!S_ISREG(attr.st_mode)) {
		error = -EINVAL;
		log_error("%s: is neither a regular file nor the top of its pinfs mount: use %s", path, directory);
	} else {
		error = ask(listing, directory, fd);
	}
	if (fd >= 0)
		(void)close(fd);
	return error;
}

/* All mounts, before any of them is asked: the table is not held open meanwhile. */
static int find_mounts(struct listing *listing)
{
	struct mntent entry;
	int error = 0;
	FILE *table;
	char *room;

	room = malloc(ENTRY_MAX);
	if (room == NULL)
		return -ENOMEM;
	table = setmntent(MOUNT_TABLE, "re");
	if (table == NULL) {
		error = -errno;
		free(room);
		return error;
	}
	while (error == 0 && getmntent_r(table, &entry, room, ENTRY_MAX) != NULL) {
		if (strcmp(entry.mnt_type, MOUNT_TYPE) == 0)
			error = add_mount(listing, entry.mnt_dir);
	}
	endmntent(table);
	free(room);
	return error;
}

static int ask_all(struct listing *listing)
{
	struct listing found = {.mounts = NULL};
	int error;

	error = find_mounts(&found);
	if (error != 0)
		tool_report_mount(MOUNT_TABLE, error);
	for (size_t i = 0; error == 0 && i < found.mount_count; i++)
		(void)ask(listing, found.mounts[i], -1);
	listing_free(&found);
	return error;
}

/* ---- Printing ---- */

static const char *mode_name(const struct wire_listed *fields)
{
	if ((fields->flags & WIRE_PIN_EXCLUSIVE) != 0)
		return "exclusive";
	return (fields->flags & WIRE_PIN_WRITE) != 0 ? "write" : "read";
}

static const char *reason_name(uint32_t reason)
{
	return reason == PINFS_REASON_UNMAP ? "unmap" : reason == PINFS_REASON_WRITE ? "write" : "pin";
}

/* Names are made by users: what is not printable is escaped, so that it cannot steer the terminal. */
static void print_name(const char *text)
{
	for (; *text != '\0'; text++) {
		if ((unsigned char)*text < ' ' || *text == 0x7f || *text == '\\')
			printf("\\%03o", (unsigned char)*text);
		else
			putchar(*text);
	}
}

static void print_file(const struct entry *entry)
{
	if (entry->path[0] != '\0')
		print_name(entry->path);
	else
		printf("inode %" PRIu64, entry->fields.ino);
	putchar('\n');
}

struct age_text {
	char text[32];
};

static const char *age_text(uint64_t ns, struct age_text *room)
{
	uint64_t seconds = ns / 1000000000u;

	if (seconds < 60)
		snprintf(room->text, sizeof(room->text), "%.1fs", (double)ns / 1e9);
	else if (seconds < 3600)
		snprintf(room->text, sizeof(room->text), "%" PRIu64 "m%02" PRIu64 "s", seconds / 60, seconds % 60);
	else
		snprintf(room->text, sizeof(room->text), "%" PRIu64 "h%02" PRIu64 "m", seconds / 3600,
			 seconds / 60 % 60);
	return room->text;
}

static void print_pin(const struct entry *entry)
{
	const struct wire_listed *fields = &entry->fields;
	struct tool_size_text limbo;
	struct age_text age;
	char mode[32];

	snprintf(mode, sizeof(mode), "%s%s%s", mode_name(fields), fields->state & WIRE_STATE_IDLE ? ",idle" : "",
		 fields->state & WIRE_STATE_AWAY ? ",away" : "");
	printf("%8" PRIu32 " ", fields->pid);
	print_name(fields->command);
	printf("%*s %6" PRIu32 " %-14s %14" PRIu64 " %14" PRIu64 " %8s %10s ", 15 - (int)strlen(fields->command), "",
	       fields->uid, mode, fields->offset, fields->length, age_text(fields->age, &age),
	       tool_size_text(fields->detached, &limbo));
	print_file(entry);
}

/* Up to the largest file there can be: a wait may reach beyond every end. */
static bool is_endless(const struct wire_listed *fields)
{
	return fields->offset > INT64_MAX || fields->length > (uint64_t)INT64_MAX - fields->offset;
}

static void print_waiter(const struct entry *entry)
{
	const struct wire_listed *fields = &entry->fields;
	struct age_text age, left;

	printf("%8" PRIu32 " %-8s %14" PRIu64 " ", fields->pid, reason_name(fields->reason), fields->offset);
	if (is_endless(fields))
		printf("%14s ", "to the end");
	else
		printf("%14" PRIu64 " ", fields->length);
	printf("%8s %8s ", age_text(fields->age, &age),
	       fields->deadline == UINT64_MAX ? "never" : age_text(fields->deadline, &left));
	print_file(entry);
}

static void print_tables(const struct listing *listing)
{
	size_t pins = 0;
	size_t waiters = 0;

	for (size_t i = 0; i < listing->count; i++) {
		if (listing->entries[i].fields.pin == 0)
			continue;
		if (pins++ == 0)
			printf("%8s %-15s %6s %-14s %14s %14s %8s %10s %s\n", "PID", "COMMAND", "UID", "MODE", "OFFSET",
			       "LENGTH", "AGE", "LIMBO", "FILE");
		print_pin(&listing->entries[i]);
	}
	for (size_t i = 0; i < listing->count; i++) {
		if (listing->entries[i].fields.pin != 0)
			continue;
		if (waiters++ == 0)
			printf("%s%8s %-8s %14s %14s %8s %8s %s\n", pins > 0 ? "\n" : "", "WAITING", "FOR", "OFFSET",
			       "LENGTH", "AGE", "LEFT", "FILE");
		print_waiter(&listing->entries[i]);
	}
}

static json_t *common_json(const struct listing *listing, const struct entry *entry)
{
	const struct wire_listed *fields = &entry->fields;

	return json_pack("{s:o, s:o?, s:I, s:I, s:I, s:I, s:I}", "mountpoint",
			 tool_json_name(listing->mounts[entry->mount]), "file",
			 entry->path[0] != '\0' ? tool_json_name(entry->path) : NULL, "inode", (json_int_t)fields->ino,
			 "pid", (json_int_t)fields->pid, "offset", (json_int_t)fields->offset, "length",
			 (json_int_t)fields->length, "age_ns", (json_int_t)fields->age);
}

static json_t *pin_json(const struct listing *listing, const struct entry *entry)
{
	const struct wire_listed *fields = &entry->fields;
	json_t *json = common_json(listing, entry);
	json_t *more = json_pack("{s:I, s:o, s:I, s:s, s:b, s:b, s:b, s:I}", "id", (json_int_t)fields->pin, "command",
				 tool_json_name(fields->command), "uid", (json_int_t)fields->uid, "mode",
				 mode_name(fields), "cached", (fields->flags & WIRE_PIN_CACHED) != 0, "idle",
				 (fields->state & WIRE_STATE_IDLE) != 0, "away", (fields->state & WIRE_STATE_AWAY) != 0,
				 "limbo_bytes", (json_int_t)fields->detached);

	if (json == NULL || more == NULL || json_object_update(json, more) != 0) {
		json_decref(json);
		json = NULL;
	}
	json_decref(more);
	return json;
}

static json_t *waiter_json(const struct listing *listing, const struct entry *entry)
{
	const struct wire_listed *fields = &entry->fields;
	json_t *json = common_json(listing, entry);
	/* null: it waits for as long as it takes. */
	json_t *left = fields->deadline == UINT64_MAX ? json_null() : json_integer((json_int_t)fields->deadline);

	if (json == NULL || json_object_set_new(json, "reason", json_string(reason_name(fields->reason))) != 0 ||
	    json_object_set(json, "left_ns", left) != 0) {
		json_decref(json);
		json = NULL;
	}
	json_decref(left);
	return json;
}

static int print_json(const struct listing *listing)
{
	json_t *report_json = json_pack("{s:i, s:[], s:[]}", "schema", REPORT_SCHEMA, "pins", "waiting");
	bool good = report_json != NULL;
	int error;

	for (size_t i = 0; good && i < listing->count; i++) {
		const struct entry *entry = &listing->entries[i];
		bool pin = entry->fields.pin != 0;

		good = json_array_append_new(json_object_get(report_json, pin ? "pins" : "waiting"),
					     pin ? pin_json(listing, entry) : waiter_json(listing, entry)) == 0;
	}
	error = good ? tool_json_print(report_json) : -ENOMEM;
	json_decref(report_json);
	return error;
}

static int list_pins(const char *path, bool json)
{
	struct listing listing = {.mounts = NULL};
	int status = TOOL_FAILED;
	int error;

	error = path != NULL ? ask_path(&listing, path) : ask_all(&listing);
	if (error != 0)
		goto out;
	if (json && print_json(&listing) != 0) {
		log_error("pins: %s", strerror(ENOMEM));
		goto out;
	}
	if (!json)
		print_tables(&listing);
	status = tool_end_output();
	if (status == 0 && listing.failed)
		status = TOOL_FAILED;
out:
	listing_free(&listing);
	return status;
}

int tool_pins(int argc, char **argv)
{
	bool json;
	int status;

	if (!tool_show_options("pins", help_text, argc, argv, &json, &status))
		return status;
	if (argc - optind > 1)
		return tool_wrong_use("pins", "needs at most one PATH, got %d arguments", argc - optind);
	return list_pins(argv[optind], json);
}
