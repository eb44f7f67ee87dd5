/* What the tests of POSIX ACLs share: ACLs as text, the biggest one, setting them. */
#ifndef PINFS_TEST_FS_ACL_H
#define PINFS_TEST_FS_ACL_H

#include "fs/acl.h"
#include "fs_pool.h"

#define HEADER 4u

/* ---- ACLs as text: "u7 U1000:6 g5 G20:4 m7 o0", capitals are named users and groups ---- */

static inline size_t build(struct fmt_acl *acl, const char *text)
{
	static const char letters[] = "uUgGmo";
	char *words = strdup(text), *state = NULL;
	size_t count = 0;

	assert_non_null(words);
	memset(acl, 0, sizeof(*acl));
	acl->version = FMT_ACL_VERSION;
	for (char *word = strtok_r(words, " ", &state); word != NULL; word = strtok_r(NULL, " ", &state)) {
		struct fmt_acl_entry *entry = &acl->entry[count++];
		const char *colon = strchr(word, ':');

		entry->tag = (uint16_t)(1u << (strchr(letters, word[0]) - letters));
		entry->id = colon != NULL ? (uint32_t)strtoul(word + 1, NULL, 10) : FMT_ACL_NO_ID;
		entry->perm = (uint16_t)strtoul(colon != NULL ? colon + 1 : word + 1, NULL, 8);
	}
	free(words);
	return HEADER + count * sizeof(struct fmt_acl_entry);
}

/* A default or access ACL with as many entries as there can be. */
static inline size_t build_biggest(struct fmt_acl *acl)
{
	size_t count = 0;

	acl->version = FMT_ACL_VERSION;
	acl->entry[count++] = (struct fmt_acl_entry){FMT_ACL_USER_OBJ, 7, FMT_ACL_NO_ID};
	while (count < FMT_ACL_ENTRIES_MAX - 3) {
		acl->entry[count] = (struct fmt_acl_entry){FMT_ACL_USER, count & 7, (uint32_t)count};
		count++;
	}
	acl->entry[count++] = (struct fmt_acl_entry){FMT_ACL_GROUP_OBJ, 5, FMT_ACL_NO_ID};
	acl->entry[count++] = (struct fmt_acl_entry){FMT_ACL_MASK, 7, FMT_ACL_NO_ID};
	acl->entry[count++] = (struct fmt_acl_entry){FMT_ACL_OTHER, 1, FMT_ACL_NO_ID};
	return HEADER + count * sizeof(struct fmt_acl_entry);
}

static inline int set(struct pool *pool, uint64_t ino, const char *name, const char *text, int flags)
{
	struct fmt_acl acl;
	size_t length = build(&acl, text);

	return fs_setxattr(pool->fs, ino, name, &acl, length, flags);
}

static inline int set_access(struct pool *pool, uint64_t ino, const char *text)
{
	return set(pool, ino, FMT_ACL_ACCESS, text, 0);
}

static inline int set_default(struct pool *pool, uint64_t ino, const char *text)
{
	return set(pool, ino, FMT_ACL_DEFAULT, text, 0);
}

static inline int change_mode(struct pool *pool, uint64_t ino, mode_t mode)
{
	struct fs_setattr changes = {.valid = FS_SET_MODE, .attr.st_mode = mode};
	struct stat attr;

	return fs_setattr(pool->fs, ino, &changes, NULL, &attr);
}

#endif
