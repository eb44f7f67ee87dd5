/*
 * The tree of names, without recursion: a directory is as deep as its pool wants it. Each is open for its owner only
 * until all in it is there; then it gets its own owner, mode and times. Only the deepest are held open: on the way back
 * the others are found as "..", and known by their numbers.
 */
#include "rescue/work.h"

#include "base/arith.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPEN_MAX_DEPTH 64u
#define PATH_SHOWN 6000u

/* A directory that is being filled. */
struct frame {
	struct info *info; /* NULL: the root, or one that was lost: it gets no attributes now */
	int fd; /* or -1 */
	dev_t dev;
	ino_t ino;
	size_t path_length; /* of its own path, which children's follow */
	struct children children;
	size_t next;
};

struct tree {
	struct work *work;
	struct frame *frame;
	size_t depth, capacity;
	char *path; /* printable; what is said last */
	size_t path_length, path_capacity;
};

/* ---- The path, for messages ---- */

static int path_append(struct tree *tree, const char *name, size_t length)
{
	struct rescue_text room;
	const char *text = rescue_text(&room, name, length);
	size_t wanted = tree->path_length + strlen(text) + 2;

	if (wanted > tree->path_capacity) {
		char *grown = realloc(tree->path, wanted * 2);

		if (grown == NULL)
			return -ENOMEM;
		tree->path = grown;
		tree->path_capacity = wanted * 2;
	}
	tree->path_length += (size_t)sprintf(tree->path + tree->path_length, "/%s", text);
	return 0;
}

static void path_cut(struct tree *tree, size_t length)
{
	tree->path_length = length;
	if (tree->path != NULL)
		tree->path[length] = '\0';
}

static const char *path_text(const struct tree *tree)
{
	const char *end;

	if (tree->path_length <= PATH_SHOWN)
		return tree->path_length == 0 ? "/" : tree->path;
	/* Of a path that is longer than the message, its end. */
	end = strchr(tree->path + tree->path_length - PATH_SHOWN, '/');
	return end != NULL ? end : tree->path;
}

/* ---- Directories ---- */

static int push(struct tree *tree, int fd, struct info *info, struct children *children)
{
	struct frame *frame;
	struct stat st;

	if (fstat(fd, &st) != 0)
		return -errno;
	if (tree->depth == tree->capacity) {
		size_t capacity = tree->capacity == 0 ? 64 : tree->capacity * 2;
		void *grown = realloc(tree->frame, capacity * sizeof(*tree->frame));

		if (grown == NULL)
			return -ENOMEM;
		tree->frame = grown;
		tree->capacity = capacity;
	}
	if (tree->depth >= OPEN_MAX_DEPTH) {
		frame = &tree->frame[tree->depth - OPEN_MAX_DEPTH];
		/* The first one of a walk is nobody's child here. */
		if (frame != tree->frame) {
			close(frame->fd);
			frame->fd = -1;
		}
	}
	frame = &tree->frame[tree->depth++];
	*frame = (struct frame){
		.info = info,
		.fd = fd,
		.dev = st.st_dev,
		.ino = st.st_ino,
		.path_length = tree->path_length,
		.children = *children,
	};
	return 0;
}

/* The directory above the last one is needed again. */
static int reopen(struct tree *tree)
{
	const struct frame *last = &tree->frame[tree->depth - 1];
	struct frame *above = &tree->frame[tree->depth - 2];
	struct stat st;
	int fd;

	if (above->fd >= 0)
		return 0;
	fd = openat(last->fd, "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) != 0 || st.st_dev != above->dev || st.st_ino != above->ino) {
		close(fd);
		return -ESTALE; /* somebody has moved it meanwhile */
	}
	above->fd = fd;
	return 0;
}

/* All of the last directory is there. */
static int pop(struct tree *tree)
{
	struct frame *frame = &tree->frame[tree->depth - 1];
	struct fmt_inode inode;
	int error = tree->depth > 1 ? reopen(tree) : 0;

	path_cut(tree, frame->path_length);
	if (error != 0)
		message_set(tree->work->message, "%s: %s", path_text(tree), strerror(-error));
	if (frame->info != NULL && inode_read(tree->work, frame->info->ino, &inode) == 0)
		attributes_copy(tree->work, frame->fd, -1, NULL, &inode, path_text(tree));
	close(frame->fd);
	children_free(&frame->children);
	tree->depth--;
	return error;
}

static int enter(struct tree *tree, int fd, struct info *info)
{
	struct children children;
	int error;

	info->flags |= INFO_COPIED;
	error = children_read(tree->work, info, &children);
	if (error == 0 && children.gap)
		rescue_lost(tree->work, "%s: some of the names in this directory are lost", path_text(tree));
	if (error == 0)
		error = push(tree, fd, info, &children);
	if (error != 0) {
		children_free(&children);
		close(fd);
	}
	return error;
}

