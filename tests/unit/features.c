/* Feature words: what sets them, what they say to who does not know them, and what such a pinfs may do with the pool.
 */
#include "fs_pool.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* ---- The superblock of a pool that is not mounted ---- */

struct edit {
	unsigned char *map;
	size_t size;
	struct fmt_super *super;
};

static void edit_begin(struct edit *edit, const struct pool *pool)
{
	const uint64_t magic = FMT_SUPER_MAGIC;
	int fd = open(pool->meta, O_RDWR | O_CLOEXEC);
	struct stat stat;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &stat), 0);
	edit->size = (size_t)stat.st_size;
	edit->map = mmap(NULL, edit->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(edit->map, MAP_FAILED);
	close(fd);
	edit->super = memmem(edit->map, edit->size, &magic, sizeof(magic));
	assert_non_null(edit->super);
	assert_true(fmt_super_valid(edit->super));
}

static void edit_end(struct edit *edit)
{
	fmt_super_seal(edit->super);
	munmap(edit->map, edit->size);
}

static const char *features(struct pool *pool)
{
	static struct fs_stats stats;

	fs_get_stats(pool->fs, &stats);
	return stats.features;
}

/* ---- Names ---- */

static void test_names(void **state)
{
	struct fmt_super super = {.magic = FMT_SUPER_MAGIC};
	struct fmt_feature_text room;

	(void)state;
	assert_string_equal(fmt_feature_all(&super, &room), "");
	assert_string_equal(fmt_feature_needs(&super, &room), "a newer pinfs");
	fmt_feature_add(&super, FMT_FEATURE_FLAGS, "0.3.1");
	fmt_feature_add(&super, FMT_FEATURE_ACL, "0.4~rc1");
	assert_true(fmt_super_valid(&super));
	assert_int_equal(super.incompat, FMT_INCOMPAT_ACL);
	assert_int_equal(super.ro_compat, FMT_RO_COMPAT_FLAGS);
	assert_string_equal(super.features, "r0:flags i0:acl");
	assert_string_equal(fmt_feature_all(&super, &room), "acl, flags");
	assert_string_equal(fmt_feature_needs(&super, &room), "pinfs 0.4~rc1 or newer");
	/* Bits of tomorrow: by the pool's own words, else by number. */
	strcpy(super.features, "i1:shiny r0:flags i11:far");
	assert_string_equal(fmt_feature_names(FMT_WORD_INCOMPAT, 1u << 11 | 6, &super, &room),
			    "shiny, incompat bit 2, far");
	assert_string_equal(fmt_feature_names(FMT_WORD_RO_COMPAT, 2, NULL, &room), "ro_compat bit 1");
	assert_string_equal(fmt_feature_names(FMT_WORD_COMPAT, 1u << 31, &super, &room), "compat bit 31");
}

/* What is on media is nobody's to print as it is, and has no end of its own. */
static void test_rubbish_names(void **state)
{
	struct fmt_super super = {.needs = "\033[31mred"};
	struct fmt_feature_text room;

	(void)state;
	strcpy(super.features, "i1:\033[31m i2:good\007bad");
	assert_string_equal(fmt_feature_names(FMT_WORD_INCOMPAT, 6, &super, &room), "incompat bit 1, good");
	assert_string_equal(fmt_feature_needs(&super, &room), "a newer pinfs");
	memset(super.features, 'i', sizeof(super.features));
	memset(super.needs, '9', sizeof(super.needs));
	assert_string_equal(fmt_feature_names(FMT_WORD_INCOMPAT, 4, &super, &room), "incompat bit 2");
	assert_int_equal(strlen(fmt_feature_needs(&super, &room)), strlen("pinfs  or newer") + sizeof(super.needs));
	memcpy(super.features + sizeof(super.features) - 5, " i2:x", 5);
	assert_string_equal(fmt_feature_names(FMT_WORD_INCOMPAT, 4, &super, &room), "x");
	/* No room for one more name: it goes by its number to those who do not know it. */
	fmt_feature_add(&super, FMT_FEATURE_ACL, "1");
	assert_true(fmt_feature_used(&super, FMT_FEATURE_ACL));
	assert_true(strlen(fmt_feature_names(FMT_WORD_INCOMPAT, UINT32_MAX, &super, &room)) < sizeof(room.text));
}

/* ---- What sets them ---- */

