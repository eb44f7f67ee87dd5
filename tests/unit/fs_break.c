/*
 * Breaks: every door by which blocks leave a file, against pins. Who waits, and what ends the wait; what a detach
 * leaves to the file, to the holder and to limbo; what want of space leaves alone. Writers: fs_break_write.c.
 */
#include "fs_break.h"

#include <sys/prctl.h>

#define PUNCH FALLOC_FL_PUNCH_HOLE
#define ZERO FALLOC_FL_ZERO_RANGE

/* The whole pool is in use. */
static uint64_t pool_fill(struct pool *pool)
{
	uint64_t ino = file_make(pool, "full");
	uint64_t offset = 0;
	static unsigned char bytes[64 * BLOCK];
	ssize_t count;

	memset(bytes, 0x5a, sizeof(bytes));
	while ((count = fs_write(pool->fs, ino, bytes, sizeof(bytes), (off_t)offset, NULL)) > 0)
		offset += (uint64_t)count;
	assert_int_equal(count, -ENOSPC);
	assert_int_equal(blocks_free(pool), 0);
	return ino;
}

/* ---- Waiting ---- */

static void waits_for_unpin(struct pool *pool, struct door (*aim)(struct scene *scene),
			    void (*check)(struct scene *scene))
{
	struct scene scene;
	struct door door;

	scene_begin(&scene, pool, 8, 0);
	door = aim(&scene);
	assert_int_equal(door_run(&door, NULL), -EAGAIN);
	assert_true(file_has(pool, scene.ino, 0, 8 * BLOCK, 0x11));
	assert_int_equal(door_begin(&door), -EINPROGRESS);
	event_await(&scene.client.heard[PIN_EVENT_RECALL], 1);
	assert_int_equal(scene.client.last[PIN_EVENT_RECALL].ino, scene.ino);
	assert_int_equal(scene.client.last[PIN_EVENT_RECALL].reason, PIN_UNMAP);
	assert_true(file_has(pool, scene.ino, 0, 8 * BLOCK, 0x11));
	assert_int_equal(attr_of(pool, scene.ino).st_size, 8 * BLOCK);
	assert_int_equal(fs_unpin(scene.fs, scene.client.holder, scene.id), 0);
	assert_int_equal(door_await(&door), 0);
	assert_int_equal(event_count(&door.done), 1);
	check(&scene);
	scene_end(&scene);
}

static struct door make_truncate(struct scene *scene)
{
	return door_truncate(scene->fs, scene->ino, 100);
}

static void check_truncate(struct scene *scene)
{
	assert_int_equal(attr_of(scene->pool, scene->ino).st_size, 100);
	assert_true(file_has(scene->pool, scene->ino, 0, 100, 0x11));
	assert_int_equal(allocated(scene->pool, scene->ino), 1);
}

static struct door make_punch(struct scene *scene)
{
	return door_fallocate(scene->fs, scene->ino, PUNCH, BLOCK + 100, 3 * BLOCK);
}

static void check_zeros(struct scene *scene)
{
	assert_true(file_has(scene->pool, scene->ino, 0, BLOCK + 100, 0x11));
	assert_true(file_has(scene->pool, scene->ino, BLOCK + 100, 3 * BLOCK, 0));
	assert_true(file_has(scene->pool, scene->ino, 4 * BLOCK + 100, 4 * BLOCK - 100, 0x11));
}

static struct door make_zero(struct scene *scene)
{
	return door_fallocate(scene->fs, scene->ino, ZERO, BLOCK + 100, 3 * BLOCK);
}

static void test_waits(void **state)
{
	set_policy(((struct pool *)*state)->fs, PIN_FOREVER, true, UINT64_MAX);
	waits_for_unpin(*state, make_truncate, check_truncate);
	waits_for_unpin(*state, make_punch, check_zeros);
	waits_for_unpin(*state, make_zero, check_zeros);
}

