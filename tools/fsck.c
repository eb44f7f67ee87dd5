/* pinfs fsck, and fsck.pinfs as fsck(8) calls it: the check, and the repair. */
#include "json.h"
#include "tool.h"

#include "base/log.h"
#include "check/check.h"
#include "daemon/mounts.h"
#include "repair/repair.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Exit status, as fsck(8), where 2 would ask for a reboot: wrong use is 2 only of `pinfs fsck`. */
#define FSCK_CLEAN 0
#define FSCK_CORRECTED 1
#define FSCK_ERRORS_LEFT 4
#define FSCK_OPERATION 8
#define FSCK_USAGE 16

/* The number of the --json text's form: goes up when a key changes its meaning or goes away. */
#define REPORT_SCHEMA 1

static const char help_text[] =
	"pinfs fsck - checks an unmounted pool, and mends it\n"
	"\n"
	"Usage: pinfs fsck [--repair [-n]] [--json] [--data PATH]... META\n"
	"       pinfs fsck --rescue [--data PATH]... META DIR\n"
	"\n"
	"Reads the whole pool and reports each broken invariant by its number. Without --repair it\n"
	"changes nothing. What a crash leaves for the next mount to tidy up (notes) is not an error.\n"
	"\n"
	"Options:\n"
	"      --repair     mend what can be mended, and say of each thing what was done; asks nothing\n"
	"  -n               change nothing; with --repair: say what would be done\n"
	"  -j, --json       print the report as JSON\n"
	"  -d, --data PATH  where a data part is that was moved; repeatable\n"
	"      --rescue     for a pool that cannot be opened any more: copies all that can be read into DIR, an\n"
	"                   empty folder or one that is to be made, and prints a line for each thing that is lost\n"
	"  -C               show progress on standard error\n"
	"  -v, --verbose    print what was counted, also of a clean pool\n"
	"  -y, -r           as --repair; -a, -p, -f: accepted for fsck(8), check only\n"
	"  -h, --help       this text\n"
	"  -V, --version    the version\n"
	"\n"
	"Examples:\n"
	"  pinfs fsck /srv/pool/meta\n"
	"  pinfs fsck --repair -n /srv/pool/meta\n"
	"  pinfs fsck --json /srv/pool/meta | jq .errors\n"
	"\n"
	"Exit status: 0 clean (all was copied), 1 errors were corrected, 4 errors are left (something was lost),\n"
	"8 the check (the copy) could not be made, 2 wrong use (16 when called as fsck.pinfs).\n";

struct fsck {
	const char *meta_path;
	const char **data_paths;
	size_t data_count;
	bool json;
	bool verbose;
	bool progress;
	bool repair;
	bool rescue;
	const char *rescue_target; /* the folder */
	bool dry; /* -n */
	uint64_t repaired; /* told so far */
	json_t *problems; /* with json: what was found */
	json_t *repairs; /* what was done */
	json_t *left; /* what is left after that */
	bool failed; /* to keep a problem: no memory */
};

static const char *severity_name(enum check_severity severity)
{
	return severity == CHECK_ERROR ? "error" : severity == CHECK_NOTE ? "note" : "repaired";
}

/* Names are bytes, JSON is text: what is not UTF-8 is left out. */
static json_t *text_or_null(const char *text)
{
	json_t *string = text != NULL ? json_string(text) : NULL;

	return string != NULL ? string : json_null();
}

static void keep_problem(struct fsck *fsck, const struct check_problem *problem)
{
	json_t *list = fsck->repaired > 0 ? fsck->left : fsck->problems;
	json_t *object;

	if (problem->severity == CHECK_MENDED)
		list = fsck->repairs;
	object = json_pack("{s:s, s:s, s:I, s:o, s:o}", "invariant", problem->invariant, "severity",
			   severity_name(problem->severity), "inode", (json_int_t)problem->ino, "path",
			   text_or_null(problem->path), "text", text_or_null(problem->text));
	if (object == NULL || json_array_append_new(list, object) != 0)
		fsck->failed = true;
}

