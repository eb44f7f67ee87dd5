/*
 * Reading the whole pin ledger. Damage does not end it: what can be read is read, and that something could not be is
 * said. In a shard with damage nothing is void: what seems to be missing may be what is damaged.
 */
#include "meta/ledger.h"
#include "meta/memory.h"

#include "base/arith.h"

#include <errno.h>
#include <stdlib.h>
#include <stdarg.h>
#include <stdio.h>

/* One reading of all shards. */
struct walk {
	struct meta *meta;
	const struct meta_visitor *visitor; /* hears of damage; NULL: nobody does */
	/* Called for each record; non-zero ends the walk. */
	int (*record)(struct walk *walk, const struct map *shard, const struct ledger_record *record);
	bool damaged; /* this shard */
	unsigned damaged_shards; /* bit i: shard i */
	int (*visit_session)(void *arg, const struct meta_session *session);
	int (*visit_pin)(void *arg, const struct meta_pin *pin);
	void *arg;
	uint64_t count; /* extents, or void names */
	struct fmt_ledger_key *keys; /* of what is void, to be erased */
	size_t key_capacity;
};

/* Returns 0, or what the visitor says. */
static int damage(struct walk *walk, const char *invariant, uint64_t ino, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static int damage(struct walk *walk, const char *invariant, uint64_t ino, const char *format, ...)
{
	char what[256];
	va_list args;

	walk->damaged = true;
	if (walk->visitor == NULL || walk->visitor->damage == NULL)
		return 0;
	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	return walk->visitor->damage(walk->visitor->arg, invariant, ino, what);
}

/* ---- All names of all shards ---- */

static int walk_page(struct walk *walk, const struct map *shard, const struct fmt_names *page)
{
	int error = 0;

	for (uint64_t left = page->start; error == 0 && left != 0; left &= left - 1) {
		struct ledger_record record = {.name = fmt_name_at(page, (unsigned)__builtin_ctzll(left), shard->seed)};

		if (record.name == NULL)
			walk->damaged = true; /* I13 */
		else if (fmt_ledger_parse((const char *)record.name->bytes, record.name->name_length, &record.key) &&
			 fmt_ledger_ino(record.key.session) == shard->owner->ino)
			error = walk->record(walk, shard, &record);
		else
			error = damage(walk, "I25", shard->owner->ino, "`%.*s` is no name of the ledger",
				       (int)record.name->name_length, (const char *)record.name->bytes);
	}
	return error;
}

static int walk_shard(struct walk *walk, unsigned number)
{
	const struct fmt_inode *inode;
	struct map_path path;
	struct map shard;
	int error = meta_inode_get(walk->meta, FMT_INO_LEDGER + number, &inode);

	walk->damaged = (atomic_load(&walk->meta->ledger_damaged) >> number & 1) != 0;
	if (error == 0) {
		shard = map_of_xattrs(walk->meta, inode);
		error = map_first(&shard, &path);
	}
	while (error == 0) {
		struct fmt_names *page;

		if (names_page(&shard, &path, &page) != 0)
			walk->damaged = true; /* I13 */
		else
			error = walk_page(walk, &shard, page);
		if (error != 0)
			return error;
		error = map_next(&shard, &path);
	}
	if (error != 0 && error != -ENOENT) /* I3, I4, I5 */
		walk->damaged = true;
	if (walk->damaged)
		walk->damaged_shards |= 1u << number;
	return 0;
}

static int walk_all(struct walk *walk)
{
	int error = 0;

	for (unsigned number = 0; error == 0 && number < FMT_LEDGER_SHARDS; number++)
		error = walk_shard(walk, number);
	return error;
}

/* ---- Sessions ---- */

static int visit_session(struct walk *walk, const struct map *shard, const struct ledger_record *record)
{
	const struct fmt_ledger_session *media;
	struct meta_session session;
	void *value;
	int error;

	if (record->key.kind != FMT_LEDGER_SESSION)
		return 0;
	error = ledger_value(shard, record->name, &value);
	if (error != 0)
		return error == -EUCLEAN ? damage(walk, "I25", shard->owner->ino, "a session cannot be read") : error;
	media = value;
	if (fmt_ledger_session_valid(media, record->name->value_length, &record->key)) {
		session = (struct meta_session){
			.id = media->id,
			.pid_namespace = media->pid_namespace,
			.start_time = media->start_time,
			.pidfs_inode = media->pidfs_inode,
			.pid = media->pid,
			.uid = media->uid,
			.gid = media->gid,
		};
		memcpy(session.boot_id, media->boot_id, sizeof(session.boot_id));
		memcpy(session.cookie, media->cookie, sizeof(session.cookie));
		memcpy(session.command, media->command, sizeof(session.command));
		error = walk->visit_session != NULL ? walk->visit_session(walk->arg, &session) : 0;
	} else {
		error = damage(walk, "I25", shard->owner->ino, "session %#llx is not as its name says",
			       (unsigned long long)record->key.session);
	}
	memory_give_back(value);
	return error;
}

/* ---- Pins ---- */

/* A pin that is being put together. */
struct reading {
	struct fmt_ledger_pin *head;
	struct meta_extent *extents;
	size_t count;
	size_t capacity;
	uint64_t next_block;
};

static int reading_add(struct reading *reading, const struct fmt_ledger_extent *records, size_t count)
{
	if (reading->capacity - reading->count < count) {
		size_t capacity = max_u64(reading->count + count, 2 * reading->capacity);
		struct meta_extent *bigger = reallocarray(reading->extents, capacity, sizeof(*bigger));

		if (bigger == NULL)
			return -ENOMEM;
		reading->extents = bigger;
		reading->capacity = capacity;
	}
	for (size_t i = 0; i < count; i++) {
		if (!fmt_ledger_extent_valid(reading->head, &records[i], &reading->next_block))
			return -EUCLEAN;
		reading->extents[reading->count++] = (struct meta_extent){
			.file_block = records[i].file_block,
			.phys = records[i].phys,
			.length = records[i].length,
		};
	}
	return 0;
}

/* -EUCLEAN: a piece is missing, or not as it should be. */
static int read_piece(const struct map *shard, struct reading *reading, uint32_t piece, size_t count)
{
	const struct fmt_ledger_key key = {
		.kind = FMT_LEDGER_PIECE,
		.piece = piece,
		.session = reading->head->session,
		.pin = reading->head->id,
	};
	struct names_place place;
	void *value;
	int error = ledger_find(shard, &key, &place);

	if (error == 0)
		error = ledger_value(shard, place.name, &value);
	if (error != 0)
		return error == -ENOENT ? -EUCLEAN : error;
	if (place.name->value_length == count * sizeof(struct fmt_ledger_extent))
		error = reading_add(reading, value, count);
	else
		error = -EUCLEAN;
	memory_give_back(value);
	return error;
}

static int read_pieces(const struct map *shard, struct reading *reading)
{
	size_t count;
	int error = 0;

	for (uint32_t piece = 0; error == 0 && (count = fmt_ledger_piece_extents(reading->head, piece)) > 0; piece++)
		error = read_piece(shard, reading, piece, count);
	return error;
}

static int give_pin(struct walk *walk, const struct map *shard, struct reading *reading)
{
	const struct fmt_ledger_pin *head = reading->head;
	struct meta_pin pin = {
		.id = head->id,
		.session = head->session,
		.ino = head->ino,
		.generation = head->generation,
		.flags = head->flags,
		.offset = head->offset,
		.length = head->length,
	};
	int error = reading_add(reading, head->extent, head->head_count);

	if (error == -EUCLEAN)
		return damage(walk, "I25", shard->owner->ino, "pin %#llx has impossible extents",
			      (unsigned long long)head->id);
	if (error == 0)
		error = read_pieces(shard, reading);
	if (error == -EUCLEAN)
		return damage(walk, "I26", shard->owner->ino, "pin %#llx is not whole: a piece is missing or damaged",
			      (unsigned long long)head->id);
	if (error != 0)
		return error;
	pin.count = reading->count;
	pin.extents = reading->extents;
	return walk->visit_pin != NULL ? walk->visit_pin(walk->arg, &pin) : 0;
}

/* The head of a pin: 0, *ret_head to be freed, NULL if it is damaged (which has been said). */
static int read_head(struct walk *walk, const struct map *shard, const struct ledger_record *record,
		     struct fmt_ledger_pin **ret_head)
{
	void *value;
	int error = ledger_value(shard, record->name, &value);

	*ret_head = NULL;
	if (error == 0 && !fmt_ledger_pin_valid(value, record->name->value_length, &record->key)) {
		memory_give_back(value);
		error = -EUCLEAN;
	}
	if (error == -EUCLEAN)
		return damage(walk, "I25", shard->owner->ino, "pin %#llx is damaged or not as its name says",
			      (unsigned long long)record->key.pin);
	if (error == 0)
		*ret_head = value;
	return error;
}

/* 1: the session is there, 0: not, -EUCLEAN: it is damaged. */
static int has_session(const struct map *shard, uint64_t session)
{
	const struct fmt_ledger_key key = {.kind = FMT_LEDGER_SESSION, .session = session};
	struct names_place place;
	void *value;
	bool valid;
	int error = ledger_find(shard, &key, &place);

	if (error == 0)
		error = ledger_value(shard, place.name, &value);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	valid = fmt_ledger_session_valid(value, place.name->value_length, &key);
	memory_give_back(value);
	return valid ? 1 : -EUCLEAN;
}

static int visit_pin(struct walk *walk, const struct map *shard, const struct ledger_record *record)
{
	struct reading reading = {.head = NULL};
	int error;

	if (record->key.kind != FMT_LEDGER_PIN)
		return 0;
	error = has_session(shard, record->key.session);
	if (error == -EUCLEAN)
		walk->damaged = true;
	if (error <= 0)
		return error == -EUCLEAN ? 0 : error;
	error = read_head(walk, shard, record, &reading.head);
	if (error == 0 && reading.head != NULL)
		error = give_pin(walk, shard, &reading);
	free(reading.extents);
	memory_give_back(reading.head);
	return error;
}

int meta_ledger_visit(struct meta *meta, int (*session)(void *arg, const struct meta_session *session),
		      int (*pin)(void *arg, const struct meta_pin *pin), void *arg)
{
	struct walk walk = {.meta = meta, .visit_session = session, .visit_pin = pin, .arg = arg};
	int error;

	walk.record = visit_session;
	error = walk_all(&walk);
	if (error != 0)
		return error;
	walk.record = visit_pin;
	error = walk_all(&walk);
	if (error != 0)
		return error;
	return walk.damaged_shards != 0 ? -EUCLEAN : 0;
}

/* Each record by itself, in no order. */
static int read_record(struct walk *walk, const struct map *shard, const struct ledger_record *record)
{
	int error = visit_session(walk, shard, record);

	return error != 0 ? error : visit_pin(walk, shard, record);
}

/* ---- What is void ---- */

/* Pieces that the head of their pin asks for. 0: there is no such pin; a damaged head asks for all. */
static int pieces_wanted(struct walk *walk, const struct map *shard, const struct fmt_ledger_key *piece,
			 bool *ret_wanted)
{
	struct ledger_record head = {
		.key = {.kind = FMT_LEDGER_PIN, .session = piece->session, .pin = piece->pin},
	};
	struct fmt_ledger_pin *media;
	struct names_place place;
	int error = ledger_find(shard, &head.key, &place);

	*ret_wanted = error != -ENOENT;
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	head.name = place.name;
	error = read_head(walk, shard, &head, &media);
	if (error != 0 || media == NULL)
		return error;
	*ret_wanted = fmt_ledger_piece_extents(media, piece->piece) > 0;
	memory_give_back(media);
	return 0;
}

/* L1, L2. */
static int judge_void(struct walk *walk, const struct map *shard, const struct ledger_record *record, bool *ret_void)
{
	bool wanted;
	int error;

	*ret_void = false;
	if (record->key.kind == FMT_LEDGER_SESSION)
		return 0;
	error = has_session(shard, record->key.session);
	if (error < 0)
		return error;
	if (error == 0) {
		*ret_void = true;
		return 0;
	}
	if (record->key.kind == FMT_LEDGER_PIN)
		return 0;
	error = pieces_wanted(walk, shard, &record->key, &wanted);
	if (error == 0)
		*ret_void = !wanted;
	return error;
}

static int note_void(struct walk *walk, const struct map *shard, const struct ledger_record *record)
{
	bool is_void;
	int error = judge_void(walk, shard, record, &is_void);

	if (error == -EUCLEAN) {
		walk->damaged = true;
		return 0;
	}
	if (error != 0 || !is_void)
		return error;
	if (walk->count == walk->key_capacity) {
		size_t capacity = max_u64(64, 2 * walk->key_capacity);
		struct fmt_ledger_key *bigger = reallocarray(walk->keys, capacity, sizeof(*bigger));

		if (bigger == NULL)
			return -ENOMEM;
		walk->keys = bigger;
		walk->key_capacity = capacity;
	}
	walk->keys[walk->count++] = record->key;
	return 0;
}

/* Finds what is void in one shard, none if it has damage. The keys are to be freed, also on failure. */
static int find_void(struct walk *walk, unsigned number)
{
	int error;

	walk->record = note_void;
	walk->count = 0;
	error = walk_shard(walk, number);
	if (walk->damaged)
		walk->count = 0;
	return error;
}

int meta_ledger_sweep(struct meta *meta)
{
	struct walk walk = {.meta = meta};
	int error = 0;

	for (unsigned number = 0; error == 0 && number < FMT_LEDGER_SHARDS; number++) {
		error = find_void(&walk, number);
		for (uint64_t i = 0; error == 0 && i < walk.count; i++)
			error = ledger_erase(meta, &walk.keys[i]);
	}
	free(walk.keys);
	return error != 0 ? error : ledger_settle(meta);
}

int meta_ledger_check(struct meta *meta, const struct meta_visitor *visitor, uint64_t *ret_void)
{
	struct walk walk = {.meta = meta, .visitor = visitor, .record = read_record};
	uint64_t count = 0;
	int error = walk_all(&walk);

	walk.visitor = NULL; /* it has heard of all damage */
	for (unsigned number = 0; error == 0 && number < FMT_LEDGER_SHARDS; number++) {
		error = find_void(&walk, number);
		count += walk.count;
	}
	free(walk.keys);
	if (error == 0)
		*ret_void = count;
	return error;
}

/* ---- Counting, and giving up ---- */

static int count_extents(struct walk *walk, const struct map *shard, const struct ledger_record *record)
{
	struct fmt_ledger_pin *head;
	int error;

	if (record->key.kind != FMT_LEDGER_PIN)
		return 0;
	error = read_head(walk, shard, record, &head);
	if (error == 0 && head != NULL && __builtin_add_overflow(walk->count, head->count, &walk->count))
		walk->count = UINT64_MAX;
	memory_give_back(head);
	return error;
}

int ledger_settle(struct meta *meta)
{
	struct walk walk = {.meta = meta, .record = count_extents};
	int error = walk_all(&walk);

	if (error == 0)
		atomic_store(&meta->ledger_extents, walk.count);
	return error;
}

/* Its pages are in use until the pool is opened again: who knows whether they are its own. */
static int clear_shard(struct meta *meta, const struct fmt_inode *shard)
{
	struct fmt_inode *inode;
	struct meta_tx *tx;
	int error = meta_begin(meta, META_TX_RESERVE, &tx);

	if (error != 0)
		return error;
	error = meta_inode_edit(tx, shard, &inode);
	if (error != 0) {
		meta_abort(tx);
		return error;
	}
	memset(&inode->xattrs, 0, sizeof(inode->xattrs));
	memset(inode->xattr_record, 0, sizeof(inode->xattr_record));
	return meta_commit(tx);
}

static int reset_shard(struct meta *meta, unsigned number, const uint8_t *boot_id)
{
	const struct fmt_inode *shard;
	int error;

	lock_mutex_take(&meta->ledger[number]);
	error = ledger_shard(meta, number, &shard);
	if (error == 0 && memcmp(shard->boot_id, boot_id, sizeof(shard->boot_id)) == 0)
		error = -EUCLEAN;
	if (error == 0)
		error = clear_shard(meta, shard);
	if (error == 0)
		atomic_fetch_and(&meta->ledger_damaged, ~(1u << number));
	lock_mutex_drop(&meta->ledger[number]);
	return error;
}

int meta_ledger_reset(struct meta *meta, const uint8_t boot_id[16])
{
	struct walk walk = {.meta = meta, .record = read_record};
	int first_error = 0;
	int error = walk_all(&walk);

	if (error != 0)
		return error;
	for (unsigned number = 0; number < FMT_LEDGER_SHARDS; number++) {
		if ((walk.damaged_shards >> number & 1) == 0)
			continue;
		error = reset_shard(meta, number, boot_id);
		if (first_error == 0)
			first_error = error;
	}
	error = ledger_settle(meta);
	return first_error != 0 ? first_error : error;
}
