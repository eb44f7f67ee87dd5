#include "pool.h"

#include "content.h"
#include "memory.h"

#include "base/arith.h"
#include "base/holder.h"
#include "daemon/mounts.h"
#include "device/device.h"
#include "meta/meta.h"
#include "region/region.h"

#include <errno.h>
#include <fcntl.h>
#include <libpmem.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <uuid/uuid.h>

#define ROOT_MODE 0755

static int system_failure(const char *path, int error, struct message *message)
{
	message_set(message, "%s: %s", path, strerror(-error));
	return error;
}

/* The directory part of an absolute path, "/" at least. */
static void directory_of(const char *path, char ret_directory[PATH_MAX])
{
	const char *slash = strrchr(path, '/');
	size_t length = slash == NULL || slash == path ? 1 : (size_t)(slash - path);

	memcpy(ret_directory, slash == NULL ? "." : path, length);
	ret_directory[length] = '\0';
}

/* Absolute and without symbolic links, also for a file that is still to be made. */
static int resolve(const char *path, char ret_path[PATH_MAX], struct message *message)
{
	char directory[PATH_MAX], absolute[PATH_MAX];
	const char *slash = strrchr(path, '/');
	const char *name = slash != NULL ? slash + 1 : path;
	int error;

	if (realpath(path, ret_path) != NULL)
		return 0;
	error = -errno;
	if (error != -ENOENT)
		return system_failure(path, error, message);
	if (strlen(path) >= PATH_MAX)
		return system_failure(path, -ENAMETOOLONG, message);
	directory_of(path, directory);
	if (name[0] == '\0' || realpath(directory, absolute) == NULL)
		return system_failure(path, error, message);
	if (strlen(absolute) + 1 + strlen(name) >= PATH_MAX)
		return system_failure(path, -ENAMETOOLONG, message);
	strcpy(ret_path, strcmp(absolute, "/") == 0 ? "" : absolute);
	strcat(ret_path, "/");
	strcat(ret_path, name);
	return 0;
}

/* Locked as a mount locks it, until *ret_fd is closed. -EBUSY: another process has it. */
static int lock_file(const char *path, int *ret_fd, struct message *message)
{
	int fd, holder, error;

	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return system_failure(path, -errno, message);
	if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
		*ret_fd = fd;
		return 0;
	}
	error = errno == EWOULDBLOCK ? -EBUSY : -errno;
	holder = error == -EBUSY ? holder_pid(fd) : 0;
	if (holder > 0)
		message_set(message, "%s: is in use by process %d: unmount it first", path, holder);
	else if (error == -EBUSY)
		message_set(message, "%s: is in use by another process: unmount it first", path);
	else
		(void)system_failure(path, error, message);
	close(fd);
	return error;
}

/* -EBUSY: another process has it. */
static int check_free(const char *path, struct message *message)
{
	int fd, error = lock_file(path, &fd, message);

	if (error == 0)
		close(fd);
	return error;
}

static int check_existing(struct pool_file *file, const struct region_probe *probe, bool force, struct message *message)
{
	struct content_name name;
	unsigned attempt = 0;
	int error;

	do
		error = check_free(file->path, message);
	while (error == -EBUSY && daemon_wait_busy(file->path, &attempt));
	if (error != 0)
		return error;
	if (file->devdax && file->size != 0) {
		message_set(message, "%s: a device is taken whole: leave out its size", file->path);
		return -EINVAL;
	}
	error = device_check_users(file->path, message);
	if (error != 0 || force)
		return error;
	/* The probe looks at the ends only, and there are file systems, discs and archives that leave those zero. */
	if (file->blank)
		error = content_is_blank(file->path, file->devdax, &file->blank, message);
	if (error != 0 || file->blank)
		return error;
	message_set(message, "%s: holds %s: --force overwrites it", file->path,
		    probe->has_header ? "a part of a pinfs pool" : content_name(file->path, file->devdax, &name));
	return -EEXIST;
}

int pool_plan_file(const char *path, uint64_t size, bool force, struct pool_file *ret_file, struct message *message)
{
	struct region_probe probe;
	struct stat attr;
	int error;

	*ret_file = (struct pool_file){.size = size};
	error = resolve(path, ret_file->path, message);
	if (error != 0)
		return error;
	if (stat(ret_file->path, &attr) == 0 && (S_ISBLK(attr.st_mode) || S_ISCHR(attr.st_mode))) {
		error = memory_check_device(ret_file->path, message);
		if (error != 0)
			return error;
	} else if (stat(ret_file->path, &attr) == 0 && !S_ISREG(attr.st_mode)) {
		message_set(message, "%s: is neither a file nor a devdax node", ret_file->path);
		return -EINVAL;
	}
	error = region_probe(ret_file->path, &probe, message);
	if (error != 0)
		return error;
	if (!probe.exists)
		return 0;
	ret_file->exists = true;
	ret_file->devdax = probe.devdax;
	ret_file->blank = probe.blank;
	ret_file->bytes = probe.size;
	return check_existing(ret_file, &probe, force, message);
}