/* Makes directory `name` in `folder` and begins it. Only an error that ends all is returned. */
static int make_directory(struct tree *tree, int folder, const char *name, struct info *info)
{
	struct work *work = tree->work;
	int error = mkdirat(folder, name, 0700) == 0 ? 0 : -errno;
	int fd = error == 0 ? openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;

	if (error == 0 && fd < 0)
		error = -errno;
	if (error == 0) {
		if (info != NULL) {
			work->report.directories++;
			return enter(tree, fd, info);
		}
		close(fd);
		return 0;
	}
	if (node_fatal(error)) {
		message_set(work->message, "%s: %s", path_text(tree), strerror(-error));
		return error;
	}
	rescue_lost(work, "%s: cannot be made under this name: %s", path_text(tree), strerror(-error));
	return 0;
}

/* ---- Entries ---- */

/* Why what an entry names cannot be made under this name; NULL: it can. */
static const char *obstacle(const struct child *child, const struct info *info)
{
	if (info->generation != child->generation || child->type != IFTODT(info->mode))
		return "is lost, another one has its place";
	if (child->illegal)
		return "cannot be made under this name";
	if ((info->flags & INFO_COPIED) != 0 && (S_ISDIR(info->mode) || info->nlink <= 1))
		return "has another name already, and can have only one";
	return NULL;
}

/* What an entry names, or NULL; then that is told, unless the entry itself is doubtful. */
static int target_of(struct tree *tree, const struct child *child, struct info **ret_info)
{
	struct work *work = tree->work;
	struct info *info = child->ino >= FMT_INO_FIRST_FREE ? inodes_find(work, child->ino) : NULL;
	const char *reason;

	*ret_info = NULL;
	if (info == NULL || (info->flags & INFO_DAMAGED) != 0) {
		if (child->doubtful)
			return 0;
		if (child->type == DT_REG)
			return salvage_copy(work, child->ino, child->generation, path_text(tree));
		rescue_lost(work, "%s: its inode %" PRIu64 " is damaged", path_text(tree), child->ino);
		return 0;
	}
	reason = obstacle(child, info);
	if (child->doubtful && (reason != NULL || info->names > 0 || (info->flags & INFO_COPIED) != 0))
		return 0;
	if (reason == NULL)
		*ret_info = info;
	else
		rescue_lost(work, "%s: its inode %" PRIu64 " %s", path_text(tree), child->ino, reason);
	return 0;
}

static int copy_child(struct tree *tree, const struct child *child)
{
	struct frame *frame = &tree->frame[tree->depth - 1];
	const char *name = child_name(&frame->children, child);
	struct info *info;
	int error;

	path_cut(tree, frame->path_length);
	error = path_append(tree, name, child->name_length);
	if (error != 0)
		return error;
	error = target_of(tree, child, &info);
	if (error != 0 || info == NULL)
		return error;
	if (child->doubtful)
		info->names++;
	if (S_ISDIR(info->mode))
		return make_directory(tree, frame->fd, name, info);
	return node_copy(tree->work, frame->fd, name, info, path_text(tree));
}

/* Fills the directory on top, and all below it. */
static int fill(struct tree *tree)
{
	size_t bottom = tree->depth;
	int error = 0;

	while (tree->depth >= bottom) {
		struct frame *frame = &tree->frame[tree->depth - 1];

		if (error == 0 && frame->next < frame->children.count) {
			/* A copy: the frames may move. */
			const struct child child = frame->children.child[frame->next++];

			error = copy_child(tree, &child);
		} else {
			int failed = pop(tree);

			error = error != 0 ? error : failed;
		}
	}
	return error;
}

/* ---- What has no name ---- */

/* In lost+found, as #INO; the path says so. */
static int unnamed_path(struct tree *tree, uint64_t ino, char name[24])
{
	int error = place_lost_found(tree->work);

	path_cut(tree, 0);
	snprintf(name, 24, "#%" PRIu64, ino);
	if (error == 0)
		error = path_append(tree, tree->work->lost_found_name, strlen(tree->work->lost_found_name));
	return error != 0 ? error : path_append(tree, name, strlen(name));
}

static int copy_unnamed(struct tree *tree, struct info *info)
{
	size_t depth = tree->depth;
	char name[24];
	int error = unnamed_path(tree, info->ino, name);

	if (error != 0)
		return error;
	rescue_lost(tree->work, "%s: has lost its name", path_text(tree));
	tree->work->report.unnamed++;
	if (!S_ISDIR(info->mode)) {
		error = node_copy(tree->work, tree->work->lost_found, name, info, path_text(tree));
		info->flags |= INFO_COPIED;
		return error;
	}
	error = make_directory(tree, tree->work->lost_found, name, info);
	return error == 0 && tree->depth > depth ? fill(tree) : error;
}

