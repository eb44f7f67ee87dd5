/* The socket in the filesystem: where it is, and who may see it. */
#include "ctl/server.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <uuid/uuid.h>

/* ---- Where ---- */

/* Of the user's own, and nobody else's to write in. */
static bool is_ours(const char *folder)
{
	struct stat st;

	return folder != NULL && folder[0] == '/' && stat(folder, &st) == 0 && S_ISDIR(st.st_mode) &&
	       st.st_uid == geteuid() && (st.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

int ctl_default_path(const uint8_t pool_uuid[16], enum ctl_access access, char *ret_path, size_t capacity)
{
	const size_t most = sizeof(((struct sockaddr_un *)NULL)->sun_path);
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char uuid[UUID_STR_LEN];
	int length = INT_MAX;

	uuid_unparse_lower(pool_uuid, uuid);
	if (geteuid() == 0)
		length = snprintf(ret_path, capacity, "/run/pinfs/%s.sock", uuid);
	else if (access == CTL_ACCESS_OWNER && is_ours(runtime))
		length = snprintf(ret_path, capacity, "%s/pinfs/%s.sock", runtime, uuid);
	/* Others cannot enter a runtime folder. */
	if (length < 0 || (size_t)length >= most)
		length = snprintf(ret_path, capacity, "/tmp/pinfs-%u/%s.sock", (unsigned)geteuid(), uuid);
	return length < 0 || (size_t)length >= capacity || (size_t)length >= most ? -ENAMETOOLONG : 0;
}

/* ---- The folder ---- */

/* Ours, no symlink, and only we can put something else in its place or in it. */
static int check_folder(const char *folder, enum ctl_access access, struct message *message)
{
	const mode_t enter = access == CTL_ACCESS_OWNER ? 0 : S_IXGRP | S_IXOTH;
	struct stat st;
	int error = 0;
	int fd;

	fd = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0) {
		error = -errno;
		message_set(message, "%s: %s", folder, strerror(-error));
	} else if ((st.st_uid != geteuid() && st.st_uid != 0) ||
		   ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0 && (st.st_mode & S_ISVTX) == 0)) {
		error = -EPERM;
		message_set(message, "%s: the folder of the client socket can be changed by other users; remove it",
			    folder);
	} else if ((st.st_mode & enter) != enter && st.st_uid == geteuid() && fchmod(fd, st.st_mode | enter) != 0) {
		error = -errno;
		message_set(message, "%s: letting others in: %s", folder, strerror(-error));
	}
	if (fd >= 0)
		close(fd);
	return error;
}

static int prepare_folder(const char *path, enum ctl_access access, struct message *message)
{
	char *folder = strdup(path);
	char *slash = folder == NULL ? NULL : strrchr(folder, '/');
	int error = 0;

	if (slash == NULL || slash == folder) {
		error = folder == NULL ? -ENOMEM : -EINVAL;
		message_set(message, "%s: no path for a client socket", path);
		goto free_folder;
	}
	*slash = 0;
	if (mkdir(folder, S_IRWXU) != 0 && errno != EEXIST) {
		error = -errno;
		message_set(message, "%s: %s", folder, strerror(-error));
		goto free_folder;
	}
	error = check_folder(folder, access, message);
free_folder:
	free(folder);
	return error;
}

/* ---- The socket ---- */

/* What a dead daemon has left: the caller has the pool's lock, so there is no living one. */
static int remove_stale(const char *path, struct message *message)
{
	struct stat st;
	int error = 0;

	if (lstat(path, &st) != 0)
		error = errno == ENOENT ? 0 : -errno;
	else if (!S_ISSOCK(st.st_mode))
		error = -EEXIST;
	else if (unlink(path) != 0)
		error = -errno;
	if (error != 0)
		message_set(message, "%s: in the place of the client socket: %s", path, strerror(-error));
	return error;
}

/* Its owner and mode say who may connect; it is made for nobody else, and opened up then. */
static int let_in(const struct ctl_options *options)
{
	const char *path = options->path;
	const uid_t owner = options->owner != geteuid() ? options->owner : (uid_t)-1;
	const gid_t group = options->access == CTL_ACCESS_GROUP ? options->group : (gid_t)-1;
	mode_t mode = 0600;

	if (options->access == CTL_ACCESS_GROUP)
		mode = 0660;
	else if (options->access == CTL_ACCESS_ALL)
		mode = 0666;
	if ((owner != (uid_t)-1 || group != (gid_t)-1) && lchown(path, owner, group) != 0)
		return -errno;
	return chmod(path, mode) != 0 ? -errno : 0;
}

int ctl_listen(const struct ctl_options *options, int *ret_fd, struct message *message)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int error;
	int fd;

	if (options->path[0] != '/' || strlen(options->path) >= sizeof(address.sun_path)) {
		message_set(message, "%s: no path for a client socket", options->path);
		return -ENAMETOOLONG;
	}
	error = prepare_folder(options->path, options->access, message);
	if (error == 0)
		error = remove_stale(options->path, message);
	if (error != 0)
		return error;
	memcpy(address.sun_path, options->path, strlen(options->path) + 1);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || fchmod(fd, 0600) != 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		error = -errno;
	else if ((error = let_in(options)) != 0)
		(void)unlink(options->path);
	else if (listen(fd, SOMAXCONN) != 0)
		error = -errno;
	if (error != 0) {
		message_set(message, "%s: client socket: %s", options->path, strerror(-error));
		if (fd >= 0)
			close(fd);
		return error;
	}
	*ret_fd = fd;
	return 0;
}
