/* The folder that is copied to, and what the rescue adds to it. */
#include "rescue/work.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* 1: nothing is in it. */
static int is_empty(int fd)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *folder = copy >= 0 ? fdopendir(copy) : NULL;
	const struct dirent *entry;
	int empty = 1;

	if (folder == NULL) {
		int error = -errno;

		if (copy >= 0)
			close(copy);
		return error;
	}
	while (empty == 1 && (entry = readdir(folder)) != NULL)
		empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
	closedir(folder);
	return empty;
}

int place_open(struct work *work)
{
	const char *path = work->options->target;
	int error = 0;

	work->links = work->lost_found = -1;
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		error = -errno;
	work->target = error == 0 ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (error == 0 && work->target < 0)
		error = -errno;
	if (error != 0) {
		message_set(work->message, "%s: %s", path, strerror(-error));
		return error;
	}
	error = is_empty(work->target);
	if (error == 1)
		return 0;
	message_set(work->message, "%s: %s", path,
		    error == 0 ? "is not empty: name an empty folder, or one that is to be made" : strerror(-error));
	close(work->target);
	return error == 0 ? -ENOTEMPTY : error;
}

static bool is_taken(const struct children *children, const char *name)
{
	for (size_t i = 0; i < children->count; i++) {
		if (strcmp(child_name(children, &children->child[i]), name) == 0)
			return true;
	}
	return false;
}

static void choose(const struct children *root, const char *name, char ret_name[32])
{
	snprintf(ret_name, 32, "%s", name);
	for (unsigned i = 1; is_taken(root, ret_name); i++)
		snprintf(ret_name, 32, "%s.%u", name, i);
}

void place_choose(struct work *work, const struct children *root)
{
	choose(root, "lost+found", work->lost_found_name);
	choose(root, ".rescue-links", work->links_name);
}

int place_lost_found(struct work *work)
{
	if (work->lost_found >= 0)
		return 0;
	if (mkdirat(work->target, work->lost_found_name, 0700) == 0)
		work->lost_found =
			openat(work->target, work->lost_found_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (work->lost_found >= 0)
		return 0;
	message_set(work->message, "%s: cannot make %s: %s", work->options->target, work->lost_found_name,
		    strerror(errno));
	return -errno;
}

/* Files stay by their names; those whose names could not be made are in lost+found by now. */
static void links_remove(struct work *work)
{
	DIR *folder = fdopendir(work->links);
	const struct dirent *entry;

	if (folder == NULL) {
		close(work->links);
		return;
	}
	while ((entry = readdir(folder)) != NULL) {
		if (entry->d_name[0] != '.')
			(void)unlinkat(dirfd(folder), entry->d_name, 0);
	}
	closedir(folder);
	(void)unlinkat(work->target, work->links_name, AT_REMOVEDIR);
}

void place_close(struct work *work)
{
	if (work->links >= 0)
		links_remove(work);
	if (work->lost_found >= 0)
		close(work->lost_found);
}
