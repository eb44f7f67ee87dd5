#include "daemon/daemon.h"

#include "ctl/ctl.h"
#include "daemon/media.h"
#include "daemon/mounts.h"
#include "daemon/signals.h"
#include "fs/pins.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

/* So long a holder of an earlier daemon's life has for coming back before breaks no longer wait for it. */
#define GRACE_SECONDS 10u

/* What the daemon tells the process that started it, once, through a pipe. Smaller than PIPE_BUF: written at once. */
struct report {
	int error; /* 0: mounted */
	struct message message; /* why not; or a note about the mount, or empty */
};
static_assert(sizeof(struct report) <= PIPE_BUF, "a report is one write");

/* A mount in the process that serves it. Opened from top to bottom. */
struct instance {
	const struct daemon_options *options;
	char meta_path[PATH_MAX]; /* absolute: the daemon changes its directory */
	char mountpoint[PATH_MAX]; /* absolute */
	struct fs *fs;
	struct ctl *ctl; /* NULL: no clients */
	struct front *front;
	char *mount_words;
	bool pins_started;
};

static int open_pool(struct instance *instance, struct message *message)
{
	const struct fs_options fs_options = {
		.meta_path = instance->meta_path,
		.data_paths = (const char *const *)instance->options->data_paths,
		.data_count = instance->options->data_count,
		.read_only = instance->options->read_only,
		.inode_flags = instance->options->inode_flags || instance->options->cache == FRONT_CACHE_NONE,
	};
	unsigned attempt = 0;
	int error;

	do {
		message_set(message, "%s", "");
		error = fs_open(&fs_options, &instance->fs, message);
	} while (error == -EBUSY && daemon_wait_busy(instance->meta_path, &attempt));
	if (error == 0)
		daemon_report_media(instance->fs);
	else if (message->text[0] == '\0')
		message_set(message, "%s: %s", instance->meta_path, strerror(-error));
	return error;
}

static void set_policy(const struct instance *instance)
{
	const struct daemon_options *options = instance->options;
	const struct fs_pin_policy policy = {
		.break_timeout =
			options->break_timeout_ms == DAEMON_FOREVER ? PIN_FOREVER : options->break_timeout_ms * 1000000,
		.break_detach = options->break_policy == DAEMON_BREAK_DETACH,
		.pin_limit = options->pin_limit,
		.grace = GRACE_SECONDS * 1000000000ull,
	};

	fs_set_pin_policy(instance->fs, &policy);
	fs_set_atime(instance->fs, daemon_atime_flags(options));
}

static int try_ctl(struct instance *instance, struct message *message)
{
	static const enum ctl_access access[] = {
		[DAEMON_PIN_OWNER] = CTL_ACCESS_OWNER,
		[DAEMON_PIN_GROUP] = CTL_ACCESS_GROUP,
		[DAEMON_PIN_ALL] = CTL_ACCESS_ALL,
	};
	const struct daemon_options *options = instance->options;
	struct ctl_options ctl_options = {
		.access = access[options->pin_access],
		.owner = geteuid(),
		.group = options->pin_group,
		.writeback = daemon_cache(options) == FRONT_CACHE_WRITEBACK,
		.read_only = fs_read_only(instance->fs),
	};
	char path[PATH_MAX];
	int error;

	fs_pool_uuid(instance->fs, ctl_options.pool_uuid);
	error = daemon_mount_device(instance->mountpoint, &ctl_options.device);
	if (error == 0)
		error = ctl_default_path(ctl_options.pool_uuid, ctl_options.access, path, sizeof(path));
	if (error != 0)
		return error;
	ctl_options.path = path;
	error = ctl_open(instance->fs, &ctl_options, &instance->ctl, message);
	if (error == 0)
		error = ctl_start(instance->ctl, message);
	if (error == 0)
		error = front_set_client_socket(instance->front, ctl_path(instance->ctl));
	return error;
}

/*
 * The threads of pins, and the socket of clients, once the mount exists and the terminal is left. Without the socket
 * the filesystem is as good as ever, but for pins: `note` says that, and it is no reason to fail.
 */
static int start_pins(struct instance *instance, struct message *note)
{
	struct message why = {.text = ""};
	int error;

	error = fs_pins_start(instance->fs);
	if (error != 0)
		return error;
	instance->pins_started = true;
	error = try_ctl(instance, &why);
	if (error != 0)
		message_set(note, "%s: nobody will be able to pin: %s", instance->mountpoint,
			    why.text[0] != '\0' ? why.text : strerror(-error));
	return 0;
}

