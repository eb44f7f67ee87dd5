#include "daemon/options.h"

#include "base/arith.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#define BREAK_TIMEOUT_DEFAULT_MS 5000u

/* One word of an -o argument. */
struct word {
	const char *raw; /* as given: what libfuse is told */
	const char *name;
	const char *value; /* unescaped; NULL without '=' */
};

typedef int apply_word(struct daemon_options *options, const struct word *word, struct message *message);

static int refuse(const struct word *word, const char *wanted, struct message *message)
{
	message_set(message, "option %s: not %s", word->raw, wanted);
	return -EINVAL;
}

static int apply_cache(struct daemon_options *options, const struct word *word, struct message *message)
{
	for (enum front_cache cache = FRONT_CACHE_AUTO; cache <= FRONT_CACHE_WRITEBACK; cache++) {
		if (strcmp(word->value, front_cache_name(cache)) == 0) {
			options->cache = cache;
			return 0;
		}
	}
	return refuse(word, "auto, none or writeback", message);
}

static int apply_transport(struct daemon_options *options, const struct word *word, struct message *message)
{
	for (enum front_transport transport = FRONT_TRANSPORT_AUTO; transport <= FRONT_TRANSPORT_URING; transport++) {
		if (strcmp(word->value, front_transport_name(transport)) == 0) {
			options->transport = transport;
			return 0;
		}
	}
	return refuse(word, "auto, dev or uring", message);
}

static int apply_break_timeout(struct daemon_options *options, const struct word *word, struct message *message)
{
	if (daemon_parse_seconds(word->value, &options->break_timeout_ms) != 0)
		return refuse(word, "a number of seconds, or inf", message);
	return 0;
}

static int apply_break_policy(struct daemon_options *options, const struct word *word, struct message *message)
{
	if (strcmp(word->value, "detach") == 0)
		options->break_policy = DAEMON_BREAK_DETACH;
	else if (strcmp(word->value, "fail") == 0)
		options->break_policy = DAEMON_BREAK_FAIL;
	else
		return refuse(word, "detach or fail", message);
	return 0;
}

/* By name, or by number where no group has that name. */
static int find_group(const char *name, gid_t *ret_gid)
{
	struct group group, *found = NULL;
	size_t size = 1024;
	uint64_t number;
	char *room = NULL;
	char *bigger;
	int error;

	do {
		size *= 2;
		bigger = realloc(room, size);
		if (bigger == NULL) {
			free(room);
			return -ENOMEM;
		}
		room = bigger;
		error = getgrnam_r(name, &group, room, size, &found);
	} while (error == ERANGE && size < (1u << 24));
	if (found != NULL)
		*ret_gid = group.gr_gid;
	free(room);
	if (found != NULL)
		return 0;
	if (strspn(name, "0123456789") != strlen(name) || daemon_parse_size(name, &number) != 0 || number >= UINT32_MAX)
		return -ENOENT;
	*ret_gid = (gid_t)number;
	return 0;
}

static int apply_pin_access(struct daemon_options *options, const struct word *word, struct message *message)
{
	static const char group[] = "group:";
	int error;

	if (strcmp(word->value, "owner") == 0) {
		options->pin_access = DAEMON_PIN_OWNER;
	} else if (strcmp(word->value, "all") == 0) {
		options->pin_access = DAEMON_PIN_ALL;
	} else if (strncmp(word->value, group, strlen(group)) == 0) {
		error = find_group(word->value + strlen(group), &options->pin_group);
		if (error == -ENOENT)
			message_set(message, "option %s: there is no such group", word->raw);
		else if (error != 0)
			message_set(message, "option %s: %s", word->raw, strerror(-error));
		if (error != 0)
			return error == -ENOENT ? -EINVAL : error;
		options->pin_access = DAEMON_PIN_GROUP;
	} else {
		return refuse(word, "owner, group:GROUP or all", message);
	}
	return 0;
}

static int apply_pin_limit(struct daemon_options *options, const struct word *word, struct message *message)
{
	uint64_t limit;

	if (daemon_parse_size(word->value, &limit) != 0 || limit == 0)
		return refuse(word, "a size above 0, such as 512M or 2G", message);
	options->pin_limit = limit;
	return 0;
}

