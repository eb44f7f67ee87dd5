/* pinfs fsck --rescue META DIR */
#include "tool.h"

#include "base/log.h"
#include "progress.h"
#include "rescue/rescue.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* As fsck(8). */
#define RESCUE_ALL 0
#define RESCUE_LOST 4
#define RESCUE_OPERATION 8

struct show {
	const char *meta_path;
	struct progress progress;
};

static void show_lost(void *arg, const char *text)
{
	struct show *show = arg;

	progress_clear(&show->progress);
	printf("%s: %s\n", show->meta_path, text);
}

static void show_progress(void *arg, const char *phase, uint64_t done, uint64_t total)
{
	struct show *show = arg;

	progress_show(&show->progress, phase, done, total);
}

static void print_summary(const struct rescue_options *options, const struct rescue_report *report)
{
	struct tool_size_text size;

	printf("%s: %s: %" PRIu64 " files (%s), %" PRIu64 " directories, %" PRIu64 " symlinks, %" PRIu64
	       " others; %" PRIu64 " of them in lost+found; %" PRIu64 " line%s of losses\n",
	       options->meta_path, options->target, report->files, tool_size_text(report->bytes, &size),
	       report->directories, report->symlinks, report->others, report->unnamed, report->lost,
	       report->lost == 1 ? "" : "s");
}

int tool_rescue(const char *meta_path, const char *target, const char *const *data_paths, size_t data_count,
		bool progress)
{
	struct show show = {.meta_path = meta_path};
	const struct rescue_options options = {
		.meta_path = meta_path,
		.data_paths = data_paths,
		.data_count = data_count,
		.target = target,
		.lost = show_lost,
		.progress = show_progress,
		.arg = &show,
	};
	struct message message = {.text = ""};
	struct rescue_report report;
	int error;

	progress_init(&show.progress, progress);
	error = rescue_pool(&options, &report, &message);
	progress_clear(&show.progress);
	if (error == 0 || report.files + report.directories + report.symlinks + report.others > 0)
		print_summary(&options, &report);
	if (error != 0) {
		log_error("%s%s", message.text[0] != '\0' ? message.text : strerror(-error),
			  report.files + report.directories > 0 ? "; the copy is not complete: begin again with an "
								  "empty folder that has room"
								: "");
		(void)tool_end_output();
		return RESCUE_OPERATION;
	}
	if (tool_end_output() != 0)
		return RESCUE_OPERATION;
	return report.lost > 0 ? RESCUE_LOST : RESCUE_ALL;
}
