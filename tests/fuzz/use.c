#include "use.h"

#include "fs/pinning.h"

#include <errno.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NODES_MAX 400u
#define READ_MAX (1u << 20)

struct node {
	uint64_t ino;
	uint64_t parent;
	mode_t mode;
	char name[FMT_NAME_MAX + 1];
};

struct use {
	struct fs *fs;
	struct node *node;
	size_t nodes;
	int damage;
	volatile unsigned char sum; /* of what was read: it was */
};

/* Any answer is fine but those that say that the pool is not. */
static int note(struct use *use, ssize_t result)
{
	if (result == -EUCLEAN || result == -EIO)
		use->damage = (int)result;
	return result < 0 ? (int)result : 0;
}

/* ---- Reading ---- */

struct listing {
	struct use *use;
	uint64_t parent;
	uint64_t last;
};

static int on_entry(void *arg, const struct fs_dirent *dirent)
{
	struct listing *listing = arg;
	struct use *use = listing->use;
	struct node *node;

	/* Cookies rise, or listing would never end. */
	if (dirent->offset <= listing->last)
		abort();
	listing->last = dirent->offset;
	if (strcmp(dirent->name, ".") == 0 || strcmp(dirent->name, "..") == 0)
		return 0;
	if (use->nodes == NODES_MAX)
		return 1;
	node = &use->node[use->nodes++];
	node->ino = dirent->entry.ino;
	node->parent = listing->parent;
	node->mode = dirent->entry.attr.st_mode;
	(void)snprintf(node->name, sizeof(node->name), "%s", dirent->name);
	return 0;
}

static void list(struct use *use, uint64_t ino)
{
	struct listing listing = {.use = use, .parent = ino};

	note(use, fs_readdir(use->fs, ino, 0, true, on_entry, &listing));
}

static void read_file(struct use *use, uint64_t ino)
{
	static struct fs_read read;
	unsigned char sum = 0;
	uint64_t offset = 0;
	off_t at = 0;

	while (offset < READ_MAX && note(use, fs_read_begin(use->fs, ino, (off_t)offset, 65536, &read)) == 0) {
		for (int i = 0; i < read.count; i++) {
			const unsigned char *bytes = read.iov[i].iov_base;

			for (size_t j = 0; j < read.iov[i].iov_len; j += 512)
				sum ^= bytes[j];
		}
		offset += read.length;
		fs_read_seen(use->fs, &read);
		fs_read_end(use->fs, &read);
		if (read.length == 0)
			break;
	}
	use->sum ^= sum;
	for (unsigned i = 0; i < 300 && at >= 0; i++) {
		at = fs_lseek(use->fs, ino, at, i % 2 == 0 ? SEEK_DATA : SEEK_HOLE);
		note(use, at);
	}
}

static void read_xattrs(struct use *use, uint64_t ino)
{
	static char names[1 << 16], value[1 << 16];
	ssize_t length = fs_listxattr(use->fs, ino, true, names, sizeof(names));

	note(use, length);
	for (const char *name = names; length > 0 && name < names + length; name += strlen(name) + 1)
		note(use, fs_getxattr(use->fs, ino, name, value, sizeof(value)));
}

static void read_node(struct use *use, const struct node *node)
{
	struct fs_flags flags;
	struct fs_statx attr;
	char target[4096];
	bool append;

	note(use, fs_statx(use->fs, node->ino, &attr));
	note(use, fs_get_flags(use->fs, node->ino, &flags));
	note(use, fs_may_open(use->fs, node->ino, 0, &append));
	read_xattrs(use, node->ino);
	if (S_ISDIR(node->mode))
		list(use, node->ino);
	else if (S_ISREG(node->mode))
		read_file(use, node->ino);
	else if (S_ISLNK(node->mode))
		note(use, fs_readlink(use->fs, node->ino, target, sizeof(target)));
}

/* ---- Changing ---- */

static void no_event(void *data, const struct pin_event *event)
{
	(void)data;
	(void)event;
}

static void no_death(void *data)
{
	(void)data;
}

static void no_resume(struct fs_wait *wait)
{
	(void)wait;
}

static void pin_file(struct use *use, struct fs_holder *holder, uint64_t ino)
{
	static struct fs_pin_request request;
	struct fs_pin_extent extent[8];
	struct fs_commit_request commit = {.holder = holder};
	struct fs_flags flags;
	size_t total;

	if (note(use, fs_get_flags(use->fs, ino, &flags)) != 0)
		return;
	request = (struct fs_pin_request){.holder = holder, .ino = ino, .generation = flags.generation, .path = "x"};
	request.flags = PIN_FLAG_WRITE | PIN_FLAG_EXTEND | FS_PIN_NONBLOCK;
	request.length = 3 * FMT_BLOCK_SIZE;
	fs_wait_init(use->fs, &request.wait, 0, no_resume);
	if (note(use, fs_pin(use->fs, &request)) != 0)
		return;
	note(use, fs_pin_extents(use->fs, holder, request.ret_id, 0, extent, 8, &total));
	commit.pin = request.ret_id;
	fs_wait_init(use->fs, &commit.wait, 0, no_resume);
	note(use, fs_commit(use->fs, &commit));
	note(use, fs_unpin(use->fs, holder, request.ret_id));
}

