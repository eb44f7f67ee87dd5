/* Opening and closing the libpmemobj pool. */
#include "meta/memory.h"
#include "meta/pool.h"

#include "base/arith.h"
#include "base/fault.h"
#include "base/holder.h"
#include "meta/precheck.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const struct fmt_super *meta_super(const struct meta *meta)
{
	return meta->super;
}

bool meta_is_pmem(const struct meta *meta)
{
	/* Not pmem_is_pmem(): libpmem does not know what libpmemobj has mapped. */
	return meta->file.pmem;
}

/* ---- Memory of an open pool ---- */

static int groups_map(struct meta *meta)
{
	const struct fmt_super *super = meta->super;
	uint64_t number = 0;

	meta->group = calloc(super->groups, sizeof(*meta->group));
	if (meta->group == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < super->arenas; i++) {
		for (uint64_t j = 0; j < super->arena[i].groups; j++)
			meta->group[number++] =
				(unsigned char *)meta->pop + super->arena[i].offset + j * FMT_GROUP_SIZE;
	}
	return 0;
}

int meta_attach(struct meta *meta)
{
	int error = groups_map(meta);

	feature_settle(meta);
	return error != 0 ? error : space_init(meta);
}

void meta_close(struct meta *meta)
{
	if (meta == NULL)
		return;
	space_fini(meta);
	ledger_fini(meta);
	feature_fini(meta);
	free(meta->group);
	fault_unname(meta->pop);
	if (meta->pop != NULL)
		pmemobj_close(meta->pop);
	free(meta->path);
	free(meta);
}

/* ---- Opening ---- */

/*
 * True if every place that the superblock names lies inside of the pool. Its checksum vouches for what mkfs wrote; this
 * keeps a forged one from leading outside of the mapping.
 */
static bool super_bounded(const struct fmt_super *super, uint64_t pool_size)
{
	uint64_t groups = 0;
	uint64_t length;

	if (super->block_size != FMT_BLOCK_SIZE || super->arenas == 0 || super->arenas > FMT_ARENAS_MAX)
		return false;
	for (uint32_t i = 0; i < super->arenas; i++) {
		const struct fmt_arena *arena = &super->arena[i];

		if (arena->groups == 0 || arena->offset % 64 != 0 ||
		    mul_overflows(arena->groups, FMT_GROUP_SIZE, &length) || arena->offset >= pool_size ||
		    length > pool_size - arena->offset)
			return false;
		groups += arena->groups;
	}
	return groups == super->groups && groups < GROUP_NONE;
}

/* A sound superblock: is there anything that this pinfs does not know? */
static int features_check(const struct meta *meta, unsigned flags, struct message *message)
{
	const struct fmt_super *super = meta->super;
	const uint32_t incompat = super->incompat & ~FMT_INCOMPAT_KNOWN;
	const uint32_t ro_compat = super->ro_compat & ~FMT_RO_COMPAT_KNOWN;
	struct fmt_feature_text names, needs;

	if (super->version > FMT_VERSION) {
		message_set(message, "%s: format version %u is newer than this pinfs (%u) knows: upgrade pinfs",
			    meta->path, super->version, FMT_VERSION);
		return -EPROTONOSUPPORT;
	}
	if (incompat != 0) {
		message_set(message, "%s: uses what this pinfs (" PINFS_VERSION ") does not know: %s; use %s",
			    meta->path, fmt_feature_names(FMT_WORD_INCOMPAT, incompat, super, &names),
			    fmt_feature_needs(super, &needs));
		return -EPROTONOSUPPORT;
	}
	if (ro_compat != 0 && (flags & META_OPEN_COPY) == 0) {
		message_set(message,
			    "%s: uses what this pinfs (" PINFS_VERSION
			    ") does not know, and can only read: %s; mount it with -o ro, or use %s",
			    meta->path, fmt_feature_names(FMT_WORD_RO_COMPAT, ro_compat, super, &names),
			    fmt_feature_needs(super, &needs));
		return -EPROTONOSUPPORT;
	}
	return 0;
}

static int super_check(struct meta *meta, unsigned flags, struct message *message)
{
	struct fmt_super *super = meta->super;
	struct fmt_super copy;
	int error;

	if (super->magic != FMT_SUPER_MAGIC) {
		copy = *super;
		copy.magic = FMT_SUPER_MAGIC;
		if ((flags & META_OPEN_UNFINISHED) == 0 || !fmt_super_valid(&copy)) {
			message_set(message,
				    "%s: not a pinfs pool, or mkfs was interrupted: make it again with `pinfs mkfs "
				    "--force`",
				    meta->path);
			return -EUCLEAN;
		}
	} else if (!fmt_super_valid(super)) {
		message_set(message, "%s: superblock damaged (I1); " PRECHECK_ADVICE, meta->path);
		return -EUCLEAN;
	}
	error = features_check(meta, flags, message);
	if (error != 0)
		return error;
	if (!super_bounded(super, meta->file.size)) {
		message_set(message, "%s: superblock names places outside of the pool (I1); " PRECHECK_ADVICE,
			    meta->path);
		return -EUCLEAN;
	}
	return 0;
}

