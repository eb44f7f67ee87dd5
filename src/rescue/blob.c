#include "rescue/work.h"

#include "base/arith.h"

#include <errno.h>
#include <string.h>

int blob_copy(const struct work *work, const struct fmt_inode *inode, unsigned kind, uint64_t first, void *buffer,
	      size_t length)
{
	uint64_t page = first;
	size_t done = 0;

	while (done < length) {
		struct fmt_blob blob;
		uint64_t offset = pool_page_offset(work, page);
		size_t want = min_u64(length - done, FMT_BLOB_BYTES);

		if (offset == 0 || image_read(&work->meta, offset, &blob, sizeof(blob)) != 0)
			return -EIO;
		if (!fmt_blob_valid(&blob, inode, kind) || blob.count != want ||
		    (blob.next == 0) != (done + want == length))
			return -EUCLEAN;
		memcpy((char *)buffer + done, blob.bytes, want);
		done += want;
		page = blob.next;
	}
	return 0;
}
