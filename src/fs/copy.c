/* Copying between files, from mapped memory to mapped memory. */
#include "fs/data.h"
#include "fs/protect.h"

#include <errno.h>

/* Source and destination, possibly the same file. */
struct pair {
	struct fs_inode *in;
	struct fs_inode *out;
};

static void take_map(const struct pair *pair, struct fs_inode *file)
{
	if (file == pair->out)
		lock_rw_take_exclusive(&file->map);
	else
		lock_rw_take_shared(&file->map);
}

/* Both layouts, then both maps, each by inode number. */
static void pair_lock(const struct pair *pair)
{
	struct fs_inode *first = pair->in->ino < pair->out->ino ? pair->in : pair->out;
	struct fs_inode *second = first == pair->in ? pair->out : pair->in;

	lock_rw_take_shared(&first->layout);
	if (second != first)
		lock_rw_take_shared(&second->layout);
	take_map(pair, first);
	if (second != first)
		take_map(pair, second);
}

static void pair_unlock(const struct pair *pair)
{
	lock_rw_drop(&pair->out->map);
	if (pair->in != pair->out)
		lock_rw_drop(&pair->in->map);
	lock_rw_drop(&pair->out->layout);
	if (pair->in != pair->out)
		lock_rw_drop(&pair->in->layout);
}

/*
 * Exclusive pins in the way of the whole copy, before its first step; of what is left of it, before the others: pins
 * may have come while nothing was locked. Then it ends there (-EAGAIN): what is copied cannot be parked any more.
 */
static int copy_break(struct fs *fs, const struct pair *pair, uint64_t out, uint64_t length, bool first,
		      struct fs_wait *wait)
{
	/* Under the locks: an intent of one of the files may have failed while we waited. */
	int error = fs_writable(fs);

	if (error == 0)
		error = fs_may_write(pair->out, out);
	if (error != 0)
		return error;
	return fs_break(fs, pair->out, out >> FMT_BLOCK_SHIFT, fs_block_up(out + length), PIN_WRITE,
			first ? wait : NULL);
}

/* One step, pair locked; *ret_count is 0 at the end of the source. */
static int copy_step(struct fs *fs, const struct pair *pair, uint64_t in, uint64_t out, uint64_t length,
		     uint64_t *ret_count)
{
	struct iovec iov[FS_READ_IOV];
	struct fs_source source = {.iov = iov};
	uint64_t size = pair->in->media->size;
	uint64_t end;
	size_t count;
	size_t gathered;
	int error;

	if (in >= size) {
		*ret_count = 0;
		return 0;
	}
	length = min_u64(min_u64(length, size - in), FS_STEP_BYTES);
	error = fs_gather(fs, pair->in, in, in + length, iov, FS_READ_IOV, &count, &gathered);
	if (error == 0)
		error = fs_lost_check_iov(fs, iov, count);
	if (error == 0)
		error = fs_write_step(fs, pair->out, &source, out, out + gathered, false, &end);
	if (error == 0)
		*ret_count = end - out;
	/* The destination has been looked at. */
	if (error == -EHWPOISON)
		fs_lost_iov(fs, pair->in->ino, iov, count);
	return error == -EHWPOISON ? -EIO : error;
}

/*
 * Clips the request at the source's end, once: what the copy itself adds to a file is no source. -EINVAL for overlap,
 * before anything is changed.
 */
static int clip_source(const struct pair *pair, uint64_t in, uint64_t out, uint64_t *length)
{
	uint64_t size;

	lock_rw_take_shared(&pair->in->map);
	size = pair->in->media->size;
	lock_rw_drop(&pair->in->map);
	*length = in < size ? min_u64(*length, size - in) : 0;
	return pair->in == pair->out && in < out + *length && out < in + *length ? -EINVAL : 0;
}

static ssize_t copy_files(struct fs *fs, const struct pair *pair, uint64_t in, uint64_t out, uint64_t length,
			  struct fs_wait *wait)
{
	uint64_t done = 0;
	int error;

	error = clip_source(pair, in, out, &length);
	while (error == 0 && done < length) {
		uint64_t count;

		pair_lock(pair);
		error = copy_break(fs, pair, out + done, length - done, done == 0, wait);
		if (error == 0)
			error = copy_step(fs, pair, in + done, out + done, length - done, &count);
		pair_unlock(pair);
		if (error == 0 && count == 0)
			break;
		if (error == 0)
			done += count;
	}
	return done > 0 ? (ssize_t)done : error;
}

static int check_kind(const struct pair *pair)
{
	if (fs_inode_is_dir(pair->in) || fs_inode_is_dir(pair->out))
		return -EISDIR;
	return S_ISREG(pair->in->type) && S_ISREG(pair->out->type) ? 0 : -EINVAL;
}

static ssize_t copy_numbers(struct fs *fs, uint64_t ino_in, off_t offset_in, uint64_t ino_out, off_t offset_out,
			    size_t length, struct fs_wait *wait)
{
	struct pair pair;
	ssize_t result;
	int error;

	error = fs_writable(fs);
	if (error != 0)
		return error;
	if (offset_in < 0 || offset_out < 0)
		return -EINVAL;
	error = fs_inode_get(fs, ino_in, &pair.in);
	if (error != 0)
		return error;
	error = fs_inode_get(fs, ino_out, &pair.out);
	if (error != 0)
		goto put_in;
	error = check_kind(&pair);
	if (error == 0 && length > 0 && offset_out == FMT_FILE_SIZE_MAX)
		error = -EFBIG;
	/* No file reaches beyond FMT_FILE_SIZE_MAX: with both ranges clipped there, no sum below overflows. */
	length = min_u64(length, (uint64_t)(FMT_FILE_SIZE_MAX - offset_out));
	length = min_u64(length, (uint64_t)(FMT_FILE_SIZE_MAX - offset_in));
	result = error != 0 ? error : copy_files(fs, &pair, (uint64_t)offset_in, (uint64_t)offset_out, length, wait);
	fs_inode_put(fs, pair.out);
	fs_inode_put(fs, pair.in);
	return result;
put_in:
	fs_inode_put(fs, pair.in);
	return error;
}

ssize_t fs_copy_range(struct fs *fs, uint64_t ino_in, off_t offset_in, uint64_t ino_out, off_t offset_out,
		      size_t length, struct fs_wait *wait)
{
	return fs_break_end(fs, wait, copy_numbers(fs, ino_in, offset_in, ino_out, offset_out, length, wait));
}
