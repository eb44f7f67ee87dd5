/*
 * Free pages and inode slots of the meta part, in memory: the scan at open finds what the inodes reach. All that is on
 * media is which frames hold inodes (struct fmt_group): it changes by a transaction of its own under the shard's lock,
 * before the first inode of the frame is made and after the last one is gone.
 *
 * pages_free counts tickets: a page is promised by lowering it, so a promised page is found by looking through the
 * shards, at worst more than once. Pages enter a list before the count rises.
 */
#include "base/arith.h"
#include "meta/pool.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#define SLOTS_ALL 0xffffu
/* A shard keeps this many free slots before it turns empty inode frames into pages again. */
#define SLOTS_KEPT (4 * FMT_FRAME_SLOTS)
#define RESERVE_PAGES_MAX 256u

static struct space_shard *shard_of(struct meta *meta, uint64_t group)
{
	return &meta->shard[group % SPACE_SHARDS];
}

static unsigned home_shard(void)
{
	int cpu = sched_getcpu();

	return cpu < 0 ? 0 : (unsigned)cpu % SPACE_SHARDS;
}

/* ---- Lists of groups ---- */

static void page_list_add(struct meta *meta, uint32_t group)
{
	struct space_shard *shard = shard_of(meta, group);
	struct group_state *state = &meta->state[group];

	state->page_prev = GROUP_NONE;
	state->page_next = shard->page_head;
	if (shard->page_head != GROUP_NONE)
		meta->state[shard->page_head].page_prev = group;
	shard->page_head = group;
}

static void page_list_remove(struct meta *meta, uint32_t group)
{
	struct space_shard *shard = shard_of(meta, group);
	struct group_state *state = &meta->state[group];

	if (state->page_prev == GROUP_NONE)
		shard->page_head = state->page_next;
	else
		meta->state[state->page_prev].page_next = state->page_next;
	if (state->page_next != GROUP_NONE)
		meta->state[state->page_next].page_prev = state->page_prev;
}

static void slot_list_add(struct meta *meta, uint32_t group)
{
	struct space_shard *shard = shard_of(meta, group);
	struct group_state *state = &meta->state[group];

	state->slot_prev = GROUP_NONE;
	state->slot_next = shard->slot_head;
	if (shard->slot_head != GROUP_NONE)
		meta->state[shard->slot_head].slot_prev = group;
	shard->slot_head = group;
}

static void slot_list_remove(struct meta *meta, uint32_t group)
{
	struct space_shard *shard = shard_of(meta, group);
	struct group_state *state = &meta->state[group];

	if (state->slot_prev == GROUP_NONE)
		shard->slot_head = state->slot_next;
	else
		meta->state[state->slot_prev].slot_next = state->slot_next;
	if (state->slot_next != GROUP_NONE)
		meta->state[state->slot_next].slot_prev = state->slot_prev;
}

/* ---- Life ---- */

int space_init(struct meta *meta)
{
	unsigned shards = 0;
	int error;

	meta->state = calloc(meta->super->groups, sizeof(*meta->state));
	if (meta->state == NULL)
		return -ENOMEM;
	for (; shards < SPACE_SHARDS; shards++) {
		error = lock_mutex_init(&meta->shard[shards].lock, LOCK_META_SPACE);
		if (error != 0)
			goto fini_shards;
		meta->shard[shards].page_head = GROUP_NONE;
		meta->shard[shards].slot_head = GROUP_NONE;
	}
	return 0;

fini_shards:
	while (shards-- > 0)
		lock_mutex_fini(&meta->shard[shards].lock);
	free(meta->state);
	meta->state = NULL;
	return error;
}

void space_fini(struct meta *meta)
{
	if (meta->state == NULL)
		return;
	for (unsigned i = 0; i < SPACE_SHARDS; i++)
		lock_mutex_fini(&meta->shard[i].lock);
	free(meta->state);
}

void space_ready(struct meta *meta)
{
	uint64_t pages = 0, slots = 0;

	/* From the last group down, so that the lists begin with the first. */
	for (uint64_t i = meta->super->groups; i-- > 0;) {
		struct group_state *state = &meta->state[i];

		state->free_slots = 0;
		for (unsigned frame = 0; frame < FMT_GROUP_FRAMES; frame++)
			state->free_slots += (unsigned)__builtin_popcount(state->slots[frame]);
		pages += (uint64_t)__builtin_popcountll(state->free_pages);
		slots += state->free_slots;
		shard_of(meta, i)->free_slots += state->free_slots;
		if (state->free_pages != 0)
			page_list_add(meta, (uint32_t)i);
		if (state->free_slots != 0)
			slot_list_add(meta, (uint32_t)i);
	}
	meta->pages_total = meta->super->groups * (FMT_GROUP_FRAMES - 1);
	meta->reserve = min_u64(RESERVE_PAGES_MAX, meta->pages_total / 32);
	atomic_store(&meta->pages_free, pages);
	atomic_store(&meta->slots_free, slots);
}