static int apply_data(struct daemon_options *options, const struct word *word, struct message *message)
{
	char **paths;
	char *path;

	if (word->value[0] == '\0')
		return refuse(word, "the path of a data part", message);
	paths = reallocarray(options->data_paths, options->data_count + 1, sizeof(*paths));
	if (paths == NULL)
		goto no_memory;
	options->data_paths = paths;
	/* The daemon leaves this directory. */
	path = realpath(word->value, NULL);
	if (path == NULL) {
		message_set(message, "%s: %s", word->value, strerror(errno));
		return -EINVAL;
	}
	paths[options->data_count++] = path;
	return 0;
no_memory:
	message_set(message, "option %s: %s", word->raw, strerror(ENOMEM));
	return -ENOMEM;
}

static int apply_ro(struct daemon_options *options, const struct word *word, struct message *message)
{
	(void)message;
	options->read_only = strcmp(word->name, "ro") == 0;
	return 0;
}

static int apply_inode_flags(struct daemon_options *options, const struct word *word, struct message *message)
{
	(void)word;
	(void)message;
	options->inode_flags = true;
	return 0;
}

static int apply_nonempty(struct daemon_options *options, const struct word *word, struct message *message)
{
	(void)word;
	(void)message;
	options->nonempty = true;
	return 0;
}

static int pass_on(struct daemon_options *options, const struct word *word, struct message *message)
{
	char *words;

	if (asprintf(&words, "%s%s%s", options->mount_words, options->mount_words[0] != '\0' ? "," : "", word->raw) <
	    0) {
		message_set(message, "option %s: %s", word->raw, strerror(ENOMEM));
		return -ENOMEM;
	}
	free(options->mount_words);
	options->mount_words = words;
	return 0;
}

