/* Names: look-up, making, linking and removing. Lock order per operation: README.md. */
#include "fs/acl.h"
#include "fs/names.h"
#include "fs/protect.h"

#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

/* ---- Shared with rename.c and others ---- */

int fs_name_check(const char *name, size_t *ret_length)
{
	size_t length = strnlen(name, FMT_NAME_MAX + 1);

	if (length == 0)
		return -ENOENT;
	if (length > FMT_NAME_MAX)
		return -ENAMETOOLONG;
	if (memchr(name, '/', length) != NULL)
		return -EINVAL;
	*ret_length = length;
	return 0;
}

bool fs_name_is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

int fs_end(struct fs *fs, struct meta_tx *tx, int error, const char *operation, uint64_t ino)
{
	if (error != 0)
		meta_abort(tx);
	else
		error = meta_commit(tx);
	return error != 0 ? fs_failed(fs, error, operation, ino) : 0;
}

int fs_directory_get(struct fs *fs, uint64_t ino, struct fs_inode **ret_directory)
{
	struct fs_inode *inode;
	int error = fs_inode_get(fs, ino, &inode);

	if (error != 0)
		return error;
	if (!fs_inode_is_dir(inode)) {
		fs_inode_put(fs, inode);
		return -ENOTDIR;
	}
	*ret_directory = inode;
	return 0;
}

int fs_child_get(struct fs *fs, struct fs_inode *directory, const char *name, size_t length,
		 struct fs_inode **ret_child)
{
	struct meta_entry entry;
	int error = meta_entry_find(fs->meta, directory->media, name, length, &entry);

	return error != 0 ? error : fs_entry_get(fs, directory, &entry, ret_child);
}

/*
 * Damaged media only. A directory that has another parent, or is its own, would be locked out of order: it keeps its
 * parent as long as the lock of that one is held, so the answer is good for all that goes by the order.
 */
static bool is_stray(const struct fs_inode *directory, const struct fs_inode *child, uint32_t generation)
{
	if (child->media->generation != generation || child == directory)
		return true;
	return fs_inode_is_dir(child) && child->media->parent != directory->ino;
}

int fs_entry_get(struct fs *fs, struct fs_inode *directory, const struct meta_entry *entry, struct fs_inode **ret_child)
{
	struct fs_inode *child;
	int error = fs_inode_get(fs, entry->ino, &child);

	if (error != 0)
		return error == -ESTALE ? -EUCLEAN : error;
	if (is_stray(directory, child, entry->generation)) {
		fs_inode_put(fs, child);
		return -EUCLEAN;
	}
	*ret_child = child;
	return 0;
}

/* ---- Look-up ---- */

static int lookup_parent(struct fs *fs, struct fs_inode *directory, struct fs_inode **ret_parent)
{
	int error = -ESTALE;

	/* Under the lock: the parent stays what it is. What a removed directory calls so may be another inode by now.
	 */
	lock_rw_take_shared(&directory->layout);
	if (directory->media->nlink != 0)
		error = fs_directory_get(fs, directory->media->parent, ret_parent);
	lock_rw_drop(&directory->layout);
	return error;
}

static int lookup_child(struct fs *fs, struct fs_inode *directory, const char *name, struct fs_inode **ret_child)
{
	size_t length;
	int error = fs_name_check(name, &length);

	if (error != 0)
		return error;
	lock_rw_take_shared(&directory->layout);
	error = fs_child_get(fs, directory, name, length, ret_child);
	lock_rw_drop(&directory->layout);
	return error;
}

int fs_lookup(struct fs *fs, uint64_t parent, const char *name, struct fs_entry *ret_entry)
{
	struct fs_inode *directory, *child;
	int error = fs_inode_get(fs, parent, &directory);

	if (error != 0)
		return error;
	/*
	 * "." is asked of any inode: so the kernel revives a file handle. What it revives it calls "/" as long as it
	 * knows no path, and overlayfs has it look that up.
	 */
	if (strcmp(name, ".") == 0 || strcmp(name, "/") == 0) {
		fs_entry_fill(fs, directory, ret_entry);
		goto put;
	}
	if (!fs_inode_is_dir(directory))
		error = -ENOTDIR;
	else if (strcmp(name, "..") == 0)
		error = lookup_parent(fs, directory, &child);
	else
		error = lookup_child(fs, directory, name, &child);
	if (error != 0)
		goto put;
	fs_entry_fill(fs, child, ret_entry);
	fs_inode_put(fs, child);
put:
	fs_inode_put(fs, directory);
	return error;
}