/* Only what an operation touches is in its way. */
static void test_elsewhere(void **state)
{
	struct pool *pool = *state;
	struct scene scene;
	struct door door;
	uint64_t id;

	scene_begin(&scene, pool, 16, 0);
	assert_int_equal(fs_unpin(scene.fs, scene.client.holder, scene.id), 0);
	scene_pin(&scene, 4, 4, 0, &id);
	/* The kept block ends where the file will. */
	assert_int_equal(file_resize(scene.fs, scene.ino, 8 * BLOCK), 0);
	assert_int_equal(file_resize(scene.fs, scene.ino, 8 * BLOCK), 0);
	assert_int_equal(file_resize(scene.fs, scene.ino, 8 * BLOCK - 1), -EAGAIN);
	assert_int_equal(file_resize(scene.fs, scene.ino, 16 * BLOCK), 0);
	assert_int_equal(fs_fallocate(scene.fs, scene.ino, 0, 0, 20 * BLOCK, NULL), 0);
	door = door_fallocate(scene.fs, scene.ino, PUNCH, BLOCK + 1, 3 * BLOCK - 1);
	assert_int_equal(door_run(&door, NULL), 0);
	door = door_fallocate(scene.fs, scene.ino, PUNCH, BLOCK + 1, 3 * BLOCK);
	assert_int_equal(door_run(&door, NULL), -EAGAIN);
	door = door_fallocate(scene.fs, scene.ino, ZERO, 8 * BLOCK, 1);
	assert_int_equal(door_run(&door, NULL), 0);
	door = door_fallocate(scene.fs, scene.ino, ZERO, 8 * BLOCK - 1, 2);
	assert_int_equal(door_run(&door, NULL), -EAGAIN);
	/* A pin that is not exclusive is in nobody's writing way. */
	file_fill(pool, scene.ino, 4 * BLOCK, 4 * BLOCK, 0x22);
	assert_true(is_filled(pinned_byte(&scene.client, id, 4 * BLOCK), 4 * BLOCK, 0x22));
	scene_end(&scene);
}

/* A signal, and the policy to fail: nothing has changed, the other attributes of the same call neither. */
static void test_gives_up(void **state)
{
	struct pool *pool = *state;
	struct scene scene;
	struct door door;

	scene_begin(&scene, pool, 4, 0);
	set_policy(pool->fs, PIN_FOREVER, true, UINT64_MAX);
	door = door_truncate(scene.fs, scene.ino, 0);
	door.changes.valid |= FS_SET_MODE | FS_SET_MTIME;
	door.changes.attr.st_mode = 0600;
	assert_int_equal(door_begin(&door), -EINPROGRESS);
	fs_wait_interrupt(scene.fs, &door.wait);
	assert_int_equal(door_await(&door), -EINTR);
	set_policy(pool->fs, NOW, false, UINT64_MAX);
	assert_int_equal(door_begin(&door), -EBUSY);
	set_policy(pool->fs, FS_NS_PER_MS, false, UINT64_MAX);
	assert_int_equal(door_begin(&door), -EINPROGRESS);
	assert_int_equal(door_await(&door), -EBUSY);
	assert_int_equal(attr_of(pool, scene.ino).st_size, 4 * BLOCK);
	assert_int_equal(attr_of(pool, scene.ino).st_mode & 07777, 0644);
	assert_true(attr_of(pool, scene.ino).st_mtim.tv_sec > 0);
	assert_true(file_has(pool, scene.ino, 0, 4 * BLOCK, 0x11));
	assert_int_equal(limbo(pool), 0);
	/* The barrier has fallen. */
	assert_int_equal(pins_of(scene.fs).waiting, 0);
	scene_pin(&scene, 0, 1, 0, &scene.id);
	scene_end(&scene);
}

