/* libpmemobj's logs, read as its recovery reads them. */
#include "format/pmdk.h"

#include "base/arith.h"

#include <assert.h>
#include <string.h>

/* A log: this header, then entries. It ends at an entry that does not verify, or whose offset is 0. */
struct log {
	uint64_t checksum; /* redo: of header and entries */
	uint64_t next; /* pool offset of its continuation; none of ours has one */
	uint64_t capacity; /* bytes of entries; 0: a redo log that has been carried out */
	uint64_t generation; /* undo: part of each entry's checksum, so that raising it ends them all */
	uint64_t flags;
	uint64_t unused[3];
	unsigned char data[];
};
static_assert(sizeof(struct log) == 64, "log header layout");

#define LINE 64u
#define KIND_MASK (7ull << 61)
#define KIND_SET (0ull << 61)
#define KIND_AND (1ull << 61)
#define KIND_OR (2ull << 61)
#define KIND_COPY (6ull << 61) /* a struct pmdk_undo, in whole lines */

/* Entry of a redo log: a word and what is done to it. */
struct redo {
	uint64_t offset;
	uint64_t value;
};

static const struct place {
	uint32_t at;
	uint32_t capacity;
	const char *name;
} redo_logs[] = {{0, 192, "internal redo"}, {256, 640, "external redo"}}, undo_log = {960, 2048, "undo"};

/* Fletcher's checksum in 64 bits over words of 4 bytes, continued from `sum`. */
static uint64_t fletcher(const void *data, size_t length, uint64_t sum)
{
	uint32_t low = (uint32_t)sum, high = (uint32_t)(sum >> 32);
	const unsigned char *bytes = data;

	for (size_t i = 0; i < length; i += sizeof(uint32_t)) {
		uint32_t word;

		memcpy(&word, bytes + i, sizeof(word));
		low += word;
		high += low;
	}
	return (uint64_t)high << 32 | low;
}

/* The same of a structure with an 8-byte field that counts as 0. */
static uint64_t fletcher_without(const void *data, size_t length, size_t field)
{
	static const uint64_t zero;
	uint64_t sum = fletcher(data, field, 0);

	sum = fletcher(&zero, sizeof(zero), sum);
	return fletcher((const char *)data + field + sizeof(zero), length - field - sizeof(zero), sum);
}

static const struct log *log_of(const void *lane, const struct place *place)
{
	return (const struct log *)((const char *)lane + place->at);
}

/* The entry at `at`, if it is whole and of this log's generation. */
static const struct pmdk_undo *undo_at(const struct log *log, size_t at)
{
	const struct pmdk_undo *undo = (const struct pmdk_undo *)(log->data + at);
	size_t length;
	uint64_t sum;

	if (at + sizeof(*undo) > undo_log.capacity || (undo->offset & KIND_MASK) != KIND_COPY ||
	    pmdk_undo_offset(undo) == 0 || undo->size > undo_log.capacity)
		return NULL;
	length = align_up(sizeof(*undo) + undo->size, LINE);
	if (length > undo_log.capacity - at)
		return NULL;
	sum = fletcher_without(undo, length, offsetof(struct pmdk_undo, checksum));
	return undo->checksum == fletcher(&log->generation, sizeof(log->generation), sum) ? undo : NULL;
}

const struct pmdk_undo *pmdk_undo_next(const void *lane, size_t *at)
{
	const struct pmdk_undo *undo = undo_at(log_of(lane, &undo_log), *at);

	if (undo != NULL)
		*at += align_up(sizeof(*undo) + undo->size, LINE);
	return undo;
}

static bool undo_sound(const struct log *log, const void *lane, pmdk_allowed *allowed, void *arg)
{
	const struct pmdk_undo *undo;
	size_t at = 0;

	if (log->capacity != undo_log.capacity || log->next != 0)
		return false;
	while ((undo = pmdk_undo_next(lane, &at)) != NULL) {
		if (!allowed(arg, true, pmdk_undo_offset(undo), undo->size))
			return false;
	}
	if (at + sizeof(*undo) > undo_log.capacity)
		return true;
	/* What follows the last entry has an offset of 0, or is an entry that was not finished or is of old. */
	undo = (const struct pmdk_undo *)(log->data + at);
	if (undo->offset != 0 && (undo->offset & KIND_MASK) != KIND_COPY)
		return false;
	/* An entry behind a damaged one: recovery would end before it, and leave half of a transaction. */
	for (at += LINE; at < undo_log.capacity; at += LINE) {
		if (undo_at(log, at) != NULL)
			return false;
	}
	return true;
}

static bool redo_sound(const struct log *log, const struct place *place, pmdk_allowed *allowed, void *arg)
{
	size_t length = 0;

	if (log->next != 0 || (log->capacity != 0 && log->capacity != place->capacity))
		return false;
	for (; length < log->capacity; length += sizeof(struct redo)) {
		const struct redo *redo = (const struct redo *)(log->data + length);
		uint64_t kind = redo->offset & KIND_MASK;

		if (redo->offset == 0)
			break;
		/* Others are entries without an end, or none that pinfs causes. */
		if (kind != KIND_SET && kind != KIND_AND && kind != KIND_OR)
			return false;
	}
	/* One that does not verify was not finished: it is not carried out. */
	if (length == 0 || log->checksum != fletcher_without(log, sizeof(*log) + length, 0))
		return true;
	for (size_t at = 0; at < length; at += sizeof(struct redo)) {
		const struct redo *redo = (const struct redo *)(log->data + at);

		if (!allowed(arg, false, redo->offset & ~KIND_MASK, sizeof(redo->value)))
			return false;
	}
	return true;
}

const char *pmdk_lane_fault(const void *lane, pmdk_allowed *allowed, void *arg)
{
	for (size_t i = 0; i < ARRAY_SIZE(redo_logs); i++) {
		if (!redo_sound(log_of(lane, &redo_logs[i]), &redo_logs[i], allowed, arg))
			return redo_logs[i].name;
	}
	return undo_sound(log_of(lane, &undo_log), lane, allowed, arg) ? NULL : undo_log.name;
}