ssize_t fs_readlink(struct fs *fs, uint64_t ino, char *target, size_t capacity)
{
	struct fs_inode *inode;
	ssize_t result = fs_inode_get(fs, ino, &inode);
	bool due;

	if (result != 0)
		return result;
	if (S_ISLNK(inode->type)) {
		lock_rw_take_shared(&inode->map);
		result = meta_symlink_get(fs->meta, inode->media, target, capacity);
		due = result >= 0 && fs_access_due(fs, inode);
		lock_rw_drop(&inode->map);
		if (due)
			fs_accessed(fs, inode);
	} else {
		result = -EINVAL;
	}
	fs_inode_put(fs, inode);
	return result;
}

/* ---- Making ---- */

/* One name to be made: the same for make and link. */
struct addition {
	struct fs_inode *directory; /* locked exclusive */
	const char *name;
	size_t length;
	bool subdirectory;
};

/* What must hold before a name is added. */
static int addition_check(struct fs *fs, const struct addition *add)
{
	struct meta_entry entry;
	int error = fs_writable(fs);

	if (error != 0)
		return error;
	if (add->directory->media->nlink == 0)
		return -ENOENT;
	error = meta_entry_find(fs->meta, add->directory->media, add->name, add->length, &entry);
	if (error != -ENOENT)
		return error == 0 ? -EEXIST : error;
	error = fs_may_change(add->directory, FS_CHANGE_ADD);
	if (error != 0)
		return error;
	if (add->subdirectory && add->directory->media->nlink >= FMT_LINK_MAX)
		return -EMLINK;
	return 0;
}

static int addition_insert(struct meta_tx *tx, const struct addition *add, const struct fmt_inode *target,
			   const struct timespec *now)
{
	struct fmt_inode *media;
	int error = meta_entry_insert(tx, add->directory->media, add->name, add->length, target);

	if (error != 0)
		return error;
	error = meta_inode_touch(tx, add->directory->media, &media);
	if (error != 0)
		return error;
	fs_touch_mtime(media, now);
	fs_touch_ctime(media, now);
	if (add->subdirectory)
		media->nlink++;
	return 0;
}

/* Linux' new_encode_dev: 12 bits of major, 20 of minor number. */
static bool encode_dev(dev_t dev, uint64_t *ret_rdev)
{
	uint64_t number_major = major(dev), number_minor = minor(dev);

	if (number_major > 0xfff || number_minor > 0xfffff)
		return false;
	*ret_rdev = (number_minor & 0xff) | number_major << 8 | (number_minor & ~0xffull) << 12;
	return true;
}

/* mknod(2) without a type makes a regular file. */
static uint32_t make_type(const struct fs_make *make)
{
	return (make->mode & S_IFMT) == 0 ? S_IFREG : make->mode & S_IFMT;
}

static int make_check(const struct fs_make *make, const char *name, size_t *ret_length)
{
	uint64_t rdev;
	size_t length;

	if (fs_name_is_dots(name))
		return -EEXIST;
	switch (make_type(make)) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFIFO:
	case S_IFSOCK:
		break;
	case S_IFCHR:
	case S_IFBLK:
		if (!encode_dev(make->rdev, &rdev))
			return -EINVAL;
		break;
	case S_IFLNK:
		if (make->target == NULL)
			return -EINVAL;
		length = strnlen(make->target, FMT_SYMLINK_MAX + 1);
		if (length == 0)
			return -ENOENT;
		if (length > FMT_SYMLINK_MAX)
			return -ENAMETOOLONG;
		break;
	default:
		return -EINVAL;
	}
	return fs_name_check(name, ret_length);
}

static void make_fill(struct fmt_inode *media, const struct fs_make *make, const struct fs_cred *cred,
		      const struct fmt_inode *parent, const struct timespec *now)
{
	media->mode = make_type(make) | (make->mode & 07777);
	media->uid = cred->uid;
	media->gid = cred->gid;
	media->nlink = 1;
	media->flags = fs_flags_inherited(parent, media->mode);
	if ((parent->mode & S_ISGID) != 0)
		media->gid = parent->gid;
	if (S_ISDIR(media->mode)) {
		media->mode |= parent->mode & S_ISGID;
		media->nlink = 2;
		media->parent = parent->ino;
	} else if (S_ISCHR(media->mode) || S_ISBLK(media->mode)) {
		/* Checked by make_check(). */
		(void)encode_dev(make->rdev, &media->rdev);
	}
	media->atime = media->btime = now->tv_sec;
	media->atime_nsec = media->btime_nsec = (uint32_t)now->tv_nsec;
	fs_touch_mtime(media, now);
	fs_touch_ctime(media, now);
}

