/* The base pool's content: at least one of each thing that a pool can hold, with trees of more than one level. */
#include "image.h"

#include "fs/pinning.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define BLOCK FMT_BLOCK_SIZE

static struct fs *fs;

static void must(int error, const char *what)
{
	if (error >= 0)
		return;
	fprintf(stderr, "base pool: %s: %s\n", what, strerror(-error));
	_exit(1);
}

static uint64_t make(uint64_t parent, const char *name, mode_t mode, const char *target)
{
	static const struct fs_cred cred = {.uid = 1000, .gid = 100};
	struct fs_make arguments = {.mode = mode, .target = target, .rdev = makedev(1, 3)};
	struct fs_entry entry;

	must(fs_make(fs, parent, name, &arguments, &cred, &entry), name);
	return entry.ino;
}

static void put(uint64_t ino, uint64_t offset, size_t length, char byte)
{
	static char bytes[64 * BLOCK];

	memset(bytes, byte, length);
	must((int)fs_write(fs, ino, bytes, length, (off_t)offset, NULL), "write");
}

/* Directories of one page of names, and with inner nodes; names of all lengths. */
static void fill_names(uint64_t file)
{
	uint64_t big = make(FMT_INO_ROOT, "big", S_IFDIR | 0755, NULL);
	uint64_t deep = FMT_INO_ROOT;
	struct fs_entry entry;
	char name[256];

	for (unsigned i = 0; i < 260; i++) {
		(void)snprintf(name, sizeof(name), "link-%u", i);
		if (i % 50 == 49)
			(void)snprintf(name, sizeof(name), "%0254u", i);
		must(fs_link(fs, file, big, name, &entry), "link");
	}
	for (unsigned i = 0; i < 4; i++) {
		deep = make(deep, "deep", S_IFDIR | 02775, NULL);
		make(deep, "file", S_IFREG | 0644, NULL);
	}
}

static void fill_xattrs(uint64_t file, uint64_t directory)
{
	static const struct fmt_acl acl = {
		.version = FMT_ACL_VERSION,
		.entry = {{FMT_ACL_USER_OBJ, 6, FMT_ACL_NO_ID},
			  {FMT_ACL_USER, 7, 1001},
			  {FMT_ACL_GROUP_OBJ, 4, FMT_ACL_NO_ID},
			  {FMT_ACL_MASK, 7, FMT_ACL_NO_ID},
			  {FMT_ACL_OTHER, 0, FMT_ACL_NO_ID}},
	};
	static char value[9000];
	char name[64];

	memset(value, 'v', sizeof(value));
	must(fs_setxattr(fs, file, "user.small", "1", 1, 0), "xattr");
	must(fs_setxattr(fs, file, "user.large", value, sizeof(value), 0), "xattr");
	must(fs_setxattr(fs, file, FMT_ACL_ACCESS, &acl, 4 + 5 * 8, 0), "acl");
	must(fs_setxattr(fs, directory, FMT_ACL_DEFAULT, &acl, 4 + 5 * 8, 0), "acl");
	for (unsigned i = 0; i < 30; i++) {
		(void)snprintf(name, sizeof(name), "user.many.%u", i);
		must(fs_setxattr(fs, directory, name, value, 400, 0), "xattr");
	}
}

/* Extents inline, in a node, and in a tree; holes, unwritten ones. */
static void fill_data(uint64_t file)
{
	uint64_t few = make(FMT_INO_ROOT, "few", S_IFREG | 0644, NULL);
	uint64_t some = make(FMT_INO_ROOT, "some", S_IFREG | 0644, NULL);
	struct fs_setattr size = {.valid = FS_SET_SIZE};
	struct stat attr;

	put(file, 0, 100, 'f');
	put(few, 0, 3 * BLOCK + 5, 'a');
	must(fs_fallocate(fs, few, 0, 8 * BLOCK, 4 * BLOCK, NULL), "fallocate");
	put(few, 1 << 20, 77, 'b');
	for (unsigned i = 0; i < 90; i++)
		put(some, (uint64_t)i * 2 * BLOCK, BLOCK, (char)('A' + i % 26));
	size.attr.st_size = 170 * BLOCK + 1000;
	must(fs_setattr(fs, some, &size, NULL, &attr), "truncate");
}

