/* What was found: kept until the tree is known, then told with paths. */
#include "check/walk.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Entries that are read to find the names of problems' inodes: bounds what a heavily damaged pool costs. */
#define PATH_STEPS_MAX 8000000u

static void add(struct check *check, enum check_severity severity, const char *invariant, uint64_t ino,
		const char *format, va_list args)
{
	struct check_found *found;
	int ret;

	if (severity == CHECK_ERROR)
		check->report.errors++;
	else
		check->report.notes++;
	if (check->founds == CHECK_TOLD_MAX) {
		check->report.untold++;
		return;
	}
	ret = check_grow(&check->found, &check->found_capacity, check->founds, sizeof(*check->found));
	if (ret < 0) {
		check->failed = ret;
		return;
	}
	found = &check->found[check->founds];
	found->severity = severity;
	found->ino = ino;
	(void)snprintf(found->invariant, sizeof(found->invariant), "%s", invariant);
	if (vasprintf(&found->text, format, args) < 0) {
		check->failed = -ENOMEM;
		return;
	}
	check->founds++;
}

void check_error(struct check *check, const char *invariant, uint64_t ino, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	add(check, CHECK_ERROR, invariant, ino, format, args);
	va_end(args);
}

void check_note(struct check *check, const char *invariant, uint64_t ino, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	add(check, CHECK_NOTE, invariant, ino, format, args);
	va_end(args);
}

/* ---- Paths ---- */

struct naming {
	uint64_t ino;
	uint64_t steps; /* left */
	char name[FMT_NAME_MAX + 1];
};

#define NAMING_FOUND 1

static int naming_visit(void *arg, const struct meta_entry *entry)
{
	struct naming *naming = arg;

	if (naming->steps == 0)
		return -E2BIG;
	naming->steps--;
	if (entry->ino != naming->ino)
		return 0;
	memcpy(naming->name, entry->name, sizeof(naming->name));
	return NAMING_FOUND;
}

/* Control characters would let a name play tricks with the reader's terminal. */
static void make_printable(char *name)
{
	for (; *name != '\0'; name++)
		if ((unsigned char)*name < ' ' || *name == 127)
			*name = '?';
}

/*
 * The path of `inode`, built from its end backwards into `buffer`; NULL if it has none, if it is too long, or goes
 * round in a circle (too long, then).
 */
static const char *path_of(struct check *check, const struct check_inode *inode, struct naming *naming, char *buffer)
{
	char *end = buffer + CHECK_PATH_SIZE - 1;
	const struct fmt_inode *directory;
	size_t length;

	*end = '\0';
	if (inode->ino == FMT_INO_ROOT)
		return "/";
	while (inode->ino != FMT_INO_ROOT) {
		if (inode->named_by == CHECK_NO_INDEX)
			return NULL;
		naming->ino = inode->ino;
		inode = &check->inode[inode->named_by];
		if (meta_inode_get(check->meta, inode->ino, &directory) < 0)
			return NULL;
		if (meta_entry_iterate(check->meta, directory, 0, naming_visit, naming) != NAMING_FOUND)
			return NULL;
		make_printable(naming->name);
		length = strlen(naming->name);
		if (length == 0 || length + 1 > (size_t)(end - buffer))
			return NULL;
		end -= length;
		memcpy(end, naming->name, length);
		*--end = '/';
	}
	return end;
}

const char *check_path(struct check *check, uint64_t ino, uint64_t *steps, char buffer[CHECK_PATH_SIZE])
{
	const struct check_inode *inode = ino != 0 ? check_inode_find(check, ino) : NULL;
	struct naming naming = {.steps = *steps};
	const char *path = inode != NULL ? path_of(check, inode, &naming, buffer) : NULL;

	*steps = naming.steps;
	return path;
}

void check_tell(struct check *check)
{
	char buffer[CHECK_PATH_SIZE];
	uint64_t steps = PATH_STEPS_MAX;
	struct check_problem problem;
	size_t i;

	if (check->options->problem == NULL)
		return;
	check_phase(check, "paths");
	for (i = 0; i < check->founds; i++) {
		check_step(check);
		problem = (struct check_problem){
			.invariant = check->found[i].invariant,
			.severity = check->found[i].severity,
			.ino = check->found[i].ino,
			.path = check_path(check, check->found[i].ino, &steps, buffer),
			.text = check->found[i].text,
		};
		check->options->problem(check->options->arg, &problem);
	}
}

void check_problem_fini(struct check *check)
{
	size_t i;

	for (i = 0; i < check->founds; i++)
		free(check->found[i].text);
	free(check->found);
}
