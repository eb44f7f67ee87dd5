/* Adding to the pin ledger and erasing from it. */
#include "meta/ledger.h"
#include "meta/memory.h"

#include "base/arith.h"
#include "meta/blob.h"

#include <errno.h>
#include <stdlib.h>

/* ---- Life ---- */

int ledger_init(struct meta *meta)
{
	for (unsigned i = 0; i < FMT_LEDGER_SHARDS; i++) {
		int error = lock_mutex_init(&meta->ledger[i], LOCK_LEDGER);

		if (error == 0)
			continue;
		while (i-- > 0)
			lock_mutex_fini(&meta->ledger[i]);
		return error;
	}
	return 0;
}

void ledger_fini(struct meta *meta)
{
	for (unsigned i = 0; i < FMT_LEDGER_SHARDS; i++)
		lock_mutex_fini(&meta->ledger[i]);
}

static struct lock_mutex *shard_lock(struct meta *meta, uint64_t session)
{
	return &meta->ledger[session % FMT_LEDGER_SHARDS];
}

/* ---- Names and values ---- */

int ledger_shard(struct meta *meta, uint64_t session, const struct fmt_inode **ret_shard)
{
	int error = meta_inode_get(meta, fmt_ledger_ino(session), ret_shard);

	return error == -ENOENT ? -EUCLEAN : error;
}

int ledger_find(const struct map *shard, const struct fmt_ledger_key *key, struct names_place *ret_place)
{
	char name[FMT_LEDGER_NAME_MAX];

	return names_find(shard, name, fmt_ledger_name(key, name), ret_place);
}

int ledger_value(const struct map *shard, const struct fmt_name *name, void **ret_value)
{
	void *value;
	int error = 0;

	if (name->value_length > FMT_XATTR_VALUE_MAX)
		return -EUCLEAN;
	/* Erasing needs it: that must not stop for want of memory. */
	value = memory_take(max_u64(name->value_length, 1));
	if (value == NULL)
		return -ENOMEM;
	if (name->type == FMT_XATTR_BLOB)
		error = blob_read(shard->meta, shard->owner, FMT_KIND_XATTRS, name->target, value, name->value_length);
	else
		memcpy(value, name->bytes + name->name_length, name->value_length);
	if (error == 0)
		*ret_value = value;
	else
		memory_give_back(value);
	return error;
}

/* In the transaction; -EEXIST: it is there. */
static int put(struct meta_tx *tx, const struct fmt_inode *shard, const struct fmt_ledger_key *key, const void *value,
	       size_t length)
{
	struct map map = map_of_xattrs(tx->meta, shard);
	char name[FMT_LEDGER_NAME_MAX];
	struct names_new new_name = {
		.name = name,
		.length = fmt_ledger_name(key, name),
		.type = length > FMT_XATTR_INLINE_MAX ? FMT_XATTR_BLOB : FMT_XATTR_INLINE,
		.value = value,
		.value_length = (uint32_t)length,
	};
	int error = 0;

	if (new_name.type == FMT_XATTR_BLOB)
		error = blob_write(tx, shard, FMT_KIND_XATTRS, value, length, &new_name.target);
	return error != 0 ? error : names_insert(tx, &map, &new_name);
}

/* One record in a transaction of its own; durable on return. `boot_id`: stamped on the shard, unless NULL. */
static int add(struct meta *meta, const struct fmt_ledger_key *key, const void *value, size_t length,
	       const uint8_t *boot_id)
{
	const struct fmt_inode *shard;
	struct fmt_inode *inode;
	struct meta_tx *tx;
	int error;

	lock_mutex_take(shard_lock(meta, key->session));
	error = ledger_shard(meta, key->session, &shard);
	if (error == 0)
		error = meta_begin(meta, 0, &tx);
	if (error != 0)
		goto drop_lock;
	error = put(tx, shard, key, value, length);
	if (error == 0 && boot_id != NULL && memcmp(shard->boot_id, boot_id, sizeof(shard->boot_id)) != 0) {
		error = meta_inode_edit(tx, shard, &inode);
		if (error == 0)
			memcpy(inode->boot_id, boot_id, sizeof(inode->boot_id));
	}
	if (error == 0)
		error = meta_commit(tx);
	else
		meta_abort(tx);
drop_lock:
	lock_mutex_drop(shard_lock(meta, key->session));
	return error;
}

