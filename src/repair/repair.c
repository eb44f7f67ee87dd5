/*
 * The order of a repair: look, try on a private copy, mend stage by stage with a new look after each that changed
 * something, let recovery finish what a crash left, look again.
 */
#include "repair/repair.h"

#include "fs/fs.h"
#include "repair/work.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ROUNDS_MAX 256u
#define PATH_STEPS_MAX 8000000u

/* What is damaged, and of which pages may be found that nothing reaches. */
#define DAMAGED "I3 I4 I5 I6 I9 I10 I13 I20 I23"

/* In this order: each relies on those before. Whatever changed something is followed by a new analysis. */
static int (*const stages[])(struct work *work) = {
	repair_slots_named, repair_content_parts, repair_parts, repair_content, repair_slots_others, repair_shared,
	repair_directories, repair_values,	  repair_links, repair_ledger,	repair_tails,
};

void repair_say(struct work *work, const char *invariant, uint64_t ino, const char *format, ...)
{
	char text[512], path[CHECK_PATH_SIZE];
	struct check_problem problem = {.invariant = invariant, .severity = CHECK_MENDED, .ino = ino, .text = text};
	va_list args;

	work->mended++;
	if (work->options->problem == NULL)
		return;
	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	problem.path = check_path(&work->check, ino, &work->steps, path);
	work->options->problem(work->options->arg, &problem);
}

/* ---- The analysis ---- */

static void analysis_free(struct work *work)
{
	check_fini(&work->check);
	work->check = (struct check){.options = work->options, .meta = work->meta};
	free(work->slots.ino);
	free(work->damaged.ino);
	free(work->pages.page);
	free(work->named);
	free(work->loose);
	work->slots = work->damaged = (struct repair_inodes){.ino = NULL};
	work->pages = (struct repair_pages){.page = NULL};
	work->named = work->loose = NULL;
}

static bool want_page(void *arg, const struct mend_page *page)
{
	struct work *work = arg;
	struct repair_pages *pages = &work->pages;

	if (!repair_inodes_has(&work->damaged, page->owner))
		return false;
	if (check_grow(&pages->page, &pages->capacity, pages->count, sizeof(*page)) != 0)
		work->check.failed = -ENOMEM;
	else
		pages->page[pages->count++] = *page;
	return true;
}

static int compare_pages(const void *a, const void *b)
{
	const struct mend_page *left = a, *right = b;

	if (left->owner != right->owner)
		return left->owner < right->owner ? -1 : 1;
	return left->page < right->page ? -1 : left->page > right->page;
}

static int analyse(struct work *work, struct message *message)
{
	int error;

	analysis_free(work);
	meta_mend_rescan(work->meta);
	error = check_passes(&work->check, message);
	if (error == 0)
		error = repair_inodes_with(work, "I3", &work->slots);
	if (error == 0)
		error = repair_inodes_with(work, DAMAGED, &work->damaged);
	if (error == 0)
		error = meta_mend_unreached(work->meta, want_page, work);
	if (error == 0)
		error = work->check.failed;
	if (error == 0 && work->pages.count > 0)
		qsort(work->pages.page, work->pages.count, sizeof(*work->pages.page), compare_pages);
	work->parts_doubtful = repair_has(work, "I21");
	return error;
}

/* ---- Mending ---- */

static void tell_group(void *arg, uint64_t group)
{
	repair_say(arg, "I2", FMT_INO_NONE, "header of group %lu made anew from what its frames hold", group);
}

static void tell_bit(void *arg, const char *invariant, uint64_t ino, const char *what)
{
	repair_say(arg, invariant, ino, "one flipped bit put back in %s", what);
}

static void step(void *arg)
{
	check_step(&((struct work *)arg)->check);
}

/* What the analysis believes without looking. */
static int mend_first(struct work *work)
{
	const struct mend_bits_visitor bits = {.told = tell_bit, .step = step, .arg = work};
	const uint32_t state = meta_super(work->meta)->state;
	int error = meta_mend_groups(work->meta, tell_group, work);

	if (error == 0)
		error = meta_mend_bits(work->meta, &bits);
	if (error == 0 && state != FMT_STATE_CLEAN && state != FMT_STATE_MOUNTED) {
		error = meta_mend_state(work->meta, FMT_STATE_MOUNTED);
		repair_say(work, "I1", FMT_INO_NONE, "state of the pool set to not unmounted cleanly");
	}
	return error;
}

/* At the end work->check is of what is there then: a round that changes nothing leaves its analysis true. */
static int mend_rounds(struct work *work, struct message *message)
{
	int error = 0;

	for (unsigned round = 0; error == 0 && round < ROUNDS_MAX; round++) {
		const uint64_t before = work->mended;

		error = analyse(work, message);
		for (size_t i = 0; error == 0 && work->mended == before && i < sizeof(stages) / sizeof(stages[0]); i++)
			error = stages[i](work);
		if (work->mended == before)
			return error;
	}
	return error == 0 ? analyse(work, message) : error;
}

/* In the child, or in this process. */
static int mend_pool(struct work *work, struct check_report *ret_report, struct message *message)
{
	struct message words = {.text = ""};
	int error = meta_open(work->options->meta_path, work->dry ? META_OPEN_COPY : 0, &work->meta, message);

	if (error != 0)
		return error;
	work->steps = PATH_STEPS_MAX;
	work->check = (struct check){.options = work->options, .meta = work->meta};
	check_phase(&work->check, "repair");
	error = mend_first(work);
	if (error == 0)
		error = mend_rounds(work, &words);
	*ret_report = work->check.report;
	analysis_free(work);
	free(work->told_headers.ino);
	free(work->told_tails.ino);
	meta_close(work->meta);
	if (error != 0)
		message_set(message, "%s: the repair broke off: %s; run it again", work->options->meta_path,
			    words.text[0] != '\0' ? words.text : strerror(-error));
	return error;
}

