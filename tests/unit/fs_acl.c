/*
 * POSIX ACLs: what is taken for one, what setting one, chmod and making an inode do to mode and ACL, and that a crash
 * or want of space leaves the old state or the new one. Each test's pool is checked in the end: mode and ACL agree
 * (I29).
 */
#include "fs_acl.h"

#include <sys/xattr.h>

/* The stored ACL is `text`, or there is none (NULL). */
static void expect_acl(struct pool *pool, uint64_t ino, const char *name, const char *text)
{
	struct fmt_acl want, have;
	ssize_t length = fs_getxattr(pool->fs, ino, name, &have, sizeof(have));

	if (text == NULL) {
		assert_int_equal(length, -ENODATA);
		return;
	}
	assert_int_equal(length, build(&want, text));
	assert_memory_equal(&have, &want, (size_t)length);
}

static void expect(struct pool *pool, uint64_t ino, mode_t mode, const char *access)
{
	assert_int_equal(attr_of(pool, ino).st_mode & 07777, mode);
	expect_acl(pool, ino, FMT_ACL_ACCESS, access);
}

/* ---- What is an ACL ---- */

static void test_form(void **state)
{
	static const char *const good[] = {
		"u7 g5 o0", "u0 g0 m0 o0", "u7 U1:7 g5 m7 o0", "u7 g5 G1:4 m7 o0", "u6 U1:0 U1:7 g0 G1:1 G2:2 m3 o4",
	};
	static const char *const bad[] = {
		"u7",
		"u7 g5",
		"g5 o0",
		"u7 o0",
		"u7 g5 o0 o0",
		"u7 u7 g5 o0",
		"u7 g5 g5 o0",
		"u7 g5 m7 m7 o0",
		"u7 U1:7 g5 o0",
		"u7 g5 G1:7 o0",
		"u7 g5 o0 m7",
		"U1:7 u7 g5 m7 o0",
		"u7 g5 U1:7 m7 o0",
		"u7 G1:7 g5 m7 o0",
		"u10 g5 o0",
		"u7 g15 o0",
		"u7 U4294967295:7 g5 m7 o0",
		"u7 g5 G4294967295:7 m7 o0",
	};
	struct fmt_acl acl;
	size_t length;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		length = build(&acl, good[i]);
		assert_true(fmt_acl_valid(&acl, length));
		assert_false(fmt_acl_valid(&acl, length - 1));
		assert_false(fmt_acl_valid(&acl, length + 1));
		assert_false(fmt_acl_valid(&acl, length - 8));
		acl.version = 1;
		assert_false(fmt_acl_valid(&acl, length));
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		length = build(&acl, bad[i]);
		if (fmt_acl_valid(&acl, length))
			fail_msg("%s is taken for an ACL", bad[i]);
	}
}

static void test_form_edges(void **state)
{
	struct fmt_acl acl;
	size_t length = build(&acl, "u7 g5 o0");

	(void)state;
	acl.entry[1].tag = FMT_ACL_GROUP_OBJ | FMT_ACL_GROUP;
	assert_false(fmt_acl_valid(&acl, length));
	acl.entry[1].tag = 0x40;
	assert_false(fmt_acl_valid(&acl, length));
	assert_false(fmt_acl_valid(&acl, 0));
	assert_false(fmt_acl_valid(&acl, HEADER));
	length = build_biggest(&acl);
	assert_int_equal(length, sizeof(acl));
	assert_true(fmt_acl_valid(&acl, length));
	assert_false(fmt_acl_valid(&acl, length + 8));
}

/* Said once more, as a list of what must be where. */
static bool reference_valid(const unsigned char *bytes, size_t length)
{
	unsigned count[6] = {0}, rank = 0;
	uint32_t version;

	if (length < HEADER || (length - HEADER) % 8 != 0 || length > sizeof(struct fmt_acl))
		return false;
	memcpy(&version, bytes, sizeof(version));
	if (version != 2)
		return false;
	for (size_t at = HEADER; at < length; at += 8) {
		struct fmt_acl_entry entry;
		unsigned kind;

		memcpy(&entry, bytes + at, sizeof(entry));
		for (kind = 0; kind < 6 && entry.tag != 1u << kind; kind++)
			;
		if (kind == 6 || kind < rank || entry.perm > 7)
			return false;
		if ((kind == 1 || kind == 3) && entry.id == UINT32_MAX)
			return false;
		rank = kind;
		count[kind]++;
	}
	return count[0] == 1 && count[2] == 1 && count[5] == 1 && count[4] <= 1 &&
	       (count[4] == 1 || count[1] + count[3] == 0);
}