/* Something that the tree has not reached: `directories`, of which those without a name go first. */
static int copy_rest(struct tree *tree, bool directories, bool with_names)
{
	struct work *work = tree->work;
	int error = 0;

	for (size_t i = 0; error == 0 && i < work->infos; i++) {
		struct info *info = &work->info[i];

		if ((info->flags & (INFO_DAMAGED | INFO_COPIED)) != 0 || info->ino < FMT_INO_FIRST_FREE ||
		    S_ISDIR(info->mode) != directories || (info->nlink == 0 && info->names == 0) ||
		    (!with_names && info->names > 0))
			continue;
		error = copy_unnamed(tree, info);
	}
	return error;
}

/* Of a directory whose inode is damaged, what is in it, if the pages that name it are there: lost+found/#INO. */
static int copy_lost_directory(struct tree *tree, uint64_t ino)
{
	struct children children;
	char name[24];
	int fd = -1;
	int error = children_read_lost(tree->work, ino, &children);
	bool any = false;

	for (size_t i = 0; error == 0 && i < children.count && !any; i++) {
		const struct info *info = inodes_find(tree->work, children.child[i].ino);

		any = info != NULL && (info->flags & (INFO_DAMAGED | INFO_COPIED)) == 0 && info->names == 0 &&
		      info->generation == children.child[i].generation;
	}
	if (error == 0 && any)
		error = unnamed_path(tree, ino, name);
	if (error == 0 && any) {
		rescue_lost(tree->work, "%s: this directory has lost its name, owner and mode", path_text(tree));
		tree->work->report.directories++;
		tree->work->report.unnamed++;
		error = make_directory(tree, tree->work->lost_found, name, NULL);
		fd = openat(tree->work->lost_found, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	}
	if (fd >= 0) {
		error = push(tree, fd, NULL, &children);
		if (error == 0)
			return fill(tree);
		close(fd);
	}
	children_free(&children);
	return error;
}

static int copy_lost_directories(struct tree *tree)
{
	struct work *work = tree->work;
	uint64_t last = FMT_INO_ROOT;
	int error = 0;

	for (size_t i = 0; error == 0 && i < work->pages; i++) {
		const struct page_info *page = &work->page[i];
		const struct info *info = inodes_find(work, page->owner);

		if (!page->accepted || page->kind != FMT_KIND_ENTRIES || page->owner == last ||
		    (info != NULL && (info->flags & INFO_DAMAGED) == 0))
			continue;
		last = page->owner;
		error = copy_lost_directory(tree, last);
	}
	return error;
}

/* ---- All ---- */

/* The root: if its inode is damaged, its names are in pages that say that they are its. */
static int copy_root(struct tree *tree)
{
	struct work *work = tree->work;
	struct info *root = inodes_find(work, FMT_INO_ROOT);
	int fd = fcntl(work->target, F_DUPFD_CLOEXEC, 0);
	struct children children;
	int error;

	if (fd < 0)
		return -errno;
	if (root == NULL || (root->flags & INFO_DAMAGED) != 0 || !S_ISDIR(root->mode)) {
		root = NULL;
		rescue_lost(work, "/: the inode of the root is damaged: its owner and mode are lost, and maybe names");
		error = children_read_lost(work, FMT_INO_ROOT, &children);
	} else {
		root->flags |= INFO_COPIED;
		error = children_read(work, root, &children);
		if (error == 0 && children.gap)
			rescue_lost(work, "/: some of the names in this directory are lost");
	}
	place_choose(work, &children);
	if (error == 0)
		error = push(tree, fd, NULL, &children);
	if (error == 0)
		return fill(tree);
	children_free(&children);
	close(fd);
	return error;
}

/* When nothing comes to it, or goes, any more. */
static void finish_root(struct work *work)
{
	struct fmt_inode inode;

	if (inode_read(work, FMT_INO_ROOT, &inode) == 0 && S_ISDIR(inode.mode))
		attributes_copy(work, work->target, -1, NULL, &inode, "/");
}

int tree_copy(struct work *work)
{
	struct tree tree = {.work = work};
	int error = place_open(work);

	if (error != 0)
		return error;
	error = copy_root(&tree);
	if (error == 0)
		error = copy_lost_directories(&tree);
	if (error == 0)
		error = copy_rest(&tree, true, false);
	if (error == 0)
		error = copy_rest(&tree, true, true);
	if (error == 0)
		error = copy_rest(&tree, false, true);
	place_close(work);
	if (error == 0)
		finish_root(work);
	close(work->target);
	free(tree.frame);
	free(tree.path);
	return error;
}