static int mend_apart(void *arg, const struct check_options *options, struct check_report *ret_report,
		      struct message *message)
{
	struct work work = {.options = options, .dry = *(const bool *)arg};

	return mend_pool(&work, ret_report, message);
}

/* ---- Around it ---- */

struct telling {
	const struct check_options *options; /* the caller's */
	uint64_t mended;
	uint64_t untidy; /* notes of what a mount tidies up */
	bool quiet;
	bool notes; /* are told too */
};

static void tell(void *arg, const struct check_problem *problem)
{
	struct telling *telling = arg;

	if (telling->quiet)
		return;
	telling->mended += problem->severity == CHECK_MENDED;
	/* I24: a file has lost data; that stays. */
	telling->untidy += problem->severity == CHECK_NOTE && strcmp(problem->invariant, "I24") != 0;
	if (telling->options->problem != NULL && (telling->notes || problem->severity != CHECK_NOTE))
		telling->options->problem(telling->options->arg, problem);
}

static void tell_progress(void *arg, const char *phase, uint64_t done)
{
	const struct telling *telling = arg;

	if (telling->options->progress != NULL)
		telling->options->progress(telling->options->arg, phase, done);
}

static struct check_options options_of(const struct repair_options *options, struct telling *telling)
{
	struct check_options mine = options->check;

	mine.problem = tell;
	mine.progress = tell_progress;
	mine.arg = telling;
	return mine;
}

/* Once through, with or without changes. */
static int run(const struct repair_options *options, struct telling *telling, bool dry, struct check_report *ret_report,
	       struct message *message)
{
	const struct check_options mine = options_of(options, telling);
	const struct check_work work = {.run = mend_apart, .arg = &dry};

	if (mine.in_process)
		return mend_apart(&dry, &mine, ret_report, message);
	return check_apart(&mine, &work, ret_report, message);
}

/* A devdax node cannot be mapped privately. */
static bool is_device(const char *path)
{
	struct stat attr;

	return stat(path, &attr) == 0 && S_ISCHR(attr.st_mode);
}

/* What breaks the program that mends is found out on the copy. */
static int run_tried(const struct repair_options *options, struct telling *telling, struct check_report *ret_report,
		     struct message *message)
{
	const bool device = is_device(options->check.meta_path);
	int error = 0;

	if (device && options->dry) {
		message_set(message,
			    "%s: what a repair would do cannot be told of a device, of which there is no private copy",
			    options->check.meta_path);
		return -EOPNOTSUPP;
	}
	telling->quiet = !options->dry;
	if (options->dry || !(options->check.in_process || device))
		error = run(options, telling, true, ret_report, message);
	telling->quiet = false;
	if (error == 0 && !options->dry && ret_report->unreadable) {
		message_set(message,
			    "%s: a try on a copy did not come to an end, so nothing was changed; `pinfs fsck --rescue` "
			    "copies out what can be read",
			    options->check.meta_path);
		return -EUCLEAN;
	}
	if (error != 0 || options->dry)
		return error;
	error = run(options, telling, false, ret_report, message);
	if (error == 0 && ret_report->unreadable) {
		message_set(message, "%s: the repair did not come to its end; run it again", options->check.meta_path);
		error = -EIO;
	}
	return error;
}

/* Orphans, intents, void pins: by a mount that nobody sees. Living pins are left to the next one. */
static int recover(const struct repair_options *options, struct telling *telling, const struct check_report *report,
		   struct message *message)
{
	const struct fs_options fs_options = {
		.meta_path = options->check.meta_path,
		.data_paths = options->check.data_paths,
		.data_count = options->check.data_count,
		.skip_probe = options->check.skip_probe,
	};
	struct message text;
	struct fs *fs;
	int error;

	if (report->errors != 0 || report->ledger_pins != 0 ||
	    telling->untidy + report->orphans + report->intents + report->ledger_void == 0)
		return 0;
	error = fs_open(&fs_options, &fs, message);
	if (error != 0)
		return error;
	fs_close(fs);
	message_set(&text,
		    "tidied up as a mount does: %lu orphans, %lu unfinished truncations, %lu void names of pins, ends "
		    "of files",
		    report->orphans, report->intents, report->ledger_void);
	tell(telling, &(struct check_problem){.invariant = "I22", .severity = CHECK_MENDED, .text = text.text});
	return 0;
}

static int check_again(const struct repair_options *options, struct telling *telling, struct check_report *ret_report,
		       struct message *message)
{
	struct check_options mine = options_of(options, telling);

	telling->notes = false;
	return check_pool(&mine, ret_report, message);
}

int repair_pool(const struct repair_options *options, struct repair_result *ret_result, struct message *message)
{
	struct telling telling = {.options = &options->check, .notes = true};
	const struct check_options mine = options_of(options, &telling);
	struct repair_result result = {.mended = 0};
	int error = check_pool(&mine, &result.before, message);

	if (error != 0)
		return error;
	result.after = result.before;
	if (result.before.unreadable) {
		message_set(message,
			    "%s: too damaged to be opened, so nothing was changed; `pinfs fsck --rescue` copies out "
			    "what can be read",
			    options->check.meta_path);
		*ret_result = result;
		return -EUCLEAN;
	}
	if (result.before.errors != 0)
		error = run_tried(options, &telling, &result.after, message);
	if (error == 0 && !options->dry)
		error = recover(options, &telling, &result.after, message);
	if (error == 0 && !options->dry && telling.mended != 0)
		error = check_again(options, &telling, &result.after, message);
	result.mended = telling.mended;
	*ret_result = result;
	return error;
}
