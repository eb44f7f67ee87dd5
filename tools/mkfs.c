/* pinfs mkfs: makes a pool. */
#include "tool.h"

#include "base/arith.h"
#include "base/log.h"
#include "daemon/size.h"
#include "format/format.h"
#include "fs/pins.h"
#include "memory.h"
#include "meta/meta.h"
#include "pool.h"
#include "region/region.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DATA_DEFAULT (1ull << 30)
#define DATA_DEFAULT_MIN (16ull << 20)
#define META_DEFAULT_MIN (64ull << 20)
#define META_SHARE 32 /* of the data bytes, by default */

static const char help_text[] =
	"pinfs mkfs - makes a pool\n"
	"\n"
	"Usage: pinfs mkfs [--meta-size SIZE] [--data PATH[:SIZE]]... [--force] META\n"
	"\n"
	"META becomes the meta part: a file to be made, or a devdax node, which is taken whole.\n"
	"Each data part is a file made with that SIZE, or an existing devdax node or empty file, taken whole.\n"
	"A devdax node needs another one, or a file, beside it; given one only, it says how to carve it.\n"
	"Without --data one file is made beside META, META.data, of 1 GiB (less if there is not the room).\n"
	"SIZE is a number of bytes, or with K, M, G, T behind it (powers of 1024).\n"
	"\n"
	"Options:\n"
	"  -m, --meta-size SIZE    of the meta part (default: 1/32 of the data, 64M at least)\n"
	"  -d, --data PATH[:SIZE]  a data part; repeatable, up to 65536\n"
	"  -f, --force             overwrite what is there; never what is in use\n"
	"  -q, --quiet             print nothing but errors\n"
	"  -h, --help              this text\n"
	"  -V, --version           the version\n"
	"\n"
	"Examples:\n"
	"  pinfs mkfs /mnt/pmem0/pool                               two files on fsdax\n"
	"  pinfs mkfs --data /dev/dax1.0 /dev/dax0.0                two devdax nodes\n"
	"  pinfs mkfs --data a:4G --data b:4G --meta-size 256M pool\n"
	"\n"
	"Exit status: 0, 1 failed (what was made is removed), 2 wrong use.\n";

struct data_arg {
	char *path;
	uint64_t size; /* 0: none given */
};

struct mkfs {
	const char *meta_path;
	uint64_t meta_size; /* 0: by default */
	struct data_arg *data;
	size_t count;
	bool force;
	bool quiet;
};

/* The last ':' begins a size if what follows is one: a path may have colons. */
static int add_data(struct mkfs *mkfs, const char *text)
{
	struct data_arg *data = &mkfs->data[mkfs->count];
	const char *colon = strrchr(text, ':');
	uint64_t size = 0;
	int error = -EINVAL;

	if (colon != NULL)
		error = daemon_parse_size(colon + 1, &size);
	if (error == -ERANGE || (error == 0 && size == 0))
		return tool_wrong_use("mkfs", "--data %s: this size is not possible", text);
	if (error != 0)
		colon = text + strlen(text);
	if (colon == text)
		return tool_wrong_use("mkfs", "--data %s: the path is missing", text);
	data->path = strndup(text, (size_t)(colon - text));
	if (data->path == NULL) {
		log_error("mkfs: %s", strerror(ENOMEM));
		return TOOL_FAILED;
	}
	data->size = size;
	mkfs->count++;
	return 0;
}

static int set_meta_size(struct mkfs *mkfs, const char *text)
{
	if (daemon_parse_size(text, &mkfs->meta_size) != 0)
		return tool_wrong_use("mkfs", "--meta-size %s: is not a size such as 256M or 1G", text);
	if (mkfs->meta_size < META_SIZE_MIN)
		return tool_wrong_use("mkfs", "--meta-size %s: is too small: %lluM at least", text,
				      META_SIZE_MIN >> 20);
	return 0;
}

static bool is_same_file(const struct pool_file *a, const struct pool_file *b)
{
	struct stat a_attr, b_attr;

	if (strcmp(a->path, b->path) == 0)
		return true;
	if (!a->exists || !b->exists || stat(a->path, &a_attr) != 0 || stat(b->path, &b_attr) != 0)
		return false;
	if (S_ISCHR(a_attr.st_mode) && S_ISCHR(b_attr.st_mode))
		return a_attr.st_rdev == b_attr.st_rdev;
	return a_attr.st_dev == b_attr.st_dev && a_attr.st_ino == b_attr.st_ino;
}

