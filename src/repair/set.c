/* Sets of inodes, and transactions. */
#include "base/search.h"
#include "repair/work.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int repair_inodes_add(struct repair_inodes *set, uint64_t ino)
{
	int error = check_grow(&set->ino, &set->capacity, set->count, sizeof(*set->ino));

	if (error == 0)
		set->ino[set->count++] = ino;
	return error;
}

static int compare(const void *a, const void *b)
{
	const uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return left < right ? -1 : left > right;
}

void repair_inodes_sort(struct repair_inodes *set)
{
	size_t kept = 0;

	if (set->count == 0)
		return;
	qsort(set->ino, set->count, sizeof(*set->ino), compare);
	for (size_t i = 1; i < set->count; i++)
		if (set->ino[i] != set->ino[kept])
			set->ino[++kept] = set->ino[i];
	set->count = kept + 1;
}

bool repair_inodes_has(const struct repair_inodes *set, uint64_t ino)
{
	return set->count > 0 && bsearch(&ino, set->ino, set->count, sizeof(*set->ino), compare) != NULL;
}

/* True if `invariants`, separated by spaces, has this one. */
static bool listed(const char *invariants, const char *invariant)
{
	const size_t length = strlen(invariant);

	for (const char *at = invariants; (at = strstr(at, invariant)) != NULL; at += length)
		if ((at == invariants || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
			return true;
	return false;
}

int repair_inodes_with(const struct work *work, const char *invariants, struct repair_inodes *ret_set)
{
	struct repair_inodes set = {.ino = NULL};

	*ret_set = set;
	for (size_t i = 0; i < work->check.founds; i++) {
		const struct check_found *found = &work->check.found[i];
		int error;

		if (found->ino == FMT_INO_NONE || found->severity != CHECK_ERROR ||
		    !listed(invariants, found->invariant))
			continue;
		error = repair_inodes_add(&set, found->ino);
		if (error != 0) {
			free(set.ino);
			return error;
		}
	}
	repair_inodes_sort(&set);
	*ret_set = set;
	return 0;
}

bool repair_has(const struct work *work, const char *invariants)
{
	for (size_t i = 0; i < work->check.founds; i++)
		if (work->check.found[i].severity == CHECK_ERROR && listed(invariants, work->check.found[i].invariant))
			return true;
	return false;
}

size_t repair_pages_find(const struct repair_pages *pages, uint64_t owner)
{
	return search_from(pages->page, pages->count, sizeof(*pages->page), offsetof(struct mend_page, owner), owner);
}

int repair_begin(struct work *work, bool inode, struct meta_tx **ret_tx)
{
	check_step(&work->check);
	return meta_begin(work->meta, META_TX_RESERVE | (inode ? META_TX_INODE : 0), ret_tx);
}

int repair_edit(struct work *work, uint64_t ino, struct meta_tx **ret_tx, struct fmt_inode **ret_edited)
{
	const struct fmt_inode *inode;
	int error = meta_inode_get(work->meta, ino, &inode);

	if (error == 0)
		error = repair_begin(work, false, ret_tx);
	if (error != 0)
		return error;
	error = meta_inode_edit(*ret_tx, inode, ret_edited);
	return error != 0 ? repair_end(*ret_tx, error) : 0;
}

int repair_end(struct meta_tx *tx, int error)
{
	if (error == 0)
		return meta_commit(tx);
	meta_abort(tx);
	return error;
}
