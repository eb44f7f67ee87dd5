/* Mount options, sizes and durations: what is accepted, what is refused, and with which words. */
#include "daemon/options.h"
#include "daemon/size.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/mount.h>

#define UNTOUCHED 4711u

static void test_sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{"0", 0},
		{"1", 1},
		{"007", 7},
		{"4096", 4096},
		{"1K", 1024},
		{"1k", 1024},
		{"64M", 64ull << 20},
		{"2G", 2ull << 30},
		{"2g", 2ull << 30},
		{"3T", 3ull << 40},
		{"8388607T", 8388607ull << 40},
		{"9223372036854775807", INT64_MAX},
	};
	uint64_t bytes;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(daemon_parse_size(good[i].text, &bytes), 0);
		assert_int_equal(bytes, good[i].bytes);
	}
}

static void test_bad_sizes(void **state)
{
	static const char *const nonsense[] = {
		"",	" ",	"K",	    "-1", "+1",	 " 1",	"1 ",  "1 K", "1KB",
		"1KiB", "1.5G", "0x10",	    "1P", "one", "1K1", "1e9", "\n",  "99999999999999999999x",
		"--1",	"1,",	"\xc3\xa4",
	};
	static const char *const too_large[] = {
		"9223372036854775808",
		"18446744073709551615",
		"18446744073709551616",
		"99999999999999999999999999",
		"8388608T",
		"18014398509481984K",
		"17179869184G",
		"99999999999999999999T",
	};
	uint64_t bytes = UNTOUCHED;

	(void)state;
	for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++)
		assert_int_equal(daemon_parse_size(nonsense[i], &bytes), -EINVAL);
	for (size_t i = 0; i < sizeof(too_large) / sizeof(too_large[0]); i++)
		assert_int_equal(daemon_parse_size(too_large[i], &bytes), -ERANGE);
	assert_int_equal(bytes, UNTOUCHED);
}

static void test_seconds(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} good[] = {
		{"0", 0},
		{"5", 5000},
		{"0.5", 500},
		{"1.25", 1250},
		{"0.001", 1},
		{"2.0", 2000},
		{"inf", DAEMON_FOREVER},
		{"1000000000", 1000000000000},
	};
	static const char *const bad[] = {
		"",	    "-1",  "+1", "5s",	"1.",	".5",	      "1.2345",
		"infinity", "INF", " 5", "1e3", "1.-1", "1000000001", "99999999999999999999",
	};
	uint64_t ms = UNTOUCHED;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(daemon_parse_seconds(bad[i], &ms) < 0);
	assert_int_equal(ms, UNTOUCHED);
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(daemon_parse_seconds(good[i].text, &ms), 0);
		assert_int_equal(ms, good[i].ms);
	}
}

/* Parses into fresh options; the caller releases them. */
static int parse(struct daemon_options *options, const char *text, bool sloppy, struct message *message)
{
	assert_int_equal(daemon_options_init(options, false), 0);
	message_set(message, "%s", "");
	return daemon_options_parse(options, text, sloppy, message);
}

static void accepts(struct daemon_options *options, const char *text)
{
	struct message message;
	int error = parse(options, text, false, &message);

	if (error != 0)
		print_error("%s: %s\n", text, message.text);
	assert_int_equal(error, 0);
}

static void refuses(const char *text, const char *words)
{
	struct daemon_options options;
	struct message message;

	assert_int_equal(parse(&options, text, false, &message), -EINVAL);
	assert_non_null(strstr(message.text, words));
	daemon_options_fini(&options);
}

static void test_defaults(void **state)
{
	struct daemon_options options;

	(void)state;
	accepts(&options, "");
	assert_int_equal(options.cache, FRONT_CACHE_AUTO);
	assert_int_equal(options.transport, FRONT_TRANSPORT_AUTO);
	assert_int_equal(options.break_timeout_ms, 5000);
	assert_int_equal(options.break_policy, DAEMON_BREAK_DETACH);
	assert_int_equal(options.pin_access, DAEMON_PIN_OWNER);
	assert_int_equal(options.pin_limit, 0);
	assert_int_equal(options.data_count, 0);
	assert_false(options.read_only);
	assert_false(options.allow_other);
	assert_string_equal(options.mount_words, "");
	daemon_options_fini(&options);

	assert_int_equal(daemon_options_init(&options, true), 0);
	assert_true(options.allow_other);
	assert_string_equal(options.mount_words, "dev,suid");
	daemon_options_fini(&options);
}

