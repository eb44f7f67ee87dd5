/* Symlink targets (I19) and xattr values (I20) are whole, ACLs fit their inodes (I29). */
#include "check/walk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int check_symlink(struct check *check, const struct check_inode *inode, const struct fmt_inode *media)
{
	char target[FMT_SYMLINK_MAX + 1];
	ssize_t length;

	if (inode->damaged || inode->nlink == 0) /* reported; or being evicted, its target may be gone */
		return 0;
	length = meta_symlink_get(check->meta, media, target, sizeof(target));
	if (length == -EUCLEAN)
		check_error(check, "I19", inode->ino, "the target cannot be read");
	else if (length < 0)
		return (int)length;
	else if ((uint64_t)length != inode->size)
		check_error(check, "I19", inode->ino, "the target has %zd bytes, the size is %lu", length, inode->size);
	else if (memchr(target, '\0', (size_t)length) != NULL)
		check_error(check, "I19", inode->ino, "the target has a zero byte in it");
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* ACLs are obeyed by the kernel, which believes mode and ACL as they come: they must agree. */
static void judge_acl(struct check *check, const struct fmt_inode *inode, const char *name, const void *value,
		      size_t length)
{
	bool access = strcmp(name, FMT_ACL_ACCESS) == 0;
	uint32_t mode;

	if (!access && strcmp(name, FMT_ACL_DEFAULT) != 0)
		return;
	if (S_ISLNK(inode->mode) || (!access && !S_ISDIR(inode->mode)))
		check_error(check, "I29", inode->ino, "an ACL \"%s\" is where none can be", name);
	else if (!fmt_acl_valid(value, length))
		check_error(check, "I29", inode->ino, "the ACL \"%s\" has no right form", name);
	else if (access && !fmt_acl_mode(value, length, &mode))
		check_error(check, "I29", inode->ino, "the access ACL says no more than the mode");
	else if (access && mode != (inode->mode & 0777))
		check_error(check, "I29", inode->ino, "the access ACL stands for mode %03o, the mode is %03o", mode,
			    inode->mode & 0777);
}

static int judge_value(struct check *check, const struct fmt_inode *inode, const char *name, unsigned char *value)
{
	ssize_t length = meta_xattr_get(check->meta, inode, name, strlen(name), value, FMT_XATTR_VALUE_MAX);

	if (length == -EUCLEAN)
		check_error(check, "I20", inode->ino, "the value of xattr \"%s\" cannot be read", name);
	else if (length == -ENODATA)
		check_error(check, "I13", inode->ino, "xattr \"%s\" cannot be found by its name", name);
	else if (length == -ERANGE)
		check_error(check, "I20", inode->ino, "the value of xattr \"%s\" is too long", name);
	else if (length < 0)
		return (int)length;
	else
		judge_acl(check, inode, name, value, (size_t)length);
	return 0;
}

/* `list` has `length` bytes of terminated names, at least one; `sorted` has room for a pointer to each. */
static int judge_list(struct check *check, const struct fmt_inode *inode, char *list, size_t length, char **sorted)
{
	unsigned char *value;
	size_t count = 0, i;
	char *name;
	int ret = 0;

	for (name = list; name < list + length; name += strlen(name) + 1)
		sorted[count++] = name;
	qsort(sorted, count, sizeof(*sorted), compare_names);
	if (!check_reserved(inode->ino))
		check->report.xattrs += count;
	value = malloc(FMT_XATTR_VALUE_MAX);
	if (value == NULL)
		return -ENOMEM;
	for (i = 0; i < count && ret == 0; i++) {
		check_step(check);
		if (sorted[i][0] == '\0')
			check_error(check, "I14", inode->ino, "an xattr has no name");
		else if (i > 0 && strcmp(sorted[i - 1], sorted[i]) == 0)
			check_error(check, "I14", inode->ino, "there are two xattrs \"%s\"", sorted[i]);
		else
			ret = judge_value(check, inode, sorted[i], value);
	}
	free(value);
	return ret;
}

static size_t count_names(const char *list, size_t length)
{
	size_t count = 0, i;

	for (i = 0; i < length; i++)
		count += list[i] == '\0';
	return count;
}

int check_xattrs(struct check *check, const struct check_inode *inode, const struct fmt_inode *media)
{
	char **sorted = NULL;
	char *list = NULL;
	ssize_t length;
	int ret = 0;

	if (inode->tangled)
		return 0;
	length = meta_xattr_list(check->meta, media, NULL, NULL, 0);
	if (length > 0) {
		list = malloc((size_t)length + 1);
		if (list == NULL)
			return -ENOMEM;
		length = meta_xattr_list(check->meta, media, NULL, list, (size_t)length);
	}
	if (length == -EUCLEAN && !inode->damaged)
		check_error(check, "I20", inode->ino, "its xattrs cannot be read");
	else if (length < 0 && length != -EUCLEAN)
		ret = (int)length;
	if (length <= 0)
		goto free_list;
	list[length] = '\0';
	sorted = calloc(count_names(list, (size_t)length + 1), sizeof(*sorted));
	ret = sorted != NULL ? judge_list(check, media, list, (size_t)length, sorted) : -ENOMEM;
	free(sorted);
free_list:
	free(list);
	return ret;
}
