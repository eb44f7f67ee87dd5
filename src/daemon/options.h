/* Mount options: pinfs's own, libfuse's and the kernel's, and the words of fstab that are not for us. */
#ifndef PINFS_DAEMON_OPTIONS_H
#define PINFS_DAEMON_OPTIONS_H

#include "base/log.h"
#include "daemon/size.h"
#include "front/front.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/types.h>

enum daemon_break_policy {
	DAEMON_BREAK_DETACH,
	DAEMON_BREAK_FAIL,
};

enum daemon_pin_access {
	DAEMON_PIN_OWNER,
	DAEMON_PIN_GROUP,
	DAEMON_PIN_ALL,
};

enum daemon_atime {
	DAEMON_ATIME_RELATIVE,
	DAEMON_ATIME_NONE,
	DAEMON_ATIME_STRICT,
};

struct daemon_options {
	enum front_cache cache;
	enum front_transport transport;
	bool read_only;
	bool inode_flags; /* immutable and append-only are honoured: each open is asked for */
	bool remount; /* changes a mount that is there */
	unsigned long flags_set, flags_cleared; /* MS_: of the kernel's flags, those that were asked for, or for not */
	enum daemon_atime atime;
	bool nodiratime;
	bool atime_given; /* one of the words of atime, relatime ... was there */
	bool nonempty; /* mount over a directory that is not empty */
	bool allow_other; /* as given, or by default for root */
	uint64_t break_timeout_ms; /* DAEMON_FOREVER: inf */
	enum daemon_break_policy break_policy;
	enum daemon_pin_access pin_access;
	gid_t pin_group; /* of DAEMON_PIN_GROUP */
	uint64_t pin_limit; /* bytes; 0: half of the data parts' */
	char **data_paths;
	size_t data_count;
	char *mount_words; /* for libfuse: comma-separated, commas in values escaped */
};

/* Defaults; `root`: mounted by the superuser. -ENOMEM. */
int daemon_options_init(struct daemon_options *options, bool root);
void daemon_options_fini(struct daemon_options *options);

/*
 * Applies the words of one -o argument: WORD[=VALUE],...; "\," is a comma in a value. Later words win. `sloppy`:
 * unknown words are left out. -EINVAL, -ENOMEM, words in `message`; `options` may have changed and is to be released
 * only.
 */
int daemon_options_parse(struct daemon_options *options, const char *text, bool sloppy, struct message *message);

/* What reading changes, as FS_ATIME_ flags and as the kernel's flags of a mount. */
unsigned daemon_atime_flags(const struct daemon_options *options);
unsigned long daemon_atime_mount_flags(const struct daemon_options *options);
#define DAEMON_ATIME_MOUNT_FLAGS (MS_NOATIME | MS_NODIRATIME | MS_RELATIME | MS_STRICTATIME)
/* The kernel's cache of such a mount: reads that it answers by itself change no time. */
enum front_cache daemon_cache(const struct daemon_options *options);

#endif
