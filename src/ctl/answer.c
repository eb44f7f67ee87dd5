/* What a client learns of a pin: the parts that it has not been given, then the extents. */
#include "ctl/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GIVEN_READ 1u
#define GIVEN_WRITE 2u
#define EXTENTS_AT_ONCE 64u

uint32_t ctl_wire_flags(uint32_t flags)
{
	return WIRE_PIN_READ | ((flags & PIN_FLAG_WRITE) != 0 ? WIRE_PIN_WRITE : 0) |
	       ((flags & PIN_FLAG_EXCLUSIVE) != 0 ? WIRE_PIN_EXCLUSIVE : 0) |
	       ((flags & PIN_FLAG_EXTEND) != 0 ? WIRE_PIN_EXTEND : 0) |
	       ((flags & PIN_FLAG_CACHED) != 0 ? WIRE_PIN_CACHED : 0);
}

static uint32_t durability_of(uint32_t durability)
{
	switch ((enum region_durability)durability) {
	case REGION_CPU_FLUSH:
		return WIRE_DURABILITY_CPU_FLUSH;
	case REGION_EADR:
		return WIRE_DURABILITY_EADR;
	case REGION_MSYNC:
		break;
	}
	return WIRE_DURABILITY_MSYNC;
}

/* ---- Parts ---- */

static int given_grow(struct ctl_connection *connection, uint32_t part)
{
	uint32_t parts = part + 1;
	uint8_t *given;

	if (part < connection->given_parts)
		return 0;
	given = realloc(connection->given, parts);
	if (given == NULL)
		return -ENOMEM;
	memset(given + connection->given_parts, 0, parts - connection->given_parts);
	connection->given = given;
	connection->given_parts = parts;
	return 0;
}

static int give_part(struct ctl_connection *connection, uint32_t part, bool write, struct ctl_messages *list)
{
	const uint8_t bit = write ? GIVEN_WRITE : GIVEN_READ;
	struct fs *fs = connection->ctl->fs;
	struct fs_part_facts facts;
	struct ctl_message *message;
	struct wire_part *wire;
	int error = given_grow(connection, part);

	if (error != 0 || (connection->given[part] & bit) != 0)
		return error;
	error = fs_part_facts(fs, part, &facts);
	if (error != 0)
		return error == -ENOENT ? -EIO : error;
	message = ctl_message_new(WIRE_PART, sizeof(*wire), 0, 0);
	if (message == NULL)
		return -ENOMEM;
	error = fs_part_client_fd(fs, part, write, &message->fds[0]);
	if (error != 0) {
		free(message);
		return error == -ENOENT ? -EIO : error;
	}
	message->fd_count = 1;
	wire = (struct wire_part *)message->bytes;
	wire->part = part;
	wire->durability = durability_of(facts.durability);
	wire->bytes = facts.bytes;
	wire->alignment = facts.alignment;
	wire->flags = (write ? WIRE_PART_WRITE : 0) | (facts.map_sync ? WIRE_PART_MAP_SYNC : 0);
	STAILQ_INSERT_TAIL(list, message, next);
	connection->given[part] |= bit;
	return 0;
}

/* What was not sent after all has not been given. */
static void take_back(struct ctl_connection *connection, const struct ctl_messages *list)
{
	const struct ctl_message *message;

	STAILQ_FOREACH(message, list, next)
	{
		const struct wire_part *part = (const struct wire_part *)message->bytes;

		if (part->header.type == WIRE_PART)
			connection->given[part->part] &=
				(uint8_t) ~((part->flags & WIRE_PART_WRITE) != 0 ? GIVEN_WRITE : GIVEN_READ);
	}
}

/* ---- Extents ---- */

static struct wire_pinned *pinned_add(const struct ctl_pinned *pinned, size_t extents, struct ctl_messages *list)
{
	size_t size = sizeof(struct wire_pinned) + extents * sizeof(struct wire_extent);
	struct ctl_message *message = ctl_message_new(WIRE_EXTENTS, size, pinned->request, 0);
	struct wire_pinned *wire;

	if (message == NULL)
		return NULL;
	wire = (struct wire_pinned *)message->bytes;
	wire->pin = pinned->pin;
	wire->ino = pinned->ino;
	wire->offset = pinned->offset;
	wire->length = pinned->length;
	wire->flags = pinned->flags;
	wire->word = pinned->word;
	wire->generation = pinned->generation;
	STAILQ_INSERT_TAIL(list, message, next);
	return wire;
}

static void extent_add(struct wire_pinned *wire, const struct fs_pin_extent *extent)
{
	wire->extent[wire->count++] = (struct wire_extent){
		.offset = extent->offset,
		.length = extent->length,
		.part_offset = extent->part_offset,
		.part = extent->part,
		.flags = extent->detached ? WIRE_EXTENT_DETACHED : 0,
	};
}

/* Some extents: parts into one list, the extents into the other. */
static int add_some(struct ctl_connection *connection, const struct ctl_pinned *pinned,
		    const struct fs_pin_extent *extents, size_t count, struct ctl_messages *parts,
		    struct wire_pinned *wire)
{
	for (size_t i = 0; i < count; i++) {
		int error = extents[i].part == UINT32_MAX ? 0
							  : give_part(connection, extents[i].part,
								      (pinned->flags & WIRE_PIN_WRITE) != 0, parts);

		if (error != 0)
			return error;
		extent_add(wire, &extents[i]);
	}
	return 0;
}

/* *ret_last is the message with the last piece. */
static int add_all(struct ctl_connection *connection, struct fs_holder *holder, const struct ctl_pinned *pinned,
		   struct ctl_messages *parts, struct ctl_messages *extents, struct wire_pinned **ret_last)
{
	struct fs_pin_extent some[EXTENTS_AT_ONCE];
	struct wire_pinned *wire = NULL;
	size_t total = 1;

	for (size_t start = 0; start < total;) {
		ssize_t count =
			fs_pin_extents(connection->ctl->fs, holder, pinned->pin, start, some, EXTENTS_AT_ONCE, &total);
		int error;

		if (count < 0)
			return (int)count;
		if (count == 0)
			return -EIO;
		wire = pinned_add(pinned, (size_t)count, extents);
		if (wire == NULL)
			return -ENOMEM;
		error = add_some(connection, pinned, some, (size_t)count, parts, wire);
		if (error != 0)
			return error;
		start += (size_t)count;
	}
	*ret_last = wire;
	return 0;
}

int ctl_answer_pinned(struct ctl_connection *connection, struct fs_holder *holder, const struct ctl_pinned *pinned,
		      struct ctl_messages *list)
{
	struct ctl_messages extents = STAILQ_HEAD_INITIALIZER(extents);
	struct ctl_messages parts = STAILQ_HEAD_INITIALIZER(parts);
	struct wire_pinned *last;
	int error = add_all(connection, holder, pinned, &parts, &extents, &last);

	if (error != 0) {
		take_back(connection, &parts);
		ctl_messages_free(&parts);
		ctl_messages_free(&extents);
		return error;
	}
	last->header.type = WIRE_PINNED;
	STAILQ_CONCAT(list, &parts);
	STAILQ_CONCAT(list, &extents);
	return 0;
}