static int check_distinct(const struct pool_plan *plan, struct message *message)
{
	for (size_t i = 0; i < plan->count; i++) {
		if (is_same_file(&plan->meta, &plan->parts[i])) {
			message_set(message, "%s: cannot be the meta part and a data part", plan->meta.path);
			return -EINVAL;
		}
		for (size_t j = 0; j < i; j++) {
			if (is_same_file(&plan->parts[i], &plan->parts[j])) {
				message_set(message, "%s: is named twice", plan->parts[i].path);
				return -EINVAL;
			}
		}
	}
	return 0;
}

/* META.data, of a size that leaves room for the meta part and others. */
static int plan_default_data(const struct mkfs *mkfs, struct pool_plan *plan, struct message *message)
{
	struct pool_file *file = &plan->parts[0];
	uint64_t meta_bytes = mkfs->meta_size != 0 ? mkfs->meta_size : META_DEFAULT_MIN;
	char path[PATH_MAX + 8];
	uint64_t room;
	int error;

	snprintf(path, sizeof(path), "%s.data", plan->meta.path);
	error = pool_plan_file(path, DATA_DEFAULT, plan->force, file, message);
	if (error != 0)
		return error;
	error = pool_room(file->path, &room, message);
	if (error != 0)
		return error;
	if (plan->meta.exists)
		meta_bytes -= min_u64(meta_bytes, plan->meta.bytes);
	room -= min_u64(room, meta_bytes);
	file->size = align_down(min_u64(DATA_DEFAULT, room / 10 * 8), FMT_BLOCK_SIZE);
	if (file->size < DATA_DEFAULT_MIN) {
		message_set(message, "%s: not enough room for a pool: name sizes with --data and --meta-size",
			    file->path);
		return -ENOSPC;
	}
	return 0;
}

static int plan_data(const struct mkfs *mkfs, struct pool_plan *plan, struct message *message)
{
	int error;

	if (mkfs->count == 0)
		return plan_default_data(mkfs, plan, message);
	for (size_t i = 0; i < mkfs->count; i++) {
		const struct data_arg *data = &mkfs->data[i];

		error = pool_plan_file(data->path, data->size, plan->force, &plan->parts[i], message);
		if (error != 0)
			return error;
		if (!plan->parts[i].exists && data->size == 0) {
			message_set(message, "%s: does not exist: give a size, as in --data %s:1G", data->path,
				    data->path);
			return -ENOENT;
		}
	}
	return 0;
}

/* A device is taken whole, and so is an empty file that is large enough, unless a size was given. */
static int plan_meta_size(const struct mkfs *mkfs, struct pool_plan *plan, struct message *message)
{
	struct pool_file *meta = &plan->meta;
	uint64_t data_bytes = 0;

	if (meta->devdax) {
		if (mkfs->meta_size == 0)
			return 0;
		message_set(message, "%s: a device is taken whole: leave out --meta-size", meta->path);
		return -EINVAL;
	}
	meta->size = mkfs->meta_size;
	if (meta->size != 0 || (meta->exists && meta->blank && meta->bytes >= META_SIZE_MIN))
		return 0;
	for (size_t i = 0; i < plan->count; i++) {
		const struct pool_file *part = &plan->parts[i];

		if (add_overflows(data_bytes, part->size != 0 ? part->size : part->bytes, &data_bytes)) {
			message_set(message, "mkfs: the data parts are too large together");
			return -EFBIG;
		}
	}
	meta->size = align_down(max_u64(META_DEFAULT_MIN, data_bytes / META_SHARE), FMT_BLOCK_SIZE);
	return 0;
}

/* Said before anything is made. Files that fit one by one may still not fit together: that is found on the way. */
static int check_room(const struct pool_file *file, const char *option, struct message *message)
{
	struct tool_size_text size_text, room_text;
	uint64_t room;
	int error;

	if (file->size == 0)
		return 0;
	error = pool_room(file->path, &room, message);
	if (error != 0 || room >= file->size)
		return error;
	message_set(message, "%s: needs %s, and there is room for %s: give a smaller size with %s", file->path,
		    tool_size_text(file->size, &size_text), tool_size_text(room, &room_text), option);
	return -ENOSPC;
}

