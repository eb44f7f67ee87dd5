/*
 * Extended attributes: those of files, and the virtual ones that begin with "pinfs.", which exist nowhere on media, are
 * not listed and, but for one, cannot be set.
 */
#include "front/request.h"

#include "base/arith.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/limits.h>
#include <linux/xattr.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VIRTUAL_PREFIX "pinfs."
#define STATUS_NAME "pinfs.stat" /* of the root: JSON */
#define SOCKET_NAME "pinfs.socket" /* of anything: where clients find the daemon */
#define WRITE_PINS_NAME "pinfs.write_pins" /* of the root: how many pins for writing there are */
#define WRITABLE_NAME "pinfs.writable" /* of the root: 0 if the pool is open for reading only, else 1 */
#define ATIME_NAME "pinfs.atime" /* of the root: the policy of access times; the one that can be set (remount) */
#define PINS_NAME "pinfs.pins" /* of a file: how many bytes of it are pinned */
/* Between the question for its length and the question for the value the text may grow by this much. */
#define STATUS_SLACK 512u
/* Values up to this size take no allocation: nearly all. */
#define SMALL 1024u

static bool has_prefix(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

/*
 * Which names are for the filesystem to keep, as ext4 has it. Who may do what with them is checked by the kernel, but
 * for lists. ACLs that the kernel does not obey are refused: stored and not obeyed would be worse.
 */
static int check_name(const struct front *front, const char *name)
{
	static const char *const spaces[] = {XATTR_USER_PREFIX, XATTR_TRUSTED_PREFIX, XATTR_SECURITY_PREFIX};

	for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++) {
		if (has_prefix(name, spaces[i]))
			return name[strlen(spaces[i])] == '\0' ? -EINVAL : 0;
	}
	if (front->acl &&
	    (strcmp(name, XATTR_NAME_POSIX_ACL_ACCESS) == 0 || strcmp(name, XATTR_NAME_POSIX_ACL_DEFAULT) == 0))
		return 0;
	return -EOPNOTSUPP;
}

static int check_change(const struct front *front, const char *name)
{
	return has_prefix(name, VIRTUAL_PREFIX) ? -EPERM : check_name(front, name);
}

/*
 * Who sets an access ACL and could not set the setgid bit (neither root nor of the file's group) takes it away, as
 * chmod does. The kernel could say so (FUSE_SETXATTR_ACL_KILL_SGID), but libfuse does not pass it on. It holds the
 * inode's lock meanwhile: group and mode stay as they are seen here.
 */
static bool kills_setgid(const struct front_request *request, fuse_ino_t ino, const char *name)
{
	const struct fuse_ctx *context = fuse_req_ctx(request->req);
	struct stat attr;

	if (context->uid == 0 || strcmp(name, XATTR_NAME_POSIX_ACL_ACCESS) != 0 ||
	    fs_getattr(request->front->fs, ino, &attr) != 0 || (attr.st_mode & S_ISGID) == 0)
		return false;
	return !front_in_group(request->req, attr.st_gid);
}

void front_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	struct front_request request;
	int error;

	front_begin(&request, req, FRONT_SETXATTR);
	error = check_change(request.front, name);
	if (ino == FUSE_ROOT_ID && strcmp(name, ATIME_NAME) == 0)
		error = front_atime_set(&request, value, size);
	else if (error == 0 && kills_setgid(&request, ino, name))
		flags |= FS_XATTR_KILL_SETGID;
	if (error == 0 && strcmp(name, ATIME_NAME) != 0)
		error = fs_setxattr(request.front->fs, ino, name, value, size, flags);
	front_reply_error(&request, error);
}

void front_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct front_request request;
	int error;

	front_begin(&request, req, FRONT_REMOVEXATTR);
	error = check_change(request.front, name);
	if (error == 0)
		error = fs_removexattr(request.front->fs, ino, name);
	front_reply_error(&request, error);
}

static void get_status(struct front_request *request, size_t size)
{
	char *text;
	size_t length;
	int error;

	error = front_status(request->front, XATTR_SIZE_MAX, &text);
	if (error != 0) {
		front_reply_error(request, error);
		return;
	}
	length = strlen(text);
	if (size == 0)
		front_reply_length(request, min_u64(length + STATUS_SLACK, XATTR_SIZE_MAX));
	else if (length > size)
		front_reply_error(request, -ERANGE);
	else
		(void)front_reply_data(request, text, length);
	free(text);
}