int pool_room(const char *path, uint64_t *ret_bytes, struct message *message)
{
	char directory[PATH_MAX];
	struct statvfs statvfs_data;
	struct stat attr;
	uint64_t room;

	directory_of(path, directory);
	if (statvfs(directory, &statvfs_data) != 0)
		return system_failure(directory, -errno, message);
	if (mul_overflows(statvfs_data.f_bavail, statvfs_data.f_frsize, &room))
		room = INT64_MAX;
	if (stat(path, &attr) == 0 && S_ISREG(attr.st_mode))
		room += (uint64_t)attr.st_blocks * 512;
	*ret_bytes = room;
	return 0;
}

/* ---- Making ---- */

/* A pool that is interrupted while it is made is removed: signals wait for the next step. */
static int interrupted(struct message *message)
{
	sigset_t pending;

	sigemptyset(&pending);
	if (sigpending(&pending) == 0 && (sigismember(&pending, SIGINT) == 1 || sigismember(&pending, SIGTERM) == 1 ||
					  sigismember(&pending, SIGHUP) == 1)) {
		message_set(message, "mkfs: interrupted: what was made has been removed");
		return -EINTR;
	}
	return 0;
}

static int wipe_page(char *page, bool is_pmem)
{
	if (is_pmem) {
		pmem_memset_persist(page, 0, FMT_BLOCK_SIZE);
		return 0;
	}
	memset(page, 0, FMT_BLOCK_SIZE);
	return pmem_msync(page, FMT_BLOCK_SIZE) == 0 ? 0 : -errno;
}

/*
 * Zeroes the first and the last page of what is taken whole: of an old pool, so that libpmemobj takes it, and of a
 * device that failed to become one, so that it is blank again.
 */
static int wipe_ends(const char *path, struct message *message)
{
	int is_pmem, error = 0;
	size_t length;
	char *base;

	base = pmem_map_file(path, 0, 0, 0, &length, &is_pmem);
	if (base == NULL)
		return system_failure(path, -errno, message);
	if (length >= FMT_BLOCK_SIZE) {
		error = wipe_page(base, is_pmem != 0);
		if (error == 0)
			error = wipe_page(base + align_down(length, FMT_BLOCK_SIZE) - FMT_BLOCK_SIZE, is_pmem != 0);
	}
	if (pmem_unmap(base, length) != 0 && error == 0)
		error = -errno;
	return error != 0 ? system_failure(path, error, message) : 0;
}

/* Locked meanwhile: it may have been mounted since we looked. */
static int remove_file(const char *path, struct message *message)
{
	int fd, error = lock_file(path, &fd, message);

	if (error != 0)
		return error;
	if (unlink(path) != 0)
		error = system_failure(path, -errno, message);
	close(fd);
	return error;
}

/*
 * True if meta_create() failed before the file was its own: somebody else has made it, or holds it (another mkfs),
 * since we looked. Then it is not ours to take back.
 */
static bool not_ours(int error)
{
	return error == -EEXIST || error == -EAGAIN || error == -EBUSY || error == -EACCES || error == -EPERM;
}

static int make_meta(struct pool_plan *plan, const uint8_t uuid[16], struct meta **ret_meta, struct message *message)
{
	struct meta_create_args args = {
		.size = plan->meta.size,
		.root_mode = ROOT_MODE,
		.root_uid = getuid(),
		.root_gid = getgid(),
	};
	int error;

	memcpy(args.pool_uuid, uuid, sizeof(args.pool_uuid));
	/* A file is made anew rather than overwritten: nothing of an old pool can be taken for the new one's. */
	error = plan->meta.exists && plan->meta.size != 0 ? remove_file(plan->meta.path, message) : 0;
	if (error != 0)
		return error;
	if (plan->meta.exists && plan->meta.size == 0 && !plan->meta.blank) {
		error = wipe_ends(plan->meta.path, message);
		if (error != 0)
			return error;
	}
	plan->meta.made = true;
	error = meta_create(plan->meta.path, &args, ret_meta, message);
	if (not_ours(error))
		plan->meta.made = false;
	return error;
}

/* Opens it once, as every mount will: a part that cannot be opened is found now. */
static int verify_part(struct pool_file *file, const struct meta_part *record, const uint8_t pool_uuid[16],
		       struct message *message)
{
	struct region_expected expected = {.number = record->number, .blocks = record->blocks};
	struct region_part *part;
	int error;

	memcpy(expected.pool_uuid, pool_uuid, sizeof(expected.pool_uuid));
	memcpy(expected.part_uuid, record->uuid, sizeof(expected.part_uuid));
	error = region_open(file->path, true, &expected, NULL, &part, message);
	if (error != 0)
		return error;
	snprintf(file->durability, sizeof(file->durability), "%s", region_durability_name(part->durability));
	region_close(part);
	return 0;
}

