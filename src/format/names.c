/* Pages of names, and blobs. */
#include "base/crc.h"
#include "format/format.h"

static uint32_t names_crc(const struct fmt_names *names)
{
	uint32_t crc = crc32c(0, &names->magic, sizeof(names->magic));

	return crc32c(crc, &names->owner, offsetof(struct fmt_names, unit) - offsetof(struct fmt_names, owner));
}

void fmt_names_seal(struct fmt_names *names)
{
	names->crc = names_crc(names);
}

bool fmt_names_valid(const struct fmt_names *names, const struct fmt_inode *owner, unsigned kind)
{
	return names->magic == FMT_NAMES_MAGIC && names->crc == names_crc(names) && names->owner == owner->ino &&
	       names->generation == owner->generation && names->kind == kind && (names->start & ~names->used) == 0 &&
	       (names->used >> FMT_NAMES_UNITS) == 0;
}

unsigned fmt_name_units(size_t name_length, size_t inline_value_length)
{
	size_t bytes = sizeof(struct fmt_name) + name_length + inline_value_length;

	return (unsigned)((bytes + FMT_UNIT_SIZE - 1) / FMT_UNIT_SIZE);
}

static size_t inline_value_length(const struct fmt_name *name, unsigned kind)
{
	return kind == FMT_KIND_XATTRS && name->type == FMT_XATTR_INLINE ? name->value_length : 0;
}

size_t fmt_name_bytes(const struct fmt_name *name, unsigned kind)
{
	return sizeof(*name) + name->name_length + inline_value_length(name, kind);
}

static uint32_t name_crc(const struct fmt_name *name, size_t bytes, uint32_t seed)
{
	return crc32c(seed, &name->type, bytes - offsetof(struct fmt_name, type));
}

void fmt_name_seal(struct fmt_name *name, unsigned kind, uint32_t seed)
{
	name->crc = name_crc(name, fmt_name_bytes(name, kind), seed);
}

const struct fmt_name *fmt_name_at(const struct fmt_names *names, unsigned unit, uint32_t seed)
{
	const struct fmt_name *name;
	uint64_t mask;

	if (unit >= FMT_NAMES_UNITS || (names->start >> unit & 1) == 0)
		return NULL;
	name = (const struct fmt_name *)names->unit[unit];
	if (name->name_length == 0 || name->units == 0 || unit + name->units > FMT_NAMES_UNITS ||
	    (names->kind == FMT_KIND_XATTRS && name->type > FMT_XATTR_BLOB) ||
	    (names->kind == FMT_KIND_XATTRS && name->type == FMT_XATTR_INLINE &&
	     name->value_length > FMT_XATTR_INLINE_MAX) ||
	    name->units != fmt_name_units(name->name_length, inline_value_length(name, names->kind)))
		return NULL;
	mask = ((1ull << name->units) - 1) << unit;
	if ((names->used & mask) != mask || (names->start & mask) != 1ull << unit ||
	    names->fingerprint[unit] != fmt_fingerprint(name->key) ||
	    name->crc != name_crc(name, fmt_name_bytes(name, names->kind), seed))
		return NULL;
	return name;
}

static uint32_t blob_crc(const struct fmt_blob *blob)
{
	uint32_t crc = crc32c(0, &blob->magic, sizeof(blob->magic));

	crc = crc32c(crc, &blob->owner, offsetof(struct fmt_blob, bytes) - offsetof(struct fmt_blob, owner));
	return crc32c(crc, blob->bytes, blob->count);
}

void fmt_blob_seal(struct fmt_blob *blob)
{
	blob->crc = blob_crc(blob);
}

bool fmt_blob_valid(const struct fmt_blob *blob, const struct fmt_inode *owner, unsigned kind)
{
	return blob->magic == FMT_BLOB_MAGIC && blob->count <= FMT_BLOB_BYTES && blob->owner == owner->ino &&
	       blob->generation == owner->generation && blob->kind == kind && blob->crc == blob_crc(blob);
}
