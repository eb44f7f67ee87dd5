/*
 * Granting a pin. pins.md has the life of one; here is how far a request has come:
 *
 *   NEW --checked--> ADMIT --taken, recorded--> CLEAN (write pins: the kernel drops its pages) --confirmed--> granted
 *                    ^  |                        |
 *                    |  v parked                 | a break was faster: anew
 *                    +--+------------------------+
 *
 * Past the end: SIZE (the kernel writes back, once), then ADMIT. With a writeback cache it may know of a later end.
 */
#include "fs/pinning.h"
#include "fs/protect.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum stage {
	STAGE_NEW,
	STAGE_SIZE,
	STAGE_ADMIT,
	STAGE_CLEAN,
};

#define PUBLIC_FLAGS                                                                                                   \
	(PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE | PIN_FLAG_EXTEND | PIN_FLAG_CACHED | FS_PIN_NONBLOCK | FS_PIN_CONTIGUOUS)
#define TABLE_FLAGS (PIN_FLAG_WRITE | PIN_FLAG_EXCLUSIVE | PIN_FLAG_EXTEND | PIN_FLAG_CACHED)

/* ---- Extents ---- */

int fs_extents_add(struct fs_extents *list, uint64_t file_block, uint64_t phys, uint64_t length, bool detached)
{
	struct pin_extent *last = list->count > 0 ? &list->extent[list->count - 1] : NULL;

	if (last != NULL && last->detached == detached && last->file_block + last->length == file_block &&
	    last->phys + last->length == phys && length <= UINT32_MAX - last->length) {
		last->length += (uint32_t)length;
		return 0;
	}
	if (list->most != 0 && list->count == list->most)
		return -ERESTART;
	if (list->count == list->capacity) {
		size_t capacity = list->capacity == 0 ? 4 : list->capacity * 2;
		struct pin_extent *grown = reallocarray(list->extent, capacity, sizeof(*grown));

		if (grown == NULL)
			return -ENOMEM;
		list->extent = grown;
		list->capacity = capacity;
	}
	list->extent[list->count++] = (struct pin_extent){
		.file_block = file_block, .phys = phys, .length = (uint32_t)length, .detached = detached};
	return 0;
}

/* ---- Checks ---- */

static int check_request(struct fs *fs, const struct fs_pin_request *request)
{
	const bool write = (request->flags & PIN_FLAG_WRITE) != 0;
	uint64_t end;

	if (request->length == 0 || (request->flags & ~PUBLIC_FLAGS) != 0)
		return -EINVAL;
	if (!write && (request->flags & (PIN_FLAG_EXCLUSIVE | PIN_FLAG_EXTEND)) != 0)
		return -EINVAL;
	if (((request->flags & PIN_FLAG_CACHED) != 0) != (request->word != NULL))
		return -EINVAL;
	if (add_overflows(request->offset, request->length, &end) || end > FMT_FILE_SIZE_MAX)
		return -EFBIG;
	if (fs_is_shut_down(fs))
		return -ESHUTDOWN;
	if (atomic_load(&fs->damaged) || (write && fs->read_only))
		return -EROFS;
	return 0;
}

static uint64_t first_block(const struct fs_pin_request *request)
{
	return request->offset >> FMT_BLOCK_SHIFT;
}

static uint64_t last_block(const struct fs_pin_request *request)
{
	return fs_block_up(request->offset + request->length);
}

/* Shared. -ERESTART: it is held by others, and the request is hurried. */
static int take_shared(struct lock_rw *lock, bool hurried)
{
	if (!hurried)
		lock_rw_take_shared(lock);
	else if (!lock_rw_try_shared(lock))
		return -ERESTART;
	return 0;
}

