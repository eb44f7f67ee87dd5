/*
 * The policy of access times as the virtual xattr "pinfs.atime" of the root: a list of words. Setting it to one word
 * changes that part of it: what remount does, which is another process (src/daemon/remount.c).
 */
#include "front/request.h"

#include "base/arith.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct {
	const char *word;
	unsigned clear, set;
} words[] = {
	{"noatime", FS_ATIME_FILES | FS_ATIME_STRICT, 0},
	{"relatime", FS_ATIME_STRICT, FS_ATIME_FILES},
	{"strictatime", 0, FS_ATIME_FILES | FS_ATIME_STRICT},
	{"nodiratime", FS_ATIME_DIRECTORIES, 0},
	{"diratime", 0, FS_ATIME_DIRECTORIES},
	{"pause", 0, FS_ATIME_PAUSED},
	{"resume", FS_ATIME_PAUSED, 0},
};

void front_atime_words(const struct front *front, char *ret_words, size_t capacity)
{
	const unsigned flags = fs_get_atime(front->fs);
	const char *mode = "noatime";

	if ((flags & FS_ATIME_FILES) != 0)
		mode = (flags & FS_ATIME_STRICT) != 0 ? "strictatime" : "relatime";
	snprintf(ret_words, capacity, "%s%s%s", mode, (flags & FS_ATIME_DIRECTORIES) == 0 ? ",nodiratime" : "",
		 (flags & FS_ATIME_PAUSED) != 0 ? ",pause" : "");
}

int front_atime_set(const struct front_request *request, const char *value, size_t size)
{
	struct fs *fs = request->front->fs;
	const uid_t uid = fuse_req_ctx(request->req)->uid;

	if (uid != 0 && uid != geteuid())
		return -EPERM;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strlen(words[i].word) != size || memcmp(words[i].word, value, size) != 0)
			continue;
		/* What the kernel reads from its cache would go unseen. */
		if ((words[i].set & FS_ATIME_STRICT) != 0 && request->front->cache != FRONT_CACHE_NONE)
			return -EOPNOTSUPP;
		fs_set_atime(fs, (fs_get_atime(fs) & ~words[i].clear) | words[i].set);
		return 0;
	}
	return -EINVAL;
}