/* The pool may be for reading only although nobody asked for that: then the kernel is told so. */
static int open_front(struct instance *instance, struct message *message)
{
	const struct daemon_options *options = instance->options;
	struct front_options front_options = {
		.source = instance->meta_path,
		.mountpoint = instance->mountpoint,
		.cache = daemon_cache(options),
		.transport = options->transport,
	};
	int error;

	if (front_options.cache != options->cache)
		log_warning("%s: strictatime: cache=none, as what the kernel reads from its cache is not seen here",
			    instance->mountpoint);
	if (asprintf(&instance->mount_words, "%s%s%s%s%s", fs_read_only(instance->fs) ? "ro" : "rw",
		     options->allow_other ? ",allow_other" : "", options->atime == DAEMON_ATIME_NONE ? ",noatime" : "",
		     options->mount_words[0] != '\0' ? "," : "", options->mount_words) < 0) {
		instance->mount_words = NULL;
		error = -ENOMEM;
		goto fail;
	}
	front_options.mount_words = instance->mount_words;
	error = front_open(instance->fs, &front_options, &instance->front);
	if (error != 0)
		goto fail;
	error = front_mount(instance->front, instance->mountpoint);
	if (error == 0) {
		daemon_show_atime(instance->mountpoint, options, fs_read_only(instance->fs));
		return 0;
	}
	message_set(message, "%s: cannot mount: %s", instance->mountpoint,
		    error == -EIO ? "the reason is above" : strerror(-error));
	front_close(instance->front);
	instance->front = NULL;
	return error;
fail:
	message_set(message, "%s: %s", instance->mountpoint, strerror(-error));
	return error;
}

/*
 * Parked requests are answered by the drain (fs_pins_drain), so none is left when the threads of pins end; the front
 * ends after them, because they answer through it.
 */
static void close_instance(struct instance *instance)
{
	if (instance->ctl != NULL)
		ctl_stop(instance->ctl);
	if (instance->front != NULL)
		front_unmount(instance->front);
	if (instance->pins_started)
		fs_pins_stop(instance->fs);
	front_close(instance->front);
	if (instance->ctl != NULL)
		ctl_close(instance->ctl);
	free(instance->mount_words);
	if (instance->fs != NULL)
		fs_close(instance->fs);
}

/* What a user of ordinary files should know: it works, and slowly. */
static void note_durability(const struct instance *instance, struct message *ret_note)
{
	const char *path, *durability;
	struct fs_stats *stats;
	uint64_t blocks;

	stats = malloc(sizeof(*stats));
	if (stats == NULL)
		return;
	fs_get_stats(instance->fs, stats);
	if (strcmp(stats->meta_durability, "msync") == 0)
		message_set(ret_note, "%s: not on persistent memory: each change waits for msync(2)",
			    instance->meta_path);
	for (unsigned i = 0;
	     ret_note->text[0] == '\0' && fs_part_info(instance->fs, i, &path, &durability, &blocks) == 0; i++) {
		if (strcmp(durability, "msync") == 0)
			message_set(ret_note, "%s: not on persistent memory: each write waits for msync(2)", path);
	}
	free(stats);
}