/* The kernel's flags of a mount: libfuse passes them on for a new one, a remount is by us. */
static int apply_flag(struct daemon_options *options, const struct word *word, struct message *message)
{
	static const struct {
		const char *name;
		unsigned long set, clear;
	} flags[] = {
		{"suid", 0, MS_NOSUID},	      {"nosuid", MS_NOSUID, 0},	   {"dev", 0, MS_NODEV},
		{"nodev", MS_NODEV, 0},	      {"exec", 0, MS_NOEXEC},	   {"noexec", MS_NOEXEC, 0},
		{"async", 0, MS_SYNCHRONOUS}, {"sync", MS_SYNCHRONOUS, 0}, {"dirsync", MS_DIRSYNC, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		if (strcmp(flags[i].name, word->name) != 0)
			continue;
		options->flags_set = (options->flags_set | flags[i].set) & ~flags[i].clear;
		options->flags_cleared = (options->flags_cleared | flags[i].clear) & ~flags[i].set;
	}
	return pass_on(options, word, message);
}

/* The kernel leaves times of access to us, whatever its flags of the mount say. */
static int apply_atime(struct daemon_options *options, const struct word *word, struct message *message)
{
	(void)message;
	options->atime_given = true;
	if (strcmp(word->name, "noatime") == 0)
		options->atime = DAEMON_ATIME_NONE;
	else if (strcmp(word->name, "strictatime") == 0)
		options->atime = DAEMON_ATIME_STRICT;
	else if (strcmp(word->name, "relatime") == 0 ||
		 (strcmp(word->name, "atime") == 0 && options->atime == DAEMON_ATIME_NONE) ||
		 (strcmp(word->name, "nostrictatime") == 0 && options->atime == DAEMON_ATIME_STRICT))
		options->atime = DAEMON_ATIME_RELATIVE;
	else if (strcmp(word->name, "nodiratime") == 0 || strcmp(word->name, "diratime") == 0)
		options->nodiratime = strcmp(word->name, "nodiratime") == 0;
	return 0;
}

static int apply_allow_other(struct daemon_options *options, const struct word *word, struct message *message)
{
	(void)message;
	options->allow_other = strcmp(word->name, "allow_other") == 0;
	return 0;
}

/* libfuse takes it as the opposite of allow_other. */
static int apply_allow_root(struct daemon_options *options, const struct word *word, struct message *message)
{
	options->allow_other = false;
	return pass_on(options, word, message);
}

static int apply_max_read(struct daemon_options *options, const struct word *word, struct message *message)
{
	uint64_t bytes;

	if (strspn(word->value, "0123456789") != strlen(word->value) || daemon_parse_size(word->value, &bytes) != 0 ||
	    bytes < 4096 || bytes > UINT_MAX)
		return refuse(word, "a number of bytes, 4096 or more", message);
	return pass_on(options, word, message);
}

static int apply_remount(struct daemon_options *options, const struct word *word, struct message *message)
{
	(void)word;
	(void)message;
	options->remount = true;
	return 0;
}

static int refuse_own(struct daemon_options *options, const struct word *word, struct message *message)
{
	(void)options;
	message_set(message, "option %s: pinfs sets it by itself", word->raw);
	return -EINVAL;
}

static int ignore(struct daemon_options *options, const struct word *word, struct message *message)
{
	(void)options;
	(void)word;
	(void)message;
	return 0;
}

enum value_rule {
	NO_VALUE,
	VALUE,
	MAYBE_VALUE,
};

static const struct option_rule {
	const char *name;
	enum value_rule value;
	apply_word *apply;
} option_rules[] = {
	/* Our own. */
	{"cache", VALUE, apply_cache},
	{"transport", VALUE, apply_transport},
	{"break_timeout", VALUE, apply_break_timeout},
	{"break_policy", VALUE, apply_break_policy},
	{"pin_access", VALUE, apply_pin_access},
	{"pin_limit", VALUE, apply_pin_limit},
	{"data", VALUE, apply_data},
	{"inode_flags", NO_VALUE, apply_inode_flags},
	{"ro", NO_VALUE, apply_ro},
	{"rw", NO_VALUE, apply_ro},
	{"nonempty", NO_VALUE, apply_nonempty},
	{"allow_other", NO_VALUE, apply_allow_other},
	{"noallow_other", NO_VALUE, apply_allow_other},
	/* libfuse's and the kernel's. */
	{"allow_root", NO_VALUE, apply_allow_root},
	{"auto_unmount", NO_VALUE, pass_on},
	{"debug", NO_VALUE, pass_on},
	{"max_read", VALUE, apply_max_read},
	{"context", VALUE, pass_on},
	{"fscontext", VALUE, pass_on},
	{"defcontext", VALUE, pass_on},
	{"rootcontext", VALUE, pass_on},
	{"suid", NO_VALUE, apply_flag},
	{"nosuid", NO_VALUE, apply_flag},
	{"dev", NO_VALUE, apply_flag},
	{"nodev", NO_VALUE, apply_flag},
	{"exec", NO_VALUE, apply_flag},
	{"noexec", NO_VALUE, apply_flag},
	{"sync", NO_VALUE, apply_flag},
	{"async", NO_VALUE, apply_flag},
	{"dirsync", NO_VALUE, apply_flag},
	{"atime", NO_VALUE, apply_atime},
	{"noatime", NO_VALUE, apply_atime},
	{"relatime", NO_VALUE, apply_atime},
	{"norelatime", NO_VALUE, apply_atime},
	{"strictatime", NO_VALUE, apply_atime},
	{"nostrictatime", NO_VALUE, apply_atime},
	{"diratime", NO_VALUE, apply_atime},
	{"nodiratime", NO_VALUE, apply_atime},
	{"fsname", VALUE, refuse_own},
	{"subtype", VALUE, refuse_own},
	{"remount", NO_VALUE, apply_remount},
	/* What is so anyway, and what mount(8), fstab(5) and systemd mean for themselves. */
	{"default_permissions", NO_VALUE, ignore},
	{"user_id", VALUE, ignore},
	{"group_id", VALUE, ignore},
	{"clone_fd", NO_VALUE, ignore},
	{"defaults", NO_VALUE, ignore},
	{"auto", NO_VALUE, ignore},
	{"noauto", NO_VALUE, ignore},
	{"nofail", NO_VALUE, ignore},
	{"_netdev", NO_VALUE, ignore},
	{"user", MAYBE_VALUE, ignore},
	{"nouser", NO_VALUE, ignore},
	{"users", NO_VALUE, ignore},
	{"nousers", NO_VALUE, ignore},
	{"owner", NO_VALUE, ignore},
	{"noowner", NO_VALUE, ignore},
	{"group", NO_VALUE, ignore},
	{"nogroup", NO_VALUE, ignore},
	{"comment", VALUE, ignore},
	{"uhelper", VALUE, ignore},
	{"helper", VALUE, ignore},
	{"lazytime", NO_VALUE, ignore},
	{"nolazytime", NO_VALUE, ignore},
};

static const struct option_rule *find_rule(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(option_rules); i++) {
		if (strcmp(option_rules[i].name, name) == 0)
			return &option_rules[i];
	}
	return NULL;
}