/* Many wait at once, without a thread each; one unpin, or the end of a session, answers each of them once. */
static void test_many_wait(void **state)
{
	enum { MANY = 200 };
	struct pool *pool = *state;
	struct door *doors = calloc(MANY, sizeof(*doors));
	uint64_t ino[MANY], id;
	struct client client;
	char name[16];

	assert_non_null(doors);
	set_policy(pool->fs, PIN_FOREVER, true, UINT64_MAX);
	client_open(&client, pool->fs);
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "file%u", i);
		ino[i] = file_make(pool, name);
		file_fill(pool, ino[i], 0, BLOCK, 0x11);
		assert_int_equal(pin_range(&client, ino[i], 0, BLOCK, 0, &id), 0);
		doors[i] = door_truncate(pool->fs, ino[i], 0);
		assert_int_equal(door_begin(&doors[i]), -EINPROGRESS);
	}
	assert_int_equal(pins_of(pool->fs).waiting_breaks, MANY);
	client_close(&client);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(door_await(&doors[i]), 0);
		assert_int_equal(event_count(&doors[i].done), 1);
		snprintf(name, sizeof(name), "file%u", i);
		file_remove(pool, name, ino[i]);
	}
	assert_int_equal(pins_of(pool->fs).waiting, 0);
	free(doors);
}

/* ---- Detach ---- */

/* The holder's bytes are as they were, whoever takes what blocks there are. */
static void check_no_reuse(struct scene *scene, uint64_t blocks)
{
	uint64_t ino = pool_fill(scene->pool);

	assert_true(is_filled(scene->memory, blocks * BLOCK, 0x11));
	file_remove(scene->pool, "full", ino);
}

static void test_detach_truncate(void **state)
{
	struct pool *pool = *state;
	struct scene scene;
	struct door door;

	set_policy(pool->fs, NOW, true, UINT64_MAX);
	scene_begin(&scene, pool, 8, 0);
	door = door_truncate(scene.fs, scene.ino, 2 * BLOCK + 100);
	assert_int_equal(door_pass(&door), 0);
	event_await(&scene.client.heard[PIN_EVENT_DETACHED], 1);
	/* The edge, too: the file has a copy of it. */
	assert_int_equal(limbo(pool), 6);
	assert_int_equal(allocated(pool, scene.ino), 3);
	assert_int_equal(blocks_free(pool), scene.free_blocks - 1);
	assert_true(file_has(pool, scene.ino, 0, 2 * BLOCK + 100, 0x11));
	assert_int_equal(attr_of(pool, scene.ino).st_size, 2 * BLOCK + 100);
	/* Two blocks are the file's still, the others the holder's alone. */
	assert_int_equal(commit_range(&scene.client, scene.id, 0, 2 * BLOCK), 0);
	assert_int_equal(commit_range(&scene.client, scene.id, 2 * BLOCK, 1), -ESTALE);
	assert_int_equal(file_resize(scene.fs, scene.ino, 8 * BLOCK), 0);
	assert_true(file_has(pool, scene.ino, 2 * BLOCK + 100, 6 * BLOCK - 100, 0));
	memset(scene.memory + 2 * BLOCK, 0x77, BLOCK);
	assert_true(file_has(pool, scene.ino, 2 * BLOCK, 100, 0x11));
	memset(scene.memory + 2 * BLOCK, 0x11, BLOCK);
	check_no_reuse(&scene, 8);
	scene_end(&scene);
}

static void detach_zeros(struct pool *pool, int mode, uint64_t in_limbo, uint64_t in_file)
{
	struct scene scene;
	struct door door;

	scene_begin(&scene, pool, 8, 0);
	door = door_fallocate(scene.fs, scene.ino, mode, BLOCK + 100, 3 * BLOCK);
	assert_int_equal(door_pass(&door), 0);
	event_await(&scene.client.heard[PIN_EVENT_DETACHED], 1);
	check_zeros(&scene);
	assert_int_equal(limbo(pool), in_limbo);
	assert_int_equal(allocated(pool, scene.ino), in_file);
	assert_int_equal(blocks_free(pool), scene.free_blocks + 8 - in_limbo - in_file);
	memset(scene.memory + BLOCK, 0x77, 4 * BLOCK);
	check_zeros(&scene);
	memset(scene.memory + BLOCK, 0x11, 4 * BLOCK);
	check_no_reuse(&scene, 8);
	scene_end(&scene);
}