/* ---- Who has an earlier pool pinned ---- */

#define HOLDERS_NAMED 8u

struct holders {
	size_t count; /* processes; of those beyond HOLDERS_NAMED each session counts */
	pid_t pid[HOLDERS_NAMED];
	char names[HOLDERS_NAMED * (PROCESS_COMMAND_MAX + 16)];
};

static int see_holder(void *arg, const struct process_identity *process)
{
	struct holders *holders = arg;
	size_t length = strlen(holders->names);

	for (size_t i = 0; i < min_u64(holders->count, HOLDERS_NAMED); i++) {
		if (holders->pid[i] == process->pid)
			return 0;
	}
	if (holders->count < HOLDERS_NAMED) {
		holders->pid[holders->count] = process->pid;
		snprintf(holders->names + length, sizeof(holders->names) - length, "%s%d (%.*s)",
			 length == 0 ? "" : ", ", (int)process->pid, PROCESS_COMMAND_MAX, process->command);
	}
	holders->count++;
	return 0;
}

/* Devices may still write to what a living process has pinned, whatever becomes of the pool: not even --force. */
static int check_holders(const struct pool_file *file, struct message *message)
{
	struct holders holders = {.count = 0};
	struct message why = {.text = ""};
	int error;

	if (!file->exists || file->blank)
		return 0;
	error = fs_living_holders(file->path, see_holder, &holders, &why);
	if (holders.count > 0) {
		message_set(message,
			    "%s: is a pool whose blocks may be pinned by processes that still live: %s%s; even "
			    "--force does not overwrite it: end them first (their numbers are those of the container "
			    "that they run in)",
			    file->path, holders.names, holders.count > HOLDERS_NAMED ? " and others" : "");
		return -EBUSY;
	}
	if (error == -EUCLEAN && why.text[0] == '\0')
		log_warning(
			"%s: part of its pin ledger is damaged: whether programs still have its blocks pinned cannot "
			"be told",
			file->path);
	/* What is no pool, or no more one that can be read, has no holders that anybody could find. */
	if (error == 0 || error == -EUCLEAN || error == -EPROTONOSUPPORT)
		return 0;
	message_set(message, "%s", why.text);
	return error;
}

static int check_all_holders(const struct pool_plan *plan, struct message *message)
{
	int error = check_holders(&plan->meta, message);

	for (size_t i = 0; error == 0 && i < plan->count; i++)
		error = check_holders(&plan->parts[i], message);
	return error;
}

/* Of what is there already. A file that is made anew gets blocks that are not known yet. */
static int check_media(const struct pool_plan *plan, struct message *message)
{
	for (size_t i = 0; i < plan->count; i++) {
		if (plan->parts[i].exists)
			memory_warn_part(plan->parts[i].path);
	}
	return plan->meta.exists && plan->meta.size == 0 ? memory_check_meta(plan->meta.path, message) : 0;
}

/* Before anything is read: how large it is does not matter then, nor what it holds. */
static int check_one_device(const struct mkfs *mkfs, struct message *message)
{
	struct stat meta, part;
	bool alone = mkfs->count == 0;
	int error;

	if (stat(mkfs->meta_path, &meta) != 0 || !S_ISCHR(meta.st_mode))
		return 0;
	for (size_t i = 0; i < mkfs->count && !alone; i++)
		alone = stat(mkfs->data[i].path, &part) == 0 && S_ISCHR(part.st_mode) && part.st_rdev == meta.st_rdev;
	if (!alone)
		return 0;
	error = memory_check_device(mkfs->meta_path, message);
	return error != 0 ? error : memory_explain_one(mkfs->meta_path, message);
}

static int plan_pool(const struct mkfs *mkfs, struct pool_plan *plan, struct message *message)
{
	int error;

	error = check_one_device(mkfs, message);
	if (error == 0)
		error = pool_plan_file(mkfs->meta_path, 0, plan->force, &plan->meta, message);
	if (error == 0)
		error = plan_data(mkfs, plan, message);
	if (error == 0)
		error = check_distinct(plan, message);
	if (error == 0)
		error = check_media(plan, message);
	if (error == 0 && plan->force)
		error = check_all_holders(plan, message);
	if (error == 0)
		error = plan_meta_size(mkfs, plan, message);
	for (size_t i = 0; error == 0 && i < plan->count; i++)
		error = check_room(&plan->parts[i], "--data", message);
	if (error == 0)
		error = check_room(&plan->meta, "--meta-size", message);
	return error;
}