static uint64_t random_state = 88172645463325252ull;

static unsigned random_below(unsigned limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (unsigned)(random_state >> 20) % limit;
}

/* Entries that are mostly right; then, mostly, a little damage, or bytes that never were an ACL. */
static size_t random_acl(unsigned char *bytes)
{
	struct fmt_acl_entry entry[16];
	size_t count = 0, length;

	for (unsigned kind = 0; kind < 6; kind++) {
		unsigned times = kind % 2 == 1 && kind != 5 ? random_below(4) : random_below(8) != 0;

		for (unsigned i = 0; i < times; i++)
			entry[count++] = (struct fmt_acl_entry){(uint16_t)(1u << kind), (uint16_t)random_below(8),
								random_below(3000)};
	}
	length = HEADER + count * sizeof(entry[0]);
	memcpy(bytes, &(uint32_t){2}, HEADER);
	memcpy(bytes + HEADER, entry, count * sizeof(entry[0]));
	if (random_below(3) == 0)
		bytes[random_below((unsigned)length)] ^= (unsigned char)(1u << random_below(8));
	if (random_below(16) == 0)
		length = random_below((unsigned)length + 1);
	if (random_below(16) == 0) {
		length = random_below(5000);
		for (size_t i = 0; i < length; i++)
			bytes[i] = (unsigned char)random_below(256);
	}
	return length;
}

static void test_random_bytes(void **state)
{
	static unsigned char bytes[5000], stored[5000];
	struct pool *pool = *state;
	unsigned taken = 0, access_only = 0;
	uint64_t dir;

	assert_int_equal(make_kept(pool, ROOT, "dir", S_IFDIR | 0755, &dir), 0);
	for (unsigned i = 0; i < 20000; i++) {
		const char *name = i % 2 == 0 ? FMT_ACL_ACCESS : FMT_ACL_DEFAULT;
		size_t length = random_acl(bytes);
		bool none = length == HEADER && memcmp(bytes, &(uint32_t){2}, HEADER) == 0;
		int error = fs_setxattr(pool->fs, dir, name, bytes, length, 0);
		ssize_t got;

		if (none || reference_valid(bytes, length)) {
			assert_int_equal(error, 0);
			got = fs_getxattr(pool->fs, dir, name, stored, sizeof(stored));
			assert_true(got == (ssize_t)length || got == -ENODATA);
			taken += got > 0;
			access_only += got < 0 && i % 2 == 0;
		} else {
			assert_int_equal(error, length > sizeof(struct fmt_acl) ? -E2BIG : -EINVAL);
		}
	}
	assert_true(taken > 2000 && access_only > 50);
}

/* ---- Setting ---- */

static void test_access(void **state)
{
	struct pool *pool = *state;
	uint64_t file;

	assert_int_equal(make_kept(pool, ROOT, "file", S_IFREG | 04640, &file), 0);
	expect(pool, file, 04640, NULL);
	/* What says no more than the mode is the mode. */
	assert_int_equal(set_access(pool, file, "u7 g5 o1"), 0);
	expect(pool, file, 04751, NULL);
	assert_int_equal(fs_listxattr(pool->fs, file, true, NULL, 0), 0);
	assert_int_equal(set_access(pool, file, "u6 U1000:6 g4 m7 o0"), 0);
	expect(pool, file, 04670, "u6 U1000:6 g4 m7 o0");
	assert_int_equal(fs_listxattr(pool->fs, file, false, NULL, 0), sizeof(FMT_ACL_ACCESS));
	/* A mask alone says more: the group has less than the mode seems to say. */
	assert_int_equal(set_access(pool, file, "u6 g4 m2 o0"), 0);
	expect(pool, file, 04620, "u6 g4 m2 o0");
	pool_remount(pool);
	expect(pool, file, 04620, "u6 g4 m2 o0");
	/* Replaced by a plain one it is gone. */
	assert_int_equal(set_access(pool, file, "u6 g4 o0"), 0);
	expect(pool, file, 04640, NULL);
	assert_int_equal(fs_removexattr(pool->fs, file, FMT_ACL_ACCESS), 0);
	/* Removing it leaves the mode. */
	assert_int_equal(set_access(pool, file, "u6 g4 G7:1 m6 o0"), 0);
	assert_int_equal(fs_removexattr(pool->fs, file, FMT_ACL_ACCESS), 0);
	expect(pool, file, 04660, NULL);
	assert_int_equal(set_access(pool, file, "u6 g4 G7:1 m5 o0"), 0);
	assert_int_equal(set_access(pool, file, ""), 0);
	expect(pool, file, 04650, NULL);
	assert_int_equal(set_access(pool, file, ""), 0);
	assert_int_equal(fs_unlink(pool->fs, ROOT, "file"), 0);
}

