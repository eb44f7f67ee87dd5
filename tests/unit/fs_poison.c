/*
 * Lost memory: EIO for what is lost and nothing else, recorded for ever, replaced by writes. A block is lost here by
 * mapping a file without bytes over it: each access is a SIGBUS, as if memory had failed.
 */
#include "fs_break.h"

#include "base/fault.h"
#include "crash_points.h"

#include <sys/mman.h>

#define FILE_BLOCKS 16u

/* The test library puts handlers of its own in place for each test. */
static struct pool *pool_of(void **state)
{
	assert_int_equal(fault_install(), 0);
	return *state;
}

static unsigned char *address_of(struct fs *fs, uint64_t phys)
{
	struct region_part *part;

	return fs_block_address(fs, phys, 1, &part);
}

static void lose_phys(struct pool *pool, uint64_t phys, unsigned count)
{
	int fd = memfd_create("lost", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_ptr_not_equal(
		mmap(address_of(pool->fs, phys), count * BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0),
		MAP_FAILED);
	close(fd);
}

static uint64_t phys_at(struct pool *pool, uint64_t ino, uint64_t block)
{
	struct meta_extent extent;
	struct fs_inode *file;

	assert_int_equal(fs_inode_get(pool->fs, ino, &file), 0);
	assert_int_equal(meta_extent_find(pool->fs->meta, file->media, block, &extent), 0);
	fs_inode_put(pool->fs, file);
	assert_true(extent.file_block <= block);
	return extent.phys + (block - extent.file_block);
}

static void lose(struct pool *pool, uint64_t ino, uint64_t block, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		lose_phys(pool, phys_at(pool, ino, block + i), 1);
}

/* As the front does: what the kernel cannot load is looked for. */
static int read_error(struct pool *pool, uint64_t ino, uint64_t offset, size_t length)
{
	struct fs_read read;
	int error = fs_read_begin(pool->fs, ino, (off_t)offset, length, &read);

	if (error != 0)
		return error;
	for (int i = 0; i < read.count && error == 0; i++) {
		int fds[2];

		assert_int_equal(pipe(fds), 0);
		for (size_t at = 0; at < read.iov[i].iov_len && error == 0; at += BLOCK)
			if (write(fds[1], (char *)read.iov[i].iov_base + at, 1) < 0)
				error = -errno;
		close(fds[0]);
		close(fds[1]);
	}
	if (error == -EFAULT)
		fs_read_failed(pool->fs, &read);
	fs_read_end(pool->fs, &read);
	return error == -EFAULT ? -EIO : error;
}

static ssize_t write_bytes(struct pool *pool, uint64_t ino, uint64_t offset, size_t length, unsigned char value)
{
	unsigned char *bytes = malloc(length);
	ssize_t result;

	assert_non_null(bytes);
	memset(bytes, value, length);
	result = fs_write(pool->fs, ino, bytes, length, (off_t)offset, NULL);
	free(bytes);
	return result;
}

static uint64_t make_file(struct pool *pool, const char *name)
{
	uint64_t ino = file_make(pool, name);

	file_fill(pool, ino, 0, FILE_BLOCKS * BLOCK, 'a');
	return ino;
}

static uint64_t bad_blocks(struct pool *pool)
{
	return meta_bad_blocks(pool->fs->meta);
}

static void remount(struct pool *pool)
{
	pool_unmount(pool);
	pool_check(pool);
	pool_mount(pool);
}

/* ---- Reading ---- */

static void only_that_range(void **state)
{
	struct pool *pool = pool_of(state);
	uint64_t ino = make_file(pool, "file");
	uint64_t other = make_file(pool, "other");

	lose(pool, ino, 5, 2);
	assert_int_equal(read_error(pool, ino, 0, FILE_BLOCKS * BLOCK), -EIO);
	assert_int_equal(fs_poison_count(pool->fs), 2);
	assert_int_equal(bad_blocks(pool), 2);
	/* For any part of them, and again; and nothing of the others. */
	assert_int_equal(read_error(pool, ino, 6 * BLOCK + 100, 1), -EIO);
	assert_int_equal(read_error(pool, ino, 4 * BLOCK, BLOCK + 1), -EIO);
	assert_true(file_has(pool, ino, 0, 5 * BLOCK, 'a'));
	assert_true(file_has(pool, ino, 7 * BLOCK, 9 * BLOCK, 'a'));
	assert_true(file_has(pool, other, 0, FILE_BLOCKS * BLOCK, 'a'));
	assert_int_equal(fs_poison_count(pool->fs), 2);
	assert_int_equal(fs_writable(pool->fs), 0);
}

/* The memory works again, as that of a file that was cut and made longer: what it held is gone all the same. */
static void stays_lost(void **state)
{
	struct pool *pool = pool_of(state);
	uint64_t ino = make_file(pool, "file");

	lose(pool, ino, 5, 2);
	assert_int_equal(read_error(pool, ino, 5 * BLOCK, BLOCK), -EIO);
	assert_int_equal(fs_poison_count(pool->fs), 1);
	assert_int_equal(read_error(pool, ino, 5 * BLOCK, 2 * BLOCK), -EIO);
	assert_int_equal(read_error(pool, ino, 6 * BLOCK, BLOCK), -EIO);
	remount(pool);
	ino = find(pool, ROOT, "file");
	assert_int_equal(fs_poison_count(pool->fs), 2);
	assert_int_equal(read_error(pool, ino, 6 * BLOCK, 10), -EIO);
	assert_int_equal(write_bytes(pool, ino, 5 * BLOCK + 1, 10, 'b'), -EIO);
	assert_true(file_has(pool, ino, 7 * BLOCK, 9 * BLOCK, 'a'));
	pool_unmount(pool);
	{
		struct message why;

		assert_int_equal(pool_try_mount(pool, true, NULL, &why), 0);
	}
	assert_int_equal(read_error(pool, ino, 6 * BLOCK, 10), -EIO);
	assert_true(file_has(pool, ino, 7 * BLOCK, 9 * BLOCK, 'a'));
}

/* ---- Writing ---- */

static void write_in_part(void **state)
{
	struct pool *pool = pool_of(state);
	uint64_t ino = make_file(pool, "file");
	uint64_t phys = phys_at(pool, ino, 5);

	lose(pool, ino, 5, 1);
	assert_int_equal(write_bytes(pool, ino, 5 * BLOCK + 10, 100, 'b'), -EIO);
	assert_int_equal(fs_poison_count(pool->fs), 1);
	assert_int_equal(write_bytes(pool, ino, 4 * BLOCK, 2 * BLOCK - 1, 'b'), -EIO);
	assert_int_equal(phys_at(pool, ino, 5), phys);
	assert_int_equal(read_error(pool, ino, 5 * BLOCK, BLOCK), -EIO);
	assert_int_equal(write_bytes(pool, ino, 6 * BLOCK, BLOCK, 'c'), BLOCK);
	assert_int_equal(fs_writable(pool->fs), 0);
}

static void write_over_all(void **state)
{
	struct pool *pool = pool_of(state);
	uint64_t ino = make_file(pool, "file");
	uint64_t phys = phys_at(pool, ino, 5);
	uint64_t free_before = blocks_free(pool);

	lose(pool, ino, 5, 1);
	lose(pool, ino, 8, 3);
	/* Not known before, and in the middle. */
	assert_int_equal(write_bytes(pool, ino, 4 * BLOCK + 7, 8 * BLOCK, 'b'), 8 * BLOCK);
	assert_int_equal(fs_poison_count(pool->fs), 4);
	assert_int_not_equal(phys_at(pool, ino, 5), phys);
	assert_true(file_has(pool, ino, 0, 4 * BLOCK + 7, 'a'));
	assert_true(file_has(pool, ino, 4 * BLOCK + 7, 8 * BLOCK, 'b'));
	assert_true(file_has(pool, ino, 12 * BLOCK + 7, 4 * BLOCK - 7, 'a'));
	assert_int_equal(blocks_free(pool), free_before - 4);
	remount(pool);
	ino = find(pool, ROOT, "file");
	assert_true(file_has(pool, ino, 4 * BLOCK + 7, 8 * BLOCK, 'b'));
	assert_int_equal(bad_blocks(pool), 4);
	assert_int_equal(blocks_free(pool), free_before - 4);
}

/* The last block: all that the file has of it is enough; what is behind the end is zeros, then and later. */
static void write_over_the_last(void **state)
{
	struct pool *pool = pool_of(state);
	uint64_t ino = file_make(pool, "file");

	file_fill(pool, ino, 0, 2 * BLOCK + 100, 'a');
	lose(pool, ino, 2, 1);
	assert_int_equal(write_bytes(pool, ino, 2 * BLOCK, 99, 'b'), -EIO);
	assert_int_equal(write_bytes(pool, ino, 2 * BLOCK, 100, 'b'), 100);
	assert_int_equal(file_resize(pool->fs, ino, 3 * BLOCK), 0);
	assert_true(file_has(pool, ino, 2 * BLOCK, 100, 'b'));
	assert_true(file_has(pool, ino, 2 * BLOCK + 100, BLOCK - 100, 0));
	/* Beyond the end. */
	assert_int_equal(file_resize(pool->fs, ino, 2 * BLOCK + 50), 0);
	lose(pool, ino, 2, 1);
	assert_int_equal(write_bytes(pool, ino, 2 * BLOCK + 50, 10, 'c'), -EIO);
	assert_int_equal(write_bytes(pool, ino, 2 * BLOCK, BLOCK + 10, 'c'), BLOCK + 10);
	assert_true(file_has(pool, ino, 2 * BLOCK, BLOCK + 10, 'c'));
	assert_int_equal(attr_of(pool, ino).st_size, 3 * BLOCK + 10);
}

/* Preallocated blocks read as zeros, lost or not, and can be written, in part, too. */
static void unwritten(void **state)
{
	struct pool *pool = pool_of(state);
	uint64_t ino = file_make(pool, "file");

	assert_int_equal(fs_fallocate(pool->fs, ino, 0, 0, 8 * BLOCK, NULL), 0);
	lose(pool, ino, 3, 2);
	assert_true(file_has(pool, ino, 0, 8 * BLOCK, 0));
	assert_int_equal(write_bytes(pool, ino, 3 * BLOCK + 100, 100, 'b'), 100);
	assert_int_equal(fs_poison_count(pool->fs), 1);
	assert_true(file_has(pool, ino, 3 * BLOCK, 100, 0));
	assert_true(file_has(pool, ino, 3 * BLOCK + 100, 100, 'b'));
	assert_true(file_has(pool, ino, 3 * BLOCK + 200, BLOCK - 200, 0));
}

/* Blocks that nobody has used so far: others are taken, and nobody hears of it. */
static void lost_while_free(void **state)
{
	struct pool *pool = pool_of(state);
	uint64_t ino = make_file(pool, "file");
	uint64_t next = phys_at(pool, ino, FILE_BLOCKS - 1) + 1;

	lose_phys(pool, next, 1);
	lose_phys(pool, next + 40, 300);
	assert_int_equal(write_bytes(pool, ino, FILE_BLOCKS * BLOCK, 600 * BLOCK, 'b'), 600 * BLOCK);
	assert_true(file_has(pool, ino, FILE_BLOCKS * BLOCK, 600 * BLOCK, 'b'));
	assert_true(fs_poison_count(pool->fs) >= 1);
	assert_int_equal(bad_blocks(pool), fs_poison_count(pool->fs));
	remount(pool);
	assert_true(file_has(pool, find(pool, ROOT, "file"), FILE_BLOCKS * BLOCK, 600 * BLOCK, 'b'));
}

/* ---- Taking out ---- */

static void edges(void **state)
{
	struct pool *pool = pool_of(state);
	const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	uint64_t ino = make_file(pool, "file");

	lose(pool, ino, 2, 1);
	lose(pool, ino, 5, 1);
	lose(pool, ino, 9, 1);
	/* From inside of a lost block to inside of another one, whole blocks between them. */
	assert_int_equal(fs_fallocate(pool->fs, ino, punch, 2 * BLOCK + 100, 3 * BLOCK + 100, NULL), 0);
	assert_true(file_has(pool, ino, 3 * BLOCK, 2 * BLOCK, 0));
	assert_int_equal(read_error(pool, ino, 2 * BLOCK, 100), -EIO);
	assert_int_equal(read_error(pool, ino, 6 * BLOCK - 100, 100), -EIO);
	assert_int_equal(file_resize(pool->fs, ino, 9 * BLOCK + 10), 0);
	assert_int_equal(read_error(pool, ino, 9 * BLOCK, 10), -EIO);
	assert_int_equal(fs_fallocate(pool->fs, ino, FALLOC_FL_ZERO_RANGE, 2 * BLOCK, 4 * BLOCK, NULL), 0);
	assert_true(file_has(pool, ino, 2 * BLOCK, 4 * BLOCK, 0));
	assert_true(file_has(pool, ino, 0, 2 * BLOCK, 'a'));
	/* Longer again: the rest of the lost block is no zeros that anybody could read, the other blocks are. */
	assert_int_equal(file_resize(pool->fs, ino, 11 * BLOCK), 0);
	assert_int_equal(read_error(pool, ino, 9 * BLOCK + 10, 1), -EIO);
	assert_true(file_has(pool, ino, 10 * BLOCK, BLOCK, 0));
	assert_int_equal(file_resize(pool->fs, ino, 9 * BLOCK), 0);
	assert_int_equal(file_resize(pool->fs, ino, 11 * BLOCK), 0);
	assert_true(file_has(pool, ino, 9 * BLOCK, 2 * BLOCK, 0));
	assert_int_equal(fs_poison_count(pool->fs), 3);
	assert_int_equal(fs_writable(pool->fs), 0);
}

static void unlinked(void **state)
{
	struct pool *pool = pool_of(state);
	uint64_t before = blocks_free(pool);
	uint64_t ino = make_file(pool, "file");
	uint64_t lost = phys_at(pool, ino, 7);

	lose(pool, ino, 7, 1);
	assert_int_equal(read_error(pool, ino, 7 * BLOCK, 1), -EIO);
	file_remove(pool, "file", ino);
	assert_int_equal(blocks_free(pool), before - 1);
	/* Nobody gets it any more. */
	ino = file_make(pool, "all");
	file_fill(pool, ino, 0, (before - 1) * BLOCK, 'b');
	assert_int_equal(blocks_free(pool), 0);
	for (uint64_t block = 0; block < before - 1; block++)
		assert_int_not_equal(phys_at(pool, ino, block), lost);
	remount(pool);
	assert_int_equal(blocks_free(pool), 0);
	assert_int_equal(bad_blocks(pool), 1);
}

/* ---- Copying ---- */

static void copies(void **state)
{
	struct pool *pool = pool_of(state);
	uint64_t from = make_file(pool, "from");
	uint64_t to = make_file(pool, "to");

	lose(pool, from, 3, 1);
	assert_int_equal(fs_copy_range(pool->fs, from, 0, to, 0, FILE_BLOCKS * BLOCK, NULL), -EIO);
	assert_int_equal(fs_poison_count(pool->fs), 1);
	assert_int_equal(read_error(pool, from, 3 * BLOCK, 1), -EIO);
	assert_int_equal(fs_copy_range(pool->fs, from, 4 * BLOCK, to, 0, 4 * BLOCK, NULL), 4 * BLOCK);
	lose(pool, to, 9, 1);
	assert_int_equal(fs_copy_range(pool->fs, from, 8 * BLOCK, to, 8 * BLOCK, 4 * BLOCK, NULL), -EIO);
	assert_int_equal(read_error(pool, to, 9 * BLOCK, 1), -EIO);
	assert_int_equal(fs_poison_count(pool->fs), 2);
	remount(pool);
	/* The memory works again. */
	from = find(pool, ROOT, "from");
	to = find(pool, ROOT, "to");
	assert_int_equal(fs_copy_range(pool->fs, from, 3 * BLOCK, to, 0, BLOCK, NULL), -EIO);
	assert_true(file_has(pool, to, 0, 4 * BLOCK, 'a'));
}

/* ---- Pins ---- */

static void holder_told(void **state)
{
	struct pool *pool = pool_of(state);
	uint64_t ino = make_file(pool, "file");
	struct client client;
	uint64_t id, next;

	client_open(&client, pool->fs);
	assert_int_equal(pin_range(&client, ino, 4 * BLOCK, 4 * BLOCK, PIN_FLAG_WRITE, &id), 0);
	lose(pool, ino, 5, 1);
	lose(pool, ino, 10, 1);
	assert_int_equal(read_error(pool, ino, 0, FILE_BLOCKS * BLOCK), -EIO);
	event_await(&client.heard[PIN_EVENT_POISON], 1);
	assert_int_equal(client.last[PIN_EVENT_POISON].pin, id);
	assert_int_equal(client.last[PIN_EVENT_POISON].offset, 5 * BLOCK);
	assert_int_equal(client.last[PIN_EVENT_POISON].length, BLOCK);
	/* Told once. */
	assert_int_equal(read_error(pool, ino, 0, FILE_BLOCKS * BLOCK), -EIO);
	assert_int_equal(event_count(&client.heard[PIN_EVENT_POISON]), 1);
	/* No new pin of what is lost, and one of what is not. */
	assert_int_equal(pin_range(&client, ino, 9 * BLOCK, 2 * BLOCK, 0, &next), -EIO);
	assert_int_equal(pin_range(&client, ino, 5 * BLOCK, 1, 0, &next), -EIO);
	assert_int_equal(pin_range(&client, ino, 11 * BLOCK, BLOCK, 0, &next), 0);
	assert_int_equal(fs_unpin(pool->fs, client.holder, next), 0);
	/* What is pinned keeps its place: no other block comes for it until then. */
	assert_int_equal(write_bytes(pool, ino, 5 * BLOCK, BLOCK, 'b'), -EIO);
	assert_int_equal(fs_unpin(pool->fs, client.holder, id), 0);
	settle(pool->fs);
	assert_int_equal(write_bytes(pool, ino, 5 * BLOCK, BLOCK, 'b'), BLOCK);
	assert_true(file_has(pool, ino, 5 * BLOCK, BLOCK, 'b'));
	client_close(&client);
}

/* Found by the daemon's own store, by a commit's gap, by the filling of holes. */
static void pins_meet_lost_blocks(void **state)
{
	struct pool *pool = pool_of(state);
	uint64_t ino = file_make(pool, "file");
	struct client client;
	uint64_t id;

	client_open(&client, pool->fs);
	file_fill(pool, ino, 0, 2 * BLOCK + 100, 'a');
	assert_int_equal(pin_range(&client, ino, 0, 4 * BLOCK, PIN_FLAG_WRITE | PIN_FLAG_EXTEND, &id), 0);
	lose(pool, ino, 2, 1);
	assert_int_equal(commit_range(&client, id, 3 * BLOCK, BLOCK), 0);
	event_await(&client.heard[PIN_EVENT_POISON], 1);
	assert_int_equal(attr_of(pool, ino).st_size, 4 * BLOCK);
	assert_int_equal(read_error(pool, ino, 2 * BLOCK, 1), -EIO);
	assert_int_equal(fs_unpin(pool->fs, client.holder, id), 0);
	settle(pool->fs);
	/* Holes that find lost blocks: others. */
	lose_phys(pool, phys_at(pool, ino, 3) + 1, 2);
	assert_int_equal(file_resize(pool->fs, ino, 20 * BLOCK), 0);
	assert_int_equal(pin_range(&client, ino, 4 * BLOCK, 16 * BLOCK, 0, &id), 0);
	assert_true(file_has(pool, ino, 4 * BLOCK, 16 * BLOCK, 0));
	client_close(&client);
}

/* A pinned block that is lost, and an edge of what is taken out: the file and its holder may both keep it. */
static void pinned_edge(void **state)
{
	struct pool *pool = pool_of(state);
	uint64_t before = blocks_free(pool);
	uint64_t ino = make_file(pool, "file");
	struct client client;
	struct door door;
	uint64_t id, edge;

	set_policy(pool->fs, 0, true, UINT64_MAX);
	client_open(&client, pool->fs);
	assert_int_equal(pin_range(&client, ino, 0, FILE_BLOCKS * BLOCK, 0, &id), 0);
	edge = phys_at(pool, ino, 3);
	lose(pool, ino, 3, 1);
	door = door_truncate(pool->fs, ino, 3 * BLOCK + 10);
	assert_int_equal(door_pass(&door), 0);
	event_await(&client.heard[PIN_EVENT_DETACHED], 1);
	event_await(&client.heard[PIN_EVENT_POISON], 1);
	assert_int_equal(phys_at(pool, ino, 3), edge);
	assert_int_equal(read_error(pool, ino, 3 * BLOCK, 1), -EIO);
	assert_int_equal(fs_limbo_blocks(pool->fs), FILE_BLOCKS - 4);
	/* One in limbo. */
	assert_int_equal(fs_report_lost(pool->fs, 0, (fmt_phys_block(edge) + 5) * BLOCK, 1), 0);
	event_await(&client.heard[PIN_EVENT_POISON], 2);
	assert_int_equal(fs_poison_count(pool->fs), 2);
	client_close(&client);
	settle(pool->fs);
	assert_int_equal(blocks_free(pool), before - 5);
	fs_pins_stop(pool->fs);
	remount(pool);
	assert_int_equal(fs_pins_start(pool->fs), 0);
	assert_int_equal(bad_blocks(pool), 2);
	assert_int_equal(read_error(pool, find(pool, ROOT, "file"), 3 * BLOCK, 1), -EIO);
	assert_int_equal(fs_unlink(pool->fs, ROOT, "file"), 0);
	assert_int_equal(blocks_free(pool), before - 2);
}

/* Lost while the holder was away: told when it is back, and nobody else is told twice. */
static void told_when_back(void **state)
{
	struct pool *pool = pool_of(state);
	uint64_t ino = make_file(pool, "file");
	struct client client, other, back;
	uint8_t cookie[FS_COOKIE_BYTES];
	uint64_t id;
	int pidfd;

	client_open(&client, pool->fs);
	client_open(&other, pool->fs);
	assert_int_equal(pin_range(&client, ino, 2 * BLOCK, 4 * BLOCK, 0, &id), 0);
	assert_int_equal(pin_range(&other, ino, 2 * BLOCK, 4 * BLOCK, 0, &id), 0);
	memcpy(cookie, fs_holder_cookie(client.holder), sizeof(cookie));
	fs_holder_leave(pool->fs, client.holder);
	lose(pool, ino, 3, 1);
	assert_int_equal(read_error(pool, ino, 3 * BLOCK, 1), -EIO);
	event_await(&other.heard[PIN_EVENT_POISON], 1);
	client_init(&back, pool->fs, 1000);
	assert_int_equal(process_identify(getpid(), &back.process, &pidfd), 0);
	assert_int_equal(
		fs_holder_reclaim(pool->fs, cookie, &back.process, pidfd, 1000, &client_ops, &back, &back.holder), 0);
	event_await(&back.heard[PIN_EVENT_POISON], 1);
	assert_int_equal(back.last[PIN_EVENT_POISON].offset, 3 * BLOCK);
	assert_int_equal(event_count(&other.heard[PIN_EVENT_POISON]), 1);
	client_close(&back);
	client_close(&other);
}

/* ---- A list of the device ---- */

static void reported(void **state)
{
	struct pool *pool = pool_of(state);
	uint64_t ino = make_file(pool, "file");
	uint64_t phys = fmt_phys_block(phys_at(pool, ino, 3));
	uint64_t before = blocks_free(pool);
	struct client client;
	uint64_t id;

	client_open(&client, pool->fs);
	assert_int_equal(pin_range(&client, ino, 0, 8 * BLOCK, 0, &id), 0);
	assert_int_equal(fs_report_lost(pool->fs, 1, BLOCK, BLOCK), -EINVAL);
	assert_int_equal(fs_report_lost(pool->fs, 0, 0, BLOCK), -EINVAL);
	assert_int_equal(fs_report_lost(pool->fs, 0, POOL_DATA_SIZE - 1, 1), -EINVAL);
	assert_int_equal(fs_report_lost(pool->fs, 0, BLOCK, 0), -EINVAL);
	assert_int_equal(fs_report_lost(pool->fs, 0, UINT64_MAX - 5, 10), -EINVAL);
	assert_int_equal(fs_poison_count(pool->fs), 0);
	/* Bytes of two blocks; and again, with others around them. */
	assert_int_equal(fs_report_lost(pool->fs, 0, (phys + 1) * BLOCK - 1, 2), 0);
	event_await(&client.heard[PIN_EVENT_POISON], 1);
	assert_int_equal(fs_report_lost(pool->fs, 0, (phys - 1) * BLOCK, 4 * BLOCK), 0);
	assert_int_equal(fs_poison_count(pool->fs), 4);
	assert_int_equal(read_error(pool, ino, 2 * BLOCK, 1), -EIO);
	assert_int_equal(read_error(pool, ino, 5 * BLOCK, 1), -EIO);
	assert_true(file_has(pool, ino, 6 * BLOCK, 10 * BLOCK, 'a'));
	assert_int_equal(blocks_free(pool), before);
	/* Free ones, to the end of the part. */
	assert_int_equal(fs_report_lost(pool->fs, 0, POOL_DATA_SIZE - 11 * BLOCK, 1 << 30), 0);
	assert_int_equal(blocks_free(pool), before - 10);
	client_close(&client);
	remount(pool);
	assert_int_equal(blocks_free(pool), before - 10);
	assert_int_equal(bad_blocks(pool), 14);
}

/* Reported in the moment in which it was freed: it is free, and yet nobody gets it. */
static void reported_while_freed(void **state)
{
	struct pool *pool = pool_of(state);
	uint64_t ino = make_file(pool, "file"), phys = phys_at(pool, ino, 3);

	assert_int_equal(fs_report_lost(pool->fs, 0, phys * BLOCK, BLOCK), 0);
	file_remove(pool, "file", ino);
	assert_int_equal(alloc_free(pool->fs->alloc, phys, 1), 0);
	ino = file_make(pool, "all");
	for (uint64_t at = 0; write_bytes(pool, ino, at, BLOCK, 'b') == BLOCK; at += BLOCK)
		assert_int_equal(read_error(pool, ino, at, BLOCK), 0);
	assert_int_equal(blocks_free(pool), 0);
	remount(pool);
}

/* ---- The daemon dies ---- */

static void lose_and_write(struct pool *pool, uint64_t ino)
{
	lose(pool, ino, 5, 2);
	(void)write_bytes(pool, ino, 5 * BLOCK, 2 * BLOCK, 'b');
}

/*
 * At each point of finding a block lost and of replacing it: afterwards it is the old one, lost, or the new one, whole;
 * or, before it could be recorded, as the memory is, which is whole here.
 */
static void dies(void **state)
{
	struct pool *pool = pool_of(state);
	bool over = false;

	(void)make_file(pool, "file");
	for (unsigned point = 1; !over; point++) {
		unsigned lost = 0;
		uint64_t ino;
		pid_t child;
		int status;

		pool_unmount(pool);
		child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			pool_mount(pool);
			ino = find(pool, ROOT, "file");
			(void)!freopen("/dev/null", "w", stderr);
			points_left = point;
			lose_and_write(pool, ino);
			_exit(0);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == CRASHED || WEXITSTATUS(status) == 0));
		over = WEXITSTATUS(status) == 0;
		pool_mount(pool);
		ino = find(pool, ROOT, "file");
		for (unsigned block = 5; block < 7; block++) {
			if (read_error(pool, ino, block * BLOCK, BLOCK) == -EIO)
				lost++;
			else
				assert_true(file_has(pool, ino, block * BLOCK, BLOCK, 'a') ||
					    file_has(pool, ino, block * BLOCK, BLOCK, 'b'));
		}
		assert_true(lost == 0 || fs_poison_count(pool->fs) >= lost);
		assert_true(!over || (lost == 0 && file_has(pool, ino, 5 * BLOCK, 2 * BLOCK, 'b')));
		assert_true(file_has(pool, ino, 0, 5 * BLOCK, 'a'));
		assert_int_equal(write_bytes(pool, ino, 0, FILE_BLOCKS * BLOCK, 'a'), FILE_BLOCKS * BLOCK);
	}
}