/* Layout is held: the size does not fall. Learns whether the pin may leave something behind the end. */
static int check_file(struct fs_inode *file, const struct fs_pin_request *request, bool hurried, uint32_t *ret_flags)
{
	uint64_t end = request->offset + request->length;
	uint64_t size;

	if (file->media->generation != request->generation)
		return -ESTALE;
	/* Stores can be anywhere. What is granted already stays its holder's. */
	if ((request->flags & PIN_FLAG_WRITE) != 0 && fs_may_change(file, FS_CHANGE_ANY) != 0)
		return -EPERM;
	if (take_shared(&file->map, hurried) != 0)
		return -ERESTART;
	size = file->media->size;
	lock_rw_drop(&file->map);
	*ret_flags = request->flags & TABLE_FLAGS;
	if ((request->flags & PIN_FLAG_EXTEND) == 0 && end > size)
		return -ERANGE;
	if ((request->flags & PIN_FLAG_EXTEND) != 0 || fs_block_byte(last_block(request)) > size)
		*ret_flags |= FS_PIN_TAIL;
	return 0;
}

/* ---- Taking ---- */

static struct pin_waiter *waiter_of(struct fs_pin_request *request)
{
	return (request->flags & FS_PIN_NONBLOCK) != 0 ? NULL : &request->wait.pin;
}

/* Layout is held, and map if there are extents. */
static int take_pin(struct fs *fs, struct fs_pin_request *request, uint32_t flags, const struct fs_extents *list)
{
	struct fs_holder *holder = request->holder;
	const struct pin_request pin = {
		.id = atomic_fetch_add(&fs->pinning->next_pin, 1),
		.ino = request->ino,
		.generation = request->generation,
		.flags = flags,
		.offset = request->offset,
		.length = request->length,
		.extents = list->extent,
		.count = list->count,
		.word = request->word,
		.path = request->path,
		.now = fs_monotonic(),
	};
	int error;

	lock_mutex_take(&holder->lock);
	error = holder->closed || holder->connection != request->connection ? -ESHUTDOWN : 0;
	if (error == 0)
		error = pin_take(fs->pins, holder->pin, &pin, &request->pin);
	if (error == 0) {
		holder->pins++;
		request->ret_id = pin.id;
	}
	lock_mutex_drop(&holder->lock);
	if (error == 0)
		fs_pins_live(fs, 1);
	return error;
}

/* Layout is held. */
static int admit_and_take(struct fs *fs, struct fs_inode *file, struct fs_pin_request *request, uint32_t flags,
			  struct fs_extents *list)
{
	uint64_t first = first_block(request);
	uint64_t last = last_block(request);
	int error;

	error = pin_admit(fs->pins, request->holder->pin, request->ino, first, last, flags & TABLE_FLAGS,
			  waiter_of(request));
	if (error != 0)
		return error;
	/* Nothing can be allocated, nobody can free: what is there is looked up when it is asked for. */
	if (fs->read_only)
		lock_rw_take_shared(&file->map);
	else
		error = fs_populate(fs, file, first, last, list);
	if (error != 0)
		return error;
	/* Nobody is given a mapping that is known to kill whoever looks at it. */
	request->lost = fs_poison_count(fs);
	error = fs_lost_check_blocks(fs, file, first, last);
	if (error == 0)
		error = take_pin(fs, request, flags, list);
	lock_rw_drop(&file->map);
	return error == -EHWPOISON ? -EIO : error;
}

static int take_locked(struct fs *fs, struct fs_inode *file, struct fs_pin_request *request, struct fs_extents *list)
{
	uint32_t flags;
	int error = check_file(file, request, list->most != 0, &flags);

	if (error == 0 && (request->flags & FS_PIN_CONTIGUOUS) != 0)
		error = fs_relocate(fs, file, first_block(request), last_block(request), request);
	if (error == 0)
		error = admit_and_take(fs, file, request, flags, list);
	return error;
}

/* Exclusive: nobody's write is under way. Contiguous: blocks may have to move. */
static int take_layout(struct fs_inode *file, const struct fs_pin_request *request, bool hurried)
{
	if ((request->flags & (PIN_FLAG_EXCLUSIVE | FS_PIN_CONTIGUOUS)) == 0)
		return take_shared(&file->layout, hurried);
	if (hurried)
		return -ERESTART;
	lock_rw_take_exclusive(&file->layout);
	return 0;
}