static void test_access_flags(void **state)
{
	struct pool *pool = *state;
	struct fmt_acl acl;
	uint64_t file;
	size_t length;

	assert_int_equal(make_kept(pool, ROOT, "file", S_IFREG | 02755, &file), 0);
	/* The kernel passes no flags on; whether one is stored is not for the caller to see. */
	assert_int_equal(set(pool, file, FMT_ACL_ACCESS, "u7 g5 m5 o5", XATTR_REPLACE), 0);
	assert_int_equal(set(pool, file, FMT_ACL_ACCESS, "u7 g5 m7 o5", XATTR_CREATE), 0);
	expect(pool, file, 02775, "u7 g5 m7 o5");
	assert_int_equal(set(pool, file, FMT_ACL_ACCESS, "u7 g5 m7 o5", XATTR_CREATE | XATTR_REPLACE), -EINVAL);
	assert_int_equal(set(pool, file, FMT_ACL_ACCESS, "u7 g5 m7 o4", FS_XATTR_KILL_SETGID), 0);
	expect(pool, file, 0774, "u7 g5 m7 o4");
	/* Ids of entries that have none come back as the kernel writes them; values need not be aligned. */
	length = build(&acl, "u7 U5:1 g5 m7 o0");
	acl.entry[0].id = acl.entry[3].id = 99;
	memmove((char *)&acl + 1, &acl, length);
	assert_int_equal(fs_setxattr(pool->fs, file, FMT_ACL_ACCESS, (char *)&acl + 1, length, 0), 0);
	expect(pool, file, 0770, "u7 U5:1 g5 m7 o0");
}

static void test_biggest(void **state)
{
	struct pool *pool = *state;
	struct fmt_acl acl, stored;
	unsigned char longer[sizeof(acl) + 8] = {2};
	uint64_t dir, sub;

	assert_int_equal(make_kept(pool, ROOT, "dir", S_IFDIR | 0700, &dir), 0);
	(void)build_biggest(&acl);
	assert_int_equal(fs_setxattr(pool->fs, dir, FMT_ACL_ACCESS, &acl, sizeof(acl), 0), 0);
	assert_int_equal(fs_setxattr(pool->fs, dir, FMT_ACL_DEFAULT, &acl, sizeof(acl), 0), 0);
	assert_int_equal(attr_of(pool, dir).st_mode & 0777, 0771);
	assert_int_equal(fs_setxattr(pool->fs, dir, FMT_ACL_ACCESS, longer, sizeof(longer), 0), -E2BIG);
	assert_int_equal(make_kept(pool, dir, "sub", S_IFDIR | 0770, &sub), 0);
	assert_int_equal(attr_of(pool, sub).st_mode & 0777, 0770);
	assert_int_equal(change_mode(pool, dir, 0711), 0);
	pool_remount(pool);
	assert_int_equal(fs_getxattr(pool->fs, sub, FMT_ACL_DEFAULT, &stored, sizeof(stored)), sizeof(acl));
	assert_memory_equal(&stored, &acl, sizeof(acl));
	acl.entry[FMT_ACL_ENTRIES_MAX - 1].perm = 0;
	assert_int_equal(fs_getxattr(pool->fs, sub, FMT_ACL_ACCESS, &stored, sizeof(stored)), sizeof(acl));
	assert_memory_equal(&stored, &acl, sizeof(acl));
	acl.entry[FMT_ACL_ENTRIES_MAX - 1].perm = 1;
	acl.entry[FMT_ACL_ENTRIES_MAX - 2].perm = 1;
	assert_int_equal(fs_getxattr(pool->fs, dir, FMT_ACL_ACCESS, &stored, sizeof(stored)), sizeof(acl));
	assert_memory_equal(&stored, &acl, sizeof(acl));
}