/* libpmemobj has refused: says why in our words. */
static int open_failed(const char *path, int saved, struct message *message)
{
	int fd, pid;

	if (saved == EAGAIN || saved == EWOULDBLOCK) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		pid = fd >= 0 ? holder_pid(fd) : 0;
		if (fd >= 0)
			close(fd);
		if (pid > 0)
			message_set(message, "%s: in use by process %d (another daemon or fsck): unmount it first",
				    path, pid);
		else
			message_set(message, "%s: in use by another process: unmount it first", path);
		return -EBUSY;
	}
	if (saved == EACCES || saved == EPERM || saved == ENOENT || saved == ENOMEM || saved == EROFS) {
		message_set(message, "%s: %s", path, strerror(saved));
		return -saved;
	}
	if (saved == ENXIO) {
		/* Whatever kept it from asking the device, too little memory for one: not a damaged pool. */
		message_set(message, "%s: libpmemobj cannot look for bad blocks: %s", path, pmemobj_errormsg());
		return -ENXIO;
	}
	message_set(message, "%s: libpmemobj cannot open it as a pinfs pool: %s; " PRECHECK_ADVICE, path,
		    pmemobj_errormsg());
	return -EUCLEAN;
}

static int pop_open(struct meta *meta, struct message *message)
{
	int copy = meta->copy ? 1 : 0;
	PMEMoid root;
	int saved;

	/* The setting is the process's: put back for the next open. */
	if (pmemobj_ctl_set(NULL, "copy_on_write.at_open", &copy) != 0) {
		message_set(message, "%s: %s", meta->path, pmemobj_errormsg());
		return -EINVAL;
	}
	memory_set_up();
	(void)memory_refused();
	meta->pop = pmemobj_open(meta->path, FMT_LAYOUT_NAME);
	/* libpmemobj does not always say it. */
	saved = memory_refused() ? ENOMEM : errno;
	copy = 0;
	(void)pmemobj_ctl_set(NULL, "copy_on_write.at_open", &copy);
	if (meta->pop == NULL)
		return open_failed(meta->path, saved, message);
	fault_name(meta->pop, meta->file.size, meta->path);
	if (pmemobj_root_size(meta->pop) < sizeof(struct fmt_super)) {
		message_set(message,
			    "%s: not a pinfs pool, or mkfs was interrupted: make it again with `pinfs mkfs --force`",
			    meta->path);
		return -EUCLEAN;
	}
	root = pmemobj_root(meta->pop, pmemobj_root_size(meta->pop));
	if (root.off == 0 || root.off % 16 != 0 || root.off > meta->file.size - sizeof(struct fmt_super)) {
		message_set(message, "%s: damaged: libpmemobj's root object is out of place; " PRECHECK_ADVICE,
			    meta->path);
		return -EUCLEAN;
	}
	meta->super = pmemobj_direct(root);
	return 0;
}

struct meta *meta_new(const char *path)
{
	struct meta *meta = calloc(1, sizeof(*meta));

	if (meta == NULL)
		return NULL;
	meta->path = strdup(path);
	if (meta->path == NULL || sodium_init() < 0 || feature_init(meta) != 0) {
		free(meta->path);
		free(meta);
		return NULL;
	}
	if (ledger_init(meta) != 0) {
		feature_fini(meta);
		free(meta->path);
		free(meta);
		return NULL;
	}
	return meta;
}

int meta_open(const char *path, unsigned flags, struct meta **ret_meta, struct message *message)
{
	struct meta *meta = meta_new(path);
	int error;

	if (meta == NULL) {
		message_set(message, "%s: %s", path, strerror(ENOMEM));
		return -ENOMEM;
	}
	error = precheck(path, &meta->file, message);
	if (error != 0)
		goto close;
	/* A devdax node cannot be mapped privately. */
	meta->copy = (flags & META_OPEN_COPY) != 0 && !meta->file.devdax;
	meta->keep = (flags & META_OPEN_COPY) != 0;
	error = pop_open(meta, message);
	if (error == 0)
		error = super_check(meta, flags, message);
	if (error != 0)
		goto close;
	error = meta_attach(meta);
	if (error != 0) {
		message_set(message, "%s: %s", path, strerror(-error));
		goto close;
	}
	*ret_meta = meta;
	return 0;

close:
	meta_close(meta);
	return error;
}

int meta_set_state(struct meta *meta, uint32_t state)
{
	struct fmt_super *super = meta->super;

	if (state == FMT_STATE_MOUNTED) {
		super->mounts++;
		pmemobj_persist(meta->pop, &super->mounts, sizeof(super->mounts));
	}
	/* One aligned store: old or new after a power failure. */
	super->state = state;
	pmemobj_persist(meta->pop, &super->state, sizeof(super->state));
	return 0;
}
