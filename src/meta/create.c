/* Making a pool: the heap is handed out once, here, as arenas; nothing is allocated from it later. */
#include "meta/memory.h"
#include "meta/pool.h"

#include "base/arith.h"
#include "meta/precheck.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Objects of whole chunks of 256 KiB less libpmemobj's header of 16 bytes; at most just under 16 GiB (one zone). */
#define OBJECT_HEADER 16u
#define ARENA_GROUPS_MAX 61440u
#define TYPE_ARENA 1

static int allocate(struct meta *meta, uint64_t size, uint64_t type, uint64_t *ret_offset)
{
	PMEMoid oid;

	if (pmemobj_xalloc(meta->pop, &oid, size, type, 0, NULL, NULL) != 0)
		return errno == ENOMEM ? -ENOSPC : -errno;
	*ret_offset = oid.off;
	return 0;
}

/* Takes the largest arenas that the heap still gives. */
static int arenas_create(struct meta *meta)
{
	struct fmt_super *super = meta->super;
	uint64_t groups = min_u64(ARENA_GROUPS_MAX, meta->file.size / FMT_GROUP_SIZE);
	int error;

	while (groups > 0 && super->arenas < FMT_ARENAS_MAX) {
		uint64_t offset = 0;

		error = allocate(meta, groups * FMT_GROUP_SIZE - OBJECT_HEADER, TYPE_ARENA, &offset);
		if (error == -ENOSPC) {
			groups = groups > 16 ? groups - groups / 16 : groups - 1;
			continue;
		}
		if (error != 0)
			return error;
		super->arena[super->arenas].offset = offset - OBJECT_HEADER;
		super->arena[super->arenas].groups = groups;
		super->arenas++;
		super->groups += groups;
	}
	return super->groups > 0 ? 0 : -ENOSPC;
}

/* Every group begins with its header and an empty frame 0; the other frames may hold anything. */
static void groups_format(struct meta *meta)
{
	for (uint64_t i = 0; i < meta->super->groups; i++) {
		struct fmt_group *group = meta_group(meta, i);
		/* The first 16 bytes of an arena are libpmemobj's. */
		size_t skip = offsetof(struct fmt_group, magic);

		pmemobj_memset_persist(meta->pop, (char *)group + skip, 0, FMT_BLOCK_SIZE - skip);
		group->magic = FMT_GROUP_MAGIC;
		group->number = i;
		group->inode_frames = 1;
		fmt_group_seal(group, meta->super->pool_uuid);
		pmemobj_persist(meta->pop, group, sizeof(*group));
	}
}

static int super_format(struct meta *meta, const struct meta_create_args *args)
{
	struct fmt_super *super = meta->super;
	int error;

	memset(super, 0, sizeof(*super));
	super->version = FMT_VERSION;
	super->block_size = FMT_BLOCK_SIZE;
	memcpy(super->pool_uuid, args->pool_uuid, sizeof(super->pool_uuid));
	randombytes_buf(super->hash_key, sizeof(super->hash_key));
	super->created = (uint64_t)time(NULL);
	error = arenas_create(meta);
	if (error != 0)
		return error;
	fmt_super_seal(super);
	pmemobj_persist(meta->pop, super, sizeof(*super));
	return 0;
}

static int create_failed(const char *path, uint64_t size, struct message *message)
{
	int saved = errno;

	if (saved == EEXIST)
		message_set(message, "%s: exists already; --force replaces it", path);
	else if (saved == ENOSPC)
		message_set(message, "%s: no space for %llu bytes; give a smaller --meta-size", path,
			    (unsigned long long)size);
	else
		message_set(message, "%s: libpmemobj cannot make a pool: %s", path, pmemobj_errormsg());
	return saved == 0 ? -EIO : -saved;
}

int meta_create(const char *path, const struct meta_create_args *args, struct meta **ret_meta, struct message *message)
{
	struct meta *meta;
	int error;

	if (args->size != 0 && args->size < META_SIZE_MIN) {
		message_set(message, "%s: a meta part of %llu bytes is too small; at least 16M", path,
			    (unsigned long long)args->size);
		return -EINVAL;
	}
	meta = meta_new(path);
	if (meta == NULL)
		return -ENOMEM;
	memory_set_up();
	meta->pop = pmemobj_create(path, FMT_LAYOUT_NAME, args->size, 0600);
	if (meta->pop == NULL) {
		error = create_failed(path, args->size, message);
		goto close;
	}
	error = precheck(path, &meta->file, message);
	if (error != 0)
		goto close;
	meta->super = pmemobj_direct(pmemobj_root(meta->pop, sizeof(struct fmt_super)));
	error = meta->super == NULL ? -ENOSPC : super_format(meta, args);
	if (error == 0)
		error = meta_attach(meta);
	if (error == 0) {
		groups_format(meta);
		reserved_create(meta, FMT_INO_ROOT, S_IFDIR | (args->root_mode & 07777), args->root_uid,
				args->root_gid);
		reserved_create(meta, FMT_INO_PARTS, S_IFREG, 0, 0);
		error = meta_scan(meta, NULL, message);
	}
	if (error == 0) {
		*ret_meta = meta;
		return 0;
	}
	message_set(message, "%s: cannot lay out the pool: %s", path, strerror(-error));
close:
	meta_close(meta);
	return error;
}

int meta_create_finish(struct meta *meta)
{
	/* The last store of mkfs: before it the pool is refused. */
	meta->super->magic = FMT_SUPER_MAGIC;
	pmemobj_persist(meta->pop, &meta->super->magic, sizeof(meta->super->magic));
	return 0;
}
