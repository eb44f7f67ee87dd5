#include "client/client.h"

#include <errno.h>
#include <stdlib.h>

/* A pin that the daemon has kept for this session. */
struct kept_pin {
	struct wire_pinned pinned;
	struct client_extents extents;
	struct client_pieces pieces; /* count 0: they make no sense */
	bool ours; /* the session has it: it is not unpinned, whatever else is wrong with it */
	uint32_t wordless; /* index of the state word that the daemon has to be told, or WIRE_WORD_NONE */
	bool wanted; /* idle, and its bell is set */
};

struct client_kept {
	struct kept_pin *pin;
	size_t count;
	size_t capacity;
};

static int grow(struct client_kept *kept)
{
	size_t capacity = kept->capacity == 0 ? 16 : kept->capacity * 2;
	struct kept_pin *grown;

	if (kept->count < kept->capacity)
		return 0;
	grown = reallocarray(kept->pin, capacity, sizeof(*grown));
	if (grown == NULL)
		return -ENOMEM;
	kept->pin = grown;
	kept->capacity = capacity;
	return 0;
}

static int take_extents(struct kept_pin *pin, const struct wire_pinned *pinned)
{
	uint64_t end;

	if (pinned->header.request != 0 || pinned->header.error != 0 || pinned->length == 0 ||
	    __builtin_add_overflow(pinned->offset, pinned->length, &end) || end > INT64_MAX - CLIENT_BLOCK)
		return -EPROTO;
	if (pinned->count + pin->extents.count > pinned->length / CLIENT_BLOCK + 2)
		return -EPROTO;
	pin->pinned = *pinned;
	return client_extents_add(&pin->extents, pinned->extent, pinned->count);
}

/* Its pieces, by the parts that the new daemon has given. */
static int finish(struct pinfs *fs, struct kept_pin *pin)
{
	const struct wire_pinned *pinned = &pin->pinned;
	int error;

	pthread_mutex_lock(&fs->lock);
	error = client_pieces_init(fs, pin->extents.extent, pin->extents.count, pinned->offset, pinned->length,
				   (pinned->flags & WIRE_PIN_WRITE) != 0 ? CLIENT_WRITE : CLIENT_READ, &pin->pieces);
	pthread_mutex_unlock(&fs->lock);
	return error == -EPROTO ? 0 : error;
}

static int take_message(struct pinfs *fs, struct client_message *message, struct client_kept *kept, bool *ret_whole)
{
	int error;

	*ret_whole = false;
	switch (client_message_header(message)->type) {
	case WIRE_PART:
		pthread_mutex_lock(&fs->lock);
		error = client_part_add(fs, (const struct wire_part *)message->bytes, message->fds[0]);
		pthread_mutex_unlock(&fs->lock);
		message->fds[0] = -1;
		return error;
	case WIRE_PINNED:
		*ret_whole = true;
		return take_extents(&kept->pin[kept->count], (const struct wire_pinned *)message->bytes);
	case WIRE_EXTENTS:
		return take_extents(&kept->pin[kept->count], (const struct wire_pinned *)message->bytes);
	default:
		return -EPROTO;
	}
}

static int read_one(struct pinfs *fs, int socket, struct client_message *message, struct client_kept *kept)
{
	bool whole = false;
	int error;

	error = grow(kept);
	if (error != 0)
		return error;
	kept->pin[kept->count] = (struct kept_pin){.wordless = WIRE_WORD_NONE};
	while (error == 0 && !whole) {
		do
			error = client_receive(socket, wire_answer_valid, 0, message);
		while (error == -EINTR);
		if (error == 0) {
			error = take_message(fs, message, kept, &whole);
			client_message_close(message);
		}
	}
	if (error == 0)
		error = finish(fs, &kept->pin[kept->count]);
	/* Also on failure: it may have extents to be freed. */
	kept->count++;
	return error;
}

static int compare_ids(const void *left, const void *right)
{
	uint64_t a = ((const struct kept_pin *)left)->pinned.pin;
	uint64_t b = ((const struct kept_pin *)right)->pinned.pin;

	return a < b ? -1 : a > b;
}

int client_kept_read(struct pinfs *fs, int socket, uint32_t count, struct client_kept **ret_kept)
{
	struct client_message *message = malloc(sizeof(*message));
	struct client_kept *kept = calloc(1, sizeof(*kept));
	int error = 0;

	if (message == NULL || kept == NULL)
		error = -ENOMEM;
	for (uint32_t i = 0; error == 0 && i < count; i++)
		error = read_one(fs, socket, message, kept);
	free(message);
	if (error != 0) {
		client_kept_free(kept);
		return error;
	}
	if (kept->count > 1)
		qsort(kept->pin, kept->count, sizeof(*kept->pin), compare_ids);
	*ret_kept = kept;
	return 0;
}

