/*
 * Every structure that pinfs writes to persistent memory. Little-endian, naturally aligned, sizes and offsets asserted.
 * src/format/README.md explains them, numbers the invariants (I1 ...) and gives the store order of each operation.
 *
 * pinfs runs on little-endian machines only (PMDK does): fields are read and written as they are.
 */
#ifndef PINFS_FORMAT_H
#define PINFS_FORMAT_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the on-media format is little-endian"
#endif

#define FMT_VERSION 1u
#define FMT_BLOCK_SHIFT 12
#define FMT_BLOCK_SIZE 4096u /* data block, and meta page */
#define FMT_HUGE_BLOCKS 512u /* blocks of a 2 MiB run */
#define FMT_NAME_MAX 255u
#define FMT_SYMLINK_MAX 4095u
#define FMT_XATTR_VALUE_MAX 65536u
#define FMT_FILE_SIZE_MAX INT64_MAX /* 8 EiB - 1 */
#define FMT_LINK_MAX INT32_MAX

/* Magics are four letters in memory order. */
#define FMT_MAGIC4(a, b, c, d) ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)
#define FMT_SUPER_MAGIC 0x4f50555373666e70ull /* "pnfsSUPO" */
#define FMT_PART_MAGIC 0x54524150736e6970ull /* "pinsPART" */
#define FMT_GROUP_MAGIC FMT_MAGIC4('P', 'g', 'r', 'p')
#define FMT_INODE_MAGIC FMT_MAGIC4('P', 'i', 'n', 'o')
#define FMT_NODE_MAGIC FMT_MAGIC4('P', 'n', 'o', 'd')
#define FMT_NAMES_MAGIC FMT_MAGIC4('P', 'n', 'a', 'm')
#define FMT_BLOB_MAGIC FMT_MAGIC4('P', 'b', 'l', 'b')

/*
 * Known feature words. An unknown incompat bit: refuse. An unknown ro_compat bit: mount read-only. compat: ignore. A
 * bit is set in one durable step before the first thing is stored that needs it, and then stays.
 */
#define FMT_INCOMPAT_ACL 1u /* POSIX ACLs: who does not know them lets in whom they keep out */
#define FMT_RO_COMPAT_FLAGS 1u /* flags of users on inodes: who does not know them changes what is immutable */
#define FMT_COMPAT_KNOWN 0u
#define FMT_RO_COMPAT_KNOWN FMT_RO_COMPAT_FLAGS
#define FMT_INCOMPAT_KNOWN FMT_INCOMPAT_ACL
/* Of data parts: none yet. */
#define FMT_PART_RO_COMPAT_KNOWN 0u
#define FMT_PART_INCOMPAT_KNOWN 0u

/* ---- Data part: block 0 and, as a copy for rescue, the last block of the part ---- */

struct fmt_part_header {
	uint64_t magic;
	uint32_t version;
	uint32_t crc; /* of the 4096 bytes, this field as 0 */
	uint32_t compat;
	uint32_t ro_compat;
	uint32_t incompat;
	uint32_t number; /* part number, as extents name it */
	uint8_t pool_uuid[16];
	uint8_t part_uuid[16];
	uint64_t blocks; /* size of the part in blocks, both header copies included */
	uint64_t created; /* seconds since the epoch */
	uint8_t reserved[4016];
};
static_assert(sizeof(struct fmt_part_header) == FMT_BLOCK_SIZE, "part header is one block");
static_assert(offsetof(struct fmt_part_header, blocks) == 64, "part header layout");

/* A physical address names part and block in 64 bits. */
#define FMT_PHYS_BLOCK_BITS 48
#define FMT_PART_MAX 65535u

static inline uint64_t fmt_phys(uint32_t part, uint64_t block)
{
	return (uint64_t)part << FMT_PHYS_BLOCK_BITS | block;
}

static inline uint32_t fmt_phys_part(uint64_t phys)
{
	return (uint32_t)(phys >> FMT_PHYS_BLOCK_BITS);
}

static inline uint64_t fmt_phys_block(uint64_t phys)
{
	return phys & ((1ull << FMT_PHYS_BLOCK_BITS) - 1);
}