static void test_own(void **state)
{
	struct daemon_options options;

	(void)state;
	accepts(&options, "cache=writeback,transport=uring,ro,break_timeout=inf,break_policy=fail,pin_access=group:"
			  "root,pin_limit=2G,"
			  "data=/,data=/proc/self/..,nonempty,allow_other,inode_flags");
	assert_int_equal(options.cache, FRONT_CACHE_WRITEBACK);
	assert_int_equal(options.transport, FRONT_TRANSPORT_URING);
	assert_true(options.read_only);
	assert_int_equal(options.break_timeout_ms, DAEMON_FOREVER);
	assert_int_equal(options.break_policy, DAEMON_BREAK_FAIL);
	assert_int_equal(options.pin_access, DAEMON_PIN_GROUP);
	assert_int_equal(options.pin_group, 0);
	assert_int_equal(options.pin_limit, 2ull << 30);
	assert_int_equal(options.data_count, 2);
	assert_string_equal(options.data_paths[0], "/");
	assert_string_equal(options.data_paths[1], "/proc");
	assert_true(options.nonempty);
	assert_true(options.inode_flags);
	assert_true(options.allow_other);
	daemon_options_fini(&options);

	accepts(&options, "cache=none,cache=auto,ro,rw,pin_access=group:4294967,break_timeout=0");
	assert_int_equal(options.cache, FRONT_CACHE_AUTO);
	assert_false(options.read_only);
	assert_int_equal(options.pin_group, 4294967);
	assert_int_equal(options.break_timeout_ms, 0);
	daemon_options_fini(&options);
}

static void test_others(void **state)
{
	struct daemon_options options;

	(void)state;
	accepts(&options, "defaults,noauto,nofail,_netdev,user,user=joe,users,x-systemd.automount,x-mount.mkdir=0755,"
			  "X-mount.idmap=b:0:0:1,comment=a b,default_permissions,relatime,strictatime,lazytime");
	assert_string_equal(options.mount_words, "");
	assert_int_equal(options.atime, DAEMON_ATIME_STRICT);
	assert_int_equal(daemon_cache(&options), FRONT_CACHE_NONE);
	daemon_options_fini(&options);

	accepts(&options, ",,nosuid,nodev,,noexec,noatime,max_read=65536,context=\"a:b\\,c\",");
	assert_string_equal(options.mount_words, "nosuid,nodev,noexec,max_read=65536,context=\"a:b\\,c\"");
	daemon_options_fini(&options);

	accepts(&options, "allow_other,allow_root");
	assert_false(options.allow_other);
	assert_string_equal(options.mount_words, "allow_root");
	daemon_options_fini(&options);
}

static void test_atime(void **state)
{
	static const struct {
		const char *words;
		unsigned flags;
		unsigned long mount_flags;
	} cases[] = {
		{"defaults", FS_ATIME_FILES | FS_ATIME_DIRECTORIES, MS_RELATIME},
		{"noatime", 0, MS_NOATIME},
		{"noatime,relatime", FS_ATIME_FILES | FS_ATIME_DIRECTORIES, MS_RELATIME},
		{"noatime,atime", FS_ATIME_FILES | FS_ATIME_DIRECTORIES, MS_RELATIME},
		{"strictatime", FS_ATIME_FILES | FS_ATIME_DIRECTORIES | FS_ATIME_STRICT, MS_STRICTATIME},
		{"strictatime,atime", FS_ATIME_FILES | FS_ATIME_DIRECTORIES | FS_ATIME_STRICT, MS_STRICTATIME},
		{"strictatime,nostrictatime", FS_ATIME_FILES | FS_ATIME_DIRECTORIES, MS_RELATIME},
		{"noatime,nostrictatime,norelatime", 0, MS_NOATIME},
		{"nodiratime", FS_ATIME_FILES, MS_RELATIME | MS_NODIRATIME},
		{"strictatime,nodiratime", FS_ATIME_FILES | FS_ATIME_STRICT, MS_STRICTATIME | MS_NODIRATIME},
		{"nodiratime,diratime", FS_ATIME_FILES | FS_ATIME_DIRECTORIES, MS_RELATIME},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct daemon_options options;

		accepts(&options, cases[i].words);
		assert_int_equal(options.atime_given, i != 0);
		assert_int_equal(daemon_atime_flags(&options), cases[i].flags);
		assert_int_equal(daemon_atime_mount_flags(&options), cases[i].mount_flags);
		daemon_options_fini(&options);
	}
}

