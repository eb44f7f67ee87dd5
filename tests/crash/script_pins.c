/* What clients do: sessions, pins, stores. */
#include "call.h"

#include "fs/pinning.h"

#include <errno.h>
#include <libpmem.h>
#include <string.h>

static void no_event(void *data, const struct pin_event *event)
{
	(void)data;
	(void)event;
}

static void no_death(void *data)
{
	(void)data;
}

const struct fs_holder_ops script_holder_ops = {.event = no_event, .dead = no_death};

int run_session(const struct call *call)
{
	struct script_world *world = call->world;
	struct process_identity process;
	int pidfd;
	int error = process_identify(world->process, &process, &pidfd);

	if (error == 0)
		error = fs_holder_open(world->fs, &process, pidfd, 1000, 100, &script_holder_ops, world,
				       &world->holder);
	if (error != 0)
		return error;
	memcpy(world->cookie, fs_holder_cookie(world->holder), sizeof(world->cookie));
	world->session = true;
	return 0;
}

static int generation_of(struct fs *fs, uint64_t ino, uint32_t *ret_generation)
{
	struct fs_inode *inode;
	int error = fs_inode_get(fs, ino, &inode);

	if (error != 0)
		return error;
	*ret_generation = inode->media->generation;
	fs_inode_put(fs, inode);
	return 0;
}

int run_pin(const struct call *call)
{
	struct script_world *world = call->world;
	struct script_pin *pin = &world->pin[call_number(call, 1) % SCRIPT_PINS];
	static struct fs_pin_request request;
	size_t total;
	ssize_t count;
	int error;

	request = (struct fs_pin_request){.holder = world->holder, .path = "a file"};
	request.offset = call_number(call, 3);
	request.length = call_number(call, 4);
	request.flags = (strchr(call_word(call, 5), 'w') != NULL ? PIN_FLAG_WRITE : 0) |
			(strchr(call_word(call, 5), 'e') != NULL ? PIN_FLAG_EXTEND : 0) |
			(strchr(call_word(call, 5), 'c') != NULL ? FS_PIN_CONTIGUOUS : 0);
	error = call_find(call, 2, &request.ino);
	if (error == 0)
		error = generation_of(world->fs, request.ino, &request.generation);
	if (error != 0)
		return error;
	fs_wait_init(world->fs, &request.wait, 0, call_never_resumed);
	error = fs_pin(world->fs, &request);
	if (error != 0)
		return error;
	count = fs_pin_extents(world->fs, world->holder, request.ret_id, 0, pin->extent, SCRIPT_EXTENTS, &total);
	if (count < 0 || (size_t)count != total)
		return -E2BIG;
	pin->id = request.ret_id;
	pin->ino = request.ino;
	pin->extents = (uint32_t)count;
	return 0;
}

/* The holder stores, as a process beside the daemon does: through the part; and makes it durable. */
int run_store(const struct call *call)
{
	struct script_world *world = call->world;
	const struct script_pin *pin = &world->pin[call_number(call, 1) % SCRIPT_PINS];
	uint64_t start = call_number(call, 2), end = start + call_number(call, 3);

	for (uint32_t i = 0; i < pin->extents; i++) {
		const struct fs_pin_extent *extent = &pin->extent[i];
		unsigned char *base = world->fs->part[extent->part]->base + extent->part_offset;

		for (uint64_t at = start; at < end; at++) {
			if (at >= extent->offset && at - extent->offset < extent->length)
				base[at - extent->offset] = script_byte((unsigned)call_number(call, 4), at);
		}
		if (world->fs->part[extent->part]->durability == REGION_MSYNC)
			(void)pmem_msync(base, extent->length);
		else
			pmem_flush(base, extent->length);
	}
	pmem_drain();
	return 0;
}

int run_commit(const struct call *call)
{
	struct script_world *world = call->world;
	static struct fs_commit_request request;

	request = (struct fs_commit_request){.holder = world->holder};
	request.pin = world->pin[call_number(call, 1) % SCRIPT_PINS].id;
	request.offset = call_number(call, 2);
	request.length = call_number(call, 3);
	fs_wait_init(world->fs, &request.wait, 0, call_never_resumed);
	return fs_commit(world->fs, &request);
}

int run_unpin(const struct call *call)
{
	struct script_world *world = call->world;

	return fs_unpin(world->fs, world->holder, world->pin[call_number(call, 1) % SCRIPT_PINS].id);
}

int run_goodbye(const struct call *call)
{
	fs_holder_close(call->world->fs, call->world->holder);
	call->world->holder = NULL;
	return 0;
}

int run_reap(const struct call *call)
{
	(void)fs_reaper_flush(call->world->fs);
	return 0;
}

int run_mend(const struct call *call)
{
	uint64_t ino = call->world->pin[call_number(call, 1) % SCRIPT_PINS].ino;

	return fs_mend_tail(call->world->fs, ino);
}