/* True if such a run can be in a part. Its last block cannot: it is the header's copy, so ends do not overflow. */
static inline bool fmt_phys_run_possible(uint64_t phys, uint32_t length)
{
	return length > 0 && length <= ((1ull << FMT_PHYS_BLOCK_BITS) - 1) - fmt_phys_block(phys);
}

/* ---- Meta part: the libpmemobj root object ---- */

#define FMT_LAYOUT_NAME "pinfs"
#define FMT_ARENAS_MAX 240

struct fmt_super {
	uint64_t magic; /* written last by mkfs: a pool without it was never finished */
	uint32_t version;
	uint32_t crc; /* of the whole structure with this field, magic, state and mounts as 0 */
	uint32_t compat;
	uint32_t ro_compat;
	uint32_t incompat;
	uint32_t block_size;
	uint8_t pool_uuid[16];
	uint8_t hash_key[16]; /* SipHash key of names */
	uint64_t created; /* seconds since the epoch */
	uint64_t groups; /* in all arenas */
	uint64_t reserved0[2];
	uint32_t arenas; /* used entries of arena[] */
	uint32_t state; /* FMT_STATE_ */
	uint64_t mounts; /* read-write mounts so far */
	/* For who does not know a bit that is set: text, padded with zeros. */
	char needs[24]; /* the version of pinfs that knows all bits; empty in a pool of before this field */
	char features[104]; /* "i0:acl r0:flags ...": class and number of each bit, and its name */
	struct fmt_arena {
		uint64_t offset; /* pool offset of the arena's first frame; 16 bytes below the object's */
		uint64_t groups; /* in this arena */
	} arena[FMT_ARENAS_MAX];
};
static_assert(sizeof(struct fmt_super) <= 4096, "super fits the root object");
static_assert(offsetof(struct fmt_super, needs) == 112, "super layout: needs");
static_assert(offsetof(struct fmt_super, features) == 136, "super layout: features");
static_assert(offsetof(struct fmt_super, arena) == 240, "super layout: arenas");

#define FMT_STATE_CLEAN 0u
#define FMT_STATE_MOUNTED 1u /* mounted read-write, or not unmounted cleanly */

/*
 * An arena is an array of groups; a group is 64 frames of 4 KiB; a frame is 16 slots of 256 bytes. Slot 0 of frame 0 of
 * each group is the group's header, of which libpmemobj owns the first 16 bytes in an arena's first group. Frame 0
 * otherwise holds inodes; each other frame holds inodes (its bit in inode_frames is set) or is a page, in use exactly
 * if an inode's maps reach it.
 */
#define FMT_GROUP_FRAMES 64u
#define FMT_FRAME_SLOTS 16u
#define FMT_SLOT_SIZE 256u
#define FMT_GROUP_SIZE (FMT_GROUP_FRAMES * FMT_BLOCK_SIZE)

struct fmt_group {
	uint8_t allocator[16]; /* libpmemobj's object header, or unused */
	uint32_t magic;
	uint32_t crc; /* of bytes 16 to 63, this field as 0, seeded by the pool uuid */
	uint64_t number; /* of this group */
	uint64_t inode_frames; /* bit i: frame i holds inodes; bit 0 always */
	uint8_t reserved[24];
	uint8_t unused[192];
};
static_assert(sizeof(struct fmt_group) == FMT_SLOT_SIZE, "a group header is one slot");

/* Inode numbers are places: group << 10 | frame << 4 | slot. Page numbers: group << 6 | frame. */
#define FMT_INO_NONE 0ull
#define FMT_INO_ROOT 1ull
#define FMT_INO_PARTS 2ull /* its xattrs "part.N" are struct fmt_part_record */
#define FMT_INO_LIMBO 3ull /* its extents are blocks that no file owns: file block = physical address */
#define FMT_INO_LEDGER 4ull /* the first of FMT_LEDGER_SHARDS: their xattrs are sessions and pins */
#define FMT_LEDGER_SHARDS 8u /* by session number */
#define FMT_INO_BAD                                                                                                    \
	12ull /* as limbo: blocks that are lost (memory errors), never to be allocated again; maybe still a file's */
#define FMT_INO_FIRST_FREE 16ull /* 13 to 15 are reserved, and empty */