static void test_default(void **state)
{
	struct pool *pool = *state;
	uint64_t dir, file, link;

	assert_int_equal(make_kept(pool, ROOT, "dir", S_IFDIR | 02750, &dir), 0);
	assert_int_equal(make_kept(pool, ROOT, "file", S_IFREG | 0640, &file), 0);
	assert_int_equal(make_kept(pool, ROOT, "link", S_IFLNK | 0777, &link), 0);
	/* Also one that a mode could say; the directory's own mode stays, setgid too. */
	assert_int_equal(set(pool, dir, FMT_ACL_DEFAULT, "u7 g7 o7", FS_XATTR_KILL_SETGID), 0);
	expect_acl(pool, dir, FMT_ACL_DEFAULT, "u7 g7 o7");
	expect(pool, dir, 02750, NULL);
	assert_int_equal(change_mode(pool, dir, 0700), 0);
	expect_acl(pool, dir, FMT_ACL_DEFAULT, "u7 g7 o7");
	assert_int_equal(set_default(pool, dir, ""), 0);
	expect_acl(pool, dir, FMT_ACL_DEFAULT, NULL);
	assert_int_equal(set_default(pool, dir, "u7 g7 m1 o7"), 0);
	assert_int_equal(fs_removexattr(pool->fs, dir, FMT_ACL_DEFAULT), 0);
	assert_int_equal(fs_removexattr(pool->fs, dir, FMT_ACL_DEFAULT), 0);
	assert_int_equal(fs_removexattr(pool->fs, link, FMT_ACL_DEFAULT), -EOPNOTSUPP);
	assert_int_equal(set_default(pool, file, "u7 g7 o7"), -EACCES);
	assert_int_equal(set_default(pool, file, ""), 0);
	assert_int_equal(set_default(pool, file, "u7 g7"), -EINVAL);
	assert_int_equal(set_access(pool, link, "u7 g7 o7"), -EOPNOTSUPP);
	assert_int_equal(set_default(pool, link, "u7 g7 o7"), -EOPNOTSUPP);
	expect(pool, file, 0640, NULL);
	assert_int_equal(set_access(pool, 4711, "u7 g7 o7"), -ESTALE);
}

static void test_ctime(void **state)
{
	struct pool *pool = *state;
	struct fs_setattr old = {.valid = FS_SET_CTIME | FS_SET_MTIME};
	static const char *const texts[] = {"u7 g5 m5 o5", "u7 g5 o5", ""};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		assert_int_equal(fs_setattr(pool->fs, ROOT, &old, NULL, &(struct stat){0}), 0);
		assert_int_equal(attr_of(pool, ROOT).st_ctim.tv_sec, 0);
		assert_int_equal(set_access(pool, ROOT, texts[i]), 0);
		assert_true(attr_of(pool, ROOT).st_ctim.tv_sec > 0);
		assert_int_equal(attr_of(pool, ROOT).st_mtim.tv_sec, 0);
	}
}

/* ---- chmod ---- */

static void test_chmod(void **state)
{
	struct pool *pool = *state;
	struct fs_setattr both = {.valid = FS_SET_MODE | FS_SET_SIZE, .attr = {.st_mode = 0606, .st_size = 7}};
	struct stat attr;
	uint64_t file;

	assert_int_equal(make_kept(pool, ROOT, "file", S_IFREG | 0640, &file), 0);
	assert_int_equal(set_access(pool, file, "u6 U1000:6 g4 G5:5 m6 o0"), 0);
	assert_int_equal(change_mode(pool, file, 0600), 0);
	expect(pool, file, 0600, "u6 U1000:6 g4 G5:5 m0 o0");
	assert_int_equal(change_mode(pool, file, 07175), 0);
	expect(pool, file, 07175, "u1 U1000:6 g4 G5:5 m7 o5");
	assert_int_equal(change_mode(pool, file, 0175), 0);
	expect(pool, file, 0175, "u1 U1000:6 g4 G5:5 m7 o5");
	/* With a size in the same request. */
	assert_int_equal(fs_setattr(pool->fs, file, &both, NULL, &attr), 0);
	assert_int_equal(attr.st_mode, S_IFREG | 0606);
	assert_int_equal(attr.st_size, 7);
	expect(pool, file, 0606, "u6 U1000:6 g4 G5:5 m0 o6");
	both.attr.st_size = 0;
	both.attr.st_mode = 0660;
	assert_int_equal(fs_removexattr(pool->fs, file, FMT_ACL_ACCESS), 0);
	assert_int_equal(fs_setxattr(pool->fs, file, "user.other", "x", 1, 0), 0);
	assert_int_equal(fs_setattr(pool->fs, file, &both, NULL, &attr), 0);
	assert_int_equal(attr.st_size, 0);
	expect(pool, file, 0660, NULL);
}