/* ---- Pages ---- */

static bool shard_page_take(struct meta *meta, struct space_shard *shard, uint64_t *ret_page)
{
	struct group_state *state;
	uint32_t group;
	unsigned frame;

	lock_mutex_take(&shard->lock);
	group = shard->page_head;
	if (group == GROUP_NONE) {
		lock_mutex_drop(&shard->lock);
		return false;
	}
	state = &meta->state[group];
	frame = (unsigned)__builtin_ctzll(state->free_pages);
	state->free_pages &= state->free_pages - 1;
	if (state->free_pages == 0)
		page_list_remove(meta, group);
	lock_mutex_drop(&shard->lock);
	*ret_page = (uint64_t)group * FMT_GROUP_FRAMES + frame;
	return true;
}

int space_page_take(struct meta *meta, bool use_reserve, uint64_t *ret_page)
{
	uint64_t kept = use_reserve ? 0 : meta->reserve + limbo_promise(meta);
	uint64_t free_pages = atomic_load(&meta->pages_free);

	do {
		if (free_pages <= kept)
			return -ENOSPC;
	} while (!atomic_compare_exchange_weak(&meta->pages_free, &free_pages, free_pages - 1));
	for (unsigned i = home_shard();; i++) {
		if (shard_page_take(meta, &meta->shard[i % SPACE_SHARDS], ret_page))
			return 0;
	}
}

static void page_put_locked(struct meta *meta, uint64_t page)
{
	uint32_t group = (uint32_t)(page / FMT_GROUP_FRAMES);
	struct group_state *state = &meta->state[group];

	assert((state->free_pages >> page % FMT_GROUP_FRAMES & 1) == 0);
	if (state->free_pages == 0)
		page_list_add(meta, group);
	state->free_pages |= 1ull << page % FMT_GROUP_FRAMES;
	atomic_fetch_add(&meta->pages_free, 1);
}

void space_page_put(struct meta *meta, uint64_t page)
{
	struct space_shard *shard = shard_of(meta, page / FMT_GROUP_FRAMES);

	lock_mutex_take(&shard->lock);
	page_put_locked(meta, page);
	lock_mutex_drop(&shard->lock);
}

void space_page_hold(struct meta *meta, uint64_t page)
{
	uint32_t group = (uint32_t)(page / FMT_GROUP_FRAMES);
	struct space_shard *shard = shard_of(meta, group);
	struct group_state *state = &meta->state[group];

	lock_mutex_take(&shard->lock);
	state->free_pages &= ~(1ull << page % FMT_GROUP_FRAMES);
	if (state->free_pages == 0)
		page_list_remove(meta, group);
	atomic_fetch_sub(&meta->pages_free, 1);
	lock_mutex_drop(&shard->lock);
}

/* ---- Inode slots ---- */

/* Durably marks a frame as holding inodes, or not. Shard lock held; no transaction open. */
static int frame_mark(struct meta *meta, uint32_t group, unsigned frame, bool inodes)
{
	struct fmt_group *header = meta_group(meta, group);
	int error = pmemobj_tx_begin(meta->pop, NULL, TX_PARAM_NONE);

	if (error == 0) {
		pmemobj_tx_set_failure_behavior(POBJ_TX_FAILURE_RETURN);
		/* Not the first 16 bytes: they are libpmemobj's. */
		error = pmemobj_tx_add_range_direct(&header->magic, 48);
	}
	if (error == 0) {
		if (inodes)
			header->inode_frames |= 1ull << frame;
		else
			header->inode_frames &= ~(1ull << frame);
		fmt_group_seal(header, meta->super->pool_uuid);
		pmemobj_tx_commit();
	} else if (pmemobj_tx_stage() == TX_STAGE_WORK) {
		pmemobj_tx_abort(error);
	}
	(void)pmemobj_tx_end();
	if (error == 0)
		atomic_store(&meta->state[group].inode_frames, header->inode_frames);
	return -error;
}

/* Shard lock held; there is a free slot. */
static uint64_t slot_take_locked(struct meta *meta, struct space_shard *shard)
{
	uint32_t group = shard->slot_head;
	struct group_state *state = &meta->state[group];
	unsigned frame = 0;
	unsigned slot;

	while (state->slots[frame] == 0)
		frame++;
	slot = (unsigned)__builtin_ctz(state->slots[frame]);
	state->slots[frame] &= (uint16_t)(state->slots[frame] - 1);
	shard->free_slots--;
	atomic_fetch_sub(&meta->slots_free, 1);
	if (--state->free_slots == 0)
		slot_list_remove(meta, group);
	return fmt_ino(group, frame, slot);
}

