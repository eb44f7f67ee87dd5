#include "daemon/mounts.h"

#include <dirent.h>
#include <errno.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>

#define MOUNT_TABLE "/proc/self/mounts"
#define MOUNT_TYPE "fuse.pinfs"
/* An entry has two paths, with escapes of four bytes, and options. */
#define ENTRY_MAX (12 * PATH_MAX)

#define BUSY_PAUSE_MS 50
#define BUSY_ATTEMPTS 800 /* 40 seconds: a daemon may wait 30 for pins before it ends */
#define BUSY_TELL 40 /* after 2 seconds it says what it waits for */

/* Returns non-zero to end the walk. */
typedef int visit_mount(void *arg, const struct mntent *entry);

static int each_mount(visit_mount *visit, void *arg)
{
	struct mntent entry;
	int result = 0;
	FILE *table;
	char *room;

	table = setmntent(MOUNT_TABLE, "re");
	if (table == NULL)
		return -errno;
	room = malloc(ENTRY_MAX);
	if (room == NULL) {
		endmntent(table);
		return -ENOMEM;
	}
	while (result == 0 && getmntent_r(table, &entry, room, ENTRY_MAX) != NULL)
		result = visit(arg, &entry);
	free(room);
	endmntent(table);
	return result;
}

static int match_source(void *arg, const struct mntent *entry)
{
	const char *source = arg;

	return strcmp(entry->mnt_type, MOUNT_TYPE) == 0 && strcmp(entry->mnt_fsname, source) == 0 ? 1 : 0;
}

bool daemon_pool_mounted(const char *meta_path)
{
	char path[PATH_MAX];

	if (realpath(meta_path, path) == NULL)
		return false;
	return each_mount(match_source, path) == 1;
}

struct holder_search {
	const char *path;
	char directory[PATH_MAX]; /* the deepest, and of equals the last mounted, so far */
	size_t length;
	bool ours;
};

static int match_holder(void *arg, const struct mntent *entry)
{
	struct holder_search *search = arg;
	size_t length = strlen(entry->mnt_dir);
	bool root = strcmp(entry->mnt_dir, "/") == 0;

	if (length >= sizeof(search->directory) || length < search->length ||
	    strncmp(search->path, entry->mnt_dir, length) != 0)
		return 0;
	if (!root && search->path[length] != '\0' && search->path[length] != '/')
		return 0;
	memcpy(search->directory, entry->mnt_dir, length + 1);
	search->length = length;
	search->ours = strcmp(entry->mnt_type, MOUNT_TYPE) == 0;
	return 0;
}

int daemon_mount_of(const char *path, char ret_directory[PATH_MAX])
{
	struct holder_search search = {.path = path};
	int error;

	error = each_mount(match_holder, &search);
	if (error != 0)
		return error;
	if (!search.ours)
		return -ENOENT;
	memcpy(ret_directory, search.directory, search.length + 1);
	return 0;
}

/* Undoes the table's escapes (\\040 and so on) in place. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from != '\0';) {
		if (from[0] == '\\' && strspn(from + 1, "01234567") >= 3) {
			*to++ = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
			from += 4;
		} else {
			*to++ = *from++;
		}
	}
	*to = '\0';
}

int daemon_mount_device(const char *mountpoint, dev_t *ret_device)
{
	unsigned major, minor;
	char *line = NULL;
	size_t room = 0;
	int error = -ENOENT;
	FILE *table;
	int start, end;

	table = fopen("/proc/self/mountinfo", "re");
	if (table == NULL)
		return -errno;
	/* The last one of that path is on top. */
	while (getline(&line, &room, table) > 0) {
		start = end = 0;
		if (sscanf(line, "%*u %*u %u:%u %*s %n%*s%n", &major, &minor, &start, &end) != 2 || end <= start)
			continue;
		line[end] = '\0';
		unescape(line + start);
		if (strcmp(line + start, mountpoint) == 0) {
			*ret_device = makedev(major, minor);
			error = 0;
		}
	}
	free(line);
	(void)fclose(table);
	return error;
}

static int check_empty(const char *path, struct message *message)
{
	const struct dirent *entry;
	int error = 0;
	DIR *dir;

	dir = opendir(path);
	if (dir == NULL) {
		error = -errno;
		message_set(message, "%s: %s", path, strerror(-error));
		return error;
	}
	for (;;) {
		errno = 0;
		entry = readdir(dir);
		if (entry == NULL) {
			error = -errno;
			if (error != 0)
				message_set(message, "%s: %s", path, strerror(-error));
			break;
		}
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
			error = -ENOTEMPTY;
			message_set(message,
				    "%s: is not empty: choose an empty directory, or -o nonempty hides what "
				    "is in it",
				    path);
			break;
		}
	}
	closedir(dir);
	return error;
}

/* The kernel knows the attributes of a mount's root by heart: only a request shows whether somebody answers. */
static void describe_mounted(const char *path, struct message *message)
{
	struct statfs statfs_data;

	if (statfs(path, &statfs_data) != 0 && errno == ENOTCONN)
		message_set(message, "%s: the daemon of the mount there is gone: run 'umount %s' first", path, path);
	else
		message_set(message, "%s: a pinfs pool is mounted there already", path);
}

int daemon_mountpoint_check(const char *path, bool nonempty, char ret_path[PATH_MAX], struct message *message)
{
	char absolute[PATH_MAX], mount[PATH_MAX];
	struct stat attr;
	int error;

	if (realpath(path, absolute) == NULL || stat(absolute, &attr) != 0) {
		error = -errno;
		if (error == -ENOTCONN)
			message_set(message, "%s: the daemon of the file system there is gone: run 'umount %s' first",
				    path, path);
		else
			message_set(message, "%s: %s", path, strerror(-error));
		return error;
	}
	if (!S_ISDIR(attr.st_mode)) {
		message_set(message, "%s: is not a directory", path);
		return -ENOTDIR;
	}
	if (daemon_mount_of(absolute, mount) == 0 && strcmp(mount, absolute) == 0) {
		describe_mounted(absolute, message);
		return -EBUSY;
	}
	if (!nonempty) {
		error = check_empty(absolute, message);
		if (error != 0)
			return error;
	}
	memcpy(ret_path, absolute, strlen(absolute) + 1);
	return 0;
}

bool daemon_wait_busy(const char *meta_path, unsigned *attempt)
{
	const struct timespec pause = {.tv_nsec = BUSY_PAUSE_MS * 1000000L};

	if (*attempt >= BUSY_ATTEMPTS || daemon_pool_mounted(meta_path))
		return false;
	if (++*attempt == BUSY_TELL)
		log_info("%s: its last daemon still puts it away, and may wait for pins: waiting for it", meta_path);
	(void)nanosleep(&pause, NULL);
	return true;
}
