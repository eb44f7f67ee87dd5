/*
 * At mount: what the ledger of an earlier daemon says. Everything is read before anything is changed:
 *
 *   1. sessions and pins are read; each session's process is looked for
 *   2. those that live, or that nobody can see, become holders that are away, with their pins; blocks of a pin are
 *         where the pin says in its file: counted there
 *         in limbo: counted as detached
 *         nobody's (a crash between a break's free and the ledger's erase): taken from the allocator into limbo
 *   3. runs of limbo are told to the table, which queues what no pin counts
 *   4. entries of the dead, and what a crash has left of entries, are erased
 *   5. the queue is reaped: limbo that was theirs is free
 *
 * A damaged ledger may hide pins: then nothing may be freed, and the mount is read-only. A reboot voids it all.
 *
 * Step 5 after step 4: allocatable only after the ledger is silent. A crash anywhere in between: all of it again.
 */
#include "fs/pinning.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct session {
	struct session *next;
	struct meta_session record;
	bool dead;
	struct fs_holder *holder; /* of the table; NULL if dead */
};

struct record {
	struct record *next;
	struct meta_pin pin; /* its extents are its own memory */
	struct meta_extent extents[];
};

struct restore {
	struct fs *fs;
	struct session *sessions;
	struct record *records;
	struct record **records_end; /* in the order of the ledger */
	uint64_t pins;
};

/* ---- Reading ---- */

static int read_session(void *arg, const struct meta_session *record)
{
	struct restore *restore = arg;
	struct session *session = calloc(1, sizeof(*session));

	if (session == NULL)
		return -ENOMEM;
	session->record = *record;
	session->next = restore->sessions;
	restore->sessions = session;
	return 0;
}

static int read_pin(void *arg, const struct meta_pin *pin)
{
	struct restore *restore = arg;
	struct record *record;
	size_t size;

	if (mul_overflows(pin->count, sizeof(struct meta_extent), &size))
		return -EUCLEAN;
	record = malloc(sizeof(*record) + size);
	if (record == NULL)
		return -ENOMEM;
	record->next = NULL;
	record->pin = *pin;
	if (pin->count > 0)
		memcpy(record->extents, pin->extents, size);
	record->pin.extents = record->extents;
	*restore->records_end = record;
	restore->records_end = &record->next;
	return 0;
}

static void restore_fini(struct restore *restore)
{
	while (restore->sessions != NULL) {
		struct session *session = restore->sessions;

		restore->sessions = session->next;
		free(session);
	}
	while (restore->records != NULL) {
		struct record *record = restore->records;

		restore->records = record->next;
		free(record);
	}
}

/* ---- Sessions ---- */

void fs_identity_of(const struct meta_session *record, struct process_identity *ret_identity)
{
	*ret_identity = (struct process_identity){
		.pid_namespace = record->pid_namespace,
		.start_time = record->start_time,
		.pidfs_inode = record->pidfs_inode,
		.pid = (pid_t)record->pid,
	};
	memcpy(ret_identity->boot_id, record->boot_id, sizeof(ret_identity->boot_id));
	memcpy(ret_identity->command, record->command, sizeof(record->command));
	ret_identity->command[sizeof(ret_identity->command) - 1] = '\0';
}

static int restore_session(struct fs *fs, struct session *session)
{
	const struct meta_session *record = &session->record;
	struct process_identity identity;
	enum process_fate fate;
	int pidfd = -1;
	int error;

	fs_identity_of(record, &identity);
	/* What cannot be looked at is not proven dead. */
	if (process_find(&identity, &fate, &pidfd) != 0)
		fate = PROCESS_UNSEEN;
	session->dead = fate == PROCESS_DEAD;
	if (session->dead)
		return 0;
	error = fs_holder_create(fs, record->id, record->cookie, &identity, pidfd, record->uid, &session->holder);
	if (error == 0 && pidfd >= 0)
		error = fs_watch_holder(fs, session->holder);
	return error;
}

static int restore_sessions(struct restore *restore)
{
	int error = 0;

	for (struct session *session = restore->sessions; session != NULL && error == 0; session = session->next)
		error = restore_session(restore->fs, session);
	return error;
}

/* ---- Blocks of a pin ---- */

/* Nobody's blocks are no file's from now on, either: limbo has them. */
static int claim_for_limbo(struct fs *fs, uint64_t phys, uint32_t length)
{
	struct meta_tx *tx;
	int error;

	error = alloc_claim(fs->alloc, phys, length);
	if (error != 0)
		return error;
	lock_mutex_take(&fs->limbo);
	error = meta_begin(fs->meta, META_TX_RESERVE, &tx);
	if (error == 0) {
		error = meta_limbo_add(tx, phys, length);
		if (error == 0)
			error = meta_commit(tx);
		else
			meta_abort(tx);
	}
	lock_mutex_drop(&fs->limbo);
	if (error != 0)
		(void)alloc_free(fs->alloc, phys, length);
	return error;
}