/* ---- Making ---- */

struct making {
	const char *parent; /* its default ACL; NULL: none */
	mode_t mode;
	mode_t umask;
	mode_t want;
	const char *access;
};

static const struct making makings[] = {
	{NULL, 0666, 022, 0644, NULL},
	{NULL, 07777, 0777, 07000, NULL},
	{NULL, 0666, 07000, 0666, NULL},
	/* The umask does not count. */
	{"u7 g7 o7", 0666, 077, 0666, NULL},
	{"u7 g5 o0", 0666, 0, 0640, NULL},
	{"u7 g5 o0", 0777, 0, 0750, NULL},
	{"u7 g0 o0", 0070, 0, 0000, NULL},
	{"u7 g7 m5 o1", 0777, 077, 0751, "u7 g7 m5 o1"},
	{"u7 g7 m5 o1", 0600, 0, 0600, "u6 g7 m0 o0"},
	{"u7 U1000:7 g5 m7 o0", 0644, 077, 0640, "u6 U1000:7 g5 m4 o0"},
	{"u5 U1000:7 g5 G9:7 m1 o4", 01777, 0, 01514, "u5 U1000:7 g5 G9:7 m1 o4"},
};

static void make_one(struct pool *pool, uint64_t parent, const struct making *making, mode_t type)
{
	struct fs_make new = {.mode = type | making->mode, .umask = making->umask, .target = "target"};
	struct fs_entry entry = {.ino = 0};

	assert_int_equal(fs_make(pool->fs, parent, "new", &new, &pool_cred, &entry), 0);
	if (type == S_IFLNK) {
		assert_int_equal(entry.attr.st_mode & 07777, making->mode);
		expect_acl(pool, entry.ino, FMT_ACL_ACCESS, NULL);
	} else {
		assert_int_equal(entry.attr.st_mode, type | making->want);
		expect(pool, entry.ino, making->want, making->access);
	}
	expect_acl(pool, entry.ino, FMT_ACL_DEFAULT, type == S_IFDIR ? making->parent : NULL);
	if (type == S_IFDIR)
		assert_int_equal(fs_rmdir(pool->fs, parent, "new"), 0);
	else
		assert_int_equal(fs_unlink(pool->fs, parent, "new"), 0);
	fs_forget(pool->fs, entry.ino, 1);
}

static void test_make(void **state)
{
	static const mode_t types[] = {S_IFREG, S_IFDIR, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFLNK};
	struct pool *pool = *state;
	uint64_t dir;

	assert_int_equal(make_kept(pool, ROOT, "dir", S_IFDIR | 0700, &dir), 0);
	for (size_t i = 0; i < ARRAY_SIZE(makings); i++) {
		assert_int_equal(set_default(pool, dir, makings[i].parent != NULL ? makings[i].parent : ""), 0);
		for (size_t j = 0; j < ARRAY_SIZE(types); j++)
			make_one(pool, dir, &makings[i], types[j]);
		/* With another xattr it is not the count alone that says no. */
		assert_int_equal(fs_setxattr(pool->fs, dir, "user.x", "x", 1, 0), 0);
		make_one(pool, dir, &makings[i], S_IFREG);
		assert_int_equal(fs_removexattr(pool->fs, dir, "user.x"), 0);
	}
}

/* A setgid directory: its group and, for directories, the bit come with the default ACL. */
static void test_make_setgid(void **state)
{
	struct pool *pool = *state;
	struct fs_make new = {.mode = S_IFDIR | 02770, .umask = 022};
	struct fs_cred other = {.uid = 1, .gid = 2};
	struct fs_entry dir, sub;

	assert_int_equal(fs_make(pool->fs, ROOT, "dir", &new, &pool_cred, &dir), 0);
	assert_int_equal(dir.attr.st_mode & 07777, 02750);
	assert_int_equal(set_default(pool, dir.ino, "u7 U101:7 g5 m7 o0"), 0);
	new.mode = S_IFDIR | 0777;
	assert_int_equal(fs_make(pool->fs, dir.ino, "sub", &new, &other, &sub), 0);
	assert_int_equal(sub.attr.st_mode & 07777, 02770);
	assert_int_equal(sub.attr.st_gid, pool_cred.gid);
}

/* ---- A full pool ---- */

