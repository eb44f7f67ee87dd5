/*
 * Transactions. libpmemobj's undo log makes them atomic; the rules below make that safe:
 *
 * - Everything that was live when the transaction began is snapshotted before it is changed (tx_edit). Pages that were
 *   free are only flushed (tx_fresh): after a crash nothing reaches them.
 * - A page or slot freed in a transaction is not reused before it has committed.
 * - The undo log of a lane holds 2 KiB, preallocated. Every transaction fits: snapshots of pages share a part of it,
 * and a page whose snapshot would not fit is copied to a fresh page and changed there, with one pointer to it. So
 * libpmemobj never allocates, and a full heap cannot stop a deletion.
 *
 * Not done: appending log buffers of ours (pmemobj_tx_log_append_buffer). Recovery in libpmemobj 1.12 takes them for
 * its own and frees them into the heap; after a crash in such a transaction the pool does not open.
 */
#include "base/arith.h"
#include "meta/pool.h"

#include <errno.h>

#define UNDO_BYTES 2048u
#define UNDO_ENTRY_HEADER 24u
#define CACHE_LINE 64u
/*
 * A rename edits four inodes, and nothing edits more. One takes 320 bytes at most, whole, or first touched and then
 * with its maps (meta/inode.c); what is touched is not edited whole after that. A new inode (rename makes whiteouts)
 * costs no more than a small range of a page. What is left is for pages, but for some that is kept: a range that
 * overlaps earlier ones is logged in pieces, each with a header and a line that tx_cost() does not see.
 */
#define UNDO_INODES (4 * 320u)
#define UNDO_KEPT 128u
#define UNDO_PAGES (UNDO_BYTES - UNDO_INODES - UNDO_KEPT)

size_t tx_cost(size_t length)
{
	return align_up(UNDO_ENTRY_HEADER + length, CACHE_LINE);
}

bool tx_fits(const struct meta_tx *tx, size_t cost)
{
	return tx->undo_pages + cost <= UNDO_PAGES && tx->undo_used + cost <= UNDO_BYTES;
}

int tx_edit(struct meta_tx *tx, const void *address, size_t length)
{
	size_t cost = tx_cost(length);

	if (!tx_fits(tx, cost))
		return -ENOBUFS;
	tx->undo_pages += cost;
	tx->undo_used += cost;
	return -pmemobj_tx_add_range_direct(address, length);
}

int tx_edit_inode(struct meta_tx *tx, const void *address, size_t length)
{
	size_t cost = tx_cost(length);

	if (tx->undo_used + cost > UNDO_BYTES)
		return -ENOBUFS;
	tx->undo_used += cost;
	return -pmemobj_tx_add_range_direct(address, length);
}

bool tx_is_fresh(const struct meta_tx *tx, uint64_t page)
{
	for (size_t i = tx->fresh.count; i-- > 0;) {
		if (tx->fresh.items[i] == page)
			return true;
	}
	return false;
}

/* libpmemobj could keep the list; it takes memory for each range, and looks for overlaps. */
int tx_fresh(struct meta_tx *tx, const void *address, size_t length)
{
	int error = vec_push(&tx->stores, (uintptr_t)address);

	return error != 0 ? error : vec_push(&tx->stores, length);
}

/* Before the commit, whose first fence waits for it. */
static void flush_fresh(const struct meta_tx *tx)
{
	for (size_t i = 0; i < tx->stores.count; i += 2)
		pmemobj_flush(tx->meta->pop, (const void *)(uintptr_t)tx->stores.items[i], tx->stores.items[i + 1]);
}

int tx_page_take(struct meta_tx *tx, uint64_t *ret_page, void **ret_address)
{
	uint64_t page;
	void *address;
	int error;

	error = space_page_take(tx->meta, (tx->flags & META_TX_RESERVE) != 0, &page);
	if (error != 0)
		return error;
	error = vec_push(&tx->fresh, page);
	if (error != 0) {
		space_page_put(tx->meta, page);
		return error;
	}
	address = meta_page(tx->meta, page);
	error = tx_fresh(tx, address, FMT_BLOCK_SIZE);
	if (error != 0)
		return error; /* the abort that must follow gives the page back */
	*ret_page = page;
	*ret_address = address;
	return 0;
}

int tx_page_drop(struct meta_tx *tx, uint64_t page)
{
	if (meta_page(tx->meta, page) == NULL)
		return -EUCLEAN;
	return vec_push(&tx->freed, page);
}

int tx_page_move(struct meta_tx *tx, uint64_t page, uint64_t *ret_page, void **ret_address)
{
	int error = tx_page_take(tx, ret_page, ret_address);

	if (error != 0)
		return error;
	memcpy(*ret_address, meta_page(tx->meta, page), FMT_BLOCK_SIZE);
	return tx_page_drop(tx, page);
}