static const struct fmt_acl acl = {
	.version = FMT_ACL_VERSION,
	.entry = {{FMT_ACL_USER_OBJ, 6, FMT_ACL_NO_ID},
		  {FMT_ACL_USER, 4, 1001},
		  {FMT_ACL_GROUP_OBJ, 4, FMT_ACL_NO_ID},
		  {FMT_ACL_MASK, 4, FMT_ACL_NO_ID},
		  {FMT_ACL_OTHER, 0, FMT_ACL_NO_ID}},
};
#define ACL_LENGTH (4 + 5 * sizeof(struct fmt_acl_entry))

static void test_acl(void **state)
{
	struct pool *pool = *state;
	uint64_t file;

	assert_int_equal(make_kept(pool, ROOT, "file", S_IFREG | 0640, &file), 0);
	assert_int_equal(fs_setxattr(pool->fs, file, "user.x", "1", 1, 0), 0);
	/* Removed, refused, or no more than the mode says: nothing is stored. */
	(void)fs_removexattr(pool->fs, file, FMT_ACL_ACCESS);
	assert_int_equal(fs_setxattr(pool->fs, file, FMT_ACL_DEFAULT, &acl, ACL_LENGTH, 0), -EACCES);
	assert_int_equal(fs_setxattr(pool->fs, file, FMT_ACL_ACCESS, &acl, 7, 0), -EINVAL);
	assert_string_equal(features(pool), "");
	assert_int_equal(fs_setxattr(pool->fs, file, FMT_ACL_ACCESS, &acl, ACL_LENGTH, 0), 0);
	assert_string_equal(features(pool), "acl");
	fs_forget(pool->fs, file, 1);
	pool_remount(pool);
	assert_string_equal(features(pool), "acl");
}

static void test_flags(void **state)
{
	static const struct fs_cred root = {0};
	struct pool *pool = *state;
	struct edit edit;
	uint64_t file;

	assert_int_equal(make_kept(pool, ROOT, "file", S_IFREG | 0640, &file), 0);
	assert_int_equal(fs_set_flags(pool->fs, file, 0, FS_NODUMP_FL, &root), 0);
	assert_int_equal(fs_set_flags(pool->fs, file, FS_IMMUTABLE_FL, FS_IMMUTABLE_FL, &root), -EOPNOTSUPP);
	assert_string_equal(features(pool), "");
	assert_int_equal(fs_set_flags(pool->fs, file, FS_NODUMP_FL, FS_NODUMP_FL, &root), 0);
	assert_string_equal(features(pool), "flags");
	assert_int_equal(fs_set_flags(pool->fs, file, 0, FS_NODUMP_FL, &root), 0);
	assert_string_equal(features(pool), "flags");
	fs_forget(pool->fs, file, 1);
	pool_unmount(pool);
	edit_begin(&edit, pool);
	assert_string_equal(edit.super->features, "r0:flags");
	assert_string_equal(edit.super->needs, PINFS_VERSION);
	edit_end(&edit);
}

/* As a pinfs that had no words left it. */
static void forget_words(struct pool *pool)
{
	struct edit edit;

	pool_unmount(pool);
	edit_begin(&edit, pool);
	edit.super->incompat = edit.super->ro_compat = 0;
	memset(edit.super->needs, 0, sizeof(edit.super->needs) + sizeof(edit.super->features));
	edit_end(&edit);
	pool_mount(pool);
	assert_string_equal(features(pool), "");
}

/* Stored by a pinfs that had no word for it: works as before, and the next one that is stored adds the word. */
static void test_before_words(void **state)
{
	struct pool *pool = *state;
	unsigned char value[ACL_LENGTH];
	uint64_t file;

	assert_int_equal(make_kept(pool, ROOT, "file", S_IFREG | 0640, &file), 0);
	assert_int_equal(fs_setxattr(pool->fs, file, FMT_ACL_ACCESS, &acl, ACL_LENGTH, 0), 0);
	fs_forget(pool->fs, file, 1);
	forget_words(pool);
	file = find(pool, ROOT, "file");
	assert_int_equal(fs_getxattr(pool->fs, file, FMT_ACL_ACCESS, value, sizeof(value)), ACL_LENGTH);
	assert_memory_equal(value, &acl, ACL_LENGTH);
	assert_int_equal(fs_setxattr(pool->fs, file, FMT_ACL_ACCESS, &acl, ACL_LENGTH, 0), 0);
	assert_string_equal(features(pool), "acl");
}