/* Takes the pin, tentative. No lock is held. */
static int take(struct fs *fs, struct fs_pin_request *request, struct fs_extents *list)
{
	struct fs_inode *file;
	int error;

	error = fs_inode_get(fs, request->ino, &file);
	if (error != 0)
		return error == -ENOENT ? -ESTALE : error;
	if (!S_ISREG(file->type)) {
		error = fs_inode_is_dir(file) ? -EISDIR : -EINVAL;
		goto put;
	}
	error = take_layout(file, request, list->most != 0);
	if (error != 0)
		goto put;
	error = take_locked(fs, file, request, list);
	lock_rw_drop(&file->layout);
put:
	fs_inode_put(fs, file);
	return error;
}

#define FEW_EXTENTS 4u

/* Durable: from here on the next daemon knows of it. */
static int record(struct fs *fs, const struct fs_pin_request *request, const struct fs_extents *list)
{
	struct meta_extent few[FEW_EXTENTS];
	struct meta_extent *extents = few;
	struct pin_info info;
	struct meta_pin pin;
	int error;

	if (fs->read_only)
		return 0;
	if (list->count > ARRAY_SIZE(few)) {
		extents = calloc(list->count, sizeof(*extents));
		if (extents == NULL)
			return -ENOMEM;
	}
	for (size_t i = 0; i < list->count; i++)
		extents[i] = (struct meta_extent){.file_block = list->extent[i].file_block,
						  .phys = list->extent[i].phys,
						  .length = list->extent[i].length};
	pin_get_info(request->pin, &info);
	pin = (struct meta_pin){
		.id = info.id,
		.session = info.session,
		.ino = info.ino,
		.generation = info.generation,
		.flags = info.flags,
		.offset = info.offset,
		.length = info.length,
		.count = list->count,
		.extents = extents,
	};
	error = fs_writable(fs);
	if (error == 0)
		error = fs_failed(fs, meta_ledger_add_pin(fs->meta, &pin), "recording a pin", info.ino);
	if (extents != few)
		free(extents);
	return error;
}

/* What was dropped lately may still have the room. */
static int record_in_room(struct fs *fs, const struct fs_pin_request *request, const struct fs_extents *list,
			  bool hurried)
{
	int error = record(fs, request, list);

	if (error != -ENOSPC)
		return error;
	if (hurried)
		return -ERESTART;
	return fs_reaper_flush(fs) ? record(fs, request, list) : error;
}

/* Taken and recorded, or an error. */
static int grant(struct fs *fs, struct fs_pin_request *request, bool hurried)
{
	struct fs_extents list = {.most = hurried ? FEW_EXTENTS : 0};
	int error;

	error = take(fs, request, &list);
	if (error == 0) {
		error = record_in_room(fs, request, &list, hurried);
		if (error != 0)
			pin_drop(request->pin);
	}
	free(list.extent);
	return error;
}

/* Held now, if nothing came between, and whoever asked is still there to hear of it. */
static int confirm(struct fs *fs, struct fs_pin_request *request)
{
	struct fs_holder *holder = request->holder;
	int error;

	lock_mutex_take(&holder->lock);
	error = pin_confirm(request->pin);
	/* Some block was found lost, and this one not told: begin anew. */
	if (error == 0 && fs_poison_count(fs) != request->lost) {
		pin_drop(request->pin);
		error = -EAGAIN;
	}
	if (holder->closed || holder->connection != request->connection || !holder->connected) {
		if (error == 0)
			pin_drop(request->pin);
		error = -ESHUTDOWN;
	}
	lock_mutex_drop(&holder->lock);
	return error;
}

/* ---- The request ---- */

/*
 * Has the kernel clean and drop its pages. For the size those behind the range, too: any of them may be the one that
 * makes the file longer. 1: the request will be resumed, in that stage.
 */
static int clean(struct fs *fs, struct fs_pin_request *request, enum stage stage)
{
	uint64_t start = fs_block_byte(first_block(request));
	uint64_t length = stage == STAGE_SIZE ? 0 : fs_block_byte(last_block(request)) - start;
	int error;

	/* Before it is asked: it may answer at once. */
	request->stage = stage;
	error = fs_upcall_begin(fs, &request->wait, request->ino, start, length,
				(request->flags & FS_PIN_NONBLOCK) != 0);
	return error == 0 ? 1 : error;
}