static void test_detach_fallocate(void **state)
{
	set_policy(((struct pool *)*state)->fs, NOW, true, UINT64_MAX);
	detach_zeros(*state, PUNCH, 4, 6); /* blocks 1 and 4 are copied, 2 and 3 are gone */
	detach_zeros(*state, ZERO, 4, 8); /* 2 and 3 are others now */
}

/* Within one block; and up to the end of the file, which takes the last block whole. */
static void test_detach_small(void **state)
{
	struct pool *pool = *state;
	struct scene scene;
	struct door door;

	set_policy(pool->fs, NOW, true, UINT64_MAX);
	scene_begin(&scene, pool, 4, 0);
	door = door_fallocate(scene.fs, scene.ino, PUNCH, BLOCK + 100, 200);
	assert_int_equal(door_pass(&door), 0);
	assert_int_equal(limbo(pool), 1);
	assert_true(file_has(pool, scene.ino, 0, BLOCK + 100, 0x11));
	assert_true(file_has(pool, scene.ino, BLOCK + 100, 200, 0));
	assert_true(file_has(pool, scene.ino, BLOCK + 300, 3 * BLOCK - 300, 0x11));
	assert_true(is_filled(scene.memory, 4 * BLOCK, 0x11));
	assert_int_equal(file_resize(scene.fs, scene.ino, 4 * BLOCK), 0);
	door = door_truncate(scene.fs, scene.ino, 3 * BLOCK + 100);
	assert_int_equal(door_pass(&door), 0);
	assert_int_equal(limbo(pool), 2);
	door = door_fallocate(scene.fs, scene.ino, PUNCH, 3 * BLOCK, 100);
	assert_int_equal(door_pass(&door), 0);
	assert_int_equal(limbo(pool), 2);
	assert_int_equal(allocated(pool, scene.ino), 3);
	assert_true(is_filled(scene.memory, 4 * BLOCK, 0x11));
	scene_end(&scene);
}

/* Every second block of one extent is pinned, by a pin of its own: more runs than a transaction holds. */
static void detach_pieces(struct pool *pool, struct door (*aim)(struct scene *scene), uint64_t in_file)
{
	struct scene scene;
	struct door door;

	scene_begin(&scene, pool, 600, 2);
	door = aim(&scene);
	assert_int_equal(door_pass(&door), 0);
	assert_int_equal(limbo(pool), 300);
	assert_int_equal(allocated(pool, scene.ino), in_file);
	assert_int_equal(blocks_free(pool), scene.free_blocks + 300 - in_file);
	for (unsigned i = 0; i < 600; i += 2)
		assert_true(is_filled(scene.memory + i * BLOCK, BLOCK, 0x11));
	scene_end(&scene);
}

static struct door make_truncate_all(struct scene *scene)
{
	return door_truncate(scene->fs, scene->ino, 0);
}

static struct door make_punch_all(struct scene *scene)
{
	return door_fallocate(scene->fs, scene->ino, PUNCH, 0, 600 * BLOCK);
}

static struct door make_zero_all(struct scene *scene)
{
	return door_fallocate(scene->fs, scene->ino, ZERO, 0, 600 * BLOCK);
}

static void test_detach_pieces(void **state)
{
	set_policy(((struct pool *)*state)->fs, NOW, true, UINT64_MAX);
	detach_pieces(*state, make_truncate_all, 0);
	detach_pieces(*state, make_punch_all, 0);
	detach_pieces(*state, make_zero_all, 600);
}

