/*
 * Reaping: what follows the drop of a pin. In the order of drops: the ledger entry is erased, durably; then the blocks'
 * recorded count falls; what is in limbo and counted no more leaves limbo, durably; then the allocator gets it.
 * (I: a block is allocatable only after no ledger entry names it and no map has it.)
 *
 * Whoever holds `reap` reaps: the thread, or an operation that found no free blocks. Under it are the limbo lock, the
 * ledger's and those of the table; so it may be taken under layout and map.
 */
#include "fs/pinning.h"

#include "meta/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define BATCH 64u

void fs_pins_live(struct fs *fs, int64_t change)
{
	lock_mutex_take(&fs->pinning->lock);
	fs->pinning->live += (uint64_t)change;
	if (fs->pinning->live == 0)
		pthread_cond_broadcast(&fs->pinning->drained);
	lock_mutex_drop(&fs->pinning->lock);
}

/*
 * What cannot be erased stays counted, and its blocks out of reach. A pin is tried again with the next drops, and all
 * by the next mount, which finds the entry, or that nobody names the blocks.
 */
static int kept(struct fs *fs, int error, const char *what, uint64_t number)
{
	if (error == 0)
		return 0;
	log_error("%s: erasing the record of %s %016" PRIx64
		  ": %s: its blocks stay in limbo, at most until the next mount",
		  fs->meta_path, what, number, strerror(-error));
	return fs_failed(fs, error, "erasing from the ledger", FMT_INO_LEDGER);
}

/* ---- Pins ---- */

/*
 * The bytes behind the end may be the holder's leavings, or an unlinked inode waits for its last pin: a thread of the
 * pool may wait for the file's locks.
 */
static void queue_mend(struct fs *fs, uint64_t ino)
{
	struct fs_pinning *pinning = fs->pinning;
	struct fs_mend *mend = memory_take(sizeof(*mend));

	/* Who grows the size zeroes the gap in any case (D4), and the next mount evicts orphans. */
	if (mend == NULL)
		return;
	*mend = (struct fs_mend){.ino = ino};
	lock_mutex_take(&pinning->lock);
	if (pinning->mend_first == NULL)
		pinning->mend_first = mend;
	else
		pinning->mend_last->next = mend;
	pinning->mend_last = mend;
	pthread_cond_signal(&pinning->work);
	lock_mutex_drop(&pinning->lock);
}

static void reap_known_pin(struct fs *fs, struct fs_holder *holder, struct pin *pin)
{
	struct pin_info info;
	int error = 0;

	pin_get_info(pin, &info);
	if (!fs->read_only)
		error = fs_writable(fs);
	if (error == 0 && !fs->read_only)
		error = kept(fs, meta_ledger_erase_pin(fs->meta, info.session, info.id), "pin", info.id);
	if (error != 0) {
		pin_keep(pin);
		return;
	}
	atomic_store(&fs->pinning->last_reaped, fs_monotonic());
	/* The lock: whoever has found it by its id may still be looking at it. */
	lock_mutex_take(&holder->lock);
	pin_reaped(pin);
	holder->pins--;
	lock_mutex_drop(&holder->lock);
	fs_pins_live(fs, -1);
	/* A pin for reading, too: it may have outlasted the writer of what is behind the end. */
	if (!fs->read_only && (info.detached_blocks > 0 || (info.flags & FS_PIN_TAIL) != 0))
		queue_mend(fs, info.ino);
}

/* ---- Sessions ---- */

static void end_pin_holder(struct fs *fs, struct pin_holder *pin_holder)
{
	lock_mutex_take(&fs->pinning->visiting);
	pin_reaped_holder(pin_holder);
	lock_mutex_drop(&fs->pinning->visiting);
}

static void finish_holder(struct fs *fs, struct fs_holder *holder)
{
	int error = 0;

	if (!fs->read_only)
		error = fs_writable(fs);
	if (error == 0 && !fs->read_only)
		error = kept(fs, meta_ledger_erase_session(fs->meta, holder->session), "session", holder->session);
	if (error != 0)
		return;
	holder->finished = true;
	end_pin_holder(fs, holder->pin);
	fs_holder_finish(fs, holder);
}

/* If nobody will use it again. Its pins are gone before it, but for those that could not be erased. */
static void finish_if_over(struct fs *fs, struct fs_holder *holder)
{
	bool over;

	lock_mutex_take(&holder->lock);
	over = holder->reaped && holder->requests == 0 && holder->pins == 0;
	lock_mutex_drop(&holder->lock);
	if (over && !holder->finished)
		finish_holder(fs, holder);
}

static void reap_holder(struct fs *fs, struct pin_holder *pin_holder)
{
	struct fs_holder *holder = fs_holder_find(fs, pin_holder_session(pin_holder));

	/* One that did not get into the table. */
	if (holder == NULL || holder->pin != pin_holder) {
		end_pin_holder(fs, pin_holder);
		if (holder != NULL)
			fs_holder_put(holder);
		return;
	}
	lock_mutex_take(&holder->lock);
	holder->reaped = true;
	lock_mutex_drop(&holder->lock);
	finish_if_over(fs, holder);
	fs_holder_put(holder);
}

