/* Records and nodes of ordered maps. */
#include "base/crc.h"
#include "format/format.h"

static uint32_t record_crc(const struct fmt_record *record, uint32_t seed)
{
	return crc32c(seed, record, offsetof(struct fmt_record, crc));
}

void fmt_record_seal(struct fmt_record *record, uint32_t seed)
{
	record->crc = record_crc(record, seed);
}

bool fmt_record_valid(const struct fmt_record *record, uint32_t seed)
{
	return record->crc == record_crc(record, seed);
}

static uint32_t node_crc(const struct fmt_node *node)
{
	uint32_t crc = crc32c(0, &node->magic, sizeof(node->magic));

	return crc32c(crc, &node->owner, offsetof(struct fmt_node, record) - offsetof(struct fmt_node, owner));
}

void fmt_node_seal(struct fmt_node *node)
{
	node->crc = node_crc(node);
}

bool fmt_node_valid(const struct fmt_node *node, const struct fmt_inode *owner, unsigned kind, unsigned level)
{
	return node->magic == FMT_NODE_MAGIC && node->crc == node_crc(node) && node->owner == owner->ino &&
	       node->generation == owner->generation && node->kind == kind && node->level == level && node->count > 0 &&
	       node->count <= FMT_NODE_RECORDS;
}