/* What the file has of preallocated and uncommitted blocks behind its end goes, too. */
static void test_detach_behind(void **state)
{
	struct pool *pool = *state;
	struct scene scene;
	struct door door;
	uint64_t id;

	set_policy(pool->fs, NOW, true, UINT64_MAX);
	scene_begin(&scene, pool, 2, 0);
	scene_pin(&scene, 2, 6, PIN_FLAG_WRITE | PIN_FLAG_EXTEND, &id);
	memset(pinned_byte(&scene.client, id, 2 * BLOCK), 0x77, 6 * BLOCK);
	door = door_truncate(scene.fs, scene.ino, 2 * BLOCK);
	assert_int_equal(door_pass(&door), 0);
	assert_int_equal(limbo(pool), 6);
	assert_int_equal(commit_range(&scene.client, id, 2 * BLOCK, 6 * BLOCK), -ESTALE);
	assert_int_equal(file_resize(scene.fs, scene.ino, 8 * BLOCK), 0);
	assert_true(file_has(pool, scene.ino, 2 * BLOCK, 6 * BLOCK, 0));
	scene_end(&scene);
}

/* One pin, one piece of memory, two extents: written, and not. Then a part of what a break has looked at in vain. */
static void test_detach_parts(void **state)
{
	struct pool *pool = *state;
	struct scene scene;
	struct door door;
	uint64_t full;

	set_policy(pool->fs, NOW, true, UINT64_MAX);
	scene_begin(&scene, pool, 2, 0);
	assert_int_equal(fs_unpin(scene.fs, scene.client.holder, scene.id), 0);
	scene_pin(&scene, 0, 8, PIN_FLAG_WRITE | PIN_FLAG_EXTEND, &scene.id);
	assert_int_equal(extent_count(&scene.client, scene.id), 1);
	full = pool_fill(pool);
	door = door_fallocate(scene.fs, scene.ino, ZERO, 0, 8 * BLOCK);
	assert_int_equal(door_pass(&door), -ENOSPC);
	assert_int_equal(limbo(pool), 0);
	door = door_fallocate(scene.fs, scene.ino, PUNCH, 4 * BLOCK, 2 * BLOCK);
	assert_int_equal(door_pass(&door), 0);
	assert_int_equal(limbo(pool), 2);
	assert_int_equal(allocated(pool, scene.ino), 6);
	door = door_truncate(scene.fs, scene.ino, 0);
	assert_int_equal(door_pass(&door), 0);
	assert_int_equal(limbo(pool), 8);
	assert_int_equal(blocks_free(pool), 0);
	file_remove(pool, "full", full);
	scene_end(&scene);
}

/* ---- Want of space ---- */

static void no_space(struct pool *pool, struct door (*aim)(struct scene *scene))
{
	struct scene scene;
	struct door door;
	uint64_t full;

	scene_begin(&scene, pool, 8, 0);
	full = pool_fill(pool);
	door = aim(&scene);
	assert_int_equal(door_pass(&door), -ENOSPC);
	assert_true(file_has(pool, scene.ino, 0, 8 * BLOCK, 0x11));
	assert_int_equal(attr_of(pool, scene.ino).st_size, 8 * BLOCK);
	assert_int_equal(allocated(pool, scene.ino), 8);
	assert_int_equal(limbo(pool), 0);
	assert_int_equal(event_count(&scene.client.heard[PIN_EVENT_DETACHED]), 0);
	assert_int_equal(commit_range(&scene.client, scene.id, 0, 8 * BLOCK), 0);
	assert_int_equal(blocks_free(pool), 0);
	file_remove(pool, "full", full);
	scene_end(&scene);
}

static struct door make_zero_whole(struct scene *scene)
{
	return door_fallocate(scene->fs, scene->ino, ZERO, BLOCK, 2 * BLOCK);
}

static void test_no_space(void **state)
{
	set_policy(((struct pool *)*state)->fs, NOW, true, UINT64_MAX);
	no_space(*state, make_truncate);
	no_space(*state, make_punch);
	no_space(*state, make_zero);
	no_space(*state, make_zero_whole);
}

