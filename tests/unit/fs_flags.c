/* Inode flags: kept, inherited, obeyed by every operation; and the shutdown by request. */
#include "fs_pins.h"

#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/xattr.h>

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2u
#endif

#define ALL_FLAGS (FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL | FS_NOATIME_FL | FS_SYNC_FL | FS_DIRSYNC_FL)

static const struct fs_cred root_cred = {.uid = 0, .gid = 0};

static void mount_flags(struct pool *pool, bool inode_flags)
{
	struct fs_options options = {.meta_path = pool->meta, .inode_flags = inode_flags, .skip_probe = true};
	struct message why;

	assert_int_equal(fs_open(&options, &pool->fs, &why), 0);
}

/* As pool_setup(), with flags that are honoured. */
static int flags_setup(void **state)
{
	struct pool *pool = test_calloc(1, sizeof(*pool));

	pool_make(pool);
	mount_flags(pool, true);
	*state = pool;
	return 0;
}

static int set_flags(struct pool *pool, uint64_t ino, unsigned flags)
{
	return fs_set_flags(pool->fs, ino, flags, UINT_MAX, &root_cred);
}

static unsigned flags_of(struct pool *pool, uint64_t ino)
{
	struct fs_flags flags;

	assert_int_equal(fs_get_flags(pool->fs, ino, &flags), 0);
	assert_int_equal(flags.generation, generation_of(pool->fs, ino));
	return flags.flags;
}

/* ---- Keeping ---- */

static void test_set(void **state)
{
	struct pool *pool = *state;
	const struct fs_setattr old = {.valid = FS_SET_CTIME, .attr.st_ctim = {77, 0}};
	uint64_t file = file_make(pool, "file"), dir;
	struct stat attr;

	assert_int_equal(make_kept(pool, ROOT, "dir", S_IFDIR | 0755, &dir), 0);
	assert_int_equal(flags_of(pool, file), 0);
	assert_int_equal(fs_setattr(pool->fs, file, &old, NULL, &attr), 0);
	assert_int_equal(set_flags(pool, file, ALL_FLAGS & ~FS_DIRSYNC_FL), 0);
	assert_true(attr_of(pool, file).st_ctim.tv_sec > 77);
	assert_int_equal(set_flags(pool, dir, ALL_FLAGS), 0);
	assert_int_equal(flags_of(pool, file), ALL_FLAGS & ~FS_DIRSYNC_FL);
	pool_unmount(pool);
	pool_check(pool);
	mount_flags(pool, true);
	assert_int_equal(flags_of(pool, file), ALL_FLAGS & ~FS_DIRSYNC_FL);
	assert_int_equal(flags_of(pool, dir), ALL_FLAGS);
	/* The other form has no word for some. */
	assert_int_equal(fs_set_flags(pool->fs, dir, 0, ALL_FLAGS & ~FS_DIRSYNC_FL, &root_cred), 0);
	assert_int_equal(flags_of(pool, dir), FS_DIRSYNC_FL);
	assert_int_equal(set_flags(pool, file, 0), 0);
	assert_int_equal(flags_of(pool, file), 0);
}