/* True of limbo and of bad blocks: key and value of each extent are the same physical address. */
static inline bool fmt_ino_is_identity(uint64_t ino)
{
	return ino == FMT_INO_LIMBO || ino == FMT_INO_BAD;
}

static inline bool fmt_ino_is_ledger(uint64_t ino)
{
	return ino >= FMT_INO_LEDGER && ino < FMT_INO_LEDGER + FMT_LEDGER_SHARDS;
}

static inline uint64_t fmt_ino(uint64_t group, unsigned frame, unsigned slot)
{
	return group << 10 | (uint64_t)frame << 4 | slot;
}

static inline uint64_t fmt_ino_group(uint64_t ino)
{
	return ino >> 10;
}

static inline unsigned fmt_ino_frame(uint64_t ino)
{
	return (unsigned)(ino >> 4) & 63;
}

static inline unsigned fmt_ino_slot(uint64_t ino)
{
	return (unsigned)ino & 15;
}

/* ---- Ordered maps: 64-bit key to (value, length) ---- */

/*
 * One record of a map. In an extent map: key = first file block, value = physical address, length = blocks, with
 * FMT_EXTENT_UNWRITTEN. In a name tree's lowest level: value = page of names whose keys are `key` or higher. In an
 * inner level: value = page of the child node. crc: over the first 20 bytes, seeded by fmt_owner_seed().
 */
struct fmt_record {
	uint64_t key;
	uint64_t value;
	uint32_t length;
	uint32_t crc;
};
static_assert(sizeof(struct fmt_record) == 24, "record layout");

#define FMT_EXTENT_UNWRITTEN 0x80000000u
#define FMT_EXTENT_LENGTH_MAX 0x7fffffffu

/* The root of a map, in an inode. height 0: the records are inline behind it. Else `root` is a node of level height-1.
 */
struct fmt_map {
	uint16_t count; /* inline records */
	uint8_t height;
	uint8_t reserved0;
	uint32_t pages; /* nodes of this map; pages of names and blobs not counted */
	uint64_t root;
};
static_assert(sizeof(struct fmt_map) == 16, "map root layout");

#define FMT_MAP_HEIGHT_MAX 8

struct fmt_node {
	uint32_t magic;
	uint32_t crc; /* of the 64-byte header without this field */
	uint64_t owner; /* inode number */
	uint32_t generation; /* of the owner */
	uint8_t kind; /* FMT_KIND_ */
	uint8_t level; /* 0: its records are the map's own */
	uint16_t count;
	uint8_t reserved[40];
	struct fmt_record record[168];
};
#define FMT_NODE_RECORDS 168u
static_assert(sizeof(struct fmt_node) == FMT_BLOCK_SIZE, "a node is one page");
static_assert(offsetof(struct fmt_node, record) == 64, "node layout");

#define FMT_KIND_EXTENTS 1
#define FMT_KIND_ENTRIES 2 /* directory entries */
#define FMT_KIND_XATTRS 3
#define FMT_KIND_SYMLINK 4

/* ---- Pages of names: directory entries and xattrs ---- */

#define FMT_NAMES_UNITS 62u
#define FMT_UNIT_SIZE 64u

/* A bag of names, unsorted; each takes consecutive units of 64 bytes. */
struct fmt_names {
	uint32_t magic;
	uint32_t crc; /* of the 128-byte header without this field */
	uint64_t owner;
	uint32_t generation;
	uint8_t kind;
	uint8_t reserved0[3];
	uint64_t used; /* bit i: unit i belongs to a name */
	uint64_t start; /* bit i: a name starts at unit i */
	uint8_t fingerprint[FMT_NAMES_UNITS]; /* at a name's first unit: fmt_fingerprint(key) */
	uint8_t reserved1[26];
	uint8_t unit[FMT_NAMES_UNITS][FMT_UNIT_SIZE];
};
static_assert(sizeof(struct fmt_names) == FMT_BLOCK_SIZE, "names are one page");
static_assert(offsetof(struct fmt_names, unit) == 128, "names layout");

