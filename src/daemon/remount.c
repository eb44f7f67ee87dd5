/*
 * mount -o remount: what of a mount can change while it is there: whether the kernel lets anything be changed, its
 * other flags, and when reading changes the time of access. But for that the daemon is asked and does not take part: it
 * goes on with what is its own business (evictions, limbo).
 */
#include "daemon/daemon.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ANSWER_MAX 32

static int ask(const char *mountpoint, const char *name, char ret_answer[ANSWER_MAX], struct message *message)
{
	ssize_t length = getxattr(mountpoint, name, ret_answer, ANSWER_MAX - 1);
	int error;

	if (length < 0) {
		error = -errno;
		message_set(message, "%s: is not the top of a pinfs mount that answers: %s", mountpoint,
			    strerror(-error));
		return error;
	}
	ret_answer[length] = '\0';
	return 0;
}

/* The kernel knows of files that are open for writing, and refuses by itself; of pins it does not. */
static int check_write_pins(const char *mountpoint, struct message *message)
{
	char number[ANSWER_MAX];
	int error = ask(mountpoint, "pinfs.write_pins", number, message);

	if (error != 0 || strcmp(number, "0") == 0)
		return error;
	message_set(message, "%s: %s pins for writing are held: 'pinfs pins %s' shows by whom", mountpoint, number,
		    mountpoint);
	return -EBUSY;
}

static int check_writable(const char *mountpoint, struct message *message)
{
	char writable[ANSWER_MAX];
	int error = ask(mountpoint, "pinfs.writable", writable, message);

	if (error != 0 || strcmp(writable, "0") != 0)
		return error;
	message_set(message, "%s: the pool is open for reading only: unmount, and mount again", mountpoint);
	return -EROFS;
}

/* MS_REMOUNT sets all flags anew: those that the mount has are to be named again. */
static unsigned long present_flags(const struct statvfs *attr)
{
	static const struct {
		unsigned long st, ms;
	} flags[] = {
		{ST_RDONLY, MS_RDONLY},	    {ST_NOSUID, MS_NOSUID},	      {ST_NODEV, MS_NODEV},
		{ST_NOEXEC, MS_NOEXEC},	    {ST_NOATIME, MS_NOATIME},	      {ST_NODIRATIME, MS_NODIRATIME},
		{ST_RELATIME, MS_RELATIME}, {ST_SYNCHRONOUS, MS_SYNCHRONOUS},
	};
	unsigned long present = 0;

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		if ((attr->f_flag & flags[i].st) != 0)
			present |= flags[i].ms;
	}
	return present;
}

static int set_flags(const char *mountpoint, unsigned long flags, struct message *message)
{
	int error = 0;

	if (mount(NULL, mountpoint, NULL, MS_REMOUNT | flags, NULL) != 0) {
		error = -errno;
		message_set(message, "%s: cannot be remounted: %s%s", mountpoint, strerror(-error),
			    error == -EBUSY ? ": a file is open for writing" : "");
	}
	return error;
}

void daemon_show_atime(const char *mountpoint, const struct daemon_options *options, bool read_only)
{
	const unsigned long kept = MS_NOSUID | MS_NODEV | MS_NOEXEC;

	if (geteuid() != 0 || (options->atime != DAEMON_ATIME_STRICT && !options->nodiratime))
		return;
	/* With MS_BIND: the flags of this mount, nothing of the filesystem's. Without effect nothing is lost. */
	(void)mount(NULL, mountpoint, NULL,
		    MS_REMOUNT | MS_BIND | (options->flags_set & kept) | (read_only ? MS_RDONLY : 0) |
			    daemon_atime_mount_flags(options),
		    NULL);
}

/* Tells the daemon one word of its policy of access times (src/front/atime.c). */
static int tell_atime(const char *mountpoint, const char *word, struct message *message)
{
	int error;

	if (setxattr(mountpoint, "pinfs.atime", word, strlen(word), 0) == 0)
		return 0;
	error = -errno;
	if (error == -EOPNOTSUPP)
		message_set(message, "%s: %s needs a new mount, which does not cache", mountpoint, word);
	else
		message_set(message, "%s: %s: %s", mountpoint, word, strerror(-error));
	return error;
}

/* The mount is writable. */
static int tell_policy(const char *mountpoint, const struct daemon_options *options, struct message *message)
{
	static const char *const words[] = {
		[DAEMON_ATIME_RELATIVE] = "relatime",
		[DAEMON_ATIME_NONE] = "noatime",
		[DAEMON_ATIME_STRICT] = "strictatime",
	};
	int error;

	if (!options->atime_given)
		return 0;
	error = tell_atime(mountpoint, words[options->atime], message);
	return error != 0 ? error : tell_atime(mountpoint, options->nodiratime ? "nodiratime" : "diratime", message);
}

static unsigned long flags_after(unsigned long before, const struct daemon_options *options)
{
	unsigned long after = (before | options->flags_set) & ~options->flags_cleared & ~(unsigned long)MS_RDONLY;

	if (options->atime_given)
		after = (after & ~(unsigned long)DAEMON_ATIME_MOUNT_FLAGS) | daemon_atime_mount_flags(options);
	return after | (options->read_only ? MS_RDONLY : 0);
}

/* From `before`, writable or not. Reading changes nothing from before the mount is read-only. */
static int make_read_only(const char *mountpoint, unsigned long before, const struct daemon_options *options,
			  struct message *message)
{
	struct message why;
	int error = 0;

	if ((before & MS_RDONLY) == 0) {
		error = tell_policy(mountpoint, options, message);
		if (error == 0)
			error = tell_atime(mountpoint, "pause", message);
	}
	if (error != 0)
		return error;
	error = set_flags(mountpoint, flags_after(before, options), message);
	/* No pin can come any more, since a write pin needs a descriptor open for writing: was there one meanwhile? */
	if (error == 0) {
		error = check_write_pins(mountpoint, message);
		if (error != 0 && set_flags(mountpoint, before, &why) != 0) {
			message_set(message, "%s; and it is read-only now", why.text);
			return error;
		}
	}
	if (error != 0 && (before & MS_RDONLY) == 0)
		(void)tell_atime(mountpoint, "resume", &why);
	return error;
}

static int make_writable(const char *mountpoint, unsigned long before, const struct daemon_options *options,
			 struct message *message)
{
	const bool was_writable = (before & MS_RDONLY) == 0;
	struct message why;
	int error = 0;

	if (was_writable)
		error = tell_policy(mountpoint, options, message);
	if (error == 0)
		error = set_flags(mountpoint, flags_after(before, options), message);
	if (error != 0 || was_writable)
		return error;
	/* Only what is writable can be told. */
	error = tell_policy(mountpoint, options, message);
	if (error == 0)
		error = tell_atime(mountpoint, "resume", message);
	if (error != 0)
		(void)set_flags(mountpoint, before, &why);
	return error;
}

int daemon_remount(const char *mountpoint, const struct daemon_options *options, struct message *message)
{
	struct statvfs attr;
	int error;

	error = options->read_only ? check_write_pins(mountpoint, message) : check_writable(mountpoint, message);
	if (error != 0)
		return error;
	if (statvfs(mountpoint, &attr) != 0) {
		error = -errno;
		message_set(message, "%s: %s", mountpoint, strerror(-error));
		return error;
	}
	return options->read_only ? make_read_only(mountpoint, present_flags(&attr), options, message)
				  : make_writable(mountpoint, present_flags(&attr), options, message);
}