/* There is room for one edge of two: not even that one is replaced. */
static void test_no_space_for_both(void **state)
{
	struct pool *pool = *state;
	struct scene scene;
	struct door door;
	uint64_t full;

	set_policy(pool->fs, NOW, true, UINT64_MAX);
	scene_begin(&scene, pool, 8, 0);
	full = pool_fill(pool);
	assert_int_equal(file_resize(pool->fs, full, (uint64_t)attr_of(pool, full).st_size - BLOCK), 0);
	assert_int_equal(blocks_free(pool), 1);
	door = make_punch(&scene);
	assert_int_equal(door_pass(&door), -ENOSPC);
	assert_int_equal(blocks_free(pool), 1);
	assert_int_equal(limbo(pool), 0);
	assert_int_equal(event_count(&scene.client.heard[PIN_EVENT_DETACHED]), 0);
	/* Whole blocks need none. */
	door = door_fallocate(scene.fs, scene.ino, PUNCH, BLOCK, 3 * BLOCK);
	assert_int_equal(door_pass(&door), 0);
	assert_int_equal(limbo(pool), 3);
	file_remove(pool, "full", full);
	scene_end(&scene);
}

static int use_by_write(struct scene *scene)
{
	return fs_write(scene->fs, scene->ino, "x", 1, 0, NULL) == 1 ? 0 : -EIO;
}

static int use_by_fallocate(struct scene *scene)
{
	return fs_fallocate(scene->fs, scene->ino, 0, 0, 8 * BLOCK, NULL);
}

/* No thread reaps: an operation that finds no block does so itself, and no limbo is left to stand in its way. */
static void reaps_for_space(struct pool *pool, int (*use)(struct scene *scene))
{
	struct scene scene;
	struct door door;
	uint64_t full;

	scene_begin(&scene, pool, 8, 0);
	door = door_truncate(scene.fs, scene.ino, 0);
	assert_int_equal(door_pass(&door), 0);
	full = pool_fill(pool);
	assert_int_equal(limbo(pool), 8);
	assert_int_equal(use(&scene), use == use_by_write ? -EIO : -ENOSPC);
	assert_int_equal(fs_unpin(scene.fs, scene.client.holder, scene.id), 0);
	assert_int_equal(limbo(pool), 8);
	assert_int_equal(use(&scene), 0);
	assert_int_equal(limbo(pool), 0);
	assert_int_equal(fs_fallocate(pool->fs, scene.ino, 0, 0, 8 * BLOCK, NULL), 0);
	assert_int_equal(fs_fallocate(pool->fs, scene.ino, 0, 0, 9 * BLOCK, NULL), -ENOSPC);
	file_remove(pool, "full", full);
	scene_end(&scene);
}

static void test_reaps_for_space(void **state)
{
	set_policy(((struct pool *)*state)->fs, NOW, true, UINT64_MAX);
	reaps_for_space(*state, use_by_write);
	reaps_for_space(*state, use_by_fallocate);
}

/* What was unpinned and is not reaped is no reason to copy an edge. */
static void test_reaps_for_edges(void **state)
{
	struct pool *pool = *state;
	struct scene scene;
	struct door door;

	set_policy(pool->fs, NOW, true, UINT64_MAX);
	scene_begin(&scene, pool, 8, 0);
	assert_int_equal(fs_unpin(scene.fs, scene.client.holder, scene.id), 0);
	door = door_truncate(scene.fs, scene.ino, 100);
	assert_int_equal(door_run(&door, NULL), 0);
	assert_int_equal(limbo(pool), 0);
	assert_int_equal(blocks_free(pool), scene.free_blocks + 7);
	assert_true(is_filled(scene.memory, 100, 0x11) && is_filled(scene.memory + 100, BLOCK - 100, 0));
	scene_end(&scene);
}

/* ---- Eviction ---- */