static void change_file(struct use *use, uint64_t ino, struct fs_holder *holder)
{
	static char bytes[3 * FMT_BLOCK_SIZE];
	struct fs_setattr size = {.valid = FS_SET_SIZE};
	struct stat attr;
	bool dropped;

	note(use, fs_write(use->fs, ino, bytes, sizeof(bytes), 100, NULL));
	if (note(use, fs_getattr(use->fs, ino, &attr)) != 0)
		return;
	note(use, fs_write(use->fs, ino, bytes, 10, attr.st_size, NULL));
	note(use, fs_fallocate(use->fs, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5000, 10000, NULL));
	note(use, fs_fallocate(use->fs, ino, FALLOC_FL_ZERO_RANGE, 9000, 20000, NULL));
	note(use, fs_fallocate(use->fs, ino, 0, 0, 30000, NULL));
	if (holder != NULL)
		pin_file(use, holder, ino);
	note(use, fs_drop_privileges(use->fs, ino, FS_DROP_MODE | FS_DROP_CAPABILITY, &dropped));
	size.attr.st_size = attr.st_size / 2;
	note(use, fs_setattr(use->fs, ino, &size, NULL, &attr));
}

static void change_node(struct use *use, const struct node *node, unsigned turn, struct fs_holder *holder)
{
	static const struct fs_cred cred = {.uid = 1000, .gid = 100};
	static const struct fs_make make = {.mode = S_IFREG | 0666, .umask = 022};
	struct fs_setattr mode = {.valid = FS_SET_MODE, .attr = {.st_mode = 0640}};
	struct fs_entry entry;
	struct stat attr;

	note(use, fs_setattr(use->fs, node->ino, &mode, NULL, &attr));
	note(use, fs_setxattr(use->fs, node->ino, "user.fuzz", node->name, strlen(node->name), 0));
	note(use, fs_removexattr(use->fs, node->ino, "user.small"));
	if (S_ISREG(node->mode))
		change_file(use, node->ino, holder);
	if (S_ISDIR(node->mode) && note(use, fs_make(use->fs, node->ino, "new", &make, &cred, &entry)) == 0) {
		change_file(use, entry.ino, NULL);
		fs_forget(use->fs, entry.ino, 1);
	}
	if (turn % 3 == 0)
		note(use, fs_rename(use->fs, node->parent, node->name, FMT_INO_ROOT, "renamed", 0));
	else if (turn % 3 == 1)
		note(use, S_ISDIR(node->mode) ? fs_rmdir(use->fs, node->parent, node->name)
					      : fs_unlink(use->fs, node->parent, node->name));
	else if (note(use, fs_link(use->fs, node->ino, FMT_INO_ROOT, node->name, &entry)) == 0)
		fs_forget(use->fs, entry.ino, 1);
}

static struct fs_holder *holder_open(struct use *use)
{
	static const struct fs_holder_ops ops = {.event = no_event, .dead = no_death};
	struct process_identity process;
	struct fs_holder *holder;
	int pidfd;

	if (process_identify(getpid(), &process, &pidfd) != 0)
		return NULL;
	if (note(use, fs_holder_open(use->fs, &process, pidfd, 1000, 100, &ops, NULL, &holder)) != 0)
		return NULL;
	return holder;
}

static void change_all(struct use *use)
{
	struct fs_holder *holder = holder_open(use);
	struct statvfs space;

	note(use, fs_statfs(use->fs, &space));
	/* Of the many links in one directory, a few. */
	for (size_t i = 0, turn = 0; i < use->nodes; i += i < 60 ? 1 : 13)
		change_node(use, &use->node[i], (unsigned)turn++, holder);
	if (holder != NULL)
		fs_holder_close(use->fs, holder);
	fs_reap(use->fs);
}

int use_all(struct fs *fs)
{
	struct use use = {.fs = fs, .node = calloc(NODES_MAX, sizeof(struct node))};
	struct node root = {.ino = FMT_INO_ROOT, .parent = FMT_INO_ROOT, .mode = S_IFDIR, .name = "."};

	if (use.node == NULL)
		abort();
	fs_set_atime(fs, FS_ATIME_FILES | FS_ATIME_DIRECTORIES);
	read_node(&use, &root);
	for (size_t i = 0; i < use.nodes; i++)
		read_node(&use, &use.node[i]);
	if (!fs_read_only(fs))
		change_all(&use);
	for (size_t i = 0; i < use.nodes; i++)
		fs_forget(fs, use.node[i].ino, 1);
	free(use.node);
	return use.damage;
}
