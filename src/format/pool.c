/* Superblock, group headers and data part headers. */
#include "base/crc.h"
#include "format/format.h"

#include <string.h>

static const uint32_t zero;

/* Checksum of a structure whose 4-byte `crc` field at `crc_offset` counts as 0. */
static uint32_t crc_without(uint32_t seed, const void *record, size_t length, size_t crc_offset)
{
	const uint8_t *bytes = record;
	uint32_t crc = crc32c(seed, bytes, crc_offset);

	crc = crc32c(crc, &zero, sizeof(zero));
	return crc32c(crc, bytes + crc_offset + sizeof(zero), length - crc_offset - sizeof(zero));
}

static uint32_t part_header_crc(const struct fmt_part_header *header)
{
	return crc_without(0, header, sizeof(*header), offsetof(struct fmt_part_header, crc));
}

void fmt_part_header_seal(struct fmt_part_header *header)
{
	header->crc = part_header_crc(header);
}

bool fmt_part_header_valid(const struct fmt_part_header *header)
{
	return header->magic == FMT_PART_MAGIC && header->crc == part_header_crc(header);
}

/* magic, state and mounts change by themselves, by single stores, and so are not covered. */
static uint32_t super_crc(const struct fmt_super *super)
{
	struct fmt_super copy = *super;

	copy.magic = 0;
	copy.crc = 0;
	copy.state = 0;
	copy.mounts = 0;
	return crc32c(0, &copy, sizeof(copy));
}

void fmt_super_seal(struct fmt_super *super)
{
	super->crc = super_crc(super);
}

bool fmt_super_valid(const struct fmt_super *super)
{
	return super->magic == FMT_SUPER_MAGIC && super->crc == super_crc(super);
}

static uint32_t group_crc(const struct fmt_group *group, const uint8_t pool_uuid[16])
{
	const size_t start = offsetof(struct fmt_group, magic);
	const size_t end = offsetof(struct fmt_group, unused);

	return crc_without(crc32c(0, pool_uuid, 16), &group->magic, end - start,
			   offsetof(struct fmt_group, crc) - start);
}

void fmt_group_seal(struct fmt_group *group, const uint8_t pool_uuid[16])
{
	group->crc = group_crc(group, pool_uuid);
}

bool fmt_group_valid(const struct fmt_group *group, const uint8_t pool_uuid[16], uint64_t number)
{
	return group->magic == FMT_GROUP_MAGIC && group->number == number && (group->inode_frames & 1) != 0 &&
	       group->crc == group_crc(group, pool_uuid);
}

uint32_t fmt_group_signature(const struct fmt_group *group)
{
	const size_t start = offsetof(struct fmt_group, magic);
	const size_t end = offsetof(struct fmt_group, unused);

	/* A checksum is linear: what its seed adds depends on the seed alone. */
	return group->crc ^ crc_without(0, &group->magic, end - start, offsetof(struct fmt_group, crc) - start);
}