static void print_file(const char *name, const struct pool_file *file)
{
	struct tool_size_text size;

	printf("%-9s %9s  %s  (%s%s)\n", name, tool_size_text(file->bytes, &size), file->path, file->durability,
	       file->on_tmpfs ? ", tmpfs: gone after a reboot" : "");
}

static bool is_slow(const struct pool_file *file)
{
	return strcmp(file->durability, "msync") == 0 && !file->on_tmpfs;
}

static int print_summary(const struct pool_plan *plan)
{
	bool slow = is_slow(&plan->meta);
	char name[32];

	print_file("meta", &plan->meta);
	for (size_t i = 0; i < plan->count; i++) {
		snprintf(name, sizeof(name), "data %zu", i);
		print_file(name, &plan->parts[i]);
		slow = slow || is_slow(&plan->parts[i]);
	}
	if (slow)
		log_warning("%s: not all of this pool is on persistent memory: it works, but each change waits for "
			    "msync(2), about a millisecond on a disk",
			    plan->meta.path);
	return tool_end_output();
}

static int make_pool(const struct mkfs *mkfs)
{
	struct pool_plan plan = {.count = mkfs->count != 0 ? mkfs->count : 1, .force = mkfs->force};
	struct message message = {.text = ""};
	int error = -ENOMEM;
	int status = TOOL_FAILED;

	plan.parts = calloc(plan.count, sizeof(*plan.parts));
	if (plan.parts != NULL)
		error = plan_pool(mkfs, &plan, &message);
	if (error == 0)
		error = pool_make(&plan, &message);
	if (error == 0)
		status = mkfs->quiet ? 0 : print_summary(&plan);
	else if (message.text[0] != '\0')
		log_error("%s", message.text);
	else
		log_error("%s: %s", mkfs->meta_path, strerror(-error));
	free(plan.parts);
	return status;
}

/* Returns -1 to go on, or the exit status. */
static int parse_command_line(struct mkfs *mkfs, int argc, char **argv)
{
	static const struct option long_options[] = {
		{"meta-size", required_argument, NULL, 'm'},
		{"data", required_argument, NULL, 'd'},
		{"force", no_argument, NULL, 'f'},
		{"quiet", no_argument, NULL, 'q'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	int status = 0;
	int code;

	while (status == 0 && (code = getopt_long(argc, argv, ":m:d:fqhV", long_options, NULL)) != -1) {
		switch (code) {
		case 'm':
			status = set_meta_size(mkfs, optarg);
			break;
		case 'd':
			status = add_data(mkfs, optarg);
			break;
		case 'f':
			mkfs->force = true;
			break;
		case 'q':
			mkfs->quiet = true;
			break;
		case 'h':
			return tool_print(help_text);
		case 'V':
			return tool_print_version();
		default:
			return tool_bad_option("mkfs", code, argv);
		}
	}
	if (status != 0)
		return status;
	if (argc - optind != 1)
		return tool_wrong_use("mkfs", "needs one META, got %d arguments", argc - optind);
	if (mkfs->count > FMT_PART_MAX + 1)
		return tool_wrong_use("mkfs", "there can be no more than %u data parts", FMT_PART_MAX + 1);
	mkfs->meta_path = argv[optind];
	return -1;
}

int tool_mkfs(int argc, char **argv)
{
	struct mkfs mkfs = {0};
	int status;

	mkfs.data = calloc((size_t)argc, sizeof(*mkfs.data));
	if (mkfs.data == NULL) {
		log_error("mkfs: %s", strerror(ENOMEM));
		return TOOL_FAILED;
	}
	status = parse_command_line(&mkfs, argc, argv);
	if (status < 0)
		status = make_pool(&mkfs);
	for (size_t i = 0; i < mkfs.count; i++)
		free(mkfs.data[i].path);
	free(mkfs.data);
	return status;
}