/*
 * One name. key: SipHash of the name, 48 bits << 15, plus a number that makes it unique in its tree: the readdir
 * cookie. A directory entry: target and generation are the inode's, type is its DT_ value, value_length 0. An xattr:
 * the value follows the name (type FMT_XATTR_INLINE) or is the chain of blob pages at `target` (FMT_XATTR_BLOB);
 * generation is 0. crc: over the name's bytes from offset 4 to its end, seeded by fmt_owner_seed().
 */
struct fmt_name {
	uint32_t crc;
	uint8_t type;
	uint8_t units;
	uint8_t name_length; /* 1 to 255 */
	uint8_t reserved0;
	uint64_t key;
	uint64_t target;
	uint32_t generation;
	uint32_t value_length;
	uint8_t bytes[];
};
static_assert(sizeof(struct fmt_name) == 32, "name layout");

#define FMT_XATTR_INLINE 0
#define FMT_XATTR_BLOB 1
#define FMT_XATTR_INLINE_MAX 512u /* longer values go to blob pages */

#define FMT_KEY_UNIQUE_BITS 15
#define FMT_KEY_UNIQUE_MASK ((1ull << FMT_KEY_UNIQUE_BITS) - 1)

static inline uint8_t fmt_fingerprint(uint64_t key)
{
	return (uint8_t)(key >> FMT_KEY_UNIQUE_BITS);
}

/* A page of bytes: long symlinks and xattr values, chained. */
#define FMT_BLOB_BYTES 4032u

struct fmt_blob {
	uint32_t magic;
	uint32_t crc; /* of the 64-byte header without this field, then of `count` bytes */
	uint64_t owner;
	uint32_t generation;
	uint8_t kind;
	uint8_t reserved0;
	uint16_t count;
	uint64_t next; /* page number; 0 ends the chain */
	uint8_t reserved1[32];
	uint8_t bytes[FMT_BLOB_BYTES];
};
static_assert(sizeof(struct fmt_blob) == FMT_BLOCK_SIZE, "a blob is one page");
static_assert(offsetof(struct fmt_blob, bytes) == 64, "blob layout");

/* ---- Inodes ---- */

#define FMT_BODY_RECORDS 3u
#define FMT_SYMLINK_INLINE_MAX (FMT_BODY_RECORDS * sizeof(struct fmt_record))

/* inode.flags */
#define FMT_INODE_INTENT 1u /* bytes [intent_start, intent_end) are to be freed and zeroed, then this bit cleared */
/* Set by users (chattr(1)), of files and directories; nodump and noatime are inherited by all types. */
#define FMT_INODE_IMMUTABLE 2u
#define FMT_INODE_APPEND 4u
#define FMT_INODE_NODUMP 8u
#define FMT_INODE_NOATIME 16u
#define FMT_INODE_SYNC 32u
#define FMT_INODE_DIRSYNC 64u /* directories only */
#define FMT_INODE_PROTECTED (FMT_INODE_IMMUTABLE | FMT_INODE_APPEND)
#define FMT_INODE_ANY_TYPE (FMT_INODE_NODUMP | FMT_INODE_NOATIME)
#define FMT_INODE_USER (FMT_INODE_PROTECTED | FMT_INODE_ANY_TYPE | FMT_INODE_SYNC | FMT_INODE_DIRSYNC)

struct fmt_inode {
	uint32_t magic; /* FMT_INODE_MAGIC; 0: a free slot */
	uint32_t crc; /* of the 256 bytes without this field */
	uint64_t ino;
	uint64_t size; /* bytes; directory: entries, "." and ".." not counted */
	uint64_t blocks; /* data blocks of all extents */
	int64_t mtime;
	int64_t ctime;
	uint32_t mtime_nsec;
	uint32_t ctime_nsec;
	uint32_t nlink; /* 0: an orphan, to be evicted */
	uint32_t generation;

	uint32_t mode; /* S_IFMT and permissions */
	uint32_t uid;
	uint32_t gid;
	uint32_t flags;
	int64_t atime;
	int64_t btime;
	uint32_t atime_nsec;
	uint32_t btime_nsec;
	uint64_t reserved;
	union {
		struct {
			/* File: whole blocks in it are freed, parts of blocks zeroed; resumed at mount. */
			uint64_t intent_start; /* byte */
			uint64_t intent_end; /* byte, exclusive; UINT64_MAX: to the end */
		};
		struct {
			uint64_t parent; /* directory: the inode of "..", its own for the root */
			uint64_t reserved0;
		};
		struct {
			uint64_t rdev; /* device special file: dev_t as Linux' new_encode_dev */
			uint64_t reserved1;
		};
		uint8_t boot_id[16]; /* shard of the ledger: of the machine when its last session was added */
	};

