/*
 * Names in one folder, which is empty before and after. names FOLDER COUNT STEP...
 *
 *   create unlink mkdir rmdir rename link    COUNT of each; what they need is made before, outside of the time
 *   stat open list                           of COUNT files that the kernel knows: fstatat(2); openat(2) and close(2);
 *                                            readdir(3) and fstatat(2) of each
 *
 * create is open(O_CREAT | O_EXCL) and close. Exit status 0, 1 (a call failed, or a wrong answer), 2 (wrong use).
 */
#include "timing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct folder {
	int fd;
	uint64_t count;
};

typedef int (*change)(int folder, const char *name, const char *other);

static int op_create(int folder, const char *name, const char *other)
{
	int fd = openat(folder, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);

	(void)other;
	return fd < 0 ? -1 : close(fd);
}

static int op_open(int folder, const char *name, const char *other)
{
	int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);

	(void)other;
	return fd < 0 ? -1 : close(fd);
}

static int op_stat(int folder, const char *name, const char *other)
{
	struct stat st;

	(void)other;
	if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return -1;
	if (!S_ISREG(st.st_mode) || st.st_size != 0)
		errx(1, "%s: mode %o, %lld bytes", name, st.st_mode, (long long)st.st_size);
	return 0;
}

static int op_unlink(int folder, const char *name, const char *other)
{
	(void)other;
	return unlinkat(folder, name, 0);
}

static int op_unlink_other(int folder, const char *name, const char *other)
{
	(void)name;
	return unlinkat(folder, other, 0);
}

static int op_mkdir(int folder, const char *name, const char *other)
{
	(void)other;
	return mkdirat(folder, name, 0755);
}

static int op_rmdir(int folder, const char *name, const char *other)
{
	(void)other;
	return unlinkat(folder, name, AT_REMOVEDIR);
}

static int op_rename(int folder, const char *name, const char *other)
{
	return renameat(folder, name, folder, other);
}

static int op_link(int folder, const char *name, const char *other)
{
	return linkat(folder, name, folder, other, 0);
}

#define LAP 32u

static void each(const struct folder *folder, change operation, struct step *step)
{
	for (uint64_t i = 0; i < folder->count; i++) {
		char name[32], other[32];

		snprintf(name, sizeof(name), "file-%08llu", (unsigned long long)i);
		snprintf(other, sizeof(other), "other-%08llu", (unsigned long long)i);
		if (operation(folder->fd, name, other) != 0)
			err(1, "%s", name);
		if (step != NULL && (i + 1) % LAP == 0)
			step_lap(step, LAP);
	}
}

/* Each name is seen once, and is what it should be. */
static void list(const struct folder *folder, struct step *step)
{
	int fd = openat(folder->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	uint64_t found = 0;
	struct dirent *entry;

	if (dir == NULL)
		err(1, "opendir");
	while ((errno = 0, entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		if (op_stat(folder->fd, entry->d_name, NULL) != 0)
			err(1, "%s", entry->d_name);
		if (++found % LAP == 0 && step != NULL)
			step_lap(step, LAP);
	}
	if (errno != 0)
		err(1, "readdir");
	if (found != folder->count)
		errx(1, "readdir: %llu names of %llu", (unsigned long long)found, (unsigned long long)folder->count);
	closedir(dir);
}

/* ---- Steps that change nothing go on for a while ---- */

static void pass(const struct folder *folder, change operation, struct step *step)
{
	if (operation != NULL)
		each(folder, operation, step);
	else
		list(folder, step);
}

static void again(const struct folder *folder, const char *name, change operation)
{
	static struct step step;

	pass(folder, operation, NULL);
	step_begin(&step, name);
	do {
		pass(folder, operation, &step);
	} while (step_goes_on(&step));
	step_end(&step, 0);
}

static void once(const struct folder *folder, const char *name, change operation)
{
	static struct step step;

	step_begin(&step, name);
	each(folder, operation, &step);
	step_end(&step, 0);
}

struct kind {
	const char *name;
	change before; /* what makes it possible */
	change operation;
	change after; /* what removes what is left */
	bool repeated;
};

static const struct kind kinds[] = {
	{"create", NULL, op_create, op_unlink, false}, {"unlink", op_create, op_unlink, NULL, false},
	{"mkdir", NULL, op_mkdir, op_rmdir, false},    {"rmdir", op_mkdir, op_rmdir, NULL, false},
	{"rename", op_create, op_rename, NULL, false}, {"link", op_create, op_link, op_unlink, false},
	{"stat", op_create, op_stat, op_unlink, true}, {"open", op_create, op_open, op_unlink, true},
	{"list", op_create, NULL, op_unlink, true},
};

static void run(const struct folder *folder, const struct kind *kind)
{
	if (kind->before != NULL)
		each(folder, kind->before, NULL);
	if (kind->repeated)
		again(folder, kind->name, kind->operation);
	else
		once(folder, kind->name, kind->operation);
	if (kind->after != NULL)
		each(folder, kind->after, NULL);
	if (kind->operation == op_rename || kind->operation == op_link)
		each(folder, op_unlink_other, NULL);
}

int main(int argc, char **argv)
{
	struct folder folder;

	if (argc < 4)
		errx(2, "usage: names FOLDER COUNT STEP...");
	folder.fd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder.fd < 0)
		err(1, "%s", argv[1]);
	folder.count = number_of(argv[2]);
	if (folder.count % LAP != 0)
		errx(2, "COUNT must be a multiple of %u", LAP);
	for (int i = 3; i < argc; i++) {
		size_t k = 0;

		while (k < sizeof(kinds) / sizeof(kinds[0]) && !is(kinds[k].name, argv[i]))
			k++;
		if (k == sizeof(kinds) / sizeof(kinds[0]))
			errx(2, "%s: no such step", argv[i]);
		run(&folder, &kinds[k]);
	}
	close(folder.fd);
	return 0;
}