void client_kept_free(struct client_kept *kept)
{
	if (kept == NULL)
		return;
	for (size_t i = 0; i < kept->count; i++) {
		free(kept->pin[i].extents.extent);
		client_pieces_fini(&kept->pin[i].pieces);
	}
	free(kept->pin);
	free(kept);
}

/*
 * It is no longer what it was. An idle cached pin goes without a word, as when it is revoked; of another one the holder
 * is told, and goes on using its memory. True if it does: the daemon must go on counting what it has under that number.
 */
static bool lose(struct pinfs *fs, struct pinfs_pin *pin)
{
	uint32_t seen = pin->word != NULL ? atomic_fetch_or(pin->word, WIRE_WORD_REVOKED) : 1;
	bool held = (seen & WIRE_WORD_COUNT) != 0;

	client_cached_remove(fs, pin);
	if (!pin->lost && held)
		client_announce(fs, pin, PINFS_REASON_UNMAP, pin->offset, pin->length);
	pin->lost = true;
	return held;
}

void client_lose_all(struct pinfs *fs)
{
	for (struct pinfs_pin *pin = fs->pins; pin != NULL; pin = pin->next) {
		(void)lose(fs, pin);
		pin->unknown = true;
	}
}

static bool matches(const struct pinfs_pin *pin, const struct kept_pin *kept)
{
	if (kept->pinned.ino != pin->ino || kept->pinned.offset != pin->offset || kept->pinned.length != pin->length)
		return false;
	if (!client_pieces_equal(&pin->pieces, &kept->pieces))
		return false;
	if (pin->word == NULL)
		return (kept->pinned.flags & WIRE_PIN_CACHED) == 0;
	return (kept->pinned.flags & WIRE_PIN_CACHED) != 0 && pin->page == pin->fs->page &&
	       (kept->pinned.word == pin->word_index || kept->pinned.word == WIRE_WORD_NONE) &&
	       (atomic_load(pin->word) & WIRE_WORD_REVOKED) == 0;
}

/* What the former daemon may have had no time to tell. */
static void announce_changes(struct pinfs *fs, struct pinfs_pin *pin, const struct kept_pin *kept)
{
	const uint64_t end = pin->offset + pin->length;

	for (size_t i = 0; i < kept->extents.count; i++) {
		const struct wire_extent *extent = &kept->extents.extent[i];
		uint64_t from = extent->offset > pin->offset ? extent->offset : pin->offset;
		uint64_t to = extent->offset + extent->length < end ? extent->offset + extent->length : end;

		if ((extent->flags & WIRE_EXTENT_DETACHED) != 0)
			client_announce(fs, pin, PINFS_REASON_UNMAP, from, to - from);
	}
	if ((pin->flags & ~kept->pinned.flags & WIRE_PIN_EXCLUSIVE) != 0) {
		pin->flags &= ~WIRE_PIN_EXCLUSIVE;
		client_announce(fs, pin, PINFS_REASON_WRITE, pin->offset, pin->length);
	}
}

static struct kept_pin *find(struct client_kept *kept, uint64_t id)
{
	const struct kept_pin key = {.pinned.pin = id};

	return kept->count == 0 ? NULL : bsearch(&key, kept->pin, kept->count, sizeof(*kept->pin), compare_ids);
}

void client_kept_compare(struct pinfs *fs, struct client_kept *kept)
{
	for (struct pinfs_pin *pin = fs->pins; pin != NULL; pin = pin->next) {
		struct kept_pin *found = find(kept, pin->id);

		if (found == NULL || pin->lost || !matches(pin, found)) {
			bool held = lose(fs, pin);

			pin->unknown = found == NULL || !held;
			if (found != NULL)
				found->ours = held;
			continue;
		}
		found->ours = true;
		if (pin->word != NULL && found->pinned.word == WIRE_WORD_NONE)
			found->wordless = pin->word_index;
		found->wanted = pin->word != NULL &&
				(atomic_load(pin->word) & (WIRE_WORD_BELL | WIRE_WORD_COUNT)) == WIRE_WORD_BELL;
		announce_changes(fs, pin, found);
	}
}

void client_kept_settle(struct pinfs *fs, struct client_link *link, struct client_kept *kept)
{
	for (size_t i = 0; i < kept->count; i++) {
		struct kept_pin *pin = &kept->pin[i];

		if (!pin->ours && client_call_range(fs, link, WIRE_UNPIN, pin->pinned.pin, 0, 0) == -ENOTCONN)
			return;
		/* Until then it counts as held. */
		if (pin->wordless != WIRE_WORD_NONE &&
		    client_call_range(fs, link, WIRE_WORD, pin->pinned.pin, pin->wordless, 0) == -ENOTCONN)
			return;
		if (pin->wanted)
			client_ring(fs, link, pin->pinned.pin);
	}
}
