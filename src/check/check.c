/* Opens the pool, and the order of the passes. */
#include "check/walk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS_PER_PROGRESS 65536u

int check_grow(void *array, size_t *capacity, size_t count, size_t element)
{
	size_t wanted = *capacity == 0 ? 64 : *capacity * 2;
	void *old, *bigger;

	if (count < *capacity)
		return 0;
	memcpy(&old, array, sizeof(old)); /* a pointer to a pointer of any type */
	bigger = reallocarray(old, wanted, element);
	if (bigger == NULL)
		return -ENOMEM;
	memcpy(array, &bigger, sizeof(bigger));
	*capacity = wanted;
	return 0;
}

void check_phase(struct check *check, const char *phase)
{
	check->phase = phase;
	check->done = 0;
	if (check->options->progress != NULL)
		check->options->progress(check->options->arg, phase, 0);
}

void check_step(struct check *check)
{
	if (++check->done % STEPS_PER_PROGRESS == 0 && check->options->progress != NULL)
		check->options->progress(check->options->arg, check->phase, check->done);
}

/* I1: what meta_open() need not look at. */
static void judge_super(struct check *check)
{
	const struct fmt_super *super = meta_super(check->meta);
	struct fmt_feature_text features;

	if (!fmt_super_valid(super))
		check_error(check, "I1", 0, "the super block does not verify");
	if (super->state != FMT_STATE_CLEAN && super->state != FMT_STATE_MOUNTED)
		check_error(check, "I1", 0, "the super block has an unknown state, %u", super->state);
	check->report.clean = super->state == FMT_STATE_CLEAN;
	(void)snprintf(check->report.features, sizeof(check->report.features), "%s", fmt_feature_all(super, &features));
}

int check_passes(struct check *check, struct message *message)
{
	struct meta_space space;
	int ret;

	judge_super(check);
	ret = check_scan(check, message);
	if (ret < 0)
		return ret;
	meta_space(check->meta, &space);
	check->report.meta_pages_total = space.pages_total;
	check->report.meta_pages_free = space.pages_free;
	ret = check_parts_open(check, message);
	if (ret < 0)
		return ret;
	check_extents(check);
	ret = check_ledger(check);
	if (ret < 0)
		return ret;
	check_tails(check);
	ret = check_names(check);
	if (ret < 0)
		return ret;
	check_links(check);
	check->report.blocks_free = check->report.blocks_total - check->report.blocks_used;
	return check->failed;
}

void check_fini(struct check *check)
{
	check_parts_close(check);
	check_problem_fini(check);
	free(check->inode);
	free(check->extent);
	free(check->bad);
}

/* A pool that does not open for what is on the media is checked, with one error. */
static int open_pool(struct check *check, struct message *message)
{
	struct message words = {{0}};
	int ret;

	check_phase(check, "open");
	ret = meta_open(check->options->meta_path, META_OPEN_COPY, &check->meta, &words);
	if (ret == -EUCLEAN) {
		check->meta = NULL;
		check->report.unreadable = true;
		check_error(check, "I1", 0, "%s", words.text);
		return 0;
	}
	if (ret < 0) {
		check->meta = NULL;
		message_set(message, "%s", words.text);
	}
	return ret;
}

int check_walk(const struct check_options *options, struct check_report *ret_report, struct message *message)
{
	struct check check = {.options = options};
	int ret;

	ret = open_pool(&check, message);
	if (ret == 0 && check.meta != NULL)
		ret = check_passes(&check, message);
	if (ret == 0) {
		check_tell(&check);
		*ret_report = check.report;
	} else if (ret == -ENOMEM) {
		message_set(message, "%s: not enough memory to check it", options->meta_path);
	}
	check_fini(&check);
	if (check.meta != NULL)
		meta_close(check.meta);
	return ret;
}

static int walk_apart(void *arg, const struct check_options *options, struct check_report *ret_report,
		      struct message *message)
{
	(void)arg;
	return check_walk(options, ret_report, message);
}

/*
 * The probe also tries a transaction, which the walk does not. What it finds damaged the walk names more precisely, so
 * its words count only if the walk finds nothing.
 */
int check_pool(const struct check_options *options, struct check_report *ret_report, struct message *message)
{
	const struct check_work walk = {.run = walk_apart};
	struct message words = {{0}};
	struct check_report report = {0};
	int probed = 0, ret;

	if (!options->skip_probe)
		probed = meta_probe(options->meta_path, &words);
	if (probed < 0 && probed != -EUCLEAN) {
		message_set(message, "%s", words.text);
		return probed;
	}
	ret = options->in_process ? check_walk(options, &report, message)
				  : check_apart(options, &walk, &report, message);
	if (ret < 0)
		return ret;
	if (probed == -EUCLEAN && report.errors == 0) {
		report.errors++;
		if (options->problem != NULL)
			options->problem(options->arg, &(struct check_problem){.invariant = "I1",
									       .severity = CHECK_ERROR,
									       .text = words.text});
	}
	*ret_report = report;
	return 0;
}
