/* What belongs to damaged inodes: maps, names, values; inode by inode. */
#include "repair/work.h"

#include <errno.h>
#include <stdlib.h>

/* Want of pages leaves this one as it is: others may free some. */
static int but_for_space(int error)
{
	return error == -ENOSPC ? 0 : error;
}

static int mend_content(struct work *work, uint64_t ino)
{
	const struct fmt_inode *inode;
	int error;

	if (meta_inode_get(work->meta, ino, &inode) != 0)
		return 0;
	if (S_ISDIR(inode->mode))
		error = repair_directory(work, inode);
	else
		error = S_ISREG(inode->mode) && ino != FMT_INO_PARTS ? repair_file(work, inode) : 0;
	return error != 0 ? error : repair_xattrs(work, inode);
}

int repair_content_parts(struct work *work)
{
	const struct fmt_inode *inode;

	if (!repair_inodes_has(&work->damaged, FMT_INO_PARTS) || meta_inode_get(work->meta, FMT_INO_PARTS, &inode) != 0)
		return 0;
	return repair_xattrs(work, inode);
}

int repair_content(struct work *work)
{
	struct repair_inodes set;
	int error = repair_inodes_with(
		work, work->parts_doubtful ? "I4 I5 I6 I9 I10 I11 I13 I20 I23" : "I4 I5 I6 I7 I9 I10 I11 I13 I20 I23",
		&set);

	for (size_t i = 0; error == 0 && i < set.count; i++)
		if (!fmt_ino_is_ledger(set.ino[i])) /* who pins what is not to be guessed: ledger.c */
			error = but_for_space(mend_content(work, set.ino[i]));
	free(set.ino);
	return error;
}

int repair_directories(struct work *work)
{
	struct repair_inodes set;
	int error = repair_inodes_with(work, "I14 I15 I18", &set);

	for (size_t i = 0; error == 0 && i < set.count; i++)
		if (!fmt_ino_is_ledger(set.ino[i]))
			error = but_for_space(mend_content(work, set.ino[i]));
	free(set.ino);
	return error;
}
