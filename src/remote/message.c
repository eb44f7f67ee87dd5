#include "remote/message.h"

#include <string.h>

static unsigned type_of(const void *message)
{
	struct remote_header header;

	memcpy(&header, message, sizeof(header));
	return header.type;
}

static bool range_fits(uint64_t offset, uint64_t length)
{
	return offset <= INT64_MAX && length <= INT64_MAX - offset;
}

static bool open_valid(const void *message, size_t size)
{
	struct remote_open open;

	if (size < sizeof(open))
		return false;
	memcpy(&open, message, sizeof(open));
	if (open.name_length == 0 || open.name_length > REMOTE_NAME_MAX || open.name_length > size - sizeof(open))
		return false;
	if (memchr((const char *)message + sizeof(open), '\0', open.name_length) != NULL)
		return false;
	return open.length > 0 && range_fits(open.offset, open.length) && (open.flags & ~REMOTE_OPEN_FLAGS) == 0;
}

static bool range_valid(const void *message, size_t size, uint32_t flags)
{
	struct remote_range range;

	if (size < sizeof(range))
		return false;
	memcpy(&range, message, sizeof(range));
	return range_fits(range.offset, range.length) && (range.flags & ~flags) == 0;
}

bool remote_request_valid(const void *message, size_t size)
{
	if (size < sizeof(struct remote_header) || size > REMOTE_MESSAGE_MAX)
		return false;
	switch (type_of(message)) {
	case REMOTE_OPEN:
		return open_valid(message, size);
	case REMOTE_COMMIT:
		return range_valid(message, size, 0);
	case REMOTE_CLOSE:
		return range_valid(message, size, REMOTE_CLOSE_CUT);
	case REMOTE_PING:
		return true;
	default:
		return false;
	}
}

static bool setup_valid(const void *message, size_t size)
{
	struct remote_setup setup;

	if (size < sizeof(setup))
		return false;
	memcpy(&setup, message, sizeof(setup));
	return setup.lease_ms > 0 && setup.length_max > 0 && setup.provider[0] != '\0' &&
	       memchr(setup.provider, '\0', sizeof(setup.provider)) != NULL;
}

static bool grant_valid(const void *message, size_t size)
{
	struct remote_grant grant;

	if (size < sizeof(grant))
		return false;
	memcpy(&grant, message, sizeof(grant));
	if (grant.count > REMOTE_PIECES_MAX || grant.count > (size - sizeof(grant)) / sizeof(struct remote_piece))
		return false;
	return range_fits(grant.offset, grant.length) && (grant.count > 0) == (grant.length > 0);
}

bool remote_grant_whole(const struct remote_grant *grant)
{
	uint64_t at = grant->offset;

	for (uint32_t i = 0; i < grant->count; i++) {
		if (grant->piece[i].offset != at || grant->piece[i].length == 0 ||
		    grant->piece[i].length > grant->offset + grant->length - at)
			return false;
		at += grant->piece[i].length;
	}
	return at == grant->offset + grant->length;
}

bool remote_answer_valid(const void *message, size_t size)
{
	if (size < sizeof(struct remote_header) || size > REMOTE_MESSAGE_MAX)
		return false;
	switch (type_of(message)) {
	case REMOTE_SETUP:
		return setup_valid(message, size);
	case REMOTE_GRANT:
		return grant_valid(message, size);
	case REMOTE_RECALL:
		return size >= sizeof(struct remote_recall);
	case REMOTE_DONE:
	case REMOTE_PONG:
	case REMOTE_ENDED:
		return true;
	default:
		return false;
	}
}

unsigned remote_version_choose(const struct remote_hello *hello)
{
	unsigned highest = hello->version_max < REMOTE_VERSION_MAX ? hello->version_max : REMOTE_VERSION_MAX;

	if (hello->version_min > hello->version_max || highest < REMOTE_VERSION_MIN || highest < hello->version_min)
		return 0;
	return highest;
}