/* What a child inherits needs its feature word as what is set does. */
int fs_birth_begin(struct fs *fs, const struct fs_birth *birth, struct meta_tx **ret_tx)
{
	const struct fmt_inode *parent = birth->directory->media;
	const uint32_t mode = make_type(birth->make);
	int error = fs_acl_announce(fs->meta, parent, mode);

	if (error == 0 && fs_flags_inherited(parent, mode) != 0)
		error = meta_feature_use(fs->meta, FMT_FEATURE_FLAGS);
	return error != 0 ? error : meta_begin(fs->meta, META_TX_INODE, ret_tx);
}

int fs_birth_tx(struct fs *fs, struct meta_tx *tx, const struct fs_birth *birth, const struct timespec *now,
		struct fmt_inode **ret_media)
{
	struct fmt_inode *media;
	int error = meta_inode_create(tx, &media);

	if (error == 0)
		error = fs_inode_insert(fs, birth->child, media->ino);
	if (error != 0)
		return error;
	make_fill(media, birth->make, birth->cred, birth->directory->media, now);
	error = fs_acl_inherit(fs->meta, tx, birth->directory->media, media, birth->make->umask);
	if (error != 0)
		return error;
	if (S_ISLNK(birth->child->type)) {
		error = meta_symlink_set(tx, media, birth->make->target, strlen(birth->make->target));
		if (error != 0)
			return error;
	}
	*ret_media = media;
	return 0;
}

static int make_tx(struct fs *fs, struct meta_tx *tx, const struct addition *add, const struct fs_birth *birth)
{
	struct timespec now = fs_now();
	struct fmt_inode *media;
	int error = fs_birth_tx(fs, tx, birth, &now, &media);

	return error != 0 ? error : addition_insert(tx, add, media, &now);
}

/* The directory is locked; on success the child is in the table with one reference. */
static int make_locked(struct fs *fs, const struct addition *add, const struct fs_birth *birth)
{
	struct meta_tx *tx;
	int error = addition_check(fs, add);

	if (error != 0)
		return error;
	error = fs_birth_begin(fs, birth, &tx);
	if (error != 0)
		return error;
	error = make_tx(fs, tx, add, birth);
	error = fs_end(fs, tx, error, "make", add->directory->ino);
	return error != 0 ? error : fs_inode_publish(fs, birth->child);
}

int fs_make(struct fs *fs, uint64_t parent, const char *name, const struct fs_make *make, const struct fs_cred *cred,
	    struct fs_entry *ret_entry)
{
	struct addition add = {.name = name, .subdirectory = S_ISDIR(make->mode)};
	struct fs_birth birth = {.make = make, .cred = cred};
	int error = make_check(make, name, &add.length);

	if (error != 0)
		return error;
	error = fs_directory_get(fs, parent, &add.directory);
	if (error != 0)
		return error;
	birth.directory = add.directory;
	error = fs_inode_new(make_type(make), &birth.child);
	if (error != 0)
		goto put;
	lock_rw_take_exclusive(&add.directory->layout);
	error = make_locked(fs, &add, &birth);
	lock_rw_drop(&add.directory->layout);
	if (error != 0) {
		fs_inode_discard(fs, birth.child);
		goto put;
	}
	fs_entry_fill(fs, birth.child, ret_entry);
	fs_inode_put(fs, birth.child);
put:
	fs_inode_put(fs, add.directory);
	return error;
}

/* ---- Linking ---- */

static int link_tx(struct meta_tx *tx, const struct addition *add, struct fs_inode *file)
{
	struct timespec now = fs_now();
	struct fmt_inode *media;
	int error = meta_inode_touch(tx, file->media, &media);

	if (error != 0)
		return error;
	media->nlink++;
	fs_touch_ctime(media, &now);
	return addition_insert(tx, add, file->media, &now);
}

/* Directory and file are locked. */
static int link_locked(struct fs *fs, const struct addition *add, struct fs_inode *file)
{
	struct meta_tx *tx;
	int error = addition_check(fs, add);

	if (error != 0)
		return error;
	/* Its last name is gone: it is an orphan, and stays one. But one that never had a name may get its first. */
	if (file->media->nlink == 0 && !file->unnamed)
		return -ENOENT;
	error = fs_may_change(file, FS_CHANGE_ANY);
	if (error != 0)
		return error;
	if (file->media->nlink >= FMT_LINK_MAX)
		return -EMLINK;
	error = meta_begin(fs->meta, 0, &tx);
	if (error != 0)
		return error;
	error = link_tx(tx, add, file);
	error = fs_end(fs, tx, error, "link", file->ino);
	if (error == 0)
		file->unnamed = false;
	return error;
}