/* The other types, flags, and what a crash leaves: an orphan and an intent. */
static void fill_others(void)
{
	static char target[1000];
	static const struct fs_cred root = {0};
	const struct fmt_inode *media;
	struct fmt_inode *edit;
	struct meta_tx *tx;
	uint64_t ino;

	memset(target, 't', sizeof(target) - 1);
	make(FMT_INO_ROOT, "short", S_IFLNK | 0777, "few");
	make(FMT_INO_ROOT, "long", S_IFLNK | 0777, target);
	make(FMT_INO_ROOT, "fifo", S_IFIFO | 0600, NULL);
	make(FMT_INO_ROOT, "device", S_IFCHR | 0600, NULL);
	ino = make(FMT_INO_ROOT, "immutable", S_IFREG | 0600, NULL);
	must(fs_set_flags(fs, ino, 0x10, 0x10, &root), "immutable"); /* FS_IMMUTABLE_FL */
	ino = make(FMT_INO_ROOT, "orphan", S_IFREG | 0600, NULL);
	put(ino, 0, 5 * BLOCK, 'o');
	must(fs_unlink(fs, FMT_INO_ROOT, "orphan"), "unlink");
	ino = make(FMT_INO_ROOT, "intent", S_IFREG | 0600, NULL);
	put(ino, 0, 6 * BLOCK, 'i');
	must(meta_inode_get(fs->meta, ino, &media), "inode");
	must(meta_begin(fs->meta, 0, &tx), "begin");
	must(meta_inode_edit(tx, media, &edit), "edit");
	edit->flags |= FMT_INODE_INTENT;
	edit->intent_start = BLOCK + 100;
	edit->intent_end = 3 * BLOCK + 100;
	must(meta_commit(tx), "commit");
}

/* ---- Pins: of a process that is dead when the pool is opened, and of one that lives; some of their blocks in limbo */

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

static void pin(struct fs_holder *holder, uint64_t ino, uint64_t offset, uint64_t length)
{
	static struct fs_pin_request request;
	struct fs_inode *inode;

	request = (struct fs_pin_request){
		.holder = holder, .ino = ino, .offset = offset, .length = length, .path = "a file"};
	request.flags = PIN_FLAG_WRITE | PIN_FLAG_EXTEND;
	must(fs_inode_get(fs, ino, &inode), "inode");
	request.generation = inode->media->generation;
	fs_inode_put(fs, inode);
	fs_wait_init(fs, &request.wait, 0, no_resume);
	must(fs_pin(fs, &request), "pin");
}

static void fill_pins(void)
{
	static const struct fs_holder_ops ops = {.event = no_event, .dead = no_death};
	const struct fs_pin_policy policy = {.break_timeout = 0, .break_detach = true};
	struct fs_setattr size = {.valid = FS_SET_SIZE, .attr = {.st_size = 2 * BLOCK}};
	struct process_identity process;
	struct fs_holder *holder;
	struct fs_wait wait;
	struct stat attr;
	int pidfd;

	fs_set_pin_policy(fs, &policy);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t ino = make(FMT_INO_ROOT, i == 0 ? "pinned" : "held", S_IFREG | 0644, NULL);

		put(ino, 0, 8 * BLOCK, 'p');
		must(process_identify(i == 0 ? getpid() : getppid(), &process, &pidfd), "process");
		must(fs_holder_open(fs, &process, pidfd, 1000, 100, &ops, NULL, &holder), "session");
		pin(holder, ino, 0, 5 * BLOCK);
		pin(holder, ino, 12 * BLOCK, 100);
		fs_wait_init(fs, &wait, 0, no_resume);
		must(fs_setattr(fs, ino, &size, &wait, &attr), "truncate");
	}
}

void base_fill(const char *meta_path)
{
	const struct fs_options options = {.meta_path = meta_path, .skip_probe = true, .inode_flags = true};
	struct message message = {.text = ""};
	uint64_t file;

	must(fs_open(&options, &fs, &message), message.text);
	file = make(FMT_INO_ROOT, "file", S_IFREG | 0640, NULL);
	fill_names(file);
	fill_data(file);
	fill_xattrs(file, make(FMT_INO_ROOT, "attributes", S_IFDIR | 0750, NULL));
	fill_others();
	fill_pins();
}