/* Never waits; the number stays until the last pin has gone. */
static void evict(struct pool *pool, unsigned blocks, unsigned every, uint64_t pinned, unsigned spread)
{
	uint64_t used = inodes_used(pool);
	struct scene scene;

	scene_begin(&scene, pool, blocks, every);
	/* More extents than the inode has room for. */
	for (unsigned i = 0; i < spread; i++)
		file_fill(pool, scene.ino, (blocks + 2 * i + 1) * BLOCK, BLOCK, 0x11);
	scene.free_blocks = blocks_free(pool);
	file_remove(pool, "scene", scene.ino);
	assert_int_equal(limbo(pool), pinned);
	assert_int_equal(blocks_free(pool), scene.free_blocks + blocks + spread - pinned);
	assert_int_equal(inodes_used(pool), used + 1);
	assert_int_equal(commit_range(&scene.client, scene.id, 0, BLOCK), -ESTALE);
	check_no_reuse(&scene, 1);
	client_close(&scene.client);
	settle(scene.fs);
	assert_int_equal(limbo(pool), 0);
	assert_int_equal(blocks_free(pool), scene.free_blocks + blocks + spread);
	fs_mend_tail(scene.fs, scene.ino); /* the pool's threads may not have come by yet */
	assert_int_equal(inodes_used(pool), used);
	assert_int_equal(pins_of(scene.fs).canaries, 0);
}

static void test_evict(void **state)
{
	set_policy(((struct pool *)*state)->fs, PIN_FOREVER, false, UINT64_MAX);
	evict(*state, 8, 0, 8, 0);
	evict(*state, 600, 2, 300, 0);
	evict(*state, 8, 3, 3, 20);
}

/* Dropped, not reaped: nobody holds the number any more, but the blocks pass through limbo. */
static void test_evict_dropped(void **state)
{
	struct pool *pool = *state;
	uint64_t used = inodes_used(pool);
	struct scene scene;

	scene_begin(&scene, pool, 600, 2);
	client_close(&scene.client);
	file_remove(pool, "scene", scene.ino);
	assert_int_equal(limbo(pool), 300);
	assert_int_equal(inodes_used(pool), used);
	settle(scene.fs);
	assert_int_equal(limbo(pool), 0);
	assert_int_equal(blocks_free(pool), scene.free_blocks + 600);
}

/* ---- The canary ---- */

static void test_canary(void **state)
{
	struct pool *pool = *state;
	struct scene scene;
	struct fs_inode *file;
	struct meta_extent extent;

	scene_begin(&scene, pool, 8, 0);
	assert_int_equal(fs_inode_get(scene.fs, scene.ino, &file), 0);
	assert_int_equal(meta_extent_find(scene.fs->meta, file->media, 0, &extent), 0);
	extent.length = 1;
	assert_int_equal(fs_free_blocks(scene.fs, file, &extent), 0);
	assert_int_equal(pins_of(scene.fs).canaries, 1);
	assert_int_equal(blocks_free(pool), scene.free_blocks);
	assert_int_equal(fs_writable(scene.fs), 0);
	fs_inode_put(scene.fs, file);
	client_close(&scene.client);
	settle(scene.fs);
	file_remove(pool, "scene", scene.ino);
}

#define WITH_THREADS(test) cmocka_unit_test_setup_teardown(test, pins_setup, pins_teardown)
#define ALONE(test) cmocka_unit_test_setup_teardown(test, pool_setup, pool_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_THREADS(test_waits),     ALONE(test_elsewhere),	   WITH_THREADS(test_gives_up),
		WITH_THREADS(test_many_wait), ALONE(test_detach_truncate), ALONE(test_detach_fallocate),
		ALONE(test_detach_small),     ALONE(test_detach_pieces),   ALONE(test_detach_behind),
		ALONE(test_detach_parts),     ALONE(test_no_space),	   ALONE(test_no_space_for_both),
		ALONE(test_reaps_for_space),  ALONE(test_reaps_for_edges), ALONE(test_evict),
		ALONE(test_evict_dropped),

		ALONE(test_canary),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
