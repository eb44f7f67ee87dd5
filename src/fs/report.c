/* Who pins what: numbers, lists, and words for the log. */
#include "fs/pinning.h"

#include <inttypes.h>

void fs_pin_stats(struct fs *fs, struct pin_stats *ret_stats)
{
	pin_get_stats(fs->pins, fs_monotonic(), ret_stats);
}

uint64_t fs_limbo_blocks(struct fs *fs)
{
	uint64_t blocks;

	lock_mutex_take(&fs->limbo);
	blocks = meta_limbo_blocks(fs->meta);
	lock_mutex_drop(&fs->limbo);
	return blocks;
}

uint64_t fs_pinned_bytes(struct fs *fs, uint64_t ino)
{
	return pin_file_bytes(fs->pins, ino);
}

int fs_pin_list(struct fs *fs, uint64_t ino, int (*visit_pin)(void *arg, const struct pin_info *info),
		int (*visit_waiter)(void *arg, const struct pin_wait_info *info), void *arg)
{
	return pin_visit(fs->pins, ino, visit_pin, visit_waiter, arg);
}

/* ---- Who holds limbo ---- */

#define LOG_INTERVAL (60 * FS_NS_PER_S)
#define LOGGED 3u

struct biggest {
	struct pin_info pin[LOGGED]; /* by detached_blocks; 0: none */
};

static int see_pin(void *arg, const struct pin_info *info)
{
	struct biggest *biggest = arg;
	struct pin_info pin = *info;

	pin.path = NULL;
	for (size_t i = 0; i < LOGGED; i++) {
		if (pin.detached_blocks > biggest->pin[i].detached_blocks) {
			struct pin_info less = biggest->pin[i];

			biggest->pin[i] = pin;
			pin = less;
		}
	}
	return 0;
}

static int pass_waiter(void *arg, const struct pin_wait_info *info)
{
	(void)arg;
	(void)info;
	return 0;
}

/* True once in a while. */
static bool is_due(struct fs_pinning *pinning)
{
	uint64_t now = fs_monotonic();
	bool due;

	lock_mutex_take(&pinning->lock);
	due = pinning->limbo_logged == 0 || now - pinning->limbo_logged >= LOG_INTERVAL;
	if (due)
		pinning->limbo_logged = now;
	lock_mutex_drop(&pinning->lock);
	return due;
}

void fs_log_limbo_holders(struct fs *fs)
{
	struct biggest biggest = {.pin = {{.id = 0}}};
	uint64_t blocks = fs_limbo_blocks(fs);

	/* Want of memory for the list: there is no news to tell. */
	if (blocks == 0 || !is_due(fs->pinning) || pin_visit(fs->pins, 0, see_pin, pass_waiter, &biggest) != 0)
		return;
	log_warning("%s: no space left; %" PRIu64 " bytes are in limbo: unlinked or truncated, and pinned still",
		    fs->meta_path, blocks * FMT_BLOCK_SIZE);
	for (size_t i = 0; i < LOGGED && biggest.pin[i].detached_blocks > 0; i++) {
		struct fs_holder *holder = fs_holder_find(fs, biggest.pin[i].session);

		if (holder == NULL)
			continue;
		log_warning("%s: process %d (%s) holds %" PRIu64 " bytes of it by one pin", fs->meta_path,
			    (int)holder->process.pid, holder->process.command,
			    biggest.pin[i].detached_blocks * FMT_BLOCK_SIZE);
		fs_holder_put(holder);
	}
}