/* A length, a value or a list that fs returned into `data` of `size` bytes; size 0: only the length was asked for. */
static void reply_value(struct front_request *request, size_t size, const void *data, ssize_t length)
{
	if (length < 0)
		front_reply_error(request, (int)length);
	else if (size == 0)
		front_reply_length(request, (size_t)length);
	else
		(void)front_reply_data(request, data, (size_t)length);
}

/* Room for a value of `size` bytes: `small`, or on the heap; release with put_room(). */
static char *get_room(size_t size, char small[SMALL])
{
	return size <= SMALL ? small : malloc(size);
}

static void put_room(char *room, const char *small)
{
	if (room != small)
		free(room);
}

static void reply_text(struct front_request *request, size_t size, const char *text)
{
	size_t length = strlen(text);

	reply_value(request, size, text, size != 0 && length > size ? -ERANGE : (ssize_t)length);
}

static int count_writer(void *arg, const struct pin_info *info)
{
	uint64_t *count = arg;

	if (!info->dropped && (info->flags & PIN_FLAG_WRITE) != 0)
		(*count)++;
	return 0;
}

static int no_waiter(void *arg, const struct pin_wait_info *info)
{
	(void)arg;
	(void)info;
	return 0;
}

static void reply_write_pins(struct front_request *request, size_t size)
{
	uint64_t count = 0;
	int error = fs_pin_list(request->front->fs, 0, count_writer, no_waiter, &count);
	char number[32];

	snprintf(number, sizeof(number), "%" PRIu64, count);
	if (error != 0)
		front_reply_error(request, error);
	else
		reply_text(request, size, number);
}

static void get_virtual(struct front_request *request, fuse_ino_t ino, const char *name, size_t size)
{
	struct front *front = request->front;
	char number[32], words[FRONT_ATIME_WORDS_MAX];

	if (ino == FUSE_ROOT_ID && strcmp(name, WRITE_PINS_NAME) == 0) {
		reply_write_pins(request, size);
	} else if (ino == FUSE_ROOT_ID && strcmp(name, WRITABLE_NAME) == 0) {
		reply_text(request, size, fs_read_only(front->fs) ? "0" : "1");
	} else if (ino == FUSE_ROOT_ID && strcmp(name, STATUS_NAME) == 0) {
		get_status(request, size);
	} else if (ino == FUSE_ROOT_ID && strcmp(name, ATIME_NAME) == 0) {
		front_atime_words(front, words, sizeof(words));
		reply_text(request, size, words);
	} else if (front->client_socket != NULL && strcmp(name, SOCKET_NAME) == 0) {
		reply_text(request, size, front->client_socket);
	} else if (strcmp(name, PINS_NAME) == 0) {
		snprintf(number, sizeof(number), "%" PRIu64, fs_pinned_bytes(front->fs, ino));
		reply_text(request, size, number);
	} else {
		front_reply_error(request, -ENODATA);
	}
}

/* security.capability is asked for before each write through the cache: it costs one look at the inode. */
void front_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct front_request request;
	char small[SMALL];
	char *value;
	int error;

	front_begin(&request, req, FRONT_GETXATTR);
	if (has_prefix(name, VIRTUAL_PREFIX)) {
		get_virtual(&request, ino, name, size);
		return;
	}
	error = check_name(request.front, name);
	if (error != 0) {
		front_reply_error(&request, error);
		return;
	}
	size = min_u64(size, XATTR_SIZE_MAX);
	value = get_room(size, small);
	if (value == NULL) {
		front_reply_error(&request, -ENOMEM);
		return;
	}
	reply_value(&request, size, value, fs_getxattr(request.front->fs, ino, name, value, size));
	put_room(value, small);
}

/* "trusted." is for CAP_SYS_ADMIN only; user 0 stands for it. */
void front_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	const bool trusted = fuse_req_ctx(req)->uid == 0;
	struct front_request request;
	char small[SMALL];
	char *names;

	front_begin(&request, req, FRONT_LISTXATTR);
	size = min_u64(size, XATTR_LIST_MAX);
	names = get_room(size, small);
	if (names == NULL) {
		front_reply_error(&request, -ENOMEM);
		return;
	}
	reply_value(&request, size, names, fs_listxattr(request.front->fs, ino, trusted, names, size));
	put_room(names, small);
}