static int leave_terminal(void)
{
	int fd, error = 0;

	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	log_to_syslog();
	if (dup2(fd, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
		error = -errno;
	if (fd > STDERR_FILENO)
		close(fd);
	return error;
}

/* Closes the pipe: *pipe_fd is -1 then, and nobody hears more. */
static int tell(int *pipe_fd, int error, const struct message *message)
{
	struct report report = {.error = error, .message = *message};
	ssize_t written;

	do
		written = write(*pipe_fd, &report, sizeof(report));
	while (written < 0 && errno == EINTR);
	close(*pipe_fd);
	*pipe_fd = -1;
	return written == (ssize_t)sizeof(report) ? 0 : -EPIPE;
}

/*
 * Opens the pool, mounts it, serves it until it is unmounted. *pipe_fd: where somebody waits to hear that it is
 * mounted; -1 in the foreground, and once that was told: from then on messages go to the log.
 */
static int serve(struct instance *instance, int *pipe_fd, struct message *message)
{
	struct daemon_signals signals;
	struct message note = {.text = ""};
	int error;

	error = open_pool(instance, message);
	if (error != 0)
		return error;
	error = daemon_signals_block();
	if (error != 0)
		goto system_error;
	set_policy(instance);
	error = open_front(instance, message);
	if (error != 0)
		goto out;
	if (*pipe_fd >= 0)
		error = leave_terminal();
	if (error == 0)
		error = start_pins(instance, &note);
	if (error == 0)
		error = daemon_signals_start(&signals, instance->fs, instance->front, instance->mountpoint);
	if (error != 0)
		goto system_error;

	if (note.text[0] == '\0')
		note_durability(instance, &note);
	if (!instance->options->inode_flags && instance->options->cache != FRONT_CACHE_NONE &&
	    fs_honours_flags(instance->fs))
		log_info("%s: has immutable or append-only files: mounted with inode_flags", instance->meta_path);
	if (*pipe_fd >= 0)
		error = tell(pipe_fd, 0, &note);
	else if (note.text[0] != '\0')
		log_warning("%s", note.text);
	if (error == 0)
		error = front_serve(instance->front);
	daemon_signals_drain(&signals);
	daemon_signals_stop(&signals);
	if (error == 0)
		goto out;
system_error:
	message_set(message, "%s: %s", instance->mountpoint, strerror(-error));
out:
	close_instance(instance);
	return error;
}

static void __attribute__((noreturn)) run_daemon(struct instance *instance, int pipe_fd)
{
	struct message message = {.text = ""};
	int error;

	if (setsid() < 0 || chdir("/") != 0) {
		error = -errno;
		message_set(&message, "%s: %s", instance->mountpoint, strerror(-error));
	} else {
		error = serve(instance, &pipe_fd, &message);
	}
	if (error != 0 && pipe_fd < 0)
		log_error("%s", message.text);
	else if (error != 0)
		(void)tell(&pipe_fd, error, &message);
	exit(error != 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* The first request that is answered proves that the daemon serves. */
static int check_answers(const char *mountpoint, struct message *message)
{
	struct statfs statfs_data;
	int error = 0;

	if (statfs(mountpoint, &statfs_data) != 0)
		error = -errno;
	else if (statfs_data.f_type != FUSE_SUPER_MAGIC)
		error = -ENODEV;
	if (error != 0)
		message_set(message, "%s: mounted, but does not answer: %s", mountpoint, strerror(-error));
	return error;
}

static int hear(int pipe_fd, pid_t child, const char *mountpoint, struct message *ret_note, struct message *message)
{
	struct report report;
	ssize_t got;
	int status;

	do
		got = read(pipe_fd, &report, sizeof(report));
	while (got < 0 && errno == EINTR);
	if (got == (ssize_t)sizeof(report)) {
		report.message.text[sizeof(report.message.text) - 1] = '\0';
		if (report.error == 0) {
			*ret_note = report.message;
			return check_answers(mountpoint, message);
		}
		*message = report.message;
		(void)waitpid(child, NULL, 0);
		return report.error;
	}
	if (waitpid(child, &status, 0) != child)
		status = 0;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS)
		message_set(message, "%s: the daemon met a memory error (SIGBUS) in its pool: run `pinfs fsck` on it",
			    mountpoint);
	else if (WIFSIGNALED(status))
		message_set(message, "%s: the daemon was ended by a signal: %s", mountpoint,
			    strsignal(WTERMSIG(status)));
	else
		message_set(message, "%s: the daemon ended without a word", mountpoint);
	return -EIO;
}

/* The child opens everything: libpmemobj, locks and threads do not survive a fork well. */
static int start_daemon(struct instance *instance, struct message *ret_note, struct message *message)
{
	int pipe_fds[2];
	pid_t child;
	int error;

	if (pipe2(pipe_fds, O_CLOEXEC) != 0)
		goto system_error;
	(void)fflush(NULL);
	child = fork();
	if (child < 0) {
		close(pipe_fds[0]);
		close(pipe_fds[1]);
		goto system_error;
	}
	if (child == 0) {
		close(pipe_fds[0]);
		run_daemon(instance, pipe_fds[1]);
	}
	close(pipe_fds[1]);
	error = hear(pipe_fds[0], child, instance->mountpoint, ret_note, message);
	close(pipe_fds[0]);
	return error;
system_error:
	error = -errno;
	message_set(message, "%s: cannot start the daemon: %s", instance->mountpoint, strerror(-error));
	return error;
}

int daemon_mount(const struct daemon_mount *mount, struct message *ret_note, struct message *message)
{
	struct instance *instance;
	int nobody = -1;
	int error;

	message_set(ret_note, "%s", "");
	instance = calloc(1, sizeof(*instance));
	if (instance == NULL) {
		message_set(message, "%s: %s", mount->mountpoint, strerror(ENOMEM));
		return -ENOMEM;
	}
	instance->options = mount->options;
	error = daemon_mountpoint_check(mount->mountpoint, mount->options->nonempty, instance->mountpoint, message);
	if (error != 0)
		goto out;
	if (realpath(mount->meta_path, instance->meta_path) == NULL) {
		error = -errno;
		message_set(message, "%s: %s", mount->meta_path, strerror(-error));
		goto out;
	}
	front_log();
	if (mount->foreground)
		error = serve(instance, &nobody, message);
	else
		error = start_daemon(instance, ret_note, message);
out:
	free(instance);
	return error;
}