/* ---- Threads ---- */

struct worker {
	struct pool *pool;
	uint64_t ino;
	unsigned seed;
	unsigned wrong;
};

#define WORKER_ROUNDS 300u

static void *work(void *arg)
{
	struct worker *worker = arg;

	for (unsigned i = 0; i < WORKER_ROUNDS; i++) {
		uint64_t block = (worker->seed = worker->seed * 1103515245u + 12345u) >> 16 & (FILE_BLOCKS - 1);
		unsigned char bytes[BLOCK];
		ssize_t done;
		int error;

		memset(bytes, 'w', sizeof(bytes));
		if (i % 3 == 0) {
			done = fs_write(worker->pool->fs, worker->ino, bytes, BLOCK, (off_t)(block * BLOCK), NULL);
			worker->wrong += done != (ssize_t)BLOCK;
		} else if (i % 3 == 1) {
			done = fs_write(worker->pool->fs, worker->ino, bytes, 10, (off_t)(block * BLOCK), NULL);
			worker->wrong += done != 10 && done != -EIO;
		} else {
			error = read_error(worker->pool, worker->ino, block * BLOCK, BLOCK);
			worker->wrong += error != 0 && error != -EIO;
		}
	}
	return NULL;
}

/* Blocks are lost all the time, under those who write and read: each whole write succeeds. */
static void threads(void **state)
{
	struct pool *pool = pool_of(state);
	uint64_t ino = make_file(pool, "file");
	struct worker worker[3];
	pthread_t thread[3];

	for (unsigned i = 0; i < 3; i++) {
		worker[i] = (struct worker){.pool = pool, .ino = ino, .seed = i + 1};
		assert_int_equal(pthread_create(&thread[i], NULL, work, &worker[i]), 0);
	}
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(fs_report_lost(pool->fs, 0, (1 + i * 7) * BLOCK, BLOCK), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(pthread_join(thread[i], NULL), 0);
		assert_int_equal(worker[i].wrong, 0);
	}
	assert_int_equal(write_bytes(pool, ino, 0, FILE_BLOCKS * BLOCK, 'z'), FILE_BLOCKS * BLOCK);
	assert_true(file_has(pool, ino, 0, FILE_BLOCKS * BLOCK, 'z'));
}