static int apply(struct daemon_options *options, const struct word *word, bool sloppy, struct message *message)
{
	const struct option_rule *rule = find_rule(word->name);

	if (strncmp(word->name, "x-", 2) == 0 || strncmp(word->name, "X-", 2) == 0)
		return 0;
	if (rule == NULL) {
		if (sloppy)
			return 0;
		message_set(message, "unknown mount option '%s'", word->raw);
		return -EINVAL;
	}
	if (rule->value == VALUE && word->value == NULL) {
		message_set(message, "option %s: needs a value: %s=...", word->name, word->name);
		return -EINVAL;
	}
	if (rule->value == NO_VALUE && word->value != NULL) {
		message_set(message, "option %s: takes no value", word->raw);
		return -EINVAL;
	}
	return rule->apply(options, word, message);
}

/* The length of the word at `text`: up to a comma that no backslash escapes. */
static size_t word_length(const char *text)
{
	size_t i = 0;

	while (text[i] != '\0' && text[i] != ',') {
		if (text[i] == '\\' && text[i + 1] != '\0')
			i++;
		i++;
	}
	return i;
}

static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from != '\0'; from++) {
		if (*from == '\\' && from[1] != '\0')
			from++;
		*to++ = *from;
	}
	*to = '\0';
}

static int parse_word(struct daemon_options *options, const char *text, size_t length, bool sloppy,
		      struct message *message)
{
	char *raw = strndup(text, length);
	char *name = strndup(text, length);
	struct word word;
	int error = -ENOMEM;
	char *equals;

	if (raw == NULL || name == NULL) {
		message_set(message, "mount options: %s", strerror(ENOMEM));
		goto out;
	}
	equals = strchr(name, '=');
	if (equals != NULL) {
		*equals = '\0';
		unescape(equals + 1);
	}
	word = (struct word){.raw = raw, .name = name, .value = equals != NULL ? equals + 1 : NULL};
	error = apply(options, &word, sloppy, message);
out:
	free(name);
	free(raw);
	return error;
}

int daemon_options_parse(struct daemon_options *options, const char *text, bool sloppy, struct message *message)
{
	while (*text != '\0') {
		size_t length = word_length(text);
		int error;

		if (length > 0) {
			error = parse_word(options, text, length, sloppy, message);
			if (error != 0)
				return error;
		}
		text += length;
		if (*text == ',')
			text++;
	}
	return 0;
}

/* Like a local filesystem's, and as mount.fuse3(8) does it: only root may make devices and setuid programs work. */
int daemon_options_init(struct daemon_options *options, bool root)
{
	*options = (struct daemon_options){
		.cache = FRONT_CACHE_AUTO,
		.allow_other = root,
		.break_timeout_ms = BREAK_TIMEOUT_DEFAULT_MS,
		.break_policy = DAEMON_BREAK_DETACH,
		.pin_access = DAEMON_PIN_OWNER,
		.mount_words = strdup(root ? "dev,suid" : ""),
	};
	return options->mount_words != NULL ? 0 : -ENOMEM;
}

unsigned daemon_atime_flags(const struct daemon_options *options)
{
	if (options->atime == DAEMON_ATIME_NONE)
		return 0;
	return FS_ATIME_FILES | (options->nodiratime ? 0 : FS_ATIME_DIRECTORIES) |
	       (options->atime == DAEMON_ATIME_STRICT ? FS_ATIME_STRICT : 0);
}

unsigned long daemon_atime_mount_flags(const struct daemon_options *options)
{
	static const unsigned long flags[] = {
		[DAEMON_ATIME_RELATIVE] = MS_RELATIME,
		[DAEMON_ATIME_NONE] = MS_NOATIME,
		[DAEMON_ATIME_STRICT] = MS_STRICTATIME,
	};

	return flags[options->atime] | (options->nodiratime ? MS_NODIRATIME : 0);
}

enum front_cache daemon_cache(const struct daemon_options *options)
{
	return options->atime == DAEMON_ATIME_STRICT ? FRONT_CACHE_NONE : options->cache;
}

void daemon_options_fini(struct daemon_options *options)
{
	for (size_t i = 0; i < options->data_count; i++)
		free(options->data_paths[i]);
	free(options->data_paths);
	free(options->mount_words);
	*options = (struct daemon_options){0};
}
