/* For tests of breaks: operations that may be parked, as src/front makes them. */
#ifndef PINFS_TEST_FS_BREAK_H
#define PINFS_TEST_FS_BREAK_H

#include "fs_pins.h"

enum door_kind {
	DOOR_SETATTR,
	DOOR_FALLOCATE,
	DOOR_WRITE,
	DOOR_COPY,
};

/* One operation, its arguments, and its answer. */
struct door {
	struct fs_wait wait;
	struct fs *fs;
	enum door_kind kind;
	uint64_t ino;
	struct fs_setattr changes;
	int mode; /* of fallocate */
	uint64_t offset, length;
	const void *data;
	uint64_t from; /* copy: inode and offset */
	uint64_t from_offset;
	ssize_t result;
	struct event done; /* raised by each answer: once */
};

static inline ssize_t door_run(struct door *door, struct fs_wait *wait)
{
	struct stat attr;

	switch (door->kind) {
	case DOOR_SETATTR:
		return fs_setattr(door->fs, door->ino, &door->changes, wait, &attr);
	case DOOR_FALLOCATE:
		return fs_fallocate(door->fs, door->ino, door->mode, (off_t)door->offset, (off_t)door->length, wait);
	case DOOR_WRITE:
		return fs_write(door->fs, door->ino, door->data, door->length, (off_t)door->offset, wait);
	case DOOR_COPY:
		return fs_copy_range(door->fs, door->from, (off_t)door->from_offset, door->ino, (off_t)door->offset,
				     door->length, wait);
	}
	return -ENOSYS;
}

static inline void door_resume(struct fs_wait *wait)
{
	struct door *door = CONTAINER_OF(wait, struct door, wait);
	ssize_t result = door_run(door, wait);

	if (result == -EINPROGRESS)
		return;
	door->result = result;
	event_raise(&door->done);
}

/* Asked by thread `thread`; the arguments are set. As the front does: without a wait first. -EINPROGRESS: parked. */
static inline ssize_t door_begin_as(struct door *door, pid_t thread)
{
	ssize_t result = door_run(door, NULL);

	event_init(&door->done);
	if (result == -EAGAIN) {
		fs_wait_init(door->fs, &door->wait, thread, door_resume);
		result = door_run(door, &door->wait);
		/* It may be elsewhere by now, and answered. */
		if (result == -EINPROGRESS)
			return result;
	}
	door->result = result;
	return result;
}

static inline ssize_t door_begin(struct door *door)
{
	return door_begin_as(door, 0);
}

static inline ssize_t door_await(struct door *door)
{
	event_await(&door->done, 1);
	return door->result;
}

/* To the end, parked or not. */
static inline ssize_t door_pass(struct door *door)
{
	ssize_t result = door_begin(door);

	return result == -EINPROGRESS ? door_await(door) : result;
}

static inline struct door door_truncate(struct fs *fs, uint64_t ino, uint64_t size)
{
	return (struct door){.fs = fs,
			     .kind = DOOR_SETATTR,
			     .ino = ino,
			     .changes = {.valid = FS_SET_SIZE, .attr.st_size = (off_t)size}};
}

static inline struct door door_fallocate(struct fs *fs, uint64_t ino, int mode, uint64_t offset, uint64_t length)
{
	return (struct door){.fs = fs,
			     .kind = DOOR_FALLOCATE,
			     .ino = ino,
			     .mode = mode | FALLOC_FL_KEEP_SIZE,
			     .offset = offset,
			     .length = length};
}

static inline struct door door_write(struct fs *fs, uint64_t ino, const void *data, uint64_t offset, uint64_t length)
{
	return (struct door){
		.fs = fs, .kind = DOOR_WRITE, .ino = ino, .data = data, .offset = offset, .length = length};
}

static inline struct door door_copy(struct fs *fs, uint64_t from, uint64_t ino, uint64_t offset, uint64_t length)
{
	return (struct door){.fs = fs, .kind = DOOR_COPY, .from = from, .ino = ino, .offset = offset, .length = length};
}

static inline uint64_t limbo(struct pool *pool)
{
	return meta_limbo_blocks(pool->fs->meta);
}

static inline uint64_t allocated(struct pool *pool, uint64_t ino)
{
	return (uint64_t)attr_of(pool, ino).st_blocks / 8;
}

static inline uint64_t inodes_used(struct pool *pool)
{
	struct meta_space space;

	meta_space(pool->fs->meta, &space);
	return space.inodes_used;
}

/* ---- A pinned file ---- */

#define NOW 0 /* a timeout: decided at once */

/* A file of `blocks` blocks full of 0x11, all pinned, by one pin if `together`, else by one each; in one extent. */
struct scene {
	struct pool *pool;
	struct fs *fs;
	struct client client;
	uint64_t ino;
	uint64_t blocks;
	uint64_t id; /* of the first pin; the others follow it */
	unsigned char *memory; /* of the first block */
	uint64_t free_blocks; /* with the file, before the break */
};

static inline void scene_pin(struct scene *scene, uint64_t first, uint64_t blocks, uint32_t flags, uint64_t *ret_id)
{
	assert_int_equal(pin_range(&scene->client, scene->ino, first * BLOCK, blocks * BLOCK, flags, ret_id), 0);
}

/* `every`: 0: one pin; else each such block has its own. */
static inline void scene_begin(struct scene *scene, struct pool *pool, uint64_t blocks, unsigned every)
{
	uint64_t id;

	*scene = (struct scene){.pool = pool, .fs = pool->fs, .blocks = blocks};
	scene->ino = file_make(pool, "scene");
	client_open(&scene->client, pool->fs);
	pool_soil(pool);
	/* One extent: preallocated at once. */
	assert_int_equal(fs_fallocate(pool->fs, scene->ino, 0, 0, (off_t)(blocks * BLOCK), NULL), 0);
	file_fill(pool, scene->ino, 0, blocks * BLOCK, 0x11);
	if (every == 0)
		scene_pin(scene, 0, blocks, PIN_FLAG_WRITE, &scene->id);
	for (uint64_t i = 0; every > 0 && i < blocks; i += every)
		scene_pin(scene, i, 1, PIN_FLAG_WRITE, i == 0 ? &scene->id : &id);
	scene->memory = pinned_byte(&scene->client, scene->id, 0);
	scene->free_blocks = blocks_free(pool);
}

static inline void scene_end(struct scene *scene)
{
	client_close(&scene->client);
	settle(scene->fs);
	assert_int_equal(limbo(scene->pool), 0);
	assert_int_equal(blocks_free(scene->pool),
			 scene->free_blocks + scene->blocks - allocated(scene->pool, scene->ino));
	assert_int_equal(pins_of(scene->fs).canaries, 0);
	assert_int_equal(pins_of(scene->fs).waiting, 0);
	file_remove(scene->pool, "scene", scene->ino);
}

#endif