/* The first `*length` blocks at phys are in limbo (true), or are not. */
static int look_in_limbo(struct fs *fs, uint64_t phys, uint64_t *length, bool *ret_limbo)
{
	uint64_t found;
	uint32_t count;
	int error;

	lock_mutex_take(&fs->limbo);
	error = meta_limbo_find(fs->meta, phys, &found, &count);
	lock_mutex_drop(&fs->limbo);
	*ret_limbo = false;
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	if (found > phys) {
		*length = min_u64(*length, found - phys);
		return 0;
	}
	*ret_limbo = true;
	*length = min_u64(*length, found + count - phys);
	return 0;
}

/*
 * Takes blocks out of the allocator into limbo, as many of the first `*length` as go at once. Damaged media only:
 * another file has some of them; then halves, down to the one block that is (false), are tried, so that what is
 * nobody's does not stay free.
 */
static int claim_some(struct fs *fs, uint64_t phys, uint64_t *length, bool *ret_claimed)
{
	int error = claim_for_limbo(fs, phys, (uint32_t)*length);

	while (error == -EUCLEAN && *length > 1) {
		*length /= 2;
		error = claim_for_limbo(fs, phys, (uint32_t)*length);
	}
	*ret_claimed = error == 0;
	return error == -EUCLEAN ? 0 : error;
}

/* Blocks that are not the file's any more. Another file cannot have them; if it does they are counted all the same. */
static int restore_detached(struct fs *fs, uint64_t file_block, uint64_t phys, uint64_t length, struct fs_extents *list)
{
	bool told = false;
	int error = 0;

	while (length > 0 && error == 0) {
		uint64_t piece = length;
		bool ours;

		error = look_in_limbo(fs, phys, &piece, &ours);
		if (error == 0 && !ours)
			error = claim_some(fs, phys, &piece, &ours);
		if (error == 0 && !ours && !told) {
			log_error("%s: block %" PRIu64 " of part %" PRIu32
				  " is pinned, and another file's: run `pinfs fsck`",
				  fs->meta_path, fmt_phys_block(phys), fmt_phys_part(phys));
			told = true;
		}
		if (error == 0)
			error = fs_extents_add(list, file_block, phys, piece, true);
		file_block += piece;
		phys += piece;
		length -= piece;
	}
	return error;
}

/* The first `*length` blocks from file_block on are at phys in the file, as the pin says (true), or are not. */
static int look_in_file(struct fs *fs, const struct fmt_inode *media, uint64_t file_block, uint64_t phys,
			uint64_t *length, bool *ret_same)
{
	struct meta_extent extent;
	int error;

	*ret_same = false;
	if (media == NULL)
		return 0;
	error = meta_extent_find(fs->meta, media, file_block, &extent);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	if (extent.file_block > file_block) {
		*length = min_u64(*length, extent.file_block - file_block);
		return 0;
	}
	*length = min_u64(*length, extent.file_block + extent.length - file_block);
	*ret_same = extent.phys + (file_block - extent.file_block) == phys;
	return 0;
}

static int restore_extent(struct fs *fs, const struct fmt_inode *media, const struct meta_extent *extent,
			  struct fs_extents *list)
{
	uint64_t file_block = extent->file_block;
	uint64_t phys = extent->phys;
	uint64_t left = extent->length;
	int error = 0;

	while (left > 0 && error == 0) {
		uint64_t piece = left;
		bool same;

		error = look_in_file(fs, media, file_block, phys, &piece, &same);
		if (error == 0 && same)
			error = fs_extents_add(list, file_block, phys, piece, false);
		else if (error == 0)
			error = restore_detached(fs, file_block, phys, piece, list);
		file_block += piece;
		phys += piece;
		left -= piece;
	}
	return error;
}

/* ---- Pins ---- */

/* The file that the pin was taken of, or NULL if it is gone. */
static int find_file(struct fs *fs, const struct meta_pin *pin, const struct fmt_inode **ret_media)
{
	const struct fmt_inode *media;
	int error = meta_inode_get(fs->meta, pin->ino, &media);

	*ret_media = NULL;
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	if (media->generation == pin->generation && S_ISREG(media->mode))
		*ret_media = media;
	return 0;
}

static int restore_extents(struct fs *fs, const struct meta_pin *pin, struct fs_extents *list)
{
	const struct fmt_inode *media;
	int error = find_file(fs, pin, &media);

	for (size_t i = 0; i < pin->count && error == 0; i++) {
		const struct meta_extent *extent = &pin->extents[i];
		struct region_part *part;

		/* A record that a checksum vouches for, of a part that has shrunk since. */
		if (fs_block_address(fs, extent->phys, extent->length, &part) == NULL)
			return -EUCLEAN;
		error = restore_extent(fs, media, extent, list);
	}
	return error;
}