/* In the transaction; shard lock held. -ENOENT. */
static int take_out(struct meta_tx *tx, const struct fmt_inode *shard, const struct fmt_ledger_key *key)
{
	char name[FMT_LEDGER_NAME_MAX];
	int error = meta_xattr_remove(tx, shard, name, fmt_ledger_name(key, name));

	return error == -ENODATA ? -ENOENT : error;
}

/* Shard lock held. */
static int erase_locked(struct meta *meta, const struct fmt_inode *shard, const struct fmt_ledger_key *key)
{
	struct meta_tx *tx;
	int error = meta_begin(meta, META_TX_RESERVE, &tx);

	if (error != 0)
		return error;
	error = take_out(tx, shard, key);
	if (error == 0)
		return meta_commit(tx);
	meta_abort(tx);
	return error;
}

int ledger_erase(struct meta *meta, const struct fmt_ledger_key *key)
{
	const struct fmt_inode *shard;
	int error;

	lock_mutex_take(shard_lock(meta, key->session));
	error = ledger_shard(meta, key->session, &shard);
	if (error == 0)
		error = erase_locked(meta, shard, key);
	lock_mutex_drop(shard_lock(meta, key->session));
	return error;
}

/* ---- Sessions ---- */

int meta_ledger_add_session(struct meta *meta, const struct meta_session *session)
{
	const struct fmt_ledger_key key = {.kind = FMT_LEDGER_SESSION, .session = session->id};
	struct fmt_ledger_session record = {
		.id = session->id,
		.pid_namespace = session->pid_namespace,
		.start_time = session->start_time,
		.pidfs_inode = session->pidfs_inode,
		.pid = session->pid,
		.uid = session->uid,
		.gid = session->gid,
	};

	memcpy(record.boot_id, session->boot_id, sizeof(record.boot_id));
	memcpy(record.cookie, session->cookie, sizeof(record.cookie));
	memcpy(record.command, session->command, strnlen(session->command, sizeof(record.command)));
	if (!fmt_ledger_session_valid(&record, sizeof(record), &key))
		return -EINVAL;
	return add(meta, &key, &record, sizeof(record), record.boot_id);
}

int meta_ledger_erase_session(struct meta *meta, uint64_t id)
{
	const struct fmt_ledger_key key = {.kind = FMT_LEDGER_SESSION, .session = id};
	int error = ledger_erase(meta, &key);

	return error == -ENOENT ? 0 : error;
}

/* ---- Pins ---- */

/* Extents [first, first + count) of the pin, as they are on media. -EINVAL: such a pin cannot be. */
static int convert(const struct fmt_ledger_pin *head, const struct meta_extent *extents, size_t count,
		   struct fmt_ledger_extent *ret_records, uint64_t *next_block)
{
	for (size_t i = 0; i < count; i++) {
		ret_records[i] = (struct fmt_ledger_extent){
			.file_block = extents[i].file_block,
			.phys = extents[i].phys,
			.length = extents[i].length,
		};
		if (!fmt_ledger_extent_valid(head, &ret_records[i], next_block))
			return -EINVAL;
	}
	return 0;
}

/* Adds pieces 0, 1, ... of the pin; *ret_pieces counts those that are there, also on failure. */
static int add_pieces(struct meta *meta, const struct fmt_ledger_pin *head, const struct meta_extent *extents,
		      uint64_t next_block, uint32_t *ret_pieces)
{
	struct fmt_ledger_key key = {.kind = FMT_LEDGER_PIECE, .session = head->session, .pin = head->id};
	struct fmt_ledger_extent *records = calloc(FMT_LEDGER_PIECE_EXTENTS, sizeof(*records));
	size_t count;
	int error = records == NULL ? -ENOMEM : 0;

	while (error == 0 && (count = fmt_ledger_piece_extents(head, key.piece)) > 0) {
		error = convert(head, extents, count, records, &next_block);
		if (error == 0)
			error = add(meta, &key, records, count * sizeof(*records), NULL);
		extents += count;
		key.piece += error == 0;
	}
	free(records);
	*ret_pieces = key.piece;
	return error;
}

/* What is not there is no error. */
static int erase_pieces(struct meta *meta, uint64_t session, uint64_t id, uint32_t pieces)
{
	struct fmt_ledger_key key = {.kind = FMT_LEDGER_PIECE, .session = session, .pin = id};
	int first_error = 0;

	for (; key.piece < pieces; key.piece++) {
		int error = ledger_erase(meta, &key);

		if (error != 0 && error != -ENOENT && first_error == 0)
			first_error = error;
	}
	return first_error;
}