	struct fmt_map body; /* file: extents; directory: entries; long symlink: root is the first blob page */
	union {
		struct fmt_record record[FMT_BODY_RECORDS];
		char symlink[FMT_BODY_RECORDS * sizeof(struct fmt_record)]; /* if size <= FMT_SYMLINK_INLINE_MAX */
	};
	struct fmt_map xattrs;
	struct fmt_record xattr_record[1];
};
static_assert(sizeof(struct fmt_inode) == FMT_SLOT_SIZE, "an inode is one slot");
static_assert(offsetof(struct fmt_inode, mode) == 64, "inode layout: line 1");
static_assert(offsetof(struct fmt_inode, body) == 128, "inode layout: maps");
static_assert(offsetof(struct fmt_inode, xattrs) == 216, "inode layout: xattrs");

/* Value of the xattr "part.N" of inode FMT_INO_PARTS. */
struct fmt_part_record {
	uint8_t part_uuid[16];
	uint64_t blocks;
	uint32_t number;
	uint32_t path_length;
	char path[]; /* absolute, not terminated */
};
static_assert(sizeof(struct fmt_part_record) == 32, "part record layout");

/* ---- The pin ledger: xattrs of the inodes FMT_INO_LEDGER + session % FMT_LEDGER_SHARDS ---- */

/* Value of the xattr "s.SESSION" (numbers in names are 16 small hexadecimal digits): a process that may hold pins. */
struct fmt_ledger_session {
	uint64_t id; /* SESSION, not 0 */
	uint64_t pid_namespace; /* inode number of the namespace that pid counts in */
	uint64_t start_time; /* of the process, clock ticks since boot */
	uint64_t pidfs_inode; /* of its pidfd; 0: not known */
	uint8_t boot_id[16]; /* of the machine: after a reboot all is void */
	uint8_t cookie[16]; /* with which its client comes back */
	uint32_t pid;
	uint32_t uid;
	uint32_t gid;
	uint32_t reserved; /* 0 */
	char command[16]; /* padded with zeros, terminated */
};
static_assert(sizeof(struct fmt_ledger_session) == 96, "ledger session layout");

/* Blocks that a pin holds. */
struct fmt_ledger_extent {
	uint64_t file_block;
	uint64_t phys;
	uint32_t length; /* blocks, not 0 */
	uint32_t reserved; /* 0 */
};
static_assert(sizeof(struct fmt_ledger_extent) == 24, "ledger extent layout");

/*
 * Value of the xattr "p.SESSION.PIN": a pin. Its extents are in order of file blocks. The first are here, the others in
 * pieces: the values of xattrs "x.SESSION.PIN.N" (N: 8 digits, from 0) are arrays of struct fmt_ledger_extent, all but
 * the last with FMT_LEDGER_PIECE_EXTENTS. Pieces are written first and erased last: without this head they are void.
 */
struct fmt_ledger_pin {
	uint64_t id; /* PIN, not 0 */
	uint64_t session; /* SESSION */
	uint64_t ino;
	uint64_t offset; /* the range of the file, bytes */
	uint64_t length;
	uint64_t count; /* extents of the pin, those in pieces too */
	uint32_t generation; /* of the inode */
	uint32_t flags; /* as the pin table defines them */
	uint32_t head_count; /* extents here */
	uint32_t reserved; /* 0 */
	struct fmt_ledger_extent extent[];
};
static_assert(sizeof(struct fmt_ledger_pin) == 64, "ledger pin layout");

#define FMT_LEDGER_HEAD_EXTENTS                                                                                        \
	((FMT_XATTR_VALUE_MAX - sizeof(struct fmt_ledger_pin)) / sizeof(struct fmt_ledger_extent))