static void fill(struct pool *pool, uint64_t ino)
{
	static const size_t lengths[] = {FMT_XATTR_VALUE_MAX, 5000, 3000, 400, 1};
	static char value[FMT_XATTR_VALUE_MAX];
	char name[32];

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		int error = 0;

		for (unsigned n = 0; error == 0; n++) {
			(void)snprintf(name, sizeof(name), "user.%zu.%u", i, n);
			error = fs_setxattr(pool->fs, ino, name, value, lengths[i], 0);
		}
		assert_int_equal(error, -ENOSPC);
	}
}

static void test_full(void **state)
{
	struct pool *pool = *state;
	struct fs_make new = {.mode = S_IFREG | 0666};
	uint64_t filler, file, with, dir;
	struct fs_entry entry;

	assert_int_equal(make_kept(pool, ROOT, "filler", S_IFREG | 0600, &filler), 0);
	assert_int_equal(make_kept(pool, ROOT, "file", S_IFREG | 0700, &file), 0);
	assert_int_equal(make_kept(pool, ROOT, "with", S_IFREG | 0700, &with), 0);
	assert_int_equal(make_kept(pool, ROOT, "dir", S_IFDIR | 0700, &dir), 0);
	assert_int_equal(set_access(pool, with, "u7 U5:5 g7 m7 o0"), 0);
	assert_int_equal(set_default(pool, dir, "u7 U5:5 g7 m7 o0"), 0);
	fill(pool, filler);
	assert_int_equal(set_access(pool, file, "u7 g0 m4 o0"), -ENOSPC);
	expect(pool, file, 0700, NULL);
	assert_int_equal(set_access(pool, file, "u6 g4 o0"), 0);
	expect(pool, file, 0640, NULL);
	assert_int_equal(fs_make(pool->fs, dir, "new", &new, &pool_cred, &entry), -ENOSPC);
	assert_int_equal(find_error(pool, dir, "new"), -ENOENT);
	assert_int_equal(change_mode(pool, with, 0755), 0);
	expect(pool, with, 0755, "u7 U5:5 g7 m5 o5");
	assert_int_equal(set_access(pool, with, "u6 g4 o0"), 0);
	expect(pool, with, 0640, NULL);
	assert_int_equal(fs_removexattr(pool->fs, dir, FMT_ACL_DEFAULT), 0);
}

/* ---- Damage: never taken for less than it is ---- */

static void forge(struct pool *pool, uint64_t ino, const char *name, const void *value, size_t length)
{
	const struct fmt_inode *media;
	struct meta_tx *tx;

	assert_int_equal(meta_inode_get(pool->fs->meta, ino, &media), 0);
	assert_int_equal(meta_begin(pool->fs->meta, 0, &tx), 0);
	assert_int_equal(meta_xattr_set(tx, media, name, strlen(name), value, length, 0), 0);
	assert_int_equal(meta_commit(tx), 0);
}

static void test_damaged(void **state)
{
	static const char long_value[6000];
	struct pool *pool = *state;
	uint64_t dir;

	assert_int_equal(make_kept(pool, ROOT, "dir", S_IFDIR | 0700, &dir), 0);
	forge(pool, dir, FMT_ACL_DEFAULT, "junk", 4);
	assert_int_equal(make(pool, dir, "new", S_IFREG | 0666), -EUCLEAN);
	pool_remount(pool); /* nothing was to be changed any more */
	assert_int_equal(find_error(pool, dir, "new"), -ENOENT);
	assert_int_equal(fs_removexattr(pool->fs, dir, FMT_ACL_DEFAULT), 0);
	forge(pool, dir, FMT_ACL_ACCESS, long_value, sizeof(long_value));
	assert_int_equal(change_mode(pool, dir, 0777), -EUCLEAN);
	pool_remount(pool);
	assert_int_equal(attr_of(pool, dir).st_mode & 0777, 0700);
	assert_int_equal(set_access(pool, dir, "u7 g7 o0"), 0);
	expect(pool, dir, 0770, NULL);
}

#define POOL_TEST(f) cmocka_unit_test_setup_teardown(f, pool_setup, pool_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_form),  cmocka_unit_test(test_form_edges),
		POOL_TEST(test_random_bytes), POOL_TEST(test_access),
		POOL_TEST(test_access_flags), POOL_TEST(test_biggest),
		POOL_TEST(test_default),      POOL_TEST(test_ctime),
		POOL_TEST(test_chmod),	      POOL_TEST(test_make),
		POOL_TEST(test_make_setgid),  POOL_TEST(test_full),
		POOL_TEST(test_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