static void reap_pin(struct fs *fs, struct pin *pin)
{
	struct fs_holder *holder;
	struct pin_info info;

	pin_get_info(pin, &info);
	/* A session leaves the table after its pins. */
	holder = fs_holder_find(fs, info.session);
	if (holder == NULL)
		return;
	reap_known_pin(fs, holder, pin);
	/* It may have kept its session waiting. */
	finish_if_over(fs, holder);
	fs_holder_put(holder);
}

/* ---- Limbo ---- */

struct pieces {
	size_t count;
	struct meta_extent extent[FS_SERIES_EXTENTS];
};

/* One transaction: takes what it can hold of limbo in [*phys, end) out; *phys becomes where to go on. */
static int limbo_remove_some(struct fs *fs, uint64_t *phys, uint64_t end, struct pieces *pieces)
{
	uint64_t from = *phys;
	struct meta_tx *tx;
	int error;

	pieces->count = 0;
	error = meta_begin(fs->meta, META_TX_RESERVE, &tx);
	if (error != 0)
		return error;
	while (from < end && pieces->count < FS_SERIES_EXTENTS) {
		struct meta_extent *extent = &pieces->extent[pieces->count];

		error = meta_limbo_remove(tx, from, end - from, &extent->phys, &extent->length);
		if (error != 0)
			break;
		from = extent->phys + extent->length;
		pieces->count++;
	}
	if (error == -ENOENT) {
		from = end;
		error = 0;
	}
	if (error != 0) {
		meta_abort(tx);
		return error;
	}
	error = meta_commit(tx);
	if (error == 0)
		*phys = from;
	return error;
}

static void reap_run(struct fs *fs, uint64_t phys, uint64_t length)
{
	const struct fs_inode limbo = {.ino = FMT_INO_LIMBO};
	const uint64_t end = phys + length;
	int error = fs_writable(fs);

	while (error == 0 && phys < end) {
		struct pieces pieces;

		lock_mutex_take(&fs->limbo);
		error = limbo_remove_some(fs, &phys, end, &pieces);
		lock_mutex_drop(&fs->limbo);
		for (size_t i = 0; error == 0 && i < pieces.count; i++)
			error = fs_free_blocks(fs, &limbo, &pieces.extent[i]);
	}
	if (error != 0 && error != -EROFS && !fs_is_shut_down(fs)) {
		log_error("%s: taking blocks out of limbo: %s: they stay there until the next mount", fs->meta_path,
			  strerror(-error));
		(void)fs_failed(fs, error, "taking blocks out", FMT_INO_LIMBO);
	}
	atomic_store(&fs->pinning->last_reaped, fs_monotonic());
}

/* ---- The queue ---- */

/* True if there was something. */
static bool reap_some(struct fs *fs)
{
	struct pin_reap items[BATCH];
	size_t count;

	count = pin_reap_take(fs->pins, items, BATCH);
	for (size_t i = 0; i < count; i++) {
		switch (items[i].kind) {
		case PIN_REAP_PIN:
			reap_pin(fs, items[i].pin);
			break;
		case PIN_REAP_RUN:
			reap_run(fs, items[i].run.phys, items[i].run.length);
			break;
		case PIN_REAP_HOLDER:
			reap_holder(fs, items[i].holder);
			break;
		}
	}
	return count > 0;
}

void fs_reap(struct fs *fs)
{
	bool more;

	do {
		lock_mutex_take(&fs->pinning->reap);
		more = reap_some(fs);
		lock_mutex_drop(&fs->pinning->reap);
	} while (more);
}

void fs_reap_holder_late(struct fs *fs, struct fs_holder *holder)
{
	lock_mutex_take(&fs->pinning->reap);
	finish_if_over(fs, holder);
	lock_mutex_drop(&fs->pinning->reap);
}

#define RECENTLY FS_NS_PER_S

bool fs_reaper_flush(struct fs *fs)
{
	bool reaped = false;
	bool more;

	do {
		lock_mutex_take(&fs->pinning->reap);
		more = reap_some(fs);
		lock_mutex_drop(&fs->pinning->reap);
		reaped |= more;
	} while (more);
	/* Or the thread did, between the caller's look at what is free and now. */
	return reaped || fs_monotonic() - atomic_load(&fs->pinning->last_reaped) < RECENTLY;
}

/* False: the reaper is to end, and nothing is left. */
static bool reaper_wait(struct fs_pinning *pinning)
{
	bool wanted;

	lock_mutex_take(&pinning->lock);
	while (!pinning->reap_wanted && !pinning->stopping)
		pthread_cond_wait(&pinning->reaping, &pinning->lock.mutex);
	wanted = pinning->reap_wanted;
	pinning->reap_wanted = false;
	lock_mutex_drop(&pinning->lock);
	return wanted;
}

/*
 * Nobody waits for the thread: whoever needs blocks, or pages for a record, reaps by himself (fs_reaper_flush()). So it
 * lets a millisecond's drops come together: each drop that finds others queued wakes nobody, and the next pin of a
 * client that unpins and pins does not meet the reaper at the ledger.
 */
#define GATHER_NS FS_NS_PER_MS

void *fs_reaper_thread(void *arg)
{
	const struct timespec gather = {.tv_nsec = GATHER_NS};
	struct fs *fs = arg;

	while (reaper_wait(fs->pinning)) {
		(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &gather, NULL);
		pin_reap_kept(fs->pins);
		fs_reap(fs);
	}
	return NULL;
}
