/* The order of things: what is there, whose it is, then out with it. */
#include "rescue/work.h"

#include "rescue/undo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What they were is not known, nor if they were in use: those that a name leads to are told of with it. */
static void tell_damaged(struct work *work)
{
	for (size_t i = 0, end; i < work->infos; i = end) {
		end = i + 1;
		if ((work->info[i].flags & INFO_DAMAGED) == 0)
			continue;
		while (end < work->infos && (work->info[end].flags & INFO_DAMAGED) != 0)
			end++;
		rescue_lost(work, "slots of inodes %llu to %llu: %zu are damaged; they may have been free",
			    (unsigned long long)work->info[i].ino, (unsigned long long)work->info[end - 1].ino,
			    end - i);
	}
}

static void tell_owners(struct work *work)
{
	if (work->owners_lost > 0)
		rescue_lost(work, "owners of %llu files and directories are not kept: run it as root",
			    (unsigned long long)work->owners_lost);
}

static int look(struct work *work)
{
	unsigned damaged = 0;
	int error = undo_load(&work->meta, &work->meta.undo, &damaged);

	if (error == 0)
		error = pool_find(work);
	if (error == 0 && damaged > 0)
		rescue_lost(work, "%u of the transaction logs are damaged: what they held is not known", damaged);
	if (error == 0)
		error = inodes_read(work);
	if (error == 0)
		error = parts_open(work);
	if (error == 0)
		error = claims_collect(work);
	return error == 0 ? orphans_settle(work) : error;
}

/* What opens data parts says so. */
static void name_meta(struct message *message)
{
	static const char words[] = "data part ";
	const size_t skip = sizeof(words) - 1;

	if (strncmp(message->text, words, skip) == 0)
		memmove(message->text, message->text + skip, sizeof(message->text) - skip);
}

int rescue_pool(const struct rescue_options *options, struct rescue_report *ret_report, struct message *message)
{
	struct work *work = calloc(1, sizeof(*work));
	int error;

	*ret_report = (struct rescue_report){0};
	if (work == NULL)
		return -ENOMEM;
	work->options = options;
	work->buffer = malloc(BUFFER_SIZE);
	if (work->buffer == NULL) {
		error = -ENOMEM;
		goto free_work;
	}
	work->message = message;
	error = image_open(options->meta_path, &work->meta, message);
	if (error == -ENOENT)
		message_set(message, "%s: %s", options->meta_path, strerror(-error));
	if (error != 0) {
		name_meta(message);
		goto free_work;
	}
	error = look(work);
	if (error == 0) {
		tell_damaged(work);
		error = tree_copy(work);
		tell_owners(work);
	}
	*ret_report = work->report;
	parts_close(work);
	inodes_free(work);
	image_close(&work->meta);
free_work:
	free(work->buffer);
	free(work);
	return error;
}
