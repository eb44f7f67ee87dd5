/* Contents of files: holes stay holes, and what cannot be read, or may be another's, becomes one. */
#include "rescue/work.h"

#include "base/arith.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* A run of bytes that is left out, told when it ends. */
struct hole {
	uint64_t start, end;
	const char *reason;
};

struct copy {
	struct work *work;
	const struct fmt_inode *inode;
	const char *path;
	int fd;
	struct hole hole;
};

static void hole_end(struct copy *copy)
{
	const struct hole *hole = &copy->hole;

	if (hole->start < hole->end)
		rescue_lost(copy->work, "%s: bytes %llu to %llu are left out: %s", copy->path,
			    (unsigned long long)hole->start, (unsigned long long)hole->end - 1, hole->reason);
	copy->hole = (struct hole){0};
}

static void leave_out(struct copy *copy, uint64_t start, uint64_t end, const char *reason)
{
	end = min_u64(end, copy->inode->size);
	if (start >= end)
		return;
	if (copy->hole.end == start && copy->hole.reason == reason) {
		copy->hole.end = end;
		return;
	}
	hole_end(copy);
	copy->hole = (struct hole){start, end, reason};
}

static int write_all(struct copy *copy, uint64_t offset, const unsigned char *bytes, size_t length)
{
	while (length > 0) {
		ssize_t written = pwrite(copy->fd, bytes, length, (off_t)offset);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return written < 0 ? -errno : -EIO;
		offset += (uint64_t)written;
		bytes += written;
		length -= (size_t)written;
		copy->work->report.bytes += (uint64_t)written;
	}
	return 0;
}

/* Bytes [start, end) of the file, which lie in one piece at `from` of a part. */
static int copy_bytes(struct copy *copy, const struct part *part, uint64_t from, uint64_t start, uint64_t end)
{
	uint64_t length;
	int error = 0;

	for (; error == 0 && start < end; start += length, from += length) {
		length = min_u64(BUFFER_SIZE, end - start);
		if (image_read(&part->image, from, copy->work->buffer, length) != 0) {
			/* Which block of them is it? */
			length = min_u64(length, FMT_BLOCK_SIZE - start % FMT_BLOCK_SIZE);
			if (image_read(&part->image, from, copy->work->buffer, length) != 0) {
				leave_out(copy, start, start + length, "the memory that holds them cannot be read");
				continue;
			}
		}
		error = write_all(copy, start, copy->work->buffer, length);
		rescue_progress(copy->work, "copying", copy->work->report.bytes, copy->work->bytes_total);
	}
	return error;
}

/* [start, end) but for what an interrupted truncation has already made zeros of. */
static int copy_living(struct copy *copy, const struct part *part, uint64_t from, uint64_t start, uint64_t end)
{
	const struct fmt_inode *inode = copy->inode;
	int error;

	if ((inode->flags & FMT_INODE_INTENT) == 0 || inode->intent_start >= end || inode->intent_end <= start)
		return copy_bytes(copy, part, from, start, end);
	error = inode->intent_start > start ? copy_bytes(copy, part, from, start, inode->intent_start) : 0;
	if (error == 0 && inode->intent_end < end)
		error = copy_bytes(copy, part, from + (inode->intent_end - start), inode->intent_end, end);
	return error;
}

static const char *reason_of(enum claim state)
{
	switch (state) {
	case CLAIM_TWICE:
		return "another file has the same blocks";
	case CLAIM_NO_PART:
		return "their data part is not there";
	default:
		return "their data part has no such blocks";
	}
}

static int copy_record(struct walk *walk, const struct fmt_record *record)
{
	struct copy *copy = walk->arg;
	uint64_t size = copy->inode->size;
	uint32_t length = record->length;
	int error = 0;

	if ((length & FMT_EXTENT_UNWRITTEN) != 0 || record->key >= (size + FMT_BLOCK_SIZE - 1) >> FMT_BLOCK_SHIFT)
		return 0;
	for (uint32_t done = 0, run; error == 0 && done < length; done += run) {
		uint64_t phys = record->value + done;
		uint64_t start = (record->key + done) << FMT_BLOCK_SHIFT;
		enum claim state;
		uint64_t end;

		if (start >= size)
			break;
		run = fmt_phys_run_possible(phys, length - done) ? claims_run(walk->work, phys, length - done, &state)
								 : (state = CLAIM_NO_BLOCK, length - done);
		/* No overflow: a run that is longer than the file is cut first. */
		end = run > (size - start) >> FMT_BLOCK_SHIFT ? size : start + ((uint64_t)run << FMT_BLOCK_SHIFT);
		if (state != CLAIM_SOLE)
			leave_out(copy, start, end, reason_of(state));
		else
			error = copy_living(copy, parts_find(walk->work, phys), fmt_phys_block(phys) << FMT_BLOCK_SHIFT,
					    start, end);
	}
	return error;
}

static void copy_gap(struct walk *walk, uint64_t low, uint64_t high)
{
	struct copy *copy = walk->arg;
	uint64_t size = copy->inode->size;
	uint64_t last = (FMT_FILE_SIZE_MAX >> FMT_BLOCK_SHIFT) - 1;

	low = min_u64(low, last);
	leave_out(copy, low << FMT_BLOCK_SHIFT, high >= last ? size : (high + 1) << FMT_BLOCK_SHIFT,
		  "what is known of their place is damaged");
}

/* Nodes that the map has lost and that are its own: then its gaps are none. */
static int copy_orphans(struct copy *copy, struct walk *walk, const struct page_info *page)
{
	int error = 0;

	for (; error == 0 && page != NULL; page = orphans_next(copy->work, page))
		error = map_walk_page(walk, page);
	return error;
}

int file_copy(struct work *work, int fd, const struct fmt_inode *inode, const char *path)
{
	struct copy copy = {.work = work, .inode = inode, .path = path, .fd = fd};
	struct walk walk = {.work = work,
			    .inode = inode,
			    .kind = FMT_KIND_EXTENTS,
			    .record = copy_record,
			    .gap = copy_gap,
			    .arg = &copy};
	const struct page_info *orphans = orphans_first(work, inode->ino, inode->generation, FMT_KIND_EXTENTS);
	int error = 0;

	if (orphans != NULL)
		walk.gap = NULL;
	if (ftruncate(fd, (off_t)inode->size) != 0) {
		if (node_fatal(-errno))
			return -errno;
		rescue_lost(work, "%s: its size cannot be %llu here: %s", path, (unsigned long long)inode->size,
			    strerror(errno));
		return 0;
	}
	error = map_walk(&walk);
	if (error == 0)
		error = copy_orphans(&copy, &walk, orphans);
	hole_end(&copy);
	return error;
}