/* I26: pieces before the head. */
static int add_parts(struct meta *meta, struct fmt_ledger_pin *head, const struct meta_extent *extents)
{
	const struct fmt_ledger_key key = {.kind = FMT_LEDGER_PIN, .session = head->session, .pin = head->id};
	size_t length = sizeof(*head) + head->head_count * sizeof(head->extent[0]);
	uint64_t next_block = 0;
	uint32_t pieces = 0;
	int error;

	if (!fmt_ledger_pin_valid(head, length, &key))
		return -EINVAL;
	error = convert(head, extents, head->head_count, head->extent, &next_block);
	if (error == 0 && head->count > head->head_count)
		error = add_pieces(meta, head, extents + head->head_count, next_block, &pieces);
	if (error == 0)
		error = add(meta, &key, head, length, NULL);
	if (error != 0)
		(void)erase_pieces(meta, head->session, head->id, pieces); /* what stays is void: L1 */
	return error;
}

/* Counts the pin's extents as promised to limbo; -ENOSPC: there are not the pages. */
static int promise(struct meta *meta, uint64_t extents)
{
	atomic_fetch_add(&meta->ledger_extents, extents);
	if (atomic_load(&meta->pages_free) >= meta->reserve + limbo_promise(meta))
		return 0;
	atomic_fetch_sub(&meta->ledger_extents, extents);
	return -ENOSPC;
}

int meta_ledger_add_pin(struct meta *meta, const struct meta_pin *pin)
{
	union {
		struct fmt_ledger_pin head;
		uint8_t bytes[FMT_XATTR_INLINE_MAX];
	} few;
	struct fmt_ledger_pin *head = &few.head;
	size_t head_count = min_u64(pin->count, FMT_LEDGER_HEAD_EXTENTS);
	int error;

	if (head_count > FMT_LEDGER_INLINE_EXTENTS) {
		head = malloc(sizeof(*head) + head_count * sizeof(head->extent[0]));
		if (head == NULL)
			return -ENOMEM;
	}
	*head = (struct fmt_ledger_pin){
		.id = pin->id,
		.session = pin->session,
		.ino = pin->ino,
		.offset = pin->offset,
		.length = pin->length,
		.count = pin->count,
		.generation = pin->generation,
		.flags = pin->flags,
		.head_count = (uint32_t)head_count,
	};
	error = promise(meta, pin->count);
	if (error == 0) {
		error = add_parts(meta, head, pin->extents);
		if (error != 0)
			atomic_fetch_sub(&meta->ledger_extents, pin->count);
	}
	if (head != &few.head)
		free(head);
	return error;
}

/* The head of a pin from its place; what it tells decides how much there is to erase. */
static int read_counts(const struct map *map, const struct fmt_ledger_key *key, uint64_t *ret_count,
		       uint32_t *ret_pieces)
{
	struct names_place place;
	struct fmt_ledger_pin *head;
	void *value;
	int error = ledger_find(map, key, &place);

	if (error == 0)
		error = ledger_value(map, place.name, &value);
	if (error != 0)
		return error;
	head = value;
	if (!fmt_ledger_pin_valid(head, place.name->value_length, key))
		error = -EUCLEAN;
	if (error == 0) {
		*ret_count = head->count;
		*ret_pieces = (uint32_t)((head->count - head->head_count + FMT_LEDGER_PIECE_EXTENTS - 1) /
					 FMT_LEDGER_PIECE_EXTENTS);
	}
	memory_give_back(value);
	return error;
}

int meta_ledger_erase_pin(struct meta *meta, uint64_t session, uint64_t id)
{
	const struct fmt_ledger_key key = {.kind = FMT_LEDGER_PIN, .session = session, .pin = id};
	const struct fmt_inode *shard;
	uint64_t count = 0;
	uint32_t pieces = 0;
	struct map map;
	int error;

	lock_mutex_take(shard_lock(meta, session));
	error = ledger_shard(meta, session, &shard);
	if (error == 0) {
		map = map_of_xattrs(meta, shard);
		error = read_counts(&map, &key, &count, &pieces);
	}
	/* I26: the head first; what is left without it is void. */
	if (error == 0)
		error = erase_locked(meta, shard, &key);
	lock_mutex_drop(shard_lock(meta, session));
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	atomic_fetch_sub(&meta->ledger_extents, count);
	return erase_pieces(meta, session, id, pieces);
}
