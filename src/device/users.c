/* Who uses a file or a device without a lock on it. */
#include "device/inside.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static bool is_same(const struct stat *attr, const char *path)
{
	struct stat other;

	if (stat(path, &other) != 0)
		return false;
	if (S_ISREG(attr->st_mode))
		return other.st_dev == attr->st_dev && other.st_ino == attr->st_ino;
	return (other.st_mode & S_IFMT) == (attr->st_mode & S_IFMT) && other.st_rdev == attr->st_rdev;
}

/* /proc/self/mountinfo: `36 35 98:0 /root /mountpoint ...`; blanks in paths are \040. */
static void mounted_on(dev_t number, char ret_mountpoint[DEVICE_PATH_MAX])
{
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t room = 0;

	ret_mountpoint[0] = '\0';
	while (mounts != NULL && ret_mountpoint[0] == '\0' && getline(&line, &room, mounts) > 0) {
		unsigned high, low;
		char path[DEVICE_PATH_MAX];

		if (sscanf(line, "%*u %*u %u:%u %*s %4095s", &high, &low, path) == 3 && makedev(high, low) == number)
			snprintf(ret_mountpoint, DEVICE_PATH_MAX, "%s", path);
	}
	free(line);
	if (mounts != NULL)
		fclose(mounts);
}

void device_mounted_on(const char *path, char ret_mountpoint[DEVICE_PATH_MAX])
{
	struct stat attr;

	ret_mountpoint[0] = '\0';
	if (stat(path, &attr) == 0 && S_ISBLK(attr.st_mode))
		mounted_on(attr.st_rdev, ret_mountpoint);
}

static bool is_swap(const struct stat *attr)
{
	FILE *swaps = fopen("/proc/swaps", "re");
	char line[PATH_MAX + 64], path[PATH_MAX];
	bool found = false;

	while (swaps != NULL && !found && fgets(line, sizeof(line), swaps) != NULL)
		found = sscanf(line, "%4095s", path) == 1 && path[0] == '/' && is_same(attr, path);
	if (swaps != NULL)
		fclose(swaps);
	return found;
}

/* What lies on a disk: the first of its holders, as dm-0 or md1. */
static bool find_holder(dev_t number, char ret_name[64])
{
	char path[128];
	struct dirent *entry;
	DIR *holders;

	ret_name[0] = '\0';
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/holders", major(number), minor(number));
	holders = opendir(path);
	while (holders != NULL && ret_name[0] == '\0' && (entry = readdir(holders)) != NULL) {
		if (entry->d_name[0] != '.')
			snprintf(ret_name, 64, "%.63s", entry->d_name);
	}
	if (holders != NULL)
		closedir(holders);
	return ret_name[0] != '\0';
}

/* The loop device of a file, as loop0. */
static bool find_loop(const struct stat *attr, char ret_name[64])
{
	DIR *disks = opendir("/sys/class/block");
	struct dirent *entry;

	ret_name[0] = '\0';
	while (disks != NULL && ret_name[0] == '\0' && (entry = readdir(disks)) != NULL) {
		char path[PATH_MAX], file[PATH_MAX];
		FILE *backing;

		if (strncmp(entry->d_name, "loop", 4) != 0)
			continue;
		snprintf(path, sizeof(path), "/sys/class/block/%s/loop/backing_file", entry->d_name);
		backing = fopen(path, "re");
		if (backing == NULL)
			continue;
		if (fgets(file, sizeof(file), backing) != NULL) {
			file[strcspn(file, "\n")] = '\0';
			if (is_same(attr, file))
				snprintf(ret_name, 64, "%.63s", entry->d_name);
		}
		fclose(backing);
	}
	if (disks != NULL)
		closedir(disks);
	return ret_name[0] != '\0';
}

/* A line of /proc/PID/maps: `7f00-7f10 rw-s 00000000 00:05 1234 /dev/dax0.0`. */
static bool is_mapping(const char *line, const struct stat *attr)
{
	unsigned high, low;
	uint64_t inode;
	char mode[5];

	return sscanf(line, "%*x-%*x %4s %*x %x:%x %" SCNu64, mode, &high, &low, &inode) == 4 && mode[1] == 'w' &&
	       mode[3] == 's' && makedev(high, low) == attr->st_dev && inode == attr->st_ino;
}

static bool maps(const char *pid, const struct stat *attr)
{
	char path[64];
	bool found = false;
	char *line = NULL;
	size_t room = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%.20s/maps", pid);
	file = fopen(path, "re");
	if (file == NULL)
		return false;
	while (!found && getline(&line, &room, file) > 0)
		found = is_mapping(line, attr);
	free(line);
	fclose(file);
	return found;
}

/* 0: no process that we may look at. */
static pid_t find_mapper(const struct stat *attr)
{
	DIR *processes = opendir("/proc");
	struct dirent *entry;
	pid_t found = 0;

	while (processes != NULL && found == 0 && (entry = readdir(processes)) != NULL) {
		if (isdigit((unsigned char)entry->d_name[0]) && maps(entry->d_name, attr))
			found = (pid_t)atoi(entry->d_name);
	}
	if (processes != NULL)
		closedir(processes);
	return found;
}

static void command_of(pid_t pid, char ret_command[32])
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	file = fopen(path, "re");
	if (file == NULL || fgets(ret_command, 32, file) == NULL)
		snprintf(ret_command, 32, "?");
	ret_command[strcspn(ret_command, "\n")] = '\0';
	if (file != NULL)
		fclose(file);
}

int device_check_users(const char *path, struct message *message)
{
	char mountpoint[DEVICE_PATH_MAX], name[64], command[32];
	struct stat attr;
	pid_t pid;

	if (stat(path, &attr) != 0)
		return errno == ENOENT ? 0 : -errno;
	device_mounted_on(path, mountpoint);
	if (mountpoint[0] != '\0')
		message_set(message, "%s: is in use: it is mounted on %.512s", path, mountpoint);
	else if (is_swap(&attr))
		message_set(message, "%s: is in use: the kernel swaps to it: swapoff %s", path, path);
	else if (S_ISBLK(attr.st_mode) && find_holder(attr.st_rdev, name))
		message_set(message, "%s: is in use: /dev/%s lies on it", path, name);
	else if (S_ISREG(attr.st_mode) && find_loop(&attr, name))
		message_set(message, "%s: is in use: it is /dev/%s: unmount that, then losetup -d /dev/%s", path, name,
			    name);
	else if (!S_ISBLK(attr.st_mode) && (pid = find_mapper(&attr)) != 0) {
		command_of(pid, command);
		message_set(message, "%s: is in use: process %d (%s) has it mapped, and may write: end it first", path,
			    (int)pid, command);
	} else {
		return 0;
	}
	return -EBUSY;
}
