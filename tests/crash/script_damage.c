/* Damage that `pinfs fsck --repair` mends, and the repair. */
#include "call.h"

#include "fs/inode.h"
#include "meta/pool.h"
#include "repair/repair.h"

#include <errno.h>
#include <libpmem.h>
#include <stdio.h>
#include <string.h>

static void scribble(void *address, size_t length)
{
	unsigned char *bytes = address;

	for (size_t i = 0; i < length; i++)
		bytes[i] = (unsigned char)(i * 37 + 11);
	pmem_persist(address, length);
}

struct damage {
	struct meta *meta;
	const struct fmt_inode *inode, *other;
};

/* A count that is not true. */
static int break_links(const struct damage *damage, struct meta_tx *tx)
{
	struct fmt_inode *inode;
	int error = meta_inode_edit(tx, damage->inode, &inode);

	if (error == 0)
		inode->nlink += 3;
	return error;
}

static int break_size(const struct damage *damage, struct meta_tx *tx)
{
	struct fmt_inode *inode;
	int error = meta_inode_edit(tx, damage->inode, &inode);

	if (error == 0)
		inode->size += 5;
	return error;
}

/* Its first block belongs to the other one, too. */
static int break_shared(const struct damage *damage, struct meta_tx *tx)
{
	struct meta_extent extent;
	int error = meta_extent_find(damage->meta, damage->inode, 0, &extent);

	extent.file_block = 60;
	extent.length = 1;
	return error != 0 ? error : meta_extent_insert(tx, damage->other, &extent);
}

static int in_transaction(const struct damage *damage, int (*breaks)(const struct damage *damage, struct meta_tx *tx))
{
	struct meta_tx *tx;
	int error = meta_begin(damage->meta, META_TX_RESERVE, &tx);

	if (error != 0)
		return error;
	error = breaks(damage, tx);
	if (error == 0)
		return meta_commit(tx);
	meta_abort(tx);
	return error;
}

/* `damage links|size|node|inode PATH`, `damage shared PATH PATH`: then unmount. */
int run_damage(const struct call *call)
{
	struct damage damage = {.meta = call->world->fs->meta};
	const char *what = call_word(call, 1);
	uint64_t ino, other = FMT_INO_ROOT;
	int error = call_find(call, 2, &ino);

	if (error == 0 && call->count > 3)
		error = call_find(call, 3, &other);
	if (error != 0)
		return error;
	damage.inode = meta_slot(damage.meta, ino);
	damage.other = meta_slot(damage.meta, other);
	if (strcmp(what, "links") == 0)
		return in_transaction(&damage, break_links);
	if (strcmp(what, "size") == 0)
		return in_transaction(&damage, break_size);
	if (strcmp(what, "shared") == 0)
		return in_transaction(&damage, break_shared);
	if (strcmp(what, "node") == 0)
		scribble(meta_page(damage.meta, damage.inode->body.root), 256);
	else
		scribble((char *)meta_slot(damage.meta, ino) + 64, 20);
	return 0;
}

int run_repair(const struct call *call)
{
	struct repair_options options = {
		.check = {.meta_path = call->world->meta_path, .skip_probe = true, .in_process = true}};
	struct repair_result result;
	int error = repair_pool(&options, &result, &call->world->message);

	return error != 0 ? error : result.after.errors != 0 ? -EUCLEAN : 0;
}