/* Makes all slots of a frame available; shard lock held. */
static void slots_add_locked(struct meta *meta, uint32_t group, unsigned frame, unsigned slots)
{
	struct group_state *state = &meta->state[group];
	unsigned count = (unsigned)__builtin_popcount(slots);

	if (state->free_slots == 0)
		slot_list_add(meta, group);
	state->slots[frame] |= (uint16_t)slots;
	state->free_slots += count;
	shard_of(meta, group)->free_slots += count;
	atomic_fetch_add(&meta->slots_free, count);
}

/* Turns a free page into an inode frame and takes its first slot. */
static int frame_convert(struct meta *meta, bool use_reserve, uint64_t *ret_ino)
{
	struct space_shard *shard;
	uint64_t page;
	int error;

	error = space_page_take(meta, use_reserve, &page);
	if (error != 0)
		return error;
	/* All slots are free (magic 0) on media before the frame is one of inodes. */
	pmemobj_memset_persist(meta->pop, meta_page(meta, page), 0, FMT_BLOCK_SIZE);
	shard = shard_of(meta, page / FMT_GROUP_FRAMES);
	lock_mutex_take(&shard->lock);
	error = frame_mark(meta, (uint32_t)(page / FMT_GROUP_FRAMES), page % FMT_GROUP_FRAMES, true);
	if (error == 0) {
		slots_add_locked(meta, (uint32_t)(page / FMT_GROUP_FRAMES), page % FMT_GROUP_FRAMES, SLOTS_ALL);
		*ret_ino = slot_take_locked(meta, shard);
	} else {
		page_put_locked(meta, page);
	}
	lock_mutex_drop(&shard->lock);
	return error;
}

static bool shard_slot_take(struct meta *meta, struct space_shard *shard, uint64_t *ret_ino)
{
	bool found;

	lock_mutex_take(&shard->lock);
	found = shard->slot_head != GROUP_NONE;
	if (found)
		*ret_ino = slot_take_locked(meta, shard);
	lock_mutex_drop(&shard->lock);
	return found;
}

static bool shard_has_page(struct space_shard *shard)
{
	bool has;

	lock_mutex_take(&shard->lock);
	has = shard->page_head != GROUP_NONE;
	lock_mutex_drop(&shard->lock);
	return has;
}

int space_slot_take(struct meta *meta, bool use_reserve, uint64_t *ret_ino)
{
	unsigned home = home_shard();
	int error;

	/* A thread fills frames of its own shard; when that has no page left, those of the others. */
	if (shard_slot_take(meta, &meta->shard[home], ret_ino))
		return 0;
	if (shard_has_page(&meta->shard[home])) {
		error = frame_convert(meta, use_reserve, ret_ino);
		if (error != -ENOSPC)
			return error;
	}
	for (unsigned i = 1; i < SPACE_SHARDS; i++) {
		if (shard_slot_take(meta, &meta->shard[(home + i) % SPACE_SHARDS], ret_ino))
			return 0;
	}
	return frame_convert(meta, use_reserve, ret_ino);
}

void space_slot_put(struct meta *meta, uint64_t ino)
{
	uint32_t group = (uint32_t)fmt_ino_group(ino);
	unsigned frame = fmt_ino_frame(ino);
	struct group_state *state = &meta->state[group];
	struct space_shard *shard = shard_of(meta, group);

	lock_mutex_take(&shard->lock);
	slots_add_locked(meta, group, frame, 1u << fmt_ino_slot(ino));
	if (frame != 0 && state->slots[frame] == SLOTS_ALL && shard->free_slots > SLOTS_KEPT + FMT_FRAME_SLOTS &&
	    frame_mark(meta, group, frame, false) == 0) {
		state->slots[frame] = 0;
		state->free_slots -= FMT_FRAME_SLOTS;
		shard->free_slots -= FMT_FRAME_SLOTS;
		atomic_fetch_sub(&meta->slots_free, FMT_FRAME_SLOTS);
		if (state->free_slots == 0)
			slot_list_remove(meta, group);
		page_put_locked(meta, (uint64_t)group * FMT_GROUP_FRAMES + frame);
	}
	lock_mutex_drop(&shard->lock);
}

void meta_space(const struct meta *meta, struct meta_space *ret_space)
{
	uint64_t free_pages = atomic_load(&meta->pages_free);
	uint64_t kept = meta->reserve + limbo_promise(meta);

	ret_space->pages_total = meta->pages_total;
	ret_space->pages_free = free_pages > kept ? free_pages - kept : 0;
	ret_space->inodes_used = atomic_load(&meta->inodes_used);
	ret_space->inode_slots_free = atomic_load(&meta->slots_free);
}