static int make_part(struct pool_plan *plan, size_t number, const uint8_t pool_uuid[16], struct meta *meta,
		     struct message *message)
{
	struct pool_file *file = &plan->parts[number];
	struct region_create_args args = {
		.path = file->path,
		.size = file->size,
		.force = plan->force || (file->exists && file->blank),
		.number = (uint32_t)number,
	};
	struct meta_part record = {.number = (uint32_t)number};
	int error;

	uuid_generate(record.uuid);
	memcpy(args.part_uuid, record.uuid, sizeof(args.part_uuid));
	memcpy(args.pool_uuid, pool_uuid, sizeof(args.pool_uuid));
	error = region_create(&args, &record.blocks, message);
	if (error != 0)
		return error;
	file->made = true;
	file->bytes = record.blocks << FMT_BLOCK_SHIFT;
	error = verify_part(file, &record, pool_uuid, message);
	if (error != 0)
		return error;
	memcpy(record.path, file->path, strlen(file->path) + 1);
	error = meta_part_add(meta, &record);
	if (error != 0)
		message_set(message, "%s: cannot record the data part %s: %s", plan->meta.path, file->path,
			    strerror(-error));
	return error;
}

static int sync_directory(const char *path, struct message *message)
{
	char directory[PATH_MAX];
	int fd, error = 0;

	directory_of(path, directory);
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL))
		error = system_failure(directory, -errno, message);
	if (fd >= 0)
		close(fd);
	return error;
}

/* A file on tmpfs. Device nodes lie on a tmpfs too, but their memory does not. */
static bool is_on_tmpfs(const char *path)
{
	struct statfs statfs_data;
	struct stat attr;

	return stat(path, &attr) == 0 && S_ISREG(attr.st_mode) && statfs(path, &statfs_data) == 0 &&
	       statfs_data.f_type == TMPFS_MAGIC;
}

/* All is there: the names become durable, then the word that the pool is one. */
static int finish(struct pool_plan *plan, struct meta *meta, struct message *message)
{
	struct stat attr;
	int error;

	error = plan->meta.size != 0 ? memory_check_meta(plan->meta.path, message) : 0;
	if (error == 0)
		error = sync_directory(plan->meta.path, message);
	for (size_t i = 0; error == 0 && i < plan->count; i++)
		error = sync_directory(plan->parts[i].path, message);
	if (error == 0)
		error = interrupted(message);
	if (error != 0)
		return error;
	error = meta_create_finish(meta);
	if (error != 0)
		return system_failure(plan->meta.path, error, message);
	snprintf(plan->meta.durability, sizeof(plan->meta.durability), "%s",
		 region_durability_name(region_durability(meta_is_pmem(meta))));
	if (plan->meta.size != 0 && stat(plan->meta.path, &attr) == 0)
		plan->meta.bytes = (uint64_t)attr.st_size;
	plan->meta.on_tmpfs = is_on_tmpfs(plan->meta.path);
	for (size_t i = 0; i < plan->count; i++)
		plan->parts[i].on_tmpfs = is_on_tmpfs(plan->parts[i].path);
	return 0;
}

/* Zeroes a file as a whole; true if its file system can do that at once. */
static bool wipe_file(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat attr;
	bool done;

	if (fd < 0)
		return false;
	done = fstat(fd, &attr) == 0 && S_ISREG(attr.st_mode) &&
	       (fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, attr.st_size) == 0 ||
		fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, attr.st_size) == 0);
	close(fd);
	return done;
}

/* The failure that leads here is the one to report. */
static void take_back_file(const struct pool_file *file)
{
	if (!file->made)
		return;
	if (file->size != 0)
		(void)unlink(file->path);
	else if (!wipe_file(file->path))
		(void)wipe_ends(file->path, NULL);
}

static void take_back(const struct pool_plan *plan)
{
	for (size_t i = 0; i < plan->count; i++)
		take_back_file(&plan->parts[i]);
	take_back_file(&plan->meta);
}

int pool_make(struct pool_plan *plan, struct message *message)
{
	struct meta *meta = NULL;
	sigset_t set, old_set;
	uuid_t uuid;
	int error;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	error = -pthread_sigmask(SIG_BLOCK, &set, &old_set);
	if (error != 0)
		return system_failure(plan->meta.path, error, message);
	uuid_generate(uuid);
	error = make_meta(plan, uuid, &meta, message);
	for (size_t i = 0; error == 0 && i < plan->count; i++) {
		error = interrupted(message);
		if (error == 0)
			error = make_part(plan, i, uuid, meta, message);
	}
	if (error == 0)
		error = finish(plan, meta, message);
	if (meta != NULL)
		meta_close(meta);
	if (error != 0)
		take_back(plan);
	(void)pthread_sigmask(SIG_SETMASK, &old_set, NULL);
	return error;
}
