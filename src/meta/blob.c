#include "meta/blob.h"

#include "base/arith.h"

#include <errno.h>

int blob_write(struct meta_tx *tx, const struct fmt_inode *owner, unsigned kind, const void *bytes, size_t length,
	       uint64_t *ret_first)
{
	size_t start = length - 1;
	uint64_t next = 0;

	/* From the last page to the first: each knows the one behind it. */
	start -= start % FMT_BLOB_BYTES;
	for (;;) {
		struct fmt_blob *blob;
		void *address;
		uint64_t page;
		int error = tx_page_take(tx, &page, &address);

		if (error != 0)
			return error;
		blob = address;
		memset(blob, 0, offsetof(struct fmt_blob, bytes));
		blob->magic = FMT_BLOB_MAGIC;
		blob->owner = owner->ino;
		blob->generation = owner->generation;
		blob->kind = (uint8_t)kind;
		blob->count = (uint16_t)min_u64(length - start, FMT_BLOB_BYTES);
		blob->next = next;
		memcpy(blob->bytes, (const char *)bytes + start, blob->count);
		fmt_blob_seal(blob);
		next = page;
		if (start == 0)
			break;
		start -= FMT_BLOB_BYTES;
	}
	*ret_first = next;
	return 0;
}

/* The page, verified, holding `left` bytes or a full page of them. */
static int blob_page(struct meta *meta, const struct fmt_inode *owner, unsigned kind, uint64_t page, size_t left,
		     const struct fmt_blob **ret_blob)
{
	const struct fmt_blob *blob = meta_page(meta, page);

	if (blob == NULL || !fmt_blob_valid(blob, owner, kind) || blob->count != min_u64(left, FMT_BLOB_BYTES) ||
	    (blob->next == 0) != (left <= FMT_BLOB_BYTES))
		return -EUCLEAN;
	*ret_blob = blob;
	return 0;
}

int blob_read(struct meta *meta, const struct fmt_inode *owner, unsigned kind, uint64_t first, void *bytes,
	      size_t length)
{
	size_t done = 0;

	for (uint64_t page = first; done < length;) {
		const struct fmt_blob *blob;
		int error = blob_page(meta, owner, kind, page, length - done, &blob);

		if (error != 0)
			return error;
		memcpy((char *)bytes + done, blob->bytes, blob->count);
		done += blob->count;
		page = blob->next;
	}
	return 0;
}

int blob_pages(struct meta *meta, const struct fmt_inode *owner, unsigned kind, uint64_t first, size_t length,
	       int (*visit)(void *arg, uint64_t page), void *arg)
{
	size_t done = 0;

	for (uint64_t page = first; done < length;) {
		const struct fmt_blob *blob;
		int error = blob_page(meta, owner, kind, page, length - done, &blob);

		if (error == 0)
			error = visit(arg, page);
		if (error != 0)
			return error;
		done += blob->count;
		page = blob->next;
	}
	return 0;
}

static int drop_page(void *arg, uint64_t page)
{
	return tx_page_drop(arg, page);
}

int blob_drop(struct meta_tx *tx, const struct fmt_inode *owner, unsigned kind, uint64_t first, size_t length)
{
	return blob_pages(tx->meta, owner, kind, first, length, drop_page, tx);
}
