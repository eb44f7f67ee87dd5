#include "tree.h"

#include "format/format.h"
#include "fs/data.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES 120u
#define DEPTH_MAX 8u
#define NAMES_MAX 128u
#define INODES_MAX 256u

struct attr {
	uint64_t ino;
	uint64_t size, blocks;
	uint64_t rdev;
	int64_t atime, mtime, ctime;
	uint32_t generation;
	uint32_t mode, nlink, uid, gid;
	uint32_t flags;
};

/* A path. Its bytes: names and values of xattrs, then content, or the target of a symlink. */
struct node {
	uint32_t size; /* of the record */
	uint32_t xattrs, data;
	uint32_t reserved;
	char path[PATH_BYTES];
	struct attr attr;
	unsigned char bytes[];
};

struct reader {
	struct fs *fs;
	struct tree *tree;
	uint64_t seen[INODES_MAX];
	unsigned depth;
};

struct names {
	unsigned count;
	char name[NAMES_MAX][64];
};

static int add_name(void *arg, const struct fs_dirent *dirent)
{
	struct names *names = arg;

	if (strcmp(dirent->name, ".") == 0 || strcmp(dirent->name, "..") == 0)
		return 0;
	if (names->count == NAMES_MAX || strlen(dirent->name) >= sizeof(names->name[0]))
		return 1;
	strcpy(names->name[names->count++], dirent->name);
	return 0;
}

static struct node *node_at(const struct tree *tree, uint32_t at)
{
	return at < tree->length ? (struct node *)(uintptr_t)(tree->bytes + at) : NULL;
}

static const struct node *node_after(const struct tree *tree, const struct node *node)
{
	return node_at(tree, (uint32_t)((const unsigned char *)node - tree->bytes) + node->size);
}

static size_t room(const struct tree *tree, const unsigned char *at)
{
	return (size_t)(tree->bytes + TREE_BYTES - at);
}

/* Names, each with its value: `name\0` length value. */
static int read_xattrs(struct reader *reader, struct node *node)
{
	char list[4096];
	ssize_t length = fs_listxattr(reader->fs, node->attr.ino, true, list, sizeof(list));
	unsigned char *at = node->bytes;

	if (length < 0)
		return (int)length;
	for (const char *name = list; name < list + length; name += strlen(name) + 1) {
		size_t name_length = strlen(name) + 1;
		ssize_t value;

		reader->tree->acls = reader->tree->acls || strcmp(name, FMT_ACL_ACCESS) == 0;
		if (room(reader->tree, at) < name_length + 65536)
			return -E2BIG;
		memcpy(at, name, name_length);
		at += name_length;
		value = fs_getxattr(reader->fs, node->attr.ino, name, at, 65536);
		if (value < 0)
			return (int)value;
		at += value;
	}
	node->xattrs = (uint32_t)(at - node->bytes);
	return 0;
}

/* Blocks of a file that are known to be lost. */
static int count_lost(struct reader *reader, uint64_t ino)
{
	struct meta_extent extent = {.length = 0};
	struct fs_inode *file;
	int error = fs_inode_get(reader->fs, ino, &file);

	while (error == 0) {
		uint64_t phys, end, length;

		error = meta_extent_find(reader->fs->meta, file->media, extent.file_block + extent.length, &extent);
		end = extent.phys + extent.length;
		for (phys = extent.phys; error == 0 && phys < end; phys += length) {
			if (!fs_lost_find(reader->fs, phys, end - phys, &phys, &length))
				break;
			reader->tree->lost += length;
		}
	}
	if (error == -ENOENT)
		fs_inode_put(reader->fs, file);
	return error == -ENOENT ? 0 : error;
}

#define LOST_BYTE 'L' /* what is shown in the place of what cannot be read */