static void tell_problem(void *arg, const struct check_problem *problem)
{
	struct fsck *fsck = arg;

	fsck->repaired += problem->severity == CHECK_MENDED;
	if (fsck->json) {
		keep_problem(fsck, problem);
		return;
	}
	printf("%s: %s: %s", fsck->meta_path,
	       problem->severity == CHECK_MENDED && fsck->dry ? "would repair" : severity_name(problem->severity),
	       problem->invariant);
	if (problem->path != NULL)
		printf(": %s", problem->path);
	if (problem->ino != 0)
		printf(" (inode %" PRIu64 ")", problem->ino);
	printf(": %s\n", problem->text);
}

static void tell_progress(void *arg, const char *phase, uint64_t done)
{
	const struct fsck *fsck = arg;

	if (fsck->progress)
		fprintf(stderr, "\r%-30s %12" PRIu64, phase, done);
}

static const struct {
	const char *name;
	size_t offset;
} counts[] = {
	{"inodes", offsetof(struct check_report, inodes)},
	{"directories", offsetof(struct check_report, directories)},
	{"files", offsetof(struct check_report, files)},
	{"symlinks", offsetof(struct check_report, symlinks)},
	{"others", offsetof(struct check_report, others)},
	{"entries", offsetof(struct check_report, entries)},
	{"extents", offsetof(struct check_report, extents)},
	{"xattrs", offsetof(struct check_report, xattrs)},
	{"blocks_total", offsetof(struct check_report, blocks_total)},
	{"blocks_used", offsetof(struct check_report, blocks_used)},
	{"blocks_free", offsetof(struct check_report, blocks_free)},
	{"limbo_bytes", offsetof(struct check_report, limbo_bytes)},
	{"bad_bytes", offsetof(struct check_report, bad_bytes)},
	{"ledger_sessions", offsetof(struct check_report, ledger_sessions)},
	{"ledger_pins", offsetof(struct check_report, ledger_pins)},
	{"ledger_void", offsetof(struct check_report, ledger_void)},
	{"meta_pages_total", offsetof(struct check_report, meta_pages_total)},
	{"meta_pages_free", offsetof(struct check_report, meta_pages_free)},
	{"parts", offsetof(struct check_report, parts)},
	{"orphans", offsetof(struct check_report, orphans)},
	{"intents", offsetof(struct check_report, intents)},
	{"errors", offsetof(struct check_report, errors)},
	{"notes", offsetof(struct check_report, notes)},
	{"untold", offsetof(struct check_report, untold)},
};

static uint64_t count_of(const struct check_report *report, size_t index)
{
	uint64_t value;

	memcpy(&value, (const char *)report + counts[index].offset, sizeof(value));
	return value;
}

static int print_json(struct fsck *fsck, const struct check_report *report)
{
	json_t *object = json_object();
	int error = fsck->failed ? -1 : 0;

	error |= json_object_set_new(object, "schema", json_integer(REPORT_SCHEMA));
	error |= json_object_set_new(object, "version", json_string(PINFS_VERSION));
	error |= json_object_set_new(object, "meta", text_or_null(fsck->meta_path));
	error |= json_object_set_new(object, "clean_unmount", json_boolean(report->clean));
	error |= json_object_set_new(object, "unreadable", json_boolean(report->unreadable));
	error |= json_object_set_new(object, "features", json_string(report->features));
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		error |= json_object_set_new(object, counts[i].name, json_integer((json_int_t)count_of(report, i)));
	error |= json_object_set(object, "problems", fsck->problems);
	if (fsck->repair) {
		error |= json_object_set_new(object, "dry_run", json_boolean(fsck->dry));
		error |= json_object_set(object, "repairs", fsck->repairs);
		error |= json_object_set(object, "left", fsck->left);
	}
	error = error == 0 ? tool_json_print(object) : -ENOMEM;
	json_decref(object);
	if (error == 0)
		return 0;
	log_error("fsck: %s", strerror(-error));
	return FSCK_OPERATION;
}