/* Taken, recorded, and the kernel asked if need be. 1: the request will be resumed. */
static int begin(struct fs *fs, struct fs_pin_request *request, bool hurried)
{
	int error = grant(fs, request, hurried);

	if (error == -ERANGE && fs->pinning->has_kernel && !request->written_back) {
		request->written_back = true;
		return clean(fs, request, STAGE_SIZE);
	}
	if (error != 0 || (request->flags & PIN_FLAG_WRITE) == 0 || !fs->pinning->has_kernel)
		return error;
	error = clean(fs, request, STAGE_CLEAN);
	if (error < 0)
		pin_drop(request->pin);
	return error;
}

/* What the kernel has to say; then the grant. */
static int end(struct fs *fs, struct fs_pin_request *request, bool asked)
{
	int error = asked ? fs_upcall_end(fs, &request->wait) : 0;

	if (error != 0) {
		pin_drop(request->pin);
		return error;
	}
	return confirm(fs, request);
}

/* From admission to the grant, once more whenever a break is faster. 1: the request will be resumed. */
static int run(struct fs *fs, struct fs_pin_request *request)
{
	const bool patient = (request->flags & FS_PIN_NONBLOCK) == 0;
	const bool hurried = request->hurried;
	bool asked = request->stage == STAGE_CLEAN;
	int error = request->stage == STAGE_SIZE ? fs_upcall_end(fs, &request->wait) : 0;

	if (error != 0)
		return error;
	/* Before it can be parked: who resumes it has the time. */
	request->hurried = false;
	do {
		request->stage = STAGE_ADMIT;
		if (!asked)
			error = begin(fs, request, hurried);
		if (error == 0)
			error = end(fs, request, asked);
		asked = false;
	} while (error == -EAGAIN && patient && !hurried);
	return error == -EAGAIN && patient ? -ERESTART : error;
}

int fs_pin(struct fs *fs, struct fs_pin_request *request)
{
	struct fs_holder *holder = request->holder;
	int error;

	if (request->stage == STAGE_NEW) {
		error = check_request(fs, request);
		if (error == 0)
			error = fs_holder_begin(holder, &request->connection);
		if (error != 0)
			return error;
		request->stage = STAGE_ADMIT;
		request->wait.pin.process = pin_holder_process(holder->pin);
	}
	error = run(fs, request);
	/* Asked the kernel: the request may be running elsewhere already. */
	if (error > 0)
		return -EINPROGRESS;
	if (error == -EINPROGRESS) {
		fs_wait_parked(fs);
		return error;
	}
	request->stage = STAGE_NEW;
	pin_waiter_end(fs->pins, &request->wait.pin);
	fs_holder_end(fs, holder);
	return error;
}

/* ---- Pins by their id ---- */

int fs_unpin(struct fs *fs, struct fs_holder *holder, uint64_t id)
{
	struct pin *pin = NULL;

	(void)fs;
	lock_mutex_take(&holder->lock);
	if (!holder->closed)
		pin = pin_find(holder->pin, id);
	if (pin != NULL)
		pin_drop(pin);
	lock_mutex_drop(&holder->lock);
	return pin != NULL ? 0 : -ENOENT;
}

int fs_pin_bell(struct fs *fs, struct fs_holder *holder, uint64_t id)
{
	struct pin *pin = NULL;

	(void)fs;
	lock_mutex_take(&holder->lock);
	if (!holder->closed)
		pin = pin_find(holder->pin, id);
	if (pin != NULL)
		(void)pin_bell(pin);
	lock_mutex_drop(&holder->lock);
	return pin != NULL ? 0 : -ENOENT;
}

int fs_pin_set_word(struct fs *fs, struct fs_holder *holder, uint64_t id, wire_word *word)
{
	struct pin *pin = NULL;
	int error = -ENOENT;

	(void)fs;
	lock_mutex_take(&holder->lock);
	if (!holder->closed)
		pin = pin_find(holder->pin, id);
	if (pin != NULL)
		error = pin_set_word(pin, word);
	lock_mutex_drop(&holder->lock);
	return error;
}

