#include "base/crc.h"
#include "format/format.h"

#include <sys/stat.h>

uint32_t fmt_owner_seed(uint64_t owner, uint32_t generation)
{
	return crc32c(crc32c(0, &owner, sizeof(owner)), &generation, sizeof(generation));
}

static uint32_t inode_crc(const struct fmt_inode *inode)
{
	const size_t start = offsetof(struct fmt_inode, ino);
	uint32_t crc = crc32c(0, &inode->magic, sizeof(inode->magic));

	return crc32c(crc, &inode->ino, sizeof(*inode) - start);
}

void fmt_inode_seal(struct fmt_inode *inode)
{
	inode->crc = inode_crc(inode);
}

bool fmt_inode_free(const struct fmt_inode *inode)
{
	return inode->magic == 0;
}

static bool mode_known(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFLNK:
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK:
		return (mode & ~(uint32_t)(S_IFMT | 07777)) == 0;
	default:
		return false;
	}
}

static bool map_plausible(const struct fmt_map *map, unsigned inline_records)
{
	if (map->height == 0)
		return map->count <= inline_records;
	return map->height <= FMT_MAP_HEIGHT_MAX && map->count == 0 && map->root != 0;
}

uint32_t fmt_user_flags(uint32_t mode)
{
	if (S_ISDIR(mode))
		return FMT_INODE_USER;
	return S_ISREG(mode) ? FMT_INODE_USER & ~FMT_INODE_DIRSYNC : FMT_INODE_ANY_TYPE;
}

bool fmt_inode_valid(const struct fmt_inode *inode, uint64_t ino)
{
	return inode->magic == FMT_INODE_MAGIC && inode->ino == ino && inode->crc == inode_crc(inode) &&
	       mode_known(inode->mode) && map_plausible(&inode->body, FMT_BODY_RECORDS) &&
	       map_plausible(&inode->xattrs, 1) && inode->size <= FMT_FILE_SIZE_MAX;
}
