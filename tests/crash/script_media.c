/* What needs more than names and bytes: ACLs and flags (feature words), lost blocks, pools without space. */
#include "call.h"

#include "fs/data.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* `acl PATH BITS`: an access ACL with a named user who may do that. */
int run_acl(const struct call *call)
{
	struct fmt_acl_entry entry[] = {
		{FMT_ACL_USER_OBJ, 6, FMT_ACL_NO_ID},  {FMT_ACL_USER, (uint16_t)call_number(call, 2), 4711},
		{FMT_ACL_GROUP_OBJ, 4, FMT_ACL_NO_ID}, {FMT_ACL_MASK, 7, FMT_ACL_NO_ID},
		{FMT_ACL_OTHER, 0, FMT_ACL_NO_ID},
	};
	struct fmt_acl acl = {.version = FMT_ACL_VERSION};
	uint64_t ino;
	int error = call_find(call, 1, &ino);

	memcpy(acl.entry, entry, sizeof(entry));
	return error != 0 ? error
			  : fs_setxattr(call->world->fs, ino, FMT_ACL_ACCESS, &acl,
					offsetof(struct fmt_acl, entry) + sizeof(entry), 0);
}

/* `flags PATH BITS`, as chattr(1). */
int run_flags(const struct call *call)
{
	static const struct fs_cred root = {.uid = 0};
	uint64_t ino;
	int error = call_find(call, 1, &ino);

	return error != 0 ? error
			  : fs_set_flags(call->world->fs, ino, (unsigned)call_number(call, 2),
					 (unsigned)call_number(call, 2), &root);
}

/* `lose PATH BLOCK [BLOCKS]`: their memory is reported lost. */
int run_lose(const struct call *call)
{
	uint64_t block = call_number(call, 2), end = block + (call->count > 3 ? call_number(call, 3) : 1), ino;
	struct fs *fs = call->world->fs;
	int error = call_find(call, 1, &ino);

	for (; error == 0 && block < end; block++) {
		struct meta_extent extent;
		struct fs_inode *file;
		uint64_t phys;

		error = fs_inode_get(fs, ino, &file);
		if (error != 0)
			break;
		error = meta_extent_find(fs->meta, file->media, block, &extent);
		fs_inode_put(fs, file);
		if (error == 0 && extent.file_block > block)
			error = -ENOENT;
		if (error != 0)
			break;
		phys = extent.phys + (block - extent.file_block);
		error = fs_report_lost(fs, fmt_phys_part(phys), fmt_phys_block(phys) << FMT_BLOCK_SHIFT,
				       FMT_BLOCK_SIZE);
	}
	return error;
}

static int fill_blocks(struct fs *fs, uint64_t ino)
{
	static unsigned char bytes[FMT_BLOCK_SIZE];
	off_t at = 0;

	memset(bytes, 0xee, sizeof(bytes));
	while (fs_write(fs, ino, bytes, sizeof(bytes), at, NULL) == (ssize_t)sizeof(bytes))
		at += (off_t)sizeof(bytes);
	return 0;
}

static int fill_pages(struct fs *fs, uint64_t ino)
{
	static unsigned char bytes[65536];
	char name[32];
	unsigned i = 0;

	for (size_t length = sizeof(bytes); length > 1000; length /= 2) {
		int error;

		do {
			(void)snprintf(name, sizeof(name), "user.%u", i++);
			error = fs_setxattr(fs, ino, name, bytes, length, 0);
		} while (error == 0);
		if (error != -ENOSPC)
			return error;
	}
	return 0;
}

/* `fill blocks`, `fill pages`: TREE_FULL takes all that there are. */
int run_fill(const struct call *call)
{
	struct fs *fs = call->world->fs;
	struct call file = *call;
	uint64_t ino;
	int error;

	error = script_run(call->world, "create " TREE_FULL);
	file.argument[1] = TREE_FULL;
	if (error == 0)
		error = call_find(&file, 1, &ino);
	if (error != 0)
		return error;
	return call_word(call, 1)[0] == 'b' ? fill_blocks(fs, ino) : fill_pages(fs, ino);
}
