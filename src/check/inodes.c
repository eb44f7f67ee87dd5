/* What the scan sees of inodes: a table in memory, and what can be said of each inode by itself (I3). */
#include "check/walk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NSEC_MAX 999999999u

static int compare_inodes(const void *a, const void *b)
{
	uint64_t left = ((const struct check_inode *)a)->ino;
	uint64_t right = ((const struct check_inode *)b)->ino;

	return left < right ? -1 : left > right;
}

struct check_inode *check_inode_find(struct check *check, uint64_t ino)
{
	struct check_inode key = {.ino = ino};

	if (check->inodes == 0)
		return NULL;
	return bsearch(&key, check->inode, check->inodes, sizeof(key), compare_inodes);
}

/* The scan goes through the pool in order, so an inode is the last one, or a new one after it. */
int check_inode_seen(struct check *check, const struct fmt_inode *media, struct check_inode **ret_inode)
{
	struct check_inode *inode;
	int ret;

	if (check->inodes > 0 && check->inode[check->inodes - 1].ino >= media->ino) {
		inode = check_inode_find(check, media->ino);
		if (inode == NULL)
			return -EUCLEAN;
		*ret_inode = inode;
		return 0;
	}
	ret = check_grow(&check->inode, &check->inode_capacity, check->inodes, sizeof(*inode));
	if (ret < 0)
		return ret;
	inode = &check->inode[check->inodes++];
	*inode = (struct check_inode){
		.ino = media->ino,
		.size = media->size,
		.parent = S_ISDIR(media->mode) ? media->parent : FMT_INO_NONE,
		.named_by = CHECK_NO_INDEX,
		.mode = media->mode,
		.nlink = media->nlink,
		.generation = media->generation,
		.intent = (media->flags & FMT_INODE_INTENT) != 0,
		.values = media->xattrs.count != 0 || media->xattrs.height != 0,
	};
	*ret_inode = inode;
	return 0;
}

/* What no file of that type has; NULL if there is nothing to be said against the inode. */
static const char *implausible(const struct fmt_inode *inode)
{
	bool map = inode->body.count != 0 || inode->body.height != 0;

	if (inode->mtime_nsec > NSEC_MAX || inode->ctime_nsec > NSEC_MAX || inode->atime_nsec > NSEC_MAX ||
	    inode->btime_nsec > NSEC_MAX)
		return "a time has more than 999999999 nanoseconds";
	if (inode->nlink > FMT_LINK_MAX)
		return "its link count is too high";
	if ((inode->flags & ~(FMT_INODE_INTENT | FMT_INODE_USER)) != 0)
		return "unknown flags are set";
	if ((inode->flags & FMT_INODE_USER & ~fmt_user_flags(inode->mode)) != 0)
		return "it has a flag that its type does not take";
	if (inode->body.height > FMT_MAP_HEIGHT_MAX || inode->xattrs.height > FMT_MAP_HEIGHT_MAX)
		return "a map is too high";
	if (S_ISREG(inode->mode)) {
		if (inode->size > FMT_FILE_SIZE_MAX)
			return "its size is too big";
		if ((inode->flags & FMT_INODE_INTENT) != 0 && inode->intent_start >= inode->intent_end)
			return "its intent is of no bytes";
		return NULL;
	}
	if (inode->blocks != 0)
		return "it has blocks and is not a file";
	if ((inode->flags & FMT_INODE_INTENT) != 0)
		return "it has an intent and is not a file";
	if (S_ISDIR(inode->mode) || S_ISLNK(inode->mode))
		return NULL;
	if (inode->size != 0 || map)
		return "a special file has content";
	if (!S_ISCHR(inode->mode) && !S_ISBLK(inode->mode) && !S_ISFIFO(inode->mode) && !S_ISSOCK(inode->mode))
		return "its type is unknown";
	return NULL;
}

static void count_inode(struct check *check, const struct fmt_inode *inode)
{
	check->report.inodes++;
	if (S_ISDIR(inode->mode))
		check->report.directories++;
	else if (S_ISREG(inode->mode))
		check->report.files++;
	else if (S_ISLNK(inode->mode))
		check->report.symlinks++;
	else
		check->report.others++;
}

static int visit_inode(void *arg, const struct fmt_inode *media)
{
	struct check *check = arg;
	struct check_inode *inode;
	const char *what;
	int ret;

	check_step(check);
	ret = check_inode_seen(check, media, &inode);
	if (ret < 0)
		return ret;
	if (check_reserved(media->ino)) /* internal: no name, no type that a user would see */
		return 0;
	count_inode(check, media);
	what = implausible(media);
	if (what != NULL)
		check_error(check, "I3", media->ino, "%s", what);
	return 0;
}

static int visit_extent(void *arg, const struct fmt_inode *media, const struct meta_extent *extent)
{
	struct check *check = arg;

	check_step(check);
	return check_extent_seen(check, media, extent);
}

static int visit_damage(void *arg, const char *invariant, uint64_t ino, const char *what)
{
	struct check *check = arg;
	struct check_inode *inode;

	check_error(check, invariant, ino, "%s", what);
	inode = ino != FMT_INO_NONE ? check_inode_find(check, ino) : NULL;
	if (inode != NULL) {
		inode->damaged = true;
		inode->tangled |= strcmp(invariant, "I4") == 0 || strcmp(invariant, "I6") == 0;
	}
	return 0;
}

int check_scan(struct check *check, struct message *message)
{
	struct message words = {{0}};
	int ret;

	check->visitor = (struct meta_visitor){
		.inode = visit_inode,
		.extent = visit_extent,
		.damage = visit_damage,
		.arg = check,
	};
	check_phase(check, "inodes");
	ret = meta_scan(check->meta, &check->visitor, &words);
	if (ret == -EUCLEAN) {
		check_error(check, "I2", 0, "the scan of the meta part ended early: %s", words.text);
		check->report.unreadable = true;
		return 0;
	}
	if (ret < 0)
		message_set(message, "%s", words.text);
	return ret;
}