int fs_holder_visit(struct fs *fs, struct fs_holder *holder, int (*visit)(void *arg, const struct pin_info *info),
		    void *arg)
{
	uint64_t connection;
	int error = fs_holder_begin(holder, &connection);

	if (error != 0)
		return error;
	error = pin_holder_visit(holder->pin, visit, arg);
	fs_holder_end(fs, holder);
	return error;
}

/* ---- What a client maps ---- */

static void to_client(const struct pin_extent *extent, struct fs_pin_extent *ret_extent)
{
	*ret_extent = (struct fs_pin_extent){
		.offset = fs_block_byte(extent->file_block),
		.length = fs_block_byte(extent->length),
		.part = fmt_phys_part(extent->phys),
		.part_offset = fs_block_byte(fmt_phys_block(extent->phys)),
		.detached = extent->detached,
	};
}

/* A read-only mount: nothing changes, holes and what is unwritten are zeros. One piece from *position on. */
static int read_only_piece(struct fs *fs, const struct fs_inode *file, uint64_t *position, uint64_t end,
			   struct fs_pin_extent *ret_extent)
{
	struct fs_segment segment;
	int error = fs_segment_at(fs, file, *position, end, &segment);

	if (error != 0)
		return error;
	*ret_extent = (struct fs_pin_extent){
		.offset = segment.start, .length = segment.end - segment.start, .part = UINT32_MAX};
	if (segment.data != NULL) {
		ret_extent->part = segment.part->number;
		ret_extent->part_offset = (uint64_t)(segment.data - segment.part->base);
	}
	*position = segment.end;
	return 0;
}

static ssize_t read_only_extents(struct fs *fs, const struct pin_info *info, size_t start,
				 struct fs_pin_extent *extents, size_t capacity, size_t *ret_total)
{
	uint64_t position = align_down(info->offset, FMT_BLOCK_SIZE);
	uint64_t end = align_up(info->offset + info->length, FMT_BLOCK_SIZE);
	struct fs_inode *file;
	size_t total = 0;
	int error = fs_inode_get(fs, info->ino, &file);

	if (error != 0)
		return error;
	lock_rw_take_shared(&file->layout);
	lock_rw_take_shared(&file->map);
	for (; error == 0 && position < end; total++) {
		struct fs_pin_extent extent;

		error = read_only_piece(fs, file, &position, end, &extent);
		if (error == 0 && total >= start && total - start < capacity)
			extents[total - start] = extent;
	}
	lock_rw_drop(&file->map);
	lock_rw_drop(&file->layout);
	fs_inode_put(fs, file);
	if (error != 0)
		return error;
	*ret_total = total;
	return (ssize_t)(total <= start ? 0 : min_u64(total - start, capacity));
}

#define SOME_EXTENTS 64u

ssize_t fs_pin_extents(struct fs *fs, struct fs_holder *holder, uint64_t id, size_t start,
		       struct fs_pin_extent *extents, size_t capacity, size_t *ret_total)
{
	struct pin_extent some[SOME_EXTENTS];
	struct pin_info info = {.id = 0};
	size_t done = 0;
	size_t count;
	struct pin *pin = NULL;

	lock_mutex_take(&holder->lock);
	if (!holder->closed)
		pin = pin_find(holder->pin, id);
	if (pin != NULL)
		pin_get_info(pin, &info);
	/* Also without room: how many there are. */
	do {
		count = pin != NULL && !fs->read_only
				? pin_get_extents(pin, start + done, some, min_u64(capacity - done, SOME_EXTENTS),
						  ret_total)
				: 0;
		for (size_t i = 0; i < count; i++)
			to_client(&some[i], &extents[done++]);
	} while (count > 0 && done < capacity);
	lock_mutex_drop(&holder->lock);
	if (pin == NULL)
		return -ENOENT;
	if (fs->read_only)
		return read_only_extents(fs, &info, start, extents, capacity, ret_total);
	return (ssize_t)done;
}