static void print_summary(const struct fsck *fsck, const struct check_report *report)
{
	if (fsck->verbose) {
		for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
			printf("  %-18s %12" PRIu64 "\n", counts[i].name, count_of(report, i));
	}
	if (fsck->repair && fsck->repaired != 0)
		printf("%s: %" PRIu64 " repair%s %s\n", fsck->meta_path, fsck->repaired, fsck->repaired == 1 ? "" : "s",
		       fsck->dry ? "would be made; nothing was changed, after them" : "made");
	if (report->untold != 0)
		printf("%s: %" PRIu64 " more are not listed\n", fsck->meta_path, report->untold);
	if (report->errors != 0) {
		printf("%s: %" PRIu64 " error%s, %" PRIu64 " note%s%s\n", fsck->meta_path, report->errors,
		       report->errors == 1 ? "" : "s", report->notes, report->notes == 1 ? "" : "s",
		       report->unreadable ? "; the pool could not be read to its end" : "");
		return;
	}
	printf("%s: %s, %" PRIu64 " inodes, %" PRIu64 "/%" PRIu64 " blocks", fsck->meta_path,
	       report->clean ? "clean" : "no errors (not unmounted cleanly: the next mount tidies up)", report->inodes,
	       report->blocks_used, report->blocks_total);
	if (report->features[0] != '\0')
		printf(", uses %s", report->features);
	if (report->ledger_pins != 0 || report->ledger_sessions != 0)
		printf(", %" PRIu64 " pin%s of %" PRIu64 " session%s recorded", report->ledger_pins,
		       report->ledger_pins == 1 ? "" : "s", report->ledger_sessions,
		       report->ledger_sessions == 1 ? "" : "s");
	if (report->limbo_bytes != 0)
		printf(", %" PRIu64 " bytes in limbo", report->limbo_bytes);
	if (report->bad_bytes != 0)
		printf(", %" PRIu64 " bytes lost", report->bad_bytes);
	if (report->notes != 0)
		printf(", %" PRIu64 " note%s", report->notes, report->notes == 1 ? "" : "s");
	printf("\n");
}

/* The check, or the repair; *ret_report: what is there at the end. */
static int run_once(struct fsck *fsck, struct check_report *ret_report, struct message *message)
{
	const struct repair_options options = {
		.check = {.meta_path = fsck->meta_path,
			  .data_paths = fsck->data_paths,
			  .data_count = fsck->data_count,
			  .problem = tell_problem,
			  .progress = tell_progress,
			  .arg = fsck},
		.dry = fsck->dry,
	};
	struct repair_result result = {.mended = 0};
	int error;

	if (!fsck->repair)
		return check_pool(&options.check, ret_report, message);
	error = repair_pool(&options, &result, message);
	*ret_report = result.after;
	return error;
}

static int status_of(const struct fsck *fsck, const struct check_report *report)
{
	if (report->errors != 0 || report->unreadable || (fsck->dry && fsck->repaired != 0))
		return FSCK_ERRORS_LEFT;
	return fsck->repaired != 0 ? FSCK_CORRECTED : FSCK_CLEAN;
}

static int run_check(struct fsck *fsck)
{
	struct message message = {.text = ""};
	struct check_report report = {.errors = 0};
	unsigned attempt = 0;
	int error, status = 0;

	do {
		message_set(&message, "%s", "");
		error = run_once(fsck, &report, &message);
	} while (error == -EBUSY && daemon_wait_busy(fsck->meta_path, &attempt));
	if (fsck->progress)
		fprintf(stderr, "\n");
	if (error != 0) {
		if (message.text[0] == '\0')
			message_set(&message, "%s: %s", fsck->meta_path, strerror(-error));
		log_error("%s", message.text);
		return error == -EUCLEAN ? FSCK_ERRORS_LEFT : FSCK_OPERATION;
	}
	if (fsck->json)
		status = print_json(fsck, &report);
	else
		print_summary(fsck, &report);
	if (tool_end_output() != 0 || status != 0)
		return FSCK_OPERATION;
	return status_of(fsck, &report);
}