static int begin_pmemobj(struct meta *meta)
{
	int error = pmemobj_tx_begin(meta->pop, NULL, TX_PARAM_NONE);

	if (error != 0) {
		(void)pmemobj_tx_end();
		return -error;
	}
	pmemobj_tx_set_failure_behavior(POBJ_TX_FAILURE_RETURN);
	error = pmemobj_tx_log_auto_alloc(TX_LOG_TYPE_SNAPSHOT, 0);
	if (error != 0) {
		pmemobj_tx_abort(error);
		(void)pmemobj_tx_end();
	}
	return -error;
}

void meta_stop(struct meta *meta)
{
	atomic_store(&meta->stopped, true);
}

int meta_begin(struct meta *meta, unsigned flags, struct meta_tx **ret_tx)
{
	struct meta_tx *tx;
	int error;

	assert(meta->scanned);
	if (atomic_load_explicit(&meta->stopped, memory_order_relaxed))
		return -EIO;
	tx = memory_take(sizeof(*tx));
	if (tx == NULL)
		return -ENOMEM;
	tx->meta = meta;
	tx->flags = flags;
	tx->slot = FMT_INO_NONE;
	tx->new_inode = FMT_INO_NONE;
	tx->undo_used = 0;
	tx->undo_pages = 0;
	tx->names_removed = false;
	tx->limbo = false;
	if ((flags & META_TX_INODE) != 0) {
		error = space_slot_take(meta, (flags & META_TX_RESERVE) != 0, &tx->slot);
		if (error != 0)
			goto free_tx;
	}
	error = begin_pmemobj(meta);
	if (error != 0)
		goto put_slot;
	vec_init(&tx->fresh);
	vec_init(&tx->stores);
	vec_init(&tx->freed);
	vec_init(&tx->edited);
	vec_init(&tx->destroyed);
	*ret_tx = tx;
	return 0;

put_slot:
	if (tx->slot != FMT_INO_NONE)
		space_slot_put(meta, tx->slot);
free_tx:
	memory_give_back(tx);
	return error;
}

/*
 * A free page shall not look like one that is in use: a rescue that has lost what named a page goes by what the page
 * says of itself. No flush: nothing depends on it, and a page that a power cut leaves as it was costs a doubt, no data.
 */
static void page_void(struct meta *meta, uint64_t page)
{
	struct fmt_node *node = meta_page(meta, page);

	node->magic = 0;
}

/* Gives back what the transaction held in memory; `pages` and `slots` are free from now on. */
static void tx_end(struct meta_tx *tx, const struct vec *pages, const struct vec *slots)
{
	struct meta *meta = tx->meta;

	for (size_t i = 0; i < pages->count; i++) {
		page_void(meta, pages->items[i]);
		space_page_put(meta, pages->items[i]);
	}
	if (tx->slot != FMT_INO_NONE)
		space_slot_put(meta, tx->slot);
	for (size_t i = 0; slots != NULL && i < slots->count; i++) {
		atomic_fetch_sub(&meta->inodes_used, 1);
		space_slot_put(meta, slots->items[i]);
	}
	vec_fini(&tx->fresh);
	vec_fini(&tx->stores);
	vec_fini(&tx->freed);
	vec_fini(&tx->edited);
	vec_fini(&tx->destroyed);
	memory_give_back(tx);
}

int meta_commit(struct meta_tx *tx)
{
	int error;

	for (size_t i = 0; i < tx->edited.count; i++) {
		struct fmt_inode *inode = (struct fmt_inode *)(uintptr_t)(tx->edited.items[i] & ~TX_INODE_ALL);

		if (!fmt_inode_free(inode))
			fmt_inode_seal(inode);
	}
	flush_fresh(tx);
	pmemobj_tx_commit();
	error = pmemobj_tx_end();
	if (error != 0) {
		/* Committing cannot fail in libpmemobj 1.12; if it ever does, libpmemobj has undone everything. */
		if (tx->new_inode != FMT_INO_NONE)
			tx->slot = tx->new_inode;
		tx_end(tx, &tx->fresh, NULL);
		return -error;
	}
	if (tx->new_inode != FMT_INO_NONE)
		atomic_fetch_add(&tx->meta->inodes_used, 1);
	if (tx->limbo)
		limbo_settle(tx->meta);
	tx_end(tx, &tx->freed, &tx->destroyed);
	return 0;
}

void meta_abort(struct meta_tx *tx)
{
	if (pmemobj_tx_stage() == TX_STAGE_WORK)
		pmemobj_tx_abort(ECANCELED);
	(void)pmemobj_tx_end();
	if (tx->new_inode != FMT_INO_NONE)
		tx->slot = tx->new_inode;
	tx_end(tx, &tx->fresh, NULL);
}