/* Numbers of new pins are not to meet this one. */
static void pass_id(struct fs_pinning *pinning, uint64_t id)
{
	uint64_t next = atomic_load(&pinning->next_pin);

	/* Half of the numbers lie before the next one, and are not reached in a lifetime. */
	if (id - next < UINT64_MAX / 2)
		atomic_store(&pinning->next_pin, id + 1 == 0 ? 1 : id + 1);
}

static int restore_pin(struct fs *fs, struct fs_holder *holder, const struct meta_pin *record)
{
	struct fs_extents list = {.count = 0};
	struct pin_request request = {
		.id = record->id,
		.ino = record->ino,
		.generation = record->generation,
		/* Without its state word a cached one counts as held; its holder brings it (fs_pin_set_word). */
		.flags = record->flags,
		.offset = record->offset,
		.length = record->length,
		.now = fs_monotonic(),
	};
	struct pin *pin;
	int error;

	error = restore_extents(fs, record, &list);
	if (error == 0) {
		request.extents = list.extent;
		request.count = list.count;
		error = pin_restore(fs->pins, holder->pin, &request, &pin);
	}
	free(list.extent);
	if (error != 0)
		return error;
	pass_id(fs->pinning, record->id);
	lock_mutex_take(&holder->lock);
	holder->pins++;
	lock_mutex_drop(&holder->lock);
	fs_pins_live(fs, 1);
	return 0;
}

static int restore_pins(struct restore *restore)
{
	int error = 0;

	for (struct record *record = restore->records; record != NULL && error == 0; record = record->next) {
		struct fs_holder *holder = fs_holder_find(restore->fs, record->pin.session);

		if (holder == NULL)
			continue; /* of a session that is dead */
		error = restore_pin(restore->fs, holder, &record->pin);
		fs_holder_put(holder);
		restore->pins++;
	}
	return error;
}

static int restore_limbo(struct fs *fs)
{
	uint64_t phys = 0;
	uint32_t length;
	int error;

	for (;;) {
		lock_mutex_take(&fs->limbo);
		error = meta_limbo_find(fs->meta, phys, &phys, &length);
		lock_mutex_drop(&fs->limbo);
		if (error == 0)
			error = pin_restore_limbo(fs->pins, phys, length);
		if (error != 0)
			return error == -ENOENT ? 0 : error;
		phys += length;
	}
}

/* ---- The dead ---- */

static bool is_dead(const struct restore *restore, uint64_t session)
{
	struct fs_holder *holder = fs_holder_find(restore->fs, session);

	if (holder != NULL)
		fs_holder_put(holder);
	return holder == NULL;
}

static int erase_dead(struct restore *restore)
{
	struct meta *meta = restore->fs->meta;
	int error = 0;

	for (struct record *record = restore->records; record != NULL && error == 0; record = record->next) {
		if (is_dead(restore, record->pin.session))
			error = meta_ledger_erase_pin(meta, record->pin.session, record->pin.id);
	}
	for (struct session *session = restore->sessions; session != NULL && error == 0; session = session->next) {
		if (session->dead)
			error = meta_ledger_erase_session(meta, session->record.id);
	}
	return error == 0 ? meta_ledger_sweep(meta) : error;
}

static int read_ledger(struct restore *restore)
{
	struct meta *meta = restore->fs->meta;
	struct process_identity self;
	int pidfd;
	int error = process_identify(getpid(), &self, &pidfd);

	if (error != 0)
		return error;
	close(pidfd);
	error = meta_ledger_reset(meta, self.boot_id);
	return error != 0 ? error : meta_ledger_visit(meta, read_session, read_pin, restore);
}

static int restore_run(struct restore *restore)
{
	struct fs *fs = restore->fs;
	int error = read_ledger(restore);

	if (error == 0)
		error = restore_sessions(restore);
	if (error == 0)
		error = restore_pins(restore);
	if (error == 0)
		error = restore_limbo(fs);
	if (error == 0)
		error = erase_dead(restore);
	if (error != 0)
		return error;
	fs_reap(fs);
	return fs_writable(fs);
}

int fs_restore_pins(struct fs *fs, struct message *message)
{
	struct restore restore = {.fs = fs};
	int error;

	restore.records_end = &restore.records;
	error = restore_run(&restore);
	if (error == -EUCLEAN) {
		log_error("%s: the record of pins is damaged, and processes that live may hold what it does not tell: "
			  "read-only until a reboot, after which all pins are void",
			  fs->meta_path);
		fs->read_only = true;
		error = 0;
	}
	if (error != 0)
		message_set(message, "%s: reading who had pinned what: %s", fs->meta_path, strerror(-error));
	else if (restore.pins > 0)
		log_info("%s: %" PRIu64 " pins of living processes are kept", fs->meta_path, restore.pins);
	restore_fini(&restore);
	return error;
}
