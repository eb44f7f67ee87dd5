/*
 * Requests that a pin can make wait. They begin on the stack of the worker that took them; one that would have to wait
 * moves to the heap with all it needs, and from then on belongs to whoever repeats it: no worker waits.
 *
 *   worker --operate(NULL)--> answered
 *            | -EAGAIN
 *            v
 *          on the heap, interruptible --operate(wait)--> answered, freed
 *                                         | -EINPROGRESS     ^
 *                                         v                  |
 *                                       parked --resume------+   (a thread of src/fs; may park again)
 *
 * Interrupts: libfuse calls interrupted() with the request's own lock held, and unregistering takes that lock: so it
 * does not run on memory that is freed, nor after the answer. It only marks and queues.
 *
 * A direct write may be one of the background requests, of which the kernel sends so many at a time and no more:
 * readahead and write-back are others. At most half of them may wait here; what would be more is decided at once.
 */
#include "front/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void interrupted(fuse_req_t req, void *data)
{
	struct front_waitable *waitable = data;

	(void)req;
	fs_wait_interrupt(waitable->request.front->fs, &waitable->wait);
}

static void repeat(struct front_waitable *waitable)
{
	ssize_t result = waitable->operate(waitable, &waitable->wait);

	if (result == -EINPROGRESS)
		return; /* no longer ours */
	fuse_req_interrupt_func(waitable->request.req, NULL, NULL);
	waitable->answer(waitable, result);
	if (waitable->background)
		atomic_fetch_sub(&waitable->request.front->parked_background, 1);
	free(waitable->owned);
	free(waitable);
}

static void resume(struct fs_wait *wait)
{
	repeat((struct front_waitable *)((char *)wait - offsetof(struct front_waitable, wait)));
}

/* To the heap; the bytes of a write, too, which are libfuse's and gone when the worker returns. */
static struct front_waitable *move(const struct front_waitable *waitable)
{
	struct front_waitable *moved = malloc(sizeof(*moved));

	if (moved == NULL)
		return NULL;
	*moved = *waitable;
	if (waitable->data == NULL)
		return moved;
	moved->owned = malloc(waitable->length);
	if (moved->owned == NULL) {
		free(moved);
		return NULL;
	}
	memcpy(moved->owned, waitable->data, waitable->length);
	moved->data = moved->owned;
	return moved;
}

/* Privileges go once, before: while a request waits, the kernel lets nobody give them back. */
static ssize_t begin(struct front_waitable *waitable)
{
	int error = front_drop_privileges(&waitable->request, waitable->ino, waitable->drops);

	return error != 0 ? error : waitable->operate(waitable, NULL);
}

void front_run(struct front_waitable *waitable)
{
	ssize_t result = begin(waitable);
	struct front_waitable *moved;
	struct front *front;

	if (result != -EAGAIN) {
		waitable->answer(waitable, result);
		return;
	}
	moved = move(waitable);
	if (moved == NULL) {
		waitable->answer(waitable, -ENOMEM);
		return;
	}
	front = moved->request.front;
	fs_wait_init(front->fs, &moved->wait, fuse_req_ctx(moved->request.req)->pid, resume);
	if (moved->background && atomic_fetch_add(&front->parked_background, 1) >= FRONT_BACKGROUND_MAX / 2)
		fs_wait_never(&moved->wait);
	fuse_req_interrupt_func(moved->request.req, interrupted, moved);
	repeat(moved);
}
