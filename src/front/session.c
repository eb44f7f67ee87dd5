/* The session with the kernel: what is agreed at its start, the mount, the threads that serve it. */
#include "front/request.h"
#include "front/uring.h"

#include <errno.h>
#include <fuse_opt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WRITE_MAX (1u << 20)

const char *front_cache_name(enum front_cache cache)
{
	static const char *const names[] = {
		[FRONT_CACHE_AUTO] = "auto",
		[FRONT_CACHE_NONE] = "none",
		[FRONT_CACHE_WRITEBACK] = "writeback",
	};

	return names[cache];
}

void front_init(void *userdata, struct fuse_conn_info *conn)
{
	struct front *front = userdata;

	front_caps_agree(front, conn);
	front_transport_agree(front, WRITE_MAX);
	conn->max_write = WRITE_MAX;
	conn->max_background = FRONT_BACKGROUND_MAX;
	conn->congestion_threshold = FRONT_BACKGROUND_MAX * 3 / 4;
	conn->time_gran = 1;
	if (!front->writeback && front->cache == FRONT_CACHE_WRITEBACK)
		front->cache = FRONT_CACHE_AUTO;
	front->attr_timeout = front->cache == FRONT_CACHE_WRITEBACK ? FRONT_ATTR_WRITEBACK : FRONT_FOREVER;
}

/* libfuse splits at commas and takes backslashes as escapes: fsname is a path and may have either. */
static int make_args(const struct front_options *options, struct fuse_args *args)
{
	char *words = NULL;
	char *name = NULL;
	int error = -ENOMEM;

	if (asprintf(&name, "fsname=%s", options->source) < 0) {
		name = NULL;
		goto out;
	}
	if (fuse_opt_add_opt(&words, "default_permissions,subtype=pinfs") != 0 ||
	    fuse_opt_add_opt_escaped(&words, name) != 0)
		goto out;
	if (options->mount_words[0] != '\0' && fuse_opt_add_opt(&words, options->mount_words) != 0)
		goto out;
	if (fuse_opt_add_arg(args, "pinfs") != 0 || fuse_opt_add_arg(args, "-o") != 0 ||
	    fuse_opt_add_arg(args, words) != 0)
		goto out;
	error = 0;
out:
	free(name);
	free(words);
	return error;
}

int front_open(struct fs *fs, const struct front_options *options, struct front **ret_front)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct front *front;
	int error = -ENOMEM;

	/* Zeroed as a whole: the counters start at 0, on cache lines of their own. */
	front = aligned_alloc(_Alignof(struct front), sizeof(*front));
	if (front == NULL)
		return -ENOMEM;
	memset(front, 0, sizeof(*front));
	front->fs = fs;
	front->cache = options->cache;
	front->transport = options->transport;
	front->mountpoint = options->mountpoint;
	if (clock_gettime(CLOCK_MONOTONIC, &front->started) != 0) {
		error = -errno;
		goto out;
	}
	error = make_args(options, &args);
	if (error != 0)
		goto out;
	front->session = fuse_session_new(&args, &front_ops, sizeof(front_ops), front);
	if (front->session == NULL) {
		error = -EINVAL;
		goto out;
	}
	error = front_upcalls_init(&front->upcalls);
	if (error != 0) {
		fuse_session_destroy(front->session);
		goto out;
	}
	front_loop_init(&front->loop);
	fs_set_kernel(fs, &(struct fs_kernel){.arg = front, .invalidate = front_invalidate});
	*ret_front = front;
	front = NULL;
out:
	fuse_opt_free_args(&args);
	free(front);
	return error;
}

int front_mount(struct front *front, const char *mountpoint)
{
	errno = 0;
	if (fuse_session_mount(front->session, mountpoint) == 0)
		return front_channel_open(front);
	return errno > 0 ? -errno : -EIO;
}

int front_serve(struct front *front)
{
	return front_loop_run(front);
}

void front_stop(struct front *front)
{
	front_loop_stop(&front->loop);
}

void front_unmount(struct front *front)
{
	fuse_session_unmount(front->session);
	/* The kernel's connection is gone, and with it whatever hung in it. */
	front->stuck = !front_cleaner_stop(&front->cleaner);
	if (!front_upcalls_stop(&front->upcalls))
		front->stuck = true;
}

int front_set_client_socket(struct front *front, const char *path)
{
	front->client_socket = strdup(path);
	return front->client_socket == NULL ? -ENOMEM : 0;
}

void front_close(struct front *front)
{
	if (front == NULL || front->stuck)
		return;
	front_uring_close(front->uring);
	fuse_session_destroy(front->session);
	front_upcalls_fini(&front->upcalls);
	front_loop_fini(&front->loop);
	free(front->client_socket);
	free(front);
}

static void log_line(enum fuse_log_level level, const char *format, va_list args)
{
	char line[512];
	size_t length;

	vsnprintf(line, sizeof(line), format, args);
	length = strcspn(line, "\n");
	line[length] = '\0';
	if (level <= FUSE_LOG_ERR)
		log_error("%s", line);
	else if (level == FUSE_LOG_WARNING)
		log_warning("%s", line);
	else
		log_info("%s", line);
}

void front_log(void)
{
	fuse_set_log_func(log_line);
}