int fs_link(struct fs *fs, uint64_t ino, uint64_t parent, const char *name, struct fs_entry *ret_entry)
{
	struct addition add = {.name = name};
	struct fs_inode *file;
	int error = fs_name_is_dots(name) ? -EEXIST : fs_name_check(name, &add.length);

	if (error != 0)
		return error;
	error = fs_inode_get(fs, ino, &file);
	if (error != 0)
		return error;
	error = fs_inode_is_dir(file) ? -EPERM : fs_directory_get(fs, parent, &add.directory);
	if (error != 0)
		goto put_file;
	lock_rw_take_exclusive(&add.directory->layout);
	lock_rw_take_exclusive(&file->map);
	error = link_locked(fs, &add, file);
	lock_rw_drop(&file->map);
	lock_rw_drop(&add.directory->layout);
	if (error == 0)
		fs_entry_fill(fs, file, ret_entry);
	fs_inode_put(fs, add.directory);
put_file:
	fs_inode_put(fs, file);
	return error;
}

/* ---- Removing ---- */

static int remove_tx(struct meta_tx *tx, struct fs_inode *directory, const char *name, size_t length,
		     struct fs_inode *child)
{
	struct timespec now = fs_now();
	struct fmt_inode *media;
	int error = meta_entry_remove(tx, directory->media, name, length);

	if (error != 0)
		return error;
	error = meta_inode_touch(tx, directory->media, &media);
	if (error != 0)
		return error;
	fs_touch_mtime(media, &now);
	fs_touch_ctime(media, &now);
	if (fs_inode_is_dir(child))
		media->nlink--;
	error = meta_inode_touch(tx, child->media, &media);
	if (error != 0)
		return error;
	media->nlink = fs_inode_is_dir(child) ? 0 : media->nlink - 1;
	fs_touch_ctime(media, &now);
	return 0;
}

static int remove_child(struct fs *fs, struct fs_inode *directory, const char *name, size_t length,
			struct fs_inode *child)
{
	struct lock_rw *lock = fs_inode_attr_lock(child);
	struct meta_tx *tx;
	int error = fs_may_change(directory, FS_CHANGE_ANY);

	lock_rw_take_exclusive(lock);
	if (error == 0)
		error = fs_may_change(child, FS_CHANGE_ANY);
	if (error == 0 && fs_inode_is_dir(child) && child->media->size > 0)
		error = -ENOTEMPTY;
	else if (error == 0 && (child->media->nlink == 0 || (fs_inode_is_dir(child) && directory->media->nlink < 3)))
		error = fs_failed(fs, -EUCLEAN, "remove", child->ino);
	if (error == 0)
		error = meta_begin(fs->meta, META_TX_RESERVE, &tx);
	if (error == 0) {
		error = remove_tx(tx, directory, name, length, child);
		error = fs_end(fs, tx, error, "remove", child->ino);
	}
	lock_rw_drop(lock);
	return error;
}

/* Removes a name. The child's last put, after all locks are dropped, evicts it if the kernel does not know it. */
static int remove_name(struct fs *fs, uint64_t parent, const char *name, size_t length, bool subdirectory)
{
	struct fs_inode *directory, *child = NULL;
	int error = fs_directory_get(fs, parent, &directory);

	if (error != 0)
		return error;
	lock_rw_take_exclusive(&directory->layout);
	error = fs_writable(fs);
	if (error == 0)
		error = fs_child_get(fs, directory, name, length, &child);
	if (error == 0 && fs_inode_is_dir(child) != subdirectory)
		error = subdirectory ? -ENOTDIR : -EISDIR;
	if (error == 0)
		error = remove_child(fs, directory, name, length, child);
	lock_rw_drop(&directory->layout);
	if (child != NULL)
		fs_inode_put(fs, child);
	fs_inode_put(fs, directory);
	return error;
}

int fs_unlink(struct fs *fs, uint64_t parent, const char *name)
{
	size_t length;
	int error = fs_name_is_dots(name) ? -EISDIR : fs_name_check(name, &length);

	return error != 0 ? error : remove_name(fs, parent, name, length, false);
}

int fs_rmdir(struct fs *fs, uint64_t parent, const char *name)
{
	size_t length;
	int error;

	if (strcmp(name, ".") == 0)
		return -EINVAL;
	if (strcmp(name, "..") == 0)
		return -ENOTEMPTY;
	error = fs_name_check(name, &length);
	return error != 0 ? error : remove_name(fs, parent, name, length, true);
}