static void test_set_refused(void **state)
{
	struct pool *pool = *state;
	const struct fs_cred stranger = {.uid = 1001, .gid = 100};
	uint64_t file = file_make(pool, "file"), other;

	assert_int_equal(make_kept(pool, ROOT, "link", S_IFLNK | 0777, &other), 0);
	assert_int_equal(set_flags(pool, other, FS_NODUMP_FL), -EOPNOTSUPP);
	assert_int_equal(set_flags(pool, file, FS_COMPR_FL), -EOPNOTSUPP);
	assert_int_equal(set_flags(pool, file, FS_NODUMP_FL | FS_EXTENT_FL), -EOPNOTSUPP);
	assert_int_equal(set_flags(pool, file, FS_DIRSYNC_FL), -EOPNOTSUPP);
	assert_int_equal(set_flags(pool, 12345, 0), -ESTALE);
	assert_int_equal(fs_set_flags(pool->fs, file, FS_NODUMP_FL, UINT_MAX, &stranger), -EPERM);
	assert_int_equal(fs_set_flags(pool->fs, file, FS_NODUMP_FL, UINT_MAX, &pool_cred), 0);
	assert_int_equal(fs_set_flags(pool->fs, file, FS_NODUMP_FL | FS_APPEND_FL, UINT_MAX, &pool_cred), -EPERM);
	assert_int_equal(fs_set_flags(pool->fs, file, FS_IMMUTABLE_FL, FS_IMMUTABLE_FL, &pool_cred), -EPERM);
	assert_int_equal(set_flags(pool, file, FS_NODUMP_FL | FS_IMMUTABLE_FL), 0);
	/* Immutable: no other flag changes, but together with that. */
	assert_int_equal(set_flags(pool, file, FS_IMMUTABLE_FL), -EPERM);
	assert_int_equal(set_flags(pool, file, FS_NODUMP_FL | FS_IMMUTABLE_FL | FS_SYNC_FL), -EPERM);
	assert_int_equal(set_flags(pool, file, FS_NODUMP_FL | FS_IMMUTABLE_FL), 0);
	assert_int_equal(fs_set_flags(pool->fs, file, FS_NODUMP_FL, UINT_MAX, &pool_cred), -EPERM);
	assert_int_equal(flags_of(pool, file), FS_NODUMP_FL | FS_IMMUTABLE_FL);
	assert_int_equal(set_flags(pool, file, FS_SYNC_FL), 0);
	assert_int_equal(flags_of(pool, file), FS_SYNC_FL);
}

/* Without the option nothing can be protected; what is protected turns it on, and as long as it is there. */
static void test_option(void **state)
{
	struct pool *pool = *state;
	uint64_t file = file_make(pool, "file");

	assert_true(fs_honours_flags(pool->fs));
	pool_unmount(pool);
	mount_flags(pool, false);
	assert_false(fs_honours_flags(pool->fs));
	assert_int_equal(set_flags(pool, file, FS_APPEND_FL), -EOPNOTSUPP);
	assert_int_equal(set_flags(pool, file, FS_IMMUTABLE_FL | FS_NODUMP_FL), -EOPNOTSUPP);
	assert_int_equal(flags_of(pool, file), 0);
	assert_int_equal(set_flags(pool, file, FS_NODUMP_FL), 0);
	for (unsigned i = 0; i < 2; i++) {
		pool_unmount(pool);
		mount_flags(pool, true);
		assert_int_equal(set_flags(pool, file, i == 0 ? FS_APPEND_FL : FS_IMMUTABLE_FL), 0);
		pool_unmount(pool);
		mount_flags(pool, false);
		assert_true(fs_honours_flags(pool->fs));
		assert_int_equal(set_flags(pool, file, FS_NODUMP_FL), 0);
	}
	pool_unmount(pool);
	mount_flags(pool, false);
	assert_false(fs_honours_flags(pool->fs));
}

static void test_inherited(void **state)
{
	struct pool *pool = *state;
	uint64_t dir, ino;

	assert_int_equal(make_kept(pool, ROOT, "dir", S_IFDIR | 0755, &dir), 0);
	assert_int_equal(set_flags(pool, dir, ALL_FLAGS & ~FS_IMMUTABLE_FL), 0);
	assert_int_equal(make_kept(pool, dir, "file", S_IFREG | 0644, &ino), 0);
	assert_int_equal(flags_of(pool, ino), FS_NODUMP_FL | FS_NOATIME_FL | FS_SYNC_FL);
	assert_int_equal(make_kept(pool, dir, "dir", S_IFDIR | 0755, &ino), 0);
	assert_int_equal(flags_of(pool, ino), FS_NODUMP_FL | FS_NOATIME_FL | FS_SYNC_FL | FS_DIRSYNC_FL);
	assert_int_equal(make_kept(pool, dir, "link", S_IFLNK | 0777, &ino), 0);
	assert_int_equal(flags_of(pool, ino), FS_NODUMP_FL | FS_NOATIME_FL);
	assert_int_equal(make_kept(pool, dir, "fifo", S_IFIFO | 0644, &ino), 0);
	assert_int_equal(flags_of(pool, ino), FS_NODUMP_FL | FS_NOATIME_FL);
}