static int read_content(struct reader *reader, struct node *node)
{
	unsigned char *start = node->bytes + node->xattrs;
	uint64_t done = 0;

	if (room(reader->tree, start) < node->attr.size)
		return -E2BIG;
	while (done < node->attr.size) {
		static struct fs_read read;
		uint64_t left = node->attr.size - done, block = FMT_BLOCK_SIZE - done % FMT_BLOCK_SIZE;
		int error = fs_read_begin(reader->fs, node->attr.ino, (off_t)done, left, &read);

		if (error == -EIO) {
			left = left < block ? left : block;
			error = fs_read_begin(reader->fs, node->attr.ino, (off_t)done, left, &read);
		}
		if (error == -EIO && fs_poison_count(reader->fs) > 0) {
			memset(start + done, LOST_BYTE, left);
			done += left;
			continue;
		}
		if (error != 0)
			return error;
		for (int i = 0; i < read.count; i++) {
			memcpy(start + done, read.iov[i].iov_base, read.iov[i].iov_len);
			done += read.iov[i].iov_len;
		}
		fs_read_end(reader->fs, &read);
		if (read.count == 0)
			return -EIO;
	}
	node->data = (uint32_t)done;
	return 0;
}

static int read_target(struct reader *reader, struct node *node)
{
	ssize_t length = fs_readlink(reader->fs, node->attr.ino, (char *)node->bytes + node->xattrs, 4096);

	if (length < 0)
		return (int)length;
	node->data = (uint32_t)length;
	return 0;
}

static void node_fill(struct node *node, const struct fs_entry *entry, const char *path)
{
	const struct stat *attr = &entry->attr;

	memset(node, 0, sizeof(*node));
	(void)snprintf(node->path, sizeof(node->path), "%s", path);
	node->attr = (struct attr){.ino = entry->ino,
				   .size = (uint64_t)attr->st_size,
				   .blocks = (uint64_t)attr->st_blocks,
				   .rdev = attr->st_rdev,
				   .atime = attr->st_atime,
				   .mtime = attr->st_mtime,
				   .ctime = attr->st_ctime,
				   .generation = entry->generation,
				   .mode = attr->st_mode,
				   .nlink = (uint32_t)attr->st_nlink,
				   .uid = attr->st_uid,
				   .gid = attr->st_gid};
}

static void count(struct reader *reader, const struct node *node)
{
	struct tree *tree = reader->tree;

	for (uint32_t i = 0; i < tree->inodes; i++) {
		if (reader->seen[i] == node->attr.ino)
			return;
	}
	if (tree->inodes < INODES_MAX)
		reader->seen[tree->inodes++] = node->attr.ino;
	tree->flags = tree->flags || node->attr.flags != 0;
	if (S_ISREG(node->attr.mode))
		tree->blocks += node->attr.blocks / (FMT_BLOCK_SIZE / 512);
}

static int read_flags(struct reader *reader, struct node *node)
{
	struct fs_flags flags;
	int error = fs_get_flags(reader->fs, node->attr.ino, &flags);

	if (error == 0)
		node->attr.flags = flags.flags;
	return error;
}

static int read_bytes(struct reader *reader, struct node *node)
{
	int error = read_xattrs(reader, node);

	if (error == 0 && S_ISREG(node->attr.mode))
		error = read_content(reader, node);
	if (error == 0 && S_ISREG(node->attr.mode))
		error = count_lost(reader, node->attr.ino);
	if (error == 0 && S_ISLNK(node->attr.mode))
		error = read_target(reader, node);
	return error;
}

static int read_node(struct reader *reader, const struct fs_entry *entry, const char *path);

static int read_directory(struct reader *reader, uint64_t ino, const char *path)
{
	struct names *names = calloc(1, sizeof(*names));
	int error;

	if (names == NULL)
		return -ENOMEM;
	error = ++reader->depth > DEPTH_MAX ? -ELOOP : fs_readdir(reader->fs, ino, 0, false, add_name, names);
	for (unsigned i = 0; error == 0 && i < names->count; i++) {
		char child[PATH_BYTES];
		struct fs_entry entry;

		if (snprintf(child, sizeof(child), "%s/%s", path, names->name[i]) >= (int)sizeof(child)) {
			error = -ENAMETOOLONG;
			break;
		}
		error = fs_lookup(reader->fs, ino, names->name[i], &entry);
		if (error == 0) {
			error = read_node(reader, &entry, child);
			fs_forget(reader->fs, entry.ino, 1);
		}
	}
	reader->depth--;
	free(names);
	return error;
}