/* ---- A disk that fails ---- */

static int flush_fails(const void *address, size_t length, enum region_durability durability)
{
	(void)address;
	(void)length;
	(void)durability;
	return -EIO;
}

/* Nobody knows what is on it: writing stops, and is not tried again as if nothing had been. */
static void flush_error(void **state)
{
	struct pool *pool = pool_of(state);
	uint64_t ino = make_file(pool, "file");
	struct region_ops ops = *pool->fs->part[0]->ops;

	/* Also where the pool passes for persistent memory. */
	pool->fs->part[0]->durability = REGION_MSYNC;
	ops.flush = flush_fails;
	pool->fs->part[0]->ops = &ops;
	assert_int_equal(write_bytes(pool, ino, 0, BLOCK, 'b'), -EIO);
	pool->fs->part[0]->ops = &region_ops_libpmem;
	assert_int_equal(write_bytes(pool, ino, 0, BLOCK, 'b'), -EROFS);
	assert_int_equal(fs_poison_count(pool->fs), 0);
	assert_true(file_has(pool, ino, BLOCK, BLOCK, 'a'));
	pool_unmount(pool);
	/* Not marked as clean; a mount after which it is. */
	pool_mount(pool);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pins_setup, pins_teardown)
#define TEST_QUIET(name) cmocka_unit_test_setup_teardown(name, pool_setup, pool_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_QUIET(only_that_range),
		TEST_QUIET(stays_lost),
		TEST_QUIET(write_in_part),
		TEST_QUIET(write_over_all),
		TEST_QUIET(write_over_the_last),
		TEST_QUIET(unwritten),
		TEST_QUIET(lost_while_free),
		TEST_QUIET(edges),
		TEST_QUIET(unlinked),
		TEST_QUIET(copies),
		TEST(holder_told),
		TEST(pins_meet_lost_blocks),
		TEST(pinned_edge),
		TEST(told_when_back),
		TEST_QUIET(reported),
		TEST_QUIET(reported_while_freed),
		TEST_QUIET(dies),
		TEST_QUIET(threads),
		TEST_QUIET(flush_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