#define FMT_LEDGER_PIECE_EXTENTS (FMT_XATTR_VALUE_MAX / sizeof(struct fmt_ledger_extent))
/* With so many a pin's value lies beside its name: one transaction that takes no page. */
#define FMT_LEDGER_INLINE_EXTENTS                                                                                      \
	((FMT_XATTR_INLINE_MAX - sizeof(struct fmt_ledger_pin)) / sizeof(struct fmt_ledger_extent))
static_assert(FMT_LEDGER_INLINE_EXTENTS >= 10, "pins of a few extents are one small transaction");

/* Longest name: "x." SESSION "." PIN "." N. */
#define FMT_LEDGER_NAME_MAX (2u + 16 + 1 + 16 + 1 + 8)

enum fmt_ledger_kind {
	FMT_LEDGER_SESSION = 's',
	FMT_LEDGER_PIN = 'p',
	FMT_LEDGER_PIECE = 'x',
};

/* What a name in the ledger says. */
struct fmt_ledger_key {
	enum fmt_ledger_kind kind;
	uint32_t piece; /* of a FMT_LEDGER_PIECE, else 0 */
	uint64_t session;
	uint64_t pin; /* 0 in that of a session */
};

static inline uint64_t fmt_ledger_ino(uint64_t session)
{
	return FMT_INO_LEDGER + session % FMT_LEDGER_SHARDS;
}

/* ---- POSIX ACLs: xattrs in the form in which Linux hands them to a filesystem ---- */

#define FMT_ACL_ACCESS "system.posix_acl_access" /* who may do what; only if it says more than the mode */
#define FMT_ACL_DEFAULT "system.posix_acl_default" /* of a directory: what is made in it inherits this */
#define FMT_ACL_VERSION 2u
#define FMT_ACL_ENTRIES_MAX 511u /* a page of 4 KiB: the kernel takes and gives no more */

/* Tags, in the order of entries. */
#define FMT_ACL_USER_OBJ 0x01u /* the owner: one */
#define FMT_ACL_USER 0x02u /* any number */
#define FMT_ACL_GROUP_OBJ 0x04u /* the file's group: one */
#define FMT_ACL_GROUP 0x08u /* any number */
#define FMT_ACL_MASK 0x10u /* bounds USER, GROUP_OBJ and GROUP; there is one if there is a USER or GROUP */
#define FMT_ACL_OTHER 0x20u /* one */
#define FMT_ACL_NO_ID UINT32_MAX /* id of all but USER and GROUP */

struct fmt_acl_entry {
	uint16_t tag; /* FMT_ACL_ */
	uint16_t perm; /* 4 read, 2 write, 1 execute */
	uint32_t id; /* uid or gid */
};
static_assert(sizeof(struct fmt_acl_entry) == 8, "ACL entry layout");

struct fmt_acl {
	uint32_t version;
	struct fmt_acl_entry entry[FMT_ACL_ENTRIES_MAX]; /* as many as the value's length says */
};
static_assert(sizeof(struct fmt_acl) == 4 + 8 * FMT_ACL_ENTRIES_MAX, "ACL layout");

/* ---- Checksums and sanity: pure functions, thread-safe ---- */

/* What record and name checksums start from, so that a record copied to another owner does not verify. */
uint32_t fmt_owner_seed(uint64_t owner, uint32_t generation);

void fmt_part_header_seal(struct fmt_part_header *header);
bool fmt_part_header_valid(const struct fmt_part_header *header); /* magic and crc */

void fmt_super_seal(struct fmt_super *super);
bool fmt_super_valid(const struct fmt_super *super);

/* Features that this pinfs knows. */
enum fmt_feature {
	FMT_FEATURE_ACL,
	FMT_FEATURE_FLAGS,
	FMT_FEATURES,
};

enum fmt_word {
	FMT_WORD_COMPAT = 'c',
	FMT_WORD_RO_COMPAT = 'r',
	FMT_WORD_INCOMPAT = 'i',
};

struct fmt_feature_text {
	char text[256];
};

bool fmt_feature_used(const struct fmt_super *super, enum fmt_feature feature);
/* Sets its bit, and what is said of it to older readers: `version` needs it. Seals. */
void fmt_feature_add(struct fmt_super *super, enum fmt_feature feature, const char *version);
/*
 * Names of the bits that are set, with ", " between: as this pinfs knows them, or as `super` says (NULL: of a part's
 * header, which has no names), or else "incompat bit 7".
 */