static int read_node(struct reader *reader, const struct fs_entry *entry, const char *path)
{
	struct tree *tree = reader->tree;
	struct node *node = (struct node *)(tree->bytes + tree->length);
	int error;

	if (TREE_BYTES - tree->length < sizeof(*node) + 3 * 65536)
		return -E2BIG;
	node_fill(node, entry, path);
	error = read_flags(reader, node);
	if (error == 0 && strcmp(path, TREE_FULL) != 0)
		error = read_bytes(reader, node);
	if (error != 0)
		return error;
	node->size = (uint32_t)((sizeof(*node) + node->xattrs + node->data + 7) & ~7u);
	tree->length += node->size;
	count(reader, node);
	return S_ISDIR(node->attr.mode) ? read_directory(reader, entry->ino, path) : 0;
}

int tree_read(struct fs *fs, struct tree *ret_tree)
{
	static struct reader reader;
	struct fs_entry root = {.ino = FMT_INO_ROOT};
	int error = fs_getattr(fs, FMT_INO_ROOT, &root.attr);

	if (error != 0)
		return error;
	reader = (struct reader){.fs = fs, .tree = ret_tree};
	ret_tree->length = 0;
	ret_tree->inodes = 0;
	ret_tree->blocks = 0;
	ret_tree->lost = 0;
	ret_tree->acls = ret_tree->flags = false;
	return read_node(&reader, &root, "");
}

/* ---- Comparing ---- */

static bool same_attr(const struct node *one, const struct node *other, unsigned tolerance)
{
	struct attr attr = one->attr;

	if ((tolerance & TREE_ROOT) && one->path[0] == '\0')
		return true;
	if (tolerance & TREE_BLOCKS)
		attr.blocks = other->attr.blocks;
	if (tolerance & TREE_TIMES) {
		attr.atime = other->attr.atime;
		attr.mtime = other->attr.mtime;
		attr.ctime = other->attr.ctime;
	}
	if (tolerance & TREE_INO)
		attr.ino = other->attr.ino;
	if (tolerance & TREE_GENERATION)
		attr.generation = other->attr.generation;
	return memcmp(&attr, &other->attr, sizeof(attr)) == 0;
}

static bool same_data(const struct node *one, const struct node *other)
{
	return one->data == other->data &&
	       memcmp(one->bytes + one->xattrs, other->bytes + other->xattrs, one->data) == 0;
}

/* What differs: NULL if nothing. */
static const char *difference(const struct node *got, const struct node *want, unsigned tolerance)
{
	static char words[256];
	const char *what;

	if (got == NULL || want == NULL) {
		(void)snprintf(words, sizeof(words), "%s is %s", got == NULL ? want->path : got->path,
			       got == NULL ? "missing" : "there");
		return got == want ? NULL : words;
	}
	if (strcmp(got->path, want->path) != 0)
		what = "stands elsewhere";
	else if (!same_attr(got, want, tolerance))
		what = "attributes";
	else if (got->xattrs != want->xattrs || memcmp(got->bytes, want->bytes, got->xattrs) != 0)
		what = "extended attributes";
	else if (!same_data(got, want))
		what = "content";
	else
		return NULL;
	(void)snprintf(words, sizeof(words),
		       "%s: %s (size %llu/%llu, blocks %llu/%llu, links %u/%u, mtime %lld/%lld, ino %llu/%llu)",
		       got->path, what, (unsigned long long)got->attr.size, (unsigned long long)want->attr.size,
		       (unsigned long long)got->attr.blocks, (unsigned long long)want->attr.blocks, got->attr.nlink,
		       want->attr.nlink, (long long)got->attr.mtime, (long long)want->attr.mtime,
		       (unsigned long long)got->attr.ino, (unsigned long long)want->attr.ino);
	return words;
}