static void test_remount(void **state)
{
	struct daemon_options options;

	(void)state;
	accepts(&options,
		"rw,nosuid,nodev,user_id=0,group_id=0,default_permissions,allow_other,remount,ro,suid,noexec");
	assert_true(options.remount);
	assert_true(options.read_only);
	assert_int_equal(options.flags_set, MS_NODEV | MS_NOEXEC);
	assert_int_equal(options.flags_cleared, MS_NOSUID);
	daemon_options_fini(&options);

	/* What root's mounts have by default is not asked for. */
	assert_int_equal(daemon_options_init(&options, true), 0);
	assert_false(options.remount);
	assert_int_equal(options.flags_set | options.flags_cleared, 0);
	daemon_options_fini(&options);
}

static void test_refused(void **state)
{
	(void)state;
	refuses("chache=auto", "unknown mount option 'chache=auto'");
	refuses("ro,rodeo", "'rodeo'");
	refuses("x", "'x'");
	refuses("=", "'='");
	refuses("cache", "needs a value");
	refuses("cache=", "auto, none or writeback");
	refuses("cache=Auto", "auto, none or writeback");
	refuses("transport", "needs a value");
	refuses("transport=io_uring", "auto, dev or uring");
	refuses("ro=1", "takes no value");
	refuses("noatime=", "takes no value");
	refuses("break_timeout=-1", "seconds");
	refuses("break_timeout=", "seconds");
	refuses("break_policy=wait", "detach or fail");
	refuses("pin_access=group", "owner, group:GROUP or all");
	refuses("pin_access=group:", "no such group");
	refuses("pin_access=group:no-such-group-here", "no such group");
	refuses("pin_access=group:4294967295", "no such group");
	refuses("pin_access=group:1K", "no such group");
	refuses("pin_limit=0", "a size above 0");
	refuses("pin_limit=-5", "a size above 0");
	refuses("pin_limit=16E", "a size above 0");
	refuses("data=", "path");
	refuses("data=/no/such/part", "No such file");
	refuses("max_read=1K", "number of bytes");
	refuses("max_read=0", "number of bytes");
	refuses("fsname=x", "by itself");
}

static void test_sloppy(void **state)
{
	struct daemon_options options;
	struct message message;

	(void)state;
	assert_int_equal(parse(&options, "rodeo,cache=none,what=ever", true, &message), 0);
	assert_int_equal(options.cache, FRONT_CACHE_NONE);
	assert_int_equal(daemon_options_parse(&options, "cache=some", true, &message), -EINVAL);
	daemon_options_fini(&options);
}

static void test_escapes(void **state)
{
	struct daemon_options options;
	struct message message;

	(void)state;
	assert_int_equal(parse(&options, "data=/a\\,b\\\\c,ro", false, &message), -EINVAL);
	assert_non_null(strstr(message.text, "/a,b\\c: No such file"));
	daemon_options_fini(&options);
	refuses("ro\\,rw", "unknown mount option 'ro\\,rw'");
	refuses("data=\\", "\\: No such file");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),	 cmocka_unit_test(test_bad_sizes), cmocka_unit_test(test_seconds),
		cmocka_unit_test(test_defaults), cmocka_unit_test(test_own),	   cmocka_unit_test(test_others),
		cmocka_unit_test(test_refused),	 cmocka_unit_test(test_sloppy),	   cmocka_unit_test(test_escapes),
		cmocka_unit_test(test_atime),	 cmocka_unit_test(test_remount),
	};

	return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
