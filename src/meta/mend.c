/* Mending: groups, slots, the state, and pages that no inode reaches. */
#include "meta/mend.h"
#include "meta/pool.h"

#include <errno.h>
#include <string.h>

void meta_mend_rescan(struct meta *meta)
{
	memset(meta->state, 0, meta->super->groups * sizeof(*meta->state));
	for (unsigned i = 0; i < SPACE_SHARDS; i++) {
		meta->shard[i].page_head = GROUP_NONE;
		meta->shard[i].slot_head = GROUP_NONE;
		meta->shard[i].free_slots = 0;
	}
	atomic_store(&meta->ledger_damaged, 0);
	meta->scanned = false;
}

/* A transaction that writes [to, +length): no pages, no inodes, so no scan is needed before it. */
static int store(struct meta *meta, void *to, const void *bytes, size_t length)
{
	int error = pmemobj_tx_begin(meta->pop, NULL, TX_PARAM_NONE);

	if (error == 0) {
		pmemobj_tx_set_failure_behavior(POBJ_TX_FAILURE_RETURN);
		error = pmemobj_tx_add_range_direct(to, length);
	}
	if (error == 0) {
		memcpy(to, bytes, length);
		pmemobj_tx_commit();
	} else if (pmemobj_tx_stage() == TX_STAGE_WORK) {
		pmemobj_tx_abort(error);
	}
	(void)pmemobj_tx_end();
	return -error;
}

/* ---- Groups ---- */

/*
 * True if the frame holds inodes: one of its slots is an inode for sure. A page begins with a magic of its own, so what
 * a user has stored behind it is not taken for inodes. If the first slot is damaged as well, two must be sure.
 */
static bool holds_inodes(const struct meta *meta, uint64_t group, unsigned frame)
{
	const struct fmt_inode *slot = meta_frame(meta, group, frame);
	unsigned sure = 0;

	if (slot->magic == FMT_NODE_MAGIC || slot->magic == FMT_NAMES_MAGIC || slot->magic == FMT_BLOB_MAGIC)
		return false;
	for (unsigned i = 0; i < FMT_FRAME_SLOTS; i++)
		sure += fmt_inode_valid(&slot[i], fmt_ino(group, frame, i));
	return sure > 1 || (sure == 1 && (slot->magic == 0 || slot->magic == FMT_INODE_MAGIC));
}

int meta_mend_groups(struct meta *meta, void (*told)(void *arg, uint64_t group), void *arg)
{
	for (uint64_t number = 0; number < meta->super->groups; number++) {
		struct fmt_group *header = meta_group(meta, number);
		struct fmt_group group = {.magic = FMT_GROUP_MAGIC, .number = number, .inode_frames = 1};
		int error;

		if (fmt_group_valid(header, meta->super->pool_uuid, number))
			continue;
		for (unsigned frame = 1; frame < FMT_GROUP_FRAMES; frame++)
			group.inode_frames |= (uint64_t)holds_inodes(meta, number, frame) << frame;
		fmt_group_seal(&group, meta->super->pool_uuid);
		/* Not the first 16 bytes: they may be libpmemobj's. */
		error = store(meta, &header->magic, &group.magic, offsetof(struct fmt_group, unused) - 16);
		if (error != 0)
			return error;
		told(arg, number);
	}
	return 0;
}

/* ---- Slots, and the state ---- */

const struct fmt_inode *meta_mend_peek(const struct meta *meta, uint64_t ino)
{
	return meta_slot(meta, ino);
}

int meta_mend_slot(struct meta *meta, uint64_t ino, const struct fmt_inode *inode)
{
	struct fmt_inode *slot = meta_slot(meta, ino);
	struct fmt_inode sealed = {.magic = 0};

	if (slot == NULL)
		return -ENOENT;
	if (inode != NULL) {
		sealed = *inode;
		sealed.magic = FMT_INODE_MAGIC;
		sealed.ino = ino;
		fmt_inode_seal(&sealed);
	}
	return store(meta, slot, &sealed, sizeof(sealed));
}

int meta_mend_state(struct meta *meta, uint32_t state)
{
	meta->super->state = state; /* one aligned store */
	pmemobj_persist(meta->pop, &meta->super->state, sizeof(meta->super->state));
	return 0;
}

/* ---- Pages that no inode reaches ---- */

/* False: it is no page whose header verifies. */
static bool describe(const void *address, uint64_t number, struct mend_page *page)
{
	const struct fmt_node *node = address;
	const struct fmt_names *names = address;
	const struct fmt_blob *blob = address;
	/* Owner, generation and kind lie at the same places in all three. */
	const struct fmt_inode owner = {.ino = node->owner, .generation = node->generation};

	*page = (struct mend_page){
		.page = number,
		.owner = node->owner,
		.generation = node->generation,
		.magic = node->magic,
		.kind = node->kind,
		.level = node->level,
	};
	if (node->magic == FMT_NODE_MAGIC)
		return fmt_node_valid(node, &owner, node->kind, node->level);
	if (names->magic == FMT_NAMES_MAGIC)
		return fmt_names_valid(names, &owner, names->kind);
	return blob->magic == FMT_BLOB_MAGIC && fmt_blob_valid(blob, &owner, blob->kind);
}
static_assert(offsetof(struct fmt_names, owner) == offsetof(struct fmt_node, owner) &&
		      offsetof(struct fmt_blob, owner) == offsetof(struct fmt_node, owner) &&
		      offsetof(struct fmt_names, kind) == offsetof(struct fmt_node, kind) &&
		      offsetof(struct fmt_blob, kind) == offsetof(struct fmt_node, kind),
	      "pages describe themselves alike");

int meta_mend_unreached(struct meta *meta, bool (*wanted)(void *arg, const struct mend_page *page), void *arg)
{
	for (uint64_t group = 0; group < meta->super->groups; group++) {
		uint64_t frames = meta->state[group].free_pages;

		for (; frames != 0; frames &= frames - 1) {
			unsigned frame = (unsigned)__builtin_ctzll(frames);
			struct mend_page page;

			if (describe(meta_frame(meta, group, frame), group * FMT_GROUP_FRAMES + frame, &page) &&
			    wanted(arg, &page))
				space_page_hold(meta, page.page);
		}
	}
	return 0;
}