static void forge(struct pool *pool, uint64_t ino, uint32_t flags)
{
	const struct fmt_inode *media;
	struct fmt_inode *edit;
	struct meta_tx *tx;

	assert_int_equal(meta_inode_get(pool->fs->meta, ino, &media), 0);
	assert_int_equal(meta_begin(pool->fs->meta, 0, &tx), 0);
	assert_int_equal(meta_inode_edit(tx, media, &edit), 0);
	edit->flags = flags;
	assert_int_equal(meta_commit(tx), 0);
}

static uint64_t errors_found(struct pool *pool)
{
	const struct check_options options = {.meta_path = pool->meta, .skip_probe = true, .in_process = true};
	struct check_report report;
	struct message why;

	pool_unmount(pool);
	assert_int_equal(check_pool(&options, &report, &why), 0);
	mount_flags(pool, true);
	return report.errors;
}

static void test_check(void **state)
{
	struct pool *pool = *state;
	uint64_t file = file_make(pool, "file"), link;

	assert_int_equal(make_kept(pool, ROOT, "link", S_IFLNK | 0777, &link), 0);
	forge(pool, file, FMT_INODE_USER & ~FMT_INODE_DIRSYNC);
	forge(pool, link, FMT_INODE_NODUMP | FMT_INODE_NOATIME);
	assert_int_equal(errors_found(pool), 0);
	forge(pool, file, FMT_INODE_DIRSYNC);
	assert_int_equal(errors_found(pool), 1);
	forge(pool, file, 128);
	forge(pool, link, FMT_INODE_IMMUTABLE);
	assert_int_equal(errors_found(pool), 2);
	forge(pool, file, 0);
	forge(pool, link, 0);
}

/* ---- Files ---- */

static int setattr(struct pool *pool, uint64_t ino, unsigned valid, bool kernel_times)
{
	struct fs_setattr changes = {.valid = valid, .kernel_times = kernel_times, .attr.st_mode = 0600};
	struct stat attr;

	return fs_setattr(pool->fs, ino, &changes, NULL, &attr);
}

static ssize_t write_at(struct pool *pool, uint64_t ino, const char *text, off_t offset)
{
	return fs_write(pool->fs, ino, text, strlen(text), offset, NULL);
}

static void assert_text(struct pool *pool, uint64_t ino, const char *text)
{
	struct fs_read read;

	assert_int_equal(attr_of(pool, ino).st_size, strlen(text));
	assert_int_equal(fs_read_begin(pool->fs, ino, 0, strlen(text), &read), 0);
	assert_int_equal(read.length, strlen(text));
	assert_memory_equal(read.iov[0].iov_base, text, strlen(text));
	fs_read_end(pool->fs, &read);
}