/* What is inherited is stored as well, whatever makes the heir. */
static void test_inherited(void **state)
{
	static const struct fs_cred root = {0};
	struct pool *pool = *state;
	struct fs_entry entry;
	uint64_t folder, file;

	assert_int_equal(make_kept(pool, ROOT, "folder", S_IFDIR | 0750, &folder), 0);
	assert_int_equal(fs_setxattr(pool->fs, folder, "user.x", "1", 1, 0), 0);
	assert_int_equal(fs_set_flags(pool->fs, folder, FS_NOATIME_FL, FS_NOATIME_FL, &root), 0);
	fs_forget(pool->fs, folder, 1);
	forget_words(pool);
	folder = find(pool, ROOT, "folder");
	assert_int_equal(make_kept(pool, folder, "file", S_IFREG | 0640, &file), 0);
	assert_string_equal(features(pool), "flags");
	assert_int_equal(fs_setxattr(pool->fs, folder, FMT_ACL_DEFAULT, &acl, ACL_LENGTH, 0), 0);
	fs_forget(pool->fs, file, 1);
	forget_words(pool);
	folder = find(pool, ROOT, "folder");
	assert_int_equal(fs_tmpfile(pool->fs, folder, 0640, 0, &root, &entry), 0);
	assert_string_equal(features(pool), "acl, flags");
	fs_forget(pool->fs, entry.ino, 1);
	forget_words(pool);
	folder = find(pool, ROOT, "folder");
	assert_int_equal(fs_rename_whiteout(pool->fs, folder, "file", folder, "moved", 0, &root), 0);
	assert_string_equal(features(pool), "acl, flags");
}

/* ---- What a pool of tomorrow is to the pinfs of today ---- */

/* Mounts it: 0, or -EPROTONOSUPPORT with `words` in the message. */
static void try_pool(struct pool *pool, bool read_only, const char *words)
{
	struct message why = {.text = ""};
	int error = pool_try_mount(pool, read_only, NULL, &why);

	if (words == NULL) {
		assert_int_equal(error, 0);
		assert_true(fs_read_only(pool->fs) == read_only);
		pool_unmount(pool);
		return;
	}
	assert_int_equal(error, -EPROTONOSUPPORT);
	if (strstr(why.text, words) == NULL || strstr(why.text, pool->meta) == NULL)
		fail_msg("%s: lacks %s", why.text, words);
}

static void set_words(struct pool *pool, uint32_t compat, uint32_t ro_compat, uint32_t incompat)
{
	struct edit edit;

	edit_begin(&edit, pool);
	edit.super->compat = compat;
	edit.super->ro_compat = ro_compat;
	edit.super->incompat = incompat;
	strcpy(edit.super->features, compat + ro_compat + incompat == 0 ? "" : "r5:turned i9:shiny c3:odd");
	strcpy(edit.super->needs, "7.2");
	edit_end(&edit);
}

static void test_tomorrow(void **state)
{
	struct check_options options = {.skip_probe = true, .in_process = true};
	struct pool *pool = *state;
	struct check_report report;
	struct message why;

	options.meta_path = pool->meta;
	pool_unmount(pool);
	set_words(pool, 0, 0, 1u << 9);
	try_pool(pool, false, "know: shiny; use pinfs 7.2 or newer");
	try_pool(pool, true, "know: shiny; use pinfs 7.2 or newer");
	assert_int_equal(check_pool(&options, &report, &why), -EPROTONOSUPPORT);
	set_words(pool, 0, 0, 1u << 10);
	try_pool(pool, true, "know: incompat bit 10; use pinfs 7.2 or newer");
	set_words(pool, 0, 1u << 5, 0);
	try_pool(pool, false, "turned; mount it with -o ro, or use pinfs 7.2 or newer");
	try_pool(pool, true, NULL);
	assert_int_equal(check_pool(&options, &report, &why), 0);
	assert_int_equal(report.errors, 0);
	assert_string_equal(report.features, "turned");
	set_words(pool, 1u << 3, 0, 0);
	try_pool(pool, false, NULL);
	try_pool(pool, true, NULL);
	assert_int_equal(check_pool(&options, &report, &why), 0);
	assert_string_equal(report.features, "odd");
	set_words(pool, 0, 0, 0);
	pool_mount(pool);
}

#define WITH_POOL(test) cmocka_unit_test_setup_teardown(test, pool_setup, pool_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names), cmocka_unit_test(test_rubbish_names), WITH_POOL(test_acl),
		WITH_POOL(test_flags),	      WITH_POOL(test_before_words),	    WITH_POOL(test_inherited),
		WITH_POOL(test_tomorrow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