static int wrong_use_status(const char *called_as)
{
	return strcmp(called_as, "fsck") == 0 ? TOOL_USAGE : FSCK_USAGE;
}

enum { OPTION_REPAIR = 256, OPTION_RESCUE };

/* Returns -1 to go on, or the exit status. */
static int take_option(struct fsck *fsck, int code, char **argv)
{
	switch (code) {
	case 'j':
		fsck->json = true;
		break;
	case 'd':
		fsck->data_paths[fsck->data_count++] = optarg;
		break;
	case 'v':
		fsck->verbose = true;
		break;
	case 'C': /* fsck(8) may append a descriptor */
		fsck->progress = true;
		break;
	case 'n':
		fsck->dry = true;
		break;
	case 'a':
	case 'p':
	case 'f':
		break;
	case 'y':
	case 'r':
	case OPTION_REPAIR:
		fsck->repair = true;
		break;
	case OPTION_RESCUE:
		fsck->rescue = true;
		break;
	case 'h':
		return tool_print(help_text);
	case 'V':
		return tool_print_version();
	default:
		(void)tool_bad_option("fsck", code, argv);
		return wrong_use_status(argv[0]);
	}
	return -1;
}

/* Returns -1 to go on, or the exit status. */
static int parse_command_line(struct fsck *fsck, int argc, char **argv)
{
	static const struct option long_options[] = {
		{"json", no_argument, NULL, 'j'},
		{"data", required_argument, NULL, 'd'},
		{"verbose", no_argument, NULL, 'v'},
		{"repair", no_argument, NULL, OPTION_REPAIR},
		{"rescue", no_argument, NULL, OPTION_RESCUE},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	int code, status;

	while ((code = getopt_long(argc, argv, ":jd:vC::napfyrhV", long_options, NULL)) != -1) {
		status = take_option(fsck, code, argv);
		if (status >= 0)
			return status;
	}
	if (argc - optind != 1 + fsck->rescue || (fsck->rescue && (fsck->json || fsck->repair))) {
		(void)tool_wrong_use("fsck",
				     fsck->rescue ? "--rescue needs META and DIR, got %d arguments, and goes with "
						    "--data only"
						  : "needs one META, got %d arguments",
				     argc - optind);
		return wrong_use_status(argv[0]);
	}
	fsck->meta_path = argv[optind];
	fsck->rescue_target = fsck->rescue ? argv[optind + 1] : NULL;
	fsck->dry = fsck->dry && fsck->repair;
	return -1;
}

int tool_fsck(int argc, char **argv)
{
	struct fsck fsck = {0};
	int status;

	fsck.data_paths = calloc((size_t)argc, sizeof(*fsck.data_paths));
	fsck.problems = json_array();
	fsck.repairs = json_array();
	fsck.left = json_array();
	if (fsck.data_paths == NULL || fsck.problems == NULL || fsck.repairs == NULL || fsck.left == NULL) {
		log_error("fsck: %s", strerror(ENOMEM));
		status = FSCK_OPERATION;
		goto out;
	}
	status = parse_command_line(&fsck, argc, argv);
	if (status >= 0)
		goto out;
	if (fsck.rescue) {
		status = tool_rescue(fsck.meta_path, fsck.rescue_target, fsck.data_paths, fsck.data_count,
				     fsck.progress);
		goto out;
	}
	status = run_check(&fsck);
out:
	json_decref(fsck.problems);
	json_decref(fsck.repairs);
	json_decref(fsck.left);
	free(fsck.data_paths);
	return status;
}