const char *fmt_feature_names(enum fmt_word word, uint32_t bits, const struct fmt_super *super,
			      struct fmt_feature_text *room);
/* The same of all that the pool uses. */
const char *fmt_feature_all(const struct fmt_super *super, struct fmt_feature_text *room);
/* Which pinfs knows all of it: "pinfs 0.2.0 or newer", or as much as is known. */
const char *fmt_feature_needs(const struct fmt_super *super, struct fmt_feature_text *room);

void fmt_group_seal(struct fmt_group *group, const uint8_t pool_uuid[16]);
bool fmt_group_valid(const struct fmt_group *group, const uint8_t pool_uuid[16], uint64_t number);
/* The same number for all sound headers of a pool, whatever its uuid is: for who has lost that. */
uint32_t fmt_group_signature(const struct fmt_group *group);

void fmt_inode_seal(struct fmt_inode *inode);
bool fmt_inode_free(const struct fmt_inode *inode);
/* The users' flags (FMT_INODE_USER) that an inode of this mode takes. */
uint32_t fmt_user_flags(uint32_t mode);
bool fmt_inode_valid(const struct fmt_inode *inode, uint64_t ino); /* magic, number, crc and plausible fields */

void fmt_record_seal(struct fmt_record *record, uint32_t seed);
bool fmt_record_valid(const struct fmt_record *record, uint32_t seed);

void fmt_node_seal(struct fmt_node *node); /* the header only; each record is sealed by itself */
bool fmt_node_valid(const struct fmt_node *node, const struct fmt_inode *owner, unsigned kind, unsigned level);

void fmt_names_seal(struct fmt_names *names);
bool fmt_names_valid(const struct fmt_names *names, const struct fmt_inode *owner, unsigned kind);

/* Units that a name needs. */
unsigned fmt_name_units(size_t name_length, size_t inline_value_length);
/* Used bytes, from crc to the end of an inline value; kind is that of its page. */
size_t fmt_name_bytes(const struct fmt_name *name, unsigned kind);
void fmt_name_seal(struct fmt_name *name, unsigned kind, uint32_t seed);
/* The name that starts at `unit`, or NULL if it does not verify: start bit, length within its units and the page, crc.
 */
const struct fmt_name *fmt_name_at(const struct fmt_names *names, unsigned unit, uint32_t seed);

/* Writes the name, not terminated, at most FMT_LEDGER_NAME_MAX bytes; returns its length. */
size_t fmt_ledger_name(const struct fmt_ledger_key *key, char *ret_name);
/* False: no such name is ever written. */
bool fmt_ledger_parse(const char *name, size_t length, struct fmt_ledger_key *ret_key);
/* Values, by their own form and their names'; of a pin, what its head tells without its pieces. */
bool fmt_ledger_session_valid(const struct fmt_ledger_session *session, size_t length,
			      const struct fmt_ledger_key *key);
bool fmt_ledger_pin_valid(const struct fmt_ledger_pin *pin, size_t length, const struct fmt_ledger_key *key);
/* Extents that piece `piece` of the pin has; 0: it has no such piece. */
size_t fmt_ledger_piece_extents(const struct fmt_ledger_pin *pin, uint64_t piece);
/* One extent of a pin; `*next_block` is where it may begin at the earliest, and becomes where the next may. */
bool fmt_ledger_extent_valid(const struct fmt_ledger_pin *pin, const struct fmt_ledger_extent *extent,
			     uint64_t *next_block);

/* Entries of a value of `length` bytes, not more than sizeof(struct fmt_acl). */
size_t fmt_acl_entries(size_t length);
/* Version, length, tags in order and as many as there must be, permissions, ids. */
bool fmt_acl_valid(const struct fmt_acl *acl, size_t length);
/* The permission bits that go with a valid ACL; true if it says more than these. */
bool fmt_acl_mode(const struct fmt_acl *acl, size_t length, uint32_t *ret_mode);

void fmt_blob_seal(struct fmt_blob *blob);
bool fmt_blob_valid(const struct fmt_blob *blob, const struct fmt_inode *owner, unsigned kind);

#endif
