#include "wire/wire.h"

#include <string.h>

bool wire_header_valid(const void *message, size_t size)
{
	struct wire_header header;

	if (size < sizeof(header) || size > WIRE_MESSAGE_MAX)
		return false;
	memcpy(&header, message, sizeof(header));
	return header.magic == WIRE_MAGIC && header.length == size;
}

static unsigned type_of(const void *message)
{
	struct wire_header header;

	memcpy(&header, message, sizeof(header));
	return header.type;
}

/* Least size of a request; 0: not a request. */
static size_t request_size(unsigned type)
{
	switch (type) {
	case WIRE_HELLO:
		return sizeof(struct wire_hello);
	case WIRE_PIN:
		return sizeof(struct wire_pin);
	case WIRE_UNPIN:
	case WIRE_COMMIT:
	case WIRE_BELL:
	case WIRE_WORD:
		return sizeof(struct wire_range);
	case WIRE_CANCEL:
		return sizeof(struct wire_cancel);
	case WIRE_MAP:
		return sizeof(struct wire_map);
	case WIRE_LIST:
	case WIRE_GOODBYE:
		return sizeof(struct wire_header);
	default:
		return 0;
	}
}

bool wire_request_known(unsigned type)
{
	return request_size(type) != 0;
}

bool wire_request_valid(const void *message, size_t size)
{
	size_t least;

	if (!wire_header_valid(message, size))
		return false;
	least = request_size(type_of(message));
	return least != 0 && size >= least;
}

static bool pinned_valid(const void *message, size_t size)
{
	struct wire_pinned pinned;

	if (size < sizeof(pinned))
		return false;
	memcpy(&pinned, message, sizeof(pinned));
	if (pinned.header.error != 0 && pinned.count != 0)
		return false;
	return pinned.count <= (size - sizeof(pinned)) / sizeof(struct wire_extent);
}

static bool listed_valid(const void *message, size_t size)
{
	struct wire_listed listed;

	if (size < sizeof(listed))
		return false;
	memcpy(&listed, message, sizeof(listed));
	return listed.path_length <= size - sizeof(listed);
}

static bool file_map_valid(const void *message, size_t size)
{
	struct wire_file_map map;

	if (size < sizeof(map))
		return false;
	memcpy(&map, message, sizeof(map));
	return map.count <= (size - sizeof(map)) / sizeof(struct wire_extent);
}

static bool pool_map_valid(const void *message, size_t size)
{
	struct wire_pool_map map;

	if (size < sizeof(map))
		return false;
	memcpy(&map, message, sizeof(map));
	return map.count <= (size - sizeof(map)) / sizeof(struct wire_cell);
}

bool wire_answer_valid(const void *message, size_t size)
{
	if (!wire_header_valid(message, size))
		return false;
	switch (type_of(message)) {
	case WIRE_WELCOME:
		return size >= sizeof(struct wire_welcome);
	case WIRE_PART:
		return size >= sizeof(struct wire_part);
	case WIRE_EXTENTS:
	case WIRE_PINNED:
		return pinned_valid(message, size);
	case WIRE_DONE:
		return true;
	case WIRE_LISTED:
		return listed_valid(message, size);
	case WIRE_FILE_MAP:
		return file_map_valid(message, size);
	case WIRE_POOL_MAP:
		return pool_map_valid(message, size);
	default:
		return false;
	}
}

bool wire_event_valid(const void *message, size_t size)
{
	return wire_header_valid(message, size) && type_of(message) == WIRE_EVENT && size >= sizeof(struct wire_event);
}

void wire_fds_expected(unsigned type, unsigned *ret_least, unsigned *ret_most)
{
	unsigned least = 0;
	unsigned most = 0;

	switch (type) {
	case WIRE_HELLO:
	case WIRE_LIST:
	case WIRE_MAP:
		most = 1;
		break;
	case WIRE_PIN:
	case WIRE_PART:
		least = most = 1;
		break;
	case WIRE_WELCOME:
		least = most = 2;
		break;
	default:
		if (!wire_request_known(type) && type < WIRE_WELCOME)
			most = WIRE_FDS_MAX; /* of a later version */
		break;
	}
	*ret_least = least;
	*ret_most = most;
}

void wire_header_set(struct wire_header *header, unsigned type, size_t length, uint64_t request, int error)
{
	*header = (struct wire_header){
		.magic = WIRE_MAGIC,
		.type = (uint16_t)type,
		.length = (uint32_t)length,
		.error = error,
		.request = request,
	};
}