static const char *tree_difference(const struct tree *got, const struct tree *want, unsigned tolerance)
{
	const struct node *one = node_at(got, 0), *other = node_at(want, 0);

	while (one != NULL || other != NULL) {
		const char *what = difference(one, other, tolerance);

		if (what != NULL)
			return what;
		one = node_after(got, one);
		other = node_after(want, other);
	}
	return NULL;
}

/* Each word of the old length is of the old content or of the new one. */
static bool mixed_data(const struct node *got, const struct node *old, const struct node *new)
{
	const unsigned char *g = got->bytes + got->xattrs, *o = old->bytes + old->xattrs, *n = new->bytes + new->xattrs;

	if (got->data != old->data)
		return false;
	for (uint32_t at = 0; at < got->data; at += 8) {
		uint32_t length = got->data - at < 8 ? got->data - at : 8;

		if (memcmp(g + at, o + at, length) == 0)
			continue;
		if (at + length > new->data || memcmp(g + at, n + at, length) != 0)
			return false;
	}
	return true;
}

/* Each byte is of the old content, or of the new one; behind the old end, of the new one. */
static bool short_data(const struct node *got, const struct node *old, const struct node *new)
{
	const unsigned char *g = got->bytes + got->xattrs, *o = old->bytes + old->xattrs, *n = new->bytes + new->xattrs;

	for (uint32_t at = 0; at < got->data; at++) {
		if ((at >= new->data || g[at] != n[at]) && (at >= old->data || g[at] != o[at]))
			return false;
	}
	return true;
}

static bool is_short(const struct node *got, const struct node *old, const struct node *new, unsigned tolerance)
{
	const struct attr *attr = &new->attr;
	struct node like = *got;

	if (got->attr.size < old->attr.size || got->attr.size > attr->size || got->attr.blocks > attr->blocks)
		return false;
	like.attr.size = attr->size;
	like.attr.blocks = attr->blocks;
	return same_attr(&like, new, tolerance) && got->xattrs == old->xattrs && short_data(got, old, new);
}

/* Node by node: all new; or all old but for words of its content. */
static const char *mixed_difference(const struct tree *got, const struct tree *old, const struct tree *new,
				    unsigned tolerance)
{
	const struct node *g = node_at(got, 0), *o = node_at(old, 0), *n = node_at(new, 0);

	while (g != NULL && o != NULL && n != NULL) {
		const char *what = difference(g, n, tolerance);

		if (what != NULL && (tolerance & TREE_SHORT) && is_short(g, o, n, tolerance))
			what = NULL;
		if (what != NULL && (!same_attr(g, o, tolerance) || g->xattrs != o->xattrs || !mixed_data(g, o, n)))
			return what;
		g = node_after(got, g);
		o = node_after(old, o);
		n = node_after(new, n);
	}
	return g == NULL && o == NULL && n == NULL ? NULL : "other names than before";
}

const char *tree_compare(const struct tree *got, const struct tree *old, const struct tree *new, unsigned tolerance)
{
	static char words[600];
	const char *from_old, *from_new;

	if (tree_difference(got, new, tolerance) == NULL || tree_difference(got, old, tolerance) == NULL)
		return NULL;
	if ((tolerance & TREE_MIXED) && mixed_difference(got, old, new, tolerance) == NULL)
		return NULL;
	from_old = tree_difference(got, old, tolerance);
	(void)snprintf(words, sizeof(words), "not the old tree: %s", from_old);
	from_new = tree_difference(got, new, tolerance);
	(void)snprintf(words + strlen(words), sizeof(words) - strlen(words), "; nor the new one: %s", from_new);
	return words;
}

int tree_visit(const struct tree *tree, int (*visit)(void *arg, const char *path, mode_t mode, uint64_t ino), void *arg)
{
	const struct node *nodes[INODES_MAX];
	unsigned found = 0;
	int error = 0;

	for (const struct node *node = node_at(tree, 0); node != NULL && found < INODES_MAX;
	     node = node_after(tree, node))
		nodes[found++] = node;
	while (error == 0 && found-- > 1)
		error = visit(arg, nodes[found]->path, nodes[found]->attr.mode, nodes[found]->attr.ino);
	return error;
}