/* What both flags forbid. */
static void refuses_all_but_adding(struct pool *pool, uint64_t file)
{
	static const unsigned valid[] = {FS_SET_MODE,  FS_SET_UID,   FS_SET_GID,
					 FS_SET_ATIME, FS_SET_MTIME, FS_SET_ATIME_NOW | FS_SET_MTIME | FS_SET_ATIME};
	static const int modes[] = {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
				    FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
	const struct stat before = attr_of(pool, file);
	uint64_t source = file_make(pool, "source");
	struct stat after;

	for (size_t i = 0; i < ARRAY_SIZE(valid); i++)
		assert_int_equal(setattr(pool, file, valid[i], false), -EPERM);
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		assert_int_equal(fs_fallocate(pool->fs, file, modes[i], 0, 2, NULL), -EPERM);
	assert_int_equal(file_resize(pool->fs, file, 0), -EPERM);
	assert_int_equal(file_resize(pool->fs, file, 2), -EPERM);
	assert_int_equal(file_resize(pool->fs, file, 9999), -EPERM);
	assert_int_equal(write_at(pool, file, "x", 0), -EPERM);
	assert_int_equal(write_at(pool, file, "xy", 4), -EPERM);
	assert_int_equal(fs_write_back(pool->fs, file, "xy", 2, 0, false), -EPERM);
	assert_int_equal(write_at(pool, source, "abc", 0), 3);
	assert_int_equal(fs_copy_range(pool->fs, source, 0, file, 1, 2, NULL), -EPERM);
	assert_int_equal(fs_setxattr(pool->fs, file, "user.b", "b", 1, 0), -EPERM);
	assert_int_equal(fs_removexattr(pool->fs, file, "user.a"), -EPERM);
	assert_int_equal(link_to(pool, file, ROOT, "again"), -EPERM);
	assert_int_equal(fs_rename(pool->fs, ROOT, "file", ROOT, "moved", 0), -EPERM);
	assert_int_equal(fs_rename(pool->fs, ROOT, "source", ROOT, "file", 0), -EPERM);
	assert_int_equal(fs_rename(pool->fs, ROOT, "source", ROOT, "file", RENAME_EXCHANGE), -EPERM);
	assert_int_equal(fs_rename(pool->fs, ROOT, "file", ROOT, "source", RENAME_EXCHANGE), -EPERM);
	assert_int_equal(fs_unlink(pool->fs, ROOT, "file"), -EPERM);
	after = attr_of(pool, file);
	assert_memory_equal(&after, &before, sizeof(before));
	assert_int_equal(fs_getxattr(pool->fs, file, "user.a", NULL, 0), 1);
	file_remove(pool, "source", source);
}

static int open_as(struct pool *pool, uint64_t ino, int flags)
{
	bool append_only;

	return fs_may_open(pool->fs, ino, flags, &append_only);
}

static void test_immutable_file(void **state)
{
	struct pool *pool = *state;
	uint64_t file = file_make(pool, "file");

	assert_int_equal(write_at(pool, file, "hello", 0), 5);
	assert_int_equal(fs_setxattr(pool->fs, file, "user.a", "a", 1, 0), 0);
	assert_int_equal(set_flags(pool, file, FS_IMMUTABLE_FL), 0);
	refuses_all_but_adding(pool, file);
	assert_int_equal(setattr(pool, file, FS_SET_ATIME_NOW | FS_SET_MTIME_NOW, false), -EPERM);
	assert_int_equal(setattr(pool, file, FS_SET_MTIME | FS_SET_CTIME, true), -EPERM);
	assert_int_equal(write_at(pool, file, "x", 5), -EPERM);
	assert_int_equal(fs_write_back(pool->fs, file, "hello more", 10, 0, true), -EPERM);
	assert_int_equal(fs_fallocate(pool->fs, file, 0, 0, 10, NULL), -EPERM);
	assert_int_equal(fs_fallocate(pool->fs, file, FALLOC_FL_KEEP_SIZE, 0, 10, NULL), -EPERM);
	assert_int_equal(open_as(pool, file, O_RDONLY), 0);
	assert_int_equal(open_as(pool, file, O_RDWR), -EPERM);
	assert_int_equal(open_as(pool, file, O_WRONLY), -EPERM);
	assert_int_equal(open_as(pool, file, O_WRONLY | O_APPEND), -EPERM);
	assert_text(pool, file, "hello");
	assert_int_equal(set_flags(pool, file, 0), 0);
	assert_int_equal(open_as(pool, file, O_RDWR), 0);
	assert_int_equal(write_at(pool, file, "J", 0), 1);
	assert_int_equal(fs_unlink(pool->fs, ROOT, "file"), 0);
	fs_forget(pool->fs, file, 1);
}

static void test_append_only_file(void **state)
{
	struct pool *pool = *state;
	uint64_t file = file_make(pool, "file"), source = file_make(pool, "from");
	bool append_only = false;

	assert_int_equal(write_at(pool, file, "hello", 0), 5);
	assert_int_equal(fs_setxattr(pool->fs, file, "user.a", "a", 1, 0), 0);
	assert_int_equal(set_flags(pool, file, FS_APPEND_FL), 0);
	refuses_all_but_adding(pool, file);
	assert_int_equal(setattr(pool, file, FS_SET_ATIME | FS_SET_ATIME_NOW | FS_SET_MTIME | FS_SET_MTIME_NOW, false),
			 0);
	assert_int_equal(setattr(pool, file, FS_SET_MTIME | FS_SET_CTIME, true), 0);
	assert_int_equal(write_at(pool, file, " more", 5), 5);
	assert_int_equal(write_at(pool, source, "abc", 0), 3);
	assert_int_equal(fs_copy_range(pool->fs, source, 0, file, 10, 3, NULL), 3);
	assert_text(pool, file, "hello moreabc");
	/* The kernel's write-back of whole pages: what is there stays, what is behind the end is taken. */
	assert_int_equal(fs_write_back(pool->fs, file, "HELLO MOREABCdef", 16, 0, true), 16);
	assert_int_equal(fs_write_back(pool->fs, file, "HELLO", 5, 0, true), 5);
	assert_text(pool, file, "hello moreabcdef");
	assert_int_equal(fs_fallocate(pool->fs, file, FALLOC_FL_KEEP_SIZE, 0, 100000, NULL), 0);
	assert_int_equal(fs_fallocate(pool->fs, file, 0, 0, 17, NULL), 0);
	assert_int_equal(attr_of(pool, file).st_size, 17);
	assert_int_equal(open_as(pool, file, O_RDONLY), 0);
	assert_int_equal(open_as(pool, file, O_RDWR), -EPERM);
	assert_int_equal(open_as(pool, file, O_WRONLY), -EPERM);
	assert_int_equal(fs_may_open(pool->fs, file, O_RDWR | O_APPEND, &append_only), 0);
	assert_true(append_only);
	assert_int_equal(fs_may_open(pool->fs, source, O_RDWR, &append_only), 0);
	assert_false(append_only);
}

/* ---- Directories ---- */

static void refuses_removing(struct pool *pool, uint64_t dir)
{
	assert_int_equal(fs_unlink(pool->fs, dir, "file"), -EPERM);
	assert_int_equal(fs_rmdir(pool->fs, dir, "dir"), -EPERM);
	assert_int_equal(fs_unlink(pool->fs, dir, "none"), -ENOENT);
	assert_int_equal(fs_rename(pool->fs, dir, "file", ROOT, "moved", 0), -EPERM);
	assert_int_equal(fs_rename(pool->fs, dir, "file", dir, "moved", 0), -EPERM);
	assert_int_equal(fs_rename(pool->fs, ROOT, "other", dir, "file", 0), -EPERM);
	assert_int_equal(fs_rename(pool->fs, ROOT, "other", dir, "file", RENAME_EXCHANGE), -EPERM);
	assert_int_equal(fs_rename(pool->fs, ROOT, "parent", ROOT, "moved", 0), -EPERM);
	assert_int_equal(setattr(pool, dir, FS_SET_MODE, false), -EPERM);
	assert_int_equal(fs_setxattr(pool->fs, dir, "user.a", "a", 1, 0), -EPERM);
	assert_int_equal(make(pool, dir, "file", S_IFREG | 0644), -EEXIST);
}

static void test_directories(void **state)
{
	struct pool *pool = *state;
	uint64_t dir, file, other = file_make(pool, "other");

	assert_int_equal(make_kept(pool, ROOT, "parent", S_IFDIR | 0755, &dir), 0);
	assert_int_equal(make_kept(pool, dir, "file", S_IFREG | 0644, &file), 0);
	assert_int_equal(make(pool, dir, "dir", S_IFDIR | 0755), 0);
	assert_int_equal(set_flags(pool, dir, FS_IMMUTABLE_FL), 0);
	refuses_removing(pool, dir);
	assert_int_equal(make(pool, dir, "new", S_IFREG | 0644), -EPERM);
	assert_int_equal(make(pool, dir, "new", S_IFDIR | 0755), -EPERM);
	assert_int_equal(make(pool, dir, "new", S_IFLNK | 0777), -EPERM);
	assert_int_equal(link_to(pool, other, dir, "new"), -EPERM);
	assert_int_equal(fs_rename(pool->fs, ROOT, "other", dir, "new", 0), -EPERM);
	/* What is in it is not protected. */
	assert_int_equal(write_at(pool, file, "x", 0), 1);
	assert_int_equal(set_flags(pool, dir, FS_APPEND_FL), 0);
	refuses_removing(pool, dir);
	assert_int_equal(make(pool, dir, "new", S_IFREG | 0644), 0);
	assert_int_equal(link_to(pool, other, dir, "linked"), 0);
	assert_int_equal(fs_rename(pool->fs, ROOT, "other", dir, "came", 0), 0);
	assert_int_equal(fs_rmdir(pool->fs, ROOT, "parent"), -EPERM);
	assert_int_equal(set_flags(pool, dir, 0), 0);
	assert_int_equal(fs_rename(pool->fs, dir, "came", ROOT, "other", 0), 0);
	assert_int_equal(fs_rmdir(pool->fs, dir, "dir"), 0);
}

/* ---- Pins ---- */

static int flags_pins_setup(void **state)
{
	struct pool *pool;

	flags_setup(state);
	pool = *state;
	return fs_pins_start(pool->fs);
}

static int flags_pins_teardown(void **state)
{
	struct pool *pool = *state;

	if (pool->fs != NULL) {
		(void)fs_pins_drain(pool->fs);
		fs_pins_stop(pool->fs);
	}
	return pool_teardown(state);
}

static void test_pins(void **state)
{
	struct pool *pool = *state;
	uint64_t file = file_make(pool, "file"), id, kept;
	struct client client;

	client_open(&client, pool->fs);
	file_fill(pool, file, 0, 2 * BLOCK, 0x11);
	assert_int_equal(pin_range(&client, file, 0, BLOCK, PIN_FLAG_WRITE, &kept), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(set_flags(pool, file, i == 0 ? FS_IMMUTABLE_FL : FS_APPEND_FL), 0);
		assert_int_equal(pin_range(&client, file, BLOCK, BLOCK, PIN_FLAG_WRITE, &id), -EPERM);
		assert_int_equal(pin_range(&client, file, 0, 3 * BLOCK, PIN_FLAG_WRITE | PIN_FLAG_EXTEND, &id), -EPERM);
		assert_int_equal(pin_range(&client, file, 0, 2 * BLOCK, 0, &id), 0);
		assert_int_equal(fs_unpin(pool->fs, client.holder, id), 0);
		/* What was granted before stays the holder's. */
		*pinned_byte(&client, kept, i) = 0x22;
		assert_int_equal(commit_range(&client, kept, 0, BLOCK), 0);
		assert_true(file_has(pool, file, i, 1, 0x22));
	}
	assert_int_equal(set_flags(pool, file, 0), 0);
	assert_int_equal(pin_range(&client, file, BLOCK, BLOCK, PIN_FLAG_WRITE, &id), 0);
	client_close(&client);
}

/* ---- Shutdown ---- */

static void everything_fails(struct pool *pool, uint64_t file)
{
	struct statvfs statfs;
	struct fs_flags flags;
	struct fs_read read;
	struct stat attr;
	char text[8];

	assert_int_equal(find_error(pool, ROOT, "file"), -EIO);
	assert_int_equal(fs_getattr(pool->fs, file, &attr), -EIO);
	assert_int_equal(setattr(pool, file, FS_SET_MODE, false), -EIO);
	assert_int_equal(file_resize(pool->fs, file, 1), -EIO);
	assert_int_equal(write_at(pool, file, "x", 0), -EIO);
	assert_int_equal(fs_write_back(pool->fs, file, "x", 1, 0, true), -EIO);
	assert_int_equal(fs_read_begin(pool->fs, file, 0, 1, &read), -EIO);
	assert_int_equal(fs_copy_range(pool->fs, file, 0, file, 100, 1, NULL), -EIO);
	assert_int_equal(fs_fallocate(pool->fs, file, 0, 0, 1, NULL), -EIO);
	assert_int_equal(fs_lseek(pool->fs, file, 0, SEEK_DATA), -EIO);
	assert_int_equal(make(pool, ROOT, "new", S_IFREG | 0644), -EIO);
	assert_int_equal(link_to(pool, file, ROOT, "new"), -EIO);
	assert_int_equal(fs_unlink(pool->fs, ROOT, "file"), -EIO);
	assert_int_equal(fs_rmdir(pool->fs, ROOT, "file"), -EIO);
	assert_int_equal(fs_rename(pool->fs, ROOT, "file", ROOT, "new", 0), -EIO);
	assert_int_equal(fs_readlink(pool->fs, file, text, sizeof(text)), -EIO);
	assert_int_equal(fs_readdir(pool->fs, ROOT, 0, false, NULL, NULL), -EIO);
	assert_int_equal(fs_getxattr(pool->fs, file, "user.a", NULL, 0), -EIO);
	assert_int_equal(fs_setxattr(pool->fs, file, "user.a", "a", 1, 0), -EIO);
	assert_int_equal(fs_removexattr(pool->fs, file, "user.a"), -EIO);
	assert_int_equal(fs_listxattr(pool->fs, file, false, NULL, 0), -EIO);
	assert_int_equal(fs_get_flags(pool->fs, file, &flags), -EIO);
	assert_int_equal(set_flags(pool, file, 0), -EIO);
	assert_int_equal(open_as(pool, file, O_RDONLY), -EIO);
	assert_int_equal(fs_statfs(pool->fs, &statfs), 0);
	assert_int_equal(fs_getattr(pool->fs, ROOT, &attr), 0);
}

static void test_shutdown(void **state)
{
	struct pool *pool = *state;
	uint64_t file = file_make(pool, "file"), gone = file_make(pool, "gone"), free_before;
	struct check_options check = {
		.meta_path = pool->meta, .skip_probe = true, .in_process = true, .problem = pool_problem};
	struct check_report report;
	struct message why;

	free_before = blocks_free(pool);
	assert_int_equal(write_at(pool, file, "hello", 0), 5);
	file_fill(pool, gone, 0, 10 * BLOCK, 0x33);
	assert_int_equal(fs_unlink(pool->fs, ROOT, "gone"), 0);
	assert_false(fs_is_shut_down(pool->fs));
	fs_shut_down(pool->fs);
	fs_shut_down(pool->fs);
	assert_true(fs_is_shut_down(pool->fs));
	everything_fails(pool, file);
	/* Not even an eviction. */
	fs_forget(pool->fs, gone, 1);
	fs_forget(pool->fs, file, 1);
	pool_unmount(pool);
	assert_int_equal(check_pool(&check, &report, &why), 0);
	assert_int_equal(report.errors, 0);
	assert_int_equal(report.orphans, 1);
	assert_false(report.clean);
	mount_flags(pool, true);
	assert_text(pool, find(pool, ROOT, "file"), "hello");
	assert_int_equal(blocks_free(pool), free_before - 1);
}

static void test_shutdown_pins(void **state)
{
	struct pool *pool = *state;
	uint64_t file = file_make(pool, "file"), kept, id;
	struct client client, late;
	struct break_op cut;
	pid_t holder = fork();

	assert_true(holder >= 0);
	if (holder == 0)
		wait_for_end();
	assert_int_equal(client_try_open(&client, pool->fs, holder, 1000), 0);
	file_fill(pool, file, 0, 2 * BLOCK, 0x11);
	assert_int_equal(pin_range(&client, file, 0, BLOCK, PIN_FLAG_WRITE, &kept), 0);
	assert_int_equal(break_begin(&cut, pool->fs, file, 0, 1), -EINPROGRESS);
	fs_shut_down(pool->fs);
	/* Holders are told, who waits is woken, nobody comes any more. */
	event_await(&client.heard[PIN_EVENT_SHUTDOWN], 1);
	event_await(&cut.woken, 1);
	break_end(&cut);
	assert_int_equal(pin_range(&client, file, BLOCK, BLOCK, 0, &id), -ESHUTDOWN);
	assert_int_equal(client_try_open(&late, pool->fs, getpid(), 1000), -ESHUTDOWN);
	assert_int_equal(commit_range(&client, kept, 0, BLOCK), -EIO);
	/* The memory stays, and the ledger still has it. */
	assert_true(is_filled(pinned_byte(&client, kept, 0), BLOCK, 0x11));
	assert_int_equal(fs_unpin(pool->fs, client.holder, kept), 0);
	client_close(&client);
	(void)fs_pins_drain(pool->fs);
	fs_pins_stop(pool->fs);
	pool_unmount(pool);
	assert_int_equal(kill(holder, SIGKILL), 0);
	assert_int_equal(waitpid(holder, NULL, 0), holder);
	mount_flags(pool, true);
	assert_int_equal(fs_pins_start(pool->fs), 0);
	assert_int_equal(pins_of(pool->fs).pins, 0);
	assert_true(file_has(pool, find(pool, ROOT, "file"), 0, 2 * BLOCK, 0x11));
	settle(pool->fs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_set, flags_setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_set_refused, flags_setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_option, flags_setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_inherited, flags_setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_check, flags_setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_immutable_file, flags_setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_append_only_file, flags_setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_directories, flags_setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_pins, flags_pins_setup, flags_pins_teardown),
		cmocka_unit_test_setup_teardown(test_shutdown, flags_setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_shutdown_pins, flags_pins_setup, flags_pins_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
